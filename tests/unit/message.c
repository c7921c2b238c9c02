/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/message.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct message got;
static uint8_t raw[sizeof(struct message_header) + MESSAGE_MAX + 64];

static void pair(int p[2])
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p), 0);
}

/* What a hostile process could send: any bytes, any descriptors. */
static void send_raw(int fd, uint32_t type, uint32_t claimed, size_t len, const int *fds, int nfds)
{
	struct message_header head = {.type = type, .len = claimed, .seq = 1};
	char control[CMSG_SPACE(32 * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = raw, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	memcpy(raw, &head, sizeof(head));
	if (nfds > 0) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, (size_t)nfds * sizeof(int));
	}
	cr_assert_eq(sendmsg(fd, &msg, 0), (ssize_t)len);
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

#define HEAD                sizeof(struct message_header)
#define REFUSED(from, self) cr_expect_eq(message_receive(p[1], (from), (self), &got), -EBADMSG)

Test(message, carries_a_start_with_its_descriptors)
{
	struct message_start s = {.ndir = 1, .nconfig = 1, .nudp = 2, .uid = 5, .gid = 6}, back;
	int p[2], fds[4] = {0};

	pair(p);
	cr_assert_eq(message_send(p[0], MESSAGE_START, 7, &s, sizeof(s), fds, 4), 0);
	cr_assert_eq(message_receive(p[1], PROCESS_PARENT, PROCESS_CA, &got), 0);
	cr_expect_eq(got.head.seq, 7);
	cr_expect_eq(got.nfds, 4);
	for (int i = 0; i < 4; i++)
		cr_expect(fcntl(got.fds[i], F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(message_start_read(&got, &back), 0);
	cr_expect_eq(back.nudp, 2);
	message_close_fds(&got);
	cr_expect_eq(got.nfds, 0);
}

Test(message, tells_nothing_yet_from_nobody_there)
{
	int p[2];

	pair(p);
	cr_expect_eq(message_receive(p[1], PROCESS_PARENT, PROCESS_CA, &got), -EAGAIN);
	close(p[0]);
	cr_expect_eq(message_receive(p[1], PROCESS_PARENT, PROCESS_CA, &got), -EPIPE);
	cr_expect_eq(message_send(p[1], MESSAGE_READY, 0, NULL, 0, NULL, 0), -EPIPE);
}

Test(message, refuses_every_length_but_the_right_one)
{
	size_t right = sizeof(struct message_sign);
	int p[2];

	pair(p);
	for (size_t n = 0; n <= right + 8; n += n < right - 8 ? 61 : 1) {
		int want = n == right ? 0 : -EBADMSG;

		send_raw(p[0], MESSAGE_SIGN, (uint32_t)n, HEAD + n, NULL, 0);
		cr_expect_eq(message_receive(p[1], PROCESS_MANAGER, PROCESS_CA, &got), want, "%zu",
		             n);
	}
	/* The header says other than what came. */
	send_raw(p[0], MESSAGE_SIGN, (uint32_t)right, HEAD + right - 1, NULL, 0);
	REFUSED(PROCESS_MANAGER, PROCESS_CA);
	send_raw(p[0], MESSAGE_SIGN, (uint32_t)right - 1, HEAD + right, NULL, 0);
	REFUSED(PROCESS_MANAGER, PROCESS_CA);
	send_raw(p[0], MESSAGE_READY, 0, HEAD - 1, NULL, 0);
	REFUSED(PROCESS_CA, PROCESS_PARENT);
	send_raw(p[0], MESSAGE_READY, UINT32_MAX, HEAD, NULL, 0);
	REFUSED(PROCESS_CA, PROCESS_PARENT);
	send_raw(p[0], MESSAGE_SIGN, MESSAGE_MAX + 16, HEAD + MESSAGE_MAX + 16, NULL, 0);
	REFUSED(PROCESS_MANAGER, PROCESS_CA);
}

Test(message, refuses_types_that_are_none)
{
	static const uint32_t none[] = {0, MESSAGE_TYPE_COUNT, 1000, UINT32_MAX};
	int p[2];

	pair(p);
	for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++) {
		send_raw(p[0], none[i], 0, HEAD, NULL, 0);
		REFUSED(PROCESS_ENGINE, PROCESS_PARENT);
		cr_expect_eq(message_send(p[0], none[i], 0, NULL, 0, NULL, 0), -EINVAL);
	}
}

/* Who may say what to whom, written down apart from the table that decides it. */
static int may(uint32_t type, enum process from, enum process to)
{
	switch (type) {
	case MESSAGE_START:
	case MESSAGE_STOP:
		return from == PROCESS_PARENT && to != PROCESS_PARENT;
	case MESSAGE_READY:
		return from != PROCESS_PARENT && to == PROCESS_PARENT;
	case MESSAGE_HEALTH:
		return from == PROCESS_PARENT && to == PROCESS_ENGINE;
	case MESSAGE_SIGN:
	case MESSAGE_NODES:
	case MESSAGE_ORDERED:
		return from == PROCESS_MANAGER && to == PROCESS_CA;
	case MESSAGE_SIGNED:
	case MESSAGE_NODE:
	case MESSAGE_LIST:
	case MESSAGE_ORDER:
		return from == PROCESS_CA && to == PROCESS_MANAGER;
	default:
		return 0;
	}
}

static size_t body_of(uint32_t type)
{
	switch (type) {
	case MESSAGE_START:
		return sizeof(struct message_start);
	case MESSAGE_HEALTH:
		return sizeof(struct message_health);
	case MESSAGE_SIGN:
		return sizeof(struct message_sign);
	case MESSAGE_SIGNED:
		return sizeof(struct message_signed);
	case MESSAGE_NODE:
		return sizeof(struct message_node);
	case MESSAGE_LIST:
		return sizeof(struct message_list);
	case MESSAGE_ORDER:
		return sizeof(struct message_order);
	case MESSAGE_ORDERED:
		return sizeof(struct message_ordered);
	default:
		return 0;
	}
}

Test(message, takes_each_type_from_its_sender_alone)
{
	int p[2], fds[2] = {0};

	pair(p);
	for (uint32_t t = 1; t < MESSAGE_TYPE_COUNT; t++)
		for (enum process from = 0; from < PROCESS_COUNT; from++)
			for (enum process to = 0; to < PROCESS_COUNT; to++) {
				send_raw(p[0], t, (uint32_t)body_of(t), HEAD + body_of(t), fds,
				         t == MESSAGE_START  ? 2
				         : t == MESSAGE_LIST ? 1
				                             : 0);
				cr_expect_eq(message_receive(p[1], from, to, &got),
				             may(t, from, to) ? 0 : -EBADMSG, "%u %d %d", t, from,
				             to);
				message_close_fds(&got);
			}
}

Test(message, closes_the_descriptors_of_what_it_refuses)
{
	int p[2], fds[32] = {0}, before;

	pair(p);
	before = open_fds();
	send_raw(p[0], MESSAGE_READY, 0, HEAD, fds, 1); /* none are allowed */
	REFUSED(PROCESS_ENGINE, PROCESS_PARENT);
	send_raw(p[0], MESSAGE_START, sizeof(struct message_start),
	         HEAD + sizeof(struct message_start), fds, 1); /* two at least */
	REFUSED(PROCESS_PARENT, PROCESS_ENGINE);
	send_raw(p[0], MESSAGE_START, sizeof(struct message_start),
	         HEAD + sizeof(struct message_start), fds, MESSAGE_FDS_MAX + 1);
	REFUSED(PROCESS_PARENT, PROCESS_ENGINE);
	send_raw(p[0], MESSAGE_SIGN, 3, HEAD + 3, fds, 16);
	REFUSED(PROCESS_MANAGER, PROCESS_CA);
	cr_expect_eq(got.nfds, 0);
	cr_expect_eq(open_fds(), before);
}

Test(message, an_empty_datagram_ends_it)
{
	int p[2];

	pair(p);
	cr_assert_eq(send(p[0], "", 0, 0), 0);
	cr_expect_eq(message_receive(p[1], PROCESS_ENGINE, PROCESS_PARENT, &got), -EPIPE);
}

Test(message, once_is_once)
{
	uint32_t seen = 0;

	got.head.type = MESSAGE_READY;
	cr_expect_eq(message_once(&seen, &got), 0);
	cr_expect_eq(message_once(&seen, &got), -EBADMSG);
	got.head.type = MESSAGE_SIGN;
	cr_expect_eq(message_once(&seen, &got), 0);
	cr_expect_eq(message_once(&seen, &got), 0);
	got.head.type = 0;
	cr_expect_eq(message_once(&seen, &got), -EBADMSG);
}

static int start(struct message_start s, int nfds)
{
	struct message_start out;

	got.head.type = MESSAGE_START;
	got.head.len = sizeof(s);
	memcpy(got.body, &s, sizeof(s));
	got.nfds = nfds;
	return message_start_read(&got, &out);
}

Test(message, a_start_must_add_up)
{
	struct message_start good = {.ndir = 1,
	                             .nconfig = 1,
	                             .ntun = 2,
	                             .nudp = 2,
	                             .uid = 1,
	                             .gid = 1},
			     s;

	cr_expect_eq(start(good, 6), 0);
	cr_expect_eq(start(good, 5), -EBADMSG);
	cr_expect_eq(start(good, 7), -EBADMSG);
	s = good;
	s.ndir = 0;
	cr_expect_eq(start(s, 5), -EBADMSG);
	s = good;
	s.nconfig = 0;
	cr_expect_eq(start(s, 5), -EBADMSG);
	s.nconfig = 2;
	cr_expect_eq(start(s, 7), -EBADMSG);
	s = good;
	s.ntun = -1;
	s.nudp = 5;
	cr_expect_eq(start(s, 6), -EBADMSG);
	s = good;
	s.nlisten = INT32_MAX;
	s.npeer = INT32_MAX;
	cr_expect_eq(start(s, 4), -EBADMSG);
	s = good;
	s.uid = 0;
	cr_expect_eq(start(s, 6), -EBADMSG);
	s = good;
	s.gid = 0;
	cr_expect_eq(start(s, 6), -EBADMSG);
	got.head.len--;
	cr_expect_eq(message_start_read(&got, &s), -EBADMSG);
}

Test(message, every_result_has_a_name_and_a_text)
{
	for (int r = 0; r < SIGN_RESULT_COUNT; r++) {
		cr_expect(strlen(sign_result_name(r)) > 1);
		cr_expect(strlen(sign_result_text(r)) > 5);
	}
	cr_expect_str_eq(sign_result_name(SIGN_TOKEN_USED), "token-used");
	cr_expect_str_eq(sign_result_name(255), "unknown");
	cr_expect_str_eq(process_name(PROCESS_CA), "ca");
	cr_expect_str_eq(process_name(PROCESS_COUNT), "?");
}
