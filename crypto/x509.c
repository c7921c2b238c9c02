/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/x509.h"

#include <errno.h>
#include <string.h>

#include "crypto/claim.h"

const uint8_t x509_ecdsa_sha256[12] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                       0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
const uint8_t x509_p256_head[27] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                    0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                    0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};
const uint8_t x509_oid_skid[3] = {0x55, 0x1d, 0x0e};
const uint8_t x509_oid_usage[3] = {0x55, 0x1d, 0x0f};
const uint8_t x509_oid_san[3] = {0x55, 0x1d, 0x11};
const uint8_t x509_oid_basic[3] = {0x55, 0x1d, 0x13};
const uint8_t x509_oid_akid[3] = {0x55, 0x1d, 0x23};
const uint8_t x509_oid_purposes[3] = {0x55, 0x1d, 0x25};
const uint8_t x509_oid_cn[3] = {0x55, 0x04, 0x03};
const uint8_t x509_oid_o[3] = {0x55, 0x04, 0x0a};
const uint8_t x509_oid_server[8] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01};
const uint8_t x509_oid_client[8] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02};

/* -- extensions: each reader is given the contents of the OCTET STRING ------------------------- */

static int basic_read(struct x509 *c, struct der in)
{
	struct der seq;
	uint64_t limit;

	if (der_read(&in, DER_SEQUENCE, &seq) < 0 || in.n)
		return -EBADMSG;
	if (der_is(&seq, DER_BOOLEAN)) {
		if (der_read_bool(&seq, &c->ca) < 0 || !c->ca)
			return -EBADMSG; /* FALSE is the default and not written */
	}
	if (seq.n) {
		if (!c->ca || der_read_uint(&seq, &limit) < 0 || seq.n || limit > 255)
			return -EBADMSG;
		c->path_len = (int)limit;
	}
	return 0;
}

/* A named bit list: at most nine bits, unused ones zero. */
static int usage_read(struct x509 *c, struct der in)
{
	struct der bits;
	unsigned unused;

	if (der_read(&in, DER_BIT_STRING, &bits) < 0 || in.n || bits.n < 2 || bits.n > 3)
		return -EBADMSG;
	unused = bits.at[0];
	if (unused > 7 || bits.at[bits.n - 1] & ((1u << unused) - 1))
		return -EBADMSG;
	c->has_usage = true;
	c->usage = bits.at[1];
	return 0;
}

static int purposes_read(struct x509 *c, struct der in)
{
	struct der seq, oid;

	if (der_read(&in, DER_SEQUENCE, &seq) < 0 || in.n || !seq.n)
		return -EBADMSG;
	c->has_purposes = true;
	while (seq.n) {
		if (der_read(&seq, DER_OID, &oid) < 0 || !oid.n)
			return -EBADMSG;
		if (der_equal(&oid, x509_oid_client, sizeof(x509_oid_client)))
			c->client = true;
		if (der_equal(&oid, x509_oid_server, sizeof(x509_oid_server)))
			c->server = true;
	}
	return 0;
}

static int san_read(struct x509 *c, struct der in)
{
	return der_read(&in, DER_SEQUENCE, &c->san) < 0 || in.n ? -EBADMSG : 0;
}

static int skid_read(struct x509 *c, struct der in)
{
	return der_read(&in, DER_OCTET_STRING, &c->skid) < 0 || in.n ? -EBADMSG : 0;
}

/* The issuer is found by name and signature; the hint needs no reading. */
static int akid_read(struct x509 *c, struct der in)
{
	(void)c;
	(void)in;
	return 0;
}

static int claim_keep(struct x509 *c, struct der in)
{
	c->claim = in;
	return 0;
}

static const struct {
	const uint8_t *oid;
	size_t n;
	int (*read)(struct x509 *c, struct der in);
} extension_readers[] = {
	{x509_oid_basic, sizeof(x509_oid_basic), basic_read},
	{x509_oid_usage, sizeof(x509_oid_usage), usage_read},
	{x509_oid_purposes, sizeof(x509_oid_purposes), purposes_read},
	{x509_oid_san, sizeof(x509_oid_san), san_read},
	{x509_oid_skid, sizeof(x509_oid_skid), skid_read},
	{x509_oid_akid, sizeof(x509_oid_akid), akid_read},
	{claim_oid, sizeof(claim_oid), claim_keep},
};

#define EXTENSION_READERS (sizeof(extension_readers) / sizeof(extension_readers[0]))

static int extension_read(struct x509 *c, struct der in, struct der *oid)
{
	struct der value;
	bool critical = false;

	if (der_read(&in, DER_OID, oid) < 0 || !oid->n)
		return -EBADMSG;
	if (der_is(&in, DER_BOOLEAN)) {
		if (der_read_bool(&in, &critical) < 0 || !critical)
			return -EBADMSG; /* FALSE is the default and not written */
	}
	if (der_read(&in, DER_OCTET_STRING, &value) < 0 || in.n)
		return -EBADMSG;
	for (size_t i = 0; i < EXTENSION_READERS; i++) {
		if (der_equal(oid, extension_readers[i].oid, extension_readers[i].n))
			return extension_readers[i].read(c, value);
	}
	if (critical)
		c->critical = true;
	return 0;
}

static int extensions_read(struct x509 *c, struct der in)
{
	struct der list, one, seen[X509_EXTENSIONS_MAX];
	unsigned n = 0;

	if (der_read(&in, DER_SEQUENCE, &list) < 0 || in.n || !list.n)
		return -EBADMSG;
	while (list.n) {
		if (n == X509_EXTENSIONS_MAX || der_read(&list, DER_SEQUENCE, &one) < 0)
			return -EBADMSG;
		if (extension_read(c, one, &seen[n]) < 0)
			return -EBADMSG;
		for (unsigned i = 0; i < n; i++) {
			if (der_equal(&seen[i], seen[n].at, seen[n].n))
				return -EBADMSG; /* RFC 5280 section 4.2: once each */
		}
		n++;
	}
	return 0;
}

/* -- the certificate --------------------------------------------------------------------------- */

/* Name: a SEQUENCE of SETs of SEQUENCEs { type, value }. Names are compared as bytes, so that
 * only their form is looked at.
 */
static int name_read(struct der *in, struct der *whole)
{
	struct der list, set, pair, oid, value;
	uint8_t tag;

	if (der_read_whole(in, DER_SEQUENCE, whole, &list) < 0)
		return -EBADMSG;
	while (list.n) {
		if (der_read(&list, DER_SET, &set) < 0 || !set.n)
			return -EBADMSG;
		while (set.n) {
			if (der_read(&set, DER_SEQUENCE, &pair) < 0 ||
			    der_read(&pair, DER_OID, &oid) < 0 || !oid.n ||
			    der_read_any(&pair, &tag, &value) < 0 || pair.n)
				return -EBADMSG;
		}
	}
	return 0;
}

static int validity_read(struct x509 *c, struct der *in)
{
	struct der seq;
	int64_t from, to;

	if (der_read(in, DER_SEQUENCE, &seq) < 0 || der_read_time(&seq, &from) < 0 ||
	    der_read_time(&seq, &to) < 0 || seq.n)
		return -EBADMSG;
	c->not_before = (time_t)from;
	c->not_after = (time_t)to;
	return 0;
}

static int spki_read(struct x509 *c, struct der *in)
{
	struct der seq, algorithm, oid, bits;

	if (der_read_whole(in, DER_SEQUENCE, &c->spki, &seq) < 0 ||
	    der_read(&seq, DER_SEQUENCE, &algorithm) < 0 ||
	    der_read(&algorithm, DER_OID, &oid) < 0 || !oid.n || der_read_bits(&seq, &bits) < 0 ||
	    seq.n)
		return -EBADMSG;
	c->p256 = c->spki.n == X509_P256_SPKI &&
	          memcmp(c->spki.at, x509_p256_head, sizeof(x509_p256_head)) == 0;
	return 0;
}

/* [0] version: v1 has none and no extensions, v3 is 2; there are no others. */
static int version_read(struct der *in, bool *v3)
{
	struct der field;
	uint64_t version;

	*v3 = der_is(in, DER_FIELD(0));
	if (!*v3)
		return 0;
	if (der_read(in, DER_FIELD(0), &field) < 0 || der_read_uint(&field, &version) < 0)
		return -EBADMSG;
	return field.n || version != 2 ? -EBADMSG : 0;
}

static int tbs_read(struct x509 *c, struct der in, const struct der *algorithm)
{
	struct der inner, value, extensions;
	bool v3;

	if (version_read(&in, &v3) < 0)
		return -EBADMSG;
	if (der_read_integer(&in, &c->serial) < 0 || c->serial.n > X509_SERIAL_MAX)
		return -EBADMSG;
	if (der_read_whole(&in, DER_SEQUENCE, &inner, &value) < 0 ||
	    !der_equal(algorithm, inner.at, inner.n))
		return -EBADMSG; /* RFC 5280 section 4.1.1.2: the same inside and outside */
	if (name_read(&in, &c->issuer) < 0 || validity_read(c, &in) < 0 ||
	    name_read(&in, &c->subject) < 0 || spki_read(c, &in) < 0)
		return -EBADMSG;
	if (!v3 || !in.n)
		return in.n ? -EBADMSG : 0;
	if (der_read(&in, DER_FIELD(3), &extensions) < 0 || in.n)
		return -EBADMSG;
	return extensions_read(c, extensions);
}

int x509_parse(struct x509 *c, const uint8_t *bytes, size_t len)
{
	struct der in = {bytes, len};
	struct der seq, tbs, algorithm, value;

	memset(c, 0, sizeof(*c));
	c->path_len = -1;
	if (!bytes || len > CERT_DER_MAX)
		return -EBADMSG;
	if (der_read(&in, DER_SEQUENCE, &seq) < 0 || in.n)
		return -EBADMSG;
	if (der_read_whole(&seq, DER_SEQUENCE, &c->tbs, &tbs) < 0 ||
	    der_read_whole(&seq, DER_SEQUENCE, &algorithm, &value) < 0 ||
	    der_read_bits(&seq, &c->signature) < 0 || seq.n)
		return -EBADMSG;
	c->sha256 = der_equal(&algorithm, x509_ecdsa_sha256, sizeof(x509_ecdsa_sha256));
	return tbs_read(c, tbs, &algorithm);
}

int x509_verify(const struct x509 *c, const struct x509 *issuer)
{
	if (!der_equal(&c->issuer, issuer->subject.at, issuer->subject.n))
		return -ENOENT;
	if (!c->sha256 || !issuer->p256)
		return -ENOTSUP;
	return cert_verify(issuer->spki.at, issuer->spki.n, c->tbs.at, c->tbs.n, c->signature.at,
	                   c->signature.n)
	               ? -EBADMSG
	               : 0;
}

/* -- writing ----------------------------------------------------------------------------------- */

static void attribute_put(struct der_out *o, const uint8_t oid[3], const char *text)
{
	size_t set = der_open(o, DER_SET);
	size_t seq = der_open(o, DER_SEQUENCE);

	der_put_element(o, DER_OID, oid, 3);
	der_put_element(o, DER_UTF8_STRING, text, strlen(text));
	der_close(o, seq);
	der_close(o, set);
}

void x509_put_name(struct der_out *o, const char *organisation, const char *common)
{
	size_t seq = der_open(o, DER_SEQUENCE);

	if (organisation)
		attribute_put(o, x509_oid_o, organisation);
	attribute_put(o, x509_oid_cn, common);
	der_close(o, seq);
}

int x509_join(uint8_t *out, size_t max, size_t *len, const uint8_t *tbs, size_t tbs_len,
              const uint8_t *sig, size_t sig_len)
{
	struct der_out o;
	size_t seq;

	der_out_init(&o, out, max);
	seq = der_open(&o, DER_SEQUENCE);
	der_put(&o, tbs, tbs_len);
	der_put(&o, x509_ecdsa_sha256, sizeof(x509_ecdsa_sha256));
	der_put_bits(&o, sig, sig_len);
	der_close(&o, seq);
	if (o.err)
		return o.err;
	*len = o.n;
	return 0;
}
