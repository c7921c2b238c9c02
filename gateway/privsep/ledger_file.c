/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The database is opened under a name that holds no path that would have to be walked: the ca's
 * uid may not pass the state folder above its own. SQLite makes each name absolute and resolves
 * links in it, so it is given a copy of its own file layer in which a name stays as it is.
 *
 * locking_mode=EXCLUSIVE: one process at a time holds the ledger, and WAL needs no shared memory
 * beside it. After a failed write that was no full disk, what the file holds is unknown: nothing
 * more is acknowledged by this handle, whoever owns it opens a new one, which reads what is there.
 */
#include "gateway/privsep/ledger_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/sealed.h"

/* syscalls(ca): openat read pread64 write pwrite64 fsync fdatasync ftruncate fstat newfstatat
 * syscalls(ca): lstat stat unlink unlinkat fcntl access faccessat faccessat2 fchmod fallocate close
 * syscalls(ca): lseek getpid mmap munmap geteuid memfd_create
 */

#define LEDGER_VERSION     3
#define LEDGER_APPLICATION 0x474e4c43 /* "GNLC" */
#define LEDGER_BUSY_MS     2000       /* a predecessor that is just ending */
#define LEDGER_PATH_MAX    64

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

	"ALTER TABLE nodes ADD COLUMN restored INTEGER NOT NULL DEFAULT 0;"
	"INSERT INTO meta VALUES ('generation', '1'), ('incarnations', '0');",
};

/* -- SQLite's errors, statements, transactions ------------------------------------------------ */

int ledger_error(sqlite3 *db, int rc)
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

int ledger_exec(struct ledger *l, const char *sql)
{
	return ledger_error(l->db, sqlite3_exec(l->db, sql, NULL, NULL, NULL));
}

int ledger_prepare(struct ledger *l, sqlite3_stmt **out, const char *sql)
{
	return ledger_error(l->db, sqlite3_prepare_v2(l->db, sql, -1, out, NULL));
}

/* Why a step for one row yielded none. */
int ledger_no_row(struct ledger *l, int rc)
{
	int err = rc == SQLITE_DONE ? -ENOENT : ledger_error(l->db, rc);

	return err ? err : -EIO;
}

/* For a statement that returns no row: steps and ends it. */
int ledger_finish(struct ledger *l, sqlite3_stmt *s)
{
	int rc = sqlite3_step(s);
	int err = ledger_error(l->db, rc);

	sqlite3_finalize(s);
	return err;
}

int ledger_begin(struct ledger *l)
{
	if (l->broken)
		return -EIO;
	return ledger_exec(l, "BEGIN IMMEDIATE");
}

/* Commits if err is 0, else rolls back; the one place that decides that the handle is spent. */
int ledger_end(struct ledger *l, int err)
{
	if (!err)
		err = ledger_exec(l, "COMMIT");
	if (err && !sqlite3_get_autocommit(l->db) && ledger_exec(l, "ROLLBACK"))
		l->broken = true;
	if (err == -EIO || err == -EBADMSG)
		l->broken = true;
	return err;
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
static int ledger_migrate(struct ledger *l, int64_t from)
{
	char pragma[48];
	int err = 0;

	for (int64_t v = from; v < LEDGER_VERSION && !err; v++)
		err = ledger_exec(l, migrations[v - 1]);
	snprintf(pragma, sizeof(pragma), "PRAGMA user_version=%d", LEDGER_VERSION);
	return err ? err : ledger_exec(l, pragma);
}

int ledger_integer(struct ledger *l, const char *sql, int64_t *out)
{
	sqlite3_stmt *s;
	int err = ledger_prepare(l, &s, sql);
	int rc;

	if (err)
		return err;
	rc = sqlite3_step(s);
	err = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -EBADMSG : ledger_error(l->db, rc);
	if (!err)
		*out = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return err;
}

/* Is this file a ledger of ours, whole, and of a version that we know? */
static int ledger_check(struct ledger *l)
{
	int64_t application, version;
	sqlite3_stmt *s;
	bool ok;
	int err;

	err = ledger_integer(l, "PRAGMA application_id", &application);
	if (!err)
		err = ledger_integer(l, "PRAGMA user_version", &version);
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
	if (sqlite3_step(s) != SQLITE_ROW ||
	    ledger_column_text(s, 0, l->cluster, sizeof(l->cluster)) || !cert_name_ok(l->cluster))
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

int ledger_copy(struct ledger *l, int *fd, size_t *len)
{
	sqlite3_int64 n = 0;
	unsigned char *bytes = sqlite3_serialize(l->db, "main", &n, 0);
	int err;

	if (!bytes)
		return -ENOMEM;
	err = sealed_new(fd, "ledger", bytes, (size_t)n);
	sqlite3_free(bytes);
	if (!err)
		*len = (size_t)n;
	return err;
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
