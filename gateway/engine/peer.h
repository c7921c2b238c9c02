/* SPDX-License-Identifier: GPL-3.0-or-later */
/* peer - a node we talk to: what the threads share of it.
 *
 * Made by control, named by snapshots, lanes and half-open sessions; the last reference frees it.
 * Each part below has one writer, said beside it.
 */
#pragma once
#include "crypto/cert.h"
#include "gateway/workers.h"
#include "tun/ip.h"
#include <pthread.h>
#include <stdatomic.h>

struct lane;
struct half;

enum peer_state {
	PEER_IDLE,       /* nothing wants it up */
	PEER_CONNECTING, /* a handshake is on its way */
	PEER_UP,         /* a lane is up: a record of the peer opened */
	PEER_DOWN,       /* the last handshake failed; the next is due */
};

const char *peer_state_name(enum peer_state s);

/* For status and logs. Written by handshake thread and workers when a session comes or goes, read by
 * control, under the peer's lock; never touched on a packet's way.
 */
struct peer_status {
	enum peer_state state;
	time_t since;
	char last_error[192];
	struct endpoint endpoint;
	char kex[32], cipher[40];
	time_t cert_not_after;
	uint64_t incarnation;
	struct cert_labels labels;
	unsigned changes; /* raised by each change of state */
};

/* One worker's: its lanes to this peer, and what it does with packets while it has none. */
struct peer_slot {
	_Alignas(64) struct lane
		*active;     /* sends; NULL: none, or packets passed on have to be through */
	struct lane *others; /* receive until they fall silent */
	_Atomic uint64_t rx_bytes, tx_bytes, rx_packets, tx_packets; /* inner */
	int64_t asked;         /* when a session was last asked for */
	int64_t asked_more;    /* and further lanes */
	unsigned waiting;      /* packets of ours in the worker's waiting room */
	struct pass_slot {     /* pass.h */
		unsigned to;   /* the worker whose lane they leave by */
		int64_t last;  /* when one did; 0: none does */
		int64_t held;  /* since when they wait for those before to be through; 0: not */
		int64_t again; /* not before then, and after so many tries not at all */
		unsigned tries;
		unsigned count; /* packets, in the window that began then */
		int64_t since;
		unsigned windows; /* before it, in a row, in which they were many */
	} pass;
};

/* The handshake thread's, for a lane of each worker. */
struct peer_dial {
	struct half *half; /* our own handshake that is under way */
	int64_t next;      /* earliest time of the next one */
	int64_t backoff;
	unsigned endpoint; /* which of its endpoints is next */
	bool wanted;       /* a packet waits, or a lane wants new keys */
};

struct peer {
	char name[CERT_NAME_MAX + 1];
	_Atomic unsigned refs;
	_Atomic unsigned lanes; /* that are up, over all workers */
	_Atomic uint32_t rtt_us;
	_Atomic int64_t wanted;   /* when a packet last found no session; 0: never */
	_Atomic unsigned active;  /* workers that have a lane to send by, a bit each */
	_Atomic unsigned through; /* workers of whose packets all that they passed on are through */
	struct peer_dial dials[WORKERS_MAX];
	unsigned
		further; /* the handshake thread's: whose dials besides the first are wanted, a bit each */
	struct peer_slot slots[WORKERS_MAX];
	pthread_mutex_t lock;
	struct peer_status status;
};

int peer_new(struct peer **out, const char *name);
struct peer *peer_get(struct peer *p);
void peer_put(struct peer *p);

/* Changes the state. CONNECTING, DOWN and IDLE do not touch a peer with a lane that is up. error may
 * be NULL: the last one stays.
 */
void peer_set_state(struct peer *p, enum peer_state state, const char *error, time_t wall);
/* What a proven session says of its peer, and where it is; at may be NULL: where it was. */
void peer_set_session(struct peer *p, const struct cert_info *info, const struct endpoint *at,
                      const char *kex, const char *cipher);
void peer_read_status(struct peer *p, struct peer_status *out);

struct peer_counts {
	uint64_t rx_bytes, tx_bytes, rx_packets, tx_packets;
};
/* Over all workers. Any thread. */
void peer_read_counts(const struct peer *p, struct peer_counts *out);
