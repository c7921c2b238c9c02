/* SPDX-License-Identifier: GPL-3.0-or-later */
/* PBKDF2 over wolfCrypt's SHA-256: both halves of the HMAC are hashed up to the key once and copied from
 * then on, so that a round is two blocks and not four.
 */
#include "crypto/vault.h"

#include <errno.h>
#include <string.h>

#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include "crypto/secret.h"

#define KIND  1
#define KEY   32
#define SALT  16
#define NONCE 12
#define TAG   16
#define HEAD  (1 + 4 + SALT + NONCE)
#define BLOCK 64
#define AAD   256 /* of the caller, at most */

/* -- the key ---------------------------------------------------------------------------------- */

struct hmac {
	wc_Sha256 inner, outer, work;
};

static int half(wc_Sha256 *h, const uint8_t key[BLOCK], uint8_t pad)
{
	uint8_t block[BLOCK];
	int r;

	for (unsigned i = 0; i < BLOCK; i++)
		block[i] = key[i] ^ pad;
	r = wc_InitSha256(h);
	if (!r)
		r = wc_Sha256Update(h, block, BLOCK);
	secret_wipe(block, sizeof(block));
	return r;
}

static int hmac_init(struct hmac *h, const char *key, size_t n)
{
	uint8_t block[BLOCK] = {0};
	int r = 0;

	if (n > BLOCK)
		r = wc_Sha256Hash((const uint8_t *)key, (word32)n, block);
	else
		memcpy(block, key, n);
	if (!r)
		r = half(&h->inner, block, 0x36);
	if (!r)
		r = half(&h->outer, block, 0x5c);
	secret_wipe(block, sizeof(block));
	return r;
}

static int hmac_do(struct hmac *h, const void *p, size_t n, uint8_t out[KEY])
{
	int r = wc_Sha256Copy(&h->inner, &h->work);

	if (!r)
		r = wc_Sha256Update(&h->work, p, (word32)n);
	if (!r)
		r = wc_Sha256Final(&h->work, out);
	wc_Sha256Free(&h->work);
	if (!r)
		r = wc_Sha256Copy(&h->outer, &h->work);
	if (!r)
		r = wc_Sha256Update(&h->work, out, KEY);
	if (!r)
		r = wc_Sha256Final(&h->work, out);
	wc_Sha256Free(&h->work);
	return r;
}

int vault_derive(uint8_t out[32], const char *passphrase, size_t passphrase_len,
                 const uint8_t *salt, size_t salt_len, uint32_t rounds)
{
	uint8_t first[SALT + BLOCK + 4];
	struct hmac *h;
	uint8_t *u;
	int r;

	if (salt_len > sizeof(first) - 4 || !rounds)
		return -EINVAL;
	h = secret_new(sizeof(*h));
	u = secret_new(KEY);
	r = h && u ? hmac_init(h, passphrase, passphrase_len) : -1;
	memcpy(first, salt, salt_len);
	memcpy(first + salt_len, "\0\0\0\1", 4); /* one block is all that is asked for */
	if (!r)
		r = hmac_do(h, first, salt_len + 4, u);
	if (!r)
		memcpy(out, u, KEY);
	for (uint32_t i = 1; i < rounds && !r; i++) {
		r = hmac_do(h, u, KEY, u);
		for (unsigned k = 0; k < KEY; k++)
			out[k] ^= u[k];
	}
	secret_free(u, KEY);
	secret_free(h, sizeof(*h));
	return r ? -ENOMEM : 0;
}

/* -- the box ---------------------------------------------------------------------------------- */

static int box(uint8_t *out, const uint8_t *in, size_t n, uint8_t *tag, const uint8_t key[KEY],
               const uint8_t *head, const void *aad, size_t aad_len, int encrypt)
{
	uint8_t all[HEAD + AAD];
	Aes aes;
	int r;

	if (aad_len > AAD)
		return -EINVAL;
	memcpy(all, head, HEAD);
	if (aad_len)
		memcpy(all + HEAD, aad, aad_len);
	r = wc_AesInit(&aes, NULL, INVALID_DEVID);
	if (r)
		return -ENOMEM;
	r = wc_AesGcmSetKey(&aes, key, KEY);
	if (!r && encrypt)
		r = wc_AesGcmEncrypt(&aes, out, in, (word32)n, head + 1 + 4 + SALT, NONCE, tag, TAG,
		                     all, (word32)(HEAD + aad_len));
	else if (!r)
		r = wc_AesGcmDecrypt(&aes, out, in, (word32)n, head + 1 + 4 + SALT, NONCE, tag, TAG,
		                     all, (word32)(HEAD + aad_len));
	wc_AesFree(&aes);
	return r ? -EKEYREJECTED : 0;
}

int vault_seal(uint8_t *out, const char *passphrase, size_t passphrase_len, uint32_t rounds,
               const void *secret, size_t n, const void *aad, size_t aad_len)
{
	uint8_t *key;
	int err;

	if (passphrase_len < VAULT_PASSPHRASE_MIN || passphrase_len > VAULT_PASSPHRASE_MAX ||
	    !rounds || rounds > VAULT_ROUNDS_MAX)
		return -EINVAL;
	out[0] = KIND;
	for (unsigned i = 0; i < 4; i++)
		out[1 + i] = (uint8_t)(rounds >> (24 - 8 * i));
	if (secret_random(out + 1 + 4, SALT + NONCE))
		return -EIO;
	key = secret_new(KEY);
	if (!key)
		return -ENOMEM;
	err = vault_derive(key, passphrase, passphrase_len, out + 1 + 4, SALT, rounds);
	if (!err)
		err = box(out + HEAD, secret, n, out + HEAD + n, key, out, aad, aad_len, 1);
	secret_free(key, KEY);
	return err;
}

int vault_open(uint8_t *secret, const char *passphrase, size_t passphrase_len,
               const uint8_t *sealed, size_t n, const void *aad, size_t aad_len)
{
	uint32_t rounds = 0;
	uint8_t tag[TAG];
	uint8_t *key;
	int err;

	if (n < VAULT_OVERHEAD || sealed[0] != KIND)
		return -EBADMSG;
	n -= VAULT_OVERHEAD;
	for (unsigned i = 0; i < 4; i++)
		rounds = rounds << 8 | sealed[1 + i];
	if (!rounds || rounds > VAULT_ROUNDS_MAX)
		return -EBADMSG;
	if (passphrase_len > VAULT_PASSPHRASE_MAX)
		return -EKEYREJECTED;
	key = secret_new(KEY);
	if (!key)
		return -ENOMEM;
	memcpy(tag, sealed + HEAD + n, TAG);
	err = vault_derive(key, passphrase, passphrase_len, sealed + 1 + 4, SALT, rounds);
	if (!err)
		err = box(secret, sealed + HEAD, n, tag, key, sealed, aad, aad_len, 0);
	if (err)
		secret_wipe(secret, n);
	secret_free(key, KEY);
	return err;
}
