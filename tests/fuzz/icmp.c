/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The error that is made about a packet is one, and quotes just that packet; and what any error quotes
 * is read within its bounds. */
#include "tun/icmp.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "tun/checksum.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void same_flow(const struct ip_view *q, const struct ip_view *ip)
{
	require(q->version == ip->version && q->proto == ip->proto && q->first == ip->first);
	require(addr_equal(&q->src, &ip->src) && addr_equal(&q->dst, &ip->dst));
	require(q->sport == ip->sport && q->dport == ip->dport && q->echo == ip->echo);
	require(q->total == ip->total);
}

static void made(const uint8_t *packet, const struct ip_view *ip)
{
	uint8_t out[ICMP_ERROR6_MAX];
	struct ip_view v, q;
	uint64_t sum = 0;
	size_t n = icmp_prohibited(out, packet, ip, &ip->dst);

	if (!n) {
		require(!ip->first || icmp_is_error(ip) || addr_is_special(&ip->src) ||
		        addr_is_special(&ip->dst));
		return;
	}
	require(n <= sizeof(out) && ip_parse(&v, out, n) == 0 && v.total == n);
	require(icmp_is_error(&v) && addr_equal(&v.dst, &ip->src) && addr_equal(&v.src, &ip->dst));
	if (v.version == 6)
		sum = checksum_add_pseudo(0, &v, (uint16_t)(n - v.l4));
	require(checksum_fold(checksum_add(sum, out + v.l4, n - v.l4)) == 0xffff);
	/* A chain of extension headers longer than what fits has its ports beyond. */
	if (icmp_quoted(&q, out, &v) == 0)
		same_flow(&q, ip);
	else
		require(ip->version == 6 && ip->l4 + 8 > ICMP_ERROR6_MAX - 48);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ip_view ip, q;
	uint8_t *exact;

	if (ip_parse(&ip, data, len) < 0)
		return 0;
	exact = malloc(ip.total);
	memcpy(exact, data, ip.total);
	made(exact, &ip);
	if (icmp_is_error(&ip) && icmp_quoted(&q, exact, &ip) == 0)
		require(q.first || (q.fragment && q.sport == 0 && q.dport == 0));
	free(exact);
	return 0;
}
