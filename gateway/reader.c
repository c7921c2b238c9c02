/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/reader.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define PATH_SHOWN_MAX 200
#define QUOTE_MAX      64

struct reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the current one */
	bool ended;         /* by an error of syntax or memory: nothing follows */
	struct config_faults *faults;
	const char *path;
	const char *input;
	size_t len;
	char quote[QUOTE_MAX + 4];
	char text[CONFIG_TEXT_MAX];
};

/* -- faults --------------------------------------------------------------------------------- */

static void printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || (unsigned char)*s > 0x7e)
			*s = '?';
}

static void say(struct reader *r, struct place at, const char *kind, const char *format, va_list ap)
	__attribute__((format(printf, 4, 0)));

static void say(struct reader *r, struct place at, const char *kind, const char *format, va_list ap)
{
	struct config_faults *f = r->faults;
	size_t n = strlen(r->path), skip = n > PATH_SHOWN_MAX ? n - PATH_SHOWN_MAX : 0;
	char *to;
	int used;

	if (f->n++ >= CONFIG_FAULTS_MAX)
		return;
	to = f->text[f->n - 1];
	used = snprintf(to, sizeof(f->text[0]), "%s:%u:%u: %s", r->path + skip, at.line, at.column,
	                kind);
	vsnprintf(to + used, sizeof(f->text[0]) - (size_t)used, format, ap);
	printable(to);
}

void reader_fault(struct reader *r, struct place at, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(r, at, "", format, ap);
	va_end(ap);
}

void reader_warn(struct reader *r, struct place at, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(r, at, "warning: ", format, ap);
	va_end(ap);
	r->faults->warnings++;
}

const char *reader_quote(struct reader *r, const char *text)
{
	size_t n = strlen(text);

	snprintf(r->quote, sizeof(r->quote), "%.*s%s", QUOTE_MAX, text, n > QUOTE_MAX ? "..." : "");
	printable(r->quote);
	return r->quote;
}

static struct place place_of(yaml_mark_t m)
{
	return (struct place){(unsigned)m.line + 1, (unsigned)m.column + 1};
}

struct place reader_place(const struct reader *r)
{
	return place_of(r->event.start_mark);
}

/* libyaml says only how many bytes into the file a bad character stands. */
static struct place place_of_byte(const struct reader *r, size_t offset)
{
	struct place at = {1, 1};
	size_t i;

	for (i = 0; i < offset && i < r->len; i++) {
		at.column++;
		if (r->input[i] == '\n')
			at = (struct place){at.line + 1, 1};
	}
	return at;
}

static void fault_syntax(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;

	switch (p->error) {
	case YAML_MEMORY_ERROR:
		reader_fault(r, place_of(p->mark), "out of memory");
		break;
	case YAML_READER_ERROR:
		reader_fault(
			r, place_of_byte(r, p->problem_offset),
			"not UTF-8 text: %s; save the file as UTF-8 without control characters",
			p->problem);
		break;
	default:
		reader_fault(r, place_of(p->problem_mark), "not YAML: %s%s%s; %s",
		             p->context ? p->context : "", p->context ? ", " : "",
		             p->problem ? p->problem : "cannot be read",
		             p->problem && strstr(p->problem, "cannot start any token")
		                     ? "indent with spaces, not tabs, and quote special characters"
		                     : "mend this line or the one above");
	}
}

/* -- events --------------------------------------------------------------------------------- */

static void refuse_decoration(struct reader *r, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor)
		reader_fault(r, reader_place(r),
		             "anchors (&name) are not read; leave it out and write values where "
		             "they belong");
	if (tag)
		reader_fault(r, reader_place(r), "tags (!name) are not read; leave it out");
}

static void advance(struct reader *r)
{
	yaml_event_t *e = &r->event;

	if (r->ended)
		return;
	yaml_event_delete(e);
	if (!yaml_parser_parse(&r->parser, e)) {
		fault_syntax(r);
		memset(e, 0, sizeof(*e)); /* YAML_NO_EVENT, which nothing expects */
		r->ended = true;
		return;
	}
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		refuse_decoration(r, e->data.scalar.anchor, e->data.scalar.tag);
		break;
	case YAML_SEQUENCE_START_EVENT:
		refuse_decoration(r, e->data.sequence_start.anchor, e->data.sequence_start.tag);
		break;
	case YAML_MAPPING_START_EVENT:
		refuse_decoration(r, e->data.mapping_start.anchor, e->data.mapping_start.tag);
		break;
	case YAML_ALIAS_EVENT:
		reader_fault(r, reader_place(r),
		             "aliases (*name) are not read; write the value here");
		break;
	default:
		break;
	}
}

int reader_new(struct reader **out, struct config_faults *faults, const char *path,
               const char *text, size_t len)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	if (!yaml_parser_initialize(&r->parser)) {
		free(r);
		return -ENOMEM;
	}
	/* Else a byte order mark would make it UTF-16, and every place in it wrong. */
	yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, len);
	r->faults = faults;
	r->path = path;
	r->input = text;
	r->len = len;
	*out = r;
	return 0;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	yaml_event_delete(&r->event);
	yaml_parser_delete(&r->parser);
	free(r);
}

bool reader_begin(struct reader *r)
{
	advance(r); /* the stream's start */
	advance(r);
	if (r->event.type != YAML_DOCUMENT_START_EVENT)
		return false;
	advance(r);
	return !r->ended;
}

void reader_end(struct reader *r)
{
	if (r->event.type == YAML_DOCUMENT_END_EVENT)
		advance(r);
	if (r->event.type == YAML_DOCUMENT_START_EVENT)
		reader_fault(r, reader_place(r),
		             "a second document; a file holds one, remove this and what follows");
}

bool reader_broken(const struct reader *r)
{
	return r->ended;
}

void reader_skip(struct reader *r)
{
	unsigned depth = 0;

	while (!r->ended) {
		switch (r->event.type) {
		case YAML_MAPPING_START_EVENT:
		case YAML_SEQUENCE_START_EVENT:
			if (++depth > CONFIG_DEPTH_MAX) {
				reader_fault(r, reader_place(r),
				             "nested more than %d deep; no key of ours is",
				             CONFIG_DEPTH_MAX);
				r->ended = true;
				return;
			}
			break;
		case YAML_MAPPING_END_EVENT:
		case YAML_SEQUENCE_END_EVENT:
			depth--;
			break;
		default:
			break;
		}
		advance(r);
		if (depth == 0)
			return;
	}
}

/* -- values --------------------------------------------------------------------------------- */

bool reader_is_empty(const struct reader *r)
{
	const char *s;

	if (r->event.type != YAML_SCALAR_EVENT ||
	    r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	s = (const char *)r->event.data.scalar.value;
	return !*s || !strcmp(s, "~") || !strcmp(s, "null");
}

/* An alias was refused when it was met. */
static void wrong_kind(struct reader *r, const char *key, const char *wanted)
{
	if (!r->ended && r->event.type != YAML_ALIAS_EVENT)
		reader_fault(r, reader_place(r), "%s: %s", key, wanted);
	reader_skip(r);
}

const char *reader_scalar(struct reader *r, const char *key, struct place *at)
{
	const char *s = (const char *)r->event.data.scalar.value;
	size_t n = r->event.data.scalar.length;

	*at = reader_place(r);
	if (r->event.type != YAML_SCALAR_EVENT) {
		wrong_kind(r, key, "a single value is wanted here, no list and no mapping");
		return NULL;
	}
	if (reader_is_empty(r)) {
		wrong_kind(r, key, "has no value; give it one, or leave the key out");
		return NULL;
	}
	if (strlen(s) != n || n >= sizeof(r->text)) {
		wrong_kind(r, key,
		           n >= sizeof(r->text) ? "is longer than 4095 bytes; shorten it"
		                                : "holds a NUL character; remove it");
		return NULL;
	}
	memcpy(r->text, s, n + 1);
	advance(r);
	return r->text;
}

bool reader_mapping(struct reader *r, struct reader_mapping *m, const char *where,
                    const char *const *keys)
{
	size_t n = strlen(where);
	char name[READER_KEY_MAX];

	*m = (struct reader_mapping){.where = where, .keys = keys, .at = reader_place(r)};
	if (r->event.type == YAML_MAPPING_START_EVENT) {
		m->open = true;
		advance(r);
		return true;
	}
	if (reader_is_empty(r)) {
		advance(r);
		return true;
	}
	snprintf(name, sizeof(name), "%.*s", (int)(n ? n - 1 : 0), where);
	wrong_kind(r, n ? name : "file", "a mapping is wanted here: lines of \"key: value\"");
	return false;
}

static int key_index(const struct reader_mapping *m)
{
	int k;

	if (!m->keys)
		return 0;
	for (k = 0; m->keys[k]; k++)
		if (!strcmp(m->keys[k], m->key))
			return k;
	return -1;
}

static void fault_unknown(struct reader *r, const struct reader_mapping *m)
{
	const char *near = config_nearest(m->key, m->keys);
	char all[256] = "";
	int k;

	if (near) {
		reader_fault(r, m->at, "%s%s: unknown key; did you mean \"%s\"?", m->where, m->key,
		             near);
		return;
	}
	for (k = 0; m->keys[k]; k++)
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", k ? ", " : "",
		         m->keys[k]);
	reader_fault(r, m->at, "%s%s: unknown key; known here are %s", m->where, m->key, all);
}

/* Takes a key into m; false if it is none that can be named. */
static bool take_key(struct reader *r, struct reader_mapping *m)
{
	m->at = reader_place(r);
	if (r->event.type != YAML_SCALAR_EVENT) {
		wrong_kind(r, "key", "a key is one word, no list and no mapping");
		return false;
	}
	if (r->event.data.scalar.length >= sizeof(m->key) ||
	    strlen((const char *)r->event.data.scalar.value) != r->event.data.scalar.length) {
		reader_fault(r, m->at, "%s%s: unknown key; none is that long or holds a NUL",
		             m->where, reader_quote(r, (const char *)r->event.data.scalar.value));
		advance(r);
		return false;
	}
	memcpy(m->key, r->event.data.scalar.value, r->event.data.scalar.length + 1);
	advance(r);
	return true;
}

int reader_mapping_next(struct reader *r, struct reader_mapping *m)
{
	int k;

	while (m->open && !r->ended) {
		if (r->event.type == YAML_MAPPING_END_EVENT) {
			m->open = false;
			advance(r);
			break;
		}
		if (!take_key(r, m)) {
			reader_skip(r);
			continue;
		}
		k = key_index(m);
		if (k < 0) {
			fault_unknown(r, m);
			reader_skip(r);
			continue;
		}
		if (m->keys && (m->seen & 1U << k)) {
			reader_fault(r, m->at, "%s%s: given twice; keep one", m->where, m->key);
			reader_skip(r);
			continue;
		}
		m->seen |= 1U << k;
		if (!r->ended)
			return k;
	}
	return -1;
}

void reader_list(struct reader *r, struct reader_list *l, const char *key, bool single_ok)
{
	*l = (struct reader_list){.at = reader_place(r)};
	if (r->event.type == YAML_SEQUENCE_START_EVENT) {
		l->open = true;
		advance(r);
	} else if (reader_is_empty(r)) {
		advance(r);
	} else if (single_ok && r->event.type == YAML_SCALAR_EVENT) {
		l->open = l->single = true;
	} else {
		l->refused = true;
		wrong_kind(r, key, "a list is wanted here: [first, second]");
	}
}

bool reader_list_next(struct reader *r, struct reader_list *l)
{
	if (!l->open || r->ended)
		return false;
	if (l->single) {
		l->open = false; /* the caller takes this one */
		return true;
	}
	if (r->event.type != YAML_SEQUENCE_END_EVENT)
		return true;
	l->open = false;
	advance(r);
	return false;
}
