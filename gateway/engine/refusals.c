/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/refusals.h"

#include "gateway/tables/policy.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECOND 1000000000LL

/* -- counts -------------------------------------------------------------------------------------- */

struct rule_drops {
	_Atomic unsigned refs;
	uint32_t rules;
	_Atomic uint64_t by_default, node;
	_Atomic uint64_t at[];
};

int rule_drops_new(struct rule_drops **out, uint32_t rules)
{
	struct rule_drops *d = calloc(1, sizeof(*d) + rules * sizeof(*d->at));

	if (!d)
		return -ENOMEM;
	atomic_init(&d->refs, 1);
	d->rules = rules;
	*out = d;
	return 0;
}

struct rule_drops *rule_drops_get(struct rule_drops *d)
{
	atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
	return d;
}

void rule_drops_put(struct rule_drops *d)
{
	if (d && atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) == 1)
		free(d);
}

static _Atomic uint64_t *count_of(struct rule_drops *d, uint32_t rule)
{
	if (rule == POLICY_RULE_DEFAULT)
		return &d->by_default;
	if (rule == POLICY_RULE_NODE)
		return &d->node;
	return rule < d->rules ? &d->at[rule] : NULL;
}

void rule_drops_add(struct rule_drops *d, uint32_t rule)
{
	_Atomic uint64_t *count = count_of(d, rule);

	if (count)
		atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

uint64_t rule_drops_read(const struct rule_drops *d, uint32_t rule)
{
	const _Atomic uint64_t *count = count_of((struct rule_drops *)(uintptr_t)d, rule);

	return count ? atomic_load_explicit(count, memory_order_relaxed) : 0;
}

/* -- notes --------------------------------------------------------------------------------------- */

int refusals_init(struct refusals *r)
{
	memset(r, 0, sizeof(*r));
	return mailbox_init(&r->box, sizeof(struct refusal), REFUSALS_SLOTS);
}

void refusals_clear(struct refusals *r)
{
	mailbox_clear(&r->box);
}

void refusals_note(struct refusals *r, const struct refusal *one, int64_t now)
{
	uint32_t second = (uint32_t)(now / SECOND) + 1; /* 0: never yet */
	struct refusal *slot;
	unsigned i = one->rule % REFUSALS_RULES;

	if (r->noted[i].rule == one->rule && r->noted[i].second == second)
		return;
	slot = mailbox_reserve(&r->box);
	if (!slot)
		return;
	*slot = *one;
	mailbox_post(&r->box);
	r->noted[i].rule = one->rule;
	r->noted[i].second = second;
}

bool refusals_next(struct refusals *r, struct refusal *out)
{
	const struct refusal *slot = mailbox_next(&r->box);

	if (!slot)
		return false;
	*out = *slot;
	mailbox_done(&r->box);
	return true;
}
