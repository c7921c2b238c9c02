/* SPDX-License-Identifier: GPL-3.0-or-later */
/* When it ends, what waits goes out, our side is shut, and what the other side still sends is
 * thrown away for a moment, because close(2) with unread bytes makes the kernel reset the
 * connection, and the last words would be lost.
 *
 * Nothing is freed inside a callback of h2: a connection is marked, and freed from the loop.
 */
#include "gateway/manager/conn.h"

#include "gateway/clock.h"
#include "gateway/h2.h"
#include "gateway/log.h"
#include "gateway/manager/manager.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* syscalls(manager): epoll_ctl recvfrom sendto shutdown setsockopt close clock_gettime */

#define READ_CHUNK      16384
#define WRITE_ROUNDS    4 /* then others have their turn */
#define LINGER          1000000000LL
#define LINGER_BYTES    262144
#define LOGGED_A_SECOND 20 /* lines that strangers cause */

struct conn {
	TAILQ_ENTRY(conn) in;      /* of list */
	enum conn_kind kind, list; /* the list of its kind, or CONN_ENDING */
	struct conns *conns;
	int fd;
	struct event *event;
	short events;
	struct h2 *h2;             /* NULL: it lingers */
	struct api_client *client; /* of a node */
	char name[CERT_NAME_MAX + 1];
	struct enroll_source source;
	int64_t born, linger_until;
	size_t lingered;
	const char *cut; /* it is to be closed with the next turn, and why */
};

static void conn_io(evutil_socket_t fd, short what, void *arg);

/* Strangers decide how often these are written. */
static void log_stranger(struct conns *cs, const char *msg, const char *address, const char *why)
{
	char more[24];

	if (cs->logged >= LOGGED_A_SECOND) {
		cs->unlogged++;
		return;
	}
	log_info(msg, "address", address, "reason", why, "unlogged",
	         cs->unlogged ? log_num(more, cs->unlogged) : NULL, NULL);
	cs->logged++;
	cs->unlogged = 0;
}

/* -- lists ------------------------------------------------------------------------------------- */

static void conn_into(struct conn *c, enum conn_kind list)
{
	TAILQ_REMOVE(&c->conns->of[c->list].list, c, in);
	c->conns->of[c->list].n--;
	c->list = list;
	TAILQ_INSERT_TAIL(&c->conns->of[list].list, c, in);
	c->conns->of[list].n++;
}

/* -- the end of a connection ------------------------------------------------------------------- */

static void conn_free(struct conn *c)
{
	TAILQ_REMOVE(&c->conns->of[c->list].list, c, in);
	c->conns->of[c->list].n--;
	h2_free(c->h2);
	api_client_free(c->client);
	if (c->event)
		event_free(c->event);
	close(c->fd);
	free(c);
}

/* With the loop's next turn it is written to, and closed if it is cut. */
static void conn_kick(struct conn *c)
{
	event_active(c->event, EV_WRITE, 0);
}

static void conn_cut(struct conn *c, const char *why)
{
	if (c->cut || !c->h2)
		return;
	c->cut = why;
	conn_into(c, CONN_ENDING); /* it takes no place of its kind any more */
	conn_kick(c);
}

static void log_end(struct conn *c)
{
	const char *why = c->cut ? c->cut : h2_why(c->h2);

	if (c->kind == CONN_HALF_OPEN)
		log_stranger(c->conns, "connection refused", c->source.text, why);
	else if (c->kind == CONN_JOINER)
		log_debug("joiner gone", "address", c->source.text, "reason", why, NULL);
	else
		log_info("node gone", "peer", c->name, "address", c->source.text, "reason", why,
		         NULL);
}

/* All is said: shut our side and wait for the other's end. */
static void conn_linger(struct conn *c, int64_t now)
{
	log_end(c);
	conn_into(c, CONN_ENDING);
	h2_free(c->h2);
	c->h2 = NULL;
	api_client_free(c->client);
	c->client = NULL;
	shutdown(c->fd, SHUT_WR);
	c->linger_until = now + LINGER;
}

/* False: it is freed. */
static bool linger_read(struct conn *c)
{
	uint8_t waste[4096];
	ssize_t n;

	do {
		n = recv(c->fd, waste, sizeof(waste), MSG_DONTWAIT);
		c->lingered += n > 0 ? (size_t)n : 0;
	} while (n > 0 && c->lingered < LINGER_BYTES);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	conn_free(c);
	return false;
}

/* -- what h2 asks ------------------------------------------------------------------------------- */

static int on_up(void *arg, struct h2 *h)
{
	struct conn *c = arg;
	struct conns *cs = c->conns;
	const struct cert_info *peer = stream_peer(h2_stream(h));

	if (stream_exporter(h2_stream(h), c->source.exporter) < 0)
		return -EPROTO;
	if (h2_joiner(h)) {
		c->kind = CONN_JOINER;
		conn_into(c, CONN_JOINER);
		if (cs->of[CONN_JOINER].n > MANAGER_JOINERS_MAX)
			conn_cut(TAILQ_FIRST(&cs->of[CONN_JOINER].list), "too many joiners");
		return 0;
	}
	if (!peer)
		return -EPROTO;
	snprintf(c->name, sizeof(c->name), "%s", peer->node);
	c->kind = CONN_NODE;
	conn_into(c, CONN_NODE);
	log_info("node connected", "peer", c->name, "address", c->source.text, NULL);
	return api_client_new(&c->client, cs->api, peer, c, time(NULL));
}

static void on_request(void *arg, struct h2 *h, struct h2_request *r, const char *method,
                       const char *path, const char *body, size_t len)
{
	struct conn *c = arg;
	int64_t now = clock_now();

	if (h2_joiner(h) || enroll_path(path)) {
		h2_set_user(r, c); /* by this it is told from what api answers */
		enroll_request(c->conns->enroll, &c->source, r, method, path, body, len, now);
		return;
	}
	api_request(c->client, r, method, path, body, len, now);
}

static void on_closed(void *arg, struct h2_request *r)
{
	struct conn *c = arg;

	if (h2_user(r) == c)
		enroll_closed(c->conns->enroll, r);
	else if (c->client)
		api_closed(c->client, r);
}

static ssize_t on_watch(void *arg, struct h2_request *r, char *buf, size_t max)
{
	struct conn *c = arg;

	return api_watch(c->client, r, buf, max);
}

static const struct h2_server_ops h2_ops = {on_up, on_request, on_closed, on_watch};

void conn_wake(void *conn)
{
	conn_kick(conn);
}

static void cut_conn(void *conn, const char *why)
{
	conn_cut(conn, why);
}

const struct api_ops conn_api_ops = {conn_wake, cut_conn};

/* -- bytes -------------------------------------------------------------------------------------- */

static int conn_read(struct conn *c, int64_t now)
{
	uint8_t *buf;
	ssize_t n;

	if (!h2_wants_read(c->h2))
		return 0;
	buf = malloc(READ_CHUNK);
	if (!buf)
		return -ENOMEM;
	n = recv(c->fd, buf, READ_CHUNK, MSG_DONTWAIT);
	if (n >= 0)
		h2_feed(c->h2, buf, (size_t)n, now);
	free(buf);
	return n < 0 && errno != EAGAIN && errno != EINTR ? -errno : 0;
}

/* Until the socket is full or nothing is left; others want their turn after some rounds. */
static int conn_write(struct conn *c, int64_t now)
{
	const uint8_t *p;
	ssize_t sent;
	size_t n;

	for (int round = 0; round < WRITE_ROUNDS; round++) {
		p = h2_pending(c->h2, &n);
		if (n == 0)
			return 0;
		sent = send(c->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		h2_sent(c->h2, (size_t)sent, now);
	}
	return 0;
}

static int conn_events(struct conn *c)
{
	short want = EV_PERSIST;
	size_t n = 0;

	if (c->h2)
		h2_pending(c->h2, &n);
	if (!c->h2 || h2_wants_read(c->h2))
		want |= EV_READ;
	if (n > 0)
		want |= EV_WRITE;
	if (want == c->events)
		return 0;
	event_del(c->event);
	c->events = want;
	if (event_assign(c->event, c->conns->base, c->fd, want, conn_io, c) < 0 ||
	    event_add(c->event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

/* It is over: waits a moment for what is left to go out. False: it is freed. */
static bool conn_finish(struct conn *c, int64_t now)
{
	size_t n;

	h2_pending(c->h2, &n);
	if (n == 0) {
		conn_linger(c, now);
		return linger_read(c);
	}
	if (c->linger_until == 0)
		c->linger_until = now + LINGER;
	return true;
}

static void conn_turn(struct conn *c, bool readable, int64_t now)
{
	int err = 0;

	if (!c->h2) {
		if (linger_read(c) && conn_events(c) < 0)
			conn_free(c);
		return;
	}
	if (readable)
		err = conn_read(c, now);
	if (c->cut)
		h2_close(c->h2);
	if (!err)
		err = conn_write(c, now);
	if (err) {
		log_end(c);
		conn_free(c);
		return;
	}
	if (h2_over(c->h2) && !conn_finish(c, now))
		return;
	if (conn_events(c) < 0)
		conn_free(c);
}

static void conn_io(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	conn_turn(arg, what & EV_READ, clock_now());
}

/* -- new ones ----------------------------------------------------------------------------------- */

static void source_of(const struct sockaddr_storage *ss, struct enroll_source *out)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
	const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
	struct endpoint e = {0};

	memset(out, 0, sizeof(*out));
	if (ss->ss_family == AF_INET) {
		out->address[10] = out->address[11] = 0xff;
		memcpy(out->address + 12, &in->sin_addr, 4);
		e.port = ntohs(in->sin_port);
	} else if (ss->ss_family == AF_INET6) {
		memcpy(out->address, &in6->sin6_addr, 16);
		e.port = ntohs(in6->sin6_port);
	}
	if (IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)out->address)) {
		e.addr.family = 4;
		memcpy(e.addr.b, out->address + 12, 4);
	} else {
		e.addr.family = 6;
		memcpy(e.addr.b, out->address, 16);
	}
	endpoint_format(&e, out->text);
}

/* An IPv6 host has a /64 to itself. */
static bool same_source(const struct enroll_source *a, const struct enroll_source *b)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)a->address);

	return memcmp(a->address, b->address, v4 ? 16 : 8) == 0;
}

/* Is there room for one more of this source? Makes some among the half-open. */
static bool admit_source(struct conns *cs, const struct enroll_source *s)
{
	struct conn *c;
	unsigned n = 0, all = 0;

	TAILQ_FOREACH(c, &cs->of[CONN_HALF_OPEN].list, in)
	n += same_source(&c->source, s);
	if (n >= MANAGER_HALF_OPEN_SOURCE) {
		log_stranger(cs, "connection refused", s->text, "too many handshakes at once");
		return false;
	}
	if (cs->of[CONN_HALF_OPEN].n >= MANAGER_HALF_OPEN_MAX)
		conn_free(TAILQ_FIRST(&cs->of[CONN_HALF_OPEN].list));
	for (int i = 0; i < CONN_KINDS; i++)
		all += cs->of[i].n;
	if (all >= cs->max) {
		log_stranger(cs, "connection refused", s->text, "too many connections");
		return false;
	}
	return true;
}

static int conn_start(struct conn *c, int64_t now)
{
	struct stream *s;
	int err;

	err = stream_accept(&s, c->conns->wolf, ALPN_CONTROL "," ALPN_JOIN);
	if (!err)
		err = h2_server_new(&c->h2, s, &h2_ops, c, now);
	if (err)
		return err;
	c->event = event_new(c->conns->base, c->fd, EV_READ | EV_PERSIST, conn_io, c);
	c->events = EV_READ | EV_PERSIST;
	return c->event && event_add(c->event, NULL) == 0 ? 0 : -ENOMEM;
}

void conn_new(struct conns *cs, int fd, const struct sockaddr_storage *from, int64_t now)
{
	struct enroll_source source;
	struct conn *c = NULL;
	int one = 1;

	source_of(from, &source);
	if (admit_source(cs, &source))
		c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->conns = cs;
	c->fd = fd;
	c->source = source;
	c->born = now;
	TAILQ_INSERT_TAIL(&cs->of[CONN_HALF_OPEN].list, c, in);
	cs->of[CONN_HALF_OPEN].n++;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (conn_start(c, now) < 0)
		conn_free(c);
}

/* -- all of them -------------------------------------------------------------------------------- */

void conns_init(struct conns *cs)
{
	memset(cs, 0, sizeof(*cs));
	for (int i = 0; i < CONN_KINDS; i++)
		TAILQ_INIT(&cs->of[i].list);
}

void conns_clear(struct conns *cs)
{
	int64_t now = clock_now();
	struct conn *c, *next;

	for (int i = 0; i < CONN_KINDS; i++) {
		for (c = TAILQ_FIRST(&cs->of[i].list); c; c = next) {
			next = TAILQ_NEXT(c, in);
			if (c->h2) {
				h2_close(c->h2);
				conn_write(c, now);
			}
			conn_free(c);
		}
	}
}

static void conn_second(struct conn *c, int64_t now)
{
	if (c->linger_until && now >= c->linger_until) {
		if (c->h2)
			log_end(c);
		conn_free(c);
		return;
	}
	if (c->kind == CONN_JOINER && now - c->born > MANAGER_JOINER_LIFE)
		conn_cut(c, "a joiner's time is over");
	if (c->h2)
		h2_tick(c->h2, now);
	conn_turn(c, false, now);
}

void conns_second(struct conns *cs, int64_t now)
{
	struct conn *c, *next;

	cs->logged = 0;
	for (int i = 0; i < CONN_KINDS; i++) {
		for (c = TAILQ_FIRST(&cs->of[i].list); c; c = next) {
			next = TAILQ_NEXT(c, in);
			conn_second(c, now);
		}
	}
}
