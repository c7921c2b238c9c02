/* SPDX-License-Identifier: GPL-3.0-or-later */
/* zoo - certificates that must be refused, each for one reason, and the few that must not.
 *
 * Written by a hand of its own and not by crypto/ca, which makes no bad ones. One list says what
 * each is and how cert_judge has to answer to it. For unit tests, and for tests/tools/mkcert.
 */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/ca.h"
#include "crypto/claim.h"
#include "crypto/der.h"
#include "crypto/secret.h"
#include "crypto/x509.h"

/* KIND, name, the answer when a node NAME of CLUSTER is expected. */
#define ZOO(X)                                           \
	X(NODE, "node", OK)                              \
	X(PLAIN, "plain", OK)                            \
	X(UNKNOWN, "unknown-extension", OK)              \
	X(UNDER, "under-intermediate", OK)               \
	X(MANAGER, "manager", ROLE)                      \
	X(OTHER_CA, "other-ca", OTHER_CA)                \
	X(SAME_CA, "same-name-ca", OTHER_CA)             \
	X(SELF_SIGNED, "self-signed", SELF_SIGNED)       \
	X(BY_NODE, "by-node", ISSUER_NOT_CA)             \
	X(LONG, "long-chain", CHAIN_LENGTH)              \
	X(EXPIRED, "expired", EXPIRED)                   \
	X(NOT_YET, "not-yet", NOT_YET_VALID)             \
	X(NO_SAN, "no-san", NO_SAN)                      \
	X(TWO_SANS, "two-sans", TWO_SANS)                \
	X(DNS_BESIDE, "dns-beside", TWO_SANS)            \
	X(DNS_ALONE, "dns-alone", OTHER_SAN)             \
	X(UPPER, "upper-case", OTHER_SAN)                \
	X(UPPER_SCHEME, "upper-scheme", OTHER_SAN)       \
	X(PERCENT, "percent", OTHER_SAN)                 \
	X(PORT, "port", OTHER_SAN)                       \
	X(USER, "user", OTHER_SAN)                       \
	X(QUERY, "query", OTHER_SAN)                     \
	X(DEEPER, "deeper", OTHER_SAN)                   \
	X(NUL, "nul", OTHER_SAN)                         \
	X(WORKLOAD, "workload", OTHER_SAN)               \
	X(OTHER_CLUSTER, "other-cluster", OTHER_CLUSTER) \
	X(OTHER_NAME, "other-name", OTHER_NAME)          \
	X(NO_EKU, "no-eku", USAGE)                       \
	X(WRONG_EKU, "wrong-eku", USAGE)                 \
	X(CLIENT_ONLY, "client-only", USAGE)             \
	X(SERVER_ONLY, "server-only", USAGE)             \
	X(NO_SIGNATURE, "no-signature", USAGE)           \
	X(IS_CA, "is-ca", USAGE)                         \
	X(CRITICAL, "critical", CRITICAL)                \
	X(WEAK_KEY, "weak-key", WEAK_KEY)                \
	X(OFF_CURVE, "off-curve", WEAK_KEY)              \
	X(WEAK_HASH, "weak-hash", WEAK_KEY)              \
	X(BAD_CLAIM, "bad-claim", EXTENSION)             \
	X(TWICE, "twice", MALFORMED)

enum zoo_kind {
#define X(id, name, why) ZOO_##id,
	ZOO(X)
#undef X
		ZOO_COUNT
};

static const struct {
	const char *name;
	enum cert_refusal why;
} zoo_list[] = {
#define X(id, name, why) {name, CERT_##why},
	ZOO(X)
#undef X
};

#define ZOO_HOUR      3600
#define ZOO_ROOT_NAME "root"

/* A CA, or a node that acts as one. */
struct zoo_ca {
	struct cert_key *key;
	char cluster[CERT_NAME_MAX + 1], common[CERT_NAME_MAX + 1];
	uint8_t der[CERT_DER_MAX];
	size_t len;
};

/* A node with what it shows. */
struct zoo_node {
	struct cert_key *key;
	uint8_t (*der)[CERT_DER_MAX]; /* CERT_CHAIN_MAX of them */
	struct cert_chain chain;
};

struct zoo_san {
	uint8_t tag; /* DER_PRIMITIVE(6) URI, (2) DNS */
	char text[256];
	size_t n;
};

/* All that a certificate says, to be changed at will before it is written. */
struct zoo_recipe {
	const char *issuer_organisation, *issuer_common;
	const char *organisation, *common;
	time_t not_before, not_after;
	const uint8_t *spki;
	size_t spki_len;
	bool ca;
	int path_len;  /* -1: none */
	uint8_t usage; /* 0: no keyUsage */
	bool client, server, other_purpose;
	unsigned nsans;
	struct zoo_san sans[2];
	bool claim, bad_claim;
	enum cert_role role;
	const struct cert_labels *labels;
	bool critical, unknown, twice, sha384;
};

__attribute__((noreturn)) static inline void zoo_die(const char *what)
{
	fprintf(stderr, "zoo: %s\n", what);
	abort();
}

static inline void zoo_put(struct der_out *o, const uint8_t *oid, size_t n, bool critical,
                           const struct der_out *value)
{
	size_t seq = der_open(o, DER_SEQUENCE);

	der_put_element(o, DER_OID, oid, n);
	if (critical)
		der_put_true(o);
	der_put_element(o, DER_OCTET_STRING, value->buf, value->n);
	der_close(o, seq);
}

static inline void zoo_put_extensions(struct der_out *o, const struct zoo_recipe *r)
{
	static const uint8_t oid_unknown[] = {0x2a, 0x03, 0x04}; /* 1.2.3.4 */
	static const uint8_t oid_code_signing[] = {0x2b, 6, 1, 5, 5, 7, 3, 3};
	uint8_t buf[1600];
	struct der_out v;
	size_t seq;

	der_out_init(&v, buf, sizeof(buf));
	seq = der_open(&v, DER_SEQUENCE);
	if (r->ca) {
		der_put_true(&v);
		if (r->path_len >= 0)
			der_put_uint(&v, (uint64_t)r->path_len);
	}
	der_close(&v, seq);
	zoo_put(o, x509_oid_basic, sizeof(x509_oid_basic), true, &v);
	if (r->twice)
		zoo_put(o, x509_oid_basic, sizeof(x509_oid_basic), true, &v);

	if (r->usage) {
		const uint8_t bits[2] = {(uint8_t)__builtin_ctz(r->usage), r->usage};

		der_out_init(&v, buf, sizeof(buf));
		der_put_element(&v, DER_BIT_STRING, bits, sizeof(bits));
		zoo_put(o, x509_oid_usage, sizeof(x509_oid_usage), true, &v);
	}
	if (r->client || r->server || r->other_purpose) {
		der_out_init(&v, buf, sizeof(buf));
		seq = der_open(&v, DER_SEQUENCE);
		if (r->client)
			der_put_element(&v, DER_OID, x509_oid_client, sizeof(x509_oid_client));
		if (r->server)
			der_put_element(&v, DER_OID, x509_oid_server, sizeof(x509_oid_server));
		if (r->other_purpose)
			der_put_element(&v, DER_OID, oid_code_signing, sizeof(oid_code_signing));
		der_close(&v, seq);
		zoo_put(o, x509_oid_purposes, sizeof(x509_oid_purposes), false, &v);
	}
	if (r->nsans) {
		der_out_init(&v, buf, sizeof(buf));
		seq = der_open(&v, DER_SEQUENCE);
		for (unsigned i = 0; i < r->nsans; i++)
			der_put_element(&v, r->sans[i].tag, r->sans[i].text, r->sans[i].n);
		der_close(&v, seq);
		zoo_put(o, x509_oid_san, sizeof(x509_oid_san), false, &v);
	}
	if (r->claim || r->bad_claim) {
		der_out_init(&v, buf, sizeof(buf));
		claim_put(&v, r->role, 1, 1, r->labels);
		if (r->bad_claim)
			der_put(&v, "", 1);
		zoo_put(o, claim_oid, sizeof(claim_oid), false, &v);
	}
	if (r->critical || r->unknown) {
		der_out_init(&v, buf, sizeof(buf));
		der_put_element(&v, DER_OCTET_STRING, "?", 1);
		zoo_put(o, oid_unknown, sizeof(oid_unknown), r->critical, &v);
	}
}

static inline void zoo_write(const struct zoo_recipe *r, const struct cert_key *issuer,
                             uint8_t *out, size_t *len)
{
	static const uint8_t sha384[] = {0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3};
	const uint8_t *algorithm = r->sha384 ? sha384 : x509_ecdsa_sha256;
	uint8_t tbs[CERT_DER_MAX], serial[8], sig[CERT_SIG_MAX];
	size_t seq, part, list, sig_len;
	struct der_out o;

	if (secret_random(serial, sizeof(serial)))
		zoo_die("no random numbers");
	serial[0] = (serial[0] & 0x3f) | 0x40;
	der_out_init(&o, tbs, sizeof(tbs));
	seq = der_open(&o, DER_SEQUENCE);
	part = der_open(&o, DER_FIELD(0));
	der_put_uint(&o, 2);
	der_close(&o, part);
	der_put_integer(&o, serial, sizeof(serial));
	der_put(&o, algorithm, sizeof(x509_ecdsa_sha256));
	x509_put_name(&o, r->issuer_organisation, r->issuer_common);
	part = der_open(&o, DER_SEQUENCE);
	der_put_time(&o, r->not_before);
	der_put_time(&o, r->not_after);
	der_close(&o, part);
	x509_put_name(&o, r->organisation, r->common);
	der_put(&o, r->spki, r->spki_len);
	part = der_open(&o, DER_FIELD(3));
	list = der_open(&o, DER_SEQUENCE);
	zoo_put_extensions(&o, r);
	der_close(&o, list);
	der_close(&o, part);
	der_close(&o, seq);
	if (o.err || cert_key_sign(issuer, tbs, o.n, sig, &sig_len))
		zoo_die("cannot sign");
	part = o.n;
	der_out_init(&o, out, CERT_DER_MAX);
	seq = der_open(&o, DER_SEQUENCE);
	der_put(&o, tbs, part);
	der_put(&o, algorithm, sizeof(x509_ecdsa_sha256));
	der_put_bits(&o, sig, sig_len);
	der_close(&o, seq);
	if (o.err)
		zoo_die("the certificate is too large");
	*len = o.n;
}

/* -- CAs ----------------------------------------------------------------------------------------- */

static inline struct zoo_recipe zoo_recipe_ca(const struct zoo_ca *ca, const struct zoo_ca *issuer,
                                              int path_len, time_t now)
{
	struct zoo_recipe r = {
		.issuer_organisation = issuer->cluster,
		.issuer_common = issuer->common,
		.organisation = ca->cluster,
		.common = ca->common,
		.not_before = now - ZOO_HOUR,
		.not_after = now + 1000 * ZOO_HOUR,
		.ca = true,
		.path_len = path_len,
		.usage = X509_KEY_CERT_SIGN | X509_CRL_SIGN,
	};

	r.spki = cert_key_spki(ca->key, &r.spki_len);
	return r;
}

static inline void zoo_ca_new(struct zoo_ca *ca, const struct zoo_ca *issuer, const char *cluster,
                              const char *common, int path_len, time_t now)
{
	struct zoo_recipe r;

	memset(ca, 0, sizeof(*ca));
	snprintf(ca->cluster, sizeof(ca->cluster), "%s", cluster);
	snprintf(ca->common, sizeof(ca->common), "%s", common);
	if (cert_key_new(&ca->key))
		zoo_die("cannot make a key");
	r = zoo_recipe_ca(ca, issuer ? issuer : ca, path_len, now);
	zoo_write(&r, issuer ? issuer->key : ca->key, ca->der, &ca->len);
}

/* A root that issues for cluster. path_len as in the certificate, -1: no limit. */
static inline void zoo_root(struct zoo_ca *ca, const char *cluster, int path_len, time_t now)
{
	zoo_ca_new(ca, NULL, cluster, ZOO_ROOT_NAME, path_len, now);
}

static inline void zoo_intermediate(struct zoo_ca *ca, const struct zoo_ca *issuer,
                                    const char *common, time_t now)
{
	zoo_ca_new(ca, issuer, issuer->cluster, common, -1, now);
}

static inline void zoo_ca_clear(struct zoo_ca *ca)
{
	cert_key_free(ca->key);
	ca->key = NULL;
}

static inline struct cert_trust *zoo_trust(const struct zoo_ca *ca)
{
	struct cert_trust *t;
	char pem[CERT_DER_MAX * 2];
	size_t n = 0;

	if (cert_to_pem(pem, sizeof(pem), &n, ca->der, ca->len) ||
	    cert_trust_new(&t, (const uint8_t *)pem, n))
		zoo_die("the root is not taken");
	return t;
}

/* -- nodes --------------------------------------------------------------------------------------- */

static inline void zoo_san(struct zoo_recipe *r, uint8_t tag, const char *text, size_t n)
{
	struct zoo_san *s = &r->sans[r->nsans++];

	s->tag = tag;
	memcpy(s->text, text, n);
	s->n = n;
}

/* The one SAN: form, in which $ stands for the cluster and # for the name. */
static inline void zoo_uri(struct zoo_recipe *r, const char *form, const char *cluster,
                           const char *name)
{
	char text[256];
	int n = 0;

	for (const char *p = form; *p; p++) {
		if (*p == '$')
			n += snprintf(text + n, sizeof(text) - (size_t)n, "%s", cluster);
		else if (*p == '#')
			n += snprintf(text + n, sizeof(text) - (size_t)n, "%s", name);
		else
			text[n++] = *p;
	}
	r->nsans = 0;
	zoo_san(r, DER_PRIMITIVE(6), text, (size_t)n);
}

static inline struct zoo_recipe zoo_recipe_node(const struct zoo_ca *issuer,
                                                const struct cert_key *key, const char *name,
                                                time_t now)
{
	struct zoo_recipe r = {
		.issuer_organisation = issuer->cluster,
		.issuer_common = issuer->common,
		.organisation = issuer->cluster,
		.common = name,
		.not_before = now - ZOO_HOUR,
		.not_after = now + 100 * ZOO_HOUR,
		.path_len = -1,
		.usage = X509_DIGITAL_SIGNATURE,
		.client = true,
		.server = true,
		.claim = true,
		.role = ROLE_NODE,
	};

	r.spki = cert_key_spki(key, &r.spki_len);
	zoo_uri(&r, "spiffe://$/node/#", issuer->cluster, name);
	return r;
}

/* A P-384 key, which the library was built without. */
static const uint8_t zoo_p384[] = {
	0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
	0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04, 0xe1, 0xd5, 0xc6, 0x2b, 0xe0, 0x9a,
	0xb5, 0x13, 0x15, 0x01, 0x3f, 0xf7, 0x9d, 0x85, 0xd0, 0xf3, 0xbf, 0xc3, 0x73, 0xb1, 0xbc,
	0x1c, 0xb7, 0x76, 0x82, 0xc1, 0x0c, 0x04, 0xe8, 0xd7, 0x14, 0x82, 0xa5, 0x9d, 0x13, 0x6a,
	0x40, 0xfb, 0x3c, 0x3a, 0xec, 0xfa, 0x9b, 0x20, 0xed, 0x21, 0x9c, 0x1d, 0x96, 0x3e, 0x49,
	0xa9, 0x38, 0xbf, 0xad, 0x9c, 0xfa, 0x38, 0x25, 0xe4, 0x76, 0xc3, 0x4d, 0x9d, 0x91, 0xed,
	0xee, 0xad, 0x52, 0xb8, 0x43, 0x21, 0xa7, 0x68, 0x1a, 0xe6, 0xe3, 0xea, 0x5b, 0x80, 0xed,
	0x03, 0xa3, 0x99, 0x0d, 0x40, 0x15, 0x37, 0xaf, 0xec, 0x8e, 0x71, 0x89, 0xcd, 0x21, 0x41};

/* What makes the kinds that differ in their own contents alone. odd is for a key of another form. */
static inline void zoo_spoil(struct zoo_recipe *r, enum zoo_kind kind, const char *cluster,
                             const char *name, time_t now, uint8_t odd[CERT_SPKI_MAX])
{
	switch (kind) {
	case ZOO_PLAIN:
		r->claim = false;
		break;
	case ZOO_UNKNOWN:
		r->unknown = true;
		break;
	case ZOO_MANAGER:
		r->role = ROLE_MANAGER;
		break;
	case ZOO_EXPIRED:
		r->not_before = now - 2 * ZOO_HOUR;
		r->not_after = now - 1;
		break;
	case ZOO_NOT_YET:
		r->not_before = now + 2 * ZOO_HOUR;
		break;
	case ZOO_NO_SAN:
		r->nsans = 0;
		break;
	case ZOO_TWO_SANS:
		zoo_san(r, DER_PRIMITIVE(6), "spiffe://x/node/y", 17);
		break;
	case ZOO_DNS_BESIDE:
		zoo_san(r, DER_PRIMITIVE(2), "n.example", 9);
		break;
	case ZOO_DNS_ALONE:
		r->nsans = 0;
		zoo_san(r, DER_PRIMITIVE(2), "n.example", 9);
		break;
	case ZOO_UPPER:
		zoo_uri(r, "spiffe://$/node/#X", cluster, name);
		break;
	case ZOO_UPPER_SCHEME:
		zoo_uri(r, "SPIFFE://$/node/#", cluster, name);
		break;
	case ZOO_PERCENT:
		zoo_uri(r, "spiffe://$/node/#%61", cluster, name);
		break;
	case ZOO_PORT:
		zoo_uri(r, "spiffe://$:4747/node/#", cluster, name);
		break;
	case ZOO_USER:
		zoo_uri(r, "spiffe://me@$/node/#", cluster, name);
		break;
	case ZOO_QUERY:
		zoo_uri(r, "spiffe://$/node/#?x", cluster, name);
		break;
	case ZOO_DEEPER:
		zoo_uri(r, "spiffe://$/node/#/x", cluster, name);
		break;
	case ZOO_NUL:
		zoo_uri(r, "spiffe://$/node/#", cluster, name);
		memcpy(r->sans[0].text + r->sans[0].n, "\0x", 2);
		r->sans[0].n += 2;
		break;
	case ZOO_WORKLOAD:
		zoo_uri(r, "spiffe://$/ns/#", cluster, name);
		break;
	case ZOO_OTHER_CLUSTER:
		zoo_uri(r, "spiffe://$x/node/#", cluster, name);
		break;
	case ZOO_OTHER_NAME:
		zoo_uri(r, "spiffe://$/node/#x", cluster, name);
		break;
	case ZOO_NO_EKU:
		r->client = r->server = false;
		break;
	case ZOO_WRONG_EKU:
		r->client = r->server = false;
		r->other_purpose = true;
		break;
	case ZOO_CLIENT_ONLY:
		r->server = false;
		break;
	case ZOO_SERVER_ONLY:
		r->client = false;
		break;
	case ZOO_NO_SIGNATURE:
		r->usage = 0x08; /* keyAgreement */
		break;
	case ZOO_IS_CA:
		r->ca = true;
		break;
	case ZOO_CRITICAL:
		r->critical = true;
		break;
	case ZOO_WEAK_KEY:
		r->spki = zoo_p384;
		r->spki_len = sizeof(zoo_p384);
		break;
	case ZOO_OFF_CURVE:
		memcpy(odd, r->spki, r->spki_len);
		odd[r->spki_len - 1] ^= 1;
		r->spki = odd;
		break;
	case ZOO_WEAK_HASH:
		r->sha384 = true;
		break;
	case ZOO_BAD_CLAIM:
		r->bad_claim = true;
		break;
	case ZOO_TWICE:
		r->twice = true;
		break;
	default:
		break; /* those that are made by their chain */
	}
}

static inline void zoo_chain_add(struct zoo_node *n, const struct zoo_ca *ca)
{
	unsigned i = n->chain.n++;

	memcpy(n->der[i], ca->der, ca->len);
	n->chain.at[i].der = n->der[i];
	n->chain.at[i].len = ca->len;
}

/* A node of this kind under root, whose cluster it is of. */
static inline void zoo_node(struct zoo_node *n, enum zoo_kind kind, const struct zoo_ca *root,
                            const char *name, const struct cert_labels *labels, time_t now)
{
	struct zoo_ca above[2] = {0};
	const struct zoo_ca *issuer = root;
	const struct cert_key *signer;
	struct zoo_recipe r;
	uint8_t odd[CERT_SPKI_MAX];

	memset(n, 0, sizeof(*n));
	n->der = calloc(CERT_CHAIN_MAX, sizeof(*n->der));
	if (!n->der || cert_key_new(&n->key))
		zoo_die("cannot make a key");
	switch (kind) {
	case ZOO_OTHER_CA:
		zoo_ca_new(&above[0], NULL, root->cluster, "other root", 1, now);
		issuer = &above[0];
		break;
	case ZOO_SAME_CA:
		zoo_ca_new(&above[0], NULL, root->cluster, root->common, 1, now);
		issuer = &above[0];
		break;
	case ZOO_UNDER:
		zoo_intermediate(&above[0], root, "ca 1", now);
		issuer = &above[0];
		break;
	case ZOO_LONG:
		zoo_intermediate(&above[1], root, "ca 1", now);
		zoo_intermediate(&above[0], &above[1], "ca 2", now);
		issuer = &above[0];
		break;
	case ZOO_BY_NODE:
		snprintf(above[0].cluster, sizeof(above[0].cluster), "%s", root->cluster);
		snprintf(above[0].common, sizeof(above[0].common), "%s", "thief");
		if (cert_key_new(&above[0].key))
			zoo_die("cannot make a key");
		r = zoo_recipe_node(root, above[0].key, "thief", now);
		zoo_write(&r, root->key, above[0].der, &above[0].len);
		issuer = &above[0];
		break;
	default:
		break;
	}
	r = zoo_recipe_node(issuer, n->key, name, now);
	r.labels = labels;
	signer = issuer->key;
	if (kind == ZOO_SELF_SIGNED) {
		r.issuer_common = r.common;
		signer = n->key;
	}
	zoo_spoil(&r, kind, root->cluster, name, now, odd);
	zoo_write(&r, signer, n->der[0], &n->chain.at[0].len);
	n->chain.at[0].der = n->der[0];
	n->chain.n = 1;
	for (unsigned i = 0; i < 2; i++) {
		if (above[i].len && n->chain.n < CERT_CHAIN_MAX)
			zoo_chain_add(n, &above[i]);
		zoo_ca_clear(&above[i]);
	}
}

static inline void zoo_node_clear(struct zoo_node *n)
{
	cert_key_free(n->key);
	free(n->der);
	memset(n, 0, sizeof(*n));
}
