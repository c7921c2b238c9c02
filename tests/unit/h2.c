/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/h2.h"

#include "tests/link.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- a server that keeps what it was asked ------------------------------------------------------ */

struct asked {
	struct h2_request *r;
	char method[8], path[H2_PATH_MAX + 1];
	size_t len;
	char *body;
};

struct server {
	struct h2 *h;
	unsigned n, closed;
	struct asked at[64];
	unsigned ups;
	bool closed_to_all;
	bool silent;   /* does not answer by itself */
	size_t reply;  /* bytes of the answer */
	uint64_t head; /* watch: lines there are */
	unsigned watch_calls;
	bool behind;  /* watch: say so */
	bool endless; /* watch: always more */
};

static void on_request(void *arg, struct h2 *h, struct h2_request *r, const char *method,
                       const char *path, const char *body, size_t len)
{
	struct server *s = arg;
	struct asked *a = &s->at[s->n++ % 64];
	char *json;

	cr_assert_eq(h, s->h);
	cr_expect_gt(s->ups, 0u, "a request before its connection was known");
	free(a->body);
	a->r = r;
	snprintf(a->method, sizeof(a->method), "%s", method);
	snprintf(a->path, sizeof(a->path), "%s", path);
	a->len = len;
	a->body = malloc(len + 1);
	memcpy(a->body, body, len);
	a->body[len] = '\0';
	if (s->silent)
		return;
	if (strcmp(path, "/watch") == 0) {
		h2_set_user(r, calloc(2, sizeof(uint64_t)));
		cr_assert_eq(h2_watch(r), 0);
		return;
	}
	json = malloc(s->reply + 2);
	memset(json, ' ', s->reply + 2);
	json[0] = '{';
	json[s->reply + 1] = '}';
	cr_assert_eq(h2_reply(r, 200, json, s->reply + 2), 0);
	cr_expect_eq(h2_reply(r, 200, json, 2), -EALREADY);
	free(json);
}

static void on_closed(void *arg, struct h2_request *r)
{
	struct server *s = arg;

	s->closed++;
	free(h2_user(r));
}

static ssize_t on_watch(void *arg, struct h2_request *r, char *buf, size_t max)
{
	struct server *s = arg;
	uint64_t *at = h2_user(r);
	size_t n = 0;

	s->watch_calls++;
	if (s->behind)
		return -1;
	if (s->endless) {
		memset(buf, 'x', max);
		for (n = 0; n + 1 < max; n += 1000)
			buf[n] = '\n';
		return (ssize_t)max;
	}
	/* Any part of a line may be all that there is room for. */
	while (at[0] < s->head && n < max) {
		char line[32];
		size_t len =
			(size_t)sprintf(line, "{\"line\":%llu}\n", (unsigned long long)at[0] + 1);
		size_t part = len - at[1] < max - n ? len - at[1] : max - n;

		memcpy(buf + n, line + at[1], part);
		n += part;
		at[1] += part;
		if (at[1] == len) {
			at[0]++;
			at[1] = 0;
		}
	}
	return (ssize_t)n;
}

static int on_up(void *arg, struct h2 *h)
{
	struct server *s = arg;

	cr_expect(stream_up(h2_stream(h)));
	s->ups++;
	return s->closed_to_all ? -EACCES : 0;
}

static const struct h2_server_ops server_ops = {on_up, on_request, on_closed, on_watch};

/* -- a client that keeps what it was told ------------------------------------------------------- */

struct answer {
	unsigned times, lines;
	int status;
	size_t len;
	char first[64], last_line[64], why[128];
};

struct client {
	struct h2 *h;
	bool ask_again, ask_for_ever;
};

static void on_response(void *arg, void *user, int status, const char *body, size_t len,
                        const char *why)
{
	struct client *c = arg;
	struct answer *a = user;

	a->times++;
	a->status = status;
	a->len = len;
	snprintf(a->first, sizeof(a->first), "%.*s", len < 60 ? (int)len : 60, body ? body : "");
	snprintf(a->why, sizeof(a->why), "%s", why ? why : "");
	if (c->ask_again) {
		c->ask_again = false;
		cr_expect_eq(h2_ask(c->h, "GET", "/again", NULL, 0, a), 0);
	}
	if (c->ask_for_ever)
		h2_ask(c->h, "GET", "/again", NULL, 0, a);
}

static void on_line(void *arg, void *user, const char *line, size_t len)
{
	struct answer *a = user;

	(void)arg;
	a->lines++;
	snprintf(a->last_line, sizeof(a->last_line), "%.*s", len < 60 ? (int)len : 60, line);
}

static const struct h2_client_ops client_ops = {on_response, on_line};

/* -- both, and the wire between them ------------------------------------------------------------- */

static struct link_cluster cluster;
static struct server server;
static struct client client;
static int64_t now = ENDS_START;

static void setup(void)
{
	link_cluster_init(&cluster, link_admit_all, NULL);
}

static void teardown(void)
{
	h2_free(client.h);
	h2_free(server.h);
	for (int i = 0; i < 64; i++)
		free(server.at[i].body);
	link_cluster_clear(&cluster);
	if (link_leaks())
		abort(); /* an assertion here would not count */
}

TestSuite(h2, .init = setup, .fini = teardown, .timeout = 60);

static void server_new(void)
{
	cr_assert_eq(h2_server_new(&server.h, link_accept(&cluster), &server_ops, &server, now), 0);
}

static void connect_as(const char *node)
{
	server_new();
	cr_assert_eq(h2_client_new(&client.h, link_dial(&cluster, node), &client_ops, &client, now),
	             0);
}

static void run(void)
{
	link_run(client.h, server.h, now);
}

static void ask(struct answer *a, const char *method, const char *path, const char *body, size_t n)
{
	cr_assert_eq(h2_ask(client.h, method, path, body, n, a), 0);
}

static char *text_of(size_t n)
{
	char *p = malloc(n + 1);

	memset(p, 'a', n);
	p[n] = '\0';
	return p;
}

Test(h2, carries_a_request_and_its_answer)
{
	static struct answer a;

	connect_as("n1");
	ask(&a, "POST", "/v1/announce", "{\"x\":1}", 7); /* waits for the handshake */
	cr_expect(!h2_up(client.h) && !h2_up(server.h));
	run();
	cr_expect(h2_up(client.h) && h2_up(server.h) && !h2_joiner(server.h));
	cr_expect_eq(server.n, 1u);
	cr_expect_str_eq(server.at[0].method, "POST");
	cr_expect_str_eq(server.at[0].path, "/v1/announce");
	cr_expect_str_eq(server.at[0].body, "{\"x\":1}");
	cr_expect_eq(a.times, 1u);
	cr_expect_eq(a.status, 200);
	cr_expect_str_eq(a.first, "{}");
	cr_expect_eq(server.closed, 1u);
	cr_expect_eq(server.ups, 1u);
	cr_expect_str_eq(stream_peer(h2_stream(server.h))->node, "n1");
}

Test(h2, asks_once_whether_to_let_one_in)
{
	static struct answer a;

	server.closed_to_all = true;
	connect_as("n1");
	ask(&a, "GET", "/", NULL, 0);
	run();
	cr_expect_eq(server.ups, 1u);
	cr_expect_eq(server.n, 0u);
	cr_expect_eq(a.times, 1u);
	cr_expect_eq(a.status, 0);
	cr_expect(h2_over(server.h) && h2_over(client.h));
}

Test(h2, carries_bodies_up_to_the_bound_both_ways)
{
	char *big = text_of(H2_BODY_MAX);
	static struct answer a[3];

	connect_as("n1");
	server.reply = H2_BODY_MAX - 2;
	for (int i = 0; i < 3; i++)
		ask(&a[i], "POST", "/big", big, H2_BODY_MAX);
	run();
	for (int i = 0; i < 3; i++) {
		cr_expect_eq(a[i].status, 200);
		cr_expect_eq(a[i].len, (size_t)H2_BODY_MAX);
		cr_expect_eq(server.at[i].len, (size_t)H2_BODY_MAX);
		cr_expect_str_eq(server.at[i].body, big);
	}
	server.reply = H2_BODY_MAX - 1;
	ask(&a[0], "GET", "/", NULL, 0);
	run();
	cr_expect_eq(a[0].times, 2u);
	cr_expect_eq(a[0].status, 0);
	cr_expect_str_eq(a[0].why, "the answer is too large");
	ask(&a[1], "GET", "/", NULL, 0);
	server.reply = 0;
	run();
	cr_expect_eq(a[1].status, 200, "the connection lives on");
	cr_expect_eq(h2_ask(client.h, "POST", "/", big, H2_BODY_MAX + 1, NULL), -EINVAL);
	free(big);
}

Test(h2, a_joiner_has_less)
{
	char *big = text_of(2 * H2_BODY_JOIN_MAX + 1);
	static struct answer a[2];

	connect_as(NULL);
	ask(&a[0], "POST", "/v1/join", big, H2_BODY_JOIN_MAX);
	run();
	ask(&a[1], "POST", "/v1/join", big, H2_BODY_JOIN_MAX + 1);
	run();
	cr_expect(h2_joiner(server.h));
	cr_expect_eq(a[0].status, 200);
	cr_expect_eq(a[1].status, 413);
	cr_expect_eq(server.n, 1u);
	ask(&a[0], "POST", "/v1/join", big, 2 * H2_BODY_JOIN_MAX + 1);
	run();
	cr_expect_eq(a[0].status, 413, "the answer counts though the stream was reset");
	for (unsigned i = 4; i <= H2_JOIN_REQUESTS; i++) {
		ask(&a[0], "POST", "/v1/join", "{}", 2);
		run();
		cr_expect_eq(a[0].status, 200, "request %u", i);
	}
	ask(&a[0], "POST", "/v1/join", "{}", 2);
	run();
	cr_expect_eq(a[0].status, 0);
	cr_expect(h2_over(client.h) && h2_over(server.h));
	free(big);
}

Test(h2, a_joiner_has_one_stream)
{
	static struct answer a[2];

	connect_as(NULL);
	server.silent = true;
	ask(&a[0], "GET", "/1", NULL, 0);
	run();
	ask(&a[1], "GET", "/2", NULL, 0);
	run();
	cr_expect_eq(server.n, 1u);
	cr_assert_eq(h2_reply(server.at[0].r, 200, "{}", 2), 0);
	server.silent = false;
	run();
	cr_expect_eq(a[1].status, 200, "the second was kept until the first was done");
}

Test(h2, opens_so_many_streams_and_no_more)
{
	static struct answer a[H2_STREAMS + 1];

	connect_as("n1");
	server.silent = true;
	for (int i = 0; i < H2_STREAMS; i++)
		ask(&a[i], "GET", "/", NULL, 0);
	cr_expect_eq(h2_ask(client.h, "GET", "/", NULL, 0, NULL), -EAGAIN);
	run();
	cr_expect_eq(server.n, (unsigned)H2_STREAMS);
	client.ask_again = true;
	cr_assert_eq(h2_reply(server.at[3].r, 204, "", 0), 0);
	run();
	cr_expect_eq(a[3].status, 204);
	cr_expect_eq(server.n, H2_STREAMS + 1u, "an answer may ask anew from within");
}

Test(h2, a_watch_runs_beside_requests)
{
	char *big = text_of(H2_BODY_MAX);
	static struct answer w, a;

	connect_as("n1");
	cr_assert_eq(h2_ask_watch(client.h, "/watch", &w), 0);
	run();
	cr_expect_eq(w.times, 0u);
	for (int i = 0; i < 20; i++) {
		server.head++;
		h2_wake(server.at[0].r);
		run();
		cr_expect_eq(w.lines, (unsigned)server.head);
	}
	cr_expect_str_eq(w.last_line, "{\"line\":20}");
	ask(&a, "POST", "/", big, H2_BODY_MAX);
	server.head = 20000;
	h2_wake(server.at[0].r);
	run();
	cr_expect_eq(a.status, 200);
	cr_expect_eq(w.lines, 20000u);
	cr_expect_str_eq(w.last_line, "{\"line\":20000}");
	cr_expect_eq(w.times, 0u);
	h2_close(server.h);
	run();
	cr_expect_eq(w.times, 1u);
	cr_expect_eq(w.status, 200);
	cr_expect_neq(w.why[0], '\0');
	free(big);
}

Test(h2, a_watch_that_is_refused_has_a_body)
{
	static struct answer w;

	connect_as("n1");
	server.silent = true;
	cr_assert_eq(h2_ask_watch(client.h, "/watch", &w), 0);
	run();
	cr_assert_eq(h2_reply(server.at[0].r, 403, "{\"error\":\"no\"}", 14), 0);
	run();
	cr_expect_eq(w.times, 1u);
	cr_expect_eq(w.status, 403);
	cr_expect_str_eq(w.first, "{\"error\":\"no\"}");
	cr_expect_eq(w.lines, 0u);
}

Test(h2, a_watcher_too_far_behind_is_reset_and_the_connection_stays)
{
	static struct answer w, a;

	connect_as("n1");
	cr_assert_eq(h2_ask_watch(client.h, "/watch", &w), 0);
	run();
	server.behind = true;
	h2_wake(server.at[0].r);
	run();
	cr_expect_eq(w.times, 1u);
	cr_expect_eq(server.closed, 1u);
	ask(&a, "GET", "/", NULL, 0);
	run();
	cr_expect_eq(a.status, 200);
}

Test(h2, a_slow_watcher_costs_no_queue)
{
	static struct answer w;
	unsigned calls;
	size_t n;

	connect_as("n1");
	cr_assert_eq(h2_ask_watch(client.h, "/watch", &w), 0);
	run();
	server.endless = true;
	h2_wake(server.at[0].r);
	for (int i = 0; i < 1000; i++) {
		h2_pending(server.h, &n);
		h2_wake(server.at[0].r);
	}
	cr_expect_leq(n, STREAM_BACKLOG + 20000u);
	calls = server.watch_calls;
	h2_pending(server.h, &n);
	cr_expect_eq(server.watch_calls, calls);
	now += H2_STALL + 1;
	cr_expect_eq(h2_tick(server.h, now), -EPIPE);
	cr_expect_str_eq(h2_why(server.h), "the other side does not read");
	cr_expect_eq(server.closed, 1u);
}

Test(h2, refuses_a_line_without_end)
{
	static struct answer w, a;

	connect_as("n1");
	server.silent = true;
	cr_assert_eq(h2_ask_watch(client.h, "/watch", &w), 0);
	run();
	char *line = text_of(H2_LINE_MAX + 10);
	line[H2_LINE_MAX - 1] = '\n';
	cr_assert_eq(h2_reply(server.at[0].r, 200, line, H2_LINE_MAX), 0);
	run();
	cr_expect_eq(w.lines, 1u, "the longest line");
	cr_expect_eq(w.times, 1u);
	cr_assert_eq(h2_ask_watch(client.h, "/watch", &w), 0);
	run();
	line[H2_LINE_MAX - 1] = 'a';
	cr_assert_eq(h2_reply(server.at[1].r, 200, line, H2_LINE_MAX + 10), 0);
	run();
	cr_expect_eq(w.lines, 1u);
	cr_expect_eq(w.times, 2u);
	cr_expect_str_eq(w.why, "a line is too long");
	ask(&a, "GET", "/", NULL, 0);
	run();
	cr_assert_eq(h2_reply(server.at[2].r, 200, "{}", 2), 0);
	run();
	cr_expect_eq(a.status, 200);
	free(line);
}

Test(h2, wakes_a_hundred_watchers)
{
	static struct server servers[100];
	static struct client clients[100];
	static struct answer answers[100];

	for (int i = 0; i < 100; i++) {
		cr_assert_eq(h2_server_new(&servers[i].h, link_accept(&cluster), &server_ops,
		                           &servers[i], now),
		             0);
		cr_assert_eq(h2_client_new(&clients[i].h, link_dial(&cluster, "n1"), &client_ops,
		                           &clients[i], now),
		             0);
		cr_assert_eq(h2_ask_watch(clients[i].h, "/watch", &answers[i]), 0);
		link_run(clients[i].h, servers[i].h, now);
	}
	for (int round = 1; round <= 3; round++) {
		for (int i = 0; i < 100; i++) {
			servers[i].head = (uint64_t)round;
			h2_wake(servers[i].at[0].r);
		}
		for (int i = 0; i < 100; i++) {
			link_run(clients[i].h, servers[i].h, now);
			cr_expect_eq(answers[i].lines, (unsigned)round);
		}
	}
	for (int i = 0; i < 100; i++) {
		h2_free(clients[i].h);
		h2_free(servers[i].h);
		cr_expect_eq(answers[i].times, 1u);
		cr_expect_eq(servers[i].closed, 1u);
		free(servers[i].at[0].body);
	}
}

Test(h2, tells_of_every_open_request_when_it_is_freed)
{
	static struct answer a, w;

	connect_as("n1");
	server.silent = true;
	ask(&a, "GET", "/", NULL, 0);
	run();
	cr_assert_eq(h2_ask_watch(client.h, "/watch", &w), 0);
	h2_free(client.h);
	client.h = NULL;
	cr_expect_eq(a.times, 1u);
	cr_expect_eq(a.status, 0);
	cr_expect_eq(w.times, 1u);
	cr_expect_neq(a.why[0], '\0');
	h2_free(server.h);
	server.h = NULL;
	cr_expect_eq(server.closed, 1u);
}

Test(h2, says_goodbye)
{
	static struct answer a;

	connect_as("n1");
	run();
	h2_close(client.h);
	cr_expect_eq(h2_ask(client.h, "GET", "/", NULL, 0, &a), -EPIPE);
	run();
	cr_expect(h2_over(server.h));
	cr_expect_eq(h2_feed(server.h, (const uint8_t *)"x", 1, now), -EPIPE);
}

Test(h2, who_asks_again_whenever_told_no_is_let_go)
{
	static struct answer a[3];

	connect_as("n1");
	client.ask_for_ever = server.silent = true;
	for (int i = 0; i < 3; i++)
		ask(&a[i], "GET", "/", NULL, 0);
	run();
	h2_close(server.h);
	run();
	cr_expect(h2_over(client.h));
	cr_expect_eq(a[0].times, 1u);
	h2_free(client.h);
	h2_free(server.h);

	connect_as("n1");
	for (int i = 0; i < 3; i++)
		ask(&a[i], "GET", "/", NULL, 0);
	h2_close(client.h);
	cr_expect(h2_over(client.h));
}

Test(h2, an_end_of_file_ends_it)
{
	static struct answer a;

	connect_as("n1");
	server.silent = true;
	ask(&a, "GET", "/", NULL, 0);
	run();
	cr_expect_eq(h2_feed(server.h, NULL, 0, now), -EPIPE);
	cr_expect_eq(server.closed, 1u);
	cr_expect_eq(h2_feed(client.h, NULL, 0, now), -EPIPE);
	cr_expect_eq(a.times, 1u);
	cr_expect_eq(a.status, 0);
}

Test(h2, times_out)
{
	size_t n;

	connect_as("n1");
	cr_expect_eq(h2_tick(server.h, now + STREAM_DEADLINE), 0);
	cr_expect_eq(h2_tick(server.h, now + STREAM_DEADLINE + 1), -EPIPE);
	cr_expect_eq(h2_tick(client.h, now + STREAM_DEADLINE + 1), -EPIPE);
	h2_free(server.h);
	h2_free(client.h);

	connect_as("n1");
	run();
	while (now < ENDS_START + 10 * H2_SILENCE) { /* heartbeats keep it */
		now += LINK_SECOND;
		cr_expect_eq(h2_tick(client.h, now), 0);
		cr_expect_eq(h2_tick(server.h, now), 0);
		run();
	}
	for (int64_t end = now + H2_SILENCE - LINK_SECOND; now < end; now += LINK_SECOND) {
		cr_expect_eq(h2_tick(server.h, now), 0); /* the client is silent */
		h2_pending(server.h, &n);
		h2_sent(server.h, n, now);
	}
	now += 2 * LINK_SECOND;
	cr_expect_eq(h2_tick(server.h, now), -EPIPE);
	cr_expect_str_eq(h2_why(server.h), "nothing was heard from the other side");
}

Test(h2, reads_json_within_bounds)
{
	static const char *const bad[] = {"",
	                                  "x",
	                                  "1",
	                                  "\"a\"",
	                                  "{\"a\":1,\"a\":2}",
	                                  "{} x",
	                                  "{\"a\":\"\\u0000\"}",
	                                  "{\"a\":\"\x80\"}",
	                                  "{\"a\":1",
	                                  "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]"};
	static const char *const good[] = {"{}", "[]", "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
	                                   "{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[\"}",
	                                   "{\"a\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[\"}"};
	char deep[4096];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_null(h2_json(bad[i], strlen(bad[i])), "%s", bad[i]);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		json_t *j = h2_json(good[i], strlen(good[i]));
		cr_expect(j, "%s", good[i]);
		json_decref(j);
	}
	memset(deep, '[', sizeof(deep));
	cr_expect_null(h2_json(deep, sizeof(deep)));
	cr_expect_null(h2_json("{\"a\":\"\\", 7));
}

/* -- hostile clients: TLS as it should be, HTTP/2 by hand ---------------------------------------- */

#define PREFACE     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define NO_SETTINGS "\0\0\0\4\0\0\0\0\0"

enum {
	DATA,
	HEADERS,
	PRIORITY,
	RST_STREAM,
	SETTINGS,
	PUSH,
	PING,
	GOAWAY,
	WINDOW_UPDATE,
	CONTINUATION
};

static struct stream *raw;
static uint8_t raw_in[1 << 20];
static size_t raw_len;

/* Reads what the server says; forgets it when told to, so that a flood's answers do not pile up. */
static void raw_run(bool reads)
{
	const uint8_t *p;
	size_t n;
	ssize_t got;
	bool moved;

	do {
		moved = false;
		p = stream_pending(raw, &n);
		if (n && h2_wants_read(server.h)) {
			uint8_t *copy = malloc(n);
			memcpy(copy, p, n);
			stream_sent(raw, n);
			h2_feed(server.h, copy, n, now);
			free(copy);
			moved = true;
		}
		p = h2_pending(server.h, &n);
		if (reads && n) {
			if (n > 16384)
				n = 16384;
			if (stream_feed(raw, p, n) == 0)
				h2_sent(server.h, n, now);
			while ((got = stream_read(raw, raw_in + raw_len, 16384)) > 0) {
				raw_len += (size_t)got;
				if (raw_len > sizeof(raw_in) / 2)
					raw_len = 0;
			}
			moved = true;
		}
	} while (moved);
}

static void raw_write(const void *p, size_t n)
{
	ssize_t wrote;

	if (h2_over(server.h))
		return;
	wrote = stream_write(raw, p, n);
	cr_assert(wrote == (ssize_t)n || wrote == -EPIPE || wrote == -EAGAIN);
}

static void raw_connect(const char *hello, size_t n)
{
	server_new();
	raw = link_dial(&cluster, "n1");
	raw_run(true);
	cr_assert(stream_up(raw));
	raw_write(hello, n);
	raw_run(true);
	raw_len = 0;
}

static void raw_hello(void)
{
	raw_connect(PREFACE NO_SETTINGS, sizeof(PREFACE NO_SETTINGS) - 1);
}

static void raw_frame(int type, int flags, uint32_t id, const void *p, size_t n)
{
	static uint8_t f[16384];

	cr_assert_leq(n + 9, sizeof(f));
	f[0] = (uint8_t)(n >> 16);
	f[1] = (uint8_t)(n >> 8);
	f[2] = (uint8_t)n;
	f[3] = (uint8_t)type;
	f[4] = (uint8_t)flags;
	f[5] = (uint8_t)(id >> 24);
	f[6] = (uint8_t)(id >> 16);
	f[7] = (uint8_t)(id >> 8);
	f[8] = (uint8_t)id;
	if (n)
		memcpy(f + 9, p, n);
	raw_write(f, n + 9);
}

/* How many frames of the type came, and the code of the last GOAWAY or RST_STREAM. */
static unsigned raw_seen(int type, uint32_t *code)
{
	unsigned hits = 0;
	size_t n, at = 0, from;

	while (at + 9 <= raw_len) {
		n = (size_t)raw_in[at] << 16 | (size_t)raw_in[at + 1] << 8 | raw_in[at + 2];
		if (at + 9 + n > raw_len)
			break;
		from = at + 9 + (type == GOAWAY ? 4 : 0);
		if (raw_in[at + 3] == type) {
			hits++;
			if (type == GOAWAY || type == RST_STREAM)
				*code = (uint32_t)raw_in[from] << 24 |
				        (uint32_t)raw_in[from + 1] << 16 |
				        (uint32_t)raw_in[from + 2] << 8 | raw_in[from + 3];
		}
		at += 9 + n;
	}
	return hits;
}

static void expect_goaway(uint32_t want)
{
	uint32_t code = 999;

	raw_run(true);
	cr_expect_eq(raw_seen(GOAWAY, &code), 1u, "no GOAWAY: %s", h2_why(server.h));
	cr_expect_eq(code, want, "code %u: %s", code, h2_why(server.h));
	cr_expect(h2_over(server.h));
	cr_expect_neq(h2_why(server.h)[0], '\0');
	stream_free(raw);
	raw = NULL;
}

#define ENHANCE_YOUR_CALM  11
#define FRAME_SIZE_ERROR   6
#define FLOW_CONTROL_ERROR 3
#define PROTOCOL_ERROR     1
#define REFUSED_STREAM     7
#define COMPRESSION_ERROR  9
#define INTERNAL_ERROR     2

/* GET https://x/ */
static const uint8_t get[] = {0x82, 0x87, 0x84, 0x41, 1, 'x'};
static const uint8_t post[] = {0x83, 0x87, 0x84, 0x41, 1, 'x'};

Test(h2, refuses_who_speaks_no_http2)
{
	static const char *const hellos[] = {
		"GET / HTTP/1.1\r\nHost: m1\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on, and on, and on",
	};

	for (size_t i = 0; i < 3; i++) {
		raw_connect(hellos[i], strlen(hellos[i]));
		raw_run(true);
		cr_expect(h2_over(server.h), "%s", hellos[i]);
		cr_expect_eq(server.n, 0u);
		stream_free(raw);
		h2_free(server.h);
		server.h = NULL;
	}
}

static void flood(int type, int flags, uint32_t id, const void *p, size_t n, int times)
{
	for (int i = 0; i < times && !h2_over(server.h); i++) {
		raw_frame(type, flags, id, p, n);
		raw_run(true);
		if (h2_over(server.h))
			cr_expect_gt(i, 50, "not yet a flood");
	}
}

Test(h2, ends_a_flood_of_pings_of_one_who_reads)
{
	raw_hello();
	flood(PING, 0, 0, "12345678", 8, 2 * H2_CONTROL_BURST);
	expect_goaway(ENHANCE_YOUR_CALM);
}

Test(h2, ends_a_flood_of_pings_of_one_who_does_not_read)
{
	static const uint8_t ping[17] = {0, 0, 8, PING};
	static uint8_t many[900 * 17];
	size_t n;

	raw_hello();
	for (int i = 0; i < 900; i++)
		memcpy(many + i * 17, ping, 17);
	for (int i = 0; i < 4; i++) {
		raw_write(many, sizeof(many));
		raw_run(false);
	}
	cr_expect(h2_over(server.h));
	h2_pending(server.h, &n);
	cr_expect_lt(n, STREAM_BACKLOG);
	stream_free(raw);
}

Test(h2, ends_a_flood_of_settings)
{
	raw_hello();
	flood(SETTINGS, 0, 0, NULL, 0, 2 * H2_CONTROL_BURST);
	expect_goaway(ENHANCE_YOUR_CALM);
}

Test(h2, ends_a_flood_of_empty_data)
{
	raw_hello();
	raw_frame(HEADERS, 4, 1, post, sizeof(post));
	flood(DATA, 0, 1, NULL, 0, 2 * H2_CONTROL_BURST);
	expect_goaway(ENHANCE_YOUR_CALM);
}

Test(h2, ends_rapid_resets)
{
	server.silent = true;
	raw_hello();
	for (uint32_t id = 1; id < 2000 && !h2_over(server.h); id += 2) {
		raw_frame(HEADERS, 5, id, get, sizeof(get));
		raw_frame(RST_STREAM, 0, id, "\0\0\0\x8", 4);
		raw_run(true);
	}
	cr_expect_lt(server.n, 200u);
	expect_goaway(INTERNAL_ERROR);
}

Test(h2, ends_a_flood_of_continuations)
{
	uint32_t code;

	raw_hello();
	raw_frame(HEADERS, 1, 1, get, sizeof(get));
	for (int i = 0; i < 100; i++)
		raw_frame(CONTINUATION, 0, 1, NULL, 0);
	raw_run(true);
	cr_expect(h2_over(server.h));
	cr_expect_eq(raw_seen(GOAWAY, &code), 1u);
	cr_expect_eq(server.n, 0u);
	stream_free(raw);
}

Test(h2, refuses_a_stream_too_many)
{
	uint32_t code = 0;

	server.silent = true;
	raw_hello();
	for (uint32_t i = 0; i <= H2_STREAMS; i++)
		raw_frame(HEADERS, 5, 1 + 2 * i, get, sizeof(get));
	raw_run(true);
	cr_expect_eq(raw_seen(RST_STREAM, &code), 1u);
	cr_expect_eq(code, REFUSED_STREAM);
	cr_expect_eq(server.n, (unsigned)H2_STREAMS);
	cr_expect(!h2_over(server.h));
	stream_free(raw);
}

Test(h2, refuses_a_header_list_too_long)
{
	static uint8_t block[H2_HEADERS_MAX + 200];
	size_t n = sizeof(get);
	uint32_t code = 0;

	raw_hello();
	memcpy(block, get, sizeof(get));
	while (n < H2_HEADERS_MAX) { /* literal without indexing: "x-aaa": 120 bytes */
		memcpy(block + n, "\0\5x-aaa\x78", 8);
		memset(block + n + 8, 'v', 0x78);
		n += 8 + 0x78;
	}
	raw_frame(HEADERS, 5, 1, block, n);
	raw_run(true);
	cr_expect_eq(raw_seen(RST_STREAM, &code), 1u);
	cr_expect_eq(server.n, 0u);
	raw_frame(HEADERS, 5, 3, get, sizeof(get));
	raw_run(true);
	cr_expect_eq(server.n, 1u, "the connection lives on");
	stream_free(raw);
}

Test(h2, refuses_a_path_too_long)
{
	char path[H2_PATH_MAX + 2] = "/";
	static struct answer a;

	connect_as("n1");
	memset(path + 1, 'p', H2_PATH_MAX - 1);
	ask(&a, "GET", path, NULL, 0);
	run();
	cr_expect_eq(a.status, 200);
	cr_expect_str_eq(server.at[0].path, path);
	path[H2_PATH_MAX] = 'p';
	cr_expect_eq(h2_ask(client.h, "GET", path, NULL, 0, &a), -EINVAL);
	h2_free(server.h);

	uint8_t block[600] = {0x82, 0x87, 0x41, 1, 'x', 0x04, 0x7f, 0x81, 0x01}; /* 256 */
	uint32_t code;
	raw_hello();
	memset(block + 9, 'p', 256);
	block[9] = '/';
	raw_frame(HEADERS, 5, 1, block, 9 + 256);
	raw_run(true);
	cr_expect_eq(server.n, 1u, "not handed out");
	cr_expect_eq(raw_seen(HEADERS, &code), 1u, "but answered");
	stream_free(raw);
}

Test(h2, refuses_frames_that_break_the_rules)
{
	static const uint8_t big[9] = {0, 0x40, 1, DATA, 0, 0, 0, 0, 1};
	static const struct {
		int type, flags;
		uint32_t id;
		const char *p;
		size_t n;
		uint32_t code;
	} cases[] = {
		{WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4, FLOW_CONTROL_ERROR},
		{RST_STREAM, 0, 99, "\0\0\0\0", 4, PROTOCOL_ERROR},
		{PING, 0, 0, "1234", 4, FRAME_SIZE_ERROR},
		{SETTINGS, 0, 0, "12345", 5, FRAME_SIZE_ERROR},
		{SETTINGS, 0, 0, "\0\2\0\0\0\2", 6, PROTOCOL_ERROR},
		{PUSH, 4, 1, "\0\0\0\2\x82", 5, PROTOCOL_ERROR},
		{HEADERS, 5, 2, "\x82\x87\x84", 3, PROTOCOL_ERROR},
		{HEADERS, 5, 1, "\xff\xff\xff\xff\xff", 5, COMPRESSION_ERROR},
		{DATA, 1, 5, "x", 1, PROTOCOL_ERROR},
		{CONTINUATION, 4, 1, "\x82", 1, PROTOCOL_ERROR},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		raw_hello();
		raw_frame(cases[i].type, cases[i].flags, cases[i].id, cases[i].p, cases[i].n);
		expect_goaway(cases[i].code);
		cr_expect_eq(server.n, 0u, "case %zu", i);
		h2_free(server.h);
	}
	raw_hello();
	raw_write(big, sizeof(big));
	expect_goaway(FRAME_SIZE_ERROR);
}

Test(h2, lives_through_frames_of_unknown_type)
{
	raw_hello();
	for (int type = 10; type < 256; type++)
		raw_frame(type, 0xff, 7, "what is this", 12);
	raw_run(true);
	cr_expect(!h2_over(server.h));
	raw_frame(HEADERS, 5, 1, get, sizeof(get));
	raw_run(true);
	cr_expect_eq(server.n, 1u);
	stream_free(raw);
}

Test(h2, takes_everything_cut_at_every_byte)
{
	static struct answer a;

	connect_as("n1");
	ask(&a, "POST", "/v1/announce", "{\"x\":1}", 7);
	while (link_move(client.h, server.h, 1, now) + link_move(server.h, client.h, 1, now) > 0)
		;
	cr_expect_eq(a.status, 200);
}

Test(h2, a_flipped_bit_ends_it)
{
	static struct answer a;
	const uint8_t *p;
	uint8_t copy[4096];
	size_t n;

	connect_as("n1");
	run();
	ask(&a, "GET", "/", NULL, 0);
	p = h2_pending(client.h, &n);
	cr_assert_leq(n, sizeof(copy));
	memcpy(copy, p, n);
	copy[n - 1] ^= 1;
	cr_expect_eq(h2_feed(server.h, copy, n, now), -EPIPE);
	cr_expect_eq(server.n, 0u);
}
