/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/ca.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/claim.h"
#include "crypto/der.h"
#include "crypto/secret.h"
#include "crypto/x509.h"

#define SERIAL     16
#define KEY_ID     20 /* RFC 7093 section 2, method 1: the leftmost 160 bits of SHA-256 */
#define URI_MAX    (sizeof("spiffe:///node/") + (size_t)2 * CERT_NAME_MAX)
#define COMMON_MAX 64 /* RFC 5280, ub-common-name */

struct ca {
	struct cert_key *key;
	unsigned n;
	uint8_t der[CERT_CHAIN_MAX][CERT_DER_MAX];
	size_t len[CERT_CHAIN_MAX];
	struct x509 own; /* points into der[0] */
};

/* What a certificate is made of. */
struct draft {
	struct der issuer; /* Name; at NULL: its own */
	struct der issuer_key_id;
	const char *organisation, *common;
	time_t not_before, not_after;
	const uint8_t *spki;
	size_t spki_len;
	int path_len;                 /* of a CA; -1: no CA */
	const struct ca_grant *grant; /* of a node */
};

/* -- writing a certificate ----------------------------------------------------------------------- */

static void key_id(uint8_t out[KEY_ID], const uint8_t *spki, size_t len)
{
	const size_t head = sizeof(x509_p256_head) - 1; /* the point's first byte counts */
	uint8_t hash[32];

	cert_spki_hash(spki + head, len - head, hash);
	memcpy(out, hash, KEY_ID);
}

/* Opens Extension { oid, critical, OCTET STRING }; the marks are for extension_close. */
static void extension_open(struct der_out *o, size_t marks[2], const uint8_t *oid, size_t n,
                           bool critical)
{
	marks[0] = der_open(o, DER_SEQUENCE);
	der_put_element(o, DER_OID, oid, n);
	if (critical)
		der_put_true(o);
	marks[1] = der_open(o, DER_OCTET_STRING);
}

static void extension_close(struct der_out *o, const size_t marks[2])
{
	der_close(o, marks[1]);
	der_close(o, marks[0]);
}

static void basic_put(struct der_out *o, int path_len)
{
	size_t marks[2], seq;

	extension_open(o, marks, x509_oid_basic, sizeof(x509_oid_basic), true);
	seq = der_open(o, DER_SEQUENCE);
	if (path_len >= 0) {
		der_put_true(o);
		der_put_uint(o, (uint64_t)path_len);
	}
	der_close(o, seq);
	extension_close(o, marks);
}

/* keyUsage; as a named bit list it ends with its last one-bit. */
static void usage_put(struct der_out *o, uint8_t usage)
{
	const uint8_t bits[2] = {(uint8_t)__builtin_ctz(usage), usage};
	size_t marks[2];

	extension_open(o, marks, x509_oid_usage, sizeof(x509_oid_usage), true);
	der_put_element(o, DER_BIT_STRING, bits, sizeof(bits));
	extension_close(o, marks);
}

static void purposes_put(struct der_out *o)
{
	size_t marks[2], seq;

	extension_open(o, marks, x509_oid_purposes, sizeof(x509_oid_purposes), false);
	seq = der_open(o, DER_SEQUENCE);
	der_put_element(o, DER_OID, x509_oid_client, sizeof(x509_oid_client));
	der_put_element(o, DER_OID, x509_oid_server, sizeof(x509_oid_server));
	der_close(o, seq);
	extension_close(o, marks);
}

static void key_ids_put(struct der_out *o, const struct draft *t)
{
	uint8_t id[KEY_ID];
	size_t marks[2], seq;

	key_id(id, t->spki, t->spki_len);
	extension_open(o, marks, x509_oid_skid, sizeof(x509_oid_skid), false);
	der_put_element(o, DER_OCTET_STRING, id, sizeof(id));
	extension_close(o, marks);
	if (!t->issuer_key_id.at)
		return; /* RFC 5280 section 4.2.1.1: a root needs none */
	extension_open(o, marks, x509_oid_akid, sizeof(x509_oid_akid), false);
	seq = der_open(o, DER_SEQUENCE);
	der_put_element(o, DER_PRIMITIVE(0), t->issuer_key_id.at, t->issuer_key_id.n);
	der_close(o, seq);
	extension_close(o, marks);
}

static void node_put(struct der_out *o, const struct ca_grant *g)
{
	char uri[URI_MAX];
	size_t marks[2], seq;

	snprintf(uri, sizeof(uri), "spiffe://%s/node/%s", g->cluster, g->node);
	extension_open(o, marks, x509_oid_san, sizeof(x509_oid_san), false);
	seq = der_open(o, DER_SEQUENCE);
	der_put_element(o, DER_PRIMITIVE(6), uri, strlen(uri));
	der_close(o, seq);
	extension_close(o, marks);

	extension_open(o, marks, claim_oid, sizeof(claim_oid), false);
	claim_put(o, g->role, g->incarnation, g->issue, g->labels);
	extension_close(o, marks);
}

static void extensions_put(struct der_out *o, const struct draft *t)
{
	size_t field = der_open(o, DER_FIELD(3));
	size_t seq = der_open(o, DER_SEQUENCE);

	basic_put(o, t->path_len);
	if (t->path_len >= 0) {
		usage_put(o, X509_KEY_CERT_SIGN | X509_CRL_SIGN);
	} else {
		usage_put(o, X509_DIGITAL_SIGNATURE);
		purposes_put(o);
	}
	key_ids_put(o, t);
	if (t->grant)
		node_put(o, t->grant);
	der_close(o, seq);
	der_close(o, field);
}

static void tbs_put(struct der_out *o, const struct draft *t, const uint8_t serial[SERIAL])
{
	size_t tbs = der_open(o, DER_SEQUENCE);
	size_t part = der_open(o, DER_FIELD(0));

	der_put_uint(o, 2); /* v3 */
	der_close(o, part);
	der_put_integer(o, serial, SERIAL);
	der_put(o, x509_ecdsa_sha256, sizeof(x509_ecdsa_sha256));
	if (t->issuer.at)
		der_put(o, t->issuer.at, t->issuer.n);
	else
		x509_put_name(o, t->organisation, t->common);
	part = der_open(o, DER_SEQUENCE);
	der_put_time(o, t->not_before);
	der_put_time(o, t->not_after);
	der_close(o, part);
	x509_put_name(o, t->organisation, t->common);
	der_put(o, t->spki, t->spki_len);
	extensions_put(o, t);
	der_close(o, tbs);
}

/* Writes and signs. out has CERT_DER_MAX bytes. */
static int draft_sign(const struct draft *t, const struct cert_key *key, uint8_t *out, size_t *len)
{
	uint8_t tbs[CERT_DER_MAX], serial[SERIAL], sig[CERT_SIG_MAX];
	struct der_out o;
	size_t sig_len;
	int err;

	err = secret_random(serial, sizeof(serial));
	if (err)
		return err;
	serial[0] = (uint8_t)((serial[0] & 0x3f) | 0x40); /* positive, and always as long */
	der_out_init(&o, tbs, sizeof(tbs));
	tbs_put(&o, t, serial);
	if (o.err)
		return o.err;
	err = cert_key_sign(key, tbs, o.n, sig, &sig_len);
	if (err)
		return err;
	return x509_join(out, CERT_DER_MAX, len, tbs, o.n, sig, sig_len);
}

/* -- the ca -------------------------------------------------------------------------------------- */

int ca_new(struct ca **out, const char *cluster, time_t now)
{
	char common[COMMON_MAX + 1];
	struct draft t = {
		.organisation = cluster,
		.common = common,
		.not_before = now - CA_BACKDATE,
		.not_after = now + CA_ROOT_LIFE,
		.path_len = 1,
	};
	struct ca *c;
	int err;

	if (!cert_name_ok(cluster))
		return -EINVAL;
	snprintf(common, sizeof(common), "root");
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	err = cert_key_new(&c->key);
	if (err)
		goto fail_key;
	t.spki = cert_key_spki(c->key, &t.spki_len);
	err = draft_sign(&t, c->key, c->der[0], &c->len[0]);
	if (err)
		goto fail_sign;
	c->n = 1;
	err = x509_parse(&c->own, c->der[0], c->len[0]);
	if (err)
		goto fail_sign;
	*out = c;
	return 0;
fail_sign:
	cert_key_free(c->key);
fail_key:
	free(c);
	return err;
}

/* Is each a CA, and issued by the next one? */
static int chain_check(const struct ca *c)
{
	struct x509 below, above;

	for (unsigned i = 0; i < c->n; i++) {
		if (x509_parse(&above, c->der[i], c->len[i]) < 0)
			return -EBADMSG;
		if (!above.ca || (above.has_usage && !(above.usage & X509_KEY_CERT_SIGN)))
			return -EINVAL;
		if (i > 0 && x509_verify(&below, &above) < 0)
			return -EINVAL;
		below = above;
	}
	return 0;
}

static int chain_load(struct ca *c, const uint8_t *pem, size_t len)
{
	uint8_t bytes[CERT_CHAIN_MAX * CERT_DER_MAX];
	struct cert_chain chain;
	int err;

	err = cert_chain_from_pem(&chain, bytes, sizeof(bytes), pem, len);
	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	c->n = chain.n;
	for (unsigned i = 0; i < chain.n; i++) {
		memcpy(c->der[i], chain.at[i].der, chain.at[i].len);
		c->len[i] = chain.at[i].len;
	}
	err = chain_check(c);
	if (err)
		return err;
	if (!cert_key_matches(c->key, c->der[0], c->len[0]))
		return -EINVAL;
	return x509_parse(&c->own, c->der[0], c->len[0]);
}

int ca_load(struct ca **out, const uint8_t *key_pem, size_t key_len, const uint8_t *chain_pem,
            size_t chain_len)
{
	struct ca *c;
	int err;

	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	err = cert_key_from_pem(&c->key, key_pem, key_len);
	if (err)
		goto fail_key;
	err = chain_load(c, chain_pem, chain_len);
	if (err)
		goto fail_chain;
	*out = c;
	return 0;
fail_chain:
	cert_key_free(c->key);
fail_key:
	free(c);
	return err;
}

void ca_free(struct ca *c)
{
	if (!c)
		return;
	cert_key_free(c->key);
	free(c);
}

const struct cert_key *ca_key(const struct ca *c)
{
	return c->key;
}

void ca_chain(const struct ca *c, struct cert_chain *out)
{
	out->n = c->n;
	for (unsigned i = 0; i < c->n; i++) {
		out->at[i].der = c->der[i];
		out->at[i].len = c->len[i];
	}
}

/* -- issuing ------------------------------------------------------------------------------------- */

/* The latest that a certificate under this chain may end. */
static time_t chain_end(const struct ca *c)
{
	time_t end = c->own.not_after;
	struct x509 above;

	for (unsigned i = 1; i < c->n; i++) {
		if (x509_parse(&above, c->der[i], c->len[i]) == 0 && above.not_after < end)
			end = above.not_after;
	}
	return end;
}

static int issue(const struct ca *c, struct draft *t, uint8_t *out, size_t *len)
{
	time_t end = chain_end(c);

	if (cert_spki_check(t->spki, t->spki_len) < 0 || t->not_after <= t->not_before)
		return -EINVAL;
	if (t->not_before >= end)
		return -EKEYEXPIRED;
	if (t->not_after > end)
		t->not_after = end;
	t->issuer = c->own.subject;
	t->issuer_key_id = c->own.skid;
	return draft_sign(t, c->key, out, len);
}

int ca_issue(struct ca *c, const struct ca_grant *g, const uint8_t *spki, size_t spki_len,
             uint8_t *out, size_t *len)
{
	struct draft t = {
		.organisation = g->cluster,
		.common = g->node,
		.not_before = g->not_before,
		.not_after = g->not_after,
		.spki = spki,
		.spki_len = spki_len,
		.path_len = -1,
		.grant = g,
	};

	if (!cert_name_ok(g->cluster) || !cert_name_ok(g->node))
		return -EINVAL;
	return issue(c, &t, out, len);
}

int ca_issue_intermediate(struct ca *c, const char *cluster, time_t now, const uint8_t *spki,
                          size_t spki_len, uint8_t *out, size_t *len)
{
	char common[COMMON_MAX + 1];
	struct draft t = {
		.organisation = cluster,
		.common = common,
		.not_before = now - CA_BACKDATE,
		.not_after = now + CA_INTERMEDIATE_LIFE,
		.spki = spki,
		.spki_len = spki_len,
		.path_len = 0,
	};
	uint8_t hash[32];
	size_t at;

	if (!cert_name_ok(cluster) || c->own.path_len == 0)
		return -EINVAL;
	/* Two intermediates of one root need two names, or a chain could be built wrongly. */
	cert_spki_hash(spki, spki_len, hash);
	at = (size_t)snprintf(common, sizeof(common), "ca ");
	for (size_t i = 0; i < 8; i++)
		at += (size_t)snprintf(common + at, sizeof(common) - at, "%02x", (unsigned)hash[i]);
	return issue(c, &t, out, len);
}
