/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A struct wolf owns one WOLFSSL_CTX for each end it can be. They share what is decided here and
 * differ in method and chain alone, so that no port is softer than another.
 *
 * wolfSSL asks for the time without saying for whom. wolf_enter names the struct wolf that the
 * present thread works for; wolfSSL's own check of dates then goes by the same clock as ours
 * (max(clock, floor)), and cannot refuse a peer because a machine without a clock battery thinks
 * it is 1970.
 */
#include "crypto/wolf.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/ssl.h>
#include <wolfssl/version.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/settings.h>

#include "crypto/aead.h"
#include "crypto/secret.h"

#define WOLF_ENDS     4
#define WOLF_GROUP    WOLFSSL_X25519MLKEM768
#define CIPHER_AES    "TLS13-AES128-GCM-SHA256"
#define CIPHER_CHACHA "TLS13-CHACHA20-POLY1305-SHA256"

struct wolf {
	atomic_uint refs;
	WOLFSSL_CTX *ctx[WOLF_ENDS]; /* NULL: we cannot be that end */
	struct wolf_params params;   /* without chain and key */
	char cluster[CERT_NAME_MAX + 1];
	uint8_t pin[32];
	pthread_mutex_t cookie_lock;
	uint8_t cookie[2][WOLF_COOKIE_SECRET]; /* present, previous */
	bool cookie_rotated;
};

/* No argument reaches wolfSSL's time callback: see the head of the file. */
static _Thread_local const struct wolf *working_for;

time_t wolf_time(time_t *out)
{
	time_t t;

	if (working_for && working_for->params.wall)
		t = working_for->params.wall(working_for->params.wall_arg);
	else
		t = time(NULL);
	if (out)
		*out = t;
	return t;
}

void wolf_enter(const struct wolf *w)
{
	working_for = w;
}

void wolf_leave(void)
{
	working_for = NULL;
}

int wolf_start(void)
{
	if (wolfSSL_Init() != WOLFSSL_SUCCESS)
		return -ENOMEM;
	if (wc_SetTimeCb(wolf_time) != 0)
		return -EINVAL;
	return aead_start();
}

const char *wolf_version(void)
{
	return LIBWOLFSSL_VERSION_STRING;
}

/* -- what this process is ------------------------------------------------------------------- */

static bool is_root(const struct cert_chain *roots, const uint8_t *der, size_t len)
{
	for (unsigned i = 0; i < roots->n; i++)
		if (roots->at[i].len == len && !memcmp(roots->at[i].der, der, len))
			return true;
	return false;
}

/* Our chain for one end: without the root, which every peer has; with it from managers, for whom
 * joiners know by its hash alone.
 */
static int use_chain(WOLFSSL_CTX *ctx, const struct wolf_params *p, const struct cert_chain *roots,
                     bool with_root)
{
	uint8_t *buf;
	size_t len = 0;
	bool has_root = false;
	int err = 0;

	buf = malloc((size_t)CERT_CHAIN_MAX * CERT_DER_MAX + CERT_DER_MAX);
	if (!buf)
		return -ENOMEM;
	for (unsigned i = 0; i < p->chain->n; i++) {
		bool root = i > 0 && is_root(roots, p->chain->at[i].der, p->chain->at[i].len);

		if (p->chain->at[i].len > CERT_DER_MAX) {
			err = -EINVAL;
			goto out;
		}
		if (root && !with_root)
			continue;
		has_root |= root;
		memcpy(buf + len, p->chain->at[i].der, p->chain->at[i].len);
		len += p->chain->at[i].len;
	}
	if (with_root && !has_root && p->chain->n < CERT_CHAIN_MAX && roots->n &&
	    roots->at[0].len <= CERT_DER_MAX) {
		memcpy(buf + len, roots->at[0].der, roots->at[0].len);
		len += roots->at[0].len;
	}
	if (wolfSSL_CTX_use_certificate_chain_buffer_format(
		    ctx, buf, (long)len, WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS)
		err = -EINVAL;
out:
	free(buf);
	return err;
}

static int use_key(WOLFSSL_CTX *ctx, const struct cert_key *key)
{
	size_t len;
	const uint8_t *der = cert_key_der(key, &len);

	if (wolfSSL_CTX_use_PrivateKey_buffer(ctx, der, (long)len, WOLFSSL_FILETYPE_ASN1) !=
	    WOLFSSL_SUCCESS)
		return -EINVAL;
	return 0;
}

static int use_trust(WOLFSSL_CTX *ctx, const struct cert_chain *roots)
{
	for (unsigned i = 0; i < roots->n; i++)
		if (wolfSSL_CTX_load_verify_buffer_ex(
			    ctx, roots->at[i].der, (long)roots->at[i].len, WOLFSSL_FILETYPE_ASN1, 0,
			    WOLFSSL_LOAD_FLAG_DATE_ERR_OKAY) != WOLFSSL_SUCCESS)
			return -EINVAL;
	return 0;
}

/* The same for every end. Which of the two ciphers: a side without AES in hardware asks for
 * ChaCha20 first, and a server that has it follows the client.
 */
static int use_rules(WOLFSSL_CTX *ctx)
{
	bool aes = aead_preferred() == AEAD_AES_128_GCM;
	int group = WOLF_GROUP;

	if (wolfSSL_CTX_set_groups(ctx, &group, 1) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_set_cipher_list(ctx, aes ? CIPHER_AES ":" CIPHER_CHACHA
	                                         : CIPHER_CHACHA
	                                             ":" CIPHER_AES) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_SetMinEccKey_Sz(ctx, 256) != WOLFSSL_SUCCESS)
		return -EINVAL;
	if (aes)
		wolfSSL_CTX_UseClientSuites(ctx);
	wolf_peer_callbacks(ctx);
	return 0;
}

static WOLFSSL_METHOD *method(enum wolf_end end)
{
	switch (end) {
	case WOLF_DTLS_CLIENT:
		return wolfDTLSv1_3_client_method();
	case WOLF_DTLS_SERVER:
		return wolfDTLSv1_3_server_method();
	case WOLF_TLS_CLIENT:
		return wolfTLSv1_3_client_method();
	default:
		return wolfTLSv1_3_server_method();
	}
}

static int ctx_new(WOLFSSL_CTX **out, enum wolf_end end, const struct wolf_params *p,
                   const struct cert_chain *roots, bool with_root)
{
	WOLFSSL_CTX *ctx = wolfSSL_CTX_new(method(end));
	int err;

	if (!ctx)
		return -ENOMEM;
	err = use_rules(ctx);
	if (!err)
		err = use_trust(ctx, roots);
	if (!err && p->chain)
		err = use_chain(ctx, p, roots, with_root && end == WOLF_TLS_SERVER);
	if (!err && p->chain)
		err = use_key(ctx, p->key);
	if (err) {
		wolfSSL_CTX_free(ctx);
		return err;
	}
	*out = ctx;
	return 0;
}

/* Is what we were given what we can be? */
static int check_params(const struct wolf_params *p, struct cert_info *own)
{
	if (!p->trust && !p->pin)
		return -EINVAL;
	if (p->cluster && strlen(p->cluster) > CERT_NAME_MAX)
		return -EINVAL;
	if (!p->chain)
		return 0;
	if (!p->key || !p->cluster || p->chain->n < 1 || p->chain->n > CERT_CHAIN_MAX)
		return -EINVAL;
	if (cert_parse(own, p->chain->at[0].der, p->chain->at[0].len) != CERT_OK)
		return -EINVAL;
	if (!cert_key_matches(p->key, p->chain->at[0].der, p->chain->at[0].len))
		return -EINVAL;
	return strcmp(own->cluster, p->cluster) == 0 ? 0 : -EINVAL;
}

int wolf_new(struct wolf **out, const struct wolf_params *p)
{
	struct cert_chain roots = {.n = 0};
	struct cert_info own = {.role = ROLE_NODE};
	struct wolf *w;
	int err;

	err = check_params(p, &own);
	if (err)
		return err;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	atomic_init(&w->refs, 1);
	w->params = *p;
	w->params.chain = NULL; /* the contexts have copies */
	w->params.key = NULL;
	if (p->cluster)
		memcpy(w->cluster, p->cluster, strlen(p->cluster) + 1);
	w->params.cluster = w->cluster;
	if (p->trust) {
		w->params.pin = NULL;
		cert_trust_roots(p->trust, &roots);
	} else {
		memcpy(w->pin, p->pin, sizeof(w->pin));
		w->params.pin = w->pin;
	}
	err = -pthread_mutex_init(&w->cookie_lock, NULL);
	if (err)
		goto fail_lock;
	err = secret_random(w->cookie[0], sizeof(w->cookie[0]));
	wolf_enter(w);
	for (int end = 0; !err && end < WOLF_ENDS; end++)
		if (p->chain || end == WOLF_TLS_CLIENT)
			err = ctx_new(&w->ctx[end], (enum wolf_end)end, p, &roots,
			              own.role == ROLE_MANAGER);
	wolf_leave();
	if (err)
		goto fail;
	*out = w;
	return 0;
fail:
	wolf_put(w);
	return err;
fail_lock:
	free(w);
	return err;
}

const struct wolf_params *wolf_rules(const struct wolf *w)
{
	return &w->params;
}

struct WOLFSSL_CTX *wolf_ctx(const struct wolf *w, enum wolf_end end)
{
	return w->ctx[end];
}

struct wolf *wolf_get(struct wolf *w)
{
	atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
	return w;
}

void wolf_put(struct wolf *w)
{
	if (!w || atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (int end = 0; end < WOLF_ENDS; end++)
		wolfSSL_CTX_free(w->ctx[end]);
	pthread_mutex_destroy(&w->cookie_lock);
	secret_wipe(w->cookie, sizeof(w->cookie));
	free(w);
}

int wolf_cookie_rotate(struct wolf *w)
{
	uint8_t fresh[WOLF_COOKIE_SECRET];
	int err = secret_random(fresh, sizeof(fresh));

	if (err)
		return err;
	pthread_mutex_lock(&w->cookie_lock);
	memcpy(w->cookie[1], w->cookie[0], sizeof(w->cookie[1]));
	memcpy(w->cookie[0], fresh, sizeof(fresh));
	w->cookie_rotated = true;
	pthread_mutex_unlock(&w->cookie_lock);
	secret_wipe(fresh, sizeof(fresh));
	return 0;
}

unsigned wolf_cookie_secrets(struct wolf *w, uint8_t out[2][WOLF_COOKIE_SECRET])
{
	unsigned n;

	pthread_mutex_lock(&w->cookie_lock);
	n = w->cookie_rotated ? 2 : 1;
	memcpy(out, w->cookie, sizeof(w->cookie));
	pthread_mutex_unlock(&w->cookie_lock);
	return n;
}
