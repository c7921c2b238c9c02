/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows of tokens and nodes. Labels are one text, a line for each. */
#include "gateway/privsep/ledger_inner.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LABELS_TEXT_MAX ((size_t)CERT_LABELS_MAX * (CERT_LABEL_KEY_MAX + CERT_LABEL_VALUE_MAX + 2))

/* -- columns ---------------------------------------------------------------------------------- */

static void labels_format(const struct cert_labels *l, char out[LABELS_TEXT_MAX])
{
	size_t at = 0;

	assert(l->n <= CERT_LABELS_MAX);
	out[0] = '\0';
	for (unsigned i = 0; i < l->n; i++)
		at += (size_t)snprintf(out + at, LABELS_TEXT_MAX - at, "%s%s=%s", i ? "\n" : "",
		                       l->at[i].key, l->at[i].value);
}

static int labels_parse(struct cert_labels *out, const char *text)
{
	char copy[LABELS_TEXT_MAX];
	char *rest, *one;

	memset(out, 0, sizeof(*out));
	if (!text || strlen(text) >= sizeof(copy))
		return -EBADMSG;
	memcpy(copy, text, strlen(text) + 1);
	for (one = strtok_r(copy, "\n", &rest); one; one = strtok_r(NULL, "\n", &rest))
		if (cert_labels_add(out, one))
			return -EBADMSG;
	return 0;
}

/* A column's text into a field of max bytes; NULL is "". */
int ledger_column_text(sqlite3_stmt *s, int at, char *out, size_t max)
{
	const char *text = (const char *)sqlite3_column_text(s, at);
	int n = snprintf(out, max, "%s", text ? text : "");

	return n >= 0 && (size_t)n < max ? 0 : -EBADMSG;
}

static int column_blob(sqlite3_stmt *s, int at, uint8_t *out, size_t len)
{
	const void *blob = sqlite3_column_blob(s, at);

	if (!blob || (size_t)sqlite3_column_bytes(s, at) != len)
		return -EBADMSG;
	memcpy(out, blob, len);
	return 0;
}

static int column_role(sqlite3_stmt *s, int at, enum cert_role *out)
{
	int role = sqlite3_column_int(s, at);

	if (role != ROLE_NODE && role != ROLE_MANAGER)
		return -EBADMSG;
	*out = (enum cert_role)role;
	return 0;
}

#define TOKEN_COLUMNS                                                                            \
	"id, role, name, labels, created, expires, created_by, spki, revoked, used_at, used_by," \
	" used_name"

static int token_row(sqlite3_stmt *s, struct ledger_token *t)
{
	int spki_len = sqlite3_column_bytes(s, 7);

	memset(t, 0, sizeof(*t));
	if (column_blob(s, 0, t->id, sizeof(t->id)) || column_role(s, 1, &t->role) ||
	    ledger_column_text(s, 2, t->name, sizeof(t->name)) ||
	    labels_parse(&t->labels, (const char *)sqlite3_column_text(s, 3)) ||
	    ledger_column_text(s, 6, t->created_by, sizeof(t->created_by)) || spki_len <= 0 ||
	    spki_len > CERT_SPKI_MAX || column_blob(s, 7, t->spki, (size_t)spki_len))
		return -EBADMSG;
	t->spki_len = (size_t)spki_len;
	t->created = sqlite3_column_int64(s, 4);
	t->expires = sqlite3_column_int64(s, 5);
	t->revoked = sqlite3_column_int(s, 8) != 0;
	t->used = sqlite3_column_type(s, 9) != SQLITE_NULL;
	if (!t->used)
		return 0;
	t->used_at = sqlite3_column_int64(s, 9);
	if (column_blob(s, 10, t->used_by, sizeof(t->used_by)) ||
	    ledger_column_text(s, 11, t->used_name, sizeof(t->used_name)))
		return -EBADMSG;
	return 0;
}

#define NODE_COLUMNS                                                                      \
	"name, role, incarnation, issue, spki, labels, next, manager_spki, manager_next," \
	" issue_min, not_after, removed, restored"

/* NULL is no key. */
static int column_key(sqlite3_stmt *s, int at, uint8_t out[32])
{
	if (sqlite3_column_type(s, at) == SQLITE_NULL)
		return 0;
	return column_blob(s, at, out, 32);
}

static int node_row(sqlite3_stmt *s, struct ledger_node *n)
{
	memset(n, 0, sizeof(*n));
	if (ledger_column_text(s, 0, n->name, sizeof(n->name)) || column_role(s, 1, &n->role) ||
	    column_blob(s, 4, n->keys.spki, sizeof(n->keys.spki)) ||
	    labels_parse(&n->labels, (const char *)sqlite3_column_text(s, 5)) ||
	    column_key(s, 6, n->keys.next) || column_key(s, 7, n->manager_keys.spki) ||
	    column_key(s, 8, n->manager_keys.next))
		return -EBADMSG;
	n->incarnation = (uint64_t)sqlite3_column_int64(s, 2);
	n->issue = (uint64_t)sqlite3_column_int64(s, 3);
	n->issue_min = (uint64_t)sqlite3_column_int64(s, 9);
	n->not_after = sqlite3_column_int64(s, 10);
	n->removed = sqlite3_column_int(s, 11) != 0;
	n->restored = (uint64_t)sqlite3_column_int64(s, 12);
	return 0;
}

/* -- tokens ----------------------------------------------------------------------------------- */

static int tokens_prune(struct ledger *l, time_t expired_before, time_t used_before)
{
	sqlite3_stmt *s;
	int err = ledger_prepare(l, &s,
	                         "DELETE FROM tokens WHERE expires < ?1"
	                         " AND (used_at IS NULL OR used_at < ?2)");

	if (err)
		return err;
	sqlite3_bind_int64(s, 1, expired_before);
	sqlite3_bind_int64(s, 2, used_before);
	return ledger_finish(l, s);
}

static int token_insert(struct ledger *l, const struct ledger_token *t)
{
	char labels[LABELS_TEXT_MAX];
	sqlite3_stmt *s;
	int err;

	err = ledger_prepare(l, &s,
	                     "INSERT INTO tokens (id, role, name, labels, created, expires,"
	                     " created_by, spki) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
	if (err)
		return err;
	labels_format(&t->labels, labels);
	sqlite3_bind_blob(s, 1, t->id, sizeof(t->id), SQLITE_STATIC);
	sqlite3_bind_int(s, 2, (int)t->role);
	sqlite3_bind_text(s, 3, t->name, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 4, labels, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s, 5, t->created);
	sqlite3_bind_int64(s, 6, t->expires);
	sqlite3_bind_text(s, 7, t->created_by, -1, SQLITE_STATIC);
	sqlite3_bind_blob(s, 8, t->spki, (int)t->spki_len, SQLITE_STATIC);
	return ledger_finish(l, s);
}

int ledger_token_add(struct ledger *l, const struct ledger_token *t)
{
	time_t now = t->created;
	int64_t n;
	int err;

	assert(t->spki_len > 0 && t->spki_len <= CERT_SPKI_MAX);
	err = ledger_begin(l);
	if (err)
		return err;
	err = tokens_prune(l, now - LEDGER_TOKEN_KEEP, now - LEDGER_RETRY);
	if (!err)
		err = ledger_integer(l, "SELECT count(*) FROM tokens", &n);
	if (!err && n >= LEDGER_TOKENS_MAX) {
		err = tokens_prune(l, now, now - LEDGER_RETRY);
		if (!err)
			err = ledger_integer(l, "SELECT count(*) FROM tokens", &n);
		if (!err && n >= LEDGER_TOKENS_MAX)
			err = -E2BIG;
	}
	if (!err)
		err = token_insert(l, t);
	return ledger_end(l, err);
}

int ledger_token_get(struct ledger *l, const uint8_t id[TOKEN_ID_LEN], struct ledger_token *out)
{
	sqlite3_stmt *s;
	int err = ledger_prepare(l, &s, "SELECT " TOKEN_COLUMNS " FROM tokens WHERE id = ?");
	int rc;

	if (err)
		return err;
	sqlite3_bind_blob(s, 1, id, TOKEN_ID_LEN, SQLITE_STATIC);
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW)
		err = token_row(s, out);
	else
		err = ledger_no_row(l, rc);
	sqlite3_finalize(s);
	return err;
}

int ledger_token_revoke(struct ledger *l, const uint8_t id[TOKEN_ID_LEN])
{
	struct ledger_token t;
	sqlite3_stmt *s;
	int err = ledger_begin(l);

	if (err)
		return err;
	err = ledger_token_get(l, id, &t);
	if (!err && t.used)
		err = -EALREADY;
	if (!err)
		err = ledger_prepare(l, &s, "UPDATE tokens SET revoked = 1 WHERE id = ?");
	if (!err) {
		sqlite3_bind_blob(s, 1, id, TOKEN_ID_LEN, SQLITE_STATIC);
		err = ledger_finish(l, s);
	}
	return ledger_end(l, err);
}

int ledger_token_each(struct ledger *l, int (*fn)(void *arg, const struct ledger_token *t),
                      void *arg)
{
	struct ledger_token t;
	sqlite3_stmt *s;
	int rc, err;

	err = ledger_prepare(l, &s, "SELECT " TOKEN_COLUMNS " FROM tokens ORDER BY created, id");
	if (err)
		return err;
	while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
		err = token_row(s, &t);
		if (!err)
			err = fn(arg, &t);
		if (err)
			break;
	}
	if (!err)
		err = ledger_error(l->db, rc);
	sqlite3_finalize(s);
	return err;
}

int ledger_token_use(struct ledger *l, const uint8_t id[TOKEN_ID_LEN], const char *name,
                     const uint8_t spki[32], time_t now)
{
	sqlite3_stmt *s;
	int err = ledger_prepare(l, &s,
	                         "UPDATE tokens SET used_at = ?, used_by = ?, used_name = ?"
	                         " WHERE id = ?");

	if (err)
		return err;
	sqlite3_bind_int64(s, 1, now);
	sqlite3_bind_blob(s, 2, spki, 32, SQLITE_STATIC);
	sqlite3_bind_text(s, 3, name, -1, SQLITE_STATIC);
	sqlite3_bind_blob(s, 4, id, TOKEN_ID_LEN, SQLITE_STATIC);
	return ledger_finish(l, s);
}

/* -- nodes ------------------------------------------------------------------------------------ */

static int node_select(struct ledger *l, const char *sql, const char *name, struct ledger_node *out)
{
	sqlite3_stmt *s;
	int rc, err;

	err = ledger_prepare(l, &s, sql);
	if (err)
		return err;
	sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW)
		err = node_row(s, out);
	else
		err = ledger_no_row(l, rc);
	sqlite3_finalize(s);
	return err;
}

int ledger_node_get(struct ledger *l, const char *name, struct ledger_node *out)
{
	return node_select(l, "SELECT " NODE_COLUMNS " FROM nodes WHERE name = ?", name, out);
}

int ledger_node_next(struct ledger *l, const char *after, struct ledger_node *out)
{
	return node_select(l,
	                   "SELECT " NODE_COLUMNS " FROM nodes WHERE name > ?"
	                   " ORDER BY name LIMIT 1",
	                   after, out);
}

static void bind_key(sqlite3_stmt *s, int at, const uint8_t key[32])
{
	static const uint8_t none[32];

	if (memcmp(key, none, sizeof(none)))
		sqlite3_bind_blob(s, at, key, 32, SQLITE_STATIC);
}

int ledger_node_write(struct ledger *l, const char *verb, const struct ledger_node *n)
{
	char labels[LABELS_TEXT_MAX], sql[256];
	sqlite3_stmt *s;
	int err;

	snprintf(sql, sizeof(sql),
	         "%s INTO nodes (" NODE_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	         verb);
	err = ledger_prepare(l, &s, sql);
	if (err)
		return err;
	labels_format(&n->labels, labels);
	sqlite3_bind_text(s, 1, n->name, -1, SQLITE_STATIC);
	sqlite3_bind_int(s, 2, (int)n->role);
	sqlite3_bind_int64(s, 3, (int64_t)n->incarnation);
	sqlite3_bind_int64(s, 4, (int64_t)n->issue);
	sqlite3_bind_blob(s, 5, n->keys.spki, sizeof(n->keys.spki), SQLITE_STATIC);
	sqlite3_bind_text(s, 6, labels, -1, SQLITE_STATIC);
	bind_key(s, 7, n->keys.next);
	bind_key(s, 8, n->manager_keys.spki);
	bind_key(s, 9, n->manager_keys.next);
	sqlite3_bind_int64(s, 10, (int64_t)n->issue_min);
	sqlite3_bind_int64(s, 11, n->not_after);
	sqlite3_bind_int(s, 12, n->removed);
	sqlite3_bind_int64(s, 13, (int64_t)n->restored);
	return ledger_finish(l, s);
}

int ledger_node_add(struct ledger *l, const struct ledger_node *n)
{
	int err;

	if (!cert_name_ok(n->name) || n->labels.n > CERT_LABELS_MAX)
		return -EINVAL;
	err = ledger_begin(l);
	if (err)
		return err;
	return ledger_end(l, ledger_node_write(l, "INSERT", n));
}
