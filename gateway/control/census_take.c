/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/census_take.h"

#include "gateway/identity.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct taking {
	const struct control *c;
	const struct snapshot *s;
	struct census *census;
};

/* What our certificate says of us holds, whatever the registry does. */
static struct census_node self_of(const struct control *c, const struct snapshot *s)
{
	return (struct census_node){
		.name = c->node->name,
		.peer = s->self,
		.labels = &c->params->identity->info.labels,
		.prefixes = c->node->prefixes,
		.nprefixes = c->node->nprefixes,
	};
}

static struct census_node node_of(const struct member *m)
{
	return (struct census_node){
		.name = m->name,
		.peer = m->peer,
		.labels = &m->labels,
		.prefixes = m->prefixes,
		.nprefixes = m->nprefixes,
	};
}

static int take_nodes(const struct taking *t)
{
	struct census_node n = self_of(t->c, t->s);
	int err = census_node(t->census, &n);
	struct member *m, *tmp;

	HASH_ITER(hh, t->c->watch.members, m, tmp) {
		if (err)
			return err;
		if (!m->peer)
			continue; /* us */
		n = node_of(m);
		err = census_node(t->census, &n);
	}
	return err;
}

static int take_workload(void *arg, const struct workload *w)
{
	const struct taking *t = arg;
	struct census_workload what = {.name = w->name,
	                               .id = w->id,
	                               .addresses = w->addresses,
	                               .naddresses = w->naddresses};
	struct cert_labels labels;
	struct census_node on;
	struct member *m = watch_find(&t->c->watch, w->node);

	if (!strcmp(w->node, t->c->node->name))
		on = self_of(t->c, t->s);
	else if (m && m->peer)
		on = node_of(m);
	else
		return 0; /* its node is gone: nobody sends for it */
	workload_labels(w, &labels);
	what.labels = &labels;
	return census_workload(t->census, &what, &on);
}

struct size {
	uint32_t workloads, addresses;
};

static int count_workload(void *arg, const struct workload *w)
{
	struct size *n = arg;

	n->workloads++;
	n->addresses += w->naddresses;
	return 0;
}

/* Counts go on as long as the policy is the same. */
static int drops_renew(struct control *c, const struct policy *document)
{
	struct rule_drops *d;
	int err;

	if (c->rule_drops && c->rule_drops_of == c->edict.version)
		return 0;
	err = rule_drops_new(&d, policy_rules(document));
	if (err)
		return err;
	rule_drops_put(c->rule_drops);
	c->rule_drops = d;
	c->rule_drops_of = c->edict.version;
	return 0;
}

static int take(struct control *c, struct snapshot *s, const struct policy *document)
{
	struct taking t = {.c = c, .s = s};
	struct size n = {0};
	int err = drops_renew(c, document);

	if (err)
		return err;
	control_workloads_each(c, count_workload, &n);
	err = census_new(&t.census, s, document, HASH_COUNT(c->watch.members) + 1, n.workloads,
	                 n.addresses);
	if (err)
		return err;
	err = take_nodes(&t);
	if (!err)
		err = control_workloads_each(c, take_workload, &t);
	if (!err)
		err = census_end(t.census, c->rule_drops);
	census_free(t.census);
	return err;
}

/* What holds without a document: all, in a cluster that has no policy. In one that has, nothing until
 * it is here: a node that lost its file, or has just joined, may not be the way round it. One that was
 * at work when the first policy came goes on as it was for the moment that the document takes.
 */
static int without_document(struct control *c, struct policy **out)
{
	static const char nothing[] = "version: 1\ndefault: deny\n";
	struct config_faults *faults;
	int err;

	if (!c->watch.policy.version)
		c->was_open |= HASH_COUNT(c->watch.members) > 0;
	if (!c->watch.policy.version || c->was_open)
		return policy_new_default(out);
	faults = calloc(1, sizeof(*faults));
	if (!faults)
		return -ENOMEM;
	err = policy_parse(out, "none", nothing, sizeof(nothing) - 1, faults);
	free(faults);
	return err;
}

int census_take(struct control *c, struct snapshot *s)
{
	struct policy *plain = NULL;
	int err = 0;

	if (c->node->is_static)
		return 0;
	s->policy_version = c->edict.version;
	if (!c->edict.policy)
		err = without_document(c, &plain);
	if (!err)
		err = take(c, s, plain ? plain : c->edict.policy);
	policy_free(plain);
	return err;
}
