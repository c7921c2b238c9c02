/* SPDX-License-Identifier: GPL-3.0-or-later */
/* nghttp2 is handed plaintext and asked for plaintext (h2_frames.c); the stream seals and opens it.
 * Here are bytes and time: nothing is framed and nothing read while too much waits for the socket,
 * and who is silent, slow or does not read is let go.
 */
#include "gateway/h2.h"

#include "gateway/h2_frames.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_CHUNK 4096 /* plaintext taken from the stream at once */

/* -- JSON -------------------------------------------------------------------------------------- */

/* Brackets outside of strings; whether they match is the parser's matter. */
static bool depth_ok(const char *p, size_t n)
{
	bool string = false;
	int depth = 0;

	for (size_t i = 0; i < n; i++) {
		if (string) {
			if (p[i] == '\\')
				i++;
			else if (p[i] == '"')
				string = false;
			continue;
		}
		if (p[i] == '"')
			string = true;
		else if (p[i] == '{' || p[i] == '[')
			depth++;
		else if (p[i] == '}' || p[i] == ']')
			depth--;
		if (depth > H2_JSON_DEPTH)
			return false;
	}
	return true;
}

json_t *h2_json(const char *body, size_t len)
{
	if (len == 0 || !depth_ok(body, len))
		return NULL;
	return json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);
}

/* -- life -------------------------------------------------------------------------------------- */

static size_t waiting(const struct h2 *h)
{
	size_t n;

	stream_pending(h->s, &n);
	return n;
}

static void set_over(struct h2 *h, const char *why)
{
	h2_frames_why(h, why);
	h->over = true;
	h2_frames_end(h);
}

static struct h2 *new (struct stream *s, void *arg, int64_t now)
{
	struct h2 *h = calloc(1, sizeof(*h));

	if (!h) {
		stream_free(s);
		return NULL;
	}
	h->s = s;
	h->arg = arg;
	h->now = h->born = h->heard = h->pinged = h->moved = h->refilled = now;
	h->tokens = H2_CONTROL_BURST * H2_SECOND;
	TAILQ_INIT(&h->requests);
	return h;
}

int h2_server_new(struct h2 **out, struct stream *s, const struct h2_server_ops *ops, void *arg,
                  int64_t now)
{
	struct h2 *h = new (s, arg, now);

	if (!h)
		return -ENOMEM;
	h->server = true;
	h->server_ops = ops;
	*out = h;
	return 0;
}

int h2_client_new(struct h2 **out, struct stream *s, const struct h2_client_ops *ops, void *arg,
                  int64_t now)
{
	struct h2 *h = new (s, arg, now);
	int err;

	if (!h)
		return -ENOMEM;
	h->client_ops = ops;
	/* Requests are taken from now on; nothing is framed before the handshake is done. */
	err = h2_frames_start(h);
	if (err) {
		h2_free(h);
		return err;
	}
	*out = h;
	return 0;
}

void h2_free(struct h2 *h)
{
	if (!h)
		return;
	set_over(h, "the connection was closed");
	nghttp2_session_del(h->session);
	stream_free(h->s);
	free(h);
}

/* -- bytes in and out -------------------------------------------------------------------------- */

/* Frames into records, only while the socket keeps up. */
static int pump(struct h2 *h)
{
	uint8_t *record = NULL;
	const uint8_t *frame;
	ssize_t got = 0;
	size_t n;
	int err = 0;

	if (waiting(h) == 0)
		h->moved = h->now;
	while (!err && waiting(h) < STREAM_BACKLOG) {
		n = 0;
		if (!record)
			record = malloc(STREAM_PLAIN_MAX);
		if (!record)
			return -ENOMEM;
		while (n + H2_FRAME_MAX <= STREAM_PLAIN_MAX &&
		       (got = nghttp2_session_mem_send(h->session, &frame)) > 0) {
			if (got > H2_FRAME_MAX) {
				err = -EPROTO;
				break;
			}
			memcpy(record + n, frame, (size_t)got);
			n += (size_t)got;
		}
		if (n == 0)
			break;
		if (!err && stream_write(h->s, record, n) != (ssize_t)n)
			err = -EPIPE;
	}
	free(record);
	return got < 0 ? -ENOMEM : err;
}

/* The last words, if the other side can still read them. */
static void say_goodbye(struct h2 *h, uint32_t code)
{
	h->leaving = true;
	if (h->session && stream_up(h->s)) {
		nghttp2_session_terminate_session(h->session, code);
		pump(h);
	}
	stream_close(h->s);
}

static int fail(struct h2 *h, const char *why)
{
	set_over(h, why);
	return -EPIPE;
}

static int receive(struct h2 *h, const uint8_t *p, size_t n)
{
	ssize_t took = nghttp2_session_mem_recv(h->session, p, n);

	if (took >= 0)
		return 0;
	/* Some errors queue no GOAWAY of their own (FLOODED, BAD_CLIENT_MAGIC). */
	h2_frames_why(h, nghttp2_strerror((int)took));
	say_goodbye(h, took == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM
	                                           : NGHTTP2_PROTOCOL_ERROR);
	return -EPIPE;
}

/* A server's handshake is done. */
static int serve(struct h2 *h)
{
	h->joiner = strcmp(stream_alpn(h->s), ALPN_JOIN) == 0;
	if (h2_frames_start(h) < 0)
		return fail(h, "out of memory");
	if (!h->server_ops->up || h->server_ops->up(h->arg, h) == 0)
		return 0;
	say_goodbye(h, NGHTTP2_REFUSED_STREAM);
	return fail(h, "it was not let in");
}

static int read_stream(struct h2 *h)
{
	uint8_t plain[READ_CHUNK];
	ssize_t n;

	do {
		/* A peer that asks and does not listen: the stream would say "nothing" too. */
		h->unread = waiting(h) >= STREAM_BACKLOG;
		if (h->unread)
			return 0;
		n = stream_read(h->s, plain, sizeof(plain));
		if (stream_up(h->s) && !h->session && serve(h) < 0)
			return -EPIPE;
		if (n > 0 && receive(h, plain, (size_t)n) < 0)
			return fail(h, h->why);
	} while (n > 0);
	return n < 0 ? fail(h, stream_why(h->s)) : 0;
}

static int check_done(struct h2 *h)
{
	if (!h->session || nghttp2_session_want_read(h->session) ||
	    nghttp2_session_want_write(h->session))
		return 0;
	stream_close(h->s);
	return fail(h, "the other side closed");
}

int h2_feed(struct h2 *h, const uint8_t *bytes, size_t n, int64_t now)
{
	int err;

	if (h->over)
		return -EPIPE;
	h->now = now;
	if (n > 0)
		h->heard = now;
	err = stream_feed(h->s, bytes, n);
	if (err)
		return fail(h, err == -ENOMEM  ? "out of memory"
		               : err == -EPIPE ? stream_why(h->s)
		                               : "too much at once");
	err = read_stream(h);
	return err ? err : check_done(h);
}

const uint8_t *h2_pending(struct h2 *h, size_t *n)
{
	if (!h->over && h->unread)
		read_stream(h);
	if (!h->over && h->session && stream_up(h->s)) {
		if (pump(h) < 0)
			fail(h, stream_why(h->s));
		else
			check_done(h);
	}
	return stream_pending(h->s, n);
}

void h2_sent(struct h2 *h, size_t n, int64_t now)
{
	h->now = now;
	if (n > 0)
		h->moved = now;
	stream_sent(h->s, n);
}

bool h2_wants_read(const struct h2 *h)
{
	return !h->over && !h->unread && waiting(h) < STREAM_BACKLOG;
}

bool h2_over(const struct h2 *h)
{
	return h->over;
}

struct stream *h2_stream(struct h2 *h)
{
	return h->s;
}

bool h2_up(const struct h2 *h)
{
	return h->server ? stream_up(h->s) : h->settings_came;
}

bool h2_joiner(const struct h2 *h)
{
	return h->joiner;
}

int h2_tick(struct h2 *h, int64_t now)
{
	if (h->over)
		return -EPIPE;
	h->now = now;
	if (!h2_up(h) && now - h->born > STREAM_DEADLINE)
		return fail(h, "the handshake took too long");
	if (waiting(h) == 0)
		h->moved = now;
	if (now - h->moved > H2_STALL) {
		stream_close(h->s);
		return fail(h, "the other side does not read");
	}
	if (now - h->heard > H2_SILENCE) {
		say_goodbye(h, NGHTTP2_NO_ERROR);
		return fail(h, "nothing was heard from the other side");
	}
	if (h->session && h2_up(h) && now - h->pinged >= H2_HEARTBEAT &&
	    now - h->heard >= H2_HEARTBEAT / 2) {
		h->pinged = now;
		nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
	}
	return 0;
}

void h2_close(struct h2 *h)
{
	if (h->over)
		return;
	say_goodbye(h, NGHTTP2_NO_ERROR);
	set_over(h, "closed");
}

const char *h2_why(const struct h2 *h)
{
	return h->why;
}
