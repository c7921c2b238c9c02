/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

/* syscalls(engine): sendmsg */
/* syscalls(engine, before the filter): getsockname setsockopt */

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

bool udp_path_equal(const struct udp_path *a, const struct udp_path *b)
{
	return a->socket == b->socket && endpoint_equal(&a->remote, &b->remote) &&
	       addr_equal(&a->local, &b->local);
}

static void message_over(struct udp_message *m, uint8_t *data, size_t len)
{
	m->iov = (struct iovec){.iov_base = data, .iov_len = len};
	m->m = (struct msghdr){.msg_name = &m->name,
	                       .msg_iov = &m->iov,
	                       .msg_iovlen = 1,
	                       .msg_control = m->control};
}

void udp_message_in(struct udp_message *m, uint8_t *data, size_t max)
{
	message_over(m, data, max);
	m->m.msg_namelen = sizeof(m->name);
	m->m.msg_controllen = sizeof(m->control);
}

size_t udp_message_read(struct udp_message *m, size_t len, struct udp_path *from)
{
	size_t segment = len;

	from->local.family = 0;
	remote_from_name(&from->remote, &m->name);
	read_control(&m->m, &from->local, &segment);
	return m->m.msg_flags & MSG_TRUNC ? 0 : segment;
}

void udp_message_out(const struct udp_socket *s, struct udp_message *m, const struct udp_path *to,
                     uint8_t *data, size_t len, size_t segment)
{
	uint16_t size = (uint16_t)segment;

	message_over(m, data, len);
	m->m.msg_namelen = remote_to_name(&to->remote, s->family, &m->name);
	add_local(&m->m, s->family, &to->local);
	if (segment)
		add_control(&m->m, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size));
}

bool udp_send(const struct udp_socket *s, const struct udp_path *to, const uint8_t *data,
              size_t len)
{
	struct udp_message m;

	/* sendmsg only reads. */
	udp_message_out(s, &m, to, (uint8_t *)(uintptr_t)data, len, 0);
	return sendmsg(s->fd, &m.m, MSG_DONTWAIT) == (ssize_t)len;
}
