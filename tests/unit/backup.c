/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/backup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct cert_key *key;
static uint8_t *file;
static size_t len;

static struct backup_part of(const char *text)
{
	return (struct backup_part){(const uint8_t *)text, strlen(text)};
}

static void make(bool with_key)
{
	struct backup b = {.signed_len = 0};

	b.parts[BACKUP_NODE] = of("node");
	b.parts[BACKUP_CHAIN] = of("chain");
	b.parts[BACKUP_LEDGER] = of("ledger");
	b.parts[BACKUP_REGISTRY] = of("registry");
	if (with_key)
		b.parts[BACKUP_KEY] = of("key");
	cr_assert_eq(backup_make(&file, &len, &b, key), 0);
}

static int check(const struct backup *b)
{
	size_t n;
	const uint8_t *spki = cert_key_spki(key, &n);

	return backup_check(b, file, spki, n);
}

static void setup(void)
{
	cr_assert_eq(cert_key_new(&key), 0);
	make(true);
}

static void teardown(void)
{
	free(file);
	cert_key_free(key);
}

TestSuite(backup, .init = setup, .fini = teardown);

Test(backup, is_read_as_it_was_made)
{
	struct backup b;

	cr_assert_eq(backup_parse(&b, file, len), 0);
	cr_expect_eq(b.parts[BACKUP_KEY].len, 3);
	cr_expect_arr_eq(b.parts[BACKUP_REGISTRY].at, "registry", 8);
	cr_expect_eq(check(&b), 0);
	free(file);
	make(false);
	cr_assert_eq(backup_parse(&b, file, len), 0);
	cr_expect_null(b.parts[BACKUP_KEY].at);
	cr_expect_eq(check(&b), 0);
}

Test(backup, each_byte_and_each_length_counts)
{
	struct backup b;

	for (size_t n = 0; n < len; n++)
		cr_assert_neq(backup_parse(&b, file, n), 0, "cut to %zu", n);
	for (size_t i = 0; i < len; i++) {
		file[i] ^= 0x10;
		cr_assert(backup_parse(&b, file, len) || check(&b), "byte %zu", i);
		file[i] ^= 0x10;
	}
}

Test(backup, one_of_another_version_is_told_apart)
{
	struct backup b;

	file[strlen("ginnel-backup-")] = '2';
	cr_expect_eq(backup_parse(&b, file, len), -EPROTO);
	file[0] = 'G';
	cr_expect_eq(backup_parse(&b, file, len), -EBADMSG);
}

/* Signed well, and of no use all the same. */
static void expect_refused(const char *parts, size_t n)
{
	uint8_t bytes[256];
	struct backup b;
	size_t sig_len;

	memcpy(bytes, "ginnel-backup-1", 16);
	memcpy(bytes + 16, parts, n);
	bytes[16 + n] = 0;
	cr_assert_eq(cert_key_sign(key, bytes, 17 + n, bytes + 18 + n, &sig_len), 0);
	bytes[17 + n] = (uint8_t)sig_len;
	cr_expect_eq(backup_parse(&b, bytes, 18 + n + sig_len), -EBADMSG);
}

#define PART(kind, byte) kind "\0\0\0\0\0\0\0\1" byte
#define REFUSED(parts)   expect_refused(parts, sizeof(parts) - 1)

Test(backup, parts_that_are_missing_twice_unknown_or_out_of_order_are_refused)
{
	REFUSED("");
	REFUSED(PART("\1", "a") PART("\2", "b") PART("\3", "c"));
	REFUSED(PART("\1", "a") PART("\1", "a") PART("\2", "b") PART("\3", "c") PART("\4", "d"));
	REFUSED(PART("\2", "b") PART("\1", "a") PART("\3", "c") PART("\4", "d"));
	REFUSED(PART("\1", "a") PART("\2", "b") PART("\3", "c") PART("\4", "d") PART("\6", "e"));
	REFUSED(PART("\1", "a") PART("\2", "b") PART("\3", "c") "\4\0\0\0\0\0\0\0\0");
	REFUSED(PART("\1", "a") PART("\2", "b") PART("\3", "c") "\4\xff\0\0\0\0\0\0\1d");
}
