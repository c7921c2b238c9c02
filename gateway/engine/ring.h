/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ring - io_uring for one worker: a few files, four operations, and nothing that waits inside.
 *
 * An open ring passes by seccomp and Landlock, so it is made disabled, restricted to reading and
 * writing the files it is given, and enabled only then. Every entry carries RWF_NOWAIT or
 * MSG_DONTWAIT: O_NONBLOCK is not enough, for a file that supports nowait is parked on poll instead
 * and completes turns later, into a buffer that is in use again. So all entries complete, in order,
 * while they are submitted.
 *
 * Containers' seccomp answers ENOSYS or EPERM, and a sysctl may forbid it: then there is none, and
 * io makes ordinary calls. Worker thread only.
 */
#pragma once
#include <liburing.h>
#include <stdbool.h>

#define RING_FILES_MAX 16

struct ring {
	struct io_uring u;
	unsigned queued;
};

/* Room for so many entries a submission. An entry names its file by its place in files; -1: there is
 * none there. The first is the device. 0; -errno: not here.
 */
int ring_init(struct ring *r, unsigned entries, const int *files, unsigned n);
void ring_clear(struct ring *r);

/* Each entry has a number, under which ring_submit tells its result. false: no room, submit first. */
bool ring_read(struct ring *r, int file, void *buf, unsigned len, uint64_t number);
bool ring_writev(struct ring *r, int file, const struct iovec *pieces, unsigned n, uint64_t number);
bool ring_recv(struct ring *r, int file, struct msghdr *m, uint64_t number);
bool ring_send(struct ring *r, int file, struct msghdr *m, uint64_t number);

typedef void ring_done_fn(void *arg, uint64_t number, int result);

/* One system call for all that is queued. 0; -errno: the ring is of no use any more, and what was
 * queued may not have been done.
 */
int ring_submit(struct ring *r, ring_done_fn *done, void *arg);

/* Tries on a ring of its own what a ring must refuse. -EKEYREJECTED: it does not. Another error: this
 * kernel gives us none, and ordinary calls do the same.
 */
int ring_check(void);
