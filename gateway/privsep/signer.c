/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One thread, one poll: the parent, the manager, the operators' socket and its clients. A proof is
 * judged and its answer sent before the next is read; what is asked twice is signed twice.
 *
 * After a write failed so that the ledger's content is unknown, the process ends: its successor,
 * which the parent starts, reads what is there.
 */
#include "gateway/privsep/signer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crypto/ca.h"
#include "crypto/keyfile.h"
#include "crypto/proof.h"
#include "crypto/secret.h"
#include "gateway/clock.h"
#include "gateway/log.h"
#include "gateway/privsep/ledger.h"
#include "gateway/privsep/operator.h"

/* syscalls(ca): poll ppoll accept4 recvfrom recvmsg sendto sendmsg getsockopt fcntl close getrandom
 * syscalls(ca): memfd_create write clock_gettime mlock munlock madvise
 */

#define NEWS_MAX    64   /* nodes; more at once are told with all of them */
#define KEY_PEM_MAX 4096 /* little, for it is locked in memory; ours are 227 bytes */

/* Something done by one source, or with one token, within a window. */
struct often {
	uint8_t key[16];
	int64_t since;
	unsigned n; /* 0: the slot is free */
};

struct signer {
	struct ca *ca;
	struct ledger *ledger;
	struct cert_trust *trust; /* its own root */
	uint8_t pin[32];
	struct often wrong[SIGNER_WRONG_SOURCES];
	struct often joins[SIGNER_JOIN_TOKENS];
};

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
	uint8_t *chain = malloc(KEYFILE_MAX);
	uint8_t *key = secret_new(KEY_PEM_MAX);
	size_t chain_len, key_len;
	struct cert_chain own;
	int err = -ENOMEM;

	if (!chain || !key) {
		snprintf(why, max, "no memory for the key");
		goto out;
	}
	err = keyfile_read_secret(dir, SIGNER_KEY_FILE, key, KEY_PEM_MAX, &key_len);
	if (err) {
		snprintf(why, max, "%s: %s", SIGNER_KEY_FILE, read_why(err));
		goto out;
	}
	err = keyfile_read(dir, SIGNER_CHAIN_FILE, chain, KEYFILE_MAX, &chain_len);
	if (err) {
		snprintf(why, max, "%s: %s", SIGNER_CHAIN_FILE, read_why(err));
		goto out;
	}
	err = ca_load(&s->ca, key, key_len, chain, chain_len);
	if (!err) {
		ca_chain(s->ca, &own);
		if (own.n >= CERT_CHAIN_MAX) /* no room for a node's own before it */
			err = -EINVAL;
	}
	if (err)
		snprintf(why, max, "%s, %s: %s", SIGNER_KEY_FILE, SIGNER_CHAIN_FILE, read_why(err));
out:
	secret_free(key, KEY_PEM_MAX);
	free(chain);
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
		snprintf(why, max, "%s: %s", SIGNER_CHAIN_FILE, read_why(err));
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

/* -- the process ------------------------------------------------------------------------------ */

struct client {
	int fd; /* -1: free */
	int64_t deadline;
	size_t n, sent;
	int file;                      /* that came with its line; -1: none */
	uint32_t order;                /* what the manager has yet to answer; 0: nothing */
	struct operator_answer answer; /* text is NULL while it still asks, or waits */
	char line[SIGNER_LINE_MAX];
};

/* Of which nodes the manager is to be told. */
struct news {
	bool list;                     /* the revocation list, before all else */
	bool all;                      /* from `after` on */
	char after[CERT_NAME_MAX + 1]; /* the last one of all that was told */
	unsigned n;
	char names[NEWS_MAX][CERT_NAME_MAX + 1]; /* first: these */
};

struct server {
	struct signer *signer;
	int parent_fd, manager_fd, listen_fd; /* manager_fd -1: it is gone */
	bool over;
	int code;
	bool answering; /* answer waits for room in the manager's socket */
	uint32_t seq;
	uint32_t orders; /* given to the manager so far */
	struct message message;
	struct message_sign sign;
	struct message_signed answer;
	struct news news;
	struct client clients[SIGNER_CLIENTS_MAX];
};

enum {
	SLOT_PARENT,
	SLOT_MANAGER,
	SLOT_LISTEN,
	SLOT_CLIENTS,
	SLOTS = SLOT_CLIENTS + SIGNER_CLIENTS_MAX
};

static void server_end(struct server *v, int code)
{
	v->over = true;
	v->code = code;
}

static void client_end(struct client *c)
{
	close(c->fd);
	c->fd = -1;
	if (c->file >= 0)
		close(c->file);
	c->file = -1;
	operator_answer_clear(&c->answer);
}

static void client_send(struct client *c)
{
	ssize_t n;

	n = send(c->fd, c->answer.text + c->sent, c->answer.len - c->sent,
	         MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->sent += (size_t)n;
	if (n <= 0 || c->sent == c->answer.len)
		client_end(c);
}

static void tell_all(struct server *v)
{
	v->news.n = 0;
	v->news.after[0] = '\0';
	v->news.all = true;
}

static void tell_one(struct server *v, const char *name)
{
	if (!name[0])
		return;
	if (v->news.n == NEWS_MAX)
		tell_all(v);
	else
		memcpy(v->news.names[v->news.n++], name, CERT_NAME_MAX + 1);
}

/* Takes the answer's place: whatever comes in after the line is not looked at. */
static void client_answer(struct client *c, int err, int64_t now)
{
	if (err) {
		client_end(c);
		return;
	}
	c->sent = 0;
	c->deadline = now + SIGNER_CLIENT_DEADLINE;
	client_send(c);
}

/* What the registry is to do the manager is asked; its answer is the client's. */
static void client_order(struct server *v, struct client *c, int64_t now)
{
	const struct message_order *m = &c->answer.order;
	int nfds = m->kind == ORDER_POLICY, err;

	if (nfds && c->file < 0) {
		client_answer(c,
		              operator_refuse(&c->answer,
		                              "policy apply: the document did not come; "
		                              "is ginnel newer than ginneld?"),
		              now);
		return;
	}
	if (++v->orders == 0)
		v->orders = 1;
	c->order = v->orders;
	c->deadline = now + SIGNER_ORDER_DEADLINE;
	err = v->manager_fd < 0 ? -EPIPE
	                        : message_send(v->manager_fd, MESSAGE_ORDER, c->order, m,
	                                       sizeof(*m), &c->file, nfds);
	if (!err)
		return;
	c->order = 0;
	client_answer(c,
	              operator_refuse(&c->answer, "the manager process cannot be asked now; try "
	                                          "again"),
	              now);
}

static void take_ordered(struct server *v, int64_t now)
{
	struct message_ordered said;

	memcpy(&said, v->message.body, sizeof(said));
	for (unsigned i = 0; i < SIGNER_CLIENTS_MAX; i++) {
		struct client *c = &v->clients[i];

		if (c->fd < 0 || !c->order || c->order != v->message.head.seq)
			continue;
		c->order = 0;
		client_answer(c, operator_ordered(&c->answer, &c->answer.order, &said), now);
	}
}

/* More of the line, and the file that may come with it: the first one. */
static ssize_t client_receive(struct client *c)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {c->line + c->n, sizeof(c->line) - c->n};
	struct msghdr msg = {.msg_iov = &iov,
	                     .msg_iovlen = 1,
	                     .msg_control = control.bytes,
	                     .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *h = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	int fd;

	if (!h || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS ||
	    h->cmsg_len != CMSG_LEN(sizeof(int)))
		return n;
	memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	if (c->file < 0)
		c->file = fd;
	else
		close(fd);
	return n;
}

static void client_read(struct server *v, struct client *c, int64_t now)
{
	char *end;
	ssize_t n;

	n = client_receive(c);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_end(c);
		return;
	}
	end = memchr(c->line + c->n, '\n', (size_t)n);
	c->n += (size_t)n;
	if (end) {
		int err = operator_ask(v->signer->ledger, v->signer->pin, "root", c->line,
		                       (size_t)(end - c->line), time(NULL), &c->answer);

		v->news.list |= c->answer.list;
		tell_one(v, c->answer.changed);
		if (!err && c->answer.order.kind)
			client_order(v, c, now);
		else
			client_answer(c, err, now);
	} else if (c->n == sizeof(c->line))
		client_answer(c,
		              operator_refuse(&c->answer, "request: the line is longer than 8192 "
		                                          "bytes; leave some labels out"),
		              now);
}

static void listener_accept(struct server *v, int64_t now)
{
	struct client *c = v->clients;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd;

	while (c < v->clients + SIGNER_CLIENTS_MAX && c->fd >= 0)
		c++;
	if (c == v->clients + SIGNER_CLIENTS_MAX)
		return;
	fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	c->file = -1;
	c->deadline = now + SIGNER_CLIENT_DEADLINE;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || peer.uid != 0)
		client_answer(c,
		              operator_refuse(&c->answer, "ca: only root may ask this; run it as "
		                                          "root"),
		              now);
}

static void manager_lost(struct server *v, const char *why)
{
	log_warn("the manager process is gone", "reason", why, NULL);
	close(v->manager_fd);
	v->manager_fd = -1;
	v->answering = false;
}

static void manager_answer(struct server *v)
{
	int err = message_send(v->manager_fd, MESSAGE_SIGNED, v->seq, &v->answer, sizeof(v->answer),
	                       NULL, 0);

	v->answering = err == -EAGAIN;
	if (err && err != -EAGAIN)
		manager_lost(v, strerrordesc_np(-err));
}

static int next_node(struct server *v, struct ledger_node *n)
{
	struct news *w = &v->news;
	int err;

	if (w->n)
		return ledger_node_get(v->signer->ledger, w->names[w->n - 1], n);
	err = ledger_node_next(v->signer->ledger, w->after, n);
	if (err == -ENOENT)
		w->all = false;
	return err;
}

static void news_sent(struct news *w, const char *name)
{
	if (w->n)
		w->n--;
	else
		memcpy(w->after, name, CERT_NAME_MAX + 1);
}

static bool has_news(const struct server *v)
{
	return v->manager_fd >= 0 && (v->news.n || v->news.all || v->news.list);
}

/* The list as it is now, signed, in a file without a name. The number is on the disk: it was raised
 * with the entries.
 */
static int list_file(struct signer *s, size_t *len)
{
	uint8_t *list = malloc(REVOCATION_LIST_MAX);
	struct revocations all = {0};
	struct cert_chain chain;
	uint64_t number;
	int fd = -1, err = list ? ledger_list(s->ledger, &number, &all) : -ENOMEM;

	ca_chain(s->ca, &chain);
	if (!err)
		err = revocation_list_make(list, REVOCATION_LIST_MAX, len, number, time(NULL), &all,
		                           ca_key(s->ca), &chain);
	if (!err) {
		fd = memfd_create("revocations", MFD_CLOEXEC);
		err = fd < 0 ? -errno : 0;
	}
	if (!err && write(fd, list, *len) != (ssize_t)*len) {
		err = -EIO;
		close(fd);
	}
	revocations_clear(&all);
	free(list);
	return err ? err : fd;
}

/* 0, -EAGAIN, or -errno: the manager is gone. */
static int manager_tell_list(struct server *v)
{
	struct message_list m = {0};
	size_t len;
	int fd = list_file(v->signer, &len), err;

	if (fd < 0) {
		log_error("no revocation list could be made", "reason", strerrordesc_np(-fd), NULL);
		v->news.list = false;
		return 0;
	}
	m.len = (uint32_t)len;
	err = message_send(v->manager_fd, MESSAGE_LIST, 0, &m, sizeof(m), &fd, 1);
	close(fd);
	if (!err)
		v->news.list = false;
	return err;
}

/* As much as the manager's socket takes. */
static void manager_tell(struct server *v)
{
	struct ledger_node n;
	int err;

	if (v->news.list && v->manager_fd >= 0) {
		err = manager_tell_list(v);
		if (err && err != -EAGAIN)
			manager_lost(v, strerrordesc_np(-err));
		if (err)
			return;
	}
	while (has_news(v)) {
		struct message_node m = {0};

		err = next_node(v, &n);
		if (err) {
			if (v->news.n)
				v->news.n--;
			if (err == -ENOENT)
				continue;
			log_error("ledger cannot be read", "reason", strerrordesc_np(-err), NULL);
			v->news.all = false;
			return;
		}
		memcpy(m.name, n.name, sizeof(m.name));
		m.removed = n.removed;
		m.incarnation = n.incarnation;
		m.issue_min = n.issue_min;
		m.nlabels = (uint16_t)n.labels.n;
		for (unsigned i = 0; i < n.labels.n; i++)
			snprintf(m.labels[i], sizeof(m.labels[i]), "%s=%s", n.labels.at[i].key,
			         n.labels.at[i].value);
		err = message_send(v->manager_fd, MESSAGE_NODE, 0, &m, sizeof(m), NULL, 0);
		if (err == -EAGAIN)
			return;
		if (err) {
			manager_lost(v, strerrordesc_np(-err));
			return;
		}
		news_sent(&v->news, n.name);
	}
}

static void manager_read(struct server *v, int64_t now)
{
	int err = message_receive(v->manager_fd, PROCESS_MANAGER, PROCESS_CA, &v->message);

	if (err == -EAGAIN)
		return;
	if (err == -EBADMSG) {
		/* Nobody of ours says that: neither it nor what it may have led to is trusted. */
		log_error("the manager process sent what is no message", "reason", "malformed",
		          NULL);
		server_end(v, 1);
		return;
	}
	if (err) {
		manager_lost(v, strerrordesc_np(-err));
		return;
	}
	message_close_fds(&v->message);
	if (v->message.head.type == MESSAGE_NODES) {
		v->news.list = true;
		tell_all(v);
	}
	if (v->message.head.type == MESSAGE_ORDERED)
		take_ordered(v, now);
	if (v->message.head.type != MESSAGE_SIGN || v->message.head.len != sizeof(v->sign))
		return;
	memcpy(&v->sign, v->message.body, sizeof(v->sign));
	v->seq = v->message.head.seq;
	signer_sign(v->signer, &v->sign, time(NULL), now, &v->answer);
	manager_answer(v);
}

static void parent_read(struct server *v)
{
	int err = message_receive(v->parent_fd, PROCESS_PARENT, PROCESS_CA, &v->message);

	if (err == -EAGAIN)
		return;
	if (err) {
		server_end(v, err == -EPIPE ? 0 : 1);
		return;
	}
	message_close_fds(&v->message);
	if (v->message.head.type == MESSAGE_STOP)
		server_end(v, 0);
}

/* What each slot waits for; returns the poll's time-out in ms. */
static int server_watch(struct server *v, struct pollfd *p, int64_t now)
{
	int64_t next = INT64_MAX;
	bool room = false;

	p[SLOT_PARENT] = (struct pollfd){.fd = v->parent_fd, .events = POLLIN};
	p[SLOT_MANAGER] =
		(struct pollfd){.fd = v->manager_fd, .events = v->answering ? POLLOUT : POLLIN};
	if (has_news(v))
		p[SLOT_MANAGER].events |= POLLOUT;
	for (unsigned i = 0; i < SIGNER_CLIENTS_MAX; i++) {
		struct client *c = &v->clients[i];

		p[SLOT_CLIENTS + i] =
			(struct pollfd){.fd = c->fd, .events = c->answer.text ? POLLOUT : POLLIN};
		if (c->order)
			p[SLOT_CLIENTS + i].events = 0;
		if (c->fd < 0)
			room = true;
		else if (c->deadline < next)
			next = c->deadline;
	}
	p[SLOT_LISTEN] = (struct pollfd){.fd = room ? v->listen_fd : -1, .events = POLLIN};
	return clock_poll_ms(next, now);
}

static void server_round(struct server *v)
{
	struct pollfd p[SLOTS];
	int64_t now;

	if (poll(p, SLOTS, server_watch(v, p, clock_now())) < 0)
		return; /* a signal: the sets hold nothing */
	now = clock_now();
	if (p[SLOT_PARENT].revents)
		parent_read(v);
	if (v->over)
		return;
	if (p[SLOT_MANAGER].revents) {
		if (v->answering)
			manager_answer(v);
		else if (p[SLOT_MANAGER].revents & ~POLLOUT)
			manager_read(v, now);
	}
	manager_tell(v);
	for (unsigned i = 0; i < SIGNER_CLIENTS_MAX; i++) {
		struct client *c = &v->clients[i];

		if (c->fd < 0)
			continue;
		if (now >= c->deadline || (c->order && p[SLOT_CLIENTS + i].revents))
			client_end(c);
		else if (p[SLOT_CLIENTS + i].revents && c->answer.text)
			client_send(c);
		else if (p[SLOT_CLIENTS + i].revents)
			client_read(v, c, now);
	}
	if (p[SLOT_LISTEN].revents)
		listener_accept(v, now);
	if (ledger_broken(v->signer->ledger)) {
		log_error("a write to the ledger failed; it is read anew", "reason", "write", NULL);
		server_end(v, 1);
	}
}

static void nonblocking(int fd)
{
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int serve(struct server *v)
{
	char why[256];
	int err;

	err = signer_new(&v->signer, AT_FDCWD, why, sizeof(why));
	if (err) {
		log_error("the ca cannot start", "reason", why, NULL);
		return 1;
	}
	err = message_send(v->parent_fd, MESSAGE_READY, 0, NULL, 0, NULL, 0);
	if (err) {
		log_error("the ca cannot reach its parent", "reason", strerrordesc_np(-err), NULL);
		server_end(v, 1);
	}
	while (!v->over)
		server_round(v);
	signer_free(v->signer);
	return v->code;
}

int signer_run(int parent_fd, int manager_fd, int listen_fd)
{
	struct server *v = calloc(1, sizeof(*v));
	int code = 1;

	if (!v) {
		log_error("the ca cannot start", "reason", "no memory", NULL);
		goto out;
	}
	v->parent_fd = parent_fd;
	v->manager_fd = manager_fd;
	v->listen_fd = listen_fd;
	nonblocking(parent_fd);
	nonblocking(manager_fd);
	nonblocking(listen_fd);
	for (unsigned i = 0; i < SIGNER_CLIENTS_MAX; i++)
		v->clients[i].fd = v->clients[i].file = -1;
	code = serve(v);
	for (unsigned i = 0; i < SIGNER_CLIENTS_MAX; i++)
		if (v->clients[i].fd >= 0)
			client_end(&v->clients[i]);
	manager_fd = v->manager_fd;
	free(v);
out:
	close(parent_fd);
	if (manager_fd >= 0)
		close(manager_fd);
	close(listen_fd);
	return code;
}
