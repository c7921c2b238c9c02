/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ratelimit - token buckets per source prefix (/24, /56), in a table of fixed size.
 *
 * Prefixes that fall into one bucket share it: the table cannot be filled, and which ones share is
 * the secret of a key drawn at start. Handshake thread only.
 */
#pragma once
#include "tun/ip.h"

#define RATELIMIT_BUCKETS 1024

struct ratelimit {
	uint64_t key;
	int64_t every;                   /* nanoseconds for one token */
	int64_t burst;                   /* tokens that may be saved up */
	int64_t full[RATELIMIT_BUCKETS]; /* when the bucket is full again */
};

void ratelimit_init(struct ratelimit *r, uint64_t key, unsigned per_second, unsigned burst);
/* May this source have one more now? */
bool ratelimit_take(struct ratelimit *r, const struct addr *source, int64_t now);
