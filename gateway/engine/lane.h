/* SPDX-License-Identifier: GPL-3.0-or-later */
/* lane - a session on the worker that owns it: how packets leave by it, when it is dead.
 *
 * A peer's slot on a worker has one active lane, by which packets leave, and others, which still
 * receive: a new lane takes over before the old one goes (make before break), so that a rekey or a
 * restart of the other side loses nothing. Worker thread only.
 */
#pragma once
#include "crypto/session.h"
#include "gateway/drops.h"
#include "gateway/engine/gossip.h"
#include "gateway/engine/peer.h"
#include "gateway/engine/udp.h"
#include "gateway/hash.h"

#define SECONDS(n)      ((n)*1000000000LL)
#define LANE_PLAIN_MAX  1420          /* of a record: what an underlay of 1500 carries */
#define LANE_QUIET      SECONDS(10)   /* nothing heard for so long: ask */
#define LANE_ANSWER     SECONDS(2)    /* we send and nothing comes back: ask */
#define LANE_PING       SECONDS(1)    /* between questions */
#define LANE_DEAD       SECONDS(6)    /* unanswered for so long: lost */
#define LANE_TWINS      SECONDS(3)    /* sessions born so close came of both sides dialling */
#define LANE_LINGER     SECONDS(15)   /* a superseded lane that stays silent is closed */
#define LANE_OTHERS_MAX 16            /* of a peer, on a worker */
#define LANE_AGE_MAX    SECONDS(3600) /* rekey by a fresh handshake */
#define LANE_REKEY      SECONDS(30)   /* asked for, and none has taken over: ask again */
#define LANE_IDLE       SECONDS(600)  /* without a packet: closed, unless it is to be open always */
#define LANE_SPARE      SECONDS(60)   /* so soon if there are others: load opened it */
#define LANE_LOAD       64            /* packets in WORKER_LOAD_WINDOW that are load */
#define LANE_PATIENCE   5             /* windows */

struct worker;

struct lane {
	uint8_t cid[SESSION_CID_LEN];        /* what the peer puts into records for us */
	UT_hash_handle hh;                   /* worker->lanes, by cid */
	struct lane *next;                   /* peer's others */
	struct lane *next_busy;              /* worker->busy */
	struct outbound *batch, **batch_end; /* of this turn, in order; NULL: none */
	struct worker *worker;               /* its owner */
	struct session *session;
	struct peer *peer;      /* a reference */
	struct peer_slot *slot; /* the worker's, of that peer */
	struct udp_path path;
	bool proven;       /* a record of the peer's worker opened */
	bool dead;         /* seals no more */
	int64_t rekey_at;  /* past it a successor is asked for (again), once it is due */
	int64_t last_data; /* a packet went out or came in */
	int64_t born;
	int64_t last_rx;
	int64_t unanswered; /* when we first sent since last_rx; 0: nothing since */
	int64_t last_ping;
	uint64_t mark;       /* stamp of the ping whose answer says that */
	unsigned marked_for; /* what these workers passed on is through */
	uint64_t counted;    /* packets, at the time */
	int64_t counted_at;  /* when load was looked at */
	unsigned loaded;     /* windows in a row in which there was load */
	struct gossip gossip;
};

/* The handshake thread's gift: a session that is up, its peer (a reference), where it is; or, with
 * session NULL, a datagram of one that was given just before.
 */
struct handover {
	struct session *session;
	struct peer *peer;
	struct udp_path path;
	size_t len;
	uint8_t data[UDP_BUFFER];
};

void lane_adopt(struct worker *w, struct handover *h, int64_t now);
struct lane *lane_find(struct worker *w, const uint8_t *cid);
/* Seals into the present run; plain as for session_seal. packets: how many of ours it carries (0: a
 * control frame).
 */
enum drop lane_send(struct worker *w, struct lane *l, uint8_t *plain, size_t len, unsigned packets,
                    int64_t now);
/* As session_open. */
ssize_t lane_open(struct worker *w, struct lane *l, uint8_t *datagram, size_t len, uint8_t **plain,
                  int64_t now);
/* Asks for an answer behind all that went by it; then pass_through, or once the lane is gone. */
void lane_mark(struct worker *w, struct lane *l, unsigned workers, int64_t now);
/* An answer. */
void lane_answered(struct worker *w, struct lane *l, uint64_t stamp);
/* A record opened: of data, which comes from the peer's worker, or one that its handshake thread may have
 * sent.
 */
void lane_heard(struct worker *w, struct lane *l, bool data, int64_t now);
/* Takes it out and frees it; goodbye: tells the peer. error is for status; NULL: it was not needed any
 * more, and nobody dials for it.
 */
void lane_end(struct worker *w, struct lane *l, const char *error, bool goodbye, int64_t now);
/* Pings, retransmissions, deaths. Returns when it wants to be called again. */
int64_t lanes_tick(struct worker *w, int64_t now);
/* Of two nodes that want a further lane at once one dials: the other leaves it LANE_PATIENCE windows. */
bool lane_ours_first(const struct worker *w, const struct peer *p);
/* The worker was at work for half of a window: what carries much asks for further lanes. */
void lanes_loaded(struct worker *w, int64_t now);
/* After a change of snapshot: lanes of peers that are gone, or have joined anew, end. */
void lanes_judge(struct worker *w, int64_t now);
void lanes_end_all(struct worker *w, int64_t now);
