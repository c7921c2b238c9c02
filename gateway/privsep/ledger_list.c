/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is revoked, and the number of the list that says so. */
#include "gateway/privsep/ledger_inner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int revocation_row(sqlite3_stmt *s, struct revocation *r)
{
	int kind = sqlite3_column_int(s, 0), n = sqlite3_column_bytes(s, 1);
	const void *subject = sqlite3_column_blob(s, 1);

	memset(r, 0, sizeof(*r));
	if (kind < REVOCATION_INCARNATION || kind > REVOCATION_KEY || !subject || n < 1 ||
	    n > (kind == REVOCATION_KEY ? 32 : CERT_NAME_MAX))
		return -EBADMSG;
	r->kind = (enum revocation_kind)kind;
	memcpy(kind == REVOCATION_KEY ? r->spki : (uint8_t *)r->node, subject, (size_t)n);
	r->value = (uint64_t)sqlite3_column_int64(s, 2);
	r->until = sqlite3_column_int64(s, 3);
	return 0;
}

int ledger_list_number(struct ledger *l, uint64_t *number)
{
	int64_t value;
	int err = ledger_integer(l, "SELECT value FROM meta WHERE key = 'list'", &value);

	if (!err)
		*number = (uint64_t)value;
	return err;
}

int ledger_list(struct ledger *l, uint64_t *number, struct revocations *out)
{
	struct revocations all = {0};
	struct revocation r;
	sqlite3_stmt *s;
	int rc, err;

	err = ledger_list_number(l, number);
	if (!err)
		err = ledger_prepare(l, &s, "SELECT kind, subject, value, until FROM revocations");
	if (err)
		return err;
	while ((rc = sqlite3_step(s)) == SQLITE_ROW && !err) {
		err = revocation_row(s, &r);
		if (!err)
			err = revocations_add(&all, &r);
	}
	if (!err)
		err = ledger_error(l->db, rc);
	sqlite3_finalize(s);
	if (err)
		revocations_clear(&all);
	else
		*out = all;
	return err;
}

static int revocation_write(struct ledger *l, const struct revocation *r)
{
	bool key = r->kind == REVOCATION_KEY;
	sqlite3_stmt *s;
	int err = ledger_prepare(l, &s,
	                         "INSERT INTO revocations VALUES (?1, ?2, ?3, ?4)"
	                         " ON CONFLICT (kind, subject) DO UPDATE SET"
	                         " value = max(value, ?3), until = max(until, ?4)");

	if (err)
		return err;
	sqlite3_bind_int(s, 1, (int)r->kind);
	sqlite3_bind_blob(s, 2, key ? r->spki : (const uint8_t *)r->node,
	                  key ? 32 : (int)strlen(r->node), SQLITE_STATIC);
	sqlite3_bind_int64(s, 3, (int64_t)r->value);
	sqlite3_bind_int64(s, 4, r->until);
	return ledger_finish(l, s);
}

/* Forgets what has ended, and makes sure that the list has room. */
static int revocations_settle(struct ledger *l, time_t now)
{
	sqlite3_stmt *s;
	int64_t n;
	int err = ledger_prepare(l, &s, "DELETE FROM revocations WHERE until < ?");

	if (err)
		return err;
	sqlite3_bind_int64(s, 1, now);
	err = ledger_finish(l, s);
	if (!err)
		err = ledger_integer(l, "SELECT count(*) FROM revocations", &n);
	if (!err && n > REVOCATION_ENTRIES_MAX)
		err = -E2BIG;
	return err;
}

/* Above the clock, what it was, and what was shown to us. */
static int number_raise(struct ledger *l, uint64_t shown, time_t now)
{
	uint64_t number = 0;
	sqlite3_stmt *s;
	int err = ledger_list_number(l, &number);

	if (err)
		return err;
	if (number < shown)
		number = shown;
	if (now > 0 && number < (uint64_t)now)
		number = (uint64_t)now;
	err = ledger_prepare(l, &s, "UPDATE meta SET value = ? WHERE key = 'list'");
	if (err)
		return err;
	sqlite3_bind_int64(s, 1, (int64_t)number + 1);
	return ledger_finish(l, s);
}

/* Of a node none of whose certificates can be renewed after that. */
static time_t until_of(const struct ledger_node *n, time_t now)
{
	return (n->not_after > now ? n->not_after : now) + CERT_GRACE + 86400;
}

static int revoke_key(struct ledger *l, const uint8_t spki[32], time_t until)
{
	struct revocation r = {.kind = REVOCATION_KEY, .until = until};
	static const uint8_t none[32];

	memcpy(r.spki, spki, sizeof(r.spki));
	return memcmp(spki, none, sizeof(none)) ? revocation_write(l, &r) : 0;
}

int ledger_list_node(struct ledger *l, const struct ledger_node *n, time_t now)
{
	struct revocation r = {
		.kind = REVOCATION_INCARNATION, .value = n->incarnation, .until = until_of(n, now)};
	int err;

	snprintf(r.node, sizeof(r.node), "%s", n->name);
	err = revocation_write(l, &r);
	if (!err)
		err = revoke_key(l, n->keys.spki, r.until);
	if (!err)
		err = revoke_key(l, n->keys.next, r.until);
	return err;
}

int ledger_list_labels(struct ledger *l, const struct ledger_node *n, time_t now)
{
	struct revocation r = {
		.kind = REVOCATION_ISSUE, .value = n->issue_min, .until = until_of(n, now)};

	snprintf(r.node, sizeof(r.node), "%s", n->name);
	return revocation_write(l, &r);
}

/* The end of an act that revoked something. */
int ledger_list_raise(struct ledger *l, time_t now)
{
	int err = revocations_settle(l, now);

	return err ? err : number_raise(l, 0, now);
}

int ledger_list_judge(struct ledger *l, const struct cert_info *cert)
{
	struct revocations s;
	uint64_t number;
	int err = ledger_list(l, &number, &s);

	if (err)
		return err;
	if (revocations_judge(&s, cert, false) != CERT_OK)
		err = -EKEYREVOKED;
	revocations_clear(&s);
	return err;
}

/* -- a list that was shown to us ---------------------------------------------------------------- */

/* The node's own numbers: what is given out next is above what was revoked. */
static int node_follow(struct ledger *l, const struct revocation *r)
{
	struct ledger_node n;
	int err = r->kind == REVOCATION_KEY ? -ENOENT : ledger_node_get(l, r->node, &n);

	if (err)
		return err == -ENOENT ? 0 : err;
	if (r->kind == REVOCATION_INCARNATION && n.incarnation < r->value)
		n.incarnation = r->value;
	if (r->kind == REVOCATION_ISSUE && n.issue_min < r->value)
		n.issue_min = r->value;
	if (n.issue + 1 < n.issue_min)
		n.issue = n.issue_min - 1;
	return ledger_node_write(l, "REPLACE", &n);
}

static int take_entries(struct ledger *l, const struct revocations *s,
                        const struct revocations *own, time_t now, bool *news)
{
	int err = 0;

	for (unsigned i = 0; i < s->n && !err; i++) {
		const struct revocations one = {.n = 1, .at = &s->at[i]};

		if (s->at[i].until < now || s->at[i].value > INT64_MAX ||
		    revocations_cover(own, &one))
			continue;
		*news = true;
		err = revocation_write(l, &s->at[i]);
		if (!err)
			err = node_follow(l, &s->at[i]);
	}
	return err;
}

int ledger_list_take(struct ledger *l, uint64_t number, const struct revocations *s, time_t now,
                     bool *news)
{
	struct revocations own = {0};
	uint64_t ours = 0;
	int err = ledger_begin(l);

	*news = false;
	if (err)
		return err;
	err = ledger_list(l, &ours, &own);
	if (!err)
		err = take_entries(l, s, &own, now, news);
	revocations_clear(&own);
	*news |= number > ours;
	if (!err && *news)
		err = revocations_settle(l, now);
	if (!err && *news)
		err = number_raise(l, number, now);
	err = ledger_end(l, err);
	if (err)
		*news = false;
	return err;
}
