/* SPDX-License-Identifier: GPL-3.0-or-later */
/* worker - a thread that carries packets: one TUN queue, one socket, its lanes, its buffers.
 *
 * Owns all it touches on a packet's way; takes no lock there and allocates nothing. Round: snapshot,
 * out, in, timers, sleep. The other threads reach it by a mailbox alone.
 */
#pragma once
#include "gateway/counters.h"
#include "gateway/engine/frame.h"
#include "gateway/engine/lane.h"
#include "gateway/engine/mailbox.h"
#include "gateway/engine/snapshot.h"
#include "gateway/engine/udp.h"
#include "gateway/engine/waiting.h"
#include <pthread.h>

#define WORKER_ADOPT_SLOTS    64
#define WORKER_STRANGER_SLOTS 256
#define WORKER_CID_SLOTS      128 /* of them at most for records whose CID is of no lane */
#define WORKER_WANT_SLOTS     16  /* of them for our own wishes alone: no flood may hold those up */
#define WORKER_PLAIN_MAX      65536

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
	int tun_fd;
	struct udp_socket udp;
	struct mailbox adopt;     /* struct handover, from the handshake thread */
	struct mailbox strangers; /* struct stranger, to the handshake thread */
	const struct snapshot *snapshot;
	uint64_t judged;    /* serial of the snapshot that lanes were judged by */
	int64_t tick;       /* when lanes_tick is due */
	struct lane *lanes; /* by CID */
	struct waiting waiting;
	struct udp_arrival rx;
	struct udp_batch tx;
	unsigned tx_packets[UDP_BATCH]; /* inner packets in each datagram of tx */
	uint8_t *plain;                 /* WORKER_PLAIN_MAX, and a byte for session_seal */
	uint8_t sealed[UDP_BUFFER];
	struct frame frame;
	struct counters counters;
};

int worker_init(struct worker *w, struct engine *e, unsigned id, int tun_fd, int udp_fd);
void worker_clear(struct worker *w);
void *worker_main(void *worker);

/* The next free datagram of the batch (flushed first if it is full). */
uint8_t *worker_tx(struct worker *w, unsigned *index);
void worker_flush(struct worker *w);
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

void outbound_round(struct worker *w, int64_t now); /* outbound.c */
bool inbound_round(struct worker *w, int64_t now);  /* inbound.c: true: there may be more */
/* A datagram that overtook its session on the way here. */
void inbound_late(struct worker *w, uint8_t *data, size_t len, int64_t now);
