/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/signer.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/ca.h"
#include "crypto/keyfile.h"
#include "crypto/proof.h"
#include "gateway/log.h"
#include "gateway/privsep/ledger.h"

#define NOW    1700000000
#define SECOND 1000000000LL

static char folder[64];
static int dir;
static struct signer *s;
static struct ca *root;
static struct cert_trust *trust;
static uint8_t pin[32];
static struct message_sign q;
static struct message_signed a;

/* A ca's folder as init leaves it; the ledger is closed. */
static void fill(time_t now)
{
	char pem[4096];
	struct cert_chain chain;
	size_t len = 0;

	cr_assert_eq(ca_new(&root, "test", now), 0);
	cr_assert_eq(cert_key_to_pem(ca_key(root), pem, sizeof(pem), &len), 0);
	cr_assert_eq(keyfile_write(dir, SIGNER_KEY_FILE, pem, len), 0);
	len = 0;
	ca_chain(root, &chain);
	cr_assert_eq(cert_to_pem(pem, sizeof(pem), &len, chain.at[0].der, chain.at[0].len), 0);
	cr_assert_eq(keyfile_write(dir, SIGNER_CHAIN_FILE, pem, len), 0);
	cr_assert_eq(cert_trust_new(&trust, (const uint8_t *)pem, len), 0);
	cert_trust_pin(trust, pin);
	cr_assert_eq(ledger_create(dir, "test"), 0);
}

static void setup(void)
{
	strcpy(folder, "/tmp/signer-XXXXXX");
	cr_assert(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	log_setup(LOG_LEVEL_ERROR, false, NULL);
	fill(NOW - 86400);
}

static void teardown(void)
{
	static const char *const files[] = {SIGNER_KEY_FILE, SIGNER_CHAIN_FILE, LEDGER_FILE, "sock",
	                                    LEDGER_FILE "-wal"};

	signer_free(s);
	ca_free(root);
	cert_trust_free(trust);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlinkat(dir, files[i], 0);
	close(dir);
	rmdir(folder);
}

TestSuite(signer, .init = setup, .fini = teardown);

/* Adds a token to the closed ledger. */
static struct token give(const char *name, const char *label, time_t now, bool revoked)
{
	struct ledger_token row = {.role = ROLE_NODE, .created = now, .expires = now + 3600};
	struct ledger *l;
	struct token t;

	cr_assert_eq(token_new(&t, ROLE_NODE, pin), 0);
	memcpy(row.id, t.id, sizeof(row.id));
	snprintf(row.name, sizeof(row.name), "%s", name);
	strcpy(row.created_by, "root");
	if (label)
		cr_assert_eq(cert_labels_add(&row.labels, label), 0);
	cr_assert_eq(token_public(&t, row.spki, &row.spki_len), 0);
	cr_assert_eq(ledger_open(&l, dir), 0);
	cr_assert_eq(ledger_token_add(l, &row), 0);
	if (revoked)
		cr_assert_eq(ledger_token_revoke(l, t.id), 0);
	ledger_close(l);
	return t;
}

static void start(void)
{
	char why[256] = "";

	cr_assert_eq(signer_new(&s, dir, why, sizeof(why)), 0, "%s", why);
}

/* Fills q with an honest question of a joiner at 10.9.0.<host>. */
static void question(const struct token *t, const struct cert_key *key, const char *name,
                     unsigned host)
{
	size_t csr_len, sig_len;

	memset(&q, 0, sizeof(q));
	q.kind = SIGN_JOIN;
	memcpy(q.token_id, t->id, sizeof(q.token_id));
	memset(q.exporter, 0x5e, sizeof(q.exporter));
	snprintf(q.name, sizeof(q.name), "%s", name);
	cr_assert_eq(csr_new(key, "whatever", q.csr, sizeof(q.csr), &csr_len), 0);
	q.csr_len = (uint16_t)csr_len;
	cr_assert_eq(token_prove(t, q.exporter, q.csr, csr_len, q.sig, &sig_len), 0);
	q.sig_len = (uint16_t)sig_len;
	memcpy(q.source, (const uint8_t[]){10, 9, 0, (uint8_t)host}, 4);
}

static const char *sign(time_t wall, int64_t now)
{
	static const struct message_signed nothing;

	memset(&a, 0xff, sizeof(a));
	signer_sign(s, &q, wall, now, &a);
	if (a.result != SIGN_OK) {
		static struct message_signed rest;

		rest = a;
		rest.result = 0;
		cr_expect_eq(memcmp(&rest, &nothing, sizeof(rest)), 0, "a refusal carries more");
	}
	return sign_result_name((enum sign_result)a.result);
}

#define EXPECT(what) cr_expect_str_eq(sign(NOW, 0), what)

/* What the certificate in a says. */
static struct cert_info issued(const char *name, time_t wall)
{
	struct cert_expect expect = {.cluster = "test", .node = name, .role = ROLE_NODE};
	struct cert_chain chain = {.n = a.nchain};
	const uint8_t *at = a.chain;
	struct cert_info info = {0};

	cr_assert_eq(a.nchain, 2);
	for (unsigned i = 0; i < a.nchain; i++) {
		chain.at[i].der = at;
		chain.at[i].len = a.len[i];
		at += a.len[i];
	}
	cr_assert_eq(cert_judge(&info, trust, &chain, &expect, wall), CERT_OK);
	return info;
}

/* -- proofs ----------------------------------------------------------------------------------- */

Test(signer, signs_for_who_holds_the_token)
{
	struct token t = give("", "zone=pci", NOW, false);
	struct cert_key *key;
	struct cert_info info;
	uint8_t hash[32];
	const uint8_t *spki;
	size_t len;

	start();
	cr_assert_eq(cert_key_new(&key), 0);
	question(&t, key, "n2", 2);
	EXPECT("ok");
	info = issued("n2", NOW);
	spki = cert_key_spki(key, &len);
	cert_spki_hash(spki, len, hash);
	cr_expect_arr_eq(info.spki, hash, 32);
	cr_expect_eq(info.incarnation, 1);
	cr_expect_eq(info.issue, 1);
	cr_expect_eq(info.not_before, NOW - CA_BACKDATE);
	cr_expect_eq(info.not_after, NOW + CA_NODE_LIFE);
	cr_expect_eq(info.labels.n, 1);
	cr_expect_str_eq(info.labels.at[0].value, "pci");
	cr_expect_eq(a.role, ROLE_NODE);
	cr_expect_eq(a.nlabels, 1);
	cr_expect_str_eq(a.labels[0], "zone=pci");
	cert_key_free(key);
}

Test(signer, tells_a_stranger_one_thing_whatever_is_wrong)
{
	struct token t = give("", NULL, NOW, false), other;
	struct token expired = give("", NULL, NOW - 7200, false);
	struct token revoked = give("", NULL, NOW, true);
	struct cert_key *key;
	unsigned host = 2;

	start();
	cr_assert_eq(cert_key_new(&key), 0);
	cr_assert_eq(token_new(&other, ROLE_NODE, pin), 0);

	question(&other, key, "n2", host++);
	EXPECT("no-token");
	memcpy(q.token_id, t.id, sizeof(t.id)); /* a wrong secret */
	EXPECT("no-token");
	memcpy(q.token_id, expired.id, sizeof(t.id));
	EXPECT("no-token");
	memcpy(q.token_id, revoked.id, sizeof(t.id));
	EXPECT("no-token");
	question(&t, key, "n2", host++);
	q.exporter[31] ^= 1; /* relayed from another connection */
	EXPECT("no-token");
	question(&t, key, "n2", host++);
	q.csr[q.csr_len - 1] ^= 1;
	EXPECT("no-token");
	question(&t, key, "n2", host++);
	q.sig[q.sig_len - 1] ^= 1;
	EXPECT("no-token");
	question(&t, key, "n2", host++);
	q.sig_len--;
	EXPECT("no-token");
	/* The names of others: taken, invalid. */
	question(&t, key, "n2", host++);
	EXPECT("ok");
	question(&other, key, "n2", host++);
	EXPECT("no-token");
	question(&other, key, "No Name", host++);
	EXPECT("no-token");
	cert_key_free(key);
}

Test(signer, tells_who_holds_the_token_why_it_does_not_do)
{
	struct token t = give("", NULL, NOW, false), second = give("", NULL, NOW, false);
	struct token expired = give("", NULL, NOW - 3600, false);
	struct token revoked = give("", NULL, NOW, true);
	struct token named = give("n9", NULL, NOW, false);
	struct cert_key *key, *other;

	start();
	cr_assert_eq(cert_key_new(&key), 0);
	cr_assert_eq(cert_key_new(&other), 0);
	question(&expired, key, "n2", 2);
	EXPECT("token-expired");
	question(&revoked, key, "n2", 2);
	EXPECT("token-revoked");
	question(&named, key, "n2", 2);
	EXPECT("token-name");
	question(&t, key, "N2", 2);
	EXPECT("name-invalid");
	question(&t, key, "", 2);
	EXPECT("name-invalid");
	question(&t, key, "n2", 2);
	EXPECT("ok");
	question(&t, other, "n2", 2);
	EXPECT("token-used");
	question(&second, other, "n2", 2);
	EXPECT("name-taken");
	question(&second, other, "n3", 2);
	EXPECT("ok");
	question(&named, other, "n9", 2);
	EXPECT("ok");
	cert_key_free(key);
	cert_key_free(other);
}

Test(signer, answers_again_who_lost_the_answer)
{
	struct token t = give("", NULL, NOW, false);
	struct cert_key *key;
	struct cert_info first, again;

	start();
	cr_assert_eq(cert_key_new(&key), 0);
	question(&t, key, "n2", 2);
	EXPECT("ok");
	first = issued("n2", NOW);
	q.exporter[0] ^= 1;
	question(&t, key, "n2", 3);
	cr_expect_str_eq(sign(NOW + 3599, 0), "ok");
	again = issued("n2", NOW + 3599);
	cr_expect_eq(again.incarnation, first.incarnation);
	cr_expect_gt(again.issue, first.issue);
	cr_expect_str_eq(sign(NOW + 3600, 0), "token-expired");
	cert_key_free(key);
}

Test(signer, slows_down_who_joins_again_and_again)
{
	struct token t = give("", NULL, NOW, false), other = give("", NULL, NOW, false);
	struct cert_key *key, *foreign;

	start();
	cr_assert_eq(cert_key_new(&key), 0);
	cr_assert_eq(cert_key_new(&foreign), 0);
	/* Who holds the token and not its key is refused by name, and does not use it up. */
	question(&t, key, "n2", 2);
	EXPECT("ok");
	for (int i = 0; i < 2 * SIGNER_JOINS; i++) {
		question(&t, foreign, "n2", 3);
		EXPECT("token-used");
	}
	for (int i = 1; i < SIGNER_JOINS; i++) {
		question(&t, key, "n2", 2 + (unsigned)i); /* from wherever it likes */
		cr_expect_str_eq(sign(NOW, i * SECOND), "ok");
	}
	cr_expect_str_eq(sign(NOW, 59 * SECOND), "token-rate");
	question(&other, key, "n4", 2);
	cr_expect_str_eq(sign(NOW, 59 * SECOND), "ok", "another token has not to wait");
	question(&t, key, "n2", 2);
	cr_expect_str_eq(sign(NOW, 60 * SECOND), "ok");
	cert_key_free(key);
	cert_key_free(foreign);
}

Test(signer, takes_nothing_from_a_request_but_its_key)
{
	struct token t = give("", NULL, NOW, false);
	struct cert_key *key;
	size_t sig_len;

	start();
	cr_assert_eq(cert_key_new(&key), 0);
	question(&t, key, "n2", 2); /* its request says "whatever" */
	EXPECT("ok");
	issued("n2", NOW);

	/* A proven request that is none, or that its own key did not sign. */
	question(&t, key, "n2", 2);
	q.csr[q.csr_len - 1] ^= 1;
	cr_assert_eq(token_prove(&t, q.exporter, q.csr, q.csr_len, q.sig, &sig_len), 0);
	q.sig_len = (uint16_t)sig_len;
	EXPECT("request");
	for (uint16_t len = 1; len < q.csr_len; len = (uint16_t)(len + 7)) {
		uint16_t whole = q.csr_len;

		q.csr_len = len;
		cr_assert_eq(token_prove(&t, q.exporter, q.csr, len, q.sig, &sig_len), 0);
		q.sig_len = (uint16_t)sig_len;
		EXPECT("request");
		q.csr_len = whole;
	}
	cert_key_free(key);
}

Test(signer, checks_lengths_before_it_reads)
{
	struct token t = give("", NULL, NOW, false);
	struct cert_key *key;

	start();
	cr_assert_eq(cert_key_new(&key), 0);
#define WITH(change, what)                  \
	do {                                \
		question(&t, key, "n2", 2); \
		change;                     \
		EXPECT(what);               \
	} while (0)
	WITH(q.kind = 0, "refused");
	WITH(q.kind = 99, "refused");
	WITH(q.kind = SIGN_RENEW, "request"); /* without a certificate */
	WITH(q.cert_len = 1, "request");      /* a join with one */
	WITH((q.kind = SIGN_RENEW, q.cert_len = sizeof(q.cert) + 1), "request");
	WITH(q.csr_len = 0, "request");
	WITH(q.csr_len = sizeof(q.csr) + 1, "request");
	WITH(q.csr_len = UINT16_MAX, "request");
	WITH(q.sig_len = 0, "request");
	WITH(q.sig_len = sizeof(q.sig) + 1, "request");
	WITH(memset(q.name, 'n', sizeof(q.name)), "request");
	WITH(, "ok");
	cert_key_free(key);
}

/* -- renewal ---------------------------------------------------------------------------------- */

/* Takes the certificate in a for the one to renew, and asks for the next one by `key` for `next`. */
static void renewal(const char *name, const struct cert_key *key, const struct cert_key *next)
{
	size_t csr_len, sig_len;

	if (a.len[0]) {
		memcpy(q.cert, a.chain, a.len[0]);
		q.cert_len = a.len[0];
	}
	q.kind = SIGN_RENEW;
	snprintf(q.name, sizeof(q.name), "%s", name);
	memset(q.exporter, 0x5e, sizeof(q.exporter));
	cr_assert_eq(csr_new(next, "whatever", q.csr, sizeof(q.csr), &csr_len), 0);
	q.csr_len = (uint16_t)csr_len;
	cr_assert_eq(proof_make(PROOF_RENEW, key, q.exporter, q.csr, csr_len, q.sig, &sig_len), 0);
	q.sig_len = (uint16_t)sig_len;
}

/* n2 has joined with k[0]; its certificate is in a. */
static void joined(struct cert_key *k[4])
{
	struct token t = give("", "zone=pci", NOW, false);

	start();
	for (int i = 0; i < 4; i++)
		cr_assert_eq(cert_key_new(&k[i]), 0);
	question(&t, k[0], "n2", 2);
	EXPECT("ok");
}

static void keys_free(struct cert_key *k[4])
{
	for (int i = 0; i < 4; i++)
		cert_key_free(k[i]);
}

Test(signer, renews_for_who_holds_the_certificates_key)
{
	struct cert_key *k[4];
	struct cert_info info;

	joined(k);
	renewal("n2", k[0], k[1]);
	cr_expect_str_eq(sign(NOW + 5 * 86400, 0), "ok");
	info = issued("n2", NOW + 5 * 86400);
	cr_expect_eq(info.incarnation, 1);
	cr_expect_eq(info.issue, 2);
	cr_expect_eq(info.not_after, NOW + 5 * 86400 + CA_NODE_LIFE);
	cr_expect_str_eq(info.labels.at[0].value, "pci");
	cr_expect(cert_key_matches(k[1], a.chain, a.len[0]));
	keys_free(k);
}

Test(signer, renews_by_the_old_key_until_the_new_one_proved_itself)
{
	struct cert_key *k[4];
	struct message_sign old;

	joined(k);
	renewal("n2", k[0], k[1]);
	EXPECT("ok");
	EXPECT("ok"); /* the answer was lost: the same question again */
	old = q;
	renewal("n2", k[1], k[2]);
	EXPECT("ok");
	q = old; /* the first certificate's key, stolen */
	EXPECT("superseded");
	keys_free(k);
}

Test(signer, renews_nothing_for_who_cannot_prove_it)
{
	struct cert_key *k[4];
	static struct message_sign good;

	joined(k);
	renewal("n2", k[0], k[1]);
	good = q;
#define BAD(change, what)                                      \
	do {                                                   \
		q = good;                                      \
		change;                                        \
		q.source[3]++; /* another guesser each time */ \
		good.source[3]++;                              \
		EXPECT(what);                                  \
	} while (0)
	BAD(q.sig[q.sig_len - 1] ^= 1, "proof");
	BAD(q.exporter[0] ^= 1, "proof"); /* relayed from another connection */
	BAD(strcpy(q.name, "n3"), "certificate");
	BAD(q.cert[q.cert_len - 1] ^= 1, "certificate");
	BAD(q.cert[0] ^= 1, "certificate");
	BAD(renewal("n2", k[1], k[1]), "proof");   /* another's key */
	BAD(renewal("n2", k[0], k[0]), "request"); /* no new key */
	BAD(q.cert_len = 10, "certificate");
	BAD(, "ok");
	keys_free(k);
}

Test(signer, renews_after_the_end_within_the_grace_alone)
{
	time_t end = NOW + CA_NODE_LIFE;
	struct cert_key *k[4];

	joined(k);
	renewal("n2", k[0], k[1]);
	cr_expect_str_eq(sign(end + CERT_GRACE + 1, 0), "expired");
	cr_expect_str_eq(sign(NOW - CA_BACKDATE - 1, 0), "certificate"); /* not valid yet */
	cr_expect_str_eq(sign(end + CERT_GRACE, 0), "ok");
	cr_expect_eq(issued("n2", end + CERT_GRACE).issue, 2);
	keys_free(k);
}

Test(signer, renews_no_certificate_of_an_earlier_incarnation)
{
	struct token anew = give("n2", NULL, NOW, false);
	struct cert_key *k[4];
	static struct message_sign old;

	joined(k);
	renewal("n2", k[0], k[1]);
	old = q;
	memset(&q, 0, sizeof(q));
	question(&anew, k[2], "n2", 2);
	EXPECT("ok");
	cr_expect_eq(issued("n2", NOW).incarnation, 2);
	q = old;
	EXPECT("joined-anew");
	keys_free(k);
}

Test(signer, renews_a_managers_certificate_for_a_manager_alone)
{
	struct ca_grant g = {.cluster = "test",
	                     .node = "n2",
	                     .role = ROLE_MANAGER,
	                     .incarnation = 1,
	                     .issue = 1,
	                     .not_before = NOW - 60,
	                     .not_after = NOW + 600};
	struct cert_key *k[4];
	const uint8_t *spki;
	size_t n, len;

	joined(k);
	spki = cert_key_spki(k[2], &n);
	cr_assert_eq(ca_issue(root, &g, spki, n, a.chain, &len), 0);
	a.len[0] = (uint16_t)len;
	renewal("n2", k[2], k[1]);
	EXPECT("certificate");
	keys_free(k);
}

Test(signer, slows_down_who_guesses)
{
	struct token t = give("", NULL, NOW, false);
	struct cert_key *key;

	start();
	cr_assert_eq(cert_key_new(&key), 0);
	question(&t, key, "n2", 2);
	q.sig[8] ^= 1;
	for (int i = 0; i < SIGNER_WRONG_PROOFS; i++)
		cr_expect_str_eq(sign(NOW, i * SECOND), "no-token");
	cr_expect_str_eq(sign(NOW, 5 * SECOND), "rate");
	question(&t, key, "n2", 2);
	cr_expect_str_eq(sign(NOW, 59 * SECOND), "rate", "a right one has to wait too");
	question(&t, key, "n3", 3);
	cr_expect_str_eq(sign(NOW, 59 * SECOND), "ok", "another address has not");
	question(&t, key, "n3", 2);
	cr_expect_str_eq(sign(NOW, 60 * SECOND), "ok");
	cert_key_free(key);
}

Test(signer, counts_an_ipv6_network_as_one_and_ipv4_each)
{
	struct token t = give("", NULL, NOW, false);
	struct cert_key *key;

	start();
	cr_assert_eq(cert_key_new(&key), 0);
	question(&t, key, "n2", 2);
	q.sig[8] ^= 1;
	memset(q.source, 0, 16);
	memcpy(q.source, (const uint8_t[]){0x20, 1, 0xd, 0xb8, 0, 0, 0, 1}, 8);
	for (int i = 0; i < SIGNER_WRONG_PROOFS; i++) {
		q.source[15] = (uint8_t)i;
		EXPECT("no-token");
	}
	q.source[15] = 99;
	EXPECT("rate");
	q.source[7] = 2;
	EXPECT("no-token");
	memset(q.source, 0, 16);
	q.source[10] = q.source[11] = 0xff; /* ::ffff:0.0.0.i */
	for (int i = 0; i < 2 * SIGNER_WRONG_PROOFS; i++) {
		q.source[15] = (uint8_t)i;
		EXPECT("no-token");
	}
	cert_key_free(key);
}

Test(signer, remembers_a_bounded_number_of_guessers)
{
	struct token t = give("", NULL, NOW, false);
	struct cert_key *key;

	start();
	cr_assert_eq(cert_key_new(&key), 0);
	question(&t, key, "n2", 2);
	q.sig[8] ^= 1;
	for (unsigned i = 0; i < SIGNER_WRONG_SOURCES + 100; i++) {
		memcpy(q.source, &i, sizeof(i));
		cr_expect_str_eq(sign(NOW, i), "no-token");
	}
	/* The last is still known, the first is not. */
	for (int i = 1; i < SIGNER_WRONG_PROOFS; i++)
		cr_expect_str_eq(sign(NOW, SECOND), "no-token");
	cr_expect_str_eq(sign(NOW, SECOND), "rate");
	cert_key_free(key);
}

Test(signer, finds_room_for_the_longest_names_and_labels)
{
	char name[CERT_NAME_MAX + 1], label[128];
	struct ledger_token row = {.role = ROLE_NODE, .created = NOW, .expires = NOW + 3600};
	struct cert_key *key;
	struct cert_info info;
	struct ledger *l;
	struct token t;

	memset(name, 'n', CERT_NAME_MAX);
	name[CERT_NAME_MAX] = '\0';
	cr_assert_eq(token_new(&t, ROLE_NODE, pin), 0);
	memcpy(row.id, t.id, sizeof(row.id));
	cr_assert_eq(token_public(&t, row.spki, &row.spki_len), 0);
	for (int i = 0; i < CERT_LABELS_MAX;
	     i++) { /* 16 times 62 bytes: what the operator may give */
		snprintf(label, sizeof(label), "key-%02d=%.55s", i, name);
		cr_assert_eq(cert_labels_add(&row.labels, label), 0);
	}
	cr_assert_eq(ledger_open(&l, dir), 0);
	cr_assert_eq(ledger_token_add(l, &row), 0);
	ledger_close(l);
	start();
	cr_assert_eq(cert_key_new(&key), 0);
	question(&t, key, name, 2);
	EXPECT("ok");
	info = issued(name, NOW);
	cr_expect_eq(info.labels.n, CERT_LABELS_MAX);
	cr_expect_eq(a.nlabels, CERT_LABELS_MAX);
	cert_key_free(key);
}

/* -- what it starts from ---------------------------------------------------------------------- */

static void refuses_to_start(const char *part)
{
	struct signer *other;
	char why[256] = "";

	cr_expect_neq(signer_new(&other, dir, why, sizeof(why)), 0);
	cr_expect(strstr(why, part), "\"%s\" does not say \"%s\"", why, part);
}

Test(signer, says_what_is_wrong_with_its_files)
{
	static char pem[4096], chain[4096];
	struct cert_key *key;
	size_t len = 0, chain_len;

	cr_assert_eq(keyfile_read(dir, SIGNER_KEY_FILE, pem, sizeof(pem), &len), 0);
	cr_assert_eq(keyfile_read(dir, SIGNER_CHAIN_FILE, chain, sizeof(chain), &chain_len), 0);
	cr_assert_eq(fchmodat(dir, SIGNER_KEY_FILE, 0640, 0), 0);
	refuses_to_start("ca.key: group or others");
	cr_assert_eq(keyfile_write(dir, SIGNER_KEY_FILE, pem, len / 2), 0);
	refuses_to_start("ca.key");
	unlinkat(dir, SIGNER_KEY_FILE, 0);
	refuses_to_start("ca.key: it is missing");
	cr_assert_eq(cert_key_new(&key), 0);
	len = 0;
	cr_assert_eq(cert_key_to_pem(key, pem, sizeof(pem), &len), 0);
	cert_key_free(key);
	cr_assert_eq(keyfile_write(dir, SIGNER_KEY_FILE, pem, len), 0);
	refuses_to_start("do not belong together");
	len = 0;
	cr_assert_eq(cert_key_to_pem(ca_key(root), pem, sizeof(pem), &len), 0);
	cr_assert_eq(keyfile_write(dir, SIGNER_KEY_FILE, pem, len), 0);
	cr_assert_eq(keyfile_write(dir, SIGNER_CHAIN_FILE, chain, chain_len / 2), 0);
	refuses_to_start("ca.pem");
	cr_assert_eq(keyfile_write(dir, SIGNER_CHAIN_FILE, chain, chain_len), 0);
	cr_assert_eq(renameat(dir, LEDGER_FILE, dir, "sock"), 0);
	refuses_to_start("ledger.db: it is missing");
	cr_assert_eq(renameat(dir, "sock", dir, LEDGER_FILE), 0);
	start();
}

/* -- the process ------------------------------------------------------------------------------ */

struct process_under_test {
	pid_t pid;
	int parent, manager;
};

static struct process_under_test run(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct process_under_test p;
	static struct message m;
	int parent[2], manager[2], fd;

	alarm(30); /* not Criterion's own time-out, which leaks where tests run side by side */
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/sock", folder);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, parent), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, manager), 0);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	cr_assert_eq(listen(fd, 64), 0);
	p.pid = fork();
	if (p.pid == 0) {
		close(parent[0]);
		close(manager[0]);
		if (fchdir(dir))
			_exit(99);
		_exit(signer_run(parent[1], manager[1], fd));
	}
	close(parent[1]);
	close(manager[1]);
	close(fd);
	p.parent = parent[0];
	p.manager = manager[0];
	cr_assert_eq(message_receive(p.parent, PROCESS_CA, PROCESS_PARENT, &m), 0);
	cr_assert_eq(m.head.type, MESSAGE_READY);
	return p;
}

static int ended(const struct process_under_test *p)
{
	int status;

	cr_assert_eq(waitpid(p->pid, &status, 0), p->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int dial(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/sock", folder);
	cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* All that comes until the other end closes. */
static char *answer(int fd)
{
	static char buf[65536];
	size_t n = 0;
	ssize_t got;

	while ((got = recv(fd, buf + n, sizeof(buf) - 1 - n, 0)) > 0)
		n += (size_t)got;
	buf[n] = '\0';
	close(fd);
	return buf;
}

static char *ask(const char *line)
{
	int fd = dial();

	cr_assert_eq(send(fd, line, strlen(line), MSG_NOSIGNAL), (ssize_t)strlen(line));
	return answer(fd);
}

Test(signer, serves_the_manager_and_the_operator)
{
	struct process_under_test p;
	static struct message m;
	struct cert_key *key;
	struct token t;
	char *text;

	if (getuid() != 0)
		cr_skip_test("takes root: the operators' socket is for root alone");
	p = run();
	text = ask("{\"cmd\":\"token-create\",\"name\":\"n2\"}\n");
	text = strstr(text, "GNL1.node.");
	cr_assert(text);
	*strchr(text, '"') = '\0';
	cr_assert_eq(token_parse(&t, text, strlen(text)), 0);
	cr_assert_eq(cert_key_new(&key), 0);
	question(&t, key, "n2", 2);
	cr_assert_eq(message_send(p.manager, MESSAGE_SIGN, 77, &q, sizeof(q), NULL, 0), 0);
	cr_assert_eq(message_receive(p.manager, PROCESS_CA, PROCESS_MANAGER, &m), 0);
	cr_expect_eq(m.head.type, MESSAGE_SIGNED);
	cr_expect_eq(m.head.seq, 77);
	memcpy(&a, m.body, sizeof(a));
	cr_expect_eq(a.result, SIGN_OK);
	issued("n2", time(NULL));
	cert_key_free(key);
	/* Without the manager the operator is still served. */
	close(p.manager);
	text = ask("{\"cmd\":\"token-list\"}\nand more");
	cr_expect(strstr(text, "\"used_by\":\"n2\""), "%s", text);
	cr_expect_eq(message_send(p.parent, MESSAGE_STOP, 0, NULL, 0, NULL, 0), 0);
	cr_expect_eq(ended(&p), 0);
	close(p.parent);
}

Test(signer, ends_with_its_parent_at_once)
{
	struct process_under_test p = run();
	struct pollfd wait = {.fd = p.manager, .events = POLLIN};

	close(p.parent);
	cr_expect_eq(poll(&wait, 1, 100), 1, "not within 100 ms");
	cr_expect_eq(ended(&p), 0);
	close(p.manager);
}

Test(signer, trusts_no_manager_that_speaks_out_of_turn)
{
	static const char noise[] = "what is this?";
	struct process_under_test p = run();

	cr_assert_eq(send(p.manager, noise, sizeof(noise), 0), (ssize_t)sizeof(noise));
	cr_expect_eq(ended(&p), 1);
	close(p.manager);
	close(p.parent);
}

Test(signer, refuses_others_than_root_by_name)
{
	struct process_under_test p;
	int status;
	pid_t pid;

	if (getuid() != 0)
		cr_skip_test("takes root, to be someone else");
	p = run();
	cr_assert_eq(fchmodat(dir, "sock", 0777, 0), 0);
	cr_assert_eq(fchmod(dir, 0755), 0);
	pid = fork();
	if (pid == 0) {
		if (setgid(65534) || setuid(65534))
			_exit(2);
		_exit(!strstr(answer(dial()), "{\"error\":\"ca: only root may ask this"));
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
	close(p.parent);
	ended(&p);
	close(p.manager);
}

Test(signer, bounds_clients_lines_and_their_time)
{
	struct process_under_test p;
	static char line[SIGNER_LINE_MAX + 1];
	int idle[SIGNER_CLIENTS_MAX], fd;
	struct timespec from, to;
	char *text;

	if (getuid() != 0)
		cr_skip_test("takes root: the operators' socket is for root alone");
	p = run();
	memset(line, ' ', sizeof(line));
	fd = dial();
	cr_assert_gt(send(fd, line, sizeof(line), MSG_NOSIGNAL), 0);
	text = answer(fd);
	cr_expect(strstr(text, "longer than 8192"), "%s", text);
	/* A line in two pieces is one. */
	fd = dial();
	cr_assert_gt(send(fd, "{\"cmd\":\"tok", 11, 0), 0);
	usleep(20000);
	cr_assert_gt(send(fd, "en-list\"}\n", 10, 0), 0);
	cr_expect_str_eq(answer(fd), "[]\n");
	/* All places are taken by clients that say nothing: the next waits until they are sent off. */
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < SIGNER_CLIENTS_MAX; i++)
		idle[i] = dial();
	text = ask("{\"cmd\":\"token-list\"}\n");
	clock_gettime(CLOCK_MONOTONIC, &to);
	cr_expect_str_eq(text, "[]\n");
	cr_expect(to.tv_sec - from.tv_sec >= 4 && to.tv_sec - from.tv_sec <= 8);
	for (int i = 0; i < SIGNER_CLIENTS_MAX; i++)
		cr_expect_str_eq(answer(idle[i]), "");
	close(p.parent);
	cr_expect_eq(ended(&p), 0);
	close(p.manager);
}

/* -- what is passed on to the manager --------------------------------------------------------- */

/* One line, with a file beside it. */
static int ask_with(const char *line, int file)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)line, strlen(line)};
	struct msghdr msg = {.msg_iov = &iov,
	                     .msg_iovlen = 1,
	                     .msg_control = control.bytes,
	                     .msg_controllen = sizeof(control.bytes)};
	int fd = dial();

	control.align.cmsg_level = SOL_SOCKET;
	control.align.cmsg_type = SCM_RIGHTS;
	control.align.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.align), &file, sizeof(file));
	cr_assert_eq(sendmsg(fd, &msg, MSG_NOSIGNAL), (ssize_t)strlen(line));
	return fd;
}

static void take_order(const struct process_under_test *p, struct message *m,
                       struct message_order *order)
{
	cr_assert_eq(message_receive(p->manager, PROCESS_CA, PROCESS_MANAGER, m), 0);
	cr_assert_eq(m->head.type, MESSAGE_ORDER);
	memcpy(order, m->body, sizeof(*order));
}

Test(signer, passes_orders_on_and_the_answer_back)
{
	static struct message m;
	struct message_ordered said = {.version = 3};
	struct process_under_test p;
	struct message_order order;
	int file, one, two;
	char bytes[8] = "";

	if (getuid() != 0)
		cr_skip_test("takes root: the operators' socket is for root alone");
	p = run();
	file = memfd_create("document", MFD_CLOEXEC);
	cr_assert_eq(write(file, "12345", 5), 5);
	cr_expect(strstr(ask("{\"cmd\":\"policy-apply\",\"len\":5}\n"), "did not come"));
	one = ask_with("{\"cmd\":\"policy-apply\",\"len\":5}\n", file);
	take_order(&p, &m, &order);
	cr_expect_eq(order.kind, ORDER_POLICY);
	cr_expect_eq(order.len, 5);
	cr_assert_eq(m.nfds, 1);
	cr_expect_eq(pread(m.fds[0], bytes, sizeof(bytes), 0), 5);
	cr_expect_str_eq(bytes, "12345");
	/* Another asks meanwhile, goes away, and gets nobody's answer. */
	two = ask_with("{\"cmd\":\"policy-apply\",\"len\":5}\n", file);
	message_close_fds(&m);
	close(two);
	cr_assert_eq(message_send(p.manager, MESSAGE_ORDERED, m.head.seq + 7, &said, sizeof(said),
	                          NULL, 0),
	             0);
	cr_assert_eq(
		message_send(p.manager, MESSAGE_ORDERED, m.head.seq, &said, sizeof(said), NULL, 0),
		0);
	cr_expect_str_eq(answer(one), "{\"version\":3}\n");
	close(file);
	close(p.manager);
	cr_expect(strstr(ask("{\"cmd\":\"node-drain\",\"name\":\"n9\"}\n"), "no node n9"));
	cr_expect_eq(message_send(p.parent, MESSAGE_STOP, 0, NULL, 0, NULL, 0), 0);
	cr_expect_eq(ended(&p), 0);
	close(p.parent);
}
