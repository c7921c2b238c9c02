/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/filter.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs fn in a child; its number says which check failed, 0 is well; 1000 and more: a signal. */
static int inside(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn());
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

Test(filter, the_parent_has_none_and_each_of_the_others_a_list)
{
	cr_expect_eq(filter_load(PROCESS_PARENT, FILTER_KILL), -EINVAL);
	cr_expect_eq(filter_load(PROCESS_COUNT, FILTER_KILL), -EINVAL);
	for (enum process p = PROCESS_ENGINE; p < PROCESS_COUNT; p++)
		cr_expect(filter_count(p) > 30 && filter_count(p) < 120);
}

static int forbidden(void)
{
	if (filter_load(PROCESS_CA, FILTER_KILL) < 0)
		return 1;
	return (int)chroot("/") + 2;
}

Test(filter, a_call_that_is_in_no_list_is_the_end)
{
	cr_expect_eq(inside(forbidden), 1000 + SIGSYS);
}

static int told(void)
{
	if (filter_load(PROCESS_CA, FILTER_TELL) < 0)
		return 1;
	if (chroot("/") != -1 || errno != FILTER_TOLD)
		return 2;
	return 0;
}

Test(filter, for_the_self_test_it_is_an_error)
{
	cr_expect_eq(inside(told), 0);
}

static int twice(void)
{
	if (filter_load(PROCESS_ENGINE, FILTER_TELL) < 0)
		return 1;
	return filter_load(PROCESS_MANAGER, FILTER_TELL) == 0 ? 2 : 0;
}

Test(filter, nobody_gets_another_one)
{
	cr_expect_eq(inside(twice), 0);
}

static _Atomic int stage;

static void *wait_and_try(void *arg)
{
	while (stage != 1)
		usleep(1000);
	return chroot("/") == -1 && errno == FILTER_TOLD ? arg : NULL;
}

static int threads(void)
{
	pthread_t t;
	void *r = NULL;
	int mark;

	if (pthread_create(&t, NULL, wait_and_try, &mark) != 0)
		return 1;
	if (filter_load(PROCESS_ENGINE, FILTER_TELL) < 0)
		return 2;
	stage = 1;
	pthread_join(t, &r);
	if (!r)
		return 3;
	if (pthread_create(&t, NULL, wait_and_try, &mark) != 0)
		return 4;
	pthread_join(t, &r);
	return r ? 0 : 5;
}

Test(filter, threads_that_are_there_and_those_to_come_have_it_too)
{
	cr_expect_eq(inside(threads), 0);
}

static int narrowed(void)
{
	int one = 1, fd;

	if (filter_load(PROCESS_ENGINE, FILTER_TELL) < 0)
		return 1;
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return 2;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		return 3;
	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3) != -1 || errno != FILTER_TOLD)
		return 4;
	if (socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP) != -1 || errno != FILTER_TOLD)
		return 5;
#ifndef GINNEL_SANITIZER
	if (fcntl(fd, F_SETOWN, 1) != -1 || errno != FILTER_TOLD)
		return 6;
#endif
	return fcntl(fd, F_GETFL) < 0 ? 7 : 0;
}

Test(filter, calls_are_narrowed_by_their_arguments)
{
	cr_expect_eq(inside(narrowed), 0);
}
