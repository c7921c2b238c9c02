/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A struct wolf owns one WOLFSSL_CTX for each end it can be. They share what is decided here and
 * differ in method and chain alone, so that no port is softer than another.
 *
 * The peer's chain is judged inside the handshake, in the verify callback, before the peer learns
 * that it got any further. The callback may only narrow. One exception is needed: a joiner has no
 * root yet, so wolfSSL cannot know the one that ends the chain; it is taken if its key has the
 * pinned hash, and then the chain is judged against it and nothing else.
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/ssl.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/internal.h>
#include <wolfssl/version.h>

#include "crypto/secret.h"

#define WOLF_ENDS 4
#define WOLF_GROUP WOLFSSL_X25519MLKEM768
#define WOLF_GROUP_NAME "X25519MLKEM768"
#define CIPHER_AES "TLS13-AES128-GCM-SHA256"
#define CIPHER_CHACHA "TLS13-CHACHA20-POLY1305-SHA256"
#define ALPN_TEXT_MAX 32 /* of a peer's ALPN list in a message */
#define PEER_INDEX 0     /* ex data of a WOLFSSL: its struct wolf_peer */

struct wolf {
	atomic_uint refs;
	WOLFSSL_CTX *ctx[WOLF_ENDS]; /* NULL: we cannot be that end */
	struct wolf_params params;   /* trust, chain and pin are not used through it */
	char cluster[CERT_NAME_MAX + 1];
	bool pinned;
	uint8_t pin[32];
	pthread_mutex_t cookie_lock;
	uint8_t cookie[2][WOLF_COOKIE_SECRET]; /* present, previous */
	unsigned cookie_generation;
};

/* No argument reaches wolfSSL's time callback: see the head of the file. */
static _Thread_local const struct wolf *working_for;

static time_t on_time(time_t *out)
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
	return wc_SetTimeCb(on_time) == 0 ? 0 : -EINVAL;
}

const char *wolf_version(void)
{
	return LIBWOLFSSL_VERSION_STRING;
}

/* Does this build of wolfSSL use the processor's AES? Table-driven AES is slow and leaks its key
 * through the cache.
 */
static bool aes_in_hardware(void)
{
#if defined(WOLFSSL_AESNI)
	return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#else
	return false;
#endif
}

const char *wolf_aead(void)
{
	return aes_in_hardware() ? "AES-128-GCM" : "CHACHA20-POLY1305";
}

/* -- refusals and words --------------------------------------------------------------------- */

/* RFC 8446 section 6, those that a peer of ours can meet. */
const char *wolf_alert_name(int alert)
{
	static const struct {
		int alert;
		const char *name;
	} names[] = {
		{0, "it said goodbye"},
		{10, "unexpected message"},
		{20, "bad record"},
		{22, "record too long"},
		{40, "no common group or cipher"},
		{42, "our certificate was refused"},
		{43, "our certificate is of a kind it does not take"},
		{44, "our certificate was revoked"},
		{45, "our certificate has expired or is not valid yet"},
		{46, "our certificate was refused"},
		{47, "illegal parameter"},
		{48, "it does not know our CA"},
		{49, "access denied"},
		{50, "a message could not be decoded"},
		{51, "a signature or key did not fit"},
		{70, "protocol version"},
		{80, "internal error"},
		{109, "missing extension"},
		{110, "unsupported extension"},
		{116, "it wants a certificate"},
		{120, "no common application protocol"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].alert == alert)
			return names[i].name;
	return "unknown alert";
}

/* What wolfSSL's own check found, in our names. CERT_OK: it was not about the certificate. */
static enum cert_refusal refusal_of(int error)
{
	switch (error) {
	case ASN_AFTER_DATE_E:
		return CERT_EXPIRED;
	case ASN_BEFORE_DATE_E:
		return CERT_NOT_YET_VALID;
	case ASN_NO_SIGNER_E:
	case ASN_SIG_CONFIRM_E:
		return CERT_OTHER_CA;
	case ASN_SELF_SIGNED_E:
		return CERT_SELF_SIGNED;
	case MAX_CHAIN_ERROR:
		return CERT_CHAIN_LENGTH;
	case ASN_PATHLEN_SIZE_E:
	case ASN_PATHLEN_INV_E:
		return CERT_PATH_LENGTH;
	case ASN_CRIT_EXT_E:
		return CERT_CRITICAL;
	case NO_PEER_CERT:
		return CERT_NO_CERTIFICATE;
	case KEYUSAGE_E:
	case EXTKEYUSAGE_E:
	case KEYUSE_ENCIPHER_E:
	case EXTKEYUSE_AUTH_E:
		return CERT_USAGE;
	case ECC_KEY_SIZE_E:
	case ECC_CURVE_OID_E:
	case ASN_UNKNOWN_OID_E:
	case PEER_KEY_ERROR:
	case ECC_PEERKEY_ERROR:
		return CERT_WEAK_KEY;
	case ASN_PARSE_E:
	case ASN_VERSION_E:
	case ASN_GETINT_E:
	case ASN_OBJECT_ID_E:
	case ASN_TAG_NULL_E:
	case ASN_EXPECT_0_E:
	case ASN_BITSTR_E:
	case ASN_DATE_SZ_E:
	case ASN_ALT_NAME_E:
		return CERT_MALFORMED;
	default:
		return CERT_OK;
	}
}

static void refuse(struct wolf_peer *p, enum cert_refusal why)
{
	p->refusal = why;
	snprintf(p->why, sizeof(p->why), "the peer's certificate was refused: %s",
		 cert_refusal_text(why));
}

void wolf_peer_failed(struct wolf_peer *p, struct WOLFSSL *ssl, int error)
{
	WOLFSSL_ALERT_HISTORY history;

	if (wolfSSL_get_alert_history(ssl, &history) != WOLFSSL_SUCCESS)
		memset(&history, 0, sizeof(history));
	else if (history.last_rx.code >= 0)
		p->alert = history.last_rx.code;
	if (p->why[0])
		return;
	if (p->refusal == CERT_OK && !p->info && refusal_of(error) != CERT_OK) {
		refuse(p, refusal_of(error));
		/* A certificate that wolfSSL cannot parse ends the handshake without a word. */
		if (history.last_tx.code < 0)
			SendAlert(ssl, alert_fatal, bad_certificate);
	}
	if (p->why[0])
		return;
	if (p->alert > 0)
		snprintf(p->why, sizeof(p->why), "the peer ended it: %s (alert %d)",
			 wolf_alert_name(p->alert), p->alert);
	else
		snprintf(p->why, sizeof(p->why), "the handshake failed: %.64s (%d)",
			 wolfSSL_ERR_reason_error_string((unsigned long)error), error);
}

/* -- judging a chain ------------------------------------------------------------------------ */

/* The pinned root at the chain's end: its trust, or NULL. */
static struct cert_trust *pinned_trust(struct wolf_peer *p, const struct cert_chain *chain)
{
	char pem[CERT_DER_MAX * 2];
	struct cert_trust *trust = NULL;
	size_t len = 0;
	uint8_t pin[32];
	unsigned top = chain->n - 1;

	if (cert_to_pem(pem, sizeof(pem), &len, chain->at[top].der, chain->at[top].len) < 0)
		return NULL;
	if (cert_trust_new(&trust, (const uint8_t *)pem, len) < 0)
		return NULL;
	cert_trust_pin(trust, pin);
	if (!secret_equal(pin, p->w->pin, sizeof(pin)))
		goto fail;
	free(p->root);
	p->root_len = 0;
	p->root = malloc(chain->at[top].len);
	if (!p->root)
		goto fail;
	memcpy(p->root, chain->at[top].der, chain->at[top].len);
	p->root_len = chain->at[top].len;
	return trust;
fail:
	cert_trust_free(trust);
	return NULL;
}

/* Trust first, as cert_judge does: what a stranger's certificate says does not matter. */
static enum cert_refusal judge_pinned(struct wolf_peer *p, const struct cert_chain *chain,
				      struct cert_info *info, time_t wall)
{
	struct cert_expect expect = p->expect;
	struct cert_trust *trust;
	enum cert_refusal why = CERT_OK;

	if (chain->n < 2)
		return CERT_OTHER_CA;
	trust = pinned_trust(p, chain);
	if (!trust)
		return CERT_OTHER_CA;
	/* The joiner learns the cluster's name from the certificate that the pin vouches for. */
	if (!expect.cluster) {
		why = cert_parse(info, chain->at[0].der, chain->at[0].len);
		snprintf(p->cluster, sizeof(p->cluster), "%s", why == CERT_OK ? info->cluster : "");
		expect.cluster = p->cluster;
	}
	if (why == CERT_OK)
		why = cert_judge(info, trust, chain, &expect, wall);
	cert_trust_free(trust);
	return why;
}

static void judge(struct wolf_peer *p, const WOLFSSL_BUFFER_INFO *certs, int total)
{
	const struct wolf_params *params = &p->w->params;
	struct cert_chain chain = {.n = 0};
	enum cert_refusal why = CERT_OK;
	struct cert_info *info;
	time_t wall = on_time(NULL);

	p->judged = true;
	if (total < 1)
		return refuse(p, CERT_NO_CERTIFICATE);
	if (total > CERT_CHAIN_MAX)
		return refuse(p, CERT_CHAIN_LENGTH);
	for (int i = 0; i < total; i++) {
		if (!certs[i].length || certs[i].length > CERT_DER_MAX)
			return refuse(p, CERT_MALFORMED);
		chain.at[i].der = certs[i].buffer;
		chain.at[i].len = certs[i].length;
		chain.n++;
	}
	info = calloc(1, sizeof(*info));
	if (!info)
		return refuse(p, CERT_MALFORMED); /* memory ran out: fail closed */
	if (p->w->pinned)
		why = judge_pinned(p, &chain, info, wall);
	else
		why = cert_judge(info, params->trust, &chain, &p->expect, wall);
	if (why == CERT_OK && params->admit)
		why = params->admit(params->admit_arg, info);
	if (why != CERT_OK) {
		free(info);
		return refuse(p, why);
	}
	p->info = info;
}

/* 1 goes on, 0 ends the handshake with an alert. ok is wolfSSL's verdict on the certificate at
 * error_depth; good ones above the leaf are not shown.
 */
static int on_verify(int ok, WOLFSSL_X509_STORE_CTX *store)
{
	struct wolf_peer *p = store->userCtx;
	enum cert_refusal why;

	if (!p)
		return 0;
	if (!p->judged)
		judge(p, store->certs, store->totalCerts);
	if (p->refusal != CERT_OK || !p->info)
		return 0;
	if (ok)
		return 1;
	if (p->w->pinned && p->root && store->error_depth == store->totalCerts - 1 &&
	    store->error_depth > 0 &&
	    (store->error == ASN_NO_SIGNER_E || store->error == ASN_SELF_SIGNED_E))
		return 1;
	why = refusal_of(store->error);
	refuse(p, why == CERT_OK ? CERT_MALFORMED : why);
	return 0;
}

/* -- application protocol ------------------------------------------------------------------- */

/* Is name one of the comma separated list? */
static bool in_list(const char *list, const char *name)
{
	size_t n = strlen(name);

	while (list && *list) {
		const char *end = strchrnul(list, ',');

		if ((size_t)(end - list) == n && !memcmp(list, name, n))
			return true;
		list = *end ? end + 1 : end;
	}
	return false;
}

/* A peer's bytes for a line of text. */
static void printable(char out[ALPN_TEXT_MAX], const char *in)
{
	size_t i;

	for (i = 0; in[i] && i < ALPN_TEXT_MAX - 1; i++)
		out[i] = in[i] >= 0x20 && in[i] < 0x7f && in[i] != '"' ? in[i] : '?';
	out[i] = '\0';
}

static int refuse_alpn(struct wolf_peer *p, const char *offered, int *alert)
{
	char text[ALPN_TEXT_MAX];

	if (offered) {
		printable(text, offered);
		snprintf(p->why, sizeof(p->why), "the peer's application protocol is \"%s\", not %s",
			 text, p->alpns);
	} else {
		snprintf(p->why, sizeof(p->why),
			 "the peer named no application protocol (ALPN); %s is needed", p->alpns);
	}
	*alert = 120; /* no_application_protocol, RFC 7301 section 3.2 */
	return fatal_return;
}

/* wolfSSL calls this "servername" callback for every ClientHello, with SNI or without, after the
 * extensions are parsed and before ALPN is answered and a certificate asked for. Names are joined
 * by commas, and ours have none: a list of two equals none of ours. After a HelloRetryRequest
 * comes a second hello; the decision is made anew and must be the same.
 */
static int on_hello(WOLFSSL *ssl, int *alert, void *arg)
{
	struct wolf_peer *p = wolfSSL_get_ex_data(ssl, PEER_INDEX);
	char *list = NULL;
	unsigned short len = 0;
	int answer = 0;

	(void)arg;
	if (!p)
		return fatal_return;
	if (wolfSSL_ALPN_GetPeerProtocol(ssl, &list, &len) != WOLFSSL_SUCCESS || !list)
		return refuse_alpn(p, NULL, alert);
	if (strlen(list) != len || !len || strchr(list, ',') || !in_list(p->alpns, list) ||
	    len >= sizeof(p->alpn) || (p->alpn[0] && strcmp(p->alpn, list) != 0)) {
		answer = refuse_alpn(p, list, alert);
		goto out;
	}
	memcpy(p->alpn, list, len + 1u);
	if (!strcmp(p->alpn, ALPN_JOIN)) {
		wolfSSL_set_verify(ssl, WOLFSSL_VERIFY_NONE, NULL);
		wolfSSL_KeepArrays(ssl); /* else there is no exporter secret after the handshake */
	}
out:
	wolfSSL_ALPN_FreePeerProtocol(ssl, &list);
	return answer;
}

/* wolfSSL's client takes a server that chose none. */
static bool alpn_agreed(struct wolf_peer *p, WOLFSSL *ssl)
{
	char *name = NULL;
	unsigned short len = 0;

	if (wolfSSL_ALPN_GetProtocol(ssl, &name, &len) != WOLFSSL_SUCCESS || !name)
		return false;
	if (len >= sizeof(p->alpn) || strnlen(name, len) != len)
		return false;
	if (p->alpn[0] && (strlen(p->alpn) != len || memcmp(p->alpn, name, len) != 0))
		return false;
	memcpy(p->alpn, name, len);
	p->alpn[len] = '\0';
	return in_list(p->alpns, p->alpn);
}

int wolf_peer_up(struct wolf_peer *p, struct WOLFSSL *ssl)
{
	const char *group = wolfSSL_get_curve_name(ssl);
	bool anonymous = wolfSSL_is_server(ssl) && !strcmp(p->alpn, ALPN_JOIN);

	if (!alpn_agreed(p, ssl))
		snprintf(p->why, sizeof(p->why), "the peer did not agree on the application "
			 "protocol %s", p->alpns);
	else if (!group || strcmp(group, WOLF_GROUP_NAME) != 0)
		snprintf(p->why, sizeof(p->why), "the peer did not agree on " WOLF_GROUP_NAME);
	else if (!anonymous && (!p->info || p->refusal != CERT_OK))
		refuse(p, p->refusal != CERT_OK ? p->refusal : CERT_NO_CERTIFICATE);
	else
		return 0;
	return -EPROTO;
}

/* -- one connection ------------------------------------------------------------------------- */

int wolf_peer_init(struct wolf_peer *p, struct wolf *w, const char *alpns,
		   const struct cert_expect *expect)
{
	const char *cluster = expect->cluster;

	memset(p, 0, sizeof(*p));
	if (!cluster && !w->pinned)
		cluster = w->cluster;
	if (cluster && strlen(cluster) >= sizeof(p->cluster))
		return -EINVAL;
	if (expect->node && strlen(expect->node) >= sizeof(p->node))
		return -EINVAL;
	if (cluster)
		strcpy(p->cluster, cluster);
	if (expect->node)
		strcpy(p->node, expect->node);
	p->expect.cluster = cluster ? p->cluster : NULL;
	p->expect.node = expect->node ? p->node : NULL;
	p->expect.role = expect->role;
	p->alpns = alpns;
	p->alert = -1;
	p->w = wolf_get(w);
	return 0;
}

void wolf_peer_reset(struct wolf_peer *p)
{
	free(p->info);
	free(p->root);
	p->info = NULL;
	p->root = NULL;
	p->root_len = 0;
	p->judged = false;
	p->refusal = CERT_OK;
	p->alpn[0] = '\0';
	p->alert = -1;
	p->why[0] = '\0';
}

void wolf_peer_clear(struct wolf_peer *p)
{
	wolf_peer_reset(p);
	wolf_put(p->w);
	p->w = NULL;
}

int wolf_ssl_new(struct WOLFSSL **out, struct wolf_peer *p, enum wolf_end end)
{
	bool server = end == WOLF_DTLS_SERVER || end == WOLF_TLS_SERVER;
	char alpns[128];
	WOLFSSL *ssl;

	if (!p->w->ctx[end])
		return -EINVAL;
	if (strlen(p->alpns) >= sizeof(alpns))
		return -EINVAL;
	strcpy(alpns, p->alpns); /* wolfSSL takes the list apart in place */
	ssl = wolfSSL_new(p->w->ctx[end]);
	if (!ssl)
		return -ENOMEM;
	if (wolfSSL_set_ex_data(ssl, PEER_INDEX, p) != WOLFSSL_SUCCESS ||
	    wolfSSL_UseALPN(ssl, alpns, (unsigned)strlen(alpns),
			    WOLFSSL_ALPN_FAILED_ON_MISMATCH) != WOLFSSL_SUCCESS)
		goto fail;
	wolfSSL_SetCertCbCtx(ssl, p);
	if (!server && in_list(p->alpns, ALPN_JOIN))
		wolfSSL_KeepArrays(ssl);
	*out = ssl;
	return 0;
fail:
	wolfSSL_free(ssl);
	return -ENOMEM;
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
	bool aes = aes_in_hardware();
	int group = WOLF_GROUP;

	if (wolfSSL_CTX_set_groups(ctx, &group, 1) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_set_cipher_list(ctx, aes ? CIPHER_AES ":" CIPHER_CHACHA
						 : CIPHER_CHACHA ":" CIPHER_AES) !=
		    WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_SetMinEccKey_Sz(ctx, 256) != WOLFSSL_SUCCESS)
		return -EINVAL;
	if (aes)
		wolfSSL_CTX_UseClientSuites(ctx);
	wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			       on_verify);
	wolfSSL_CTX_set_servername_callback(ctx, on_hello);
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
	w->params.pin = NULL;
	if (p->cluster)
		strcpy(w->cluster, p->cluster);
	w->params.cluster = w->cluster;
	w->pinned = !p->trust;
	if (w->pinned)
		memcpy(w->pin, p->pin, sizeof(w->pin));
	else
		cert_trust_roots(p->trust, &roots);
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
	w->cookie_generation++;
	pthread_mutex_unlock(&w->cookie_lock);
	secret_wipe(fresh, sizeof(fresh));
	return 0;
}

unsigned wolf_cookie_secrets(struct wolf *w, uint8_t out[2][WOLF_COOKIE_SECRET],
			     unsigned *generation)
{
	unsigned n;

	pthread_mutex_lock(&w->cookie_lock);
	n = w->cookie_generation ? 2 : 1;
	memcpy(out, w->cookie, sizeof(w->cookie));
	*generation = w->cookie_generation;
	pthread_mutex_unlock(&w->cookie_lock);
	return n;
}
