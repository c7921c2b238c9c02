/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Prefixes cut the line of all addresses into ranges, each with one longest match. A lookup finds
 * the range: the bits behind those that all boundaries share choose a cell, and a cell knows which
 * ranges lie in it: mostly one or two, for there are about four times as many cells as ranges.
 * Memory grows with the number of prefixes alone, whatever they are; a trie's would grow with their
 * length too (a host route of IPv6 at the end of sixteen nodes).
 *
 * An address is a key of 128 bits, an IPv4 address in the first 32 of them.
 */
#include "gateway/tables/route.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BITS        128
#define ROUTES_FIRST    64
#define CELL_BITS_MAX   20
#define CELLS_PER_RANGE 2 /* as a power of 2 */

struct key {
	uint64_t hi, lo;
};

struct route {
	struct prefix prefix;
	uint32_t order; /* of being added */
	void *who;
};

/* hi, lo: where range i begins; range 0 begins at address 0. who[i] is NULL where nobody's. */
struct family {
	uint32_t n;             /* of ranges */
	struct key first, last; /* where ranges 1 and n - 1 begin */
	unsigned skip, bits;    /* a cell is chosen by so many bits behind so many */
	uint64_t *hi, *lo;
	void **who;
	/* cells[c]: the last range that begins before cell c does; one more cell than there are. */
	uint32_t *cells;
};

struct route_table {
	bool sealed;
	uint32_t n, room;
	struct route *routes; /* in order of prefix once sealed */
	struct family v4, v6;
};

/* -- keys -- */

static struct key key_of(const struct addr *a)
{
	struct key k;

	memcpy(&k.hi, a->b, 8);
	memcpy(&k.lo, a->b + 8, 8);
	k.hi = be64toh(k.hi);
	k.lo = be64toh(k.lo);
	return k;
}

static bool key_less(struct key a, struct key b)
{
	return a.hi < b.hi || (a.hi == b.hi && a.lo < b.lo);
}

static bool key_equal(struct key a, struct key b)
{
	return a.hi == b.hi && a.lo == b.lo;
}

/* The one after it: 0 after the last. */
static struct key key_next(struct key k)
{
	k.lo++;
	k.hi += k.lo == 0;
	return k;
}

static struct key key_before(struct key k)
{
	k.hi -= k.lo == 0;
	k.lo--;
	return k;
}

static bool key_is_zero(struct key k)
{
	return k.hi == 0 && k.lo == 0;
}

/* The last key that begins with the first len bits of k. */
static struct key key_last(struct key k, unsigned len)
{
	if (len < 64)
		k.hi |= UINT64_MAX >> len;
	if (len <= 64)
		k.lo = UINT64_MAX;
	else if (len < KEY_BITS)
		k.lo |= UINT64_MAX >> (len - 64);
	return k;
}

/* The first key that begins with the first len bits of k. */
static struct key key_first(struct key k, unsigned len)
{
	struct key all = key_last((struct key){0, 0}, len);

	return (struct key){k.hi & ~all.hi, k.lo & ~all.lo};
}

/* With how many equal bits do they begin? */
static unsigned key_common(struct key a, struct key b)
{
	if (a.hi != b.hi)
		return (unsigned)__builtin_clzll(a.hi ^ b.hi);
	if (a.lo != b.lo)
		return 64 + (unsigned)__builtin_clzll(a.lo ^ b.lo);
	return KEY_BITS;
}

/* The bits behind the first skip ones: skip + bits are at most KEY_BITS, bits from 1 to 32. */
static uint32_t key_bits(struct key k, unsigned skip, unsigned bits)
{
	uint64_t v;

	if (skip >= 64)
		v = k.lo << (skip - 64);
	else
		v = skip == 0 ? k.hi : k.hi << skip | k.lo >> (64 - skip);
	return (uint32_t)(v >> (64 - bits));
}

/* -- building -- */

int route_table_new(struct route_table **out)
{
	struct route_table *t;

	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	*out = t;
	return 0;
}

void route_table_free(struct route_table *t)
{
	if (!t)
		return;
	free(t->v4.hi);
	free(t->v6.hi);
	free(t->routes);
	free(t);
}

static int routes_grow(struct route_table *t)
{
	uint32_t room = t->room ? t->room * 2 : ROUTES_FIRST;
	struct route *bigger;

	bigger = reallocarray(t->routes, room, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	t->routes = bigger;
	t->room = room;
	return 0;
}

int route_add(struct route_table *t, const struct prefix *p, void *who)
{
	struct key k = key_of(&p->addr);
	int err;

	assert(!t->sealed && who);
	if (p->addr.family != 4 && p->addr.family != 6)
		return -EINVAL;
	if (p->len > (p->addr.family == 4 ? 32 : 128) || !key_equal(k, key_first(k, p->len)))
		return -EINVAL;
	if (t->n == ROUTES_MAX)
		return -E2BIG;
	if (t->n == t->room) {
		err = routes_grow(t);
		if (err)
			return err;
	}
	t->routes[t->n] = (struct route){*p, t->n, who};
	t->n++;
	return 0;
}

static int compare_prefixes(const struct prefix *a, const struct prefix *b)
{
	int diff;

	if (a->addr.family != b->addr.family)
		return a->addr.family < b->addr.family ? -1 : 1;
	diff = memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));
	return diff ? diff : a->len - b->len;
}

static int compare_routes(const void *a, const void *b)
{
	const struct route *x = a, *y = b;
	int diff = compare_prefixes(&x->prefix, &y->prefix);

	return diff ? diff : x->order < y->order ? -1 : 1;
}

/* In order of prefix, a shorter one before those within it; of equal ones the last alone. */
static void routes_sort(struct route_table *t)
{
	uint32_t n = 0;

	if (t->n == 0)
		return;
	qsort(t->routes, t->n, sizeof(*t->routes), compare_routes);
	for (uint32_t i = 1; i < t->n; i++) {
		if (compare_prefixes(&t->routes[n].prefix, &t->routes[i].prefix) != 0)
			n++;
		t->routes[n] = t->routes[i];
	}
	t->n = n + 1;
}

/* From this key on it is his. A later word on the same key holds; like neighbours become one. */
static void range_begin(struct family *f, struct key at, void *who)
{
	uint32_t last = f->n - 1;

	if (f->hi[last] != at.hi || f->lo[last] != at.lo)
		last = f->n;
	if (last > 0 && f->who[last - 1] == who) {
		f->n = last;
		return;
	}
	f->hi[last] = at.hi;
	f->lo[last] = at.lo;
	f->who[last] = who;
	f->n = last + 1;
}

/* The prefixes around the present one, the narrowest last. */
struct nest {
	unsigned n;
	struct {
		struct key end;
		void *who;
	} in[KEY_BITS + 1];
};

/* Leaves those that end before a key; who was around them has what follows. */
static void nest_leave(struct nest *nest, struct family *f, const struct key *before)
{
	struct key end;

	while (nest->n > 0) {
		end = nest->in[nest->n - 1].end;
		if (before && !key_less(end, *before))
			break;
		nest->n--;
		if (!key_is_zero(key_next(end)))
			range_begin(f, key_next(end), nest->n ? nest->in[nest->n - 1].who : NULL);
	}
}

static void family_ranges(struct family *f, const struct route *routes, uint32_t n)
{
	struct nest nest = {.n = 0};
	struct key begin;

	f->n = 1;
	f->hi[0] = f->lo[0] = 0;
	f->who[0] = NULL;
	for (uint32_t i = 0; i < n; i++) {
		begin = key_of(&routes[i].prefix.addr);
		nest_leave(&nest, f, &begin);
		range_begin(f, begin, routes[i].who);
		nest.in[nest.n].end = key_last(begin, routes[i].prefix.len);
		nest.in[nest.n].who = routes[i].who;
		nest.n++;
	}
	nest_leave(&nest, f, NULL);
}

static struct key range_start(const struct family *f, uint32_t i)
{
	return (struct key){f->hi[i], f->lo[i]};
}

/* Keys from first up to last have skip bits in common, so the cells are needed for them alone. */
static void family_cells(struct family *f)
{
	uint32_t range = 1, cells;

	f->first = range_start(f, f->n > 1);
	f->last = range_start(f, f->n - 1);
	f->skip = key_common(f->first, key_before(f->last));
	if (f->skip > KEY_BITS - f->bits)
		f->skip = KEY_BITS - f->bits;
	cells = UINT32_C(1) << f->bits;
	for (uint32_t c = 0; c <= cells; c++) {
		while (range + 1 < f->n && key_bits(range_start(f, range), f->skip, f->bits) < c)
			range++;
		f->cells[c] = range - 1;
	}
}

static unsigned cell_bits(size_t ranges)
{
	unsigned bits = CELLS_PER_RANGE;

	while (bits < CELL_BITS_MAX && ranges >> (bits - CELLS_PER_RANGE) > 1)
		bits++;
	return bits;
}

/* One block: a prefix begins a range and ends one, and there is the range before all. */
static int family_build(struct family *f, const struct route *routes, uint32_t n)
{
	size_t ranges = 2 * (size_t)n + 1, cells;
	uint64_t *block;

	f->bits = cell_bits(ranges);
	cells = ((size_t)1 << f->bits) + 1;
	block = calloc(1,
	               ranges * (2 * sizeof(uint64_t) + sizeof(void *)) + cells * sizeof(uint32_t));
	if (!block)
		return -ENOMEM;
	f->hi = block;
	f->lo = f->hi + ranges;
	f->who = (void **)(f->lo + ranges);
	f->cells = (uint32_t *)(f->who + ranges);
	family_ranges(f, routes, n);
	family_cells(f);
	return 0;
}

int route_seal(struct route_table *t)
{
	uint32_t n4 = 0;
	int err;

	assert(!t->sealed);
	routes_sort(t);
	while (n4 < t->n && t->routes[n4].prefix.addr.family == 4)
		n4++;
	err = family_build(&t->v4, t->routes, n4);
	if (err)
		return err;
	err = family_build(&t->v6, t->routes + n4, t->n - n4);
	if (err)
		goto fail_v6;
	t->sealed = true;
	return 0;
fail_v6:
	free(t->v4.hi);
	t->v4.hi = NULL;
	return err;
}

/* -- looking up -- */

static void *family_lookup(const struct family *f, struct key k)
{
	uint32_t below, above, middle, cell;

	if (f->n == 1 || key_less(k, f->first))
		return f->who[0];
	if (!key_less(k, f->last))
		return f->who[f->n - 1];
	cell = key_bits(k, f->skip, f->bits);
	below = f->cells[cell];
	above = f->cells[cell + 1];
	while (below < above) {
		middle = above - (above - below) / 2;
		if (key_less(k, range_start(f, middle)))
			above = middle - 1;
		else
			below = middle;
	}
	return f->who[below];
}

void *route_lookup(const struct route_table *t, const struct addr *a)
{
	assert(t->sealed);
	if (a->family == 4)
		return family_lookup(&t->v4, key_of(a));
	return a->family == 6 ? family_lookup(&t->v6, key_of(a)) : NULL;
}

void route_each(const struct route_table *t,
                void (*fn)(void *arg, const struct prefix *p, void *who), void *arg)
{
	assert(t->sealed);
	for (uint32_t i = 0; i < t->n; i++)
		fn(arg, &t->routes[i].prefix, t->routes[i].who);
}
