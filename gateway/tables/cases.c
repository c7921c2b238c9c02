/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/cases.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/tables/document.h"

#define NODE_PREFIX    "node."
#define LABEL_TEXT_MAX (READER_KEY_MAX + CERT_LABEL_VALUE_MAX + 3)

struct subject {
	enum policy_subject_kind kind;
	char name[CERT_LABEL_VALUE_MAX + 1]; /* "" : none */
	struct cert_labels labels, node_labels;
	uint32_t class;
};

struct expected {
	struct place at;
	char name[POLICY_NAME_MAX + 1]; /* "" : none */
	struct subject from, to;
	bool any;
	struct policy_ports ports;
	enum policy_action expect;
};

struct cases {
	struct reader *r;
	uint32_t n, room;
	struct expected *at;
	char policy[CONFIG_TEXT_MAX]; /* "" : none */
	bool no_memory;
};

#define case_fault(c, at, ...) reader_fault((c)->r, (at), __VA_ARGS__)

/* -- subjects ------------------------------------------------------------------------------------ */

static bool labels_have(const struct cert_labels *l, const char *key)
{
	unsigned i;

	for (i = 0; i < l->n; i++)
		if (!strcmp(l->at[i].key, key))
			return true;
	return false;
}

static void label_add(struct cases *c, const char *where, struct place at, struct cert_labels *l,
                      const char *key, const char *value)
{
	char text[LABEL_TEXT_MAX];
	int err = -EINVAL;

	if (labels_have(l, key)) {
		case_fault(c, at, "%s.%s: given twice; keep one", where, key);
		return;
	}
	if (!strchr(key, '=') &&
	    snprintf(text, sizeof(text), "%s=%s", key, value) < (int)sizeof(text))
		err = cert_labels_add(l, text);
	if (err == -E2BIG)
		case_fault(c, at, "%s: more than %d labels; leave some out", where,
		           CERT_LABELS_MAX);
	else if (err)
		case_fault(c, at,
		           "%s.%s: \"%s\" cannot be a label's value; use at most 63 letters and "
		           "digits, "
		           "and between them . _ -",
		           where, key, reader_quote(c->r, value));
}

static void name_add(struct cases *c, const char *where, struct place at, struct subject *s,
                     const char *key, const char *value)
{
	bool node = !strcmp(key, "node");

	if (*s->name)
		case_fault(c, at, "%s: is given two names; keep node, or workload", where);
	else if (node ? !cert_name_ok(value) : !label_ok("x", value))
		case_fault(c, at, "%s.%s: \"%s\" cannot be the name of one", where, key,
		           reader_quote(c->r, value));
	else
		snprintf(s->name, sizeof(s->name), "%s", value);
	s->kind = node ? SUBJECT_NODE : SUBJECT_WORKLOAD;
}

static void read_subject(struct cases *c, const char *where, struct subject *s)
{
	struct place at = reader_place(c->r), value_at;
	char prefix[READER_KEY_MAX], name[2 * READER_KEY_MAX];
	struct reader_mapping m;
	const char *value;
	bool any = false;

	snprintf(prefix, sizeof(prefix), "%s.", where);
	if (!reader_mapping(c->r, &m, prefix, NULL))
		return;
	while (reader_mapping_next(c->r, &m) >= 0) {
		any = true;
		snprintf(name, sizeof(name), "%s.%s", where, m.key);
		value = reader_scalar(c->r, name, &value_at);
		if (!value)
			continue;
		if (!strcmp(m.key, "node") || !strcmp(m.key, "workload"))
			name_add(c, where, m.at, s, m.key, value);
		else if (!strncmp(m.key, NODE_PREFIX, strlen(NODE_PREFIX)))
			label_add(c, where, m.at, &s->node_labels, m.key + strlen(NODE_PREFIX),
			          value);
		else
			label_add(c, where, m.at, &s->labels, m.key, value);
	}
	if (any && s->kind == SUBJECT_UNKNOWN)
		s->kind = SUBJECT_WORKLOAD;
	if (s->kind == SUBJECT_NODE && s->node_labels.n)
		case_fault(c, at,
		           "%s: is a node, whose labels are written without \"" NODE_PREFIX "\"",
		           where);
}

/* -- cases --------------------------------------------------------------------------------------- */

static void read_port(struct cases *c, struct expected *x)
{
	struct place at;
	const char *s = reader_scalar(c->r, "cases.port", &at);
	const char *why = s ? ports_parse(&x->ports, s) : NULL;

	if (why)
		case_fault(c, at, "cases.port: \"%s\" %s", reader_quote(c->r, s), why);
	x->any = false;
}

static void read_name(struct cases *c, struct expected *x)
{
	struct place at;
	const char *s = reader_scalar(c->r, "cases.name", &at);

	if (s && strlen(s) >= sizeof(x->name))
		case_fault(c, at, "cases.name: \"%s\" is longer than %d bytes; shorten it",
		           reader_quote(c->r, s), POLICY_NAME_MAX);
	else if (s)
		snprintf(x->name, sizeof(x->name), "%s", s);
}

static void read_expect(struct cases *c, struct expected *x)
{
	static const char *const words[] = {[POLICY_ALLOW] = "allow", [POLICY_DENY] = "deny", NULL};
	int word = reader_word(c->r, "cases.expect", words);

	if (word >= 0)
		x->expect = (enum policy_action)word;
}

enum { CASE_NAME, CASE_FROM, CASE_TO, CASE_PORT, CASE_EXPECT };

static void read_case(struct cases *c, struct expected *x)
{
	static const char *const keys[] = {"name", "from", "to", "port", "expect", NULL};
	const unsigned need = 1U << CASE_FROM | 1U << CASE_TO | 1U << CASE_EXPECT;
	struct reader_mapping m;
	int k;

	x->at = reader_place(c->r);
	x->any = true;
	if (!reader_mapping(c->r, &m, "cases.", keys))
		return;
	while ((k = reader_mapping_next(c->r, &m)) >= 0) {
		switch (k) {
		case CASE_NAME:
			read_name(c, x);
			break;
		case CASE_FROM:
			read_subject(c, "cases.from", &x->from);
			break;
		case CASE_TO:
			read_subject(c, "cases.to", &x->to);
			break;
		case CASE_PORT:
			read_port(c, x);
			break;
		default:
			read_expect(c, x);
		}
	}
	for (k = 0; keys[k] && !reader_broken(c->r); k++)
		if ((need & ~m.seen) & 1U << k)
			case_fault(c, x->at, "cases: \"%s\" is missing; a case needs it", keys[k]);
}

static void read_cases(struct cases *c)
{
	struct reader_list l;
	struct expected *at;
	bool said = false;

	reader_list(c->r, &l, "cases", false);
	while (reader_list_next(c->r, &l)) {
		if (c->n == CASES_MAX && !said)
			case_fault(c, reader_place(c->r),
			           "cases: more than %d; write a second file", CASES_MAX);
		said = c->n == CASES_MAX;
		at = said ? NULL : array_grow(c->at, c->n, &c->room, sizeof(*at));
		if (!at) {
			c->no_memory = c->no_memory || !said;
			reader_skip(c->r);
			continue;
		}
		c->at = at;
		memset(&at[c->n], 0, sizeof(*at));
		read_case(c, &at[c->n++]);
	}
}

/* -- the file ------------------------------------------------------------------------------------ */

enum { FILE_CASES, FILE_POLICY }; /* what stands behind them is the policy's own */

static void read_file(struct cases *c)
{
	static const char *const keys[] = {"cases", "policy",  "version",  "default", "placement",
	                                   "rules", "outside", "compress", NULL};
	struct place at = reader_place(c->r), policy = at;
	struct reader_mapping m;
	const char *s;
	int k;

	if (!reader_mapping(c->r, &m, "", keys))
		return;
	while ((k = reader_mapping_next(c->r, &m)) >= 0) {
		switch (k) {
		case FILE_CASES:
			read_cases(c);
			break;
		case FILE_POLICY:
			s = reader_scalar(c->r, "policy", &policy);
			snprintf(c->policy, sizeof(c->policy), "%s", s ? s : "");
			break;
		default:
			reader_skip(c->r);
		}
	}
	if (reader_broken(c->r))
		return;
	if (c->n == 0)
		case_fault(c, at, "cases: there is none; write them as {from, to, port, expect}");
	if (*c->policy && m.seen > (1U << FILE_CASES | 1U << FILE_POLICY))
		case_fault(c, policy, "policy: its own keys stand beside it; keep those, or this");
	if (!(m.seen & ~(1U << FILE_CASES)))
		case_fault(c, at,
		           "policy: is missing; name the file of the policy, or write the cases "
		           "into it");
}

int cases_parse(struct cases **out, const char *path, const char *text, size_t len,
                struct config_faults *faults)
{
	struct cases *c;
	int err = -EINVAL;

	faults->n = faults->warnings = 0;
	c = calloc(1, sizeof(*c));
	if (!c || reader_new(&c->r, faults, path, text, len)) {
		free(c);
		return -ENOMEM;
	}
	if (len > POLICY_BYTES_MAX) {
		case_fault(c, ((struct place){1, 1}), "is larger than 16 MiB; no file of cases is");
	} else if (reader_begin(c->r)) {
		read_file(c);
		reader_end(c->r);
	} else if (!reader_broken(c->r)) {
		case_fault(c, ((struct place){1, 1}), "is empty; write cases into it");
	}
	reader_free(c->r);
	c->r = NULL;
	if (c->no_memory)
		err = -ENOMEM;
	else if (faults->n == 0)
		err = 0;
	if (err)
		cases_free(c);
	else
		*out = c;
	return err;
}

void cases_free(struct cases *c)
{
	if (!c)
		return;
	free(c->at);
	free(c);
}

const char *cases_policy(const struct cases *c)
{
	return *c->policy ? c->policy : NULL;
}

uint32_t cases_count(const struct cases *c)
{
	return c->n;
}

/* -- judging ------------------------------------------------------------------------------------- */

static void classify(struct subject *s, struct policy *p)
{
	const struct policy_subject as = {
		.kind = s->kind,
		.name = *s->name ? s->name : NULL,
		.labels = &s->labels,
		.node_labels = &s->node_labels,
	};

	s->class = policy_class(p, &as);
}

int cases_seal(struct cases *c, struct policy *p)
{
	uint32_t i;

	for (i = 0; i < c->n; i++) {
		classify(&c->at[i].from, p);
		classify(&c->at[i].to, p);
	}
	return policy_seal(p);
}

void cases_judge(const struct cases *c, uint32_t i, const struct policy *p,
                 struct case_verdict *out)
{
	const struct expected *x = &c->at[i];
	struct span span = x->any ? PORTS_ALL : ports_span(&x->ports);
	uint32_t point, until;

	*out = (struct case_verdict){
		.name = *x->name ? x->name : NULL,
		.line = x->at.line,
		.column = x->at.column,
		.expect = x->expect,
		.any = x->any,
		.ports = x->ports,
		.ok = true,
	};
	for (point = span.first; point <= span.last && out->ok; point = until) {
		out->verdict = policy_judge_point(p, x->from.class, x->to.class, point, &until);
		out->ok = out->verdict.action == x->expect;
		if (!out->ok) {
			out->any = false;
			ports_at(point, &out->ports);
		}
	}
}

static void print_labels(const struct cert_labels *l, const char *prefix, bool *any, FILE *to)
{
	unsigned i;

	for (i = 0; i < l->n; i++) {
		fprintf(to, "%s%s%s: %s", *any ? ", " : "", prefix, l->at[i].key, l->at[i].value);
		*any = true;
	}
}

void cases_print(const struct cases *c, uint32_t i, bool from, FILE *to)
{
	const struct subject *s = from ? &c->at[i].from : &c->at[i].to;
	bool any = *s->name;

	fputc('{', to);
	if (any)
		fprintf(to, "%s: %s", s->kind == SUBJECT_NODE ? "node" : "workload", s->name);
	print_labels(&s->labels, "", &any, to);
	print_labels(&s->node_labels, NODE_PREFIX, &any, to);
	fputc('}', to);
}
