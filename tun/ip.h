/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ip - addresses, prefixes, and the headers of a packet read with every length checked.
 *
 * Pure; packet bytes are read through accessors and never cast to a struct. Any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct addr {
	uint8_t family; /* 4, 6; 0: none */
	uint8_t b[16];  /* network order; IPv4 in the first four, the rest zero */
};

struct prefix {
	struct addr addr; /* host bits zero */
	uint8_t len;
};

struct endpoint {
	struct addr addr;
	uint16_t port; /* host order */
};

#define ADDR_TEXT_MAX     46
#define PREFIX_TEXT_MAX   50
#define ENDPOINT_TEXT_MAX 56 /* [v6]:port */

/* 0 or -EINVAL. No zone, no short forms or leading zeroes of IPv4, nothing after it. */
int addr_parse(struct addr *out, const char *text);
/* "none" if family is 0. */
void addr_format(const struct addr *a, char out[ADDR_TEXT_MAX]);
bool addr_equal(const struct addr *a, const struct addr *b);
/* Never an address of a workload: 0/8, 127/8, 169.254/16, 224/3 (multicast, reserved, broadcast);
 * ::/8 (unspecified, loopback, v4-mapped, translated), fe80::/9, ff00::/8; no family.
 */
bool addr_is_special(const struct addr *a);
int prefix_parse(struct prefix *out, const char *text); /* -EINVAL form, -ERANGE host bits set */
void prefix_format(const struct prefix *p, char out[PREFIX_TEXT_MAX]);
bool prefix_contains(const struct prefix *p, const struct addr *a);
bool prefix_within(const struct prefix *inner, const struct prefix *outer);
bool prefix_overlaps(const struct prefix *a, const struct prefix *b);
bool prefix_equal(const struct prefix *a, const struct prefix *b);
/* The n-th address of a prefix, n counted from its first; false if outside. */
bool prefix_host(const struct prefix *p, uint64_t n, struct addr *out);
/* ADDR, ADDR:PORT, [ADDR], [ADDR]:PORT, brackets for IPv6 alone; without a port the given one.
 * -EINVAL; a port of 0 is none.
 */
int endpoint_parse(struct endpoint *out, const char *text, uint16_t port);
void endpoint_format(const struct endpoint *e, char out[ENDPOINT_TEXT_MAX]);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);

struct ip_view {
	struct addr src, dst;
	uint8_t version; /* 4 or 6 */
	uint8_t proto;   /* of the upper layer, after extension headers; or what a fragment says */
	uint8_t tos;     /* DSCP and ECN */
	bool fragment;   /* any fragment, but not one that is the whole packet (RFC 6946) */
	bool first;      /* not a later fragment: l4 is there */
	uint16_t total;  /* length of the whole packet, header included */
	uint16_t l4;     /* offset of the upper layer's header */
	/* TCP, UDP, SCTP: host order. ICMP: type in sport's high byte, code low. Else 0. */
	uint16_t sport, dport;
	uint16_t echo; /* identifier of an ICMP echo request or reply */
	uint8_t flags; /* TCP's; SCTP: type of the first chunk, IP_NO_CHUNK if it is not there */
	/* Of a fragment: its first byte and the one past its last in the whole, and whose part it is. */
	uint16_t offset, end;
	uint32_t ident;
};

#define IP_NO_CHUNK 255

#define IP_EXTENSIONS_MAX 8

/* Reads the packet at p of which len bytes are there. Bytes beyond the header's own length are
 * left alone (a bundle). 0, or
 * -EBADMSG: malformed or cut; an IPv6 payload length of 0; more than 65535 bytes in all; hop-by-hop
 *   options that are not the first extension header; a whole packet without the whole header of TCP,
 *   UDP, SCTP or ICMP;
 * -ENOTSUP: source routes, routing headers, home address and jumbo options, more than
 *   IP_EXTENSIONS_MAX extension headers;
 * -ENODATA: a first fragment without the whole header of TCP, UDP, SCTP or ICMP; a fragment that is
 *   empty, at offset 8, not a multiple of 8 though more follow, that ends beyond 65535, or is one of
 *   a fragment (RFC 791, 1858, 7112, 8200).
 * Checksums are not looked at: the kernel behind the device does that.
 */
int ip_parse(struct ip_view *out, const uint8_t *p, size_t len);
/* The same for a packet that an ICMP error quotes, cut anywhere behind the first 8 bytes of its upper
 * layer's header: total is what it says, flags are 0.
 */
int ip_parse_quoted(struct ip_view *out, const uint8_t *p, size_t len);
