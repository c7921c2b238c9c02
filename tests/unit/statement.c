/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/statement.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "tests/ends.h"

static struct ends_ca ca, stranger;
static uint8_t proof[GENERATION_PROOF_MAX];
static size_t len;

static void sign(const struct ends_ca *by, uint64_t generation)
{
	struct cert_chain chain;

	ca_chain(by->ca, &chain);
	cr_assert_eq(generation_sign(proof, &len, generation, ca_key(by->ca), &chain), 0);
}

static void setup(void)
{
	ends_ca_init(&ca);
	ends_ca_init(&stranger);
}

static void teardown(void)
{
	ends_ca_clear(&ca);
	ends_ca_clear(&stranger);
}

TestSuite(statement, .init = setup, .fini = teardown);

Test(statement, a_generation_is_proven_by_the_ca_and_nobody_else)
{
	sign(&ca, 1700000000);
	cr_expect_eq(generation_check(proof, len, 1700000000, ca.trust), 0);
	cr_expect_eq(generation_check(proof, len, 1700000001, ca.trust), -EBADMSG);
	sign(&stranger, 1700000000);
	cr_expect_eq(generation_check(proof, len, 1700000000, ca.trust), -EBADMSG);
}

Test(statement, each_bit_and_each_length_counts)
{
	sign(&ca, 7);
	for (size_t n = 0; n < len; n++)
		cr_assert_neq(generation_check(proof, n, 7, ca.trust), 0, "cut to %zu", n);
	for (size_t i = 0; i < len; i++) {
		proof[i] ^= 1;
		cr_assert_neq(generation_check(proof, len, 7, ca.trust), 0, "byte %zu", i);
		proof[i] ^= 1;
	}
	cr_expect_neq(generation_check(proof, len + 1, 7, ca.trust), 0);
}
