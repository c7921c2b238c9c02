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

#define ADDR_TEXT_MAX 46
#define PREFIX_TEXT_MAX 50
#define ENDPOINT_TEXT_MAX 56 /* [v6]:port */

/* 0 or -EINVAL. No zone, no leading zeroes, nothing after it. */
int addr_parse(struct addr *out, const char *text);
void addr_format(const struct addr *a, char out[ADDR_TEXT_MAX]);
bool addr_equal(const struct addr *a, const struct addr *b);
/* Unspecified, loopback, multicast, link-local, broadcast, v4-mapped: never an address of a workload. */
bool addr_is_special(const struct addr *a);
int prefix_parse(struct prefix *out, const char *text); /* -EINVAL form, -ERANGE host bits set */
void prefix_format(const struct prefix *p, char out[PREFIX_TEXT_MAX]);
bool prefix_contains(const struct prefix *p, const struct addr *a);
bool prefix_within(const struct prefix *inner, const struct prefix *outer);
bool prefix_overlaps(const struct prefix *a, const struct prefix *b);
bool prefix_equal(const struct prefix *a, const struct prefix *b);
/* The n-th address of a prefix, n counted from its first; false if outside. */
bool prefix_host(const struct prefix *p, uint64_t n, struct addr *out);
/* ADDR, ADDR:PORT, [ADDR]:PORT; without a port the given one. -EINVAL. */
int endpoint_parse(struct endpoint *out, const char *text, uint16_t port);
void endpoint_format(const struct endpoint *e, char out[ENDPOINT_TEXT_MAX]);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);

struct ip_view {
	struct addr src, dst;
	uint8_t version;    /* 4 or 6 */
	uint8_t proto;      /* of the upper layer, after extension headers */
	uint8_t tos;        /* DSCP and ECN */
	bool fragment;      /* any fragment */
	bool first;         /* not a later fragment: l4 is there */
	uint16_t total;     /* length of the whole packet, header included */
	uint16_t l4;        /* offset of the upper layer's header */
	uint16_t sport, dport; /* TCP, UDP, SCTP: host order; ICMP: type in sport's high byte, code low; else 0 */
};

#define IP_EXTENSIONS_MAX 8

/* Reads the packet at p of which len bytes are there. Bytes beyond the header's own length are
 * left alone (a bundle). 0; -EBADMSG malformed, cut, v4 options with source routes, routing header,
 * more than IP_EXTENSIONS_MAX extension headers, a first fragment without its whole L4 header
 * (RFC 791, 8200, 7112).
 */
int ip_parse(struct ip_view *out, const uint8_t *p, size_t len);
