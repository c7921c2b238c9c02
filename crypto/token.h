/* SPDX-License-Identifier: GPL-3.0-or-later */
/* token - join tokens: make, parse, prove, verify.
 *
 *   GNL1.<role>.<base32, lower case, no padding, of pin (32) | id (8) | secret (16) | CRC-32 (4)>
 *
 * The CRC (IEEE 802.3, big-endian) covers "GNL1.<role>." and the 56 bytes before it.
 * The secret seeds a P-256 key pair (HKDF-SHA256, info "ginnel-token-1"); managers keep the public
 * half alone, so that a copied registry joins nobody. The joiner proves itself with a signature over
 *   "ginnel-join-1" | 0 | exporter (32) | CSR
 * where exporter is TLS's EXPORTER-ginnel-join of this very connection, so that a proof cannot be
 * relayed. The token's text is a secret: wipe it.
 */
#pragma once
#include "crypto/proof.h"

#define TOKEN_ID_LEN         8
#define TOKEN_ID_TEXT        16 /* as hex */
#define TOKEN_SECRET_LEN     16
#define TOKEN_TEXT_MAX       128
#define TOKEN_EXPORTER_LEN   PROOF_EXPORTER_LEN
#define TOKEN_EXPORTER_LABEL PROOF_EXPORTER_LABEL

struct token {
	enum cert_role role;
	uint8_t pin[32];
	uint8_t id[TOKEN_ID_LEN];
	uint8_t secret[TOKEN_SECRET_LEN];
};

/* A new one with random id and secret. -EINVAL no such role. */
int token_new(struct token *t, enum cert_role role, const uint8_t pin[32]);
/* Writes 102 or 105 characters and a NUL. -E2BIG. */
int token_format(const struct token *t, char *text, size_t max);
/* -EINVAL not a token at all, -EBADMSG mistyped or cut (role, length, alphabet or CRC). White
 * space around it is passed over.
 */
int token_parse(struct token *t, const char *text, size_t len);
void token_id_format(const uint8_t id[TOKEN_ID_LEN], char out[TOKEN_ID_TEXT + 1]);
/* 16 lower case hex digits. 0 or -EINVAL. */
int token_id_parse(uint8_t id[TOKEN_ID_LEN], const char *text);
/* The public half; spki has CERT_SPKI_MAX bytes. */
int token_public(const struct token *t, uint8_t *spki, size_t *len);
/* The joiner's proof; sig has CERT_SIG_MAX bytes. */
int token_prove(const struct token *t, const uint8_t exporter[TOKEN_EXPORTER_LEN],
                const uint8_t *csr, size_t csr_len, uint8_t *sig, size_t *sig_len);
/* 0 or -EBADMSG. */
int token_verify(const uint8_t *spki, size_t spki_len, const uint8_t exporter[TOKEN_EXPORTER_LEN],
                 const uint8_t *csr, size_t csr_len, const uint8_t *sig, size_t sig_len);
