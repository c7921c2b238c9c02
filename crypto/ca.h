/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ca - issues: the root, an intermediate, node and manager certificates.
 *
 * Decides nothing: who gets what is the ledger's and the signer's matter. Takes explicit time.
 * Held by the ca process, and by `ginnel init` for a moment.
 */
#pragma once
#include "crypto/cert.h"

#define CA_BACKDATE          3600 /* notBefore lies this far back: clocks differ */
#define CA_NODE_LIFE         (7 * 86400)
#define CA_ROOT_LIFE         (10LL * 365 * 86400)
#define CA_INTERMEDIATE_LIFE (90LL * 86400)

struct ca;

/* A new root for a cluster: P-256, CA:TRUE, keyCertSign and cRLSign, path length 1. */
int ca_new(struct ca **out, const char *cluster, time_t now);
/* From a PEM key and a PEM chain (own certificate first, up to the root last). -EBADMSG malformed,
 * -EINVAL key and certificate do not belong together or it is no CA.
 */
int ca_load(struct ca **out, const uint8_t *key_pem, size_t key_len, const uint8_t *chain_pem,
            size_t chain_len);
void ca_free(struct ca *c);

const struct cert_key *ca_key(const struct ca *c);
/* Own certificate first, root last; borrowed. */
void ca_chain(const struct ca *c, struct cert_chain *out);

/* What a certificate is to say. */
struct ca_grant {
	const char *cluster;
	const char *node;
	enum cert_role role;
	const struct cert_labels *labels; /* NULL: none */
	uint64_t incarnation;
	uint64_t issue;
	time_t not_before, not_after;
};

/* Issues for the public key in spki (DER). out has CERT_DER_MAX bytes. Never outlives the CA's own
 * certificate: not_after is cut to it. -EINVAL bad key or grant, -EKEYEXPIRED the CA's certificate
 * has ended, -E2BIG the labels do not fit into CERT_DER_MAX.
 */
int ca_issue(struct ca *c, const struct ca_grant *g, const uint8_t *spki, size_t spki_len,
             uint8_t *out, size_t *len);

/* An intermediate, path length 0, for the key in spki. -EINVAL besides: c is an intermediate. */
int ca_issue_intermediate(struct ca *c, const char *cluster, time_t now, const uint8_t *spki,
                          size_t spki_len, uint8_t *out, size_t *len);
