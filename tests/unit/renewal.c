/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/renewal.h"

#include "crypto/ca.h"
#include "crypto/keyfile.h"
#include "crypto/proof.h"
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOW    ((time_t)1800000000)
#define SECOND 1000000000LL

static struct ca *ca;
static struct identity id;
static struct renewal r;
static char folder[64], why[512];
static int dir;
static const uint8_t exporter[32] = {7};
static struct renewal_proof proof;
static uint8_t leaf[CERT_DER_MAX];

/* What a ca answers for this key. */
static struct cert_chain certificate(const struct cert_key *key, const char *node, uint64_t issue,
                                     time_t from, time_t until)
{
	struct ca_grant g = {.cluster = "demo",
	                     .node = node,
	                     .role = ROLE_NODE,
	                     .incarnation = 1,
	                     .issue = issue,
	                     .not_before = from,
	                     .not_after = until};
	struct cert_chain out = {.n = 2}, own;
	const uint8_t *spki;
	size_t n;

	spki = cert_key_spki(key, &n);
	out.at[0].der = leaf;
	cr_assert_eq(ca_issue(ca, &g, spki, n, leaf, &out.at[0].len), 0);
	ca_chain(ca, &own);
	out.at[1] = own.at[0];
	return out;
}

static int load(time_t wall)
{
	identity_clear(&id);
	return identity_load_renewable(&id, dir, "node", wall, why, sizeof(why));
}

static void setup(void)
{
	struct cert_chain own, chain;
	struct cert_key *key;
	char pem[4096];
	size_t len = 0;

	strcpy(folder, "/tmp/ginnel-renewal.XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(ca_new(&ca, "demo", NOW - 86400), 0);
	ca_chain(ca, &own);
	cr_assert_eq(cert_to_pem(pem, sizeof(pem), &len, own.at[0].der, own.at[0].len), 0);
	cr_assert_eq(cert_key_new(&key), 0);
	chain = certificate(key, "n1", 1, NOW, NOW + 1000);
	cr_assert_eq(identity_save_dir(dir, "node", key, &chain, pem, len), 0);
	cert_key_free(key);
	cr_assert_eq(load(NOW), 0, "%s", why);
	renewal_begin(&r, &id.info, 0x8000);
}

/* Temporary files that a kill left behind, too. */
static void teardown(void)
{
	DIR *d = opendir(folder);
	const struct dirent *e;

	renewal_clear(&r);
	identity_clear(&id);
	ca_free(ca);
	while (d && (e = readdir(d)))
		unlinkat(dir, e->d_name, 0);
	closedir(d);
	close(dir);
	rmdir(folder);
}

TestSuite(renewal, .init = setup, .fini = teardown);

Test(renewal, is_due_between_50_and_80_percent_of_life)
{
	renewal_begin(&r, &id.info, 0);
	cr_expect_eq(r.due, NOW + 500);
	renewal_begin(&r, &id.info, 0xffff);
	cr_expect_eq(r.due, NOW + 799);
	renewal_begin(&r, &id.info, 0x8000);
	cr_expect_eq(r.due, NOW + 650);
	cr_expect_not(renewal_due(&r, NOW + 649, SECOND));
	cr_expect(renewal_due(&r, NOW + 650, SECOND));
	cr_expect_not(renewal_late(&id.info, NOW + 800));
	cr_expect(renewal_late(&id.info, NOW + 801));
	cr_expect_not(renewal_expired(&id.info, NOW + 1000));
	cr_expect(renewal_expired(&id.info, NOW + 1001));
}

Test(renewal, is_due_at_once_when_a_manager_wants_it)
{
	cr_expect_not(renewal_due(&r, NOW, SECOND));
	r.wanted = true;
	cr_expect(renewal_due(&r, NOW, SECOND));
}

Test(renewal, a_clock_a_year_ahead_or_behind_makes_no_storm)
{
	cr_expect(renewal_due(&r, NOW + 365 * 86400, SECOND));
	cr_assert_eq(renewal_ask(&r, &id, exporter, &proof), 0);
	renewal_failed(&r, SECOND, "refused");
	cr_expect_not(renewal_due(&r, NOW + 365 * 86400, SECOND));
	cr_expect_not(renewal_due(&r, NOW - 365 * 86400, SECOND + RENEWAL_BACKOFF));
}

Test(renewal, proves_itself_by_the_old_key_for_a_new_one)
{
	uint8_t spki[CERT_SPKI_MAX], old[CERT_SPKI_MAX];
	size_t n, old_n;

	cr_assert_eq(renewal_ask(&r, &id, exporter, &proof), 0);
	cr_expect_not(renewal_due(&r, NOW + 900, SECOND), "asked twice");
	cr_assert_eq(csr_parse(proof.csr, proof.csr_len, spki, &n), 0);
	cr_assert_eq(cert_spki(id.chain.at[0].der, id.chain.at[0].len, old, &old_n), 0);
	cr_expect(n != old_n || memcmp(spki, old, n), "the same key again");
	cr_expect_eq(proof_check(PROOF_RENEW, old, old_n, exporter, proof.csr, proof.csr_len,
	                         proof.sig, proof.sig_len),
	             0);
}

Test(renewal, keeps_its_key_until_an_answer_came)
{
	uint8_t a[CERT_SPKI_MAX], b[CERT_SPKI_MAX];
	size_t n;

	cr_assert_eq(renewal_ask(&r, &id, exporter, &proof), 0);
	cr_assert_eq(csr_parse(proof.csr, proof.csr_len, a, &n), 0);
	renewal_lost(&r);
	cr_expect(renewal_due(&r, NOW + 900, SECOND));
	cr_assert_eq(renewal_ask(&r, &id, exporter, &proof), 0);
	cr_assert_eq(csr_parse(proof.csr, proof.csr_len, b, &n), 0);
	cr_expect_arr_eq(a, b, n);
}

Test(renewal, waits_longer_each_time_it_is_refused)
{
	int64_t now = SECOND, waited = 0;

	for (int i = 0; i < 12; i++) {
		renewal_failed(&r, now, "superseded");
		cr_expect_geq(r.next - now, waited);
		cr_expect_leq(r.next - now, RENEWAL_BACKOFF_MAX);
		waited = r.next - now;
	}
	cr_expect_eq(waited, RENEWAL_BACKOFF_MAX);
	cr_expect_str_eq(r.why, "superseded");
}

Test(renewal, takes_a_certificate_and_begins_anew)
{
	struct cert_chain chain;
	uint8_t was[32];

	memcpy(was, id.info.spki, 32);
	cr_assert_eq(renewal_ask(&r, &id, exporter, &proof), 0);
	chain = certificate(r.key, "n1", 2, NOW + 600, NOW + 1600);
	cr_assert_eq(renewal_take(&r, &id, dir, "node", &chain, NOW + 700, SECOND), 0, "%s", r.why);
	cr_expect_eq(id.info.issue, 2);
	cr_expect(memcmp(was, id.info.spki, 32));
	cr_expect_null(r.key);
	cr_expect_not(r.wanted);
	cr_expect_geq(r.due, NOW + 1100);
	cr_expect_leq(r.due, NOW + 1400);
	cr_assert_eq(load(NOW + 1500), 0, "%s", why);
	cr_expect_eq(id.info.issue, 2);
}

Test(renewal, takes_no_certificate_that_is_not_its_own_next_one)
{
	struct cert_key *stranger;
	struct cert_chain chain;

	cr_assert_eq(cert_key_new(&stranger), 0);
	cr_assert_eq(renewal_ask(&r, &id, exporter, &proof), 0);
	chain = certificate(stranger, "n1", 2, NOW, NOW + 2000);
	cr_expect_eq(renewal_take(&r, &id, dir, "node", &chain, NOW + 700, SECOND), -EINVAL);
	chain = certificate(r.key, "n2", 2, NOW, NOW + 2000);
	cr_expect_eq(renewal_take(&r, &id, dir, "node", &chain, NOW + 700, SECOND), -EINVAL);
	chain = certificate(r.key, "n1", 2, NOW, NOW + 600);
	cr_expect_eq(renewal_take(&r, &id, dir, "node", &chain, NOW + 700, SECOND), -EINVAL);
	chain.n = 0;
	cr_expect_eq(renewal_take(&r, &id, dir, "node", &chain, NOW + 700, SECOND), -EINVAL);
	cr_expect_neq(r.why[0], 0);
	cr_expect_eq(id.info.issue, 1);
	cr_assert_eq(load(NOW), 0, "%s", why);
	cr_expect_eq(id.info.issue, 1);
	cert_key_free(stranger);
}

Test(renewal, an_expired_certificate_is_loaded_within_the_grace_alone)
{
	cr_expect_eq(load(NOW + 1000 + CERT_GRACE), 0, "%s", why);
	cr_expect_eq(load(NOW + 1000 + CERT_GRACE + 1), -EKEYEXPIRED);
	cr_expect(strstr(why, "ginnel token create"), "%s", why);
	cr_expect_eq(load(NOW - 1), -EINVAL);
	identity_clear(&id);
	cr_expect_eq(identity_load_dir(&id, dir, "node", NOW + 1001, why, sizeof(why)),
	             -EKEYEXPIRED);
}

/* A renewal, killed after a while that grows: whatever was reached, there is a pair that fits. */
Test(renewal, killed_at_any_moment_leaves_a_usable_pair, .timeout = 120)
{
	unsigned old = 0, new = 0;

	for (int i = 0; i < 60; i++) {
		uint64_t issue = id.info.issue;
		struct cert_chain chain;
		char pem[4096];
		size_t len = 0;
		pid_t pid;

		renewal_clear(&r);
		renewal_begin(&r, &id.info, 0);
		cr_assert_eq(renewal_ask(&r, &id, exporter, &proof), 0);
		chain = certificate(r.key, "n1", issue + 1, NOW, NOW + 5000);
		/* Keys in memory are wiped in a child: it has this one as text. */
		cr_assert_eq(cert_key_to_pem(r.key, pem, sizeof(pem), &len), 0);
		pid = fork();
		if (!pid) {
			if (load(NOW) || cert_key_from_pem(&r.key, (const uint8_t *)pem, len))
				_exit(1);
			renewal_take(&r, &id, dir, "node", &chain, NOW + 1, SECOND);
			pause();
		}
		usleep(i == 59 ? 1000000 : (useconds_t)(i * 150));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		cr_assert_eq(load(NOW), 0, "%s", why);
		cr_assert(id.info.issue == issue || id.info.issue == issue + 1);
		*(id.info.issue == issue ? &old : &new) += 1;
	}
	cr_expect_gt(old, 0, "%u old, %u new", old, new);
	cr_expect_gt(new, 0, "%u old, %u new", old, new);
}
