/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/datagram.h"

#include <string.h>

#define HANDSHAKE_HEADER 12
#define RANDOM_AT        (DATAGRAM_PLAIN_HEADER + HANDSHAKE_HEADER + 2)
#define CIPHERTEXT_MIN   16 /* RFC 9147 section 4.2.3 */

static uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get_be24(const uint8_t *p)
{
	return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

const uint8_t *datagram_cid(const uint8_t *d, size_t len)
{
	const uint8_t mask = DATAGRAM_UNIFIED_MASK | DATAGRAM_UNIFIED_CID;

	if (len < 1 + DATAGRAM_CID_LEN + 1)
		return NULL;
	return (d[0] & mask) == (DATAGRAM_UNIFIED | DATAGRAM_UNIFIED_CID) ? d + 1 : NULL;
}

size_t datagram_plain(const uint8_t *d, size_t len)
{
	size_t n;

	if (len < DATAGRAM_PLAIN_HEADER || d[1] != 0xfe || (d[2] != 0xfd && d[2] != 0xff))
		return 0;
	if (get_be16(d + 3) != 0) /* epoch */
		return 0;
	n = get_be16(d + 11);
	if (!n || n > len - DATAGRAM_PLAIN_HEADER)
		return 0;
	return DATAGRAM_PLAIN_HEADER + n;
}

size_t datagram_protected(const uint8_t cid[DATAGRAM_CID_LEN], const uint8_t *d, size_t len)
{
	const uint8_t *got = datagram_cid(d, len);
	size_t header, n;

	if (!got || memcmp(got, cid, DATAGRAM_CID_LEN) != 0)
		return 0;
	header = 1 + DATAGRAM_CID_LEN + (d[0] & DATAGRAM_UNIFIED_SEQ16 ? 2u : 1u);
	if (!(d[0] & DATAGRAM_UNIFIED_LENGTH))
		return len > header + CIPHERTEXT_MIN ? len : 0;
	if (len < header + 2)
		return 0;
	n = get_be16(d + header);
	header += 2;
	return n >= CIPHERTEXT_MIN && n <= len - header ? header + n : 0;
}

int datagram_message(const uint8_t *record, size_t len, uint16_t *seq)
{
	const uint8_t *h = record + DATAGRAM_PLAIN_HEADER;
	uint32_t total, offset, part;

	if (record[0] != DATAGRAM_HANDSHAKE || len < DATAGRAM_PLAIN_HEADER + HANDSHAKE_HEADER)
		return -1;
	total = get_be24(h + 1);
	*seq = get_be16(h + 4);
	offset = get_be24(h + 6);
	part = get_be24(h + 9);
	if (offset > total || part > total - offset ||
	    part != len - DATAGRAM_PLAIN_HEADER - HANDSHAKE_HEADER)
		return -1;
	return h[0];
}

const uint8_t *datagram_hello(const uint8_t *d, size_t len)
{
	size_t n = datagram_plain(d, len);
	uint16_t seq;

	if (n < RANDOM_AT + DATAGRAM_RANDOM_LEN)
		return NULL;
	if (datagram_message(d, n, &seq) != DATAGRAM_CLIENT_HELLO)
		return NULL;
	if (get_be24(d + DATAGRAM_PLAIN_HEADER + 6) != 0 || seq > 1)
		return NULL;
	return d + RANDOM_AT;
}
