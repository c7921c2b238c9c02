/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/alarm.h"

#include <criterion/criterion.h>

static struct event_base *base;
static struct alarm *a;
static unsigned rung;

static void ring(void *arg)
{
	(void)arg;
	rung++;
	event_base_loopbreak(base);
}

static void setup(void)
{
	base = event_base_new();
	cr_assert(base);
	cr_assert_eq(alarm_new(&a, base, ring, NULL), 0);
}

static void teardown(void)
{
	alarm_free(a);
	event_base_free(base);
}

TestSuite(alarm, .init = setup, .fini = teardown, .timeout = 60);

/* Until it rings, or so many milliseconds are over. */
static void wait_for(long ms)
{
	const struct timeval end = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_loopexit(base, &end);
	event_base_dispatch(base);
}

Test(alarm, rings_at_once_when_it_is_late)
{
	alarm_set(a, 0);
	wait_for(5000);
	cr_expect_eq(rung, 1);
	alarm_set(a, -100);
	wait_for(5000);
	cr_expect_eq(rung, 2);
}

Test(alarm, rings_in_the_second_that_was_asked_for)
{
	time_t before = time(NULL);

	alarm_set(a, 2);
	wait_for(10000);
	cr_expect_eq(rung, 1);
	cr_expect_geq(time(NULL), before + 2);
	cr_expect_leq(time(NULL), before + 4);
}

Test(alarm, rings_once)
{
	alarm_set(a, 0);
	wait_for(5000);
	wait_for(1500);
	cr_expect_eq(rung, 1);
}

Test(alarm, that_was_set_anew_has_forgotten_the_old)
{
	alarm_set(a, 1);
	alarm_set(a, 1000);
	wait_for(2200);
	cr_expect_eq(rung, 0);
}

Test(alarm, that_was_never_set_is_silent)
{
	wait_for(200);
	cr_expect_eq(rung, 0);
}

Test(alarm, sleeps_no_longer_than_it_says)
{
	alarm_set(a, (time_t)1 << 60); /* no overflow into the past */
	wait_for(200);
	cr_expect_eq(rung, 0);
}
