/* SPDX-License-Identifier: GPL-3.0-or-later */
/* h2 - HTTP/2 + JSON, both ends: nghttp2 over crypto/stream, without I/O of its own.
 *
 * The owner moves bytes between a socket and h2_feed / h2_pending, and calls h2_tick now and then.
 * Requests and the watch share one connection. All bodies, header lists, streams, control frames
 * and waiting bytes are bounded, mostly by us (nghttp2 leaves them open): while STREAM_BACKLOG
 * bytes wait for the socket, nothing is framed and nothing should be read. One thread.
 *
 * Callbacks are made from within h2_feed, h2_pending, h2_tick, h2_close and h2_free. They may call
 * anything here but h2_free, h2_feed, h2_pending and h2_close.
 */
#pragma once
#include "crypto/stream.h"
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define H2_BODY_MAX      262144
#define H2_BODY_JOIN_MAX 8192
#define H2_HEADERS_MAX   8192
#define H2_PATH_MAX      255
#define H2_STREAMS       8     /* requests and watches at once on a connection; a joiner: 1 */
#define H2_JOIN_REQUESTS 16    /* that a joiner may make on one connection, one after the other */
#define H2_LINE_MAX      65536 /* one line of a watch, its newline included */
#define H2_HEARTBEAT     (15 * 1000000000LL)
#define H2_SILENCE       (3 * H2_HEARTBEAT)  /* nothing heard: over */
#define H2_STALL         (20 * 1000000000LL) /* the peer takes no byte of ours: over */
#define H2_CONTROL_BURST 1000 /* PING, SETTINGS, RST, empty DATA at once, and in a second */
#define H2_CONTROL_RATE  50
#define H2_JSON_DEPTH    16

struct h2;
struct h2_request; /* one stream, either end */

/* A foreign body: an object or array, no deeper than H2_JSON_DEPTH (jansson's own bound is 2048),
 * no key twice. New reference, NULL if it is none.
 */
json_t *h2_json(const char *body, size_t len);

/* -- server -- */
struct h2_server_ops {
	/* The handshake is done: who it is stands in h2_stream. Called once, before any request.
	 * Non-zero ends the connection. NULL: nobody wants to know.
	 */
	int (*up)(void *arg, struct h2 *h);
	/* A whole request has come. Answer with h2_reply or h2_watch, now or later; never free it.
	 * body is not NUL-terminated; method, path and body live until this returns.
	 */
	void (*request)(void *arg, struct h2 *h, struct h2_request *r, const char *method,
	                const char *path, const char *body, size_t len);
	/* The stream is over (answered, reset, or the connection ended): forget r. Called once for
	 * each request that was handed out.
	 */
	void (*closed)(void *arg, struct h2_request *r);
	/* A watch may send: fill at most max bytes, return how many; 0: nothing now (h2_wake later);
	 * -1: this watcher is too far behind, reset it.
	 */
	ssize_t (*watch)(void *arg, struct h2_request *r, char *buf, size_t max);
};

/* Takes s (from stream_accept), also on failure. The ALPN decides whether it is a joiner. */
int h2_server_new(struct h2 **out, struct stream *s, const struct h2_server_ops *ops, void *arg,
                  int64_t now);
/* Copies json. -EALREADY it was answered, -ENOMEM. */
int h2_reply(struct h2_request *r, int status, const char *json, size_t len);
int h2_watch(struct h2_request *r); /* 200 and an endless body from ops->watch */
void h2_wake(struct h2_request *r); /* ops->watch has something to say */
void h2_set_user(struct h2_request *r, void *user);
void *h2_user(const struct h2_request *r);
bool h2_joiner(const struct h2 *h); /* valid once h2_up */

/* -- client -- */
struct h2_client_ops {
	/* A response is whole (or failed: status 0, why). For a watch: called at its end, with the
	 * body only if the status is not 200. Called once for each h2_ask.
	 */
	void (*response)(void *arg, void *user, int status, const char *body, size_t len,
	                 const char *why);
	/* One line of a watch, without its newline. */
	void (*line)(void *arg, void *user, const char *line, size_t len);
};

/* Takes s (from stream_dial), also on failure. */
int h2_client_new(struct h2 **out, struct stream *s, const struct h2_client_ops *ops, void *arg,
                  int64_t now);
/* user comes back with the answer. body may be NULL. -EAGAIN H2_STREAMS are open, -EPIPE over;
 * before the connection is up requests wait.
 */
int h2_ask(struct h2 *h, const char *method, const char *path, const char *body, size_t len,
           void *user);
int h2_ask_watch(struct h2 *h, const char *path, void *user);

/* -- both -- */
/* Ends every open request first: closed, or a response with status 0. NULL is taken. */
void h2_free(struct h2 *h);
struct stream *h2_stream(struct h2 *h);
/* The server's SETTINGS have arrived (client), the handshake is done (server). */
bool h2_up(const struct h2 *h);
/* Bytes from the socket; n = 0: end of file. 0, -EPIPE: over; send what is pending and close. */
int h2_feed(struct h2 *h, const uint8_t *bytes, size_t n, int64_t now);
/* Bytes for the socket, borrowed until the next call; makes more while there is room. After they
 * were sent ask again: there may be more. The connection may be over after it (h2_over).
 */
const uint8_t *h2_pending(struct h2 *h, size_t *n);
void h2_sent(struct h2 *h, size_t n, int64_t now);
/* Should the owner read from the socket now (back-pressure)? */
bool h2_wants_read(const struct h2 *h);
/* Over: send what is pending and close. */
bool h2_over(const struct h2 *h);
/* Heartbeats and time-outs: 0, or -EPIPE (h2_why). Call once a second or so. */
int h2_tick(struct h2 *h, int64_t now);
/* GOAWAY and close_notify into the pending bytes; it is over then. */
void h2_close(struct h2 *h);
/* Why it is over, one line for people; "" before. */
const char *h2_why(const struct h2 *h);
