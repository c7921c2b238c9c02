/* SPDX-License-Identifier: GPL-3.0-or-later */
/* raw - for tests: a peer on bare wolfSSL that does as it likes: shows any certificate, names any
 * application protocol, offers any group.
 */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/internal.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/settings.h>

#include "crypto/cert.h"

struct raw_as {
	bool server, stream; /* stream: TLS over bytes */
	const char *alpn;    /* NULL: none */
	int group;           /* 0: the one we demand */
	const char *cipher;  /* NULL: wolfSSL's list */
	bool no_cid;
	const struct cert_chain *chain; /* NULL: no certificate */
	const struct cert_key *key;
};

#define RAW_QUEUE 64
#define RAW_MAX   17000

struct raw_queue {
	unsigned n;
	struct {
		size_t len;
		uint8_t bytes[RAW_MAX];
	} d[RAW_QUEUE];
};

struct raw {
	WOLFSSL_CTX *ctx;
	WOLFSSL *ssl;
	bool server, up;
	int error;                /* of the handshake, 0: none */
	struct raw_queue in, out; /* a stream's bytes are in pieces */
};

static inline void raw_put(struct raw_queue *q, const uint8_t *d, size_t len)
{
	if (q->n == RAW_QUEUE || len > RAW_MAX)
		abort();
	memcpy(q->d[q->n].bytes, d, len);
	q->d[q->n++].len = len;
}

static inline void raw_drop(struct raw_queue *q)
{
	memmove(&q->d[0], &q->d[1], (q->n - 1) * sizeof(q->d[0]));
	q->n--;
}

static inline int raw_receive(WOLFSSL *ssl, char *buf, int max, void *arg)
{
	struct raw *r = arg;
	size_t n;

	(void)ssl;
	if (!r->in.n)
		return WOLFSSL_CBIO_ERR_WANT_READ;
	n = r->in.d[0].len < (size_t)max ? r->in.d[0].len : (size_t)max;
	memcpy(buf, r->in.d[0].bytes, n);
	if (n < r->in.d[0].len && !wolfSSL_dtls(ssl)) {
		memmove(r->in.d[0].bytes, r->in.d[0].bytes + n, r->in.d[0].len - n);
		r->in.d[0].len -= n;
	} else {
		raw_drop(&r->in);
	}
	return (int)n;
}

static inline int raw_send(WOLFSSL *ssl, char *buf, int len, void *arg)
{
	(void)ssl;
	raw_put(&((struct raw *)arg)->out, (const uint8_t *)buf, (size_t)len);
	return len;
}

static inline int raw_any(int ok, WOLFSSL_X509_STORE_CTX *store)
{
	(void)ok;
	(void)store;
	return 1;
}

/* What wolfSSL would not load, it still sends. */
static inline void raw_show(WOLFSSL *ssl, const struct cert_chain *chain)
{
	DerBuffer *leaf = NULL, *rest = NULL;
	size_t len = 0;

	for (unsigned i = 1; i < chain->n; i++)
		len += 3 + chain->at[i].len;
	if (AllocDer(&leaf, (word32)chain->at[0].len, CERT_TYPE, NULL) != 0 ||
	    (len && AllocDer(&rest, (word32)len, CERT_TYPE, NULL) != 0))
		abort();
	memcpy(leaf->buffer, chain->at[0].der, chain->at[0].len);
	len = 0;
	for (unsigned i = 1; i < chain->n; i++) {
		size_t n = chain->at[i].len;
		const uint8_t head[3] = {0, (uint8_t)(n >> 8), (uint8_t)n};

		memcpy(rest->buffer + len, head, 3);
		memcpy(rest->buffer + len + 3, chain->at[i].der, n);
		len += 3 + n;
	}
	if (ssl->buffers.weOwnCert)
		FreeDer(&ssl->buffers.certificate);
	if (ssl->buffers.weOwnCertChain)
		FreeDer(&ssl->buffers.certChain);
	ssl->buffers.certificate = leaf;
	ssl->buffers.weOwnCert = 1;
	ssl->buffers.certChain = rest;
	ssl->buffers.weOwnCertChain = rest != NULL;
	ssl->buffers.certChainCnt = (int)chain->n - 1;
}

static inline void raw_identity(WOLFSSL *ssl, const struct raw_as *as)
{
	size_t len;
	const uint8_t *der = cert_key_der(as->key, &len);

	if (wolfSSL_use_PrivateKey_buffer(ssl, der, (long)len, WOLFSSL_FILETYPE_ASN1) !=
	    WOLFSSL_SUCCESS)
		abort();
	raw_show(ssl, as->chain);
}

static inline void raw_init(struct raw *r, const struct raw_as *as)
{
	static const uint8_t secret[32] = {7};
	int group = as->group ? as->group : WOLFSSL_X25519MLKEM768;
	unsigned char cid[4] = {0xc, 1, 0xd, 9};
	char alpn[64];

	memset(r, 0, sizeof(*r));
	r->server = as->server;
	if (as->stream)
		r->ctx = wolfSSL_CTX_new(as->server ? wolfTLSv1_3_server_method()
		                                    : wolfTLSv1_3_client_method());
	else
		r->ctx = wolfSSL_CTX_new(as->server ? wolfDTLSv1_3_server_method()
		                                    : wolfDTLSv1_3_client_method());
	if (!r->ctx || wolfSSL_CTX_set_groups(r->ctx, &group, 1) != WOLFSSL_SUCCESS)
		abort();
	if (as->cipher && wolfSSL_CTX_set_cipher_list(r->ctx, as->cipher) != WOLFSSL_SUCCESS)
		abort();
	wolfSSL_CTX_set_verify(r->ctx, WOLFSSL_VERIFY_PEER, raw_any);
	if (as->chain) {
		/* An object that is to be a server wants its context to have a key. */
		size_t len;
		const uint8_t *der = cert_key_der(as->key, &len);

		wolfSSL_CTX_use_PrivateKey_buffer(r->ctx, der, (long)len, WOLFSSL_FILETYPE_ASN1);
		wolfSSL_CTX_use_certificate_buffer(r->ctx, as->chain->at[0].der,
		                                   (long)as->chain->at[0].len,
		                                   WOLFSSL_FILETYPE_ASN1);
	}
	r->ssl = wolfSSL_new(r->ctx);
	if (!r->ssl)
		abort();
	if (as->chain)
		raw_identity(r->ssl, as);
	if (as->alpn) {
		snprintf(alpn, sizeof(alpn), "%s", as->alpn);
		wolfSSL_UseALPN(r->ssl, alpn, (unsigned)strlen(alpn),
		                WOLFSSL_ALPN_CONTINUE_ON_MISMATCH);
	}
	wolfSSL_SSLSetIORecv(r->ssl, raw_receive);
	wolfSSL_SSLSetIOSend(r->ssl, raw_send);
	wolfSSL_SetIOReadCtx(r->ssl, r);
	wolfSSL_SetIOWriteCtx(r->ssl, r);
	if (as->stream)
		return;
	wolfSSL_dtls_set_using_nonblock(r->ssl, 1);
	wolfSSL_dtls_set_mtu(r->ssl, 1200);
	if (!as->no_cid) {
		wolfSSL_dtls_cid_use(r->ssl);
		wolfSSL_dtls_cid_set(r->ssl, cid, sizeof(cid));
	}
	if (as->server) {
		wolfSSL_send_hrr_cookie(r->ssl, secret, sizeof(secret));
		wolfSSL_dtls13_allow_ch_frag(r->ssl, 1);
	}
}

static inline void raw_clear(struct raw *r)
{
	wolfSSL_free(r->ssl);
	wolfSSL_CTX_free(r->ctx);
}

/* Goes as far as it can. */
static inline void raw_step(struct raw *r)
{
	int n;

	if (r->up || r->error)
		return;
	n = r->server ? wolfSSL_accept(r->ssl) : wolfSSL_connect(r->ssl);
	if (n == WOLFSSL_SUCCESS)
		r->up = true;
	else if (wolfSSL_get_error(r->ssl, n) != WOLFSSL_ERROR_WANT_READ)
		r->error = wolfSSL_get_error(r->ssl, n);
}

/* The alert it got, -1: none. Reads what has come. */
static inline int raw_alert(struct raw *r)
{
	WOLFSSL_ALERT_HISTORY h;
	char buf[64];

	if (r->up && !r->error)
		(void)wolfSSL_read(r->ssl, buf, sizeof(buf));
	return wolfSSL_get_alert_history(r->ssl, &h) == WOLFSSL_SUCCESS ? h.last_rx.code : -1;
}
