/* SPDX-License-Identifier: GPL-3.0-or-later */
/* revoked - the revocation lists that this node holds, on disk and in snapshots.
 *
 * What counts is the union of all entries of validly signed lists: an older list, or one of a manager
 * that was restored, takes nothing back. Kept are the lists themselves, so that what the disk says has
 * to prove itself too. Control's thread.
 */
#pragma once
#include "gateway/engine/lists.h"
#include <stdint.h>

#define REVOKED_FILE  "revoked.lists"
#define REVOKED_LISTS LISTS_HELD

struct revoked_list {
	uint64_t number;
	size_t len;
	uint8_t *bytes; /* NULL: the place is free */
};

struct revoked {
	struct revocations set; /* of all */
	uint64_t number;        /* the greatest */
	time_t issued;          /* of that list: no clock is before it */
	struct revoked_list lists[REVOKED_LISTS];
};

void revoked_clear(struct revoked *r);
/* What lies in dir, as far as it proves itself. 0, -ENOENT, -EBADMSG some of it did not, -errno. */
int revoked_load(struct revoked *r, int dir, const struct cert_trust *trust);
int revoked_save(const struct revoked *r, int dir);
/* The same as bytes: what lies on the disk, and what is passed on. Returns how many; 0: there are none. */
size_t revoked_format(const struct revoked *r, uint8_t file[LISTS_MAX]);
/* All lists of such a file: 1 something is new, 0 nothing is; -errno as revoked_take if none of them was
 * of use.
 */
int revoked_take_file(struct revoked *r, const uint8_t *file, size_t n,
                      const struct cert_trust *trust);
/* A list that came: 1 something is new, 0 nothing is, -EBADMSG it is none of our ca's, -ENOMEM, -E2BIG.
 * On error nothing is changed.
 */
int revoked_take(struct revoked *r, const uint8_t *list, size_t len,
                 const struct cert_trust *trust);
