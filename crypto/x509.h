/* SPDX-License-Identifier: GPL-3.0-or-later */
/* x509 - takes one certificate apart, exactly (RFC 5280 section 4.1); judges nothing.
 *
 * Read by crypto/der and not by wolfCrypt's parser: that one consults the clock, forgives what DER
 * forbids, and does not say which extensions it passed over. What is here is all that cert.c and
 * ca.c look at. Slices are borrowed from the certificate's bytes. Pure; any thread.
 */
#pragma once
#include "crypto/cert.h"
#include "crypto/der.h"

#define X509_EXTENSIONS_MAX 24
#define X509_SERIAL_MAX     20

/* keyUsage bits, as the first byte of the BIT STRING holds them. */
#define X509_DIGITAL_SIGNATURE 0x80
#define X509_KEY_CERT_SIGN     0x04
#define X509_CRL_SIGN          0x02

struct x509 {
	struct der tbs;       /* what is signed, header included */
	struct der signature; /* DER Ecdsa-Sig-Value, if sha256 */
	struct der serial;
	struct der issuer, subject; /* Names, headers included */
	struct der spki;            /* header included */
	time_t not_before, not_after;
	bool sha256;   /* signed by ecdsa-with-SHA256 */
	bool p256;     /* the key is an uncompressed point in the form of P-256 */
	bool critical; /* a critical extension that is none of those below */
	bool ca;
	int path_len; /* -1: no limit */
	bool has_usage;
	uint8_t usage;
	bool has_purposes; /* extendedKeyUsage */
	bool client, server;
	struct der san;   /* GeneralNames without header, at NULL: absent */
	struct der skid;  /* the identifier itself, at NULL: absent */
	struct der claim; /* value of the private extension, at NULL: absent */
};

/* 0 or -EBADMSG: not DER, not v1 or v3, twice the same extension, one of the known ones malformed,
 * trailing bytes.
 */
int x509_parse(struct x509 *c, const uint8_t *bytes, size_t len);

/* Did the key in issuer, under issuer's name, sign c? 0; -ENOENT the names do not fit; -ENOTSUP
 * not ECDSA P-256 with SHA-256; -EBADMSG the signature is wrong.
 */
int x509_verify(const struct x509 *c, const struct x509 *issuer);

/* -- for those who write ------------------------------------------------------------------------ */

/* A Name of organisation (NULL: without) and common name. */
void x509_put_name(struct der_out *o, const char *organisation, const char *common);
/* SEQUENCE { tbs, ecdsa-with-SHA256, signature }: a certificate or request. -E2BIG. */
int x509_join(uint8_t *out, size_t max, size_t *len, const uint8_t *tbs, size_t tbs_len,
              const uint8_t *sig, size_t sig_len);

/* An algorithm as certificates and requests name it: ecdsa-with-SHA256 (RFC 5758). */
extern const uint8_t x509_ecdsa_sha256[12];
/* A DER P-256 SubjectPublicKeyInfo up to the point's first byte (0x04), which is included. */
extern const uint8_t x509_p256_head[27];
#define X509_P256_SPKI 91 /* the whole */

/* Object identifiers of extensions and of attributes, without header. */
extern const uint8_t x509_oid_skid[3], x509_oid_akid[3], x509_oid_usage[3], x509_oid_san[3],
	x509_oid_basic[3], x509_oid_purposes[3], x509_oid_cn[3], x509_oid_o[3];
extern const uint8_t x509_oid_server[8], x509_oid_client[8];
