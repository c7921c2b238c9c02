/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store in one SQLite file.
 *
 * A failed write or sync tells nothing about what is on the disk: the kernel may have dropped the
 * pages and marked them clean. So nothing goes on in the file that failed. What this process can
 * still read of it (the last acknowledged state) is written to a new file, synced, and put in its
 * place: REGISTRY_FILE ".part" while it is written, ".new" once it is whole, then the log of the old
 * file goes, then ".new" takes its name. A crash between any two of these steps is finished by the
 * next open. If that fails too, the store is read-only until the process starts again.
 *
 * The file is held exclusively, so that the WAL's index lies in our memory and a second process is
 * refused. Names stay relative: SQLite would make them absolute, and the folder above ours is not
 * ours to search.
 *
 * syscalls(manager): openat read write pread64 pwrite64 fsync fdatasync ftruncate fallocate fstat
 * stat lstat unlink unlinkat renameat renameat2 fcntl geteuid access getpid getrandom
 */
#include "gateway/manager/registry_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "gateway/log.h"
#include "gateway/manager/records.h"

#define FILE_PART REGISTRY_FILE ".part"
#define FILE_NEW REGISTRY_FILE ".new"
#define FILE_WAL REGISTRY_FILE "-wal"
#define FILE_SHM REGISTRY_FILE "-shm"
#define FILE_JOURNAL "-journal"

#define SCHEMA_VERSION 1
#define APPLICATION_ID 0x676e6c31 /* "gnl1" */
#define BUSY_WAIT_MS 2000         /* a killed predecessor may take a moment to be gone */
#define PATH_TEXT_MAX 64
#define ROW_TEXT_MAX 4096         /* labels or endpoints of one node as JSON */

static const char schema[] =
	"CREATE TABLE cluster ("
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

#define NODE_COLUMNS                                                           \
	"name, role, incarnation, spki, labels, slot, endpoints, cert_not_after, " \
	"joined, last_seen, version"

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	REVISION,
	PUT,
	GET,
	REMOVE,
	SEEN,
	STATEMENT_COUNT
};

static const char *const statement_text[STATEMENT_COUNT] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[REVISION] = "UPDATE cluster SET revision = ?1 WHERE id = 1 AND revision = ?1 - 1",
	[PUT] = "INSERT INTO node (" NODE_COLUMNS
		") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
		" ON CONFLICT (name) DO UPDATE SET role = ?2, incarnation = ?3, spki = ?4,"
		" labels = ?5, slot = ?6, endpoints = ?7, cert_not_after = ?8, joined = ?9,"
		" last_seen = ?10, version = ?11",
	[GET] = "SELECT " NODE_COLUMNS " FROM node WHERE name = ?1",
	[REMOVE] = "DELETE FROM node WHERE name = ?1",
	[SEEN] = "UPDATE node SET last_seen = ?2 WHERE name = ?1",
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENT_COUNT];
	sqlite3_vfs vfs; /* the default one, but names stay as they are */
	char vfs_name[32];
	int dir;
	uint64_t revision; /* acknowledged */
	char fault[160];   /* "" while all is well */
};

/* -- names ----------------------------------------------------------------------------------- */

static int name_unchanged(sqlite3_vfs *vfs, const char *name, int max, char *out)
{
	(void)vfs;
	if (strlen(name) >= (size_t)max)
		return SQLITE_CANTOPEN;
	strcpy(out, name);
	return SQLITE_OK;
}

static int vfs_register(struct store *s)
{
	const sqlite3_vfs *base = sqlite3_vfs_find(NULL);

	if (!base)
		return -ENOMEM;
	s->vfs = *base;
	s->vfs.pNext = NULL;
	snprintf(s->vfs_name, sizeof(s->vfs_name), "ginnel-%p", (void *)s);
	s->vfs.zName = s->vfs_name;
	s->vfs.xFullPathname = name_unchanged;
	return sqlite3_vfs_register(&s->vfs, 0) == SQLITE_OK ? 0 : -ENOMEM;
}

/* Where SQLite finds a file of the folder. */
static void file_path(int dir, const char *name, char out[PATH_TEXT_MAX])
{
	if (dir == AT_FDCWD)
		snprintf(out, PATH_TEXT_MAX, "%s", name);
	else
		snprintf(out, PATH_TEXT_MAX, "/proc/self/fd/%d/%s", dir, name);
}

/* -- errors ---------------------------------------------------------------------------------- */

static int sqlite_errno(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_CONSTRAINT:
		return -EBADMSG;
	default:
		return -EIO;
	}
}

/* Did the file fail, rather than the request? */
static bool is_file_failure(int err)
{
	return err == -EIO || err == -EBADMSG || err == -EBUSY;
}

static int sync_fd(int dir, const char *name, int flags)
{
	int fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		err = -errno;
	close(fd);
	return err;
}

static int sync_dir(int dir)
{
	return sync_fd(dir, ".", O_RDONLY | O_DIRECTORY);
}

static int remove_file(int dir, const char *name)
{
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* -- opening --------------------------------------------------------------------------------- */

static int run(sqlite3 *db, const char *sql)
{
	return sqlite_errno(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

/* One integer of one row. */
static int query_int(sqlite3 *db, const char *sql, int64_t *out)
{
	sqlite3_stmt *st;
	int rc;

	rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
	if (rc != SQLITE_OK)
		return sqlite_errno(rc);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	if (rc == SQLITE_DONE)
		return -EBADMSG;
	return sqlite_errno(rc);
}

static int open_db(struct store *s, const char *name)
{
	char path[PATH_TEXT_MAX];
	int rc;

	file_path(s->dir, name, path);
	rc = sqlite3_open_v2(path, &s->db,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW |
				     SQLITE_OPEN_EXRESCODE,
			     s->vfs_name);
	if (rc != SQLITE_OK)
		return sqlite_errno(rc);
	sqlite3_busy_timeout(s->db, BUSY_WAIT_MS);
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	return run(s->db, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
			  "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON;"
			  "PRAGMA locking_mode = EXCLUSIVE;");
}

static int close_db(struct store *s)
{
	int rc;

	for (int i = 0; i < STATEMENT_COUNT; i++) {
		sqlite3_finalize(s->statements[i]);
		s->statements[i] = NULL;
	}
	rc = sqlite3_close(s->db);
	s->db = NULL;
	return sqlite_errno(rc);
}

static int check_file(struct store *s)
{
	int64_t id, version;
	sqlite3_stmt *st;
	bool ok;
	int err;

	err = query_int(s->db, "PRAGMA application_id", &id);
	if (!err)
		err = query_int(s->db, "PRAGMA user_version", &version);
	if (err)
		return err;
	if (id != APPLICATION_ID || version < 1)
		return -EBADMSG;
	if (version > SCHEMA_VERSION)
		return -EPROTO;
	err = sqlite_errno(sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &st, NULL));
	if (err)
		return err;
	ok = sqlite3_step(st) == SQLITE_ROW &&
	     strcmp((const char *)sqlite3_column_text(st, 0), "ok") == 0;
	sqlite3_finalize(st);
	return ok ? 0 : -EBADMSG;
}

/* WAL makes a commit one write and one sync; FULL makes that sync. */
static int settle_file(struct store *s)
{
	sqlite3_stmt *st;
	bool wal;
	int err;

	err = sqlite_errno(sqlite3_prepare_v2(s->db, "PRAGMA journal_mode = WAL", -1, &st, NULL));
	if (err)
		return err;
	err = sqlite_errno(sqlite3_step(st));
	wal = !err && strcmp((const char *)sqlite3_column_text(st, 0), "wal") == 0;
	sqlite3_finalize(st);
	if (err)
		return err;
	if (!wal)
		return -EIO;
	return run(s->db, "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 4194304");
}

static int prepare_statements(struct store *s)
{
	int rc;

	for (int i = 0; i < STATEMENT_COUNT; i++) {
		rc = sqlite3_prepare_v3(s->db, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT,
					&s->statements[i], NULL);
		if (rc != SQLITE_OK)
			return sqlite_errno(rc);
	}
	return 0;
}

/* Finishes what a crash cut short: see the head of this file. */
static int finish_swap(int dir)
{
	struct stat st;
	int err;

	err = remove_file(dir, FILE_PART);
	if (!err)
		err = remove_file(dir, FILE_PART FILE_JOURNAL);
	if (err)
		return err;
	if (fstatat(dir, FILE_NEW, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	err = remove_file(dir, FILE_WAL);
	if (!err)
		err = remove_file(dir, FILE_SHM);
	if (!err)
		err = sync_dir(dir);
	if (err)
		return err;
	if (renameat(dir, FILE_NEW, dir, REGISTRY_FILE) < 0)
		return -errno;
	return sync_dir(dir);
}

static int open_file(struct store *s)
{
	struct stat st;
	int err;

	err = finish_swap(s->dir);
	if (err)
		return err;
	if (fstatat(s->dir, REGISTRY_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	err = open_db(s, REGISTRY_FILE);
	if (!err)
		err = check_file(s);
	if (!err)
		err = settle_file(s);
	if (!err)
		err = prepare_statements(s);
	return err;
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

	rc = sqlite3_prepare_v2(s->db, "SELECT kind, prefix FROM range ORDER BY kind, at", -1, &st,
				NULL);
	if (rc != SQLITE_OK)
		return sqlite_errno(rc);
	err = 0;
	while (!err && (rc = sqlite3_step(st)) == SQLITE_ROW)
		err = read_range(c, (const char *)sqlite3_column_text(st, 0),
				 (const char *)sqlite3_column_text(st, 1));
	sqlite3_finalize(st);
	return err ? err : sqlite_errno(rc);
}

static int read_head(struct store *s, struct store_head *head)
{
	const char *name;
	sqlite3_stmt *st;
	int rc, err = 0;

	memset(head, 0, sizeof(*head));
	rc = sqlite3_prepare_v2(s->db, "SELECT name, generation, revision FROM cluster", -1, &st,
				NULL);
	if (rc != SQLITE_OK)
		return sqlite_errno(rc);
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
		err = rc == SQLITE_DONE ? -EBADMSG : sqlite_errno(rc);
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
	s->dir = dir;
	if (dir != AT_FDCWD) {
		s->dir = fcntl(dir, F_DUPFD_CLOEXEC, 0);
		if (s->dir < 0) {
			err = -errno;
			goto fail_dir;
		}
	}
	err = vfs_register(s);
	if (err)
		goto fail_vfs;
	err = open_file(s);
	if (!err)
		err = read_head(s, head);
	if (err)
		goto fail_open;
	s->revision = head->revision;
	*out = s;
	return 0;
fail_open:
	close_db(s);
	sqlite3_vfs_unregister(&s->vfs);
fail_vfs:
	if (s->dir != AT_FDCWD)
		close(s->dir);
fail_dir:
	free(s);
	return err;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	close_db(s);
	sqlite3_vfs_unregister(&s->vfs);
	if (s->dir != AT_FDCWD)
		close(s->dir);
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
		return sqlite_errno(rc);
	prefix_format(p, text);
	sqlite3_bind_text(st, 1, kind, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 2, at);
	sqlite3_bind_text(st, 3, text, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : sqlite_errno(rc);
}

static int insert_cluster(sqlite3 *db, const struct registry_cluster *c)
{
	sqlite3_stmt *st;
	int rc, err = 0;

	rc = sqlite3_prepare_v2(db, "INSERT INTO cluster VALUES (1, ?1, 1, 0)", -1, &st, NULL);
	if (rc != SQLITE_OK)
		return sqlite_errno(rc);
	sqlite3_bind_text(st, 1, c->name, -1, SQLITE_STATIC);
	rc = sqlite3_step(st);
	sqlite3_finalize(st);
	if (rc != SQLITE_DONE)
		return sqlite_errno(rc);
	for (unsigned i = 0; !err && i < c->noverlay; i++)
		err = insert_range(db, "overlay", i, &c->overlay[i]);
	for (unsigned i = 0; !err && i < c->npools; i++)
		err = insert_range(db, "pool", i, &c->pools[i]);
	return err;
}

static int fill_file(struct store *s, const struct registry_cluster *c)
{
	char pragmas[80];
	int err;

	snprintf(pragmas, sizeof(pragmas), "PRAGMA application_id = %d; PRAGMA user_version = %d",
		 APPLICATION_ID, SCHEMA_VERSION);
	err = run(s->db, "PRAGMA synchronous = FULL; BEGIN");
	if (!err)
		err = run(s->db, pragmas);
	if (!err)
		err = run(s->db, schema);
	if (!err)
		err = insert_cluster(s->db, c);
	if (!err)
		err = run(s->db, "COMMIT");
	return err;
}

/* An empty file of mode 0600, which SQLite's own files beside it take their mode from. */
static int empty_part(int dir)
{
	int err, fd;

	err = remove_file(dir, FILE_PART);
	if (err)
		return err;
	fd = openat(dir, FILE_PART, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int make_part(struct store *s, const struct registry_cluster *c)
{
	int err, closed;

	err = empty_part(s->dir);
	if (err)
		return err;
	err = open_db(s, FILE_PART);
	if (!err)
		err = fill_file(s, c);
	closed = close_db(s);
	if (!err)
		err = closed;
	if (!err)
		err = sync_fd(s->dir, FILE_PART, O_RDONLY);
	return err;
}

int store_create(int dir, const struct registry_cluster *c)
{
	struct store s = {.dir = dir};
	int err;

	err = vfs_register(&s);
	if (err)
		return err;
	err = make_part(&s, c);
	sqlite3_vfs_unregister(&s.vfs);
	if (!err && renameat2(dir, FILE_PART, dir, REGISTRY_FILE, RENAME_NOREPLACE) < 0)
		err = -errno;
	if (err) {
		remove_file(dir, FILE_PART);
		remove_file(dir, FILE_PART FILE_JOURNAL);
		return err;
	}
	return sync_dir(dir);
}

/* -- after a failure ------------------------------------------------------------------------- */

static int copy_out(struct store *s)
{
	char path[PATH_TEXT_MAX], sql[PATH_TEXT_MAX + 32];
	int err;

	/* VACUUM INTO takes an empty file that is there, so its mode is ours. */
	err = empty_part(s->dir);
	if (err)
		return err;
	file_path(s->dir, FILE_PART, path);
	snprintf(sql, sizeof(sql), "VACUUM INTO '%s'", path);
	err = run(s->db, sql);
	if (!err)
		err = sync_fd(s->dir, FILE_PART, O_RDONLY);
	if (err) {
		remove_file(s->dir, FILE_PART);
		return err;
	}
	if (renameat(s->dir, FILE_PART, s->dir, FILE_NEW) < 0)
		return -errno;
	return sync_dir(s->dir);
}

static int write_anew(struct store *s)
{
	struct store_head head;
	int err;

	err = copy_out(s);
	if (err)
		return err;
	/* Its last words go to a file that is about to be replaced: errors do not matter. */
	close_db(s);
	err = open_file(s);
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
	snprintf(s->fault, sizeof(s->fault), "%s failed (%.60s), and so did writing the records anew (%s)",
		 doing, said, strerror(-err));
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
	return 0;
}

int store_each(struct store *s, int (*fn)(void *arg, const struct store_row *row), void *arg)
{
	struct store_row row;
	sqlite3_stmt *st;
	int rc, err = 0;

	rc = sqlite3_prepare_v2(s->db, "SELECT " NODE_COLUMNS " FROM node ORDER BY name", -1, &st,
				NULL);
	if (rc != SQLITE_OK)
		return sqlite_errno(rc);
	while (!err && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		err = read_row(&row, st);
		if (!err)
			err = fn(arg, &row);
	}
	sqlite3_finalize(st);
	return err ? err : sqlite_errno(rc);
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
		err = rc == SQLITE_DONE ? -ENOENT : sqlite_errno(rc);
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
	return rc == SQLITE_DONE ? 0 : sqlite_errno(rc);
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
	if (!err && sqlite3_changes(s->db) != 1)
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
	snprintf(said, sizeof(said), "%s", sqlite3_errmsg(s->db));
	if (!sqlite3_get_autocommit(s->db) && step(s, ROLLBACK) < 0)
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
	return step(s, PUT);
}

int store_put(struct store *s, const struct store_row *row, uint64_t revision)
{
	int err = begin(s);

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
