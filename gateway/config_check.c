/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/config_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A prefix with whose it is, for finding overlaps among many. */
struct claim {
	struct prefix prefix;
	struct place at;
	const char *name; /* of the peer; NULL: ours */
	bool said;        /* a fault names it */
};

static bool claim_is_later(const struct claim *a, const struct claim *b)
{
	return a->at.line > b->at.line || (a->at.line == b->at.line && a->at.column > b->at.column);
}

/* By address, the wider first: whoever overlaps another then stands behind it. */
static int claim_compare(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int d = x->prefix.addr.family - y->prefix.addr.family;

	if (!d)
		d = memcmp(x->prefix.addr.b, y->prefix.addr.b, sizeof(x->prefix.addr.b));
	if (!d)
		d = x->prefix.len - y->prefix.len;
	if (!d)
		d = claim_is_later(x, y) - claim_is_later(y, x);
	return d;
}

/* The one that stands further down is at fault, and is told so once. */
static void fault_overlap(struct parse *p, struct claim *one, struct claim *two)
{
	struct claim *later = claim_is_later(one, two) ? one : two;
	const struct claim *sooner = later == one ? two : one;
	char a[PREFIX_TEXT_MAX], b[PREFIX_TEXT_MAX];

	if (later->said)
		return;
	later->said = true;
	prefix_format(&later->prefix, a);
	prefix_format(&sooner->prefix, b);
	config_fault(p, later->at,
	             "%sprefixes: %s overlaps %s%s %s of line %u; an address belongs to one node",
	             later->name ? "peers." : "", a, sooner->name ? sooner->name : "our own",
	             sooner->name ? "'s" : "", b, sooner->at.line);
}

/* Among sorted claims: around[] holds those that the current one may lie in, the widest first. */
static void find_overlaps(struct parse *p, struct claim *claims, size_t n)
{
	struct claim *around[129];
	size_t depth = 0, k;

	for (k = 0; k < n; k++) {
		while (depth > 0 && !prefix_overlaps(&around[depth - 1]->prefix, &claims[k].prefix))
			depth--;
		if (depth > 0)
			fault_overlap(p, around[depth - 1], &claims[k]);
		/* Each is longer than the one before it, so there is room for all lengths. */
		if (depth == 0 || claims[k].prefix.len > around[depth - 1]->prefix.len)
			around[depth++] = &claims[k];
	}
}

static void check_overlaps(struct parse *p)
{
	struct config *c = p->c;
	struct claim *claims;
	size_t n = c->nprefixes, k = 0;
	unsigned i, j;

	for (i = 0; i < c->npeers; i++)
		n += c->peers[i].nprefixes;
	if (n == 0)
		return;
	claims = calloc(n, sizeof(*claims));
	if (!claims) {
		p->no_memory = true;
		return;
	}
	for (i = 0; i < c->nprefixes; i++)
		claims[k++] = (struct claim){.prefix = c->prefixes[i], .at = p->prefixes[i]};
	for (i = 0; i < c->npeers; i++)
		for (j = 0; j < c->peers[i].nprefixes; j++)
			claims[k++] = (struct claim){.prefix = c->peers[i].prefixes[j],
			                             .at = p->peers[i].prefixes[j],
			                             .name = c->peers[i].name};
	qsort(claims, n, sizeof(*claims), claim_compare);
	find_overlaps(p, claims, n);
	free(claims);
}

struct named {
	const char *name;
	struct place at;
};

static int named_compare(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int d = strcmp(x->name, y->name);

	return d ? d : x->at.line < y->at.line ? -1 : x->at.line > y->at.line;
}

static void check_names(struct parse *p)
{
	struct config *c = p->c;
	struct named *names;
	unsigned i;

	if (c->npeers == 0)
		return;
	names = calloc(c->npeers, sizeof(*names));
	if (!names) {
		p->no_memory = true;
		return;
	}
	for (i = 0; i < c->npeers; i++) {
		names[i] = (struct named){c->peers[i].name, p->peers[i].name};
		if (*c->name && !strcmp(c->name, c->peers[i].name))
			config_fault(
				p, p->peers[i].name,
				"peers.name: \"%s\" is this node itself; a peer is another one",
				c->name);
	}
	qsort(names, c->npeers, sizeof(*names), named_compare);
	for (i = 1; i < c->npeers; i++)
		if (*names[i].name && !strcmp(names[i].name, names[i - 1].name))
			config_fault(p, names[i].at,
			             "peers.name: \"%s\" stands in line %u already; name each once",
			             names[i].name, names[i - 1].at.line);
	free(names);
}

static void check_in_overlay(struct parse *p, const char *key, const struct prefix *list,
                             const struct place *at, unsigned n)
{
	struct prefix overlay[CONFIG_OVERLAY_MAX];
	unsigned noverlay = config_overlay(p->c, overlay), i;
	char text[PREFIX_TEXT_MAX], all[2 * PREFIX_TEXT_MAX + 8] = "";

	for (i = 0; i < noverlay; i++) {
		prefix_format(&overlay[i], text);
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ", " : "", text);
	}
	for (i = 0; i < n; i++) {
		if (config_within(&list[i], overlay, noverlay))
			continue;
		prefix_format(&list[i], text);
		config_fault(p, at[i],
		             "%s: %s lies outside the overlay (%s); choose another, or set overlay",
		             key, text, all);
	}
}

static void check_endpoints(struct parse *p, const char *key, const struct config_endpoint *list,
                            const struct place *at, unsigned n, bool loopback_ok)
{
	struct prefix overlay[CONFIG_OVERLAY_MAX], host;
	unsigned noverlay = config_overlay(p->c, overlay), i;

	for (i = 0; i < n; i++) {
		if (!list[i].is_addr)
			continue;
		host = config_host_prefix(&list[i].at.addr);
		if (!config_addr_dialable(&list[i].at.addr, loopback_ok))
			config_fault(p, at[i],
			             "%s: %s is no address that other hosts can reach; give one of "
			             "the host's own",
			             key, list[i].host);
		else if (config_within(&host, overlay, noverlay))
			config_fault(p, at[i],
			             "%s: %s lies inside the overlay, which runs over it; give an "
			             "address of the "
			             "network below",
			             key, list[i].host);
	}
}

static void check_interfaces(struct parse *p)
{
	struct config *c = p->c;
	unsigned i, j;

	for (i = 0; i < c->ninterfaces; i++) {
		if (!strcmp(c->interfaces[i], c->device))
			config_fault(p, p->interfaces[i],
			             "interfaces: %s is ginnel's own device; leave it out",
			             c->device);
		for (j = 0; j < i; j++)
			if (!strcmp(c->interfaces[i], c->interfaces[j]))
				config_fault(p, p->interfaces[i],
				             "interfaces: %s is given twice; keep one",
				             c->interfaces[i]);
	}
}

void config_check_whole(struct parse *p)
{
	struct config *c = p->c;
	unsigned i;

	for (i = 0; i < c->nadvertise; i++)
		if (c->advertise[i].at.port == 0)
			c->advertise[i].at.port = c->port;
	if (!c->identity && c->npeers > 0)
		config_fault(p, p->peers_at,
		             "peers: static peers need a PKI of your own; add identity, or join a "
		             "cluster and "
		             "leave peers out");
	if (!c->identity && c->nprefixes > 0)
		config_fault(p, p->prefixes_at,
		             "prefixes: in a cluster a manager gives them; leave it out, or add "
		             "identity");
	if (c->identity && c->nprefixes == 0 && !p->prefixes_at.line)
		config_fault(p, p->identity,
		             "identity: with a PKI of your own nobody else gives addresses; add "
		             "prefixes");
	check_names(p);
	check_in_overlay(p, "prefixes", c->prefixes, p->prefixes, c->nprefixes);
	check_endpoints(p, "advertise", c->advertise, p->advertise, c->nadvertise, false);
	for (i = 0; i < c->npeers; i++) {
		check_in_overlay(p, "peers.prefixes", c->peers[i].prefixes, p->peers[i].prefixes,
		                 c->peers[i].nprefixes);
		check_endpoints(p, "peers.endpoints", c->peers[i].endpoints, p->peers[i].endpoints,
		                c->peers[i].nendpoints, true);
	}
	check_overlaps(p);
	check_interfaces(p);
}
