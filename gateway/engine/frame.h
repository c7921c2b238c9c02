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
 *            3 lists  03 | number (8) | says (8) | id (8) | length (4) | heard (8): the revocation
 *                     lists held, and what the other was heard to say
 *            4 ask    04 | id (8) | offset (4): parts of that file from there on
 *            5 part   05 | id (8) | offset (4) | bytes
 *   else   refused
 * A bundle is parsed whole, then delivered whole or not at all. Pure.
 */
#pragma once
#include "gateway/engine/lists.h"
#include "tun/ip.h"

#define FRAME_BUNDLE_MAX 64 /* packets in a record */
#define FRAME_PING_LEN   9
#define FRAME_LISTS_LEN  37
#define FRAME_ASK_LEN    13
#define FRAME_PART_HEAD  13
#define FRAME_ELIDED     0x80 /* in a packet's first byte */

enum frame_kind {
	FRAME_PACKETS,
	FRAME_PING,
	FRAME_PONG,
	FRAME_LISTS,
	FRAME_LISTS_ASK,
	FRAME_LISTS_PART
};

struct frame {
	enum frame_kind kind;
	uint64_t stamp;            /* ping, pong */
	struct lists_head lists;   /* lists; of ask and part the id alone */
	uint8_t heard[LISTS_HASH]; /* lists */
	uint32_t offset;           /* ask, part: within LISTS_MAX */
	const uint8_t *part;       /* into the plaintext */
	size_t part_len;
	unsigned n; /* packets */
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
/* FRAME_LISTS_LEN, FRAME_ASK_LEN bytes; of a part the FRAME_PART_HEAD before its bytes. */
void frame_format_lists(uint8_t *out, const struct lists_head *h, const uint8_t heard[LISTS_HASH]);
void frame_format_ask(uint8_t *out, const uint8_t id[LISTS_HASH], uint32_t offset);
void frame_format_part(uint8_t *out, const uint8_t id[LISTS_HASH], uint32_t offset);
