/* SPDX-License-Identifier: GPL-3.0-or-later */
/* node - what this host is in its cluster: node.json in the state folder, written by root alone.
 *
 * Made by `ginnel init` and `ginnel join`, read by every process before it gives up its uid. The
 * parent checks by it what the engine asks for (overlay, pools, own prefixes), so nobody but root
 * may write it. With static peers it is made from the config file instead and lies nowhere.
 */
#pragma once
#include "crypto/cert.h"
#include "gateway/config.h"
#include "tun/ip.h"

#define NODE_FILE            "node.json"
#define NODE_BYTES_MAX       65536
#define NODE_FORMAT          1 /* of the file; another one was written by another ginnel */
#define NODE_POOLS_MAX       16
#define NODE_MANAGERS_MAX    8
#define NODE_OVERLAY_DEFAULT CONFIG_OVERLAY_DEFAULT
#define NODE_POOLS_DEFAULT   "10.80.0.0/14"

struct node_manager {
	char name[CERT_NAME_MAX + 1];
	unsigned nendpoints;
	struct config_endpoint endpoints[CONFIG_ADVERTISE_MAX]; /* port is the control port */
};

struct node {
	bool is_static;                  /* own PKI and static peers: no manager, no list */
	char cluster[CERT_NAME_MAX + 1]; /* trust domain */
	char name[CERT_NAME_MAX + 1];
	enum cert_role role; /* ROLE_MANAGER: this host runs manager and ca too */
	uint16_t port;
	unsigned noverlay, npools, nprefixes, nadvertise, nmanagers;
	struct prefix overlay[CONFIG_OVERLAY_MAX];
	struct prefix pools[NODE_POOLS_MAX];
	struct prefix prefixes[CONFIG_PREFIXES_MAX]; /* ours */
	struct config_endpoint advertise[CONFIG_ADVERTISE_MAX];
	struct node_manager managers[NODE_MANAGERS_MAX];
};

/* The node's own address of a family: the first host address of our first prefix of it; false if
 * there is none.
 */
bool node_address(const struct node *n, int family, struct addr *out);

/* From/to JSON text; node_parse checks every value and is fuzzed. -EBADMSG. */
int node_parse(struct node *out, const char *json, size_t len);
char *node_format(const struct node *n); /* malloc'ed, NULL: no memory */

/* NULL, or why no node can be like this: names, a port or a prefix out of range, prefixes outside
 * the overlay or over each other, pools that meet the overlay, addresses of nobody. What node_parse
 * demands, and what who makes a node calls before it saves it.
 */
const char *node_refusal(const struct node *n);

/* -ENOENT not initialised; -EPERM others can read or write it; -EBADMSG; other -errno. */
int node_load(struct node *out, int state_dir);
int node_save(const struct node *n, int state_dir); /* -EINVAL: node_refusal */

/* From a static config (config_is_static) whose certificate says cluster and name. -EINVAL with a
 * line in why (of max bytes): name contradicts the certificate, no prefixes, prefix outside the
 * overlay, overlapping prefixes of peers ….
 */
int node_from_config(struct node *out, const struct config *c, const struct cert_info *own,
                     char *why, size_t max);
/* What a config may not contradict once a node is enrolled. -EINVAL with a line in why. */
int node_check_config(const struct node *n, const struct config *c, char *why, size_t max);
