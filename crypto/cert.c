/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/cert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/claim.h"
#include "crypto/der.h"
#include "crypto/hex.h"
#include "crypto/pem.h"
#include "crypto/x509.h"

#define SPIFFE           "spiffe://"
#define SPIFFE_NODE      "/node/"
#define GENERAL_NAME_URI DER_PRIMITIVE(6)

struct cert_trust {
	unsigned n;
	struct {
		uint8_t der[CERT_DER_MAX];
		size_t len;
		struct x509 cert; /* points into der */
	} root[CERT_CHAIN_MAX];
};

/* -- words ------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *text;
} refusals[] = {
#define X(id, n, t) [CERT_##id] = {n, t},
	CERT_REFUSALS(X)
#undef X
};

const char *cert_refusal_name(enum cert_refusal why)
{
	return (unsigned)why < CERT_REFUSAL_COUNT ? refusals[why].name : "unknown";
}

const char *cert_refusal_text(enum cert_refusal why)
{
	return (unsigned)why < CERT_REFUSAL_COUNT ? refusals[why].text : "unknown";
}

const char *cert_role_name(enum cert_role role)
{
	switch (role) {
	case ROLE_NODE:
		return "node";
	case ROLE_MANAGER:
		return "manager";
	}
	return "unknown";
}

int cert_role_parse(enum cert_role *out, const char *name)
{
	if (strcmp(name, "node") == 0)
		*out = ROLE_NODE;
	else if (strcmp(name, "manager") == 0)
		*out = ROLE_MANAGER;
	else
		return -EINVAL;
	return 0;
}

static bool label_ok(const uint8_t *p, size_t n)
{
	if (n == 0 || n > CERT_NAME_MAX || p[0] == '-' || p[n - 1] == '-')
		return false;
	for (size_t i = 0; i < n; i++) {
		if ((p[i] < 'a' || p[i] > 'z') && (p[i] < '0' || p[i] > '9') && p[i] != '-')
			return false;
	}
	return true;
}

bool cert_name_ok(const char *name)
{
	return label_ok((const uint8_t *)name, strnlen(name, CERT_NAME_MAX + 1));
}

int cert_labels_add(struct cert_labels *l, const char *key_value)
{
	const char *equals = strchr(key_value, '=');
	struct cert_label add = {0};
	size_t key_len, value_len;
	unsigned at = 0;

	if (!equals)
		return -EINVAL;
	key_len = (size_t)(equals - key_value);
	value_len = strlen(equals + 1);
	if (!claim_key_ok(key_value, key_len) || !claim_value_ok(equals + 1, value_len))
		return -EINVAL;
	memcpy(add.key, key_value, key_len);
	memcpy(add.value, equals + 1, value_len);
	while (at < l->n && strcmp(l->at[at].key, add.key) < 0)
		at++;
	if (at == l->n || strcmp(l->at[at].key, add.key) != 0) {
		if (l->n == CERT_LABELS_MAX)
			return -E2BIG;
		memmove(&l->at[at + 1], &l->at[at], (l->n - at) * sizeof(l->at[0]));
		l->n++;
	}
	l->at[at] = add;
	return 0;
}

bool cert_labels_equal(const struct cert_labels *a, const struct cert_labels *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned i = 0; i < a->n; i++)
		if (strcmp(a->at[i].key, b->at[i].key) || strcmp(a->at[i].value, b->at[i].value))
			return false;
	return true;
}

/* -- one certificate ----------------------------------------------------------------------------- */

/* The only name in the GeneralNames, which has to be a URI. */
static enum cert_refusal san_find(struct der names, struct der *uri)
{
	struct der more;
	uint8_t tag;

	if (!names.at || !names.n)
		return CERT_NO_SAN;
	if (der_read_any(&names, &tag, uri) < 0)
		return CERT_MALFORMED;
	if (names.n) {
		uint8_t other;

		while (names.n) {
			if (der_read_any(&names, &other, &more) < 0)
				return CERT_MALFORMED;
		}
		return CERT_TWO_SANS;
	}
	return tag == GENERAL_NAME_URI ? CERT_OK : CERT_OTHER_SAN;
}

/* Takes what out and its NUL hold off the front of *in, up to a byte of stop or the end. */
static bool uri_label(struct der *in, uint8_t stop, char out[CERT_NAME_MAX + 1])
{
	const uint8_t *end = stop ? memchr(in->at, stop, in->n) : in->at + in->n;
	size_t n;

	if (!end)
		return false;
	n = (size_t)(end - in->at);
	if (!label_ok(in->at, n))
		return false;
	memcpy(out, in->at, n);
	out[n] = 0;
	in->at = end;
	in->n -= n;
	return true;
}

static bool uri_literal(struct der *in, const char *text)
{
	size_t n = strlen(text);

	if (in->n < n || memcmp(in->at, text, n) != 0)
		return false;
	in->at += n;
	in->n -= n;
	return true;
}

/* spiffe://CLUSTER/node/NAME and nothing else: no upper case, escape, port, user, query. */
static bool spiffe_parse(struct cert_info *out, struct der uri)
{
	return uri_literal(&uri, SPIFFE) && uri_label(&uri, '/', out->cluster) &&
	       uri_literal(&uri, SPIFFE_NODE) && uri_label(&uri, 0, out->node);
}

static void serial_format(char out[41], const struct der *serial)
{
	hex_format(out, serial->at, serial->n < X509_SERIAL_MAX ? serial->n : X509_SERIAL_MAX);
}

/* RFC 5280 section 4.2.1.3: a keyUsage that is not there forbids nothing. Whether the certificate
 * may be used as client and as server must be said.
 */
static bool node_usage_ok(const struct x509 *c)
{
	if (c->ca || !c->client || !c->server)
		return false;
	return !c->has_usage ||
	       (c->usage & X509_DIGITAL_SIGNATURE && !(c->usage & X509_KEY_CERT_SIGN));
}

static enum cert_refusal claim_read(struct cert_info *out, const struct der *value)
{
	struct claim claim;

	if (!value->at) {
		out->role = ROLE_NODE;
		return CERT_OK;
	}
	if (claim_parse(&claim, value->at, value->n) < 0)
		return CERT_EXTENSION;
	out->extended = true;
	out->role = claim.role;
	out->incarnation = claim.incarnation;
	out->issue = claim.issue;
	out->labels = claim.labels;
	return CERT_OK;
}

static enum cert_refusal leaf_read(struct cert_info *out, const struct x509 *c)
{
	struct cert_info info = {0};
	enum cert_refusal why;
	struct der uri;

	if (!c->sha256 || !c->p256 || cert_spki_check(c->spki.at, c->spki.n) < 0)
		return CERT_WEAK_KEY;
	if (c->critical)
		return CERT_CRITICAL;
	if (!node_usage_ok(c))
		return CERT_USAGE;
	why = san_find(c->san, &uri);
	if (why != CERT_OK)
		return why;
	if (!spiffe_parse(&info, uri))
		return CERT_OTHER_SAN;
	why = claim_read(&info, &c->claim);
	if (why != CERT_OK)
		return why;
	info.not_before = c->not_before;
	info.not_after = c->not_after;
	serial_format(info.serial, &c->serial);
	cert_spki_hash(c->spki.at, c->spki.n, info.spki);
	*out = info;
	return CERT_OK;
}

enum cert_refusal cert_parse(struct cert_info *out, const uint8_t *der, size_t len)
{
	struct x509 c;

	if (!der || len == 0)
		return CERT_NO_CERTIFICATE;
	if (x509_parse(&c, der, len) < 0)
		return CERT_MALFORMED;
	return leaf_read(out, &c);
}

/* -- trust ------------------------------------------------------------------------------------- */

static bool ca_ok(const struct x509 *c)
{
	return c->ca && !(c->has_usage && !(c->usage & X509_KEY_CERT_SIGN));
}

/* May it be an anchor? One that names itself as issuer must have signed itself: a damaged file
 * shows here and not at the first peer.
 */
static bool root_ok(const struct x509 *c)
{
	if (!c->sha256 || !c->p256 || c->critical || !ca_ok(c))
		return false;
	if (cert_spki_check(c->spki.at, c->spki.n) < 0)
		return false;
	return x509_verify(c, c) != -EBADMSG;
}

static int trust_fill(struct cert_trust *t, const uint8_t *pem, size_t len)
{
	uint8_t bytes[CERT_CHAIN_MAX * CERT_DER_MAX];
	struct cert_chain chain;
	int err;

	err = cert_chain_from_pem(&chain, bytes, sizeof(bytes), pem, len);
	if (err)
		return err;
	for (unsigned i = 0; i < chain.n; i++) {
		memcpy(t->root[i].der, chain.at[i].der, chain.at[i].len);
		t->root[i].len = chain.at[i].len;
		if (x509_parse(&t->root[i].cert, t->root[i].der, t->root[i].len) < 0)
			return -EBADMSG;
		if (!root_ok(&t->root[i].cert))
			return -EINVAL;
	}
	t->n = chain.n;
	return 0;
}

int cert_trust_new(struct cert_trust **out, const uint8_t *pem, size_t len)
{
	struct cert_trust *t;
	int err;

	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	err = trust_fill(t, pem, len);
	if (err) {
		free(t);
		return err;
	}
	*out = t;
	return 0;
}

void cert_trust_free(struct cert_trust *t)
{
	free(t);
}

unsigned cert_trust_roots(const struct cert_trust *t, struct cert_chain *out)
{
	out->n = t->n;
	for (unsigned i = 0; i < t->n; i++) {
		out->at[i].der = t->root[i].der;
		out->at[i].len = t->root[i].len;
	}
	return t->n;
}

void cert_trust_pin(const struct cert_trust *t, uint8_t pin[32])
{
	cert_spki_hash(t->root[0].cert.spki.at, t->root[0].cert.spki.n, pin);
}

/* -- judgement ----------------------------------------------------------------------------------- */

/* The root that issued c, with *root; 0, -ENOENT, -ENOTSUP as x509_verify. Two roots may have one
 * name, so all are tried.
 */
static int root_find(const struct cert_trust *t, const struct x509 *c, const struct x509 **root)
{
	int why = -ENOENT;

	for (unsigned i = 0; i < t->n; i++) {
		int err = x509_verify(c, &t->root[i].cert);

		if (err == 0) {
			*root = &t->root[i].cert;
			return 0;
		}
		if (err == -ENOTSUP)
			why = err;
	}
	return why;
}

/* From the leaf in path[0], which is parsed, up to a root of ours. *depth is how many intermediates
 * there are. What follows in the chain is not looked at: peers may show a root of theirs, or a
 * cross-certificate, beside what we need.
 */
static enum cert_refusal path_find(struct x509 path[CERT_CHAIN_MAX], unsigned *depth,
                                   const struct x509 **root, const struct cert_trust *t,
                                   const struct cert_chain *chain)
{
	for (unsigned i = 0; i < chain->n; i++) {
		int err = root_find(t, &path[i], root);

		if (err == 0) {
			*depth = i;
			return i > 1 ? CERT_CHAIN_LENGTH : CERT_OK;
		}
		if (err == -ENOTSUP)
			return CERT_WEAK_KEY;
		if (i + 1 == chain->n)
			break;
		if (x509_parse(&path[i + 1], chain->at[i + 1].der, chain->at[i + 1].len) < 0)
			return CERT_MALFORMED;
		err = x509_verify(&path[i], &path[i + 1]);
		if (err)
			return err == -ENOTSUP ? CERT_WEAK_KEY : CERT_OTHER_CA;
	}
	return CERT_OTHER_CA;
}

static enum cert_refusal intermediate_check(const struct x509 *c, const struct x509 *root)
{
	if (!ca_ok(c))
		return CERT_ISSUER_NOT_CA;
	if (root->path_len == 0)
		return CERT_PATH_LENGTH;
	if (c->critical)
		return CERT_CRITICAL;
	if (c->has_purposes && !(c->client && c->server))
		return CERT_USAGE;
	return CERT_OK;
}

static enum cert_refusal dates_check(const struct x509 *c, time_t wall)
{
	if (wall > c->not_after)
		return CERT_EXPIRED;
	if (wall < c->not_before)
		return CERT_NOT_YET_VALID;
	return CERT_OK;
}

static enum cert_refusal path_check(const struct x509 path[CERT_CHAIN_MAX], unsigned depth,
                                    const struct x509 *root, time_t wall)
{
	enum cert_refusal why = CERT_OK;

	if (depth > 0)
		why = intermediate_check(&path[1], root);
	for (unsigned i = 0; i <= depth && why == CERT_OK; i++)
		why = dates_check(&path[i], wall);
	if (why == CERT_OK)
		why = dates_check(root, wall);
	return why;
}

static enum cert_refusal expect_check(const struct cert_info *i, const struct cert_expect *expect)
{
	if (strcmp(i->cluster, expect->cluster) != 0)
		return CERT_OTHER_CLUSTER;
	if (expect->node && strcmp(i->node, expect->node) != 0)
		return CERT_OTHER_NAME;
	if (i->role != expect->role)
		return CERT_ROLE;
	return CERT_OK;
}

enum cert_refusal cert_judge(struct cert_info *out, const struct cert_trust *t,
                             const struct cert_chain *chain, const struct cert_expect *expect,
                             time_t wall)
{
	struct x509 path[CERT_CHAIN_MAX];
	const struct x509 *root = NULL;
	struct cert_info info;
	enum cert_refusal why;
	unsigned depth = 0;

	if (chain->n == 0 || chain->at[0].len == 0)
		return CERT_NO_CERTIFICATE;
	if (chain->n > CERT_CHAIN_MAX)
		return CERT_CHAIN_LENGTH;
	if (x509_parse(&path[0], chain->at[0].der, chain->at[0].len) < 0)
		return CERT_MALFORMED;
	if (x509_verify(&path[0], &path[0]) == 0)
		return CERT_SELF_SIGNED;
	why = path_find(path, &depth, &root, t, chain);
	if (why == CERT_OK)
		why = path_check(path, depth, root, wall);
	if (why == CERT_OK)
		why = leaf_read(&info, &path[0]);
	if (why == CERT_OK)
		why = expect_check(&info, expect);
	if (why == CERT_OK)
		*out = info;
	return why;
}

int cert_ends(const uint8_t *der, size_t len, time_t *not_after)
{
	struct x509 c;

	if (x509_parse(&c, der, len) < 0)
		return -EBADMSG;
	*not_after = c.not_after;
	return 0;
}

int cert_spki(const uint8_t *der, size_t len, uint8_t *spki, size_t *spki_len)
{
	struct x509 c;

	if (x509_parse(&c, der, len) < 0 || !c.p256 || c.spki.n > CERT_SPKI_MAX)
		return -EBADMSG;
	memcpy(spki, c.spki.at, c.spki.n);
	*spki_len = c.spki.n;
	return 0;
}

/* -- PEM ----------------------------------------------------------------------------------------- */

int cert_chain_from_pem(struct cert_chain *out, uint8_t *buf, size_t max, const uint8_t *pem,
                        size_t len)
{
	struct cert_chain chain = {0};
	struct pem_block b;
	size_t used = 0, n;
	int err;

	while ((err = pem_next(&pem, &len, &b)) == 0) {
		if (strcmp(b.label, "CERTIFICATE") != 0)
			continue;
		if (chain.n == CERT_CHAIN_MAX)
			return -E2BIG;
		err = pem_decode(&b, buf + used, max - used, &n);
		if (err)
			return err;
		if (n > CERT_DER_MAX)
			return -E2BIG;
		chain.at[chain.n].der = buf + used;
		chain.at[chain.n].len = n;
		chain.n++;
		used += n;
	}
	if (err != -ENOENT || chain.n == 0)
		return -EBADMSG;
	*out = chain;
	return 0;
}

int cert_to_pem(char *pem, size_t max, size_t *len, const uint8_t *der, size_t der_len)
{
	return pem_append(pem, max, len, "CERTIFICATE", der, der_len);
}
