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
#include <pthread.h>

#define ENGINE_NOTICES 64

struct engine {
	_Atomic bool stop;
	_Atomic bool device_gone;
	_Atomic int64_t
		lists_confirmed; /* when a peer last said that it holds the same; 0: not yet */
	_Atomic(struct snapshot *) snapshot; /* freed by RCU */
	uint64_t serial;
	int event_fd; /* something changed: control looks */
	bool ringed;  /* began with io_uring on every worker */
	unsigned nworkers;
	struct worker *workers;
	struct handshake handshake;
	struct mailbox notices; /* struct notice, from the handshake thread */
};

/* One worker per queue and socket. Takes s; the descriptors stay the caller's. *out is written before
 * the threads run, for engine_admit, and is NULL again on error.
 */
int engine_start(struct engine **out, struct snapshot *s, const int *tun_fds, const int *udp_fds,
                 unsigned n);
/* Says goodbye to all peers, ends the threads, frees. */
void engine_stop(struct engine *e);

/* Takes s; all threads see it from their next round on; the old one is freed. */
void engine_publish(struct engine *e, struct snapshot *s);
int engine_event_fd(const struct engine *e);
void engine_counters(struct engine *e, struct counters *total);
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
void engine_device_gone(struct engine *e);
