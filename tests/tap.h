/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tap - for tests: reads what one end of a session puts on the wire, with keys of its own making,
 * and tells whether any (key, nonce) was used twice.
 *
 * It knows nothing of the end's counters. The traffic secrets come from the other end, which is
 * bare wolfSSL; each record is opened by wolfCrypt under the number it carries, so that the number
 * is proven and not guessed. AES-128-GCM alone. Datagrams are kept and judged at the end, for those of a
 * handshake leave before the other end knows their key.
 */
#pragma once
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/kdf.h>
#include <wolfssl/wolfcrypt/settings.h>

#define TAP_CID     4
#define TAP_KEYS    256
#define TAP_NUMBERS (1U << 18) /* of one key */
#define TAP_PLAIN   20000

struct tap_key {
	unsigned epoch;
	uint8_t secret[32], key[16], iv[12], sn[16];
	uint64_t next;
	uint8_t *seen;
};

struct tap_datagram {
	struct tap_datagram *next;
	size_t len;
	uint8_t bytes[];
};

struct tap {
	bool client; /* whom we listen to */
	unsigned n;
	struct tap_key keys[TAP_KEYS];
	struct tap_datagram *first, **last;
	/* -- once judged -- */
	uint64_t records; /* protected ones */
	uint64_t twice;   /* under a number that their key had used before */
	uint64_t foreign; /* that no key opens */
	unsigned epochs;  /* the highest */
	uint64_t kinds[256];
};

static inline void tap_label(uint8_t *out, size_t n, const uint8_t *secret, const char *label)
{
	assert(wc_Tls13_HKDF_Expand_Label(out, (word32)n, secret, 32, (const byte *)"dtls13", 6,
	                                  (const byte *)label, (word32)strlen(label), NULL, 0,
	                                  WC_SHA256) == 0);
}

static inline void tap_learn(struct tap *t, const uint8_t secret[32], unsigned epoch)
{
	struct tap_key *k = &t->keys[t->n++];

	assert(t->n < TAP_KEYS);
	k->epoch = epoch;
	memcpy(k->secret, secret, 32);
	tap_label(k->key, 16, secret, "key");
	tap_label(k->iv, 12, secret, "iv");
	tap_label(k->sn, 16, secret, "sn");
	k->seen = calloc(TAP_NUMBERS / 8, 1);
	assert(k->seen);
}

static inline int tap_on_secret(WOLFSSL *ssl, int id, const unsigned char *secret, int len,
                                void *arg)
{
	struct tap *t = arg;

	(void)ssl;
	if (id == (t->client ? CLIENT_HANDSHAKE_TRAFFIC_SECRET : SERVER_HANDSHAKE_TRAFFIC_SECRET) &&
	    len == 32)
		tap_learn(t, secret, 2);
	if (id == (t->client ? CLIENT_TRAFFIC_SECRET : SERVER_TRAFFIC_SECRET) && len == 32)
		tap_learn(t, secret, 3);
	return 0;
}

/* client: does the end that we listen to dial? peer is the other one. */
static inline void tap_init(struct tap *t, bool client, WOLFSSL *peer)
{
	memset(t, 0, sizeof(*t));
	t->client = client;
	t->last = &t->first;
	assert(wolfSSL_set_tls13_secret_cb(peer, tap_on_secret, t) == WOLFSSL_SUCCESS);
}

static inline void tap_clear(struct tap *t)
{
	while (t->first) {
		struct tap_datagram *d = t->first;

		t->first = d->next;
		free(d);
	}
	for (unsigned i = 0; i < t->n; i++)
		free(t->keys[i].seen);
}

static inline void tap_note(struct tap *t, const uint8_t *d, size_t len)
{
	struct tap_datagram *n = malloc(sizeof(*n) + len);

	assert(n);
	n->next = NULL;
	n->len = len;
	memcpy(n->bytes, d, len);
	*t->last = n;
	t->last = &n->next;
}

/* -- judging ------------------------------------------------------------------------------------- */

struct tap_record {
	const uint8_t *at, *text;
	size_t header, number_len, text_len, total;
};

static inline bool tap_parse(struct tap_record *r, const uint8_t *d, size_t len)
{
	r->at = d;
	r->number_len = d[0] & 8 ? 2 : 1;
	r->header = 1 + TAP_CID + r->number_len + (d[0] & 4 ? 2 : 0);
	if (len < r->header + 17)
		return false;
	r->total = len;
	if (d[0] & 4)
		r->total = r->header + ((size_t)d[r->header - 2] << 8 | d[r->header - 1]);
	if (r->total > len || r->total < r->header + 17)
		return false;
	r->text = d + r->header;
	r->text_len = r->total - r->header - 16;
	return true;
}

/* The inner type under that key, and the number; 0: it does not open. */
static inline uint8_t tap_open(const struct tap_key *k, const struct tap_record *r,
                               uint64_t *number)
{
	static uint8_t plain[TAP_PLAIN];
	uint8_t mask[16], aad[16], nonce[12];
	const size_t at = 1 + TAP_CID;
	const uint64_t span = r->number_len == 2 ? 65536 : 256;
	uint64_t low;
	size_t n = r->text_len;
	Aes aes;
	int err;

	assert(n <= sizeof(plain));
	assert(wc_AesInit(&aes, NULL, INVALID_DEVID) == 0);
	assert(wc_AesSetKey(&aes, k->sn, 16, NULL, AES_ENCRYPTION) == 0);
	assert(wc_AesEncryptDirect(&aes, mask, r->text) == 0);
	wc_AesFree(&aes);
	memcpy(aad, r->at, r->header);
	aad[at] ^= mask[0];
	if (r->number_len == 2)
		aad[at + 1] ^= mask[1];
	low = r->number_len == 2 ? (uint64_t)aad[at] << 8 | aad[at + 1] : aad[at];
	*number = (k->next & ~(span - 1)) | low;
	if (*number + span / 2 < k->next)
		*number += span;
	else if (*number > k->next + span / 2 && *number >= span)
		*number -= span;
	memcpy(nonce, k->iv, sizeof(nonce));
	for (int i = 0; i < 8; i++)
		nonce[11 - i] ^= (uint8_t)(*number >> 8 * i);
	assert(wc_AesInit(&aes, NULL, INVALID_DEVID) == 0);
	assert(wc_AesGcmSetKey(&aes, k->key, 16) == 0);
	err = wc_AesGcmDecrypt(&aes, plain, r->text, (word32)n, nonce, 12, r->text + n, 16, aad,
	                       (word32)r->header);
	wc_AesFree(&aes);
	if (err != 0)
		return 0;
	while (n && plain[n - 1] == 0)
		n--;
	return n ? plain[n - 1] : 0;
}

static inline bool tap_count(struct tap *t, struct tap_key *k, const struct tap_record *r)
{
	uint64_t number;
	uint8_t type;

	if ((k->epoch & 3) != (r->at[0] & 3))
		return false;
	type = tap_open(k, r, &number);
	if (!type)
		return false;
	assert(number < TAP_NUMBERS);
	t->kinds[type]++;
	t->twice += k->seen[number / 8] >> number % 8 & 1;
	k->seen[number / 8] |= (uint8_t)(1 << number % 8);
	if (number >= k->next)
		k->next = number + 1;
	if (k->epoch > t->epochs)
		t->epochs = k->epoch;
	return true;
}

static inline void tap_judge_record(struct tap *t, const struct tap_record *r)
{
	t->records++;
	for (unsigned i = t->n; i-- > 0;)
		if (tap_count(t, &t->keys[i], r))
			return;
	/* The key after a KeyUpdate? */
	if (t->n && t->keys[t->n - 1].epoch >= 3) {
		uint8_t next[32];

		tap_label(next, 32, t->keys[t->n - 1].secret, "traffic upd");
		tap_learn(t, next, t->keys[t->n - 1].epoch + 1);
		if (tap_count(t, &t->keys[t->n - 1], r))
			return;
		free(t->keys[--t->n].seen);
		t->keys[t->n].seen = NULL;
	}
	t->foreign++;
}

static inline void tap_judge(struct tap *t)
{
	for (const struct tap_datagram *d = t->first; d; d = d->next) {
		const uint8_t *at = d->bytes;
		size_t left = d->len;
		struct tap_record r;

		while (left && (at[0] & 0xe0) == 0x20) {
			if (!tap_parse(&r, at, left)) {
				t->foreign++;
				break;
			}
			tap_judge_record(t, &r);
			at += r.total;
			left -= r.total;
		}
	}
}
