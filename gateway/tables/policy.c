/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/policy.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/tables/document.h"

#define PORT_DNS 53

/* What a class is made of, as numbers in a row: these, then the atoms it matches as the source, then
 * those as the destination.
 */
enum { CLASS_NODE, CLASS_FROM, CLASS_TO, CLASS_HEAD };

#define CLASS_MAX (CLASS_HEAD + 2 * ATOMS_MAX)

struct policy {
	struct document *d;
	struct intern *classes;
	bool sealed, no_memory;
};

/* -- made and freed ------------------------------------------------------------------------------ */

/* Takes d. */
static int policy_new(struct policy **out, struct document *d)
{
	static const struct policy_subject unknown = {.kind = SUBJECT_UNKNOWN};
	struct policy *p = calloc(1, sizeof(*p));

	if (p && intern_new(&p->classes)) {
		free(p);
		p = NULL;
	}
	if (!p) {
		document_put(d);
		return -ENOMEM;
	}
	p->d = d;
	policy_class(p, &unknown);
	if (p->no_memory) {
		policy_free(p);
		return -ENOMEM;
	}
	*out = p;
	return 0;
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	document_put(p->d);
	intern_free(p->classes);
	free(p);
}

int policy_new_default(struct policy **out)
{
	struct document *d;
	int err = document_new(&d);

	return err ? err : policy_new(out, d);
}

int policy_copy(struct policy **out, const struct policy *p)
{
	p->d->users++;
	return policy_new(out, p->d);
}

/* Says what is wrong with the file as a whole. */
static int refuse_file(struct config_faults *f, const char *path, const char *what)
{
	f->n = 1;
	snprintf(f->text[0], sizeof(f->text[0]), "%.200s:1:1: %s", path, what);
	return -EINVAL;
}

static void read_text(struct policy_reading *p)
{
	if (reader_begin(p->r)) {
		document_read(p);
		reader_end(p->r);
	} else if (!reader_broken(p->r)) {
		reader_fault(p->r, (struct place){1, 1},
		             "is empty; a policy has at least version: 1 and a default");
	}
}

/* Everything from the text to what is judged by. p->d is the caller's in any case. */
static int read_document(struct policy_reading *p, struct config_faults *faults)
{
	int err;

	read_text(p);
	if (p->no_memory)
		return -ENOMEM;
	if (faults->n)
		return -EINVAL;
	err = document_compile(p);
	if (!err)
		document_warn(p);
	return err;
}

int policy_parse(struct policy **out, const char *path, const char *text, size_t len,
                 struct config_faults *faults)
{
	struct policy_reading p = {0};
	int err;

	faults->n = faults->warnings = 0;
	if (len > POLICY_BYTES_MAX)
		return refuse_file(faults, path, "is larger than 16 MiB; no policy is");
	err = document_new(&p.d);
	if (!err)
		err = intern_new(&p.names);
	if (!err)
		err = reader_new(&p.r, faults, path, text, len);
	if (!err)
		err = read_document(&p, faults);
	reader_free(p.r);
	intern_free(p.names);
	free(p.places);
	if (err)
		document_put(p.d);
	return err ? err : policy_new(out, p.d);
}

/* -- classes ------------------------------------------------------------------------------------- */

uint32_t policy_class(struct policy *p, const struct policy_subject *s)
{
	uint32_t class[CLASS_MAX], id;
	struct known k;

	assert(!p->sealed);
	known_of_subject(p->d, s, &k);
	class[CLASS_NODE] = s->kind == SUBJECT_NODE;
	class[CLASS_FROM] = atoms_of(p->d, &k, ATOM_FROM, &class[CLASS_HEAD]);
	class[CLASS_TO] = atoms_of(p->d, &k, ATOM_TO, &class[CLASS_HEAD + class[CLASS_FROM]]);
	if (!intern_add(p->classes, class,
	                (CLASS_HEAD + class[CLASS_FROM] + class[CLASS_TO]) * sizeof(*class), &id))
		return id;
	p->no_memory = true;
	return 0;
}

int policy_seal(struct policy *p)
{
	p->sealed = true;
	return p->no_memory ? -ENOMEM : 0;
}

uint32_t policy_classes(const struct policy *p)
{
	return intern_count(p->classes);
}

static const uint32_t *class_of(const struct policy *p, uint32_t class)
{
	return intern_bytes(p->classes, class < intern_count(p->classes) ? class : 0);
}

/* -- verdicts ------------------------------------------------------------------------------------ */

/* Where no rule matches. */
static struct policy_verdict built_in(const struct policy *p, bool from_node, bool to_node,
                                      uint32_t point)
{
	bool harmless = point == PORTS_ICMP || point == PORTS_TCP + PORT_DNS ||
	                point == PORTS_UDP + PORT_DNS;

	if (to_node && !from_node)
		return (struct policy_verdict){harmless ? POLICY_ALLOW : POLICY_DENY,
		                               POLICY_RULE_NODE};
	return (struct policy_verdict){p->d->action, POLICY_RULE_DEFAULT};
}

/* The next point behind this one at which built_in may say something else. */
static uint32_t built_in_until(uint32_t point)
{
	static const uint32_t cuts[] = {PORTS_ICMP, PORTS_TCP + PORT_DNS, PORTS_UDP + PORT_DNS};
	size_t i;

	for (i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++)
		if (point <= cuts[i])
			return cuts[i] + (point == cuts[i]);
	return PORTS_LAST + 1;
}

struct policy_verdict policy_judge_point(const struct policy *p, uint32_t src, uint32_t dst,
                                         uint32_t point, uint32_t *until)
{
	const uint32_t *s = class_of(p, src), *t = class_of(p, dst);
	uint32_t rule, cut;

	rule = book_first(&p->d->by_rule, &s[CLASS_HEAD], s[CLASS_FROM],
	                  &t[CLASS_HEAD + t[CLASS_FROM]], t[CLASS_TO], point, until);
	if (rule != PORTS_NOBODY)
		return (struct policy_verdict){p->d->rules[rule].action, rule};
	if (until) {
		cut = built_in_until(point);
		*until = cut < *until ? cut : *until;
	}
	return built_in(p, s[CLASS_NODE], t[CLASS_NODE], point);
}

struct policy_verdict policy_judge(const struct policy *p, uint32_t src, uint32_t dst,
                                   uint8_t proto, uint16_t port)
{
	return policy_judge_point(p, src, dst, ports_point(proto, port), NULL);
}

bool policy_compress(const struct policy *p, uint32_t src, uint32_t dst)
{
	const uint32_t *s = class_of(p, src), *t = class_of(p, dst);

	return book_first(&p->d->by_compress, &s[CLASS_HEAD], s[CLASS_FROM],
	                  &t[CLASS_HEAD + t[CLASS_FROM]], t[CLASS_TO], 0, NULL) != PORTS_NOBODY;
}

static bool rule_matches(const struct document *d, const struct rule *r, uint32_t point)
{
	struct span span;
	uint32_t i;

	for (i = 0; i < r->nports; i++) {
		span = ports_span(&d->ports[r->ports + i]);
		if (span.first <= point && point <= span.last)
			return true;
	}
	return r->nports == 0;
}

struct policy_verdict policy_walk(const struct policy *p, const struct policy_subject *src,
                                  const struct policy_subject *dst, uint8_t proto, uint16_t port)
{
	const struct document *d = p->d;
	uint32_t point = ports_point(proto, port), i;
	struct known from, to;

	known_of_subject(d, src, &from);
	known_of_subject(d, dst, &to);
	for (i = 0; i < d->nrules; i++)
		if (rule_matches(d, &d->rules[i], point) &&
		    selector_match(d, &d->rules[i].from, &from) &&
		    selector_match(d, &d->rules[i].to, &to))
			return (struct policy_verdict){d->rules[i].action, i};
	return built_in(p, src->kind == SUBJECT_NODE, dst->kind == SUBJECT_NODE, point);
}

/* -- what the document says otherwise ------------------------------------------------------------ */

uint32_t policy_rules(const struct policy *p)
{
	return p->d->nrules;
}

const char *policy_rule_name(const struct policy *p, uint32_t rule)
{
	if (rule == POLICY_RULE_NODE)
		return "container-to-node";
	return rule < p->d->nrules ? document_text(p->d, p->d->rules[rule].name) : "default";
}

const char *policy_placement(const struct policy *p, const struct cert_labels *workload,
                             const struct cert_labels *node)
{
	const struct document *d = p->d;
	const struct placement *x;
	struct known what, where;
	uint32_t i;

	known_of_labels(d, workload, &what);
	known_of_labels(d, node, &where);
	for (i = 0; i < d->nplacements; i++) {
		x = &d->placements[i];
		if (!selector_match(d, &x->workloads, &what))
			continue;
		if ((x->only && !selector_match(d, &x->only_on, &where)) ||
		    (x->never && selector_match(d, &x->never_on, &where)))
			return document_text(d, x->name);
	}
	return NULL;
}

uint32_t policy_outsides(const struct policy *p)
{
	return p->d->noutsides;
}

void policy_outside(const struct policy *p, uint32_t i, struct policy_outside *out)
{
	const struct document *d = p->d;
	const struct outside *o = &d->outsides[i];

	*out = (struct policy_outside){
		.name = document_text(d, o->rule.name),
		.action = o->rule.action,
		.ncidrs = o->ncidrs,
		.nports = o->rule.nports,
		.cidrs = &d->cidrs[o->cidrs],
		.ports = o->rule.nports ? &d->ports[o->rule.ports] : NULL,
	};
}

bool policy_outside_from(const struct policy *p, uint32_t i, const struct policy_subject *s)
{
	struct known k;

	known_of_subject(p->d, s, &k);
	return selector_match(p->d, &p->d->outsides[i].rule.from, &k);
}
