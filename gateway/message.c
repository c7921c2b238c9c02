/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a process may say, and to whom, is this table and nothing else: who receives looks here
 * before it looks at the contents. A message that is not in it is not half-read.
 */
#include "gateway/message.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct rule {
	uint8_t from, to;  /* enum process, or ANY_CHILD */
	uint32_t min, max; /* bytes of the body */
	uint8_t fds_min, fds_max;
	bool once; /* in the life of a connection */
};

#define ANY_CHILD     PROCESS_COUNT
#define EXACTLY(type) sizeof(type), sizeof(type)

static const struct rule rules[MESSAGE_TYPE_COUNT] = {
	[MESSAGE_START] = {PROCESS_PARENT, ANY_CHILD, EXACTLY(struct message_start), 2,
                           MESSAGE_FDS_MAX, true},
	[MESSAGE_READY] = {ANY_CHILD, PROCESS_PARENT, 0, 0, 0, 0, true},
	[MESSAGE_STOP] = {PROCESS_PARENT, ANY_CHILD, 0, 0, 0, 0, true},
	[MESSAGE_HEALTH] = {PROCESS_PARENT, PROCESS_ENGINE, EXACTLY(struct message_health), 0, 0,
                            false},
	[MESSAGE_SIGN] = {PROCESS_MANAGER, PROCESS_CA, EXACTLY(struct message_sign), 0, 0, false},
	[MESSAGE_SIGNED] = {PROCESS_CA, PROCESS_MANAGER, EXACTLY(struct message_signed), 0, 0,
                            false},
	[MESSAGE_NODES] = {PROCESS_MANAGER, PROCESS_CA, 0, 0, 0, 0, false},
	[MESSAGE_LIST] = {PROCESS_CA, PROCESS_MANAGER, EXACTLY(struct message_list), 1, 1, false},
	[MESSAGE_NODE] = {PROCESS_CA, PROCESS_MANAGER, EXACTLY(struct message_node), 0, 0, false},
	[MESSAGE_ORDER] = {PROCESS_CA, PROCESS_MANAGER, EXACTLY(struct message_order), 0, 1, false},
	[MESSAGE_ORDERED] = {PROCESS_MANAGER, PROCESS_CA, EXACTLY(struct message_ordered), 0, 0,
                             false},
};

_Static_assert(sizeof(struct message_sign) <= MESSAGE_MAX, "a question fits one message");
_Static_assert(sizeof(struct message_signed) <= MESSAGE_MAX, "an answer fits one message");

static const struct rule *rule_of(uint32_t type)
{
	/* 0 is no type, so that a zeroed message is refused. */
	return type > 0 && type < MESSAGE_TYPE_COUNT ? &rules[type] : NULL;
}

static bool is(uint8_t who, enum process p)
{
	return who == ANY_CHILD ? p > PROCESS_PARENT && p < PROCESS_COUNT : who == p;
}

static bool size_ok(const struct rule *r, size_t len, int nfds)
{
	return len >= r->min && len <= r->max && nfds >= r->fds_min && nfds <= r->fds_max;
}

/* syscalls(all): sendmsg */
int message_send(int fd, enum message_type type, uint32_t seq, const void *body, size_t len,
                 const int *fds, int nfds)
{
	struct message_header head = {.type = type, .len = (uint32_t)len, .seq = seq};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
	} control = {0};
	struct iovec iov[2] = {
		{.iov_base = &head, .iov_len = sizeof(head)},
		{.iov_base = (void *)(uintptr_t)body, .iov_len = len},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	const struct rule *r = rule_of(type);
	ssize_t n;

	if (!r || !size_ok(r, len, nfds))
		return -EINVAL;
	if (nfds > 0) {
		struct cmsghdr *c;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
		c = &control.align; /* CMSG_FIRSTHDR, which need not be asked whether it is NULL */
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, (size_t)nfds * sizeof(int));
	}
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
	return (size_t)n == sizeof(head) + len ? 0 : -EMSGSIZE;
}

/* Descriptors are ours from the moment recvmsg returns, whatever else is wrong with the message. */
static void collect_fds(struct msghdr *msg, struct message *out)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		const unsigned char *at = CMSG_DATA(c);
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		while (n-- > 0 && out->nfds < MESSAGE_FDS_MAX) {
			memcpy(&out->fds[out->nfds++], at, sizeof(int));
			at += sizeof(int);
		}
	}
}

/* syscalls(all): recvmsg close */
int message_receive(int fd, enum process from, enum process self, struct message *out)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov[2] = {
		{.iov_base = &out->head, .iov_len = sizeof(out->head)},
		{.iov_base = out->body, .iov_len = sizeof(out->body)},
	};
	struct msghdr msg = {
		.msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	const struct rule *r;
	ssize_t n;

	memset(&out->head, 0, sizeof(out->head));
	out->nfds = 0;
	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	collect_fds(&msg, out);
	if (n == 0 && out->nfds == 0 && !(msg.msg_flags & MSG_CTRUNC))
		return -EPIPE;
	r = rule_of(out->head.type);
	if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || (size_t)n < sizeof(out->head) ||
	    (size_t)n - sizeof(out->head) != out->head.len || !r || !is(r->from, from) ||
	    !is(r->to, self) || !size_ok(r, out->head.len, out->nfds)) {
		message_close_fds(out);
		return -EBADMSG;
	}
	return 0;
}

void message_close_fds(struct message *m)
{
	while (m->nfds > 0)
		close(m->fds[--m->nfds]);
}

int message_once(uint32_t *seen, const struct message *m)
{
	const struct rule *r = rule_of(m->head.type);
	uint32_t bit = 1U << (m->head.type & 31);

	if (!r || (r->once && (*seen & bit)))
		return -EBADMSG;
	*seen |= bit;
	return 0;
}

int message_start_read(const struct message *m, struct message_start *out)
{
	struct message_start s;
	const int32_t *counts[] = {&s.ndir, &s.nconfig, &s.ntun, &s.nudp, &s.nlisten, &s.npeer};
	int sum = 0;

	if (m->head.type != MESSAGE_START || m->head.len != sizeof(s))
		return -EBADMSG;
	memcpy(&s, m->body, sizeof(s));
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		if (*counts[i] < 0 || *counts[i] > MESSAGE_FDS_MAX)
			return -EBADMSG;
		sum += *counts[i];
	}
	/* A process that kept uid 0 would be no process apart. */
	if (sum != m->nfds || s.ndir != 1 || s.nconfig != 1 || s.uid == 0 || s.gid == 0)
		return -EBADMSG;
	*out = s;
	return 0;
}

const char *process_name(enum process p)
{
	static const char *const names[PROCESS_COUNT] = {
		[PROCESS_PARENT] = "parent",
		[PROCESS_ENGINE] = "engine",
		[PROCESS_MANAGER] = "manager",
		[PROCESS_CA] = "ca",
	};

	return (unsigned)p < PROCESS_COUNT ? names[p] : "?";
}

static const struct {
	const char *name, *text;
} results[SIGN_RESULT_COUNT] = {
#define X(id, name, text) [SIGN_##id] = {name, text},
	SIGN_RESULTS(X)
#undef X
};

const char *sign_result_name(enum sign_result r)
{
	return (unsigned)r < SIGN_RESULT_COUNT ? results[r].name : "unknown";
}

const char *sign_result_text(enum sign_result r)
{
	return (unsigned)r < SIGN_RESULT_COUNT ? results[r].text
	                                       : "an answer that is not known here";
}
