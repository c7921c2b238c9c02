/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/uplink.h"

#include "crypto/hex.h"
#include "crypto/proof.h"
#include "crypto/secret.h"
#include "gateway/clock.h"
#include "gateway/control/credentials.h"
#include "gateway/h2.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* syscalls(engine): socket connect recvfrom sendto getsockopt setsockopt close */

#define CONNECT_TIMEOUT (5 * 1000000000LL)
#define READ_CHUNK      65536
#define PUMP_ROUNDS     4
#define LIST_LINE_MAX   128

struct uplink {
	struct control *control;
	struct wolf *wolf;          /* without admission: whoever is a manager of the cluster */
	struct wolf *anonymous;     /* the same, and without our certificate, which has ended */
	unsigned manager, endpoint; /* whom we try */
	int fd;
	struct event *io, *timer;
	short events;
	struct h2 *h2;
	int64_t born; /* of the attempt */
	unsigned backoff;
	bool proving; /* this connection is anonymous: for a renewal alone */
	bool renewed; /* we have a new certificate to show */
	bool reachable;
	bool told; /* those who have something for the manager, of this connection */
	time_t since;
	char error[256];   /* of the last attempt */
	char refused[256]; /* what we hold against this connection; the callbacks may not end it */
	void *announce, *watch, *renew; /* addresses of these tell answers apart */
};

static void uplink_connect(struct uplink *u);
static void uplink_io(evutil_socket_t fd, short what, void *arg);

const char *uplink_manager(const struct uplink *u)
{
	return u->control->node->managers[u->manager].name;
}

bool uplink_reachable(const struct uplink *u, time_t *since)
{
	*since = u->since;
	return u->reachable;
}

const char *uplink_error(const struct uplink *u)
{
	return u->error;
}

static void set_reachable(struct uplink *u, bool reachable)
{
	if (u->reachable == reachable)
		return;
	if (u->reachable && u->control->revoked_confirmed)
		u->control->revoked_confirmed = clock_now(); /* until now it was */
	u->reachable = reachable;
	u->since = time(NULL);
	if (reachable)
		log_info("manager reached", "manager", uplink_manager(u), NULL);
	else
		log_warn("manager lost", "manager", uplink_manager(u), "reason", u->error, NULL);
}

static void arm(struct uplink *u, int64_t ns)
{
	struct timeval tv = {.tv_sec = ns / 1000000000, .tv_usec = ns % 1000000000 / 1000};

	evtimer_add(u->timer, &tv);
}

/* -- the connection's end -------------------------------------------------------------------------- */

static void drop_connection(struct uplink *u)
{
	if (u->io)
		event_free(u->io);
	u->io = NULL;
	h2_free(u->h2);
	u->h2 = NULL;
	if (u->fd >= 0)
		close(u->fd);
	u->fd = -1;
	u->told = false;
	renewal_lost(&u->control->renewal);
	watch_cut(&u->control->watch);
}

static void next_manager(struct uplink *u)
{
	const struct node *n = u->control->node;

	if (++u->endpoint < n->managers[u->manager].nendpoints)
		return;
	u->endpoint = 0;
	u->manager = (u->manager + 1) % n->nmanagers;
}

/* Waits longer each time, and by chance, so that a cluster does not come back as one. */
static void uplink_failed(struct uplink *u, const char *why)
{
	uint16_t chance = 0;
	int64_t wait;

	if (strcmp(u->error, why))
		log_debug("manager not reached", "manager", uplink_manager(u), "reason", why, NULL);
	snprintf(u->error, sizeof(u->error), "%s", why);
	drop_connection(u);
	set_reachable(u, false);
	next_manager(u);
	u->backoff = u->backoff ? u->backoff * 2 : UPLINK_BACKOFF_MIN;
	if (u->backoff > UPLINK_BACKOFF_MAX)
		u->backoff = UPLINK_BACKOFF_MAX;
	secret_random(&chance, sizeof(chance)); /* none is no harm */
	wait = u->backoff * 1000000000LL / 2;
	arm(u, wait + wait * chance / 65536);
}

/* -- HTTP/2 ------------------------------------------------------------------------------------------ */

static void on_list(void *arg, int status, const char *body, size_t len);

/* {"type":"list","number"}: no state of the cluster, and fetched only if it is newer than ours. */
static bool list_line(struct uplink *u, const char *line, size_t len)
{
	struct control *c = u->control;
	json_t *j = len <= LIST_LINE_MAX ? h2_json(line, len) : NULL;
	const char *type = json_string_value(json_object_get(j, "type"));
	bool is = type && !strcmp(type, "list");
	json_int_t number = json_integer_value(json_object_get(j, "number"));
	struct uplink_question *q;

	json_decref(j);
	if (!is)
		return false;
	if (number > 0 && (uint64_t)number > c->revoked.number) {
		if (uplink_ask(&q, u, "GET", "/v1/list", NULL, on_list, u))
			snprintf(u->refused, sizeof(u->refused),
			         "its revocation list cannot be asked for");
		return true;
	}
	if (number >= 0 && (uint64_t)number < c->revoked.number)
		log_warn("the manager's revocation list is older than ours, which stays", "manager",
		         uplink_manager(u), NULL);
	c->revoked_confirmed = clock_now();
	return true;
}

static int take_list(struct control *c, const char *hex, size_t len)
{
	uint8_t *list = malloc(len / 2 + 1);
	int err;

	if (!list)
		return -ENOMEM;
	err = hex_parse(list, len / 2, hex, len) < 0
	              ? -EBADMSG
	              : revoked_take(&c->revoked, list, len / 2, c->params->identity->trust);
	free(list);
	return err;
}

/* Sessions are judged first, the disk is written after: a full one must not keep a peer in. */
static void on_list(void *arg, int status, const char *body, size_t len)
{
	struct uplink *u = arg;
	struct control *c = u->control;
	json_t *j = status == 200 ? h2_json(body, len) : NULL;
	json_t *hex = json_object_get(j, "list");
	char number[24];
	int err = json_is_string(hex)
	                  ? take_list(c, json_string_value(hex), json_string_length(hex))
	                  : -EBADMSG;

	json_decref(j);
	if (!status)
		return; /* the next connection asks again */
	if (err < 0) {
		log_error("manager's revocation list refused", "manager", uplink_manager(u),
		          "reason", strerrordesc_np(-err), NULL);
		snprintf(u->refused, sizeof(u->refused), "its revocation list was refused");
		return;
	}
	c->revoked_confirmed = clock_now();
	if (!err)
		return;
	log_info("revocation list", "number", log_num(number, (long long)c->revoked.number), NULL);
	if (c->revoked.issued > c->floor)
		c->floor = c->revoked.issued;
	control_publish(c);
	err = revoked_save(&c->revoked, AT_FDCWD);
	if (err)
		log_error("revocation list not saved", "reason", strerrordesc_np(-err), NULL);
}

/* The state is here: from now on there is somebody to tell and to ask. */
static void come_up(struct uplink *u)
{
	bool was = u->reachable && u->told;

	set_reachable(u, true);
	if (was)
		return;
	u->told = true;
	own_connected(u->control);
	edict_connected(u->control);
}

static void on_line(void *arg, void *user, const char *line, size_t len)
{
	struct uplink *u = arg;
	struct control *c = u->control;
	char why[128] = "";

	if (list_line(u, line, len))
		return;
	enum watch_result result = watch_line(&c->watch, line, len, why, sizeof(why));

	(void)user;
	if (result == WATCH_REFUSED) {
		log_error("manager's state refused", "manager", uplink_manager(u), "reason", why,
		          NULL);
		snprintf(u->refused, sizeof(u->refused), "its state was refused: %s", why);
		return;
	}
	if (result == WATCH_CHANGED)
		control_members_changed(c);
	if (!c->watch.receiving) { /* we are at its revision: a whole state, or a resume */
		u->backoff = 0;
		u->error[0] = '\0';
		come_up(u);
	}
}

struct uplink_question {
	void (*fn)(void *arg, int status, const char *body, size_t len); /* NULL: forgotten */
	void *arg;
};

static void take_question(struct uplink_question *q, int status, const char *body, size_t len)
{
	if (q->fn)
		q->fn(q->arg, status, body, len);
	free(q);
}

void uplink_forget(struct uplink_question *q)
{
	q->fn = NULL;
}

static void take_renewal(struct uplink *u, int status, const char *body, size_t len,
                         const char *why)
{
	struct control *c = u->control;

	if (!status) { /* the connection ended first */
		renewal_lost(&c->renewal);
		return;
	}
	u->renewed = credentials_answer(c, status, body, len, why, control_wall(c), clock_now());
	if (!u->renewed && u->proving) /* it is of no other use */
		snprintf(u->refused, sizeof(u->refused), "%s", credentials_why(c));
}

static void on_response(void *arg, void *user, int status, const char *body, size_t len,
                        const char *why)
{
	struct uplink *u = arg;
	char text[16];

	if (user == &u->renew) {
		take_renewal(u, status, body, len, why);
		return;
	}
	if (user != &u->announce && user != &u->watch) {
		take_question(user, status, body, len);
		return;
	}
	if ((user == &u->announce && status == 200) || h2_over(u->h2))
		return;
	snprintf(text, sizeof(text), "%d", status);
	log_warn("manager refused a request", "manager", uplink_manager(u), "request",
	         user == &u->announce ? "announce" : "watch", "status", text, "reason",
	         why ? why : "", NULL);
	if (user == &u->watch)
		snprintf(u->refused, sizeof(u->refused), "the watch ended: %s", text);
}

static const struct h2_client_ops ops = {.response = on_response, .line = on_line};

static void ask(struct uplink *u)
{
	const struct control *c = u->control;
	json_t *list = json_array();
	char path[96], *text;
	json_t *doc;

	for (unsigned i = 0; i < c->node->nadvertise; i++) {
		const struct config_endpoint *e = &c->node->advertise[i];
		char at[CONFIG_HOST_MAX + 8];

		if (e->is_addr)
			endpoint_format(&e->at, at);
		else
			snprintf(at, sizeof(at), "%s:%u", e->host, e->at.port);
		json_array_append_new(list, json_string(at));
	}
	doc = json_pack("{soss}", "endpoints", list, "version", GINNEL_VERSION);
	text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	if (text)
		h2_ask(u->h2, "POST", "/v1/announce", text, strlen(text), &u->announce);
	free(text);
	if (watch_resumable(&c->watch))
		snprintf(path, sizeof(path), "/v1/watch?generation=%llu&revision=%llu",
		         (unsigned long long)c->watch.generation,
		         (unsigned long long)c->watch.revision);
	else
		snprintf(path, sizeof(path), "/v1/watch");
	h2_ask_watch(u->h2, path, &u->watch);
}

/* As soon as there is a connection to bind the proof to. */
static void ask_renewal(struct uplink *u, int64_t now)
{
	uint8_t exporter[PROOF_EXPORTER_LEN];
	char *text;

	if (!h2_up(u->h2) || stream_exporter(h2_stream(u->h2), exporter))
		return;
	text = credentials_question(u->control, exporter, control_wall(u->control), now);
	if (text && h2_ask(u->h2, "POST", "/v1/renew", text, strlen(text), &u->renew))
		renewal_lost(&u->control->renewal); /* the next second */
	free(text);
}

static int start_tls(struct uplink *u)
{
	const struct cert_info *own = &u->control->params->identity->info;
	const struct node *n = u->control->node;
	struct cert_expect expect = {
		.cluster = n->cluster, .node = uplink_manager(u), .role = ROLE_MANAGER};
	struct stream *s;
	int err;

	u->proving = renewal_expired(own, control_wall(u->control));
	err = stream_dial(&s, u->proving ? u->anonymous : u->wolf,
	                  u->proving ? ALPN_JOIN : ALPN_CONTROL, &expect);
	if (err)
		return err;
	err = h2_client_new(&u->h2, s, &ops, u, clock_now());
	if (!err && !u->proving)
		ask(u);
	return err;
}

int uplink_ask(struct uplink_question **out, struct uplink *u, const char *method, const char *path,
               const char *body, void (*fn)(void *arg, int status, const char *body, size_t len),
               void *arg)
{
	struct uplink_question *q;
	int err;

	if (!u->h2 || !h2_up(u->h2) || h2_over(u->h2) || u->proving)
		return -ENOTCONN;
	q = malloc(sizeof(*q));
	if (!q)
		return -ENOMEM;
	*q = (struct uplink_question){fn, arg};
	err = h2_ask(u->h2, method, path, body, body ? strlen(body) : 0, q);
	if (err) {
		free(q);
		return err == -EPIPE ? -ENOTCONN : err;
	}
	*out = q;
	event_active(u->io, EV_WRITE, 0);
	return 0;
}

/* -- bytes -------------------------------------------------------------------------------------------- */

static int read_some(struct uplink *u, int64_t now)
{
	static _Thread_local uint8_t buf[READ_CHUNK];
	ssize_t n = recv(u->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return h2_feed(u->h2, buf, (size_t)n, now);
}

/* Until the socket is full or nothing is left; others want their turn after some rounds. */
static int write_some(struct uplink *u, int64_t now)
{
	for (int round = 0; round < PUMP_ROUNDS; round++) {
		size_t n;
		const uint8_t *p = h2_pending(u->h2, &n);
		ssize_t sent;

		if (!n)
			return 0;
		sent = send(u->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		h2_sent(u->h2, (size_t)sent, now);
	}
	return 0;
}

static void watch_events(struct uplink *u)
{
	size_t n = 0;
	short want = EV_PERSIST;

	if (u->h2)
		h2_pending(u->h2, &n);
	if (!u->h2 || n)
		want |= EV_WRITE;
	if (u->h2 && h2_wants_read(u->h2))
		want |= EV_READ;
	if (want == u->events)
		return;
	u->events = want;
	event_del(u->io);
	event_assign(u->io, u->control->base, u->fd, want, uplink_io, u);
	event_add(u->io, NULL);
}

static int connected(struct uplink *u)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(u->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return err ? -err : start_tls(u);
}

static int open_wolf(struct uplink *u);

/* With the new certificate, at once: the manager is as reachable as it was. */
static void reconnect(struct uplink *u)
{
	struct wolf *old = u->wolf;

	u->renewed = false;
	if (open_wolf(u))
		u->wolf = old; /* it goes on as long as the old certificate does */
	else
		wolf_put(old);
	h2_close(u->h2);
	write_some(u, clock_now());
	drop_connection(u);
	arm(u, 0);
}

static void uplink_io(evutil_socket_t fd, short what, void *arg)
{
	struct uplink *u = arg;
	int64_t now = clock_now();
	int err = 0;

	(void)fd;
	if (!u->h2) {
		err = connected(u);
		if (err) {
			uplink_failed(u, strerrordesc_np(-err));
			return;
		}
	} else if (what & EV_READ) {
		err = read_some(u, now);
	}
	if (u->renewed) {
		reconnect(u);
		return;
	}
	ask_renewal(u, now);
	if (*u->refused) {
		h2_close(u->h2);
		err = -EPIPE;
	}
	if (write_some(u, now) || err) {
		char why[256];

		snprintf(why, sizeof(why), "%s",
		         *u->refused      ? u->refused
		         : *h2_why(u->h2) ? h2_why(u->h2)
		                          : strerrordesc_np(err ? -err : EPIPE));
		uplink_failed(u, why);
		return;
	}
	watch_events(u);
}

/* -- attempts ------------------------------------------------------------------------------------------ */

static socklen_t to_sockaddr(const struct endpoint *e, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (e->addr.family == 4) {
		struct sockaddr_in *in = (struct sockaddr_in *)ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(e->port);
		memcpy(&in->sin_addr, e->addr.b, 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(e->port);
	memcpy(&in6->sin6_addr, e->addr.b, 16);
	return sizeof(*in6);
}

static void uplink_connect(struct uplink *u)
{
	const struct node_manager *m = &u->control->node->managers[u->manager];
	const struct config_endpoint *e = &m->endpoints[u->endpoint];
	struct sockaddr_storage ss;
	socklen_t len;
	int one = 1;

	u->born = clock_now();
	u->refused[0] = '\0';
	if (!m->nendpoints || !e->is_addr) {
		uplink_failed(u, "the manager's address is a name; names are not resolved yet");
		return;
	}
	len = to_sockaddr(&e->at, &ss);
	u->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (u->fd < 0) {
		uplink_failed(u, strerrordesc_np(errno));
		return;
	}
	setsockopt(u->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(u->fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS) {
		uplink_failed(u, strerrordesc_np(errno));
		return;
	}
	u->events = EV_WRITE | EV_PERSIST;
	u->io = event_new(u->control->base, u->fd, u->events, uplink_io, u);
	if (!u->io || event_add(u->io, NULL)) {
		uplink_failed(u, "no memory");
		return;
	}
	arm(u, 1000000000LL);
}

/* Once a second while a connection lives; after a failure, when the next attempt is due. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct uplink *u = arg;
	int64_t now = clock_now();

	(void)fd;
	(void)what;
	if (u->fd < 0) {
		uplink_connect(u);
		return;
	}
	if (!u->h2 || !h2_up(u->h2)) {
		if (now - u->born >= CONNECT_TIMEOUT) {
			uplink_failed(u, "no answer in 5 s");
			return;
		}
	} else if (h2_tick(u->h2, now)) {
		uplink_failed(u, h2_why(u->h2));
		return;
	}
	arm(u, 1000000000LL);
	if (u->h2)
		uplink_io(u->fd, EV_WRITE, u);
}

/* A manager whose labels changed is one all the same. */
static enum cert_refusal admit(void *control, const struct cert_info *peer)
{
	const struct control *c = control;

	return revocations_judge(&c->revoked.set, peer, false);
}

static int open_wolf(struct uplink *u)
{
	const struct control *c = u->control;
	const struct identity *id = c->params->identity;
	struct wolf_params p = {
		.admit = admit,
		.admit_arg = u->control,
		.trust = id->trust,
		.cluster = c->node->cluster,
		.chain = &id->chain,
		.key = id->key,
		.wall = control_wall,
		.wall_arg = u->control,
	};

	return wolf_new(&u->wolf, &p);
}

static int open_anonymous(struct uplink *u)
{
	const struct wolf_params p = {
		.admit = admit,
		.admit_arg = u->control,
		.trust = u->control->params->identity->trust,
		.cluster = u->control->node->cluster,
		.wall = control_wall,
		.wall_arg = u->control,
	};

	return wolf_new(&u->anonymous, &p);
}

int uplink_new(struct uplink **out, struct control *c)
{
	struct uplink *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->control = c;
	u->fd = -1;
	u->since = time(NULL);
	snprintf(u->error, sizeof(u->error), "not tried yet");
	err = open_wolf(u);
	if (err)
		goto fail_wolf;
	err = open_anonymous(u);
	if (err)
		goto fail_timer;
	u->timer = evtimer_new(c->base, on_timer, u);
	if (!u->timer) {
		err = -ENOMEM;
		goto fail_timer;
	}
	arm(u, 0);
	*out = u;
	return 0;
fail_timer:
	wolf_put(u->anonymous);
	wolf_put(u->wolf);
fail_wolf:
	free(u);
	return err;
}

void uplink_free(struct uplink *u)
{
	if (!u)
		return;
	drop_connection(u);
	event_free(u->timer);
	wolf_put(u->anonymous);
	wolf_put(u->wolf);
	free(u);
}
