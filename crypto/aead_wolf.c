/* SPDX-License-Identifier: GPL-3.0-or-later */
/* AES-128-GCM and ChaCha20-Poly1305 by wolfCrypt. It decrypts before it compares, or zeroes what
 * it has decrypted; here a record whose tag is wrong is put back, so tags are compared by us.
 */
#include "crypto/aead.h"

#include <errno.h>
#include <string.h>

#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/chacha.h>
#include <wolfssl/wolfcrypt/chacha20_poly1305.h>
#include <wolfssl/wolfcrypt/settings.h>

#include "crypto/secret.h"

/* -- AES-128-GCM ------------------------------------------------------------------------------ */

struct aes_state {
	Aes gcm, sn;
};

_Static_assert(sizeof(struct aes_state) <= AEAD_STATE_MAX, "AEAD_STATE_MAX");

static void aes_clear(void *state)
{
	struct aes_state *s = state;

	wc_AesFree(&s->gcm);
	wc_AesFree(&s->sn);
	secret_wipe(s, sizeof(*s));
}

static int aes_init(void *state, const uint8_t *key, const uint8_t *sn)
{
	struct aes_state *s = state;

	if (wc_AesInit(&s->gcm, NULL, INVALID_DEVID) != 0 ||
	    wc_AesInit(&s->sn, NULL, INVALID_DEVID) != 0)
		return -EIO;
	if (wc_AesGcmSetKey(&s->gcm, key, 16) == 0 &&
	    wc_AesSetKey(&s->sn, sn, 16, NULL, AES_ENCRYPTION) == 0)
		return 0;
	aes_clear(s);
	return -EIO;
}

static int aes_seal(void *state, uint8_t *out, const uint8_t *in, size_t len,
                    const struct aead_about *about, uint8_t tag[AEAD_TAG])
{
	struct aes_state *s = state;
	int r = wc_AesGcmEncrypt(&s->gcm, out, in, (word32)len, about->nonce, AEAD_NONCE, tag,
	                         AEAD_TAG, about->aad, (word32)about->aad_len);

	return r == 0 ? 0 : -EIO;
}

static int aes_open(void *state, uint8_t *text, size_t len, const struct aead_about *about,
                    const uint8_t tag[AEAD_TAG])
{
	struct aes_state *s = state;
	uint8_t own[AEAD_TAG];

	if (wc_AesGcmDecrypt(&s->gcm, text, text, (word32)len, about->nonce, AEAD_NONCE, tag,
	                     AEAD_TAG, about->aad, (word32)about->aad_len) == 0)
		return 0;
	/* The same key stream again. */
	aes_seal(s, text, text, len, about, own);
	return -EBADMSG;
}

static int aes_mask(void *state, const uint8_t sample[AEAD_SAMPLE], uint8_t mask[AEAD_MASK])
{
	struct aes_state *s = state;
	uint8_t block[16];

	if (wc_AesEncryptDirect(&s->sn, block, sample) != 0)
		return -EIO;
	memcpy(mask, block, AEAD_MASK);
	return 0;
}

const struct aead *aead_wolf_aes(void)
{
	static const struct aead by_wolf = {
		.name = "AES-128-GCM (wolfCrypt)",
		.cipher = AEAD_AES_128_GCM,
		.key_len = 16,
		.state_len = sizeof(struct aes_state),
		.init = aes_init,
		.clear = aes_clear,
		.seal = aes_seal,
		.open = aes_open,
		.mask = aes_mask,
	};

	return &by_wolf;
}

bool aead_wolf_has_aes(void)
{
#if defined(WOLFSSL_AESNI)
	return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#else
	return false;
#endif
}

/* -- ChaCha20-Poly1305 ------------------------------------------------------------------------- */

struct chacha_state {
	ChaCha sn;
	uint8_t key[32];
};

_Static_assert(sizeof(struct chacha_state) <= AEAD_STATE_MAX, "AEAD_STATE_MAX");

static void chacha_clear(void *state)
{
	secret_wipe(state, sizeof(struct chacha_state));
}

static int chacha_init(void *state, const uint8_t *key, const uint8_t *sn)
{
	struct chacha_state *s = state;

	memcpy(s->key, key, sizeof(s->key));
	if (wc_Chacha_SetKey(&s->sn, sn, 32) == 0)
		return 0;
	chacha_clear(s);
	return -EIO;
}

/* One way or the other; the tag is that of the ciphertext. */
static int chacha_run(struct chacha_state *s, int way, uint8_t *out, const uint8_t *in, size_t len,
                      const struct aead_about *about, uint8_t tag[AEAD_TAG])
{
	ChaChaPoly_Aead a;
	int r = wc_ChaCha20Poly1305_Init(&a, s->key, about->nonce, way);

	if (r == 0)
		r = wc_ChaCha20Poly1305_UpdateAad(&a, about->aad, (word32)about->aad_len);
	if (r == 0)
		r = wc_ChaCha20Poly1305_UpdateData(&a, in, out, (word32)len);
	if (r == 0)
		r = wc_ChaCha20Poly1305_Final(&a, tag);
	secret_wipe(&a, sizeof(a));
	return r == 0 ? 0 : -EIO;
}

static int chacha_seal(void *state, uint8_t *out, const uint8_t *in, size_t len,
                       const struct aead_about *about, uint8_t tag[AEAD_TAG])
{
	return chacha_run(state, CHACHA20_POLY1305_AEAD_ENCRYPT, out, in, len, about, tag);
}

static int chacha_open(void *state, uint8_t *text, size_t len, const struct aead_about *about,
                       const uint8_t tag[AEAD_TAG])
{
	uint8_t own[AEAD_TAG];
	int r;

	r = chacha_run(state, CHACHA20_POLY1305_AEAD_DECRYPT, text, text, len, about, own);
	if (r == 0 && secret_equal(own, tag, AEAD_TAG))
		return 0;
	chacha_run(state, CHACHA20_POLY1305_AEAD_ENCRYPT, text, text, len, about, own);
	return -EBADMSG;
}

static int chacha_mask(void *state, const uint8_t sample[AEAD_SAMPLE], uint8_t mask[AEAD_MASK])
{
	struct chacha_state *s = state;
	const uint32_t counter = (uint32_t)sample[0] | (uint32_t)sample[1] << 8 |
	                         (uint32_t)sample[2] << 16 | (uint32_t)sample[3] << 24;
	const uint8_t zero[AEAD_MASK] = {0};

	if (wc_Chacha_SetIV(&s->sn, sample + 4, counter) != 0 ||
	    wc_Chacha_Process(&s->sn, mask, zero, AEAD_MASK) != 0)
		return -EIO;
	return 0;
}

const struct aead *aead_wolf_chacha(void)
{
	static const struct aead by_wolf = {
		.name = "CHACHA20-POLY1305 (wolfCrypt)",
		.cipher = AEAD_CHACHA20_POLY1305,
		.key_len = 32,
		.state_len = sizeof(struct chacha_state),
		.init = chacha_init,
		.clear = chacha_clear,
		.seal = chacha_seal,
		.open = chacha_open,
		.mask = chacha_mask,
	};

	return &by_wolf;
}
