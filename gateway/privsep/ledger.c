/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The database is opened under a name that holds no path that would have to be walked: the ca's
 * uid may not pass the state folder above its own. SQLite makes each name absolute and resolves
 * links in it, so it is given a copy of its own file layer in which a name stays as it is.
 *
 * locking_mode=EXCLUSIVE: one process at a time holds the ledger, and WAL needs no shared memory
 * beside it. After a failed write that was no full disk, what the file holds is unknown: nothing
 * more is acknowledged by this handle, whoever owns it opens a new one, which reads what is there.
 */
#include "gateway/privsep/ledger.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* syscalls(ca): openat read pread64 write pwrite64 fsync fdatasync ftruncate fstat newfstatat
 * syscalls(ca): lstat stat unlink unlinkat fcntl access faccessat faccessat2 close lseek getpid mmap
 * munmap geteuid fchmod fallocate
 */

#define LEDGER_VERSION     2
#define LEDGER_APPLICATION 0x474e4c43 /* "GNLC" */
#define LEDGER_BUSY_MS     2000       /* a predecessor that is just ending */
#define LEDGER_PATH_MAX    64
#define LABELS_TEXT_MAX    ((size_t)CERT_LABELS_MAX * (CERT_LABEL_KEY_MAX + CERT_LABEL_VALUE_MAX + 2))

struct ledger {
	sqlite3 *db;
	sqlite3_vfs vfs;
	char vfs_name[32];
	char cluster[CERT_NAME_MAX + 1];
	bool broken; /* a write failed in a way that leaves the file's content unknown */
};

static const char *const schema =
	"CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE tokens (id BLOB PRIMARY KEY, role INTEGER NOT NULL, name TEXT NOT NULL,"
	" labels TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL,"
	" created_by TEXT NOT NULL, spki BLOB NOT NULL, revoked INTEGER NOT NULL DEFAULT 0,"
	" used_at INTEGER, used_by BLOB, used_name TEXT) WITHOUT ROWID;"
	"CREATE INDEX tokens_expires ON tokens (expires);"
	"CREATE TABLE nodes (name TEXT PRIMARY KEY, role INTEGER NOT NULL,"
	" incarnation INTEGER NOT NULL, issue INTEGER NOT NULL, spki BLOB NOT NULL,"
	" labels TEXT NOT NULL) WITHOUT ROWID;";

/* What brings a file of version i + 1 to the next one; a new file takes them all. */
static const char *const migrations[LEDGER_VERSION - 1] = {
	"ALTER TABLE nodes ADD COLUMN next BLOB;"
	"ALTER TABLE nodes ADD COLUMN manager_spki BLOB;"
	"ALTER TABLE nodes ADD COLUMN manager_next BLOB;"
	"ALTER TABLE nodes ADD COLUMN issue_min INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE nodes ADD COLUMN not_after INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE nodes ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE revocations (kind INTEGER NOT NULL, subject BLOB NOT NULL,"
	" value INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (kind, subject))"
	" WITHOUT ROWID;"
	"INSERT INTO meta VALUES ('list', '0');",
};

/* -- SQLite's errors, statements, transactions ------------------------------------------------ */

static int ledger_error(sqlite3 *db, int rc)
{
	int os = db ? sqlite3_system_errno(db) : 0;

	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_SCHEMA:
		return -EBADMSG;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return os > 0 ? -os : -EACCES;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_IOERR:
		return os == ENOSPC || os == EDQUOT ? -ENOSPC : -EIO;
	default:
		return -EIO;
	}
}

static int ledger_exec(struct ledger *l, const char *sql)
{
	return ledger_error(l->db, sqlite3_exec(l->db, sql, NULL, NULL, NULL));
}

static int ledger_prepare(struct ledger *l, sqlite3_stmt **out, const char *sql)
{
	return ledger_error(l->db, sqlite3_prepare_v2(l->db, sql, -1, out, NULL));
}

/* Why a step for one row yielded none. */
static int ledger_no_row(struct ledger *l, int rc)
{
	int err = rc == SQLITE_DONE ? -ENOENT : ledger_error(l->db, rc);

	return err ? err : -EIO;
}

/* For a statement that returns no row: steps and ends it. */
static int ledger_finish(struct ledger *l, sqlite3_stmt *s)
{
	int rc = sqlite3_step(s);
	int err = ledger_error(l->db, rc);

	sqlite3_finalize(s);
	return err;
}

static int ledger_begin(struct ledger *l)
{
	if (l->broken)
		return -EIO;
	return ledger_exec(l, "BEGIN IMMEDIATE");
}

/* Commits if err is 0, else rolls back; the one place that decides that the handle is spent. */
static int ledger_end(struct ledger *l, int err)
{
	if (!err)
		err = ledger_exec(l, "COMMIT");
	if (err && !sqlite3_get_autocommit(l->db) && ledger_exec(l, "ROLLBACK"))
		l->broken = true;
	if (err == -EIO || err == -EBADMSG)
		l->broken = true;
	return err;
}

/* -- rows ------------------------------------------------------------------------------------- */

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
static int column_text(sqlite3_stmt *s, int at, char *out, size_t max)
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
	    column_text(s, 2, t->name, sizeof(t->name)) ||
	    labels_parse(&t->labels, (const char *)sqlite3_column_text(s, 3)) ||
	    column_text(s, 6, t->created_by, sizeof(t->created_by)) || spki_len <= 0 ||
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
	    column_text(s, 11, t->used_name, sizeof(t->used_name)))
		return -EBADMSG;
	return 0;
}

#define NODE_COLUMNS                                                                      \
	"name, role, incarnation, issue, spki, labels, next, manager_spki, manager_next," \
	" issue_min, not_after, removed"

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
	if (column_text(s, 0, n->name, sizeof(n->name)) || column_role(s, 1, &n->role) ||
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
	return 0;
}

/* -- the file --------------------------------------------------------------------------------- */

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int max, char *out)
{
	int n = snprintf(out, (size_t)max, "%s", name);

	(void)vfs;
	return n >= 0 && n < max ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int ledger_connect(struct ledger *l, int dir)
{
	char path[LEDGER_PATH_MAX];
	sqlite3_vfs *unix_vfs;
	int rc;

	if (sqlite3_initialize() != SQLITE_OK)
		return -ENOMEM;
	unix_vfs = sqlite3_vfs_find("unix");
	if (!unix_vfs)
		return -ENOSYS;
	l->vfs = *unix_vfs;
	snprintf(l->vfs_name, sizeof(l->vfs_name), "ledger-%p", (void *)l);
	l->vfs.zName = l->vfs_name;
	l->vfs.pNext = NULL;
	l->vfs.xFullPathname = vfs_full_pathname;
	if (sqlite3_vfs_register(&l->vfs, 0) != SQLITE_OK)
		return -ENOMEM;
	if (dir == AT_FDCWD)
		snprintf(path, sizeof(path), "%s", LEDGER_FILE);
	else
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, LEDGER_FILE);
	rc = sqlite3_open_v2(path, &l->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
	                     l->vfs_name);
	if (rc != SQLITE_OK)
		return ledger_error(l->db, rc);
	sqlite3_extended_result_codes(l->db, 1);
	sqlite3_busy_timeout(l->db, LEDGER_BUSY_MS);
	sqlite3_db_config(l->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	return ledger_exec(l, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA trusted_schema=OFF;"
	                      "PRAGMA temp_store=MEMORY;"
	                      "PRAGMA cell_size_check=ON; PRAGMA journal_mode=WAL;"
	                      "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=1048576;");
}

/* Runs what a file of version `from` lacks, in the caller's transaction. */
static int ledger_migrate(struct ledger *l, int from)
{
	char pragma[48];
	int err = 0;

	for (int v = from; v < LEDGER_VERSION && !err; v++)
		err = ledger_exec(l, migrations[v - 1]);
	snprintf(pragma, sizeof(pragma), "PRAGMA user_version=%d", LEDGER_VERSION);
	return err ? err : ledger_exec(l, pragma);
}

static int ledger_pragma(struct ledger *l, const char *sql, int *out)
{
	sqlite3_stmt *s;
	int err = ledger_prepare(l, &s, sql);
	int rc;

	if (err)
		return err;
	rc = sqlite3_step(s);
	err = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -EBADMSG : ledger_error(l->db, rc);
	if (!err)
		*out = sqlite3_column_int(s, 0);
	sqlite3_finalize(s);
	return err;
}

/* Is this file a ledger of ours, whole, and of a version that we know? */
static int ledger_check(struct ledger *l)
{
	int application, version, err;
	sqlite3_stmt *s;
	bool ok;

	err = ledger_pragma(l, "PRAGMA application_id", &application);
	if (!err)
		err = ledger_pragma(l, "PRAGMA user_version", &version);
	if (err)
		return err;
	if (application != LEDGER_APPLICATION || version < 1)
		return -EBADMSG;
	if (version > LEDGER_VERSION)
		return -EPROTO;
	err = ledger_prepare(l, &s, "PRAGMA quick_check(1)");
	if (err)
		return err;
	ok = sqlite3_step(s) == SQLITE_ROW && sqlite3_column_text(s, 0) &&
	     !strcmp((const char *)sqlite3_column_text(s, 0), "ok");
	sqlite3_finalize(s);
	if (!ok)
		return -EBADMSG;
	if (version < LEDGER_VERSION) {
		err = ledger_begin(l);
		if (!err)
			err = ledger_end(l, ledger_migrate(l, version));
		if (err)
			return err;
	}
	err = ledger_prepare(l, &s, "SELECT value FROM meta WHERE key = 'cluster'");
	if (err)
		return err;
	if (sqlite3_step(s) != SQLITE_ROW || column_text(s, 0, l->cluster, sizeof(l->cluster)) ||
	    !cert_name_ok(l->cluster))
		err = -EBADMSG;
	sqlite3_finalize(s);
	return err;
}

int ledger_open(struct ledger **out, int dir)
{
	struct ledger *l;
	int err;

	if (faccessat(dir, LEDGER_FILE, F_OK, AT_SYMLINK_NOFOLLOW))
		return -errno;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	err = ledger_connect(l, dir);
	if (!err)
		err = ledger_check(l);
	if (err) {
		ledger_close(l);
		return err;
	}
	*out = l;
	return 0;
}

void ledger_close(struct ledger *l)
{
	if (!l)
		return;
	sqlite3_close(l->db);
	if (l->vfs.zName)
		sqlite3_vfs_unregister(&l->vfs);
	free(l);
}

const char *ledger_cluster(const struct ledger *l)
{
	return l->cluster;
}

bool ledger_broken(const struct ledger *l)
{
	return l->broken;
}

static int ledger_fill(struct ledger *l, const char *cluster)
{
	char head[96];
	sqlite3_stmt *s;
	int err;

	snprintf(head, sizeof(head), "PRAGMA application_id=%d;", LEDGER_APPLICATION);
	err = ledger_begin(l);
	if (err)
		return err;
	err = ledger_exec(l, head);
	if (!err)
		err = ledger_exec(l, schema);
	if (!err)
		err = ledger_migrate(l, 1);
	if (!err)
		err = ledger_prepare(l, &s, "INSERT INTO meta VALUES ('cluster', ?)");
	if (!err) {
		sqlite3_bind_text(s, 1, cluster, -1, SQLITE_STATIC);
		err = ledger_finish(l, s);
	}
	return ledger_end(l, err);
}

static int sync_dir(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = fsync(fd) ? -errno : 0;
	close(fd);
	return err;
}

int ledger_create(int dir, const char *cluster)
{
	struct ledger *l;
	int fd, err;

	if (!cert_name_ok(cluster))
		return -EINVAL;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	/* Made by us and not by SQLite, for its mode; the files beside it take mode and owner. */
	fd = openat(dir, LEDGER_FILE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		err = -errno;
		goto fail_file;
	}
	close(fd);
	err = ledger_connect(l, dir);
	if (!err)
		err = ledger_fill(l, cluster);
	ledger_close(l);
	if (!err)
		err = sync_dir(dir);
	if (err) {
		unlinkat(dir, LEDGER_FILE "-wal", 0);
		unlinkat(dir, LEDGER_FILE, 0);
	}
	return err;
fail_file:
	free(l);
	return err;
}

/* -- tokens ----------------------------------------------------------------------------------- */

static int count(struct ledger *l, const char *sql, int *out)
{
	return ledger_pragma(l, sql, out);
}

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
	int n, err;

	assert(t->spki_len > 0 && t->spki_len <= CERT_SPKI_MAX);
	err = ledger_begin(l);
	if (err)
		return err;
	err = tokens_prune(l, now - LEDGER_TOKEN_KEEP, now - LEDGER_RETRY);
	if (!err)
		err = count(l, "SELECT count(*) FROM tokens", &n);
	if (!err && n >= LEDGER_TOKENS_MAX) {
		err = tokens_prune(l, now, now - LEDGER_RETRY);
		if (!err)
			err = count(l, "SELECT count(*) FROM tokens", &n);
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

static int node_write(struct ledger *l, const char *verb, const struct ledger_node *n)
{
	char labels[LABELS_TEXT_MAX], sql[256];
	sqlite3_stmt *s;
	int err;

	snprintf(sql, sizeof(sql),
	         "%s INTO nodes (" NODE_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
	return ledger_end(l, node_write(l, "INSERT", n));
}

int ledger_next_issue(struct ledger *l, const char *name, time_t not_after, uint64_t *issue)
{
	struct ledger_node n;
	int err = ledger_begin(l);

	if (err)
		return err;
	err = ledger_node_get(l, name, &n);
	if (!err) {
		n.issue++;
		if (n.not_after < not_after)
			n.not_after = not_after;
		err = node_write(l, "REPLACE", &n);
	}
	err = ledger_end(l, err);
	if (!err)
		*issue = n.issue;
	return err;
}

/* -- renewal ---------------------------------------------------------------------------------- */

/* The holder of `spki` asks for `next`. A key that proves itself ends the one before: who stole that
 * may not renew by it. Until then its owner may ask again, for the answer may have been lost.
 */
static int keys_renew(struct ledger_keys *k, const uint8_t spki[32], const uint8_t next[32])
{
	static const uint8_t none[32];

	if (!memcmp(k->spki, none, sizeof(none)) || !memcmp(k->next, spki, 32))
		memcpy(k->spki, spki, 32);
	else if (memcmp(k->spki, spki, 32))
		return -EEXIST;
	memcpy(k->next, next, 32);
	return 0;
}

/* -- revocations ------------------------------------------------------------------------------ */

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

static int list_number(struct ledger *l, uint64_t *number)
{
	sqlite3_stmt *s;
	int err = ledger_prepare(l, &s, "SELECT value FROM meta WHERE key = 'list'");

	if (err)
		return err;
	err = sqlite3_step(s) == SQLITE_ROW ? 0 : -EBADMSG;
	if (!err)
		*number = (uint64_t)sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return err;
}

int ledger_list(struct ledger *l, uint64_t *number, struct revocations *out)
{
	struct revocations all = {0};
	struct revocation r;
	sqlite3_stmt *s;
	int rc, err;

	err = list_number(l, number);
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
	int n, err = ledger_prepare(l, &s, "DELETE FROM revocations WHERE until < ?");

	if (err)
		return err;
	sqlite3_bind_int64(s, 1, now);
	err = ledger_finish(l, s);
	if (!err)
		err = count(l, "SELECT count(*) FROM revocations", &n);
	if (!err && n > REVOCATION_ENTRIES_MAX)
		err = -E2BIG;
	return err;
}

static int number_raise(struct ledger *l, time_t now)
{
	uint64_t number = 0;
	sqlite3_stmt *s;
	int err = list_number(l, &number);

	if (err)
		return err;
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

static int revoke_node(struct ledger *l, const struct ledger_node *n, time_t now)
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

static int revoke_labels(struct ledger *l, const struct ledger_node *n, time_t now)
{
	struct revocation r = {
		.kind = REVOCATION_ISSUE, .value = n->issue_min, .until = until_of(n, now)};

	snprintf(r.node, sizeof(r.node), "%s", n->name);
	return revocation_write(l, &r);
}

/* The end of an act that revoked something. */
static int list_raise(struct ledger *l, time_t now)
{
	int err = revocations_settle(l, now);

	return err ? err : number_raise(l, now);
}

static int is_revoked(struct ledger *l, const struct cert_info *cert)
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

/* One that was not removed. */
static int member_get(struct ledger *l, const char *name, struct ledger_node *n)
{
	int err = ledger_node_get(l, name, n);

	return !err && n->removed ? -ENOENT : err;
}

/* Is this certificate's holder in the cluster, as what it says? */
static int holder_get(struct ledger *l, const struct cert_info *cert, struct ledger_node *n)
{
	int err = member_get(l, cert->node, n);

	if (err)
		return err;
	if (n->incarnation != cert->incarnation)
		return -ESTALE;
	err = is_revoked(l, cert);
	if (err)
		return err;
	return cert->role == ROLE_NODE || cert->role == n->role ? 0 : -EACCES;
}

int ledger_renew(struct ledger *l, const struct cert_info *cert, const uint8_t next[32],
                 struct ledger_node *n)
{
	struct ledger_node now;
	int err = ledger_begin(l);

	if (err)
		return err;
	err = holder_get(l, cert, &now);
	if (!err)
		err = keys_renew(cert->role == ROLE_NODE ? &now.keys : &now.manager_keys,
		                 cert->spki, next);
	if (!err)
		err = node_write(l, "REPLACE", &now);
	err = ledger_end(l, err);
	if (!err)
		*n = now;
	return err;
}

static bool holds(const struct ledger_keys *k, const uint8_t spki[32])
{
	return !memcmp(k->spki, spki, sizeof(k->spki)) || !memcmp(k->next, spki, sizeof(k->next));
}

int ledger_leave(struct ledger *l, const struct cert_info *cert)
{
	struct ledger_node n;
	int err = ledger_begin(l);

	if (err)
		return err;
	err = holder_get(l, cert, &n);
	if (!err && n.role != ROLE_NODE)
		err = -EACCES;
	if (!err && !holds(&n.keys, cert->spki))
		err = -EEXIST;
	if (!err) {
		n.removed = true;
		err = node_write(l, "REPLACE", &n);
	}
	return ledger_end(l, err);
}

/* -- operators' acts -------------------------------------------------------------------------- */

int ledger_remove(struct ledger *l, const char *name)
{
	struct ledger_node n;
	int err = ledger_begin(l);

	if (err)
		return err;
	err = member_get(l, name, &n);
	if (!err) {
		n.removed = true;
		err = node_write(l, "REPLACE", &n);
	}
	return ledger_end(l, err);
}

static bool labels_lost(const struct cert_labels *before, const struct cert_labels *after)
{
	for (unsigned i = 0; i < before->n; i++) {
		unsigned k = 0;

		while (k < after->n && (strcmp(before->at[i].key, after->at[k].key) ||
		                        strcmp(before->at[i].value, after->at[k].value)))
			k++;
		if (k == after->n)
			return true;
	}
	return false;
}

int ledger_label(struct ledger *l, const char *name, const struct cert_labels *labels, time_t now,
                 struct ledger_node *out, bool *lost)
{
	struct ledger_node n;
	int err = ledger_begin(l);

	if (err)
		return err;
	*lost = false;
	err = member_get(l, name, &n);
	if (!err && !cert_labels_equal(&n.labels, labels)) {
		*lost = labels_lost(&n.labels, labels);
		n.labels = *labels;
		n.issue_min = n.issue + 1;
		err = node_write(l, "REPLACE", &n);
	}
	if (!err && *lost)
		err = revoke_labels(l, &n, now);
	if (!err && *lost)
		err = list_raise(l, now);
	err = ledger_end(l, err);
	if (!err)
		*out = n;
	return err;
}

int ledger_revoke(struct ledger *l, const char *name, time_t now)
{
	struct ledger_node n;
	int err = ledger_begin(l);

	if (err)
		return err;
	err = member_get(l, name, &n);
	if (!err)
		err = revoke_node(l, &n, now);
	if (!err)
		err = list_raise(l, now);
	return ledger_end(l, err);
}

/* -- join ------------------------------------------------------------------------------------- */

/* May this token let this key in under this name, now? *again: it already did. */
static int join_token(const struct ledger_token *t, const char *name, const uint8_t spki[32],
                      time_t now, bool *again)
{
	*again = false;
	if (t->revoked)
		return -EKEYREVOKED;
	if (t->used) {
		if (memcmp(t->used_by, spki, sizeof(t->used_by)))
			return -EALREADY;
		if (strcmp(t->used_name, name))
			return -EPERM;
		*again = true;
		return now < t->used_at + LEDGER_RETRY ? 0 : -EKEYEXPIRED;
	}
	if (t->name[0] && strcmp(t->name, name))
		return -EPERM;
	return now < t->expires ? 0 : -EKEYEXPIRED;
}

/* The node's next incarnation. Issue numbers go on: those of an earlier one stay below. */
static int join_node(struct ledger *l, const struct ledger_token *t, const char *name,
                     const uint8_t spki[32], struct ledger_node *n)
{
	struct ledger_node old;
	int err, nodes;

	memset(n, 0, sizeof(*n));
	snprintf(n->name, sizeof(n->name), "%s", name);
	n->role = t->role;
	n->labels = t->labels;
	memcpy(n->keys.spki, spki, sizeof(n->keys.spki));
	err = ledger_node_get(l, name, &old);
	if (!err) {
		if (old.role != t->role && !old.removed)
			return -EEXIST;
		if (!t->name[0] && !old.removed && !holds(&old.keys, spki))
			return -EEXIST;
		n->incarnation = old.incarnation + 1;
		n->issue = old.issue;
		n->issue_min = old.issue_min;
		n->not_after = old.not_after;
		return node_write(l, "REPLACE", n);
	}
	if (err != -ENOENT)
		return err;
	err = count(l, "SELECT count(*) FROM nodes", &nodes);
	if (err)
		return err;
	if (nodes >= LEDGER_NODES_MAX)
		return -E2BIG;
	n->incarnation = 1;
	return node_write(l, "INSERT", n);
}

static int token_use(struct ledger *l, const uint8_t id[TOKEN_ID_LEN], const char *name,
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

int ledger_join(struct ledger *l, const uint8_t id[TOKEN_ID_LEN], const char *name,
                const uint8_t spki[32], time_t now, struct ledger_node *n)
{
	struct ledger_token t;
	struct ledger_node made;
	bool again;
	int err;

	if (!cert_name_ok(name))
		return -EINVAL;
	err = ledger_begin(l);
	if (err)
		return err;
	err = ledger_token_get(l, id, &t);
	if (!err)
		err = join_token(&t, name, spki, now, &again);
	if (!err && again) {
		err = ledger_node_get(l, name, &made);
		/* Since then the name may have gone to another key, by a token made for it. */
		if (err == -ENOENT || (!err && (made.removed || !holds(&made.keys, spki))))
			err = -EEXIST;
	} else if (!err) {
		err = join_node(l, &t, name, spki, &made);
		if (!err)
			err = token_use(l, id, name, spki, now);
	}
	err = ledger_end(l, err);
	if (!err)
		*n = made;
	return err;
}
