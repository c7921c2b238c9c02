/* SPDX-License-Identifier: GPL-3.0-or-later */
/* api - what nodes may ask of a manager: the state, the watch, and to announce themselves.
 *
 * README.md has the API. Who asks is known before: the certificate was judged and admitted in the
 * handshake, and its incarnation is checked against the registry again with each request. A
 * watcher costs a cursor: the initial state is made piece by piece as its window opens, changes are
 * read from the registry's ring. Manager's thread; makes no system calls.
 */
#pragma once
#include "crypto/revocation.h"
#include "gateway/h2.h"
#include "gateway/manager/registry.h"

#define API_CLIENTS_PER_NODE 4   /* connections; the oldest makes room */
#define API_LINE_NODES       100 /* in one line of an initial state; of workloads, too */
#define API_LINE_MAX         16384
#define API_PAGE_MAX         196608 /* of /v1/state and /v1/nodes, then "next" */
#define API_ANNOUNCE_BURST   20     /* changes by one node */
#define API_ANNOUNCE_EVERY   (3 * 1000000000LL)
#define API_WORKLOAD_BURST   WORKLOADS_NODE_MAX /* changes of workloads by one node */
#define API_WORKLOAD_EVERY   (1000000000LL / 5)
#define API_SEEN_EVERY       (30 * 1000000000LL)
#define API_FLUSH_EVERY      (60 * 1000000000LL)
#define API_LOG_BURST        20 /* refusals logged at once, and one a second; all are counted */

struct api;
struct policy;
struct api_client; /* one connection of a node */

/* What the owner of a connection does when told to; conn is its own. Neither is called from within
 * a call about that same connection.
 */
struct api_ops {
	void (*wake)(void *conn);                 /* h2 has something to send */
	void (*cut)(void *conn, const char *why); /* end the connection */
};

/* Keeps r and ops by reference. */
int api_new(struct api **out, struct registry *r, const struct api_ops *ops);
void api_free(struct api *a); /* no client may be left; takes NULL */
/* Requests refused so far. */
uint64_t api_refused(const struct api *a);

/* The revocation list from now on: who is revoked is cut, all watchers are told its number. Takes s,
 * also on failure. -ENOMEM.
 */
int api_revoke(struct api *a, uint64_t number, struct revocations *s, const uint8_t *list,
               size_t len);
/* Is this one let in, as far as that list says? */
bool api_admits(const struct api *a, const struct cert_info *node);

/* By which placement is judged from now on; NULL: it cannot be read. Takes p. */
void api_policy(struct api *a, struct policy *p);

/* A node's connection is up. May cut the oldest of the same node. -ENOMEM. */
int api_client_new(struct api_client **out, struct api *a, const struct cert_info *node, void *conn,
                   time_t wall);
void api_client_free(struct api_client *c); /* takes NULL */

/* For h2_server_ops. */
void api_request(struct api_client *c, struct h2_request *r, const char *method, const char *path,
                 const char *body, size_t len, int64_t now);
void api_closed(struct api_client *c, struct h2_request *r);
ssize_t api_watch(struct api_client *c, struct h2_request *r, char *buf, size_t max);

/* The registry has changed: wakes all watchers, cuts nodes that are no longer admitted. Not from
 * within registry_on_change: from the next turn of the loop, so that several changes are one.
 */
void api_changed(struct api *a);
/* Once a second or so: when nodes were seen, written now and then; who came by a certificate that
 * ended is cut.
 */
void api_tick(struct api *a, int64_t now, time_t wall);

/* -- the request alone, for tests ---------------------------------------------------------------- */

struct api_answer {
	int status;
	char *json; /* malloc'ed, NULL: an endless answer (watch) */
	size_t len;
	bool resume; /* watch: from that revision on, else with the whole state */
	uint64_t revision;
};

/* Judges and does one request of an admitted node. -ENOMEM. */
int api_answer(struct api *a, const char *node, const char *method, const char *path,
               const char *body, size_t len, int64_t now, struct api_answer *out);
