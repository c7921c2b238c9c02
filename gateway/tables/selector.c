/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a selector may ask for, and whom it matches. Who has a label decides what it is worth: a
 * node's stand in its certificate, a workload's are what its node says of it. So none of the latter
 * may pass for one of the former, and a selector's key says which of them it asks for.
 */
#include "gateway/tables/document.h"

#include <stdlib.h>
#include <string.h>

#define NODE_PREFIX "node."
#define ANY         "*"
#define LABEL_CURE  "use at most 63 letters and digits, and between them . _ - and in keys /"

/* -- reading ------------------------------------------------------------------------------------- */

static bool is_of_node(const char *key)
{
	return !strncmp(key, NODE_PREFIX, strlen(NODE_PREFIX));
}

/* "node", "workload" and "node.KEY" as keys of labels would look like what they are not. */
static bool is_reserved(const char *key)
{
	return !strcmp(key, "node") || !strcmp(key, "workload") || is_of_node(key);
}

bool label_ok(const char *key, const char *value)
{
	char text[CERT_LABEL_KEY_MAX + CERT_LABEL_VALUE_MAX + 3];
	struct cert_labels one;

	one.n = 0;
	return !strchr(key, '=') &&
	       snprintf(text, sizeof(text), "%s=%s", key, value) < (int)sizeof(text) &&
	       !cert_labels_add(&one, text);
}

/* NULL, or why this key may not stand here. */
static const char *key_refusal(const char *key, enum selector_kind kind)
{
	if (!is_reserved(key))
		return label_ok(key, "x") ? NULL : "cannot be a label's key; " LABEL_CURE " /";
	if (kind == SELECTOR_WORKLOADS)
		return "is not a label of a workload's own; say where it may run under only-on or "
		       "never-on";
	if (kind == SELECTOR_NODES)
		return "is not a label of a node's; placement goes by those alone, without "
		       "\"node.\"";
	if (is_of_node(key) && !label_ok(key + strlen(NODE_PREFIX), "x"))
		return "cannot be a label's key; " LABEL_CURE " /";
	return NULL;
}

static const char *value_refusal(const char *key, const char *value)
{
	if (!strcmp(key, "node") && strcmp(value, ANY) != 0 && !cert_name_ok(value))
		return "is no node's name; use a-z, 0-9 and dashes inside, or \"*\" for all nodes";
	if (!strcmp(key, "workload") && strcmp(value, ANY) != 0 && !label_ok("x", value))
		return "is no workload's name; " LABEL_CURE ", or write \"*\" for all workloads";
	if (strcmp(key, "node") != 0 && strcmp(key, "workload") != 0 && !label_ok("x", value))
		return "cannot be a label's value; " LABEL_CURE;
	return NULL;
}

static bool value_add(struct policy_reading *p, struct term *t, const char *name, const char *key,
                      const char *value, struct place at)
{
	struct document *d = p->d;
	const char *why = value_refusal(key, value);
	uint32_t *values, word, i;

	if (why) {
		reader_fault(p->r, at, "%s: \"%s\" %s", name, reader_quote(p->r, value), why);
		return false;
	}
	values = array_grow(d->values, d->nvalues, &d->values_room, sizeof(*values));
	if (values)
		d->values = values;
	if (!values || document_label(d, key, value, &word)) {
		p->no_memory = true;
		return false;
	}
	for (i = t->first; i < d->nvalues && values[i] != word; i++)
		continue;
	if (i < d->nvalues) {
		reader_fault(p->r, at, "%s: \"%s\" is given twice; keep one", name, value);
		return false;
	}
	values[d->nvalues++] = word;
	t->n++;
	return true;
}

static int ascending(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static bool term_read(struct policy_reading *p, const char *name, const char *key, struct term *t)
{
	struct document *d = p->d;
	struct reader_list l;
	struct place at;
	const char *s;
	bool ok = true;
	unsigned seen = 0;

	*t = (struct term){.first = d->nvalues};
	if (document_word(d, key, &t->key)) {
		p->no_memory = true;
		reader_skip(p->r);
		return false;
	}
	reader_list(p->r, &l, name, true);
	while (reader_list_next(p->r, &l)) {
		if (seen++ == POLICY_VALUES_MAX)
			reader_fault(p->r, reader_place(p->r),
			             "%s: more than %d values; give what belongs together a label "
			             "of its own",
			             name, POLICY_VALUES_MAX);
		if (seen > POLICY_VALUES_MAX) {
			reader_skip(p->r);
			ok = false;
			continue;
		}
		s = reader_scalar(p->r, name, &at);
		ok = s && value_add(p, t, name, key, s, at) && ok;
	}
	if (ok && t->n == 0 && !l.refused && !reader_broken(p->r))
		reader_fault(p->r, l.at,
		             "%s: has no value; write one, or a list of which any may be", name);
	if (t->n > 1)
		qsort(&d->values[t->first], t->n, sizeof(*d->values), ascending);
	return ok && t->n > 0;
}

/* Nothing is a node and a workload, and nothing runs on a node that is one. */
static bool contradicts(const struct document *d, const struct selector *s)
{
	bool node = selector_has(d, s, d->node), workload = selector_has(d, s, d->workload);
	uint32_t i;

	for (i = 0; i < s->n; i++)
		workload = workload || is_of_node(document_text(d, d->terms[s->first + i].key));
	return node && workload;
}

static bool term_add(struct policy_reading *p, struct selector *s, const struct term *t)
{
	struct document *d = p->d;
	struct term *terms = array_grow(d->terms, d->nterms, &d->terms_room, sizeof(*terms));
	uint32_t at;

	if (!terms) {
		p->no_memory = true;
		return false;
	}
	d->terms = terms;
	for (at = d->nterms; at > s->first && terms[at - 1].key > t->key; at--)
		terms[at] = terms[at - 1];
	terms[at] = *t;
	d->nterms++;
	s->n++;
	return true;
}

/* One key of the mapping and its values. */
static bool key_read(struct policy_reading *p, const char *where, struct reader_mapping *m,
                     enum selector_kind kind, struct selector *s)
{
	const char *why = key_refusal(m->key, kind);
	char name[READER_KEY_MAX * 2];
	struct term t;

	snprintf(name, sizeof(name), "%s.%s", where, m->key);
	if (why) {
		reader_fault(p->r, m->at, "%s: \"%s\" %s", where, reader_quote(p->r, m->key), why);
	} else if (s->n == POLICY_KEYS_MAX) {
		reader_fault(p->r, m->at, "%s: more than %d keys; leave some out", where,
		             POLICY_KEYS_MAX);
	} else if (!term_read(p, name, m->key, &t)) {
		return false;
	} else if (selector_has(p->d, s, t.key)) {
		reader_fault(p->r, m->at, "%s: given twice; keep one", name);
		return false;
	} else {
		return term_add(p, s, &t);
	}
	reader_skip(p->r);
	return false;
}

bool selector_read(struct policy_reading *p, const char *key, enum selector_kind kind,
                   struct selector *out)
{
	struct selector s = {.first = p->d->nterms};
	struct reader_mapping m;
	struct place at = reader_place(p->r);
	char where[READER_KEY_MAX];
	bool ok = true;

	*out = (struct selector){0};
	snprintf(where, sizeof(where), "%s.", key);
	if (reader_is_empty(p->r)) {
		reader_fault(p->r, at, "%s: has no value; write {} if all are meant", key);
		reader_skip(p->r);
		return false;
	}
	if (!reader_mapping(p->r, &m, where, NULL))
		return false;
	while (reader_mapping_next(p->r, &m) >= 0)
		ok = key_read(p, key, &m, kind, &s) && ok;
	if (ok && contradicts(p->d, &s)) {
		reader_fault(
			p->r, at,
			"%s: asks for a node and for a workload at once, which nothing is; write "
			"two rules",
			key);
		ok = false;
	}
	if (ok)
		*out = s;
	return ok;
}

/* -- what it says -------------------------------------------------------------------------------- */

bool selector_has(const struct document *d, const struct selector *s, uint32_t key)
{
	uint32_t i;

	for (i = 0; i < s->n; i++)
		if (d->terms[s->first + i].key == key)
			return true;
	return false;
}

static const char *value_text(const struct document *d, uint32_t word)
{
	return strchr(document_text(d, word), '=') + 1;
}

void selector_format(const struct document *d, const struct selector *s, char *out, size_t max)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);
	const struct term *t;
	uint32_t i, k;

	if (!to) {
		snprintf(out, max, "{...}");
		return;
	}
	fputc('{', to);
	for (i = 0; i < s->n; i++) {
		t = &d->terms[s->first + i];
		fprintf(to, "%s%s: %s", i ? ", " : "", document_text(d, t->key),
		        t->n > 1 ? "[" : "");
		for (k = 0; k < t->n; k++)
			fprintf(to, "%s%s", k ? ", " : "", value_text(d, d->values[t->first + k]));
		fputs(t->n > 1 ? "]" : "", to);
	}
	fputc('}', to);
	fclose(to);
	if (n < max)
		snprintf(out, max, "%s", text);
	else
		snprintf(out, max, "%.*s...", (int)max - 4, text);
	free(text);
}

static bool term_holds(const struct document *d, const struct term *t, uint32_t value)
{
	const uint32_t *values = &d->values[t->first];

	return bsearch(&value, values, t->n, sizeof(*values), ascending) != NULL;
}

static bool term_holds_any(const struct document *d, const struct term *t)
{
	uint32_t i;

	for (i = 0; i < t->n; i++)
		if (!strcmp(value_text(d, d->values[t->first + i]), ANY))
			return true;
	return false;
}

static bool term_within(const struct document *d, const struct term *t, const struct term *general)
{
	uint32_t i;

	if (term_holds_any(d, general))
		return true;
	for (i = 0; i < t->n; i++)
		if (!term_holds(d, general, d->values[t->first + i]))
			return false;
	return true;
}

bool selector_within(const struct document *d, const struct selector *s,
                     const struct selector *general)
{
	uint32_t i = 0, k;

	for (k = 0; k < general->n; k++) {
		while (i < s->n && d->terms[s->first + i].key < d->terms[general->first + k].key)
			i++;
		if (i == s->n || d->terms[s->first + i].key != d->terms[general->first + k].key ||
		    !term_within(d, &d->terms[s->first + i], &d->terms[general->first + k]))
			return false;
	}
	return true;
}

/* -- subjects ------------------------------------------------------------------------------------ */

static uint32_t word_find(const struct document *d, const char *text)
{
	return intern_find(d->words, text, strlen(text));
}

static uint32_t label_find(const struct document *d, const char *prefix, const char *key,
                           const char *value)
{
	char text[READER_KEY_MAX + CERT_LABEL_VALUE_MAX + 2];

	snprintf(text, sizeof(text), "%s%s=%s", prefix, key, value);
	return word_find(d, text);
}

static void known_add(const struct document *d, struct known *k, uint32_t value, uint32_t other)
{
	uint32_t of = value != INTERN_NONE ? value : other;

	if (of == INTERN_NONE || k->n == KNOWN_MAX)
		return;
	k->at[k->n].key = d->keys[of];
	k->at[k->n].value[0] = value;
	k->at[k->n++].value[1] = other;
}

static void known_add_labels(const struct document *d, struct known *k, const char *prefix,
                             const struct cert_labels *l)
{
	unsigned i;

	for (i = 0; l && i < l->n && i < CERT_LABELS_MAX; i++)
		if (*prefix || !is_reserved(l->at[i].key))
			known_add(d, k, label_find(d, prefix, l->at[i].key, l->at[i].value),
			          INTERN_NONE);
}

static void known_add_name(const struct document *d, struct known *k, const char *key,
                           const char *name)
{
	known_add(d, k, name ? label_find(d, "", key, name) : INTERN_NONE,
	          label_find(d, "", key, ANY));
}

void known_of_subject(const struct document *d, const struct policy_subject *s, struct known *out)
{
	out->n = 0;
	if (s->kind == SUBJECT_UNKNOWN)
		return;
	known_add_name(d, out, s->kind == SUBJECT_NODE ? "node" : "workload", s->name);
	known_add_labels(d, out, "", s->labels);
	if (s->kind == SUBJECT_WORKLOAD)
		known_add_labels(d, out, NODE_PREFIX, s->node_labels);
}

void known_of_labels(const struct document *d, const struct cert_labels *l, struct known *out)
{
	out->n = 0;
	known_add_labels(d, out, "", l);
}

void known_of_atom(const struct document *d, uint32_t atom, struct known *out)
{
	const uint32_t *values = intern_bytes(d->atoms, atom);
	size_t n = intern_len(d->atoms, atom) / sizeof(*values), i;
	uint32_t key, any;

	out->n = 0;
	for (i = 0; i < n; i++) {
		key = d->keys[values[i]];
		any = INTERN_NONE;
		if (key == d->node || key == d->workload)
			any = label_find(d, "", document_text(d, key), ANY);
		known_add(d, out, values[i], any == values[i] ? INTERN_NONE : any);
	}
}

bool selector_match(const struct document *d, const struct selector *s, const struct known *k)
{
	const struct term *t;
	uint32_t i, at;

	for (i = 0; i < s->n; i++) {
		t = &d->terms[s->first + i];
		for (at = 0; at < k->n && k->at[at].key != t->key; at++)
			continue;
		if (at == k->n || (!term_holds(d, t, k->at[at].value[0]) &&
		                   !term_holds(d, t, k->at[at].value[1])))
			return false;
	}
	return true;
}
