/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/ledger.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOW    1700000000
#define CA_UID 64749 /* any but ours */

static char folder[64];
static int dir;
static struct ledger *l;

static const uint8_t key_a[32] = {0xa}, key_b[32] = {0xb};

static void setup(void)
{
	strcpy(folder, "/tmp/ledger-XXXXXX");
	cr_assert(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(dir >= 0);
	cr_assert_eq(ledger_create(dir, "test"), 0);
	cr_assert_eq(ledger_open(&l, dir), 0);
}

static void teardown(void)
{
	ledger_close(l);
	unlinkat(dir, LEDGER_FILE "-wal", 0);
	unlinkat(dir, LEDGER_FILE, 0);
	close(dir);
	rmdir(folder);
}

TestSuite(ledger, .init = setup, .fini = teardown);

static void reopen(void)
{
	ledger_close(l);
	l = NULL;
	cr_assert_eq(ledger_open(&l, dir), 0);
}

/* A token whose id is n, good for an hour from NOW. */
static struct ledger_token token(unsigned n, const char *name)
{
	struct ledger_token t = {.role = ROLE_NODE, .created = NOW, .expires = NOW + 3600};

	memcpy(t.id, &n, sizeof(n));
	snprintf(t.name, sizeof(t.name), "%s", name);
	strcpy(t.created_by, "root");
	t.spki_len = CERT_SPKI_MAX;
	memset(t.spki, (int)n, t.spki_len);
	return t;
}

static struct ledger_token give(unsigned n, const char *name)
{
	struct ledger_token t = token(n, name);

	cr_assert_eq(ledger_token_add(l, &t), 0);
	return t;
}

static int join_at(unsigned id, const char *name, const uint8_t key[32], time_t now)
{
	struct ledger_token t = token(id, "");
	struct ledger_node n;
	int err = ledger_join(l, t.id, name, key, now, &n);

	if (!err) {
		cr_expect_str_eq(n.name, name);
		cr_expect_arr_eq(n.keys.spki, key, 32);
	}
	return err;
}

static int join(unsigned id, const char *name, const uint8_t key[32])
{
	return join_at(id, name, key, NOW + 1);
}

static uint64_t incarnation(const char *name)
{
	struct ledger_node n;

	return ledger_node_get(l, name, &n) ? 0 : n.incarnation;
}

static bool used(unsigned id)
{
	struct ledger_token t = token(id, ""), got;

	return ledger_token_get(l, t.id, &got) == 0 && got.used;
}

static int count_one(void *arg, const struct ledger_token *t)
{
	(void)t;
	++*(unsigned *)arg;
	return 0;
}

static unsigned tokens(void)
{
	unsigned n = 0;

	cr_expect_eq(ledger_token_each(l, count_one, &n), 0);
	return n;
}

static void sql(const char *text)
{
	sqlite3 *db;
	char path[128];

	ledger_close(l);
	l = NULL;
	snprintf(path, sizeof(path), "%s/%s", folder, LEDGER_FILE);
	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

/* -- the file --------------------------------------------------------------------------------- */

Test(ledger, is_one_file_for_its_owner_alone_once_closed)
{
	struct stat st;

	give(1, "");
	ledger_close(l);
	l = NULL;
	cr_assert_eq(fstatat(dir, LEDGER_FILE, &st, 0), 0);
	cr_expect_eq(st.st_mode & 07777, 0600);
	cr_expect_eq(faccessat(dir, LEDGER_FILE "-wal", F_OK, 0), -1);
	cr_expect_eq(faccessat(dir, LEDGER_FILE "-shm", F_OK, 0), -1);
}

Test(ledger, is_made_once)
{
	cr_expect_eq(ledger_create(dir, "test"), -EEXIST);
	cr_expect_str_eq(ledger_cluster(l), "test");
	cr_expect_eq(ledger_create(dir, "Not-A-Name"), -EINVAL);
	ledger_close(l);
	l = NULL;
	cr_expect_eq(ledger_create(dir, "other"), -EEXIST);
	cr_assert_eq(ledger_open(&l, dir), 0);
	cr_expect_str_eq(ledger_cluster(l), "test");
}

Test(ledger, that_is_missing_is_told_from_a_damaged_one)
{
	struct ledger *other;
	int fd;

	ledger_close(l);
	l = NULL;
	fd = openat(dir, LEDGER_FILE, O_RDWR);
	cr_assert_eq(ftruncate(fd, 5000), 0);
	cr_expect_eq(ledger_open(&other, dir), -EBADMSG);
	cr_assert_eq(ftruncate(fd, 0), 0);
	cr_expect_eq(ledger_open(&other, dir), -EBADMSG);
	cr_assert_eq(write(fd, "not a database at all, but long enough to be read as one", 56), 56);
	cr_expect_eq(ledger_open(&other, dir), -EBADMSG);
	close(fd);
	unlinkat(dir, LEDGER_FILE, 0);
	cr_expect_eq(ledger_open(&other, dir), -ENOENT);
}

Test(ledger, of_a_newer_version_or_of_another_program_is_refused)
{
	struct ledger *other;

	sql("PRAGMA user_version=4");
	cr_expect_eq(ledger_open(&other, dir), -EPROTO);
	sql("PRAGMA user_version=1; PRAGMA application_id=1");
	cr_expect_eq(ledger_open(&other, dir), -EBADMSG);
}

Test(ledger, is_not_followed_through_a_link)
{
	struct ledger *other;

	ledger_close(l);
	l = NULL;
	cr_assert_eq(renameat(dir, LEDGER_FILE, dir, "elsewhere"), 0);
	cr_assert_eq(symlinkat("elsewhere", dir, LEDGER_FILE), 0);
	cr_expect_neq(ledger_open(&other, dir), 0);
	cr_assert_eq(renameat(dir, "elsewhere", dir, LEDGER_FILE), 0);
}

Test(ledger, survives_or_refuses_any_flipped_bit)
{
	struct ledger *other;
	struct stat st;
	uint8_t b;
	int fd;

	for (unsigned i = 1; i < 20; i++)
		give(i, i & 1 ? "" : "named");
	ledger_close(l);
	l = NULL;
	fd = openat(dir, LEDGER_FILE, O_RDWR);
	cr_assert_eq(fstat(fd, &st), 0);
	for (off_t at = 0; at < st.st_size; at += at < 200 ? 1 : 61) {
		unsigned n = 0;

		cr_assert_eq(pread(fd, &b, 1, at), 1);
		b ^= (uint8_t)(1 << (at % 8));
		cr_assert_eq(pwrite(fd, &b, 1, at), 1);
		if (!ledger_open(&other, dir)) {
			ledger_token_each(other, count_one, &n);
			ledger_close(other);
		}
		b ^= (uint8_t)(1 << (at % 8));
		cr_assert_eq(pwrite(fd, &b, 1, at), 1);
	}
	close(fd);
	cr_assert_eq(ledger_open(&l, dir), 0);
	cr_expect_eq(tokens(), 19);
}

Test(ledger, opens_where_the_path_to_it_may_not_be_walked)
{
	int status;
	pid_t pid;

	if (getuid() != 0)
		cr_skip_test("takes root");
	give(1, "");
	ledger_close(l);
	l = NULL;
	/* folder stays root's; what is below it is the ca's. */
	cr_assert_eq(mkdirat(dir, "ca", 0700), 0);
	cr_assert_eq(fchownat(dir, "ca", CA_UID, CA_UID, 0), 0);
	cr_assert_eq(renameat(dir, LEDGER_FILE, dir, "ca/" LEDGER_FILE), 0);
	cr_assert_eq(fchownat(dir, "ca/" LEDGER_FILE, CA_UID, CA_UID, 0), 0);
	pid = fork();
	if (pid == 0) {
		int fd = openat(dir, "ca", O_PATH | O_DIRECTORY);

		if (setgid(CA_UID) || setuid(CA_UID) || fchdir(fd))
			_exit(10);
		if (ledger_open(&l, AT_FDCWD))
			_exit(11);
		if (join(1, "n1", key_a))
			_exit(12);
		ledger_close(l);
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0, "child: %d", WEXITSTATUS(status));
	cr_assert_eq(renameat(dir, "ca/" LEDGER_FILE, dir, LEDGER_FILE), 0);
	unlinkat(dir, "ca", AT_REMOVEDIR);
	cr_assert_eq(ledger_open(&l, dir), 0);
	cr_expect_eq(incarnation("n1"), 1);
}

Test(ledger, is_held_by_one_process)
{
	struct ledger *other;

	give(1, "");
	cr_expect_eq(ledger_open(&other, dir), -EBUSY);
}

/* -- tokens ----------------------------------------------------------------------------------- */

Test(ledger, keeps_a_token_as_it_was_given)
{
	struct ledger_token t = token(7, "n7"), got;

	cr_assert_eq(cert_labels_add(&t.labels, "zone=pci"), 0);
	cr_assert_eq(cert_labels_add(&t.labels, "app=web"), 0);
	cr_assert_eq(ledger_token_add(l, &t), 0);
	reopen();
	cr_assert_eq(ledger_token_get(l, t.id, &got), 0);
	cr_expect_eq(got.role, ROLE_NODE);
	cr_expect_str_eq(got.name, "n7");
	cr_expect_str_eq(got.created_by, "root");
	cr_expect_eq(got.created, NOW);
	cr_expect_eq(got.expires, NOW + 3600);
	cr_expect_eq(got.spki_len, t.spki_len);
	cr_expect_arr_eq(got.spki, t.spki, t.spki_len);
	cr_expect_eq(got.labels.n, 2);
	cr_expect_str_eq(got.labels.at[0].key, "app");
	cr_expect_str_eq(got.labels.at[1].value, "pci");
	cr_expect_not(got.used);
	cr_expect_not(got.revoked);
	cr_expect_eq(ledger_token_add(l, &t), -EEXIST);
}

Test(ledger, revokes_a_token_until_it_is_used)
{
	struct ledger_token t = give(1, "");

	cr_expect_eq(ledger_token_revoke(l, t.id), 0);
	cr_expect_eq(ledger_token_revoke(l, t.id), 0);
	cr_expect_eq(join(1, "n1", key_a), -EKEYREVOKED);
	cr_expect_eq(incarnation("n1"), 0);
	t = give(2, "");
	cr_expect_eq(join(2, "n1", key_a), 0);
	cr_expect_eq(ledger_token_revoke(l, t.id), -EALREADY);
	t = token(3, "");
	cr_expect_eq(ledger_token_revoke(l, t.id), -ENOENT);
}

Test(ledger, forgets_tokens_long_expired)
{
	struct ledger_token t = token(1, "");

	t.created = NOW - LEDGER_TOKEN_KEEP - 3602;
	t.expires = t.created + 3600;
	cr_assert_eq(ledger_token_add(l, &t), 0);
	t = token(2, "");
	t.created = NOW - LEDGER_TOKEN_KEEP;
	t.expires = t.created + 3600;
	cr_assert_eq(ledger_token_add(l, &t), 0);
	cr_expect_eq(tokens(), 2);
	give(3, "");
	cr_expect_eq(tokens(), 2);
	cr_expect_eq(join(1, "n1", key_a), -ENOENT);
	cr_expect_eq(join(2, "n1", key_a), -EKEYEXPIRED);
	cr_expect_eq(join(3, "n1", key_a), 0);
}

Test(ledger, holds_a_bounded_number_of_tokens)
{
	struct ledger_token t = token(1, "");
	char text[512];

	snprintf(text, sizeof(text),
	         "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %d) "
	         "INSERT INTO tokens (id, role, name, labels, created, expires, created_by, spki) "
	         "SELECT printf('%%08d', n), 1, '', '', %d, %d, 'root', x'00' FROM c",
	         LEDGER_TOKENS_MAX, NOW, NOW + 3600);
	sql(text);
	cr_assert_eq(ledger_open(&l, dir), 0);
	cr_expect_eq(ledger_token_add(l, &t), -E2BIG);
	t.created = NOW + 3601; /* all others have expired */
	cr_expect_eq(ledger_token_add(l, &t), 0);
	cr_expect_eq(tokens(), 1);
}

/* -- join ------------------------------------------------------------------------------------- */

Test(ledger, lets_one_key_in_by_one_token)
{
	give(1, "");
	cr_expect_eq(join(1, "n1", key_a), 0);
	cr_expect_eq(join(1, "n1", key_b), -EALREADY);
	cr_expect_eq(join(1, "n2", key_b), -EALREADY);
	reopen();
	cr_expect_eq(join(1, "n2", key_b), -EALREADY);
	cr_expect_eq(incarnation("n2"), 0);
	cr_expect_eq(join(9, "n1", key_a), -ENOENT);
}

Test(ledger, answers_the_same_key_again_within_the_hour)
{
	give(1, "");
	cr_expect_eq(join_at(1, "n1", key_a, NOW + 3599), 0);
	/* The token has expired meanwhile: the hour counts from its use. */
	cr_expect_eq(join_at(1, "n1", key_a, NOW + 3599 + LEDGER_RETRY - 1), 0);
	cr_expect_eq(incarnation("n1"), 1);
	cr_expect_eq(join_at(1, "n1", key_a, NOW + 3599 + LEDGER_RETRY), -EKEYEXPIRED);
	cr_expect_eq(join(1, "n2", key_a), -EPERM);
	cr_expect_eq(incarnation("n2"), 0);
}

Test(ledger, answers_nobody_again_once_the_name_went_to_another_key)
{
	give(1, "");
	give(2, "n1");
	cr_expect_eq(join(1, "n1", key_a), 0);
	cr_expect_eq(join(2, "n1", key_b), 0);
	cr_expect_eq(join(1, "n1", key_a), -EEXIST);
}

Test(ledger, refuses_a_token_that_has_expired)
{
	give(1, "");
	cr_expect_eq(join_at(1, "n1", key_a, NOW + 3600), -EKEYEXPIRED);
	cr_expect_eq(join_at(1, "n1", key_a, NOW + 3599), 0);
}

Test(ledger, gives_a_taken_name_to_its_old_key_or_to_a_token_made_for_it)
{
	give(1, "");
	give(2, "");
	give(3, "");
	give(4, "n1");
	cr_expect_eq(join(1, "n1", key_a), 0);
	cr_expect_eq(join(2, "n1", key_b), -EEXIST);
	cr_expect_not(used(2), "a refused token stays good");
	cr_expect_eq(join(2, "n1", key_a), 0);
	cr_expect_eq(incarnation("n1"), 2);
	cr_expect_eq(join(4, "n2", key_b), -EPERM);
	cr_expect_eq(join(4, "n1", key_b), 0);
	cr_expect_eq(incarnation("n1"), 3);
	cr_expect_eq(join(3, "n1", key_a), -EEXIST, "its old key is no longer its key");
}

Test(ledger, gives_a_managers_name_to_no_node)
{
	struct ledger_node n = {.name = "m1", .role = ROLE_MANAGER, .incarnation = 1};

	memcpy(n.keys.spki, key_a, 32);
	cr_assert_eq(ledger_node_add(l, &n), 0);
	cr_expect_eq(ledger_node_add(l, &n), -EEXIST);
	give(1, "m1");
	cr_expect_eq(join(1, "m1", key_b), -EEXIST);
	cr_expect_eq(join(1, "m1", key_a), -EEXIST);
}

Test(ledger, takes_no_name_that_is_none)
{
	static const char *const names[] = {"",    "N1",  "a.b",  "-a",      "a-",
	                                    "a b", "a/b", "a\nb", "\xc3\xa4"};

	give(1, "");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cr_expect_eq(join(1, names[i], key_a), -EINVAL, "%s", names[i]);
	cr_expect_not(used(1));
}

Test(ledger, grants_what_the_token_says_and_nothing_else)
{
	struct ledger_token t = token(1, ""), plain = token(2, "n1");
	struct ledger_node n;

	cr_assert_eq(cert_labels_add(&t.labels, "zone=pci"), 0);
	cr_assert_eq(ledger_token_add(l, &t), 0);
	cr_assert_eq(ledger_token_add(l, &plain), 0);
	cr_assert_eq(ledger_join(l, t.id, "n1", key_a, NOW, &n), 0);
	cr_expect_eq(n.labels.n, 1);
	cr_expect_eq(n.role, ROLE_NODE);
	/* A token without labels takes the old ones away. */
	cr_assert_eq(ledger_join(l, plain.id, "n1", key_a, NOW, &n), 0);
	cr_expect_eq(n.labels.n, 0);
}

Test(ledger, never_gives_an_issue_number_twice)
{
	uint64_t a, b, c;

	give(1, "");
	give(2, "n1");
	cr_expect_eq(ledger_next_issue(l, "n1", 1, &a), -ENOENT);
	cr_assert_eq(join(1, "n1", key_a), 0);
	cr_assert_eq(ledger_next_issue(l, "n1", 1, &a), 0);
	reopen();
	cr_assert_eq(ledger_next_issue(l, "n1", 1, &b), 0);
	cr_assert_eq(join(2, "n1", key_b), 0);
	cr_assert_eq(ledger_next_issue(l, "n1", 1, &c), 0);
	cr_expect(a < b && b < c, "%lu %lu %lu", a, b, c);
}

/* -- what may happen to the machine ----------------------------------------------------------- */

#define BATCH 400

/* BATCH unused tokens, no node; the ledger is closed. */
static void fresh_batch(void)
{
	char *text = malloc(BATCH * 192 + 128);
	size_t at;

	at = (size_t)sprintf(text, "BEGIN; DELETE FROM tokens; DELETE FROM nodes;");
	for (unsigned i = 1; i <= BATCH; i++)
		at += (size_t)sprintf(
			text + at,
			"INSERT INTO tokens (id, role, name, labels, created, expires,"
			" created_by, spki) VALUES (x'%02x%02x000000000000', 1, '', '',"
			" %d, %d, 'root', x'00');",
			i & 0xff, i >> 8, NOW, NOW + 3600);
	strcpy(text + at, "COMMIT");
	sql(text);
	free(text);
}

static void join_batch(int ready)
{
	char name[16];
	uint8_t key[32] = {0};
	char go = 1;

	if (ledger_open(&l, dir) || write(ready, &go, 1) != 1)
		_exit(1);
	for (unsigned i = 1; i <= BATCH; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		memcpy(key, &i, sizeof(i));
		if (join(i, name, key))
			_exit(2);
	}
	_exit(0);
}

Test(ledger, holds_node_and_used_token_together_after_a_kill_at_any_point, .timeout = 120)
{
	char name[16], go;
	unsigned killed = 0;

	for (unsigned round = 0; round < 20; round++) {
		unsigned n = 0;
		int status, p[2];
		pid_t pid;

		fresh_batch();
		cr_assert_eq(pipe(p), 0);
		pid = fork();
		if (pid == 0)
			join_batch(p[1]);
		close(p[1]);
		cr_assert_eq(read(p[0], &go, 1), 1);
		close(p[0]);
		usleep(round * 7000);
		kill(pid, SIGKILL);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		killed += WIFSIGNALED(status);

		cr_assert_eq(ledger_open(&l, dir), 0);
		for (unsigned i = 1; i <= BATCH; i++) {
			snprintf(name, sizeof(name), "n%u", i);
			cr_assert_eq(used(i), incarnation(name) == 1, "%s", name);
			n += used(i);
		}
		/* What was refused to nobody is still to be had. */
		if (n < BATCH) {
			snprintf(name, sizeof(name), "n%u", n + 1);
			cr_expect_eq(join(n + 1, name, key_a), 0);
		}
	}
	cr_expect(killed > 0, "no round was cut short");
}

Test(ledger, changes_nothing_when_the_disk_is_full)
{
	struct ledger_token t;
	char path[128];
	unsigned i, before;
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s/full", folder);
	ledger_close(l);
	l = NULL;
	mkdir(path, 0700);
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", path, "tmpfs", 0, "size=128k")) {
		rmdir(path);
		cr_skip_test("takes a file system of its own: root");
	}
	fd = open(path, O_RDONLY | O_DIRECTORY);
	cr_assert_eq(ledger_create(fd, "test"), 0);
	cr_assert_eq(ledger_open(&l, fd), 0);
	for (i = 1; i < 2000 && !err; i++) {
		t = token(i, "");
		err = ledger_token_add(l, &t);
	}
	cr_expect_eq(err, -ENOSPC);
	cr_expect_not(ledger_broken(l));
	before = tokens();
	cr_expect_eq(before, i - 2);
	cr_expect_eq(join(1, "n1", key_a), -ENOSPC);
	cr_expect_not(used(1));
	cr_expect_eq(incarnation("n1"), 0);
	ledger_close(l);
	cr_assert_eq(ledger_open(&l, fd), 0);
	cr_expect_eq(tokens(), before);
	ledger_close(l);
	/* With room again it goes on. */
	cr_assert_eq(mount("none", path, "tmpfs", MS_REMOUNT, "size=4m"), 0);
	cr_assert_eq(ledger_open(&l, fd), 0);
	cr_expect_eq(join(1, "n1", key_a), 0);
	ledger_close(l);
	l = NULL;
	close(fd);
	umount(path);
	rmdir(path);
}

Test(ledger, is_made_whole_or_not_at_all_when_the_disk_is_full)
{
	char path[128];
	int fd, made = 0;

	snprintf(path, sizeof(path), "%s/full", folder);
	mkdir(path, 0700);
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", path, "tmpfs", 0, "size=16k")) {
		rmdir(path);
		cr_skip_test("takes a file system of its own: root");
	}
	for (unsigned k = 16; k <= 128 && !made; k += 4) {
		char size[32];
		int err;

		snprintf(size, sizeof(size), "size=%uk", k);
		cr_assert_eq(mount("none", path, "tmpfs", MS_REMOUNT, size), 0);
		fd = open(path, O_RDONLY | O_DIRECTORY);
		err = ledger_create(fd, "test");
		made = err == 0;
		if (err) {
			cr_expect_eq(err, -ENOSPC, "%u KiB: %d", k, err);
			cr_expect_neq(faccessat(fd, LEDGER_FILE, F_OK, 0), 0);
			cr_expect_neq(faccessat(fd, LEDGER_FILE "-wal", F_OK, 0), 0);
		}
		close(fd);
	}
	cr_expect(made);
	umount(path);
	rmdir(path);
}

Test(ledger, writes_no_more_after_a_write_failed)
{
	struct ledger_token t;
	struct rlimit limit = {.rlim_max = RLIM_INFINITY};
	unsigned i;
	int err = 0;

	signal(SIGXFSZ, SIG_IGN);
	limit.rlim_cur = 100000;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (i = 1; i < 2000 && !err; i++) {
		t = token(i, "");
		err = ledger_token_add(l, &t);
	}
	cr_expect_eq(err, -EIO);
	cr_expect(ledger_broken(l));
	limit.rlim_cur = RLIM_INFINITY;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_expect_eq(join(1, "n1", key_a), -EIO);
	reopen();
	cr_expect_not(ledger_broken(l));
	cr_expect_eq(tokens(), i - 2);
	cr_expect_eq(join(1, "n1", key_a), 0);
}

/* -- what is revoked --------------------------------------------------------------------------- */

static void add_node(const char *name, uint64_t incarnation, uint64_t issue)
{
	struct ledger_node n = {.role = ROLE_NODE,
	                        .incarnation = incarnation,
	                        .issue = issue,
	                        .not_after = NOW + 1000};

	snprintf(n.name, sizeof(n.name), "%s", name);
	memcpy(n.keys.spki, key_a, 32);
	cr_assert_eq(cert_labels_add(&n.labels, "zone=pci"), 0);
	cr_assert_eq(ledger_node_add(l, &n), 0);
}

static uint64_t list_of(struct revocations *s)
{
	uint64_t number = 0;

	cr_assert_eq(ledger_list(l, &number, s), 0);
	return number;
}

Test(ledger, raises_the_lists_number_with_each_entry_above_all_before)
{
	struct revocations s;
	uint64_t first, second;

	add_node("n2", 3, 7);
	add_node("n3", 1, 1);
	cr_expect_eq(list_of(&s), 0);
	cr_expect_eq(s.n, 0);
	cr_assert_eq(ledger_revoke(l, "n2", NOW), 0);
	first = list_of(&s);
	cr_expect_gt(first, (uint64_t)NOW);
	cr_expect_eq(s.n, 2); /* by name, by key */
	cr_expect_eq(s.at[0].value, 3);
	cr_expect_geq(s.at[0].until, NOW + 1000 + CERT_GRACE);
	revocations_clear(&s);
	cr_assert_eq(ledger_revoke(l, "n3", NOW - 5000), 0); /* the clock went back */
	second = list_of(&s);
	cr_expect_gt(second, first);
	revocations_clear(&s);
	cr_expect_eq(ledger_revoke(l, "n9", NOW), -ENOENT);
	cr_expect_eq(list_of(&s), second);
	revocations_clear(&s);
}

Test(ledger, revokes_by_issue_number_where_a_label_is_gone)
{
	struct cert_labels labels = {0};
	struct revocations s;
	struct ledger_node n;
	bool lost;

	add_node("n2", 3, 7);
	cr_assert_eq(cert_labels_add(&labels, "zone=pci"), 0);
	cr_assert_eq(cert_labels_add(&labels, "app=web"), 0);
	cr_assert_eq(ledger_label(l, "n2", &labels, NOW, &n, &lost), 0);
	cr_expect_not(lost); /* one more is no loss */
	cr_expect_eq(n.issue_min, 8);
	cr_assert_eq(cert_labels_add(&labels, "zone=lab"), 0);
	cr_assert_eq(ledger_label(l, "n2", &labels, NOW, &n, &lost), 0);
	cr_expect(lost); /* another value is one */
	cr_expect_gt(list_of(&s), 0);
	cr_assert_eq(s.n, 1);
	cr_expect_eq(s.at[0].kind, REVOCATION_ISSUE);
	cr_expect_eq(s.at[0].value, 8);
	revocations_clear(&s);
}

Test(ledger, renews_nothing_that_is_revoked_and_forgets_no_entry_before_its_end)
{
	struct cert_info cert = {.node = "n2", .role = ROLE_NODE, .incarnation = 3};
	struct revocations s;
	struct ledger_node n;

	add_node("n2", 3, 7);
	add_node("n3", 1, 1);
	memcpy(cert.spki, key_a, 32);
	cr_assert_eq(ledger_revoke(l, "n2", NOW), 0);
	cr_expect_eq(ledger_renew(l, &cert, key_b, &n), -EKEYREVOKED);
	cr_expect_eq(ledger_leave(l, &cert), -EKEYREVOKED);
	cr_assert_eq(ledger_revoke(l, "n3", NOW + 1000 + CERT_GRACE), 0);
	list_of(&s);
	cr_expect_eq(s.n, 3);
	revocations_clear(&s);
	cr_assert_eq(ledger_revoke(l, "n3", NOW + 10 * CERT_GRACE), 0);
	list_of(&s);
	cr_expect_eq(s.n, 2); /* n2's has ended */
	revocations_clear(&s);
}
