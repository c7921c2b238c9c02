/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/cert.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/pem.h"
#include "tests/zoo.h"

#define NOW 1800000000 /* 2027-01-15 */

/* Each test is a process of its own, so these are its locals; they are too large for a stack. */
static char pem[32768];
static uint8_t der[CERT_CHAIN_MAX * CERT_DER_MAX];
static struct zoo_ca root, other, between;
static struct cert_trust *trust;

static void begin(void)
{
	zoo_root(&root, "home", 1, NOW);
	trust = zoo_trust(&root);
}

static void end(void)
{
	cert_trust_free(trust);
	zoo_ca_clear(&root);
}

TestSuite(cert, .init = begin, .fini = end);

static const struct cert_expect n1 = {.cluster = "home", .node = "n1", .role = ROLE_NODE};

static enum cert_refusal judge_at(const struct zoo_node *n, time_t wall)
{
	struct cert_info info;

	return cert_judge(&info, trust, &n->chain, &n1, wall);
}

static enum cert_refusal judge_bytes(const uint8_t *bytes, size_t len)
{
	struct cert_chain chain = {.n = 1, .at = {{bytes, len}}};
	struct cert_info info;

	return cert_judge(&info, trust, &chain, &n1, NOW);
}

#define EXPECT(got, wanted, what)                                                       \
	cr_expect_eq((got), (wanted), "%s: %s, not %s", (what), cert_refusal_name(got), \
	             cert_refusal_name(wanted))

/* -- the zoo ------------------------------------------------------------------------------------- */

Test(cert, answers_to_each_animal_of_the_zoo_by_its_name)
{
	for (unsigned kind = 0; kind < ZOO_COUNT; kind++) {
		struct cert_info info;
		enum cert_refusal got;
		struct zoo_node n;

		memset(&info, 0xa5, sizeof(info));
		zoo_node(&n, (enum zoo_kind)kind, &root, "n1", NULL, NOW);
		got = cert_judge(&info, trust, &n.chain, &n1, NOW);
		EXPECT(got, zoo_list[kind].why, zoo_list[kind].name);
		if (got == CERT_OK)
			cr_expect_str_eq(info.node, "n1");
		else
			cr_expect_eq((uint8_t)info.node[0], 0xa5, "%s: info was written",
			             zoo_list[kind].name);
		zoo_node_clear(&n);
	}
}

Test(cert, refuses_the_same_behind_an_intermediate_and_before_the_root)
{
	zoo_intermediate(&between, &root, "ca 1", NOW);
	for (unsigned kind = ZOO_EXPIRED; kind < ZOO_COUNT; kind++) {
		struct zoo_node n;

		zoo_node(&n, (enum zoo_kind)kind, &between, "n1", NULL, NOW);
		zoo_chain_add(&n, &between);
		zoo_chain_add(&n, &root);
		EXPECT(judge_at(&n, NOW), zoo_list[kind].why, zoo_list[kind].name);
		zoo_node_clear(&n);
	}
	zoo_ca_clear(&between);
}

Test(cert, wants_the_role_that_is_needed)
{
	const struct cert_expect manager = {.cluster = "home", .role = ROLE_MANAGER};
	struct cert_info info;
	struct zoo_node n;

	zoo_node(&n, ZOO_NODE, &root, "n1", NULL, NOW);
	cr_expect_eq(cert_judge(&info, trust, &n.chain, &manager, NOW), CERT_ROLE);
	zoo_node_clear(&n);
	zoo_node(&n, ZOO_PLAIN, &root, "n1", NULL, NOW);
	cr_expect_eq(cert_judge(&info, trust, &n.chain, &manager, NOW), CERT_ROLE);
	zoo_node_clear(&n);
	zoo_node(&n, ZOO_MANAGER, &root, "n1", NULL, NOW);
	cr_expect_eq(cert_judge(&info, trust, &n.chain, &manager, NOW), CERT_OK);
	zoo_node_clear(&n);
}

Test(cert, takes_any_name_if_none_was_dialled)
{
	const struct cert_expect anyone = {.cluster = "home", .role = ROLE_NODE};
	struct cert_info info;
	struct zoo_node n;

	zoo_node(&n, ZOO_OTHER_NAME, &root, "n1", NULL, NOW);
	cr_expect_eq(cert_judge(&info, trust, &n.chain, &anyone, NOW), CERT_OK);
	cr_expect_str_eq(info.node, "n1x");
	zoo_node_clear(&n);
}

/* -- chains -------------------------------------------------------------------------------------- */

Test(cert, takes_the_root_at_the_end_or_not)
{
	struct zoo_node n;

	zoo_node(&n, ZOO_NODE, &root, "n1", NULL, NOW);
	cr_expect_eq(judge_at(&n, NOW), CERT_OK);
	zoo_chain_add(&n, &root);
	cr_expect_eq(judge_at(&n, NOW), CERT_OK);
	zoo_node_clear(&n);

	zoo_node(&n, ZOO_UNDER, &root, "n1", NULL, NOW);
	cr_expect_eq(n.chain.n, 2);
	cr_expect_eq(judge_at(&n, NOW), CERT_OK);
	zoo_chain_add(&n, &root);
	cr_expect_eq(judge_at(&n, NOW), CERT_OK);
	n.chain.n = 1;
	cr_expect_eq(judge_at(&n, NOW), CERT_OTHER_CA, "the intermediate is missing");
	zoo_node_clear(&n);
}

Test(cert, refuses_an_empty_chain_and_one_that_did_not_fit)
{
	struct cert_chain chain = {0};
	struct cert_info info;

	cr_expect_eq(cert_judge(&info, trust, &chain, &n1, NOW), CERT_NO_CERTIFICATE);
	chain.n = CERT_CHAIN_MAX + 1;
	chain.at[0].len = 1;
	cr_expect_eq(cert_judge(&info, trust, &chain, &n1, NOW), CERT_CHAIN_LENGTH);
	cr_expect_eq(cert_parse(&info, NULL, 0), CERT_NO_CERTIFICATE);
}

Test(cert, refuses_an_intermediate_where_the_root_allows_none)
{
	struct zoo_node n;

	cert_trust_free(trust);
	zoo_root(&other, "home", 0, NOW);
	trust = zoo_trust(&other);
	zoo_node(&n, ZOO_NODE, &other, "n1", NULL, NOW);
	cr_expect_eq(judge_at(&n, NOW), CERT_OK);
	zoo_node_clear(&n);
	zoo_node(&n, ZOO_UNDER, &other, "n1", NULL, NOW);
	EXPECT(judge_at(&n, NOW), CERT_PATH_LENGTH, "under a root of path length 0");
	zoo_node_clear(&n);
	zoo_ca_clear(&other);
}

/* One intermediate, spoiled by the caller's recipe, and a good node under it. */
static enum cert_refusal judge_under(const struct zoo_recipe *r)
{
	enum cert_refusal why;
	struct zoo_node n;

	zoo_write(r, root.key, between.der, &between.len);
	zoo_node(&n, ZOO_NODE, &between, "n1", NULL, NOW);
	zoo_chain_add(&n, &between);
	why = judge_at(&n, NOW);
	zoo_node_clear(&n);
	return why;
}

Test(cert, judges_an_intermediate_as_well)
{
	struct zoo_recipe good, r;

	zoo_intermediate(&between, &root, "ca 1", NOW);
	good = zoo_recipe_ca(&between, &root, 0, NOW);
	EXPECT(judge_under(&good), CERT_OK, "good");
	r = good;
	r.not_after = NOW - 1;
	EXPECT(judge_under(&r), CERT_EXPIRED, "expired");
	r = good;
	r.not_before = NOW + 1;
	EXPECT(judge_under(&r), CERT_NOT_YET_VALID, "not yet");
	r = good;
	r.usage = X509_CRL_SIGN;
	EXPECT(judge_under(&r), CERT_ISSUER_NOT_CA, "signs lists only");
	r = good;
	r.ca = false;
	EXPECT(judge_under(&r), CERT_ISSUER_NOT_CA, "no CA");
	r = good;
	r.critical = true;
	EXPECT(judge_under(&r), CERT_CRITICAL, "critical extension");
	r = good;
	r.client = true;
	EXPECT(judge_under(&r), CERT_USAGE, "for clients only");
	r.server = true;
	EXPECT(judge_under(&r), CERT_OK, "for both");
	r = good;
	r.sha384 = true;
	EXPECT(judge_under(&r), CERT_WEAK_KEY, "signed by another hash");
	r = good;
	r.usage = 0;
	EXPECT(judge_under(&r), CERT_OK, "no key usage");
	zoo_ca_clear(&between);
}

Test(cert, refuses_what_an_intermediate_of_another_root_issued)
{
	struct zoo_node n;

	zoo_ca_new(&other, NULL, "home", ZOO_ROOT_NAME, 1, NOW);
	zoo_intermediate(&between, &other, "ca 1", NOW);
	zoo_node(&n, ZOO_NODE, &between, "n1", NULL, NOW);
	zoo_chain_add(&n, &between);
	zoo_chain_add(&n, &other);
	cr_expect_eq(judge_at(&n, NOW), CERT_OTHER_CA);
	zoo_node_clear(&n);
	zoo_ca_clear(&between);
	zoo_ca_clear(&other);
}

Test(cert, trusts_two_roots_of_one_name)
{
	struct zoo_node n;
	size_t len = 0;

	zoo_root(&other, "home", 1, NOW);
	cr_assert_eq(cert_to_pem(pem, sizeof(pem), &len, other.der, other.len), 0);
	cr_assert_eq(cert_to_pem(pem, sizeof(pem), &len, root.der, root.len), 0);
	cert_trust_free(trust);
	cr_assert_eq(cert_trust_new(&trust, (const uint8_t *)pem, len), 0);
	zoo_node(&n, ZOO_NODE, &root, "n1", NULL, NOW);
	cr_expect_eq(judge_at(&n, NOW), CERT_OK);
	zoo_node_clear(&n);
	zoo_node(&n, ZOO_NODE, &other, "n1", NULL, NOW);
	cr_expect_eq(judge_at(&n, NOW), CERT_OK);
	zoo_node_clear(&n);
	zoo_ca_clear(&other);
}

Test(cert, does_not_take_our_root_for_a_node)
{
	cr_expect_eq(judge_bytes(root.der, root.len), CERT_SELF_SIGNED);
}

/* -- time ---------------------------------------------------------------------------------------- */

Test(cert, judges_dates_to_the_second)
{
	struct zoo_node n;

	zoo_node(&n, ZOO_NODE, &root, "n1", NULL, NOW);
	cr_expect_eq(judge_at(&n, NOW - ZOO_HOUR), CERT_OK);
	cr_expect_eq(judge_at(&n, NOW - ZOO_HOUR - 1), CERT_NOT_YET_VALID);
	cr_expect_eq(judge_at(&n, NOW + 100 * ZOO_HOUR), CERT_OK);
	cr_expect_eq(judge_at(&n, NOW + 100 * ZOO_HOUR + 1), CERT_EXPIRED);
	zoo_node_clear(&n);
}

Test(cert, refuses_all_when_the_root_has_ended)
{
	struct zoo_recipe r = zoo_recipe_ca(&root, &root, 1, NOW);
	struct zoo_node n;

	r.not_after = NOW - 1;
	zoo_write(&r, root.key, root.der, &root.len);
	cert_trust_free(trust);
	trust = zoo_trust(&root);
	zoo_node(&n, ZOO_NODE, &root, "n1", NULL, NOW);
	cr_expect_eq(judge_at(&n, NOW), CERT_EXPIRED);
	zoo_node_clear(&n);
}

/* -- damage -------------------------------------------------------------------------------------- */

Test(cert, refuses_each_single_bit_flipped)
{
	struct zoo_node n;
	size_t len;

	zoo_node(&n, ZOO_NODE, &root, "n1", NULL, NOW);
	len = n.chain.at[0].len;
	memcpy(der, n.der[0], len);
	cr_assert_eq(judge_bytes(der, len), CERT_OK);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		der[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		cr_expect_neq(judge_bytes(der, len), CERT_OK, "bit %zu", bit);
		der[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	zoo_node_clear(&n);
}

Test(cert, refuses_each_length_but_the_right_one)
{
	struct cert_info info;
	struct zoo_node n;
	size_t len;

	zoo_node(&n, ZOO_NODE, &root, "n1", NULL, NOW);
	len = n.chain.at[0].len;
	for (size_t cut = 1; cut < len; cut++) {
		/* A block of its own, so that a sanitizer sees a byte too far. */
		uint8_t *part = malloc(cut);

		cr_assert(part);
		memcpy(part, n.der[0], cut);
		cr_expect_eq(judge_bytes(part, cut), CERT_MALFORMED, "cut at %zu", cut);
		free(part);
	}
	n.der[0][len] = 0;
	cr_expect_eq(judge_bytes(n.der[0], len + 1), CERT_MALFORMED, "one byte more");
	cr_expect_eq(cert_parse(&info, n.der[0], len + 1), CERT_MALFORMED);
	cr_expect_eq(cert_parse(&info, n.der[0], len), CERT_OK);
	zoo_node_clear(&n);
}

Test(cert, refuses_a_length_that_is_not_minimal)
{
	struct zoo_node n;
	size_t len, at;

	/* The signature's BIT STRING, which the signature does not cover: 03 47 → 03 81 47. */
	zoo_node(&n, ZOO_NODE, &root, "n1", NULL, NOW);
	len = n.chain.at[0].len;
	for (at = len - 75; n.der[0][at] != DER_BIT_STRING || at + 2 + n.der[0][at + 1] != len;
	     at++)
		cr_assert_lt(at, len - 2);
	memcpy(der, n.der[0], at + 1);
	der[at + 1] = 0x81;
	memcpy(der + at + 2, n.der[0] + at + 1, len - at - 1);
	der[2] = (uint8_t)((len + 1 - 4) >> 8);
	der[3] = (uint8_t)(len + 1 - 4);
	cr_expect_eq(judge_bytes(der, len + 1), CERT_MALFORMED);
	zoo_node_clear(&n);
}

/* -- names and labels ------------------------------------------------------------------------------ */

Test(cert, knows_what_a_name_is)
{
	char longest[CERT_NAME_MAX + 2];

	memset(longest, 'a', sizeof(longest));
	longest[CERT_NAME_MAX] = 0;
	cr_expect(cert_name_ok("n1"));
	cr_expect(cert_name_ok("9"));
	cr_expect(cert_name_ok("rack-4-n1"));
	cr_expect(cert_name_ok(longest));
	longest[CERT_NAME_MAX] = 'a';
	longest[CERT_NAME_MAX + 1] = 0;
	cr_expect_not(cert_name_ok(longest));
	cr_expect_not(cert_name_ok(""));
	cr_expect_not(cert_name_ok("N1"));
	cr_expect_not(cert_name_ok("-n1"));
	cr_expect_not(cert_name_ok("n1-"));
	cr_expect_not(cert_name_ok("n.1"));
	cr_expect_not(cert_name_ok("n_1"));
	cr_expect_not(cert_name_ok("n 1"));
	cr_expect_not(cert_name_ok("n\xc3\xa9"));
}

Test(cert, keeps_labels_sorted_and_each_key_once)
{
	struct cert_labels l = {0};
	char text[160], key[CERT_LABEL_KEY_MAX + 2];

	cr_expect_eq(cert_labels_add(&l, "zone=pci"), 0);
	cr_expect_eq(cert_labels_add(&l, "disk=ssd"), 0);
	cr_expect_eq(cert_labels_add(&l, "zone=dmz"), 0);
	cr_expect_eq(cert_labels_add(&l, "example.org/rack=r-4_b"), 0);
	cr_expect_eq(l.n, 3);
	cr_expect_str_eq(l.at[0].key, "disk");
	cr_expect_str_eq(l.at[1].key, "example.org/rack");
	cr_expect_str_eq(l.at[2].value, "dmz");
	cr_expect_eq(cert_labels_add(&l, "zone"), -EINVAL);
	cr_expect_eq(cert_labels_add(&l, "zone="), -EINVAL);
	cr_expect_eq(cert_labels_add(&l, "=pci"), -EINVAL);
	cr_expect_eq(cert_labels_add(&l, "zone=a b"), -EINVAL);
	cr_expect_eq(cert_labels_add(&l, "zone=a=b"), -EINVAL);
	cr_expect_eq(cert_labels_add(&l, "-zone=a"), -EINVAL);
	cr_expect_eq(cert_labels_add(&l, "zone=a/b"), -EINVAL);
	memset(key, 'k', sizeof(key));
	key[CERT_LABEL_KEY_MAX + 1] = 0;
	snprintf(text, sizeof(text), "%s=v", key);
	cr_expect_eq(cert_labels_add(&l, text), -EINVAL, "a key of 64");
	snprintf(text, sizeof(text), "%s=v", key + 1);
	cr_expect_eq(cert_labels_add(&l, text), 0, "a key of 63");
	while (l.n < CERT_LABELS_MAX) {
		snprintf(text, sizeof(text), "k%u=v", l.n);
		cr_assert_eq(cert_labels_add(&l, text), 0);
	}
	cr_expect_eq(cert_labels_add(&l, "one-more=v"), -E2BIG);
	cr_expect_eq(cert_labels_add(&l, "zone=pci"), 0, "replacing needs no room");
}

Test(cert, names_each_refusal_and_role_once)
{
	enum cert_role role;

	for (unsigned a = 0; a < CERT_REFUSAL_COUNT; a++) {
		for (unsigned b = 0; b < a; b++)
			cr_expect_str_neq(cert_refusal_name((enum cert_refusal)a),
			                  cert_refusal_name((enum cert_refusal)b));
		cr_expect_gt(strlen(cert_refusal_text((enum cert_refusal)a)), 0);
	}
	cr_expect_str_eq(cert_refusal_name(CERT_EXPIRED), "expired");
	cr_expect_str_eq(cert_refusal_name((enum cert_refusal)1000), "unknown");
	cr_expect_eq(cert_role_parse(&role, "manager"), 0);
	cr_expect_eq(role, ROLE_MANAGER);
	cr_expect_str_eq(cert_role_name(role), "manager");
	cr_expect_eq(cert_role_parse(&role, "Manager"), -EINVAL);
	cr_expect_eq(cert_role_parse(&role, ""), -EINVAL);
}

/* -- the private extension --------------------------------------------------------------------------- */

Test(cert, reads_the_claim_as_it_was_written)
{
	struct cert_labels labels = {0};
	uint8_t buf[2048];
	struct der_out o;
	struct claim c;

	cert_labels_add(&labels, "a=1");
	cert_labels_add(&labels, "b=2");
	der_out_init(&o, buf, sizeof(buf));
	claim_put(&o, ROLE_MANAGER, UINT64_MAX, 0, &labels);
	cr_assert_eq(o.err, 0);
	cr_assert_eq(claim_parse(&c, buf, o.n), 0);
	cr_expect_eq(c.role, ROLE_MANAGER);
	cr_expect_eq(c.incarnation, UINT64_MAX);
	cr_expect_eq(c.issue, 0);
	cr_expect_eq(c.labels.n, 2);
	cr_expect_str_eq(c.labels.at[1].value, "2");
	for (size_t cut = 0; cut < o.n; cut++)
		cr_expect_eq(claim_parse(&c, buf, cut), -EBADMSG, "cut at %zu", cut);
	cr_expect_eq(claim_parse(&c, buf, o.n + 1), -EBADMSG);
}

Test(cert, refuses_a_claim_in_another_form)
{
	static const struct {
		const char *what;
		uint8_t bytes[40];
		size_t n;
	} rows[] = {
		{"good", {0x30, 11, 2, 1, 1, 2, 1, 7, 2, 1, 9, 0x30, 0}, 13},
		{"role 0", {0x30, 11, 2, 1, 0, 2, 1, 7, 2, 1, 9, 0x30, 0}, 13},
		{"role 3", {0x30, 11, 2, 1, 3, 2, 1, 7, 2, 1, 9, 0x30, 0}, 13},
		{"negative", {0x30, 11, 2, 1, 1, 2, 1, 0x87, 2, 1, 9, 0x30, 0}, 13},
		{"long zero", {0x30, 12, 2, 1, 1, 2, 2, 0, 7, 2, 1, 9, 0x30, 0}, 14},
		{"no labels", {0x30, 9, 2, 1, 1, 2, 1, 7, 2, 1, 9}, 11},
		{"more behind", {0x30, 13, 2, 1, 1, 2, 1, 7, 2, 1, 9, 0x30, 0, 5, 0}, 15},
		{"nine bytes",
	         {0x30, 19, 2, 1, 1, 2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 9, 0x30, 0},
	         21},
		{"key twice",
	         {0x30, 27, 2,   1,  1, 2,   1,    7, 2,  1, 9,   0x30, 16, 0x30, 6,
	          12,   1,  'a', 12, 1, 'b', 0x30, 6, 12, 1, 'a', 12,   1,  'c'},
	         29},
		{"not sorted",
	         {0x30, 27, 2,   1,  1, 2,   1,    7, 2,  1, 9,   0x30, 16, 0x30, 6,
	          12,   1,  'b', 12, 1, 'b', 0x30, 6, 12, 1, 'a', 12,   1,  'c'},
	         29},
		{"NUL in a value",
	         {0x30, 21,   2, 1,  1, 2,   1,  7, 2,   1, 9,  0x30,
	          10,   0x30, 8, 12, 1, 'a', 12, 3, 'b', 0, 'c'},
	         23},
	};
	struct claim c;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect_eq(claim_parse(&c, rows[i].bytes, rows[i].n), i == 0 ? 0 : -EBADMSG, "%s",
		             rows[i].what);
}

/* -- certificates of another maker ----------------------------------------------------------------- */

static size_t file_read(const char *name, char *buf, size_t max)
{
	char path[160];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "tests/golden/own-pki/%s", name);
	f = fopen(path, "r");
	cr_assert(f, "%s", path);
	n = fread(buf, 1, max, f);
	fclose(f);
	cr_assert(n > 0 && n < max);
	return n;
}

static int trust_from(const char *name)
{
	size_t n = file_read(name, pem, sizeof(pem));

	cert_trust_free(trust);
	trust = NULL;
	return cert_trust_new(&trust, (const uint8_t *)pem, n);
}

static enum cert_refusal judge_file(const char *name, const char *node, struct cert_info *info)
{
	const struct cert_expect expect = {.cluster = "bench", .node = node, .role = ROLE_NODE};
	struct cert_chain chain;
	size_t n = file_read(name, pem, sizeof(pem));

	cr_assert_eq(cert_chain_from_pem(&chain, der, sizeof(der), (const uint8_t *)pem, n), 0);
	return cert_judge(info, trust, &chain, &expect, NOW);
}

Test(cert, takes_what_openssl_made)
{
	struct cert_info info;
	struct cert_key *key;
	size_t n;

	cr_assert_eq(trust_from("ca.pem"), 0);
	cr_expect_eq(judge_file("n1.pem", "n1", &info), CERT_OK);
	cr_expect_str_eq(info.cluster, "bench");
	cr_expect_str_eq(info.node, "n1");
	cr_expect_eq(info.role, ROLE_NODE);
	cr_expect_not(info.extended);
	cr_expect_eq(info.labels.n, 0);
	EXPECT(judge_file("under.pem", "n2", &info), CERT_OK, "under an intermediate");
	EXPECT(judge_file("critical.pem", "n3", &info), CERT_CRITICAL, "critical");
	EXPECT(judge_file("v1.pem", "n4", &info), CERT_USAGE, "version 1");

	n = file_read("n1.key", pem, sizeof(pem));
	cr_assert_eq(cert_key_from_pem(&key, (const uint8_t *)pem, n), 0);
	cert_key_free(key);
	n = file_read("n2.key", pem, sizeof(pem));
	cr_assert_eq(cert_key_from_pem(&key, (const uint8_t *)pem, n), 0, "with parameters before");
	cert_key_free(key);
}

Test(cert, trusts_no_root_of_another_kind)
{
	cr_expect_eq(trust_from("p384-ca.pem"), -EINVAL);
	cr_expect_eq(trust_from("rsa-ca.pem"), -EINVAL);
	cr_expect_eq(trust_from("n1.pem"), -EINVAL, "a leaf is no root");
	cr_expect_eq(trust_from("n1.key"), -EBADMSG, "a key is no root");
}

Test(cert, trusts_no_damaged_root)
{
	size_t n = 0;

	root.der[root.len - 1] ^= 1; /* in the signature */
	cr_assert_eq(cert_to_pem(pem, sizeof(pem), &n, root.der, root.len), 0);
	cert_trust_free(trust);
	trust = NULL;
	cr_expect_eq(cert_trust_new(&trust, (const uint8_t *)pem, n), -EINVAL);
}

/* -- PEM ----------------------------------------------------------------------------------------- */

static int chain_count(const char *text, size_t n)
{
	struct cert_chain chain;
	int err = cert_chain_from_pem(&chain, der, sizeof(der), (const uint8_t *)text, n);

	return err ? err : (int)chain.n;
}

Test(cert, reads_the_pem_that_it_writes)
{
	struct cert_chain chain;
	size_t n = 0;

	cr_assert_eq(cert_to_pem(pem, sizeof(pem), &n, root.der, root.len), 0);
	cr_expect_eq(strlen(pem), n);
	cr_assert_eq(cert_chain_from_pem(&chain, der, sizeof(der), (const uint8_t *)pem, n), 0);
	cr_expect_eq(chain.n, 1);
	cr_expect_eq(chain.at[0].len, root.len);
	cr_expect_eq(memcmp(chain.at[0].der, root.der, root.len), 0);
	for (unsigned i = 0; i < CERT_CHAIN_MAX; i++) {
		cr_expect_eq(chain_count(pem, n), (int)i + 1);
		cr_assert_eq(cert_to_pem(pem, sizeof(pem), &n, root.der, root.len), 0);
	}
	cr_expect_eq(chain_count(pem, n), -E2BIG, "four");
}

Test(cert, writes_no_pem_past_its_end)
{
	size_t n = 0, need;

	cr_assert_eq(cert_to_pem(pem, sizeof(pem), &n, root.der, root.len), 0);
	need = n + 1;
	for (size_t max = 0; max < need; max++) {
		n = 0;
		memset(pem, 'x', sizeof(pem));
		cr_expect_eq(cert_to_pem(pem, max, &n, root.der, root.len), -E2BIG, "%zu", max);
		cr_expect_eq(n, 0);
		cr_expect_eq(pem[max], 'x');
	}
	n = 0;
	cr_expect_eq(cert_to_pem(pem, need, &n, root.der, root.len), 0);
}

Test(cert, refuses_pem_that_is_cut_or_damaged)
{
	static const char one[] = "-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n";
	static const struct {
		const char *body;
		int want;
	} rows[] = {
		{"AAAA\n", 1},
		{"AA AA\r\n\tAAAA\n", 1},
		{"AAA=\n", 1},
		{"AA==\n", 1},
		{"", -EBADMSG},
		{"A\n", -EBADMSG},
		{"AA\n", -EBADMSG},
		{"AAA\n", -EBADMSG},
		{"A===\n", -EBADMSG},
		{"====\n", -EBADMSG},
		{"AAB=\n", -EBADMSG}, /* bits left over are not zero */
		{"AB==\n", -EBADMSG},
		{"AA=A\n", -EBADMSG},
		{"AAA=AAAA\n", -EBADMSG},
		{"AAA==\n", -EBADMSG},
		{"AA-A\n", -EBADMSG},
		{"AA_A\n", -EBADMSG},
		{"AA\x80\x41\n", -EBADMSG},
		{"Proc-Type: 4,ENCRYPTED\n\nAAAA\n", -EBADMSG},
		{"AAAA\n-----BEGIN CERTIFICATE-----\nAAAA\n", -EBADMSG},
	};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int len = snprintf(pem, sizeof(pem), one, rows[i].body);

		cr_expect_eq(chain_count(pem, (size_t)len), rows[i].want, "\"%s\"", rows[i].body);
	}
	cr_expect_eq(chain_count("", 0), -EBADMSG);
	cr_expect_eq(chain_count("no block\n", 9), -EBADMSG);
	n = 0;
	cr_assert_eq(cert_to_pem(pem, sizeof(pem), &n, root.der, root.len), 0);
	for (size_t cut = 0; cut + 6 < n; cut++) /* the last dashes may be cut, and the newline */
		cr_expect_eq(chain_count(pem, cut), -EBADMSG, "cut at %zu", cut);
}

Test(cert, passes_over_text_and_other_blocks)
{
	static const char before[] = "Certificate:\n    Data: -----BEGIN\n"
				     "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
				     "-----END EC PARAMETERS-----\n";
	size_t n = strlen(before);

	memcpy(pem, before, n);
	cr_assert_eq(cert_to_pem(pem, sizeof(pem), &n, root.der, root.len), 0);
	cr_expect_eq(chain_count(pem, n), 1);
}

/* -- keys ---------------------------------------------------------------------------------------- */

static int key_read(const char *text)
{
	struct cert_key *k;
	int err = cert_key_from_pem(&k, (const uint8_t *)text, strlen(text));

	if (!err)
		cert_key_free(k);
	return err;
}

Test(cert, reads_the_key_that_it_writes)
{
	struct cert_key *k, *again;
	const uint8_t *a, *b;
	size_t n, a_len, b_len;

	cr_assert_eq(cert_key_new(&k), 0);
	cr_assert_eq(cert_key_to_pem(k, pem, sizeof(pem), &n), 0);
	cr_expect_eq(n, strlen(pem));
	cr_assert_eq(cert_key_from_pem(&again, (const uint8_t *)pem, n), 0);
	a = cert_key_der(k, &a_len);
	b = cert_key_der(again, &b_len);
	cr_expect(a_len == b_len && memcmp(a, b, a_len) == 0);
	a = cert_key_spki(k, &a_len);
	b = cert_key_spki(again, &b_len);
	cr_expect(a_len == b_len && memcmp(a, b, a_len) == 0);
	cert_key_free(again);
	cert_key_free(k);

	for (size_t cut = 0; cut + 6 < n; cut++) {
		cr_expect_eq(cert_key_from_pem(&again, (const uint8_t *)pem, cut), -EBADMSG, "%zu",
		             cut);
	}
}

Test(cert, refuses_a_key_file_of_another_kind)
{
	size_t n;

	pem[file_read("p384.key", pem, sizeof(pem))] = 0;
	cr_expect_eq(key_read(pem), -EINVAL, "P-384");
	pem[file_read("rsa.key", pem, sizeof(pem))] = 0;
	cr_expect_eq(key_read(pem), -EINVAL, "RSA");
	pem[file_read("encrypted.key", pem, sizeof(pem))] = 0;
	cr_expect_eq(key_read(pem), -EINVAL, "encrypted");
	pem[file_read("n1.pem", pem, sizeof(pem))] = 0;
	cr_expect_eq(key_read(pem), -EBADMSG, "a certificate");
	n = file_read("n1.key", pem, sizeof(pem));
	n += file_read("n1.key", pem + n, sizeof(pem) - n);
	pem[n] = 0;
	cr_expect_eq(key_read(pem), -EBADMSG, "two keys");
}

Test(cert, refuses_a_key_with_each_bit_flipped)
{
	struct cert_key *k, *bad;
	const uint8_t *bytes;
	size_t len, n;

	cr_assert_eq(cert_key_new(&k), 0);
	bytes = cert_key_der(k, &len);
	memcpy(der, bytes, len);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		int err;

		der[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		n = 0;
		cr_assert_eq(pem_append(pem, sizeof(pem), &n, "EC PRIVATE KEY", der, len), 0);
		err = cert_key_from_pem(&bad, (const uint8_t *)pem, n);
		cr_expect(err == -EBADMSG || err == -EINVAL, "bit %zu: %d", bit, err);
		der[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	cert_key_free(k);
}

Test(cert, refuses_scalars_out_of_range)
{
	static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,
	                                  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	                                  0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
	                                  0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
	static const uint8_t head[7] = {0x30, 49, 2, 1, 1, 4, 32};
	static const uint8_t curve[12] = {0xa0, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};
	struct cert_key *k;

	memcpy(der, head, sizeof(head));
	memcpy(der + 39, curve, sizeof(curve));
	for (int row = 0; row < 4; row++) {
		size_t n = 0;
		int want = row == 0 || row == 2 ? -EBADMSG : 0;

		memcpy(der + 7, order, sizeof(order));
		if (row == 0)
			memset(der + 7, 0, 32);
		else if (row == 1)
			der[7 + 31] -= 1; /* n - 1 */
		else if (row == 3) {
			memset(der + 7, 0, 32);
			der[7 + 31] = 1;
		}
		cr_assert_eq(pem_append(pem, sizeof(pem), &n, "EC PRIVATE KEY", der, 51), 0);
		cr_expect_eq(cert_key_from_pem(&k, (const uint8_t *)pem, n), want, "row %d", row);
		if (!want)
			cert_key_free(k);
	}
}

Test(cert, makes_the_same_key_from_the_same_seed)
{
	struct cert_key *a, *b, *c;
	const uint8_t *x, *y, *z;
	size_t n;

	cr_assert_eq(cert_key_from_seed(&a, (const uint8_t *)"seed", 4, "one"), 0);
	cr_assert_eq(cert_key_from_seed(&b, (const uint8_t *)"seed", 4, "one"), 0);
	cr_assert_eq(cert_key_from_seed(&c, (const uint8_t *)"seed", 4, "two"), 0);
	x = cert_key_spki(a, &n);
	y = cert_key_spki(b, &n);
	z = cert_key_spki(c, &n);
	cr_expect_eq(memcmp(x, y, n), 0);
	cr_expect_neq(memcmp(x, z, n), 0);
	cr_expect_eq(cert_spki_check(x, n), 0);
	cert_key_free(a);
	cert_key_free(b);
	cert_key_free(c);
	cr_expect_eq(cert_key_from_seed(&a, (const uint8_t *)"", 0, "one"), -EINVAL);
}

Test(cert, verifies_what_it_signed_and_nothing_else)
{
	struct cert_key *k, *stranger;
	const uint8_t *spki, *wrong;
	uint8_t sig[CERT_SIG_MAX + 1];
	size_t spki_len, wrong_len, n;

	cr_assert_eq(cert_key_new(&k), 0);
	cr_assert_eq(cert_key_new(&stranger), 0);
	spki = cert_key_spki(k, &spki_len);
	wrong = cert_key_spki(stranger, &wrong_len);
	cr_assert_eq(cert_key_sign(k, "text", 4, sig, &n), 0);
	cr_expect_leq(n, CERT_SIG_MAX);
	cr_expect_eq(cert_verify(spki, spki_len, "text", 4, sig, n), 0);
	cr_expect_eq(cert_verify(spki, spki_len, "test", 4, sig, n), -EBADMSG);
	cr_expect_eq(cert_verify(spki, spki_len, "text", 3, sig, n), -EBADMSG);
	cr_expect_eq(cert_verify(wrong, wrong_len, "text", 4, sig, n), -EBADMSG);
	cr_expect_eq(cert_verify(spki, spki_len - 1, "text", 4, sig, n), -EINVAL);
	cr_expect_eq(cert_verify(zoo_p384, sizeof(zoo_p384), "text", 4, sig, n), -EINVAL);
	cr_expect_eq(cert_verify(spki, spki_len, "text", 4, NULL, 0), -EBADMSG);
	sig[n] = 0;
	cr_expect_eq(cert_verify(spki, spki_len, "text", 4, sig, n + 1), -EBADMSG);
	for (size_t bit = 0; bit < 8 * n; bit++) {
		sig[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		cr_expect_eq(cert_verify(spki, spki_len, "text", 4, sig, n), -EBADMSG, "bit %zu",
		             bit);
		sig[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	for (size_t cut = 0; cut < n; cut++)
		cr_expect_eq(cert_verify(spki, spki_len, "text", 4, sig, cut), -EBADMSG);
	cert_key_free(k);
	cert_key_free(stranger);
}

/* -- requests ------------------------------------------------------------------------------------ */

Test(cert, takes_a_request_for_its_key_alone)
{
	struct cert_key *k;
	uint8_t csr[CERT_DER_MAX], spki[CERT_SPKI_MAX];
	const uint8_t *want;
	size_t n, want_len, spki_len = 0;

	cr_assert_eq(cert_key_new(&k), 0);
	cr_assert_eq(csr_new(k, "n1", csr, sizeof(csr), &n), 0);
	cr_assert_eq(csr_parse(csr, n, spki, &spki_len), 0);
	want = cert_key_spki(k, &want_len);
	cr_expect(spki_len == want_len && memcmp(spki, want, want_len) == 0);
	for (size_t bit = 0; bit < 8 * n; bit++) {
		csr[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		cr_expect_eq(csr_parse(csr, n, spki, &spki_len), -EBADMSG, "bit %zu", bit);
		csr[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	for (size_t cut = 0; cut < n; cut++)
		cr_expect_eq(csr_parse(csr, cut, spki, &spki_len), -EBADMSG, "cut at %zu", cut);
	csr[n] = 0;
	cr_expect_eq(csr_parse(csr, n + 1, spki, &spki_len), -EBADMSG);
	cr_expect_eq(csr_new(k, "N1", csr, sizeof(csr), &n), -EINVAL);
	cr_expect_eq(csr_new(k, "n1", csr, 100, &n), -E2BIG);
	cert_key_free(k);
}

Test(cert, takes_a_request_that_openssl_made)
{
	uint8_t csr[CERT_DER_MAX], spki[CERT_SPKI_MAX];
	size_t n = file_read("n1.csr", (char *)csr, sizeof(csr)), spki_len;

	cr_expect_eq(csr_parse(csr, n, spki, &spki_len), 0);
}
