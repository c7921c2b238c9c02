/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cert - reads and judges a peer's chain: who is it, may it be here, and if not, why.
 *
 * One judge for DTLS, TLS and the ca, so that no port is softer than another. Pure: bytes, trust,
 * expectation and time in, verdict out. Any thread; a struct cert_trust is read-only once made.
 *
 * A node certificate: ECDSA P-256 with SHA-256, exactly one URI SAN spiffe://CLUSTER/node/NAME
 * (lower case, compared byte by byte, no other SAN beside it), CA:FALSE, EKU client and server.
 * One private extension, non-critical, carries role, labels, incarnation and issue number; with
 * someone else's PKI it may be missing: role node, no labels.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define CERT_DER_MAX         2048 /* one certificate or CSR */
#define CERT_CHAIN_MAX       3    /* leaf, intermediate, root */
#define CERT_NAME_MAX        63   /* a DNS label */
#define CERT_LABELS_MAX      16
#define CERT_LABEL_KEY_MAX   63
#define CERT_LABEL_VALUE_MAX 63
#define CERT_KEY_DER_MAX     256          /* SEC1 or PKCS#8 P-256 private key */
#define CERT_SIG_MAX         72           /* DER ECDSA-P256 signature */
#define CERT_GRACE           (30 * 86400) /* s after its end that a certificate may be renewed by */
#define CERT_SPKI_MAX        96           /* DER SubjectPublicKeyInfo of a P-256 key: 91 */

/* -- reasons to refuse --------------------------------------------------------------------- */

#define CERT_REFUSALS(X)                                                                   \
	X(OK, "ok", "accepted")                                                            \
	X(NO_CERTIFICATE, "no-certificate", "the peer showed no certificate")              \
	X(MALFORMED, "malformed", "the certificate cannot be parsed")                      \
	X(OTHER_CA, "other-ca", "the chain does not end in our CA")                        \
	X(SELF_SIGNED, "self-signed", "the certificate is signed by its own key")          \
	X(CHAIN_LENGTH, "chain-length", "more than one intermediate")                      \
	X(PATH_LENGTH, "path-length", "its issuer may issue no certificate of a CA")       \
	X(ISSUER_NOT_CA, "issuer-not-ca", "it was issued by a certificate that is no CA")  \
	X(EXPIRED, "expired", "the certificate is no longer valid")                        \
	X(NOT_YET_VALID, "not-yet-valid", "the certificate is not valid yet")              \
	X(WEAK_KEY, "weak-key", "a key or signature is not ECDSA P-256 with SHA-256")      \
	X(CRITICAL, "critical-extension", "it has a critical extension that is not known") \
	X(USAGE, "usage", "the certificate is not for both client and server")             \
	X(NO_SAN, "no-san", "the certificate names no node")                               \
	X(TWO_SANS, "two-sans", "the certificate has more than one name")                  \
	X(OTHER_SAN, "other-san", "the one name is no spiffe://CLUSTER/node/NAME")         \
	X(OTHER_CLUSTER, "other-cluster", "the certificate is of another trust domain")    \
	X(OTHER_NAME, "other-name", "another node answered than the one that was dialled") \
	X(ROLE, "role", "the certificate has not the role that is needed here")            \
	X(EXTENSION, "extension", "the private extension cannot be parsed")                \
	X(UNKNOWN_NODE, "unknown-node", "the node is not in the cluster's last state")     \
	X(REVOKED, "revoked", "the certificate was revoked")

enum cert_refusal {
#define X(id, name, text) CERT_##id,
	CERT_REFUSALS(X)
#undef X
		CERT_REFUSAL_COUNT
};

const char *cert_refusal_name(enum cert_refusal why); /* "expired" */
const char *cert_refusal_text(enum cert_refusal why); /* "the certificate is no longer valid" */

/* -- what a certificate says --------------------------------------------------------------- */

enum cert_role {
	ROLE_NODE = 1,
	ROLE_MANAGER = 2,
};

const char *cert_role_name(enum cert_role role);            /* "node", "manager" */
int cert_role_parse(enum cert_role *out, const char *name); /* 0 or -EINVAL */

struct cert_label {
	char key[CERT_LABEL_KEY_MAX + 1];
	char value[CERT_LABEL_VALUE_MAX + 1];
};

struct cert_labels {
	unsigned n;
	struct cert_label at[CERT_LABELS_MAX]; /* sorted by key, keys unique */
};

/* Adds or replaces "key=value" text: letters and digits, between them also . _ - and in keys /, both
 * 1 to 63. -EINVAL form, -E2BIG too many.
 */
int cert_labels_add(struct cert_labels *l, const char *key_value);

bool cert_labels_equal(const struct cert_labels *a, const struct cert_labels *b);

struct cert_info {
	char cluster[CERT_NAME_MAX + 1];
	char node[CERT_NAME_MAX + 1];
	enum cert_role role;
	bool extended; /* the private extension was there */
	uint64_t incarnation;
	uint64_t issue;
	struct cert_labels labels;
	time_t not_before, not_after;
	char serial[41];  /* lower case hex */
	uint8_t spki[32]; /* SHA-256 of the SubjectPublicKeyInfo */
};

/* Certificates as DER, leaf first. The bytes are borrowed. Who was shown more than fit sets n to
 * their number all the same: cert_judge then says CERT_CHAIN_LENGTH and looks at none.
 */
struct cert_chain {
	unsigned n;
	struct {
		const uint8_t *der;
		size_t len;
	} at[CERT_CHAIN_MAX];
};

/* Is name a node's or cluster's name: a lower case DNS label, 1 to 63 characters? */
bool cert_name_ok(const char *name);

/* Reads one leaf without judging trust or time: CERT_OK or why it is no node certificate of any
 * cluster. out is written on CERT_OK only.
 */
enum cert_refusal cert_parse(struct cert_info *out, const uint8_t *der, size_t len);

/* The key of a certificate as DER SubjectPublicKeyInfo; spki has CERT_SPKI_MAX bytes. -EBADMSG. */
int cert_spki(const uint8_t *der, size_t len, uint8_t *spki, size_t *spki_len);

/* When a certificate ends, a CA's too. -EBADMSG. */
int cert_ends(const uint8_t *der, size_t len, time_t *not_after);

/* -- trust and judgement ------------------------------------------------------------------- */

struct cert_trust; /* the roots that we trust */

/* pem: one to CERT_CHAIN_MAX CERTIFICATE blocks, each a CA. -EBADMSG malformed or damaged, -E2BIG
 * too many or too large, -EINVAL one is no CA of ECDSA P-256 with SHA-256, -ENOMEM.
 */
int cert_trust_new(struct cert_trust **out, const uint8_t *pem, size_t len);
void cert_trust_free(struct cert_trust *t);
/* The roots as DER, borrowed; returns how many. For wolf.c. */
unsigned cert_trust_roots(const struct cert_trust *t, struct cert_chain *out);
/* SHA-256 of the SubjectPublicKeyInfo of the first root: the pin of join tokens. */
void cert_trust_pin(const struct cert_trust *t, uint8_t pin[32]);

struct cert_expect {
	const char *cluster; /* trust domain, never NULL */
	const char *node;    /* the name that was dialled, or NULL: whoever it is */
	enum cert_role role;
};

/* Judges a chain at the time wall (seconds). Signatures, dates, basicConstraints, usage, names,
 * role. The root itself may stand at the chain's end; what stands behind the certificate that a root
 * issued is not looked at. Trust is judged first, so that a stranger's certificate is CERT_OTHER_CA
 * whatever it says. out is written on CERT_OK only.
 * RFC 5280 section 6, cut down to root or root + one intermediate of path length 0.
 */
enum cert_refusal cert_judge(struct cert_info *out, const struct cert_trust *t,
                             const struct cert_chain *chain, const struct cert_expect *expect,
                             time_t wall);

/* -- PEM ----------------------------------------------------------------------------------- */

/* Reads up to CERT_CHAIN_MAX CERTIFICATE blocks into buf (their DER, one after the other);
 * *out points into buf. -EBADMSG malformed or none, -E2BIG too many or buf too small.
 */
int cert_chain_from_pem(struct cert_chain *out, uint8_t *buf, size_t max, const uint8_t *pem,
                        size_t len);

/* Appends one CERTIFICATE block to the text in pem (of max bytes, *len used). -E2BIG. */
int cert_to_pem(char *pem, size_t max, size_t *len, const uint8_t *der, size_t der_len);

/* -- keys ---------------------------------------------------------------------------------- */

struct cert_key; /* a P-256 private key, in secret memory */

int cert_key_new(struct cert_key **out);
void cert_key_free(struct cert_key *k);
/* A key from 32 bytes of seed: HKDF-SHA256(seed, info) reduced to 1..n-1 (FIPS 186-5 A.2.1). */
int cert_key_from_seed(struct cert_key **out, const uint8_t *seed, size_t len, const char *info);
/* PEM (SEC1 "EC PRIVATE KEY" or unencrypted PKCS#8 "PRIVATE KEY"), exactly one key in it. -EBADMSG
 * malformed, -EINVAL another kind of key.
 */
int cert_key_from_pem(struct cert_key **out, const uint8_t *pem, size_t len);
/* SEC1 PEM text; wipe it after use. */
int cert_key_to_pem(const struct cert_key *k, char *pem, size_t max, size_t *len);
/* SEC1 DER for wolf.c; borrowed, lives as long as k. */
const uint8_t *cert_key_der(const struct cert_key *k, size_t *len);
/* DER SubjectPublicKeyInfo, borrowed. */
const uint8_t *cert_key_spki(const struct cert_key *k, size_t *len);
/* ECDSA over SHA-256 of msg; sig has CERT_SIG_MAX bytes. */
int cert_key_sign(const struct cert_key *k, const void *msg, size_t n, uint8_t *sig,
                  size_t *sig_len);
/* 0, -EBADMSG wrong signature, -EINVAL spki is no P-256 key. */
int cert_verify(const uint8_t *spki, size_t spki_len, const void *msg, size_t n, const uint8_t *sig,
                size_t sig_len);
/* 0, -EINVAL spki is no P-256 key (RFC 5480, uncompressed) or its point is not on the curve. */
int cert_spki_check(const uint8_t *spki, size_t spki_len);
/* SHA-256 of an SPKI of a certificate, CSR or key given as DER SPKI. */
void cert_spki_hash(const uint8_t *spki, size_t len, uint8_t out[32]);
/* Does this certificate (DER) hold this key's public half? */
bool cert_key_matches(const struct cert_key *k, const uint8_t *der, size_t len);

/* -- certificate requests ------------------------------------------------------------------ */

/* A PKCS#10 request for k, of which an issuer takes the key alone. */
int csr_new(const struct cert_key *k, const char *node, uint8_t *out, size_t max, size_t *len);
/* Checks shape and own signature; the SPKI into spki (CERT_SPKI_MAX). -EBADMSG. */
int csr_parse(const uint8_t *csr, size_t len, uint8_t *spki, size_t *spki_len);
