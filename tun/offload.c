/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Cutting: the first segment's header is kept aside; each one's is made from it and written over
 * what lies before its payload, which is the end of the segment before. Nothing else moves.
 *
 * Merging: a packet joins only if cutting the result by the kernel's rules would give it back, so
 * that a machine behind ours that gets the pieces sees what was sent.
 */
#include "tun/offload.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "tun/bytes.h"
#include "tun/checksum.h"

#define PACKET_MAX 65535

/* Offsets in the IPv4 header */
#define V4_HEADER 20
#define V4_LEN    2
#define V4_ID     4
#define V4_FRAG   6
#define V4_SUM    10
#define V4_DF     0x40

#define V6_HEADER 40
#define V6_LEN    4

/* Offsets in the header of TCP and UDP */
#define TCP_HEADER 20
#define TCP_SEQ    4
#define TCP_ACKED  8
#define TCP_FLAGS  13
#define TCP_SUM    16
#define TCP_URGENT 18
#define UDP_HEADER 8
#define UDP_LEN    4
#define UDP_SUM    6

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20
#define TCP_ECE 0x40
#define TCP_CWR 0x80

#define PORT_VXLAN       4789
#define PORT_VXLAN_LINUX 8472 /* from before it had a number */
#define PORT_GENEVE      6081

_Static_assert(sizeof(struct offload_hdr) == OFFLOAD_HDR_LEN, "layout of the vnet header");

void offload_hdr_parse(struct offload_hdr *out, const uint8_t p[OFFLOAD_HDR_LEN])
{
	memcpy(out, p, OFFLOAD_HDR_LEN);
}

void offload_hdr_format(const struct offload_hdr *h, uint8_t p[OFFLOAD_HDR_LEN])
{
	memcpy(p, h, OFFLOAD_HDR_LEN);
}

/* -- checksums -- */

static uint16_t sum_offset(uint8_t proto)
{
	return proto == IPPROTO_TCP ? TCP_SUM : UDP_SUM;
}

bool offload_may_elide(const uint8_t *packet, const struct ip_view *ip)
{
	if (ip->fragment || (ip->version == 6 && ip->l4 != V6_HEADER))
		return false;
	if (ip->proto == IPPROTO_UDP)
		return get_be16(packet + ip->l4 + UDP_LEN) == ip->total - ip->l4;
	return ip->proto == IPPROTO_TCP;
}

/* The sum of what is there from p on, as it goes into a header. 0 would say to UDP that there is
 * none; to the others it is the same number.
 */
static uint16_t finished(uint64_t sum, const uint8_t *p, size_t len)
{
	uint16_t folded = (uint16_t)~checksum_fold(checksum_add(sum, p, len));

	return folded ? folded : 0xffff;
}

void offload_finish(uint8_t *packet, const struct ip_view *ip)
{
	uint8_t *l4 = packet + ip->l4;
	uint16_t len = (uint16_t)(ip->total - ip->l4);

	put_be16(l4 + sum_offset(ip->proto), 0);
	put_be16(l4 + sum_offset(ip->proto), finished(checksum_add_pseudo(0, ip, len), l4, len));
}

/* How much of the upper header ip_parse has read and a sum written there would change. */
static size_t header_read(const struct ip_view *ip, size_t *sum_at)
{
	switch (ip->proto) {
	case IPPROTO_TCP:
		*sum_at = TCP_SUM;
		return TCP_HEADER;
	case IPPROTO_UDP:
		*sum_at = UDP_SUM;
		return UDP_HEADER;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		*sum_at = 2;
		return 8;
	default: /* nothing is known of it; SCTP's is not this kind of sum, and its ports stay */
		*sum_at = SIZE_MAX;
		return ip->proto == IPPROTO_SCTP ? 12 : 0;
	}
}

/* Makes a sum that the kernel left to us where we cannot leave it to the other end. */
static int sum_here(uint8_t *packet, const struct ip_view *ip, const struct offload_hdr *h)
{
	size_t at = (size_t)h->csum_start + h->csum_offset, known, sum_at;

	if (ip->fragment || h->csum_start < ip->l4 || at + 2 > ip->total)
		return -EBADMSG;
	known = header_read(ip, &sum_at);
	if (at < ip->l4 + known && (h->csum_start != ip->l4 || h->csum_offset != sum_at))
		return -EBADMSG;
	put_be16(packet + at,
	         finished(0, packet + h->csum_start, (size_t)ip->total - h->csum_start));
	return 0;
}

/* -- the way out -- */

static bool place_is_implied(const struct offload_hdr *h, const uint8_t *packet,
                             const struct ip_view *ip)
{
	return offload_may_elide(packet, ip) && h->csum_start == ip->l4 &&
	       h->csum_offset == sum_offset(ip->proto);
}

/* Length of all headers of one that offload_may_elide. */
static size_t header_len(const uint8_t *packet, const struct ip_view *ip)
{
	if (ip->proto == IPPROTO_UDP)
		return (size_t)ip->l4 + UDP_HEADER;
	return (size_t)ip->l4 + (size_t)(packet[ip->l4 + 12] >> 4) * 4;
}

static bool gso_fits(uint8_t type, const uint8_t *packet, const struct ip_view *ip)
{
	uint8_t tcp = ip->version == 4 ? OFFLOAD_GSO_TCP4 : OFFLOAD_GSO_TCP6;

	if (type == OFFLOAD_GSO_UDP)
		return ip->proto == IPPROTO_UDP;
	if ((type & ~OFFLOAD_GSO_ECN) != tcp || ip->proto != IPPROTO_TCP)
		return false;
	return (packet[ip->l4 + TCP_FLAGS] & (TCP_SYN | TCP_RST | TCP_URG)) == 0;
}

static int gso_start(struct offload_cut *c, const struct ip_view *ip, const struct offload_hdr *h)
{
	const uint8_t *p = c->packet;

	if (!(h->flags & OFFLOAD_NEEDS_CSUM) || !place_is_implied(h, p, ip))
		return -EBADMSG;
	if (!gso_fits(h->gso_type, p, ip) || h->hdr_len > c->len)
		return -EBADMSG;
	c->header_len = header_len(p, ip);
	if (h->gso_size == 0 || c->header_len >= c->len)
		return -EBADMSG;
	memcpy(c->header, p, c->header_len);
	c->at = c->header_len;
	c->l4 = ip->l4;
	c->gso_size = h->gso_size;
	c->proto = ip->proto;
	c->v4 = ip->version == 4;
	c->partial = true;
	put_be16(c->header + c->l4 + sum_offset(c->proto), 0);
	if (c->v4) {
		c->id = get_be16(p + V4_ID);
		put_be16(c->header + V4_LEN, 0);
		put_be16(c->header + V4_ID, 0);
		put_be16(c->header + V4_SUM, 0);
		c->sum = checksum_add(0, c->header, c->l4);
	}
	if (c->proto == IPPROTO_TCP) {
		c->seq = get_be32(p + c->l4 + TCP_SEQ);
		c->flags = p[c->l4 + TCP_FLAGS];
	}
	return 0;
}

int offload_cut_start(struct offload_cut *c, uint8_t *packet, const struct ip_view *ip,
                      const struct offload_hdr *h)
{
	if (h->flags & ~(OFFLOAD_NEEDS_CSUM | OFFLOAD_DATA_VALID))
		return -EBADMSG;
	c->packet = packet;
	c->len = ip->total;
	if (h->gso_type != OFFLOAD_GSO_NONE)
		return gso_start(c, ip, h);
	c->at = 0;
	c->gso_size = 0;
	c->partial = (h->flags & OFFLOAD_NEEDS_CSUM) != 0;
	if (!c->partial || place_is_implied(h, packet, ip))
		return 0;
	c->partial = false;
	return sum_here(packet, ip, h);
}

static void ip_complete(const struct offload_cut *c, uint8_t *p, size_t len)
{
	uint64_t sum;

	if (!c->v4) {
		put_be16(p + V6_LEN, (uint16_t)(len - V6_HEADER));
		return;
	}
	put_be16(p + V4_LEN, (uint16_t)len);
	put_be16(p + V4_ID, c->id);
	sum = checksum_add16(checksum_add16(c->sum, (uint16_t)len), c->id);
	put_be16(p + V4_SUM, (uint16_t)~checksum_fold(sum));
}

static void tcp_complete(const struct offload_cut *c, uint8_t *tcp, bool last)
{
	uint8_t flags = c->flags;

	if (!last)
		flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (c->at != c->header_len)
		flags &= (uint8_t)~TCP_CWR;
	put_be32(tcp + TCP_SEQ, c->seq);
	tcp[TCP_FLAGS] = flags;
}

bool offload_cut_next(struct offload_cut *c, uint8_t **data, size_t *len, bool *partial)
{
	size_t payload = c->len - c->at;
	uint8_t *p;

	if (payload == 0)
		return false;
	*partial = c->partial;
	if (c->gso_size == 0) {
		*data = c->packet;
		*len = c->len;
		c->at = c->len;
		return true;
	}
	if (payload > c->gso_size)
		payload = c->gso_size;
	p = c->packet + c->at - c->header_len;
	memcpy(p, c->header, c->header_len);
	ip_complete(c, p, c->header_len + payload);
	if (c->proto == IPPROTO_TCP)
		tcp_complete(c, p + c->l4, c->at + payload == c->len);
	else
		put_be16(p + c->l4 + UDP_LEN, (uint16_t)(UDP_HEADER + payload));
	c->at += payload;
	c->id++;
	c->seq += (uint32_t)payload;
	*data = p;
	*len = c->header_len + payload;
	return true;
}

/* -- the way in -- */

static bool is_tunnel_port(uint16_t port)
{
	return port == PORT_VXLAN || port == PORT_VXLAN_LINUX || port == PORT_GENEVE;
}

/* Can neighbours join this one, if it is partial? */
static bool may_grow(const uint8_t *packet, const struct ip_view *ip)
{
	if (header_len(packet, ip) >= ip->total || (ip->version == 4 && ip->l4 != V4_HEADER))
		return false;
	if (ip->proto == IPPROTO_UDP)
		return !is_tunnel_port(ip->sport) && !is_tunnel_port(ip->dport);
	return (packet[ip->l4 + TCP_FLAGS] & ~(TCP_ECE | TCP_CWR)) == TCP_ACK;
}

void offload_merge_start(struct offload_merge *m, uint8_t *packet, const struct ip_view *ip,
                         bool partial)
{
	*m = (struct offload_merge){
		.header = packet,
		.total = ip->total,
		.segments = 1,
		.ip = *ip,
	};
	m->partial = partial && offload_may_elide(packet, ip);
	m->closed = !m->partial || !may_grow(packet, ip);
	if (m->closed)
		return;
	m->header_len = header_len(packet, ip);
	m->gso_size = (uint16_t)(m->total - m->header_len);
	if (ip->version == 4)
		m->next_id = (uint16_t)(get_be16(packet + V4_ID) + 1);
	if (ip->proto == IPPROTO_TCP)
		m->next_seq = get_be32(packet + ip->l4 + TCP_SEQ) + m->gso_size;
}

static bool same(const uint8_t *p, const uint8_t *q, size_t from, size_t to)
{
	return memcmp(p + from, q + from, to - from) == 0;
}

/* Both have a header of that version and no more than its fixed part. */
static bool same_ip(const struct offload_merge *m, const uint8_t *q)
{
	const uint8_t *p = m->header;

	if (m->ip.version == 6) /* all but the length */
		return same(p, q, 0, V6_LEN) && same(p, q, V6_LEN + 2, V6_HEADER);
	if (!same(p, q, 0, V4_LEN) || !same(p, q, V4_FRAG, V4_SUM) ||
	    !same(p, q, V4_SUM + 2, V4_HEADER))
		return false;
	return (q[V4_FRAG] & V4_DF) || get_be16(q + V4_ID) == m->next_id;
}

/* The upper headers, from their first byte. len: TCP's with its options, the same in both. */
static bool same_tcp(const struct offload_merge *m, const uint8_t *p, const uint8_t *q, size_t len)
{
	uint8_t flags = q[TCP_FLAGS] & (uint8_t) ~(TCP_FIN | TCP_PSH);

	if (get_be32(q + TCP_SEQ) != m->next_seq || flags != (p[TCP_FLAGS] & ~TCP_CWR))
		return false;
	return same(p, q, 0, TCP_SEQ) && same(p, q, TCP_ACKED, TCP_FLAGS) &&
	       same(p, q, TCP_FLAGS + 1, TCP_SUM) && same(p, q, TCP_URGENT, len);
}

static bool continues(const struct offload_merge *m, const uint8_t *packet,
                      const struct ip_view *ip)
{
	const uint8_t *p = m->header + m->ip.l4, *q = packet + ip->l4;
	size_t len = m->header_len - m->ip.l4;

	if (ip->version != m->ip.version || ip->proto != m->ip.proto || ip->l4 != m->ip.l4)
		return false;
	if (!offload_may_elide(packet, ip))
		return false;
	/* So there are as many bytes as the first has of headers, and TCP's length is compared. */
	if (ip->total <= m->header_len || ip->total - m->header_len > m->gso_size)
		return false;
	if (!same_ip(m, packet))
		return false;
	return ip->proto == IPPROTO_UDP ? same(p, q, 0, UDP_LEN) : same_tcp(m, p, q, len);
}

bool offload_merge_add(struct offload_merge *m, const uint8_t *packet, const struct ip_view *ip,
                       bool partial)
{
	bool udp = m->ip.proto == IPPROTO_UDP;
	unsigned max = udp ? OFFLOAD_UDP_SEGMENTS_MAX : OFFLOAD_TCP_SEGMENTS_MAX;
	size_t payload;

	if (m->closed || !partial || !continues(m, packet, ip))
		return false;
	payload = ip->total - m->header_len;
	if (m->total + payload > PACKET_MAX)
		return false;
	m->total += payload;
	m->segments++;
	m->next_id++;
	m->next_seq += (uint32_t)payload;
	if (!udp)
		m->flags = packet[ip->l4 + TCP_FLAGS] & (TCP_FIN | TCP_PSH);
	m->closed = payload < m->gso_size || m->flags != 0 || m->segments == max;
	return true;
}

/* Lengths, and flags, of one that others have joined. */
static void merged_complete(const struct offload_merge *m)
{
	uint8_t *p = m->header, *l4 = p + m->ip.l4;

	if (m->ip.version == 6) {
		put_be16(p + V6_LEN, (uint16_t)(m->total - V6_HEADER));
	} else {
		put_be16(p + V4_LEN, (uint16_t)m->total);
		put_be16(p + V4_SUM, 0);
		put_be16(p + V4_SUM, (uint16_t)~checksum_fold(checksum_add(0, p, V4_HEADER)));
	}
	if (m->ip.proto == IPPROTO_UDP)
		put_be16(l4 + UDP_LEN, (uint16_t)(m->total - m->ip.l4));
	else
		l4[TCP_FLAGS] |= m->flags;
}

static uint8_t gso_type(const struct offload_merge *m)
{
	uint8_t tcp = m->ip.version == 4 ? OFFLOAD_GSO_TCP4 : OFFLOAD_GSO_TCP6;

	if (m->ip.proto == IPPROTO_UDP)
		return OFFLOAD_GSO_UDP;
	if (m->header[m->ip.l4 + TCP_FLAGS] & TCP_CWR)
		tcp |= OFFLOAD_GSO_ECN;
	return tcp;
}

void offload_merge_end(struct offload_merge *m, struct offload_hdr *out)
{
	uint16_t offset = sum_offset(m->ip.proto);
	uint64_t sum;

	memset(out, 0, sizeof(*out));
	m->closed = true;
	if (!m->partial)
		return;
	out->flags = OFFLOAD_NEEDS_CSUM;
	out->csum_start = m->ip.l4;
	out->csum_offset = offset;
	sum = checksum_add_pseudo(0, &m->ip, (uint16_t)(m->total - m->ip.l4));
	put_be16(m->header + m->ip.l4 + offset, checksum_fold(sum));
	if (m->segments == 1)
		return;
	merged_complete(m);
	out->gso_type = gso_type(m);
	out->gso_size = m->gso_size;
	out->hdr_len = (uint16_t)m->header_len;
}
