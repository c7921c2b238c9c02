/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/door.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/workers.h"

#define PORT 4747

static void setup(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
	cr_assert_eq(unshare(CLONE_NEWNET), 0);
}

static unsigned port_of(int fd)
{
	struct sockaddr_in6 at;
	socklen_t len = sizeof(at);

	cr_assert_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	return ntohs(at.sin6_port);
}

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

TestSuite(door, .init = setup);

Test(door, each_worker_has_its_sockets)
{
	int fds[WORKERS_SOCKETS];

	for (unsigned n = 1; n <= WORKERS_MAX; n++) {
		cr_assert_eq(door_udp(fds, n, PORT), 0);
		for (unsigned i = 0; i < n; i++)
			cr_expect_eq(port_of(fds[i]), PORT);
		for (unsigned i = 1; i < n; i++)
			cr_expect_eq(port_of(fds[n + i - 1]) % WORKERS_MAX, i);
		close_all(fds, workers_sockets(n));
	}
}

Test(door, a_port_that_another_has_is_an_error)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	int fd = socket(AF_INET6, SOCK_DGRAM, 0), fds[WORKERS_SOCKETS];

	cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	cr_expect_eq(door_udp(fds, 2, PORT), -EADDRINUSE);
	close(fd);
}

static void *close_soon(void *fds)
{
	usleep(DOOR_WAIT_MS * 1000 / 4);
	close_all(fds, workers_sockets(2));
	return NULL;
}

/* Else the new sockets would stand behind the old in the group, and in another order once those go. */
Test(door, what_is_left_of_the_last_group_is_waited_for)
{
	int old[WORKERS_SOCKETS], fds[WORKERS_SOCKETS];
	struct timespec from, to;
	pthread_t closer;

	cr_assert_eq(door_udp(old, 2, PORT), 0);
	cr_assert_eq(pthread_create(&closer, NULL, close_soon, old), 0);
	clock_gettime(CLOCK_MONOTONIC, &from);
	cr_assert_eq(door_udp(fds, 2, PORT), 0);
	clock_gettime(CLOCK_MONOTONIC, &to);
	pthread_join(closer, NULL);
	cr_expect_geq((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000,
	              DOOR_WAIT_MS / 4 - 20);
	close_all(fds, workers_sockets(2));
}
