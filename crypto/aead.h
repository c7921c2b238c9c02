/* SPDX-License-Identifier: GPL-3.0-or-later */
/* aead - the ciphers that seal records, whoever computes them, behind one table.
 *
 * The handshake decides the cipher; aead_start decides, once, who computes it: the first of those
 * there are that this processor can run and that answers known questions rightly. AES-128-GCM is
 * ipsec-mb's on x86-64, wolfCrypt's elsewhere; ChaCha20-Poly1305 is wolfCrypt's.
 *
 * A state belongs to one owner at a time. Nothing here allocates.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEAD_NAME_NONE "none (benchmark build)"

#define AEAD_KEY_MAX   32
#define AEAD_NONCE     12
#define AEAD_TAG       16
#define AEAD_SAMPLE    16 /* bytes of ciphertext that a record number's mask comes from */
#define AEAD_MASK      2
#define AEAD_ALIGN     64 /* of a state */
#define AEAD_STATE_MAX 2048

enum aead_cipher { AEAD_AES_128_GCM, AEAD_CHACHA20_POLY1305, AEAD_CIPHERS };

/* What is authenticated beside the text, and under which number. */
struct aead_about {
	uint8_t nonce[AEAD_NONCE];
	const uint8_t *aad;
	size_t aad_len;
};

struct aead {
	const char *name; /* "AES-128-GCM (ipsec-mb)" */
	enum aead_cipher cipher;
	size_t key_len; /* of both keys */
	size_t state_len;
	/* key seals, sn masks record numbers. 0, -EIO; then nothing is left to clear. */
	int (*init)(void *state, const uint8_t *key, const uint8_t *sn);
	void (*clear)(void *state);
	/* in and out are the same, or do not overlap. 0, -EIO. */
	int (*seal)(void *state, uint8_t *out, const uint8_t *in, size_t len,
	            const struct aead_about *about, uint8_t tag[AEAD_TAG]);
	/* In place. 0; -EBADMSG the tag is wrong, and text is what it was. */
	int (*open)(void *state, uint8_t *text, size_t len, const struct aead_about *about,
	            const uint8_t tag[AEAD_TAG]);
	/* RFC 9147 section 4.2.3. 0, -EIO. */
	int (*mask)(void *state, const uint8_t sample[AEAD_SAMPLE], uint8_t mask[AEAD_MASK]);
};

/* Once in a process, before threads. 0, -ENOTSUP a cipher is left without anybody to compute it. */
int aead_start(void);
/* After aead_start. */
const struct aead *aead_find(enum aead_cipher cipher);
/* The one to ask for in a handshake: AES where the processor has it, for tables are slow and leak
 * the key through the cache.
 */
enum aead_cipher aead_preferred(void);
/* Who computes the preferred one: "AES-128-GCM (ipsec-mb)"; in a benchmark build, which seals
 * nothing, AEAD_NAME_NONE.
 */
const char *aead_name(void);
/* Does it answer rightly? Also for tests. */
bool aead_known_answers(const struct aead *a);

/* -- between aead.c and those who compute ------------------------------------------------------ */

/* NULL: not in this build, or not on this processor. */
const struct aead *aead_mb(void);
const struct aead *aead_wolf_aes(void);
const struct aead *aead_wolf_chacha(void);
/* Does this build of wolfSSL, which computes the handshake, use the processor's AES? */
bool aead_wolf_has_aes(void);
