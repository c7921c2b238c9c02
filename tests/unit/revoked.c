/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/revoked.h"

#include "tests/ends.h"
#include "tests/folder.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct ends_ca ca, other;
static struct revoked r;
static struct folder folder;
static uint8_t list[REVOCATION_LIST_MAX];

static void setup(void)
{
	ends_ca_init(&ca);
	ends_ca_init(&other);
	folder_init(&folder);
}

static void teardown(void)
{
	revoked_clear(&r);
	folder_clear(&folder);
	ends_ca_clear(&ca);
	ends_ca_clear(&other);
}

TestSuite(revoked, .init = setup, .fini = teardown);

/* A list of that number which revokes these nodes, by one letter each. */
static size_t make(const struct ends_ca *by, uint64_t number, const char *nodes)
{
	struct revocations s = {0};
	struct cert_chain chain;
	size_t len;

	for (; *nodes; nodes++) {
		struct revocation e = {.kind = REVOCATION_INCARNATION, .value = 1, .until = 1000};

		e.node[0] = *nodes;
		cr_assert_eq(revocations_add(&s, &e), 0);
	}
	ca_chain(by->ca, &chain);
	cr_assert_eq(revocation_list_make(list, sizeof(list), &len, number, (time_t)number, &s,
	                                  ca_key(by->ca), &chain),
	             0);
	revocations_clear(&s);
	return len;
}

static int take(uint64_t number, const char *nodes)
{
	return revoked_take(&r, list, make(&ca, number, nodes), ca.trust);
}

static bool is_revoked(char node)
{
	struct cert_info c = {.node = {node}, .incarnation = 1};

	return revocations_judge(&r.set, &c, true) == CERT_REVOKED;
}

Test(revoked, takes_newer_lists_and_tells_what_is_new)
{
	cr_expect_eq(take(5, "a"), 1);
	cr_expect_eq(take(5, "a"), 0);
	cr_expect_eq(take(6, "ab"), 1);
	cr_expect_eq(r.number, 6);
	cr_expect_eq(r.issued, 6);
	cr_expect(is_revoked('a') && is_revoked('b') && !is_revoked('c'));
}

Test(revoked, an_older_list_takes_nothing_back)
{
	cr_assert_eq(take(9, "ab"), 1);
	cr_expect_eq(take(8, ""), 0);
	cr_expect_eq(r.number, 9);
	cr_expect(is_revoked('a') && is_revoked('b'));
	/* What it says besides still counts: it was validly signed. */
	cr_expect_eq(take(8, "c"), 1);
	cr_expect_eq(r.number, 9);
	cr_expect(is_revoked('c'));
}

Test(revoked, a_restored_managers_newer_list_loses_none)
{
	cr_assert_eq(take(5, "ab"), 1);
	cr_assert_eq(take(10, "c"), 1);
	cr_expect(is_revoked('a') && is_revoked('b') && is_revoked('c'));
	cr_assert_eq(revoked_save(&r, folder.fd), 0);
	revoked_clear(&r);
	cr_assert_eq(revoked_load(&r, folder.fd, ca.trust), 0);
	cr_expect_eq(r.number, 10);
	cr_expect(is_revoked('a') && is_revoked('b') && is_revoked('c'));
}

Test(revoked, keeps_no_list_that_says_nothing_more)
{
	unsigned n = 0;

	for (uint64_t i = 1; i < 20; i++)
		take(i, "ab");
	for (unsigned i = 0; i < REVOKED_LISTS; i++)
		n += r.lists[i].bytes != NULL;
	cr_expect_eq(n, 1);
	for (char c = 'c'; c < 'm'; c++)
		take((uint64_t)c, (const char[]){c, 0});
	for (char c = 'a'; c < 'm'; c++)
		cr_expect(is_revoked(c), "%c", c); /* in memory all count, on the disk the last */
	cr_assert_eq(revoked_save(&r, folder.fd), 0);
}

Test(revoked, a_list_of_another_ca_changes_nothing)
{
	cr_assert_eq(take(5, "a"), 1);
	cr_expect_eq(revoked_take(&r, list, make(&other, 99, "b"), ca.trust), -EBADMSG);
	cr_expect_eq(r.number, 5);
	cr_expect_not(is_revoked('b'));
}

Test(revoked, a_file_that_was_cut_or_changed_is_used_as_far_as_it_proves_itself)
{
	static char file[4096];
	FILE *f;
	char path[128];
	size_t n;

	cr_expect_eq(revoked_load(&r, folder.fd, ca.trust), -ENOENT);
	cr_assert_eq(take(5, "a"), 1);
	cr_assert_eq(take(6, "b"), 1);
	cr_assert_eq(revoked_save(&r, folder.fd), 0);
	snprintf(path, sizeof(path), "%s/" REVOKED_FILE, folder.path);
	f = fopen(path, "r+");
	n = fread(file, 1, sizeof(file), f);
	for (size_t cut = 1; cut < n; cut++) {
		rewind(f);
		cr_assert_eq(fwrite(file, 1, cut, f), cut);
		fflush(f);
		cr_assert_eq(ftruncate(fileno(f), (off_t)cut), 0);
		revoked_clear(&r);
		cr_expect(revoked_load(&r, folder.fd, ca.trust) == -EBADMSG ||
		                  (r.number == 6 && !is_revoked('a')),
		          "%zu", cut);
	}
	fclose(f);
}
