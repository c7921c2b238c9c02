/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/workers.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>

Test(workers, one_to_eight_as_said)
{
	static const char *const wrong[] = {"", "0", "9", "-1", "12", "1 ", "two", "08"};
	unsigned n = 77;

	for (unsigned i = 1; i <= WORKERS_MAX; i++) {
		const char text[] = {(char)('0' + i), 0};

		cr_assert_eq(workers_count(&n, text), 0);
		cr_expect_eq(n, i);
	}
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		n = 77;
		cr_expect_eq(workers_count(&n, wrong[i]), -EINVAL, "\"%s\"", wrong[i]);
		cr_expect_eq(n, 77);
	}
}

Test(workers, one_for_each_core_that_is_ours)
{
	unsigned n;
	cpu_set_t all, one;

	cr_assert_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	cr_assert_eq(workers_count(&n, NULL), 0);
	if (CPU_COUNT(&all) <= 2)
		cr_expect_eq(n, 1); /* the other one is for those who make packets */
	else
		cr_expect_eq(n, CPU_COUNT(&all) < WORKERS_MAX ? (unsigned)CPU_COUNT(&all)
		                                              : WORKERS_MAX);
	CPU_ZERO(&one);
	for (unsigned i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	cr_assert_eq(workers_count(&n, NULL), 0);
	cr_expect_eq(n, 1);
}

Test(workers, each_port_has_one)
{
	for (unsigned n = 1; n <= WORKERS_MAX; n++)
		for (unsigned port = 0; port < 65536; port += 7)
			cr_expect_lt(workers_by_port((uint16_t)port, n), n);
	for (unsigned w = 1; w < WORKERS_MAX; w++) /* the same number on both sides */
		cr_expect_eq(workers_by_port((uint16_t)(40000 + w), WORKERS_MAX), w);
	cr_expect_eq(workers_sockets(1), 1);
	cr_expect_eq(workers_sockets(WORKERS_MAX), WORKERS_SOCKETS);
}
