/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tun/ip.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- addresses -- */

static struct addr addr(const char *text)
{
	struct addr a;

	cr_assert_eq(addr_parse(&a, text), 0, "%s", text);
	return a;
}

static struct prefix prefix(const char *text)
{
	struct prefix p;

	cr_assert_eq(prefix_parse(&p, text), 0, "%s", text);
	return p;
}

Test(ip, addresses_are_read_and_written)
{
	static const char *const same[] = {
		"0.0.0.0",
		"10.77.1.1",
		"255.255.255.255",
		"::",
		"::1",
		"fd77::1",
		"fd77:1:2:3:4:5:6:7",
		"2001:db8::8:800:200c:417a",
		"::ffff:1.2.3.4",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	};
	char text[ADDR_TEXT_MAX];
	struct addr a;

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		a = addr(same[i]);
		addr_format(&a, text);
		cr_expect_str_eq(text, same[i]);
	}
	a = addr("FD77:0:0::00A1");
	addr_format(&a, text);
	cr_expect_str_eq(text, "fd77::a1");
	a = (struct addr){0};
	addr_format(&a, text);
	cr_expect_str_eq(text, "none");
}

Test(ip, bytes_are_in_network_order_and_the_rest_zero)
{
	static const uint8_t want[16] = {10, 77, 1, 2};
	struct addr a;

	memset(&a, 0xff, sizeof(a));
	cr_assert_eq(addr_parse(&a, "10.77.1.2"), 0);
	cr_expect_eq(a.family, 4);
	cr_expect_arr_eq(a.b, want, 16);
}

Test(ip, what_is_no_address_is_refused)
{
	static const char *const bad[] = {
		"",
		" ",
		"10",
		"10.1",
		"10.1.1",
		"10.1.1.1.1",
		"10.1.1.256",
		"10.1.1.01",
		"10.1.1.1 ",
		" 10.1.1.1",
		"10.1.1.1\n",
		"0x0a.1.1.1",
		"10.1.1.-1",
		"10..1.1",
		"1.2.3.4/32",
		"::1%lo",
		"fe80::1%eth0",
		":::",
		"1::2::3",
		"12345::",
		"1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7:8:9",
		"g::",
		"[::1]",
		"::1/128",
		"n1",
		"١.1.1.1",
		"1111111111111111111111111111111111111111111111111111",
	};
	struct addr a = {.family = 99};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(addr_parse(&a, bad[i]), -EINVAL, "%s", bad[i]);
	cr_expect_eq(a.family, 99, "written on success only");
}

Test(ip, addresses_compare_by_family_and_bytes)
{
	struct addr four = addr("1.2.3.4"), six = addr("102:304::"), none = {0};

	cr_expect(addr_equal(&four, &four));
	cr_expect_not(addr_equal(&four, &six));
	cr_expect(addr_equal(&none, &none));
	for (int i = 0; i < 128; i++) {
		struct addr other = six;

		other.b[i / 8] ^= (uint8_t)(1 << i % 8);
		cr_expect_not(addr_equal(&six, &other), "bit %d", i);
	}
}

Test(ip, special_addresses_are_known)
{
	static const char *const special[] = {
		"0.0.0.0",
		"0.1.2.3",
		"127.0.0.1",
		"127.255.255.255",
		"169.254.0.1",
		"169.254.169.254",
		"224.0.0.1",
		"239.255.255.255",
		"240.0.0.1",
		"255.255.255.255",
		"::",
		"::1",
		"::2",
		"::1.2.3.4",
		"::ffff:10.77.1.1",
		"64:ff9b::1.2.3.4",
		"fe80::1",
		"febf:ffff::1",
		"fec0::1",
		"ff02::1",
		"ff0e::1234",
		"ffff::1",
	};
	static const char *const plain[] = {
		"1.0.0.0",     "10.77.1.1",    "126.255.255.255", "128.0.0.1",   "169.253.255.255",
		"169.255.0.1", "100.64.0.1",   "172.16.0.1",      "192.168.0.1", "223.255.255.255",
		"8.8.8.8",     "fd77::1",      "fc00::1",         "2001:db8::1", "2000::1",
		"100::1",      "fe7f:ffff::1",
	};
	struct addr a;

	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
		a = addr(special[i]);
		cr_expect(addr_is_special(&a), "%s", special[i]);
	}
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		a = addr(plain[i]);
		cr_expect_not(addr_is_special(&a), "%s", plain[i]);
	}
	a = (struct addr){0};
	cr_expect(addr_is_special(&a));
}

/* -- prefixes -- */

Test(ip, prefixes_are_read_and_written)
{
	static const char *const same[] = {
		"0.0.0.0/0",    "10.0.0.0/8",     "10.77.0.0/16",
		"10.77.1.0/24", "10.77.1.128/25", "10.77.1.1/32",
		"128.0.0.0/1",  "::/0",           "fd77::/48",
		"fd77::1/128",  "8000::/1",       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
	};
	char text[PREFIX_TEXT_MAX];
	struct prefix p;

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		p = prefix(same[i]);
		prefix_format(&p, text);
		cr_expect_str_eq(text, same[i]);
	}
}

Test(ip, what_is_no_prefix_is_refused)
{
	static const char *const form[] = {
		"",
		"/",
		"/8",
		"10.0.0.0",
		"10.0.0.0/",
		"10.0.0.0/33",
		"10.0.0.0/08",
		"10.0.0.0/+8",
		"10.0.0.0/-1",
		"10.0.0.0/8 ",
		"10.0.0.0/8/8",
		"10.0.0.0/255.0.0.0",
		"10.0.0.0/4294967304",
		"::/129",
		"::/0128",
		"fd77::/48x",
		"fd77::%lo/48",
		"10.0.0/8",
		"10.0.0.0//8",
		"1111111111111111111111111111111111111111111111111111111111/8",
	};
	static const char *const host[] = {
		"10.77.1.1/24", "10.77.1.0/23", "10.0.0.1/0", "10.77.1.1/31",
		"128.0.0.0/0",  "fd77::1/127",  "fd77::1/0",  "fd77:0:0:1::/48",
	};
	struct prefix p = {.len = 99};

	for (size_t i = 0; i < sizeof(form) / sizeof(form[0]); i++)
		cr_expect_eq(prefix_parse(&p, form[i]), -EINVAL, "%s", form[i]);
	for (size_t i = 0; i < sizeof(host) / sizeof(host[0]); i++)
		cr_expect_eq(prefix_parse(&p, host[i]), -ERANGE, "%s", host[i]);
	cr_expect_eq(p.len, 99);
}

/* The slow way: bit by bit. */
static bool bit(const struct addr *a, unsigned i)
{
	return a->b[i / 8] >> (7 - i % 8) & 1;
}

static bool slow_contains(const struct prefix *p, const struct addr *a)
{
	if (p->addr.family != a->family)
		return false;
	for (unsigned i = 0; i < p->len; i++) {
		if (bit(&p->addr, i) != bit(a, i))
			return false;
	}
	return true;
}

static struct addr random_addr(unsigned *seed)
{
	struct addr a = {.family = rand_r(seed) % 2 ? 4 : 6};

	/* Few distinct bytes, so that many share their beginning. */
	for (int i = 0; i < (a.family == 4 ? 4 : 16); i++)
		a.b[i] = (uint8_t)(rand_r(seed) % 16 == 0 ? rand_r(seed) : 0x80);
	return a;
}

static struct prefix random_prefix(unsigned *seed)
{
	struct prefix p = {.addr = random_addr(seed)};
	unsigned bits = p.addr.family == 4 ? 32 : 128;

	p.len = (uint8_t)((unsigned)rand_r(seed) % (bits + 1));
	for (unsigned i = p.len; i < bits; i++)
		p.addr.b[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
	return p;
}

Test(ip, prefix_functions_agree_with_the_slow_way)
{
	unsigned seed = 20260101;
	int hits = 0, overlaps = 0;

	for (int round = 0; round < 200000; round++) {
		struct prefix p = random_prefix(&seed), q = random_prefix(&seed), back;
		struct addr a = random_addr(&seed);
		char text[PREFIX_TEXT_MAX];
		bool within = q.len >= p.len && slow_contains(&p, &q.addr);
		bool around = p.len >= q.len && slow_contains(&q, &p.addr);

		prefix_format(&p, text);
		cr_assert_eq(prefix_contains(&p, &a), slow_contains(&p, &a), "%s", text);
		cr_assert_eq(prefix_within(&q, &p), within, "%s", text);
		cr_assert_eq(prefix_overlaps(&q, &p), within || around, "%s", text);
		cr_assert_eq(prefix_equal(&q, &p), within && around, "%s", text);
		cr_assert_eq(prefix_parse(&back, text), 0, "%s", text);
		cr_assert(prefix_equal(&back, &p), "%s", text);
		hits += prefix_contains(&p, &a);
		overlaps += within || around;
	}
	cr_expect(hits > 1000 && overlaps > 1000, "the test itself hits too little");
}

Test(ip, hosts_are_counted_from_the_first_address)
{
	struct prefix p = prefix("10.77.1.0/24");
	struct addr a, want;

	cr_expect(prefix_host(&p, 1, &a));
	want = addr("10.77.1.1");
	cr_expect(addr_equal(&a, &want));
	cr_expect(prefix_host(&p, 255, &a));
	want = addr("10.77.1.255");
	cr_expect(addr_equal(&a, &want));
	cr_expect_not(prefix_host(&p, 256, &a));
	cr_expect(addr_equal(&a, &want), "written on success only");

	p = prefix("10.77.1.1/32");
	cr_expect(prefix_host(&p, 0, &a));
	cr_expect_not(prefix_host(&p, 1, &a));
	p = prefix("0.0.0.0/0");
	cr_expect(prefix_host(&p, 0xffffffff, &a));
	want = addr("255.255.255.255");
	cr_expect(addr_equal(&a, &want));
	cr_expect_not(prefix_host(&p, 1ULL << 32, &a));
	p = prefix("fd77:0:0:7::/64");
	cr_expect(prefix_host(&p, UINT64_MAX, &a));
	want = addr("fd77:0:0:7:ffff:ffff:ffff:ffff");
	cr_expect(addr_equal(&a, &want));
	p = prefix("fd77::/65");
	cr_expect_not(prefix_host(&p, 1ULL << 63, &a));
	p = (struct prefix){0};
	cr_expect_not(prefix_host(&p, 0, &a));
}

/* -- endpoints -- */

static void expect_endpoint(const char *in, const char *out)
{
	char text[ENDPOINT_TEXT_MAX];
	struct endpoint e;

	cr_assert_eq(endpoint_parse(&e, in, 4747), 0, "%s", in);
	endpoint_format(&e, text);
	cr_expect_str_eq(text, out);
}

Test(ip, endpoints_are_read_and_written)
{
	expect_endpoint("10.9.0.1", "10.9.0.1:4747");
	expect_endpoint("10.9.0.1:1", "10.9.0.1:1");
	expect_endpoint("10.9.0.1:65535", "10.9.0.1:65535");
	expect_endpoint("fd77::1", "[fd77::1]:4747");
	expect_endpoint("[fd77::1]", "[fd77::1]:4747");
	expect_endpoint("[fd77::1]:80", "[fd77::1]:80");
	expect_endpoint("::", "[::]:4747");
	expect_endpoint("[1:2:3:4:5:6:7:8]:65535", "[1:2:3:4:5:6:7:8]:65535");
}

Test(ip, what_is_no_endpoint_is_refused)
{
	static const char *const bad[] = {
		"",
		":",
		":80",
		"10.9.0.1:",
		"10.9.0.1:0",
		"10.9.0.1:65536",
		"10.9.0.1:080",
		"10.9.0.1:8x",
		"10.9.0.1: 80",
		"10.9.0.1:+80",
		"10.9.0.1:80:80",
		"[10.9.0.1]:80",
		"[10.9.0.1]",
		"[",
		"[]",
		"[fd77::1",
		"fd77::1]",
		"[fd77::1]80",
		"[fd77::1]:",
		"[fd77::1]:0",
		"[[fd77::1]]",
		"n1:80",
		"10.9.0.1:99999999999999999999",
		"111111111111111111111111111111111111111111111111111111111111111:1",
	};
	struct endpoint e = {.port = 7}, f = {.port = 7};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(endpoint_parse(&e, bad[i], 4747), -EINVAL, "%s", bad[i]);
	cr_expect(endpoint_equal(&e, &f), "written on success only");
	f.port = 8;
	cr_expect_not(endpoint_equal(&e, &f));
}

/* -- packets -- */

struct packet {
	uint8_t b[256];
	size_t len;
};

static void add(struct packet *p, const void *bytes, size_t n)
{
	cr_assert_leq(p->len + n, sizeof(p->b));
	memcpy(p->b + p->len, bytes, n);
	p->len += n;
}

#define ADD(p, ...) add(p, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void set16(struct packet *p, size_t at, size_t v)
{
	p->b[at] = (uint8_t)(v >> 8);
	p->b[at + 1] = (uint8_t)v;
}

/* 10.77.1.1 → 10.77.2.9, TOS 0xb8 (EF), no options. */
static struct packet v4(uint8_t proto)
{
	struct packet p = {0};

	ADD(&p, 0x45, 0xb8, 0, 0, 0x12, 0x34, 0x40, 0, 64, proto, 0, 0);
	ADD(&p, 10, 77, 1, 1, 10, 77, 2, 9);
	return p;
}

/* fd77:1::1 → fd77:2::9, traffic class 0xb8. */
static struct packet v6(uint8_t next)
{
	struct packet p = {0};

	ADD(&p, 0x6b, 0x80, 0, 0, 0, 0, next, 64);
	ADD(&p, 0xfd, 0x77, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
	ADD(&p, 0xfd, 0x77, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9);
	return p;
}

/* Ports 4660 and 443; 5 words of header. */
static void tcp(struct packet *p)
{
	ADD(p, 0x12, 0x34, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0);
}

static void udp(struct packet *p, uint8_t payload)
{
	ADD(p, 0x12, 0x34, 0x00, 0x35, 0, (uint8_t)(8 + payload), 0, 0);
	for (int i = 0; i < payload; i++)
		ADD(p, (uint8_t)i);
}

/* Writes the length field. */
static struct packet *done(struct packet *p)
{
	if (p->b[0] >> 4 == 4)
		set16(p, 2, p->len);
	else
		set16(p, 4, p->len - 40);
	return p;
}

/* From a block of just that length, so that a read beyond is seen by the
 * sanitizer. */
static int parse_n(struct ip_view *v, const struct packet *p, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1);
	int err;

	memcpy(exact, p->b, len);
	err = ip_parse(v, len ? exact : exact + 1, len);
	free(exact);
	return err;
}

static struct ip_view taken(const struct packet *p)
{
	struct ip_view v = {0};

	cr_assert_eq(parse_n(&v, p, p->len), 0);
	return v;
}

static void refuse_at(int line, int why, const struct packet *p)
{
	struct ip_view v;

	memset(&v, 0x5a, sizeof(v));
	cr_expect_eq(parse_n(&v, p, p->len), why, "line %d", line);
	cr_expect_eq(v.version, 0x5a, "written on success only");
}

#define REFUSE_AS(why, p) refuse_at(__LINE__, why, p)
#define REFUSE(p)         REFUSE_AS(-EBADMSG, p)

static void expect_addrs(const struct ip_view *v, const char *src, const char *dst)
{
	struct addr s = addr(src), d = addr(dst);

	cr_expect(addr_equal(&v->src, &s));
	cr_expect(addr_equal(&v->dst, &d));
}

Test(ip, a_tcp_packet_is_read)
{
	struct packet p = v4(IPPROTO_TCP);
	struct ip_view v;

	tcp(&p);
	v = taken(done(&p));
	expect_addrs(&v, "10.77.1.1", "10.77.2.9");
	cr_expect_eq(v.version, 4);
	cr_expect_eq(v.proto, IPPROTO_TCP);
	cr_expect_eq(v.tos, 0xb8);
	cr_expect(!v.fragment && v.first);
	cr_expect_eq(v.total, 40);
	cr_expect_eq(v.l4, 20);
	cr_expect_eq(v.sport, 0x1234);
	cr_expect_eq(v.dport, 443);
	cr_expect_eq(v.flags, 2);
}

Test(ip, a_udp_packet_of_ipv6_is_read)
{
	struct packet p = v6(IPPROTO_UDP);
	struct ip_view v;

	udp(&p, 5);
	v = taken(done(&p));
	expect_addrs(&v, "fd77:1::1", "fd77:2::9");
	cr_expect_eq(v.version, 6);
	cr_expect_eq(v.proto, IPPROTO_UDP);
	cr_expect_eq(v.tos, 0xb8);
	cr_expect_eq(v.total, 53);
	cr_expect_eq(v.l4, 40);
	cr_expect_eq(v.sport, 0x1234);
	cr_expect_eq(v.dport, 53);
}

Test(ip, icmp_gives_type_and_code)
{
	struct packet p = v4(IPPROTO_ICMP), q = v6(IPPROTO_ICMPV6);
	struct ip_view v;

	ADD(&p, 3, 4, 0, 0, 0, 0, 5, 0);
	v = taken(done(&p));
	cr_expect_eq(v.sport, 0x0304);
	cr_expect_eq(v.dport, 0);
	ADD(&q, 128, 0, 0, 0, 0, 1, 0, 2);
	v = taken(done(&q));
	cr_expect_eq(v.sport, 0x8000);
	cr_expect_eq(v.dport, 0);
	cr_expect_eq(v.echo, 1);
}

Test(ip, an_echo_has_an_identifier_and_nothing_else_has)
{
	for (unsigned type = 0; type < 256; type++) {
		struct packet p = v4(IPPROTO_ICMP), q = v6(IPPROTO_ICMPV6);

		ADD(&p, (uint8_t)type, 0, 0, 0, 0x12, 0x34, 0, 2);
		cr_expect_eq(taken(done(&p)).echo, type == 0 || type == 8 ? 0x1234 : 0);
		ADD(&q, (uint8_t)type, 0, 0, 0, 0x12, 0x34, 0, 2);
		cr_expect_eq(taken(done(&q)).echo, type == 128 || type == 129 ? 0x1234 : 0);
	}
}

Test(ip, sctp_has_ports_and_an_unknown_protocol_none)
{
	struct packet p = v4(IPPROTO_SCTP), q = v4(IPPROTO_GRE), r = v6(IPPROTO_NONE);
	struct ip_view v;

	ADD(&p, 0, 7, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8);
	v = taken(done(&p));
	cr_expect(v.sport == 7 && v.dport == 9 && v.flags == IP_NO_CHUNK);
	ADD(&p, 1, 0, 0, 4);
	cr_expect_eq(taken(done(&p)).flags, 1);
	ADD(&q, 0xff, 0xff, 0xff, 0xff);
	v = taken(done(&q));
	cr_expect(v.proto == IPPROTO_GRE && v.sport == 0 && v.dport == 0);
	ADD(&r, 1);
	v = taken(done(&r));
	cr_expect(v.proto == IPPROTO_NONE && v.sport == 0 && v.l4 == 40);
}

Test(ip, bytes_behind_the_packet_are_left_alone)
{
	struct packet p = v4(IPPROTO_UDP);
	struct ip_view v;

	udp(&p, 2);
	done(&p);
	ADD(&p, 0x45, 0, 0, 0);
	v = taken(&p);
	cr_expect_eq(v.total, 30);
}

Test(ip, a_cut_packet_is_refused_at_every_length)
{
	struct packet p[4] = {v4(IPPROTO_TCP), v6(IPPROTO_TCP), v4(IPPROTO_UDP),
	                      v6(IPPROTO_DSTOPTS)};
	struct ip_view v;

	tcp(&p[0]);
	tcp(&p[1]);
	udp(&p[2], 9);
	ADD(&p[3], IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0);
	udp(&p[3], 9);
	for (int i = 0; i < 4; i++) {
		done(&p[i]);
		for (size_t len = 0; len < p[i].len; len++)
			cr_expect_eq(parse_n(&v, &p[i], len), -EBADMSG, "packet %d, length %zu", i,
			             len);
		cr_expect_eq(parse_n(&v, &p[i], p[i].len), 0);
	}
}

/* The same, with a length field that tells the truth about the cut. */
Test(ip, an_upper_header_must_be_whole)
{
	static const struct {
		uint8_t proto;
		size_t need;
	} all[] = {{IPPROTO_TCP, 20}, {IPPROTO_UDP, 8}, {IPPROTO_SCTP, 12}, {IPPROTO_ICMP, 8}};
	struct ip_view v;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		for (size_t n = 0; n <= 20; n++) {
			struct packet p = v4(all[i].proto);
			int want = n < all[i].need ? -EBADMSG : 0;

			tcp(&p); /* as UDP: a length field of 0, mended next */
			if (all[i].proto == IPPROTO_UDP)
				set16(&p, 24, n > 8 ? n : 8);
			p.len = 20 + n;
			done(&p);
			cr_expect_eq(parse_n(&v, &p, p.len), want, "protocol %u, %zu bytes",
			             (unsigned)all[i].proto, n);
		}
	}
}

Test(ip, versions_and_header_lengths_that_do_not_add_up_are_refused)
{
	struct packet p = v4(IPPROTO_UDP), q;
	struct ip_view v;

	udp(&p, 0);
	done(&p);
	for (unsigned first = 0; first < 256; first++) {
		q = p;
		q.b[0] = (uint8_t)first;
		if (first == 0x45)
			taken(&q);
		else
			cr_expect_eq(parse_n(&v, &q, q.len), -EBADMSG, "first byte %02x", first);
	}
	for (size_t total = 0; total < 65536; total += total < 64 ? 1 : 97) {
		q = p;
		set16(&q, 2, total);
		cr_expect_eq(parse_n(&v, &q, q.len), total == 28 ? 0 : -EBADMSG, "total %zu",
		             total);
	}
}

Test(ip, lengths_of_the_upper_layer_that_lie_are_refused)
{
	struct packet p = v4(IPPROTO_TCP), q = v4(IPPROTO_UDP), r;
	struct ip_view v;

	tcp(&p);
	ADD(&p, 1, 1, 1, 1);
	done(&p);
	for (unsigned words = 0; words < 16; words++) {
		p.b[20 + 12] = (uint8_t)(words << 4);
		cr_expect_eq(parse_n(&v, &p, p.len), words == 5 || words == 6 ? 0 : -EBADMSG);
	}
	udp(&q, 4);
	done(&q);
	for (unsigned len = 0; len < 300; len++) {
		r = q;
		set16(&r, 24, len);
		cr_expect_eq(parse_n(&v, &r, r.len), len >= 8 && len <= 12 ? 0 : -EBADMSG, "%u",
		             len);
	}
}

static int with_options(const uint8_t *options, uint8_t n)
{
	struct packet p = v4(IPPROTO_UDP);
	struct ip_view v;
	int err;

	add(&p, options, n);
	p.b[0] = (uint8_t)(0x40 | (20 + n) / 4);
	udp(&p, 0);
	done(&p);
	err = parse_n(&v, &p, p.len);
	if (!err)
		cr_expect(v.l4 == 20 + n && v.dport == 53);
	return err;
}

#define OPTIONS(...) \
	with_options((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

Test(ip, source_routes_are_refused_and_other_options_pass)
{
	cr_expect_eq(OPTIONS(1, 1, 1, 0), 0);
	cr_expect_eq(OPTIONS(148, 4, 0, 0), 0);           /* router alert */
	cr_expect_eq(OPTIONS(7, 7, 4, 0, 0, 0, 0, 0), 0); /* record route */
	cr_expect_eq(OPTIONS(0, 131, 3, 4), 0);           /* behind the end: padding */
	cr_expect_eq(OPTIONS(131, 7, 4, 10, 0, 0, 1, 0), -ENOTSUP);
	cr_expect_eq(OPTIONS(137, 7, 4, 10, 0, 0, 1, 0), -ENOTSUP);
	cr_expect_eq(OPTIONS(1, 131, 3, 4), -ENOTSUP);
	cr_expect_eq(OPTIONS(148, 4, 0, 0, 137, 3, 4, 0), -ENOTSUP);
	cr_expect_eq(OPTIONS(148, 0, 0, 0), -EBADMSG); /* would never end */
	cr_expect_eq(OPTIONS(148, 1, 0, 0), -EBADMSG);
	cr_expect_eq(OPTIONS(148, 5, 0, 0), -EBADMSG); /* beyond the header */
	cr_expect_eq(OPTIONS(1, 1, 1, 148), -EBADMSG); /* no length byte */
	cr_expect_eq(OPTIONS(131, 0, 0, 0), -ENOTSUP);
}

/* A fragment of IPv4 with that flags-and-offset field and n bytes of payload.
 */
static int v4_fragment(unsigned field, size_t n, struct ip_view *v)
{
	struct packet p = v4(IPPROTO_UDP);

	udp(&p, 200);
	p.len = 20 + n;
	set16(&p, 6, field);
	done(&p);
	return parse_n(v, &p, p.len);
}

Test(ip, fragments_of_ipv4)
{
	struct ip_view v;

	cr_expect_eq(v4_fragment(0x2000, 16, &v), 0);
	cr_expect(v.fragment && v.first && v.dport == 53, "a first one has its ports");
	cr_expect_eq(v4_fragment(0x2002, 16, &v), 0);
	cr_expect(v.fragment && !v.first && v.sport == 0 && v.dport == 0, "a later one has none");
	cr_expect(v.ident == 0x1234 && v.offset == 16 && v.end == 32);
	cr_expect_eq(v4_fragment(0x0002, 3, &v), 0);
	cr_expect(v.fragment && !v.first);
	cr_expect_eq(v4_fragment(0x4000, 208, &v), 0);
	cr_expect(!v.fragment && v.first);

	cr_expect_eq(v4_fragment(0x2000, 0, &v), -ENODATA);  /* nothing in it */
	cr_expect_eq(v4_fragment(0x2000, 15, &v), -ENODATA); /* no multiple of 8, and more follow */
	cr_expect_eq(v4_fragment(0x0001, 16, &v), -ENODATA); /* offset 8: RFC 1858 */
	cr_expect_eq(v4_fragment(0x2001, 16, &v), -ENODATA);
	cr_expect_eq(v4_fragment(0x1fff, 7, &v), 0); /* ends at 65535 */
	cr_expect_eq(v4_fragment(0x1fff, 8, &v), -ENODATA);
	cr_expect_eq(v4_fragment(0x1ffe, 16, &v), -ENODATA);
}

Test(ip, a_first_fragment_holds_the_whole_upper_header)
{
	struct packet p = v4(IPPROTO_TCP);
	struct ip_view v;

	tcp(&p);
	ADD(&p, 1, 1, 1, 1, 1, 1, 1, 1);
	p.b[20 + 12] = 0x70; /* 28 bytes with options */
	set16(&p, 6, 0x2000);
	for (size_t n = 8; n <= 24; n += 8) {
		p.len = 20 + n;
		REFUSE_AS(-ENODATA, done(&p));
	}
	p.b[20 + 12] = 0x60; /* 24 */
	p.len = 20 + 24;
	v = taken(done(&p));
	cr_expect_eq(v.dport, 443);
}

Test(ip, extension_headers_are_walked)
{
	struct packet p = v6(IPPROTO_HOPOPTS);
	struct ip_view v;

	ADD(&p, IPPROTO_DSTOPTS, 0, 5, 2, 0, 0, 1, 0);                    /* router alert, PadN */
	ADD(&p, IPPROTO_AH, 1, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0); /* Pad1, PadN, Pad1… */
	ADD(&p, IPPROTO_TCP, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2);            /* AH: 24 bytes */
	ADD(&p, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
	tcp(&p);
	v = taken(done(&p));
	cr_expect_eq(v.proto, IPPROTO_TCP);
	cr_expect_eq(v.l4, 40 + 8 + 16 + 24);
	cr_expect_eq(v.dport, 443);
}

Test(ip, ipv6_that_does_not_add_up_is_refused)
{
	struct packet p = v6(IPPROTO_UDP), q;
	struct ip_view v;

	udp(&p, 4);
	done(&p);
	for (size_t len = 0; len < 65536; len += len < 64 ? 1 : 97) {
		q = p;
		set16(&q, 4, len); /* 0: jumbo, or nothing at all */
		cr_expect_eq(parse_n(&v, &q, q.len), len == 12 ? 0 : -EBADMSG, "payload %zu", len);
	}
}

Test(ip, a_packet_longer_than_its_length_can_say_is_refused)
{
	struct ip_view v;
	uint8_t *big = calloc(1, 65576);

	big[0] = 0x60;
	big[6] = IPPROTO_NONE;
	big[4] = 0xff;
	big[5] = 0xd7; /* 40 + 65495 */
	cr_expect_eq(ip_parse(&v, big, 65576), 0);
	cr_expect_eq(v.total, 65535);
	big[5] = 0xd8;
	cr_expect_eq(ip_parse(&v, big, 65576), -EBADMSG);
	big[5] = 0xff;
	cr_expect_eq(ip_parse(&v, big, 65576), -EBADMSG);
	free(big);
}

Test(ip, routing_headers_are_refused_of_any_type)
{
	for (unsigned type = 0; type < 6; type++) {
		struct packet p = v6(IPPROTO_ROUTING), q = v6(IPPROTO_HOPOPTS);

		ADD(&p, IPPROTO_UDP, 0, (uint8_t)type, 0, 0, 0, 0, 0);
		udp(&p, 0);
		REFUSE_AS(-ENOTSUP, done(&p));
		ADD(&q, IPPROTO_ROUTING, 0, 1, 4, 0, 0, 0, 0);
		ADD(&q, IPPROTO_UDP, 0, (uint8_t)type, 0, 0, 0, 0, 0);
		udp(&q, 0);
		REFUSE_AS(-ENOTSUP, done(&q));
	}
}

static int with_v6_options(uint8_t header, const uint8_t *options, size_t n)
{
	struct packet p = v6(header);
	struct ip_view v;

	ADD(&p, IPPROTO_UDP, (uint8_t)((n + 2) / 8 - 1));
	add(&p, options, n);
	udp(&p, 0);
	done(&p);
	return parse_n(&v, &p, p.len);
}

#define V6_OPTIONS(header, ...)                                 \
	with_v6_options(header, (const uint8_t[]){__VA_ARGS__}, \
	                sizeof((const uint8_t[]){__VA_ARGS__}))

Test(ip, options_of_ipv6_that_lie_or_change_addresses_are_refused)
{
	static const uint8_t headers[] = {IPPROTO_HOPOPTS, IPPROTO_DSTOPTS};

	for (int i = 0; i < 2; i++) {
		uint8_t h = headers[i];

		cr_expect_eq(V6_OPTIONS(h, 0, 0, 0, 0, 0, 0), 0);
		cr_expect_eq(V6_OPTIONS(h, 1, 4, 0, 0, 0, 0), 0);
		cr_expect_eq(V6_OPTIONS(h, 1, 0, 1, 2, 9, 9), 0);
		cr_expect_eq(V6_OPTIONS(h, 1, 5, 0, 0, 0, 0), -EBADMSG); /* beyond the header */
		cr_expect_eq(V6_OPTIONS(h, 0, 0, 0, 0, 0, 1), -EBADMSG); /* no length byte */
		cr_expect_eq(V6_OPTIONS(h, 1, 255, 0, 0, 0, 0), -EBADMSG);
		cr_expect_eq(V6_OPTIONS(h, 0xc2, 4, 0, 1, 0, 0), -ENOTSUP); /* jumbo */
		cr_expect_eq(V6_OPTIONS(h, 0xc9, 16, 0, 0, 0xfd, 0x77, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0,
		                        0, 0, 0, 1),
		             -ENOTSUP); /* home address */
	}
}

Test(ip, chains_of_headers_are_bounded)
{
	struct packet p;
	struct ip_view v;

	for (unsigned n = 0; n < 12; n++) {
		p = v6(n ? IPPROTO_DSTOPTS : IPPROTO_UDP);
		for (unsigned i = 0; i < n; i++)
			ADD(&p, i + 1 < n ? IPPROTO_DSTOPTS : IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0);
		udp(&p, 0);
		done(&p);
		cr_expect_eq(parse_n(&v, &p, p.len), n <= IP_EXTENSIONS_MAX ? 0 : -ENOTSUP, "%u",
		             n);
	}
}

Test(ip, headers_in_the_wrong_place_or_of_the_wrong_length_are_refused)
{
	struct packet p = v6(IPPROTO_DSTOPTS);

	ADD(&p, IPPROTO_HOPOPTS, 0, 1, 4, 0, 0, 0, 0); /* hop-by-hop is the first or not at all */
	ADD(&p, IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0);
	udp(&p, 0);
	REFUSE(done(&p));

	p = v6(IPPROTO_DSTOPTS);
	ADD(&p, IPPROTO_UDP, 255, 1, 4, 0, 0, 0, 0); /* beyond the packet */
	udp(&p, 0);
	REFUSE(done(&p));

	p = v6(IPPROTO_DSTOPTS);
	ADD(&p, IPPROTO_UDP, 1, 1, 12, 0, 0, 0, 0); /* eats the upper header */
	udp(&p, 0);
	REFUSE(done(&p));

	for (unsigned words = 0; words < 256; words++) {
		struct ip_view v;
		int err;

		p = v6(IPPROTO_AH);
		ADD(&p, IPPROTO_UDP, (uint8_t)words, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0);
		udp(&p, 0);
		done(&p);
		err = parse_n(&v, &p, p.len);
		cr_expect_eq(err, words == 2 ? 0 : -EBADMSG, "AH of %u", (words + 2) * 4);
	}
}

/* next, then a fragment header with that offset-and-flags field, then n bytes
 * of a UDP packet. */
static int v6_fragment(unsigned field, uint8_t next, size_t n, struct ip_view *v)
{
	struct packet p = v6(IPPROTO_FRAGMENT);

	ADD(&p, next, 0, 0, 0, 1, 2, 3, 4);
	set16(&p, 42, field);
	udp(&p, 100);
	p.len = 48 + n;
	done(&p);
	return parse_n(v, &p, p.len);
}

Test(ip, fragments_of_ipv6)
{
	struct ip_view v;

	cr_expect_eq(v6_fragment(0x0001, IPPROTO_UDP, 16, &v), 0);
	cr_expect(v.fragment && v.first && v.dport == 53 && v.l4 == 48);
	cr_expect_eq(v6_fragment(0x0011, IPPROTO_UDP, 16, &v), 0);
	cr_expect(v.fragment && !v.first && v.dport == 0 && v.proto == IPPROTO_UDP && v.l4 == 48);
	cr_expect(v.ident == 0x01020304 && v.offset == 16 && v.end == 32);
	cr_expect_eq(v6_fragment(0x0010, IPPROTO_UDP, 5, &v), 0);
	cr_expect_eq(v6_fragment(0x0000, IPPROTO_UDP, 108, &v), 0);
	cr_expect(!v.fragment && v.first && v.dport == 53, "whole for all that: RFC 6946");
	cr_expect_eq(v6_fragment(0x0010, IPPROTO_ROUTING, 16, &v), 0);
	cr_expect(!v.first && v.proto == IPPROTO_ROUTING, "what a later one holds is no header");

	cr_expect_eq(v6_fragment(0x0000, IPPROTO_UDP, 16, &v), -EBADMSG); /* the datagram is cut */
	cr_expect_eq(v6_fragment(0x0001, IPPROTO_UDP, 0, &v), -ENODATA);
	cr_expect_eq(v6_fragment(0x0001, IPPROTO_UDP, 15, &v), -ENODATA);
	cr_expect_eq(v6_fragment(0x0001, IPPROTO_TCP, 16, &v), -ENODATA); /* header not whole */
	cr_expect_eq(v6_fragment(0x0009, IPPROTO_UDP, 16, &v), -ENODATA); /* offset 8 */
	cr_expect_eq(v6_fragment(0x0008, IPPROTO_UDP, 16, &v), -ENODATA);
	cr_expect_eq(v6_fragment(0xfff8, IPPROTO_UDP, 7, &v), 0);
	cr_expect_eq(v6_fragment(0xfff8, IPPROTO_UDP, 8, &v), -ENODATA);
	cr_expect_eq(v6_fragment(0x0001, IPPROTO_ROUTING, 16, &v), -ENOTSUP);
}

Test(ip, a_fragment_in_a_fragment_is_refused)
{
	struct packet p = v6(IPPROTO_FRAGMENT);

	ADD(&p, IPPROTO_FRAGMENT, 0, 0, 0, 0, 0, 0, 1);
	ADD(&p, IPPROTO_UDP, 0, 0, 0, 0, 0, 0, 2);
	udp(&p, 8);
	REFUSE_AS(-ENODATA, done(&p));
}

static void expect_sane(const struct ip_view *v, size_t len)
{
	cr_assert(v->version == 4 || v->version == 6);
	cr_assert(v->src.family == v->version && v->dst.family == v->version);
	cr_assert(v->total <= len && v->l4 <= v->total && v->l4 >= (v->version == 4 ? 20 : 40));
	cr_assert(v->first || v->fragment);
}

/* Every byte of every header takes every value: what is accepted still adds up.
 */
Test(ip, any_byte_may_be_anything)
{
	struct packet p[5] = {v4(IPPROTO_TCP), v4(IPPROTO_UDP), v6(IPPROTO_HOPOPTS),
	                      v6(IPPROTO_FRAGMENT), v6(IPPROTO_AH)};
	struct ip_view v;

	tcp(&p[0]);
	ADD(&p[1], 148, 4, 0, 0, 1, 1, 1, 0);
	p[1].b[0] = 0x47;
	udp(&p[1], 3);
	ADD(&p[2], IPPROTO_DSTOPTS, 0, 5, 2, 0, 0, 1, 0);
	ADD(&p[2], IPPROTO_UDP, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	udp(&p[2], 3);
	ADD(&p[3], IPPROTO_UDP, 0, 0, 1, 1, 2, 3, 4);
	udp(&p[3], 8);
	ADD(&p[4], IPPROTO_TCP, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0);
	tcp(&p[4]);
	for (int i = 0; i < 5; i++) {
		taken(done(&p[i]));
		for (size_t at = 0; at < p[i].len; at++) {
			for (unsigned value = 0; value < 256; value++) {
				struct packet q = p[i];

				q.b[at] = (uint8_t)value;
				if (parse_n(&v, &q, q.len) == 0)
					expect_sane(&v, q.len);
			}
		}
	}
}
