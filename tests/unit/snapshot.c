/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/snapshot.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/ends.h"

#define PEERS 300

static struct ends_ca ca;
static struct wolf *w;
static struct snapshot *s;

static void setup(void)
{
	cr_assert_eq(wolf_start(), 0);
	ends_ca_init(&ca);
	w = ends_wolf(&ca, "n1", ROLE_NODE);
	cr_assert(w);
	cr_assert_eq(snapshot_new(&s, w, "n1", PEERS), 0);
}

static void teardown(void)
{
	snapshot_free(s);
	wolf_put(w);
	ends_ca_clear(&ca);
}

TestSuite(snapshot, .init = setup, .fini = teardown, .timeout = 60);

static void add(const char *name, const char *four, const char *six)
{
	struct snapshot_peer sp = {.nendpoints = 2};

	cr_assert_eq(addr_parse(&sp.endpoints[0].addr, four), 0);
	cr_assert_eq(addr_parse(&sp.endpoints[1].addr, six), 0);
	cr_assert_eq(peer_new(&sp.peer, name), 0);
	cr_assert_eq(snapshot_add_peer(s, &sp, NULL, 0), 0);
	peer_put(sp.peer);
}

static bool knows(const char *text)
{
	struct addr a;

	cr_assert_eq(addr_parse(&a, text), 0);
	return snapshot_knows(s, &a);
}

Test(snapshot, knows_the_addresses_of_all_peers_and_no_others)
{
	char name[16], four[32], six[32];

	for (unsigned i = 0; i < PEERS; i++) {
		unsigned n = i * 7 % PEERS; /* in no order */

		snprintf(name, sizeof(name), "p%u", n);
		snprintf(four, sizeof(four), "10.9.%u.%u", n / 100, 2 * (n % 100) + 1);
		snprintf(six, sizeof(six), "fd09::%x", 2 * n + 1);
		add(name, four, six);
	}
	cr_assert_eq(snapshot_seal(s), 0);
	for (unsigned n = 0; n < PEERS; n++) {
		snprintf(four, sizeof(four), "10.9.%u.%u", n / 100, 2 * (n % 100) + 1);
		snprintf(six, sizeof(six), "fd09::%x", 2 * n + 1);
		cr_expect(knows(four), "%s", four);
		cr_expect(knows(six), "%s", six);
		snprintf(four, sizeof(four), "10.9.%u.%u", n / 100, 2 * (n % 100));
		snprintf(six, sizeof(six), "fd09::%x", 2 * n);
		cr_expect_not(knows(four), "%s", four);
		cr_expect_not(knows(six), "%s", six);
	}
	cr_expect_not(knows("0a09:1::")); /* no IPv4 address of the same bytes */
}

Test(snapshot, without_peers_knows_nobody)
{
	cr_assert_eq(snapshot_seal(s), 0);
	cr_expect_not(knows("10.9.0.1"));
	cr_expect_not(knows("::"));
}

Test(snapshot, finds_each_peer_by_its_name)
{
	add("b", "10.9.0.2", "fd09::2");
	add("a", "10.9.0.1", "fd09::1");
	add("c", "10.9.0.1", "fd09::1"); /* behind one address */
	cr_assert_eq(snapshot_seal(s), 0);
	cr_expect_str_eq(snapshot_find(s, "a")->peer->name, "a");
	cr_expect_str_eq(snapshot_find(s, "c")->peer->name, "c");
	cr_expect_null(snapshot_find(s, "d"));
	cr_expect(knows("10.9.0.1"));
}
