/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The peer's chain is judged inside the handshake, in the verify callback, before the peer learns
 * that it got any further. The callback may only narrow. One exception is needed: a joiner has no
 * root yet, so wolfSSL cannot know the one that ends the chain; it is taken if its key has the
 * pinned hash, and then the chain is judged against it and nothing else.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/internal.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/settings.h>

#include "crypto/secret.h"
#include "crypto/wolf.h"

#define WOLF_GROUP_NAME "X25519MLKEM768"
#define ALPN_TEXT_MAX   32 /* of a peer's ALPN list in a message */
#define PEER_INDEX      0  /* ex data of a WOLFSSL: its struct wolf_peer */

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
	if (!secret_equal(pin, wolf_rules(p->w)->pin, sizeof(pin)))
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
	const struct wolf_params *params = wolf_rules(p->w);
	struct cert_chain chain = {.n = 0};
	enum cert_refusal why = CERT_OK;
	struct cert_info *info;
	time_t wall = wolf_time(NULL);

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
	if (wolf_rules(p->w)->pin)
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
	if (wolf_rules(p->w)->pin && p->root_len && store->error_depth == store->totalCerts - 1 &&
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
		out[i] = (char)(in[i] >= 0x20 && in[i] < 0x7f && in[i] != '"' ? in[i] : '?');
	out[i] = '\0';
}

/* Proofs in a body are bound to the connection. */
static bool proves(const char *alpns)
{
	return in_list(alpns, ALPN_JOIN) || in_list(alpns, ALPN_CONTROL);
}

static int refuse_alpn(struct wolf_peer *p, const char *offered, int *alert)
{
	char text[ALPN_TEXT_MAX];

	if (offered) {
		printable(text, offered);
		snprintf(p->why, sizeof(p->why),
		         "the peer's application protocol is \"%s\", not %s", text, p->alpns);
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
	if (!strcmp(p->alpn, ALPN_JOIN))
		wolfSSL_set_verify(ssl, WOLFSSL_VERIFY_NONE, NULL);
	if (proves(p->alpn))
		wolfSSL_KeepArrays(ssl); /* else there is no exporter secret after the handshake */
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
		snprintf(p->why, sizeof(p->why),
		         "the peer did not agree on the application "
		         "protocol %s",
		         p->alpns);
	else if (!group || strcmp(group, WOLF_GROUP_NAME) != 0)
		snprintf(p->why, sizeof(p->why), "the peer did not agree on " WOLF_GROUP_NAME);
	else if (!anonymous && (!p->info || p->refusal != CERT_OK))
		refuse(p, p->refusal != CERT_OK ? p->refusal : CERT_NO_CERTIFICATE);
	else
		return 0;
	return -EPROTO;
}

/* -- one connection ------------------------------------------------------------------------- */

static int name_put(char out[CERT_NAME_MAX + 1], const char *name)
{
	size_t n = name ? strlen(name) : 0;

	if (n > CERT_NAME_MAX)
		return -EINVAL;
	memcpy(out, name ? name : "", n + 1);
	return 0;
}

int wolf_peer_init(struct wolf_peer *p, struct wolf *w, const char *alpns,
                   const struct cert_expect *expect)
{
	const char *cluster = expect->cluster;

	memset(p, 0, sizeof(*p));
	if (!cluster && !wolf_rules(w)->pin)
		cluster = wolf_rules(w)->cluster;
	if (name_put(p->cluster, cluster) < 0 || name_put(p->node, expect->node) < 0)
		return -EINVAL;
	p->expect.cluster = cluster ? p->cluster : NULL;
	p->expect.node = expect->node ? p->node : NULL;
	p->expect.role = expect->role;
	p->alpns = alpns;
	p->alert = -1;
	if (wolf_rules(w)->pin) {
		p->root = malloc(CERT_DER_MAX);
		if (!p->root)
			return -ENOMEM;
	}
	p->w = wolf_get(w);
	return 0;
}

void wolf_peer_reset(struct wolf_peer *p)
{
	free(p->info);
	p->info = NULL;
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
	free(p->root);
	p->root = NULL;
	wolf_put(p->w);
	p->w = NULL;
}

int wolf_ssl_new(struct WOLFSSL **out, struct wolf_peer *p, enum wolf_end end)
{
	bool server = end == WOLF_DTLS_SERVER || end == WOLF_TLS_SERVER;
	char alpns[128];
	WOLFSSL *ssl;
	size_t len;

	if (!wolf_ctx(p->w, end))
		return -EINVAL;
	len = strlen(p->alpns);
	if (len >= sizeof(alpns))
		return -EINVAL;
	memcpy(alpns, p->alpns, len + 1); /* wolfSSL takes the list apart in place */
	ssl = wolfSSL_new(wolf_ctx(p->w, end));
	if (!ssl)
		return -ENOMEM;
	if (wolfSSL_set_ex_data(ssl, PEER_INDEX, p) != WOLFSSL_SUCCESS ||
	    wolfSSL_UseALPN(ssl, alpns, (unsigned)len, WOLFSSL_ALPN_FAILED_ON_MISMATCH) !=
	            WOLFSSL_SUCCESS)
		goto fail;
	wolfSSL_SetCertCbCtx(ssl, p);
	if (!server && proves(p->alpns))
		wolfSSL_KeepArrays(ssl);
	*out = ssl;
	return 0;
fail:
	wolfSSL_free(ssl);
	return -ENOMEM;
}

void wolf_peer_callbacks(struct WOLFSSL_CTX *ctx)
{
	wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT,
	                       on_verify);
	wolfSSL_CTX_set_servername_callback(ctx, on_hello);
}
