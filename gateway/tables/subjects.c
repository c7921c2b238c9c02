/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An open table of addresses, at most half full, probed in a line: the address stands in the slot
 * itself, so that a lookup reads one cache line there and one of the subject. Names lie in blocks.
 */
#include "gateway/tables/subjects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 65536 /* bytes of names */

struct slot {
	uint64_t high,
		low; /* the address; IPv4 as ::ffff:a.b.c.d, which is no address of its own here */
	const struct subject *who; /* NULL: free */
};

struct block {
	struct block *next;
	size_t used;
	char text[BLOCK];
};

struct subjects {
	uint64_t key[2];
	uint32_t n, max, naddrs, max_addrs, mask;
	struct subject *all;
	struct slot *slots;
	struct block *names;
	size_t memory;
};

int subjects_new(struct subjects **out, const uint8_t key[16], uint32_t max, uint32_t max_addrs)
{
	struct subjects *s;
	uint32_t slots = 16;

	if (max > SUBJECTS_MAX || max_addrs > SUBJECTS_MAX * SUBJECT_ADDRS)
		return -E2BIG;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	while (slots < 2 * max_addrs)
		slots *= 2;
	memcpy(s->key, key, sizeof(s->key));
	s->key[0] |= 1; /* odd: no bit is lost in the product */
	s->max = max;
	s->max_addrs = max_addrs;
	s->mask = slots - 1;
	s->all = calloc(max ? max : 1, sizeof(*s->all));
	s->slots = calloc(slots, sizeof(*s->slots));
	s->memory = sizeof(*s) + max * sizeof(*s->all) + slots * sizeof(*s->slots);
	if (!s->all || !s->slots) {
		subjects_free(s);
		return -ENOMEM;
	}
	*out = s;
	return 0;
}

void subjects_free(struct subjects *s)
{
	if (!s)
		return;
	while (s->names) {
		struct block *b = s->names;

		s->names = b->next;
		free(b);
	}
	free(s->slots);
	free(s->all);
	free(s);
}

/* -- names ------------------------------------------------------------------------------------ */

static const char *name_keep(struct subjects *s, const char *text)
{
	size_t len = strlen(text) + 1;
	struct block *b = s->names;
	char *at;

	if (len > BLOCK)
		return NULL;
	if (!b || BLOCK - b->used < len) {
		b = malloc(sizeof(*b));
		if (!b)
			return NULL;
		b->next = s->names;
		b->used = 0;
		s->names = b;
		s->memory += sizeof(*b);
	}
	at = b->text + b->used;
	memcpy(at, text, len);
	b->used += len;
	return at;
}

/* -- addresses -------------------------------------------------------------------------------- */

static void slot_address(struct slot *s, const struct addr *a)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	uint8_t b[16];

	if (a->family == 4) {
		memcpy(b, mapped, sizeof(mapped));
		memcpy(b + sizeof(mapped), a->b, 4);
	} else {
		memcpy(b, a->b, 16);
	}
	memcpy(&s->high, b, 8);
	memcpy(&s->low, b + 8, 8);
}

/* Two multiplications whose halves are folded, with a secret in both. */
static uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The slot of this address, or the free one where it would stand. */
static struct slot *slot_find(const struct subjects *s, const struct slot *want)
{
	uint64_t hash = fold(fold(want->high ^ s->key[1], s->key[0]) ^ want->low, s->key[0]);
	uint32_t at = (uint32_t)hash & s->mask;

	while (s->slots[at].who &&
	       (s->slots[at].high != want->high || s->slots[at].low != want->low))
		at = (at + 1) & s->mask;
	return &s->slots[at];
}

int subjects_add(struct subjects *s, const struct subject *who, const struct addr *addrs,
                 unsigned naddrs)
{
	struct subject *mine = &s->all[s->n];

	if (s->n == s->max || naddrs > SUBJECT_ADDRS || naddrs > s->max_addrs - s->naddrs)
		return -E2BIG;
	for (unsigned i = 0; i < naddrs; i++)
		if (addrs[i].family != 4 && addrs[i].family != 6)
			return -EINVAL;
	*mine = *who;
	mine->name = name_keep(s, who->name);
	mine->id = name_keep(s, who->id);
	if (!mine->name || !mine->id)
		return -ENOMEM;
	s->n++;
	for (unsigned i = 0; i < naddrs; i++) {
		struct slot want = {.who = mine}, *found;

		slot_address(&want, &addrs[i]);
		found = slot_find(s, &want);
		if (found->who)
			continue;
		*found = want;
		s->naddrs++;
	}
	return 0;
}

uint32_t subjects_count(const struct subjects *s)
{
	return s->n;
}

size_t subjects_memory(const struct subjects *s)
{
	return s->memory;
}

const struct subject *subjects_lookup(const struct subjects *s, const struct addr *a)
{
	struct slot want;

	slot_address(&want, a);
	return slot_find(s, &want)->who;
}
