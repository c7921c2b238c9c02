/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is given up is looked for from inside a process that gave it up: each test forks one. They
 * need root, for nobody else has anything to give up.
 */
#include "gateway/privsep/isolate.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UID ISOLATE_UID_ENGINE

static void need_root(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
}

/* Runs fn in a child; its number says which check failed, 0 is well. */
static int inside(int (*fn)(int dir), int dir)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn(dir));
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static unsigned long long status_hex(const char *key)
{
	char line[256];
	unsigned long long v = ~0ULL;
	FILE *f = fopen("/proc/thread-self/status", "re");

	if (!f)
		return ~0ULL;
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0)
			v = strtoull(line + strlen(key), NULL, 16);
	fclose(f);
	return v;
}

static int folder(void)
{
	char name[] = "/tmp/isolate-XXXXXX";
	int dir;

	cr_assert_not_null(mkdtemp(name));
	dir = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(dir, 0);
	cr_assert_eq(chown(name, UID, UID), 0);
	cr_assert_eq(chmod(name, 0700), 0);
	cr_assert_eq(setenv("ISOLATE_DIR", name, 1), 0);
	return dir;
}

static int child(int dir)
{
	struct rlimit core;
	int sig = 0, fd;
	gid_t g = 1234;

	if (setgroups(1, &g) < 0)
		return 1;
	if (isolate_child(UID, UID, dir) != 0)
		return 2;
	if (getuid() != UID || geteuid() != UID || getgid() != UID || getgroups(0, NULL) != 0)
		return 3;
	if (setuid(0) == 0 || setgid(0) == 0 || seteuid(0) == 0)
		return 4;
	if (status_hex("CapPrm:") || status_hex("CapEff:") || status_hex("CapBnd:") ||
	    status_hex("CapInh:") || status_hex("CapAmb:"))
		return 5;
	if (prctl(PR_GET_DUMPABLE) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 6;
	if (prctl(PR_GET_PDEATHSIG, &sig) < 0 || sig != SIGKILL)
		return 7;
	if (getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0)
		return 8;
	fd = open("own", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return 9; /* it stands in its own folder and may write there */
	if (unlink("own") < 0)
		return 10;
	if (open("/etc/shadow", O_RDONLY | O_CLOEXEC) >= 0)
		return 11;
	return 0;
}

Test(isolate, a_child_keeps_nothing_and_stands_in_its_folder)
{
	int dir;

	need_root();
	dir = folder();
	cr_expect_eq(inside(child, dir), 0);
	cr_expect_eq(rmdir(getenv("ISOLATE_DIR")), 0);
}

static int foreign(int dir)
{
	/* Another process's folder: the uid that changed first is what is judged. */
	return isolate_child(ISOLATE_UID_CA, ISOLATE_UID_CA, dir) == -EACCES ? 0 : 1;
}

Test(isolate, a_child_gets_into_no_other_folder)
{
	int dir;

	need_root();
	dir = folder();
	cr_expect_eq(inside(foreign, dir), 0);
	cr_expect_eq(rmdir(getenv("ISOLATE_DIR")), 0);
}

static int root_child(int dir)
{
	if (isolate_child(0, UID, dir) != -EINVAL || isolate_child(UID, 0, dir) != -EINVAL)
		return 1;
	return geteuid() == 0 ? 0 : 2;
}

Test(isolate, a_child_never_stays_root)
{
	need_root();
	cr_expect_eq(inside(root_child, -1), 0);
}

/* NET_ADMIN 12, SETUID 7, SETGID 6, SETPCAP 8, KILL 5 */
#define PARENT_CAPS 0x11e0ULL

static int parent(int dir)
{
	if (isolate_parent() != 0)
		return 1;
	if (status_hex("CapPrm:") != PARENT_CAPS || status_hex("CapEff:") != PARENT_CAPS ||
	    status_hex("CapBnd:") != PARENT_CAPS || status_hex("CapAmb:"))
		return 2;
	if (geteuid() != 0 || prctl(PR_GET_DUMPABLE) != 0)
		return 3;
	/* DAC_OVERRIDE is gone: root meets the modes of other people's files. */
	if (open(getenv("ISOLATE_DIR"), O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0)
		return 4;
	/* and can still make a child that has nothing */
	return inside(child, dir);
}

Test(isolate, the_parent_keeps_five_and_can_make_a_child)
{
	int dir;

	need_root();
	dir = folder();
	cr_expect_eq(inside(parent, dir), 0);
	cr_expect_eq(rmdir(getenv("ISOLATE_DIR")), 0);
}

static int dies_with_parent(int dir)
{
	int p[2];
	char c;
	pid_t pid;

	(void)dir;
	if (pipe(p) < 0)
		return 1;
	pid = fork();
	if (pid == 0) { /* the middle one: its child holds the pipe's writing end */
		int ready[2];

		close(p[0]);
		if (pipe(ready) < 0)
			_exit(1);
		if (fork() == 0) {
			if (isolate_child(UID, UID, -1) != 0)
				_exit(1);
			if (write(ready[1], "", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
		if (read(ready[0], &c, 1) != 1)
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	close(p[1]);
	alarm(5);
	if (waitpid(pid, NULL, 0) != pid)
		return 2;
	return read(p[0], &c, 1) == 0 ? 0 : 3; /* end of file: the grandchild is gone */
}

Test(isolate, a_child_dies_with_its_parent)
{
	need_root();
	cr_expect_eq(inside(dies_with_parent, -1), 0);
}

Test(isolate, users_are_never_root)
{
	uid_t uid = 1;
	gid_t gid = 1;

	cr_expect_eq(isolate_user("root", UID, &uid, &gid), -EPERM);
	cr_expect_eq(isolate_user("no-such-user-here", 0, &uid, &gid), -EPERM);
	cr_expect(uid == 1 && gid == 1, "written on success only");
	cr_expect_eq(isolate_user("no-such-user-here", UID, &uid, &gid), 0);
	cr_expect(uid == UID && gid == UID);
	cr_expect_eq(isolate_user("nobody", UID, &uid, &gid), 0);
	cr_expect_neq(uid, UID);
}
