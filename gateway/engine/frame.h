/* SPDX-License-Identifier: GPL-3.0-or-later */
/* frame - what a record's plaintext holds (ALPN ginnel/1).
 *
 * The high nibble of the first byte says what it is:
 *   4, 6   one or more whole IP packets back to back, each delimited by its own length field
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

enum frame_kind { FRAME_PACKETS, FRAME_PING, FRAME_PONG };

struct frame {
	enum frame_kind kind;
	uint64_t stamp; /* ping, pong */
	unsigned n;     /* packets */
	struct {
		const uint8_t *data; /* into the plaintext */
		struct ip_view ip;
	} packets[FRAME_BUNDLE_MAX];
};

/* 0; -EBADMSG unknown kind, cut, bytes left over; -EPROTO an inner packet that ip_parse refuses. */
int frame_parse(struct frame *out, const uint8_t *plain, size_t len);

/* FRAME_PING_LEN bytes. */
void frame_format_ping(uint8_t *out, enum frame_kind kind, uint64_t stamp);
