/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int snapshot_new(struct snapshot **out, struct wolf *w, const char *self_name, unsigned max_peers)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	int err = -ENOMEM;

	if (!s)
		return -ENOMEM;
	s->peers = calloc(max_peers + 1, sizeof(*s->peers));
	if (!s->peers)
		goto fail_peers;
	err = route_table_new(&s->routes);
	if (err)
		goto fail_routes;
	err = peer_new(&s->self, self_name);
	if (err)
		goto fail_self;
	snprintf(s->self_name, sizeof(s->self_name), "%s", self_name);
	s->wolf = wolf_get(w);
	s->open = true;
	*out = s;
	return 0;
fail_self:
	route_table_free(s->routes);
fail_routes:
	free(s->peers);
fail_peers:
	free(s);
	return err;
}

void snapshot_free(struct snapshot *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->npeers; i++)
		peer_put(s->peers[i].peer);
	peer_put(s->self);
	policy_free(s->policy);
	subjects_free(s->subjects);
	rule_drops_put(s->rule_drops);
	revocations_clear(&s->revoked);
	lists_put(s->lists);
	route_table_free(s->routes);
	wolf_put(s->wolf);
	free(s->known);
	free(s->peers);
	free(s);
}

int snapshot_add_self(struct snapshot *s, const struct prefix *p)
{
	return route_add(s->routes, p, s->self);
}

int snapshot_add_peer(struct snapshot *s, const struct snapshot_peer *p,
                      const struct prefix *prefixes, unsigned nprefixes)
{
	for (unsigned i = 0; i < nprefixes; i++) {
		int err = route_add(s->routes, &prefixes[i], p->peer);

		if (err)
			return err;
	}
	s->peers[s->npeers] = *p;
	peer_get(p->peer);
	s->npeers++;
	return 0;
}

void snapshot_judge_by(struct snapshot *s, struct policy *p, struct subjects *subjects,
                       struct rule_drops *drops)
{
	s->open = false;
	s->policy = p;
	s->subjects = subjects;
	s->rule_drops = rule_drops_get(drops);
}

static int by_name(const void *a, const void *b)
{
	const struct snapshot_peer *x = a, *y = b;

	return strcmp(x->peer->name, y->peer->name);
}

static int by_addr(const void *a, const void *b)
{
	const struct addr *x = a, *y = b;

	if (x->family != y->family)
		return x->family - y->family;
	return memcmp(x->b, y->b, x->family == 4 ? 4 : sizeof(x->b));
}

static int know_endpoints(struct snapshot *s)
{
	size_t n = 0;

	for (unsigned i = 0; i < s->npeers; i++)
		n += s->peers[i].nendpoints;
	s->known = calloc(n + 1, sizeof(*s->known));
	if (!s->known)
		return -ENOMEM;
	for (unsigned i = 0; i < s->npeers; i++)
		for (unsigned k = 0; k < s->peers[i].nendpoints; k++)
			s->known[s->nknown++] = s->peers[i].endpoints[k].addr;
	qsort(s->known, s->nknown, sizeof(*s->known), by_addr);
	return 0;
}

int snapshot_seal(struct snapshot *s)
{
	int err = know_endpoints(s);

	if (err)
		return err;
	qsort(s->peers, s->npeers, sizeof(*s->peers), by_name);
	return route_seal(s->routes);
}

static int name_to_peer(const void *key, const void *member)
{
	const struct snapshot_peer *p = member;

	return strcmp(key, p->peer->name);
}

const struct snapshot_peer *snapshot_find(const struct snapshot *s, const char *name)
{
	return bsearch(name, s->peers, s->npeers, sizeof(*s->peers), name_to_peer);
}

const char *snapshot_refuses(const struct snapshot *s, const struct peer *p,
                             const struct cert_info *info)
{
	const struct snapshot_peer *sp = snapshot_find(s, p->name);

	if (!sp || sp->peer != p)
		return "the node is no longer in the cluster";
	if (sp->incarnation && sp->incarnation != info->incarnation)
		return "the node has joined anew";
	if (revocations_judge(&s->revoked, info, true) != CERT_OK)
		return "the node was revoked";
	if (s->wall > info->not_after)
		return "the node's certificate has ended";
	return NULL;
}

bool snapshot_knows(const struct snapshot *s, const struct addr *a)
{
	return bsearch(a, s->known, s->nknown, sizeof(*s->known), by_addr) != NULL;
}

bool snapshot_announced(const struct snapshot *s, const struct endpoint *e)
{
	for (unsigned i = 0; i < s->npeers; i++)
		for (unsigned j = 0; j < s->peers[i].nendpoints; j++)
			if (endpoint_equal(&s->peers[i].endpoints[j], e))
				return true;
	return false;
}
