/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/ratelimit.h"

#include <criterion/criterion.h>

#define SECOND 1000000000LL

static struct addr v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return (struct addr){.family = 4, .b = {a, b, c, d}};
}

Test(ratelimit, a_burst_then_so_many_a_second)
{
	static struct ratelimit r;
	struct addr a = v4(192, 0, 2, 1);
	unsigned n = 0;

	ratelimit_init(&r, 0x123456789abcdef1, 10, 20);
	for (int i = 0; i < 100; i++)
		n += ratelimit_take(&r, &a, SECOND);
	cr_expect_eq(n, 20);
	n = 0;
	for (int i = 0; i < 100; i++)
		n += ratelimit_take(&r, &a, 2 * SECOND);
	cr_expect_eq(n, 10);
	n = 0;
	for (int i = 0; i < 100; i++)
		n += ratelimit_take(&r, &a, 3600 * SECOND);
	cr_expect_eq(n, 20); /* no more is saved up */
}

Test(ratelimit, a_prefix_is_one_source_and_another_is_another)
{
	static struct ratelimit r;
	struct addr a = v4(192, 0, 2, 1), same = v4(192, 0, 2, 77);
	unsigned starved = 0;

	ratelimit_init(&r, 0x123456789abcdef1, 1, 1);
	cr_expect(ratelimit_take(&r, &a, SECOND));
	cr_expect_not(ratelimit_take(&r, &same, SECOND));
	for (unsigned i = 0; i < 200; i++) {
		struct addr other = v4(198, 51, (uint8_t)i, 1);

		starved += !ratelimit_take(&r, &other, SECOND);
	}
	cr_expect_lt(starved, 40); /* by chance some share a bucket */
}

Test(ratelimit, who_shares_a_bucket_depends_on_the_key)
{
	static struct ratelimit r, s;
	unsigned differ = 0;

	ratelimit_init(&r, 3, 1, 1);
	ratelimit_init(&s, 0x9e3779b97f4a7c15, 1, 1);
	for (unsigned i = 0; i < 1000; i++) {
		struct addr a = v4(10, (uint8_t)(i >> 8), (uint8_t)i, 1);

		differ += ratelimit_take(&r, &a, SECOND) != ratelimit_take(&s, &a, SECOND);
	}
	cr_expect_gt(differ, 10);
}
