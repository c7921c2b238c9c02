/* SPDX-License-Identifier: GPL-3.0-or-later */
/* reader - YAML as a walk: who reads a file asks for what it expects, and is told where it stood.
 *
 * libyaml's events carry line and column, its documents do not. The walk needs no recursion: a
 * mapping and a list are iterators, and one function for each key consumes exactly one value. What
 * is not as expected is a fault with its place, is skipped whole, and reading goes on. YAML is kept
 * to what our files need: no anchors, aliases, tags, second document or NUL. Made for hostile text.
 */
#pragma once
#include "gateway/config.h"
#include <stdbool.h>

struct place {
	unsigned line, column; /* from 1 */
};

struct reader;

/* path is what faults call the file. text lives as long as the reader. -ENOMEM. */
int reader_new(struct reader **out, struct config_faults *faults, const char *path,
               const char *text, size_t len);
void reader_free(struct reader *r);

/* At the one value of the document; false if the file holds none. */
bool reader_begin(struct reader *r);
/* Behind it: nothing may follow. */
void reader_end(struct reader *r);

/* A fault is "key: what; what to do". Control characters in it become '?'. */
void reader_fault(struct reader *r, struct place at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for what is allowed but hardly meant: it refuses nothing. */
void reader_warn(struct reader *r, struct place at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* A value from the file as it may stand in a fault: short and printable. Valid until the next. */
const char *reader_quote(struct reader *r, const char *text);

/* Where the current value stands. */
struct place reader_place(const struct reader *r);
/* Is there none behind the key, or YAML's own word for that? */
bool reader_is_empty(const struct reader *r);
void reader_skip(struct reader *r);

/* Takes one value as text, at most CONFIG_TEXT_MAX - 1 bytes, valid until the next one is taken.
 * NULL if it is none (that was said, key names it).
 */
const char *reader_scalar(struct reader *r, const char *key, struct place *at);

/* One of a few words: its index, -1 after saying which there are. words is ended by NULL. */
int reader_word(struct reader *r, const char *key, const char *const *words);
/* A network in CIDR form. False after saying what is wrong with it. */
bool reader_prefix(struct reader *r, const char *key, struct prefix *out, struct place *at);

#define READER_KEY_MAX 72 /* "node." and a label's key; ours are shorter */

struct reader_mapping {
	const char *where;       /* "log.": before a key in faults */
	const char *const *keys; /* the known ones, ended by NULL, at most 32; NULL: any */
	uint32_t seen;
	bool open;
	struct place at;          /* of the key last taken */
	char key[READER_KEY_MAX]; /* its text */
};

/* Was the text cut short by an error of syntax? Then what is missing is no fault of its own. */
bool reader_broken(const struct reader *r);

/* The current value as a mapping; an empty value is an empty one. False for a value of another
 * kind, which is a fault, and the mapping is empty.
 */
bool reader_mapping(struct reader *r, struct reader_mapping *m, const char *where,
                    const char *const *keys);
/* Moves to the value of the next key: its index in keys (0 if any may stand), -1 at the end. The
 * caller takes the value. Unknown and repeated keys are faults and skipped with their values.
 */
int reader_mapping_next(struct reader *r, struct reader_mapping *m);

struct reader_list {
	bool open, single;
	bool refused; /* it was none, which has been said */
	struct place at;
};

/* The current value as a list; with single_ok one word stands for a list of one. */
void reader_list(struct reader *r, struct reader_list *l, const char *key, bool single_ok);
/* At an item, which the caller takes; false at the end. */
bool reader_list_next(struct reader *r, struct reader_list *l);
