/* SPDX-License-Identifier: GPL-3.0-or-later */
/* census - who lives in the cluster, as a snapshot's packets are judged by it: every node and every
 * workload with its addresses, what the policy's labels make of it, and whether it may be where it is.
 *
 * Begun for a snapshot before it is sealed; then all nodes and workloads; then ended. Where nobody can
 * be refused anything (no rule, all allowed, no workload) the snapshot stays open, and its packets
 * cost nothing. Control's thread.
 */
#pragma once
#include "gateway/engine/snapshot.h"

struct census;

struct census_node {
	const char *name;
	const struct peer *peer; /* as routes have it: s->self for this node */
	const struct cert_labels *labels;
	const struct prefix *prefixes; /* the node is the first host of each */
	unsigned nprefixes;
};

struct census_workload {
	const char *name, *id;
	const struct cert_labels *labels;
	const struct addr *addresses;
	unsigned naddresses;
};

/* At most so many. document is copied. -ENOMEM, -E2BIG. */
int census_new(struct census **out, struct snapshot *s, const struct policy *document,
               uint32_t nodes, uint32_t workloads, uint32_t addresses);
void census_free(struct census *c);
int census_node(struct census *c, const struct census_node *n);
/* on: the node that it is on. */
int census_workload(struct census *c, const struct census_workload *w,
                    const struct census_node *on);
/* Gives the snapshot what was gathered. drops counts for document. Nothing is added after it. */
int census_end(struct census *c, struct rule_drops *drops);
