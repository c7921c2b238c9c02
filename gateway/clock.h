/* SPDX-License-Identifier: GPL-3.0-or-later */
/* clock - the two clocks, read once a round by whoever owns a loop and passed on as arguments. */
#pragma once
#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds. */
static inline int64_t clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Milliseconds for poll(2) from now until deadline, rounded up; -1: never. */
static inline int clock_poll_ms(int64_t deadline, int64_t now)
{
	int64_t ms;

	if (deadline == INT64_MAX)
		return -1;
	if (deadline <= now)
		return 0;
	ms = (deadline - now + 999999) / 1000000;
	return ms > 3600000 ? 3600000 : (int)ms;
}
