/* SPDX-License-Identifier: GPL-3.0-or-later */
/* registry - the cluster's records: nodes, and later workloads, networks, policy, revocations.
 *
 * registry_sqlite.c: one file, WAL, synchronous=FULL, schema versioned. What was acknowledged
 * survives kill -9 and power loss. After a failed write or sync nothing more is acknowledged until
 * the database was reopened, or it stays read-only and says so. Every change raises the revision;
 * watchers follow (generation, revision). Manager process, one thread; `ginnel init` for a moment.
 */
#pragma once
#include <jansson.h>
#include "crypto/cert.h"
#include "gateway/config.h"
#include "gateway/node.h"

#define REGISTRY_FILE "registry.db"
#define REGISTRY_NODES_MAX 10000
#define REGISTRY_RING 4096 /* changes kept for watchers; who is further behind fetches the state */

struct registry;

struct registry_cluster {
	char name[CERT_NAME_MAX + 1];
	unsigned noverlay, npools;
	struct prefix overlay[CONFIG_OVERLAY_MAX];
	struct prefix pools[NODE_POOLS_MAX];
};

struct registry_node {
	char name[CERT_NAME_MAX + 1];
	enum cert_role role;
	uint64_t incarnation;
	uint8_t spki[32];
	struct cert_labels labels;
	unsigned nprefixes, nendpoints;
	struct prefix prefixes[2]; /* one of each family of the overlay */
	struct config_endpoint endpoints[CONFIG_ADVERTISE_MAX];
	time_t cert_not_after, last_seen, joined;
	char version[32];
};

/* Makes the file in dir with the cluster's record. -EEXIST. */
int registry_create(int dir, const struct registry_cluster *c);
/* Opens, migrates, checks. -EBADMSG damaged, -EPROTO made by a newer ginnel. */
int registry_open(struct registry **out, int dir);
void registry_close(struct registry *r);

void registry_cluster(const struct registry *r, struct registry_cluster *out);
uint64_t registry_generation(const struct registry *r);
uint64_t registry_revision(const struct registry *r);

/* Adds or replaces a node in one transaction and gives it free prefixes (one of each family of the
 * overlay: a /24, a /64) unless the name had some. Fills n->prefixes. -ENOSPC overlay exhausted
 * ("10.77.0.0/16 holds 256 nodes"), -EROFS the registry is read-only after a failed write.
 */
int registry_node_put(struct registry *r, struct registry_node *n);
int registry_node_get(struct registry *r, const char *name, struct registry_node *out); /* -ENOENT */
/* A node's own endpoints and version; it may write only its own. -EINVAL an endpoint inside overlay
 * or pools, loopback, multicast; too many.
 */
int registry_node_announce(struct registry *r, const char *name,
			   const struct config_endpoint *e, unsigned n, const char *version);
int registry_node_seen(struct registry *r, const char *name, time_t at);

/* The whole state as nodes see it: {"generation","revision","cluster",…,"nodes":[…]}; no token
 * rows. New reference.
 */
json_t *registry_state(struct registry *r);
/* The change that led to revision rev (same form as a watch's line), NULL if no longer kept. */
const char *registry_change(const struct registry *r, uint64_t rev);
