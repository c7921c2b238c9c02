/* SPDX-License-Identifier: GPL-3.0-or-later */
/* hello - the head of a plaintext DTLS handshake record, read without keys (RFC 9147 sections 4, 5.2).
 *
 * Tells whom a datagram of a handshake is for where both ends may dial each other from the same ports:
 * a ClientHello is for a server, a ServerHello for a client. Pure; nothing read here is authentic.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define HELLO_CLIENT 1
#define HELLO_SERVER 2 /* a HelloRetryRequest too */
#define HELLO_RANDOM_LEN 32

struct hello {
	uint8_t type;          /* handshake message type */
	uint16_t message_seq;  /* 0: the first hello, without a cookie */
	uint32_t offset;       /* of the fragment in its message */
	const uint8_t *random; /* HELLO_RANDOM_LEN bytes of a hello's first fragment; else NULL */
};

/* 0; -EBADMSG no plaintext handshake record, or cut. */
int hello_parse(struct hello *out, const uint8_t *datagram, size_t len);
