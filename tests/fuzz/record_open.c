/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What anybody can send as a record, and what a peer with our keys can: none is read beyond its
 * end, one that is refused keeps its bytes, one that is opened can be put back as it came, and twice is
 * refused.
 *
 * Input: a byte that says what it is (0 a datagram as it stands, 1 with our CID put in, 2 the rest
 * sealed by a peer who chooses padding and inner type), then the bytes. Bit 7: ChaCha20-Poly1305.
 */
#include "crypto/record.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EPOCH 3
#define MAX   2000

static const uint8_t cid[RECORD_CID_LEN] = {1, 2, 3, 4};
static struct record_sealer *sealer[AEAD_CIPHERS];
static struct record_opener *opener[AEAD_CIPHERS];

static void start(void)
{
	static const uint8_t secret[RECORD_SECRET] = {9};

	assert(aead_start() == 0);
	for (int c = 0; c < AEAD_CIPHERS; c++) {
		const struct aead *a = aead_find((enum aead_cipher)c);

		assert(record_sealer_new(&sealer[c], a, secret, EPOCH, cid, UINT64_MAX) == 0);
		assert(record_opener_new(&opener[c], a, secret, EPOCH) == 0);
	}
}

/* All of text is the peer's: what stands where the type should be, too. */
static size_t seal(struct record_sealer *s, const uint8_t *text, size_t len, uint8_t *out)
{
	struct aead_about about = {.aad = out, .aad_len = RECORD_HEADER};
	uint64_t number = s->next++;
	uint8_t mask[AEAD_MASK];

	out[0] = 0x38 | EPOCH;
	memcpy(out + 1, cid, sizeof(cid));
	out[RECORD_HEADER - 2] = (uint8_t)(number >> 8);
	out[RECORD_HEADER - 1] = (uint8_t)number;
	memcpy(about.nonce, s->key.iv, sizeof(about.nonce));
	for (int i = 0; i < 8; i++)
		about.nonce[AEAD_NONCE - 1 - i] ^= (uint8_t)(number >> 8 * i);
	assert(s->key.aead->seal(s->key.state, out + RECORD_HEADER, text, len, &about,
	                         out + RECORD_HEADER + len) == 0);
	assert(s->key.aead->mask(s->key.state, out + RECORD_HEADER, mask) == 0);
	out[RECORD_HEADER - 2] ^= mask[0];
	out[RECORD_HEADER - 1] ^= mask[1];
	return RECORD_HEADER + len + AEAD_TAG;
}

/* 0 or -errno, of a copy that ends where it ends. */
static int open_copy(struct record_opener *o, const uint8_t *d, size_t len, size_t *plain)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct record r;
	int err;

	assert(copy);
	memcpy(copy, d, len);
	err = record_parse(&r, cid, copy, len);
	if (!err) {
		bool typed;

		assert(r.total <= len && r.header + AEAD_TAG < r.total);
		r.type = RECORD_FOREIGN;
		r.plain = NULL;
		err = record_open(o, &r, 0);
		typed = !err;
		if (typed) {
			assert(r.plain == copy + r.header && r.type != 0);
			assert(r.header + r.len + 1 + AEAD_TAG <= r.total);
			*plain = r.len;
			assert(record_restore(o, &r) == 0);
		}
		assert(r.plain && !typed ? true : memcmp(copy, d, len) == 0);
	}
	free(copy);
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t d[MAX + RECORD_OVERHEAD];
	struct record_opener *o;
	size_t n, plain = 0, text;
	int err;

	if (!opener[0])
		start();
	if (size < 2 || size > MAX)
		return 0;
	o = opener[data[0] >> 7];
	n = size - 1;
	memcpy(d, data + 1, n);
	if ((data[0] & 0x7f) % 3 != 2) {
		if ((data[0] & 0x7f) % 3 == 1 && n > 5) {
			d[0] = (uint8_t)(0x30 | (d[0] & 0x0c) | EPOCH);
			memcpy(d + 1, cid, sizeof(cid));
		}
		assert(open_copy(o, d, n, &plain) < 0);
		return 0;
	}
	text = n;
	while (text && data[text] == 0)
		text--;
	n = seal(sealer[data[0] >> 7], data + 1, n, d);
	err = open_copy(o, d, n, &plain);
	assert(text ? err == 0 && plain == text - 1 : err < 0);
	assert(open_copy(o, d, n, &plain) < 0);
	return 0;
}
