/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* syscalls(engine): recvmmsg sendmmsg sendmsg getsockname setsockopt */

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int udp_prepare(struct udp_socket *s, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int one = 1, err;

	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return -errno;
	err = ss.ss_family == AF_INET6
		      ? setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one))
		      : setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	if (err < 0)
		return -errno;
	s->fd = fd;
	s->family = ss.ss_family;
	return 0;
}

static void addr_from_in6(struct addr *a, const struct in6_addr *in)
{
	memset(a, 0, sizeof(*a));
	if (!memcmp(in->s6_addr, mapped, sizeof(mapped))) {
		a->family = 4;
		memcpy(a->b, in->s6_addr + sizeof(mapped), 4);
	} else {
		a->family = 6;
		memcpy(a->b, in->s6_addr, 16);
	}
}

static void addr_to_in6(const struct addr *a, struct in6_addr *in)
{
	if (a->family == 4) {
		memcpy(in->s6_addr, mapped, sizeof(mapped));
		memcpy(in->s6_addr + sizeof(mapped), a->b, 4);
	} else {
		memcpy(in->s6_addr, a->b, 16);
	}
}

static void addr_from_in(struct addr *a, const struct in_addr *in)
{
	memset(a, 0, sizeof(*a));
	a->family = 4;
	memcpy(a->b, in, 4);
}

static void remote_from_name(struct endpoint *e, const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;

		addr_from_in6(&e->addr, &in6->sin6_addr);
		e->port = ntohs(in6->sin6_port);
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)ss;

		addr_from_in(&e->addr, &in->sin_addr);
		e->port = ntohs(in->sin_port);
	}
}

static socklen_t remote_to_name(const struct endpoint *e, int family, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(e->port);
		addr_to_in6(&e->addr, &in6->sin6_addr);
		return sizeof(*in6);
	} else {
		struct sockaddr_in *in = (struct sockaddr_in *)ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(e->port);
		memcpy(&in->sin_addr, e->addr.b, 4);
		return sizeof(*in);
	}
}

static void local_from_control(struct addr *local, struct msghdr *m)
{
	local->family = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			addr_from_in6(local, &info.ipi6_addr);
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			addr_from_in(local, &info.ipi_addr);
		}
	}
}

/* m->msg_control has room for either. */
static void local_to_control(const struct addr *local, int family, struct msghdr *m)
{
	struct cmsghdr *c = m->msg_control;

	m->msg_controllen = 0;
	if (!local->family)
		return;
	if (family == AF_INET6) {
		struct in6_pktinfo info = {0};

		addr_to_in6(local, &info.ipi6_addr);
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		m->msg_controllen = CMSG_SPACE(sizeof(info));
	} else {
		struct in_pktinfo info = {0};

		memcpy(&info.ipi_spec_dst, local->b, 4);
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		m->msg_controllen = CMSG_SPACE(sizeof(info));
	}
}

int udp_batch_init(struct udp_batch *b)
{
	memset(b, 0, sizeof(*b));
	b->data = calloc(UDP_BATCH, sizeof(*b->data));
	b->msgs = calloc(UDP_BATCH, sizeof(*b->msgs));
	b->iovs = calloc(UDP_BATCH, sizeof(*b->iovs));
	b->names = calloc(UDP_BATCH, sizeof(*b->names));
	b->controls = calloc(UDP_BATCH, sizeof(*b->controls));
	if (!b->data || !b->msgs || !b->iovs || !b->names || !b->controls) {
		udp_batch_clear(b);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < UDP_BATCH; i++) {
		b->iovs[i].iov_base = b->data[i];
		b->msgs[i].msg_hdr.msg_iov = &b->iovs[i];
		b->msgs[i].msg_hdr.msg_iovlen = 1;
		b->msgs[i].msg_hdr.msg_name = &b->names[i];
		b->msgs[i].msg_hdr.msg_control = b->controls[i];
	}
	return 0;
}

void udp_batch_clear(struct udp_batch *b)
{
	free(b->data);
	free(b->msgs);
	free(b->iovs);
	free(b->names);
	free(b->controls);
	memset(b, 0, sizeof(*b));
}

unsigned udp_read(const struct udp_socket *s, struct udp_batch *b)
{
	int n;

	for (unsigned i = 0; i < UDP_BATCH; i++) {
		b->iovs[i].iov_len = UDP_BUFFER;
		b->msgs[i].msg_hdr.msg_namelen = sizeof(b->names[i]);
		b->msgs[i].msg_hdr.msg_controllen = sizeof(b->controls[i]);
	}
	n = recvmmsg(s->fd, b->msgs, UDP_BATCH, MSG_DONTWAIT, NULL);
	b->n = n > 0 ? (unsigned)n : 0;
	for (unsigned i = 0; i < b->n; i++) {
		struct msghdr *m = &b->msgs[i].msg_hdr;

		b->len[i] = m->msg_flags & MSG_TRUNC ? 0 : b->msgs[i].msg_len;
		remote_from_name(&b->path[i].remote, &b->names[i]);
		local_from_control(&b->path[i].local, m);
	}
	return b->n;
}

void udp_flush(const struct udp_socket *s, struct udp_batch *b)
{
	unsigned at = 0;

	for (unsigned i = 0; i < b->n; i++) {
		struct msghdr *m = &b->msgs[i].msg_hdr;

		b->iovs[i].iov_len = b->len[i];
		m->msg_namelen = remote_to_name(&b->path[i].remote, s->family, &b->names[i]);
		local_to_control(&b->path[i].local, s->family, m);
	}
	while (at < b->n) {
		int n = sendmmsg(s->fd, b->msgs + at, b->n - at, MSG_DONTWAIT);

		if (n > 0) {
			at += (unsigned)n;
			continue;
		}
		if (errno == EAGAIN || errno == ENOBUFS)
			break;          /* all behind it would meet the same */
		b->len[at++] = 0;       /* this one's own fault: an address out of reach */
	}
	for (; at < b->n; at++)
		b->len[at] = 0;
}

bool udp_send(const struct udp_socket *s, const struct udp_path *to, const uint8_t *data,
	      size_t len)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[64];
	} control;
	struct sockaddr_storage name;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct msghdr m = {.msg_name = &name, .msg_iov = &iov, .msg_iovlen = 1};

	m.msg_namelen = remote_to_name(&to->remote, s->family, &name);
	m.msg_control = &control;
	local_to_control(&to->local, s->family, &m);
	return sendmsg(s->fd, &m, MSG_DONTWAIT) == (ssize_t)len;
}
