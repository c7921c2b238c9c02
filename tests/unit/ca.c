/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/ca.h"

#include <criterion/criterion.h>

#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/settings.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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
	return (struct cert_chain){.n = 1, .at = {{der, len}}};
}

Test(ca, issues_what_the_judge_accepts)
{
	struct ca_grant g = grant_of("n1");
	struct cert_labels labels = {0};
	struct cert_expect expect = {.cluster = "home", .node = "n1", .role = ROLE_NODE};
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

Test(ca, issues_for_each_role_and_without_labels)
{
	struct ca_grant g = grant_of("m1");
	uint8_t der[CERT_DER_MAX];
	struct cert_info info;
	size_t len;

	g.role = ROLE_MANAGER;
	cr_assert_eq(ca_issue(ca, &g, spki, spki_len, der, &len), 0);
	cr_assert_eq(cert_parse(&info, der, len), CERT_OK);
	cr_expect_eq(info.role, ROLE_MANAGER);
	cr_expect_eq(info.labels.n, 0);
}

Test(ca, gives_each_certificate_a_serial_of_its_own)
{
	struct ca_grant g = grant_of("n1");
	struct cert_info a, b;
	uint8_t der[CERT_DER_MAX];
	size_t len;

	cr_assert_eq(ca_issue(ca, &g, spki, spki_len, der, &len), 0);
	cr_assert_eq(cert_parse(&a, der, len), CERT_OK);
	cr_assert_eq(ca_issue(ca, &g, spki, spki_len, der, &len), 0);
	cr_assert_eq(cert_parse(&b, der, len), CERT_OK);
	cr_expect_str_neq(a.serial, b.serial);
}

Test(ca, refuses_a_grant_that_no_judge_would_take)
{
	const struct ca_grant good = grant_of("n1");
	struct cert_labels labels = {.n = 1};
	uint8_t der[CERT_DER_MAX], odd[CERT_SPKI_MAX];
	struct ca_grant g;
	size_t len;

#define REFUSED(what) cr_expect_eq(ca_issue(ca, &g, spki, spki_len, der, &len), -EINVAL, what)
	g = good;
	g.node = "N1";
	REFUSED("upper case");
	g = good;
	g.cluster = "a/b";
	REFUSED("cluster");
	g = good;
	g.role = (enum cert_role)0;
	REFUSED("no role");
	g = good;
	g.not_after = g.not_before;
	REFUSED("ends as it begins");
	g = good;
	g.labels = &labels;
	REFUSED("an empty label");
	strcpy(labels.at[0].key, "b");
	strcpy(labels.at[0].value, "1");
	labels.at[1] = labels.at[0];
	labels.n = 2;
	REFUSED("a label twice");
	labels.n = CERT_LABELS_MAX + 1;
	REFUSED("too many labels");
#undef REFUSED
	memcpy(odd, spki, spki_len);
	odd[spki_len - 1] ^= 1;
	cr_expect_eq(ca_issue(ca, &good, odd, spki_len, der, &len), -EINVAL, "not on the curve");
	cr_expect_eq(ca_issue(ca, &good, spki, spki_len - 1, der, &len), -EINVAL, "cut");
}

Test(ca, says_when_the_labels_do_not_fit)
{
	struct ca_grant g = grant_of("n1");
	struct cert_labels labels = {0};
	uint8_t der[CERT_DER_MAX];
	struct cert_info info;
	char text[140];
	size_t len;

	for (unsigned i = 0; i < CERT_LABELS_MAX; i++) {
		snprintf(text, sizeof(text), "label-%02u-%020d=%030d", i, 0, 0);
		cr_assert_eq(cert_labels_add(&labels, text), 0);
	}
	g.labels = &labels;
	cr_assert_eq(ca_issue(ca, &g, spki, spki_len, der, &len), 0, "sixteen of 60 bytes");
	cr_assert_eq(cert_parse(&info, der, len), CERT_OK);
	cr_expect_eq(info.labels.n, CERT_LABELS_MAX);
	for (unsigned i = 0; i < CERT_LABELS_MAX; i++)
		snprintf(labels.at[i].value, sizeof(labels.at[i].value), "%063d", 0);
	cr_expect_eq(ca_issue(ca, &g, spki, spki_len, der, &len), -E2BIG);
}

Test(ca, issues_nothing_that_outlives_it)
{
	struct ca_grant g = grant_of("n1");
	uint8_t der[CERT_DER_MAX];
	struct cert_info info;
	size_t len;

	g.not_after = NOW + 2 * CA_ROOT_LIFE;
	cr_assert_eq(ca_issue(ca, &g, spki, spki_len, der, &len), 0);
	cr_assert_eq(cert_parse(&info, der, len), CERT_OK);
	cr_expect_eq(info.not_after, NOW + CA_ROOT_LIFE);
	g.not_before = NOW + CA_ROOT_LIFE;
	cr_expect_eq(ca_issue(ca, &g, spki, spki_len, der, &len), -EKEYEXPIRED);
}

Test(ca, refuses_a_cluster_without_a_name)
{
	struct ca *none;

	cr_expect_eq(ca_new(&none, "", NOW), -EINVAL);
	cr_expect_eq(ca_new(&none, "Home", NOW), -EINVAL);
}

/* -- loading ------------------------------------------------------------------------------------- */

static size_t key_text(const struct cert_key *k, char *pem, size_t max)
{
	size_t n;

	cr_assert_eq(cert_key_to_pem(k, pem, max, &n), 0);
	return n;
}

static int load(struct ca **out, const char *key_pem, const char *chain_pem)
{
	return ca_load(out, (const uint8_t *)key_pem, strlen(key_pem), (const uint8_t *)chain_pem,
	               strlen(chain_pem));
}

Test(ca, an_intermediate_issues_under_the_same_root)
{
	struct cert_expect expect = {.cluster = "home", .node = "n2", .role = ROLE_NODE};
	struct ca_grant g = grant_of("n2");
	static char key_pem[512], chain_pem[4096];
	uint8_t der[CERT_DER_MAX];
	struct cert_chain chain;
	struct cert_info info;
	struct cert_key *own;
	struct ca *between;
	const uint8_t *own_spki;
	size_t own_len, len, n = 0;

	cr_assert_eq(cert_key_new(&own), 0);
	own_spki = cert_key_spki(own, &own_len);
	cr_assert_eq(ca_issue_intermediate(ca, "home", NOW, own_spki, own_len, der, &len), 0);
	cr_assert_eq(cert_to_pem(chain_pem, sizeof(chain_pem), &n, der, len), 0);
	ca_chain(ca, &chain);
	cr_assert_eq(
		cert_to_pem(chain_pem, sizeof(chain_pem), &n, chain.at[0].der, chain.at[0].len), 0);
	key_text(own, key_pem, sizeof(key_pem));
	cr_assert_eq(load(&between, key_pem, chain_pem), 0);
	cr_expect(cert_key_matches(ca_key(between), der, len));

	cr_assert_eq(ca_issue(between, &g, spki, spki_len, der, &len), 0);
	ca_chain(between, &chain);
	cr_assert_eq(chain.n, 2);
	chain.at[2] = chain.at[1];
	chain.at[1] = chain.at[0];
	chain.at[0].der = der;
	chain.at[0].len = len;
	chain.n = 3;
	cr_expect_eq(cert_judge(&info, trust, &chain, &expect, NOW), CERT_OK);
	chain.n = 2;
	cr_expect_eq(cert_judge(&info, trust, &chain, &expect, NOW), CERT_OK);

	cr_expect_eq(ca_issue_intermediate(between, "home", NOW, own_spki, own_len, der, &len),
	             -EINVAL, "none below an intermediate");
	g.not_before = NOW;
	g.not_after = NOW + CA_ROOT_LIFE;
	cr_assert_eq(ca_issue(between, &g, spki, spki_len, der, &len), 0);
	cr_assert_eq(cert_parse(&info, der, len), CERT_OK);
	cr_expect_eq(info.not_after, NOW + CA_INTERMEDIATE_LIFE);
	ca_free(between);
	cert_key_free(own);
}

Test(ca, loads_only_what_belongs_together)
{
	static char key_pem[512], other_pem[512], chain_pem[4096], leaf_pem[4096];
	struct ca_grant g = grant_of("n1");
	uint8_t der[CERT_DER_MAX];
	struct cert_chain chain;
	struct ca *again;
	size_t len, n = 0;

	ca_chain(ca, &chain);
	cr_assert_eq(
		cert_to_pem(chain_pem, sizeof(chain_pem), &n, chain.at[0].der, chain.at[0].len), 0);
	key_text(ca_key(ca), key_pem, sizeof(key_pem));
	key_text(key, other_pem, sizeof(other_pem));
	cr_assert_eq(load(&again, key_pem, chain_pem), 0);
	ca_free(again);

	cr_expect_eq(load(&again, other_pem, chain_pem), -EINVAL, "another key");
	cr_expect_eq(load(&again, chain_pem, key_pem), -EBADMSG, "swapped");
	cr_expect_eq(load(&again, key_pem, ""), -EBADMSG, "empty");
	chain_pem[n / 2] = 0;
	cr_expect_eq(load(&again, key_pem, chain_pem), -EBADMSG, "cut");
	cr_assert_eq(ca_issue(ca, &g, spki, spki_len, der, &len), 0);
	n = 0;
	cr_assert_eq(cert_to_pem(leaf_pem, sizeof(leaf_pem), &n, der, len), 0);
	cr_expect_eq(load(&again, other_pem, leaf_pem), -EINVAL, "a node is no CA");
	cr_assert_eq(cert_to_pem(leaf_pem, sizeof(leaf_pem), &n, chain.at[0].der, chain.at[0].len),
	             0);
	cr_expect_eq(load(&again, other_pem, leaf_pem), -EINVAL, "nor before its root");
}

/* -- other readers --------------------------------------------------------------------------------- */

/* Node and intermediate of this ca as files, for the other readers. */
static char folder[] = "/tmp/ginnel-ca.XXXXXX";

static void file_put(const char *name, const uint8_t *der, size_t len)
{
	static char pem[4096], path[64];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	cr_assert(f);
	cr_assert_eq(cert_to_pem(pem, sizeof(pem), &n, der, len), 0);
	cr_assert_eq(fwrite(pem, 1, n, f), n);
	fclose(f);
}

Test(ca, makes_what_openssl_verifies)
{
	struct cert_labels labels = {0};
	struct ca_grant g = grant_of("n1");
	uint8_t der[CERT_DER_MAX];
	struct cert_chain chain;
	char command[512];
	size_t len;

	if (system("openssl version >/dev/null 2>&1") != 0)
		cr_skip_test("there is no openssl");
	cr_assert(mkdtemp(folder));
	cert_labels_add(&labels, "zone=pci");
	g.labels = &labels;
	ca_chain(ca, &chain);
	file_put("root.pem", chain.at[0].der, chain.at[0].len);
	cr_assert_eq(ca_issue(ca, &g, spki, spki_len, der, &len), 0);
	file_put("n1.pem", der, len);
	cr_assert_eq(ca_issue_intermediate(ca, "home", NOW, spki, spki_len, der, &len), 0);
	file_put("between.pem", der, len);
	for (int i = 0; i < 3; i++) {
		static const char *const what[] = {"-purpose sslserver", "-purpose sslclient", ""};
		static const char *const name[] = {"n1.pem", "n1.pem", "between.pem"};

		snprintf(command, sizeof(command),
		         "openssl verify -x509_strict -attime %d -CAfile %s/root.pem %s %s/%s "
		         ">/dev/null 2>&1",
		         NOW, folder, what[i], folder, name[i]);
		cr_expect_eq(system(command), 0, "%s", command);
	}
	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_expect_eq(system(command), 0);
}

/* The library judges the chain too, before our judge is asked. */
Test(ca, makes_what_wolfssl_verifies)
{
	WOLFSSL_CERT_MANAGER *manager;
	struct ca_grant g = grant_of("n1");
	uint8_t der[CERT_DER_MAX];
	struct cert_chain chain;
	struct ca *now;
	size_t len;

	/* It consults the clock. */
	cr_assert_eq(ca_new(&now, "home", time(NULL)), 0);
	g.not_before = time(NULL) - CA_BACKDATE;
	g.not_after = time(NULL) + CA_NODE_LIFE;
	cr_assert_eq(ca_issue(now, &g, spki, spki_len, der, &len), 0);
	ca_chain(now, &chain);
	manager = wolfSSL_CertManagerNew();
	cr_assert(manager);
	cr_expect_eq(wolfSSL_CertManagerLoadCABuffer(manager, chain.at[0].der,
	                                             (long)chain.at[0].len, WOLFSSL_FILETYPE_ASN1),
	             WOLFSSL_SUCCESS);
	cr_expect_eq(
		wolfSSL_CertManagerVerifyBuffer(manager, der, (long)len, WOLFSSL_FILETYPE_ASN1),
		WOLFSSL_SUCCESS);
	cr_assert_eq(ca_issue_intermediate(now, "home", time(NULL), spki, spki_len, der, &len), 0);
	cr_expect_eq(
		wolfSSL_CertManagerVerifyBuffer(manager, der, (long)len, WOLFSSL_FILETYPE_ASN1),
		WOLFSSL_SUCCESS);
	wolfSSL_CertManagerFree(manager);
	ca_free(now);
}
