/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/counters.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#define FIELDS (sizeof(struct counters) / sizeof(uint64_t))

Test(counters, a_sum_takes_in_every_field)
{
	struct counters one, total = {0};
	_Atomic uint64_t *in = (_Atomic uint64_t *)&one, *out = (_Atomic uint64_t *)&total;

	memset(&one, 0, sizeof(one));
	for (size_t i = 0; i < FIELDS; i++)
		count_add(&in[i], i + 1);
	counters_sum(&total, &one);
	counters_sum(&total, &one);
	for (size_t i = 0; i < FIELDS; i++)
		cr_expect_eq(atomic_load(&out[i]), 2 * (i + 1), "field %zu", i);
}

static void *writer(void *arg)
{
	struct counters *c = arg;

	for (int i = 0; i < 200000; i++)
		count_add(&c->tun_read, (1ULL << 32) + 1);
	return NULL;
}

Test(counters, a_reader_sees_whole_numbers)
{
	static struct counters c;
	pthread_t thread;
	uint64_t last = 0;

	cr_assert_eq(pthread_create(&thread, NULL, writer, &c), 0);
	for (int i = 0; i < 100000; i++) {
		struct counters total = {0};
		uint64_t now;

		counters_sum(&total, &c);
		now = atomic_load(&total.tun_read);
		cr_assert_eq(now >> 32, now & 0xffffffff, "half of a number: %llx",
		             (unsigned long long)now);
		cr_assert_geq(now, last);
		last = now;
	}
	pthread_join(thread, NULL);
	cr_expect_eq(atomic_load(&c.tun_read), 200000 * ((1ULL << 32) + 1));
}
