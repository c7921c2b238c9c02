/* SPDX-License-Identifier: GPL-3.0-or-later */
/* guard - fail closed: the nftables rules, the unreachable routes, the device.
 *
 * Overlay traffic leaves by the tunnel or not at all, and comes in by it or not at all, whatever
 * state the daemon is in. Two layers that fail apart: routes (a sender gets an error at once, also
 * without nftables) and rules (addresses as they stand on the wire, before conntrack and after NAT).
 * The ruleset is fixed text; the program changes set elements only, composed from numbers and from
 * interface names that passed guard_name_ok. Privileged process only; one thread.
 */
#pragma once
#include "gateway/node.h"
#include "tun/link.h"

struct guard_plan {
	char device[16];
	unsigned nguarded; /* overlay and pools */
	struct prefix guarded[CONFIG_OVERLAY_MAX + NODE_POOLS_MAX];
	unsigned nown; /* this node's prefixes */
	struct prefix own[CONFIG_PREFIXES_MAX];
	struct addr address4, address6; /* the node itself; family 0: none */
	unsigned ninterfaces;           /* links we did not make, behind which own addresses live */
	char interfaces[CONFIG_INTERFACES_MAX][16];
	unsigned mtu;
	int state_dir; /* where forwarding's old values are kept; -1: forwarding is left alone */
};

#define GUARD_MTU 1420 /* of the device, on an underlay of 1500 */

/* What guard_watch found missing. */
#define GUARD_RULES  1
#define GUARD_ROUTES 2
#define GUARD_DEVICE 4 /* or its addresses */

struct guard;

/* ^[a-z][a-z0-9_.-]{0,14}$, the only form of a name that reaches rule text. */
bool guard_name_ok(const char *name);

/* From node and config, checking that prefixes lie inside overlay or pools, and that neither is so
 * wide that the host would be cut off. state_dir is -1. -EINVAL with a line in why.
 */
int guard_plan_make(struct guard_plan *out, const struct node *n, const struct config *c, char *why,
                    size_t max);

/* Puts up rules, then routes, then the device, its addresses and routes: in that order, so that
 * nothing is ever reachable unguarded. Idempotent. Also holds a second copy of the inet table with
 * `flags owner`, which others' flush passes over. With interfaces it turns forwarding on at last.
 * On error what stands is left standing, and why (of max bytes) says what failed. -EBUSY another
 * process guards this network namespace: nothing of its was touched.
 */
int guard_up(struct guard **out, const struct guard_plan *p, char *why, size_t max);
/* Frees the handle (and with it the owned copy); rules, routes and device stay. */
void guard_release(struct guard *g);

/* A descriptor that becomes readable when someone changes rules, links, addresses or routes. */
int guard_watch_fd(const struct guard *g);
/* Reads the events and puts back what is missing. Returns a bit set of what was missing (0: nothing),
 * -errno if it could not be put back; why then says what failed.
 */
int guard_watch(struct guard *g, char *why, size_t max);
/* The same without an event: looks at all of it. */
int guard_check(struct guard *g, char *why, size_t max);
/* The device's index: another one means that it was made anew, and queues of the old one are dead. */
int guard_index(const struct guard *g);
/* Was forwarding turned on by guard_up (and not found on)? For the log. */
bool guard_forwarding_changed(const struct guard *g);
/* Do all of them stand right now? */
bool guard_stands(struct guard *g);

/* Removes what old put up and now has no use for: its device if that is another, else the routes and
 * addresses on it, and unreachable routes. Only what is marked as made by us. now NULL: all of it. The
 * rules are those of now already. A device of old's name that is not ours is left alone.
 */
int guard_leave(const struct guard_plan *old, const struct guard_plan *now, char *why, size_t max);

/* Removes device, routes and rules of the plan and puts forwarding back: `ginnel down`. Works with a
 * dead daemon. 0 also where nothing stood; -EEXIST the device is not one that we made; -EBUSY as
 * above.
 */
int guard_down(const struct guard_plan *p, char *why, size_t max);
