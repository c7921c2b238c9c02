/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* syscalls(engine): io_uring_enter */
/* syscalls(engine, before the filter): io_uring_setup io_uring_register mmap */

#define ANY_OFFSET ((uint64_t)-1)

static int restrict_to(struct io_uring *u)
{
	static const uint8_t operations[] = {IORING_OP_READ, IORING_OP_WRITEV, IORING_OP_RECVMSG,
	                                     IORING_OP_SENDMSG};
	enum { OPERATIONS = sizeof(operations) };
	struct io_uring_restriction r[OPERATIONS + 3];

	memset(r, 0, sizeof(r));
	for (unsigned i = 0; i < OPERATIONS; i++) {
		r[i].opcode = IORING_RESTRICTION_SQE_OP;
		r[i].sqe_op = operations[i];
	}
	/* Nothing may be registered later but the enabling itself. */
	r[OPERATIONS].opcode = IORING_RESTRICTION_REGISTER_OP;
	r[OPERATIONS].register_op = IORING_REGISTER_ENABLE_RINGS;
	r[OPERATIONS + 1].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
	r[OPERATIONS + 1].sqe_flags = IOSQE_FIXED_FILE;
	r[OPERATIONS + 2].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	r[OPERATIONS + 2].sqe_flags = IOSQE_FIXED_FILE;
	return io_uring_register_restrictions(u, r, OPERATIONS + 3);
}

static void read_entry(struct io_uring_sqe *e, int file, void *buf, unsigned len, uint64_t number)
{
	io_uring_prep_read(e, file, buf, len, ANY_OFFSET);
	e->rw_flags = RWF_NOWAIT;
	e->flags = IOSQE_FIXED_FILE;
	e->user_data = number;
}

static void note(void *arg, uint64_t number, int result)
{
	(void)number;
	*(int *)arg = result;
}

/* A device that does not know RWF_NOWAIT would say so to every read. */
static int probe(struct ring *r)
{
	int result = -EIO, err;
	char none;

	if (!ring_read(r, 0, &none, 0, 0))
		return -ENOMEM;
	err = ring_submit(r, note, &result);
	if (err)
		return err;
	return result == -EOPNOTSUPP || result == -EACCES || result == -EPERM ? result : 0;
}

int ring_init(struct ring *r, unsigned entries, const int *files, unsigned n)
{
	struct io_uring_params p = {.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE |
	                                     IORING_SETUP_COOP_TASKRUN,
	                            .cq_entries = 2 * entries};
	int err;

	memset(r, 0, sizeof(*r));
	err = io_uring_queue_init_params(entries, &r->u, &p);
	if (err == -EINVAL) { /* before Linux 5.19 */
		p.flags &= ~(unsigned)IORING_SETUP_COOP_TASKRUN;
		err = io_uring_queue_init_params(entries, &r->u, &p);
	}
	if (err)
		return err;
	err = io_uring_register_files(&r->u, files, n);
	if (!err)
		err = restrict_to(&r->u);
	if (!err)
		err = io_uring_enable_rings(&r->u);
	if (!err)
		err = probe(r);
	if (err)
		io_uring_queue_exit(&r->u);
	return err;
}

void ring_clear(struct ring *r)
{
	io_uring_queue_exit(&r->u);
}

static struct io_uring_sqe *entry(struct ring *r)
{
	struct io_uring_sqe *e = io_uring_get_sqe(&r->u);

	if (e)
		r->queued++;
	return e;
}

bool ring_read(struct ring *r, int file, void *buf, unsigned len, uint64_t number)
{
	struct io_uring_sqe *e = entry(r);

	if (!e)
		return false;
	read_entry(e, file, buf, len, number);
	return true;
}

bool ring_writev(struct ring *r, int file, const struct iovec *pieces, unsigned n, uint64_t number)
{
	struct io_uring_sqe *e = entry(r);

	if (!e)
		return false;
	io_uring_prep_writev(e, file, pieces, n, ANY_OFFSET);
	e->rw_flags = RWF_NOWAIT;
	e->flags = IOSQE_FIXED_FILE;
	e->user_data = number;
	return true;
}

static void message_entry(struct io_uring_sqe *e, int operation, int file, struct msghdr *m,
                          uint64_t number)
{
	io_uring_prep_rw(operation, e, file, m, 1, 0);
	e->msg_flags = MSG_DONTWAIT;
	e->flags = IOSQE_FIXED_FILE;
	e->user_data = number;
}

bool ring_recv(struct ring *r, int file, struct msghdr *m, uint64_t number)
{
	struct io_uring_sqe *e = entry(r);

	if (!e)
		return false;
	message_entry(e, IORING_OP_RECVMSG, file, m, number);
	return true;
}

bool ring_send(struct ring *r, int file, struct msghdr *m, uint64_t number)
{
	struct io_uring_sqe *e = entry(r);

	if (!e)
		return false;
	message_entry(e, IORING_OP_SENDMSG, file, m, number);
	return true;
}

int ring_submit(struct ring *r, ring_done_fn *done, void *arg)
{
	struct io_uring_cqe *c;
	unsigned head, n = 0;
	int got;

	if (!r->queued)
		return 0;
	/* All complete while they are submitted; to wait for them costs nothing then, and is right
	 * should one not.
	 */
	do
		got = io_uring_submit_and_wait(&r->u, r->queued);
	while (got == -EINTR);
	if (got < 0)
		return got;
	io_uring_for_each_cqe(&r->u, head, c) {
		done(arg, c->user_data, c->res);
		n++;
	}
	io_uring_cq_advance(&r->u, n);
	if (n != r->queued)
		return -EIO;
	r->queued = 0;
	return 0;
}

/* -- the self-test ---------------------------------------------------------------------------- */

#define CHECK_ENTRIES 8

/* One entry, which the kernel must not even begin. */
static bool refused(struct ring *r, const struct io_uring_sqe *e)
{
	struct io_uring_sqe *to = io_uring_get_sqe(&r->u);
	struct io_uring_cqe *c;
	bool is;

	if (!to)
		return false;
	*to = *e;
	if (io_uring_submit_and_wait(&r->u, 1) < 0 || io_uring_peek_cqe(&r->u, &c) < 0)
		return false;
	is = c->res == -EACCES;
	io_uring_cqe_seen(&r->u, c);
	return is;
}

/* The ring has two files, the second a socket. */
static bool restricted(struct ring *r, int fd)
{
	const struct io_uring_sqe hostile[] = {
		{.opcode = IORING_OP_OPENAT,
	         .flags = IOSQE_FIXED_FILE,
	         .fd = AT_FDCWD,
	         .addr = (uintptr_t) "/",
	         .open_flags = O_RDONLY},
		{.opcode = IORING_OP_CONNECT, .flags = IOSQE_FIXED_FILE, .fd = 1},
		{.opcode = IORING_OP_ACCEPT, .flags = IOSQE_FIXED_FILE, .fd = 1},
		{.opcode = IORING_OP_CLOSE, .flags = IOSQE_FIXED_FILE, .fd = 1},
		{.opcode = IORING_OP_NOP, .flags = IOSQE_FIXED_FILE},
		/* One of the four, but on a file that is not registered; and one with a flag more. */
		{.opcode = IORING_OP_READ, .fd = fd},
		{.opcode = IORING_OP_READ, .flags = IOSQE_FIXED_FILE | IOSQE_ASYNC, .fd = 1},
	};

	for (size_t i = 0; i < sizeof(hostile) / sizeof(*hostile); i++)
		if (!refused(r, &hostile[i]))
			return false;
	return io_uring_register_eventfd(&r->u, fd) == -EACCES;
}

int ring_check(void)
{
	struct ring r;
	int pair[2], err;

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	err = ring_init(&r, CHECK_ENTRIES, pair, 2);
	if (!err) {
		err = restricted(&r, pair[0]) ? 0 : -EKEYREJECTED;
		ring_clear(&r);
	}
	close(pair[0]);
	close(pair[1]);
	return err;
}
