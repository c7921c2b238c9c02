/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What nghttp2 bounds by itself: streams at once, frame sizes, resets a second (CVE-2023-44487),
 * CONTINUATION frames, answers to PING and SETTINGS that wait. What it leaves open is bounded here:
 * the header list, bodies, control frames of a peer who reads our answers. nghttp2_session_del
 * calls no callback, so the list of open requests is ours.
 */
#include "gateway/h2_frames.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTBOUND_ACKS_MAX 100 /* nghttp2: 1000 */
#define SETTINGS_MAX      16  /* entries in one frame; nghttp2: 32 */
#define RESET_BURST       100 /* streams reset by the peer; nghttp2: 1000, 33 a second */
#define RESET_RATE        10
#define CONTINUATIONS_MAX 4  /* nghttp2: 8 */
#define HEADER_OVERHEAD   32 /* RFC 9113, section 6.5.2 */

/* -- buffers ----------------------------------------------------------------------------------- */

static int buffer_add(struct h2_buffer *b, const void *p, size_t n)
{
	size_t cap;
	char *grown;

	if (n == 0)
		return 0;
	if (n > b->cap - b->len) {
		cap = b->len + n < 256 ? 256 : (b->len + n) * 3 / 2;
		grown = realloc(b->p, cap);
		if (!grown)
			return -ENOMEM;
		b->p = grown;
		b->cap = cap;
	}
	memcpy(b->p + b->len, p, n);
	b->len += n;
	return 0;
}

static void buffer_clear(struct h2_buffer *b)
{
	free(b->p);
	*b = (struct h2_buffer){0};
}

void h2_frames_why(struct h2 *h, const char *why)
{
	if (!h->why[0])
		snprintf(h->why, sizeof(h->why), "%s", why);
}

/* -- requests ---------------------------------------------------------------------------------- */

static struct h2_request *request_new(struct h2 *h)
{
	struct h2_request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->h = h;
	TAILQ_INSERT_TAIL(&h->requests, r, in);
	h->nrequests++;
	return r;
}

static void request_free(struct h2_request *r)
{
	buffer_clear(&r->body);
	buffer_clear(&r->out);
	free(r);
}

static void request_unlink(struct h2_request *r)
{
	TAILQ_REMOVE(&r->h->requests, r, in);
	r->h->nrequests--;
}

/* Tells the owner that r is over, and frees it. why is NULL if it ended as it should. */
static void request_end(struct h2_request *r, const char *why)
{
	struct h2 *h = r->h;
	bool lines = r->watch && r->status == 200;

	request_unlink(r); /* so that the owner may ask anew from within */
	if (h->server) {
		if (r->handed_out)
			h->server_ops->closed(h->arg, r);
	} else if (why && !lines) {
		h->client_ops->response(h->arg, r->user, 0, NULL, 0, why);
	} else {
		h->client_ops->response(h->arg, r->user, r->status, lines ? NULL : r->body.p,
		                        lines ? 0 : r->body.len, why);
	}
	request_free(r);
}

void h2_frames_end(struct h2 *h)
{
	struct h2_request *r, *next;

	for (r = TAILQ_FIRST(&h->requests); r; r = next) {
		next = TAILQ_NEXT(r, in);
		if (r->id > 0 && h->session)
			nghttp2_session_set_stream_user_data(h->session, r->id, NULL);
		request_end(r, h->why);
	}
}

static ssize_t on_read_body(nghttp2_session *session, int32_t id, uint8_t *out, size_t max,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct h2_request *r = nghttp2_session_get_stream_user_data(session, id);
	struct h2 *h = arg;
	ssize_t got;
	size_t n;

	(void)source;
	if (!r)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (h->server && r->watch) {
		got = h->server_ops->watch(h->arg, r, (char *)out, max);
		if (got < 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		return got > 0 ? got : NGHTTP2_ERR_DEFERRED;
	}
	n = r->out.len - r->out_at;
	if (n > max)
		n = max;
	if (n)
		memcpy(out, r->out.p + r->out_at, n);
	r->out_at += n;
	if (r->out_at == r->out.len) {
		buffer_clear(&r->out);
		r->out_at = 0;
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	}
	return (ssize_t)n;
}

static ssize_t on_frame_length(nghttp2_session *session, uint8_t type, int32_t id, int32_t window,
                               int32_t stream_window, uint32_t max, void *arg)
{
	ssize_t n = H2_DATA_MAX;

	(void)session, (void)type, (void)id, (void)arg;
	if (n > window)
		n = window;
	if (n > stream_window)
		n = stream_window;
	return n > (ssize_t)max ? (ssize_t)max : n;
}

static nghttp2_nv header(const char *name, const char *value)
{
	/* nghttp2 copies both and changes neither. */
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
	                    strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static int respond(struct h2_request *r, int status)
{
	nghttp2_data_provider body = {.read_callback = on_read_body};
	nghttp2_nv headers[2];
	char text[12];

	snprintf(text, sizeof(text), "%d", status);
	headers[0] = header(":status", text);
	headers[1] = header("content-type", "application/json");
	r->answered = true;
	return nghttp2_submit_response(r->h->session, r->id, headers, 2, &body) ? -ENOMEM : 0;
}

int h2_reply(struct h2_request *r, int status, const char *json, size_t len)
{
	if (r->answered)
		return -EALREADY;
	if (buffer_add(&r->out, json, len) < 0)
		return -ENOMEM;
	return respond(r, status);
}

int h2_watch(struct h2_request *r)
{
	if (r->answered)
		return -EALREADY;
	r->watch = true;
	return respond(r, 200);
}

void h2_wake(struct h2_request *r)
{
	nghttp2_session_resume_data(r->h->session, r->id);
}

void h2_set_user(struct h2_request *r, void *user)
{
	r->user = user;
}

void *h2_user(const struct h2_request *r)
{
	return r->user;
}

static void refuse(struct h2_request *r, int status, const char *text)
{
	char json[128];
	int n = snprintf(json, sizeof(json), "{\"error\":\"bad-request\",\"text\":\"%s\"}", text);

	h2_reply(r, status, json, (size_t)n);
}

/* -- asking ------------------------------------------------------------------------------------ */

static int submit(struct h2_request *r, const char *method, const char *path)
{
	nghttp2_data_provider body = {.read_callback = on_read_body};
	nghttp2_nv headers[] = {header(":method", method), header(":scheme", "https"),
	                        header(":authority", "manager"), header(":path", path)};

	return nghttp2_submit_request(r->h->session, NULL, headers, 4, r->out.len ? &body : NULL,
	                              r);
}

static int ask(struct h2 *h, const char *method, const char *path, const char *body, size_t len,
               bool watch, void *user)
{
	struct h2_request *r;

	/* An owner that asks anew when told that a request failed would else do so for ever. */
	if (h->over || h->leaving || !nghttp2_session_check_request_allowed(h->session))
		return -EPIPE;
	if (h->nrequests >= H2_STREAMS)
		return -EAGAIN;
	if (len > H2_BODY_MAX || strlen(path) > H2_PATH_MAX)
		return -EINVAL;
	r = request_new(h);
	if (!r)
		return -ENOMEM;
	r->user = user;
	r->watch = watch;
	if (buffer_add(&r->out, body, len) < 0)
		goto fail;
	r->id = submit(r, method, path);
	if (r->id < 0)
		goto fail;
	return 0;
fail:
	request_unlink(r);
	request_free(r);
	return -ENOMEM;
}

int h2_ask(struct h2 *h, const char *method, const char *path, const char *body, size_t len,
           void *user)
{
	return ask(h, method, path, body, body ? len : 0, false, user);
}

int h2_ask_watch(struct h2 *h, const char *path, void *user)
{
	return ask(h, "GET", path, NULL, 0, true, user);
}

/* -- what nghttp2 tells us --------------------------------------------------------------------- */

/* What costs its sender nothing and is no work of his: bounded. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *f, void *arg)
{
	struct h2 *h = arg;

	if (f->type == NGHTTP2_HEADERS || f->type == NGHTTP2_WINDOW_UPDATE ||
	    (f->type == NGHTTP2_DATA && f->length > 0))
		return 0;
	h->tokens += (h->now - h->refilled) * H2_CONTROL_RATE;
	h->refilled = h->now;
	if (h->tokens > H2_CONTROL_BURST * H2_SECOND)
		h->tokens = H2_CONTROL_BURST * H2_SECOND;
	h->tokens -= H2_SECOND;
	if (h->tokens >= 0)
		return 0;
	h2_frames_why(h, "a flood of control frames");
	return nghttp2_session_terminate_session(session, NGHTTP2_ENHANCE_YOUR_CALM);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *f, void *arg)
{
	struct h2 *h = arg;
	struct h2_request *r;

	if (!h->server || f->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	if (h->joiner && ++h->served > H2_JOIN_REQUESTS) {
		h2_frames_why(h, "too many requests of a joiner");
		return nghttp2_session_terminate_session(session, NGHTTP2_ENHANCE_YOUR_CALM);
	}
	r = request_new(h);
	if (!r)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	r->id = f->hd.stream_id;
	nghttp2_session_set_stream_user_data(session, r->id, r);
	return 0;
}

static bool is(const uint8_t *p, size_t n, const char *text)
{
	return n == strlen(text) && memcmp(p, text, n) == 0;
}

static void take_header(struct h2_request *r, const uint8_t *name, size_t name_len,
                        const uint8_t *value, size_t len)
{
	if (is(name, name_len, ":method") && len < sizeof(r->method)) {
		memcpy(r->method, value, len);
	} else if (is(name, name_len, ":path")) {
		r->path_cut = len > H2_PATH_MAX || memchr(value, 0, len);
		if (!r->path_cut)
			memcpy(r->path, value, len);
	} else if (is(name, name_len, ":status") && len == 3) {
		r->status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
	}
}

static int on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
	struct h2_request *r = nghttp2_session_get_stream_user_data(session, f->hd.stream_id);

	(void)flags, (void)arg;
	if (!r)
		return 0;
	/* SETTINGS_MAX_HEADER_LIST_SIZE only advises. */
	r->header_bytes += name_len + value_len + HEADER_OVERHEAD;
	if (r->header_bytes > H2_HEADERS_MAX)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	take_header(r, name, name_len, value, value_len);
	return 0;
}

static int reset(struct h2_request *r, uint32_t code, const char *why)
{
	r->failed = why;
	return nghttp2_submit_rst_stream(r->h->session, NGHTTP2_FLAG_NONE, r->id, code);
}

static int take_body(struct h2_request *r, const uint8_t *p, size_t n)
{
	size_t max = r->h->joiner ? H2_BODY_JOIN_MAX : H2_BODY_MAX;

	r->received += n;
	if (r->received <= max) {
		if (buffer_add(&r->body, p, n) == 0)
			return 0;
		return reset(r, NGHTTP2_INTERNAL_ERROR, "out of memory");
	}
	if (!r->h->server)
		return reset(r, NGHTTP2_ENHANCE_YOUR_CALM, "the answer is too large");
	buffer_clear(&r->body);
	if (!r->answered)
		refuse(r, 413, "the body is too large");
	/* Who goes on sending has not read the answer, or does not care. */
	if (r->received > 2 * max)
		return reset(r, NGHTTP2_ENHANCE_YOUR_CALM, "the body is too large");
	return 0;
}

/* Lines are handed over whole; the rest of the last one is kept. */
static int take_lines(struct h2_request *r, const uint8_t *p, size_t n)
{
	struct h2 *h = r->h;
	const uint8_t *end;
	size_t part;

	while (n > 0) {
		end = memchr(p, '\n', n);
		part = end ? (size_t)(end - p) : n;
		if (r->body.len + part >= H2_LINE_MAX)
			return reset(r, NGHTTP2_ENHANCE_YOUR_CALM, "a line is too long");
		if (end && r->body.len == 0) {
			h->client_ops->line(h->arg, r->user, (const char *)p, part);
		} else {
			if (buffer_add(&r->body, p, part) < 0)
				return reset(r, NGHTTP2_INTERNAL_ERROR, "out of memory");
			if (end) {
				h->client_ops->line(h->arg, r->user, r->body.p, r->body.len);
				r->body.len = 0;
			}
		}
		part += end ? 1 : 0;
		p += part;
		n -= part;
	}
	if (r->body.len == 0)
		buffer_clear(&r->body);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *arg)
{
	struct h2_request *r = nghttp2_session_get_stream_user_data(session, id);
	struct h2 *h = arg;
	int err;

	(void)flags;
	if (!r || r->failed)
		return 0;
	if (!h->server && r->watch && r->status == 200)
		err = take_lines(r, p, n);
	else
		err = take_body(r, p, n);
	return err ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static void hand_out(struct h2_request *r)
{
	struct h2 *h = r->h;

	if (r->path_cut) {
		refuse(r, 414, "the path is too long");
		return;
	}
	r->handed_out = true;
	h->server_ops->request(h->arg, h, r, r->method, r->path, r->body.p ? r->body.p : "",
	                       r->body.len);
	buffer_clear(&r->body);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *f, void *arg)
{
	struct h2 *h = arg;
	struct h2_request *r;
	char why[sizeof(h->why)];

	if (f->hd.type == NGHTTP2_SETTINGS && !(f->hd.flags & NGHTTP2_FLAG_ACK))
		h->settings_came = true;
	if (f->hd.type == NGHTTP2_GOAWAY && f->goaway.error_code != NGHTTP2_NO_ERROR) {
		snprintf(why, sizeof(why), "the other side closed: %s",
		         nghttp2_http2_strerror(f->goaway.error_code));
		h2_frames_why(h, why);
	}
	if ((f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA) ||
	    !(f->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	r = nghttp2_session_get_stream_user_data(session, f->hd.stream_id);
	if (!r || r->failed)
		return 0;
	if (!h->server)
		r->whole = true;
	else if (!r->answered && !r->handed_out)
		hand_out(r);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct h2_request *r = nghttp2_session_get_stream_user_data(session, id);
	const char *why = NULL;

	(void)arg;
	if (!r)
		return 0;
	nghttp2_session_set_stream_user_data(session, id, NULL);
	if (r->failed)
		why = r->failed;
	else if (r->whole && r->status && !(r->watch && r->status == 200))
		why = NULL; /* whatever became of our side of it */
	else if (code != NGHTTP2_NO_ERROR)
		why = nghttp2_http2_strerror(code);
	else
		why = "the other side ended it";
	request_end(r, why);
	return 0;
}

/* -- making one -------------------------------------------------------------------------------- */

static int make_session(struct h2 *h, nghttp2_session_callbacks *cb, nghttp2_option *o)
{
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_data_source_read_length_callback(cb, on_frame_length);
	nghttp2_option_set_max_outbound_ack(o, OUTBOUND_ACKS_MAX);
	nghttp2_option_set_max_settings(o, SETTINGS_MAX);
	nghttp2_option_set_stream_reset_rate_limit(o, RESET_BURST, RESET_RATE);
	nghttp2_option_set_max_continuations(o, CONTINUATIONS_MAX);
	nghttp2_option_set_no_closed_streams(o, 1);
	nghttp2_option_set_peer_max_concurrent_streams(o, H2_STREAMS); /* until its SETTINGS come */
	nghttp2_option_set_max_deflate_dynamic_table_size(o, 0); /* our headers are a few bytes */
	if (h->server)
		return nghttp2_session_server_new2(&h->session, cb, h, o);
	return nghttp2_session_client_new2(&h->session, cb, h, o);
}

static int submit_settings(struct h2 *h)
{
	uint32_t streams = h->server ? (h->joiner ? 1 : H2_STREAMS) : 0;
	nghttp2_settings_entry s[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEADERS_MAX},
		{NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0},
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
	};

	return nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, s, sizeof(s) / sizeof(s[0]));
}

int h2_frames_start(struct h2 *h)
{
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *o = NULL;
	int err = -ENOMEM;

	if (nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&o) == 0 &&
	    make_session(h, cb, o) == 0 && submit_settings(h) == 0)
		err = 0;
	nghttp2_option_del(o);
	nghttp2_session_callbacks_del(cb);
	return err;
}
