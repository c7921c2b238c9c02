/* SPDX-License-Identifier: GPL-3.0-or-later */
/* replay - refuses a record number that was accepted before (RFC 9147 section 4.5.1).
 *
 * Check and commit are two steps: a number may be committed only after its tag verified, or one
 * forged datagram would push honest ones out of the window. Owned by the keys it is embedded in.
 */
#pragma once
#include <stdint.h>

#define REPLAY_WINDOW 8192

struct replay {
	uint64_t next; /* one past the highest number committed */
	uint64_t seen[REPLAY_WINDOW / 64];
};

/* Numbers below next count as committed. */
void replay_init(struct replay *r, uint64_t next);
/* 0, -EALREADY if seq was committed before, -ESTALE if it fell out of the window. */
int replay_check(const struct replay *r, uint64_t seq);
/* After a check that said 0. */
void replay_commit(struct replay *r, uint64_t seq);
