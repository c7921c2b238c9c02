/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/enroll.h"

#include "crypto/token.h"
#include "gateway/log.h"
#include "gateway/manager/records.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEM_MAX      (2 * CERT_DER_MAX)
#define MANAGERS_MAX NODE_MANAGERS_MAX

struct waiting {
	struct h2_request *r; /* NULL: free, or the joiner is gone */
	uint32_t seq;         /* 0: free */
	bool sent;            /* the ca has it */
	int64_t deadline;
	struct enroll_ask *ask;
	char source[64];
};

struct enroll {
	struct registry *registry;
	int ca_fd;
	uint32_t seq;
	struct waiting waiting[ENROLL_WAITING_MAX];
	struct message message; /* these are too large for a frame */
	struct message_signed answer;
	struct registry_node node; /* that is being written down */
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
	log_warn("join refused", "peer", name, "address", source, "reason", reason, "text", text,
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

static const char *string_of(const json_t *j, const char *key, size_t *len)
{
	const json_t *v = json_object_get(j, key);

	*len = json_string_length(v);
	return json_string_value(v);
}

/* Hex of 1 to max bytes. */
static bool bytes_of(const json_t *j, const char *key, uint8_t *out, size_t max, uint16_t *n)
{
	size_t len;
	const char *text = string_of(j, key, &len);

	if (!text || len < 2 || len > 2 * max || record_hex_parse(out, len / 2, text, len) < 0)
		return false;
	*n = (uint16_t)(len / 2);
	return true;
}

static int parse_ask(struct enroll_ask *a, const json_t *j, const char **why)
{
	const char *name, *token, *version;
	size_t len;

	*why = "name: it is no lower case DNS label of 1 to 63 characters";
	name = string_of(j, "name", &len);
	if (!name || strlen(name) != len || !cert_name_ok(name))
		return -EINVAL;
	memcpy(a->sign.name, name, len + 1);
	*why = "token: it is not the 16 hex digits of a token's id";
	token = string_of(j, "token", &len);
	if (!token || record_hex_parse(a->sign.token_id, sizeof(a->sign.token_id), token, len) < 0)
		return -EINVAL;
	*why = "csr: it is no hex of at most 2048 bytes";
	if (!bytes_of(j, "csr", a->sign.csr, sizeof(a->sign.csr), &a->sign.csr_len))
		return -EINVAL;
	*why = "proof: it is no hex of at most 72 bytes";
	if (!bytes_of(j, "proof", a->sign.sig, sizeof(a->sign.sig), &a->sign.sig_len))
		return -EINVAL;
	*why = "endpoints: it is no list of at most 8 texts ADDR:PORT";
	if (record_endpoints_parse(a->endpoints, &a->nendpoints, json_object_get(j, "endpoints")) <
	    0)
		return -EINVAL;
	*why = "version: it is no text of at most 31 characters";
	version = string_of(j, "version", &len);
	if (!version || strlen(version) != len || !record_version_ok(version))
		return -EINVAL;
	memcpy(a->version, version, len + 1);
	a->sign.kind = SIGN_JOIN;
	return 0;
}

int enroll_parse(struct enroll_ask *out, const char *body, size_t len, const char **why)
{
	json_t *j = h2_json(body, len);
	int err;

	memset(out, 0, sizeof(*out));
	*why = "the body is no JSON object";
	err = json_is_object(j) ? parse_ask(out, j, why) : -EINVAL;
	json_decref(j);
	return err;
}

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
	if (!registry_endpoints_ok(e->registry, ask->endpoints, ask->nendpoints))
		return -EINVAL;
	return registry_has_room(e->registry, ask->sign.name);
}

void enroll_request(struct enroll *e, const struct enroll_source *from, struct h2_request *r,
                    const char *method, const char *path, const char *body, size_t len, int64_t now)
{
	struct enroll_ask *ask;
	const char *why;
	int err;

	if (strcmp(path, "/v1/join") != 0) {
		refuse(r, from->text, NULL, 404, "not-found",
		       "without a certificate there is /v1/join alone");
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
	if (enroll_parse(ask, body, len, &why) < 0) {
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
		if (w->r != r)
			continue;
		if (w->sent)
			w->r = NULL; /* the answer still comes: the place is kept */
		else
			waiting_clear(w); /* and no token is used up for nobody */
	}
}

/* -- the ca's answer --------------------------------------------------------------------------- */

static json_t *certificates(const struct message_signed *a)
{
	json_t *list = json_array();
	char pem[PEM_MAX];
	size_t at = 0, len;

	for (unsigned i = 0; i < a->nchain; i++) {
		len = 0;
		if (cert_to_pem(pem, sizeof(pem), &len, a->chain + at, a->len[i]) < 0 ||
		    json_array_append_new(list, json_stringn(pem, len)) < 0)
			goto fail;
		at += a->len[i];
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
                       struct registry_node *n)
{
	struct cert_info info;
	size_t total = 0;

	if (a->nchain < 2 || a->nchain > CERT_CHAIN_MAX)
		return -EBADMSG;
	for (unsigned i = 0; i < a->nchain; i++) {
		if (a->len[i] == 0 || a->len[i] > CERT_DER_MAX)
			return -EBADMSG;
		total += a->len[i];
	}
	if (total > sizeof(a->chain) || cert_parse(&info, a->chain, a->len[0]) != CERT_OK ||
	    strcmp(info.node, ask->sign.name) != 0 || info.role != a->role ||
	    info.incarnation != a->incarnation)
		return -EBADMSG;
	memcpy(n->name, info.node, sizeof(n->name));
	n->role = info.role;
	n->incarnation = info.incarnation;
	memcpy(n->spki, info.spki, sizeof(n->spki));
	n->labels = info.labels;
	n->cert_not_after = info.not_after;
	return 0;
}

static void finish(struct enroll *e, struct waiting *w, const struct message_signed *a, time_t wall)
{
	struct registry_node *n = &e->node;
	json_t *j;
	int err;

	memset(n, 0, sizeof(*n));
	err = read_signed(a, w->ask, n);
	if (err) {
		refuse(w->r, w->source, w->ask->sign.name, 503, "ca",
		       "the ca's answer cannot be used");
		return;
	}
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

static int take_answer(struct enroll *e, time_t wall, void (*wake)(void *user))
{
	struct waiting *w;

	if (e->message.head.type != MESSAGE_SIGNED)
		return -EBADMSG;
	memcpy(&e->answer, e->message.body, sizeof(e->answer));
	w = e->message.head.seq ? find_seq(e, e->message.head.seq) : NULL;
	if (!w)
		return 0; /* it came too late: that joiner has been answered */
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
