/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/document.h"

#include <stdlib.h>
#include <string.h>

#define RESERVED_DEFAULT "default"
#define RESERVED_NODE    "container-to-node"

static const char *const actions[] = {[POLICY_ALLOW] = "allow", [POLICY_DENY] = "deny", NULL};

#define policy_fault(p, at, ...) reader_fault((p)->r, (at), __VA_ARGS__)

/* -- values -------------------------------------------------------------------------------------- */

static void read_action(struct policy_reading *p, const char *key, enum policy_action *out)
{
	int word = reader_word(p->r, key, actions);

	if (word >= 0)
		*out = (enum policy_action)word;
}

/* A rule's name is counted and logged under, whatever the rule is for: so it names one alone. */
static int name_add(struct policy_reading *p, const char *key, const char *name, struct place at,
                    uint32_t *word)
{
	uint32_t n = intern_count(p->names), id;
	struct place *places = array_grow(p->places, n, &p->places_room, sizeof(*places));

	if (places)
		p->places = places;
	if (!places || intern_add(p->names, name, strlen(name), &id) ||
	    document_word(p->d, name, word)) {
		p->no_memory = true;
		return -1;
	}
	if (id < n) {
		policy_fault(p, at, "%s: \"%s\" stands in line %u already; name each once", key,
		             name, places[id].line);
		return -1;
	}
	places[id] = at;
	return 0;
}

static void read_name(struct policy_reading *p, const char *key, uint32_t *word)
{
	struct place at;
	const char *s = reader_scalar(p->r, key, &at);

	if (!s)
		return;
	if (!strcmp(s, RESERVED_DEFAULT) || !strcmp(s, RESERVED_NODE))
		policy_fault(p, at, "%s: \"%s\" is what no rule is counted as; choose another", key,
		             s);
	else if (!label_ok("x", s))
		policy_fault(p, at,
		             "%s: \"%s\" cannot be a name; use at most %d letters and digits, and "
		             "between "
		             "them . _ -",
		             key, reader_quote(p->r, s), POLICY_NAME_MAX);
	else
		name_add(p, key, s, at, word);
}

static bool ports_add(struct policy_reading *p, const struct policy_ports *ports)
{
	struct document *d = p->d;
	struct policy_ports *more = array_grow(d->ports, d->nports, &d->ports_room, sizeof(*more));

	if (!more) {
		p->no_memory = true;
		return false;
	}
	d->ports = more;
	more[d->nports++] = *ports;
	return true;
}

static void read_ports(struct policy_reading *p, const char *key, struct rule *rule)
{
	struct policy_ports ports;
	struct reader_list l;
	struct place at;
	const char *s, *why;
	unsigned seen = 0;

	rule->ports = p->d->nports;
	reader_list(p->r, &l, key, true);
	while (reader_list_next(p->r, &l)) {
		if (seen++ == POLICY_PORTS_MAX)
			policy_fault(p, reader_place(p->r),
			             "%s: more than %d; write ranges, or two rules", key,
			             POLICY_PORTS_MAX);
		if (seen > POLICY_PORTS_MAX) {
			reader_skip(p->r);
			continue;
		}
		s = reader_scalar(p->r, key, &at);
		why = s ? ports_parse(&ports, s) : NULL;
		if (why)
			policy_fault(p, at, "%s: \"%s\" %s", key, reader_quote(p->r, s), why);
		else if (s && ports_add(p, &ports))
			rule->nports++;
	}
	if (seen == 0 && !l.refused && !reader_broken(p->r))
		policy_fault(p, l.at, "%s: lists none; leave it out if all are meant", key);
}

static void read_cidrs(struct policy_reading *p, const char *key, struct outside *o)
{
	struct document *d = p->d;
	struct prefix prefix, *cidrs;
	struct reader_list l;
	struct place at;
	char text[PREFIX_TEXT_MAX], other[PREFIX_TEXT_MAX];
	uint32_t i, seen = 0;

	o->cidrs = d->ncidrs;
	reader_list(p->r, &l, key, true);
	while (reader_list_next(p->r, &l)) {
		seen++;
		if (!reader_prefix(p->r, key, &prefix, &at))
			continue;
		for (i = o->cidrs; i < d->ncidrs; i++)
			if (prefix_overlaps(&d->cidrs[i], &prefix))
				break;
		if (i < d->ncidrs) {
			prefix_format(&prefix, text);
			prefix_format(&d->cidrs[i], other);
			policy_fault(p, at,
			             "%s: %s overlaps %s of the same rule; keep the wider one", key,
			             text, other);
			continue;
		}
		if (o->ncidrs == POLICY_CIDRS_MAX) {
			policy_fault(p, at, "%s: more than %d; write two rules", key,
			             POLICY_CIDRS_MAX);
			break;
		}
		cidrs = array_grow(d->cidrs, d->ncidrs, &d->cidrs_room, sizeof(*cidrs));
		if (!cidrs) {
			p->no_memory = true;
			break;
		}
		d->cidrs = cidrs;
		cidrs[d->ncidrs++] = prefix;
		o->ncidrs++;
	}
	while (reader_list_next(p->r, &l))
		reader_skip(p->r);
	if (seen == 0 && !l.refused && !reader_broken(p->r))
		policy_fault(p, l.at, "%s: lists none; write 0.0.0.0/0 and ::/0 if all are meant",
		             key);
}

/* Says which of these keys are missing: bits of need that are not in seen. */
static void fault_missing(struct policy_reading *p, const char *where, struct place at,
                          const char *const *keys, unsigned seen, unsigned need)
{
	unsigned k;

	for (k = 0; keys[k] && !reader_broken(p->r); k++)
		if ((need & ~seen) & 1U << k)
			policy_fault(p, at, "%s: \"%s\" is missing; a rule needs it", where,
			             keys[k]);
}

/* -- rules --------------------------------------------------------------------------------------- */

enum { RULE_NAME, RULE_FROM, RULE_TO, RULE_PORTS, RULE_ACTION };

static void read_rule(struct policy_reading *p, struct rule *rule)
{
	static const char *const keys[] = {"name", "from", "to", "ports", "action", NULL};
	struct reader_mapping m;
	int k;

	rule->at = reader_place(p->r);
	if (!reader_mapping(p->r, &m, "rules.", keys))
		return;
	while ((k = reader_mapping_next(p->r, &m)) >= 0) {
		switch (k) {
		case RULE_NAME:
			read_name(p, "rules.name", &rule->name);
			break;
		case RULE_FROM:
			selector_read(p, "rules.from", SELECTOR_ANY, &rule->from);
			break;
		case RULE_TO:
			selector_read(p, "rules.to", SELECTOR_ANY, &rule->to);
			break;
		case RULE_PORTS:
			read_ports(p, "rules.ports", rule);
			break;
		default:
			read_action(p, "rules.action", &rule->action);
		}
	}
	fault_missing(p, "rules", rule->at, keys, m.seen,
	              1U << RULE_NAME | 1U << RULE_FROM | 1U << RULE_TO | 1U << RULE_ACTION);
}

/* Room for one more item of a list of at most max; said once if there is none. */
static void *item_grow(struct policy_reading *p, const char *key, void *array, uint32_t n,
                       uint32_t *room, size_t size, uint32_t max, bool *said)
{
	void *more = n < max ? array_grow(array, n, room, size) : NULL;

	if (n < max && !more)
		p->no_memory = true;
	if (n == max && !*said) {
		*said = true;
		policy_fault(p, reader_place(p->r), "%s: more than %u; leave some out", key, max);
	}
	return more;
}

static void read_rules(struct policy_reading *p)
{
	struct document *d = p->d;
	struct reader_list l;
	struct rule *rules;
	bool said = false;

	reader_list(p->r, &l, "rules", false);
	while (reader_list_next(p->r, &l)) {
		rules = item_grow(p, "rules", d->rules, d->nrules, &d->rules_room, sizeof(*rules),
		                  POLICY_RULES_MAX, &said);
		if (!rules) {
			reader_skip(p->r);
			continue;
		}
		d->rules = rules;
		rules[d->nrules] = (struct rule){0};
		read_rule(p, &rules[d->nrules++]);
	}
}

/* -- placement ----------------------------------------------------------------------------------- */

enum { PLACE_NAME, PLACE_WORKLOADS, PLACE_ONLY, PLACE_NEVER };

static void read_placement(struct policy_reading *p, struct placement *x)
{
	static const char *const keys[] = {"name", "workloads", "only-on", "never-on", NULL};
	struct reader_mapping m;
	int k;

	x->at = reader_place(p->r);
	if (!reader_mapping(p->r, &m, "placement.", keys))
		return;
	while ((k = reader_mapping_next(p->r, &m)) >= 0) {
		switch (k) {
		case PLACE_NAME:
			read_name(p, "placement.name", &x->name);
			break;
		case PLACE_WORKLOADS:
			selector_read(p, "placement.workloads", SELECTOR_WORKLOADS, &x->workloads);
			break;
		case PLACE_ONLY:
			selector_read(p, "placement.only-on", SELECTOR_NODES, &x->only_on);
			x->only = true;
			break;
		default:
			selector_read(p, "placement.never-on", SELECTOR_NODES, &x->never_on);
			x->never = true;
		}
	}
	fault_missing(p, "placement", x->at, keys, m.seen, 1U << PLACE_WORKLOADS);
	if (!x->only && !x->never && !reader_broken(p->r))
		policy_fault(p, x->at,
		             "placement: says nothing of nodes; add only-on or never-on with their "
		             "labels");
}

static void read_placements(struct policy_reading *p)
{
	struct document *d = p->d;
	struct placement *x;
	struct reader_list l;
	bool said = false;

	reader_list(p->r, &l, "placement", false);
	while (reader_list_next(p->r, &l)) {
		x = item_grow(p, "placement", d->placements, d->nplacements, &d->placements_room,
		              sizeof(*x), POLICY_PLACEMENTS_MAX, &said);
		if (!x) {
			reader_skip(p->r);
			continue;
		}
		d->placements = x;
		x[d->nplacements] = (struct placement){.name = INTERN_NONE};
		read_placement(p, &x[d->nplacements++]);
	}
}

/* Those without a name are called by their place, once all names are known. */
static void name_placements(struct policy_reading *p)
{
	struct document *d = p->d;
	char name[32];
	uint32_t i;

	for (i = 0; i < d->nplacements; i++) {
		if (d->placements[i].name != INTERN_NONE)
			continue;
		snprintf(name, sizeof(name), "placement-%u", i + 1);
		name_add(p, "placement.name", name, d->placements[i].at, &d->placements[i].name);
	}
}

/* -- outside ------------------------------------------------------------------------------------- */

enum { OUT_NAME, OUT_FROM, OUT_CIDR, OUT_PORTS, OUT_ACTION };

static void read_outside(struct policy_reading *p, struct outside *o)
{
	static const char *const keys[] = {"name", "from", "cidr", "ports", "action", NULL};
	struct reader_mapping m;
	int k;

	o->rule.at = reader_place(p->r);
	if (!reader_mapping(p->r, &m, "outside.", keys))
		return;
	while ((k = reader_mapping_next(p->r, &m)) >= 0) {
		switch (k) {
		case OUT_NAME:
			read_name(p, "outside.name", &o->rule.name);
			break;
		case OUT_FROM:
			selector_read(p, "outside.from", SELECTOR_ANY, &o->rule.from);
			break;
		case OUT_CIDR:
			read_cidrs(p, "outside.cidr", o);
			break;
		case OUT_PORTS:
			read_ports(p, "outside.ports", &o->rule);
			break;
		default:
			read_action(p, "outside.action", &o->rule.action);
		}
	}
	fault_missing(p, "outside", o->rule.at, keys, m.seen,
	              1U << OUT_NAME | 1U << OUT_FROM | 1U << OUT_CIDR | 1U << OUT_ACTION);
}

static void read_outsides(struct policy_reading *p)
{
	struct document *d = p->d;
	struct reader_list l;
	struct outside *o;
	bool said = false;

	reader_list(p->r, &l, "outside", false);
	while (reader_list_next(p->r, &l)) {
		o = item_grow(p, "outside", d->outsides, d->noutsides, &d->outsides_room,
		              sizeof(*o), POLICY_OUTSIDE_MAX, &said);
		if (!o) {
			reader_skip(p->r);
			continue;
		}
		d->outsides = o;
		o[d->noutsides] = (struct outside){0};
		read_outside(p, &o[d->noutsides++]);
	}
}

/* -- compress ------------------------------------------------------------------------------------ */

enum { COMPRESS_WITHIN, COMPRESS_FROM, COMPRESS_TO };

static void read_compress(struct policy_reading *p, struct compress *c)
{
	static const char *const keys[] = {"within", "from", "to", NULL};
	struct reader_mapping m;
	int k;

	c->at = reader_place(p->r);
	if (!reader_mapping(p->r, &m, "compress.", keys))
		return;
	while ((k = reader_mapping_next(p->r, &m)) >= 0) {
		if (k == COMPRESS_WITHIN) {
			selector_read(p, "compress.within", SELECTOR_ANY, &c->from);
			c->to = c->from;
		} else {
			selector_read(p, k == COMPRESS_FROM ? "compress.from" : "compress.to",
			              SELECTOR_ANY, k == COMPRESS_FROM ? &c->from : &c->to);
		}
	}
	if (m.seen != 1U << COMPRESS_WITHIN &&
	    m.seen != (1U << COMPRESS_FROM | 1U << COMPRESS_TO) && !reader_broken(p->r))
		policy_fault(p, c->at,
		             "compress: says not between whom; write within, or from and to, and "
		             "no more");
}

static void read_compresses(struct policy_reading *p)
{
	struct document *d = p->d;
	struct compress *c;
	struct reader_list l;
	bool said = false;

	reader_list(p->r, &l, "compress", false);
	while (reader_list_next(p->r, &l)) {
		c = item_grow(p, "compress", d->compress, d->ncompress, &d->compress_room,
		              sizeof(*c), POLICY_COMPRESS_MAX, &said);
		if (!c) {
			reader_skip(p->r);
			continue;
		}
		d->compress = c;
		c[d->ncompress] = (struct compress){0};
		read_compress(p, &c[d->ncompress++]);
	}
}

/* -- the document -------------------------------------------------------------------------------- */

static void read_version(struct policy_reading *p)
{
	struct place at;
	const char *s = reader_scalar(p->r, "version", &at);

	if (s && strcmp(s, "1") != 0)
		policy_fault(p, at, "version: \"%s\" is not known; write 1, or take a newer ginnel",
		             reader_quote(p->r, s));
}

static void read_default(struct policy_reading *p)
{
	read_action(p, "default", &p->d->action);
	p->d->action_given = true;
}

/* They say nothing of who may talk; whoever tests a policy reads them (cases.h). */
static void read_cases(struct policy_reading *p)
{
	reader_skip(p->r);
}

#define KEYS(X)                         \
	X("version", read_version)      \
	X("default", read_default)      \
	X("placement", read_placements) \
	X("rules", read_rules)          \
	X("outside", read_outsides)     \
	X("compress", read_compresses)  \
	X("cases", read_cases)

void document_read(struct policy_reading *p)
{
#define X(name, fn) name,
	static const char *const names[] = {KEYS(X) NULL};
#undef X
#define X(name, fn) fn,
	static void (*const read[])(struct policy_reading *) = {KEYS(X)};
#undef X
	struct place at = reader_place(p->r);
	struct reader_mapping m;
	int k;

	if (!reader_mapping(p->r, &m, "", names))
		return;
	while ((k = reader_mapping_next(p->r, &m)) >= 0)
		read[k](p);
	if (!reader_broken(p->r) && !(m.seen & 1))
		policy_fault(p, at, "version: is missing; write version: 1");
	name_placements(p);
}
