/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/datagram.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* A ClientHello's first part: record, handshake header, version, random of 32, one byte more. */
static size_t hello(uint8_t *d, unsigned seq)
{
	static const uint8_t head[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12 + 35,
	                               1,  0,    5,    0, 0, 0, 0, 0, 0, 0, 0, 35};

	memcpy(d, head, sizeof(head));
	d[18] = (uint8_t)seq;
	d[25] = 0xfe;
	d[26] = 0xfd;
	memset(d + 27, 0x5a, 33);
	return 60;
}

/* In memory of exactly that size, so that a sanitizer sees a byte too many being read. */
static const uint8_t *exact(const uint8_t *d, size_t len)
{
	static uint8_t *copy;

	free(copy);
	copy = malloc(len ? len : 1);
	memcpy(copy, d, len);
	return copy;
}

Test(datagram, knows_a_hello_by_its_random)
{
	uint8_t d[80];
	size_t len = hello(d, 0);
	uint16_t seq;

	cr_assert_eq(datagram_plain(d, len), len);
	cr_assert_eq(datagram_message(d, len, &seq), DATAGRAM_CLIENT_HELLO);
	cr_assert_eq(seq, 0);
	cr_assert_eq(datagram_hello(d, len), d + 27);
	hello(d, 1);
	cr_assert_eq(datagram_hello(d, len), d + 27);
	hello(d, 2); /* there are two hellos at most */
	cr_assert_null(datagram_hello(d, len));
	hello(d, 0);
	d[21] = 1; /* not its first part */
	cr_assert_null(datagram_hello(d, len));
	hello(d, 0);
	d[4] = 1; /* no plaintext has an epoch */
	cr_assert_eq(datagram_plain(d, len), 0);
	cr_assert_null(datagram_hello(d, len));
}

Test(datagram, takes_no_part_for_the_whole)
{
	uint8_t d[80];
	size_t len = hello(d, 0);

	for (size_t i = 0; i < len; i++) {
		cr_assert_eq(datagram_plain(exact(d, i), i), 0);
		cr_assert_null(datagram_hello(exact(d, i), i));
		cr_assert_null(datagram_cid(exact(d, i), i));
	}
	d[24] = 36; /* a part longer than its record */
	cr_assert_null(datagram_hello(d, len));
	d[24] = 35;
	d[15] = 0; /* a message shorter than its part */
	cr_assert_null(datagram_hello(d, len));
}

Test(datagram, measures_protected_records)
{
	static const uint8_t cid[] = {1, 2, 3, 4}, other[] = {1, 2, 3, 5};
	uint8_t d[64] = {0x3f, 1, 2, 3, 4, 9, 9, 0, 20};

	cr_assert_eq(datagram_cid(d, 29), d + 1);
	cr_assert_eq(datagram_protected(cid, d, 29), 29);
	cr_assert_eq(datagram_protected(cid, d, 64), 29); /* others may follow */
	cr_assert_eq(datagram_protected(other, d, 29), 0);
	for (size_t i = 0; i < 29; i++)
		cr_assert_eq(datagram_protected(cid, exact(d, i), i), 0, "%zu", i);
	d[8] = 15; /* too few bytes to hide the number with */
	cr_assert_eq(datagram_protected(cid, d, 64), 0);
	d[0] = 0x3b; /* without a length: the rest */
	cr_assert_eq(datagram_protected(cid, d, 40), 40);
	cr_assert_eq(datagram_protected(cid, d, 20), 0);
	d[0] = 0x2f; /* without a connection ID */
	cr_assert_null(datagram_cid(d, 29));
	cr_assert_eq(datagram_protected(cid, d, 29), 0);
}
