/* SPDX-License-Identifier: GPL-3.0-or-later */
/* conn - the manager's connections: bytes between sockets and h2, and how many there may be.
 *
 * One is half-open until its handshake is done, then a node's or a joiner's, and at last it ends.
 * Of each kind there is a list with the oldest first. Owned by the manager's loop.
 */
#pragma once
#include "crypto/wolf.h"
#include "gateway/manager/api.h"
#include "gateway/manager/enroll.h"
#include <event2/event.h>
#include <sys/queue.h>
#include <sys/socket.h>

struct conn;
TAILQ_HEAD(conn_list, conn);

enum conn_kind { CONN_HALF_OPEN, CONN_JOINER, CONN_NODE, CONN_ENDING, CONN_KINDS };

struct conns {
	struct event_base *base; /* these four are borrowed */
	struct wolf *wolf;
	struct api *api;
	struct enroll *enroll;
	unsigned max; /* connections of all kinds */
	struct {
		struct conn_list list;
		unsigned n;
	} of[CONN_KINDS];
	unsigned logged, unlogged; /* strangers, in this second; since the last line */
};

void conns_init(struct conns *cs);
/* Says goodbye to all, so that they try another manager at once, and frees them. */
void conns_clear(struct conns *cs);
/* Once a second: time-outs, heartbeats. */
void conns_second(struct conns *cs, int64_t now);

/* Takes fd, accepted from that address and not blocking; may close it at once. */
void conn_new(struct conns *cs, int fd, const struct sockaddr_storage *from, int64_t now);
/* With the loop's next turn it is written to. For enroll_readable and enroll_tick. */
void conn_wake(void *conn);
extern const struct api_ops conn_api_ops;
