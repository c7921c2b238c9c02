/* SPDX-License-Identifier: GPL-3.0-or-later */
/* refusals - what the policy refused: how often by each rule, and now and then one to be told of.
 *
 * Counts belong to a policy, of whatever snapshot, and are shared by all workers. The notes are a
 * worker's own, bounded and lossy; control reads them, and its log speaks in names.
 */
#pragma once
#include "gateway/engine/mailbox.h"
#include "tun/ip.h"
#include <stdbool.h>

#define REFUSALS_SLOTS 32 /* notes that wait for control */
#define REFUSALS_RULES 16 /* of which one is noted a second, about */

#define RULE_PLACEMENT 0xfffffffdU /* in place of a rule's number */

struct rule_drops;

/* rules: of the document; those that stand in none have a count each, too. -ENOMEM. */
int rule_drops_new(struct rule_drops **out, uint32_t rules);
struct rule_drops *rule_drops_get(struct rule_drops *d);
void rule_drops_put(struct rule_drops *d);
/* Any worker. */
void rule_drops_add(struct rule_drops *d, uint32_t rule);
/* 0 for a rule that there is not. */
uint64_t rule_drops_read(const struct rule_drops *d, uint32_t rule);

struct refusal {
	struct addr src, dst; /* of the packet */
	uint8_t proto;
	uint16_t port; /* of the flow's destination; 0: none */
	bool inbound;
	uint32_t rule;
	uint64_t version; /* of the policy */
};

struct refusals {
	struct mailbox box; /* struct refusal, to control */
	struct {
		uint32_t rule;
		uint32_t second; /* when it was last noted */
	} noted[REFUSALS_RULES];
};

int refusals_init(struct refusals *r);
void refusals_clear(struct refusals *r);
/* Worker: notes it, unless there was one of its rule in this second, or control is behind. */
void refusals_note(struct refusals *r, const struct refusal *one, int64_t now);
/* Control: false: no more. */
bool refusals_next(struct refusals *r, struct refusal *out);
