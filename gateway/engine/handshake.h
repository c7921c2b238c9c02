/* SPDX-License-Identifier: GPL-3.0-or-later */
/* handshake - the handshake thread: dials, accepts, and gives workers sessions that are up.
 *
 * A key exchange costs 250 us, so that none runs on a packet's way. Half-open sessions are bounded;
 * before its cookie came back a stranger costs nothing but one answer. Whoever is no peer of the
 * snapshot is refused inside the handshake.
 */
#pragma once
#include "crypto/session.h"
#include "gateway/counters.h"
#include "gateway/engine/ratelimit.h"
#include "gateway/engine/snapshot.h"
#include "gateway/engine/udp.h"
#include <pthread.h>

#define HANDSHAKE_HALF_MAX      256 /* half-open sessions */
#define HANDSHAKE_STRANGERS_MAX 128 /* of them from addresses that no peer announces */
#define HANDSHAKE_DIALS_MAX     96  /* of them ours, to peers that nobody waits for */
#define HANDSHAKE_BACKOFF_MIN   (500 * 1000000LL)
#define HANDSHAKE_BACKOFF_MAX   (30 * 1000000000LL)
#define HANDSHAKE_HELLOS        50 /* per second and source prefix of strangers */
#define HANDSHAKE_HELLOS_BURST  100
#define HANDSHAKE_COOKIE_LIFE   (60 * 1000000000LL)

#define HANDSHAKE_PROVE  (2 * 1000000000LL) /* from a handshake's end to a record that opened */
#define HANDSHAKE_HANDED 64 /* CIDs given to workers, of which datagrams may still come here */

struct engine;

/* A half-open session. */
struct half {
	struct session *session; /* NULL: the place is free */
	const struct udp_socket *socket;
	struct udp_path path;
	struct peer *peer; /* whom we dialled, a reference; NULL: it came to us */
	bool stranger;
	unsigned worker; /* whose the lane will be: path.socket is one of its sockets */
};

struct handshake {
	struct engine *engine;
	pthread_t thread;
	int kick; /* eventfd: a snapshot was published, or stop */
	const struct snapshot *snapshot;
	struct session_listener *listener;
	struct wolf *wolf; /* of the listener */
	int64_t cookie_born;
	struct half halves[HANDSHAKE_HALF_MAX];
	unsigned strangers, dials;
	uint8_t handed[HANDSHAKE_HANDED][SESSION_CID_LEN];
	unsigned nhanded;
	struct ratelimit hellos;
	struct counters counters;
};

int handshake_init(struct handshake *h, struct engine *e);
void handshake_clear(struct handshake *h);
void *handshake_main(void *handshake);
