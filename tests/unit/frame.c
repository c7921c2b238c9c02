/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/frame.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

/* An IPv4 packet of UDP without payload: 28 bytes. */
static const uint8_t udp4[28] = {0x45, 0, 0,  28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77,
                                 1,    1, 10, 77, 2, 1, 0, 7, 0,  9,  0, 8, 0,  0};

static size_t bundle(uint8_t *out, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		memcpy(out + i * sizeof(udp4), udp4, sizeof(udp4));
	return n * sizeof(udp4);
}

Test(frame, one_packet_and_many_back_to_back)
{
	uint8_t buf[sizeof(udp4) * FRAME_BUNDLE_MAX];
	static struct frame f;

	for (unsigned n = 1; n <= FRAME_BUNDLE_MAX; n++) {
		cr_assert_eq(frame_parse(&f, buf, bundle(buf, n)), 0);
		cr_expect_eq(f.kind, FRAME_PACKETS);
		cr_assert_eq(f.n, n);
		for (unsigned i = 0; i < n; i++)
			cr_expect_eq(f.packets[i].data, buf + i * sizeof(udp4));
	}
}

Test(frame, a_bundle_is_parsed_whole_or_not_at_all)
{
	uint8_t buf[sizeof(udp4) * (FRAME_BUNDLE_MAX + 1)];
	static struct frame f;
	size_t len = bundle(buf, 3);

	for (size_t n = 0; n < len; n++)
		if (n % sizeof(udp4))
			cr_expect_lt(frame_parse(&f, buf, n), 0, "%zu", n);
	buf[2 * sizeof(udp4)] = 0x55; /* the third is no IP */
	cr_expect_eq(frame_parse(&f, buf, len), -EPROTO);
	cr_expect_eq(frame_parse(&f, buf, bundle(buf, FRAME_BUNDLE_MAX + 1)), -EBADMSG);
}

Test(frame, a_total_length_of_less_than_its_header_does_not_loop)
{
	uint8_t buf[sizeof(udp4)];
	static struct frame f;

	for (uint8_t total = 0; total < 28; total++) {
		bundle(buf, 1);
		buf[3] = total;
		cr_expect_lt(frame_parse(&f, buf, sizeof(buf)), 0, "%u", total);
	}
}

Test(frame, ping_and_pong)
{
	uint8_t buf[FRAME_PING_LEN + 1] = {0};
	struct frame f;

	frame_format_ping(buf, FRAME_PING, 0x0102030405060708);
	cr_expect_arr_eq(buf, "\x01\x01\x02\x03\x04\x05\x06\x07\x08", FRAME_PING_LEN);
	cr_assert_eq(frame_parse(&f, buf, FRAME_PING_LEN), 0);
	cr_expect_eq(f.kind, FRAME_PING);
	cr_expect_eq(f.stamp, 0x0102030405060708);
	frame_format_ping(buf, FRAME_PONG, UINT64_MAX);
	cr_assert_eq(frame_parse(&f, buf, FRAME_PING_LEN), 0);
	cr_expect_eq(f.kind, FRAME_PONG);
	cr_expect_eq(f.stamp, UINT64_MAX);
	for (size_t n = 0; n < FRAME_PING_LEN; n++)
		cr_expect_eq(frame_parse(&f, buf, n), -EBADMSG, "%zu", n);
	cr_expect_eq(frame_parse(&f, buf, FRAME_PING_LEN + 1), -EBADMSG);
}

static const struct lists_head head = {
	.number = 0x0102030405060708, .says = "saysays", .id = "ididid", .len = 0x00010203};

/* Refused at each other length, and with one byte more. */
static void expect_length(uint8_t *buf, size_t len)
{
	struct frame f;

	for (size_t n = 0; n < len; n++)
		cr_expect_eq(frame_parse(&f, buf, n), -EBADMSG, "%zu", n);
	cr_expect_eq(frame_parse(&f, buf, len + 1), -EBADMSG);
}

Test(frame, what_lists_a_node_holds)
{
	uint8_t buf[FRAME_LISTS_LEN + 1] = {0};
	struct frame f;

	frame_format_lists(buf, &head, (const uint8_t *)"heard\0\0\0");
	cr_expect_arr_eq(buf,
	                 "\3\1\2\3\4\5\6\7\10saysays\0ididid\0\0\0\1\2\3"
	                 "heard\0\0\0",
	                 FRAME_LISTS_LEN);
	cr_assert_eq(frame_parse(&f, buf, FRAME_LISTS_LEN), 0);
	cr_expect_eq(f.kind, FRAME_LISTS);
	cr_expect_eq(f.lists.number, head.number);
	cr_expect_eq(f.lists.len, head.len);
	cr_expect_arr_eq(f.lists.says, head.says, LISTS_HASH);
	cr_expect_arr_eq(f.lists.id, head.id, LISTS_HASH);
	cr_expect_arr_eq(f.heard, "heard\0\0\0", LISTS_HASH);
	expect_length(buf, FRAME_LISTS_LEN);
	buf[25] = 1; /* longer than any */
	cr_expect_eq(frame_parse(&f, buf, FRAME_LISTS_LEN), -EBADMSG);
	memset(buf + 25, 0, 4);
	cr_expect_eq(frame_parse(&f, buf, FRAME_LISTS_LEN), -EBADMSG);
}

Test(frame, a_question_for_lists_and_a_part_of_them)
{
	uint8_t buf[FRAME_PART_HEAD + 4] = {0};
	struct frame f;

	frame_format_ask(buf, head.id, 0x1234);
	cr_expect_arr_eq(buf, "\4ididid\0\0\0\0\22\64", FRAME_ASK_LEN - 1);
	cr_assert_eq(frame_parse(&f, buf, FRAME_ASK_LEN), 0);
	cr_expect_eq(f.kind, FRAME_LISTS_ASK);
	cr_expect_eq(f.offset, 0x1234);
	expect_length(buf, FRAME_ASK_LEN);
	frame_format_part(buf, head.id, 7);
	memcpy(buf + FRAME_PART_HEAD, "abc", 3);
	cr_assert_eq(frame_parse(&f, buf, FRAME_PART_HEAD + 3), 0);
	cr_expect_eq(f.kind, FRAME_LISTS_PART);
	cr_expect_eq(f.offset, 7);
	cr_assert_eq(f.part_len, 3);
	cr_expect_arr_eq(f.part, "abc", 3);
	cr_expect_eq(frame_parse(&f, buf, FRAME_PART_HEAD), -EBADMSG); /* of nothing */
	frame_format_part(buf, head.id, (uint32_t)LISTS_MAX);
	cr_expect_eq(frame_parse(&f, buf, FRAME_PART_HEAD + 3), -EBADMSG);
}

Test(frame, unknown_kinds_are_refused)
{
	uint8_t buf[64] = {0};
	static struct frame f;

	for (unsigned first = 0; first < 256; first++) {
		unsigned version = first >> 4 & 7;

		if (version == 4 || version == 6 || first == 1 || first == 2)
			continue;
		buf[0] = (uint8_t)first;
		cr_expect_eq(frame_parse(&f, buf, FRAME_PING_LEN), -EBADMSG, "%#x", first);
	}
}

Test(frame, a_mark_says_that_a_checksum_is_elided)
{
	uint8_t buf[3 * sizeof(udp4)];
	static struct frame f;
	size_t len = bundle(buf, 3);

	buf[sizeof(udp4)] |= FRAME_ELIDED;
	cr_assert_eq(frame_parse(&f, buf, len), 0);
	cr_assert_eq(f.n, 3);
	cr_expect(!f.packets[0].elided && f.packets[1].elided && !f.packets[2].elided);
	for (unsigned i = 0; i < 3; i++)
		cr_expect_arr_eq(f.packets[i].data, udp4, sizeof(udp4), "the mark is off");
	buf[0] |= FRAME_ELIDED; /* the first byte decides the kind, too */
	cr_assert_eq(frame_parse(&f, buf, len), 0);
	cr_expect(f.packets[0].elided && !f.packets[1].elided);
}

Test(frame, only_tcp_and_udp_have_a_checksum_to_elide)
{
	uint8_t buf[sizeof(udp4)];
	static struct frame f;

	for (unsigned proto = 0; proto < 256; proto++) {
		bundle(buf, 1);
		buf[0] |= FRAME_ELIDED;
		buf[9] = (uint8_t)proto;
		cr_expect_eq(frame_parse(&f, buf, sizeof(buf)) == 0, proto == 17, "%u", proto);
	}
	bundle(buf, 1);
	buf[0] |= FRAME_ELIDED;
	buf[6] = 0x20; /* a first fragment */
	cr_expect_eq(frame_parse(&f, buf, sizeof(buf)), -EPROTO);
}
