/* SPDX-License-Identifier: GPL-3.0-or-later */
/* statement - bytes that a cluster's ca signed, and what shows that it did.
 *
 * A body, whose first bytes say what it is (no two kinds begin alike), and a tail:
 *   n (1): 0, or 1 and then  length (2) | the intermediate that signed (DER)
 *   length (1) | ECDSA with SHA-256 over all before it, by a root or that intermediate
 * The signer's dates do not matter: what was said stays said. Pure; any thread.
 */
#pragma once
#include "crypto/cert.h"

#define STATEMENT_TAIL_MAX (1 + 2 + CERT_DER_MAX + 1 + CERT_SIG_MAX)

/* Appends the tail to the *len bytes in buf, of max bytes. chain: the signer's own certificate first,
 * root last. -E2BIG.
 */
int statement_sign(uint8_t *buf, size_t max, size_t *len, const struct cert_key *key,
                   const struct cert_chain *chain);
/* Do the bytes behind the first `body` of them vouch for those? 0, -EBADMSG. */
int statement_check(const uint8_t *bytes, size_t len, size_t body, const struct cert_trust *trust);

/* -- the generation of a cluster's records ------------------------------------------------------
 *
 * Each restore of a backup begins another one; a node takes it for a reason to go back behind what it
 * has seen, and so it has to be the ca's word. "ginnel-generation-1" | 00 | generation (8).
 */
#define GENERATION_PROOF_MAX (32 + STATEMENT_TAIL_MAX)

int generation_sign(uint8_t out[GENERATION_PROOF_MAX], size_t *len, uint64_t generation,
                    const struct cert_key *key, const struct cert_chain *chain);
/* 0, -EBADMSG: it is no proof of that generation. */
int generation_check(const uint8_t *proof, size_t len, uint64_t generation,
                     const struct cert_trust *trust);
