/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store in one SQLite file. What a failed write or sync left on the disk nobody knows: see
 * registry_file.c for what is done then.
 */
#include "gateway/manager/registry_store.h"

#include "gateway/log.h"
#include "gateway/manager/records.h"
#include "gateway/manager/registry_file.h"
#include "gateway/sealed.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char schema[] = "CREATE TABLE cluster ("
			     "  id INTEGER PRIMARY KEY CHECK (id = 1),"
			     "  name TEXT NOT NULL,"
			     "  generation INTEGER NOT NULL CHECK (generation > 0),"
			     "  revision INTEGER NOT NULL CHECK (revision >= 0)) STRICT;"
			     "CREATE TABLE range ("
			     "  kind TEXT NOT NULL CHECK (kind IN ('overlay', 'pool')),"
			     "  at INTEGER NOT NULL,"
			     "  prefix TEXT NOT NULL UNIQUE,"
			     "  PRIMARY KEY (kind, at)) STRICT, WITHOUT ROWID;"
			     "CREATE TABLE node ("
			     "  name TEXT NOT NULL PRIMARY KEY,"
			     "  role TEXT NOT NULL CHECK (role IN ('node', 'manager')),"
			     "  incarnation INTEGER NOT NULL,"
			     "  spki BLOB NOT NULL CHECK (length(spki) = 32),"
			     "  labels TEXT NOT NULL,"
			     "  slot INTEGER NOT NULL UNIQUE CHECK (slot >= 0),"
			     "  endpoints TEXT NOT NULL,"
			     "  cert_not_after INTEGER NOT NULL,"
			     "  joined INTEGER NOT NULL,"
			     "  last_seen INTEGER NOT NULL,"
			     "  version TEXT NOT NULL) STRICT, WITHOUT ROWID;";

#define NODE_COLUMNS                                                               \
	"name, role, incarnation, spki, labels, slot, endpoints, cert_not_after, " \
	"joined, last_seen, version, issue, issue_min, draining"

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	REVISION,
	ANEW,
	PUT,
	GET,
	REMOVE,
	SEEN,
	WORKLOAD_PUT,
	WORKLOAD_REMOVE,
	REFUSED_REMOVE,
	REFUSED_PUT,
	REFUSED_TRIM,
	POLICY_PUT,
	POLICY_TRIM,
	STATEMENT_COUNT
};

#define TEXT(x)   #x
#define NUMBER(x) TEXT(x)

static const char *const statement_text[STATEMENT_COUNT] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[REVISION] = "UPDATE cluster SET revision = ?1 WHERE id = 1 AND revision = ?1 - 1",
	[ANEW] = "DELETE FROM workload WHERE node = ?1 AND EXISTS"
		 " (SELECT 1 FROM node WHERE name = ?1 AND incarnation <> ?2)",
	[PUT] = "INSERT INTO node (" NODE_COLUMNS
		") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
		" ON CONFLICT (name) DO UPDATE SET role = ?2, incarnation = ?3, spki = ?4,"
		" labels = ?5, slot = ?6, endpoints = ?7, cert_not_after = ?8, joined = ?9,"
		" last_seen = ?10, version = ?11, issue = ?12, issue_min = ?13,"
		" draining = ?14",
	[GET] = "SELECT " NODE_COLUMNS " FROM node WHERE name = ?1",
	[REMOVE] = "DELETE FROM node WHERE name = ?1",
	[SEEN] = "UPDATE node SET last_seen = ?2 WHERE name = ?1",
	[WORKLOAD_PUT] = "INSERT INTO workload (id, node, record) VALUES (?1, ?2, ?3)"
			 " ON CONFLICT (id) DO UPDATE SET node = ?2, record = ?3",
	[WORKLOAD_REMOVE] = "DELETE FROM workload WHERE id = ?1",
	[REFUSED_REMOVE] = "DELETE FROM refused WHERE node = ?1 AND id = ?2",
	/* Numbers rise, so that the newest has the greatest. */
	[REFUSED_PUT] = "INSERT INTO refused (number, node, id, record, rule, at) VALUES"
			" ((SELECT coalesce(max(number), 0) + 1 FROM refused), ?1, ?2, ?3, ?4, ?5)",
	[REFUSED_TRIM] = "DELETE FROM refused WHERE number NOT IN"
			 " (SELECT number FROM refused ORDER BY number DESC LIMIT " NUMBER(
				 REGISTRY_REFUSED_MAX) ")"
						       " OR node = ?1 AND number NOT IN (SELECT "
						       "number FROM refused WHERE node = ?1"
						       " ORDER BY number DESC LIMIT " NUMBER(
							       REGISTRY_REFUSED_NODE) ")",
	[POLICY_PUT] = "INSERT INTO policy (version, document, hash, applied_at, by)"
		       " VALUES (?1, ?2, ?3, ?4, ?5)",
	[POLICY_TRIM] = "DELETE FROM policy WHERE version <= ?1 - " NUMBER(REGISTRY_POLICIES),
};

struct store {
	struct registry_file file;
	sqlite3_stmt *statements[STATEMENT_COUNT];
	uint64_t revision; /* acknowledged */
	char fault[160];   /* "" while all is well */
};

/* -- opening ----------------------------------------------------------------------------------- */

static int prepare_statements(struct store *s)
{
	int rc;

	for (int i = 0; i < STATEMENT_COUNT; i++) {
		rc = sqlite3_prepare_v3(s->file.db, statement_text[i], -1,
		                        SQLITE_PREPARE_PERSISTENT, &s->statements[i], NULL);
		if (rc != SQLITE_OK)
			return registry_file_errno(rc);
	}
	return 0;
}

static void finalize_statements(void *arg)
{
	struct store *s = arg;

	for (int i = 0; i < STATEMENT_COUNT; i++) {
		sqlite3_finalize(s->statements[i]);
		s->statements[i] = NULL;
	}
}

static int read_range(struct registry_cluster *c, const char *kind, const char *text)
{
	struct prefix p;

	if (!text || prefix_parse(&p, text) < 0)
		return -EBADMSG;
	if (strcmp(kind, "overlay") == 0) {
		if (c->noverlay == CONFIG_OVERLAY_MAX)
			return -EBADMSG;
		c->overlay[c->noverlay++] = p;
	} else {
		if (c->npools == NODE_POOLS_MAX)
			return -EBADMSG;
		c->pools[c->npools++] = p;
	}
	return 0;
}

static int read_ranges(struct store *s, struct registry_cluster *c)
{
	sqlite3_stmt *st;
	int rc, err;

	rc = sqlite3_prepare_v2(s->file.db, "SELECT kind, prefix FROM range ORDER BY kind, at", -1,
	                        &st, NULL);
	if (rc != SQLITE_OK)
		return registry_file_errno(rc);
	err = 0;
	while (!err && (rc = sqlite3_step(st)) == SQLITE_ROW)
		err = read_range(c, (const char *)sqlite3_column_text(st, 0),
		                 (const char *)sqlite3_column_text(st, 1));
	sqlite3_finalize(st);
	return err ? err : registry_file_errno(rc);
}

static int read_head(struct store *s, struct store_head *head)
{
	const char *name;
	sqlite3_stmt *st;
	int rc, err = 0;

	memset(head, 0, sizeof(*head));
	rc = sqlite3_prepare_v2(s->file.db, "SELECT name, generation, revision FROM cluster", -1,
	                        &st, NULL);
	if (rc != SQLITE_OK)
		return registry_file_errno(rc);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		name = (const char *)sqlite3_column_text(st, 0);
		if (!name || !cert_name_ok(name))
			err = -EBADMSG;
		else
			snprintf(head->cluster.name, sizeof(head->cluster.name), "%s", name);
		head->generation = (uint64_t)sqlite3_column_int64(st, 1);
		head->revision = (uint64_t)sqlite3_column_int64(st, 2);
	} else {
		err = rc == SQLITE_DONE ? -EBADMSG : registry_file_errno(rc);
	}
	sqlite3_finalize(st);
	return err ? err : read_ranges(s, &head->cluster);
}

int store_open(struct store **out, int dir, struct store_head *head)
{
	struct store *s;
	int err;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	err = registry_file_open(&s->file, dir);
	if (err)
		goto fail_open;
	err = prepare_statements(s);
	if (!err)
		err = read_head(s, head);
	if (err)
		goto fail_read;
	s->revision = head->revision;
	*out = s;
	return 0;
fail_read:
	finalize_statements(s);
	registry_file_close(&s->file);
fail_open:
	free(s);
	return err;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	finalize_statements(s);
	registry_file_close(&s->file);
	free(s);
}

const char *store_fault(const struct store *s)
{
	return s->fault[0] ? s->fault : NULL;
}

/* -- making ---------------------------------------------------------------------------------- */

static int insert_range(sqlite3 *db, const char *kind, unsigned at, const struct prefix *p)
{
	char text[PREFIX_TEXT_MAX];
	sqlite3_stmt *st;
	int rc;

	rc = sqlite3_prepare_v2(db, "INSERT INTO range VALUES (?1, ?2, ?3)", -1, &st, NULL);
	if (rc != SQLITE_OK)
		return registry_file_errno(rc);
	prefix_format(p, text);
	sqlite3_bind_text(st, 1, kind, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, at);
	sqlite3_bind_text(st, 3, text, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : registry_file_errno(rc);
}

static int insert_cluster(sqlite3 *db, const void *cluster)
{
	const struct registry_cluster *c = cluster;
	sqlite3_stmt *st;
	int rc, err = 0;

	rc = sqlite3_prepare_v2(db, "INSERT INTO cluster VALUES (1, ?1, 1, 0)", -1, &st, NULL);
	if (rc != SQLITE_OK)
		return registry_file_errno(rc);
	sqlite3_bind_text(st, 1, c->name, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	sqlite3_finalize(st);
	if (rc != SQLITE_DONE)
		return registry_file_errno(rc);
	for (unsigned i = 0; !err && i < c->noverlay; i++)
		err = insert_range(db, "overlay", i, &c->overlay[i]);
	for (unsigned i = 0; !err && i < c->npools; i++)
		err = insert_range(db, "pool", i, &c->pools[i]);
	return err;
}

int store_create(int dir, const struct registry_cluster *c)
{
	return registry_file_make(dir, schema, insert_cluster, c);
}

/* -- after a failure ------------------------------------------------------------------------- */

/* Did the file fail, rather than the request? */
static bool is_file_failure(int err)
{
	return err == -EIO || err == -EBADMSG || err == -EBUSY;
}

static int write_anew(struct store *s)
{
	struct store_head head;
	int err;

	err = registry_file_renew(&s->file, finalize_statements, s);
	if (!err)
		err = prepare_statements(s);
	if (!err)
		err = read_head(s, &head);
	if (!err && head.revision != s->revision)
		err = -EBADMSG;
	return err;
}

static void recover(struct store *s, const char *doing, const char *said)
{
	int err;

	log_error("registry: a write failed", "doing", doing, "reason", said, NULL);
	err = write_anew(s);
	if (!err) {
		log_warn("registry: the records were written to a new file and go on there", NULL);
		return;
	}
	snprintf(s->fault, sizeof(s->fault),
	         "%s failed (%.60s), and so did writing the records anew (%s)", doing, said,
	         strerrordesc_np(-err));
	log_error("registry: read-only until it is started again", "reason", s->fault, NULL);
}

/* -- rows ------------------------------------------------------------------------------------ */

static int column_text(sqlite3_stmt *st, int i, char *out, size_t max)
{
	const char *text = (const char *)sqlite3_column_text(st, i);
	size_t n = (size_t)sqlite3_column_bytes(st, i);

	if (!text || n >= max || strlen(text) != n)
		return -EBADMSG;
	memcpy(out, text, n + 1);
	return 0;
}

static json_t *column_json(sqlite3_stmt *st, int i)
{
	const char *text = (const char *)sqlite3_column_text(st, i);

	return text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

static int read_lists(struct registry_node *n, sqlite3_stmt *st)
{
	json_t *labels = column_json(st, 4), *endpoints = column_json(st, 6);
	int err = 0;

	if (record_labels_parse(&n->labels, labels) < 0 ||
	    record_endpoints_parse(n->endpoints, &n->nendpoints, endpoints) < 0)
		err = -EBADMSG;
	json_decref(labels);
	json_decref(endpoints);
	return err;
}

static int read_row(struct store_row *row, sqlite3_stmt *st)
{
	struct registry_node *n = &row->node;
	int64_t slot = sqlite3_column_int64(st, 5);
	char role[16];

	memset(row, 0, sizeof(*row));
	if (column_text(st, 0, n->name, sizeof(n->name)) < 0 || !cert_name_ok(n->name) ||
	    column_text(st, 1, role, sizeof(role)) < 0 || cert_role_parse(&n->role, role) < 0 ||
	    sqlite3_column_bytes(st, 3) != sizeof(n->spki) || slot < 0 ||
	    slot >= REGISTRY_NODES_MAX || read_lists(n, st) < 0 ||
	    column_text(st, 10, n->version, sizeof(n->version)) < 0)
		return -EBADMSG;
	n->incarnation = (uint64_t)sqlite3_column_int64(st, 2);
	memcpy(n->spki, sqlite3_column_blob(st, 3), sizeof(n->spki));
	row->slot = (unsigned)slot;
	n->cert_not_after = (time_t)sqlite3_column_int64(st, 7);
	n->joined = (time_t)sqlite3_column_int64(st, 8);
	n->last_seen = (time_t)sqlite3_column_int64(st, 9);
	n->issue = (uint64_t)sqlite3_column_int64(st, 11);
	n->issue_min = (uint64_t)sqlite3_column_int64(st, 12);
	n->draining = sqlite3_column_int64(st, 13) != 0;
	return 0;
}

int store_each(struct store *s, int (*fn)(void *arg, const struct store_row *row), void *arg)
{
	struct store_row row;
	sqlite3_stmt *st;
	int rc, err = 0;

	rc = sqlite3_prepare_v2(s->file.db, "SELECT " NODE_COLUMNS " FROM node ORDER BY name", -1,
	                        &st, NULL);
	if (rc != SQLITE_OK)
		return registry_file_errno(rc);
	while (!err && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		err = read_row(&row, st);
		if (!err)
			err = fn(arg, &row);
	}
	sqlite3_finalize(st);
	return err ? err : registry_file_errno(rc);
}

int store_get(struct store *s, const char *name, struct store_row *out)
{
	sqlite3_stmt *st = s->statements[GET];
	struct store_row row;
	int rc, err;

	if (!st)
		return -EIO; /* the file could not be reopened */
	sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		err = read_row(&row, st);
	else
		err = rc == SQLITE_DONE ? -ENOENT : registry_file_errno(rc);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	if (!err)
		*out = row;
	return err;
}

/* -- writing --------------------------------------------------------------------------------- */

static int step(struct store *s, enum statement which)
{
	sqlite3_stmt *st = s->statements[which];
	int rc = sqlite3_step(st);

	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return rc == SQLITE_DONE ? 0 : registry_file_errno(rc);
}

static int begin(struct store *s)
{
	return s->fault[0] ? -EROFS : step(s, BEGIN);
}

static int set_revision(struct store *s, uint64_t revision)
{
	int err;

	sqlite3_bind_int64(s->statements[REVISION], 1, (sqlite3_int64)revision);
	err = step(s, REVISION);
	if (!err && sqlite3_changes(s->file.db) != 1)
		err = -EBADMSG;
	return err;
}

/* The end of every transaction. err: what its statements said. */
static int end(struct store *s, int err, const char *doing)
{
	char said[80];

	if (err == -EROFS)
		return err;
	if (!err)
		err = step(s, COMMIT);
	if (!err)
		return 0;
	snprintf(said, sizeof(said), "%s", sqlite3_errmsg(s->file.db));
	if (!sqlite3_get_autocommit(s->file.db) && step(s, ROLLBACK) < 0)
		err = -EIO; /* whatever it was, the file is not to be trusted */
	if (!is_file_failure(err)) {
		log_warn("registry: a change was refused", "doing", doing, "reason", said, NULL);
		return err;
	}
	recover(s, doing, said);
	return -EIO;
}

static int bind_lists(sqlite3_stmt *st, const struct registry_node *n)
{
	json_t *labels = record_labels_format(&n->labels);
	json_t *endpoints = record_endpoints_format(n->endpoints, n->nendpoints, 0);
	char *l = labels ? json_dumps(labels, JSON_COMPACT) : NULL;
	char *e = endpoints ? json_dumps(endpoints, JSON_COMPACT) : NULL;
	int err = -ENOMEM;

	if (l && e && sqlite3_bind_text(st, 5, l, -1, SQLITE_TRANSIENT) == SQLITE_OK &&
	    sqlite3_bind_text(st, 7, e, -1, SQLITE_TRANSIENT) == SQLITE_OK)
		err = 0;
	free(l);
	free(e);
	json_decref(labels);
	json_decref(endpoints);
	return err;
}

static int put_row(struct store *s, const struct store_row *row)
{
	const struct registry_node *n = &row->node;
	sqlite3_stmt *st = s->statements[PUT];
	int err;

	err = bind_lists(st, n);
	if (err) {
		sqlite3_clear_bindings(st);
		return err;
	}
	sqlite3_bind_text(st, 1, n->name, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, cert_role_name(n->role), -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 3, (sqlite3_int64)n->incarnation);
	sqlite3_bind_blob(st, 4, n->spki, sizeof(n->spki), SQLITE_STATIC);
	sqlite3_bind_int64(st, 6, row->slot);
	sqlite3_bind_int64(st, 8, n->cert_not_after);
	sqlite3_bind_int64(st, 9, n->joined);
	sqlite3_bind_int64(st, 10, n->last_seen);
	sqlite3_bind_text(st, 11, n->version, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 12, (sqlite3_int64)n->issue);
	sqlite3_bind_int64(st, 13, (sqlite3_int64)n->issue_min);
	sqlite3_bind_int64(st, 14, n->draining);
	return step(s, PUT);
}

int store_put(struct store *s, const struct store_row *row, uint64_t revision)
{
	int err = begin(s);

	if (!err) {
		sqlite3_bind_text(s->statements[ANEW], 1, row->node.name, -1, SQLITE_STATIC);
		sqlite3_bind_int64(s->statements[ANEW], 2, (sqlite3_int64)row->node.incarnation);
		err = step(s, ANEW);
	}
	if (!err)
		err = put_row(s, row);
	if (!err)
		err = set_revision(s, revision);
	err = end(s, err, "writing a node");
	if (!err)
		s->revision = revision;
	return err;
}

int store_remove(struct store *s, const char *name, uint64_t revision)
{
	int err = begin(s);

	if (!err) {
		sqlite3_bind_text(s->statements[REMOVE], 1, name, -1, SQLITE_STATIC);
		err = step(s, REMOVE);
	}
	if (!err)
		err = set_revision(s, revision);
	err = end(s, err, "removing a node");
	if (!err)
		s->revision = revision;
	return err;
}

int store_seen(struct store *s, const struct store_seen *at, unsigned n)
{
	int err = begin(s);

	for (unsigned i = 0; !err && i < n; i++) {
		sqlite3_bind_text(s->statements[SEEN], 1, at[i].name, -1, SQLITE_STATIC);
		sqlite3_bind_int64(s->statements[SEEN], 2, at[i].at);
		err = step(s, SEEN);
	}
	return end(s, err, "writing when nodes were seen");
}

/* -- backups ----------------------------------------------------------------------------------- */

/* syscalls(manager): memfd_create write fcntl close */
int store_copy(struct store *s, int *fd, size_t *len)
{
	sqlite3_int64 n = 0;
	unsigned char *bytes;
	int err;

	if (!s->file.db) /* a new file could not take the broken one's place */
		return -EIO;
	bytes = sqlite3_serialize(s->file.db, "main", &n, 0);
	if (!bytes)
		return -ENOMEM;
	err = sealed_new(fd, "registry", bytes, (size_t)n);
	sqlite3_free(bytes);
	if (!err)
		*len = (size_t)n;
	return err;
}

int store_restore(struct store *s, uint64_t generation)
{
	char sql[96];

	snprintf(sql, sizeof(sql), "UPDATE cluster SET generation = %llu WHERE id = 1",
	         (unsigned long long)generation);
	return registry_file_run(s->file.db, sql);
}

/* -- workloads --------------------------------------------------------------------------------- */

/* The end of a change that makes a revision. */
static int end_change(struct store *s, int err, uint64_t revision, const char *doing)
{
	if (!err)
		err = set_revision(s, revision);
	err = end(s, err, doing);
	if (!err)
		s->revision = revision;
	return err;
}

int store_workload_put(struct store *s, const char *id, const char *node, const char *text,
                       uint64_t revision)
{
	int err = begin(s);

	if (!err) {
		sqlite3_bind_text(s->statements[WORKLOAD_PUT], 1, id, -1, SQLITE_STATIC);
		sqlite3_bind_text(s->statements[WORKLOAD_PUT], 2, node, -1, SQLITE_STATIC);
		sqlite3_bind_text(s->statements[WORKLOAD_PUT], 3, text, -1, SQLITE_STATIC);
		err = step(s, WORKLOAD_PUT);
	}
	return end_change(s, err, revision, "writing a workload");
}

int store_workload_remove(struct store *s, const char *id, uint64_t revision)
{
	int err = begin(s);

	if (!err) {
		sqlite3_bind_text(s->statements[WORKLOAD_REMOVE], 1, id, -1, SQLITE_STATIC);
		err = step(s, WORKLOAD_REMOVE);
	}
	return end_change(s, err, revision, "removing a workload");
}

/* Steps through what sql selects. fn reads a row. */
static int each_row(struct store *s, const char *sql, int (*fn)(sqlite3_stmt *st, void *arg),
                    void *arg)
{
	sqlite3_stmt *st;
	int rc, err = 0;

	if (!s->file.db)
		return -EIO;
	rc = sqlite3_prepare_v2(s->file.db, sql, -1, &st, NULL);
	if (rc != SQLITE_OK)
		return registry_file_errno(rc);
	while (!err && (rc = sqlite3_step(st)) == SQLITE_ROW)
		err = fn(st, arg);
	sqlite3_finalize(st);
	return err ? err : registry_file_errno(rc);
}

struct each_workload {
	int (*fn)(void *arg, const char *id, const char *node, const char *text);
	void *arg;
};

static int read_workload(sqlite3_stmt *st, void *arg)
{
	struct each_workload *e = arg;
	char id[WORKLOAD_ID_MAX + 1], node[CERT_NAME_MAX + 1], text[WORKLOAD_TEXT_MAX];

	if (column_text(st, 0, id, sizeof(id)) < 0 || column_text(st, 1, node, sizeof(node)) < 0 ||
	    column_text(st, 2, text, sizeof(text)) < 0)
		return -EBADMSG;
	return e->fn(e->arg, id, node, text);
}

int store_workloads_each(struct store *s,
                         int (*fn)(void *arg, const char *id, const char *node, const char *text),
                         void *arg)
{
	struct each_workload e = {fn, arg};

	return each_row(s, "SELECT id, node, record FROM workload ORDER BY id", read_workload, &e);
}

int store_refused_put(struct store *s, const struct store_refused *row)
{
	int err = begin(s);

	if (!err) {
		sqlite3_bind_text(s->statements[REFUSED_REMOVE], 1, row->node, -1, SQLITE_STATIC);
		sqlite3_bind_text(s->statements[REFUSED_REMOVE], 2, row->id, -1, SQLITE_STATIC);
		err = step(s, REFUSED_REMOVE);
	}
	if (!err) {
		sqlite3_bind_text(s->statements[REFUSED_PUT], 1, row->node, -1, SQLITE_STATIC);
		sqlite3_bind_text(s->statements[REFUSED_PUT], 2, row->id, -1, SQLITE_STATIC);
		sqlite3_bind_text(s->statements[REFUSED_PUT], 3, row->text, -1, SQLITE_STATIC);
		sqlite3_bind_text(s->statements[REFUSED_PUT], 4, row->rule, -1, SQLITE_STATIC);
		sqlite3_bind_int64(s->statements[REFUSED_PUT], 5, row->at);
		err = step(s, REFUSED_PUT);
	}
	if (!err) {
		sqlite3_bind_text(s->statements[REFUSED_TRIM], 1, row->node, -1, SQLITE_STATIC);
		err = step(s, REFUSED_TRIM);
	}
	return end(s, err, "writing a refused placement");
}

struct each_refused {
	int (*fn)(void *arg, const struct store_refused *row);
	void *arg;
};

static int read_refused(sqlite3_stmt *st, void *arg)
{
	struct each_refused *e = arg;
	char id[WORKLOAD_ID_MAX + 1], node[CERT_NAME_MAX + 1], text[WORKLOAD_TEXT_MAX];
	char rule[REGISTRY_RULE_MAX + 1];
	struct store_refused row = {.node = node, .id = id, .rule = rule, .text = text};

	if (column_text(st, 0, node, sizeof(node)) < 0 || column_text(st, 1, id, sizeof(id)) < 0 ||
	    column_text(st, 2, text, sizeof(text)) < 0 ||
	    column_text(st, 3, rule, sizeof(rule)) < 0)
		return -EBADMSG;
	row.at = (time_t)sqlite3_column_int64(st, 4);
	return e->fn(e->arg, &row);
}

int store_refused_each(struct store *s, int (*fn)(void *arg, const struct store_refused *row),
                       void *arg)
{
	struct each_refused e = {fn, arg};

	return each_row(s, "SELECT node, id, record, rule, at FROM refused ORDER BY number DESC",
	                read_refused, &e);
}

/* -- the policy -------------------------------------------------------------------------------- */

int store_policy_put(struct store *s, const struct registry_policy *p, uint64_t revision)
{
	sqlite3_stmt *st = s->statements[POLICY_PUT];
	int err = begin(s);

	if (!err) {
		sqlite3_bind_int64(st, 1, (sqlite3_int64)p->version);
		sqlite3_bind_text(st, 2, p->document, (int)p->len, SQLITE_STATIC);
		sqlite3_bind_blob(st, 3, p->hash, sizeof(p->hash), SQLITE_STATIC);
		sqlite3_bind_int64(st, 4, p->applied_at);
		sqlite3_bind_text(st, 5, p->by, -1, SQLITE_STATIC);
		err = step(s, POLICY_PUT);
	}
	if (!err) {
		sqlite3_bind_int64(s->statements[POLICY_TRIM], 1, (sqlite3_int64)p->version);
		err = step(s, POLICY_TRIM);
	}
	return end_change(s, err, revision, "writing a policy");
}

static int read_policy(sqlite3_stmt *st, void *arg)
{
	const char *document = (const char *)sqlite3_column_text(st, 1);
	struct registry_policy *p = arg;

	p->version = (uint64_t)sqlite3_column_int64(st, 0);
	p->len = (size_t)sqlite3_column_bytes(st, 1);
	if (!document || strlen(document) != p->len ||
	    sqlite3_column_bytes(st, 2) != sizeof(p->hash) ||
	    column_text(st, 4, p->by, sizeof(p->by)) < 0)
		return -EBADMSG;
	memcpy(p->hash, sqlite3_column_blob(st, 2), sizeof(p->hash));
	p->applied_at = (time_t)sqlite3_column_int64(st, 3);
	p->document = strdup(document);
	return p->document ? 0 : -ENOMEM;
}

int store_policy_get(struct store *s, struct registry_policy *out)
{
	memset(out, 0, sizeof(*out));
	return each_row(s,
	                "SELECT version, document, hash, applied_at, by FROM policy"
	                " ORDER BY version DESC LIMIT 1",
	                read_policy, out);
}
