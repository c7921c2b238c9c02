/* SPDX-License-Identifier: GPL-3.0-or-later */
/* h2_frames - the part of h2 that speaks with nghttp2: requests, and what its callbacks tell.
 *
 * Shares its structs with h2.c, which moves the bytes and keeps the time. Nobody else's.
 */
#pragma once
#include "gateway/h2.h"
#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#define H2_SECOND    1000000000LL
#define H2_DATA_MAX  16000              /* in one frame */
#define H2_FRAME_MAX (H2_DATA_MAX + 16) /* any of ours, with its header: fits STREAM_PLAIN_MAX */

struct h2_buffer {
	char *p;
	size_t len, cap;
};

struct h2_request {
	TAILQ_ENTRY(h2_request) in;
	struct h2 *h;
	int32_t id;
	void *user;
	char method[8], path[H2_PATH_MAX + 1];
	int status; /* client: of the answer */
	size_t header_bytes, received;
	struct h2_buffer body; /* what comes in */
	struct h2_buffer out;  /* what goes out */
	size_t out_at;
	bool watch;
	bool path_cut;      /* the path was longer than H2_PATH_MAX */
	bool handed_out;    /* server: the owner knows it */
	bool answered;      /* server: h2_reply or h2_watch was called */
	bool whole;         /* client: the answer has come to its end */
	const char *failed; /* client: why we gave it up */
};

struct h2 {
	struct stream *s;
	nghttp2_session *session; /* server: NULL before the handshake is done */
	bool server, joiner, settings_came, over;
	bool leaving; /* our last words are being made: nothing new is asked */
	bool unread; /* the stream holds input that was left while too much waited for the socket */
	const struct h2_server_ops *server_ops;
	const struct h2_client_ops *client_ops;
	void *arg;
	TAILQ_HEAD(, h2_request) requests;
	unsigned nrequests, served;
	int64_t now, born, heard, pinged, moved, refilled;
	int64_t tokens; /* of control frames, in billionths */
	char why[128];
};

/* Makes the session and its first frame, SETTINGS. -ENOMEM. */
int h2_frames_start(struct h2 *h);
/* Ends every open request and tells the owner: h->why. */
void h2_frames_end(struct h2 *h);
/* Keeps the first reason. */
void h2_frames_why(struct h2 *h, const char *why);
