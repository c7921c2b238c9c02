/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/config_parse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_TEXT_MAX (CERT_LABEL_KEY_MAX + CERT_LABEL_VALUE_MAX + 2)

/* -- values ----------------------------------------------------------------------------------- */

/* Returns how many were read; what is too much is said once and skipped. */
static unsigned read_prefixes(struct parse *p, const char *key, struct prefix *out,
                              struct place *places, unsigned max, bool single_ok)
{
	struct reader_list l;
	unsigned n = 0, seen = 0;

	reader_list(p->r, &l, key, single_ok);
	while (reader_list_next(p->r, &l)) {
		if (seen++ == max)
			config_fault(p, reader_place(p->r), "%s: more than %u; leave some out", key,
			             max);
		if (seen > max)
			reader_skip(p->r);
		else if (reader_prefix(p->r, key, &out[n], &places[n]))
			n++;
	}
	return n;
}

static unsigned read_endpoints(struct parse *p, const char *key, struct config_endpoint *out,
                               struct place *places, uint16_t port)
{
	struct reader_list l;
	unsigned n = 0, seen = 0;
	const char *s;

	reader_list(p->r, &l, key, false);
	while (reader_list_next(p->r, &l)) {
		if (seen++ == CONFIG_ADVERTISE_MAX)
			config_fault(p, reader_place(p->r), "%s: more than %d; leave some out", key,
			             CONFIG_ADVERTISE_MAX);
		if (seen > CONFIG_ADVERTISE_MAX) {
			reader_skip(p->r);
			continue;
		}
		s = reader_scalar(p->r, key, &places[n]);
		if (!s)
			continue;
		if (config_endpoint_parse(&out[n], s, port) < 0)
			config_fault(
				p, places[n],
				"%s: \"%s\" is neither address nor host name, with or without a "
				"port; "
				"write one like 10.9.0.2:4747, [fd00::2]:4747 or n2.example.org",
				key, QUOTE(p, s));
		else
			n++;
	}
	return n;
}

/* -- keys ------------------------------------------------------------------------------------- */

static void read_node_name(struct parse *p, const char *key, char out[CERT_NAME_MAX + 1],
                           struct place *at)
{
	const char *s = reader_scalar(p->r, key, at);

	if (!s)
		return;
	if (cert_name_ok(s))
		snprintf(out, CERT_NAME_MAX + 1, "%s", s);
	else
		config_fault(p, *at,
		             "%s: \"%s\" is no lower case DNS label; use a-z, 0-9 and dashes "
		             "inside, at most %d",
		             key, QUOTE(p, s), CERT_NAME_MAX);
}

static void read_name(struct parse *p)
{
	read_node_name(p, p->key, p->c->name, &p->name);
}

static void read_advertise(struct parse *p)
{
	/* The port may stand further down. */
	p->c->nadvertise = read_endpoints(p, p->key, p->c->advertise, p->advertise, 0);
}

static void read_port(struct parse *p)
{
	struct place at;
	const char *s = reader_scalar(p->r, p->key, &at);

	if (!s)
		return;
	if (config_port_parse(s, &p->c->port) < 0)
		config_fault(p, at, "port: \"%s\" is not 1 to 65535; leave it out to use %d",
		             QUOTE(p, s), CONFIG_PORT);
	else
		p->c->port_set = true;
}

static void read_overlay(struct parse *p)
{
	struct config *c = p->c;
	const char *why;
	unsigned i;

	c->noverlay = read_prefixes(p, p->key, c->overlay, p->overlay, CONFIG_OVERLAY_MAX, true);
	for (i = 0; i < c->noverlay; i++) {
		why = config_overlay_refusal(&c->overlay[i]);
		if (why)
			config_fault(p, p->overlay[i],
			             "overlay: it %s; take a private network like %s", why,
			             c->overlay[i].addr.family == 4 ? CONFIG_OVERLAY_DEFAULT
			                                            : "fd77:1:2::/48");
	}
	if (c->noverlay == 2 && c->overlay[0].addr.family == c->overlay[1].addr.family)
		config_fault(p, p->overlay[1], "overlay: two of IPv%d; at most one of each family",
		             c->overlay[1].addr.family);
}

static void read_device(struct parse *p)
{
	struct place at;
	const char *s = reader_scalar(p->r, p->key, &at);

	if (!s)
		return;
	if (config_device_ok(s))
		snprintf(p->c->device, sizeof(p->c->device), "%s", s);
	else
		config_fault(p, at,
		             "device: \"%s\" cannot be its name; use at most 15 of a-z, 0-9, _.- "
		             "beginning "
		             "with a letter, or leave it out to use " CONFIG_DEVICE,
		             QUOTE(p, s));
}

static void read_file_name(struct parse *p, const char *key, char out[4096])
{
	struct place at;
	const char *s = reader_scalar(p->r, key, &at);
	bool relative;

	if (!s)
		return;
	if (!*s) {
		config_fault(p, at, "%s: is empty; write the file's name", key);
		return;
	}
	relative = *s != '/' && *p->c->dir;
	if (snprintf(out, 4096, "%s%s%s", relative ? p->c->dir : "",
	             relative && strcmp(p->c->dir, "/") ? "/" : "", s) < 4096)
		return;
	config_fault(p, at, "%s: the path is longer than 4095 bytes; shorten it", key);
	*out = '\0';
}

static void read_identity(struct parse *p)
{
	static const char *const keys[] = {"cert", "key", "ca", NULL};
	static const char *const names[] = {"identity.cert", "identity.key", "identity.ca"};
	char(*const to[])[4096] = {&p->c->cert, &p->c->key, &p->c->ca};
	struct reader_mapping m;
	int k;

	p->identity = p->at;
	if (!reader_mapping(p->r, &m, "identity.", keys))
		return;
	while ((k = reader_mapping_next(p->r, &m)) >= 0)
		read_file_name(p, names[k], *to[k]);
	for (k = 0; k < 3; k++)
		if (!(m.seen & 1U << k) && !reader_broken(p->r))
			config_fault(p, p->at,
			             "identity: \"%s\" is missing; name all three: {cert: F, key: "
			             "F, ca: F}",
			             keys[k]);
	p->c->identity = true;
}

static void read_own_prefixes(struct parse *p)
{
	p->prefixes_at = p->at;
	p->c->nprefixes =
		read_prefixes(p, p->key, p->c->prefixes, p->prefixes, CONFIG_PREFIXES_MAX, false);
}

static bool peers_grow(struct parse *p)
{
	unsigned cap = p->peers_cap ? p->peers_cap * 2 : 4;
	struct peer_places *places;
	struct config_peer *peers;

	if (p->c->npeers < p->peers_cap)
		return true;
	places = reallocarray(p->peers, cap, sizeof(*places));
	if (places)
		p->peers = places;
	peers = reallocarray(p->c->peers, cap, sizeof(*peers));
	if (peers)
		p->c->peers = peers;
	if (!places || !peers) {
		p->no_memory = true;
		return false;
	}
	p->peers_cap = cap;
	return true;
}

static void read_peer(struct parse *p, struct config_peer *peer, struct peer_places *places)
{
	static const char *const keys[] = {"name", "endpoints", "prefixes", NULL};
	struct reader_mapping m;
	int k;

	places->name = reader_place(p->r);
	if (!reader_mapping(p->r, &m, "peers.", keys))
		return;
	while ((k = reader_mapping_next(p->r, &m)) >= 0) {
		switch (k) {
		case 0:
			read_node_name(p, "peers.name", peer->name, &places->name);
			break;
		case 1:
			peer->nendpoints = read_endpoints(p, "peers.endpoints", peer->endpoints,
			                                  places->endpoints, CONFIG_PORT);
			break;
		default:
			peer->nprefixes =
				read_prefixes(p, "peers.prefixes", peer->prefixes, places->prefixes,
			                      CONFIG_PREFIXES_MAX, false);
		}
	}
	if (reader_broken(p->r))
		return;
	if (!(m.seen & 1))
		config_fault(p, places->name,
		             "peers: this one has no name; add the one that its certificate holds");
	if (!(m.seen & 4))
		config_fault(p, places->name,
		             "peers: this one has no prefixes; add what lies behind it");
}

static void read_peers(struct parse *p)
{
	struct config *c = p->c;
	struct reader_list l;

	p->peers_at = p->at;
	reader_list(p->r, &l, p->key, false);
	while (reader_list_next(p->r, &l)) {
		if (c->npeers == CONFIG_PEERS_MAX)
			config_fault(p, reader_place(p->r), "peers: more than %d; leave some out",
			             CONFIG_PEERS_MAX);
		if (c->npeers == CONFIG_PEERS_MAX || !peers_grow(p)) {
			reader_skip(p->r);
			continue;
		}
		memset(&c->peers[c->npeers], 0, sizeof(*c->peers));
		memset(&p->peers[c->npeers], 0, sizeof(*p->peers));
		read_peer(p, &c->peers[c->npeers], &p->peers[c->npeers]);
		c->npeers++;
	}
}

static void read_interfaces(struct parse *p)
{
	struct config *c = p->c;
	struct reader_list l;
	unsigned seen = 0;
	const char *s;
	struct place *at;

	reader_list(p->r, &l, p->key, false);
	while (reader_list_next(p->r, &l)) {
		if (seen++ == CONFIG_INTERFACES_MAX)
			config_fault(p, reader_place(p->r),
			             "interfaces: more than %d; leave some out",
			             CONFIG_INTERFACES_MAX);
		if (seen > CONFIG_INTERFACES_MAX) {
			reader_skip(p->r);
			continue;
		}
		at = &p->interfaces[c->ninterfaces];
		s = reader_scalar(p->r, p->key, at);
		if (s && config_device_ok(s))
			snprintf(c->interfaces[c->ninterfaces++], sizeof(c->interfaces[0]), "%s",
			         s);
		else if (s)
			config_fault(p, *at,
			             "interfaces: \"%s\" cannot be a link's name here; use at most "
			             "15 of a-z, "
			             "0-9, _.- beginning with a letter",
			             QUOTE(p, s));
	}
}

static bool label_find(const struct cert_labels *l, const char *key)
{
	unsigned i;

	for (i = 0; i < l->n; i++)
		if (!strcmp(l->at[i].key, key))
			return true;
	return false;
}

static void read_labels(struct parse *p)
{
	struct cert_labels *labels = &p->c->labels;
	char text[LABEL_TEXT_MAX];
	struct reader_mapping m;
	struct place at;
	const char *s;
	int err;

	reader_mapping(p->r, &m, "labels.", NULL);
	while (reader_mapping_next(p->r, &m) >= 0) {
		snprintf(text, sizeof(text), "labels.%s", m.key);
		s = reader_scalar(p->r, text, &at);
		if (!s)
			continue;
		if (label_find(labels, m.key)) {
			config_fault(p, m.at, "labels.%s: given twice; keep one", QUOTE(p, m.key));
			continue;
		}
		err = -EINVAL;
		if (!strchr(m.key, '=') &&
		    snprintf(text, sizeof(text), "%s=%s", m.key, s) < (int)sizeof(text))
			err = cert_labels_add(labels, text);
		if (err == -E2BIG)
			config_fault(p, m.at, "labels: more than %d; leave some out",
			             CERT_LABELS_MAX);
		else if (err)
			config_fault(p, m.at,
			             "labels: \"%s\" and its value cannot be a label; use at most "
			             "63 letters and digits for each, and between them . _ -",
			             QUOTE(p, m.key));
	}
}

static void read_metrics_listen(struct parse *p)
{
	static const char *const key = "metrics.listen";
	struct config_endpoint e;
	struct place at;
	const char *s = reader_scalar(p->r, key, &at);

	if (!s)
		return;
	if (config_endpoint_parse(&e, s, 0) < 0 || !e.is_addr)
		config_fault(p, at, "%s: \"%s\" is no ADDR:PORT; write one like 127.0.0.1:9474",
		             key, QUOTE(p, s));
	else if (e.at.port == 0)
		config_fault(p, at, "%s: \"%s\" has no port; write one like 127.0.0.1:9474", key,
		             QUOTE(p, s));
	else
		p->c->metrics = e.at;
}

static void read_metrics(struct parse *p)
{
	static const char *const keys[] = {"listen", NULL};
	struct reader_mapping m;

	reader_mapping(p->r, &m, "metrics.", keys);
	while (reader_mapping_next(p->r, &m) >= 0)
		read_metrics_listen(p);
}

static void read_log(struct parse *p)
{
	static const char *const keys[] = {"level", "format", NULL};
	static const char *const levels[] = {[LOG_LEVEL_ERROR] = "error",
	                                     [LOG_LEVEL_WARN] = "warn",
	                                     [LOG_LEVEL_INFO] = "info",
	                                     [LOG_LEVEL_DEBUG] = "debug",
	                                     NULL};
	static const char *const formats[] = {"text", "json", NULL};
	struct reader_mapping m;
	int k, word;

	reader_mapping(p->r, &m, "log.", keys);
	while ((k = reader_mapping_next(p->r, &m)) >= 0) {
		if (k == 0) {
			word = reader_word(p->r, "log.level", levels);
			if (word >= 0)
				p->c->log_level = (enum log_level)word;
		} else {
			p->c->log_json = reader_word(p->r, "log.format", formats) == 1;
		}
	}
}

static void read_proxy(struct parse *p)
{
	static const char scheme[] = "http://";
	struct config_endpoint e;
	struct place at;
	const char *s = reader_scalar(p->r, p->key, &at);

	if (!s)
		return;
	if (strncmp(s, scheme, strlen(scheme)) || strlen(s) >= sizeof(p->c->proxy) ||
	    config_endpoint_parse(&e, s + strlen(scheme), 0) < 0 || e.at.port == 0)
		config_fault(
			p, at,
			"proxy: \"%s\" is no http://HOST:PORT; write that and nothing behind it",
			strchr(s, '@') ? "(with a password)" : QUOTE(p, s));
	else
		snprintf(p->c->proxy, sizeof(p->c->proxy), "%s", s);
}

#define KEYS(X)                          \
	X("name", read_name)             \
	X("advertise", read_advertise)   \
	X("port", read_port)             \
	X("overlay", read_overlay)       \
	X("device", read_device)         \
	X("identity", read_identity)     \
	X("prefixes", read_own_prefixes) \
	X("peers", read_peers)           \
	X("interfaces", read_interfaces) \
	X("labels", read_labels)         \
	X("metrics", read_metrics)       \
	X("log", read_log)               \
	X("proxy", read_proxy)

void config_read_keys(struct parse *p)
{
#define X(name, fn) name,
	static const char *const names[] = {KEYS(X) NULL};
#undef X
#define X(name, fn) fn,
	static void (*const read[])(struct parse *) = {KEYS(X)};
#undef X
	struct reader_mapping m;
	int k;

	reader_mapping(p->r, &m, "", names);
	while ((k = reader_mapping_next(p->r, &m)) >= 0) {
		p->key = names[k];
		p->at = m.at;
		read[k](p);
	}
}
