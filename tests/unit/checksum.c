/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tun/checksum.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* As RFC 1071 says it, two bytes at a time. */
static uint16_t slow(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

Test(checksum, the_example_of_the_rfc)
{
	static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	cr_expect_eq(checksum_fold(checksum_add(0, bytes, sizeof(bytes))), 0xddf2);
	cr_expect_eq(checksum_fold(0), 0);
}

Test(checksum, every_length_and_alignment_is_summed_as_two_bytes_at_a_time)
{
	uint8_t bytes[160];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 167 + 91);
	for (size_t from = 0; from < 8; from++) {
		for (size_t len = 0; len <= sizeof(bytes) - from; len++)
			cr_assert_eq(checksum_fold(checksum_add(0, bytes + from, len)),
			             slow(bytes + from, len), "%zu from %zu", len, from);
	}
}

Test(checksum, carries_are_not_lost)
{
	static uint8_t ones[65535];

	memset(ones, 0xff, sizeof(ones));
	cr_expect_eq(checksum_fold(checksum_add(0, ones, sizeof(ones))), slow(ones, sizeof(ones)));
	cr_expect_eq(checksum_fold(checksum_add(UINT64_MAX, ones, sizeof(ones))),
	             slow(ones, sizeof(ones)));
	cr_expect_eq(checksum_fold(UINT64_MAX), 0xffff);
}

Test(checksum, parts_add_up)
{
	uint8_t bytes[64];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(0xff - i);
	for (size_t cut = 0; cut < sizeof(bytes); cut += 2) {
		uint64_t sum = checksum_add(0, bytes, cut);

		sum = checksum_add(sum, bytes + cut, sizeof(bytes) - cut);
		cr_expect_eq(checksum_fold(sum), slow(bytes, sizeof(bytes)), "cut at %zu", cut);
	}
	cr_expect_eq(checksum_fold(checksum_add16(checksum_add(0, bytes, 62), 0xc1c0)),
	             slow(bytes, sizeof(bytes)), "bytes and values are one number");
}

Test(checksum, the_pseudo_header_is_that_of_the_version)
{
	static const uint8_t v4[] = {10, 1, 2, 3, 10, 4, 5, 6, 0, 17, 0xab, 0xcd};
	uint8_t v6[36] = {0};
	struct ip_view ip = {.version = 4, .proto = 17};

	memcpy(ip.src.b, v4, 4);
	memcpy(ip.dst.b, v4 + 4, 4);
	cr_expect_eq(checksum_fold(checksum_add_pseudo(0, &ip, 0xabcd)), slow(v4, sizeof(v4)));
	for (size_t i = 0; i < 32; i++)
		v6[i] = (uint8_t)(i * 7 + 3);
	memcpy(ip.src.b, v6, 16);
	memcpy(ip.dst.b, v6 + 16, 16);
	ip.version = 6;
	v6[33] = 17;
	v6[34] = 0xab;
	v6[35] = 0xcd;
	cr_expect_eq(checksum_fold(checksum_add_pseudo(0, &ip, 0xabcd)), slow(v6, sizeof(v6)));
}
