/* SPDX-License-Identifier: GPL-3.0-or-later */
/* local - what may be asked on the control socket about workloads and the policy.
 *
 * One JSON line in, one out, then it is over. Who may ask at all is control.c's to say; to change
 * something is for root alone (by SO_PEERCRED), which container plugins are.
 *
 *   {"cmd":"workload-add","workload":{"id","name","network","addresses":[],"labels":{},"image","since"}}
 *                              → {"id"}: it is on the disk, and the policy in force lets it run here
 *   {"cmd":"workload-remove","id"} → {"id"}: it is gone, also if there was none
 *   {"cmd":"workloads"}        → [{…}], the cluster's, as this node knows them
 *   {"cmd":"policy"}           → {"version","applied_at","by","document"}
 *   {"cmd":"refused"}          → [{…,"rule","at"}], of the manager; without one those of this node
 *   {"cmd":"confirmed"}        → {"version","waiting":[],"absent":[],"more"}, of the manager;
 *                                version null: it does not answer
 * or {"error":"what: why; what to do"}; where a workload is refused also "reason" (invalid, address,
 * address-taken, too-many, placement, disk, root), and for placement "rule".
 */
#pragma once
#include "gateway/control/state.h"

struct evbuffer;

/* The answer (new reference); NULL: it is none of these. */
json_t *local_answer(struct control *c, const char *cmd, const json_t *question, bool root);

/* The answer to "workloads", as one line. -ENOMEM: to is as it was. */
int local_workloads(const struct control *c, struct evbuffer *to);

/* A question that the manager answers. -EINVAL it is none of these, -ENOMEM. fn is called once, not from
 * within, and takes the answer; relay_cancel before that: it is not.
 */
struct relay;
int relay_ask(struct relay **out, struct control *c, const char *cmd,
              void (*fn)(void *arg, json_t *answer), void *arg);
void relay_cancel(struct relay *r);
