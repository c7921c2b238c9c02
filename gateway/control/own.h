/* SPDX-License-Identifier: GPL-3.0-or-later */
/* own - this node's workloads: root's to add and remove, on disk, announced to the manager.
 *
 * What is added here is judged here: its form, that its addresses are ours to give and nobody's
 * else, and placement, by the policy in force and the labels of our certificate. It counts at once,
 * with or without a manager. A manager is brought in line whenever one is there: what it has of us
 * and we have not is taken back, what it has not is told; it judges again. What it refuses stays ours
 * (whoever started it must end it), is said to be refused, and is told again later. Control's thread.
 */
#pragma once
#include "gateway/control/workloads.h"
#include <stdbool.h>
#include <stdint.h>

#define OWN_FILE        "workloads.own"
#define OWN_REFUSED_MAX 32 /* refused placements that are remembered, and told to the manager */

struct control;

enum own_state {
	OWN_NEW,     /* the manager is to be told */
	OWN_KNOWN,   /* it has the record */
	OWN_REFUSED, /* it refused; told again at own.again_refused */
};

struct own_workload {
	struct workload *w;
	enum own_state state;
	char why[96]; /* the manager's word for it; "" */
	UT_hash_handle hh;
};

struct own_refused {
	struct workload *w; /* NULL: the place is free */
	char rule[64];
	time_t at;
	bool told;
};

struct own {
	struct own_workload *workloads; /* by id */
	struct own_refused refused[OWN_REFUSED_MAX];
	unsigned refused_next;
	/* telling the manager */
	struct uplink_question *question;
	char asked[WORKLOAD_ID_MAX + 1]; /* about which */
	unsigned asked_refused;
	enum own_asking { OWN_PUT, OWN_REMOVE, OWN_REFUSE } asking;
	bool changed; /* what was asked about is another by now */
	bool check;   /* it may have records that we have not */
	int64_t again, again_refused, check_at;
};

int own_load(struct control *c, int dir); /* 0, -ENOENT, -EBADMSG, -errno */
void own_clear(struct own *o);
/* {"workload":{…}} of root. The answer: {"id"}, or {"error","reason"[,"rule"]}. */
json_t *own_add(struct control *c, const json_t *question);
json_t *own_remove(struct control *c,
                   const json_t *question); /* {"id"}: what is not there is gone */
const struct workload *own_find(const struct own *o, const char *id);
/* Those that were refused here: as the manager's list, the newest first. */
json_t *own_refused_json(const struct own *o);

/* Tells the manager what is to be told, one thing after the other. */
void own_kick(struct control *c);
/* A new connection, and its state is here. */
void own_connected(struct control *c);
/* The policy, our record, or something else by which it judges is another: what was refused is told
 * again.
 */
void own_retry(struct control *c);
