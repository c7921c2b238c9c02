/* SPDX-License-Identifier: GPL-3.0-or-later */
/* waiting - packets that wait for a session, so that a conversation's first one is not lost.
 *
 * One room per worker, in order of arrival, bounded in all and per peer; each packet leaves with its
 * peer's first lane or is dropped after WAITING_TIME. Those that are held for a moment only, because
 * they may not overtake others (pass.h), may fill the room.
 */
#pragma once
#include "gateway/engine/peer.h"

#define WAITING_ROOM     256
#define WAITING_PER_PEER 32
#define WAITING_TIME     (5 * 1000000000LL)
#define WAITING_PACKET   2048

struct waiting_packet {
	struct peer *peer; /* a reference; NULL: has left */
	int64_t since;
	size_t len;
	uint8_t data[WAITING_PACKET + 1]; /* one more for session_seal */
};

struct waiting {
	struct waiting_packet *ring; /* WAITING_ROOM of them */
	uint32_t head, tail;
	unsigned worker;
};

int waiting_init(struct waiting *w, unsigned worker);
void waiting_clear(struct waiting *w); /* drops all */
unsigned waiting_count(const struct waiting *w);
/* false: no room. */
bool waiting_add(struct waiting *w, struct peer *p, const uint8_t *data, size_t len, int64_t now);
/* Takes out the oldest packet of p; the
 * bytes are good until the next call. NULL: none.
 */
struct waiting_packet *waiting_take(struct waiting *w, const struct peer *p);
/* The peer of the next packet from *at on, and *at behind it; NULL: none. *at is waiting->head at first. */
struct peer *waiting_peer(const struct waiting *w, uint32_t *at);
/* Drops those that waited too long; how many. */
unsigned waiting_expire(struct waiting *w, int64_t now);
/* When waiting_expire wants to be called; INT64_MAX: never. */
int64_t waiting_deadline(const struct waiting *w);
