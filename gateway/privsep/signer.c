/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the ca holds, how it judges a proof, and what it signs then. */
#include "gateway/privsep/signer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/ca.h"
#include "crypto/proof.h"
#include "gateway/log.h"
#include "gateway/privsep/cafiles.h"
#include "gateway/privsep/signer_inner.h"

/* syscalls(ca): openat read close getrandom mlock munlock madvise */

/* -- what it holds ---------------------------------------------------------------------------- */

static const char *read_why(int err)
{
	switch (err) {
	case -ENOENT:
		return "it is missing";
	case -EPERM:
		return "group or others can read it; chmod 600 it";
	case -EBADMSG:
	case -ENODATA:
	case -EFBIG:
		return "it is cut or damaged; restore it from a backup";
	case -EINVAL:
		return "key and certificate do not belong together; restore both from one backup";
	case -EPROTO:
		return "it was made by a newer ginnel; install that";
	case -EBUSY:
		return "another process holds it";
	default:
		return strerrordesc_np(-err);
	}
}

static int signer_load_ca(struct signer *s, int dir, char *why, size_t max)
{
	struct cafiles f;
	struct cert_chain own;
	int err = cafiles_load(&f, dir);

	if (!err) {
		ca_chain(f.ca, &own);
		if (own.n >= CERT_CHAIN_MAX) /* no room for a node's own before it */
			err = -EINVAL;
	}
	if (err) {
		snprintf(why, max, "%s: %s", f.faulty, read_why(err));
	} else {
		s->ca = f.ca;
		f.ca = NULL;
	}
	cafiles_clear(&f);
	return err;
}

/* The pin of tokens is the root's key, which stands last. */
static int signer_pin(struct signer *s)
{
	struct cert_chain c;
	char pem[4096];
	size_t len = 0;
	int err;

	ca_chain(s->ca, &c);
	assert(c.n > 0);
	err = cert_to_pem(pem, sizeof(pem), &len, c.at[c.n - 1].der, c.at[c.n - 1].len);
	if (!err)
		err = cert_trust_new(&s->trust, (const uint8_t *)pem, len);
	if (err)
		return err;
	cert_trust_pin(s->trust, s->pin);
	return 0;
}

int signer_new(struct signer **out, int dir, char *why, size_t max)
{
	struct signer *s = calloc(1, sizeof(*s));
	int err;

	if (!s) {
		snprintf(why, max, "no memory");
		return -ENOMEM;
	}
	err = signer_load_ca(s, dir, why, max);
	if (err)
		goto fail;
	err = signer_pin(s);
	if (err) {
		snprintf(why, max, "%s: %s", CAFILES_CHAIN, read_why(err));
		goto fail;
	}
	err = ledger_open(&s->ledger, dir);
	if (err) {
		snprintf(why, max, "%s: %s", LEDGER_FILE, read_why(err));
		goto fail;
	}
	*out = s;
	return 0;
fail:
	signer_free(s);
	return err;
}

void signer_free(struct signer *s)
{
	if (!s)
		return;
	ledger_close(s->ledger);
	cert_trust_free(s->trust);
	ca_free(s->ca);
	free(s);
}

/* -- how often -------------------------------------------------------------------------------- */

/* An IPv6 host has a /64 to itself; a mapped IPv4 address counts whole. */
static void source_key(const uint8_t source[16], uint8_t key[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	memset(key, 0, 16);
	memcpy(key, source, memcmp(source, mapped, sizeof(mapped)) ? 8 : 16);
}

/* The slot of a key, or NULL. */
static struct often *often_find(struct often *all, unsigned n, const uint8_t key[16])
{
	for (unsigned i = 0; i < n; i++)
		if (all[i].n && !memcmp(all[i].key, key, 16))
			return &all[i];
	return NULL;
}

static bool often_enough(struct often *all, unsigned n, const uint8_t key[16], unsigned max,
                         int64_t now)
{
	struct often *o = often_find(all, n, key);

	if (o && now - o->since >= SIGNER_WINDOW)
		o->n = 0;
	return o && o->n >= max;
}

static void often_count(struct often *all, unsigned n, const uint8_t key[16], int64_t now)
{
	struct often *o = often_find(all, n, key), *oldest = &all[0];

	if (o) {
		o->n++;
		return;
	}
	for (unsigned i = 0; i < n && oldest->n; i++)
		if (!all[i].n || all[i].since < oldest->since)
			oldest = &all[i];
	memcpy(oldest->key, key, sizeof(oldest->key));
	oldest->since = now;
	oldest->n = 1;
}

static bool wrong_blocked(struct signer *s, const uint8_t source[16], int64_t now)
{
	uint8_t key[16];

	source_key(source, key);
	return often_enough(s->wrong, SIGNER_WRONG_SOURCES, key, SIGNER_WRONG_PROOFS, now);
}

static void wrong_count(struct signer *s, const uint8_t source[16], int64_t now)
{
	uint8_t key[16];

	source_key(source, key);
	often_count(s->wrong, SIGNER_WRONG_SOURCES, key, now);
}

/* -- proofs ----------------------------------------------------------------------------------- */

static void log_refused(const struct message_sign *q, const char *reason)
{
	char id[TOKEN_ID_TEXT + 1];

	token_id_format(q->token_id, id);
	log_warn("join refused", "token", id, "reason", reason, NULL);
}

/* Is the proof made by the token's key? For an unknown token another key stands in, so that both
 * take the same time.
 */
static enum sign_result judge_proof(struct signer *s, const struct message_sign *q, int64_t now)
{
	struct ledger_token t;
	const uint8_t *spki;
	size_t spki_len;
	int unknown, wrong;

	unknown = ledger_token_get(s->ledger, q->token_id, &t);
	if (unknown && unknown != -ENOENT) {
		log_error("ledger cannot be read", "reason", strerrordesc_np(-unknown), NULL);
		return SIGN_FAILED;
	}
	spki = unknown ? cert_key_spki(ca_key(s->ca), &spki_len) : t.spki;
	if (!unknown)
		spki_len = t.spki_len;
	wrong = token_verify(spki, spki_len, q->exporter, q->csr, q->csr_len, q->sig, q->sig_len);
	if (!unknown && !wrong)
		return SIGN_OK;
	wrong_count(s, q->source, now);
	log_refused(q, unknown ? "no-token" : "proof");
	return SIGN_NO_TOKEN;
}

static enum sign_result join_result(int err)
{
	switch (err) {
	case 0:
		return SIGN_OK;
	case -ENOENT:
		return SIGN_NO_TOKEN;
	case -EKEYREVOKED:
		return SIGN_TOKEN_REVOKED;
	case -EALREADY:
		return SIGN_TOKEN_USED;
	case -EPERM:
		return SIGN_TOKEN_NAME;
	case -EKEYEXPIRED:
		return SIGN_TOKEN_EXPIRED;
	case -EEXIST:
		return SIGN_NAME_TAKEN;
	case -EINVAL:
		return SIGN_NAME_INVALID;
	case -E2BIG:
		return SIGN_REFUSED;
	default:
		return SIGN_FAILED;
	}
}

static enum sign_result issue(struct signer *s, const struct ledger_node *n, enum cert_role role,
                              const uint8_t *spki, size_t spki_len, time_t wall,
                              struct message_signed *a)
{
	struct ca_grant g = {
		.cluster = ledger_cluster(s->ledger),
		.node = n->name,
		.role = role,
		.labels = &n->labels,
		.incarnation = n->incarnation,
		.not_before = wall - CA_BACKDATE,
		.not_after = wall + (time_t)CA_NODE_LIFE,
	};
	struct cert_chain chain;
	size_t at, len;
	int err;

	err = ledger_next_issue(s->ledger, n->name, g.not_after, &g.issue);
	if (err) {
		log_error("ledger cannot be written", "reason", strerrordesc_np(-err), NULL);
		return SIGN_FAILED;
	}
	err = ca_issue(s->ca, &g, spki, spki_len, a->chain, &len);
	if (err == -EKEYEXPIRED) {
		log_error("the CA's certificate has ended", "peer", n->name, NULL);
		return SIGN_REFUSED;
	}
	if (err) {
		log_error("no certificate could be made", "peer", n->name, "reason",
		          strerrordesc_np(-err), NULL);
		return err == -EINVAL ? SIGN_REQUEST : SIGN_FAILED;
	}
	a->len[0] = (uint16_t)len;
	at = len;
	ca_chain(s->ca, &chain);
	for (unsigned i = 0; i < chain.n; i++) {
		assert(i + 1 < CERT_CHAIN_MAX && at + chain.at[i].len <= sizeof(a->chain));
		memcpy(a->chain + at, chain.at[i].der, chain.at[i].len);
		a->len[i + 1] = (uint16_t)chain.at[i].len;
		at += chain.at[i].len;
	}
	a->nchain = (uint16_t)(chain.n + 1);
	a->role = (uint8_t)role;
	a->incarnation = n->incarnation;
	a->nlabels = (uint16_t)n->labels.n;
	for (unsigned i = 0; i < n->labels.n; i++)
		snprintf(a->labels[i], sizeof(a->labels[i]), "%s=%s", n->labels.at[i].key,
		         n->labels.at[i].value);
	return SIGN_OK;
}

static enum sign_result judge_join(struct signer *s, const struct message_sign *q, time_t wall,
                                   int64_t now, struct message_signed *a)
{
	uint8_t spki[CERT_SPKI_MAX], hash[32], token[16] = {0};
	struct ledger_node n;
	enum sign_result r;
	size_t spki_len;
	int err;

	r = judge_proof(s, q, now);
	if (r != SIGN_OK)
		return r;
	if (csr_parse(q->csr, q->csr_len, spki, &spki_len)) {
		log_refused(q, sign_result_name(SIGN_REQUEST));
		return SIGN_REQUEST;
	}
	/* Counted for who holds the token alone, so that nobody else can use it up. */
	memcpy(token, q->token_id, sizeof(q->token_id));
	if (often_enough(s->joins, SIGNER_JOIN_TOKENS, token, SIGNER_JOINS, now)) {
		log_refused(q, sign_result_name(SIGN_TOKEN_RATE));
		return SIGN_TOKEN_RATE;
	}
	cert_spki_hash(spki, spki_len, hash);
	err = ledger_join(s->ledger, q->token_id, q->name, hash, wall, &n);
	r = join_result(err);
	if (r == SIGN_FAILED)
		log_error("ledger cannot be written", "reason", strerrordesc_np(-err), NULL);
	else if (r != SIGN_OK)
		log_refused(q, sign_result_name(r));
	else
		often_count(s->joins, SIGNER_JOIN_TOKENS, token, now);
	return r == SIGN_OK ? issue(s, &n, n.role, spki, spki_len, wall, a) : r;
}

/* -- by a certificate that we issued ---------------------------------------------------------- */

static enum sign_result refuse_cert(const struct message_sign *q, enum sign_result r,
                                    const char *text)
{
	log_warn("renewal refused", "peer", q->name, "reason", sign_result_name(r), "text",
	         text ? text : sign_result_text(r), NULL);
	return r;
}

/* Is it ours, of the name that is asked for, and did it end no longer ago than the grace? This is the
 * one place where a certificate that has ended counts for anything.
 */
static enum sign_result judge_cert(struct signer *s, const struct message_sign *q, time_t wall,
                                   struct cert_info *cert)
{
	struct cert_expect expect = {.cluster = ledger_cluster(s->ledger), .node = q->name};
	struct cert_chain own, chain = {.n = 1, .at = {{q->cert, q->cert_len}}};
	enum cert_refusal why = cert_parse(cert, q->cert, q->cert_len);

	if (why != CERT_OK)
		return refuse_cert(q, SIGN_CERTIFICATE, cert_refusal_text(why));
	if (wall > cert->not_after + CERT_GRACE)
		return refuse_cert(q, SIGN_EXPIRED, NULL);
	ca_chain(s->ca, &own);
	for (unsigned i = 0; i < own.n; i++)
		chain.at[chain.n++] = own.at[i];
	expect.role = cert->role;
	why = cert_judge(cert, s->trust, &chain, &expect,
	                 wall > cert->not_after ? cert->not_after : wall);
	return why == CERT_OK ? SIGN_OK : refuse_cert(q, SIGN_CERTIFICATE, cert_refusal_text(why));
}

/* Did its key sign the body on this connection? */
static enum sign_result judge_holder(struct signer *s, const struct message_sign *q,
                                     enum proof_kind kind, const uint8_t *body, size_t len,
                                     int64_t now)
{
	uint8_t spki[CERT_SPKI_MAX];
	size_t spki_len;

	if (!cert_spki(q->cert, q->cert_len, spki, &spki_len) &&
	    !proof_check(kind, spki, spki_len, q->exporter, body, len, q->sig, q->sig_len))
		return SIGN_OK;
	wrong_count(s, q->source, now);
	return refuse_cert(q, SIGN_PROOF, NULL);
}

static enum sign_result renew_result(int err)
{
	switch (err) {
	case 0:
		return SIGN_OK;
	case -ENOENT:
		return SIGN_UNKNOWN;
	case -ESTALE:
		return SIGN_STALE;
	case -EKEYREVOKED:
		return SIGN_REVOKED;
	case -EACCES:
		return SIGN_CERTIFICATE;
	case -EEXIST:
		return SIGN_SUPERSEDED;
	default:
		return SIGN_FAILED;
	}
}

static enum sign_result judge_renewal(struct signer *s, const struct message_sign *q, time_t wall,
                                      int64_t now, struct message_signed *a)
{
	uint8_t spki[CERT_SPKI_MAX], hash[32];
	struct cert_info cert;
	struct ledger_node n;
	enum sign_result r;
	size_t spki_len;

	r = judge_cert(s, q, wall, &cert);
	if (r == SIGN_OK)
		r = judge_holder(s, q, PROOF_RENEW, q->csr, q->csr_len, now);
	if (r != SIGN_OK)
		return r;
	if (csr_parse(q->csr, q->csr_len, spki, &spki_len))
		return refuse_cert(q, SIGN_REQUEST, NULL);
	cert_spki_hash(spki, spki_len, hash);
	if (!memcmp(hash, cert.spki, sizeof(hash)))
		return refuse_cert(q, SIGN_REQUEST, "a renewal takes a new key");
	r = renew_result(ledger_renew(s->ledger, &cert, hash, &n));
	if (r != SIGN_OK)
		return refuse_cert(q, r, NULL);
	return issue(s, &n, cert.role, spki, spki_len, wall, a);
}

static enum sign_result judge_leave(struct signer *s, const struct message_sign *q, time_t wall,
                                    int64_t now)
{
	struct cert_info cert;
	enum sign_result r;

	r = judge_cert(s, q, wall, &cert);
	if (r == SIGN_OK)
		r = judge_holder(s, q, PROOF_LEAVE, q->cert, q->cert_len, now);
	if (r == SIGN_OK)
		r = renew_result(ledger_leave(s->ledger, &cert));
	return r;
}

static bool lengths_ok(const struct message_sign *q)
{
	bool cert = q->kind != SIGN_JOIN, csr = q->kind != SIGN_LEAVE;

	return !csr == !q->csr_len && q->csr_len <= sizeof(q->csr) && q->sig_len &&
	       q->sig_len <= sizeof(q->sig) && q->cert_len <= sizeof(q->cert) &&
	       !cert == !q->cert_len && memchr(q->name, '\0', sizeof(q->name));
}

static enum sign_result judge(struct signer *s, const struct message_sign *q, time_t wall,
                              int64_t now, struct message_signed *a)
{
	if (q->kind < SIGN_JOIN || q->kind > SIGN_LEAVE)
		return SIGN_REFUSED;
	if (!lengths_ok(q))
		return SIGN_REQUEST;
	if (wrong_blocked(s, q->source, now))
		return SIGN_RATE;
	switch (q->kind) {
	case SIGN_JOIN:
		return judge_join(s, q, wall, now, a);
	case SIGN_RENEW:
		return judge_renewal(s, q, wall, now, a);
	default:
		return judge_leave(s, q, wall, now);
	}
}

void signer_sign(struct signer *s, const struct message_sign *q, time_t wall, int64_t now,
                 struct message_signed *a)
{
	char id[TOKEN_ID_TEXT + 1];
	enum sign_result r;

	memset(a, 0, sizeof(*a));
	r = judge(s, q, wall, now, a);
	if (r == SIGN_OK) {
		token_id_format(q->token_id, id);
		log_info(q->kind == SIGN_LEAVE ? "node left" : "certificate issued", "peer",
		         q->name, "token", q->kind == SIGN_JOIN ? id : NULL, NULL);
	} else {
		memset(a, 0, sizeof(*a)); /* what was made before it failed is nobody's business */
	}
	a->result = (uint8_t)r;
}
