/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A vnet header, a packet, and changes that make neighbours of what comes of it. Whatever they say:
 * pieces are whole packets that add up, and what was merged gives the same pieces when cut again.
 */
#include "tun/offload.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "tun/bytes.h"

#define PACKET_MAX 65535
#define CHANGES    4 /* of three bytes: where, how */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool ok)
{
	if (!ok)
		abort();
}

/* The merge of two is cut again: the first as it was and the second as it was, but for what need
 * not be kept: sums, and ids with DF.
 */
static void same_packet(const uint8_t *p, size_t len, const uint8_t *q, const struct ip_view *ip)
{
	uint8_t a[2 * PACKET_MAX], *b = a + len;
	size_t sum = ip->l4 + (ip->proto == IPPROTO_TCP ? 16U : 6U);

	require(len == ip->total);
	memcpy(a, p, len);
	memcpy(b, q, len);
	memset(a + sum, 0, 2);
	memset(b + sum, 0, 2);
	if (ip->version == 4) {
		memset(a + 10, 0, 2);
		memset(b + 10, 0, 2);
	}
	if (ip->version == 4 && (a[6] & 0x40)) {
		memset(a + 4, 0, 2);
		memset(b + 4, 0, 2);
	}
	require(memcmp(a, b, len) == 0);
}

static void cut_again(uint8_t *merged, size_t total, const struct offload_hdr *h,
                      uint8_t *const packets[2], const struct ip_view ip[2])
{
	struct ip_view v;
	struct offload_cut c;
	uint8_t *p;
	size_t n;
	bool partial;

	require(ip_parse(&v, merged, total) == 0 && v.total == total);
	require(offload_cut_start(&c, merged, &v, h) == 0);
	for (int i = 0; i < 2; i++) {
		require(offload_cut_next(&c, &p, &n, &partial) && partial);
		same_packet(p, n, packets[i], &ip[i]);
	}
	require(!offload_cut_next(&c, &p, &n, &partial));
}

/* packet and one made from it: the next of its flow, with some bytes changed. */
static void merge_two(const uint8_t *packet, size_t len, bool partial, const uint8_t *changes)
{
	uint8_t *first = malloc(len), *second = malloc(len), *kept = malloc(len), *merged;
	uint8_t *const packets[2] = {kept, second};
	struct ip_view ip[2];
	struct offload_merge m;
	struct offload_hdr h;
	bool joined = false;

	memcpy(first, packet, len);
	memcpy(second, packet, len);
	memcpy(kept, packet, len);
	require(ip_parse(&ip[0], first, len) == 0);
	offload_merge_start(&m, first, &ip[0], partial);
	require(m.closed || m.header_len + m.gso_size == len);
	if (ip[0].version == 4)
		put_be16(second + 4, (uint16_t)(get_be16(second + 4) + 1));
	if (ip[0].proto == IPPROTO_TCP && ip[0].first)
		put_be32(second + ip[0].l4 + 4, get_be32(second + ip[0].l4 + 4) + m.gso_size);
	for (int i = 0; i < CHANGES; i++)
		second[get_be16(changes + 3 * i) % len] ^= changes[3 * i + 2];
	if (ip_parse(&ip[1], second, len) == 0)
		joined = offload_merge_add(&m, second, &ip[1], partial);
	require(!joined || (partial && m.segments == 2));
	require(m.total == len + (joined ? ip[1].total - m.header_len : 0));
	offload_merge_end(&m, &h);
	require(joined == (h.gso_type != OFFLOAD_GSO_NONE));
	require(partial || memcmp(first, kept, len) == 0);
	if (joined) {
		merged = malloc(m.total);
		memcpy(merged, first, len);
		memcpy(merged + len, second + m.header_len, m.total - len);
		cut_again(merged, m.total, &h, packets, ip);
		free(merged);
	}
	free(first);
	free(second);
	free(kept);
}

static void cut(const uint8_t *packet, size_t len, const struct offload_hdr *h,
                const uint8_t *changes)
{
	uint8_t *whole = malloc(len), *p;
	struct ip_view v;
	struct offload_cut c;
	size_t n, sum = 0, count = 0;
	bool partial;

	memcpy(whole, packet, len);
	require(ip_parse(&v, whole, len) == 0);
	if (offload_cut_start(&c, whole, &v, h) < 0) {
		require(memcmp(whole, packet, len) == 0);
		goto out;
	}
	while (offload_cut_next(&c, &p, &n, &partial)) {
		require(p >= whole && p + n <= whole + len);
		require(ip_parse(&v, p, n) == 0 && v.total == n);
		require(!partial || offload_may_elide(p, &v));
		require(!c.gso_size || partial);
		sum += c.gso_size ? n - c.header_len : n;
		if (count++ < 2)
			merge_two(p, n, partial, changes);
	}
	require(sum == (c.gso_size ? len - c.header_len : len));
out:
	free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint8_t *packet = data + OFFLOAD_HDR_LEN + 3 * CHANGES;
	struct offload_hdr h;
	struct ip_view v;

	if (len < OFFLOAD_HDR_LEN + 3 * CHANGES)
		return 0;
	offload_hdr_parse(&h, data);
	len -= OFFLOAD_HDR_LEN + 3 * CHANGES;
	if (ip_parse(&v, packet, len) < 0)
		return 0;
	cut(packet, v.total, &h, data + OFFLOAD_HDR_LEN);
	merge_two(packet, v.total, true, data + OFFLOAD_HDR_LEN);
	return 0;
}
