/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a ledger from a backup cannot know is what happened since. Numbers may have been given out,
 * tokens used, keys renewed, nodes revoked. So nothing is given out again: numbers go on from the
 * clock, which is above what a node is given in seconds. Revocations come back from those who keep them
 * (ledger_list_take).
 */
#include "gateway/privsep/ledger_inner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int meta_get(struct ledger *l, const char *key, uint64_t *out)
{
	char sql[96];
	int64_t value;
	int err;

	snprintf(sql, sizeof(sql), "SELECT value + 0 FROM meta WHERE key = '%s'", key);
	err = ledger_integer(l, sql, &value);
	if (!err && value < 0)
		err = -EBADMSG;
	if (!err)
		*out = (uint64_t)value;
	return err;
}

static int meta_set(struct ledger *l, const char *key, uint64_t value)
{
	sqlite3_stmt *s;
	int err = ledger_prepare(l, &s, "UPDATE meta SET value = ? WHERE key = ?");

	if (err)
		return err;
	sqlite3_bind_int64(s, 1, (int64_t)value);
	sqlite3_bind_text(s, 2, key, -1, SQLITE_STATIC);
	return ledger_finish(l, s);
}

int ledger_generation(struct ledger *l, uint64_t *out)
{
	return meta_get(l, "generation", out);
}

int ledger_incarnation(struct ledger *l, uint64_t *least)
{
	int err = meta_get(l, "incarnations", least);

	if (!err)
		++*least;
	return err;
}

/* All nodes' issue numbers are above the clock; from the one that would have come next on certificates
 * are of keys that this ledger does not know.
 */
static int nodes_restore(struct ledger *l, time_t now)
{
	sqlite3_stmt *s;
	int err = ledger_prepare(l, &s,
	                         "UPDATE nodes SET issue = max(issue, ?),"
	                         " restored = CASE restored WHEN 0 THEN issue + 1"
	                         " ELSE min(restored, issue + 1) END");

	if (err)
		return err;
	sqlite3_bind_int64(s, 1, now);
	return ledger_finish(l, s);
}

static uint64_t greatest(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

int ledger_restore(struct ledger *l, uint64_t generation, time_t now, uint64_t *out)
{
	uint64_t was = 0, incarnations = 0;
	int err = now > 0 ? ledger_begin(l) : -EINVAL;

	if (err)
		return err;
	err = ledger_generation(l, &was);
	if (!err)
		err = meta_get(l, "incarnations", &incarnations);
	generation = greatest(greatest(was, generation) + 1, (uint64_t)now);
	if (!err)
		err = meta_set(l, "generation", generation);
	if (!err)
		err = meta_set(l, "incarnations", greatest(incarnations + 1, (uint64_t)now));
	if (!err)
		err = nodes_restore(l, now);
	if (!err)
		err = ledger_exec(l, "UPDATE tokens SET revoked = 1 WHERE used_at IS NULL");
	if (!err)
		err = ledger_list_raise(l, now);
	err = ledger_end(l, err);
	if (!err)
		*out = generation;
	return err;
}

int ledger_node_keys(struct ledger *l, const char *name, const uint8_t spki[32],
                     const uint8_t manager_spki[32])
{
	struct ledger_node n;
	int err = ledger_begin(l);

	if (err)
		return err;
	err = ledger_node_get(l, name, &n);
	if (!err) {
		n.keys = n.manager_keys = (struct ledger_keys){0};
		memcpy(n.keys.spki, spki, sizeof(n.keys.spki));
		memcpy(n.manager_keys.spki, manager_spki, sizeof(n.manager_keys.spki));
		n.restored = 0;
		err = ledger_node_write(l, "REPLACE", &n);
	}
	return ledger_end(l, err);
}
