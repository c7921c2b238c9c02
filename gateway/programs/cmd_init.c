/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A new cluster on this host. All that can be wrong with what was asked is found before anything is
 * written; then CA, ledger, identities and registry are made under a mark that says "unfinished",
 * and node.json, which makes the host enrolled, comes last (statedir.h).
 */
#include "gateway/programs/cmd.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crypto/ca.h"
#include "crypto/keyfile.h"
#include "crypto/secret.h"
#include "gateway/manager/registry.h"
#include "gateway/privsep/cafiles.h"
#include "gateway/privsep/ledger.h"
#include "gateway/programs/host.h"
#include "gateway/programs/selfissue.h"
#include "gateway/programs/statedir.h"

#define CLUSTER_DEFAULT "ginnel"
#define KEY_PEM_MAX     4096
#define CHAIN_PEM_MAX   (CERT_CHAIN_MAX * 2 * CERT_DER_MAX)
#define POOL_V4_MAX     29 /* longer ones have no room for a network and its gateway */
#define POOL_V6_MAX     64

struct init {
	const struct cmd *c;
	struct config config;
	struct registry_cluster cluster;
	bool overlay_whole; /* no IPv6 overlay is to be added */
	char name[CERT_NAME_MAX + 1];
	struct host_endpoints endpoints;
	time_t now;
	struct statedir dir;
	struct ca *ca;
	uint8_t pin[32];
	char root[CHAIN_PEM_MAX]; /* PEM */
	size_t root_len;
	struct ledger *ledger;
	struct registry *registry;
	struct cert_key *node_key, *manager_key;
	struct registry_node record;
	struct node node;
};

static bool prefix_given(const struct prefix *list, unsigned n, int family)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].addr.family == family)
			return true;
	return false;
}

/* -- what was asked --------------------------------------------------------------------------- */

/* CIDR[,CIDR…]. */
static int read_prefixes(const char *option, const char *text, struct prefix *out, unsigned max,
                         unsigned *n)
{
	char copy[NODE_POOLS_MAX * PREFIX_TEXT_MAX];
	char *rest, *one;
	size_t len = strlen(text);
	int err;

	*n = 0;
	if (len >= sizeof(copy)) {
		fault("it is too long", "give fewer prefixes", "init: --%s", option);
		return CMD_FAILED;
	}
	memcpy(copy, text, len + 1);
	for (one = strtok_r(copy, ", ", &rest); one; one = strtok_r(NULL, ", ", &rest)) {
		struct prefix p;

		err = prefix_parse(&p, one);
		if (err) {
			fault(err == -ERANGE ? "there are bits set behind the prefix" : "no prefix",
			      "write it like 10.77.0.0/16", "init: --%s \"%s\"", option, one);
			return CMD_FAILED;
		}
		if (*n == max) {
			fault("too many", "give fewer, larger ones", "init: --%s", option);
			return CMD_FAILED;
		}
		out[(*n)++] = p;
	}
	if (!*n) {
		fault("no prefix", "write it like 10.77.0.0/16", "init: --%s \"%s\"", option, text);
		return CMD_FAILED;
	}
	return CMD_OK;
}

static int refuse_prefix(const char *option, const struct prefix *p, const char *why,
                         const char *cure)
{
	char text[PREFIX_TEXT_MAX];

	prefix_format(p, text);
	fault(why, cure, "init: %s %s", option, text);
	return CMD_FAILED;
}

/* Everything about prefixes but the IPv6 overlay, which may be made from the CA's key later. */
static int read_cluster(struct init *i)
{
	struct registry_cluster *k = &i->cluster;
	const char *cluster = cmd_value(i->c, "cluster");
	const char *overlay = cmd_value(i->c, "overlay");
	const char *pools = cmd_value(i->c, "pools");

	if (!cluster)
		cluster = CLUSTER_DEFAULT;
	if (!cert_name_ok(cluster)) {
		fault("a cluster's name is a lower case DNS label: a-z, 0-9 and - inside, at most "
		      "63 "
		      "characters",
		      "choose another", "init: --cluster \"%s\"", cluster);
		return CMD_FAILED;
	}
	snprintf(k->name, sizeof(k->name), "%s", cluster);
	if (overlay) {
		if (read_prefixes("overlay", overlay, k->overlay, CONFIG_OVERLAY_MAX, &k->noverlay))
			return CMD_FAILED;
	} else {
		memcpy(k->overlay, i->config.overlay, sizeof(k->overlay));
		k->noverlay = i->config.noverlay;
		/* ginneld will hold the config against the cluster: it is taken as it is. */
		i->overlay_whole = k->noverlay > 0;
	}
	if (!k->noverlay) {
		prefix_parse(&k->overlay[0], NODE_OVERLAY_DEFAULT);
		k->noverlay = 1;
	}
	if (k->noverlay == 2 && k->overlay[0].addr.family == k->overlay[1].addr.family)
		return refuse_prefix("overlay", &k->overlay[1], "two of one family",
		                     "give at most one of each family");
	return read_prefixes("pools", pools ? pools : NODE_POOLS_DEFAULT, k->pools, NODE_POOLS_MAX,
	                     &k->npools);
}

/* fdXX:XXXX:XXXX::/48 of the first 40 bits of the root's key hash (RFC 4193). */
static void add_ula(struct registry_cluster *k, const uint8_t pin[32])
{
	struct prefix *p;

	if (k->noverlay == CONFIG_OVERLAY_MAX || prefix_given(k->overlay, k->noverlay, 6))
		return;
	p = &k->overlay[k->noverlay++];
	memset(p, 0, sizeof(*p));
	p->addr.family = 6;
	p->addr.b[0] = 0xfd;
	memcpy(p->addr.b + 1, pin, 5);
	p->len = 48;
}

static int check_range(const char *option, const struct prefix *p, bool pool)
{
	const char *why = config_overlay_refusal(p);

	if (pool && p->len > (p->addr.family == 4 ? POOL_V4_MAX : POOL_V6_MAX))
		why = "it has no room for a network";
	if (why)
		return refuse_prefix(option, p, why, "take a private network, like 10.128.0.0/10");
	return CMD_OK;
}

/* Neither our own addresses nor the networks around us may lie in p: they could not be reached. */
static int check_underlay(const struct init *i, const char *option, const struct prefix *p)
{
	char what[128], why[192], cure[64];
	int met = host_meets(&i->config, p, what, sizeof(what));

	if (met < 0) {
		fault(strerrordesc_np(-met), NULL, "init: the host's own addresses");
		return CMD_FAILED;
	}
	if (met) {
		snprintf(why, sizeof(why), "it meets this host's own network, %s", what);
		snprintf(cure, sizeof(cure), "choose another by --%s", option);
		return refuse_prefix(option, p, why, cure);
	}
	for (unsigned e = 0; e < i->endpoints.n; e++)
		if (i->endpoints.at[e].is_addr && prefix_contains(p, &i->endpoints.at[e].at.addr)) {
			snprintf(why, sizeof(why), "%s, which this host is reached by, lies in it",
			         i->endpoints.at[e].host);
			snprintf(cure, sizeof(cure), "choose another by --%s", option);
			return refuse_prefix(option, p, why, cure);
		}
	return CMD_OK;
}

static int check_cluster(const struct init *i)
{
	const struct registry_cluster *k = &i->cluster;

	for (unsigned o = 0; o < k->noverlay; o++)
		if (check_range("overlay", &k->overlay[o], false) ||
		    check_underlay(i, "overlay", &k->overlay[o]))
			return CMD_FAILED;
	for (unsigned p = 0; p < k->npools; p++) {
		if (check_range("pools", &k->pools[p], true) ||
		    check_underlay(i, "pools", &k->pools[p]))
			return CMD_FAILED;
		for (unsigned o = 0; o < k->noverlay; o++)
			if (prefix_overlaps(&k->pools[p], &k->overlay[o]))
				return refuse_prefix("pools", &k->pools[p], "it meets the overlay",
				                     "choose another by --pools or --overlay");
		for (unsigned q = 0; q < p; q++)
			if (prefix_overlaps(&k->pools[p], &k->pools[q]))
				return refuse_prefix("pools", &k->pools[p], "it meets another pool",
				                     "leave one out");
	}
	if (!registry_capacity(k)) {
		fault("it has no room for two nodes, which take an IPv4 /24 and an IPv6 /64 each",
		      "take a larger one, like " NODE_OVERLAY_DEFAULT, "init: overlay");
		return CMD_FAILED;
	}
	return CMD_OK;
}

static int read_self(struct init *i)
{
	struct addr a;

	if (config_is_static(&i->config)) {
		fault("it sets identity or peers, which is a host without a cluster",
		      "remove them, or start ginneld without init", "init: %s", i->config.path);
		return CMD_FAILED;
	}
	if (host_name(i->c, &i->config, "init", i->name) ||
	    host_endpoints(i->c, &i->config, "init", &i->endpoints))
		return CMD_FAILED;
	if (!i->endpoints.n &&
	    !(host_address(&i->config, &a) && host_endpoint_set(&i->endpoints, &a))) {
		fault("this host has no address that others could reach",
		      "give one with --advertise "
		      "ADDR",
		      "init: no address to advertise");
		return CMD_FAILED;
	}
	return CMD_OK;
}

/* -- making it -------------------------------------------------------------------------------- */

static int failed(const char *what, int err)
{
	if (err == -ENOSPC)
		fault("the disk is full; nothing was changed", "free some space and run it again",
		      "init: %s", what);
	else if (err == -E2BIG)
		fault("the config's labels do not fit into a certificate", "leave some out",
		      "init: %s", what);
	else
		fault(strerrordesc_np(-err), "nothing was changed", "init: %s", what);
	return CMD_FAILED;
}

static int make_ca(struct init *i)
{
	struct cert_chain chain;
	struct cert_trust *t;
	int err;

	err = ca_new(&i->ca, i->cluster.name, i->now);
	if (err)
		return failed("no CA could be made", err);
	ca_chain(i->ca, &chain);
	assert(chain.n == 1);
	err = cert_to_pem(i->root, sizeof(i->root), &i->root_len, chain.at[0].der, chain.at[0].len);
	if (!err)
		err = cert_trust_new(&t, (const uint8_t *)i->root, i->root_len);
	if (err)
		return failed("no CA could be made", err);
	cert_trust_pin(t, i->pin);
	cert_trust_free(t);
	return CMD_OK;
}

static int write_ca(struct init *i)
{
	char *pem = secret_new(KEY_PEM_MAX);
	int dir = i->dir.part[STATEDIR_CA].fd;
	size_t len = 0;
	int err = -ENOMEM;

	if (pem)
		err = cert_key_to_pem(ca_key(i->ca), pem, KEY_PEM_MAX, &len);
	if (!err)
		err = keyfile_write(dir, CAFILES_KEY, pem, len);
	secret_free(pem, KEY_PEM_MAX);
	if (!err)
		err = keyfile_write(dir, CAFILES_CHAIN, i->root, i->root_len);
	if (!err)
		err = statedir_own(&i->dir, STATEDIR_CA, CAFILES_KEY);
	if (!err)
		err = statedir_own(&i->dir, STATEDIR_CA, CAFILES_CHAIN);
	return err ? failed("the CA's key", err) : CMD_OK;
}

static int write_ledger(struct init *i)
{
	struct ledger_node n = {.role = ROLE_MANAGER, .incarnation = 1, .labels = i->config.labels};
	int dir = i->dir.part[STATEDIR_CA].fd;
	const uint8_t *spki;
	size_t len;
	int err;

	snprintf(n.name, sizeof(n.name), "%s", i->name);
	spki = cert_key_spki(i->node_key, &len);
	cert_spki_hash(spki, len, n.keys.spki);
	memcpy(i->record.spki, n.keys.spki, sizeof(n.keys.spki));
	spki = cert_key_spki(i->manager_key, &len);
	cert_spki_hash(spki, len, n.manager_keys.spki);
	err = ledger_create(dir, i->cluster.name);
	if (!err)
		err = ledger_open(&i->ledger, dir);
	if (!err)
		err = ledger_node_add(i->ledger, &n);
	return err ? failed("the CA's ledger", err) : CMD_OK;
}

/* The engine's certificate says node, the manager's manager. */
static int write_identities(struct init *i)
{
	const struct selfissue own = {
		.ca = i->ca,
		.ledger = i->ledger,
		.cluster = i->cluster.name,
		.name = i->name,
		.labels = &i->config.labels,
		.incarnation = 1,
		.now = i->now,
		.root = i->root,
		.root_len = i->root_len,
	};
	struct cert_info info;
	int err = selfissue_write(&own, &i->dir, STATEDIR_ENGINE, "node", i->node_key, ROLE_NODE,
	                          &info);

	if (!err)
		err = selfissue_write(&own, &i->dir, STATEDIR_MANAGER, "manager", i->manager_key,
		                      ROLE_MANAGER, &info);
	if (err)
		return failed("this node's certificates", err);
	ledger_close(i->ledger);
	i->ledger = NULL;
	err = statedir_own(&i->dir, STATEDIR_CA, LEDGER_FILE);
	return err ? failed("the CA's ledger", err) : CMD_OK;
}

static int write_registry(struct init *i)
{
	int dir = i->dir.part[STATEDIR_MANAGER].fd;
	struct registry_node *r = &i->record;
	int err;

	snprintf(r->name, sizeof(r->name), "%s", i->name);
	r->role = ROLE_MANAGER;
	r->incarnation = 1;
	r->labels = i->config.labels;
	r->nendpoints = i->endpoints.n;
	memcpy(r->endpoints, i->endpoints.at, sizeof(r->endpoints));
	r->joined = i->now;
	r->last_seen = i->now;
	r->cert_not_after = i->now + (time_t)CA_NODE_LIFE;
	snprintf(r->version, sizeof(r->version), "%s", GINNEL_VERSION);
	err = registry_create(dir, &i->cluster);
	if (!err)
		err = registry_open(&i->registry, dir);
	if (!err)
		err = registry_node_put(i->registry, r);
	registry_close(i->registry);
	i->registry = NULL;
	if (!err)
		err = statedir_own(&i->dir, STATEDIR_MANAGER, REGISTRY_FILE);
	return err ? failed("the registry", err) : CMD_OK;
}

static int make_node(struct init *i)
{
	struct node *n = &i->node;
	struct node_manager *m = &n->managers[0];
	char contradiction[512];
	const char *why;

	snprintf(n->cluster, sizeof(n->cluster), "%s", i->cluster.name);
	snprintf(n->name, sizeof(n->name), "%s", i->name);
	n->role = ROLE_MANAGER;
	n->port = i->endpoints.port;
	n->noverlay = i->cluster.noverlay;
	memcpy(n->overlay, i->cluster.overlay, sizeof(n->overlay));
	n->npools = i->cluster.npools;
	memcpy(n->pools, i->cluster.pools, sizeof(n->pools));
	n->nprefixes = i->record.nprefixes;
	for (unsigned p = 0; p < n->nprefixes; p++)
		n->prefixes[p] = i->record.prefixes[p];
	n->nadvertise = i->endpoints.n;
	memcpy(n->advertise, i->endpoints.at, sizeof(n->advertise));
	n->nmanagers = 1;
	snprintf(m->name, sizeof(m->name), "%s", i->name);
	m->nendpoints = i->endpoints.n;
	for (unsigned e = 0; e < m->nendpoints; e++) {
		m->endpoints[e] = i->endpoints.at[e];
		m->endpoints[e].at.port++; /* the control port; 65535 was refused */
	}
	why = node_refusal(n);
	if (!why && node_check_config(n, &i->config, contradiction, sizeof(contradiction)))
		why = contradiction;
	if (why) {
		fault(why, "nothing was changed", "init");
		return CMD_FAILED;
	}
	return CMD_OK;
}

static int open_parts(struct init *i)
{
	for (int p = 0; p < STATEDIR_PARTS; p++)
		if (statedir_open(&i->dir, (enum statedir_part)p))
			return CMD_FAILED;
	return CMD_OK;
}

static int make_cluster(struct init *i)
{
	int err = statedir_begin(&i->dir);

	if (err)
		return failed(i->dir.path, err);
	err = open_parts(i);
	if (!err)
		err = write_ca(i);
	if (!err)
		err = write_ledger(i);
	if (!err)
		err = write_identities(i);
	if (!err)
		err = write_registry(i);
	if (!err)
		err = make_node(i);
	if (err)
		goto undo;
	err = statedir_finish(&i->dir, &i->node);
	if (!err)
		return CMD_OK;
	err = failed(NODE_FILE, err);
undo:
	ledger_close(i->ledger);
	i->ledger = NULL;
	statedir_undo(&i->dir);
	return err;
}

/* -- telling ---------------------------------------------------------------------------------- */

static json_t *prefixes_json(const struct prefix *list, unsigned n)
{
	char text[PREFIX_TEXT_MAX];
	json_t *j = json_array();

	for (unsigned i = 0; i < n; i++) {
		prefix_format(&list[i], text);
		json_array_append_new(j, json_string(text));
	}
	return j;
}

static void prefixes_text(const struct prefix *list, unsigned n, char *out, size_t max)
{
	char text[PREFIX_TEXT_MAX];
	size_t at = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < n && at < max; i++) {
		prefix_format(&list[i], text);
		at += (size_t)snprintf(out + at, max - at, "%s%s", i ? ", " : "", text);
	}
}

static void pin_text(const uint8_t pin[32], char out[65])
{
	for (size_t i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", pin[i]);
}

static int tell_json(const struct init *i, const char *address, const char *pin)
{
	const struct registry_cluster *k = &i->cluster;
	json_t *j;
	int code;

	j = json_pack("{s:s,s:s,s:o,s:o,s:s?,s:s}", "cluster", k->name, "node", i->name, "overlay",
	              prefixes_json(k->overlay, k->noverlay), "pools",
	              prefixes_json(k->pools, k->npools), "address", address[0] ? address : NULL,
	              "ca", pin);
	code = cmd_print_json(j);
	json_decref(j);
	return code;
}

static int tell(const struct init *i)
{
	char overlay[CONFIG_OVERLAY_MAX * PREFIX_TEXT_MAX], pools[NODE_POOLS_MAX * PREFIX_TEXT_MAX];
	char address[ADDR_TEXT_MAX] = "", pin[65], manager[CONFIG_ENDPOINT_TEXT_MAX];
	const struct registry_cluster *k = &i->cluster;
	struct config_endpoint m = i->node.managers[0].endpoints[0];
	const char *state = i->c->state_path;
	struct addr a;

	if (node_address(&i->node, 4, &a) || node_address(&i->node, 6, &a))
		addr_format(&a, address);
	pin_text(i->pin, pin);
	if (i->c->json)
		return tell_json(i, address, pin);
	prefixes_text(k->overlay, k->noverlay, overlay, sizeof(overlay));
	prefixes_text(k->pools, k->npools, pools, sizeof(pools));
	config_endpoint_format(&m, manager);
	if (m.at.port == CONFIG_PORT + 1)
		snprintf(manager, sizeof(manager), "%s", m.host);
	printf("cluster %s is made, this host is its node %s, %s\n"
	       "  overlay  %s: holds %u nodes\n"
	       "  pools    %s\n"
	       "  CA       sha256 %s\n"
	       "\n"
	       "Start ginneld here. Then, for each host that is to join:\n"
	       "  here     ginnel token create >token\n"
	       "  there    ginnel join --token-file token %s    # token: 0600, by a safe way\n"
	       "\n"
	       "Back the CA up once ginneld runs: ginnel backup --with-ca FILE, and keep the file\n"
	       "and its passphrase apart. Without the key, %s/ca/ca.key, no host can join\n"
	       "or renew; whoever has it can let anybody in.\n",
	       k->name, i->name, address, overlay, registry_capacity(k), pools, pin, manager,
	       state);
	if (fflush(stdout)) {
		fault(strerrordesc_np(errno), "the cluster is made nevertheless",
		      "init: standard output");
		return CMD_FAILED;
	}
	return CMD_OK;
}

/* -- the command ------------------------------------------------------------------------------ */

static int run(struct init *i)
{
	int err;

	if (cmd_config(i->c, &i->config) || read_self(i) || read_cluster(i) ||
	    statedir_take(&i->dir, i->c, "init") || make_ca(i))
		return CMD_FAILED;
	if (!i->overlay_whole)
		add_ula(&i->cluster, i->pin);
	if (check_cluster(i))
		return CMD_FAILED;
	err = cert_key_new(&i->node_key);
	if (!err)
		err = cert_key_new(&i->manager_key);
	if (err)
		return failed("no key could be made", err);
	if (make_cluster(i))
		return CMD_FAILED;
	return tell(i);
}

int cmd_init(struct cmd *c)
{
	struct init *i = calloc(1, sizeof(*i));
	int code;

	if (!i) {
		fault("no memory", NULL, "init");
		return CMD_FAILED;
	}
	i->c = c;
	i->now = time(NULL);
	i->dir.fd = -1;
	for (int p = 0; p < STATEDIR_PARTS; p++)
		i->dir.part[p].fd = -1;
	code = run(i);
	statedir_release(&i->dir);
	cert_key_free(i->node_key);
	cert_key_free(i->manager_key);
	ca_free(i->ca);
	config_clear(&i->config);
	free(i);
	return code;
}
