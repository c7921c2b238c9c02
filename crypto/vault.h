/* SPDX-License-Identifier: GPL-3.0-or-later */
/* vault - a secret sealed to a passphrase, to lie where others may one day copy it.
 *
 * PBKDF2 (RFC 8018) with HMAC-SHA256, then AES-256-GCM:
 *   kind (1): 1 | rounds (4) | salt (16) | nonce (12) | ciphertext | tag (16)
 * The tag covers the header and whatever the caller says belongs to it. Rounds cost a guesser what
 * they cost us, a second or less; a passphrase that can be guessed is guessed all the same, so that short ones
 * are refused. No I/O, any thread.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define VAULT_ROUNDS         1000000
#define VAULT_ROUNDS_MAX     10000000 /* of a file: else it could keep us busy for ever */
#define VAULT_OVERHEAD       (1 + 4 + 16 + 12 + 16)
#define VAULT_PASSPHRASE_MIN 12 /* bytes */
#define VAULT_PASSPHRASE_MAX 1024

/* out has n + VAULT_OVERHEAD bytes. -EINVAL the passphrase is too short or too long, -EIO no random
 * numbers.
 */
int vault_seal(uint8_t *out, const char *passphrase, size_t passphrase_len, uint32_t rounds,
               const void *secret, size_t n, const void *aad, size_t aad_len);
/* secret has n - VAULT_OVERHEAD bytes, zeroed on error. -EBADMSG cut or of no known kind; -EKEYREJECTED
 * another passphrase, or a byte was changed.
 */
int vault_open(uint8_t *secret, const char *passphrase, size_t passphrase_len,
               const uint8_t *sealed, size_t n, const void *aad, size_t aad_len);

/* PBKDF2-HMAC-SHA256 for 32 bytes; for tests. */
int vault_derive(uint8_t out[32], const char *passphrase, size_t passphrase_len,
                 const uint8_t *salt, size_t salt_len, uint32_t rounds);
