/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a document says that can hardly be meant. Nothing here refuses it. */
#include "gateway/tables/document.h"

#include <netinet/in.h>
#include <string.h>

#define SELECTOR_SHOWN_MAX 80
/* So that rules that overlap too much, or are meant to, are not looked at for minutes. */
#define LOOKS_MAX 20000000U

#define policy_warn(p, at, ...) reader_warn((p)->r, (at), __VA_ARGS__)

/* -- rules that never match ---------------------------------------------------------------------- */

/* Which pairs of atoms a rule stands for, and who comes before it there. */
struct reach {
	struct policy_reading *p;
	uint32_t rule;
	uint32_t from[ATOMS_MAX], nfrom;
	bool reached;
	uint32_t before; /* a rule that comes first somewhere; PORTS_NOBODY: none yet */
	bool others;     /* not everywhere the same one */
	uint32_t looks;
};

static void look_at_span(struct reach *x, const uint32_t *to, uint32_t nto, struct span span)
{
	const struct book *b = &x->p->d->by_rule;
	uint32_t point, until, first;

	for (point = span.first; point <= span.last && !x->reached; point = until) {
		first = book_first(b, x->from, x->nfrom, to, nto, point, &until);
		x->reached = first == x->rule;
		x->others = x->others || (x->before != PORTS_NOBODY && x->before != first);
		x->before = first;
		x->looks += x->nfrom * nto + 1;
		if (x->looks > LOOKS_MAX)
			return;
	}
}

/* Whatever matches an atom matches all more general ones: their rules come first or not, but none
 * other can be sure to.
 */
static int look_at_to(void *arg, uint32_t atom)
{
	struct reach *x = arg;
	const struct document *d = x->p->d;
	const struct rule *r = &d->rules[x->rule];
	uint32_t to[ATOMS_MAX], nto, i;
	struct known k;

	known_of_atom(d, atom, &k);
	nto = atoms_of(d, &k, ATOM_TO, to);
	if (r->nports == 0)
		look_at_span(x, to, nto, PORTS_ALL);
	for (i = 0; i < r->nports; i++)
		look_at_span(x, to, nto, ports_span(&d->ports[r->ports + i]));
	return x->reached || x->looks > LOOKS_MAX;
}

static int look_at_from(void *arg, uint32_t atom)
{
	struct reach *x = arg;
	struct known k;

	known_of_atom(x->p->d, atom, &k);
	x->nfrom = atoms_of(x->p->d, &k, ATOM_FROM, x->from);
	return selector_atoms(x->p->d, &x->p->d->rules[x->rule].to, look_at_to, x);
}

static void warn_unreachable(struct policy_reading *p)
{
	struct document *d = p->d;
	struct reach x = {.p = p};
	const struct rule *r, *before;

	for (x.rule = 0; x.rule < d->nrules; x.rule++) {
		r = &d->rules[x.rule];
		x.reached = x.others = false;
		x.before = PORTS_NOBODY;
		selector_atoms(d, &r->from, look_at_from, &x);
		if (x.looks > LOOKS_MAX) {
			policy_warn(
				p, r->at,
				"rules: whether \"%s\" and those behind it can ever match was not "
				"looked at, the rules overlap too much",
				document_text(d, r->name));
			return;
		}
		if (x.reached || x.before == PORTS_NOBODY)
			continue;
		before = &d->rules[x.before];
		policy_warn(
			p, r->at,
			"rules: \"%s\" never matches: \"%s\" of line %u%s before it; move it up or "
			"take it out",
			document_text(d, r->name), document_text(d, before->name), before->at.line,
			x.others ? " and others come" : " comes");
	}
}

/* -- rules for outside that never match ---------------------------------------------------------- */

static bool ports_within(const struct document *d, const struct rule *r, const struct rule *general)
{
	struct span a, b;
	uint32_t i, k;

	if (general->nports == 0)
		return true;
	for (i = 0; i < r->nports; i++) {
		a = ports_span(&d->ports[r->ports + i]);
		for (k = 0; k < general->nports; k++) {
			b = ports_span(&d->ports[general->ports + k]);
			if (b.first <= a.first && a.last <= b.last)
				break;
		}
		if (k == general->nports)
			return false;
	}
	return r->nports > 0;
}

static bool cidrs_within(const struct document *d, const struct outside *o,
                         const struct outside *general)
{
	uint32_t i, k;

	for (i = 0; i < o->ncidrs; i++) {
		for (k = 0; k < general->ncidrs; k++)
			if (prefix_within(&d->cidrs[o->cidrs + i], &d->cidrs[general->cidrs + k]))
				break;
		if (k == general->ncidrs)
			return false;
	}
	return true;
}

static void warn_outside(struct policy_reading *p)
{
	const struct document *d = p->d;
	const struct outside *o, *before;
	uint32_t i, k, looks = 0;

	for (i = 0; i < d->noutsides && looks < LOOKS_MAX; i++) {
		o = &d->outsides[i];
		for (k = 0; k < i; k++) {
			before = &d->outsides[k];
			looks += o->ncidrs + o->rule.nports;
			if (selector_within(d, &o->rule.from, &before->rule.from) &&
			    cidrs_within(d, o, before) && ports_within(d, &o->rule, &before->rule))
				break;
		}
		if (k < i)
			policy_warn(
				p, o->rule.at,
				"outside: \"%s\" never matches: \"%s\" of line %u comes before it; "
				"move it up or take it out",
				document_text(d, o->rule.name), document_text(d, before->rule.name),
				before->rule.at.line);
	}
}

/* -- rules that are wider than they look ---------------------------------------------------------- */

/* Is it ICMP and DNS alone, which may reach a node anyway? */
static bool is_built_in(const struct document *d, const struct rule *r)
{
	const struct policy_ports *x;
	uint32_t i;

	for (i = 0; i < r->nports; i++) {
		x = &d->ports[r->ports + i];
		if (x->proto != IPPROTO_ICMP && (x->first != 53 || x->last != 53))
			return false;
	}
	return r->nports > 0;
}

static void warn_nodes(struct policy_reading *p)
{
	const struct document *d = p->d;
	const struct rule *r;
	uint32_t i;

	for (i = 0; i < d->nrules; i++) {
		r = &d->rules[i];
		if (r->action == POLICY_ALLOW && r->to.n == 0 &&
		    !selector_has(d, &r->from, d->node) && !is_built_in(d, r))
			policy_warn(p, r->at,
			            "rules: \"%s\" opens the nodes themselves, too; write to: "
			            "{workload: "
			            "\"*\"} unless that is meant",
			            document_text(d, r->name));
	}
}

/* What a node's certificate says cannot be claimed by another. */
static bool is_proven(const struct document *d, const struct selector *s)
{
	uint32_t i;

	for (i = 0; i < s->n; i++)
		if (d->terms[s->first + i].key == d->node ||
		    !strncmp(document_text(d, d->terms[s->first + i].key), "node.", 5))
			return true;
	return false;
}

static bool is_placed(const struct document *d, const struct selector *s)
{
	uint32_t i;

	for (i = 0; i < d->nplacements; i++)
		if (d->placements[i].only && selector_within(d, s, &d->placements[i].workloads))
			return true;
	return false;
}

/* A node says of its workloads what it likes: a label is worth as much as the worst node that may
 * run what bears it.
 */
static void warn_anywhere(struct policy_reading *p)
{
	const struct document *d = p->d;
	char text[SELECTOR_SHOWN_MAX];
	const struct rule *r;
	uint32_t i;

	for (i = 0; i < d->nrules; i++) {
		r = &d->rules[i];
		if (r->action != POLICY_ALLOW || r->from.n == 0 || is_proven(d, &r->from) ||
		    is_placed(d, &r->from))
			continue;
		selector_format(d, &r->from, text, sizeof(text));
		policy_warn(p, r->at,
		            "rules: \"%s\" allows what may run anywhere, so that any node can "
		            "claim to run "
		            "%s; bind it to nodes with placement and only-on",
		            document_text(d, r->name), text);
	}
}

void document_warn(struct policy_reading *p)
{
	if (!p->d->action_given)
		policy_warn(p, ((struct place){1, 1}),
		            "default: is missing, and what no rule names is allowed; write "
		            "default: allow or "
		            "default: deny");
	warn_unreachable(p);
	warn_outside(p);
	warn_nodes(p);
	warn_anywhere(p);
}
