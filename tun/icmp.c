/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tun/icmp.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "tun/bytes.h"
#include "tun/checksum.h"

#define V4_HEADER  20
#define V6_HEADER  40
#define HEADER     8 /* of ICMP; the quoted packet follows */
#define HOPS       64
#define REDIRECT6  137
#define PRECEDENCE 0xc0 /* internetwork control: RFC 1812, 4.3.2.5 */

bool icmp_is_error(const struct ip_view *ip)
{
	unsigned type = ip->sport >> 8;

	if (!ip->first)
		return false;
	switch (ip->proto) {
	case IPPROTO_ICMP:
		return type == ICMP_DEST_UNREACH || type == ICMP_SOURCE_QUENCH ||
		       type == ICMP_REDIRECT || type == ICMP_TIME_EXCEEDED ||
		       type == ICMP_PARAMETERPROB;
	case IPPROTO_ICMPV6: /* RFC 4443, 2.1 */
		return !(type & ICMP6_INFOMSG_MASK) || type == REDIRECT6;
	default:
		return false;
	}
}

/* A redirect of IPv6 names two addresses first (RFC 4861, 4.5) and quotes in an option: it is of no use
 * behind a gateway, and what stands there is no header.
 */
int icmp_quoted(struct ip_view *out, const uint8_t *packet, const struct ip_view *ip)
{
	size_t at = (size_t)ip->l4 + HEADER;

	if (at > ip->total || (ip->proto == IPPROTO_ICMPV6 && ip->sport >> 8 == REDIRECT6))
		return -EBADMSG;
	return ip_parse_quoted(out, packet + at, ip->total - at);
}

static size_t prohibited4(uint8_t *out, const uint8_t *packet, const struct ip_view *ip,
                          const struct addr *from)
{
	size_t quote = ip->total, total;

	if (quote > ICMP_ERROR4_MAX - V4_HEADER - HEADER)
		quote = ICMP_ERROR4_MAX - V4_HEADER - HEADER;
	total = V4_HEADER + HEADER + quote;
	memset(out, 0, V4_HEADER + HEADER);
	out[0] = 0x45;
	out[1] = PRECEDENCE;
	put_be16(out + 2, (uint16_t)total);
	out[6] = 0x40; /* not to be fragmented: so its id means nothing */
	out[8] = HOPS;
	out[9] = IPPROTO_ICMP;
	memcpy(out + 12, from->b, 4);
	memcpy(out + 16, ip->src.b, 4);
	put_be16(out + 10, (uint16_t)~checksum_fold(checksum_add(0, out, V4_HEADER)));
	out[V4_HEADER] = ICMP_DEST_UNREACH;
	out[V4_HEADER + 1] = ICMP_PKT_FILTERED;
	memcpy(out + V4_HEADER + HEADER, packet, quote);
	put_be16(out + V4_HEADER + 2,
	         (uint16_t)~checksum_fold(checksum_add(0, out + V4_HEADER, HEADER + quote)));
	return total;
}

static size_t prohibited6(uint8_t *out, const uint8_t *packet, const struct ip_view *ip,
                          const struct addr *from)
{
	struct ip_view own = {.version = 6, .src = *from, .dst = ip->src, .proto = IPPROTO_ICMPV6};
	size_t quote = ip->total, len;
	uint64_t sum;

	if (quote > ICMP_ERROR6_MAX - V6_HEADER - HEADER)
		quote = ICMP_ERROR6_MAX - V6_HEADER - HEADER;
	len = HEADER + quote;
	memset(out, 0, V6_HEADER + HEADER);
	out[0] = 0x60;
	put_be16(out + 4, (uint16_t)len);
	out[6] = IPPROTO_ICMPV6;
	out[7] = HOPS;
	memcpy(out + 8, from->b, 16);
	memcpy(out + 24, ip->src.b, 16);
	out[V6_HEADER] = ICMP6_DST_UNREACH;
	out[V6_HEADER + 1] = ICMP6_DST_UNREACH_ADMIN;
	memcpy(out + V6_HEADER + HEADER, packet, quote);
	sum = checksum_add(checksum_add_pseudo(0, &own, (uint16_t)len), out + V6_HEADER, len);
	put_be16(out + V6_HEADER + 2, (uint16_t)~checksum_fold(sum));
	return V6_HEADER + len;
}

size_t icmp_prohibited(uint8_t out[ICMP_ERROR6_MAX], const uint8_t *packet,
                       const struct ip_view *ip, const struct addr *from)
{
	if (!ip->first || icmp_is_error(ip) || from->family != ip->version)
		return 0;
	if (addr_is_special(&ip->src) || addr_is_special(from))
		return 0;
	return ip->version == 4 ? prohibited4(out, packet, ip, from)
	                        : prohibited6(out, packet, ip, from);
}
