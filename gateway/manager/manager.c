/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/manager.h"

#include "crypto/secret.h"
#include "crypto/wolf.h"
#include "gateway/clock.h"
#include "gateway/log.h"
#include "gateway/manager/api.h"
#include "gateway/manager/conn.h"
#include "gateway/manager/enroll.h"
#include "gateway/manager/orders.h"
#include "gateway/manager/registry.h"
#include "gateway/message.h"
#include "gateway/renewal.h"
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* syscalls(manager): epoll_create1 epoll_ctl epoll_wait eventfd2 timerfd_create timerfd_settime
 * accept4 prlimit64 fcntl clock_gettime rt_sigaction
 */

#define ACCEPTS_AT_ONCE 64
#define SPARE_FILES     64 /* of RLIMIT_NOFILE: not for connections */

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
	struct orders orders;
	struct conns conns;
	struct renewal renewal;
	struct message message;
	int exit_code;
};

/* -- events ------------------------------------------------------------------------------------- */

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
			conn_new(&m->conns, got, &from, clock_now());
			continue;
		}
		if (errno == ECONNABORTED || errno == EINTR)
			continue;
		if (errno != EAGAIN) { /* no descriptor, no memory: no use in trying at once */
			log_warn("no connection can be accepted", "reason", strerrordesc_np(errno),
			         NULL);
			set_deaf(m, true);
		}
		return;
	}
}

static void leave(struct manager *m, int code)
{
	m->exit_code = code;
	event_base_loopbreak(m->base);
}

static void on_parent(evutil_socket_t fd, short what, void *arg)
{
	struct manager *m = arg;
	int err = message_receive(fd, PROCESS_PARENT, PROCESS_MANAGER, &m->message);

	(void)what;
	if (err == -EAGAIN)
		return;
	if (!err && m->message.head.type == MESSAGE_STOP) {
		conns_clear(&m->conns);
		leave(m, 0);
		return;
	}
	message_close_fds(&m->message);
	if (err != -EPIPE)
		log_error("the parent said what it may not", "reason", strerrordesc_np(-err), NULL);
	leave(m, 1);
}

static void on_ca(evutil_socket_t fd, short what, void *arg)
{
	struct manager *m = arg;
	int err = enroll_readable(m->enroll, time(NULL), conn_wake);

	(void)fd;
	(void)what;
	if (!err)
		return;
	log_error(err == -EPIPE ? "the ca is gone" : "the ca said what it may not", "reason",
	          strerrordesc_np(-err), NULL);
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

/* The ca is beside us; a list that does not prove itself is nobody's all the same. */
static void on_list(void *arg, const uint8_t *bytes, size_t len)
{
	struct manager *m = arg;
	struct revocations s;
	uint64_t number;
	time_t issued;
	char text[24];
	int err =
		revocation_list_read(&s, &number, &issued, bytes, len, m->params->identity->trust);

	if (!err)
		err = api_revoke(m->api, number, &s, bytes, len);
	if (err)
		log_error("the ca's revocation list is of no use", "reason", strerrordesc_np(-err),
		          NULL);
	else
		log_info("revocation list", "number", log_num(text, (long long)number), NULL);
}

/* -- its own certificate ------------------------------------------------------------------------ */

static int open_wolf(struct manager *m);

/* What is connected goes on with what it was accepted with, until its own certificate ends. */
static void use_renewed(struct manager *m)
{
	struct wolf *old = m->wolf;

	if (open_wolf(m) < 0) {
		m->wolf = old;
		log_error("the new certificate cannot be used before a restart", NULL);
		return;
	}
	wolf_put(old);
	m->conns.wolf = m->wolf;
	log_info("certificate renewed", "process", "manager", NULL);
}

static void on_renewed(void *arg, const struct message_signed *a)
{
	struct manager *m = arg;
	struct cert_chain chain = {.n = 0};

	if (!a) {
		renewal_failed(&m->renewal, clock_now(), "the ca does not answer");
	} else if (a->result != SIGN_OK || enroll_chain(a, &chain) < 0) {
		renewal_failed(&m->renewal, clock_now(), sign_result_text(a->result));
	} else if (!renewal_take(&m->renewal, m->params->identity, AT_FDCWD, "manager", &chain,
	                         time(NULL), clock_now())) {
		use_renewed(m);
		return;
	}
	log_warn("certificate not renewed", "process", "manager", "reason", m->renewal.why, NULL);
}

/* The ca sits beside us: no connection to bind the proof to, and nobody between. */
static void renew(struct manager *m, int64_t now)
{
	static const uint8_t no_exporter[32];
	const struct identity *own = m->params->identity;
	struct message_sign *q = calloc(1, sizeof(*q));
	struct renewal_proof p;
	int err = q ? renewal_ask(&m->renewal, own, no_exporter, &p) : -ENOMEM;

	if (!err) {
		q->kind = SIGN_RENEW;
		memcpy(q->name, own->info.node, sizeof(q->name));
		q->cert_len = (uint16_t)own->chain.at[0].len;
		memcpy(q->cert, own->chain.at[0].der, q->cert_len);
		q->csr_len = (uint16_t)p.csr_len;
		memcpy(q->csr, p.csr, p.csr_len);
		q->sig_len = (uint16_t)p.sig_len;
		memcpy(q->sig, p.sig, p.sig_len);
		err = enroll_own(m->enroll, q, on_renewed, m, now);
	}
	if (err)
		renewal_failed(&m->renewal, now, strerrordesc_np(-err));
	free(q);
}

static void renewal_tick(struct manager *m, int64_t now)
{
	const struct cert_info *own = &m->params->identity->info;
	time_t wall = time(NULL);

	if (renewal_late(own, wall) && !m->renewal.warned) {
		m->renewal.warned = true;
		log_warn("certificate is past 80 % of its life", "process", "manager", "reason",
		         m->renewal.why[0] ? m->renewal.why : "not renewed yet", NULL);
	}
	if (renewal_due(&m->renewal, wall, now))
		renew(m, now);
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct manager *m = arg;
	int64_t now = clock_now();

	(void)fd;
	(void)what;
	conns_second(&m->conns, now);
	enroll_tick(m->enroll, now, conn_wake);
	api_tick(m->api, now, time(NULL));
	renewal_tick(m, now);
	if (m->deaf)
		set_deaf(m, false);
}

/* -- life --------------------------------------------------------------------------------------- */

static enum cert_refusal admit(void *arg, const struct cert_info *peer)
{
	struct manager *m = arg;

	if (!api_admits(m->api, peer))
		return CERT_REVOKED;
	return registry_node_admit(m->registry, peer->node, peer->incarnation) < 0
	               ? CERT_UNKNOWN_NODE
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
	struct wolf_params w = {.trust = p->identity->trust,
	                        .cluster = p->node->cluster,
	                        .chain = &chain,
	                        .key = p->identity->key,
	                        .admit = admit,
	                        .admit_arg = m,
	                        .wall = wall};

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
		return strerrordesc_np(-err);
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

	m->conns.max = MANAGER_CONNECTIONS_MAX;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (files.rlim_max < MANAGER_CONNECTIONS_MAX + SPARE_FILES)
		m->conns.max = files.rlim_max / 2 > SPARE_FILES
		                       ? (unsigned)files.rlim_max - SPARE_FILES
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
	conns_clear(&m->conns);
	renewal_clear(&m->renewal);
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
		err = api_new(&m->api, m->registry, &conn_api_ops);
	if (!err)
		err = enroll_new(&m->enroll, m->registry, m->params->ca_fd);
	if (!err)
		err = enroll_follow(m->enroll, on_list, m);
	if (!err) {
		m->orders = (struct orders){m->registry, m->api, wall};
		orders_begin(&m->orders);
		enroll_obey(m->enroll, orders_take, &m->orders);
	}
	m->conns.base = m->base;
	m->conns.wolf = m->wolf;
	m->conns.api = m->api;
	m->conns.enroll = m->enroll;
	return err;
}

int manager_run(const struct manager_params *p)
{
	struct manager *m = calloc(1, sizeof(*m));
	uint16_t chance = 0;
	int err, code;

	if (!m || p->nlisten < 1 || p->nlisten > MANAGER_LISTEN_MAX) {
		free(m);
		return 1;
	}
	m->params = p;
	secret_random(&chance, sizeof(chance)); /* none: at its earliest, no harm */
	renewal_begin(&m->renewal, &p->identity->info, chance);
	conns_init(&m->conns);
	signal(SIGPIPE, SIG_IGN);
	err = manager_open(m);
	if (!err)
		err = message_send(p->parent_fd, MESSAGE_READY, 0, NULL, 0, NULL, 0);
	if (err) {
		log_error("the manager cannot start", "reason", strerrordesc_np(-err), NULL);
		m->exit_code = 1;
	} else {
		event_base_dispatch(m->base);
	}
	code = m->exit_code;
	manager_clear(m);
	free(m);
	return code;
}
