/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From rules to entries. A selector with lists is written out into atoms, one for each choice of
 * values; a rule then stands in the entry of each pair of its atoms. What a subject matches is found
 * by looking up, for each set of keys that selectors ask for, the atom of the subject's own values:
 * at most one, or two for "node" and "workload". So a verdict looks at a few entries, however many
 * rules there are, and takes the rule that comes first among them.
 */
#include "gateway/tables/document.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A rule in an entry. */
struct tuple {
	uint32_t entry, rule;
};

/* -- atoms --------------------------------------------------------------------------------------- */

static int keyset_add(struct document *d, const struct selector *s)
{
	uint32_t keys[POLICY_KEYS_MAX + 1], i;

	for (i = 0; i < s->n; i++)
		keys[i] = d->terms[s->first + i].key;
	return intern_add(d->keysets, keys, s->n * sizeof(*keys), &i);
}

int selector_atoms(struct document *d, const struct selector *s,
                   int (*fn)(void *arg, uint32_t atom), void *arg)
{
	uint32_t choice[POLICY_KEYS_MAX + 1] = {0}, values[POLICY_KEYS_MAX + 1], atom, i;
	const struct term *terms = s->n ? &d->terms[s->first] : NULL;
	int err;

	do {
		for (i = 0; i < s->n; i++)
			values[i] = d->values[terms[i].first + choice[i]];
		err = intern_add(d->atoms, values, s->n * sizeof(*values), &atom);
		if (!err)
			err = fn(arg, atom);
		if (err)
			return err;
		/* The next choice: like a number whose digits are of different bases. */
		for (i = 0; i < s->n && ++choice[i] == terms[i].n; i++)
			choice[i] = 0;
	} while (i < s->n);
	return 0;
}

/* How many atoms it has; too many are POLICY_CELLS_MAX + 1. */
static uint64_t selector_count(const struct document *d, const struct selector *s)
{
	uint64_t n = 1;
	uint32_t i;

	for (i = 0; i < s->n && n <= POLICY_CELLS_MAX; i++)
		n *= d->terms[s->first + i].n;
	return n <= POLICY_CELLS_MAX ? n : POLICY_CELLS_MAX + 1;
}

/* The atom of k's values for one set of keys, or two if one key has two values. */
static uint32_t atoms_of_keyset(const struct document *d, const struct known *k, uint32_t keyset,
                                uint32_t out[2])
{
	const uint32_t *keys = intern_bytes(d->keysets, keyset);
	size_t n = intern_len(d->keysets, keyset) / sizeof(*keys), i;
	uint32_t values[2][POLICY_KEYS_MAX + 1], found = 0, at, atom, other;

	for (i = 0; i < n; i++) {
		for (at = 0; at < k->n && k->at[at].key != keys[i]; at++)
			continue;
		if (at == k->n)
			return 0;
		other = k->at[at].value[1];
		values[0][i] = k->at[at].value[0];
		values[1][i] = other != INTERN_NONE ? other : values[0][i];
	}
	for (i = 0; i < 2; i++) {
		if (i == 1 && !memcmp(values[0], values[1], n * sizeof(**values)))
			break;
		atom = intern_find(d->atoms, values[i], n * sizeof(**values));
		if (atom != INTERN_NONE)
			out[found++] = atom;
	}
	return found;
}

uint32_t atoms_of(const struct document *d, const struct known *k, uint8_t use,
                  uint32_t out[ATOMS_MAX])
{
	uint32_t keysets = intern_count(d->keysets), n = 0, found, set, i, at;
	uint32_t atoms[2];

	for (set = 0; set < keysets; set++) {
		found = atoms_of_keyset(d, k, set, atoms);
		for (i = 0; i < found; i++) {
			if (!(d->uses[atoms[i]] & use))
				continue;
			assert(n < ATOMS_MAX);
			for (at = n++; at > 0 && out[at - 1] > atoms[i]; at--)
				out[at] = out[at - 1];
			out[at] = atoms[i];
		}
	}
	return n;
}

/* -- entries ------------------------------------------------------------------------------------- */

static uint32_t pair_hash(uint32_t from, uint32_t to)
{
	uint64_t h = ((uint64_t)from << 32 | to) * 0x9e3779b97f4a7c15;

	return (uint32_t)(h >> 32);
}

static const struct entry *entry_find(const struct book *b, uint32_t from, uint32_t to)
{
	uint32_t i = pair_hash(from, to) & b->mask;

	for (; b->entries[i].n; i = (i + 1) & b->mask)
		if (b->entries[i].from == from && b->entries[i].to == to)
			return &b->entries[i];
	return NULL;
}

uint32_t book_first(const struct book *b, const uint32_t *from, uint32_t nfrom, const uint32_t *to,
                    uint32_t nto, uint32_t point, uint32_t *until)
{
	uint32_t best = PORTS_NOBODY, i, k, c;
	const struct entry *e;

	if (until)
		*until = PORTS_LAST + 1;
	if (!b->entries)
		return best;
	for (i = 0; i < nfrom; i++) {
		for (k = 0; k < nto; k++) {
			e = entry_find(b, from[i], to[k]);
			/* Where nothing in it comes before what was found, it is not searched. */
			if (!e || (e->first >= best && !until))
				continue;
			c = cells_find(&b->cells[e->cells], e->n, point);
			if (b->cells[e->cells + c].rule < best)
				best = b->cells[e->cells + c].rule;
			if (until && c + 1 < e->n && b->cells[e->cells + c + 1].start < *until)
				*until = b->cells[e->cells + c + 1].start;
		}
	}
	return best;
}

void book_clear(struct book *b)
{
	free(b->entries);
	free(b->cells);
	*b = (struct book){0};
}

/* -- gathering ----------------------------------------------------------------------------------- */

/* All rules of a book with the pairs of atoms they stand in. */
struct gathering {
	struct document *d;
	struct intern *pairs; /* two atoms: the number of an entry */
	struct tuple *tuples;
	uint32_t ntuples, tuples_room;
	uint32_t *from; /* of the present rule */
	uint32_t nfrom, from_room;
	uint32_t rule;
};

static void gathering_clear(struct gathering *g)
{
	intern_free(g->pairs);
	free(g->tuples);
	free(g->from);
}

static int atom_use(struct document *d, uint32_t atom, uint8_t use, uint32_t *room)
{
	uint8_t *uses = d->uses;

	while (atom >= *room) {
		uint32_t before = *room;

		uses = array_grow(uses, before, room, 1);
		if (!uses)
			return -ENOMEM;
		memset(uses + before, 0, *room - before);
		d->uses = uses;
	}
	d->uses[atom] |= use;
	return 0;
}

static int take_from(void *arg, uint32_t atom)
{
	struct gathering *g = arg;
	uint32_t *from = array_grow(g->from, g->nfrom, &g->from_room, sizeof(*from));

	if (!from || atom_use(g->d, atom, ATOM_FROM, &g->d->uses_room))
		return -ENOMEM;
	g->from = from;
	from[g->nfrom++] = atom;
	return 0;
}

static int take_to(void *arg, uint32_t atom)
{
	struct gathering *g = arg;
	struct tuple *tuples;
	uint32_t pair[2] = {0, atom}, entry, i;

	if (atom_use(g->d, atom, ATOM_TO, &g->d->uses_room))
		return -ENOMEM;
	for (i = 0; i < g->nfrom; i++) {
		pair[0] = g->from[i];
		tuples = array_grow(g->tuples, g->ntuples, &g->tuples_room, sizeof(*tuples));
		if (!tuples || intern_add(g->pairs, pair, sizeof(pair), &entry))
			return -ENOMEM;
		g->tuples = tuples;
		tuples[g->ntuples++] = (struct tuple){entry, g->rule};
	}
	return 0;
}

static int gather(struct gathering *g, const struct selector *from, const struct selector *to,
                  uint32_t rule)
{
	int err = keyset_add(g->d, from);

	if (!err)
		err = keyset_add(g->d, to);
	g->rule = rule;
	g->nfrom = 0;
	if (!err)
		err = selector_atoms(g->d, from, take_from, g);
	if (!err)
		err = selector_atoms(g->d, to, take_to, g);
	return err;
}

/* -- building ------------------------------------------------------------------------------------ */

struct building {
	struct gathering *g;
	struct book *b;
	const struct rule *rules; /* NULL: of all ports */
	struct painter *painter;
	struct claim *claims;
	uint32_t nclaims, claims_room;
	uint32_t ncells, cells_room;
};

static int add_claim(struct building *w, struct span span, uint32_t rule)
{
	struct claim *claims = array_grow(w->claims, w->nclaims, &w->claims_room, sizeof(*claims));

	if (!claims)
		return -ENOMEM;
	w->claims = claims;
	claims[w->nclaims++] = (struct claim){span, rule};
	return 0;
}

static int add_claims(struct building *w, uint32_t rule)
{
	const struct rule *r = w->rules ? &w->rules[rule] : NULL;
	uint32_t i;
	int err = 0;

	if (!r || r->nports == 0)
		return add_claim(w, PORTS_ALL, rule);
	for (i = 0; i < r->nports && !err; i++)
		err = add_claim(w, ports_span(&w->g->d->ports[r->ports + i]), rule);
	return err;
}

static int add_cells(struct building *w, const struct cell *cells, uint32_t n)
{
	struct book *b = w->b;

	while (w->ncells + n > w->cells_room) {
		struct cell *more =
			array_grow(b->cells, w->cells_room, &w->cells_room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		b->cells = more;
	}
	memcpy(&b->cells[w->ncells], cells, n * sizeof(*cells));
	w->ncells += n;
	return 0;
}

/* The entry of a pair of atoms, with the rules of these tuples in order. */
static int build_entry(struct building *w, const struct tuple *tuples, uint32_t n)
{
	const uint32_t *pair = intern_bytes(w->g->pairs, tuples->entry);
	struct entry e = {
		.from = pair[0], .to = pair[1], .cells = w->ncells, .first = tuples->rule};
	uint32_t slot = pair_hash(e.from, e.to) & w->b->mask, i;
	const struct cell *cells;
	int err = 0;

	w->nclaims = 0;
	for (i = 0; i < n && !err; i++)
		err = add_claims(w, tuples[i].rule);
	if (!err)
		err = painter_paint(w->painter, w->claims, w->nclaims, &cells, &e.n);
	if (!err)
		err = add_cells(w, cells, e.n);
	if (err)
		return err;
	while (w->b->entries[slot].n)
		slot = (slot + 1) & w->b->mask;
	w->b->entries[slot] = e;
	return 0;
}

static int by_entry(const void *a, const void *b)
{
	const struct tuple *x = a, *y = b;

	if (x->entry != y->entry)
		return x->entry < y->entry ? -1 : 1;
	return (x->rule > y->rule) - (x->rule < y->rule);
}

static int build(struct gathering *g, struct book *b, const struct rule *rules)
{
	struct building w = {.g = g, .b = b, .rules = rules};
	uint32_t i, next;
	int err;

	for (b->mask = 15; b->mask < intern_count(g->pairs) * 2; b->mask = b->mask * 2 + 1)
		continue;
	b->entries = calloc((size_t)b->mask + 1, sizeof(*b->entries));
	err = b->entries ? painter_new(&w.painter) : -ENOMEM;
	if (g->ntuples > 1)
		qsort(g->tuples, g->ntuples, sizeof(*g->tuples), by_entry);
	for (i = 0; i < g->ntuples && !err; i = next) {
		for (next = i; next < g->ntuples && g->tuples[next].entry == g->tuples[i].entry;)
			next++;
		err = build_entry(&w, &g->tuples[i], next - i);
	}
	painter_free(w.painter);
	free(w.claims);
	return err;
}

/* -- the document -------------------------------------------------------------------------------- */

/* Refuses what would not fit before any of it is written out. */
static bool too_large(struct policy_reading *p)
{
	struct document *d = p->d;
	const struct rule *r;
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < d->nrules; i++) {
		r = &d->rules[i];
		sum += selector_count(d, &r->from) * selector_count(d, &r->to) *
		       (r->nports ? r->nports : 1);
		if (sum <= POLICY_CELLS_MAX)
			continue;
		reader_fault(p->r, r->at,
		             "rules: with \"%s\" the lists of values and ports make more than %u "
		             "combinations; give what belongs together a label of its own",
		             document_text(d, r->name), POLICY_CELLS_MAX);
		return true;
	}
	for (sum = 0, i = 0; i < d->ncompress; i++) {
		sum += selector_count(d, &d->compress[i].from) *
		       selector_count(d, &d->compress[i].to);
		if (sum <= POLICY_CELLS_MAX)
			continue;
		reader_fault(p->r, d->compress[i].at,
		             "compress: the lists of values up to here make more than %u "
		             "combinations; give what belongs together a label of its own",
		             POLICY_CELLS_MAX);
		return true;
	}
	return false;
}

static int compile_rules(struct policy_reading *p)
{
	struct document *d = p->d;
	struct gathering g = {.d = d};
	uint32_t i;
	int err = intern_new(&g.pairs);

	for (i = 0; i < d->nrules && !err; i++) {
		err = gather(&g, &d->rules[i].from, &d->rules[i].to, i);
		if (err || intern_count(d->keysets) <= POLICY_KEYSETS_MAX)
			continue;
		reader_fault(p->r, d->rules[i].at,
		             "rules: with \"%s\" selectors ask for more than %d different sets of "
		             "keys; use the same keys in more of them",
		             document_text(d, d->rules[i].name), POLICY_KEYSETS_MAX);
		err = -EINVAL;
	}
	if (!err)
		err = build(&g, &d->by_rule, d->rules);
	gathering_clear(&g);
	return err;
}

static int compile_compress(struct policy_reading *p)
{
	struct document *d = p->d;
	struct gathering g = {.d = d};
	uint32_t i;
	int err = intern_new(&g.pairs);

	for (i = 0; i < d->ncompress && !err; i++) {
		err = gather(&g, &d->compress[i].from, &d->compress[i].to, i);
		if (err || intern_count(d->keysets) <= POLICY_KEYSETS_MAX)
			continue;
		reader_fault(
			p->r, d->compress[i].at,
			"compress: up to here selectors ask for more than %d different sets of "
			"keys; use the same keys in more of them",
			POLICY_KEYSETS_MAX);
		err = -EINVAL;
	}
	if (!err)
		err = build(&g, &d->by_compress, NULL);
	gathering_clear(&g);
	return err;
}

int document_compile(struct policy_reading *p)
{
	int err = too_large(p) ? -EINVAL : compile_rules(p);

	return err ? err : compile_compress(p);
}
