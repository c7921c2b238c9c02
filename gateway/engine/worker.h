/* SPDX-License-Identifier: GPL-3.0-or-later */
/* worker - a thread that carries packets: one TUN queue, its sockets, its lanes, its buffers.
 *
 * Owns all it touches on a packet's way; takes no lock there and allocates nothing. Round: snapshot,
 * out, in, from others, timers, sleep. The other threads reach it by mailboxes alone.
 */
#pragma once
#include "gateway/counters.h"
#include "gateway/engine/frame.h"
#include "gateway/engine/io.h"
#include "gateway/engine/lane.h"
#include "gateway/engine/mailbox.h"
#include "gateway/engine/pass.h"
#include "gateway/engine/ratelimit.h"
#include "gateway/engine/refusals.h"
#include "gateway/engine/snapshot.h"
#include "gateway/engine/waiting.h"
#include <pthread.h>

#define WORKER_ADOPT_SLOTS    64
#define WORKER_STRANGER_SLOTS 256
#define WORKER_CID_SLOTS      128 /* of them at most for records whose CID is of no lane */
#define WORKER_WANT_SLOTS     16  /* of them for our own wishes alone: no flood may hold those up */
#define WORKER_LOAD_WINDOW    (100 * 1000000LL) /* at work for half of it: loaded */
#define WORKER_FILE_SLOTS     16

struct engine;

/* Worker → handshake thread. */
struct stranger {
	struct peer *wanted; /* a reference: sessions with it are asked for; NULL: a datagram */
	unsigned workers;    /* whose lanes those shall be, a bit each */
	bool more;           /* beside others that there are */
	struct udp_path path;
	size_t len;
	uint8_t data[UDP_BUFFER];
};

struct worker {
	struct engine *engine;
	unsigned id;
	pthread_t thread;
	struct io io;
	struct mailbox adopt;                /* struct handover, from the handshake thread */
	struct mailbox strangers;            /* struct stranger, to the handshake thread */
	struct pass_box passed[WORKERS_MAX]; /* from the others */
	unsigned holds;                      /* peers whose packets are held; see pass.h */
	unsigned news;                       /* of the engine's lanes, that were looked at */
	const struct snapshot *snapshot;
	uint64_t judged;    /* serial of the snapshot that lanes were judged by */
	bool open;          /* that snapshot was: no packet has been judged */
	unsigned no_yield;  /* turns without */
	int64_t spin_since; /* 0: not spinning */
	unsigned luck, sleeps;
	int64_t load_since, worked; /* of the time since then, so much was work */
	int64_t tick;               /* when lanes_tick is due */
	struct lane *lanes;         /* by CID */
	struct waiting waiting;
	struct outbound {              /* a packet of this turn that goes out by a lane */
		struct outbound *next; /* by the same lane */
		struct io_read *read;
		struct ip_view ip;
	} out[IO_READS];
	struct lane *busy; /* that have such */
	struct lane
		*passing; /* by which the packet of another worker goes that was taken out last */
	struct bundle {
		uint8_t data[LANE_PLAIN_MAX + 1]; /* one more for session_seal */
		size_t len;
		unsigned packets;
	} bundle;
	struct offload_merge merge; /* the packet for the device that grows */
	bool growing;
	struct frame frame;
	struct refusals refusals;
	struct ratelimit answers; /* to those whose packets the policy refused */
	struct mailbox files;     /* struct gossip_file, to control */
	unsigned fetches;         /* under way */
	struct counters counters;
};

/* Worker id of e->nworkers. */
int worker_init(struct worker *w, struct engine *e, unsigned id, const struct io_files *files);
void worker_clear(struct worker *w);
void *worker_main(void *worker);

/* Lanes are looked after at this time at the latest. */
static inline void worker_tick_by(struct worker *w, int64_t at)
{
	if (at < w->tick)
		w->tick = at;
}

/* Asks the handshake thread for a session: one of this worker, or the peer's first if it has none at
 * all. At most once a second per peer. false: not this time.
 */
bool worker_want(struct worker *w, struct peer *p, int64_t now);
/* For lanes of these workers, besides those that there are, because load asks for them; as often. */
void worker_want_more(struct worker *w, struct peer *p, unsigned workers, int64_t now);
/* Hands a datagram to the handshake thread. */
enum drop worker_stranger(struct worker *w, const struct udp_path *path, const uint8_t *data,
                          size_t len);

/* What the turn brought: from the device, and from the network. */
void outbound_batch(struct worker *w, int64_t now); /* outbound.c */
void inbound_batch(struct worker *w, int64_t now);  /* inbound.c */
/* A datagram that overtook its session on the way here. Its bytes are good until the next turn. */
void inbound_late(struct worker *w, uint8_t *data, size_t len, int64_t now);
/* What other workers passed on, then that there is no more of it. data as for session_seal; it stays
 * where it is until the next turn.
 */
void outbound_passed(struct worker *w, const struct addr *dst, uint8_t *data, size_t len,
                     int64_t now);
void outbound_passed_end(struct worker *w, int64_t now);
void inbound_passed(struct worker *w, const struct udp_path *path, uint8_t *data, size_t len,
                    int64_t now);
void inbound_passed_end(struct worker *w);
