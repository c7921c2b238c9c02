/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/document.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_FIRST     8
#define LABEL_TEXT_MAX (READER_KEY_MAX + CERT_LABEL_VALUE_MAX + 2)

void *array_grow(void *array, uint32_t n, uint32_t *room, size_t size)
{
	uint32_t more = *room ? *room * 2 : ROOM_FIRST;
	void *moved;

	if (n < *room)
		return array;
	moved = more > *room ? reallocarray(array, more, size) : NULL;
	if (moved)
		*room = more;
	return moved;
}

int document_new(struct document **out)
{
	struct document *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->users = 1;
	if (intern_new(&d->words) || intern_new(&d->keysets) || intern_new(&d->atoms) ||
	    document_word(d, "node", &d->node) || document_word(d, "workload", &d->workload)) {
		document_put(d);
		return -ENOMEM;
	}
	*out = d;
	return 0;
}

void document_put(struct document *d)
{
	if (!d || --d->users > 0)
		return;
	intern_free(d->words);
	intern_free(d->keysets);
	intern_free(d->atoms);
	free(d->keys);
	free(d->terms);
	free(d->values);
	free(d->ports);
	free(d->cidrs);
	free(d->rules);
	free(d->placements);
	free(d->outsides);
	free(d->compress);
	free(d->uses);
	book_clear(&d->by_rule);
	book_clear(&d->by_compress);
	free(d);
}

int document_word(struct document *d, const char *text, uint32_t *word)
{
	uint32_t n = intern_count(d->words);
	uint32_t *keys = array_grow(d->keys, n, &d->keys_room, sizeof(*keys));

	if (!keys)
		return -ENOMEM;
	d->keys = keys;
	if (intern_add(d->words, text, strlen(text), word))
		return -ENOMEM;
	if (*word == n)
		d->keys[n] = INTERN_NONE;
	return 0;
}

int document_label(struct document *d, const char *key, const char *value, uint32_t *word)
{
	char text[LABEL_TEXT_MAX];
	uint32_t of;

	snprintf(text, sizeof(text), "%s=%s", key, value);
	if (document_word(d, key, &of) || document_word(d, text, word))
		return -ENOMEM;
	d->keys[*word] = of;
	return 0;
}

const char *document_text(const struct document *d, uint32_t word)
{
	return intern_bytes(d->words, word);
}
