/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gossip - nodes tell each other which revocation lists they hold, and fetch those that say more.
 *
 * Inside the tunnel, by control frames (frame.h), and so with whom a session is up and with nobody else:
 * no other port, socket, handshake or bound is needed, and it works wherever packets do. What is
 * fetched proves itself by the ca's signature, which control checks. A lane fetches one file at a
 * time, in order, a window of parts for a question; what is lost is asked for again. Worker thread only.
 */
#pragma once
#include "gateway/engine/lists.h"
#include <stdbool.h>

#define GOSSIP_PART     1024          /* bytes in a frame: fits each path that a tunnel can have */
#define GOSSIP_WINDOW   16            /* parts for a question */
#define GOSSIP_SERVED   64            /* questions of a peer that are answered in a second */
#define GOSSIP_FETCHES  8             /* of a worker at once */
#define GOSSIP_TRIES    8             /* questions without an answer */
#define GOSSIP_FETCH    30000000000LL /* ns for one list: a trickle may not keep a place for ever */
#define GOSSIP_ASK      250000000LL   /* ns before a question is asked again */
#define GOSSIP_TELL     1000000000LL /* and before a peer is told again that says something else, */
#define GOSSIP_TELL_MAX (64 * GOSSIP_TELL)   /* doubled up to this */
#define GOSSIP_AGAIN    (1200 * GOSSIP_TELL) /* where both say the same: that confirms a list's age */

struct worker;
struct lane;
struct fetch;

/* Of a lane. */
struct gossip {
	struct lists_head peer;    /* what it holds; number 0: it has not said */
	struct lists_head told;    /* what we said last; number 0: nothing */
	int64_t told_at, wait;     /* when, and how long until it is said again */
	uint8_t tried[LISTS_HASH]; /* fetched whole: it is no use to fetch it again */
	bool unheard;              /* the peer has not heard what we say */
	int64_t fetch_at;          /* not before: a file a second */
	int64_t served_since;
	unsigned served;
	struct fetch *fetch; /* NULL: none is under way */
};

/* A file that is whole: worker → control, which frees it. */
struct gossip_file {
	uint8_t *bytes;
	size_t len;
	char peer[CERT_NAME_MAX + 1];
};

void gossip_clear(struct worker *w, struct gossip *g);
/* A control frame of this kind is in w->frame. */
void gossip_frame(struct worker *w, struct lane *l, int64_t now);
/* Tells, asks again. Returns when it wants to be called again. */
int64_t gossip_tick(struct worker *w, struct lane *l, int64_t now);
