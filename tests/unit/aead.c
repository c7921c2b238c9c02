/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/aead.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/hex.h"

#define TEXT 4096

struct state {
	_Alignas(AEAD_ALIGN) uint8_t bytes[AEAD_STATE_MAX];
};

/* All there are on this machine, whichever would be chosen. */
static const struct aead *const *everybody(void)
{
	static const struct aead *all[4];
	unsigned n = 0;

	if (aead_mb())
		all[n++] = aead_mb();
	all[n++] = aead_wolf_aes();
	all[n++] = aead_wolf_chacha();
	all[n] = NULL;
	return all;
}

#define EACH(a) for (const struct aead *const *a = everybody(); *a; a++)

static enum aead_cipher cipher_named(const char *name)
{
	return strcmp(name, "aes") == 0 ? AEAD_AES_128_GCM : AEAD_CHACHA20_POLY1305;
}

struct vector {
	uint8_t key[AEAD_KEY_MAX], nonce[AEAD_NONCE], aad[64], plain[512], sealed[512],
		tag[AEAD_TAG];
	size_t aad_len, len;
};

static void seals_and_opens(const struct aead *a, const struct vector *v)
{
	struct aead_about about = {.aad = v->aad, .aad_len = v->aad_len};
	uint8_t out[512], tag[AEAD_TAG];
	struct state s;

	memcpy(about.nonce, v->nonce, sizeof(about.nonce));
	cr_assert_eq(a->init(&s, v->key, v->key), 0);
	cr_assert_eq(a->seal(&s, out, v->plain, v->len, &about, tag), 0);
	cr_expect_eq(memcmp(out, v->sealed, v->len), 0, "%s", a->name);
	cr_expect_eq(memcmp(tag, v->tag, sizeof(tag)), 0, "%s", a->name);
	cr_expect_eq(a->open(&s, out, v->len, &about, tag), 0);
	cr_expect_eq(memcmp(out, v->plain, v->len), 0);
	a->clear(&s);
}

static void masks(const struct aead *a, const uint8_t *key, const uint8_t *sample,
                  const uint8_t *mask)
{
	uint8_t got[AEAD_MASK];
	struct state s;

	cr_assert_eq(a->init(&s, key, key), 0);
	cr_expect_eq(a->mask(&s, sample, got), 0);
	cr_expect_eq(memcmp(got, mask, AEAD_MASK), 0, "%s", a->name);
	a->clear(&s);
}

Test(aead, everybody_answers_the_published_vectors)
{
	char line[4096], name[16], f[6][1100];
	unsigned texts = 0, samples = 0;
	FILE *file = fopen("tests/golden/aead.txt", "r");

	cr_assert(file);
	while (fgets(line, sizeof(line), file)) {
		if (line[0] == '#')
			continue;
		if (sscanf(line, "mask %15s %1099s %1099s %1099s", name, f[0], f[1], f[2]) == 4) {
			uint8_t key[AEAD_KEY_MAX], sample[AEAD_SAMPLE], mask[AEAD_MASK];

			cr_assert(hex_parse(key, sizeof(key), f[0]) >= 16);
			cr_assert_eq(hex_parse(sample, sizeof(sample), f[1]), sizeof(sample));
			cr_assert_eq(hex_parse(mask, sizeof(mask), f[2]), sizeof(mask));
			EACH(a)
			if ((*a)->cipher == cipher_named(name))
				masks(*a, key, sample, mask);
			samples++;
			continue;
		}
		struct vector v = {.len = 0};

		cr_assert_eq(sscanf(line, "%15s %1099s %1099s %1099s %1099s %1099s %1099s", name,
		                    f[0], f[1], f[2], f[3], f[4], f[5]),
		             7);
		cr_assert(hex_parse(v.key, sizeof(v.key), f[0]) >= 16);
		cr_assert_eq(hex_parse(v.nonce, sizeof(v.nonce), f[1]), sizeof(v.nonce));
		v.aad_len = hex_parse(v.aad, sizeof(v.aad), f[2]);
		v.len = hex_parse(v.plain, sizeof(v.plain), f[3]);
		cr_assert_eq(hex_parse(v.sealed, sizeof(v.sealed), f[4]), v.len);
		cr_assert_eq(hex_parse(v.tag, sizeof(v.tag), f[5]), sizeof(v.tag));
		EACH(a)
		if ((*a)->cipher == cipher_named(name) && (v.len || *a != aead_wolf_chacha()))
			seals_and_opens(*a, &v);
		texts++;
	}
	fclose(file);
	cr_assert_eq(texts, 9);
	cr_assert_eq(samples, 3);
}

Test(aead, two_who_compute_one_cipher_agree_at_every_length_and_place)
{
	static uint8_t plain[TEXT + 64], one[TEXT + 64], other[TEXT + 64];
	const struct aead *mb = aead_mb(), *wolf = aead_wolf_aes();
	uint8_t key[32], aad[16], tag_one[AEAD_TAG], tag_other[AEAD_TAG], m[2], w[2];
	struct state a, b;

	if (!mb)
		return;
	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 131 + 7);
	memcpy(key, plain + 100, sizeof(key));
	memcpy(aad, plain + 200, sizeof(aad));
	cr_assert_eq(mb->init(&a, key, key + 16), 0);
	cr_assert_eq(wolf->init(&b, key, key + 16), 0);
	for (size_t len = 1; len < TEXT; len += len < 300 ? 1 : 61) {
		struct aead_about about = {.aad = aad, .aad_len = len % 16};
		size_t at = len % 64;

		memcpy(about.nonce, plain + len % 99, sizeof(about.nonce));
		mb->seal(&a, one + at, plain + at, len, &about, tag_one);
		wolf->seal(&b, other, plain + at, len, &about, tag_other);
		cr_assert_eq(memcmp(one + at, other, len), 0, "%zu", len);
		cr_assert_eq(memcmp(tag_one, tag_other, AEAD_TAG), 0, "%zu", len);
		mb->mask(&a, plain + len, m);
		wolf->mask(&b, plain + len, w);
		cr_assert_eq(memcmp(m, w, sizeof(m)), 0);
		cr_assert_eq(wolf->open(&b, one + at, len, &about, tag_one), 0);
		cr_assert_eq(memcmp(one + at, plain + at, len), 0);
		cr_assert_eq(mb->open(&a, other, len, &about, tag_other), 0);
		cr_assert_eq(memcmp(other, plain + at, len), 0);
	}
	mb->clear(&a);
	wolf->clear(&b);
}

/* Text, tag, number and what is authenticated beside it: one bit each. */
Test(aead, a_text_with_any_bit_changed_is_refused_and_left_alone)
{
	static const uint8_t key[AEAD_KEY_MAX] = {1, 2, 3};
	uint8_t plain[61], sealed[61], text[61], tag[AEAD_TAG], bad[AEAD_TAG], aad[11] = {9, 8, 7};
	struct state s;

	memset(plain, 'p', sizeof(plain));
	EACH(a)
	{
		struct aead_about about = {.nonce = {4}, .aad = aad, .aad_len = sizeof(aad)};

		cr_assert_eq((*a)->init(&s, key, key), 0);
		(*a)->seal(&s, sealed, plain, sizeof(plain), &about, tag);
		for (size_t bit = 0;
		     bit < 8 * (sizeof(plain) + AEAD_TAG + sizeof(aad) + AEAD_NONCE); bit++) {
			size_t byte = bit / 8;
			uint8_t flip = (uint8_t)(1 << bit % 8), before[61];
			struct aead_about changed = about;
			uint8_t aad2[11];

			memcpy(text, sealed, sizeof(text));
			memcpy(bad, tag, sizeof(bad));
			memcpy(aad2, aad, sizeof(aad2));
			changed.aad = aad2;
			if (byte < sizeof(plain))
				text[byte] ^= flip;
			else if (byte < sizeof(plain) + AEAD_TAG)
				bad[byte - sizeof(plain)] ^= flip;
			else if (byte < sizeof(plain) + AEAD_TAG + sizeof(aad))
				aad2[byte - sizeof(plain) - AEAD_TAG] ^= flip;
			else
				changed.nonce[byte - sizeof(plain) - AEAD_TAG - sizeof(aad)] ^=
					flip;
			memcpy(before, text, sizeof(before));
			cr_assert_eq((*a)->open(&s, text, sizeof(text), &changed, bad), -EBADMSG,
			             "%s bit %zu", (*a)->name, bit);
			cr_assert_eq(memcmp(text, before, sizeof(text)), 0, "%s bit %zu",
			             (*a)->name, bit);
		}
		for (size_t n = 1; n < sizeof(plain); n++)
			cr_assert_eq((*a)->open(&s, sealed, n, &about, tag), -EBADMSG);
		cr_assert_eq((*a)->open(&s, sealed, sizeof(sealed), &about, tag), 0);
		(*a)->clear(&s);
	}
}

Test(aead, nothing_of_a_key_is_left_when_it_is_cleared)
{
	static const uint8_t key[AEAD_KEY_MAX] = {0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0x17, 0x28,
	                                          0x39, 0x4a, 0x5b, 0x6c, 0x7d, 0x8e, 0x9f, 0xa0};
	struct state s;

	EACH(a)
	{
		size_t set = 0;

		memset(&s, 0, sizeof(s));
		cr_assert_eq((*a)->init(&s, key, key), 0);
		for (size_t i = 0; i < sizeof(s.bytes); i++)
			set += s.bytes[i] != 0;
		cr_assert_gt(set, 16);
		(*a)->clear(&s);
		for (size_t i = 0; i < (*a)->state_len; i++)
			cr_assert_eq(s.bytes[i], 0, "%s byte %zu", (*a)->name, i);
	}
}

/* -- the choice ------------------------------------------------------------------------------- */

static const struct aead *honest;

static int seals_wrongly(void *state, uint8_t *out, const uint8_t *in, size_t len,
                         const struct aead_about *about, uint8_t tag[AEAD_TAG])
{
	int r = honest->seal(state, out, in, len, about, tag);

	out[len - 1] ^= 1;
	return r;
}

static int takes_any_tag(void *state, uint8_t *text, size_t len, const struct aead_about *about,
                         const uint8_t tag[AEAD_TAG])
{
	uint8_t own[AEAD_TAG];

	(void)tag;
	return honest->seal(state, text, text, len, about, own);
}

static int masks_wrongly(void *state, const uint8_t sample[AEAD_SAMPLE], uint8_t mask[AEAD_MASK])
{
	int r = honest->mask(state, sample, mask);

	mask[1] ^= 0x80;
	return r;
}

static int cannot(void *state, const uint8_t *key, const uint8_t *sn)
{
	(void)state;
	(void)key;
	(void)sn;
	return -EIO;
}

Test(aead, who_answers_wrongly_is_known_by_it)
{
	EACH(a)
	{
		struct aead liar = *(honest = *a);

		cr_assert(aead_known_answers(&liar));
		liar.seal = seals_wrongly;
		cr_assert(!aead_known_answers(&liar));
		liar = **a;
		liar.open = takes_any_tag;
		cr_assert(!aead_known_answers(&liar));
		liar = **a;
		liar.mask = masks_wrongly;
		cr_assert(!aead_known_answers(&liar));
		liar = **a;
		liar.init = cannot;
		cr_assert(!aead_known_answers(&liar));
	}
}

Test(aead, start_finds_somebody_for_each_cipher)
{
	cr_assert_eq(aead_start(), 0);
	for (int c = 0; c < AEAD_CIPHERS; c++) {
		const struct aead *a = aead_find((enum aead_cipher)c);

		cr_assert(a);
		cr_assert_eq(a->cipher, (enum aead_cipher)c);
		cr_assert_leq(a->state_len, AEAD_STATE_MAX);
	}
	cr_assert_str_eq(aead_name(), aead_find(aead_preferred())->name);
	cr_assert_str_neq(aead_name(), AEAD_NAME_NONE); /* what is tested is what is installed */
	if (aead_mb())
		cr_assert_eq(aead_find(AEAD_AES_128_GCM), aead_mb());
	printf("%s\n", aead_name());
}
