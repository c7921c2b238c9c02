/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/revoked.h"

#include "crypto/keyfile.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void kept_clear(struct revoked_list lists[REVOKED_LISTS])
{
	for (unsigned i = 0; i < REVOKED_LISTS; i++)
		free(lists[i].bytes);
	memset(lists, 0, REVOKED_LISTS * sizeof(*lists));
}

void revoked_clear(struct revoked *r)
{
	revocations_clear(&r->set);
	kept_clear(r->lists);
	memset(r, 0, sizeof(*r));
}

/* Does this list, which proved itself when it was taken, say anything that set does not, and that has
 * not ended by then?
 */
static bool says_more(const struct revoked_list *l, const struct revocations *set, time_t wall,
                      const struct cert_trust *trust)
{
	struct revocations own;
	uint64_t number;
	time_t issued;
	bool more;

	if (revocation_list_read(&own, &number, &issued, l->bytes, l->len, trust))
		return true; /* no memory to know */
	revocations_prune(&own, wall);
	more = !revocations_cover(set, &own);
	revocations_clear(&own);
	return more;
}

/* The greatest number first; of the others those that say more than it. The last makes room. */
static void keep_list(struct revoked *r, const struct revoked_list *fresh,
                      const struct revocations *said, time_t wall, const struct cert_trust *trust)
{
	struct revoked_list kept[REVOKED_LISTS] = {{0}};
	unsigned n = 0;
	bool newest = fresh->number >= r->number;

	if (newest)
		kept[n++] = *fresh;
	for (unsigned i = 0; i < REVOKED_LISTS; i++) {
		struct revoked_list *l = &r->lists[i];

		if (l->bytes && n < REVOKED_LISTS && (!newest || says_more(l, said, wall, trust)))
			kept[n++] = *l;
		else
			free(l->bytes);
	}
	if (!newest && n == REVOKED_LISTS)
		free(kept[--n].bytes);
	if (!newest)
		kept[n] = *fresh;
	memcpy(r->lists, kept, sizeof(kept));
}

int revoked_take(struct revoked *r, const uint8_t *list, size_t len, const struct cert_trust *trust)
{
	struct revoked_list fresh = {.len = len};
	struct revocations said;
	time_t issued;
	int err = revocation_list_read(&said, &fresh.number, &issued, list, len, trust);

	if (err)
		return err;
	if (fresh.number <= r->number && revocations_cover(&r->set, &said)) {
		revocations_clear(&said);
		return 0;
	}
	fresh.bytes = malloc(len);
	err = fresh.bytes ? revocations_join(&r->set, &said) : -ENOMEM;
	if (err) {
		free(fresh.bytes);
		revocations_clear(&said);
		return err;
	}
	memcpy(fresh.bytes, list, len);
	keep_list(r, &fresh, &said, issued, trust);
	if (fresh.number > r->number) {
		r->number = fresh.number;
		r->issued = issued;
	}
	revocations_clear(&said);
	return 1;
}

/* -- the disk: each list behind its length ---------------------------------------------------- */

static size_t length_get(const uint8_t *p)
{
	return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

static void length_put(uint8_t *p, size_t n)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(n >> (24 - 8 * i));
}

int revoked_take_file(struct revoked *r, const uint8_t *file, size_t n,
                      const struct cert_trust *trust)
{
	size_t at = 0, len;
	int fresh = 0, bad = 0, got;

	while (at < n) {
		len = n - at >= 4 ? length_get(file + at) : 0;
		if (n - at < 4 || len > n - at - 4)
			return -EBADMSG;
		got = revoked_take(r, file + at + 4, len, trust);
		if (got < 0)
			bad = got;
		else
			fresh |= got;
		at += 4 + len;
	}
	return bad && !fresh ? bad : fresh;
}

size_t revoked_format(const struct revoked *r, uint8_t file[LISTS_MAX])
{
	size_t n = 0;

	for (unsigned i = 0; i < REVOKED_LISTS; i++) {
		if (!r->lists[i].bytes)
			continue;
		length_put(file + n, r->lists[i].len);
		memcpy(file + n + 4, r->lists[i].bytes, r->lists[i].len);
		n += 4 + r->lists[i].len;
	}
	return n;
}

int revoked_load(struct revoked *r, int dir, const struct cert_trust *trust)
{
	uint8_t *file = malloc(LISTS_MAX);
	size_t n;
	int err;

	if (!file)
		return -ENOMEM;
	err = keyfile_read(dir, REVOKED_FILE, file, LISTS_MAX, &n);
	if (!err)
		err = revoked_take_file(r, file, n, trust);
	free(file);
	return err < 0 ? err : 0;
}

int revoked_save(const struct revoked *r, int dir)
{
	uint8_t *file = malloc(LISTS_MAX);
	size_t n;
	int err;

	if (!file)
		return -ENOMEM;
	n = revoked_format(r, file);
	err = n ? state_write(dir, REVOKED_FILE, file, n) : 0;
	free(file);
	return err;
}
