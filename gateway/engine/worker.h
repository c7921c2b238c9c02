/* SPDX-License-Identifier: GPL-3.0-or-later */
/* worker - a thread that carries packets: one TUN queue, one socket, its lanes, its buffers.
 *
 * Owns all it touches on a packet's way; takes no lock there and allocates nothing. Round: snapshot,
 * out, in, timers, sleep. The other threads reach it by a mailbox alone.
 */
#pragma once
#include "gateway/counters.h"
#include "gateway/engine/frame.h"
#include "gateway/engine/io.h"
#include "gateway/engine/lane.h"
#include "gateway/engine/mailbox.h"
#include "gateway/engine/snapshot.h"
#include "gateway/engine/waiting.h"
#include <pthread.h>

#define WORKER_ADOPT_SLOTS    64
#define WORKER_STRANGER_SLOTS 256
#define WORKER_CID_SLOTS      128 /* of them at most for records whose CID is of no lane */
#define WORKER_FILE_SLOTS     16
#define WORKER_WANT_SLOTS     16 /* of them for our own wishes alone: no flood may hold those up */

struct engine;

/* Worker → handshake thread. */
struct stranger {
	struct peer *wanted; /* a reference: a session with it is asked for; NULL: a datagram */
	struct udp_path path;
	size_t len;
	uint8_t data[UDP_BUFFER];
};

struct worker {
	struct engine *engine;
	unsigned id;
	pthread_t thread;
	struct io io;
	struct mailbox adopt;     /* struct handover, from the handshake thread */
	struct mailbox strangers; /* struct stranger, to the handshake thread */
	const struct snapshot *snapshot;
	uint64_t judged;    /* serial of the snapshot that lanes were judged by */
	unsigned no_yield;  /* turns without */
	int64_t spin_since; /* 0: not spinning */
	unsigned luck, sleeps;
	int64_t tick;       /* when lanes_tick is due */
	struct lane *lanes; /* by CID */
	struct waiting waiting;
	struct outbound {              /* a packet of this turn that goes out by a lane */
		struct outbound *next; /* by the same lane */
		struct io_read *read;
		struct ip_view ip;
	} out[IO_READS];
	struct lane *busy; /* that have such */
	struct bundle {
		uint8_t data[LANE_PLAIN_MAX + 1]; /* one more for session_seal */
		size_t len;
		unsigned packets;
	} bundle;
	struct offload_merge merge; /* the packet for the device that grows */
	bool growing;
	struct frame frame;
	struct mailbox files; /* struct gossip_file, to control */
	unsigned fetches;     /* under way */
	struct counters counters;
};

int worker_init(struct worker *w, struct engine *e, unsigned id, int tun_fd, int udp_fd);
void worker_clear(struct worker *w);
void *worker_main(void *worker);

/* Lanes are looked after at this time at the latest. */
static inline void worker_tick_by(struct worker *w, int64_t at)
{
	if (at < w->tick)
		w->tick = at;
}

/* Asks the handshake thread for a session, at most once a second per peer. false: not this time. */
bool worker_want(struct worker *w, struct peer *p, int64_t now);
/* Hands a datagram to the handshake thread. */
enum drop worker_stranger(struct worker *w, const struct udp_path *path, const uint8_t *data,
                          size_t len);

/* What the turn brought: from the device, and from the network. */
void outbound_batch(struct worker *w, int64_t now); /* outbound.c */
void inbound_batch(struct worker *w, int64_t now);  /* inbound.c */
/* A datagram that overtook its session on the way here. Its bytes are good until the next turn. */
void inbound_late(struct worker *w, uint8_t *data, size_t len, int64_t now);
