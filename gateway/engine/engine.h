/* SPDX-License-Identifier: GPL-3.0-or-later */
/* engine - starts, feeds and stops the packet threads: control's one door to them.
 *
 * Control builds snapshots and publishes them; the handshake thread dials and accepts by them, the
 * workers route by them. What happens is read from the peers' status after the descriptor of
 * engine_event_fd became readable.
 */
#pragma once
#include "gateway/engine/handshake.h"
#include "gateway/engine/notice.h"
#include "gateway/engine/snapshot.h"
#include "gateway/engine/worker.h"
#include "gateway/tables/flows.h"
#include <pthread.h>

#define ENGINE_NOTICES 64

struct engine {
	_Atomic bool stop;
	_Atomic bool device_gone;
	_Atomic int64_t
		lists_confirmed; /* when a peer last said that it holds the same; 0: not yet */
	_Atomic(struct snapshot *) snapshot; /* freed by RCU */
	_Atomic unsigned lanes_news; /* raised when a worker has a lane to a peer, and had none */
	uint64_t serial;
	struct flows *flows;        /* of all workers */
	int event_fd;               /* something changed: control looks */
	bool ringed;                /* began with io_uring on every worker */
	unsigned nworkers, running; /* running: have a thread */
	bool handshaking;           /* its thread runs */
	struct worker *workers;
	struct handshake handshake;
	struct mailbox notices; /* struct notice, from the handshake thread */
};

/* n workers, one per queue, their sockets as workers.h has them, with memory and rings, and no thread
 * yet: what it needs of the kernel it has, and the process may be confined before it looks at the first
 * byte of others. The descriptors stay the caller's.
 */
int engine_new(struct engine **out, const int *tun_fds, const int *udp_fds, unsigned n);
/* Takes s. On error too, the engine is the caller's to stop. */
int engine_start(struct engine *e, struct snapshot *s);
/* Says goodbye to all peers, ends the threads, frees. */
void engine_stop(struct engine *e);

/* Takes s; all threads see it from their next round on; the old one is freed. */
void engine_publish(struct engine *e, struct snapshot *s);
int engine_event_fd(const struct engine *e);
void engine_counters(struct engine *e, struct counters *total);
/* Packets that this rule of the present policy refused. */
uint64_t engine_rule_drops(const struct engine *e, uint32_t rule);
/* One that was refused, now and then; false: no more. */
bool engine_refusal(struct engine *e, struct refusal *out);
/* Borrowed until the next call; NULL: no more. */
const struct notice *engine_notice(struct engine *e);
/* Lists that a peer had: out->bytes is the caller's. false: no more. */
bool engine_file(struct engine *e, struct gossip_file *out);

/* For wolf_params.admit, with the address of the caller's engine pointer as its argument (the engine
 * is younger than its first credentials): is the peer in the snapshot? Handshake thread.
 */
enum cert_refusal engine_admit(void *engine_pointer, const struct cert_info *peer);

/* -- for the threads -- */

/* Good until the thread leaves (rcu.h). */
static inline const struct snapshot *engine_snapshot(struct engine *e)
{
	return atomic_load_explicit(&e->snapshot, memory_order_acquire);
}
void engine_changed(struct engine *e);
/* Wakes these workers, a bit each. */
void engine_wake(struct engine *e, unsigned workers);
void engine_device_gone(struct engine *e);
