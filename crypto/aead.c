/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which of the implementations is used is asked of themselves: each must seal and open published
 * vectors, mask by them, and leave a text whose tag is wrong as it was. One that does not is passed
 * over, and who comes next in the list is asked; `ginnel version` says who it was.
 */
#include "crypto/aead.h"

#include <errno.h>
#include <string.h>

#define TEXT_MAX 128

/* -- the benchmark build: what a tunnel costs that seals nothing ---------------------------------- */

#ifdef GINNEL_NO_CRYPTO

static int none_init(void *state, const uint8_t *key, const uint8_t *sn)
{
	(void)state;
	(void)key;
	(void)sn;
	return 0;
}

static void none_clear(void *state)
{
	(void)state;
}

static int none_seal(void *state, uint8_t *out, const uint8_t *in, size_t len,
                     const struct aead_about *about, uint8_t tag[AEAD_TAG])
{
	(void)state;
	(void)about;
	if (out != in)
		memcpy(out, in, len);
	memset(tag, 0, AEAD_TAG);
	return 0;
}

static int none_open(void *state, uint8_t *text, size_t len, const struct aead_about *about,
                     const uint8_t tag[AEAD_TAG])
{
	static const uint8_t zero[AEAD_TAG];

	(void)state;
	(void)text;
	(void)len;
	(void)about;
	return memcmp(tag, zero, AEAD_TAG) == 0 ? 0 : -EBADMSG;
}

static int none_mask(void *state, const uint8_t sample[AEAD_SAMPLE], uint8_t mask[AEAD_MASK])
{
	(void)state;
	(void)sample;
	memset(mask, 0, AEAD_MASK);
	return 0;
}

#define NONE(which, keys)                                                        \
	{                                                                        \
		.name = AEAD_NAME_NONE, .cipher = (which), .key_len = (keys),    \
		.state_len = AEAD_ALIGN, .init = none_init, .clear = none_clear, \
		.seal = none_seal, .open = none_open, .mask = none_mask          \
	}

static const struct aead none[AEAD_CIPHERS] = {
	[AEAD_AES_128_GCM] = NONE(AEAD_AES_128_GCM, 16),
	[AEAD_CHACHA20_POLY1305] = NONE(AEAD_CHACHA20_POLY1305, 32),
};

#endif

/* -- known answers ---------------------------------------------------------------------------- */

struct answer {
	uint8_t key[AEAD_KEY_MAX], nonce[AEAD_NONCE], aad[20];
	size_t aad_len, len;
	uint8_t plain[TEXT_MAX], sealed[TEXT_MAX], tag[AEAD_TAG];
	uint8_t sn[AEAD_KEY_MAX], sample[AEAD_SAMPLE], mask[AEAD_MASK];
};

static const struct answer answers[AEAD_CIPHERS] = {
	/* McGrew and Viega, The Galois/Counter Mode of Operation, test case 4; FIPS 197 C.1. */
	[AEAD_AES_128_GCM] =
		{
			.key = "\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08",
			.nonce = "\xca\xfe\xba\xbe\xfa\xce\xdb\xad\xde\xca\xf8\x88",
			.aad = "\xfe\xed\xfa\xce\xde\xad\xbe\xef\xfe\xed\xfa\xce\xde\xad\xbe\xef"
			       "\xab\xad\xda\xd2",
			.aad_len = 20,
			.len = 60,
			.plain = "\xd9\x31\x32\x25\xf8\x84\x06\xe5\xa5\x59\x09\xc5\xaf\xf5\x26\x9a"
				 "\x86\xa7\xa9\x53\x15\x34\xf7\xda\x2e\x4c\x30\x3d\x8a\x31\x8a\x72"
				 "\x1c\x3c\x0c\x95\x95\x68\x09\x53\x2f\xcf\x0e\x24\x49\xa6\xb5\x25"
				 "\xb1\x6a\xed\xf5\xaa\x0d\xe6\x57\xba\x63\x7b\x39",
			.sealed = "\x42\x83\x1e\xc2\x21\x77\x74\x24\x4b\x72\x21\xb7\x84\xd0\xd4\x9c"
				  "\xe3\xaa\x21\x2f\x2c\x02\xa4\xe0\x35\xc1\x7e\x23\x29\xac\xa1\x2e"
				  "\x21\xd5\x14\xb2\x54\x66\x93\x1c\x7d\x8f\x6a\x5a\xac\x84\xaa\x05"
				  "\x1b\xa3\x0b\x39\x6a\x0a\xac\x97\x3d\x58\xe0\x91",
			.tag = "\x5b\xc9\x4f\xbc\x32\x21\xa5\xdb\x94\xfa\xe9\x5a\xe7\x12\x1a\x47",
			.sn = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
			.sample =
				"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff",
			.mask = "\x69\xc4",
		},
	/* RFC 8439 sections 2.8.2 and 2.3.2. */
	[AEAD_CHACHA20_POLY1305] =
		{
			.key = "\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f"
			       "\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f",
			.nonce = "\x07\x00\x00\x00\x40\x41\x42\x43\x44\x45\x46\x47",
			.aad = "\x50\x51\x52\x53\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7",
			.aad_len = 12,
			.len = 114,
			.plain = "Ladies and Gentlemen of the class of '99: If I could offer you "
				 "only one tip for the future, sunscreen would be it.",
			.sealed = "\xd3\x1a\x8d\x34\x64\x8e\x60\xdb\x7b\x86\xaf\xbc\x53\xef\x7e\xc2"
				  "\xa4\xad\xed\x51\x29\x6e\x08\xfe\xa9\xe2\xb5\xa7\x36\xee\x62\xd6"
				  "\x3d\xbe\xa4\x5e\x8c\xa9\x67\x12\x82\xfa\xfb\x69\xda\x92\x72\x8b"
				  "\x1a\x71\xde\x0a\x9e\x06\x0b\x29\x05\xd6\xa5\xb6\x7e\xcd\x3b\x36"
				  "\x92\xdd\xbd\x7f\x2d\x77\x8b\x8c\x98\x03\xae\xe3\x28\x09\x1b\x58"
				  "\xfa\xb3\x24\xe4\xfa\xd6\x75\x94\x55\x85\x80\x8b\x48\x31\xd7\xbc"
				  "\x3f\xf4\xde\xf0\x8e\x4b\x7a\x9d\xe5\x76\xd2\x65\x86\xce\xc6\x4b"
				  "\x61\x16",
			.tag = "\x1a\xe1\x0b\x59\x4f\x09\xe2\x6a\x7e\x90\x2e\xcb\xd0\x60\x06\x91",
			.sn = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
			      "\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f",
			.sample =
				"\x01\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x4a\x00\x00\x00\x00",
			.mask = "\x10\xf1",
		},
};

/* Apart and in place, there and back, and not with a wrong tag. */
static bool answers_with(const struct aead *a, void *state, const struct answer *k)
{
	struct aead_about about = {.aad = k->aad, .aad_len = k->aad_len};
	uint8_t text[TEXT_MAX], tag[AEAD_TAG], mask[AEAD_MASK];

	memcpy(about.nonce, k->nonce, sizeof(about.nonce));
	if (a->seal(state, text, k->plain, k->len, &about, tag) != 0 ||
	    memcmp(text, k->sealed, k->len) != 0 || memcmp(tag, k->tag, sizeof(tag)) != 0)
		return false;
	tag[AEAD_TAG - 1] ^= 1;
	if (a->open(state, text, k->len, &about, tag) != -EBADMSG ||
	    memcmp(text, k->sealed, k->len) != 0)
		return false;
	if (a->open(state, text, k->len, &about, k->tag) != 0 ||
	    memcmp(text, k->plain, k->len) != 0)
		return false;
	if (a->seal(state, text, text, k->len, &about, tag) != 0 ||
	    memcmp(text, k->sealed, k->len) != 0 || memcmp(tag, k->tag, sizeof(tag)) != 0)
		return false;
	return a->mask(state, k->sample, mask) == 0 && memcmp(mask, k->mask, sizeof(mask)) == 0;
}

bool aead_known_answers(const struct aead *a)
{
	_Alignas(AEAD_ALIGN) uint8_t state[AEAD_STATE_MAX];
	const struct answer *k = &answers[a->cipher];
	bool right;

	if (a->init(state, k->key, k->sn) != 0)
		return false;
	right = answers_with(a, state, k);
	a->clear(state);
	return right;
}

/* -- the choice ------------------------------------------------------------------------------- */

/* Written by aead_start alone. */
static const struct aead *chosen[AEAD_CIPHERS];

static void offer(const struct aead *a)
{
	if (a && !chosen[a->cipher] && aead_known_answers(a))
		chosen[a->cipher] = a;
}

int aead_start(void)
{
#ifdef GINNEL_NO_CRYPTO
	chosen[AEAD_AES_128_GCM] = &none[AEAD_AES_128_GCM];
	chosen[AEAD_CHACHA20_POLY1305] = &none[AEAD_CHACHA20_POLY1305];
#endif
	offer(aead_mb());
	offer(aead_wolf_aes());
	offer(aead_wolf_chacha());
	for (int i = 0; i < AEAD_CIPHERS; i++)
		if (!chosen[i])
			return -ENOTSUP;
	return 0;
}

const struct aead *aead_find(enum aead_cipher cipher)
{
	return chosen[cipher];
}

enum aead_cipher aead_preferred(void)
{
	return aead_wolf_has_aes() ? AEAD_AES_128_GCM : AEAD_CHACHA20_POLY1305;
}

const char *aead_name(void)
{
	const struct aead *a = chosen[aead_preferred()];

	return a ? a->name : "none (aead_start was not called)";
}
