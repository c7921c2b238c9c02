/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/intern.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN       sizeof(uint32_t)
#define SLOTS_FIRST 16

struct string {
	uint32_t at, len; /* in arena, counted in ALIGN */
	uint32_t hash;
};

struct intern {
	uint32_t n, room;
	struct string *strings;
	uint32_t mask;   /* of slots, which are a power of 2 */
	uint32_t *slots; /* number + 1; 0: free */
	size_t used, arena_room;
	uint32_t *arena;
};

static uint32_t hash_of(const uint8_t *p, size_t len)
{
	uint64_t h = 0xcbf29ce484222325;

	for (; len; len--)
		h = (h ^ *p++) * 0x100000001b3;
	return (uint32_t)(h ^ h >> 29);
}

int intern_new(struct intern **out)
{
	struct intern *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->slots = calloc(SLOTS_FIRST, sizeof(*t->slots));
	if (!t->slots) {
		free(t);
		return -ENOMEM;
	}
	t->mask = SLOTS_FIRST - 1;
	*out = t;
	return 0;
}

void intern_free(struct intern *t)
{
	if (!t)
		return;
	free(t->strings);
	free(t->slots);
	free(t->arena);
	free(t);
}

/* The slot of these bytes, or the free one where they belong. */
static uint32_t slot_of(const struct intern *t, const void *bytes, size_t len, uint32_t hash)
{
	const struct string *s;
	uint32_t i;

	for (i = hash & t->mask; t->slots[i]; i = (i + 1) & t->mask) {
		s = &t->strings[t->slots[i] - 1];
		if (s->hash == hash && s->len == len && !memcmp(&t->arena[s->at], bytes, len))
			break;
	}
	return i;
}

static int slots_grow(struct intern *t)
{
	uint32_t mask = t->mask * 2 + 1, i, k;
	uint32_t *slots;

	if (t->n < t->mask / 4 * 3)
		return 0;
	slots = calloc((size_t)mask + 1, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (k = 0; k < t->n; k++) {
		for (i = t->strings[k].hash & mask; slots[i]; i = (i + 1) & mask)
			continue;
		slots[i] = k + 1;
	}
	free(t->slots);
	t->slots = slots;
	t->mask = mask;
	return 0;
}

static int strings_grow(struct intern *t)
{
	uint32_t room = t->room ? t->room * 2 : SLOTS_FIRST;
	struct string *strings;

	if (t->n < t->room)
		return 0;
	strings = reallocarray(t->strings, room, sizeof(*strings));
	if (!strings)
		return -ENOMEM;
	t->strings = strings;
	t->room = room;
	return 0;
}

static int arena_grow(struct intern *t, size_t words)
{
	size_t room = t->arena_room ? t->arena_room * 2 : 256;
	uint32_t *arena;

	if (t->used + words <= t->arena_room)
		return 0;
	if (room < t->used + words)
		room = t->used + words;
	if (room >= UINT32_MAX)
		return -ENOMEM;
	arena = reallocarray(t->arena, room, sizeof(*arena));
	if (!arena)
		return -ENOMEM;
	t->arena = arena;
	t->arena_room = room;
	return 0;
}

int intern_add(struct intern *t, const void *bytes, size_t len, uint32_t *id)
{
	uint32_t hash = hash_of(bytes, len);
	uint32_t slot = t->n ? slot_of(t, bytes, len, hash) : 0;
	size_t words = len / ALIGN + 1; /* with a zero byte at least */

	if (t->n && t->slots[slot]) {
		*id = t->slots[slot] - 1;
		return 0;
	}
	if (slots_grow(t) || strings_grow(t) || arena_grow(t, words))
		return -ENOMEM;
	t->arena[t->used + words - 1] = 0;
	memcpy(&t->arena[t->used], bytes, len);
	t->strings[t->n] = (struct string){(uint32_t)t->used, (uint32_t)len, hash};
	t->used += words;
	t->slots[slot_of(t, bytes, len, hash)] = t->n + 1;
	*id = t->n++;
	return 0;
}

uint32_t intern_find(const struct intern *t, const void *bytes, size_t len)
{
	if (t->n == 0)
		return INTERN_NONE;
	return t->slots[slot_of(t, bytes, len, hash_of(bytes, len))] - 1;
}

const void *intern_bytes(const struct intern *t, uint32_t id)
{
	return &t->arena[t->strings[id].at];
}

size_t intern_len(const struct intern *t, uint32_t id)
{
	return t->strings[id].len;
}

uint32_t intern_count(const struct intern *t)
{
	return t->n;
}
