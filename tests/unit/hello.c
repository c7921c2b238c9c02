/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/hello.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

/* A ClientHello's first fragment of 40 bytes: record, handshake header, version, random, rest. */
static size_t make(uint8_t *d, uint8_t type, uint16_t seq, uint32_t offset)
{
	const size_t fragment = 40, record = 12 + fragment;

	memset(d, 0, 13 + record);
	d[0] = 22;
	d[1] = 0xfe;
	d[2] = 0xfd;
	d[12] = (uint8_t)record;
	d[13] = type;
	d[17] = (uint8_t)(seq >> 8);
	d[18] = (uint8_t)seq;
	d[21] = (uint8_t)offset;
	d[24] = (uint8_t)fragment;
	for (uint8_t i = 0; i < HELLO_RANDOM_LEN; i++)
		d[27 + i] = i;
	return 13 + record;
}

Test(hello, reads_type_sequence_and_random)
{
	uint8_t d[128];
	struct hello h;
	size_t len = make(d, HELLO_CLIENT, 1, 0);

	cr_assert_eq(hello_parse(&h, d, len), 0);
	cr_expect_eq(h.type, HELLO_CLIENT);
	cr_expect_eq(h.message_seq, 1);
	cr_expect_eq(h.offset, 0);
	cr_assert_eq(h.random, d + 27);
}

Test(hello, only_a_first_fragment_of_a_hello_has_a_random)
{
	uint8_t d[128];
	struct hello h;

	cr_assert_eq(hello_parse(&h, d, make(d, HELLO_CLIENT, 1, 5)), 0);
	cr_expect_null(h.random);
	cr_assert_eq(hello_parse(&h, d, make(d, 11, 1, 0)), 0);
	cr_expect_null(h.random);
}

Test(hello, is_refused_when_cut_at_any_length)
{
	uint8_t d[128];
	struct hello h;
	size_t len = make(d, HELLO_CLIENT, 0, 0);

	for (size_t n = 0; n < len; n++)
		cr_expect_eq(hello_parse(&h, d, n), -EBADMSG, "%zu", n);
}

Test(hello, other_records_are_refused)
{
	uint8_t d[128];
	struct hello h;
	size_t len = make(d, HELLO_CLIENT, 0, 0);

	d[0] = 23;
	cr_expect_eq(hello_parse(&h, d, len), -EBADMSG);
	d[0] = 22;
	d[1] = 3; /* TLS over TCP */
	cr_expect_eq(hello_parse(&h, d, len), -EBADMSG);
	d[1] = 0xfe;
	d[4] = 1; /* epoch 1 */
	cr_expect_eq(hello_parse(&h, d, len), -EBADMSG);
	d[4] = 0;
	d[24] = 41; /* a fragment longer than its record */
	cr_expect_eq(hello_parse(&h, d, len), -EBADMSG);
}
