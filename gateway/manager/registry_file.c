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
 * newfstatat stat lstat unlink unlinkat renameat renameat2 fcntl geteuid access faccessat faccessat2 fchmod
 * getpid getrandom
 */
#include "gateway/manager/registry_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_PART    REGISTRY_FILE ".part"
#define FILE_NEW     REGISTRY_FILE ".new"
#define FILE_WAL     REGISTRY_FILE "-wal"
#define FILE_SHM     REGISTRY_FILE "-shm"
#define FILE_JOURNAL "-journal"

#define SCHEMA_VERSION 3
#define APPLICATION_ID 0x676e6c31 /* "gnl1" */
#define BUSY_WAIT_MS   2000       /* a killed predecessor may take a moment to be gone */
#define PATH_TEXT_MAX  64

/* What brings a file of version i + 1 to the next one. A new file is made of the first version's
 * schema and takes them all.
 */
static const char *const migrations[SCHEMA_VERSION - 1] = {
	"ALTER TABLE node ADD COLUMN issue INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE node ADD COLUMN issue_min INTEGER NOT NULL DEFAULT 0;",

	"ALTER TABLE node ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE workload ("
	"  id TEXT NOT NULL PRIMARY KEY,"
	"  node TEXT NOT NULL REFERENCES node (name) ON DELETE CASCADE,"
	"  record TEXT NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE INDEX workload_node ON workload (node);"
	"CREATE TABLE refused ("
	"  number INTEGER PRIMARY KEY,"
	"  node TEXT NOT NULL,"
	"  id TEXT NOT NULL,"
	"  record TEXT NOT NULL,"
	"  rule TEXT NOT NULL,"
	"  at INTEGER NOT NULL,"
	"  UNIQUE (node, id)) STRICT;"
	"CREATE TABLE policy ("
	"  version INTEGER PRIMARY KEY CHECK (version > 0),"
	"  document TEXT NOT NULL,"
	"  hash BLOB NOT NULL CHECK (length(hash) = 32),"
	"  applied_at INTEGER NOT NULL,"
	"  by TEXT NOT NULL) STRICT;",
};

/* -- names ----------------------------------------------------------------------------------- */

static int name_unchanged(sqlite3_vfs *vfs, const char *name, int max, char *out)
{
	size_t n = strlen(name);

	(void)vfs;
	if (n >= (size_t)max)
		return SQLITE_CANTOPEN;
	memcpy(out, name, n + 1);
	return SQLITE_OK;
}

static int vfs_register(struct registry_file *f)
{
	const sqlite3_vfs *base = sqlite3_vfs_find(NULL);

	if (!base)
		return -ENOMEM;
	f->vfs = *base;
	f->vfs.pNext = NULL;
	snprintf(f->vfs_name, sizeof(f->vfs_name), "ginnel-%p", (void *)f);
	f->vfs.zName = f->vfs_name;
	f->vfs.xFullPathname = name_unchanged;
	return sqlite3_vfs_register(&f->vfs, 0) == SQLITE_OK ? 0 : -ENOMEM;
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

int registry_file_errno(int rc)
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

int registry_file_run(sqlite3 *db, const char *sql)
{
	return registry_file_errno(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

/* One integer of one row. */
static int query_int(sqlite3 *db, const char *sql, int64_t *out)
{
	sqlite3_stmt *st;
	int rc;

	rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
	if (rc != SQLITE_OK)
		return registry_file_errno(rc);
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	if (rc == SQLITE_DONE)
		return -EBADMSG;
	return registry_file_errno(rc);
}

static int open_db(struct registry_file *f, const char *name)
{
	char path[PATH_TEXT_MAX];
	int rc;

	file_path(f->dir, name, path);
	rc = sqlite3_open_v2(path, &f->db,
	                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW |
	                             SQLITE_OPEN_EXRESCODE,
	                     f->vfs_name);
	if (rc != SQLITE_OK)
		return registry_file_errno(rc);
	sqlite3_busy_timeout(f->db, BUSY_WAIT_MS);
	sqlite3_db_config(f->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	return registry_file_run(f->db, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
	                                "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON;"
	                                "PRAGMA locking_mode = EXCLUSIVE;");
}

static int close_db(struct registry_file *f)
{
	int rc = sqlite3_close(f->db);

	f->db = NULL;
	return registry_file_errno(rc);
}

/* In the caller's transaction. */
static int migrate(sqlite3 *db, int64_t version)
{
	char pragma[48];
	int err = 0;

	for (; version < SCHEMA_VERSION && !err; version++)
		err = registry_file_run(db, migrations[version - 1]);
	snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", SCHEMA_VERSION);
	return err ? err : registry_file_run(db, pragma);
}

static int migrate_file(struct registry_file *f)
{
	int64_t version;
	int err = query_int(f->db, "PRAGMA user_version", &version);

	if (err || version == SCHEMA_VERSION)
		return err;
	err = registry_file_run(f->db, "BEGIN IMMEDIATE");
	if (!err)
		err = migrate(f->db, version);
	return err ? err : registry_file_run(f->db, "COMMIT");
}

static int check_file(struct registry_file *f)
{
	int64_t id = 0, version = 0;
	sqlite3_stmt *st;
	bool ok;
	int err;

	err = query_int(f->db, "PRAGMA application_id", &id);
	if (!err)
		err = query_int(f->db, "PRAGMA user_version", &version);
	if (err)
		return err;
	if (id != APPLICATION_ID || version < 1)
		return -EBADMSG;
	if (version > SCHEMA_VERSION)
		return -EPROTO;
	err = registry_file_errno(
		sqlite3_prepare_v2(f->db, "PRAGMA quick_check(1)", -1, &st, NULL));
	if (err)
		return err;
	ok = sqlite3_step(st) == SQLITE_ROW &&
	     strcmp((const char *)sqlite3_column_text(st, 0), "ok") == 0;
	sqlite3_finalize(st);
	return ok ? 0 : -EBADMSG;
}

/* WAL makes a commit one write and one sync; FULL makes that sync. */
static int settle_file(struct registry_file *f)
{
	sqlite3_stmt *st;
	bool wal;
	int err;

	err = registry_file_errno(
		sqlite3_prepare_v2(f->db, "PRAGMA journal_mode = WAL", -1, &st, NULL));
	if (err)
		return err;
	err = registry_file_errno(sqlite3_step(st));
	wal = !err && strcmp((const char *)sqlite3_column_text(st, 0), "wal") == 0;
	sqlite3_finalize(st);
	if (err)
		return err;
	if (!wal)
		return -EIO;
	return registry_file_run(f->db,
	                         "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 4194304");
}

static int remove_part(int dir)
{
	int err = remove_file(dir, FILE_PART);

	return err ? err : remove_file(dir, FILE_PART FILE_JOURNAL);
}

int registry_forget_rewrite(int dir)
{
	int err = remove_part(dir);

	if (!err)
		err = remove_file(dir, FILE_NEW);
	return err ? err : sync_dir(dir);
}

/* Finishes what a crash cut short: see the head of this file. */
static int finish_swap(int dir)
{
	struct stat st;
	int err;

	err = remove_part(dir);
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

static int open_file(struct registry_file *f)
{
	struct stat st;
	int err;

	err = finish_swap(f->dir);
	if (err)
		return err;
	if (fstatat(f->dir, REGISTRY_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	err = open_db(f, REGISTRY_FILE);
	if (!err)
		err = check_file(f);
	if (!err)
		err = settle_file(f);
	if (!err)
		err = migrate_file(f);
	return err;
}

int registry_file_open(struct registry_file *f, int dir)
{
	int err;

	memset(f, 0, sizeof(*f));
	f->dir = dir;
	if (dir != AT_FDCWD) {
		f->dir = fcntl(dir, F_DUPFD_CLOEXEC, 0);
		if (f->dir < 0)
			return -errno;
	}
	err = vfs_register(f);
	if (err)
		goto fail_vfs;
	err = open_file(f);
	if (err)
		goto fail_open;
	return 0;
fail_open:
	close_db(f);
	sqlite3_vfs_unregister(&f->vfs);
fail_vfs:
	if (f->dir != AT_FDCWD)
		close(f->dir);
	return err;
}

void registry_file_close(struct registry_file *f)
{
	close_db(f);
	sqlite3_vfs_unregister(&f->vfs);
	if (f->dir != AT_FDCWD)
		close(f->dir);
}

/* -- making ------------------------------------------------------------------------------------ */

static int fill_file(sqlite3 *db, const char *schema, int (*fill)(sqlite3 *db, const void *arg),
                     const void *arg)
{
	char pragmas[80];
	int err;

	snprintf(pragmas, sizeof(pragmas), "PRAGMA application_id = %d", APPLICATION_ID);
	err = registry_file_run(db, "PRAGMA synchronous = FULL; BEGIN");
	if (!err)
		err = registry_file_run(db, pragmas);
	if (!err)
		err = registry_file_run(db, schema);
	if (!err)
		err = migrate(db, 1);
	if (!err)
		err = fill(db, arg);
	if (!err)
		err = registry_file_run(db, "COMMIT");
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

static int make_part(struct registry_file *f, const char *schema,
                     int (*fill)(sqlite3 *db, const void *arg), const void *arg)
{
	int err, closed;

	err = empty_part(f->dir);
	if (err)
		return err;
	err = open_db(f, FILE_PART);
	if (!err)
		err = fill_file(f->db, schema, fill, arg);
	closed = close_db(f);
	if (!err)
		err = closed;
	if (!err)
		err = sync_fd(f->dir, FILE_PART, O_RDONLY);
	return err;
}

int registry_file_make(int dir, const char *schema, int (*fill)(sqlite3 *db, const void *arg),
                       const void *arg)
{
	struct registry_file f = {.dir = dir};
	int err;

	err = vfs_register(&f);
	if (err)
		return err;
	err = make_part(&f, schema, fill, arg);
	sqlite3_vfs_unregister(&f.vfs);
	if (!err && renameat2(dir, FILE_PART, dir, REGISTRY_FILE, RENAME_NOREPLACE) < 0)
		err = -errno;
	if (err) {
		remove_part(dir);
		return err;
	}
	return sync_dir(dir);
}

/* -- after a failure ------------------------------------------------------------------------- */

static int copy_out(struct registry_file *f)
{
	char path[PATH_TEXT_MAX], sql[PATH_TEXT_MAX + 32];
	int err;

	/* VACUUM INTO takes an empty file that is there, so its mode is ours. */
	err = empty_part(f->dir);
	if (err)
		return err;
	file_path(f->dir, FILE_PART, path);
	snprintf(sql, sizeof(sql), "VACUUM INTO '%s'", path);
	err = registry_file_run(f->db, sql);
	if (!err)
		err = sync_fd(f->dir, FILE_PART, O_RDONLY);
	if (err) {
		remove_file(f->dir, FILE_PART);
		return err;
	}
	if (renameat(f->dir, FILE_PART, f->dir, FILE_NEW) < 0)
		return -errno;
	return sync_dir(f->dir);
}

int registry_file_renew(struct registry_file *f, void (*close_first)(void *arg), void *arg)
{
	int err = copy_out(f);

	if (err)
		return err;
	close_first(arg);
	close_db(f); /* its last words go to a file that is about to be replaced */
	return open_file(f);
}
