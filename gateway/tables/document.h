/* SPDX-License-Identifier: GPL-3.0-or-later */
/* document - a policy's text as it was understood, and what was compiled from it.
 *
 * Words (keys, "key=value", names) are numbers. A selector is a list of terms, one for each key, and a
 * term a list of values any of which will do. Written out, a selector is one or more atoms: sets of
 * "key=value" without choice. An entry for each pair of atoms that rules name says which rule comes
 * first at which port.
 * Shared by all policies that came from one text, never changed once it was compiled.
 */
#pragma once
#include "gateway/reader.h"
#include "gateway/tables/intern.h"
#include "gateway/tables/ports.h"

/* One key of a selector and its values, numbers of "key=value". */
struct term {
	uint32_t key;
	uint32_t first, n; /* in document.values, ascending */
};

struct selector {
	uint32_t first, n; /* in document.terms, by ascending key; none: {} */
};

struct rule {
	uint32_t name;
	struct selector from, to;
	uint32_t ports, nports; /* in document.ports; none: all */
	enum policy_action action;
	struct place at;
};

struct placement {
	uint32_t name; /* INTERN_NONE until it is given one */
	struct selector workloads, only_on, never_on;
	bool only, never; /* which of the two there are */
	struct place at;
};

struct outside {
	struct rule rule; /* without "to" */
	uint32_t cidrs, ncidrs;
};

struct compress {
	struct selector from, to;
	struct place at;
};

/* A pair of atoms, in a table with open addresses. */
struct entry {
	uint32_t from, to;
	uint32_t cells, n; /* in book.cells; n 0: a free slot */
	uint32_t first;    /* of all rules in it */
};

struct book {
	uint32_t mask;
	struct entry *entries;
	struct cell *cells;
};

#define ATOM_FROM 1U
#define ATOM_TO   2U

struct document {
	unsigned users;
	enum policy_action action; /* where no rule matches */
	bool action_given;
	struct intern *words;
	uint32_t node, workload; /* the words of the two reserved keys */
	/* Of a word that is "key=value" the key's; of others INTERN_NONE. */
	uint32_t *keys, keys_room;

	struct term *terms;
	uint32_t nterms, terms_room;
	uint32_t *values;
	uint32_t nvalues, values_room;
	struct policy_ports *ports;
	uint32_t nports, ports_room;
	struct prefix *cidrs;
	uint32_t ncidrs, cidrs_room;
	struct rule *rules;
	uint32_t nrules, rules_room;
	struct placement *placements;
	uint32_t nplacements, placements_room;
	struct outside *outsides;
	uint32_t noutsides, outsides_room;
	struct compress *compress;
	uint32_t ncompress, compress_room;

	struct intern *keysets; /* each an ascending array of keys */
	struct intern *atoms;   /* each an array of values, in the order of their keys */
	uint8_t *uses;          /* of each atom */
	uint32_t uses_room;
	struct book by_rule, by_compress;
};

/* One run over a text. */
struct policy_reading {
	struct reader *r;
	struct document *d;
	struct intern *names; /* of all rules, whatever they are for */
	struct place *places; /* where they stand */
	uint32_t places_room;
	bool no_memory;
};

int document_new(struct document **out);
void document_put(struct document *d); /* NULL is none; the last one frees it */

/* Room for one more behind n: the array, moved or not, NULL without memory. */
void *array_grow(void *array, uint32_t n, uint32_t *room, size_t size);

/* The word of a text; a label's also gets its key's. -ENOMEM. */
int document_word(struct document *d, const char *text, uint32_t *word);
int document_label(struct document *d, const char *key, const char *value, uint32_t *word);
const char *document_text(const struct document *d, uint32_t word);

/* -- selectors (selector.c) --------------------------------------------------------------------- */

enum selector_kind {
	SELECTOR_ANY,       /* of rules */
	SELECTOR_WORKLOADS, /* of placement: a workload's own labels alone */
	SELECTOR_NODES,     /* of placement: a node's labels */
};

/* Can these be a label's key and value? */
bool label_ok(const char *key, const char *value);
/* Takes the current value. False after a fault, then out is {}. */
bool selector_read(struct policy_reading *p, const char *key, enum selector_kind kind,
                   struct selector *out);
/* "{app: web, zone: [a, b]}", cut short if it is longer. */
void selector_format(const struct document *d, const struct selector *s, char *out, size_t max);
/* Does whatever matches s match general, too? */
bool selector_within(const struct document *d, const struct selector *s,
                     const struct selector *general);
bool selector_has(const struct document *d, const struct selector *s, uint32_t key);

/* What a subject is made of, as far as the document knows the words: keys with one value, or for the
 * reserved ones two, a name and "*".
 */
#define KNOWN_MAX (2 * CERT_LABELS_MAX + 1)

struct known {
	uint32_t n;
	struct {
		uint32_t key, value[2]; /* INTERN_NONE: none */
	} at[KNOWN_MAX];
};

void known_of_subject(const struct document *d, const struct policy_subject *s, struct known *out);
/* Labels alone, as placement judges them; NULL: none. */
void known_of_labels(const struct document *d, const struct cert_labels *l, struct known *out);
/* Whatever has at least these values. */
void known_of_atom(const struct document *d, uint32_t atom, struct known *out);
bool selector_match(const struct document *d, const struct selector *s, const struct known *k);

/* -- atoms and entries (compile.c) -------------------------------------------------------------- */

/* A subject matches at most one atom for each set of keys; two where one key is reserved. */
#define ATOMS_MAX (2 * POLICY_KEYSETS_MAX)

/* Compiles rules and compress. -ENOMEM, -EINVAL after a fault. */
int document_compile(struct policy_reading *p);
/* Those of the use that k matches, ascending. Returns how many. */
uint32_t atoms_of(const struct document *d, const struct known *k, uint8_t use,
                  uint32_t out[ATOMS_MAX]);
/* The first rule at a point for what matches all of these atoms. Where until is not NULL, it becomes
 * the next point at which that may be another one.
 */
uint32_t book_first(const struct book *b, const uint32_t *from, uint32_t nfrom, const uint32_t *to,
                    uint32_t nto, uint32_t point, uint32_t *until);
void book_clear(struct book *b);

/* Runs fn over all atoms of a selector; it ends with the first that is not 0. */
int selector_atoms(struct document *d, const struct selector *s,
                   int (*fn)(void *arg, uint32_t atom), void *arg);

/* policy_judge at a point of the line; until as in book_first. */
struct policy_verdict policy_judge_point(const struct policy *p, uint32_t src, uint32_t dst,
                                         uint32_t point, uint32_t *until);

/* -- reading and checking ----------------------------------------------------------------------- */

void document_read(struct policy_reading *p); /* document_keys.c */
/* Warnings about a document without a fault (document_check.c). */
void document_warn(struct policy_reading *p);
