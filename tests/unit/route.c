/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/route.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MANY 2000

static struct route_table *t;
static char someone[] = "x", even[] = "even", odd[] = "odd";

static void enter(void)
{
	cr_assert_eq(route_table_new(&t), 0);
}

static void leave(void)
{
	route_table_free(t);
}

TestSuite(route, .init = enter, .fini = leave, .timeout = 120);

static void add(const char *text, const char *who)
{
	struct prefix p;

	cr_assert_eq(prefix_parse(&p, text), 0, "%s", text);
	cr_assert_eq(route_add(t, &p, (void *)(uintptr_t)who), 0);
}

static const char *whose(const char *text)
{
	struct addr a;

	cr_assert_eq(addr_parse(&a, text), 0, "%s", text);
	return route_lookup(t, &a);
}

#define WHOSE(addr, who) cr_expect_str_eq(whose(addr) ? whose(addr) : "nobody", who, "%s", addr)

Test(route, an_empty_table_knows_nobody)
{
	struct addr none = {0};

	cr_assert_eq(route_seal(t), 0);
	WHOSE("0.0.0.0", "nobody");
	WHOSE("10.77.1.1", "nobody");
	WHOSE("255.255.255.255", "nobody");
	WHOSE("::", "nobody");
	WHOSE("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "nobody");
	cr_expect_null(route_lookup(t, &none));
}

Test(route, a_prefix_holds_from_its_first_to_its_last_address)
{
	add("10.77.1.0/24", "n1");
	add("fd77:0:0:1::/64", "n1");
	cr_assert_eq(route_seal(t), 0);
	WHOSE("10.77.0.255", "nobody");
	WHOSE("10.77.1.0", "n1");
	WHOSE("10.77.1.77", "n1");
	WHOSE("10.77.1.255", "n1");
	WHOSE("10.77.2.0", "nobody");
	WHOSE("fd77::ffff:ffff:ffff:ffff", "nobody");
	WHOSE("fd77:0:0:1::", "n1");
	WHOSE("fd77:0:0:1:ffff:ffff:ffff:ffff", "n1");
	WHOSE("fd77:0:0:2::", "nobody");
}

Test(route, the_longest_prefix_wins_in_any_order)
{
	add("10.77.1.7/32", "host");
	add("0.0.0.0/0", "default");
	add("10.77.1.0/24", "net");
	add("10.77.0.0/16", "overlay");
	add("10.77.1.0/30", "four");
	add("::/0", "default6");
	add("fd77::1/128", "host6");
	add("fd77::/16", "overlay6");
	cr_assert_eq(route_seal(t), 0);
	WHOSE("10.77.1.7", "host");
	WHOSE("10.77.1.6", "net");
	WHOSE("10.77.1.8", "net");
	WHOSE("10.77.1.0", "four");
	WHOSE("10.77.1.3", "four");
	WHOSE("10.77.1.4", "net");
	WHOSE("10.77.2.0", "overlay");
	WHOSE("10.78.0.0", "default");
	WHOSE("0.0.0.0", "default");
	WHOSE("255.255.255.255", "default");
	WHOSE("fd77::1", "host6");
	WHOSE("fd77::", "overlay6");
	WHOSE("fd77::2", "overlay6");
	WHOSE("::", "default6");
	WHOSE("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "default6");
}

Test(route, families_do_not_meet)
{
	add("10.77.0.0/16", "four");
	add("a4d::/16", "six"); /* the same first bits */
	cr_assert_eq(route_seal(t), 0);
	WHOSE("10.77.0.1", "four");
	WHOSE("a4d::1", "six");
	WHOSE("10.78.0.1", "nobody");
	WHOSE("a4e::1", "nobody");
}

Test(route, the_ends_of_the_line_are_prefixes_too)
{
	add("0.0.0.0/32", "zero");
	add("255.255.255.255/32", "ones");
	add("::/128", "zero6");
	add("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "ones6");
	cr_assert_eq(route_seal(t), 0);
	WHOSE("0.0.0.0", "zero");
	WHOSE("0.0.0.1", "nobody");
	WHOSE("255.255.255.254", "nobody");
	WHOSE("255.255.255.255", "ones");
	WHOSE("::", "zero6");
	WHOSE("::1", "nobody");
	WHOSE("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "nobody");
	WHOSE("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ones6");
}

static void count(void *arg, const struct prefix *p, void *who)
{
	(void)p;
	(void)who;
	++*(unsigned *)arg;
}

Test(route, the_later_of_two_equal_prefixes_wins)
{
	unsigned n = 0;

	add("10.77.1.0/24", "old");
	add("10.77.2.0/24", "other");
	add("10.77.1.0/24", "new");
	add("fd77::/64", "old");
	add("fd77::/64", "newer");
	add("fd77::/64", "newest");
	cr_assert_eq(route_seal(t), 0);
	WHOSE("10.77.1.1", "new");
	WHOSE("10.77.2.1", "other");
	WHOSE("fd77::1", "newest");
	route_each(t, count, &n);
	cr_expect_eq(n, 3);
}

static void append(void *arg, const struct prefix *p, void *who)
{
	char text[PREFIX_TEXT_MAX], *out = arg;

	prefix_format(p, text);
	sprintf(out + strlen(out), "%s %s\n", text, (const char *)who);
}

Test(route, a_walk_is_in_order_of_prefix)
{
	char all[1024] = "";

	add("fd77::/64", "e");
	add("10.77.2.0/24", "c");
	add("fd77::/48", "d");
	add("10.77.0.0/16", "a");
	add("10.77.0.0/24", "b");
	cr_assert_eq(route_seal(t), 0);
	route_each(t, append, all);
	cr_expect_str_eq(all, "10.77.0.0/16 a\n10.77.0.0/24 b\n10.77.2.0/24 c\n"
	                      "fd77::/48 d\nfd77::/64 e\n");
}

Test(route, what_is_no_prefix_is_refused)
{
	struct prefix p = {0};
	unsigned n = 0;

	cr_expect_eq(route_add(t, &p, someone), -EINVAL);
	cr_assert_eq(prefix_parse(&p, "10.77.0.0/16"), 0);
	p.len = 33;
	cr_expect_eq(route_add(t, &p, someone), -EINVAL);
	p.len = 15;
	cr_expect_eq(route_add(t, &p, someone), -EINVAL, "host bits");
	p.len = 16;
	p.addr.b[15] = 1;
	cr_expect_eq(route_add(t, &p, someone), -EINVAL, "bytes that IPv4 has not");
	cr_assert_eq(prefix_parse(&p, "fd77::1/128"), 0);
	p.len = 129;
	cr_expect_eq(route_add(t, &p, someone), -EINVAL);
	p.len = 127;
	cr_expect_eq(route_add(t, &p, someone), -EINVAL);
	cr_assert_eq(route_seal(t), 0);
	route_each(t, count, &n);
	cr_expect_eq(n, 0);
}

Test(route, a_table_has_a_bound)
{
	struct prefix p = {.addr = {.family = 4}, .len = 32};

	for (uint32_t i = 0; i <= ROUTES_MAX; i++) {
		p.addr.b[1] = (uint8_t)(i >> 16);
		p.addr.b[2] = (uint8_t)(i >> 8);
		p.addr.b[3] = (uint8_t)i;
		cr_assert_eq(route_add(t, &p, i % 2 ? odd : even), i < ROUTES_MAX ? 0 : -E2BIG);
	}
	cr_assert_eq(route_seal(t), 0);
	WHOSE("0.0.0.0", "even");
	WHOSE("0.7.0.1", "odd");
	WHOSE("0.15.255.255", "odd");
	WHOSE("0.16.0.0", "nobody");
	route_table_free(NULL);
}

/* -- against the slow way -- */

struct model {
	unsigned n;
	struct prefix p[MANY];
	int who[MANY];
};

static void *slow(struct model *m, const struct addr *a)
{
	int *who = NULL;
	int best = -1;

	for (unsigned i = 0; i < m->n; i++) {
		if (prefix_contains(&m->p[i], a) && m->p[i].len >= best) {
			best = m->p[i].len;
			who = &m->who[i];
		}
	}
	return who;
}

static unsigned below(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

/* spread: how many bits of the address vary; few make prefixes nest and meet. */
static struct addr random_addr(unsigned *seed, unsigned spread)
{
	struct addr a = {.family = below(seed, 2) ? 4 : 6};
	unsigned bits = a.family == 4 ? 32 : 128;

	for (unsigned i = 0; i < spread; i++) {
		unsigned at = below(seed, bits);

		a.b[at / 8] |= (uint8_t)(0x80 >> at % 8);
	}
	return a;
}

static struct prefix random_prefix(unsigned *seed, unsigned spread)
{
	struct prefix p = {.addr = random_addr(seed, spread)};
	unsigned bits = p.addr.family == 4 ? 32 : 128;

	p.len = (uint8_t)(below(seed, 3) ? below(seed, bits + 1) : bits);
	for (unsigned i = p.len; i < bits; i++)
		p.addr.b[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
	return p;
}

/* The next address, or the one before: the line is a ring here. */
static struct addr beside(struct addr a, bool up)
{
	for (int i = a.family == 4 ? 3 : 15; i >= 0; i--) {
		a.b[i] = (uint8_t)(a.b[i] + (up ? 1 : -1));
		if (a.b[i] != (up ? 0 : 255))
			break;
	}
	return a;
}

static struct addr last_of(const struct prefix *p)
{
	struct addr a = p->addr;

	for (unsigned i = p->len; i < (a.family == 4 ? 32 : 128); i++)
		a.b[i / 8] |= (uint8_t)(0x80 >> i % 8);
	return a;
}

static void expect_same(struct model *m, const struct addr *a, unsigned seed)
{
	char text[ADDR_TEXT_MAX];

	addr_format(a, text);
	cr_assert_eq(route_lookup(t, a), slow(m, a), "seed %u, %u routes: %s", seed, m->n, text);
}

static void compare(unsigned first, unsigned n, unsigned spread)
{
	static struct model m;
	unsigned seed = first;

	m.n = n;
	for (unsigned i = 0; i < n; i++) {
		m.p[i] = random_prefix(&seed, spread);
		/* Now and then his neighbour's, or a new word on an old prefix. */
		if (i > 0 && below(&seed, 8) == 0)
			m.p[i] = m.p[below(&seed, i)];
		cr_assert_eq(route_add(t, &m.p[i], &m.who[i]), 0);
	}
	cr_assert_eq(route_seal(t), 0);
	for (unsigned i = 0; i < n; i++) {
		struct addr a = m.p[i].addr, z = last_of(&m.p[i]), next;

		expect_same(&m, &a, first);
		expect_same(&m, &z, first);
		next = beside(a, false);
		expect_same(&m, &next, first);
		next = beside(z, true);
		expect_same(&m, &next, first);
	}
	for (unsigned i = 0; i < 500; i++) {
		struct addr a = random_addr(&seed, spread);

		expect_same(&m, &a, first);
	}
}

Test(route, lookups_agree_with_the_slow_way)
{
	unsigned seed = (unsigned)time(NULL);

	for (unsigned round = 0; round < 400; round++) {
		compare(seed + round, round % 60, 1 + round % 40);
		route_table_free(t);
		cr_assert_eq(route_table_new(&t), 0);
	}
	for (unsigned round = 0; round < 2; round++) {
		compare(seed + round, MANY, 2 + 20 * round);
		route_table_free(t);
		cr_assert_eq(route_table_new(&t), 0);
	}
}

/* As a cluster has them: nodes' nets in an overlay, and hosts in pools. */
Test(route, a_cluster_of_ten_thousand_nodes)
{
	static int node[10000];
	struct prefix p = {.addr = {.family = 4}}, q, host;
	struct addr a;

	cr_assert_eq(prefix_parse(&q, "fd77::/64"), 0);
	for (unsigned i = 0; i < 10000; i++) {
		uint32_t net = 0x0a800000 + (i << 8);

		for (int k = 0; k < 4; k++)
			p.addr.b[k] = (uint8_t)(net >> (24 - 8 * k));
		p.len = 24;
		q.addr.b[6] = (uint8_t)(i >> 8);
		q.addr.b[7] = (uint8_t)i;
		host = p;
		host.addr.b[1] = (uint8_t)(host.addr.b[1] & 0x3f);
		host.addr.b[3] = 9;
		host.len = 32;
		cr_assert_eq(route_add(t, &p, &node[i]), 0);
		cr_assert_eq(route_add(t, &q, &node[i]), 0);
		cr_assert_eq(route_add(t, &host, &node[9999 - i]), 0);
	}
	cr_assert_eq(route_seal(t), 0);
	for (unsigned i = 0; i < 10000; i++) {
		uint32_t net = 0x0a800001 + (i << 8);

		a = (struct addr){.family = 4};
		for (int k = 0; k < 4; k++)
			a.b[k] = (uint8_t)(net >> (24 - 8 * k));
		cr_assert_eq(route_lookup(t, &a), &node[i]);
		a.b[1] = (uint8_t)(a.b[1] & 0x3f);
		cr_assert_null(route_lookup(t, &a));
		a.b[3] = 9;
		cr_assert_eq(route_lookup(t, &a), &node[9999 - i]);
		a = q.addr;
		a.b[6] = (uint8_t)(i >> 8);
		a.b[7] = (uint8_t)i;
		a.b[15] = 1;
		cr_assert_eq(route_lookup(t, &a), &node[i]);
	}
}
