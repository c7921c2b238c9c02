/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A ledger goes on from a copy that is older than what the cluster has seen. */
#include "gateway/privsep/ledger.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/sealed.h"

#define NOW 1700000000

static char folder[64];
static int dir;
static struct ledger *l;

static const uint8_t key_a[32] = {0xa}, key_b[32] = {0xb}, key_c[32] = {0xc}, key_d[32] = {0xd};

static void add_node(const char *name, uint64_t incarnation, uint64_t issue)
{
	struct ledger_node n = {.role = ROLE_NODE,
	                        .incarnation = incarnation,
	                        .issue = issue,
	                        .not_after = NOW + 1000};

	snprintf(n.name, sizeof(n.name), "%s", name);
	memcpy(n.keys.spki, key_a, 32);
	memcpy(n.keys.next, key_b, 32);
	cr_assert_eq(ledger_node_add(l, &n), 0);
}

static void setup(void)
{
	strcpy(folder, "/tmp/ledger-XXXXXX");
	cr_assert(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(ledger_create(dir, "test"), 0);
	cr_assert_eq(ledger_open(&l, dir), 0);
	add_node("n2", 3, 7);
}

static void teardown(void)
{
	ledger_close(l);
	unlinkat(dir, LEDGER_FILE, 0);
	close(dir);
	rmdir(folder);
}

TestSuite(ledger_restore, .init = setup, .fini = teardown);

static struct ledger_node node(const char *name)
{
	struct ledger_node n;

	cr_assert_eq(ledger_node_get(l, name, &n), 0);
	return n;
}

static uint64_t restore(time_t now)
{
	uint64_t generation = 0;

	cr_assert_eq(ledger_restore(l, 0, now, &generation), 0);
	return generation;
}

static void give(unsigned id)
{
	struct ledger_token t = {.role = ROLE_NODE, .created = NOW, .expires = NOW + 3600};

	memcpy(t.id, &id, sizeof(id));
	strcpy(t.created_by, "root");
	t.spki_len = CERT_SPKI_MAX;
	cr_assert_eq(ledger_token_add(l, &t), 0);
}

static int join(unsigned id, const char *name, struct ledger_node *n)
{
	uint8_t token[TOKEN_ID_LEN] = {0};

	memcpy(token, &id, sizeof(id));
	return ledger_join(l, token, name, key_d, NOW + 10, n);
}

Test(ledger_restore, a_copy_is_the_ledger)
{
	int fd = -1;
	size_t len = 0;
	char *bytes = NULL;

	cr_assert_eq(ledger_copy(l, &fd, &len), 0);
	cr_assert_eq(sealed_read(fd, &bytes, &len, 1 << 20), 0);
	close(fd);
	add_node("n3", 1, 1);
	ledger_close(l);
	fd = openat(dir, LEDGER_FILE, O_WRONLY | O_TRUNC);
	cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
	close(fd);
	free(bytes);
	cr_assert_eq(ledger_open(&l, dir), 0);
	cr_expect_eq(node("n2").incarnation, 3);
	cr_expect_eq(ledger_node_get(l, "n3", &(struct ledger_node){0}), -ENOENT);
}

Test(ledger_restore, no_number_is_given_out_twice)
{
	struct revocations s;
	struct ledger_node n;
	uint64_t issue, number, first = 0;

	give(1);
	cr_assert_eq(ledger_generation(l, &first), 0);
	cr_expect_eq(first, 1);
	cr_expect_eq(restore(NOW), NOW);
	cr_expect_gt(restore(NOW), (uint64_t)NOW);  /* again within the second */
	cr_expect_eq(restore(NOW - 5000), NOW + 2); /* the clock went back */
	cr_assert_eq(ledger_next_issue(l, "n2", NOW, &issue), 0);
	cr_expect_gt(issue, (uint64_t)NOW);
	cr_assert_eq(ledger_list(l, &number, &s), 0);
	cr_expect_gt(number, (uint64_t)NOW);
	revocations_clear(&s);
	cr_expect_eq(join(1, "n9", &n), -EKEYREVOKED); /* who knows whether it was used */
	give(2);
	cr_assert_eq(join(2, "n9", &n), 0);
	cr_expect_gt(n.incarnation, (uint64_t)NOW);
}

Test(ledger_restore, the_generation_is_above_any_that_is_known)
{
	uint64_t generation = 0;

	cr_assert_eq(ledger_restore(l, NOW + 500, NOW, &generation), 0);
	cr_expect_eq(generation, NOW + 501);
}

static int renew(const uint8_t spki[32], uint64_t issue)
{
	struct cert_info cert = {.node = "n2", .role = ROLE_NODE, .incarnation = 3, .issue = issue};
	struct ledger_node n;

	memcpy(cert.spki, spki, 32);
	return ledger_renew(l, &cert, key_d, &n);
}

Test(ledger_restore, a_node_that_renewed_since_renews_by_the_key_that_it_has)
{
	cr_expect_eq(renew(key_c, 9), -EEXIST);
	restore(NOW);
	cr_expect_eq(renew(key_c, 7),
	             -EEXIST); /* as old as what the ledger knows of, and not known */
	cr_expect_eq(renew(key_c, 9), 0);
	cr_expect_eq(renew(key_a, 7), -EEXIST); /* the one before has ended with it */
	cr_expect_eq(renew(key_b, 10), -EEXIST);
}

Test(ledger_restore, a_node_that_did_not_renew_since_goes_on_as_before)
{
	restore(NOW);
	cr_expect_eq(renew(key_b, 7), 0);
	cr_expect_eq(renew(key_c, 9), -EEXIST);
}

/* -- a list that somebody kept ------------------------------------------------------------------- */

static struct revocations kept(enum revocation_kind kind, uint64_t value)
{
	struct revocation r = {.kind = kind, .value = value, .until = NOW + 1000};
	struct revocations s = {0};

	strcpy(r.node, "n2");
	cr_assert_eq(revocations_add(&s, &r), 0);
	return s;
}

static bool take(uint64_t number, struct revocations s)
{
	bool news;

	cr_assert_eq(ledger_list_take(l, number, &s, NOW, &news), 0);
	revocations_clear(&s);
	return news;
}

Test(ledger_restore, takes_the_entries_that_it_lacks_and_says_so_above_their_number)
{
	struct revocations s;
	uint64_t number;

	cr_expect(take(NOW + 100, kept(REVOCATION_INCARNATION, 3)));
	cr_assert_eq(ledger_list(l, &number, &s), 0);
	cr_expect_gt(number, (uint64_t)NOW + 100);
	cr_assert_eq(s.n, 1);
	cr_expect_eq(renew(key_b, 7), -EKEYREVOKED);
	revocations_clear(&s);
	cr_expect_not(take(NOW + 100, kept(REVOCATION_INCARNATION, 3)));
	cr_expect_not(take(NOW + 100, kept(REVOCATION_INCARNATION, 2)));
}

Test(ledger_restore, what_is_given_out_next_is_above_what_was_revoked)
{
	uint64_t issue;

	cr_expect(take(1, kept(REVOCATION_INCARNATION, 5)));
	cr_expect_eq(node("n2").incarnation, 5);
	cr_expect(take(1, kept(REVOCATION_ISSUE, 20)));
	cr_expect_eq(node("n2").issue_min, 20);
	cr_assert_eq(ledger_next_issue(l, "n2", NOW, &issue), 0);
	cr_expect_eq(issue, 20);
}

Test(ledger_restore, takes_nothing_that_has_ended)
{
	struct revocations s = kept(REVOCATION_INCARNATION, 3);
	bool news;

	cr_assert_eq(ledger_list_take(l, 0, &s, NOW + 2000, &news), 0);
	cr_expect_not(news);
	revocations_clear(&s);
}
