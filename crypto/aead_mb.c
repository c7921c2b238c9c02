/* SPDX-License-Identifier: GPL-3.0-or-later */
/* AES-128-GCM by Intel's ipsec-mb, called directly, one record at a time. Its manager is an array
 * of function pointers beside 200 KB of queues that nobody here needs: the pointers are kept, the
 * rest is given back. Record numbers are masked by AES-NI from here, for one block is less than a
 * call.
 */
#include "crypto/aead.h"

#if defined(__x86_64__) && !defined(GINNEL_PORTABLE) && !defined(GINNEL_NO_CRYPTO)

#include <errno.h>
#include <immintrin.h>
#include <intel-ipsec-mb.h>

#include "crypto/secret.h"

#define ROUNDS 10 /* of AES-128 */
#define AESNI  __attribute__((target("aes,sse2")))

struct state {
	struct gcm_key_data gcm;
	uint8_t sn[ROUNDS + 1][16];
};

_Static_assert(sizeof(struct state) <= AEAD_STATE_MAX, "AEAD_STATE_MAX");
_Static_assert(_Alignof(struct state) <= AEAD_ALIGN, "AEAD_ALIGN");

static struct {
	aes_gcm_pre_t pre;
	aes_gcm_enc_dec_t seal, open;
} mb;

/* FIPS 197 section 5.2, one round key from the one before. */
AESNI static __m128i expand(__m128i key, __m128i assist)
{
	assist = _mm_shuffle_epi32(assist, 0xff);
	key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
	key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
	key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
	return _mm_xor_si128(key, assist);
}

#define ROUND_KEY(i, constant)                                         \
	do {                                                           \
		k = expand(k, _mm_aeskeygenassist_si128(k, constant)); \
		_mm_storeu_si128((__m128i *)(void *)s->sn[i], k);      \
	} while (0)

AESNI static void expand_sn(struct state *s, const uint8_t key[16])
{
	__m128i k = _mm_loadu_si128((const __m128i *)(const void *)key);

	_mm_storeu_si128((__m128i *)(void *)s->sn[0], k);
	ROUND_KEY(1, 0x01);
	ROUND_KEY(2, 0x02);
	ROUND_KEY(3, 0x04);
	ROUND_KEY(4, 0x08);
	ROUND_KEY(5, 0x10);
	ROUND_KEY(6, 0x20);
	ROUND_KEY(7, 0x40);
	ROUND_KEY(8, 0x80);
	ROUND_KEY(9, 0x1b);
	ROUND_KEY(10, 0x36);
}

static int mb_init(void *state, const uint8_t *key, const uint8_t *sn)
{
	struct state *s = state;

	mb.pre(key, &s->gcm);
	expand_sn(s, sn);
	return 0;
}

static void mb_clear(void *state)
{
	secret_wipe(state, sizeof(struct state));
}

static int mb_seal(void *state, uint8_t *out, const uint8_t *in, size_t len,
                   const struct aead_about *about, uint8_t tag[AEAD_TAG])
{
	struct state *s = state;
	struct gcm_context_data context;

	mb.seal(&s->gcm, &context, out, in, len, about->nonce, about->aad, about->aad_len, tag,
	        AEAD_TAG);
	return 0;
}

static int mb_open(void *state, uint8_t *text, size_t len, const struct aead_about *about,
                   const uint8_t tag[AEAD_TAG])
{
	struct state *s = state;
	struct gcm_context_data context;
	uint8_t own[AEAD_TAG];

	mb.open(&s->gcm, &context, text, text, len, about->nonce, about->aad, about->aad_len, own,
	        AEAD_TAG);
	if (secret_equal(own, tag, AEAD_TAG))
		return 0;
	/* It decrypts before anyone has compared: the same key stream again takes it back. */
	mb.seal(&s->gcm, &context, text, text, len, about->nonce, about->aad, about->aad_len, own,
	        AEAD_TAG);
	return -EBADMSG;
}

AESNI static int mb_mask(void *state, const uint8_t sample[AEAD_SAMPLE], uint8_t mask[AEAD_MASK])
{
	const struct state *s = state;
	const __m128i *k = (const __m128i *)(const void *)s->sn;
	__m128i x = _mm_loadu_si128((const __m128i *)(const void *)sample);
	unsigned two;

	x = _mm_xor_si128(x, _mm_loadu_si128(&k[0]));
	for (int i = 1; i < ROUNDS; i++)
		x = _mm_aesenc_si128(x, _mm_loadu_si128(&k[i]));
	x = _mm_aesenclast_si128(x, _mm_loadu_si128(&k[ROUNDS]));
	two = (unsigned)_mm_cvtsi128_si32(x);
	mask[0] = (uint8_t)two;
	mask[1] = (uint8_t)(two >> 8);
	return 0;
}

static const struct aead by_mb = {
	.name = "AES-128-GCM (ipsec-mb)",
	.cipher = AEAD_AES_128_GCM,
	.key_len = 16,
	.state_len = sizeof(struct state),
	.init = mb_init,
	.clear = mb_clear,
	.seal = mb_seal,
	.open = mb_open,
	.mask = mb_mask,
};

const struct aead *aead_mb(void)
{
	IMB_MGR *m;

	if (!__builtin_cpu_supports("aes") || !__builtin_cpu_supports("pclmul") ||
	    !__builtin_cpu_supports("sse4.2"))
		return NULL;
	m = alloc_mb_mgr(0);
	if (!m)
		return NULL;
	init_mb_mgr_auto(m, NULL);
	if (imb_get_errno(m) == 0) {
		mb.pre = m->gcm128_pre;
		mb.seal = m->gcm128_enc;
		mb.open = m->gcm128_dec;
	}
	free_mb_mgr(m);
	return mb.pre && mb.seal && mb.open ? &by_mb : NULL;
}

#else

const struct aead *aead_mb(void)
{
	return NULL;
}

#endif
