/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/enroll.h"

#include "crypto/revocation.h"
#include "gateway/log.h"
#include "gateway/manager/records.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEM_MAX      (2 * CERT_DER_MAX)
#define MANAGERS_MAX NODE_MANAGERS_MAX

struct waiting {
	struct h2_request *r; /* NULL: free, or the joiner is gone */
	uint32_t seq;         /* 0: free */
	bool sent;            /* the ca has it */
	int64_t deadline;
	struct enroll_ask *ask;
	char source[64];
	void (*own)(void *arg, const struct message_signed *a); /* the manager's own question */
	void *own_arg;
};

struct enroll {
	struct registry *registry;
	int ca_fd;
	uint32_t seq;
	struct waiting waiting[ENROLL_WAITING_MAX];
	struct message message; /* these are too large for a frame */
	struct message_signed answer;
	struct registry_node node; /* that is being written down */
	void (*on_list)(void *arg, const uint8_t *bytes, size_t len);
	void *on_list_arg;
	void (*on_order)(void *arg, const struct message_order *m, int fd,
	                 struct message_ordered *out);
	void *on_order_arg;
};

int enroll_new(struct enroll **out, struct registry *r, int ca_fd)
{
	struct enroll *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->registry = r;
	e->ca_fd = ca_fd;
	*out = e;
	return 0;
}

int enroll_follow(struct enroll *e, void (*list)(void *arg, const uint8_t *bytes, size_t len),
                  void *arg)
{
	e->on_list = list;
	e->on_list_arg = arg;
	return message_send(e->ca_fd, MESSAGE_NODES, 0, NULL, 0, NULL, 0);
}

void enroll_obey(struct enroll *e,
                 void (*fn)(void *arg, const struct message_order *m, int fd,
                            struct message_ordered *out),
                 void *arg)
{
	e->on_order = fn;
	e->on_order_arg = arg;
}

static void waiting_clear(struct waiting *w)
{
	free(w->ask);
	memset(w, 0, sizeof(*w));
}

void enroll_free(struct enroll *e)
{
	if (!e)
		return;
	for (unsigned i = 0; i < ENROLL_WAITING_MAX; i++)
		waiting_clear(&e->waiting[i]);
	free(e);
}

unsigned enroll_waiting(const struct enroll *e)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ENROLL_WAITING_MAX; i++)
		n += e->waiting[i].seq != 0;
	return n;
}

/* -- answers ----------------------------------------------------------------------------------- */

static void reply_json(struct h2_request *r, int status, json_t *j)
{
	static const char no_memory[] = "{\"error\":\"failed\",\"text\":\"no memory\"}";
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	if (!text || h2_reply(r, status, text, strlen(text)) < 0)
		h2_reply(r, 503, no_memory, sizeof(no_memory) - 1);
	free(text);
}

static void refuse(struct h2_request *r, const char *source, const char *name, int status,
                   const char *reason, const char *text)
{
	log_warn("request refused", "peer", name, "address", source, "reason", reason, "text", text,
	         NULL);
	reply_json(r, status, json_pack("{s:s, s:s}", "error", reason, "text", text));
}

static int status_of(enum sign_result result)
{
	switch (result) {
	case SIGN_OK:
		return 200;
	case SIGN_NAME_INVALID:
	case SIGN_REQUEST:
		return 400;
	case SIGN_NAME_TAKEN:
		return 409;
	case SIGN_RATE:
	case SIGN_TOKEN_RATE:
		return 429;
	case SIGN_FAILED:
		return 503;
	default:
		return 403;
	}
}

static void refuse_errno(const struct enroll *e, struct h2_request *r, const char *source,
                         const char *name, int err)
{
	char text[160], prefix[PREFIX_TEXT_MAX];
	const struct registry_cluster *c = registry_cluster(e->registry);

	switch (err) {
	case -EDQUOT:
		prefix_format(&c->overlay[0], prefix);
		snprintf(text, sizeof(text), "the overlay is exhausted: %s holds %u nodes", prefix,
		         registry_capacity(c));
		refuse(r, source, name, 507, "overlay-exhausted", text);
		break;
	case -EINVAL:
		refuse(r, source, name, 400, "endpoint",
		       "an endpoint is no address of a host: loopback, multicast, or inside the "
		       "overlay or the pools");
		break;
	case -EROFS:
		refuse(r, source, name, 503, "read-only",
		       "the manager's registry is read-only since a write failed");
		break;
	case -ENOSPC:
		refuse(r, source, name, 503, "disk-full",
		       "the manager's disk is full; the same token works again once it is not");
		break;
	default:
		refuse(r, source, name, 503, "failed",
		       "the manager could not write the node down; the same token works again");
		break;
	}
}

/* -- the question ------------------------------------------------------------------------------ */

static struct waiting *find_seq(struct enroll *e, uint32_t seq)
{
	for (unsigned i = 0; i < ENROLL_WAITING_MAX; i++)
		if (e->waiting[i].seq == seq)
			return &e->waiting[i];
	return NULL;
}

static uint32_t next_seq(struct enroll *e)
{
	if (++e->seq == 0)
		e->seq = 1; /* 0 says that a place is free */
	return e->seq;
}

/* The kernel takes a handful of messages at once: the rest goes as the ca answers. 0, or -EPIPE it
 * is gone.
 */
static int send_asks(struct enroll *e)
{
	struct waiting *w, *next;
	int err;

	for (;;) {
		next = NULL;
		for (unsigned i = 0; i < ENROLL_WAITING_MAX; i++) {
			w = &e->waiting[i];
			if (w->seq && !w->sent && (!next || w->deadline < next->deadline))
				next = w;
		}
		if (!next)
			return 0;
		err = message_send(e->ca_fd, MESSAGE_SIGN, next->seq, &next->ask->sign,
		                   sizeof(next->ask->sign), NULL, 0);
		if (err)
			return err == -EAGAIN ? 0 : err;
		next->sent = true;
	}
}

int enroll_own(struct enroll *e, const struct message_sign *q,
               void (*fn)(void *arg, const struct message_signed *a), void *arg, int64_t now)
{
	struct waiting *w = find_seq(e, 0);

	if (!w)
		return -EBUSY;
	*w = (struct waiting){.deadline = now + ENROLL_DEADLINE, .own = fn, .own_arg = arg};
	w->ask = calloc(1, sizeof(*w->ask));
	if (!w->ask)
		return -ENOMEM;
	w->ask->sign = *q;
	w->seq = next_seq(e);
	if (send_asks(e) < 0) {
		waiting_clear(w);
		return -EPIPE;
	}
	return 0;
}

/* Takes ask. */
static void ask_ca(struct enroll *e, const struct enroll_source *from, struct h2_request *r,
                   struct enroll_ask *ask, int64_t now)
{
	struct waiting *w = find_seq(e, 0);

	if (!w) {
		refuse(r, from->text, ask->sign.name, 503, "busy",
		       "too many joins at once; ask again in a few seconds");
		free(ask);
		return;
	}
	memcpy(ask->sign.exporter, from->exporter, sizeof(ask->sign.exporter));
	memcpy(ask->sign.source, from->address, sizeof(ask->sign.source));
	*w = (struct waiting){
		.r = r, .seq = next_seq(e), .deadline = now + ENROLL_DEADLINE, .ask = ask};
	snprintf(w->source, sizeof(w->source), "%s", from->text);
	if (send_asks(e) < 0) {
		refuse(r, from->text, ask->sign.name, 503, "ca",
		       "the ca is not there; ask again in a few seconds");
		waiting_clear(w);
	}
	send_asks(e); /* who is gone shows in enroll_readable */
}

static int check_ask(const struct enroll *e, const struct enroll_ask *ask)
{
	if (ask->sign.kind != SIGN_JOIN)
		return 0;
	if (!registry_endpoints_ok(e->registry, ask->endpoints, ask->nendpoints))
		return -EINVAL;
	return registry_has_room(e->registry, ask->sign.name);
}

/* What a path asks for; 0: nothing of ours. */
static enum sign_kind kind_of(const char *path)
{
	if (!strcmp(path, "/v1/join"))
		return SIGN_JOIN;
	if (!strcmp(path, "/v1/renew"))
		return SIGN_RENEW;
	return strcmp(path, "/v1/leave") ? 0 : SIGN_LEAVE;
}

bool enroll_path(const char *path)
{
	return kind_of(path) == SIGN_RENEW;
}

void enroll_request(struct enroll *e, const struct enroll_source *from, struct h2_request *r,
                    const char *method, const char *path, const char *body, size_t len, int64_t now)
{
	enum sign_kind kind = kind_of(path);
	struct enroll_ask *ask;
	const char *why;
	int err;

	if (!kind) {
		refuse(r, from->text, NULL, 404, "not-found",
		       "without a certificate there are /v1/join, /v1/renew and /v1/leave alone");
		return;
	}
	if (strcmp(method, "POST") != 0) {
		refuse(r, from->text, NULL, 405, "method", "use POST");
		return;
	}
	ask = malloc(sizeof(*ask));
	if (!ask) {
		refuse(r, from->text, NULL, 503, "failed", "no memory");
		return;
	}
	if (enroll_parse(ask, kind, body, len, &why) < 0) {
		refuse(r, from->text, NULL, 400, "bad-request", why);
		free(ask);
		return;
	}
	err = check_ask(e, ask);
	if (err) {
		refuse_errno(e, r, from->text, ask->sign.name, err);
		free(ask);
		return;
	}
	ask_ca(e, from, r, ask, now);
}

void enroll_closed(struct enroll *e, struct h2_request *r)
{
	struct waiting *w;

	for (unsigned i = 0; i < ENROLL_WAITING_MAX; i++) {
		w = &e->waiting[i];
		if (!w->seq || w->r != r)
			continue;
		if (w->sent)
			w->r = NULL; /* the answer still comes: the place is kept */
		else
			waiting_clear(w); /* and no token is used up for nobody */
	}
}

/* -- the ca's answer --------------------------------------------------------------------------- */

int enroll_chain(const struct message_signed *a, struct cert_chain *out)
{
	size_t at = 0;

	if (a->nchain < 2 || a->nchain > CERT_CHAIN_MAX)
		return -EBADMSG;
	for (unsigned i = 0; i < a->nchain; i++) {
		if (a->len[i] == 0 || a->len[i] > CERT_DER_MAX || a->len[i] > sizeof(a->chain) - at)
			return -EBADMSG;
		out->at[i].der = a->chain + at;
		out->at[i].len = a->len[i];
		at += a->len[i];
	}
	out->n = a->nchain;
	return 0;
}

static json_t *certificates(const struct message_signed *a)
{
	json_t *list = json_array();
	struct cert_chain chain;
	char pem[PEM_MAX];
	size_t len;

	if (enroll_chain(a, &chain) < 0)
		goto fail;
	for (unsigned i = 0; i < chain.n; i++) {
		len = 0;
		if (cert_to_pem(pem, sizeof(pem), &len, chain.at[i].der, chain.at[i].len) < 0 ||
		    json_array_append_new(list, json_stringn(pem, len)) < 0)
			goto fail;
	}
	return list;
fail:
	json_decref(list);
	return NULL;
}

static int add_manager(void *arg, const struct registry_node *n)
{
	json_t *list = arg;

	if (json_array_size(list) == MANAGERS_MAX)
		return 1;
	/* The control port is the node's port + 1. */
	return json_array_append_new(
		list, json_pack("{s:s, s:o}", "name", n->name, "endpoints",
	                        record_endpoints_format(n->endpoints, n->nendpoints, 1)));
}

static json_t *managers(struct registry *r)
{
	json_t *list = json_array();

	if (list && registry_each(r, ROLE_MANAGER, add_manager, list) < 0) {
		json_decref(list);
		return NULL;
	}
	return list;
}

static json_t *welcome(struct enroll *e, const struct registry_node *n,
                       const struct message_signed *a)
{
	const struct registry_cluster *c = registry_cluster(e->registry);

	return json_pack("{s:o, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "certificates",
	                 certificates(a), "cluster", c->name, "name", n->name, "role",
	                 cert_role_name(n->role), "overlay",
	                 record_prefixes_format(c->overlay, c->noverlay), "pools",
	                 record_prefixes_format(c->pools, c->npools), "prefixes",
	                 record_prefixes_format(n->prefixes, n->nprefixes), "managers",
	                 managers(e->registry), "labels", record_labels_format(&n->labels));
}

/* Is what the ca says of one piece, and for the name that was asked? It is no stranger, but its
 * certificate is about to be handed on.
 */
static int read_signed(const struct message_signed *a, const struct enroll_ask *ask,
                       struct cert_info *info)
{
	struct cert_chain chain;

	if (enroll_chain(a, &chain) < 0 ||
	    cert_parse(info, chain.at[0].der, chain.at[0].len) != CERT_OK ||
	    strcmp(info->node, ask->sign.name) != 0 || info->role != a->role ||
	    info->incarnation != a->incarnation)
		return -EBADMSG;
	return 0;
}

static void node_of(struct registry_node *n, const struct cert_info *info)
{
	memcpy(n->name, info->node, sizeof(n->name));
	n->incarnation = info->incarnation;
	n->issue = info->issue;
	memcpy(n->spki, info->spki, sizeof(n->spki));
	n->labels = info->labels;
	n->cert_not_after = info->not_after;
}

static void finish_join(struct enroll *e, struct waiting *w, const struct cert_info *info,
                        const struct message_signed *a, time_t wall)
{
	struct registry_node *n = &e->node;
	json_t *j;
	int err;

	memset(n, 0, sizeof(*n));
	node_of(n, info);
	n->role = info->role;
	n->joined = n->last_seen = wall;
	n->nendpoints = w->ask->nendpoints;
	memcpy(n->endpoints, w->ask->endpoints, sizeof(n->endpoints));
	memcpy(n->version, w->ask->version, sizeof(n->version));
	err = registry_node_put(e->registry, n);
	if (err) {
		refuse_errno(e, w->r, w->source, n->name, err);
		return;
	}
	j = welcome(e, n, a);
	if (j)
		log_info("node joined", "peer", n->name, "address", w->source, "role",
		         cert_role_name(n->role), NULL);
	reply_json(w->r, 200, j);
}

/* What is in the registry is the node's own certificate: a manager's process has another. */
static int note_renewal(struct enroll *e, const struct cert_info *info)
{
	struct registry_node *n = &e->node;
	int err = registry_node_get(e->registry, info->node, n);

	if (err || info->role != ROLE_NODE)
		return err;
	node_of(n, info);
	return registry_node_put(e->registry, n);
}

/* A node that the ca knows and we do not was joined by a manager whose write failed: it asks again. */
static void finish_renewal(struct enroll *e, struct waiting *w, const struct cert_info *info,
                           const struct message_signed *a)
{
	json_t *j;
	int err = note_renewal(e, info);

	if (err == -ENOENT) {
		refuse(w->r, w->source, info->node, 403, sign_result_name(SIGN_UNKNOWN),
		       sign_result_text(SIGN_UNKNOWN));
		return;
	}
	if (err) {
		refuse_errno(e, w->r, w->source, info->node, err);
		return;
	}
	j = json_pack("{s:o, s:o}", "certificates", certificates(a), "labels",
	              record_labels_format(&info->labels));
	if (j)
		log_info("certificate renewed", "peer", info->node, "address", w->source, NULL);
	reply_json(w->r, 200, j);
}

static void finish_leave(struct enroll *e, struct waiting *w)
{
	const char *name = w->ask->sign.name;
	int err = registry_node_remove(e->registry, name);

	if (err && err != -ENOENT) {
		refuse_errno(e, w->r, w->source, name, err);
		return;
	}
	log_info("node left", "peer", name, "address", w->source, NULL);
	reply_json(w->r, 200, json_object());
}

static void finish(struct enroll *e, struct waiting *w, const struct message_signed *a, time_t wall)
{
	struct cert_info info;

	if (w->ask->sign.kind == SIGN_LEAVE)
		finish_leave(e, w);
	else if (read_signed(a, w->ask, &info) < 0)
		refuse(w->r, w->source, w->ask->sign.name, 503, "ca",
		       "the ca's answer cannot be used");
	else if (w->ask->sign.kind == SIGN_JOIN)
		finish_join(e, w, &info, a, wall);
	else
		finish_renewal(e, w, &info, a);
}

static void answered(struct enroll *e, struct waiting *w, const struct message_signed *a,
                     time_t wall)
{
	enum sign_result result = a->result < SIGN_RESULT_COUNT ? a->result : SIGN_FAILED;

	if (result == SIGN_OK)
		finish(e, w, a, wall);
	else
		refuse(w->r, w->source, w->ask->sign.name, status_of(result),
		       sign_result_name(result), sign_result_text(result));
}

/* -- what the ca says unasked ------------------------------------------------------------------ */

static int labels_of(struct cert_labels *out, const struct message_node *m)
{
	memset(out, 0, sizeof(*out));
	if (m->nlabels > CERT_LABELS_MAX)
		return -EBADMSG;
	for (unsigned i = 0; i < m->nlabels; i++)
		if (!memchr(m->labels[i], '\0', sizeof(m->labels[i])) ||
		    cert_labels_add(out, m->labels[i]) < 0)
			return -EBADMSG;
	return 0;
}

static void note_error(const char *name, int err)
{
	if (err && err != -ENOENT)
		log_error("registry: a node's change was not written; it is at the next start",
		          "peer", name, "reason", strerrordesc_np(-err), NULL);
}

/* The ledger decides; the registry follows. What a kill between the two left behind is told again at
 * the next start. A node that only the ledger knows has yet to get its answer.
 */
static int take_node(struct enroll *e)
{
	struct registry_node *n = &e->node;
	struct message_node m;
	struct cert_labels labels;
	int err;

	memcpy(&m, e->message.body, sizeof(m));
	if (!memchr(m.name, '\0', sizeof(m.name)) || !cert_name_ok(m.name) ||
	    labels_of(&labels, &m) < 0)
		return -EBADMSG;
	err = registry_node_get(e->registry, m.name, n);
	if (!err && m.removed) {
		err = registry_node_remove(e->registry, m.name);
		if (!err)
			log_info("node removed", "peer", m.name, NULL);
	} else if (!err && n->incarnation == m.incarnation &&
	           (n->issue_min != m.issue_min || !cert_labels_equal(&n->labels, &labels))) {
		n->issue_min = m.issue_min;
		n->labels = labels;
		err = registry_node_put(e->registry, n);
		if (!err)
			log_info("node labelled", "peer", m.name, NULL);
	}
	note_error(m.name, err);
	return 0;
}

static int take_list(struct enroll *e)
{
	struct message_list m;
	uint8_t *bytes;
	int err = 0;

	memcpy(&m, e->message.body, sizeof(m));
	bytes = m.len <= REVOCATION_LIST_MAX ? malloc(m.len + 1) : NULL;
	/* One byte more: the file is as long as it says. */
	if (!bytes || pread(e->message.fds[0], bytes, m.len + 1, 0) != (ssize_t)m.len)
		err = -EBADMSG;
	else if (e->on_list)
		e->on_list(e->on_list_arg, bytes, m.len);
	free(bytes);
	message_close_fds(&e->message);
	return err;
}

/* An answer that finds no room is lost: whoever asked is told so by the ca in time, and asks again. */
static int take_order(struct enroll *e)
{
	struct message_ordered out = {0};
	struct message_order m;
	int err = 0;

	memcpy(&m, e->message.body, sizeof(m));
	if (!memchr(m.name, '\0', sizeof(m.name)) || !memchr(m.by, '\0', sizeof(m.by)) ||
	    !e->on_order)
		err = -EBADMSG;
	else
		e->on_order(e->on_order_arg, &m, e->message.nfds ? e->message.fds[0] : -1, &out);
	message_close_fds(&e->message);
	if (!err)
		err = message_send(e->ca_fd, MESSAGE_ORDERED, e->message.head.seq, &out,
		                   sizeof(out), NULL, 0);
	return err == -EAGAIN ? 0 : err;
}

static int take_answer(struct enroll *e, time_t wall, void (*wake)(void *user))
{
	struct waiting *w;

	if (e->message.head.type == MESSAGE_LIST)
		return take_list(e);
	if (e->message.head.type == MESSAGE_NODE)
		return take_node(e);
	if (e->message.head.type == MESSAGE_ORDER)
		return take_order(e);
	if (e->message.head.type != MESSAGE_SIGNED)
		return -EBADMSG;
	memcpy(&e->answer, e->message.body, sizeof(e->answer));
	w = e->message.head.seq ? find_seq(e, e->message.head.seq) : NULL;
	if (!w)
		return 0; /* it came too late: that joiner has been answered */
	if (w->own) {
		struct waiting done = *w;

		w->ask = NULL;
		waiting_clear(w); /* first: it may ask again at once */
		done.own(done.own_arg, &e->answer);
		free(done.ask);
		return 0;
	}
	if (w->r) {
		void *user = h2_user(w->r);

		answered(e, w, &e->answer, wall);
		wake(user);
	}
	waiting_clear(w);
	return 0;
}

int enroll_readable(struct enroll *e, time_t wall, void (*wake)(void *user))
{
	int err;

	for (;;) {
		err = message_receive(e->ca_fd, PROCESS_CA, PROCESS_MANAGER, &e->message);
		if (err == -EAGAIN)
			return send_asks(e);
		if (!err)
			err = take_answer(e, wall, wake);
		if (err)
			return err;
	}
}

void enroll_tick(struct enroll *e, int64_t now, void (*wake)(void *user))
{
	struct waiting *w;

	for (unsigned i = 0; i < ENROLL_WAITING_MAX; i++) {
		w = &e->waiting[i];
		if (w->seq == 0 || now < w->deadline)
			continue;
		if (w->own)
			w->own(w->own_arg, NULL);
		if (w->r) {
			void *user = h2_user(w->r);

			refuse(w->r, w->source, w->ask->sign.name, 503, "ca",
			       "the ca does not answer; the same token works again");
			wake(user);
		}
		waiting_clear(w);
	}
	send_asks(e); /* who is gone shows in enroll_readable */
}
