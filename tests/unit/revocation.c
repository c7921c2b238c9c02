/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/revocation.h"

#include "tests/ends.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct ends_ca ca, other;
static struct revocations s, got;
static uint8_t list[REVOCATION_LIST_MAX];
static size_t len;
static uint64_t number;
static time_t issued;

static void setup(void)
{
	ends_ca_init(&ca);
	ends_ca_init(&other);
}

static void teardown(void)
{
	revocations_clear(&s);
	revocations_clear(&got);
	ends_ca_clear(&ca);
	ends_ca_clear(&other);
}

TestSuite(revocation, .init = setup, .fini = teardown);

static void add(enum revocation_kind kind, const char *subject, uint64_t value, time_t until)
{
	struct revocation r = {.kind = kind, .value = value, .until = until};

	if (kind == REVOCATION_KEY)
		memset(r.spki, subject[0], sizeof(r.spki));
	else
		snprintf(r.node, sizeof(r.node), "%s", subject);
	cr_assert_eq(revocations_add(&s, &r), 0);
}

static void make(const struct ends_ca *by)
{
	struct cert_chain chain;

	ca_chain(by->ca, &chain);
	cr_assert_eq(revocation_list_make(list, sizeof(list), &len, 77, 1234, &s, ca_key(by->ca),
	                                  &chain),
	             0);
}

static int read_list(size_t n)
{
	revocations_clear(&got);
	return revocation_list_read(&got, &number, &issued, list, n, ca.trust);
}

static enum cert_refusal judge(const char *node, uint64_t incarnation, uint64_t issue, char key,
                               bool labels)
{
	struct cert_info c = {.incarnation = incarnation, .issue = issue};

	snprintf(c.node, sizeof(c.node), "%s", node);
	memset(c.spki, key, sizeof(c.spki));
	return revocations_judge(&s, &c, labels);
}

Test(revocation, by_name_hits_every_certificate_of_that_incarnation_and_before)
{
	add(REVOCATION_INCARNATION, "n2", 3, 100);
	cr_expect_eq(judge("n2", 1, 9, 'a', true), CERT_REVOKED);
	cr_expect_eq(judge("n2", 3, 99, 'b', false), CERT_REVOKED);
	cr_expect_eq(judge("n2", 4, 1, 'a', true), CERT_OK); /* joined anew */
	cr_expect_eq(judge("n22", 1, 1, 'a', true), CERT_OK);
	cr_expect_eq(judge("n", 1, 1, 'a', true), CERT_OK);
}

Test(revocation, by_issue_hits_what_said_a_label_that_is_gone)
{
	add(REVOCATION_ISSUE, "n2", 7, 100);
	cr_expect_eq(judge("n2", 1, 6, 'a', true), CERT_REVOKED);
	cr_expect_eq(judge("n2", 1, 7, 'a', true), CERT_OK);
	cr_expect_eq(judge("n2", 1, 6, 'a', false), CERT_OK); /* labels do not matter here */
}

Test(revocation, by_key_hits_whatever_name_it_has)
{
	add(REVOCATION_KEY, "k", 0, 100);
	cr_expect_eq(judge("n9", 1, 1, 'k', false), CERT_REVOKED);
	cr_expect_eq(judge("n9", 1, 1, 'l', false), CERT_OK);
}

Test(revocation, of_one_subject_the_greater_value_and_the_later_end_stay)
{
	add(REVOCATION_INCARNATION, "n2", 3, 100);
	add(REVOCATION_INCARNATION, "n2", 2, 500);
	cr_expect_eq(s.n, 1);
	cr_expect_eq(s.at[0].value, 3);
	cr_expect_eq(s.at[0].until, 500);
	revocations_prune(&s, 500);
	cr_expect_eq(s.n, 1);
	revocations_prune(&s, 501);
	cr_expect_eq(s.n, 0);
}

Test(revocation, a_union_loses_nothing)
{
	struct revocations old;

	add(REVOCATION_INCARNATION, "n2", 3, 100);
	add(REVOCATION_KEY, "k", 0, 100);
	cr_assert_eq(revocations_copy(&old, &s), 0);
	revocations_clear(&s);
	add(REVOCATION_INCARNATION, "n5", 1, 100); /* of a ca that was restored */
	cr_expect_not(revocations_cover(&s, &old));
	cr_assert_eq(revocations_join(&s, &old), 0);
	cr_expect_eq(s.n, 3);
	cr_expect(revocations_cover(&s, &old));
	cr_expect_eq(judge("n2", 3, 1, 'a', false), CERT_REVOKED);
	cr_expect_eq(judge("n5", 1, 1, 'a', false), CERT_REVOKED);
	revocations_clear(&old);
}

Test(revocation, a_list_is_read_as_it_was_made)
{
	add(REVOCATION_INCARNATION, "n2", 3, 100);
	add(REVOCATION_ISSUE, "n3", 1ull << 40, 200);
	add(REVOCATION_KEY, "k", 0, 300);
	make(&ca);
	cr_assert_eq(read_list(len), 0);
	cr_expect_eq(number, 77);
	cr_expect_eq(issued, 1234);
	cr_expect_eq(got.n, 3);
	cr_expect(revocations_cover(&got, &s) && revocations_cover(&s, &got));
}

Test(revocation, a_list_that_is_cut_or_changed_is_refused)
{
	add(REVOCATION_INCARNATION, "n2", 3, 100);
	add(REVOCATION_KEY, "k", 0, 300);
	make(&ca);
	for (size_t n = 0; n < len; n++)
		cr_expect_eq(read_list(n), -EBADMSG, "%zu", n);
	for (size_t i = 0; i < len; i++) {
		list[i] ^= 1;
		cr_expect_eq(read_list(len), -EBADMSG, "%zu", i);
		list[i] ^= 1;
	}
	list[len] = 0;
	cr_expect_eq(read_list(len + 1), -EBADMSG);
	cr_expect_eq(read_list(len), 0);
}

Test(revocation, a_list_of_another_ca_or_of_a_node_is_refused)
{
	struct cert_chain chain = {.n = 2};
	struct ends_id node;

	add(REVOCATION_INCARNATION, "n2", 3, 100);
	make(&other);
	cr_expect_eq(read_list(len), -EBADMSG);
	ends_issue(&ca, &node, ENDS_CLUSTER, "n1", ROLE_NODE);
	chain.at[0].der = node.der;
	chain.at[0].len = node.len;
	cr_assert_eq(revocation_list_make(list, sizeof(list), &len, 99, 1, &s, node.key, &chain),
	             0);
	cr_expect_eq(read_list(len), -EBADMSG);
	ends_id_clear(&node);
}

Test(revocation, an_intermediate_of_ours_may_sign)
{
	struct cert_chain chain = {.n = 2};
	static uint8_t der[CERT_DER_MAX];
	struct cert_key *key;
	const uint8_t *spki;
	size_t n, der_len;

	add(REVOCATION_INCARNATION, "n2", 3, 100);
	cr_assert_eq(cert_key_new(&key), 0);
	spki = cert_key_spki(key, &n);
	cr_assert_eq(ca_issue_intermediate(ca.ca, ENDS_CLUSTER, ENDS_WALL, spki, n, der, &der_len),
	             0);
	chain.at[0].der = der;
	chain.at[0].len = der_len;
	cr_assert_eq(revocation_list_make(list, sizeof(list), &len, 5, 1, &s, key, &chain), 0);
	cr_expect_eq(read_list(len), 0);
	cr_expect_eq(got.n, 1);
	cert_key_free(key);
}

Test(revocation, a_set_and_a_list_are_bounded)
{
	struct revocation r = {.kind = REVOCATION_INCARNATION, .value = 1, .until = 1};
	unsigned n = 0;

	do
		snprintf(r.node, sizeof(r.node), "%062u", n++);
	while (!revocations_add(&s, &r));
	cr_expect_eq(s.n, REVOCATION_ENTRIES_MAX);
	make(&ca); /* the longest fits */
	cr_expect_eq(read_list(len), 0);
	cr_expect_eq(got.n, REVOCATION_ENTRIES_MAX);
}
