/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/der.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct der over(const void *p, size_t n)
{
	return (struct der){p, n};
}

Test(der, reads_definite_minimal_lengths_alone)
{
	static const struct {
		const char *what;
		uint8_t bytes[8];
		size_t n;
		int want;
	} rows[] = {
		{"empty", {4, 0}, 2, 0},
		{"one byte", {4, 1, 9}, 3, 0},
		{"no length", {4}, 1, -EBADMSG},
		{"cut", {4, 2, 9}, 3, -EBADMSG},
		{"indefinite", {4, 0x80, 0, 0}, 4, -EBADMSG},
		{"one length byte too many", {4, 0x81, 1, 9}, 4, -EBADMSG},
		{"two too many", {4, 0x82, 0, 1, 9}, 5, -EBADMSG},
		{"length cut", {4, 0x82, 1}, 3, -EBADMSG},
		{"three length bytes", {4, 0x83, 1, 0, 0}, 5, -EBADMSG},
		{"reserved", {4, 0xff}, 2, -EBADMSG},
		{"long tag", {0x1f, 1, 0}, 3, -EBADMSG},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct der in = over(rows[i].bytes, rows[i].n);
		struct der value;
		uint8_t tag;

		cr_expect_eq(der_read_any(&in, &tag, &value), rows[i].want, "%s", rows[i].what);
		cr_expect_eq(in.n, rows[i].want ? rows[i].n : 0, "%s", rows[i].what);
	}
}

Test(der, writes_what_it_reads_at_each_form_of_length)
{
	static const size_t sizes[] = {0, 1, 127, 128, 255, 256, 65535};
	static uint8_t buf[66000], zeros[65535];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct der_out o;
		struct der in, whole, value;
		size_t need;

		der_out_init(&o, buf, sizeof(buf));
		der_put_element(&o, DER_OCTET_STRING, zeros, sizes[i]);
		cr_assert_eq(o.err, 0);
		need = o.n;
		in = over(buf, need);
		cr_expect_eq(der_read_whole(&in, DER_OCTET_STRING, &whole, &value), 0);
		cr_expect_eq(value.n, sizes[i]);
		cr_expect_eq(whole.n, need);
		cr_expect_eq(in.n, 0);
		for (size_t max = need > 8 ? need - 8 : 0; max < need; max++) {
			der_out_init(&o, buf, max);
			der_put_element(&o, DER_OCTET_STRING, zeros, sizes[i]);
			cr_expect_eq(o.err, -E2BIG, "%zu in %zu", sizes[i], max);
			cr_expect_leq(o.n, max);
		}
	}
}

Test(der, refuses_an_element_that_is_too_long_to_write)
{
	static uint8_t buf[70000], zeros[65536];
	struct der_out o;

	der_out_init(&o, buf, sizeof(buf));
	der_put_element(&o, DER_OCTET_STRING, zeros, sizeof(zeros));
	cr_expect_eq(o.err, -E2BIG);
}

Test(der, reads_integers_back)
{
	static const uint64_t values[] = {0, 1, 127, 128, 255, 256, 1ULL << 63, UINT64_MAX};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		uint8_t buf[16];
		struct der_out o;
		struct der in;
		uint64_t v = 99;

		der_out_init(&o, buf, sizeof(buf));
		der_put_uint(&o, values[i]);
		in = over(buf, o.n);
		cr_expect_eq(der_read_uint(&in, &v), 0);
		cr_expect_eq(v, values[i]);
	}
}

Test(der, refuses_integers_and_booleans_in_another_form)
{
	static const uint8_t negative[] = {2, 1, 0x80}, long_one[] = {2, 2, 0, 1}, none[] = {2, 0};
	static const uint8_t nine[] = {2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t maybe[] = {1, 1, 1}, two[] = {1, 2, 0xff, 0xff};
	static const uint8_t unused_bits[] = {3, 2, 1, 2}, no_bits[] = {3, 0};
	struct der in, value;
	uint64_t v;
	bool b;

	in = over(negative, sizeof(negative));
	cr_expect_eq(der_read_uint(&in, &v), -EBADMSG);
	in = over(long_one, sizeof(long_one));
	cr_expect_eq(der_read_uint(&in, &v), -EBADMSG);
	in = over(none, sizeof(none));
	cr_expect_eq(der_read_uint(&in, &v), -EBADMSG);
	in = over(nine, sizeof(nine));
	cr_expect_eq(der_read_uint(&in, &v), -EBADMSG);
	in = over(maybe, sizeof(maybe));
	cr_expect_eq(der_read_bool(&in, &b), -EBADMSG);
	in = over(two, sizeof(two));
	cr_expect_eq(der_read_bool(&in, &b), -EBADMSG);
	in = over(unused_bits, sizeof(unused_bits));
	cr_expect_eq(der_read_bits(&in, &value), -EBADMSG);
	in = over(no_bits, sizeof(no_bits));
	cr_expect_eq(der_read_bits(&in, &value), -EBADMSG);
}

/* Against the C library's calendar, from year 1 to 9999 in odd steps. */
Test(der, agrees_with_the_calendar)
{
	for (int64_t t = -62135596800; t < 253402300800; t += 8640061) {
		uint8_t buf[32];
		char text[32];
		struct der_out o;
		struct der in, value;
		struct tm tm;
		time_t at = (time_t)t;
		int64_t again = 0;
		uint8_t tag;

		der_out_init(&o, buf, sizeof(buf));
		der_put_time(&o, t);
		cr_assert_eq(o.err, 0);
		in = over(buf, o.n);
		cr_assert_eq(der_read_time(&in, &again), 0);
		cr_assert_eq(again, t);
		cr_assert(gmtime_r(&at, &tm));
		snprintf(text, sizeof(text), "%04u%02u%02u%02u%02u%02uZ",
		         (unsigned)tm.tm_year + 1900, (unsigned)tm.tm_mon + 1, (unsigned)tm.tm_mday,
		         (unsigned)tm.tm_hour, (unsigned)tm.tm_min, (unsigned)tm.tm_sec);
		in = over(buf, o.n);
		cr_assert_eq(der_read_any(&in, &tag, &value), 0);
		cr_assert_eq(tag, tm.tm_year >= 50 && tm.tm_year < 150 ? DER_UTC_TIME
		                                                       : DER_GENERALIZED_TIME);
		cr_assert(der_equal(&value, text + (tag == DER_UTC_TIME ? 2 : 0),
		                    tag == DER_UTC_TIME ? 13 : 15),
		          "%s", text);
	}
}

Test(der, knows_the_last_second_of_a_year_and_leap_days)
{
	static const struct {
		const char *text;
		int64_t want;
	} rows[] = {
		{"700101000000Z", 0},
		{"500101000000Z", -631152000},
		{"491231235959Z", 2524607999},
		{"000229120000Z", 951825600},
		{"20500101000000Z", 2524608000},
		{"99991231235959Z", 253402300799},
		{"20000229000000Z", 951782400},
	};
	static const char *const bad[] = {
		"010229000000Z", "21000229000000Z", "700100000000Z",
		"701301000000Z", "700001000000Z",   "700101240000Z",
		"700101006000Z", "700101000060Z",   "7001010000Z",
		"700101000000",  "700101000000+",   "70010100000 Z",
		"7001010000001", "-00101000000Z",   "",
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t buf[32];
		size_t n = strlen(rows[i].text);
		struct der in = over(buf, n + 2);
		int64_t t = 1;

		buf[0] = n == 13 ? DER_UTC_TIME : DER_GENERALIZED_TIME;
		buf[1] = (uint8_t)n;
		memcpy(buf + 2, rows[i].text, n);
		cr_expect_eq(der_read_time(&in, &t), 0, "%s", rows[i].text);
		cr_expect_eq(t, rows[i].want, "%s", rows[i].text);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (int tag = DER_UTC_TIME; tag <= DER_GENERALIZED_TIME; tag++) {
			uint8_t buf[32];
			size_t n = strlen(bad[i]);
			struct der in = over(buf, n + 2);
			int64_t t;

			buf[0] = (uint8_t)tag;
			buf[1] = (uint8_t)n;
			memcpy(buf + 2, bad[i], n);
			cr_expect_eq(der_read_time(&in, &t), -EBADMSG, "%s", bad[i]);
		}
	}
}

Test(der, writes_no_time_outside_four_digits)
{
	uint8_t buf[32];
	struct der_out o;

	der_out_init(&o, buf, sizeof(buf));
	der_put_time(&o, 253402300800);
	cr_expect_eq(o.err, -EINVAL);
	der_out_init(&o, buf, sizeof(buf));
	der_put_time(&o, INT64_MIN);
	cr_expect_eq(o.err, -EINVAL);
}
