/* SPDX-License-Identifier: GPL-3.0-or-later */
/* watch - the cluster as this node knows it: a manager's lines in; members, workloads and which policy
 * is in force out.
 *
 * Lines come over the watch stream (or, at start, from the last state on disk) and are taken for
 * foreign: every name, prefix and address is checked. The initial state comes in pieces and counts
 * once its "sync" is there, so that a cut connection never leaves half a cluster. Within a generation
 * the revision only rises. No I/O, no thread; control's.
 */
#pragma once
#include "gateway/control/workloads.h"
#include "gateway/engine/snapshot.h"
#include "gateway/hash.h"
#include "gateway/node.h"
#include <jansson.h>

#define WATCH_MEMBERS_MAX 10000
#define WATCH_PREFIXES    4
#define WATCH_STATE_FILE  "state.json"
#define WATCH_WORKLOADS   "workloads.state"

struct member {
	char name[CERT_NAME_MAX + 1];
	enum cert_role role;
	bool draining; /* it takes no new workloads */
	uint64_t incarnation;
	uint64_t issue, issue_min; /* of its newest certificate; what it should be at least */
	unsigned nprefixes, nendpoints;
	struct prefix prefixes[WATCH_PREFIXES];
	struct endpoint endpoints[SNAPSHOT_ENDPOINTS];
	struct cert_labels labels;
	json_t *json;      /* as it came, for the disk; a reference */
	struct peer *peer; /* a reference; control makes it; NULL for this node itself */
	unsigned logged;   /* changes of the peer that the log has seen */
	bool fresh;        /* its session is to be made anew; credentials.c */
	int64_t fresh_asked;
	UT_hash_handle hh;
};

/* The document that the manager has in force; edict.h has the text. */
struct watch_policy {
	uint64_t version; /* 0: none */
	uint8_t hash[32]; /* SHA-256 of it */
	uint64_t size;
};

struct watch {
	const struct node *node;
	uint64_t generation, revision;
	struct member *members; /* by name */
	struct workloads workloads;
	struct watch_policy policy;
	struct member *coming; /* a state that is not whole yet */
	struct workloads coming_workloads;
	struct watch_policy coming_policy;
	uint64_t coming_generation, coming_revision;
	bool receiving;
	bool behind;        /* the workloads, as they lay on the disk, are older than the members */
	bool members_dirty; /* the disk's state is another */
	uint64_t saved;     /* the revision of the workloads on the disk */
	bool workloads_kept; /* they are there at all */
};

enum watch_result {
	WATCH_NOTHING, /* understood, nothing changed for us */
	WATCH_CHANGED, /* members, workloads or the policy are different now */
	WATCH_REFUSED, /* see why; the connection should end */
};

void watch_init(struct watch *w, const struct node *n);
void watch_clear(struct watch *w);
/* One line, without its newline. why is written on WATCH_REFUSED. */
enum watch_result watch_line(struct watch *w, const char *line, size_t len, char *why, size_t max);
/* A connection ended: what had not arrived whole is forgotten. */
void watch_cut(struct watch *w);
struct member *watch_find(const struct watch *w, const char *name);
/* Takes m, whose name no member has: static peers come from no manager. */
void watch_add(struct watch *w, struct member *m);
/* From here until the next change members stand in the order of their names. */
void watch_sort(struct watch *w);

/* May changes follow from our revision on? Not where the workloads are behind: then all is asked for. */
bool watch_resumable(const struct watch *w);

/* The last state on disk: members and policy in one JSON document, workloads in a file beside it. 0,
 * -ENOENT, -EBADMSG (with why), -errno.
 */
int watch_load(struct watch *w, int dir, char *why, size_t max);
int watch_save(struct watch *w, int dir);
/* The workloads, with the members of the same revision. Many lines: not with every change. */
int watch_save_workloads(struct watch *w, int dir);
/* Is there something to save of them? */
bool watch_workloads_dirty(const struct watch *w);
