/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pass - from worker to worker: what one has read and another has the lane for.
 *
 * A packet may come by a queue whose worker has no lane to the peer yet, and a datagram by a socket
 * whose worker is not the one that its connection ID names. Both are copied into a box that only these
 * two know, so that there is no lock; a full box is a drop, nobody waits.
 *
 * Order: packets of a flow must not overtake each other when the worker gets a lane of its own. So the
 * last thing passed on is a mark. Who takes it out asks the peer for an answer by that lane, behind
 * all that went by it; when the answer is there, so is everything before it, delivered. Until then the
 * packets are held in the waiting room. If the answer is lost or there are too many packets, they go on
 * as before, and it is tried again later; PASS_TRIES times, then without.
 *
 * What was taken out counts as given back only after the next turn: it was sent then, or written, for
 * both happens from where it lies.
 */
#pragma once
#include "gateway/drops.h"
#include "gateway/engine/mailbox.h"
#include "gateway/engine/peer.h"
#include "gateway/engine/udp.h"

#define PASS_SLOTS    256
#define PASS_ROUND    64 /* of each box, a round */
#define PASS_DATA     UDP_BUFFER
#define PASS_HELD     192               /* packets, of a peer */
#define PASS_HELD_MAX (100 * 1000000LL) /* so long they wait for the answer */
#define PASS_AGAIN    (300 * 1000000LL)
#define PASS_TRIES    5
#define PASS_SETTLED  (1000 * 1000000LL) /* what was passed on so long ago is through */
#define PASS_WINDOW   (100 * 1000000LL)
#define PASS_MANY     64 /* packets a window: worth a lane of our own */

struct worker;

struct passed {
	enum { PASSED_PACKET, PASSED_DATAGRAM, PASSED_MARK } kind;
	struct peer *peer;    /* of a mark: a reference */
	struct addr dst;      /* of a packet: who routes it anew need not read it */
	struct udp_path path; /* of a datagram */
	size_t len;
	uint8_t data[PASS_DATA +
	             1]; /* one more for session_seal; a packet's first bit: FRAME_ELIDED */
};

struct pass_box {
	struct mailbox box; /* struct passed, from one other worker */
	uint32_t taken;     /* of them to be given back after the next turn */
};

/* The boxes of a worker that is one of n. 0 or -errno. */
int pass_init(struct worker *w, unsigned n);
void pass_clear(struct worker *w);

/* Whose lane packets for p leave by while w has none; -1: they wait here. Counts them: many of them are
 * a reason for a lane of w's own.
 */
int pass_by(struct worker *w, struct peer *p, int64_t now);
/* false: no room, or too long. */
bool pass_packet(struct worker *w, unsigned to, const struct addr *dst, const uint8_t *data,
                 size_t len);
/* To the worker that its connection ID names. */
enum drop pass_datagram(struct worker *w, const uint8_t *cid, const struct udp_path *path,
                        const uint8_t *data, size_t len);

/* May a lane of w's own be the first that sends to p? Else it is asked again soon. */
bool pass_over(struct worker *w, struct peer *p, int64_t now);
/* It does, or there is none after all. */
void pass_ended(struct worker *w, struct peer *p);
/* What workers passed on is through, or will never be. */
void pass_through(struct worker *w, struct peer *p, unsigned workers);

/* Those that wait here, though another worker has a lane by now. */
void pass_waiting(struct worker *w, int64_t now);

/* After a turn: what was taken out before it may be overwritten. */
void pass_done(struct worker *w);
/* Takes out what others passed on. true: something was, and the thread must not sleep before
 * pass_done.
 */
bool pass_round(struct worker *w, int64_t now);
