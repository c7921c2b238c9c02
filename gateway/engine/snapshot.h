/* SPDX-License-Identifier: GPL-3.0-or-later */
/* snapshot - everything the engine's threads look things up in, as one value.
 *
 * Built by control, published whole, freed after every thread has left it. No packet and no
 * handshake sees half of a change: routes, peers, their endpoints, our credentials and the policy belong
 * together.
 */
#pragma once
#include "crypto/revocation.h"
#include "crypto/wolf.h"
#include "gateway/engine/lists.h"
#include "gateway/engine/peer.h"
#include "gateway/engine/refusals.h"
#include "gateway/tables/policy.h"
#include "gateway/tables/route.h"
#include "gateway/tables/subjects.h"

#define SNAPSHOT_ENDPOINTS 8

struct snapshot_peer {
	struct peer *peer;    /* a reference of ours */
	uint64_t incarnation; /* the registry's; 0: any (static peers) */
	bool keep_up;         /* lane 0 is open without a packet */
	bool fresh;           /* a new session is to take over from the present one */
	unsigned nendpoints;
	struct endpoint endpoints[SNAPSHOT_ENDPOINTS];
};

struct snapshot {
	uint64_t serial;   /* set by engine_publish */
	struct wolf *wolf; /* a reference of ours */
	char self_name[CERT_NAME_MAX + 1];
	time_t wall; /* when it was made: sessions whose certificate ended before are over; 0: none */
	struct revocations revoked; /* ours */
	struct lists *lists;        /* that say so; a reference of ours; NULL: there are none */
	struct route_table *routes; /* values: struct peer, or self */
	struct peer *self;          /* stands for this node in routes; never dialled */
	unsigned npeers;
	struct snapshot_peer *peers; /* sorted by name */
	size_t nknown;
	struct addr *known; /* of all endpoints, sorted: each hello of a flood asks */
	bool open;          /* all may talk to all: no packet is judged, and what follows is NULL */
	uint64_t policy_version;
	struct policy *policy;         /* ours, sealed */
	struct subjects *subjects;     /* ours; where: struct peer, or self */
	struct rule_drops *rule_drops; /* a reference of ours */
};

/* max_peers: room for so many. Takes a reference on w. */
int snapshot_new(struct snapshot **out, struct wolf *w, const char *self_name, unsigned max_peers);
void snapshot_free(struct snapshot *s);
int snapshot_add_self(struct snapshot *s, const struct prefix *p);
/* Takes a reference on p->peer. prefixes are the peer's. */
int snapshot_add_peer(struct snapshot *s, const struct snapshot_peer *p,
                      const struct prefix *prefixes, unsigned nprefixes);
/* From here on packets are judged. Takes the policy, which is sealed, and the subjects; and a reference on
 * drops, which go on counting for the next snapshot of the same policy.
 */
void snapshot_judge_by(struct snapshot *s, struct policy *p, struct subjects *subjects,
                       struct rule_drops *drops);
/* Ready to be published; nothing is added after it. */
int snapshot_seal(struct snapshot *s);

const struct snapshot_peer *snapshot_find(const struct snapshot *s, const char *name);
/* Why a session with this certificate may not carry packets of p any more; NULL: it may. */
const char *snapshot_refuses(const struct snapshot *s, const struct peer *p,
                             const struct cert_info *info);
/* Is it an endpoint address of a peer? Those are no strangers. */
bool snapshot_knows(const struct snapshot *s, const struct addr *a);
/* Is it an endpoint of a peer, port and all? */
bool snapshot_announced(const struct snapshot *s, const struct endpoint *e);
