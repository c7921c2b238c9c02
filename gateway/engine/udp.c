/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

/* syscalls(engine): recvmmsg sendmmsg sendmsg getsockname setsockopt */

#define CONTROL_LEN 128 /* a packet info of either family, and a segment size */

/* What the kernel's calls want to see, prepared once. */
struct udp_vectors {
	struct mmsghdr msgs[UDP_BATCH];
	struct iovec iovs[UDP_BATCH];
	struct sockaddr_storage names[UDP_BATCH];
	_Alignas(struct cmsghdr) uint8_t controls[UDP_BATCH][CONTROL_LEN];
};

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
	s->segments = true;
	/* Older kernels give each datagram alone: no harm. */
	setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one));
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

bool udp_reaches(const struct udp_socket *s, const struct endpoint *e)
{
	return s->family == AF_INET6 || e->addr.family == 4;
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

static void read_control(struct msghdr *m, struct addr *local, size_t *segment)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			addr_from_in6(local, &info.ipi6_addr);
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			addr_from_in(local, &info.ipi_addr);
		} else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
			int size;

			memcpy(&size, CMSG_DATA(c), sizeof(size));
			if (size > 0)
				*segment = (size_t)size;
		}
	}
}

static void add_control(struct msghdr *m, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)m->msg_control + m->msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	m->msg_controllen += CMSG_SPACE(len);
}

/* m->msg_control has CONTROL_LEN bytes, all zero or of an earlier call. */
static void add_local(struct msghdr *m, int family, const struct addr *local)
{
	if (!local->family)
		return;
	if (family == AF_INET6) {
		struct in6_pktinfo info = {0};

		addr_to_in6(local, &info.ipi6_addr);
		add_control(m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	} else {
		struct in_pktinfo info = {0};

		memcpy(&info.ipi_spec_dst, local->b, 4);
		add_control(m, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	}
}

static struct udp_vectors *vectors_new(uint8_t *data, size_t size, unsigned n)
{
	struct udp_vectors *v = calloc(1, sizeof(*v));

	for (unsigned i = 0; v && i < n; i++) {
		v->iovs[i].iov_base = data + i * size;
		v->msgs[i].msg_hdr.msg_name = &v->names[i];
		v->msgs[i].msg_hdr.msg_control = v->controls[i];
		v->msgs[i].msg_hdr.msg_iov = &v->iovs[i];
		v->msgs[i].msg_hdr.msg_iovlen = 1;
	}
	return v;
}

int udp_batch_init(struct udp_batch *b)
{
	memset(b, 0, sizeof(*b));
	b->data = calloc(UDP_BATCH, sizeof(*b->data));
	b->v = b->data ? vectors_new(b->data[0], UDP_BUFFER, UDP_BATCH) : NULL;
	if (b->v)
		return 0;
	udp_batch_clear(b);
	return -ENOMEM;
}

void udp_batch_clear(struct udp_batch *b)
{
	free(b->data);
	free(b->v);
	memset(b, 0, sizeof(*b));
}

int udp_arrival_init(struct udp_arrival *a)
{
	memset(a, 0, sizeof(*a));
	a->data = calloc(UDP_RUNS, sizeof(*a->data));
	a->v = a->data ? vectors_new(a->data[0], UDP_RUN_MAX, UDP_RUNS) : NULL;
	if (a->v)
		return 0;
	udp_arrival_clear(a);
	return -ENOMEM;
}

void udp_arrival_clear(struct udp_arrival *a)
{
	free(a->data);
	free(a->v);
	memset(a, 0, sizeof(*a));
}

unsigned udp_read(const struct udp_socket *s, struct udp_arrival *a)
{
	struct udp_vectors *v = a->v;
	int n;

	for (unsigned i = 0; i < UDP_RUNS; i++) {
		v->iovs[i].iov_len = UDP_RUN_MAX;
		v->msgs[i].msg_hdr.msg_namelen = sizeof(v->names[i]);
		v->msgs[i].msg_hdr.msg_controllen = CONTROL_LEN;
	}
	n = recvmmsg(s->fd, v->msgs, UDP_RUNS, MSG_DONTWAIT, NULL);
	a->n = n > 0 ? (unsigned)n : 0;
	for (unsigned i = 0; i < a->n; i++) {
		struct msghdr *m = &v->msgs[i].msg_hdr;

		a->len[i] = a->segment[i] = v->msgs[i].msg_len;
		a->path[i].local.family = 0;
		remote_from_name(&a->path[i].remote, &v->names[i]);
		read_control(m, &a->path[i].local, &a->segment[i]);
		if (m->msg_flags & MSG_TRUNC)
			a->segment[i] = 0;
	}
	return a->n;
}

static bool same_path(const struct udp_path *a, const struct udp_path *b)
{
	return endpoint_equal(&a->remote, &b->remote) && addr_equal(&a->local, &b->local);
}

/* How many datagrams from `first` on can go as one run: one path, one size, the last may be shorter. */
static unsigned run_of(const struct udp_socket *s, const struct udp_batch *b, unsigned first)
{
	size_t size = b->len[first], total = size;
	unsigned n = 1;

	while (s->segments && first + n < b->n) {
		unsigned i = first + n;

		if (b->len[i] > size || total + b->len[i] > UDP_RUN_MAX - 100 ||
		    !same_path(&b->path[i], &b->path[first]))
			break;
		total += b->len[i];
		n++;
		if (b->len[i] < size)
			break;
	}
	return n;
}

/* The runs of b from datagram `from` on, as messages; counts[] says how many datagrams each holds. */
static unsigned runs_make(const struct udp_socket *s, struct udp_batch *b, unsigned from,
                          unsigned counts[UDP_BATCH])
{
	struct udp_vectors *v = b->v;
	unsigned runs = 0;

	for (unsigned i = from; i < b->n; i++)
		v->iovs[i].iov_len = b->len[i];
	for (unsigned i = from; i < b->n; i += counts[runs++]) {
		struct msghdr *m = &v->msgs[runs].msg_hdr;
		uint16_t size = (uint16_t)b->len[i];

		counts[runs] = run_of(s, b, i);
		m->msg_iov = &v->iovs[i];
		m->msg_iovlen = counts[runs];
		m->msg_namelen = remote_to_name(&b->path[i].remote, s->family, &v->names[runs]);
		m->msg_controllen = 0;
		add_local(m, s->family, &b->path[i].local);
		if (counts[runs] > 1)
			add_control(m, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size));
	}
	return runs;
}

static void lost(struct udp_batch *b, unsigned from, unsigned n)
{
	for (unsigned i = from; i < from + n; i++)
		b->len[i] = 0;
}

void udp_flush(struct udp_socket *s, struct udp_batch *b)
{
	unsigned counts[UDP_BATCH], runs, done = 0, at = 0;

	runs = runs_make(s, b, 0, counts);
	while (done < runs) {
		int n = sendmmsg(s->fd, b->v->msgs + done, runs - done, MSG_DONTWAIT);

		if (n > 0) {
			for (int i = 0; i < n; i++)
				at += counts[done++];
			continue;
		}
		if (errno == EAGAIN || errno == ENOBUFS) {
			lost(b, at, b->n - at); /* all behind it would meet the same */
			return;
		}
		if (counts[done] > 1 && (errno == EIO || errno == EINVAL || errno == EOPNOTSUPP)) {
			s->segments = false; /* a device without checksum offload: one by one */
			runs = runs_make(s, b, at, counts);
			done = 0;
			continue;
		}
		lost(b, at, counts[done]); /* its own fault: an address out of reach */
		at += counts[done++];
	}
}

bool udp_send(const struct udp_socket *s, const struct udp_path *to, const uint8_t *data,
              size_t len)
{
	_Alignas(struct cmsghdr) uint8_t control[CONTROL_LEN] = {0};
	struct sockaddr_storage name;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct msghdr m = {
		.msg_name = &name, .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control};

	m.msg_namelen = remote_to_name(&to->remote, s->family, &name);
	add_local(&m, s->family, &to->local);
	return sendmsg(s->fd, &m, MSG_DONTWAIT) == (ssize_t)len;
}
