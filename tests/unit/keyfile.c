/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/keyfile.h"

#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/ginnel-keyfile.XXXXXX";
static int dir = -1;

static void begin(void)
{
	cr_assert(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(dir, 0);
}

/* How many files are there? */
static int files(void)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	int n = 0;

	cr_assert(d);
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static void end(void)
{
	DIR *d = opendir(folder);
	struct dirent *e;

	while ((e = readdir(d))) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			unlinkat(dir, e->d_name, e->d_type == DT_DIR ? AT_REMOVEDIR : 0);
	}
	closedir(d);
	close(dir);
	rmdir(folder);
}

TestSuite(keyfile, .init = begin, .fini = end);

static void expect_content(const char *name, const char *text)
{
	char buf[64];
	size_t n = 0;

	cr_expect_eq(keyfile_read_secret(dir, name, buf, sizeof(buf), &n), 0);
	cr_expect(n == strlen(text) && memcmp(buf, text, n) == 0, "%s", name);
}

/* A file as somebody else might have left it. */
static void put(const char *name, const char *text, mode_t mode)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	cr_assert_eq(fchmod(fd, mode), 0);
	close(fd);
}

Test(keyfile, reads_what_it_wrote_and_replaces_it)
{
	struct stat st;

	umask(0);
	cr_assert_eq(keyfile_write(dir, "node.key", "old", 3), 0);
	expect_content("node.key", "old");
	cr_assert_eq(keyfile_write(dir, "node.key", "a new one", 9), 0);
	expect_content("node.key", "a new one");
	cr_assert_eq(fstatat(dir, "node.key", &st, 0), 0);
	cr_expect_eq(st.st_mode, S_IFREG | 0600);
	cr_expect_eq(files(), 1, "a temporary file remains");
	umask(0777);
	cr_assert_eq(keyfile_write(dir, "node.key", "again", 5), 0);
	cr_assert_eq(fstatat(dir, "node.key", &st, 0), 0);
	cr_expect_eq(st.st_mode, S_IFREG | 0600, "whatever the umask is");
}

Test(keyfile, makes_a_file_that_was_open_to_all_private)
{
	char buf[8];
	size_t n;

	put("node.key", "x", 0644);
	cr_expect_eq(keyfile_read_secret(dir, "node.key", buf, sizeof(buf), &n), -EPERM);
	cr_expect_eq(keyfile_read(dir, "node.key", buf, sizeof(buf), &n), 0);
	cr_assert_eq(keyfile_write(dir, "node.key", "y", 1), 0);
	expect_content("node.key", "y");
}

Test(keyfile, refuses_a_secret_that_others_could_know_or_change)
{
	static const mode_t open_modes[] = {0640, 0620, 0604, 0602, 0666, 0660, 0610};
	char buf[8];
	size_t n = 77;

	for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
		put("k", "x", open_modes[i]);
		memset(buf, 0, sizeof(buf));
		cr_expect_eq(keyfile_read_secret(dir, "k", buf, sizeof(buf), &n), -EPERM, "%o",
		             (unsigned)open_modes[i]);
		cr_expect_eq(buf[0], 0);
	}
	cr_expect_eq(n, 77);
	put("k", "x", 0400);
	cr_expect_eq(keyfile_read_secret(dir, "k", buf, sizeof(buf), &n), 0);
	if (geteuid() != 0)
		cr_skip_test("another owner needs root");
	cr_assert_eq(fchownat(dir, "k", 64747, 64747, 0), 0);
	cr_expect_eq(keyfile_read_secret(dir, "k", buf, sizeof(buf), &n), -EPERM, "another owner");
}

Test(keyfile, refuses_what_is_no_regular_file)
{
	char buf[8];
	size_t n;

	put("target", "x", 0600);
	cr_assert_eq(symlinkat("target", dir, "link"), 0);
	cr_assert_eq(mkdirat(dir, "folder", 0700), 0);
	cr_assert_eq(mkfifoat(dir, "pipe", 0600), 0);
	cr_expect_eq(keyfile_read(dir, "link", buf, sizeof(buf), &n), -ELOOP);
	cr_expect_eq(keyfile_read(dir, "folder", buf, sizeof(buf), &n), -EINVAL);
	cr_expect_eq(keyfile_read(dir, "pipe", buf, sizeof(buf), &n), -EINVAL);
	cr_expect_eq(keyfile_read(dir, "none", buf, sizeof(buf), &n), -ENOENT);
	cr_assert_eq(keyfile_write(dir, "link", "y", 1), 0);
	expect_content("link", "y");
	expect_content("target", "x");
	cr_expect_eq(keyfile_write(dir, "folder", "y", 1), -EISDIR);
	cr_expect_eq(files(), 4);
}

Test(keyfile, refuses_names_that_lead_elsewhere)
{
	static const char *const names[] = {"", ".", "..", "../k", "/k", "folder/k"};
	char buf[8];
	size_t n;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		cr_expect_eq(keyfile_write(dir, names[i], "x", 1), -EINVAL, "%s", names[i]);
		cr_expect_eq(keyfile_read(dir, names[i], buf, sizeof(buf), &n), -EINVAL);
	}
	cr_expect_eq(files(), 0);
}

Test(keyfile, tells_empty_from_too_large)
{
	static char big[KEYFILE_MAX + 1];
	char buf[4];
	size_t n = 0;

	put("k", "", 0600);
	cr_expect_eq(keyfile_read(dir, "k", buf, sizeof(buf), &n), -ENODATA);
	put("k", "1234", 0600);
	cr_expect_eq(keyfile_read(dir, "k", buf, sizeof(buf), &n), 0);
	cr_expect_eq(n, 4);
	put("k", "12345", 0600);
	cr_expect_eq(keyfile_read(dir, "k", buf, sizeof(buf), &n), -EFBIG);
	cr_expect_eq(keyfile_write(dir, "big", big, sizeof(big)), -EFBIG);
	cr_expect_eq(keyfile_write(dir, "big", big, sizeof(big) - 1), 0);
	cr_expect_eq(state_write(dir, "big", big, sizeof(big)), 0);
	cr_expect_eq(files(), 2);
}

Test(keyfile, writes_through_a_descriptor_that_only_names_the_folder)
{
	int path = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

	cr_assert_geq(path, 0);
	cr_expect_eq(keyfile_write(path, "k", "x", 1), 0);
	expect_content("k", "x");
	close(path);
}

Test(keyfile, leaves_the_old_file_when_the_disk_is_full)
{
	static char big[16 * 4096];
	struct stat st;
	int full;

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", folder, "tmpfs", 0, "size=32k,mode=700") < 0)
		cr_skip_test("a small file system needs root");
	full = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(full, 0);
	cr_expect_eq(keyfile_write(full, "ledger", "old", 3), 0);
	cr_expect_eq(keyfile_write(full, "ledger", big, sizeof(big)), -ENOSPC);
	close(dir);
	dir = full;
	expect_content("ledger", "old");
	cr_expect_eq(fstatat(full, "ledger", &st, 0), 0);
	cr_expect_eq(files(), 1, "a temporary file remains");
	cr_expect_eq(keyfile_write(full, "ledger", "new", 3), 0, "and goes on when there is room");
	expect_content("ledger", "new");
	unlinkat(full, "ledger", 0);
	close(full);
	cr_assert_eq(umount2(folder, MNT_DETACH), 0);
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

Test(keyfile, leaves_the_old_file_when_the_folder_may_not_be_written)
{
	char buf[8];
	size_t n;

	cr_assert_eq(keyfile_write(dir, "k", "old", 3), 0);
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(folder, folder, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, folder, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
		cr_skip_test("a read-only mount needs root");
	close(dir);
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_expect_eq(keyfile_write(dir, "k", "new", 3), -EROFS);
	cr_expect_eq(keyfile_read(dir, "k", buf, sizeof(buf), &n), 0);
	cr_expect(n == 3 && memcmp(buf, "old", 3) == 0);
	cr_expect_eq(files(), 1);
	close(dir);
	cr_assert_eq(umount2(folder, MNT_DETACH), 0);
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}
