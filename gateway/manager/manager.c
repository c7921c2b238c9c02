/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A connection is half-open until its handshake is done, then a node's or a joiner's, then it ends:
 * what waits goes out, our side is shut, and what the other side still sends is thrown away for a
 * moment, because close(2) with unread bytes makes the kernel reset the connection, and the last
 * words would be lost.
 *
 * Nothing is freed inside a callback of h2: a connection is marked, and freed from the loop.
 */
#include "gateway/manager/manager.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "crypto/wolf.h"
#include "gateway/clock.h"
#include "gateway/h2.h"
#include "gateway/log.h"
#include "gateway/manager/api.h"
#include "gateway/manager/enroll.h"
#include "gateway/manager/registry.h"
#include "gateway/message.h"

/* syscalls(manager): epoll_create1 epoll_ctl epoll_wait eventfd2 timerfd_create timerfd_settime
 * accept4 recvfrom sendto shutdown setsockopt prlimit64 fcntl clock_gettime
 */

#define ACCEPTS_AT_ONCE 64
#define READ_CHUNK 16384
#define WRITE_ROUNDS 4       /* then others have their turn */
#define LINGER (1000000000LL)
#define LINGER_BYTES (256 * 1024)
#define SPARE_FILES 64       /* of RLIMIT_NOFILE: not for connections */
#define LOGGED_A_SECOND 20   /* lines that strangers cause */

struct conn {
	TAILQ_ENTRY(conn) in;      /* of list */
	struct conns *list;        /* that of its kind, or ending */
	enum { HALF_OPEN, JOINER, NODE } kind;
	struct manager *manager;
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

TAILQ_HEAD(conns, conn);

struct manager {
	const struct manager_params *params;
	struct event_base *base;
	struct event *on_parent, *on_ca, *on_change, *on_second;
	struct event *on_listen[MANAGER_LISTEN_MAX];
	bool deaf; /* no descriptor was left: listens again with the next second */
	struct wolf *wolf;
	struct registry *registry;
	struct api *api;
	struct enroll *enroll;
	struct conns half_open, joiners, nodes, ending;
	unsigned nhalf_open, njoiners, nnodes, nending, max;
	unsigned logged, unlogged; /* strangers, in this second; since the last line */
	struct message message;
	int exit_code;
};

static void conn_io(evutil_socket_t fd, short what, void *arg);

/* Strangers decide how often these are written. */
static void log_stranger(struct manager *m, const char *msg, const char *address, const char *why)
{
	char more[24];

	if (m->logged >= LOGGED_A_SECOND) {
		m->unlogged++;
		return;
	}
	log_info(msg, "address", address, "reason", why, "unlogged",
		 m->unlogged ? log_num(more, m->unlogged) : NULL, NULL);
	m->logged++;
	m->unlogged = 0;
}

/* -- lists ------------------------------------------------------------------------------------- */

static unsigned *count_of(struct conn *c)
{
	struct manager *m = c->manager;

	if (c->list == &m->ending)
		return &m->nending;
	if (c->list == &m->half_open)
		return &m->nhalf_open;
	return c->list == &m->joiners ? &m->njoiners : &m->nnodes;
}

static void conn_into(struct conn *c, struct conns *list)
{
	if (c->list) {
		TAILQ_REMOVE(c->list, c, in);
		--*count_of(c);
	}
	c->list = list;
	if (list) {
		TAILQ_INSERT_TAIL(list, c, in);
		++*count_of(c);
	}
}

/* -- the end of a connection ------------------------------------------------------------------- */

static void conn_free(struct conn *c)
{
	conn_into(c, NULL);
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
	conn_into(c, &c->manager->ending); /* it takes no place of its kind any more */
	conn_kick(c);
}

static void log_end(struct conn *c)
{
	const char *why = c->cut ? c->cut : h2_why(c->h2);

	if (c->kind == HALF_OPEN)
		log_stranger(c->manager, "connection refused", c->source.text, why);
	else if (c->kind == JOINER)
		log_debug("joiner gone", "address", c->source.text, "reason", why, NULL);
	else
		log_info("node gone", "peer", c->name, "address", c->source.text, "reason", why,
			 NULL);
}

/* All is said: shut our side and wait for the other's end. */
static void conn_linger(struct conn *c, int64_t now)
{
	log_end(c);
	conn_into(c, &c->manager->ending);
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
	struct manager *m = c->manager;
	const struct cert_info *peer = stream_peer(h2_stream(h));

	if (h2_joiner(h)) {
		if (stream_exporter(h2_stream(h), c->source.exporter) < 0)
			return -EPROTO;
		c->kind = JOINER;
		conn_into(c, &m->joiners);
		if (m->njoiners > MANAGER_JOINERS_MAX)
			conn_cut(TAILQ_FIRST(&m->joiners), "too many joiners");
		return 0;
	}
	if (!peer)
		return -EPROTO;
	snprintf(c->name, sizeof(c->name), "%s", peer->node);
	c->kind = NODE;
	conn_into(c, &m->nodes);
	log_info("node connected", "peer", c->name, "address", c->source.text, NULL);
	return api_client_new(&c->client, m->api, peer->node, peer->incarnation, c, time(NULL));
}

static void on_request(void *arg, struct h2 *h, struct h2_request *r, const char *method,
		       const char *path, const char *body, size_t len)
{
	struct conn *c = arg;
	int64_t now = clock_now();

	if (h2_joiner(h)) {
		h2_set_user(r, c);
		enroll_request(c->manager->enroll, &c->source, r, method, path, body, len, now);
		return;
	}
	api_request(c->client, r, method, path, body, len, now);
}

static void on_closed(void *arg, struct h2_request *r)
{
	struct conn *c = arg;

	if (c->client)
		api_closed(c->client, r);
	else
		enroll_closed(c->manager->enroll, r);
}

static ssize_t on_watch(void *arg, struct h2_request *r, char *buf, size_t max)
{
	struct conn *c = arg;

	return api_watch(c->client, r, buf, max);
}

static const struct h2_server_ops h2_ops = {on_up, on_request, on_closed, on_watch};

static void wake_conn(void *conn)
{
	conn_kick(conn);
}

static void cut_conn(void *conn, const char *why)
{
	conn_cut(conn, why);
}

static const struct api_ops api_ops = {wake_conn, cut_conn};

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
	if (event_assign(c->event, c->manager->base, c->fd, want, conn_io, c) < 0 ||
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
static bool admit_source(struct manager *m, const struct enroll_source *s)
{
	struct conn *c;
	unsigned n = 0;

	TAILQ_FOREACH(c, &m->half_open, in)
		n += same_source(&c->source, s);
	if (n >= MANAGER_HALF_OPEN_SOURCE) {
		log_stranger(m, "connection refused", s->text, "too many handshakes at once");
		return false;
	}
	if (m->nhalf_open >= MANAGER_HALF_OPEN_MAX)
		conn_free(TAILQ_FIRST(&m->half_open));
	if (m->nhalf_open + m->njoiners + m->nnodes + m->nending >= m->max) {
		log_stranger(m, "connection refused", s->text, "too many connections");
		return false;
	}
	return true;
}

static int conn_start(struct conn *c, int64_t now)
{
	struct stream *s;
	int err;

	err = stream_accept(&s, c->manager->wolf, ALPN_CONTROL "," ALPN_JOIN);
	if (!err)
		err = h2_server_new(&c->h2, s, &h2_ops, c, now);
	if (err)
		return err;
	c->event = event_new(c->manager->base, c->fd, EV_READ | EV_PERSIST, conn_io, c);
	c->events = EV_READ | EV_PERSIST;
	return c->event && event_add(c->event, NULL) == 0 ? 0 : -ENOMEM;
}

/* Takes fd. */
static void conn_new(struct manager *m, int fd, const struct sockaddr_storage *from)
{
	struct enroll_source source;
	int64_t now = clock_now();
	struct conn *c = NULL;
	int one = 1;

	source_of(from, &source);
	if (admit_source(m, &source))
		c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->manager = m;
	c->fd = fd;
	c->source = source;
	c->born = now;
	conn_into(c, &m->half_open);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (conn_start(c, now) < 0)
		conn_free(c);
}

static void set_deaf(struct manager *m, bool deaf)
{
	m->deaf = deaf;
	for (int i = 0; i < m->params->nlisten; i++) {
		if (deaf)
			event_del(m->on_listen[i]);
		else
			event_add(m->on_listen[i], NULL);
	}
}

static void on_listen(evutil_socket_t fd, short what, void *arg)
{
	struct manager *m = arg;
	struct sockaddr_storage from;
	socklen_t len;
	int got;

	(void)what;
	for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
		len = sizeof(from);
		memset(&from, 0, sizeof(from));
		got = accept4(fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (got >= 0) {
			conn_new(m, got, &from);
			continue;
		}
		if (errno == ECONNABORTED || errno == EINTR)
			continue;
		if (errno != EAGAIN) { /* no descriptor, no memory: no use in trying at once */
			log_warn("no connection can be accepted", "reason", strerror(errno), NULL);
			set_deaf(m, true);
		}
		return;
	}
}

/* -- events ------------------------------------------------------------------------------------- */

static void leave(struct manager *m, int code)
{
	m->exit_code = code;
	event_base_loopbreak(m->base);
}

/* Says goodbye to all, so that they try another manager at once. */
static void close_all(struct manager *m)
{
	struct conns *const lists[] = {&m->ending, &m->half_open, &m->joiners, &m->nodes};
	int64_t now = clock_now();
	struct conn *c, *next;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (c = TAILQ_FIRST(lists[i]); c; c = next) {
			next = TAILQ_NEXT(c, in);
			if (c->h2) {
				h2_close(c->h2);
				conn_write(c, now);
			}
			conn_free(c);
		}
	}
}

static void on_parent(evutil_socket_t fd, short what, void *arg)
{
	struct manager *m = arg;
	int err = message_receive(fd, PROCESS_PARENT, PROCESS_MANAGER, &m->message);

	(void)what;
	if (err == -EAGAIN)
		return;
	if (!err && m->message.head.type == MESSAGE_STOP) {
		close_all(m);
		leave(m, 0);
		return;
	}
	message_close_fds(&m->message);
	if (err != -EPIPE)
		log_error("the parent said what it may not", "reason", strerror(-err), NULL);
	leave(m, 1);
}

static void on_ca(evutil_socket_t fd, short what, void *arg)
{
	struct manager *m = arg;
	int err = enroll_readable(m->enroll, time(NULL), wake_conn);

	(void)fd;
	(void)what;
	if (!err)
		return;
	log_error(err == -EPIPE ? "the ca is gone" : "the ca said what it may not", "reason",
		  strerror(-err), NULL);
	leave(m, 1);
}

static void on_change(evutil_socket_t fd, short what, void *arg)
{
	struct manager *m = arg;

	(void)fd;
	(void)what;
	api_changed(m->api);
}

static void registry_changed(void *arg)
{
	struct manager *m = arg;

	event_active(m->on_change, EV_READ, 0);
}

static void conn_second(struct conn *c, int64_t now)
{
	if (c->linger_until && now >= c->linger_until) {
		if (c->h2)
			log_end(c);
		conn_free(c);
		return;
	}
	if (c->kind == JOINER && now - c->born > MANAGER_JOINER_LIFE)
		conn_cut(c, "a joiner's time is over");
	if (c->h2)
		h2_tick(c->h2, now);
	conn_turn(c, false, now);
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct manager *m = arg;
	struct conns *const lists[] = {&m->ending, &m->half_open, &m->joiners, &m->nodes};
	int64_t now = clock_now();
	struct conn *c, *next;

	(void)fd;
	(void)what;
	m->logged = 0;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (c = TAILQ_FIRST(lists[i]); c; c = next) {
			next = TAILQ_NEXT(c, in);
			conn_second(c, now);
		}
	}
	enroll_tick(m->enroll, now, wake_conn);
	api_tick(m->api, now, time(NULL));
	if (m->deaf)
		set_deaf(m, false);
}

/* -- life --------------------------------------------------------------------------------------- */

static enum cert_refusal admit(void *arg, const struct cert_info *peer)
{
	struct manager *m = arg;

	return registry_node_admit(m->registry, peer->node, peer->incarnation) < 0 ? CERT_UNKNOWN_NODE
										   : CERT_OK;
}

static time_t wall(void *arg)
{
	(void)arg;
	return time(NULL);
}

/* A joiner pins the root: the chain that it is shown must hold it. */
static void add_root(struct cert_chain *c, const struct cert_trust *t)
{
	struct cert_chain roots;

	if (cert_trust_roots(t, &roots) == 0 || c->n == 0 || c->n == CERT_CHAIN_MAX)
		return;
	for (unsigned i = 0; i < roots.n; i++)
		if (roots.at[i].len == c->at[c->n - 1].len &&
		    memcmp(roots.at[i].der, c->at[c->n - 1].der, roots.at[i].len) == 0)
			return;
	c->at[c->n++] = roots.at[0];
}

static int open_wolf(struct manager *m)
{
	const struct manager_params *p = m->params;
	struct cert_chain chain = p->identity->chain;
	struct wolf_params w = {.trust = p->identity->trust, .cluster = p->node->cluster,
				.chain = &chain, .key = p->identity->key, .admit = admit,
				.admit_arg = m, .wall = wall};

	add_root(&chain, p->identity->trust);
	return wolf_new(&m->wolf, &w);
}

static const char *registry_why(int err)
{
	switch (err) {
	case -ENOENT:
		return "it is missing; restore it from a backup";
	case -EBADMSG:
		return "it is damaged; restore it from a backup";
	case -EPROTO:
		return "it was made by a newer ginnel; install that";
	case -EBUSY:
		return "another process holds it";
	default:
		return strerror(-err);
	}
}

static int open_registry(struct manager *m)
{
	int err = registry_open(&m->registry, AT_FDCWD);

	if (err) {
		log_error("the registry cannot be opened", "file", REGISTRY_FILE, "reason",
			  registry_why(err), NULL);
		return err;
	}
	if (strcmp(registry_cluster(m->registry)->name, m->params->node->cluster) != 0) {
		log_error("the registry is of another cluster", "file", REGISTRY_FILE, "cluster",
			  registry_cluster(m->registry)->name, NULL);
		return -EBADMSG;
	}
	registry_on_change(m->registry, registry_changed, m);
	return 0;
}

static void limit_files(struct manager *m)
{
	struct rlimit files;

	m->max = MANAGER_CONNECTIONS_MAX;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (files.rlim_max < MANAGER_CONNECTIONS_MAX + SPARE_FILES)
		m->max = files.rlim_max > 2 * SPARE_FILES ? (unsigned)files.rlim_max - SPARE_FILES
							  : SPARE_FILES;
}

static struct event *watch_fd(struct manager *m, int fd, event_callback_fn fn)
{
	struct event *e;

	if (evutil_make_socket_nonblocking(fd) < 0)
		return NULL;
	e = event_new(m->base, fd, EV_READ | EV_PERSIST, fn, m);
	if (e && event_add(e, NULL) < 0) {
		event_free(e);
		return NULL;
	}
	return e;
}

static int open_events(struct manager *m)
{
	const struct timeval second = {.tv_sec = 1};
	const struct manager_params *p = m->params;

	m->base = event_base_new();
	if (!m->base)
		return -ENOMEM;
	m->on_change = event_new(m->base, -1, 0, on_change, m);
	m->on_second = event_new(m->base, -1, EV_PERSIST, on_second, m);
	m->on_parent = watch_fd(m, p->parent_fd, on_parent);
	m->on_ca = watch_fd(m, p->ca_fd, on_ca);
	if (!m->on_change || !m->on_second || !m->on_parent || !m->on_ca ||
	    event_add(m->on_second, &second) < 0)
		return -ENOMEM;
	for (int i = 0; i < p->nlisten; i++) {
		m->on_listen[i] = watch_fd(m, p->listen_fds[i], on_listen);
		if (!m->on_listen[i])
			return -ENOMEM;
	}
	return 0;
}

static void free_event(struct event *e)
{
	if (e)
		event_free(e);
}

static void manager_clear(struct manager *m)
{
	close_all(m);
	api_free(m->api);
	enroll_free(m->enroll);
	registry_close(m->registry);
	wolf_put(m->wolf);
	for (int i = 0; i < MANAGER_LISTEN_MAX; i++)
		free_event(m->on_listen[i]);
	free_event(m->on_second);
	free_event(m->on_change);
	free_event(m->on_ca);
	free_event(m->on_parent);
	if (m->base)
		event_base_free(m->base);
}

static int manager_open(struct manager *m)
{
	int err;

	limit_files(m);
	err = wolf_start();
	if (!err)
		err = open_registry(m);
	if (!err)
		err = open_wolf(m);
	if (!err)
		err = open_events(m);
	if (!err)
		err = api_new(&m->api, m->registry, &api_ops);
	if (!err)
		err = enroll_new(&m->enroll, m->registry, m->params->ca_fd);
	return err;
}

int manager_run(const struct manager_params *p)
{
	struct manager *m = calloc(1, sizeof(*m));
	int err, code;

	if (!m || p->nlisten < 1 || p->nlisten > MANAGER_LISTEN_MAX) {
		free(m);
		return 1;
	}
	m->params = p;
	TAILQ_INIT(&m->half_open);
	TAILQ_INIT(&m->joiners);
	TAILQ_INIT(&m->nodes);
	TAILQ_INIT(&m->ending);
	signal(SIGPIPE, SIG_IGN);
	err = manager_open(m);
	if (!err)
		err = message_send(p->parent_fd, MESSAGE_READY, 0, NULL, 0, NULL, 0);
	if (err) {
		log_error("the manager cannot start", "reason", strerror(-err), NULL);
		m->exit_code = 1;
	} else {
		event_base_dispatch(m->base);
	}
	code = m->exit_code;
	manager_clear(m);
	free(m);
	return code;
}
