/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tun/netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* syscalls(parent): socket bind getsockname setsockopt sendto recvmsg close */

#define DUMP_TRIES 8

struct netlink {
	struct mnl_socket *socket;
	uint32_t seq;
	char answer[NETLINK_ANSWER_MAX];
};

static int socket_open(struct mnl_socket **out)
{
	struct mnl_socket *s;
	int err, on = 1;

	s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!s)
		return -errno;
	if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		mnl_socket_close(s);
		return err;
	}
	/* Lets the kernel filter dumps; an old one sends all, and we look ourselves in any case. */
	mnl_socket_setsockopt(s, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	*out = s;
	return 0;
}

int netlink_new(struct netlink **out)
{
	struct netlink *n;
	int err;

	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	err = socket_open(&n->socket);
	if (err)
		goto fail_open;
	*out = n;
	return 0;
fail_open:
	free(n);
	return err;
}

void netlink_free(struct netlink *n)
{
	if (!n)
		return;
	mnl_socket_close(n->socket);
	free(n);
}

void *netlink_begin(struct netlink_message *m, uint16_t type, unsigned flags, size_t size)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(m);

	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	return mnl_nlmsg_put_extra_header(h, size);
}

static ssize_t receive(struct netlink *n)
{
	ssize_t len;

	do
		len = mnl_socket_recvfrom(n->socket, n->answer, sizeof(n->answer));
	while (len < 0 && errno == EINTR);
	return len;
}

/* Is what was received an answer to this question, or the rest of one that broke off? */
static bool answers(const struct netlink *n, ssize_t len)
{
	struct nlmsghdr h;

	memcpy(&h, n->answer, sizeof(h));
	return (size_t)len >= sizeof(h) && h.nlmsg_seq == n->seq;
}

static int ask(struct netlink *n, struct nlmsghdr *h, netlink_fn *fn, void *arg)
{
	unsigned port = mnl_socket_get_portid(n->socket);
	ssize_t len;
	int run = MNL_CB_OK;

	h->nlmsg_seq = ++n->seq;
	if (mnl_socket_sendto(n->socket, h, h->nlmsg_len) < 0)
		return -errno;
	while (run > MNL_CB_STOP) {
		len = receive(n);
		if (len < 0)
			return -errno;
		if (answers(n, len))
			run = mnl_cb_run(n->answer, (size_t)len, n->seq, port, fn, arg);
	}
	return run < 0 ? -errno : 0;
}

int netlink_request(struct netlink *n, struct netlink_message *m, netlink_fn *fn, void *arg)
{
	m->head.nlmsg_flags |= NLM_F_ACK; /* the last of the answers, whatever comes before it */
	return ask(n, &m->head, fn, arg);
}

/* While the rest of a dump that broke off waits to be read, the kernel begins no other on that
 * socket; so the next one gets a new socket.
 */
int netlink_dump(struct netlink *n, struct netlink_message *m, netlink_fn *fn, void *arg)
{
	struct mnl_socket *next = NULL;
	int err = -EINTR, again;

	m->head.nlmsg_flags |= NLM_F_DUMP;
	for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++) {
		err = ask(n, &m->head, fn, arg);
		if (!err)
			return 0;
		again = socket_open(&next);
		if (again)
			return again;
		mnl_socket_close(n->socket);
		n->socket = next;
	}
	return err;
}

const void *netlink_body(const struct nlmsghdr *h, uint16_t type, size_t size)
{
	if (h->nlmsg_type != type || mnl_nlmsg_get_payload_len(h) < size)
		return NULL;
	return mnl_nlmsg_get_payload(h);
}

static int attr_take(const struct nlattr *at, void *arg)
{
	struct netlink_attrs *a = arg;

	if (mnl_attr_get_type(at) <= a->max)
		a->by_type[mnl_attr_get_type(at)] = at;
	return MNL_CB_OK;
}

void netlink_parse(const struct nlmsghdr *h, size_t size, struct netlink_attrs *out)
{
	mnl_attr_parse(h, (unsigned)size, attr_take, out);
}

void netlink_parse_nested(const struct nlattr *nest, struct netlink_attrs *out)
{
	mnl_attr_parse_nested(nest, attr_take, out);
}

uint32_t netlink_u32(const struct nlattr *at)
{
	return at && mnl_attr_validate(at, MNL_TYPE_U32) == 0 ? mnl_attr_get_u32(at) : 0;
}

uint8_t netlink_u8(const struct nlattr *at)
{
	return at && mnl_attr_validate(at, MNL_TYPE_U8) == 0 ? mnl_attr_get_u8(at) : 0;
}
