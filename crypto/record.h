/* SPDX-License-Identifier: GPL-3.0-or-later */
/* record - DTLS 1.3 records (RFC 9147 section 4) sealed and opened with keys of one epoch.
 *
 * A sealer is everything that one direction of one epoch is made of: key, IV, record number key and
 * the next number. It is replaced whole or not at all, so that no key ever meets the counter of
 * another. An opener has the replay window and the count of forgeries instead.
 * Owned by the session they belong to; sealing and opening neither lock nor allocate.
 */
#pragma once
#include <sys/types.h>

#include "crypto/aead.h"
#include "crypto/datagram.h"
#include "crypto/replay.h"

#define RECORD_CID_LEN  DATAGRAM_CID_LEN
#define RECORD_HEADER   (1 + RECORD_CID_LEN + 2)       /* as we send it */
#define RECORD_OVERHEAD (RECORD_HEADER + 1 + AEAD_TAG) /* 24 */
#define RECORD_SECRET   32                             /* of SHA-256 */
#define RECORD_RESERVE  4096ULL /* of the records a key may seal, for wolfSSL: never data */

#define RECORD_GAP_AFTER 8    /* refusals in a row, then further numbers are tried */
#define RECORD_GAP_STEPS 16   /* of 2^16 each: gaps of a million records */
#define RECORD_GAP_TRIES 1024 /* a second, forgeries or not */

/* RFC 9147 section 4.5.3, for AES-GCM and ChaCha20-Poly1305 alike: tags that were wrong. */
#define RECORD_FORGED_SOFT (1ULL << 35)
#define RECORD_FORGED_HARD (1ULL << 36)

enum record_type {
	RECORD_FOREIGN = 0, /* not opened: of an epoch that is wolfSSL's alone */
	RECORD_ALERT = 21,
	RECORD_HANDSHAKE = 22,
	RECORD_DATA = 23,
	RECORD_ACK = 26,
};

struct record_key {
	const struct aead *aead;
	void *state; /* the aead's */
	uint64_t epoch;
	uint8_t iv[AEAD_NONCE];
	uint8_t key[AEAD_KEY_MAX], sn[AEAD_KEY_MAX]; /* until record_keys_forget */
	uint8_t next_secret[RECORD_SECRET];          /* after a KeyUpdate */
};

struct record_sealer {
	struct record_key key;
	uint64_t next;  /* number: below it all are spent, sent or not */
	uint64_t limit; /* data stops here */
	uint8_t cid[RECORD_CID_LEN];
};

struct record_gap {
	unsigned refused; /* records in a row */
	unsigned tries;   /* since second */
	int64_t second;
};

struct record_opener {
	struct record_key key;
	uint64_t forged; /* tags that were wrong */
	struct record_gap gap;
	struct replay replay;
};

/* One record in a datagram. */
struct record {
	uint8_t *at; /* its header */
	size_t total, header, number_len;
	uint8_t epoch_bits;
	/* -- once opened -- */
	enum record_type type;
	uint64_t epoch, number;
	uint8_t *plain; /* within the datagram */
	size_t len;     /* without type and padding */
};

/* Keys from a traffic secret of RECORD_SECRET bytes (RFC 8446 section 7.3). key and sn stay readable until
 * record_keys_forget. limit is how many records the key may seal. 0, -ENOMEM, -EIO.
 */
int record_sealer_new(struct record_sealer **out, const struct aead *a, const uint8_t *secret,
                      uint64_t epoch, const uint8_t cid[RECORD_CID_LEN], uint64_t limit);
void record_sealer_free(struct record_sealer *s);
int record_opener_new(struct record_opener **out, const struct aead *a, const uint8_t *secret,
                      uint64_t epoch);
void record_opener_free(struct record_opener *o);
void record_keys_forget(struct record_key *k);

/* out has room for len + RECORD_OVERHEAD and does not overlap plain; plain[len] is borrowed for the
 * content type. The record's length; -EKEYEXPIRED, -EIO (then too its number is spent).
 */
ssize_t record_seal(struct record_sealer *s, uint8_t *plain, size_t len, uint8_t *out);

/* The shape of the record at d, and that it carries cid. 0, -EBADMSG. */
int record_parse(struct record *r, const uint8_t cid[RECORD_CID_LEN], uint8_t *d, size_t len);
/* In place, one that record_parse took. 0; -EALREADY it was opened before or is too old to tell, -EBADMSG
 * it is none of the peer's, -EKEYEXPIRED too many of those were. If it is refused, its bytes are what they were.
 */
int record_open(struct record_opener *o, struct record *r, int64_t now);
/* Its bytes as they came, after record_open took it. 0, -EIO. */
int record_restore(struct record_opener *o, struct record *r);
