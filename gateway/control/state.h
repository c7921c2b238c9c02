/* SPDX-License-Identifier: GPL-3.0-or-later */
/* state - what control's files share: one struct, one thread. */
#pragma once
#include "gateway/control/control.h"
#include "gateway/control/edict.h"
#include "gateway/control/own.h"
#include "gateway/control/revoked.h"
#include "gateway/control/watch.h"
#include "gateway/renewal.h"
#include <event2/event.h>

#define CONTROL_MTU 1420

struct alarm;
struct uplink;

struct control {
	const struct control_params *params;
	const struct node *node;
	struct event_base *base;
	struct event *on_parent, *on_engine, *on_listen, *on_members;
	struct event *on_second; /* NULL: static peers */
	struct alarm *alarm;     /* for credentials_look */
	struct wolf *wolf;       /* of tunnels */
	struct engine *engine;
	struct watch watch; /* members; of static peers too */
	struct own own;
	struct edict edict; /* the policy */
	bool was_open;      /* packets were carried while the cluster had no policy */
	struct rule_drops
		*rule_drops; /* what its rules refused: a reference, and of which version */
	uint64_t rule_drops_of;
	int64_t save_workloads; /* not before then: they may be many */
	struct uplink *uplink;  /* NULL: static peers, no manager */
	struct message_health health;
	bool health_known;
	unsigned clients;
	int64_t strangers_since; /* refusals of strangers in this second */
	unsigned strangers;
	struct renewal renewal; /* of our certificate; not with one's own PKI */
	struct revoked revoked;
	struct lists *lists;       /* the same, to be passed on; NULL: there are none */
	int64_t revoked_confirmed; /* when a manager last had no newer list; 0: not yet */
	time_t floor;              /* no clock before this is believed */
	int exit_code;
};

/* Seconds since the epoch, never before the floor. */
time_t control_wall(void *control);
/* Makes c->wolf from our identity as it is now; the old one stays the caller's to put. */
int control_open_wolf(struct control *c);
/* Is this member's every certificate revoked? */
bool control_revoked(const struct control *c, const struct member *m);
/* The workloads of the cluster, ours as we have them and not as the manager has: until fn returns
 * non-zero, which is returned.
 */
int control_workloads_each(const struct control *c, int (*fn)(void *arg, const struct workload *w),
                           void *arg);
/* The version by which packets are judged; 0: there is none. */
uint64_t control_policy_version(const struct control *c);
/* Members, workloads or the policy have changed: a new snapshot is built and published soon. */
void control_members_changed(struct control *c);
/* The same, now. */
void control_publish(struct control *c);
