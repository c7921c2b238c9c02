/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/record.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/hex.h"

#define LIMIT 23726566ULL
#define MAX   256
#define NOW   1000000000LL
#define SEC   1000000000LL
#define TEXT  "a packet of some bytes"

static const uint8_t secret[RECORD_SECRET] = {3, 1, 4, 1, 5, 9, 2, 6};
static const uint8_t cid[RECORD_CID_LEN] = {1, 0xc1, 0xd0, 0xd};

static void setup(void)
{
	cr_assert_eq(aead_start(), 0);
}

TestSuite(record, .init = setup, .timeout = 60);

/* -- a sender and a receiver -------------------------------------------------------------------- */

struct ends {
	struct record_sealer *s;
	struct record_opener *o;
	int64_t now;
};

static struct ends ends_new(enum aead_cipher c)
{
	struct ends e = {.now = NOW};

	cr_assert_eq(record_sealer_new(&e.s, aead_find(c), secret, 3, cid, LIMIT), 0);
	cr_assert_eq(record_opener_new(&e.o, aead_find(c), secret, 3), 0);
	return e;
}

static void ends_free(struct ends *e)
{
	record_sealer_free(e->s);
	record_opener_free(e->o);
}

static size_t seal(struct ends *e, uint8_t *out, const char *text)
{
	uint8_t plain[MAX];
	ssize_t n;

	memcpy(plain, text, strlen(text));
	plain[strlen(text)] = 0x77;
	n = record_seal(e->s, plain, strlen(text), out);
	cr_assert_eq(plain[strlen(text)], 0x77); /* put back */
	cr_assert_eq(n, (ssize_t)strlen(text) + RECORD_OVERHEAD);
	return (size_t)n;
}

static int open_at(struct ends *e, uint8_t *d, size_t len, struct record *r)
{
	int err = record_parse(r, cid, d, len);

	return err ? err : record_open(e->o, r, e->now);
}

/* Of a copy: the datagram can be opened again. */
static int opens(struct ends *e, const uint8_t *d, size_t len)
{
	uint8_t copy[MAX];
	struct record r;

	memcpy(copy, d, len);
	return open_at(e, copy, len, &r);
}

/* In any form that RFC 9147 has. */
struct form {
	uint8_t bits; /* of the first byte, besides epoch and CID */
	uint8_t type;
	size_t padding;
};

static size_t forge(struct ends *e, uint8_t *out, uint64_t number, const struct form *f,
                    const char *text)
{
	const struct aead *a = e->s->key.aead;
	const size_t number_len = f->bits & DATAGRAM_UNIFIED_SEQ16 ? 2 : 1, at = 1 + RECORD_CID_LEN;
	size_t header = at + number_len, len = strlen(text);
	struct aead_about about = {.aad = out};
	uint8_t plain[MAX] = {0}, mask[AEAD_MASK];

	memcpy(plain, text, len);
	plain[len] = f->type;
	len += 1 + f->padding;
	out[0] = (uint8_t)(0x33 | f->bits);
	memcpy(out + 1, cid, sizeof(cid));
	if (number_len == 2)
		out[at] = (uint8_t)(number >> 8);
	out[at + number_len - 1] = (uint8_t)number;
	if (f->bits & DATAGRAM_UNIFIED_LENGTH) {
		out[header] = (uint8_t)((len + AEAD_TAG) >> 8);
		out[header + 1] = (uint8_t)(len + AEAD_TAG);
		header += 2;
	}
	about.aad_len = header;
	memcpy(about.nonce, e->s->key.iv, AEAD_NONCE);
	for (int i = 0; i < 8; i++)
		about.nonce[AEAD_NONCE - 1 - i] ^= (uint8_t)(number >> 8 * i);
	cr_assert_eq(a->seal(e->s->key.state, out + header, plain, len, &about, out + header + len),
	             0);
	cr_assert_eq(a->mask(e->s->key.state, out + header, mask), 0);
	for (size_t i = 0; i < number_len; i++)
		out[at + i] ^= mask[i];
	return header + len + AEAD_TAG;
}

static const struct form ours = {DATAGRAM_UNIFIED_SEQ16, RECORD_DATA, 0};

#define EACH_CIPHER(c) for (enum aead_cipher c = 0; c < AEAD_CIPHERS; c++)

/* -- the format ---------------------------------------------------------------------------------- */

struct line {
	const struct aead *aead;
	uint8_t secret[RECORD_SECRET], cid[RECORD_CID_LEN], plain[MAX], record[MAX];
	unsigned epoch;
	uint64_t number;
	bool ours;
	size_t len, record_len;
};

static void line_read(struct line *l, const char *text)
{
	char name[16], sec[80], c[16], form[16], plain[2 * MAX], record[2 * MAX];
	unsigned long number;

	cr_assert_eq(sscanf(text, "%15s %79s %u %15s %lu %15s %511s %511s", name, sec, &l->epoch, c,
	                    &number, form, plain, record),
	             8);
	l->aead = aead_find(strcmp(name, "aes") == 0 ? AEAD_AES_128_GCM : AEAD_CHACHA20_POLY1305);
	l->number = number;
	l->ours = strcmp(form, "ours") == 0;
	cr_assert_eq(hex_parse(l->secret, sizeof(l->secret), sec), sizeof(l->secret));
	cr_assert_eq(hex_parse(l->cid, sizeof(l->cid), c), sizeof(l->cid));
	l->len = hex_parse(l->plain, sizeof(l->plain), plain);
	l->record_len = hex_parse(l->record, sizeof(l->record), record);
	cr_assert(l->len && l->record_len);
}

/* tests/golden/record.txt was made from the RFC, not by this code. */
Test(record, is_what_the_golden_file_says_byte_for_byte)
{
	FILE *f = fopen("tests/golden/record.txt", "r");
	unsigned lines = 0, updated = 0;
	char text[2048];

	cr_assert(f);
	while (fgets(text, sizeof(text), f)) {
		struct record_sealer *s, *first;
		struct record_opener *o;
		struct line l;
		struct record r;
		uint8_t out[MAX];

		if (text[0] == '#')
			continue;
		line_read(&l, text);
		cr_assert_eq(record_sealer_new(&s, l.aead, l.secret, l.epoch, l.cid, LIMIT), 0);
		cr_assert_eq(record_opener_new(&o, l.aead, l.secret, l.epoch), 0);
		s->next = l.number;
		if (l.ours) {
			cr_assert_eq(record_seal(s, l.plain, l.len, out), (ssize_t)l.record_len);
			cr_assert_eq(memcmp(out, l.record, l.record_len), 0, "%s", text);
		}
		replay_init(&o->replay, l.number);
		cr_assert_eq(record_parse(&r, l.cid, l.record, l.record_len), 0);
		cr_assert_eq(record_open(o, &r, NOW), 0, "%s", text);
		cr_assert_eq(r.number, l.number);
		cr_assert_eq(r.type, RECORD_DATA);
		cr_assert_eq(r.len, l.len);
		cr_assert_eq(memcmp(r.plain, l.plain, l.len), 0);
		if (l.epoch == 3) { /* the file's first secret, and what follows from it */
			memcpy(l.secret, s->key.next_secret, sizeof(l.secret));
		} else {
			uint8_t before[RECORD_SECRET];

			for (unsigned i = 0; i < sizeof(before); i++)
				before[i] = (uint8_t)(0x40 + i);
			cr_assert_eq(record_sealer_new(&first, l.aead, before, 3, l.cid, LIMIT), 0);
			cr_assert_eq(memcmp(first->key.next_secret, l.secret, sizeof(before)), 0);
			record_sealer_free(first);
			updated++;
		}
		record_sealer_free(s);
		record_opener_free(o);
		lines++;
	}
	fclose(f);
	cr_assert_eq(lines, 24);
	cr_assert_eq(updated, 10);
}

Test(record, costs_24_bytes)
{
	struct ends e = ends_new(AEAD_AES_128_GCM);
	uint8_t d[MAX];

	cr_assert_eq(RECORD_OVERHEAD, 24);
	cr_assert_eq(seal(&e, d, "x"), 25);
	cr_assert_eq(d[0], 0x3b);
	cr_assert_eq(memcmp(d + 1, cid, sizeof(cid)), 0);
	ends_free(&e);
}

Test(record, opens_every_form_that_others_send)
{
	static const struct form forms[] = {
		{0, RECORD_DATA, 0},
		{DATAGRAM_UNIFIED_SEQ16, RECORD_DATA, 0},
		{DATAGRAM_UNIFIED_LENGTH, RECORD_DATA, 0},
		{DATAGRAM_UNIFIED_SEQ16 | DATAGRAM_UNIFIED_LENGTH, RECORD_DATA, 0},
		{DATAGRAM_UNIFIED_SEQ16, RECORD_DATA, 100},
		{DATAGRAM_UNIFIED_LENGTH, RECORD_ACK, 1},
		{DATAGRAM_UNIFIED_SEQ16 | DATAGRAM_UNIFIED_LENGTH, RECORD_ALERT, 33},
		{0, RECORD_HANDSHAKE, 2},
	};
	uint64_t number = 0;

	EACH_CIPHER(c)
	{
		struct ends e = ends_new(c);

		for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
			for (int again = 0; again < 3; again++) {
				const struct form *f = &forms[i];
				uint8_t d[MAX], d2[MAX];
				struct record r;
				size_t n = forge(&e, d, number, f, TEXT), behind = 0;

				if (f->bits & DATAGRAM_UNIFIED_LENGTH)
					behind = 7; /* another record may follow */
				memset(d + n, 0xa5, behind);
				memcpy(d2, d, n + behind);
				cr_assert_eq(open_at(&e, d, n + behind, &r), 0, "form %zu", i);
				cr_assert_eq(r.total, n);
				cr_assert_eq(r.number, number);
				cr_assert_eq(r.type, f->type);
				cr_assert_eq(r.len, strlen(TEXT));
				cr_assert_eq(memcmp(r.plain, TEXT, r.len), 0);
				/* as it came, for wolfSSL */
				cr_assert_eq(record_restore(e.o, &r), 0);
				cr_assert_eq(memcmp(d, d2, n + behind), 0);
				number += again ? 1 : 60;
			}
		number = 0;
		ends_free(&e);
	}
}

Test(record, may_be_empty_but_not_without_a_type)
{
	static const struct form nothing = {DATAGRAM_UNIFIED_SEQ16, 0, 20};
	struct ends e = ends_new(AEAD_AES_128_GCM);
	uint8_t d[MAX];
	struct record r;
	size_t n = forge(&e, d, 0, &ours, "");

	cr_assert_eq(open_at(&e, d, n, &r), 0);
	cr_assert_eq(r.len, 0);
	n = forge(&e, d, 1, &nothing, "");
	cr_assert_eq(opens(&e, d, n), -EBADMSG);
	for (size_t i = 0; i < RECORD_HEADER + AEAD_TAG + 1; i++)
		cr_assert_eq(record_parse(&r, cid, d, i), -EBADMSG, "%zu", i);
	ends_free(&e);
}

/* -- what an attacker can send -------------------------------------------------------------------- */

Test(record, with_any_bit_changed_or_cut_anywhere_is_refused_and_left_alone)
{
	static const struct form forms[] = {
		{DATAGRAM_UNIFIED_SEQ16, RECORD_DATA, 0},
		{DATAGRAM_UNIFIED_LENGTH, RECORD_DATA, 3},
	};

	EACH_CIPHER(c)
	{
		struct ends e = ends_new(c);

		for (size_t f = 0; f < 2; f++) {
			uint8_t d[MAX], copy[MAX];
			size_t n = forge(&e, d, 70 + f, &forms[f], TEXT);
			struct record r;

			for (size_t bit = 0; bit < 8 * n; bit++) {
				int err;

				d[bit / 8] ^= (uint8_t)(1 << bit % 8);
				memcpy(copy, d, n);
				err = open_at(&e, copy, n, &r);
				cr_assert(err == -EBADMSG || (err == -EALREADY && f), "bit %zu",
				          bit);
				cr_assert_eq(memcmp(copy, d, n), 0, "bit %zu", bit);
				d[bit / 8] ^= (uint8_t)(1 << bit % 8);
			}
			for (size_t cut = 0; cut < n; cut++)
				cr_assert_eq(opens(&e, d, cut), -EBADMSG, "cut at %zu", cut);
			cr_assert_eq(opens(&e, d, n), 0);
			cr_assert_eq(opens(&e, d, n), -EALREADY);
		}
		ends_free(&e);
	}
}

Test(record, is_opened_once_and_not_when_too_old)
{
	struct ends e = ends_new(AEAD_AES_128_GCM);
	static uint8_t d[REPLAY_WINDOW + 2][64];
	size_t n = 0;

	for (int i = 0; i < REPLAY_WINDOW + 2; i++)
		n = seal(&e, d[i], "x");
	cr_assert_eq(opens(&e, d[REPLAY_WINDOW], n), 0);
	cr_assert_eq(opens(&e, d[0], n), -EALREADY);
	for (int i = REPLAY_WINDOW; i-- > 1;)
		cr_assert_eq(opens(&e, d[i], n), 0, "%d", i);
	for (int i = 1; i < REPLAY_WINDOW; i++)
		cr_assert_eq(opens(&e, d[i], n), -EALREADY);
	cr_assert_eq(opens(&e, d[REPLAY_WINDOW + 1], n), 0);
	ends_free(&e);
}

Test(record, of_another_key_epoch_or_cid_does_not_open)
{
	static const uint8_t other_secret[RECORD_SECRET] = {3, 1, 4, 1, 5, 9, 2, 7};
	static const uint8_t other_cid[RECORD_CID_LEN] = {1, 0xc1, 0xd0, 0xe};
	struct ends e = ends_new(AEAD_AES_128_GCM), other;
	uint8_t d[MAX];
	struct record r;
	size_t n = seal(&e, d, TEXT);

	cr_assert_eq(record_parse(&r, other_cid, d, n), -EBADMSG);
	other = e;
	cr_assert_eq(record_opener_new(&other.o, aead_find(AEAD_AES_128_GCM), other_secret, 3), 0);
	cr_assert_eq(opens(&other, d, n), -EBADMSG);
	record_opener_free(other.o);
	cr_assert_eq(opens(&e, d, n), 0);
	ends_free(&e);
}

/* -- numbers ---------------------------------------------------------------------------------------- */

Test(record, numbers_go_on_beyond_16_bits_late_ones_too)
{
	struct ends e = ends_new(AEAD_AES_128_GCM);
	uint8_t late[MAX], d[MAX];
	struct record r;
	size_t n;

	for (uint64_t i = 0; i < 200000; i++) {
		n = seal(&e, d, "x");
		if (i % 8000 == 77)
			memcpy(late, d, n);
		else
			cr_assert_eq(open_at(&e, d, n, &r), 0, "%lu", (unsigned long)i);
		if (i % 8000 == 7999) {
			cr_assert_eq(open_at(&e, late, n, &r), 0);
			cr_assert_eq(r.number, i - 7999 + 77);
		}
	}
	ends_free(&e);
}

/* The first refusals are lost, then one that comes is found. */
static void survives_gap(enum aead_cipher c, uint64_t gap)
{
	struct ends e = ends_new(c);
	uint8_t d[MAX];
	unsigned refused = 0;
	size_t n;

	e.s->next = 1 << 20;
	replay_init(&e.o->replay, e.s->next);
	n = seal(&e, d, TEXT);
	cr_assert_eq(opens(&e, d, n), 0);
	e.s->next += gap;
	for (;; refused++) {
		int err;

		n = seal(&e, d, TEXT);
		err = opens(&e, d, n);
		if (!err)
			break;
		cr_assert(err == -EBADMSG || err == -EALREADY);
		cr_assert_lt(refused, RECORD_GAP_AFTER, "gap %lu", (unsigned long)gap);
	}
	cr_assert_eq(refused, gap > 32768 ? RECORD_GAP_AFTER : 0, "gap %lu", (unsigned long)gap);
	for (int i = 0; i < 100; i++) {
		n = seal(&e, d, TEXT);
		cr_assert_eq(opens(&e, d, n), 0);
		cr_assert_eq(opens(&e, d, n), -EALREADY);
	}
	ends_free(&e);
}

Test(record, a_gap_of_a_million_lost_ones_is_survived)
{
	static const uint64_t gaps[] = {1,      8191,   8192,   32700,  32768,  32770,   40000,
	                                57000,  65530,  65536,  65537,  70000,  100000,  131072,
	                                200000, 333333, 500000, 700000, 999999, 1000000, 1048576};

	for (size_t i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
		survives_gap(AEAD_AES_128_GCM, gaps[i]);
		survives_gap(AEAD_CHACHA20_POLY1305, gaps[i]);
	}
}

/* A flood of forgeries costs a bounded number of trials a second, and does not make us deaf. */
Test(record, forgeries_do_not_buy_unbounded_work)
{
	struct ends e = ends_new(AEAD_AES_128_GCM);
	uint8_t d[MAX], good[MAX];
	uint64_t before, floods = 50000;
	size_t n;

	for (int second = 0; second < 3; second++) {
		before = e.o->forged;
		for (uint64_t i = 0; i < floods; i++) {
			n = forge(&e, d, e.o->replay.next + 5, &ours, TEXT);
			d[n - 1] ^= 1;
			cr_assert_lt(opens(&e, d, n), 0);
		}
		cr_assert_leq(e.o->forged - before, floods + RECORD_GAP_TRIES);
		cr_assert_gt(e.o->forged - before, floods);
		n = seal(&e, good, TEXT);
		cr_assert_eq(opens(&e, good, n), 0);
		e.now += SEC;
	}
	/* amid the flood, a record from behind a gap is found within a second or two */
	e.s->next += 300000;
	for (int second = 0; second < 3; second++, e.now += SEC)
		for (int i = 0; i < 100; i++) {
			n = seal(&e, good, TEXT);
			if (opens(&e, good, n) == 0) {
				ends_free(&e);
				return;
			}
			good[n - 1] ^= 1;
			opens(&e, good, n);
		}
	cr_assert_fail("deaf");
}

static int cannot_seal(void *state, uint8_t *out, const uint8_t *in, size_t len,
                       const struct aead_about *about, uint8_t tag[AEAD_TAG])
{
	(void)state;
	(void)out;
	(void)in;
	(void)len;
	(void)about;
	(void)tag;
	return -EIO;
}

Test(record, no_number_is_used_again_though_sealing_fails)
{
	struct ends e = ends_new(AEAD_AES_128_GCM);
	struct aead broken = *e.s->key.aead;
	uint8_t d[MAX], plain[MAX] = "xy";
	struct record r;
	size_t n;

	seal(&e, d, "x");
	cr_assert_eq(e.s->next, 1);
	broken.seal = cannot_seal;
	e.s->key.aead = &broken;
	cr_assert_eq(record_seal(e.s, plain, 1, d), -EIO);
	cr_assert_eq(plain[1], 'y');
	cr_assert_eq(e.s->next, 2);
	e.s->key.aead = e.o->key.aead;
	n = seal(&e, d, "x");
	cr_assert_eq(open_at(&e, d, n, &r), 0);
	cr_assert_eq(r.number, 2);
	e.s->limit = 3;
	cr_assert_eq(record_seal(e.s, plain, 1, d), -EKEYEXPIRED);
	cr_assert_eq(e.s->next, 3);
	ends_free(&e);
}

Test(record, a_key_seals_so_many_and_the_last_are_not_data)
{
	struct record_sealer *s;
	uint8_t d[MAX], plain[MAX] = "x";

	cr_assert_eq(record_sealer_new(&s, aead_find(AEAD_AES_128_GCM), secret, 3, cid, LIMIT), 0);
	s->next = LIMIT - RECORD_RESERVE - 1;
	cr_assert_eq(record_seal(s, plain, 1, d), 25);
	cr_assert_eq(record_seal(s, plain, 1, d), -EKEYEXPIRED);
	record_sealer_free(s);
}

Test(record, a_key_that_many_tried_to_forge_opens_nothing_more)
{
	struct ends e = ends_new(AEAD_AES_128_GCM);
	uint8_t d[MAX], bad[MAX];
	size_t n = seal(&e, d, TEXT);

	e.o->forged = RECORD_FORGED_HARD - 1;
	memcpy(bad, d, n);
	bad[n - 1] ^= 1;
	cr_assert_eq(opens(&e, bad, n), -EBADMSG);
	cr_assert_eq(e.o->forged, RECORD_FORGED_HARD);
	cr_assert_eq(opens(&e, d, n), -EKEYEXPIRED);
	ends_free(&e);
}
