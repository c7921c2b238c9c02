/* SPDX-License-Identifier: GPL-3.0-or-later */
/* registry - the cluster's records: nodes, workloads, the policy.
 *
 * What was acknowledged survives kill -9 and power loss (registry_store.h). After a failed write or
 * sync nothing more is acknowledged until the records were written anew elsewhere and reopened, or
 * the registry stays read-only and says so. Every change raises the revision; the last
 * REGISTRY_RING changes are kept as the very lines that watchers are sent, so that a slow watcher
 * costs a cursor and no queue. Manager process, one thread; `ginnel init` for a moment.
 */
#pragma once
#include "crypto/cert.h"
#include "gateway/config.h"
#include "gateway/node.h"
#include "gateway/workload.h"
#include <jansson.h>

#define REGISTRY_FILE          "registry.db"
#define REGISTRY_NODES_MAX     10000
#define REGISTRY_RING          4096 /* changes kept for watchers; who is further behind fetches the state */
#define REGISTRY_NODE_V4       24 /* a node's share of the overlay */
#define REGISTRY_NODE_V6       64
#define REGISTRY_VERSION_MAX   31
#define REGISTRY_NODE_TEXT_MAX 8192 /* one node as JSON: labels and endpoints at their longest */
#define REGISTRY_REFUSED_MAX   512  /* refused placements that are kept */
#define REGISTRY_REFUSED_NODE  32   /* of one node */
#define REGISTRY_RULE_MAX      63   /* a rule's name */
#define REGISTRY_POLICIES      5    /* documents that are kept */
#define REGISTRY_BY_MAX        63   /* who applied one */

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
	uint64_t issue;     /* of its newest certificate */
	uint64_t issue_min; /* older ones say what no longer holds: the node is to renew */
	uint8_t spki[32];
	struct cert_labels labels;
	bool draining; /* no new workloads there; registry_node_drain */
	unsigned nprefixes, nendpoints;
	struct prefix prefixes[CONFIG_OVERLAY_MAX]; /* one of each family of the overlay */
	struct config_endpoint endpoints[CONFIG_ADVERTISE_MAX];
	time_t cert_not_after, last_seen, joined;
	char version[REGISTRY_VERSION_MAX + 1];
};

struct registry_policy {
	uint64_t version; /* 0: none was ever applied */
	time_t applied_at;
	char by[REGISTRY_BY_MAX + 1];
	uint8_t hash[32]; /* SHA-256 of the document */
	char *document;   /* UTF-8, NUL-terminated */
	size_t len;
};

/* How many nodes an overlay holds: the least of its families, at most REGISTRY_NODES_MAX; 0 if a
 * family is too small for two nodes, or if there is none.
 */
unsigned registry_capacity(const struct registry_cluster *c);

/* Makes the file in dir with the cluster's record: whole or not at all. -EEXIST; -EINVAL an overlay
 * too small for two nodes, two overlays of a family, or overlay and pools overlap.
 */
int registry_create(int dir, const struct registry_cluster *c);
/* Opens, migrates, checks. dir may be AT_FDCWD, and must be so in a process that may not read
 * /proc/self/fd. -ENOENT; -EBUSY another process has it; -EBADMSG damaged or another program's;
 * -EPROTO made by a newer ginnel.
 */
int registry_open(struct registry **out, int dir);
/* Removes what a rewrite that was cut short left beside a registry that is not open: the next open
 * would put it in that one's place. For who puts another registry there. -errno.
 */
int registry_forget_rewrite(int dir);
void registry_close(struct registry *r); /* takes NULL; writes what registry_node_seen was told */

const struct registry_cluster *registry_cluster(const struct registry *r);
uint64_t registry_generation(const struct registry *r);
uint64_t registry_revision(const struct registry *r);
unsigned registry_count(const struct registry *r);
/* NULL, or why it is read-only since a write failed. */
const char *registry_fault(const struct registry *r);
/* Called after each change, inside the call that made it. */
void registry_on_change(struct registry *r, void (*fn)(void *arg), void *arg);

/* Are these addresses where a host can be, outside of overlay and pools, and not too many? */
bool registry_endpoints_ok(const struct registry *r, const struct config_endpoint *e, unsigned n);
/* Would registry_node_put find prefixes for this name? 0, -EDQUOT, -EROFS. */
int registry_has_room(const struct registry *r, const char *name);
/* Adds or replaces a node in one transaction and gives it free prefixes (one of each family of the
 * overlay: a /24, a /64 of the same number) unless the name had some. Fills n->prefixes and draining,
 * which are not the caller's to change. A node made anew has no workloads. Nothing is written and no revision is made if all but joined and last_seen is as it was. -EINVAL a
 * field is out of range; -EDQUOT the overlay is exhausted ("10.77.0.0/16 holds 256 nodes");
 * -ENOSPC the disk is full, later writes may succeed; -EIO the write failed, the registry goes on;
 * -EROFS it is read-only after a failed write.
 */
int registry_node_put(struct registry *r, struct registry_node *n);
/* Its prefixes are free for others at once. -ENOENT, and as registry_node_put. */
int registry_node_remove(struct registry *r, const char *name);
int registry_node_get(struct registry *r, const char *name,
                      struct registry_node *out); /* -ENOENT */
/* May a peer with this certificate be here? 0, -ENOENT, -ESTALE another incarnation. Quick. */
int registry_node_admit(const struct registry *r, const char *name, uint64_t incarnation);
/* A node's own endpoints and version; it may write only its own. Nothing is written and no revision
 * is made if they are as they were. -EINVAL an endpoint inside overlay or pools, loopback,
 * multicast; too many. -ENOENT, and as registry_node_put.
 */
int registry_node_announce(struct registry *r, const char *name, const struct config_endpoint *e,
                           unsigned n, const char *version);
/* New workloads are refused there from now on, or no longer. -ENOENT, and as registry_node_put. */
int registry_node_drain(struct registry *r, const char *name, bool draining);
/* The next name after that one ("": the first) and its incarnation; NULL: there is none. */
const char *registry_node_next(const struct registry *r, const char *after, uint64_t *incarnation);
/* Heard of at that time. Kept in memory until registry_flush. -ENOENT. */
int registry_node_seen(struct registry *r, const char *name, time_t at);
/* Writes all that registry_node_seen was told, in one transaction. */
int registry_flush(struct registry *r);
/* Calls fn for each node of the role in order of name, until it returns non-zero. */
int registry_each(struct registry *r, enum cert_role role,
                  int (*fn)(void *arg, const struct registry_node *n), void *arg);

/* Writes the nodes that follow the name `after` ("": from the first), as JSON objects with commas
 * between, at most n of them and max bytes (at least REGISTRY_NODE_TEXT_MAX). Returns the bytes; in
 * last the last name written, or "" when the end was reached.
 */
size_t registry_nodes_text(const struct registry *r, const char *after, unsigned n, char *buf,
                           size_t max, char last[CERT_NAME_MAX + 1]);
/* The whole state as nodes see it: {"generation","revision","cluster","overlay","pools","nodes"}.
 * New reference, NULL: no memory.
 */
json_t *registry_state(struct registry *r);

/* -- workloads --------------------------------------------------------------------------------- */

/* Adds or replaces w of its node. Nothing is written and no revision is made if it is as it was.
 * -ENOENT no such node; -EINVAL an address is not the node's to give; -EADDRINUSE it is another
 * workload's; -EEXIST another node has a workload of that id; -EDQUOT the node has
 * WORKLOADS_NODE_MAX, or the cluster WORKLOADS_MAX; and as registry_node_put.
 */
int registry_workload_put(struct registry *r, const struct workload *w);
/* -ENOENT; -EACCES another node's; and as registry_node_put. */
int registry_workload_remove(struct registry *r, const char *node, const char *id);
/* Is it there, and that node's? */
bool registry_workload_has(const struct registry *r, const char *node, const char *id);
unsigned registry_workload_count(const struct registry *r);
/* As registry_nodes_text, of workloads in order of id; max at least WORKLOAD_TEXT_MAX + 2. */
size_t registry_workloads_text(const struct registry *r, const char *after, unsigned n, char *buf,
                               size_t max, char last[WORKLOAD_ID_MAX + 1]);
/* Placement refused it there: kept, the last one of each workload. No change that watchers are told
 * of. -EINVAL the rule is no name, and as registry_node_put.
 */
int registry_refuse(struct registry *r, const struct workload *w, const char *rule, time_t at);
/* [{…workload,"rule","at"}], the newest first, as many as fit into max bytes. New reference, NULL: no
 * memory, or the file cannot be read.
 */
json_t *registry_refused(struct registry *r, size_t max);

/* -- the policy -------------------------------------------------------------------------------- */

/* A document that was checked; it has the next version. Nothing is written if it is the newest one's
 * text. -EINVAL no UTF-8, or NULs in it; and as registry_node_put.
 */
int registry_policy_put(struct registry *r, const char *document, size_t len, const char *by,
                        time_t at);
/* The newest, until the next put. */
const struct registry_policy *registry_policy(const struct registry *r);
/* {"version","hash","size"} of it, as text; "null" if there is none. */
void registry_policy_text(const struct registry *r, char out[160]);

/* The change that led to revision rev: a watch's line without its newline; NULL if no longer kept.
 */
const char *registry_change(const struct registry *r, uint64_t rev);

/* A copy of all that is acknowledged, in a descriptor of gateway/sealed.h, for a backup. */
int registry_copy(struct registry *r, int *fd, size_t *len);
/* This is such a copy, and goes on as that generation. -EINVAL it is none above its own. */
int registry_restore(struct registry *r, uint64_t generation);
