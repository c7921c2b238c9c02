/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/ca.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#define NOW 1800000000 /* 2027-01-15 */

static struct ca *ca;
static struct cert_trust *trust;
static struct cert_key *key;
static const uint8_t *spki;
static size_t spki_len;

static struct cert_trust *trust_of(const struct ca *of)
{
	struct cert_chain chain;
	struct cert_trust *t;
	char pem[4096];
	size_t n = 0;

	ca_chain(of, &chain);
	cr_assert_eq(cert_to_pem(pem, sizeof(pem), &n, chain.at[chain.n - 1].der,
				 chain.at[chain.n - 1].len),
		     0);
	cr_assert_eq(cert_trust_new(&t, (const uint8_t *)pem, n), 0);
	return t;
}

static void begin(void)
{
	cr_assert_eq(ca_new(&ca, "home", NOW), 0);
	cr_assert_eq(cert_key_new(&key), 0);
	spki = cert_key_spki(key, &spki_len);
	trust = trust_of(ca);
}

static void end(void)
{
	cert_trust_free(trust);
	cert_key_free(key);
	ca_free(ca);
}

TestSuite(ca, .init = begin, .fini = end);

static struct ca_grant grant_of(const char *node)
{
	return (struct ca_grant){
		.cluster = "home",
		.node = node,
		.role = ROLE_NODE,
		.incarnation = 3,
		.issue = 1ULL << 40,
		.not_before = NOW - CA_BACKDATE,
		.not_after = NOW + CA_NODE_LIFE,
	};
}

static struct cert_chain chain_of(const uint8_t *der, size_t len)
{
	return (struct cert_chain){ .n = 1, .at = { { der, len } } };
}

Test(ca, issues_what_the_judge_accepts)
{
	struct ca_grant g = grant_of("n1");
	struct cert_labels labels = { 0 };
	struct cert_expect expect = { .cluster = "home", .node = "n1", .role = ROLE_NODE };
	uint8_t der[CERT_DER_MAX], csr[512], asked[CERT_SPKI_MAX];
	size_t len, csr_len, asked_len;
	struct cert_info info;
	struct cert_chain chain;

	cr_assert_eq(cert_labels_add(&labels, "zone=pci"), 0);
	cr_assert_eq(cert_labels_add(&labels, "disk=ssd"), 0);
	g.labels = &labels;
	cr_assert_eq(csr_new(key, "n1", csr, sizeof(csr), &csr_len), 0);
	cr_assert_eq(csr_parse(csr, csr_len, asked, &asked_len), 0);
	cr_assert_eq(ca_issue(ca, &g, asked, asked_len, der, &len), 0);
	cr_assert(cert_key_matches(key, der, len));

	chain = chain_of(der, len);
	cr_assert_eq(cert_judge(&info, trust, &chain, &expect, NOW), CERT_OK);
	cr_expect_str_eq(info.cluster, "home");
	cr_expect_str_eq(info.node, "n1");
	cr_expect_eq(info.role, ROLE_NODE);
	cr_expect(info.extended);
	cr_expect_eq(info.incarnation, 3);
	cr_expect_eq(info.issue, 1ULL << 40);
	cr_expect_eq(info.labels.n, 2);
	cr_expect_str_eq(info.labels.at[0].key, "disk");
	cr_expect_str_eq(info.labels.at[1].value, "pci");
	cr_expect_eq(info.not_before, NOW - CA_BACKDATE);
	cr_expect_eq(info.not_after, NOW + CA_NODE_LIFE);
	cr_expect_eq(strlen(info.serial), 32);
}
