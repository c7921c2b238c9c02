/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/node.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/keyfile.h"

/* -- what a node may be ----------------------------------------------------------------------- */

bool node_address(const struct node *n, int family, struct addr *out)
{
	const struct prefix *p;
	unsigned i;

	for (i = 0; i < n->nprefixes; i++) {
		p = &n->prefixes[i];
		if (p->addr.family != family)
			continue;
		if (p->len < (family == 4 ? 32 : 128))
			return prefix_host(p, 1, out);
		*out = p->addr; /* a prefix of one address: that one */
		return true;
	}
	return false;
}

static const char *refuse_networks(const struct node *n)
{
	unsigned i;

	if (n->noverlay == 0)
		return "it has no overlay";
	for (i = 0; i < n->noverlay; i++)
		if (config_overlay_refusal(&n->overlay[i]))
			return "its overlay is too large, too small or special";
	if (n->noverlay == 2 && n->overlay[0].addr.family == n->overlay[1].addr.family)
		return "it has two overlays of one family";
	for (i = 0; i < n->npools; i++) {
		if (config_overlay_refusal(&n->pools[i]))
			return "a pool is too large, too small or special";
		if (config_overlaps(&n->pools[i], n->overlay, n->noverlay) ||
		    config_overlaps(&n->pools[i], n->pools, i))
			return "a pool overlaps the overlay or another pool";
	}
	if (n->nprefixes == 0)
		return "it has no prefixes";
	for (i = 0; i < n->nprefixes; i++) {
		if (!config_within(&n->prefixes[i], n->overlay, n->noverlay))
			return "a prefix lies outside the overlay";
		if (config_overlaps(&n->prefixes[i], n->prefixes, i))
			return "two of its prefixes overlap";
	}
	return NULL;
}

/* An endpoint inside overlay or pools would have the tunnel run through itself. */
static bool endpoint_ok(const struct node *n, const struct config_endpoint *e, bool loopback_ok)
{
	struct prefix host = {.addr = e->at.addr, .len = e->at.addr.family == 4 ? 32 : 128};

	if (e->at.port == 0)
		return false;
	if (!e->is_addr)
		return e->host[0] != '\0';
	return config_addr_dialable(&e->at.addr, loopback_ok) &&
	       !config_overlaps(&host, n->overlay, n->noverlay) &&
	       !config_overlaps(&host, n->pools, n->npools);
}

const char *node_refusal(const struct node *n)
{
	const struct node_manager *m;
	const char *why;
	unsigned i, j;

	if (!cert_name_ok(n->cluster) || !cert_name_ok(n->name))
		return "its name or cluster is no lower case DNS label";
	if (n->role != ROLE_NODE && n->role != ROLE_MANAGER)
		return "its role is not known";
	if (n->port == 0 || (n->role == ROLE_MANAGER && n->port == UINT16_MAX))
		return "its port is out of range (a manager listens on the next one too)";
	why = refuse_networks(n);
	if (why)
		return why;
	for (i = 0; i < n->nadvertise; i++)
		if (!endpoint_ok(n, &n->advertise[i], false))
			return "an address it advertises cannot be reached by other hosts";
	for (i = 0; i < n->nmanagers; i++) {
		m = &n->managers[i];
		if (!cert_name_ok(m->name) || m->nendpoints == 0)
			return "a manager has no proper name or no endpoint";
		for (j = 0; j < m->nendpoints; j++)
			if (!endpoint_ok(n, &m->endpoints[j], true))
				return "a manager's endpoint cannot be reached";
	}
	return NULL;
}

/* -- from JSON -------------------------------------------------------------------------------- */

/* Every key known, every key there: what is missing was written by someone else. */
static int check_keys(const json_t *object, const char *const *keys)
{
	size_t n;

	if (!json_is_object(object))
		return -EBADMSG;
	for (n = 0; keys[n]; n++)
		if (!json_object_get(object, keys[n]))
			return -EBADMSG;
	return json_object_size(object) == n ? 0 : -EBADMSG;
}

static int get_name(const json_t *object, const char *key, char out[CERT_NAME_MAX + 1])
{
	const char *s = json_string_value(json_object_get(object, key));

	if (!s || !cert_name_ok(s))
		return -EBADMSG;
	snprintf(out, CERT_NAME_MAX + 1, "%s", s);
	return 0;
}

static int get_role(const json_t *object, enum cert_role *out)
{
	const char *s = json_string_value(json_object_get(object, "role"));

	return s && !cert_role_parse(out, s) ? 0 : -EBADMSG;
}

static int get_int(const json_t *object, const char *key, json_int_t min, json_int_t max,
                   json_int_t *out)
{
	const json_t *v = json_object_get(object, key);

	if (!json_is_integer(v))
		return -EBADMSG;
	*out = json_integer_value(v);
	return *out >= min && *out <= max ? 0 : -EBADMSG;
}

static int get_prefixes(const json_t *object, const char *key, struct prefix *out, unsigned max,
                        unsigned *n)
{
	const json_t *list = json_object_get(object, key);
	const char *s;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > max)
		return -EBADMSG;
	for (i = 0; i < json_array_size(list); i++) {
		s = json_string_value(json_array_get(list, i));
		if (!s || prefix_parse(&out[i], s))
			return -EBADMSG;
	}
	*n = (unsigned)i;
	return 0;
}

static int get_endpoints(const json_t *object, const char *key, struct config_endpoint *out,
                         unsigned *n)
{
	const json_t *list = json_object_get(object, key);
	const char *s;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > CONFIG_ADVERTISE_MAX)
		return -EBADMSG;
	for (i = 0; i < json_array_size(list); i++) {
		s = json_string_value(json_array_get(list, i));
		/* We always write the port. */
		if (!s || config_endpoint_parse(&out[i], s, 0) || out[i].at.port == 0)
			return -EBADMSG;
	}
	*n = (unsigned)i;
	return 0;
}

static int get_managers(const json_t *root, struct node *out)
{
	static const char *const keys[] = {"name", "endpoints", NULL};
	const json_t *list = json_object_get(root, "managers"), *item;
	struct node_manager *m;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > NODE_MANAGERS_MAX)
		return -EBADMSG;
	for (i = 0; i < json_array_size(list); i++) {
		item = json_array_get(list, i);
		m = &out->managers[i];
		if (check_keys(item, keys) || get_name(item, "name", m->name) ||
		    get_endpoints(item, "endpoints", m->endpoints, &m->nendpoints))
			return -EBADMSG;
	}
	out->nmanagers = (unsigned)i;
	return 0;
}

static int get_node(const json_t *root, struct node *out)
{
	static const char *const keys[] = {"format",    "cluster",  "name",  "role",
	                                   "port",      "overlay",  "pools", "prefixes",
	                                   "advertise", "managers", NULL};
	json_int_t format, port;

	if (check_keys(root, keys) || get_int(root, "format", NODE_FORMAT, NODE_FORMAT, &format) ||
	    get_int(root, "port", 1, UINT16_MAX, &port) ||
	    get_name(root, "cluster", out->cluster) || get_name(root, "name", out->name) ||
	    get_role(root, &out->role) ||
	    get_prefixes(root, "overlay", out->overlay, CONFIG_OVERLAY_MAX, &out->noverlay) ||
	    get_prefixes(root, "pools", out->pools, NODE_POOLS_MAX, &out->npools) ||
	    get_prefixes(root, "prefixes", out->prefixes, CONFIG_PREFIXES_MAX, &out->nprefixes) ||
	    get_endpoints(root, "advertise", out->advertise, &out->nadvertise) ||
	    get_managers(root, out))
		return -EBADMSG;
	out->port = (uint16_t)port;
	return node_refusal(out) ? -EBADMSG : 0;
}

int node_parse(struct node *out, const char *json, size_t len)
{
	struct node *n;
	json_t *root;
	int err;

	if (len > NODE_BYTES_MAX)
		return -EBADMSG;
	root = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
	if (!root)
		return -EBADMSG;
	n = calloc(1, sizeof(*n)); /* some 30 KiB, and out is written on success only */
	err = n ? get_node(root, n) : -ENOMEM;
	if (!err)
		*out = *n;
	free(n);
	json_decref(root);
	return err;
}

/* -- to JSON ---------------------------------------------------------------------------------- */

/* A list of what format makes of each; NULL if memory is out. */
static json_t *prefix_list(const struct prefix *p, unsigned n)
{
	json_t *list = json_array();
	char text[PREFIX_TEXT_MAX];
	unsigned i;

	for (i = 0; list && i < n; i++) {
		prefix_format(&p[i], text);
		if (json_array_append_new(list, json_string(text))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *endpoint_list(const struct config_endpoint *e, unsigned n)
{
	char text[CONFIG_ENDPOINT_TEXT_MAX];
	json_t *list = json_array();
	unsigned i;

	for (i = 0; list && i < n; i++) {
		config_endpoint_format(&e[i], text);
		if (json_array_append_new(list, json_string(text))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *manager_list(const struct node *n)
{
	const struct node_manager *m;
	json_t *list = json_array();
	unsigned i;

	for (i = 0; list && i < n->nmanagers; i++) {
		m = &n->managers[i];
		if (json_array_append_new(list,
		                          json_pack("{s:s, s:o}", "name", m->name, "endpoints",
		                                    endpoint_list(m->endpoints, m->nendpoints)))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

char *node_format(const struct node *n)
{
	json_t *root;
	char *text;

	/* json_pack frees what it was given if any of it is NULL. */
	root = json_pack("{s:i, s:s, s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:o}", "format",
	                 NODE_FORMAT, "cluster", n->cluster, "name", n->name, "role",
	                 cert_role_name(n->role), "port", (int)n->port, "overlay",
	                 prefix_list(n->overlay, n->noverlay), "pools",
	                 prefix_list(n->pools, n->npools), "prefixes",
	                 prefix_list(n->prefixes, n->nprefixes), "advertise",
	                 endpoint_list(n->advertise, n->nadvertise), "managers", manager_list(n));
	if (!root)
		return NULL;
	text = json_dumps(root, JSON_INDENT(2));
	json_decref(root);
	return text;
}

int node_load(struct node *out, int state_dir)
{
	char *text = malloc(NODE_BYTES_MAX);
	size_t len;
	int err;

	if (!text)
		return -ENOMEM;
	err = keyfile_read_secret(state_dir, NODE_FILE, text, NODE_BYTES_MAX, &len);
	if (!err)
		err = node_parse(out, text, len);
	else if (err == -EFBIG || err == -ENODATA || err == -EINVAL)
		err = -EBADMSG;
	free(text);
	return err;
}

int node_save(const struct node *n, int state_dir)
{
	char *text;
	int err;

	if (node_refusal(n))
		return -EINVAL;
	text = node_format(n);
	if (!text)
		return -ENOMEM;
	err = state_write(state_dir, NODE_FILE, text, strlen(text));
	free(text);
	return err;
}

/* -- against the config ----------------------------------------------------------------------- */

static int refuse(char *why, size_t max, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(char *why, size_t max, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, max, format, ap);
	va_end(ap);
	return -EINVAL;
}

/* The config's own checks could not know yet what the certificate says. */
static int check_peers(const struct node *n, const struct config *c, char *why, size_t max)
{
	const struct config_peer *peer;
	char text[PREFIX_TEXT_MAX];
	unsigned i, j;

	for (i = 0; i < c->npeers; i++) {
		peer = &c->peers[i];
		if (!strcmp(peer->name, n->name))
			return refuse(why, max,
			              "peers: \"%s\" is the name in this node's own certificate; a "
			              "peer is "
			              "another one",
			              n->name);
		for (j = 0; j < peer->nprefixes; j++) {
			prefix_format(&peer->prefixes[j], text);
			if (!config_within(&peer->prefixes[j], n->overlay, n->noverlay))
				return refuse(why, max,
				              "peers: %s of %s lies outside the overlay; choose "
				              "another, or "
				              "set overlay",
				              text, peer->name);
			if (config_overlaps(&peer->prefixes[j], n->prefixes, n->nprefixes))
				return refuse(why, max,
				              "peers: %s of %s overlaps our own prefixes; an "
				              "address belongs "
				              "to one node",
				              text, peer->name);
		}
	}
	return 0;
}

int node_from_config(struct node *out, const struct config *c, const struct cert_info *own,
                     char *why, size_t max)
{
	const char *refusal;
	struct node *n;
	int err;

	if (!config_is_static(c))
		return refuse(why, max,
		              "identity: the config names none; add it, or join a cluster");
	if (*c->name && strcmp(c->name, own->node))
		return refuse(why, max,
		              "name: the config says \"%s\", the certificate \"%s\"; correct one, "
		              "or leave "
		              "name out",
		              c->name, own->node);
	if (own->role != ROLE_NODE)
		return refuse(
			why, max,
			"identity: the certificate has role %s; a tunnel takes role node alone",
			cert_role_name(own->role));
	if (c->nprefixes == 0)
		return refuse(
			why, max,
			"prefixes: there are none; with a PKI of your own nobody else gives them, "
			"add ours");
	n = calloc(1, sizeof(*n));
	if (!n)
		return refuse(why, max, "out of memory");
	n->is_static = true;
	snprintf(n->cluster, sizeof(n->cluster), "%s", own->cluster);
	snprintf(n->name, sizeof(n->name), "%s", own->node);
	n->role = ROLE_NODE;
	n->port = c->port;
	n->noverlay = config_overlay(c, n->overlay);
	n->nprefixes = c->nprefixes;
	memcpy(n->prefixes, c->prefixes, sizeof(n->prefixes));
	n->nadvertise = c->nadvertise;
	memcpy(n->advertise, c->advertise, sizeof(n->advertise));
	refusal = node_refusal(n);
	err = refusal ? refuse(why, max, "config: %s; correct it and run ginnel config check",
	                       refusal)
	              : check_peers(n, c, why, max);
	if (!err)
		*out = *n;
	free(n);
	return err;
}

static bool same_overlay(const struct node *n, const struct config *c)
{
	unsigned i, j;

	if (n->noverlay != c->noverlay)
		return false;
	for (i = 0; i < c->noverlay; i++) {
		for (j = 0; j < n->noverlay; j++)
			if (prefix_equal(&c->overlay[i], &n->overlay[j]))
				break;
		if (j == n->noverlay)
			return false;
	}
	return true;
}

int node_check_config(const struct node *n, const struct config *c, char *why, size_t max)
{
	char text[PREFIX_TEXT_MAX];

	if (config_is_static(c))
		return refuse(why, max,
		              "identity: the config names a PKI of your own, but this host is "
		              "enrolled in "
		              "cluster %s; leave identity out, or use another state folder",
		              n->cluster);
	if (*c->name && strcmp(c->name, n->name))
		return refuse(why, max,
		              "name: the config says \"%s\", this host is enrolled as \"%s\"; "
		              "correct it, or "
		              "leave name out",
		              c->name, n->name);
	if (c->port_set && c->port != n->port)
		return refuse(why, max,
		              "port: the config says %u, this host is enrolled with %u; correct "
		              "it, or leave "
		              "port out",
		              c->port, n->port);
	if (c->noverlay > 0 && !same_overlay(n, c)) {
		prefix_format(&n->overlay[0], text);
		return refuse(why, max,
		              "overlay: the config contradicts the cluster's, which is %s%s; leave "
		              "overlay "
		              "out",
		              text, n->noverlay > 1 ? " and one of the other family" : "");
	}
	return 0;
}
