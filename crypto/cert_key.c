/* SPDX-License-Identifier: GPL-3.0-or-later */
/* P-256 key pairs and ECDSA. The curve's arithmetic is wolfCrypt's; how keys and signatures are
 * written as bytes is checked here, exactly.
 */
#include "crypto/cert.h"

#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/random.h>
#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <errno.h>
#include <string.h>

#include "crypto/der.h"
#include "crypto/pem.h"
#include "crypto/secret.h"
#include "crypto/x509.h"

#define KEY_FILE_MAX 512 /* DER of a private key file: ours have 121 and 138 bytes */
#define KEY_SEED_MAX 1024
#define SIGNED_MAX   (1 << 20)
#define SCALAR       32
#define POINT        65 /* uncompressed: 0x04, x, y */
#define WIDE         48 /* bits enough to be reduced without a bias that matters */
#define SEC1_SCALAR  7  /* where the scalar lies in our SEC1 form */
#define SEC1_POINT   56 /* where the point lies in it */
#define SEC1_LEN     (SEC1_POINT + POINT)

/* The group's order n, FIPS 186-4 D.1.2.3. */
static const uint8_t order[SCALAR] = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
                                      0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};

/* SEC1 ECPrivateKey (RFC 5915) of this curve, up to the scalar and between scalar and point. */
static const uint8_t sec1_head[SEC1_SCALAR] = {0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20};
static const uint8_t sec1_middle[SEC1_POINT - SEC1_SCALAR - SCALAR] = {
	0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
	0x03, 0x01, 0x07, 0xa1, 0x44, 0x03, 0x42, 0x00};

static const uint8_t oid_ec[7] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
static const uint8_t oid_p256[8] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};

struct cert_key {
	uint8_t der[SEC1_LEN];
	uint8_t spki[X509_P256_SPKI];
};

_Static_assert(SEC1_LEN <= CERT_KEY_DER_MAX && X509_P256_SPKI <= CERT_SPKI_MAX, "bounds");

static int error_from_wolf(int r)
{
	if (r >= 0)
		return 0;
	return r == MEMORY_E ? -ENOMEM : -EINVAL;
}

/* -- making keys ------------------------------------------------------------------------------- */

/* 1 <= d < n? */
static bool scalar_ok(const uint8_t d[SCALAR])
{
	unsigned borrow = 0, any = 0;

	for (size_t i = SCALAR; i-- > 0;) {
		borrow = ((unsigned)d[i] - order[i] - borrow) >> 31;
		any |= d[i];
	}
	return borrow == 1 && any != 0;
}

/* The point of d into k->spki. scratch is secret memory. */
static int public_make(struct cert_key *k, const uint8_t d[SCALAR], ecc_key *scratch)
{
	word32 n = POINT;
	int r;

	r = wc_ecc_init(scratch);
	if (r)
		return error_from_wolf(r);
	r = wc_ecc_import_private_key_ex(d, SCALAR, NULL, 0, scratch, ECC_SECP256R1);
	if (!r)
		r = wc_ecc_make_pub_ex(scratch, NULL, NULL);
	if (!r)
		r = wc_ecc_export_x963(scratch, k->spki + X509_P256_SPKI - POINT, &n);
	wc_ecc_free(scratch);
	if (!r && n != POINT)
		return -EINVAL;
	memcpy(k->spki, x509_p256_head, sizeof(x509_p256_head));
	return error_from_wolf(r);
}

static int key_from_scalar(struct cert_key **out, const uint8_t d[SCALAR])
{
	struct cert_key *k;
	ecc_key *scratch;
	int err;

	if (!scalar_ok(d))
		return -EBADMSG;
	k = secret_new(sizeof(*k));
	if (!k)
		return -ENOMEM;
	scratch = secret_new(sizeof(*scratch));
	if (!scratch) {
		err = -ENOMEM;
		goto fail_scratch;
	}
	err = public_make(k, d, scratch);
	secret_free(scratch, sizeof(*scratch));
	if (err)
		goto fail_scratch;
	memcpy(k->der, sec1_head, sizeof(sec1_head));
	memcpy(k->der + SEC1_SCALAR, d, SCALAR);
	memcpy(k->der + SEC1_SCALAR + SCALAR, sec1_middle, sizeof(sec1_middle));
	memcpy(k->der + SEC1_POINT, k->spki + X509_P256_SPKI - POINT, POINT);
	*out = k;
	return 0;
fail_scratch:
	secret_free(k, sizeof(*k));
	return err;
}

/* d = (wide mod (n - 1)) + 1, FIPS 186-5 A.2.1. v is secret memory. */
static int scalar_reduce(uint8_t d[SCALAR], const uint8_t wide[WIDE], mp_int v[2])
{
	int r;

	r = mp_init_multi(&v[0], &v[1], NULL, NULL, NULL, NULL);
	if (!r)
		r = mp_read_unsigned_bin(&v[0], wide, WIDE);
	if (!r)
		r = mp_read_unsigned_bin(&v[1], order, SCALAR);
	if (!r)
		r = mp_sub_d(&v[1], 1, &v[1]);
	if (!r)
		r = mp_mod(&v[0], &v[1], &v[0]);
	if (!r)
		r = mp_add_d(&v[0], 1, &v[0]);
	if (!r)
		r = mp_to_unsigned_bin_len(&v[0], d, SCALAR);
	return error_from_wolf(r);
}

/* All that key_from_wide needs to keep out of ordinary memory. */
struct making {
	uint8_t wide[WIDE];
	uint8_t d[SCALAR];
	mp_int v[2];
};

/* m->wide is filled. Takes m. */
static int key_from_wide(struct cert_key **out, struct making *m)
{
	int err;

	err = scalar_reduce(m->d, m->wide, m->v);
	if (!err)
		err = key_from_scalar(out, m->d);
	secret_free(m, sizeof(*m));
	return err;
}

int cert_key_new(struct cert_key **out)
{
	struct making *m;
	int err;

	m = secret_new(sizeof(*m));
	if (!m)
		return -ENOMEM;
	err = secret_random(m->wide, sizeof(m->wide));
	if (err) {
		secret_free(m, sizeof(*m));
		return err;
	}
	return key_from_wide(out, m);
}

int cert_key_from_seed(struct cert_key **out, const uint8_t *seed, size_t len, const char *info)
{
	struct making *m;
	int r;

	if (len == 0 || len > KEY_SEED_MAX)
		return -EINVAL;
	m = secret_new(sizeof(*m));
	if (!m)
		return -ENOMEM;
	r = wc_HKDF(WC_SHA256, seed, (word32)len, NULL, 0, (const byte *)info, (word32)strlen(info),
	            m->wide, sizeof(m->wide));
	if (r) {
		secret_free(m, sizeof(*m));
		return error_from_wolf(r);
	}
	return key_from_wide(out, m);
}

void cert_key_free(struct cert_key *k)
{
	secret_free(k, sizeof(*k));
}

/* -- keys as bytes ----------------------------------------------------------------------------- */

/* ECPrivateKey. Inside PKCS#8 the curve stands outside, so named tells whether it must be here.
 * A point that stands beside the scalar must be its own.
 */
static int sec1_parse(struct cert_key **out, struct der in, bool named)
{
	struct der seq, d, field, value;
	struct der point = {0};
	struct cert_key *k;
	uint64_t version;
	int err;

	if (der_read(&in, DER_SEQUENCE, &seq) < 0 || in.n || der_read_uint(&seq, &version) < 0 ||
	    version != 1 || der_read(&seq, DER_OCTET_STRING, &d) < 0)
		return -EBADMSG;
	if (der_is(&seq, DER_FIELD(0))) {
		if (der_read(&seq, DER_FIELD(0), &field) < 0 ||
		    der_read(&field, DER_OID, &value) < 0 || field.n)
			return -EBADMSG;
		if (!der_equal(&value, oid_p256, sizeof(oid_p256)))
			return -EINVAL;
		named = true;
	}
	if (der_is(&seq, DER_FIELD(1))) {
		if (der_read(&seq, DER_FIELD(1), &field) < 0 || der_read_bits(&field, &point) < 0 ||
		    field.n)
			return -EBADMSG;
	}
	if (seq.n || !named || d.n != SCALAR)
		return -EBADMSG;
	err = key_from_scalar(&k, d.at);
	if (err)
		return err;
	if (point.at && !der_equal(&point, k->der + SEC1_POINT, POINT)) {
		cert_key_free(k);
		return -EBADMSG;
	}
	*out = k;
	return 0;
}

/* OneAsymmetricKey, RFC 5958. Attributes may follow the key and are passed over. */
static int pkcs8_parse(struct cert_key **out, struct der in)
{
	struct der seq, algorithm, oid, curve, key;
	uint64_t version;

	if (der_read(&in, DER_SEQUENCE, &seq) < 0 || in.n || der_read_uint(&seq, &version) < 0 ||
	    version > 1 || der_read(&seq, DER_SEQUENCE, &algorithm) < 0 ||
	    der_read(&algorithm, DER_OID, &oid) < 0 || der_read(&seq, DER_OCTET_STRING, &key) < 0)
		return -EBADMSG;
	if (!der_equal(&oid, oid_ec, sizeof(oid_ec)))
		return -EINVAL;
	if (der_read(&algorithm, DER_OID, &curve) < 0 || algorithm.n ||
	    !der_equal(&curve, oid_p256, sizeof(oid_p256)))
		return -EINVAL;
	return sec1_parse(out, key, true);
}

/* The one private key among the blocks. */
static int key_block_find(struct pem_block *out, const uint8_t *pem, size_t len)
{
	struct pem_block b;
	unsigned found = 0;
	int err;

	while ((err = pem_next(&pem, &len, &b)) == 0) {
		size_t n = strlen(b.label);
		const char *tail = "PRIVATE KEY";

		if (n < strlen(tail) || strcmp(b.label + n - strlen(tail), tail) != 0)
			continue; /* parameters, certificates */
		*out = b;
		found++;
	}
	return err == -ENOENT && found == 1 ? 0 : -EBADMSG;
}

int cert_key_from_pem(struct cert_key **out, const uint8_t *pem, size_t len)
{
	struct pem_block b;
	uint8_t *bytes;
	struct der in;
	bool sec1;
	int err;

	err = key_block_find(&b, pem, len);
	if (err)
		return err;
	sec1 = strcmp(b.label, "EC PRIVATE KEY") == 0;
	if (!sec1 && strcmp(b.label, "PRIVATE KEY") != 0)
		return -EINVAL; /* RSA, encrypted */
	bytes = secret_new(KEY_FILE_MAX);
	if (!bytes)
		return -ENOMEM;
	in.at = bytes;
	err = pem_decode(&b, bytes, KEY_FILE_MAX, &in.n);
	if (err)
		err = err == -E2BIG ? -EINVAL : err; /* no key of ours, whole or not */
	else
		err = sec1 ? sec1_parse(out, in, false) : pkcs8_parse(out, in);
	secret_free(bytes, KEY_FILE_MAX);
	return err;
}

int cert_key_to_pem(const struct cert_key *k, char *pem, size_t max, size_t *len)
{
	*len = 0;
	return pem_append(pem, max, len, "EC PRIVATE KEY", k->der, sizeof(k->der));
}

const uint8_t *cert_key_der(const struct cert_key *k, size_t *len)
{
	*len = sizeof(k->der);
	return k->der;
}

const uint8_t *cert_key_spki(const struct cert_key *k, size_t *len)
{
	*len = sizeof(k->spki);
	return k->spki;
}

bool cert_key_matches(const struct cert_key *k, const uint8_t *der, size_t len)
{
	struct x509 c;

	return x509_parse(&c, der, len) == 0 && der_equal(&c.spki, k->spki, sizeof(k->spki));
}

void cert_spki_hash(const uint8_t *spki, size_t len, uint8_t out[32])
{
	/* Fails on a NULL argument alone. */
	(void)wc_Sha256Hash(spki, (word32)len, out);
}

/* -- signatures -------------------------------------------------------------------------------- */

static int sign(ecc_key *e, WC_RNG *rng, const struct cert_key *k, const uint8_t hash[32],
                uint8_t *sig, word32 *n)
{
	int r;

	r = wc_ecc_init(e);
	if (r)
		return r;
	r = wc_ecc_import_private_key_ex(k->der + SEC1_SCALAR, SCALAR, k->der + SEC1_POINT, POINT,
	                                 e, ECC_SECP256R1);
	if (!r)
		r = wc_ecc_set_rng(e, rng);
	if (!r)
		r = wc_ecc_sign_hash(hash, 32, sig, n, rng, e);
	wc_ecc_free(e);
	return r;
}

int cert_key_sign(const struct cert_key *k, const void *msg, size_t n, uint8_t *sig,
                  size_t *sig_len)
{
	word32 len = CERT_SIG_MAX;
	uint8_t hash[32];
	ecc_key *e;
	WC_RNG rng;
	int r;

	if (n > SIGNED_MAX)
		return -EINVAL;
	r = wc_Sha256Hash(msg, (word32)n, hash);
	if (r)
		return error_from_wolf(r);
	e = secret_new(sizeof(*e));
	if (!e)
		return -ENOMEM;
	r = wc_InitRng(&rng);
	if (r)
		goto fail_rng;
	r = sign(e, &rng, k, hash, sig, &len);
	wc_FreeRng(&rng);
	if (!r)
		*sig_len = len;
fail_rng:
	secret_free(e, sizeof(*e));
	return error_from_wolf(r);
}

/* Ecdsa-Sig-Value (RFC 3279 section 2.2.3): two positive numbers of at most 256 bits, no more. */
static bool signature_shape(const uint8_t *sig, size_t len)
{
	struct der in = {sig, len};
	struct der seq, r, s;

	return sig && der_read(&in, DER_SEQUENCE, &seq) == 0 && !in.n &&
	       der_read_integer(&seq, &r) == 0 && der_read_integer(&seq, &s) == 0 && !seq.n &&
	       r.n <= SCALAR && s.n <= SCALAR;
}

/* Into e, which is to be freed on success. -EINVAL no point of the curve; as its cofactor is 1,
 * there is no more to check.
 */
static int spki_import(ecc_key *e, const uint8_t *spki, size_t len)
{
	if (!spki || len != X509_P256_SPKI ||
	    memcmp(spki, x509_p256_head, sizeof(x509_p256_head)) != 0)
		return -EINVAL;
	if (wc_ecc_init(e))
		return -EINVAL;
	if (wc_ecc_import_x963_ex2(spki + X509_P256_SPKI - POINT, POINT, e, ECC_SECP256R1, 1)) {
		wc_ecc_free(e);
		return -EINVAL;
	}
	return 0;
}

int cert_spki_check(const uint8_t *spki, size_t len)
{
	ecc_key e;

	if (spki_import(&e, spki, len) < 0)
		return -EINVAL;
	wc_ecc_free(&e);
	return 0;
}

int cert_verify(const uint8_t *spki, size_t spki_len, const void *msg, size_t n, const uint8_t *sig,
                size_t sig_len)
{
	uint8_t hash[32];
	int good = 0, r;
	ecc_key e;

	if (spki_import(&e, spki, spki_len) < 0)
		return -EINVAL;
	r = n > SIGNED_MAX || !signature_shape(sig, sig_len);
	if (!r)
		r = wc_Sha256Hash(msg, (word32)n, hash);
	if (!r)
		r = wc_ecc_verify_hash(sig, (word32)sig_len, hash, sizeof(hash), &good, &e);
	wc_ecc_free(&e);
	return r || good != 1 ? -EBADMSG : 0;
}
