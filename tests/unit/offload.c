/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tun/offload.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "tun/bytes.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20
#define TCP_ECE 0x40
#define TCP_CWR 0x80

#define PACKET_MAX 65535
#define PIECES_MAX 256
#define DF         0x4000

/* What a test's packet is made from. */
struct made {
	int version, proto;
	size_t ip_options, tcp_options, payload;
	uint8_t flags, tos, ttl;
	uint16_t id, frag, sport, dport;
	uint32_t seq;
};

static const struct made TCP4 = {4,  IPPROTO_TCP, 0,  12,   1000, TCP_ACK,   0,
                                 64, 0xfffe,      DF, 4000, 443,  0xfffffe00};
static const struct made TCP6 = {6,  IPPROTO_TCP, 0, 12,   1000, TCP_ACK,   0,
                                 64, 0,           0, 4000, 443,  0xfffffe00};
static const struct made UDP4 = {4, IPPROTO_UDP, 0, 0, 1000, 0, 0, 64, 7, DF, 4000, 53, 0};
static const struct made UDP6 = {6, IPPROTO_UDP, 0, 0, 1000, 0, 0, 64, 0, 0, 4000, 53, 0};

static uint8_t buf[PACKET_MAX + 1], whole[PACKET_MAX + 1], arena[1 << 20];

/* -- packets, and the slow way to sum them up -- */

static uint16_t slow(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint16_t slow_pseudo(const struct ip_view *v)
{
	uint32_t sum = slow(0, v->src.b, 16);

	sum += slow(0, v->dst.b, 16);
	return slow(sum + v->proto + v->total - v->l4, NULL, 0);
}

static struct ip_view view(const uint8_t *p, size_t len)
{
	struct ip_view v;

	cr_assert_eq(ip_parse(&v, p, len), 0);
	cr_assert_eq(v.total, len);
	return v;
}

static size_t sum_at(const struct ip_view *v)
{
	return v->l4 + (v->proto == IPPROTO_TCP ? 16U : 6U);
}

static size_t ip_make(uint8_t *p, const struct made *m, size_t below)
{
	size_t len = 40;

	if (m->version == 6) {
		put_be32(p, 6U << 28 | (uint32_t)m->tos << 20 | 0x12345);
		put_be16(p + 4, (uint16_t)below);
		p[6] = (uint8_t)m->proto;
		p[7] = m->ttl;
		for (size_t i = 8; i < 40; i++)
			p[i] = (uint8_t)(i * 5);
		p[8] = p[24] = 0xfd;
		return len;
	}
	len = 20 + m->ip_options;
	memset(p, 0, 20);
	memset(p + 20, 1, m->ip_options); /* no operation */
	p[0] = (uint8_t)(0x40 | len / 4);
	p[1] = m->tos;
	put_be16(p + 2, (uint16_t)(len + below));
	put_be16(p + 4, m->id);
	put_be16(p + 6, m->frag);
	p[8] = m->ttl;
	p[9] = (uint8_t)m->proto;
	put_be32(p + 12, 0x0a4d0209);
	put_be32(p + 16, 0x0a4d0101);
	put_be16(p + 10, (uint16_t)~slow(0, p, len));
	return len;
}

/* The sum field holds that of the pseudo header, as the kernel's does. */
static size_t make(uint8_t *p, const struct made *m)
{
	size_t header = m->proto == IPPROTO_TCP ? 20 + m->tcp_options : 8, l4, total;
	struct ip_view v;

	l4 = ip_make(p, m, header + m->payload);
	total = l4 + header + m->payload;
	memset(p + l4, 0, header);
	put_be16(p + l4, m->sport);
	put_be16(p + l4 + 2, m->dport);
	if (m->proto == IPPROTO_TCP) {
		put_be32(p + l4 + 4, m->seq);
		put_be32(p + l4 + 8, 0x01020304);
		p[l4 + 12] = (uint8_t)(header / 4 << 4);
		p[l4 + 13] = m->flags;
		put_be16(p + l4 + 14, 501);
		for (size_t i = 20; i < header; i++)
			p[l4 + i] = (uint8_t)(i + 1);
	} else {
		put_be16(p + l4 + 4, (uint16_t)(8 + m->payload));
	}
	for (size_t i = l4 + header; i < total; i++)
		p[i] = (uint8_t)((i * 2654435761U) >> 13);
	v = view(p, total);
	put_be16(p + sum_at(&v), slow_pseudo(&v));
	return total;
}

static struct offload_hdr hdr(const uint8_t *p, size_t len, uint16_t gso_size)
{
	struct ip_view v = view(p, len);
	bool tcp = v.proto == IPPROTO_TCP;
	struct offload_hdr h = {.flags = OFFLOAD_NEEDS_CSUM, .csum_start = v.l4};

	h.csum_offset = tcp ? 16 : 6;
	if (gso_size == 0)
		return h;
	h.gso_size = gso_size;
	h.hdr_len = (uint16_t)(v.l4 + (tcp ? p[v.l4 + 12] / 16 * 4 : 8));
	h.gso_type = tcp ? v.version == 4 ? OFFLOAD_GSO_TCP4 : OFFLOAD_GSO_TCP6 : OFFLOAD_GSO_UDP;
	if (tcp && (p[v.l4 + 13] & TCP_CWR))
		h.gso_type |= OFFLOAD_GSO_ECN;
	return h;
}

static void expect_sums(const uint8_t *p, size_t len)
{
	struct ip_view v = view(p, len);

	cr_assert_eq(slow(slow_pseudo(&v), p + v.l4, len - v.l4), 0xffff, "upper layer");
	if (v.version == 4)
		cr_assert_eq(slow(0, p, v.l4), 0xffff, "IPv4 header");
}

/* -- round trips -- */

struct piece {
	uint8_t *p;
	size_t len;
};

/* Cuts the packet in buf, each piece copied away as a record would: how many. */
static size_t cut(struct piece out[PIECES_MAX], const struct offload_hdr *h, size_t len)
{
	struct ip_view v = view(buf, len);
	struct offload_cut c;
	uint8_t *p, *end = arena;
	bool partial;
	size_t n = 0, size;

	cr_assert_eq(offload_cut_start(&c, buf, &v, h), 0);
	while (offload_cut_next(&c, &p, &size, &partial)) {
		cr_assert_lt(n, PIECES_MAX);
		cr_assert(p >= buf && p + size <= buf + len && partial);
		memcpy(end, p, size);
		out[n++] = (struct piece){end, size};
		end += size;
	}
	cr_assert_not(offload_cut_next(&c, &p, &size, &partial), "nor once more");
	return n;
}

/* Merges pieces into buf: its length. All must join. */
static size_t merge(struct offload_hdr *h, const struct piece *pieces, size_t n)
{
	struct ip_view v = view(pieces[0].p, pieces[0].len);
	struct offload_merge m;
	size_t at;

	offload_merge_start(&m, pieces[0].p, &v, true);
	for (size_t i = 1; i < n; i++) {
		v = view(pieces[i].p, pieces[i].len);
		cr_assert(offload_merge_add(&m, pieces[i].p, &v, true), "%zu of %zu", i, n);
	}
	cr_assert_eq(m.segments, n);
	offload_merge_end(&m, h);
	at = pieces[0].len;
	memcpy(buf, pieces[0].p, at);
	for (size_t i = 1; i < n; i++) {
		memcpy(buf + at, pieces[i].p + m.header_len, pieces[i].len - m.header_len);
		at += pieces[i].len - m.header_len;
	}
	cr_assert_eq(m.total, at);
	return at;
}

/* What each piece must be, from what the whole was. */
static void expect_piece(const struct made *m, uint16_t size, const struct piece *piece, size_t i,
                         size_t n)
{
	static uint8_t expected[PACKET_MAX];
	struct made one = *m;
	struct ip_view v;
	size_t from = i * size, len;
	size_t header;

	one.payload = i + 1 < n ? size : m->payload - from;
	one.id = (uint16_t)(m->id + i);
	one.seq = (uint32_t)(m->seq + from);
	if (i + 1 < n)
		one.flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (i > 0)
		one.flags &= (uint8_t)~TCP_CWR;
	len = make(expected, &one);
	header = len - one.payload;
	memcpy(expected + header, whole + header + from, one.payload);
	v = view(expected, len);
	put_be16(expected + sum_at(&v), (uint16_t)~slow(0, expected + v.l4, len - v.l4));
	cr_assert_eq(piece->len, len);
	expect_sums(expected, len);
	offload_finish(piece->p, &v);
	cr_assert_arr_eq(piece->p, expected, len, "piece %zu of %zu", i, n);
}

static void round_trip(const struct made *m, uint16_t size)
{
	struct piece pieces[PIECES_MAX];
	size_t len = make(buf, m), n;
	struct offload_hdr h = hdr(buf, len, size), again;

	memcpy(whole, buf, len);
	n = cut(pieces, &h, len);
	cr_assert_eq(n, (m->payload + size - 1) / size);
	for (size_t i = 0; i < n; i++)
		expect_piece(m, size, &pieces[i], i, n);
	cr_assert_eq(merge(&again, pieces, n), len);
	cr_assert_arr_eq(buf, whole, len, "the same bytes again");
	if (n > 1)
		cr_assert_arr_eq(&again, &h, sizeof(h), "and the same said of them");
}

Test(offload, tcp_is_cut_and_merged_to_the_same_bytes)
{
	static const size_t options[] = {0, 12, 40};
	static const size_t payloads[] = {1, 2, 999, 1000, 1001, 2000, 2001, 9999, 64000};
	static const uint8_t flags[] = {TCP_ACK, TCP_ACK | TCP_PSH, TCP_ACK | TCP_FIN | TCP_PSH,
	                                TCP_ACK | TCP_ECE, TCP_ACK | TCP_ECE | TCP_CWR};
	struct made m;

	for (size_t i = 0; i < 2 * 3 * 9 * 5; i++) {
		m = i % 2 ? TCP6 : TCP4;
		m.tcp_options = options[i / 2 % 3];
		m.payload = payloads[i / 6 % 9];
		m.flags = flags[i / 54];
		if (m.payload <= 1000 && (m.flags & (TCP_FIN | TCP_PSH)))
			m.flags = TCP_ACK;
		round_trip(&m, 1000);
	}
}

Test(offload, udp_is_cut_and_merged_to_the_same_bytes)
{
	static const size_t payloads[] = {1, 999, 1000, 1001, 63999, 64000};
	struct made m;

	for (size_t i = 0; i < 2 * 6; i++) {
		m = i % 2 ? UDP6 : UDP4;
		m.payload = payloads[i / 2];
		round_trip(&m, 1000);
	}
}

Test(offload, odd_and_tiny_segments_too)
{
	static const uint16_t sizes[] = {1, 7, 51, 53, 119, 121, 1399, 1400, 65000};
	const struct made *kinds[] = {&TCP4, &TCP6, &UDP4, &UDP6};
	struct made m;

	for (size_t i = 0; i < 9 * 4; i++) {
		m = *kinds[i % 4];
		m.payload = sizes[i / 4] > 1000 ? 60001 : sizes[i / 4] * 30U + 1;
		if (sizes[i / 4] == 1)
			m.payload = 30;
		round_trip(&m, sizes[i / 4]);
	}
}

Test(offload, the_longest_packet_makes_the_round)
{
	struct made m = TCP4;

	m.payload = PACKET_MAX - 20 - 32;
	round_trip(&m, 1368);
	m = TCP6;
	m.payload = PACKET_MAX - 40 - 32;
	round_trip(&m, 1348);
}

Test(offload, ipv4_options_go_into_every_segment)
{
	struct made m = TCP4;
	struct piece pieces[PIECES_MAX];
	struct offload_hdr h;
	size_t len, n;

	m.ip_options = m.tcp_options = 40;
	m.payload = 2500;
	len = make(buf, &m);
	h = hdr(buf, len, 1000);
	memcpy(whole, buf, len);
	n = cut(pieces, &h, len);
	cr_assert_eq(n, 3);
	for (size_t i = 0; i < n; i++)
		expect_piece(&m, 1000, &pieces[i], i, n);
}

Test(offload, the_vnet_header_is_read_and_written)
{
	uint8_t bytes[OFFLOAD_HDR_LEN] = {1, 5, 2, 2, 3, 3, 4, 4, 5, 5}, again[OFFLOAD_HDR_LEN];
	struct offload_hdr h;

	offload_hdr_parse(&h, bytes);
	cr_expect(h.flags == 1 && h.gso_type == 5 && h.hdr_len == 0x0202 && h.gso_size == 0x0303);
	cr_expect(h.csum_start == 0x0404 && h.csum_offset == 0x0505);
	offload_hdr_format(&h, again);
	cr_expect_arr_eq(again, bytes, sizeof(bytes));
}

/* -- checksums -- */

Test(offload, a_checksum_is_finished_whatever_its_field_holds)
{
	const struct made *kinds[] = {&TCP4, &TCP6, &UDP4, &UDP6};
	struct made m;

	for (size_t i = 0; i < 4 * 20; i++) {
		struct ip_view v;
		size_t len;

		m = *kinds[i % 4];
		m.payload = i / 4;
		len = make(buf, &m);
		v = view(buf, len);
		cr_expect(offload_may_elide(buf, &v));
		put_be16(buf + sum_at(&v), (uint16_t)(i * 1031));
		offload_finish(buf, &v);
		expect_sums(buf, len);
	}
}

Test(offload, a_sum_of_zero_is_written_as_ones)
{
	struct made m = UDP4;
	struct ip_view v;
	size_t len;

	m.payload = 2;
	len = make(buf, &m);
	v = view(buf, len);
	put_be16(buf + len - 2, 0);
	offload_finish(buf, &v);
	put_be16(buf + len - 2, get_be16(buf + sum_at(&v))); /* now all of it sums up to ones */
	offload_finish(buf, &v);
	cr_expect_eq(get_be16(buf + sum_at(&v)), 0xffff, "0 would say that there is none");
	expect_sums(buf, len);
}

/* Judged and handed out whole: what came of it. */
static int judge(const struct offload_hdr *h, size_t len, bool *partial)
{
	struct ip_view v = view(buf, len);
	struct offload_cut c;
	uint8_t *p;
	size_t n;
	int err = offload_cut_start(&c, buf, &v, h);

	if (err)
		return err;
	cr_assert(offload_cut_next(&c, &p, &n, partial));
	cr_assert(p == buf && n == len);
	cr_assert_not(offload_cut_next(&c, &p, &n, partial));
	return 0;
}

Test(offload, a_packet_without_offloads_comes_out_as_it_is)
{
	static const uint8_t flags[] = {0, OFFLOAD_DATA_VALID, OFFLOAD_NEEDS_CSUM};
	size_t len = make(buf, &TCP4);
	struct offload_hdr h = {0};
	bool partial;

	memcpy(whole, buf, len);
	for (size_t i = 0; i < 3; i++) {
		if (flags[i] & OFFLOAD_NEEDS_CSUM)
			h = hdr(buf, len, 0);
		h.flags = flags[i];
		cr_assert_eq(judge(&h, len, &partial), 0);
		cr_expect_eq(partial, flags[i] == OFFLOAD_NEEDS_CSUM);
		cr_expect_arr_eq(buf, whole, len);
	}
}

/* A VXLAN packet whose inner sum is the one that is left to us. */
Test(offload, a_sum_inside_a_tunnel_is_made_here)
{
	struct made m = UDP4, inner = TCP4;
	struct offload_hdr h = {.flags = OFFLOAD_NEEDS_CSUM};
	size_t at = 28 + 8 + 14, len, in;
	bool partial;

	inner.payload = 333;
	in = make(whole, &inner);
	m.payload = 8 + 14 + in;
	m.dport = 4789;
	len = make(buf, &m);
	memcpy(buf + at, whole, in);
	h.csum_start = (uint16_t)(at + 20);
	h.csum_offset = 16;
	cr_assert_eq(judge(&h, len, &partial), 0);
	cr_expect_not(partial);
	expect_sums(buf + at, in);
}

Test(offload, icmp_left_to_us_is_summed_up_here)
{
	struct offload_hdr h = {.flags = OFFLOAD_NEEDS_CSUM, .csum_start = 40, .csum_offset = 2};
	struct made m = UDP6;
	bool partial;
	size_t len;

	m.proto = IPPROTO_ICMPV6;
	len = ip_make(buf, &m, 64) + 64;
	memset(buf + 40, 0, 64);
	buf[40] = 128;
	cr_assert_eq(judge(&h, len, &partial), 0);
	cr_expect_not(partial);
	buf[42] = buf[43] = 0;
	h.csum_offset = 0;
	cr_expect_eq(judge(&h, len, &partial), -EBADMSG, "type and code have been judged");
}

/* Destination options before UDP: the sum is right in software and not left to the other end. */
Test(offload, behind_an_extension_header_a_sum_is_made_here)
{
	struct made m = UDP6;
	struct ip_view v;
	struct offload_hdr h;
	bool partial;
	size_t len = make(whole, &m);

	memcpy(buf, whole, 40);
	memset(buf + 40, 0, 8);
	buf[40] = IPPROTO_UDP;
	buf[42] = 1; /* PadN */
	buf[43] = 4;
	memcpy(buf + 48, whole + 40, len - 40);
	buf[6] = IPPROTO_DSTOPTS;
	len += 8;
	put_be16(buf + 4, (uint16_t)(len - 40));
	v = view(buf, len);
	cr_expect_not(offload_may_elide(buf, &v));
	h = (struct offload_hdr){.flags = OFFLOAD_NEEDS_CSUM, .csum_start = 48, .csum_offset = 6};
	cr_assert_eq(judge(&h, len, &partial), 0);
	cr_expect_not(partial);
	expect_sums(buf, len);
	h.gso_type = OFFLOAD_GSO_UDP;
	h.gso_size = 100;
	cr_expect_eq(judge(&h, len, &partial), -EBADMSG, "nor is it cut");
}

Test(offload, fragments_and_padded_datagrams_keep_their_sums)
{
	struct made m = UDP4;
	struct ip_view v;
	size_t len;

	m.frag = 0x2000;
	len = make(buf, &m);
	v = view(buf, len);
	cr_expect_not(offload_may_elide(buf, &v));
	m.frag = 0;
	len = make(buf, &m);
	put_be16(buf + 24, (uint16_t)(len - 21));
	v = view(buf, len);
	cr_expect_not(offload_may_elide(buf, &v), "UDP ends before the packet");
	m.proto = IPPROTO_ICMP;
	len = make(buf, &m);
	v = view(buf, len);
	cr_expect_not(offload_may_elide(buf, &v));
}

/* -- hostile vnet headers -- */

static int start(const struct offload_hdr *h, size_t len)
{
	struct ip_view v = view(buf, len);
	struct offload_cut c;

	return offload_cut_start(&c, buf, &v, h);
}

#define REFUSE(field, value, why)                               \
	do {                                                    \
		struct offload_hdr bad = h;                     \
		bad.field = (value);                            \
		cr_expect_eq(start(&bad, len), -EBADMSG, why);  \
		cr_expect_arr_eq(buf, whole, len, "unchanged"); \
	} while (0)

Test(offload, each_type_fits_one_version_and_protocol)
{
	const struct made *kinds[] = {&TCP4, &TCP6, &UDP4, &UDP6};
	static const uint8_t own[] = {OFFLOAD_GSO_TCP4, OFFLOAD_GSO_TCP6, OFFLOAD_GSO_UDP,
	                              OFFLOAD_GSO_UDP};

	for (size_t i = 0; i < 4; i++) {
		size_t len = make(buf, kinds[i]);
		struct offload_hdr h = hdr(buf, len, 100);

		for (unsigned type = 1; type < 256; type++) {
			bool ecn = kinds[i]->proto == IPPROTO_TCP &&
			           type == (OFFLOAD_GSO_ECN | own[i]);

			h.gso_type = (uint8_t)type;
			cr_expect_eq(start(&h, len), type == own[i] || ecn ? 0 : -EBADMSG,
			             "kind %zu, type %u", i, type);
		}
	}
}

Test(offload, a_super_packet_is_judged_by_its_own_headers)
{
	const struct made *kinds[] = {&TCP4, &TCP6, &UDP4, &UDP6};

	for (size_t i = 0; i < 4; i++) {
		size_t len = make(buf, kinds[i]);
		struct offload_hdr h = hdr(buf, len, 100);

		memcpy(whole, buf, len);
		REFUSE(flags, 0, "its sum must be left to us");
		REFUSE(flags, OFFLOAD_DATA_VALID, "its sum must be left to us");
		for (unsigned bit = 2; bit < 8; bit++)
			REFUSE(flags, (uint8_t)(OFFLOAD_NEEDS_CSUM | 1U << bit), "unknown flag");
		REFUSE(gso_size, 0, "segments of nothing");
		REFUSE(hdr_len, (uint16_t)(len + 1), "longer than the packet");
		REFUSE(csum_start, 0, "not at the upper header");
		REFUSE(csum_start, (uint16_t)(h.csum_start + 1), "not at the upper header");
		REFUSE(csum_start, 65535, "outside");
		REFUSE(csum_offset, 0, "not that protocol's");
		REFUSE(csum_offset, (uint16_t)(22 - h.csum_offset), "the other protocol's");
		REFUSE(csum_offset, 65535, "outside");
		h.hdr_len = 0; /* a hint, not needed */
		cr_expect_eq(start(&h, len), 0);
	}
}

Test(offload, a_super_packet_has_payload_and_honest_flags)
{
	static const uint8_t flags[] = {TCP_SYN, TCP_RST, TCP_URG};
	struct offload_hdr h;
	struct made m;
	size_t len;

	for (size_t i = 0; i < 3; i++) {
		m = TCP4;
		m.flags |= flags[i];
		len = make(buf, &m);
		h = hdr(buf, len, 100);
		cr_expect_eq(start(&h, len), -EBADMSG, "flags %#x", m.flags);
	}
	m = TCP4;
	m.payload = 0;
	len = make(buf, &m);
	h = hdr(buf, len, 100);
	cr_expect_eq(start(&h, len), -EBADMSG);
	m = UDP4;
	len = make(buf, &m);
	put_be16(buf + 24, (uint16_t)(len - 21));
	h = hdr(buf, len, 100);
	cr_expect_eq(start(&h, len), -EBADMSG, "UDP of another length");
	m.frag = 0x2000;
	len = make(buf, &m);
	h = hdr(buf, len, 100);
	cr_expect_eq(start(&h, len), -EBADMSG, "a fragment");
}

Test(offload, a_sum_is_not_made_over_what_was_judged)
{
	struct made m = UDP4;
	size_t len = make(buf, &m);
	struct offload_hdr h = hdr(buf, len, 0);

	memcpy(whole, buf, len);
	for (uint16_t at = 0; at < 20; at++)
		REFUSE(csum_start, at, "the IP header");
	for (uint16_t at = 0; at < 8; at++) {
		if (at != 6)
			REFUSE(csum_offset, at, "ports and length");
	}
	REFUSE(csum_offset, (uint16_t)(len - 20 - 1), "half outside");
	REFUSE(csum_start, (uint16_t)len, "outside");
	REFUSE(csum_start, 65535, "outside");
	REFUSE(csum_offset, 65535, "outside");
	h.csum_offset = (uint16_t)(len - 20 - 2);
	cr_expect_eq(start(&h, len), 0, "the last two bytes, as a tunnel's could be");
	m.frag = 0x2000;
	len = make(buf, &m);
	h = hdr(buf, len, 0);
	memcpy(whole, buf, len);
	REFUSE(flags, OFFLOAD_NEEDS_CSUM, "no fragment's sum can be made");
	m = TCP4;
	len = make(buf, &m);
	h = hdr(buf, len, 0);
	memcpy(whole, buf, len);
	REFUSE(csum_offset, 12, "length and flags");
	REFUSE(csum_offset, 6, "the sequence number");
}

/* -- merging -- */

/* Two neighbours: the first in buf, the next in whole. */
static struct offload_merge begun(const struct made *m, bool partial)
{
	struct made next = *m;
	size_t len = make(buf, m);
	struct ip_view v = view(buf, len);
	struct offload_merge g;

	next.id++;
	next.seq += (uint32_t)m->payload;
	next.flags &= (uint8_t)~TCP_CWR;
	make(whole, &next);
	offload_merge_start(&g, buf, &v, partial);
	return g;
}

static bool joins(struct offload_merge *g, size_t len, bool partial)
{
	struct ip_view v;

	if (ip_parse(&v, whole, len) < 0 || v.total != len)
		return false;
	return offload_merge_add(g, whole, &v, partial);
}

/* May this byte of the header of a neighbour differ in that bit? */
static bool may_differ(const struct made *m, size_t at, unsigned bit)
{
	size_t ip = m->version == 4 ? 20 : 40;

	if (m->version == 4 && (at == 10 || at == 11))
		return true;
	if (m->version == 4 && (at == 4 || at == 5))
		return m->frag == DF;
	if (at < ip)
		return false;
	at -= ip;
	if (m->proto == IPPROTO_UDP)
		return at == 6 || at == 7;
	if (at == 13)
		return (1U << bit) == TCP_FIN || (1U << bit) == TCP_PSH;
	return at == 16 || at == 17;
}

Test(offload, a_neighbour_differs_in_no_other_bit_of_its_header)
{
	struct made kinds[] = {TCP4, TCP6, UDP4, UDP6, TCP4, UDP4};

	kinds[4].frag = kinds[5].frag = 0; /* without DF the id matters */
	for (size_t i = 0; i < 6; i++) {
		struct made *m = &kinds[i];
		size_t ip = m->version == 4 ? 20 : 40;
		size_t header = ip + (m->proto == IPPROTO_TCP ? 32 : 8);
		struct offload_merge g = begun(m, true);

		cr_assert(joins(&g, header + m->payload, true), "kind %zu", i);
		for (size_t bit = 0; bit < header * 8; bit++) {
			g = begun(m, true);
			whole[bit / 8] ^= (uint8_t)(1U << bit % 8);
			cr_assert_eq(joins(&g, header + m->payload, true),
			             may_differ(m, bit / 8, bit % 8), "kind %zu, byte %zu bit %zu",
			             i, bit / 8, bit % 8);
		}
	}
}

Test(offload, only_partial_packets_are_merged)
{
	struct offload_merge g = begun(&TCP4, false);
	struct offload_hdr h;
	static const struct offload_hdr none;

	cr_expect(g.closed && !g.partial);
	cr_expect_not(joins(&g, 1052, true));
	offload_merge_end(&g, &h);
	cr_expect_arr_eq(&h, &none, sizeof(h), "the kernel checks it");
	g = begun(&TCP4, true);
	cr_expect_not(joins(&g, 1052, false));
	cr_expect(joins(&g, 1052, true));
}

Test(offload, a_single_partial_packet_is_left_to_the_kernel)
{
	const struct made *kinds[] = {&TCP4, &TCP6, &UDP4, &UDP6};

	for (size_t i = 0; i < 4; i++) {
		struct offload_merge g = begun(kinds[i], true);
		struct ip_view v = g.ip;
		struct offload_hdr h, expected = hdr(buf, v.total, 0);

		put_be16(buf + sum_at(&v), 0xdead);
		memcpy(whole, buf, v.total);
		put_be16(whole + sum_at(&v), slow_pseudo(&v));
		offload_merge_end(&g, &h);
		cr_expect_arr_eq(&h, &expected, sizeof(h));
		cr_expect_arr_eq(buf, whole, v.total);
	}
}

/* What the other end says may not be left undone is not believed to be. */
Test(offload, partial_means_nothing_where_it_cannot_be)
{
	static const struct offload_hdr none;
	struct made m = UDP4;
	struct offload_merge g;
	struct offload_hdr h;
	size_t len;

	m.frag = 0x2000;
	g = begun(&m, true);
	len = g.total;
	memcpy(whole, buf, len);
	cr_expect(g.closed);
	offload_merge_end(&g, &h);
	cr_expect_arr_eq(&h, &none, sizeof(h));
	cr_expect_arr_eq(buf, whole, len);
}

static void expect_closed(const struct made *m, const char *why)
{
	struct offload_merge g = begun(m, true);

	cr_expect(g.closed, "%s", why);
	cr_expect_not(joins(&g, g.total, true), "%s", why);
}

Test(offload, some_packets_stay_alone)
{
	static const uint16_t tunnels[] = {4789, 8472, 6081};
	struct made m = TCP4;

	for (unsigned flags = 0; flags < 256; flags++) {
		m.flags = (uint8_t)flags;
		if ((flags & ~(unsigned)(TCP_ECE | TCP_CWR)) != TCP_ACK)
			expect_closed(&m, "TCP with other flags than ACK, ECE, CWR");
	}
	m = TCP4;
	m.payload = 0;
	expect_closed(&m, "no payload");
	m = TCP4;
	m.ip_options = 4;
	expect_closed(&m, "IPv4 options");
	for (size_t i = 0; i < 3; i++) {
		m = UDP4;
		m.dport = tunnels[i];
		expect_closed(&m, "to a tunnel");
		m = UDP6;
		m.sport = tunnels[i];
		expect_closed(&m, "from a tunnel");
	}
}

Test(offload, other_versions_and_protocols_do_not_join)
{
	const struct made *kinds[] = {&TCP4, &TCP6, &UDP4, &UDP6};

	for (size_t i = 0; i < 16; i++) {
		struct offload_merge g = begun(kinds[i / 4], true);
		size_t len = make(whole, kinds[i % 4]);

		if (i / 4 != i % 4)
			cr_expect_not(joins(&g, len, true), "%zu after %zu", i % 4, i / 4);
	}
}

Test(offload, a_shorter_one_ends_it_and_a_longer_one_does_not_join)
{
	struct made next = TCP4;
	struct offload_merge g;

	next.seq += 1000;
	next.payload = 1001;
	g = begun(&TCP4, true);
	make(whole, &next);
	cr_expect_not(joins(&g, 1053, true));
	next.payload = 0;
	make(whole, &next);
	cr_expect_not(joins(&g, 52, true), "an acknowledgement alone");
	next.payload = 999;
	make(whole, &next);
	cr_expect_not(g.closed);
	cr_expect(joins(&g, 1051, true));
	cr_expect(g.closed);
	next.seq += 999;
	make(whole, &next);
	cr_expect_not(joins(&g, 1051, true));
}

Test(offload, psh_ends_it_and_cwr_only_begins_it)
{
	struct offload_merge g = begun(&TCP4, true);
	struct offload_hdr h;
	struct made m;

	whole[33] |= TCP_PSH;
	cr_expect(joins(&g, 1052, true));
	cr_expect(g.closed);
	offload_merge_end(&g, &h);
	cr_expect_eq(buf[33], TCP_ACK | TCP_PSH);
	cr_expect_eq(h.gso_type, OFFLOAD_GSO_TCP4);
	m = TCP4;
	m.flags |= TCP_CWR;
	g = begun(&m, true);
	whole[33] |= TCP_CWR;
	cr_expect_not(joins(&g, 1052, true));
	whole[33] &= (uint8_t)~TCP_CWR;
	cr_expect(joins(&g, 1052, true));
	offload_merge_end(&g, &h);
	cr_expect_eq(h.gso_type, OFFLOAD_GSO_TCP4 | OFFLOAD_GSO_ECN);
}

Test(offload, without_df_ids_count_on)
{
	struct made m = UDP4, next;
	struct offload_merge g;

	m.frag = 0;
	m.id = 0xfffe;
	g = begun(&m, true);
	next = m;
	for (unsigned i = 1; i < 5; i++) {
		make(whole, &next);
		cr_expect_not(joins(&g, g.ip.total, true), "the id of the one before");
		next.id++;
		make(whole, &next);
		cr_expect(joins(&g, g.ip.total, true), "%u", i);
	}
	next.id += 2;
	make(whole, &next);
	cr_expect_not(joins(&g, g.ip.total, true), "one is missing");
}

/* How many join if there is no end of them, and how long it gets. */
static unsigned most(struct made m, size_t *total)
{
	struct offload_merge g = begun(&m, true);
	size_t len = g.total;

	while (joins(&g, len, true)) {
		m.seq += (uint32_t)m.payload;
		m.id++;
		begun(&m, true); /* the next into whole */
	}
	*total = g.total;
	return g.segments;
}

Test(offload, there_is_a_most_of_all)
{
	struct made m = UDP4;
	size_t total;

	m.payload = 12;
	cr_expect_eq(most(m, &total), OFFLOAD_UDP_SEGMENTS_MAX);
	m.payload = 1472;
	cr_expect_eq(most(m, &total), 44);
	cr_expect_eq(total, 28 + 44 * 1472);
	m = TCP6;
	m.payload = 1;
	cr_expect_eq(most(m, &total), OFFLOAD_TCP_SEGMENTS_MAX);
	m.payload = (PACKET_MAX - 72) / 53; /* 53 of them make 65535 but for a few bytes */
	cr_expect_eq(most(m, &total), 53);
	cr_expect_leq(total, PACKET_MAX);
	m.payload++;
	cr_expect_eq(most(m, &total), 52);
}
