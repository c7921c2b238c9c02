/* SPDX-License-Identifier: GPL-3.0-or-later */
/* datagram - the shape of DTLS 1.3 records, read without keys (RFC 9147 section 4).
 *
 * What has not the right shape is noise and need not trouble anybody. Pure; any thread.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define DATAGRAM_CID_LEN 4

/* DTLSPlaintext: type, version, epoch 0, number, length. */
#define DATAGRAM_PLAIN_HEADER 13
#define DATAGRAM_ALERT        21
#define DATAGRAM_HANDSHAKE    22
#define DATAGRAM_ACK          26
#define DATAGRAM_CLIENT_HELLO 1
#define DATAGRAM_SERVER_HELLO 2
#define DATAGRAM_RANDOM_LEN   32

/* The unified header's first byte: 0 0 1 C S L E E. */
#define DATAGRAM_UNIFIED_MASK   0xe0
#define DATAGRAM_UNIFIED        0x20
#define DATAGRAM_UNIFIED_CID    0x10
#define DATAGRAM_UNIFIED_SEQ16  0x08
#define DATAGRAM_UNIFIED_LENGTH 0x04
#define DATAGRAM_UNIFIED_EPOCH  0x03

/* The CID of a protected record of DATAGRAM_CID_LEN bytes, or NULL. */
const uint8_t *datagram_cid(const uint8_t *d, size_t len);
/* The length of the whole plaintext record at d, 0 if there is none. */
size_t datagram_plain(const uint8_t *d, size_t len);
/* The length of the whole protected record at d that carries cid, 0 if there is none. */
size_t datagram_protected(const uint8_t cid[DATAGRAM_CID_LEN], const uint8_t *d, size_t len);
/* The one handshake message, or part of one, in a plaintext record of len bytes: its type and
 * message_seq, or -1.
 */
int datagram_message(const uint8_t *record, size_t len, uint16_t *seq);
/* The client's random (DATAGRAM_RANDOM_LEN bytes) of a datagram that begins with the first part of
 * a ClientHello, or NULL.
 */
const uint8_t *datagram_hello(const uint8_t *d, size_t len);
