/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/census.h"

#include "crypto/secret.h"
#include <errno.h>
#include <stdlib.h>

#define NODE_ADDRESSES 4

struct census {
	struct snapshot *s;
	struct policy *policy;
	struct subjects *subjects;
	uint32_t workloads;
};

int census_new(struct census **out, struct snapshot *s, const struct policy *document,
               uint32_t nodes, uint32_t workloads, uint32_t addresses)
{
	struct census *c = calloc(1, sizeof(*c));
	uint8_t key[16];
	int err;

	if (!c)
		return -ENOMEM;
	c->s = s;
	err = secret_random(key, sizeof(key));
	if (!err)
		err = policy_copy(&c->policy, document);
	if (!err)
		err = subjects_new(&c->subjects, key, nodes + workloads,
		                   nodes * NODE_ADDRESSES + addresses);
	if (err) {
		census_free(c);
		return err;
	}
	*out = c;
	return 0;
}

void census_free(struct census *c)
{
	if (!c)
		return;
	subjects_free(c->subjects);
	policy_free(c->policy);
	free(c);
}

int census_node(struct census *c, const struct census_node *n)
{
	const struct policy_subject what = {
		.kind = SUBJECT_NODE, .name = n->name, .labels = n->labels};
	struct subject who = {.name = n->name, .id = "", .where = n->peer};
	struct addr at[NODE_ADDRESSES];
	unsigned nat = 0;

	for (unsigned i = 0; i < n->nprefixes && nat < NODE_ADDRESSES; i++)
		nat += prefix_host(&n->prefixes[i], 1, &at[nat]);
	who.class = policy_class(c->policy, &what);
	return subjects_add(c->subjects, &who, at, nat);
}

int census_workload(struct census *c, const struct census_workload *w, const struct census_node *on)
{
	const struct policy_subject what = {.kind = SUBJECT_WORKLOAD,
	                                    .name = w->name,
	                                    .labels = w->labels,
	                                    .node_labels = on->labels};
	struct subject who = {.name = w->name, .id = w->id, .where = on->peer};

	who.class = policy_class(c->policy, &what);
	who.refused = policy_placement(c->policy, w->labels, on->labels) != NULL;
	c->workloads++;
	return subjects_add(c->subjects, &who, w->addresses, w->naddresses);
}

/* With no workload the rules built in refuse nobody either, but for addresses without a record: those
 * are no containers then.
 */
static bool all_may(const struct census *c)
{
	return !c->workloads && !policy_rules(c->policy) &&
	       policy_judge(c->policy, 0, 0, 0, 0).action == POLICY_ALLOW;
}

int census_end(struct census *c, struct rule_drops *drops)
{
	int err = policy_seal(c->policy);

	if (err)
		return err;
	if (all_may(c))
		return 0;
	snapshot_judge_by(c->s, c->policy, c->subjects, drops);
	c->policy = NULL;
	c->subjects = NULL;
	return 0;
}
