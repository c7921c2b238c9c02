/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/token.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

/* The token of the golden file: its bytes count up from 0. */
static struct token counted(enum cert_role role)
{
	struct token t = {.role = role};

	for (unsigned i = 0; i < sizeof(t.pin); i++)
		t.pin[i] = (uint8_t)i;
	for (unsigned i = 0; i < sizeof(t.id); i++)
		t.id[i] = (uint8_t)(32 + i);
	for (unsigned i = 0; i < sizeof(t.secret); i++)
		t.secret[i] = (uint8_t)(40 + i);
	return t;
}

static int parse(const char *text)
{
	struct token t;

	return token_parse(&t, text, strlen(text));
}

static int same(const struct token *a, const struct token *b)
{
	return a->role == b->role && memcmp(a->pin, b->pin, sizeof(a->pin)) == 0 &&
	       memcmp(a->id, b->id, sizeof(a->id)) == 0 &&
	       memcmp(a->secret, b->secret, sizeof(a->secret)) == 0;
}

Test(token, is_what_the_golden_file_says)
{
	static const char path[] = "tests/golden/token.txt";
	char want[1024] = "", got[1024], text[TOKEN_TEXT_MAX], id[TOKEN_ID_TEXT + 1];
	uint8_t spki[CERT_SPKI_MAX];
	size_t n = 0, at = 0;
	FILE *f;

	for (int role = ROLE_NODE; role <= ROLE_MANAGER; role++) {
		struct token t = counted((enum cert_role)role);

		cr_assert_eq(token_format(&t, text, sizeof(text)), 0);
		at += (size_t)snprintf(got + at, sizeof(got) - at, "%s\n", text);
		token_id_format(t.id, id);
		cr_assert_eq(token_public(&t, spki, &n), 0);
	}
	at += (size_t)snprintf(got + at, sizeof(got) - at, "id %s\npublic ", id);
	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(got + at, sizeof(got) - at, "%02x", (unsigned)spki[i]);
	at += (size_t)snprintf(got + at, sizeof(got) - at, "\n");
	f = fopen(path, getenv("GOLDEN_WRITE") ? "w+" : "r");
	cr_assert(f, "%s", path);
	if (getenv("GOLDEN_WRITE"))
		cr_assert_eq(fwrite(got, 1, at, f), at);
	rewind(f);
	n = fread(want, 1, sizeof(want) - 1, f);
	fclose(f);
	cr_expect_str_eq(got, want);
}

Test(token, reads_what_it_writes)
{
	static const uint8_t pin[32] = {1, 2, 3};

	for (int role = ROLE_NODE; role <= ROLE_MANAGER; role++) {
		struct token t, again;
		char text[TOKEN_TEXT_MAX], spaced[TOKEN_TEXT_MAX + 8];

		cr_assert_eq(token_new(&t, (enum cert_role)role, pin), 0);
		cr_assert_eq(token_format(&t, text, sizeof(text)), 0);
		cr_assert_eq(token_parse(&again, text, strlen(text)), 0);
		cr_expect(same(&t, &again));
		snprintf(spaced, sizeof(spaced), " \t%s\r\n", text);
		cr_expect_eq(parse(spaced), 0);
	}
}

Test(token, is_another_each_time)
{
	static const uint8_t pin[32];
	struct token a, b;

	cr_assert_eq(token_new(&a, ROLE_NODE, pin), 0);
	cr_assert_eq(token_new(&b, ROLE_NODE, pin), 0);
	cr_expect_neq(memcmp(a.id, b.id, sizeof(a.id)), 0);
	cr_expect_neq(memcmp(a.secret, b.secret, sizeof(a.secret)), 0);
	cr_expect_eq(token_new(&a, (enum cert_role)3, pin), -EINVAL);
}

Test(token, refuses_each_character_changed_and_each_length_cut)
{
	static const char others[] = "abcz2734017=.A\x80";
	const struct token t = counted(ROLE_NODE);
	char text[TOKEN_TEXT_MAX];
	size_t n;

	cr_assert_eq(token_format(&t, text, sizeof(text)), 0);
	n = strlen(text);
	for (size_t i = 0; i < n; i++) {
		char kept = text[i];

		for (size_t k = 0; k < sizeof(others) - 1; k++) {
			if (others[k] == kept)
				continue;
			text[i] = others[k];
			cr_expect_eq(parse(text), i < 5 ? -EINVAL : -EBADMSG, "%zu %s", i, text);
		}
		text[i] = kept;
	}
	for (size_t cut = 0; cut < n; cut++) {
		struct token got;

		cr_expect_eq(token_parse(&got, text, cut), cut < 5 ? -EINVAL : -EBADMSG, "%zu",
		             cut);
	}
	strcpy(text + n, "a");
	cr_expect_eq(parse(text), -EBADMSG, "one character more");
}

Test(token, says_what_is_no_token_at_all)
{
	char text[TOKEN_TEXT_MAX];
	const struct token t = counted(ROLE_NODE);

	cr_expect_eq(parse(""), -EINVAL);
	cr_expect_eq(parse(" \n"), -EINVAL);
	cr_expect_eq(parse("hello"), -EINVAL);
	cr_expect_eq(parse("GNL2.node."), -EINVAL);
	cr_expect_eq(parse("gnl1.node."), -EINVAL);
	cr_expect_eq(parse("GNL1."), -EBADMSG);
	cr_expect_eq(parse("GNL1.node."), -EBADMSG);
	cr_expect_eq(parse("GNL1.boss.aaaa"), -EBADMSG);
	cr_assert_eq(token_format(&t, text, sizeof(text)), 0);
	text[9] = 0;
	cr_expect_eq(parse(text), -EBADMSG);
}

Test(token, is_mistyped_if_only_its_role_was_changed)
{
	const struct token t = counted(ROLE_NODE);
	char text[TOKEN_TEXT_MAX], other[TOKEN_TEXT_MAX + 4];

	cr_assert_eq(token_format(&t, text, sizeof(text)), 0);
	snprintf(other, sizeof(other), "GNL1.manager.%s", text + strlen("GNL1.node."));
	cr_expect_eq(parse(other), -EBADMSG);
}

Test(token, writes_nothing_past_its_end)
{
	const struct token t = counted(ROLE_MANAGER);
	char text[TOKEN_TEXT_MAX];
	size_t need;

	cr_assert_eq(token_format(&t, text, sizeof(text)), 0);
	need = strlen(text) + 1;
	for (size_t max = 0; max < need; max++) {
		memset(text, 'x', sizeof(text));
		cr_expect_eq(token_format(&t, text, max), -E2BIG);
		cr_expect_eq(text[max], 'x');
	}
	cr_expect_eq(token_format(&t, text, need), 0);
}

Test(token, has_an_id_of_sixteen_digits)
{
	static const uint8_t id[TOKEN_ID_LEN] = {0, 1, 0xab, 0xff};
	char text[TOKEN_ID_TEXT + 1];
	uint8_t again[TOKEN_ID_LEN];

	token_id_format(id, text);
	cr_expect_str_eq(text, "0001abff00000000");
	cr_expect_eq(token_id_parse(again, text), 0);
	cr_expect_eq(memcmp(id, again, sizeof(id)), 0);
	cr_expect_eq(token_id_parse(again, "0001abff0000000"), -EINVAL);
	cr_expect_eq(token_id_parse(again, "0001abff000000000"), -EINVAL);
	cr_expect_eq(token_id_parse(again, "0001ABFF00000000"), -EINVAL);
	cr_expect_eq(token_id_parse(again, "0001abfg00000000"), -EINVAL);
	cr_expect_eq(token_id_parse(again, ""), -EINVAL);
}

Test(token, proves_itself_for_one_connection_and_one_request)
{
	const struct token t = counted(ROLE_NODE);
	struct token thief = t;
	uint8_t exporter[TOKEN_EXPORTER_LEN] = {9}, csr[300] = {7};
	uint8_t spki[CERT_SPKI_MAX], sig[CERT_SIG_MAX];
	size_t spki_len, n;

	cr_assert_eq(token_public(&t, spki, &spki_len), 0);
	cr_assert_eq(token_prove(&t, exporter, csr, sizeof(csr), sig, &n), 0);
	cr_expect_eq(token_verify(spki, spki_len, exporter, csr, sizeof(csr), sig, n), 0);
	cr_expect_eq(token_verify(spki, spki_len, exporter, csr, sizeof(csr) - 1, sig, n),
	             -EBADMSG);
	exporter[31] ^= 1;
	cr_expect_eq(token_verify(spki, spki_len, exporter, csr, sizeof(csr), sig, n), -EBADMSG);
	exporter[31] ^= 1;
	csr[299] ^= 1;
	cr_expect_eq(token_verify(spki, spki_len, exporter, csr, sizeof(csr), sig, n), -EBADMSG);
	csr[299] ^= 1;
	sig[n - 1] ^= 1;
	cr_expect_eq(token_verify(spki, spki_len, exporter, csr, sizeof(csr), sig, n), -EBADMSG);
	cr_expect_eq(token_verify(spki, spki_len, exporter, csr, sizeof(csr), NULL, 0), -EBADMSG);
	cr_expect_eq(token_verify(spki, 0, exporter, csr, sizeof(csr), sig, n), -EBADMSG);

	/* What a copied registry holds, or a neighbour's token, is not enough. */
	thief.secret[0] ^= 1;
	cr_assert_eq(token_prove(&thief, exporter, csr, sizeof(csr), sig, &n), 0);
	cr_expect_eq(token_verify(spki, spki_len, exporter, csr, sizeof(csr), sig, n), -EBADMSG);
	cr_expect_eq(token_prove(&t, exporter, csr, 0, sig, &n), -EBADMSG);
	cr_expect_eq(token_prove(&t, exporter, csr, CERT_DER_MAX + 1, sig, &n), -EBADMSG);
}
