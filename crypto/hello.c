/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/hello.h"

#include <errno.h>

enum {
	CONTENT_HANDSHAKE = 22,
	RECORD_HEADER = 13,    /* type, version (2), epoch (2), sequence (6), length (2) */
	HANDSHAKE_HEADER = 12, /* type, length (3), message_seq (2), offset (3), fragment length (3) */
	LEGACY_VERSION = 2,
};

static uint32_t be(const uint8_t *p, unsigned n)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

int hello_parse(struct hello *out, const uint8_t *d, size_t len)
{
	const uint8_t *h = d + RECORD_HEADER;
	uint32_t record, fragment;

	if (len < RECORD_HEADER + HANDSHAKE_HEADER || d[0] != CONTENT_HANDSHAKE || d[1] != 0xfe ||
	    be(d + 3, 2) != 0)
		return -EBADMSG;
	record = be(d + 11, 2);
	if (record < HANDSHAKE_HEADER || record > len - RECORD_HEADER)
		return -EBADMSG;
	fragment = be(h + 9, 3);
	if (fragment > record - HANDSHAKE_HEADER)
		return -EBADMSG;
	out->type = h[0];
	out->message_seq = (uint16_t)be(h + 4, 2);
	out->offset = be(h + 6, 3);
	out->random = NULL;
	if ((out->type == HELLO_CLIENT || out->type == HELLO_SERVER) && !out->offset &&
	    fragment >= LEGACY_VERSION + HELLO_RANDOM_LEN)
		out->random = h + HANDSHAKE_HEADER + LEGACY_VERSION;
	return 0;
}
