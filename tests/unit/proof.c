/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/proof.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static struct cert_key *key, *other;
static const uint8_t *spki, *other_spki;
static size_t spki_len, other_len;
static uint8_t exporter[PROOF_EXPORTER_LEN] = {1, 2, 3}, body[64] = {4, 5, 6};
static uint8_t sig[CERT_SIG_MAX];
static size_t sig_len;

static void setup(void)
{
	cr_assert_eq(cert_key_new(&key), 0);
	cr_assert_eq(cert_key_new(&other), 0);
	spki = cert_key_spki(key, &spki_len);
	other_spki = cert_key_spki(other, &other_len);
}

static void teardown(void)
{
	cert_key_free(key);
	cert_key_free(other);
}

TestSuite(proof, .init = setup, .fini = teardown);

static int check(enum proof_kind kind)
{
	return proof_check(kind, spki, spki_len, exporter, body, sizeof(body), sig, sig_len);
}

Test(proof, of_each_kind_is_good_for_that_kind_alone)
{
	for (int made = PROOF_JOIN; made <= PROOF_LEAVE; made++) {
		cr_assert_eq(proof_make((enum proof_kind)made, key, exporter, body, sizeof(body),
		                        sig, &sig_len),
		             0);
		for (int asked = PROOF_JOIN; asked <= PROOF_LEAVE; asked++)
			cr_expect_eq(check((enum proof_kind)asked), asked == made ? 0 : -EBADMSG);
	}
}

Test(proof, is_of_one_key_one_connection_and_one_body)
{
	cr_assert_eq(proof_make(PROOF_RENEW, key, exporter, body, sizeof(body), sig, &sig_len), 0);
	cr_expect_eq(proof_check(PROOF_RENEW, other_spki, other_len, exporter, body, sizeof(body),
	                         sig, sig_len),
	             -EBADMSG);
	exporter[31] ^= 1;
	cr_expect_eq(check(PROOF_RENEW), -EBADMSG);
	exporter[31] ^= 1;
	body[63] ^= 1;
	cr_expect_eq(check(PROOF_RENEW), -EBADMSG);
	body[63] ^= 1;
	cr_expect_eq(proof_check(PROOF_RENEW, spki, spki_len, exporter, body, sizeof(body) - 1, sig,
	                         sig_len),
	             -EBADMSG);
	for (size_t n = 0; n < sig_len; n++)
		cr_expect_eq(proof_check(PROOF_RENEW, spki, spki_len, exporter, body, sizeof(body),
		                         sig, n),
		             -EBADMSG);
	cr_expect_eq(check(PROOF_RENEW), 0);
}

Test(proof, of_nothing_or_of_too_much_is_none)
{
	static uint8_t large[CERT_DER_MAX + 1];

	cr_expect_eq(proof_make(PROOF_JOIN, key, exporter, large, 0, sig, &sig_len), -EBADMSG);
	cr_expect_eq(proof_make(PROOF_JOIN, key, exporter, large, sizeof(large), sig, &sig_len),
	             -EBADMSG);
	cr_expect_eq(proof_make(PROOF_JOIN, key, exporter, large, CERT_DER_MAX, sig, &sig_len), 0);
}
