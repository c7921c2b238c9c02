/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/statement.h"

#include <errno.h>
#include <string.h>

#include "crypto/x509.h"

#define GENERATION_MAGIC "ginnel-generation-1" /* with its NUL */
#define GENERATION_BODY  (sizeof(GENERATION_MAGIC) + 8)

/* -- writing ---------------------------------------------------------------------------------- */

static int put(uint8_t *buf, size_t max, size_t *len, const void *p, size_t n)
{
	if (n > max - *len)
		return -E2BIG;
	memcpy(buf + *len, p, n);
	*len += n;
	return 0;
}

/* All but the root, which everybody has. */
static int put_issuers(uint8_t *buf, size_t max, size_t *len, const struct cert_chain *chain)
{
	uint8_t n = (uint8_t)(chain->n - 1);
	int err = chain->n && chain->n <= 2 ? put(buf, max, len, &n, 1) : -EINVAL;

	for (unsigned i = 0; i < n && !err; i++) {
		size_t der = chain->at[i].len;
		uint8_t be[2] = {(uint8_t)(der >> 8), (uint8_t)der};

		err = der <= CERT_DER_MAX ? put(buf, max, len, be, 2) : -E2BIG;
		if (!err)
			err = put(buf, max, len, chain->at[i].der, der);
	}
	return err;
}

int statement_sign(uint8_t *buf, size_t max, size_t *len, const struct cert_key *key,
                   const struct cert_chain *chain)
{
	uint8_t sig[1 + CERT_SIG_MAX];
	size_t at = *len, n;
	int err;

	if (at > max)
		return -E2BIG;
	err = put_issuers(buf, max, &at, chain);
	if (!err)
		err = cert_key_sign(key, buf, at, sig + 1, &n);
	if (err)
		return err;
	sig[0] = (uint8_t)n;
	err = put(buf, max, &at, sig, 1 + n);
	if (!err)
		*len = at;
	return err;
}

/* -- reading ---------------------------------------------------------------------------------- */

static int check_signer(const struct x509 *issuer, bool intermediate, const struct x509 *root)
{
	if (!intermediate)
		return 0;
	if (!issuer->ca || (issuer->has_usage && !(issuer->usage & X509_KEY_CERT_SIGN)))
		return -EBADMSG;
	return x509_verify(issuer, root);
}

static int check_signature(const uint8_t *bytes, size_t signed_len, const struct der *sig,
                           const struct der *intermediate, const struct cert_trust *trust)
{
	struct x509 issuer, root;
	struct cert_chain roots;
	const struct der *key;
	bool below = intermediate->at != NULL;

	if (below && x509_parse(&issuer, intermediate->at, intermediate->n) < 0)
		return -EBADMSG;
	cert_trust_roots(trust, &roots);
	for (unsigned i = 0; i < roots.n; i++) {
		if (x509_parse(&root, roots.at[i].der, roots.at[i].len) < 0 ||
		    check_signer(&issuer, below, &root))
			continue;
		key = below ? &issuer.spki : &root.spki;
		if (!cert_verify(key->at, key->n, bytes, signed_len, sig->at, sig->n))
			return 0;
	}
	return -EBADMSG;
}

int statement_check(const uint8_t *bytes, size_t len, size_t body, const struct cert_trust *trust)
{
	struct der intermediate = {.at = NULL}, sig;
	size_t at = body;

	if (at >= len || bytes[at] > 1)
		return -EBADMSG;
	if (bytes[at++] == 1) {
		if (len - at < 2)
			return -EBADMSG;
		intermediate.n = (size_t)bytes[at] << 8 | bytes[at + 1];
		intermediate.at = bytes + at + 2;
		at += 2;
		if (intermediate.n > CERT_DER_MAX || intermediate.n > len - at)
			return -EBADMSG;
		at += intermediate.n;
	}
	if (at >= len || len - at != 1 + (size_t)bytes[at])
		return -EBADMSG;
	sig.n = bytes[at];
	sig.at = bytes + at + 1;
	return check_signature(bytes, at, &sig, &intermediate, trust);
}

/* -- the generation --------------------------------------------------------------------------- */

static void generation_body(uint8_t out[GENERATION_BODY], uint64_t generation)
{
	memcpy(out, GENERATION_MAGIC, sizeof(GENERATION_MAGIC));
	for (unsigned i = 0; i < 8; i++)
		out[sizeof(GENERATION_MAGIC) + i] = (uint8_t)(generation >> (56 - 8 * i));
}

int generation_sign(uint8_t out[GENERATION_PROOF_MAX], size_t *len, uint64_t generation,
                    const struct cert_key *key, const struct cert_chain *chain)
{
	*len = GENERATION_BODY;
	generation_body(out, generation);
	return statement_sign(out, GENERATION_PROOF_MAX, len, key, chain);
}

int generation_check(const uint8_t *proof, size_t len, uint64_t generation,
                     const struct cert_trust *trust)
{
	uint8_t body[GENERATION_BODY];

	generation_body(body, generation);
	if (len < sizeof(body) || memcmp(proof, body, sizeof(body)) != 0)
		return -EBADMSG;
	return statement_check(proof, len, sizeof(body), trust);
}
