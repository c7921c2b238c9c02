/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A token's text passes through nothing that would leave a copy: it is formatted into secret
 * memory, and the answer that carries it is put together there and not by the JSON library.
 */
#include "gateway/privsep/operator.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

#define TIME_TEXT_MAX    32
#define ERROR_TEXT_MAX   512
#define CREATED_TEXT_MAX (TOKEN_TEXT_MAX + TOKEN_ID_TEXT + TIME_TEXT_MAX + 64)

struct operator
{
	struct ledger *ledger;
	const uint8_t *pin;
	const char *by;
	time_t wall;
	char error[ERROR_TEXT_MAX]; /* why a command was refused; "" : it was not */
};

/* -- answers ---------------------------------------------------------------------------------- */

static void time_format(time_t t, char out[TIME_TEXT_MAX])
{
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(out, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(out, TIME_TEXT_MAX, "1970-01-01T00:00:00Z");
}

static int answer_text(struct operator_answer *out, const char *text)
{
	size_t len = strlen(text);

	out->text = secret_new(len + 1);
	if (!out->text)
		return -ENOMEM;
	memcpy(out->text, text, len);
	out->text[len] = '\n';
	out->len = len + 1;
	return 0;
}

/* Takes the reference. */
static int answer_json(struct operator_answer *out, json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	int err = -ENOMEM;

	json_decref(j);
	if (text)
		err = answer_text(out, text);
	free(text);
	return err;
}

int operator_refuse(struct operator_answer *out, const char *text)
{
	return answer_json(out, json_pack("{s:s}", "error", text));
}

void operator_answer_clear(struct operator_answer *a)
{
	secret_free(a->text, a->len);
	a->text = NULL;
	a->len = 0;
}

/* Notes why and returns -EINVAL: answered as an error. */
__attribute__((format(printf, 2, 3))) static int refuse(struct operator* o, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(o->error, sizeof(o->error), format, args);
	va_end(args);
	/* A name from the request may have been cut inside a character. */
	for (char *c = o->error; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	return -EINVAL;
}

/* The ledger's errors that are the same whatever was asked. */
static int refuse_ledger(struct operator* o, const char *what, int err)
{
	switch (err) {
	case -ENOSPC:
		return refuse(o,
		              "%s: the disk is full, nothing was changed; free some space below "
		              "the state folder",
		              what);
	case -ENOMEM:
		return refuse(o, "%s: no memory, nothing was changed; try again", what);
	default:
		return refuse(o,
		              "%s: the ca's ledger cannot be written (%s), nothing was changed; "
		              "see ginneld's log",
		              what, strerrordesc_np(-err));
	}
}

/* Are all members of the request known? */
static int check_members(struct operator* o, json_t *request, const char *const *known)
{
	const char *key;
	json_t *value;

	json_object_foreach(request, key, value) {
		const char *const *k = known;

		while (*k && strcmp(*k, key))
			k++;
		if (!*k)
			return refuse(o,
			              "request: \"%.40s\" is not known; is ginnel newer than the "
			              "running ginneld?",
			              key);
	}
	return 0;
}

/* -- token-create ----------------------------------------------------------------------------- */

static int read_role(struct operator* o, const json_t *j, enum cert_role *out)
{
	*out = ROLE_NODE;
	if (!j || json_is_null(j))
		return 0;
	if (!json_is_string(j) || cert_role_parse(out, json_string_value(j)))
		return refuse(o, "token create: --role: no such role; leave it out for a node");
	if (*out != ROLE_NODE)
		return refuse(
			o,
			"token create: --role %s: several managers come with a later version; "
			"leave it out for a node",
			cert_role_name(*out));
	return 0;
}

static int read_name(struct operator* o, const json_t *j, char out[CERT_NAME_MAX + 1])
{
	struct ledger_node n;
	const char *name;
	int err;

	out[0] = '\0';
	if (!j || json_is_null(j))
		return 0;
	name = json_string_value(j);
	if (!name || strlen(name) != json_string_length(j) || !cert_name_ok(name))
		return refuse(o,
		              "token create: --name: not a lower case DNS label of at most %d "
		              "characters; use a-z, 0-9 and -",
		              CERT_NAME_MAX);
	err = ledger_node_get(o->ledger, name, &n);
	if (!err && n.role != ROLE_NODE && !n.removed)
		return refuse(o,
		              "token create: --name %s: that is a manager of this cluster; choose "
		              "another name",
		              name);
	if (err && err != -ENOENT)
		return refuse_ledger(o, "token create", err);
	snprintf(out, CERT_NAME_MAX + 1, "%s", name);
	return 0;
}

static int read_labels(struct operator* o, json_t *j, struct cert_labels *out)
{
	char text[CERT_LABEL_KEY_MAX + CERT_LABEL_VALUE_MAX + 2];
	const char *key;
	json_t *value;
	size_t bytes = 0;
	int n, err;

	memset(out, 0, sizeof(*out));
	if (!j || json_is_null(j))
		return 0;
	if (!json_is_object(j))
		return refuse(o, "request: labels: not an object; is ginnel newer than ginneld?");
	json_object_foreach(j, key, value) {
		const char *v = json_string_value(value);

		if (!v || strlen(v) != json_string_length(value))
			return refuse(o, "token create: --label %.63s: no text; write K=V", key);
		n = snprintf(text, sizeof(text), "%s=%s", key, v);
		err = n < 0 || (size_t)n >= sizeof(text) ? -EINVAL : cert_labels_add(out, text);
		if (err == -E2BIG)
			return refuse(o, "token create: --label: more than %d; leave some out",
			              CERT_LABELS_MAX);
		if (err)
			return refuse(
				o,
				"token create: --label %.63s: not K=V, each 1 to %d of letters "
				"and digits with - _ . between (and / in K); mend it",
				key, CERT_LABEL_KEY_MAX);
		bytes += (size_t)n;
	}
	if (bytes > OPERATOR_LABELS_BYTES)
		return refuse(o,
		              "token create: --label: more than %d bytes together do not fit into "
		              "a certificate; shorten them",
		              OPERATOR_LABELS_BYTES);
	return 0;
}

static int read_ttl(struct operator* o, const json_t *j, time_t *out)
{
	json_int_t ttl = OPERATOR_TTL_DEFAULT;

	if (j && !json_is_null(j)) {
		ttl = json_integer_value(j);
		if (!json_is_integer(j) || ttl < 1 || ttl > OPERATOR_TTL_MAX)
			return refuse(o,
			              "token create: --ttl: not between 1s and %dd; a token is for "
			              "joining soon, make one for each host",
			              OPERATOR_TTL_MAX / 86400);
	}
	*out = (time_t)ttl;
	return 0;
}

static int created_answer(struct operator* o, const struct token *t, const struct ledger_token *row,
                          struct operator_answer *out)
{
	char id[TOKEN_ID_TEXT + 1], expires[TIME_TEXT_MAX];
	char *text, *answer;
	int err = -ENOMEM;

	text = secret_new(TOKEN_TEXT_MAX);
	answer = secret_new(CREATED_TEXT_MAX);
	if (!text || !answer)
		goto out;
	err = token_format(t, text, TOKEN_TEXT_MAX);
	if (err) {
		err = refuse(o, "token create: %s; see ginneld's log", strerrordesc_np(-err));
		goto out;
	}
	token_id_format(row->id, id);
	time_format(row->expires, expires);
	snprintf(answer, CREATED_TEXT_MAX, "{\"token\":\"%s\",\"id\":\"%s\",\"expires\":\"%s\"}",
	         text, id, expires);
	err = answer_text(out, answer);
out:
	secret_free(answer, CREATED_TEXT_MAX);
	secret_free(text, TOKEN_TEXT_MAX);
	return err;
}

static int token_create(struct operator* o, json_t *request, struct operator_answer *out)
{
	static const char *const known[] = {"cmd", "role", "name", "labels", "ttl_s", NULL};
	struct ledger_token row = {0};
	struct token *t;
	time_t ttl = 0;
	int err;

	err = check_members(o, request, known);
	if (!err)
		err = read_role(o, json_object_get(request, "role"), &row.role);
	if (!err)
		err = read_name(o, json_object_get(request, "name"), row.name);
	if (!err)
		err = read_labels(o, json_object_get(request, "labels"), &row.labels);
	if (!err)
		err = read_ttl(o, json_object_get(request, "ttl_s"), &ttl);
	if (err)
		return err;
	t = secret_new(sizeof(*t));
	if (!t)
		return -ENOMEM;
	err = token_new(t, row.role, o->pin);
	if (!err)
		err = token_public(t, row.spki, &row.spki_len);
	if (err) {
		err = refuse(o, "token create: no key could be made (%s); try again",
		             strerrordesc_np(-err));
		goto out;
	}
	memcpy(row.id, t->id, sizeof(row.id));
	row.created = o->wall;
	row.expires = o->wall + ttl;
	snprintf(row.created_by, sizeof(row.created_by), "%s", o->by);
	/* The answer first: a token that stands but was never told would be of use to nobody. */
	err = created_answer(o, t, &row, out);
	if (err)
		goto out;
	err = ledger_token_add(o->ledger, &row);
	if (err) {
		operator_answer_clear(out);
		err = err == -E2BIG ? refuse(o,
		                             "token create: %d tokens stand already; revoke some, "
		                             "or wait until "
		                             "they expire",
		                             LEDGER_TOKENS_MAX)
		                    : refuse_ledger(o, "token create", err);
	}
out:
	secret_free(t, sizeof(*t));
	return err;
}

/* -- token-list, token-revoke ----------------------------------------------------------------- */

static json_t *labels_json(const struct cert_labels *l)
{
	json_t *j = json_object();

	for (unsigned i = 0; j && i < l->n; i++)
		json_object_set_new(j, l->at[i].key, json_string(l->at[i].value));
	return j;
}

static int list_one(void *arg, const struct ledger_token *t)
{
	char id[TOKEN_ID_TEXT + 1], expires[TIME_TEXT_MAX];
	json_t *j;

	token_id_format(t->id, id);
	time_format(t->expires, expires);
	j = json_pack("{s:s,s:s,s:s?,s:o,s:s,s:s,s:b,s:s?,s:b}", "id", id, "role",
	              cert_role_name(t->role), "name", t->name[0] ? t->name : NULL, "labels",
	              labels_json(&t->labels), "expires", expires, "created_by", t->created_by,
	              "used", t->used, "used_by", t->used ? t->used_name : NULL, "revoked",
	              t->revoked);
	return json_array_append_new(arg, j) ? -ENOMEM : 0;
}

static int token_list(struct operator* o, json_t *request, struct operator_answer *out)
{
	static const char *const known[] = {"cmd", NULL};
	json_t *list;
	int err;

	err = check_members(o, request, known);
	if (err)
		return err;
	list = json_array();
	if (!list)
		return -ENOMEM;
	err = ledger_token_each(o->ledger, list_one, list);
	if (err) {
		json_decref(list);
		return err == -ENOMEM ? err : refuse_ledger(o, "token list", err);
	}
	return answer_json(out, list);
}

static int token_revoke(struct operator* o, json_t *request, struct operator_answer *out)
{
	static const char *const known[] = {"cmd", "id", NULL};
	struct ledger_token t;
	uint8_t id[TOKEN_ID_LEN];
	const char *text;
	int err;

	err = check_members(o, request, known);
	if (err)
		return err;
	text = json_string_value(json_object_get(request, "id"));
	if (!text || token_id_parse(id, text))
		return refuse(o,
		              "token revoke: no token's ID, which is %d hexadecimal digits; see "
		              "`ginnel token list`",
		              TOKEN_ID_TEXT);
	err = ledger_token_revoke(o->ledger, id);
	if (err == -ENOENT)
		return refuse(o, "token revoke: no token %s; see `ginnel token list`", text);
	if (err == -EALREADY && !ledger_token_get(o->ledger, id, &t))
		return refuse(o, "token revoke: %s let %s in already; it lets nobody else in", text,
		              t.used_name);
	if (err)
		return refuse_ledger(o, "token revoke", err);
	return answer_text(out, "{}");
}

/* -- node-label, node-remove ------------------------------------------------------------------ */

static int refuse_node(struct operator* o, const char *what, const char *name, int err)
{
	if (err == -ENOENT)
		return refuse(o, "%s: there is no node %s; see `ginnel node list`", what, name);
	if (err == -E2BIG)
		return refuse(o,
		              "%s: the revocation list holds %d entries and is full; remove nodes "
		              "instead, or wait until entries end",
		              what, REVOCATION_ENTRIES_MAX);
	return refuse_ledger(o, what, err);
}

/* Which node; it is there. */
static int read_node(struct operator* o, const char *what, const json_t *request,
                     struct ledger_node *n)
{
	const json_t *j = json_object_get(request, "name");
	const char *name = json_string_value(j);
	int err;

	if (!name || strlen(name) != json_string_length(j) || !cert_name_ok(name))
		return refuse(o,
		              "%s: no node's name, which is a lower case DNS label; see `ginnel "
		              "node list`",
		              what);
	err = ledger_node_get(o->ledger, name, n);
	if (!err && n->removed)
		err = -ENOENT;
	return err ? refuse_node(o, what, name, err) : 0;
}

static void label_drop(struct cert_labels *l, const char *key)
{
	unsigned i = 0;

	while (i < l->n && strcmp(l->at[i].key, key))
		i++;
	if (i == l->n)
		return;
	memmove(&l->at[i], &l->at[i + 1], (l->n - i - 1) * sizeof(l->at[0]));
	memset(&l->at[--l->n], 0, sizeof(l->at[0]));
}

static size_t labels_bytes(const struct cert_labels *l)
{
	size_t n = 0;

	for (unsigned i = 0; i < l->n; i++)
		n += strlen(l->at[i].key) + 1 + strlen(l->at[i].value);
	return n;
}

/* What is dropped first, then what is set: K- and K=V of one key is K=V. */
static int apply_labels(struct operator* o, json_t *request, struct cert_labels *l)
{
	char text[CERT_LABEL_KEY_MAX + CERT_LABEL_VALUE_MAX + 2];
	json_t *set = json_object_get(request, "set"), *drop = json_object_get(request, "drop"), *v;
	const char *key;
	size_t i;
	int n, err;

	if ((set && !json_is_object(set)) || (drop && !json_is_array(drop)))
		return refuse(o, "request: set or drop is none; is ginnel newer than ginneld?");
	json_array_foreach(drop, i, v) {
		if (!json_is_string(v))
			return refuse(o, "node label: K-: no text; write K=V or K-");
		label_drop(l, json_string_value(v));
	}
	json_object_foreach(set, key, v) {
		n = snprintf(text, sizeof(text), "%s=%s", key,
		             json_is_string(v) ? json_string_value(v) : "");
		err = n < 0 || (size_t)n >= sizeof(text) ? -EINVAL : cert_labels_add(l, text);
		if (err == -E2BIG)
			return refuse(o, "node label: more than %d labels; take some away with K-",
			              CERT_LABELS_MAX);
		if (err)
			return refuse(o,
			              "node label: \"%.63s\": not K=V, each 1 to %d of letters and "
			              "digits with - _ . between (and / in K); mend it",
			              key, CERT_LABEL_KEY_MAX);
	}
	if (labels_bytes(l) > OPERATOR_LABELS_BYTES)
		return refuse(o,
		              "node label: more than %d bytes together do not fit into a "
		              "certificate; shorten them, or take some away with K-",
		              OPERATOR_LABELS_BYTES);
	return 0;
}

static int node_label(struct operator* o, json_t *request, struct operator_answer *out)
{
	static const char *const known[] = {"cmd", "name", "set", "drop", NULL};
	struct cert_labels labels;
	struct ledger_node n;
	int err;

	err = check_members(o, request, known);
	if (!err)
		err = read_node(o, "node label", request, &n);
	if (err)
		return err;
	labels = n.labels;
	err = apply_labels(o, request, &labels);
	if (err)
		return err;
	err = ledger_label(o->ledger, n.name, &labels, o->wall, &n, &out->list);
	if (err)
		return refuse_node(o, "node label", n.name, err);
	snprintf(out->changed, sizeof(out->changed), "%s", n.name);
	return answer_json(out,
	                   json_pack("{s:s,s:o,s:I}", "name", n.name, "labels",
	                             labels_json(&n.labels), "issue_min", (json_int_t)n.issue_min));
}

static int node_remove(struct operator* o, json_t *request, struct operator_answer *out)
{
	static const char *const known[] = {"cmd", "name", NULL};
	struct ledger_node n;
	int err;

	err = check_members(o, request, known);
	if (!err)
		err = read_node(o, "node remove", request, &n);
	if (err)
		return err;
	if (n.role != ROLE_NODE)
		return refuse(o,
		              "node remove: %s is the manager, without which there is no cluster; "
		              "remove the others, or make a new cluster",
		              n.name);
	err = ledger_remove(o->ledger, n.name);
	if (err)
		return refuse_node(o, "node remove", n.name, err);
	snprintf(out->changed, sizeof(out->changed), "%s", n.name);
	return answer_text(out, "{}");
}

static int node_revoke(struct operator* o, json_t *request, struct operator_answer *out)
{
	static const char *const known[] = {"cmd", "name", NULL};
	struct revocations s = {0};
	struct ledger_node n;
	uint64_t number = 0;
	int err;

	err = check_members(o, request, known);
	if (!err)
		err = read_node(o, "node revoke", request, &n);
	if (err)
		return err;
	if (n.role != ROLE_NODE)
		return refuse(o,
		              "node revoke: %s is the manager, and all would refuse it; make a new "
		              "cluster if its keys are stolen",
		              n.name);
	err = ledger_revoke(o->ledger, n.name, o->wall);
	if (!err)
		err = ledger_list(o->ledger, &number, &s);
	revocations_clear(&s);
	if (err)
		return refuse_node(o, "node revoke", n.name, err);
	out->list = true;
	return answer_json(out,
	                   json_pack("{s:s,s:I}", "name", n.name, "number", (json_int_t)number));
}

/* -- node-drain, policy-apply: the registry's --------------------------------------------------- */

static void order(struct operator* o, enum order_kind kind, struct operator_answer *out)
{
	out->order.kind = (uint8_t)kind;
	snprintf(out->order.by, sizeof(out->order.by), "%s", o->by);
}

static int node_drain(struct operator* o, json_t *request, struct operator_answer *out)
{
	static const char *const known[] = {"cmd", "name", "off", NULL};
	const json_t *off = json_object_get(request, "off");
	struct ledger_node n;
	int err;

	err = check_members(o, request, known);
	if (!err && off && !json_is_boolean(off))
		err = refuse(o, "request: off is neither true nor false; is ginnel newer than "
		                "ginneld?");
	if (!err)
		err = read_node(o, "node drain", request, &n);
	if (err)
		return err;
	memcpy(out->order.name, n.name, sizeof(n.name));
	out->order.off = json_is_true(off);
	order(o, ORDER_DRAIN, out);
	return 0;
}

static int policy_apply(struct operator* o, json_t *request, struct operator_answer *out)
{
	static const char *const known[] = {"cmd", "len", NULL};
	json_int_t len = json_integer_value(json_object_get(request, "len"));
	int err;

	err = check_members(o, request, known);
	if (!err &&
	    (len < 0 || len > UINT32_MAX || !json_is_integer(json_object_get(request, "len"))))
		err = refuse(o, "request: len is no length; is ginnel newer than ginneld?");
	if (err)
		return err;
	out->order.len = (uint32_t)len;
	order(o, ORDER_POLICY, out);
	return 0;
}

int operator_ordered(struct operator_answer *out, const struct message_order *asked,
                     const struct message_ordered *said)
{
	if (!memchr(said->error, '\0', sizeof(said->error)))
		return operator_refuse(out, "request: the manager's answer cannot be read; see "
		                            "ginneld's log");
	if (said->error[0]) {
		char text[sizeof(said->error)];

		memcpy(text, said->error, sizeof(text));
		for (char *c = text; *c; c++) /* as refuse does */
			if (*c < 0x20 || *c > 0x7e)
				*c = '?';
		return operator_refuse(out, text);
	}
	if (asked->kind != ORDER_POLICY)
		return answer_text(out, "{}");
	return answer_json(out, json_pack("{s:I}", "version", (json_int_t)said->version));
}

/* -- the door --------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*run)(struct operator* o, json_t *request, struct operator_answer *out);
} commands[] = {
	{"token-create", token_create}, {"token-list", token_list},
	{"token-revoke", token_revoke}, {"node-label", node_label},
	{"node-remove", node_remove},   {"node-revoke", node_revoke},
	{"node-drain", node_drain},     {"policy-apply", policy_apply},
};

static int dispatch(struct operator* o, json_t *request, struct operator_answer *out)
{
	const char *cmd = json_string_value(json_object_get(request, "cmd"));

	if (!cmd)
		return refuse(o, "request: no JSON object with a \"cmd\"; use the ginnel command");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(cmd, commands[i].name))
			return commands[i].run(o, request, out);
	return refuse(o,
	              "request: the ca knows no \"%.40s\"; is ginnel newer than the running "
	              "ginneld?",
	              cmd);
}

int operator_ask(struct ledger *l, const uint8_t pin[32], const char *by, const char *line,
                 size_t len, time_t wall, struct operator_answer *out)
{
	struct operator o = {.ledger = l, .pin = pin, .by = by, .wall = wall};
	json_error_t ignored;
	json_t *request;
	int err;

	memset(out, 0, sizeof(*out));
	request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &ignored);
	err = dispatch(&o, request, out);
	json_decref(request);
	if (o.error[0])
		err = operator_refuse(out, o.error);
	return err;
}
