/* SPDX-License-Identifier: GPL-3.0-or-later */
/* lists - the revocation lists that this node holds, as bytes to be passed on.
 *
 * Made by control, named by snapshots; the last reference frees it. To the engine they are bytes that
 * somebody signed, each list behind its length (4 bytes, big-endian).
 */
#pragma once
#include "crypto/revocation.h"
#include <stdatomic.h>

#define LISTS_HELD 4 /* the newest, and older ones that say what it does not */
#define LISTS_MAX  ((size_t)LISTS_HELD * (4 + REVOCATION_LIST_MAX))
#define LISTS_HASH 8 /* leftmost bytes of a SHA-256; a signature guards what is behind it */

/* What is told of them. */
struct lists_head {
	uint64_t number;          /* the greatest */
	uint8_t says[LISTS_HASH]; /* of all entries: two nodes that say the same need not speak */
	uint8_t id[LISTS_HASH];   /* of the bytes */
	uint32_t len;
};

struct lists {
	_Atomic unsigned refs;
	struct lists_head head;
	uint8_t bytes[];
};

/* set: what they say, all together. -ENOMEM. */
int lists_new(struct lists **out, uint64_t number, const struct revocations *set,
              const uint8_t *bytes, size_t len);
struct lists *lists_get(struct lists *l); /* takes NULL, as lists_put does */
void lists_put(struct lists *l);
/* Of some bytes. */
void lists_id(uint8_t out[LISTS_HASH], const uint8_t *bytes, size_t len);
