/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/landlock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char own[] = "/tmp/landlock-XXXXXX";

static int inside(int (*fn)(void))
{
	int status;
	pid_t pid;

	if (!landlock_abi())
		cr_skip_test("the kernel has no Landlock");
	cr_assert_not_null(mkdtemp(own));
	pid = fork();
	if (pid == 0)
		_exit(fn());
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(rmdir(own), 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int can(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int only_own(void)
{
	struct landlock l;
	char file[64], other[64];

	snprintf(file, sizeof(file), "%s/file", own);
	snprintf(other, sizeof(other), "%s/other", own);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || landlock_init(&l, 0, 0) < 0)
		return 1;
	if (landlock_allow_path(&l, own, LANDLOCK_OWN) < 0 ||
	    landlock_allow_path(&l, "/dev/null", LANDLOCK_OWN) < 0 ||
	    landlock_allow_path(&l, "/does/not/exist", LANDLOCK_READ) < 0)
		return 2;
	if (landlock_enforce(&l) < 0)
		return 3;
	if (can("/", O_RDONLY | O_DIRECTORY) || can("/proc/version", O_RDONLY) ||
	    can("/tmp", O_RDONLY))
		return 4;
	if (!can("/dev/null", O_RDWR) || !can(own, O_RDONLY | O_DIRECTORY))
		return 5;
	if (!can(file, O_WRONLY | O_CREAT | O_EXCL) || !can(file, O_WRONLY | O_TRUNC))
		return 6;
	if (rename(file, other) < 0 || unlink(other) < 0)
		return 7;
	/* A folder of its own to put things in is nobody's need, nor are links and sockets. */
	if (mkdir(file, 0700) == 0 || symlink("/", file) == 0 || mkfifo(file, 0600) == 0)
		return 8;
	return errno == EACCES ? 0 : 9;
}

Test(landlock, nothing_but_what_was_allowed)
{
	cr_expect_eq(inside(only_own), 0);
}

static int no_tcp(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	struct landlock l;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (landlock_abi() < 4)
		return 0;
	any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    landlock_init(&l, LANDLOCK_TCP_BIND | LANDLOCK_TCP_CONNECT, 0) < 0 ||
	    landlock_enforce(&l) < 0)
		return 1;
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0 || errno != EACCES)
		return 2;
	any.sin_port = htons(1);
	return connect(fd, (struct sockaddr *)&any, sizeof(any)) < 0 && errno == EACCES ? 0 : 3;
}

Test(landlock, no_tcp)
{
	cr_expect_eq(inside(no_tcp), 0);
}

static int signals(void)
{
	struct landlock l;
	pid_t pid;

	if (landlock_abi() < 6)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    landlock_init(&l, 0, LANDLOCK_SIGNAL) < 0 || landlock_enforce(&l) < 0)
		return 1;
	if (kill(getppid(), 0) == 0 || errno != EPERM)
		return 2;
	/* Who was started by it, and narrowed further, can be ended by it. */
	pid = fork();
	if (pid == 0) {
		if (landlock_init(&l, 0, LANDLOCK_SIGNAL) < 0 || landlock_enforce(&l) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	usleep(50000);
	return kill(pid, SIGKILL) < 0 ? 3 : 0;
}

Test(landlock, signals_reach_ones_own_children_alone)
{
	cr_expect_eq(inside(signals), 0);
}

Test(landlock, a_file_takes_the_rights_of_files_and_no_error)
{
	struct landlock l;

	cr_assert_eq(landlock_init(&l, 0, 0), 0);
	cr_expect_eq(landlock_allow_path(&l, "/dev/null", LANDLOCK_OWN | LANDLOCK_RUN), 0);
	landlock_clear(&l);
	landlock_clear(&l);
}
