/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/vault.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define PASSPHRASE "correct horse battery"
#define ROUNDS     16

static const char secret[] = "-----BEGIN EC PRIVATE KEY-----";
static const char about[] = "this chain";

static uint8_t sealed[sizeof(secret) + VAULT_OVERHEAD], out[sizeof(secret)];

static void seal(void)
{
	cr_assert_eq(vault_seal(sealed, PASSPHRASE, strlen(PASSPHRASE), ROUNDS, secret,
	                        sizeof(secret), about, sizeof(about)),
	             0);
}

static int open_with(const char *passphrase, const uint8_t *bytes, size_t n)
{
	memset(out, 'x', sizeof(out));
	return vault_open(out, passphrase, strlen(passphrase), bytes, n, about, sizeof(about));
}

/* RFC 7914, section 11. */
Test(vault, derives_what_the_rfc_says)
{
	static const uint8_t one[32] = {0x55, 0xac, 0x04, 0x6e, 0x56, 0xe3, 0x08, 0x9f,
	                                0xec, 0x16, 0x91, 0xc2, 0x25, 0x44, 0xb6, 0x05,
	                                0xf9, 0x41, 0x85, 0x21, 0x6d, 0xde, 0x04, 0x65,
	                                0xe6, 0x8b, 0x9d, 0x57, 0xc2, 0x0d, 0xac, 0xbc};
	static const uint8_t many[32] = {0x4d, 0xdc, 0xd8, 0xf6, 0x0b, 0x98, 0xbe, 0x21,
	                                 0x83, 0x0c, 0xee, 0x5e, 0xf2, 0x27, 0x01, 0xf9,
	                                 0x64, 0x1a, 0x44, 0x18, 0xd0, 0x4c, 0x04, 0x14,
	                                 0xae, 0xff, 0x08, 0x87, 0x6b, 0x34, 0xab, 0x56};
	uint8_t key[32];

	cr_assert_eq(vault_derive(key, "passwd", 6, (const uint8_t *)"salt", 4, 1), 0);
	cr_expect_arr_eq(key, one, 32);
	cr_assert_eq(vault_derive(key, "Password", 8, (const uint8_t *)"NaCl", 4, 80000), 0);
	cr_expect_arr_eq(key, many, 32);
}

Test(vault, opens_by_its_passphrase_alone)
{
	seal();
	cr_assert_eq(open_with(PASSPHRASE, sealed, sizeof(sealed)), 0);
	cr_expect_arr_eq(out, secret, sizeof(secret));
	cr_expect_eq(open_with("correct horse batterz", sealed, sizeof(sealed)), -EKEYREJECTED);
	cr_expect_eq(open_with("", sealed, sizeof(sealed)), -EKEYREJECTED);
	for (size_t i = 0; i < sizeof(out); i++)
		cr_assert_eq(out[i], 0, "byte %zu was left", i);
}

Test(vault, two_seals_of_one_secret_have_nothing_in_common)
{
	uint8_t first[sizeof(sealed)];

	seal();
	memcpy(first, sealed, sizeof(first));
	seal();
	cr_expect(memcmp(first + 5, sealed + 5, 28) != 0);
	cr_expect(memcmp(first + 33, sealed + 33, sizeof(secret)) != 0);
}

/* But for the rounds, which are tried as they are and end in another key. */
Test(vault, each_bit_and_each_length_counts)
{
	seal();
	for (size_t n = 0; n < sizeof(sealed); n++)
		cr_assert_neq(open_with(PASSPHRASE, sealed, n), 0, "cut to %zu", n);
	for (size_t i = 0; i < sizeof(sealed); i++) {
		if (i >= 1 && i <= 3)
			continue;
		for (int bit = 0; bit < 8; bit++) {
			sealed[i] ^= (uint8_t)(1 << bit);
			cr_assert_neq(open_with(PASSPHRASE, sealed, sizeof(sealed)), 0,
			              "byte %zu, bit %d", i, bit);
			sealed[i] ^= (uint8_t)(1 << bit);
		}
	}
	cr_expect_eq(
		vault_open(out, PASSPHRASE, strlen(PASSPHRASE), sealed, sizeof(sealed), "other", 5),
		-EKEYREJECTED);
}

Test(vault, more_rounds_than_anybody_uses_are_refused_at_once)
{
	seal();
	memset(sealed + 1, 0xff, 4);
	cr_expect_eq(open_with(PASSPHRASE, sealed, sizeof(sealed)), -EBADMSG);
	memset(sealed + 1, 0, 4);
	cr_expect_eq(open_with(PASSPHRASE, sealed, sizeof(sealed)), -EBADMSG);
}

Test(vault, a_short_passphrase_is_refused)
{
	cr_expect_eq(vault_seal(sealed, "01234567890", 11, ROUNDS, secret, sizeof(secret), NULL, 0),
	             -EINVAL);
	cr_expect_eq(vault_seal(sealed, PASSPHRASE, VAULT_PASSPHRASE_MAX + 1, ROUNDS, secret,
	                        sizeof(secret), NULL, 0),
	             -EINVAL);
}
