/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers travel as their low 16 bits, encrypted. The whole number is the one nearest to what is
 * expected (RFC 9147 section 4.2.2), so a receiver that lost 2^15 records in a row would take each
 * later one for another, and be deaf. Therefore, after some refusals in a row, a record that is
 * refused is also tried under the numbers 1 to 16 times 2^16 further on. Lower ones need no trial:
 * they are older than the window. What it may cost is bounded for each second, as forgeries too
 * lead here.
 */
#include "crypto/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/wolfcrypt/kdf.h>
#include <wolfssl/wolfcrypt/settings.h>

#include "crypto/secret.h"

#define HEADER_MAX (1 + RECORD_CID_LEN + 2 + 2)
#define SECOND     1000000000LL
#define LABEL      "dtls13" /* RFC 9147 section 5.9: no space behind it, unlike TLS */

/* -- keys -------------------------------------------------------------------------------------- */

static int expand(uint8_t *out, size_t len, const uint8_t *secret, const char *label)
{
	int r = wc_Tls13_HKDF_Expand_Label(
		out, (word32)len, secret, RECORD_SECRET, (const byte *)LABEL, sizeof(LABEL) - 1,
		(const byte *)label, (word32)strlen(label), NULL, 0, WC_SHA256);

	return r == 0 ? 0 : -EIO;
}

static int key_init(struct record_key *k, const struct aead *a, const uint8_t *secret,
                    uint64_t epoch)
{
	int err;

	k->aead = a;
	k->epoch = epoch;
	err = expand(k->key, a->key_len, secret, "key");
	if (!err)
		err = expand(k->iv, sizeof(k->iv), secret, "iv");
	if (!err)
		err = expand(k->sn, a->key_len, secret, "sn");
	if (!err)
		err = expand(k->next_secret, sizeof(k->next_secret), secret, "traffic upd");
	if (!err)
		err = a->init(k->state, k->key, k->sn);
	return err;
}

void record_keys_forget(struct record_key *k)
{
	secret_wipe(k->key, sizeof(k->key));
	secret_wipe(k->sn, sizeof(k->sn));
}

static size_t rounded(size_t n)
{
	return (n + AEAD_ALIGN - 1) / AEAD_ALIGN * AEAD_ALIGN;
}

/* len bytes that begin with the key, whose state lies behind them. */
static int keyed_new(struct record_key **out, size_t len, const struct aead *a,
                     const uint8_t *secret, uint64_t epoch)
{
	const size_t all = rounded(len) + rounded(a->state_len);
	struct record_key *k = aligned_alloc(AEAD_ALIGN, all);
	int err;

	if (!k)
		return -ENOMEM;
	memset(k, 0, all);
	k->state = (uint8_t *)k + rounded(len);
	err = key_init(k, a, secret, epoch);
	if (err) {
		secret_wipe(k, all);
		free(k);
		return err;
	}
	*out = k;
	return 0;
}

static void keyed_free(struct record_key *k, size_t len)
{
	k->aead->clear(k->state);
	secret_wipe(k, len);
	free(k);
}

int record_sealer_new(struct record_sealer **out, const struct aead *a, const uint8_t *secret,
                      uint64_t epoch, const uint8_t cid[RECORD_CID_LEN], uint64_t limit)
{
	struct record_sealer *s;
	struct record_key *k;
	int err;

	err = keyed_new(&k, sizeof(*s), a, secret, epoch);
	if (err)
		return err;
	s = (struct record_sealer *)k;
	memcpy(s->cid, cid, sizeof(s->cid));
	s->limit = limit > RECORD_RESERVE ? limit - RECORD_RESERVE : 0;
	*out = s;
	return 0;
}

void record_sealer_free(struct record_sealer *s)
{
	if (s)
		keyed_free(&s->key, sizeof(*s));
}

int record_opener_new(struct record_opener **out, const struct aead *a, const uint8_t *secret,
                      uint64_t epoch)
{
	struct record_opener *o;
	struct record_key *k;
	int err;

	err = keyed_new(&k, sizeof(*o), a, secret, epoch);
	if (err)
		return err;
	o = (struct record_opener *)k;
	replay_init(&o->replay, 0);
	*out = o;
	return 0;
}

void record_opener_free(struct record_opener *o)
{
	if (o)
		keyed_free(&o->key, sizeof(*o));
}

/* RFC 8446 section 5.3; the epoch is not in it (RFC 9147 section 4.2.1). */
static void nonce_of(uint8_t out[AEAD_NONCE], const uint8_t iv[AEAD_NONCE], uint64_t number)
{
	memcpy(out, iv, AEAD_NONCE);
	for (int i = 0; i < 8; i++)
		out[AEAD_NONCE - 1 - i] ^= (uint8_t)(number >> 8 * i);
}

/* -- sealing ------------------------------------------------------------------------------------ */

ssize_t record_seal(struct record_sealer *s, uint8_t *plain, size_t len, uint8_t *out)
{
	const struct aead *a = s->key.aead;
	struct aead_about about = {.aad = out, .aad_len = RECORD_HEADER};
	uint8_t mask[AEAD_MASK], borrowed;
	uint64_t number = s->next;
	int err;

	if (number >= s->limit)
		return -EKEYEXPIRED;
	s->next = number + 1; /* whatever becomes of it */
	out[0] = (uint8_t)(DATAGRAM_UNIFIED | DATAGRAM_UNIFIED_CID | DATAGRAM_UNIFIED_SEQ16 |
	                   (s->key.epoch & DATAGRAM_UNIFIED_EPOCH));
	memcpy(out + 1, s->cid, RECORD_CID_LEN);
	out[RECORD_HEADER - 2] = (uint8_t)(number >> 8);
	out[RECORD_HEADER - 1] = (uint8_t)number;
	nonce_of(about.nonce, s->key.iv, number);
	borrowed = plain[len];
	plain[len] = RECORD_DATA;
	err = a->seal(s->key.state, out + RECORD_HEADER, plain, len + 1, &about,
	              out + RECORD_HEADER + len + 1);
	plain[len] = borrowed;
	if (!err)
		err = a->mask(s->key.state, out + RECORD_HEADER, mask);
	if (err)
		return err;
	out[RECORD_HEADER - 2] ^= mask[0];
	out[RECORD_HEADER - 1] ^= mask[1];
	return (ssize_t)(len + RECORD_OVERHEAD);
}

/* -- opening ------------------------------------------------------------------------------------ */

int record_parse(struct record *r, const uint8_t cid[RECORD_CID_LEN], uint8_t *d, size_t len)
{
	size_t total = datagram_protected(cid, d, len);

	if (!total)
		return -EBADMSG;
	r->at = d;
	r->total = total;
	r->number_len = d[0] & DATAGRAM_UNIFIED_SEQ16 ? 2 : 1;
	r->header = 1 + RECORD_CID_LEN + r->number_len;
	if (d[0] & DATAGRAM_UNIFIED_LENGTH)
		r->header += 2;
	r->epoch_bits = d[0] & DATAGRAM_UNIFIED_EPOCH;
	/* A content type at the least. */
	return total - r->header > AEAD_TAG ? 0 : -EBADMSG;
}

/* The number nearest to expected whose low bits are low; span is 2^8 or 2^16. */
static uint64_t nearest(uint64_t expected, uint64_t low, uint64_t span)
{
	uint64_t number = (expected & ~(span - 1)) | low;

	if (number > expected + span / 2 && number >= span)
		return number - span;
	if (number + span / 2 < expected)
		return number + span;
	return number;
}

/* The header as it was authenticated. */
static void header_of(uint8_t out[HEADER_MAX], const struct record *r, uint64_t number)
{
	const size_t at = 1 + RECORD_CID_LEN;

	memcpy(out, r->at, r->header);
	if (r->number_len == 2) {
		out[at] = (uint8_t)(number >> 8);
		out[at + 1] = (uint8_t)number;
	} else {
		out[at] = (uint8_t)number;
	}
}

/* Under this number: 0, -EALREADY, -EBADMSG. */
static int try_number(struct record_opener *o, const struct record *r, uint64_t number)
{
	const size_t len = r->total - r->header - AEAD_TAG;
	uint8_t header[HEADER_MAX];
	struct aead_about about = {.aad = header, .aad_len = r->header};
	uint8_t *text = r->at + r->header;
	int err;

	if (replay_check(&o->replay, number) != 0)
		return -EALREADY;
	header_of(header, r, number);
	nonce_of(about.nonce, o->key.iv, number);
	err = o->key.aead->open(o->key.state, text, len, &about, text + len);
	if (err)
		o->forged++;
	return err;
}

/* May we look further? A second's tries are counted from the first of them. */
static bool gap_allows(struct record_gap *g, int64_t now)
{
	if (g->refused < RECORD_GAP_AFTER) {
		g->refused++;
		return false;
	}
	if (!g->tries || now - g->second >= SECOND) {
		g->second = now;
		g->tries = 0;
	}
	if (g->tries + RECORD_GAP_STEPS > RECORD_GAP_TRIES)
		return false;
	g->tries += RECORD_GAP_STEPS;
	return true;
}

/* The number under which it opened; -1: none. */
static int open_number(struct record_opener *o, const struct record *r, uint64_t low, int64_t now,
                       uint64_t *number)
{
	const uint64_t span = 1ULL << 8 * r->number_len;
	uint64_t n = nearest(o->replay.next, low, span);
	int err = try_number(o, r, n);

	if (err && gap_allows(&o->gap, now)) {
		int further = -EBADMSG;

		for (int i = 1; further && i <= RECORD_GAP_STEPS; i++) {
			n += span;
			further = try_number(o, r, n);
		}
		err = further ? err : 0;
	}
	*number = n;
	return err;
}

/* RFC 8446 section 5.4: zeros, then the type. */
static int take_type(struct record *r)
{
	size_t n = r->total - r->header - AEAD_TAG;

	while (n && r->plain[n - 1] == 0)
		n--;
	if (!n)
		return -EBADMSG;
	r->type = (enum record_type)r->plain[n - 1];
	r->len = n - 1;
	return 0;
}

int record_open(struct record_opener *o, struct record *r, int64_t now)
{
	const uint8_t *number = r->at + 1 + RECORD_CID_LEN;
	uint8_t mask[AEAD_MASK];
	uint64_t low;
	int err;

	if (o->forged >= RECORD_FORGED_HARD)
		return -EKEYEXPIRED;
	if (r->total - r->header < AEAD_SAMPLE ||
	    o->key.aead->mask(o->key.state, r->at + r->header, mask) != 0)
		return -EBADMSG;
	low = (uint64_t)(number[0] ^ mask[0]);
	if (r->number_len == 2)
		low = low << 8 | (uint64_t)(number[1] ^ mask[1]);
	err = open_number(o, r, low, now, &r->number);
	if (err)
		return err;
	o->gap.refused = 0;
	replay_commit(&o->replay, r->number);
	r->epoch = o->key.epoch;
	r->plain = r->at + r->header;
	return take_type(r);
}

int record_restore(struct record_opener *o, struct record *r)
{
	const size_t len = r->total - r->header - AEAD_TAG;
	uint8_t header[HEADER_MAX], tag[AEAD_TAG];
	struct aead_about about = {.aad = header, .aad_len = r->header};

	header_of(header, r, r->number);
	nonce_of(about.nonce, o->key.iv, r->number);
	if (o->key.aead->seal(o->key.state, r->plain, r->plain, len, &about, tag) != 0)
		return -EIO;
	/* The same text under the same number is the same record, or something is badly wrong. */
	return secret_equal(tag, r->plain + len, AEAD_TAG) ? 0 : -EIO;
}
