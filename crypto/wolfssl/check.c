/* SPDX-License-Identifier: GPL-3.0-or-later */
/* check - proves of a wolfSSL library what ginnel relies on and no header promises.
 *
 * deps.sh runs it once on each library, before the first build with it. Two halves: the fields
 * of wolfSSL's own structs that crypto/lease.c reads hold what we think they hold (shown by
 * deriving the same keys from the traffic secrets and by watching the record numbers), and a
 * DTLS 1.3 handshake as ginnel does it works: mutual certificates with a private extension,
 * X25519MLKEM768 in two fragments, cookie, connection ids of 4 bytes, ALPN, a replay window
 * wide enough, a key update. All in memory; no clock but the certificates' dates.
 *
 * Exit 0, or 1 with one line that says what does not hold.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wolfssl/internal.h>
#include <wolfssl/ssl.h>
#include <wolfssl/version.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/kdf.h>

#if LIBWOLFSSL_VERSION_HEX < 0x05009002
#error "wolfSSL 5.9.2 or later is needed"
#endif

#define CID_LEN   4
#define MTU       1200
#define QUEUE     1024
#define DATAGRAM  2048
#define REORDERED 120 /* fits the window of 128 and not one half as wide */
#define DER_MAX   2048
#define ALPN      "ginnel-check"
#define OID       "1.3.6.1.4.1.32473.1" /* RFC 5612, for examples */

_Static_assert(DTLS13_EPOCH_SIZE >= 8, "room for both directions' epochs");
_Static_assert(sizeof(w64wrapper) == sizeof(uint64_t), "w64wrapper is one 64-bit number");
_Static_assert(sizeof(((Dtls13Epoch *)0)->window) == 16, "replay window of 128 records");
_Static_assert(DTLS_CID_MAX_SIZE >= CID_LEN, "connection ids");

struct queue {
	int head, count;
	int len[QUEUE];
	unsigned char data[QUEUE][DATAGRAM];
};

struct identity {
	ecc_key key;
	unsigned char der[256], cert[DER_MAX];
	int der_len, cert_len;
};

struct end {
	WOLFSSL *ssl;
	struct queue *in, *out;
	unsigned char client[32], server[32]; /* traffic secrets of epoch 3 */
	unsigned char cid[CID_LEN];
	int verified;
};

static struct queue to_client, to_server;

#define NEED(condition, ...)                                    \
	do {                                                    \
		if (!(condition)) {                             \
			fprintf(stderr, "deps: wolfSSL: ");     \
			fprintf(stderr, __VA_ARGS__);           \
			fprintf(stderr, " (%s)\n", #condition); \
			exit(1);                                \
		}                                               \
	} while (0)

static int on_send(WOLFSSL *ssl, char *data, int len, void *context)
{
	struct end *e = context;
	struct queue *q = e->out;
	int at = (q->head + q->count) % QUEUE;

	(void)ssl;
	if (q->count == QUEUE || len > DATAGRAM)
		return WOLFSSL_CBIO_ERR_GENERAL;
	memcpy(q->data[at], data, (size_t)len);
	q->len[at] = len;
	q->count++;
	return len;
}

static int on_receive(WOLFSSL *ssl, char *data, int max, void *context)
{
	struct end *e = context;
	struct queue *q = e->in;
	int len = q->len[q->head];

	(void)ssl;
	if (!q->count)
		return WOLFSSL_CBIO_ERR_WANT_READ;
	if (len > max)
		return WOLFSSL_CBIO_ERR_GENERAL;
	memcpy(data, q->data[q->head], (size_t)len);
	q->head = (q->head + 1) % QUEUE;
	q->count--;
	return len;
}

static int on_secret(WOLFSSL *ssl, int id, const unsigned char *secret, int len, void *context)
{
	struct end *e = context;

	(void)ssl;
	if (len != 32)
		return -1;
	if (id == CLIENT_TRAFFIC_SECRET)
		memcpy(e->client, secret, 32);
	if (id == SERVER_TRAFFIC_SECRET)
		memcpy(e->server, secret, 32);
	return 0;
}

/* Called for good chains too; may narrow, never widen. */
static int on_verify(int preverify, WOLFSSL_X509_STORE_CTX *store)
{
	int *verified = store->userCtx;

	if (preverify && store->error_depth == 0 && store->totalCerts >= 1 &&
	    store->certs[0].length > 0)
		++*verified;
	return preverify;
}

static int on_extension(const word16 *oid, word32 count, int critical, const unsigned char *der,
                        word32 len, void *context)
{
	static const word16 want[] = {1, 3, 6, 1, 4, 1, 32473, 1};
	int *seen = context;

	if (count == 8 && !memcmp(oid, want, sizeof(want)) && !critical && len == 3 &&
	    !memcmp(der, "\x02\x01\x07", 3))
		++*seen;
	return 0;
}

static void make_identity(struct identity *id, struct identity *ca, WC_RNG *rng)
{
	static const unsigned char san[] = "\x30\x0c\x86\x0aspiffe://x";
	Cert c;
	int err;

	NEED(!wc_ecc_init(&id->key), "ecc");
	NEED(!wc_ecc_make_key_ex(rng, 32, &id->key, ECC_SECP256R1), "no P-256 key");
	wc_ecc_set_rng(&id->key, rng);
	id->der_len = wc_EccKeyToDer(&id->key, id->der, sizeof(id->der));
	NEED(id->der_len > 0, "no SEC1 key");

	NEED(!wc_InitCert(&c), "certificate");
	snprintf(c.subject.commonName, CTC_NAME_SIZE, "%s", ca ? "node" : "ca");
	c.sigType = CTC_SHA256wECDSA;
	c.isCA = ca ? 0 : 1;
	c.isCaSet = 1;
	c.selfSigned = ca ? 0 : 1;
	c.daysValid = 1;
	memcpy(c.altNames, san, sizeof(san) - 1);
	c.altNamesSz = sizeof(san) - 1;
	NEED(wc_SetKeyUsage(&c, ca ? "digitalSignature" : "keyCertSign,cRLSign") == 0, "usage");
	err = wc_SetCustomExtension(&c, 0, OID, (const unsigned char *)"\x02\x01\x07", 3);
	NEED(err == 0, "no private extension: %d", err);
	if (ca)
		NEED(wc_SetIssuerBuffer(&c, ca->cert, ca->cert_len) == 0, "issuer");
	NEED(wc_MakeCert_ex(&c, id->cert, DER_MAX, ECC_TYPE, &id->key, rng) > 0, "make");
	id->cert_len = wc_SignCert_ex(c.bodySz, c.sigType, id->cert, DER_MAX, ECC_TYPE,
	                              ca ? &ca->key : &id->key, rng);
	NEED(id->cert_len > 0, "sign: %d", id->cert_len);
}

/* What crypto/cert.c and crypto/keyfile.c do with certificates and keys. */
static void check_files(struct identity *id)
{
	unsigned char der[DER_MAX], pem[2 * DER_MAX];
	word32 len = sizeof(der), at = 0;
	DecodedCert d;
	ecc_key key;
	int seen = 0, n;

	wc_InitDecodedCert(&d, id->cert, (word32)id->cert_len, NULL);
	NEED(!wc_SetUnknownExtCallbackEx(&d, on_extension, &seen), "extension callback");
	NEED(!wc_ParseCert(&d, CERT_TYPE, NO_VERIFY, NULL), "parse");
	NEED(seen == 1, "the private extension was not seen");
	NEED(d.altNames && d.altNames->type == ASN_URI_TYPE && d.altNames->len == 10, "SAN URI");
	wc_FreeDecodedCert(&d);

	n = wc_DerToPem(id->cert, (word32)id->cert_len, pem, sizeof(pem), CERT_TYPE);
	NEED(n > 0, "certificate to PEM: %d", n);
	n = wc_CertPemToDer(pem, n, der, sizeof(der), CERT_TYPE);
	NEED(n == id->cert_len && !memcmp(der, id->cert, (size_t)n), "certificate from PEM: %d", n);

	n = wc_DerToPem(id->der, (word32)id->der_len, pem, sizeof(pem), ECC_PRIVATEKEY_TYPE);
	NEED(n > 0 && (n = wc_KeyPemToDer(pem, n, der, sizeof(der), NULL)) > 0, "SEC1 key: %d", n);
	NEED(!wc_ecc_init(&key) && !wc_EccPrivateKeyDecode(der, &at, &key, (word32)n), "SEC1");
	wc_ecc_free(&key);

	len = sizeof(der), at = 0;
	n = wc_EccKeyToPKCS8(&id->key, der, &len);
	NEED(n > 0, "key to PKCS#8: %d", n);
	n = wc_DerToPem(der, len, pem, sizeof(pem), PKCS8_PRIVATEKEY_TYPE);
	NEED(n > 0 && (n = wc_KeyPemToDer(pem, n, der, sizeof(der), NULL)) > 0, "PKCS#8: %d", n);
	NEED(!wc_ecc_init(&key) && !wc_EccPrivateKeyDecode(der, &at, &key, (word32)n), "PKCS#8");
	wc_ecc_free(&key);
}

static WOLFSSL_CTX *make_context(WOLFSSL_METHOD *method, struct identity *id, struct identity *ca)
{
	int group = WOLFSSL_X25519MLKEM768;
	WOLFSSL_CTX *c = wolfSSL_CTX_new(method);

	NEED(c, "no context");
	NEED(wolfSSL_CTX_load_verify_buffer(c, ca->cert, ca->cert_len, WOLFSSL_FILETYPE_ASN1) == 1,
	     "ca");
	NEED(wolfSSL_CTX_use_certificate_buffer(c, id->cert, id->cert_len, WOLFSSL_FILETYPE_ASN1) ==
	             1,
	     "certificate");
	NEED(wolfSSL_CTX_use_PrivateKey_buffer(c, id->der, id->der_len, WOLFSSL_FILETYPE_ASN1) == 1,
	     "key");
	NEED(wolfSSL_CTX_set_cipher_list(c, "TLS13-AES128-GCM-SHA256") == 1, "no AES-128-GCM");
	NEED(wolfSSL_CTX_set_groups(c, &group, 1) == 1, "no X25519MLKEM768");
	wolfSSL_CTX_set_verify(c, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT,
	                       on_verify);
	wolfSSL_SetIOSend(c, on_send);
	wolfSSL_SetIORecv(c, on_receive);
	return c;
}

static void make_end(struct end *e, WOLFSSL_CTX *context, struct queue *in, struct queue *out,
                     WC_RNG *rng)
{
	char alpn[] = ALPN;

	e->in = in;
	e->out = out;
	e->ssl = wolfSSL_new(context);
	NEED(e->ssl, "no session");
	wolfSSL_SetIOReadCtx(e->ssl, e);
	wolfSSL_SetIOWriteCtx(e->ssl, e);
	wolfSSL_SetCertCbCtx(e->ssl, &e->verified);
	wolfSSL_dtls_set_using_nonblock(e->ssl, 1);
	NEED(wolfSSL_dtls_set_mtu(e->ssl, MTU) == 1, "MTU");
	NEED(!wc_RNG_GenerateBlock(rng, e->cid, CID_LEN), "random");
	NEED(wolfSSL_dtls_cid_use(e->ssl) == 1, "connection ids");
	NEED(wolfSSL_dtls_cid_set(e->ssl, e->cid, CID_LEN) == 1, "connection id");
	NEED(wolfSSL_UseALPN(e->ssl, alpn, sizeof(alpn) - 1, WOLFSSL_ALPN_FAILED_ON_MISMATCH) == 1,
	     "ALPN");
	NEED(wolfSSL_set_tls13_secret_cb(e->ssl, on_secret, e) == 1, "traffic secrets");
}

static int step(struct end *e, int result)
{
	int err;

	if (result == WOLFSSL_SUCCESS)
		return 1;
	err = wolfSSL_get_error(e->ssl, result);
	NEED(err == WOLFSSL_ERROR_WANT_READ, "handshake: %d", err);
	return 0;
}

static void shake_hands(struct end *client, struct end *server)
{
	static const unsigned char cookie[32] = {1};
	int client_up = 0, server_up = 0, listening = 1, result, i;

	NEED(wolfSSL_send_hrr_cookie(server->ssl, cookie, sizeof(cookie)) == 1, "cookie");
	NEED(wolfSSL_dtls13_allow_ch_frag(server->ssl, 1) == 1, "fragmented hello");
	for (i = 0; i < 30 && !(client_up && server_up); i++) {
		if (!client_up)
			client_up = step(client, wolfSSL_connect(client->ssl));
		if (listening && server->in->count) {
			result = wolfDTLS_accept_stateless(server->ssl);
			NEED(result != WOLFSSL_FATAL_ERROR, "stateless answer");
			listening = result != WOLFSSL_SUCCESS;
		}
		if (!listening && !server_up)
			server_up = step(server, wolfSSL_accept(server->ssl));
	}
	NEED(client_up && server_up, "the handshake does not end");
}

static Dtls13Epoch *find_epoch(struct end *e, uint64_t number)
{
	int i;

	for (i = 0; i < DTLS13_EPOCH_SIZE; i++)
		if (e->ssl->dtls13Epochs[i].isValid &&
		    e->ssl->dtls13Epochs[i].epochNumber.n == number)
			return &e->ssl->dtls13Epochs[i];
	NEED(0, "no epoch %llu", (unsigned long long)number);
	return NULL;
}

/* RFC 9147, 5.9: the label's prefix is "dtls13", without the space that TLS has after it. */
static void need_derived(const unsigned char *secret, const char *label, const void *want, int len)
{
	unsigned char out[32];

	NEED(!wc_Tls13_HKDF_Expand_Label(
		     out, (word32)len, secret, 32, (const unsigned char *)"dtls13", 6,
		     (const unsigned char *)label, (word32)strlen(label), NULL, 0, WC_SHA256),
	     "HKDF");
	NEED(!memcmp(out, want, (size_t)len), "struct layout: %s is not where we look", label);
}

static void check_keys(struct end *e)
{
	const Dtls13Epoch *k = find_epoch(e, 3);

	NEED(e->ssl->dtls13Epoch.n == 3 && e->ssl->dtls13PeerEpoch.n == 3, "epoch 3");
	need_derived(e->client, "key", k->client_write_key, 16);
	need_derived(e->client, "iv", k->client_write_IV, 12);
	need_derived(e->client, "sn", k->client_sn_key, 16);
	need_derived(e->server, "key", k->server_write_key, 16);
	need_derived(e->server, "iv", k->server_write_IV, 12);
	need_derived(e->server, "sn", k->server_sn_key, 16);
}

static void check_agreed(struct end *e, struct end *peer)
{
	unsigned char cid[CID_LEN];
	unsigned int cid_len = 0;
	unsigned short alpn_len = 0;
	char *alpn = NULL;
	const char *group = wolfSSL_get_curve_name(e->ssl);

	NEED(!strcmp(wolfSSL_get_version(e->ssl), "DTLSv1.3"), "version");
	NEED(group && !strcmp(group, "X25519MLKEM768"), "group: %s", group ? group : "none");
	NEED(wolfSSL_ALPN_GetProtocol(e->ssl, &alpn, &alpn_len) == 1 && alpn_len == strlen(ALPN) &&
	             !memcmp(alpn, ALPN, alpn_len),
	     "ALPN");
	NEED(wolfSSL_dtls_cid_get_tx_size(e->ssl, &cid_len) == 1 && cid_len == CID_LEN, "CID");
	NEED(wolfSSL_dtls_cid_get_tx(e->ssl, cid, CID_LEN) == 1 && !memcmp(cid, peer->cid, CID_LEN),
	     "CID");
	NEED(e->verified >= 1, "the verify callback was not asked about a good chain");
}

static void need_read(struct end *e, const void *want, int len)
{
	char got[64];
	int n = wolfSSL_read(e->ssl, got, sizeof(got));

	NEED(n == len && !memcmp(got, want, (size_t)len), "record not delivered: %d, %d", n,
	     wolfSSL_get_error(e->ssl, n));
}

/* A record's number is where lease.c reads it, and its header as RFC 9147 figure 4 draws it. */
static void check_numbers(struct end *from, struct end *to)
{
	uint64_t next = find_epoch(from, 3)->nextSeqNumber.n;
	const unsigned char *wire;

	NEED(wolfSSL_write(from->ssl, "x", 1) == 1, "write");
	NEED(find_epoch(from, 3)->nextSeqNumber.n == next + 1, "struct layout: nextSeqNumber");
	NEED(to->in->count == 1, "one record, one datagram");
	wire = to->in->data[to->in->head];
	NEED((wire[0] & 0xf8) == 0x38 && (wire[0] & 3) == 3, "record header %02x", wire[0]);
	NEED(!memcmp(wire + 1, to->cid, CID_LEN), "the receiver's CID is not in the header");
	need_read(to, "x", 1);
	NEED(find_epoch(to, 3)->nextPeerSeqNumber.n == next + 1,
	     "struct layout: nextPeerSeqNumber");
	/* A number moved on, as lease.c does to share the space, is the one sent next. */
	find_epoch(from, 3)->nextSeqNumber.n = next + 100;
	NEED(wolfSSL_write(from->ssl, "y", 1) == 1, "write");
	need_read(to, "y", 1);
	NEED(find_epoch(to, 3)->nextPeerSeqNumber.n == next + 101, "struct layout: moved number");
}

static void swap(struct queue *q, int a, int b)
{
	static unsigned char data[DATAGRAM];
	int len = q->len[a];

	memcpy(data, q->data[a], DATAGRAM);
	memcpy(q->data[a], q->data[b], DATAGRAM);
	memcpy(q->data[b], data, DATAGRAM);
	q->len[a] = q->len[b];
	q->len[b] = len;
}

static void check_window(struct end *from, struct end *to)
{
	struct queue *q = to->in;
	char got[64];
	int i;

	q->head = 0;
	for (i = 0; i < REORDERED; i++)
		NEED(wolfSSL_write(from->ssl, &i, sizeof(i)) == sizeof(i), "write");
	NEED(q->count == REORDERED, "one record, one datagram");
	for (i = 0; i < REORDERED / 2; i++)
		swap(q, i, REORDERED - 1 - i);
	for (i = REORDERED - 1; i >= 0; i--)
		need_read(to, &i, sizeof(i));
	/* All of them again, as they still lie in the ring. */
	q->head = 0;
	q->count = REORDERED;
	NEED(wolfSSL_read(to->ssl, got, sizeof(got)) < 0, "a repeated record was delivered");
	NEED(q->count == 0, "reading stopped at a repeated record");
}

static void check_update(struct end *from, struct end *to)
{
	char got[64];

	NEED(wolfSSL_update_keys(from->ssl) == 1, "key update");
	NEED(wolfSSL_read(to->ssl, got, sizeof(got)) < 0, "key update");
	NEED(wolfSSL_read(from->ssl, got, sizeof(got)) < 0, "key update");
	NEED(wolfSSL_read(to->ssl, got, sizeof(got)) < 0, "key update");
	NEED(from->ssl->dtls13Epoch.n == 4 && to->ssl->dtls13PeerEpoch.n == 4,
	     "struct layout: epochs after a key update");
	NEED(find_epoch(from, 4)->nextSeqNumber.n == 0, "numbers begin anew in epoch 4");
	NEED(wolfSSL_write(from->ssl, "z", 1) == 1, "write");
	need_read(to, "z", 1);
}

int main(void)
{
	static struct identity ca, node[2];
	static struct end client, server;
	WOLFSSL_CTX *contexts[2];
	WC_RNG rng;
	int i;

	NEED(wolfSSL_lib_version_hex() == LIBWOLFSSL_VERSION_HEX,
	     "the library is %s, its headers are " LIBWOLFSSL_VERSION_STRING,
	     wolfSSL_lib_version());
	NEED(wolfSSL_Init() == WOLFSSL_SUCCESS && !wc_InitRng(&rng), "start");
	make_identity(&ca, NULL, &rng);
	for (i = 0; i < 2; i++)
		make_identity(&node[i], &ca, &rng);
	check_files(&node[0]);

	contexts[0] = make_context(wolfDTLSv1_3_client_method(), &node[0], &ca);
	contexts[1] = make_context(wolfDTLSv1_3_server_method(), &node[1], &ca);
	make_end(&client, contexts[0], &to_client, &to_server, &rng);
	make_end(&server, contexts[1], &to_server, &to_client, &rng);
	shake_hands(&client, &server);
	check_agreed(&client, &server);
	check_agreed(&server, &client);
	check_keys(&client);
	check_keys(&server);
	/* The server's last ACK and whatever else is on its way. */
	wolfSSL_read(client.ssl, &i, sizeof(i));
	wolfSSL_read(server.ssl, &i, sizeof(i));
	check_numbers(&client, &server);
	check_numbers(&server, &client);
	check_window(&client, &server);
	check_window(&server, &client);
	check_update(&client, &server);

	wolfSSL_free(client.ssl);
	wolfSSL_free(server.ssl);
	for (i = 0; i < 2; i++)
		wolfSSL_CTX_free(contexts[i]);
	wc_FreeRng(&rng);
	return 0;
}
