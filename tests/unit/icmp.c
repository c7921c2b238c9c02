/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tun/icmp.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "tun/bytes.h"
#include "tun/checksum.h"

static uint8_t packet[2000], error[ICMP_ERROR6_MAX];
static struct ip_view ip;
static const struct addr a4 = {4, {10, 77, 1, 5}}, b4 = {4, {10, 77, 2, 9}};
static const struct addr a6 = {6, {0xfd, 0x77, [7] = 1, [15] = 5}};
static const struct addr b6 = {6, {0xfd, 0x77, [7] = 2, [15] = 9}};

/* UDP from a to b, len bytes in all. */
static void make(int version, size_t len)
{
	uint8_t *l4 = packet + (version == 4 ? 20 : 40);

	memset(packet, 0xa5, sizeof(packet));
	memset(packet, 0, version == 4 ? 28 : 48);
	if (version == 4) {
		packet[0] = 0x45;
		put_be16(packet + 2, (uint16_t)len);
		packet[8] = 64;
		packet[9] = IPPROTO_UDP;
		memcpy(packet + 12, a4.b, 4);
		memcpy(packet + 16, b4.b, 4);
	} else {
		packet[0] = 0x60;
		put_be16(packet + 4, (uint16_t)(len - 40));
		packet[6] = IPPROTO_UDP;
		packet[7] = 64;
		memcpy(packet + 8, a6.b, 16);
		memcpy(packet + 24, b6.b, 16);
	}
	put_be16(l4, 40000);
	put_be16(l4 + 2, 53);
	put_be16(l4 + 4, (uint16_t)(packet + len - l4));
	cr_assert_eq(ip_parse(&ip, packet, len), 0);
	cr_assert_eq(ip.total, len);
}

static size_t prohibited(void)
{
	return icmp_prohibited(error, packet, &ip, &ip.dst);
}

Test(icmp, the_sender_is_told_with_its_own_packet)
{
	for (int version = 4; version <= 6; version += 2) {
		struct ip_view v, q;
		uint64_t sum = 0;

		make(version, 100);
		cr_assert_eq(prohibited(), 100 + (version == 4 ? 28 : 48));
		cr_assert_eq(ip_parse(&v, error, sizeof(error)), 0);
		cr_expect_eq(v.total, prohibited());
		cr_expect(addr_equal(&v.src, &ip.dst) && addr_equal(&v.dst, &ip.src));
		cr_expect_eq(v.proto, version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
		cr_expect_eq(v.sport, version == 4 ? 3 << 8 | 13 : 1 << 8 | 1);
		cr_expect(icmp_is_error(&v));
		cr_expect_arr_eq(error + v.l4 + 8, packet, 100);
		cr_assert_eq(icmp_quoted(&q, error, &v), 0);
		cr_expect(addr_equal(&q.src, &ip.src) && addr_equal(&q.dst, &ip.dst));
		cr_expect(q.sport == 40000 && q.dport == 53 && q.proto == IPPROTO_UDP);
		if (version == 4)
			cr_expect_eq(checksum_fold(checksum_add(0, error, 20)), 0xffff);
		else
			sum = checksum_add_pseudo(0, &v, (uint16_t)(v.total - v.l4));
		sum = checksum_add(sum, error + v.l4, (size_t)(v.total - v.l4));
		cr_expect_eq(checksum_fold(sum), 0xffff);
	}
}

Test(icmp, of_a_long_packet_only_the_beginning_goes_back)
{
	struct ip_view v, q;

	make(4, 1400);
	cr_expect_eq(prohibited(), ICMP_ERROR4_MAX);
	cr_assert_eq(ip_parse(&v, error, ICMP_ERROR4_MAX), 0);
	cr_assert_eq(icmp_quoted(&q, error, &v), 0);
	cr_expect_eq(q.total, 1400);
	make(6, 1401);
	cr_expect_eq(prohibited(), ICMP_ERROR6_MAX);
	cr_assert_eq(ip_parse(&v, error, ICMP_ERROR6_MAX), 0);
	cr_assert_eq(icmp_quoted(&q, error, &v), 0);
	cr_expect_eq(q.total, 1401);
}

Test(icmp, an_error_is_not_answered_nor_a_later_fragment)
{
	make(4, 100);
	cr_assert_gt(prohibited(), 0);
	memcpy(packet, error, 128);
	cr_assert_eq(ip_parse(&ip, packet, 128), 0);
	cr_expect_eq(prohibited(), 0);
	make(6, 100);
	cr_assert_gt(prohibited(), 0);
	memcpy(packet, error, 148);
	cr_assert_eq(ip_parse(&ip, packet, 148), 0);
	cr_expect_eq(prohibited(), 0);
	make(4, 100);
	put_be16(packet + 6, 100);
	cr_assert_eq(ip_parse(&ip, packet, 100), 0);
	cr_expect_eq(prohibited(), 0);
	put_be16(packet + 6, 0x2000); /* but a first one is */
	cr_assert_eq(ip_parse(&ip, packet, 100), 0);
	cr_expect_gt(prohibited(), 0);
}

Test(icmp, nothing_goes_to_an_address_that_is_nobodys)
{
	static const uint8_t special[][4] = {
		{0}, {127, 0, 0, 1}, {224, 0, 0, 1}, {255, 255, 255, 255}};

	for (size_t i = 0; i < 4; i++) {
		make(4, 100);
		memcpy(packet + 12, special[i], 4);
		cr_assert_eq(ip_parse(&ip, packet, 100), 0);
		cr_expect_eq(prohibited(), 0);
		make(4, 100);
		memcpy(packet + 16, special[i], 4);
		cr_assert_eq(ip_parse(&ip, packet, 100), 0);
		cr_expect_eq(prohibited(), 0);
	}
	make(4, 100);
	cr_expect_eq(icmp_prohibited(error, packet, &ip, &b6), 0);
}

static bool is_error(uint8_t proto, unsigned type)
{
	struct ip_view v = {.proto = proto, .first = true, .sport = (uint16_t)(type << 8)};

	return icmp_is_error(&v);
}

Test(icmp, errors_are_known_by_their_type)
{
	for (unsigned type = 0; type < 256; type++) {
		cr_expect_eq(is_error(IPPROTO_ICMP, type),
		             type == 3 || type == 4 || type == 5 || type == 11 || type == 12, "%u",
		             type);
		cr_expect_eq(is_error(IPPROTO_ICMPV6, type), type < 128 || type == 137, "%u", type);
		cr_expect_not(is_error(IPPROTO_UDP, type));
	}
	ip = (struct ip_view){.proto = IPPROTO_ICMP, .fragment = true}; /* a later fragment */
	cr_expect_not(icmp_is_error(&ip));
}

/* The error about a packet of len bytes, of which so many are quoted; what is read of that. */
static int quoted(int version, size_t len, size_t quote, struct ip_view *q)
{
	size_t header = version == 4 ? 28 : 48;
	struct ip_view v;

	make(version, len);
	cr_assert_geq(prohibited(), header);
	if (version == 4)
		put_be16(error + 2, (uint16_t)(header + quote));
	else
		put_be16(error + 4, (uint16_t)(8 + quote));
	cr_assert_eq(ip_parse(&v, error, header + quote), 0);
	return icmp_quoted(q, error, &v);
}

Test(icmp, a_quotation_has_the_ports_or_is_none)
{
	struct ip_view q;

	for (int version = 4; version <= 6; version += 2) {
		size_t need = version == 4 ? 28 : 48;

		for (size_t n = 0; n < need; n++)
			cr_expect_eq(quoted(version, 200, n, &q), -EBADMSG, "%zu", n);
		for (size_t n = need; n < 200; n++) {
			cr_assert_eq(quoted(version, 200, n, &q), 0, "%zu", n);
			cr_expect(q.sport == 40000 && q.dport == 53);
		}
	}
}

Test(icmp, a_redirect_of_ipv6_quotes_nothing_here)
{
	struct ip_view v, q;

	make(6, 100);
	cr_assert_gt(prohibited(), 0);
	error[40] = 137;
	cr_assert_eq(ip_parse(&v, error, 148), 0);
	cr_expect(icmp_is_error(&v));
	cr_expect_eq(icmp_quoted(&q, error, &v), -EBADMSG);
}

Test(icmp, an_echo_is_quoted_with_its_id_and_a_fragment_with_its_own)
{
	struct ip_view v, q;

	make(4, 100);
	packet[9] = IPPROTO_ICMP;
	memset(packet + 20, 0, 8);
	packet[20] = 8;
	put_be16(packet + 24, 77);
	cr_assert_eq(ip_parse(&ip, packet, 100), 0);
	cr_expect_eq(ip.echo, 77);
	cr_assert_gt(prohibited(), 0);
	cr_assert_eq(ip_parse(&v, error, sizeof(error)), 0);
	cr_assert_eq(icmp_quoted(&q, error, &v), 0);
	cr_expect(q.echo == 77 && q.sport >> 8 == 8);
	put_be16(error + 28 + 6, 100); /* a later fragment: its ports are not there */
	cr_assert_eq(icmp_quoted(&q, error, &v), 0);
	cr_expect(q.fragment && !q.first && q.offset == 800);
}
