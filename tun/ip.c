/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A packet is judged by what its headers say, and the kernel behind the device judges it again:
 * where the two could read the same bytes differently, a policy could be lied to. So whatever is
 * odd is refused rather than interpreted: source routes, routing headers, addresses in options,
 * fragments too small to hold the header that the policy asks about.
 */
#include "tun/ip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <string.h>

#include "tun/bytes.h"

#define V4_HEADER       20
#define V6_HEADER       40
#define V4_OPTION_END   0
#define V4_OPTION_NOP   1
#define V4_OPTION_LSRR  131
#define V4_OPTION_SSRR  137
#define V4_OFFSET_MASK  0x1fff
#define V4_MORE         0x2000
#define V6_FRAGMENT_LEN 8
#define V6_OPTION_PAD1  0
#define V6_OPTION_JUMBO 0xc2 /* RFC 2675 */
#define V6_OPTION_HOME  0xc9 /* home address, RFC 6275: another source than the header's */
#define FRAGMENT_UNIT   8
#define PACKET_MAX      65535

#define PREFIX_SEPARATOR '/'
#define PORT_DIGITS_MAX  5
#define LEN_DIGITS_MAX   3

/* -- addresses -- */

static unsigned addr_bits(const struct addr *a)
{
	return a->family == 4 ? 32 : a->family == 6 ? 128 : 0;
}

int addr_parse(struct addr *out, const char *text)
{
	struct addr a = {0};

	/* inet_pton takes no zone, no short form and no leading zeroes of IPv4. */
	if (inet_pton(AF_INET, text, a.b) == 1)
		a.family = 4;
	else if (inet_pton(AF_INET6, text, a.b) == 1)
		a.family = 6;
	else
		return -EINVAL;
	*out = a;
	return 0;
}

void addr_format(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	int family = a->family == 4 ? AF_INET : AF_INET6;

	if (a->family == 0 || !inet_ntop(family, a->b, out, ADDR_TEXT_MAX))
		snprintf(out, ADDR_TEXT_MAX, "none");
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && memcmp(a->b, b->b, addr_bits(a) / 8) == 0;
}

static bool v4_is_special(const uint8_t *b)
{
	if (b[0] == 0 || b[0] == 127) /* this network, loopback: RFC 1122, 3.2.1.3 */
		return true;
	if (b[0] == 169 && b[1] == 254) /* link-local: RFC 3927 */
		return true;
	return b[0] >= 224; /* multicast, reserved, broadcast: RFC 5771, 1112, 919 */
}

static bool v6_is_special(const uint8_t *b)
{
	if (b[0] == 0) /* ::/8: unspecified, loopback, v4-mapped, v4-compatible, translated */
		return true;
	if (b[0] == 0xfe && b[1] >= 0x80) /* link-local, and the site-local of old: RFC 4291 */
		return true;
	return b[0] == 0xff; /* multicast */
}

bool addr_is_special(const struct addr *a)
{
	if (a->family == 4)
		return v4_is_special(a->b);
	return a->family != 6 || v6_is_special(a->b);
}

/* -- prefixes -- */

/* Decimal digits alone, no leading zero, at most max. */
static int digits_parse(uint32_t *out, const char *text, size_t digits_max, uint32_t max)
{
	size_t n = strlen(text);
	uint32_t v = 0;

	if (n == 0 || n > digits_max || (text[0] == '0' && n > 1))
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		v = v * 10 + (uint32_t)(text[i] - '0');
	}
	if (v > max)
		return -EINVAL;
	*out = v;
	return 0;
}

/* Are the first n bits equal? */
static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned n)
{
	unsigned whole = n / 8, rest = n % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

/* Are all bits from the n-th of the address on zero? */
static bool host_bits_zero(const struct addr *a, unsigned n)
{
	static const uint8_t zero[16];
	unsigned at = n / 8, end = addr_bits(a) / 8;

	if (n % 8 != 0) {
		if ((a->b[at] & (0xff >> n % 8)) != 0)
			return false;
		at++;
	}
	return memcmp(a->b + at, zero, end - at) == 0;
}

int prefix_parse(struct prefix *out, const char *text)
{
	char addr[ADDR_TEXT_MAX];
	const char *slash = strchr(text, PREFIX_SEPARATOR);
	struct prefix p;
	uint32_t len;

	if (!slash || (size_t)(slash - text) >= sizeof(addr))
		return -EINVAL;
	memcpy(addr, text, (size_t)(slash - text));
	addr[slash - text] = '\0';
	if (addr_parse(&p.addr, addr) < 0)
		return -EINVAL;
	if (digits_parse(&len, slash + 1, LEN_DIGITS_MAX, addr_bits(&p.addr)) < 0)
		return -EINVAL;
	p.len = (uint8_t)len;
	if (!host_bits_zero(&p.addr, p.len))
		return -ERANGE;
	*out = p;
	return 0;
}

void prefix_format(const struct prefix *p, char out[PREFIX_TEXT_MAX])
{
	char addr[ADDR_TEXT_MAX];

	addr_format(&p->addr, addr);
	snprintf(out, PREFIX_TEXT_MAX, "%s/%u", addr, (unsigned)p->len);
}

bool prefix_contains(const struct prefix *p, const struct addr *a)
{
	return p->addr.family == a->family && p->len <= addr_bits(a) &&
	       bits_equal(p->addr.b, a->b, p->len);
}

bool prefix_within(const struct prefix *inner, const struct prefix *outer)
{
	return inner->len >= outer->len && prefix_contains(outer, &inner->addr);
}

bool prefix_overlaps(const struct prefix *a, const struct prefix *b)
{
	return prefix_within(a, b) || prefix_within(b, a);
}

bool prefix_equal(const struct prefix *a, const struct prefix *b)
{
	return a->len == b->len && prefix_within(a, b);
}

bool prefix_host(const struct prefix *p, uint64_t n, struct addr *out)
{
	unsigned bits = addr_bits(&p->addr), host;
	struct addr a = p->addr;

	if (bits == 0 || p->len > bits)
		return false;
	host = bits - p->len;
	if (host < 64 && n >> host != 0)
		return false;
	for (unsigned at = bits / 8; n != 0; n >>= 8)
		a.b[--at] |= (uint8_t)n;
	*out = a;
	return true;
}

/* -- endpoints -- */

int endpoint_parse(struct endpoint *out, const char *text, uint16_t port)
{
	char host[ENDPOINT_TEXT_MAX];
	const char *at = text, *end, *colon;
	struct endpoint e;
	uint32_t number = port;
	size_t len;

	if (*text == '[') {
		at++;
		end = strchr(at, ']');
		if (!end || (end[1] != '\0' && end[1] != ':'))
			return -EINVAL;
		colon = end[1] == ':' ? end + 1 : NULL;
	} else {
		colon = strchr(at, ':');
		if (colon && strchr(colon + 1, ':'))
			colon = NULL; /* an IPv6 address alone */
		end = colon ? colon : at + strlen(at);
	}
	len = (size_t)(end - at);
	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, at, len);
	host[len] = '\0';
	if (addr_parse(&e.addr, host) < 0 || (*text == '[' && e.addr.family != 6))
		return -EINVAL;
	if (colon && (digits_parse(&number, colon + 1, PORT_DIGITS_MAX, 65535) < 0 || number == 0))
		return -EINVAL;
	e.port = (uint16_t)number;
	*out = e;
	return 0;
}

void endpoint_format(const struct endpoint *e, char out[ENDPOINT_TEXT_MAX])
{
	char addr[ADDR_TEXT_MAX];

	addr_format(&e->addr, addr);
	snprintf(out, ENDPOINT_TEXT_MAX, e->addr.family == 6 ? "[%s]:%u" : "%s:%u", addr,
	         (unsigned)e->port);
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && addr_equal(&a->addr, &b->addr);
}

/* -- packets -- */

static bool ip_is_icmp(uint8_t proto)
{
	return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

static bool ip_has_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

static bool icmp_is_echo(const struct ip_view *v)
{
	unsigned type = v->sport >> 8;

	if (v->proto == IPPROTO_ICMP)
		return type == ICMP_ECHO || type == ICMP_ECHOREPLY;
	return type == ICMP6_ECHO_REQUEST || type == ICMP6_ECHO_REPLY;
}

/* The upper layer's header, left bytes of which are there. whole: not a first fragment, so that
 * lengths that it names must be there too.
 */
static bool l4_read(struct ip_view *v, const uint8_t *p, size_t left, bool whole)
{
	switch (v->proto) {
	case IPPROTO_TCP:
		if (left < 20 || p[12] >> 4 < 5 || (size_t)(p[12] >> 4) * 4 > left)
			return false;
		v->flags = p[13];
		break;
	case IPPROTO_UDP:
		if (left < 8 || get_be16(p + 4) < 8 || (whole && get_be16(p + 4) > left))
			return false;
		break;
	case IPPROTO_SCTP:
		if (left < 12)
			return false;
		v->flags = left > 12 ? p[12] : IP_NO_CHUNK;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (left < 8)
			return false;
		v->sport = get_be16(p);
		if (icmp_is_echo(v))
			v->echo = get_be16(p + 4);
		return true;
	default:
		return true;
	}
	v->sport = get_be16(p);
	v->dport = get_be16(p + 2);
	return true;
}

/* Of a quoted packet 8 bytes are enough (RFC 792). */
static bool l4_read_quoted(struct ip_view *v, const uint8_t *p, size_t left)
{
	uint8_t header[20] = {0};

	if (left < 8)
		return !ip_has_ports(v->proto) && !ip_is_icmp(v->proto);
	memcpy(header, p, 8);
	if (v->proto == IPPROTO_TCP)
		header[12] = 5 << 4;
	return l4_read(v, header, sizeof(header), false);
}

static int l4_parse(struct ip_view *v, const uint8_t *p, size_t left, bool whole, bool quoted)
{
	if (quoted ? l4_read_quoted(v, p, left) : l4_read(v, p, left, whole))
		return 0;
	return v->fragment ? -ENODATA : -EBADMSG;
}

/* What RFC 791 and 8200 ask of fragments, and RFC 1858: offset 1 would overwrite TCP's flags; no
 * honest sender's first fragment is that small. offset in units of 8 bytes.
 */
static int fragment_check(size_t offset, bool more, size_t payload)
{
	if (payload == 0 || offset == 1)
		return -ENODATA;
	if (more && payload % FRAGMENT_UNIT != 0)
		return -ENODATA;
	if (offset * FRAGMENT_UNIT + payload > PACKET_MAX)
		return -ENODATA;
	return 0;
}

static int v4_options(const uint8_t *p, size_t len)
{
	size_t at = 0;

	while (at < len && p[at] != V4_OPTION_END) {
		if (p[at] == V4_OPTION_NOP) {
			at++;
			continue;
		}
		if (p[at] == V4_OPTION_LSRR || p[at] == V4_OPTION_SSRR)
			return -ENOTSUP;
		if (len - at < 2 || p[at + 1] < 2 || p[at + 1] > len - at)
			return -EBADMSG;
		at += p[at + 1];
	}
	return 0;
}

/* quoted: by an ICMP error, cut somewhere. */
static int v4_parse(struct ip_view *v, const uint8_t *p, size_t len, bool quoted)
{
	size_t header, payload;
	unsigned offset;
	bool more;
	int err;

	if (len < V4_HEADER)
		return -EBADMSG;
	header = (size_t)(p[0] & 15) * 4;
	v->total = get_be16(p + 2);
	if (header < V4_HEADER || v->total < header || (quoted ? header : v->total) > len)
		return -EBADMSG;
	err = v4_options(p + V4_HEADER, header - V4_HEADER);
	if (err)
		return err;
	payload = (v->total < len ? v->total : len) - header;
	offset = get_be16(p + 6) & V4_OFFSET_MASK;
	more = (get_be16(p + 6) & V4_MORE) != 0;
	v->tos = p[1];
	v->proto = p[9];
	v->fragment = offset != 0 || more;
	v->first = offset == 0;
	v->l4 = (uint16_t)header;
	v->src.family = v->dst.family = 4;
	memcpy(v->src.b, p + 12, 4);
	memcpy(v->dst.b, p + 16, 4);
	if (v->fragment) {
		err = fragment_check(offset, more, v->total - header);
		if (err)
			return err;
		v->offset = (uint16_t)(offset * FRAGMENT_UNIT);
		v->end = (uint16_t)(v->offset + v->total - header);
		v->ident = get_be16(p + 4);
	}
	return v->first ? l4_parse(v, p + header, payload, !more, quoted) : 0;
}

/* Hop-by-hop or destination options, RFC 8200, 4.2. */
static int v6_options(const uint8_t *p, size_t len)
{
	size_t at = 0;

	while (at < len) {
		if (p[at] == V6_OPTION_PAD1) {
			at++;
			continue;
		}
		if (p[at] == V6_OPTION_JUMBO || p[at] == V6_OPTION_HOME)
			return -ENOTSUP;
		if (len - at < 2 || (size_t)p[at + 1] + 2 > len - at)
			return -EBADMSG;
		at += (size_t)p[at + 1] + 2;
	}
	return 0;
}

/* The fragment header at p, which is there; behind it the packet has so much. */
static int v6_fragment(struct ip_view *v, const uint8_t *p, size_t payload, bool *more)
{
	unsigned offset = get_be16(p + 2) >> 3;

	*more = (p[3] & 1) != 0;
	if (offset == 0 && !*more)
		return 0; /* whole for all that: RFC 6946 */
	v->fragment = true;
	v->first = offset == 0;
	v->offset = (uint16_t)(offset * FRAGMENT_UNIT);
	v->end = (uint16_t)(v->offset + payload);
	v->ident = get_be32(p + 4);
	return fragment_check(offset, *more, payload);
}

static bool v6_is_extension(uint8_t proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_FRAGMENT ||
	       proto == IPPROTO_DSTOPTS || proto == IPPROTO_AH;
}

/* The extension header at p of which left bytes are there, of rest that the packet has: its length, or
 * as ip_parse.
 */
static int v6_extension(struct ip_view *v, const uint8_t *p, size_t left, size_t rest, bool *more)
{
	size_t len;
	int err;

	if (left < 8)
		return -EBADMSG;
	switch (v->proto) {
	case IPPROTO_FRAGMENT:
		err = v6_fragment(v, p, rest - V6_FRAGMENT_LEN, more);
		return err ? err : V6_FRAGMENT_LEN;
	case IPPROTO_AH: /* in units of 4, less 2: RFC 4302, 2.2. Fixed part 12, and padded to 8 */
		len = ((size_t)p[1] + 2) * 4;
		return len < 16 || len % 8 != 0 || len > left ? -EBADMSG : (int)len;
	case IPPROTO_HOPOPTS:
	case IPPROTO_DSTOPTS:
		len = ((size_t)p[1] + 1) * 8;
		if (len > left)
			return -EBADMSG;
		err = v6_options(p + 2, len - 2);
		return err ? err : (int)len;
	default: /* routing: RFC 5095 for type 0, and no other belongs in an overlay */
		return -ENOTSUP;
	}
}

static int v6_parse(struct ip_view *v, const uint8_t *p, size_t len, bool quoted)
{
	size_t at = V6_HEADER, total, there;
	bool more = false, fragmented = false;
	int n;

	if (len < V6_HEADER)
		return -EBADMSG;
	total = V6_HEADER + (size_t)get_be16(p + 4);
	if (total == V6_HEADER || (!quoted && total > len) || total > PACKET_MAX)
		return -EBADMSG;
	there = total < len ? total : len;
	v->total = (uint16_t)total;
	v->tos = (uint8_t)(get_be16(p) >> 4);
	v->proto = p[6];
	v->fragment = false;
	v->first = true;
	v->src.family = v->dst.family = 6;
	memcpy(v->src.b, p + 8, 16);
	memcpy(v->dst.b, p + 24, 16);
	for (int count = 0; v->first && v6_is_extension(v->proto); count++) {
		if (count == IP_EXTENSIONS_MAX)
			return -ENOTSUP;
		if (v->proto == IPPROTO_HOPOPTS && count > 0)
			return -EBADMSG;
		if (v->proto == IPPROTO_FRAGMENT && fragmented)
			return -ENODATA;
		fragmented |= v->proto == IPPROTO_FRAGMENT;
		n = v6_extension(v, p + at, there - at, total - at, &more);
		if (n < 0)
			return n;
		v->proto = p[at];
		at += (size_t)n;
	}
	v->l4 = (uint16_t)at;
	return v->first ? l4_parse(v, p + at, there - at, !more, quoted) : 0;
}

static int parse(struct ip_view *out, const uint8_t *p, size_t len, bool quoted)
{
	struct ip_view v = {0};
	int err;

	if (len == 0)
		return -EBADMSG;
	v.version = p[0] >> 4;
	if (v.version == 4)
		err = v4_parse(&v, p, len, quoted);
	else if (v.version == 6)
		err = v6_parse(&v, p, len, quoted);
	else
		err = -EBADMSG;
	if (err)
		return err;
	*out = v;
	return 0;
}

int ip_parse(struct ip_view *out, const uint8_t *p, size_t len)
{
	return parse(out, p, len, false);
}

int ip_parse_quoted(struct ip_view *out, const uint8_t *p, size_t len)
{
	return parse(out, p, len, true);
}
