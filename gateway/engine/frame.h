/* SPDX-License-Identifier: GPL-3.0-or-later */
/* frame - what a record's plaintext holds (ALPN ginnel/1).
 *
 * The high nibble of the first byte says what it is:
 *   4, 6   one or more whole IP packets back to back, each delimited by its own length field
 *   12, 14 the same, of an IPv4 or IPv6 packet of TCP or UDP whose checksum is elided: its field
 *          means nothing, the record's tag stands in for it (the version is 4 or 6, the first bit
 *          is the mark). Each packet of a bundle has its own mark.
 *   0      a control frame; the low nibble is its type:
 *            1 ping   01 | stamp (8 bytes, opaque to the receiver)
 *            2 pong   02 | stamp of the ping it answers
 *   else   refused
 * A bundle is parsed whole, then delivered whole or not at all. Pure.
 */
#pragma once
#include "tun/ip.h"

#define FRAME_BUNDLE_MAX 64 /* packets in a record */
#define FRAME_PING_LEN   9
#define FRAME_ELIDED     0x80 /* in a packet's first byte */

enum frame_kind { FRAME_PACKETS, FRAME_PING, FRAME_PONG };

struct frame {
	enum frame_kind kind;
	uint64_t stamp; /* ping, pong */
	unsigned n;     /* packets */
	struct {
		uint8_t *data; /* into the plaintext, without the mark */
		bool elided;
		struct ip_view ip;
	} packets[FRAME_BUNDLE_MAX];
};

/* Takes the marks off. 0; -EBADMSG unknown kind, cut, bytes left over; -EPROTO an inner packet that is
 * malformed, or whose checksum cannot be elided; -ENOTSUP and -ENODATA as ip_parse.
 */
int frame_parse(struct frame *out, uint8_t *plain, size_t len);

/* FRAME_PING_LEN bytes. */
void frame_format_ping(uint8_t *out, enum frame_kind kind, uint64_t stamp);
