/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/revocation.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/statement.h"

#define MAGIC     "ginnel-revocations-1" /* with its NUL: no other signature of a CA begins so */
#define ENTRY_MIN (1 + 8 + 8 + 1)

/* -- sets ------------------------------------------------------------------------------------- */

void revocations_clear(struct revocations *s)
{
	free(s->at);
	s->at = NULL;
	s->n = 0;
}

int revocations_copy(struct revocations *out, const struct revocations *s)
{
	out->n = 0;
	out->at = NULL;
	if (!s->n)
		return 0;
	out->at = malloc(s->n * sizeof(*s->at));
	if (!out->at)
		return -ENOMEM;
	memcpy(out->at, s->at, s->n * sizeof(*s->at));
	out->n = s->n;
	return 0;
}

static int order(const struct revocation *a, const struct revocation *b)
{
	int d = (int)a->kind - (int)b->kind;

	if (!d)
		d = strcmp(a->node, b->node);
	return d ? d : memcmp(a->spki, b->spki, sizeof(a->spki));
}

/* Where r's subject is, or would go. */
static unsigned place(const struct revocations *s, const struct revocation *r, bool *there)
{
	unsigned low = 0, high = s->n;

	*there = false;
	while (low < high) {
		unsigned mid = low + (high - low) / 2;
		int d = order(&s->at[mid], r);

		if (!d) {
			*there = true;
			return mid;
		}
		if (d < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int revocations_add(struct revocations *s, const struct revocation *r)
{
	struct revocation *more;
	bool there;
	unsigned at = place(s, r, &there);

	if (there) {
		if (s->at[at].value < r->value)
			s->at[at].value = r->value;
		if (s->at[at].until < r->until)
			s->at[at].until = r->until;
		return 0;
	}
	if (s->n == REVOCATION_ENTRIES_MAX)
		return -E2BIG;
	more = reallocarray(s->at, s->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	s->at = more;
	memmove(&more[at + 1], &more[at], (s->n - at) * sizeof(*more));
	more[at] = *r;
	s->n++;
	return 0;
}

int revocations_join(struct revocations *s, const struct revocations *other)
{
	struct revocations sum;
	int err = revocations_copy(&sum, s);

	for (unsigned i = 0; i < other->n && !err; i++)
		err = revocations_add(&sum, &other->at[i]);
	if (err) {
		revocations_clear(&sum);
		return err;
	}
	revocations_clear(s);
	*s = sum;
	return 0;
}

static const struct revocation *find(const struct revocations *s, const struct revocation *r)
{
	bool there;
	unsigned at = place(s, r, &there);

	return there ? &s->at[at] : NULL;
}

bool revocations_cover(const struct revocations *s, const struct revocations *other)
{
	for (unsigned i = 0; i < other->n; i++) {
		const struct revocation *have = find(s, &other->at[i]);

		if (!have || have->value < other->at[i].value || have->until < other->at[i].until)
			return false;
	}
	return true;
}

void revocations_prune(struct revocations *s, time_t wall)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->n; i++)
		if (s->at[i].until >= wall)
			s->at[kept++] = s->at[i];
	s->n = kept;
}

enum cert_refusal revocations_judge(const struct revocations *s, const struct cert_info *cert,
                                    bool labels)
{
	struct revocation of_node = {.kind = REVOCATION_INCARNATION};
	struct revocation of_key = {.kind = REVOCATION_KEY};
	const struct revocation *r;

	snprintf(of_node.node, sizeof(of_node.node), "%s", cert->node);
	memcpy(of_key.spki, cert->spki, sizeof(of_key.spki));
	r = find(s, &of_node);
	if (r && cert->incarnation <= r->value)
		return CERT_REVOKED;
	if (find(s, &of_key))
		return CERT_REVOKED;
	of_node.kind = REVOCATION_ISSUE;
	r = labels ? find(s, &of_node) : NULL;
	return r && cert->issue < r->value ? CERT_REVOKED : CERT_OK;
}

/* -- writing ---------------------------------------------------------------------------------- */

struct bytes {
	uint8_t *p;
	size_t n, max;
	bool full;
};

static void put(struct bytes *b, const void *p, size_t n)
{
	if (b->full || n > b->max - b->n) {
		b->full = true;
		return;
	}
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
}

static void put_number(struct bytes *b, uint64_t v, size_t n)
{
	uint8_t be[8];

	for (size_t i = 0; i < n; i++)
		be[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
	put(b, be, n);
}

static void put_entry(struct bytes *b, const struct revocation *r)
{
	bool key = r->kind == REVOCATION_KEY;
	size_t n = key ? sizeof(r->spki) : strlen(r->node);

	put_number(b, (uint64_t)r->kind, 1);
	put_number(b, (uint64_t)r->until, 8);
	put_number(b, r->value, 8);
	put_number(b, n, 1);
	put(b, key ? r->spki : (const uint8_t *)r->node, n);
}

int revocations_hash(const struct revocations *s, uint8_t out[32])
{
	struct bytes b = {.max = REVOCATION_LIST_MAX};

	b.p = malloc(b.max);
	if (!b.p)
		return -ENOMEM;
	for (unsigned i = 0; i < s->n; i++)
		put_entry(&b, &s->at[i]);
	cert_spki_hash(b.p, b.n, out);
	free(b.p);
	return 0;
}

int revocation_list_make(uint8_t *out, size_t max, size_t *len, uint64_t number, time_t issued,
                         const struct revocations *s, const struct cert_key *key,
                         const struct cert_chain *chain)
{
	struct bytes b = {.p = out, .max = max < REVOCATION_LIST_MAX ? max : REVOCATION_LIST_MAX};

	put(&b, MAGIC, sizeof(MAGIC));
	put_number(&b, number, 8);
	put_number(&b, (uint64_t)issued, 8);
	put_number(&b, s->n, 2);
	for (unsigned i = 0; i < s->n; i++)
		put_entry(&b, &s->at[i]);
	if (b.full)
		return -E2BIG;
	*len = b.n;
	return statement_sign(out, b.max, len, key, chain);
}

/* -- reading ---------------------------------------------------------------------------------- */

struct reader {
	const uint8_t *p;
	size_t n; /* left */
	bool cut;
};

static const uint8_t *take(struct reader *r, size_t n)
{
	const uint8_t *at = r->p;

	if (r->cut || n > r->n) {
		r->cut = true;
		return NULL;
	}
	r->p += n;
	r->n -= n;
	return at;
}

static uint64_t take_number(struct reader *r, size_t n)
{
	const uint8_t *at = take(r, n);
	uint64_t v = 0;

	for (size_t i = 0; at && i < n; i++)
		v = v << 8 | at[i];
	return v;
}

static int take_entry(struct reader *r, struct revocation *e)
{
	uint64_t kind = take_number(r, 1), until = take_number(r, 8);
	const uint8_t *subject;
	size_t n;

	memset(e, 0, sizeof(*e));
	e->value = take_number(r, 8);
	n = (size_t)take_number(r, 1);
	subject = take(r, n);
	if (!subject || kind < REVOCATION_INCARNATION || kind > REVOCATION_KEY || until > INT64_MAX)
		return -EBADMSG;
	e->kind = (enum revocation_kind)kind;
	e->until = (time_t)until;
	if (e->kind == REVOCATION_KEY) {
		if (n != sizeof(e->spki) || e->value)
			return -EBADMSG;
		memcpy(e->spki, subject, n);
		return 0;
	}
	if (n > CERT_NAME_MAX)
		return -EBADMSG;
	memcpy(e->node, subject, n);
	return strlen(e->node) == n && cert_name_ok(e->node) ? 0 : -EBADMSG;
}

static int take_entries(struct reader *r, struct revocations *s)
{
	uint64_t count = take_number(r, 2);
	struct revocation e;
	int err = count <= REVOCATION_ENTRIES_MAX && count * ENTRY_MIN <= r->n ? 0 : -EBADMSG;

	for (uint64_t i = 0; i < count && !err; i++) {
		err = take_entry(r, &e);
		if (!err)
			err = revocations_add(s, &e);
	}
	return err;
}

int revocation_list_read(struct revocations *out, uint64_t *number, time_t *issued,
                         const uint8_t *list, size_t len, const struct cert_trust *trust)
{
	struct reader r = {.p = list, .n = len};
	const uint8_t *magic = take(&r, sizeof(MAGIC));
	struct revocations s = {0};
	uint64_t no, at;
	int err;

	if (len > REVOCATION_LIST_MAX || !magic || memcmp(magic, MAGIC, sizeof(MAGIC)) != 0)
		return -EBADMSG;
	no = take_number(&r, 8);
	at = take_number(&r, 8);
	err = take_entries(&r, &s);
	if (!err && (r.cut || at > INT64_MAX || no > INT64_MAX))
		err = -EBADMSG;
	if (!err)
		err = statement_check(list, len, len - r.n, trust);
	if (err) {
		revocations_clear(&s);
		return err == -ENOMEM ? err : -EBADMSG;
	}
	*out = s;
	*number = no;
	*issued = (time_t)at;
	return 0;
}
