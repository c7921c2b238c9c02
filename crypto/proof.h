/* SPDX-License-Identifier: GPL-3.0-or-later */
/* proof - a signature that says what it is for, on which connection, and over what.
 *
 *   ECDSA-SHA256( label | 0 | exporter (32) | body )
 *
 * where exporter is TLS's EXPORTER-ginnel-join of this very connection, so that a proof cannot be
 * relayed, and body is the certificate request, or the certificate itself where nothing is to be
 * signed. Labels end in a NUL and none begins another: a proof for one thing is none for another.
 * Pure; any thread.
 */
#pragma once
#include "crypto/cert.h"

#define PROOF_EXPORTER_LEN   32
#define PROOF_EXPORTER_LABEL "EXPORTER-ginnel-join"

enum proof_kind {
	PROOF_JOIN,  /* by a token's key, over the request */
	PROOF_RENEW, /* by the certificate's key, over the request for the next one */
	PROOF_LEAVE, /* by the certificate's key, over that certificate */
};

/* sig has CERT_SIG_MAX bytes. -EBADMSG body is empty or longer than CERT_DER_MAX. */
int proof_make(enum proof_kind kind, const struct cert_key *key,
               const uint8_t exporter[PROOF_EXPORTER_LEN], const uint8_t *body, size_t len,
               uint8_t *sig, size_t *sig_len);
/* 0 or -EBADMSG. spki is the key's public half. */
int proof_check(enum proof_kind kind, const uint8_t *spki, size_t spki_len,
                const uint8_t exporter[PROOF_EXPORTER_LEN], const uint8_t *body, size_t len,
                const uint8_t *sig, size_t sig_len);
