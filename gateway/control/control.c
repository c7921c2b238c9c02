/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/control.h"
#include "crypto/aead.h"

#include "gateway/clock.h"
#include "gateway/control/alarm.h"
#include "gateway/control/census_take.h"
#include "gateway/control/credentials.h"
#include "gateway/control/denied.h"
#include "gateway/control/local.h"
#include "gateway/control/nodes.h"
#include "gateway/control/spread.h"
#include "gateway/control/state.h"
#include "gateway/control/status.h"
#include "gateway/control/uplink.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* syscalls(engine): accept4 getsockopt read */

#define COALESCE_USEC    20000 /* changes that come together make one snapshot */
#define CLIENT_TIMEOUT   10    /* seconds for a question and its answer */
#define GROUPS_MAX       256
#define SAVE_SHARE       20 /* of the time at most one part goes into saving workloads */
#define STRANGERS_LOGGED 5  /* a second */

time_t control_wall(void *control)
{
	const struct control *c = control;
	time_t t = time(NULL);

	return t > c->floor ? t : c->floor;
}

/* -- members → snapshot ------------------------------------------------------------------------------ */

bool control_revoked(const struct control *c, const struct member *m)
{
	/* What the newest certificate can be at most: labels come and go. */
	struct cert_info newest = {.incarnation = m->incarnation, .issue = UINT64_MAX};

	snprintf(newest.node, sizeof(newest.node), "%s", m->name);
	return revocations_judge(&c->revoked.set, &newest, false) != CERT_OK;
}

static int add_member(struct control *c, struct snapshot *s, struct member *m, bool keep_up)
{
	struct snapshot_peer sp = {.keep_up = keep_up, .fresh = m->fresh};
	int err;

	if (!strcmp(m->name, c->node->name))
		return 0; /* us */
	if (!m->peer) {
		err = peer_new(&m->peer, m->name);
		if (err)
			return err;
		log_info("node known", "peer", m->name, NULL);
	}
	sp.peer = m->peer;
	sp.incarnation = m->incarnation;
	sp.nendpoints = m->nendpoints;
	if (control_revoked(c, m)) { /* nobody dials it */
		sp.keep_up = false;
		sp.nendpoints = 0;
	}
	memcpy(sp.endpoints, m->endpoints, sizeof(sp.endpoints));
	return snapshot_add_peer(s, &sp, m->prefixes, m->nprefixes);
}

/* Our own prefixes last: no record of another may take them. */
static int build_snapshot(struct control *c, struct snapshot **out)
{
	unsigned n = HASH_COUNT(c->watch.members);
	bool keep_up = c->node->is_static || n <= CONTROL_EAGER_NODES;
	struct member *m, *tmp;
	struct snapshot *s;
	int err = snapshot_new(&s, c->wolf, c->node->name, n);

	if (err)
		return err;
	s->wall = control_wall(c);
	s->lists = lists_get(c->lists);
	err = revocations_copy(&s->revoked, &c->revoked.set);
	if (err)
		goto fail;
	HASH_ITER(hh, c->watch.members, m, tmp) {
		err = add_member(c, s, m, keep_up);
		if (err)
			goto fail;
	}
	for (unsigned i = 0; i < c->node->nprefixes; i++) {
		err = snapshot_add_self(s, &c->node->prefixes[i]);
		if (err)
			goto fail;
	}
	err = census_take(c, s);
	if (!err)
		err = snapshot_seal(s);
	if (err)
		goto fail;
	*out = s;
	return 0;
fail:
	snapshot_free(s);
	return err;
}

uint64_t control_policy_version(const struct control *c)
{
	return engine_snapshot(c->engine)->policy_version;
}

static void on_members(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	bool other_policy = control_policy_version(c) != c->edict.version;
	struct member *m, *tmp;
	struct snapshot *s;
	int err = build_snapshot(c, &s);

	(void)fd;
	(void)what;
	if (err) {
		struct timeval again = {.tv_sec = 1};

		log_error("members not taken over", "reason", strerrordesc_np(-err), NULL);
		evtimer_add(c->on_members, &again);
		return;
	}
	engine_publish(c->engine, s);
	HASH_ITER(hh, c->watch.members, m, tmp)
		m->fresh = false; /* it was said */
	credentials_look(c);
	err = c->watch.members_dirty ? watch_save(&c->watch, AT_FDCWD) : 0;
	if (err)
		log_error("last state not saved", "reason", strerrordesc_np(-err), NULL);
	if (other_policy)
		own_retry(c); /* the manager judges by another one, too */
	edict_kick(c);
	own_kick(c);
}

/* A line for each workload of the cluster: so seldom that it costs little of our time. */
static void save_workloads(struct control *c, int64_t now)
{
	int err;

	if (c->node->is_static || !watch_workloads_dirty(&c->watch) || c->watch.receiving ||
	    now < c->save_workloads)
		return;
	err = watch_save_workloads(&c->watch, AT_FDCWD);
	if (err)
		log_error("last state not saved", "reason", strerrordesc_np(-err), NULL);
	c->save_workloads = clock_now() + SAVE_SHARE * (clock_now() - now);
}

static int own_each(const struct control *c, int (*fn)(void *arg, const struct workload *w),
                    void *arg)
{
	struct own_workload *e, *tmp;
	int ret;

	HASH_ITER(hh, c->own.workloads, e, tmp) {
		ret = fn(arg, e->w);
		if (ret)
			return ret;
	}
	return 0;
}

int control_workloads_each(const struct control *c, int (*fn)(void *arg, const struct workload *w),
                           void *arg)
{
	struct workloads_entry *e, *tmp;
	int ret = own_each(c, fn, arg);

	HASH_ITER(hh, c->watch.workloads.entries, e, tmp) {
		if (ret)
			return ret;
		if (strcmp(e->w->node, c->node->name) != 0)
			ret = fn(arg, e->w);
	}
	return ret;
}

void control_publish(struct control *c)
{
	on_members(-1, 0, c);
}

void control_members_changed(struct control *c)
{
	struct timeval tv = {.tv_usec = COALESCE_USEC};

	if (!evtimer_pending(c->on_members, NULL))
		evtimer_add(c->on_members, &tv);
}

static struct member *static_member(const struct config_peer *p)
{
	struct member *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	snprintf(m->name, sizeof(m->name), "%s", p->name);
	m->role = ROLE_NODE;
	for (unsigned k = 0; k < p->nprefixes && k < WATCH_PREFIXES; k++)
		m->prefixes[m->nprefixes++] = p->prefixes[k];
	for (unsigned k = 0; k < p->nendpoints && k < SNAPSHOT_ENDPOINTS; k++) {
		if (p->endpoints[k].is_addr)
			m->endpoints[m->nendpoints++] = p->endpoints[k].at;
		else
			log_warn("endpoint left out", "peer", p->name, "endpoint",
			         p->endpoints[k].host, "reason", "names are not resolved yet",
			         NULL);
	}
	return m;
}

/* Static peers are members like any other, known from the start. */
static int static_members(struct control *c)
{
	const struct config *cfg = c->params->config;

	for (unsigned i = 0; i < cfg->npeers; i++) {
		struct member *m = static_member(&cfg->peers[i]);

		if (!m)
			return -ENOMEM;
		watch_add(&c->watch, m);
	}
	return 0;
}

/* -- what the engine tells ---------------------------------------------------------------------------- */

static void log_peer(const struct peer *p, const struct peer_status *s)
{
	char at[ENDPOINT_TEXT_MAX];

	switch (s->state) {
	case PEER_UP:
		endpoint_format(&s->endpoint, at);
		log_info("session up", "peer", p->name, "transport", "dtls", "endpoint", at, "kex",
		         s->kex, NULL);
		break;
	case PEER_DOWN:
		log_warn("session down", "peer", p->name, "reason", s->last_error, NULL);
		break;
	case PEER_CONNECTING:
	case PEER_IDLE:
		log_debug("session", "peer", p->name, "state", peer_state_name(s->state), NULL);
		break;
	}
}

/* A stranger may not fill the log: so many lines a second, then how many were left out. */
static void log_stranger(struct control *c, const struct notice *n)
{
	char at[ENDPOINT_TEXT_MAX], more[24];
	int64_t now = clock_now();

	if (now - c->strangers_since >= 1000000000LL) {
		if (c->strangers > STRANGERS_LOGGED)
			log_warn("handshakes refused besides", "count",
			         log_num(more, c->strangers - STRANGERS_LOGGED), NULL);
		c->strangers_since = now;
		c->strangers = 0;
	}
	if (++c->strangers > STRANGERS_LOGGED)
		return;
	endpoint_format(&n->from, at);
	log_warn("handshake refused", "endpoint", at, "reason", n->text, NULL);
}

static void on_engine(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	const struct notice *n;
	struct member *m, *tmp;
	bool changed = false;
	uint64_t kicks;

	(void)what;
	if (read(fd, &kicks, sizeof(kicks)) < 0)
		return;
	while ((n = engine_notice(c->engine)))
		log_stranger(c, n);
	spread_files(c);
	HASH_ITER(hh, c->watch.members, m, tmp) {
		struct peer_status s;

		if (!m->peer)
			continue;
		peer_read_status(m->peer, &s);
		if (s.changes == m->logged)
			continue;
		log_peer(m->peer, &s);
		m->logged = s.changes;
		changed = true;
	}
	if (changed)
		credentials_look(c); /* other certificates, other dates */
	if (atomic_load(&c->engine->device_gone)) {
		log_error("device gone", "device", c->params->config->device, NULL);
		c->exit_code = 1; /* the parent makes it anew and starts us again */
		event_base_loopbreak(c->base);
	}
}

/* -- the local socket ------------------------------------------------------------------------------------ */

struct client {
	struct control *control;
	struct bufferevent *bev;
	struct nodes_query *query; /* whose answer it waits for; or: */
	struct relay *relay;
	bool root;
	bool answered;
};

static void client_free(struct client *cl)
{
	if (cl->query)
		nodes_cancel(cl->query);
	if (cl->relay)
		relay_cancel(cl->relay);
	cl->control->clients--;
	bufferevent_free(cl->bev);
	free(cl);
}

static json_t *answer(struct client *cl, const char *line, size_t len)
{
	json_t *q = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const char *cmd = json_string_value(json_object_get(q, "cmd"));
	struct control *c = cl->control;
	json_t *a = cmd ? local_answer(c, cmd, q, cl->root) : NULL;

	if (a) {
		json_decref(q);
		return a;
	}
	if (cmd && !strcmp(cmd, "status"))
		a = status_json(c);
	else if (cmd && !strcmp(cmd, "peers"))
		a = status_peers(c);
	else if (cmd && !strcmp(cmd, "routes"))
		a = status_routes(c);
	else if (cmd && !strcmp(cmd, "version"))
		a = json_pack("{ss}", "ginnel", GINNEL_VERSION);
	json_decref(q);
	return a ? a
	         : json_pack("{ss}", "error",
	                     "question: ginneld does not know it; are ginnel and ginneld of one "
	                     "version?");
}

static void client_answer(struct client *cl, json_t *a)
{
	char *text = json_dumps(a, JSON_COMPACT);

	if (text) {
		bufferevent_write(cl->bev, text, strlen(text));
		bufferevent_write(cl->bev, "\n", 1);
	}
	free(text);
	json_decref(a);
	cl->answered = true;
	bufferevent_disable(cl->bev, EV_READ);
}

/* As text at once: there may be tens of thousands. */
static bool client_list(struct client *cl, const char *line, size_t len)
{
	json_t *q = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const char *cmd = json_string_value(json_object_get(q, "cmd"));
	bool is = cmd && !strcmp(cmd, "workloads");

	json_decref(q);
	if (!is || local_workloads(cl->control, bufferevent_get_output(cl->bev)))
		return false;
	cl->answered = true;
	bufferevent_disable(cl->bev, EV_READ);
	return true;
}

static void on_relay(void *arg, json_t *answer_json)
{
	struct client *cl = arg;

	cl->relay = NULL;
	client_answer(cl, answer_json);
}

static void on_nodes(void *arg, json_t *list)
{
	struct client *cl = arg;

	cl->query = NULL;
	client_answer(cl, list);
}

/* Some answers have to be fetched first. */
static bool client_waits(struct client *cl, const char *line, size_t len)
{
	json_t *q = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const char *cmd = json_string_value(json_object_get(q, "cmd"));
	bool waits =
		cmd &&
		((!strcmp(cmd, "nodes") && !nodes_ask(&cl->query, cl->control, on_nodes, cl)) ||
	         !relay_ask(&cl->relay, cl->control, cmd, on_relay, cl));

	json_decref(q);
	if (waits)
		bufferevent_disable(cl->bev, EV_READ);
	return waits;
}

static void on_client_read(struct bufferevent *bev, void *arg)
{
	struct client *cl = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	size_t len;
	char *line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF);

	if (line && !client_list(cl, line, len) && !client_waits(cl, line, len))
		client_answer(cl, answer(cl, line, len));
	else if (!line && evbuffer_get_length(in) > CONTROL_LINE_MAX)
		client_free(cl);
	free(line);
}

static void on_client_written(struct bufferevent *bev, void *arg)
{
	struct client *cl = arg;

	(void)bev;
	if (cl->answered)
		client_free(cl);
}

static void on_client_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	(void)what;
	client_free(arg); /* gone, failed or too slow */
}

/* Root, or who is in the group ginnel: the socket's mode says so already; its folder may be changed.
 * The group is the parent's to know: no file of the host is read here.
 */
static bool may_ask(const struct control_params *p, int fd, bool *root)
{
	struct ucred who;
	socklen_t len = sizeof(who);
	gid_t groups[GROUPS_MAX];

	*root = false;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return false;
	*root = who.uid == 0;
	if (*root)
		return true;
	if (p->group == MESSAGE_NO_GROUP)
		return false;
	if (who.gid == p->group)
		return true;
	len = sizeof(groups);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (unsigned i = 0; i < len / sizeof(*groups); i++)
		if (groups[i] == p->group)
			return true;
	return false;
}

static void client_new(struct control *c, int fd)
{
	struct timeval tv = {.tv_sec = CLIENT_TIMEOUT};
	struct client *cl = calloc(1, sizeof(*cl));

	if (!cl || c->clients >= CONTROL_CLIENTS_MAX)
		goto fail;
	cl->control = c;
	cl->bev = bufferevent_socket_new(c->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!cl->bev)
		goto fail;
	c->clients++;
	bufferevent_setcb(cl->bev, on_client_read, on_client_written, on_client_event, cl);
	bufferevent_set_timeouts(cl->bev, &tv, &tv);
	bufferevent_setwatermark(cl->bev, EV_READ, 0, CONTROL_LINE_MAX + 1);
	bufferevent_enable(cl->bev, EV_READ | EV_WRITE);
	if (!may_ask(c->params, fd, &cl->root)) {
		log_warn("control socket refused", "reason", "not root and not in group ginnel",
		         NULL);
		client_answer(cl, json_pack("{ss}", "error",
		                            "control: you are neither root nor in the group "
		                            "ginnel; use sudo"));
	}
	return;
fail:
	free(cl);
	close(fd);
}

static void on_listen(evutil_socket_t fd, short what, void *arg)
{
	int s = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)what;
	if (s >= 0)
		client_new(arg, s);
}

/* -- the parent -------------------------------------------------------------------------------------------- */

static void stop(struct control *c, int code)
{
	c->exit_code = code;
	event_base_loopbreak(c->base);
}

static void on_parent(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	struct message *m = malloc(sizeof(*m));
	int err = m ? message_receive(fd, PROCESS_PARENT, PROCESS_ENGINE, m) : -ENOMEM;

	(void)what;
	if (err == -EAGAIN) {
		free(m);
		return;
	}
	if (err) {
		stop(c, 1); /* the parent is gone: so are we */
		free(m);
		return;
	}
	if (m->head.type == MESSAGE_STOP) {
		stop(c, 0);
	} else if (m->head.type == MESSAGE_HEALTH) {
		memcpy(&c->health, m->body, sizeof(c->health));
		c->health_known = true;
	}
	message_close_fds(m);
	free(m);
}

/* -- start and end --------------------------------------------------------------------------------------------- */

static struct event *listen_to(struct control *c, int fd, event_callback_fn fn)
{
	struct event *e = event_new(c->base, fd, EV_READ | EV_PERSIST, fn, c);

	if (e && event_add(e, NULL)) {
		event_free(e);
		e = NULL;
	}
	return e;
}

static void load_policy(struct control *c)
{
	int err = edict_load(&c->edict, AT_FDCWD);

	if (err && err != -ENOENT)
		log_error("the policy on disk is no use; it is asked for anew", "file", EDICT_FILE,
		          "reason", c->edict.why[0] ? c->edict.why : strerrordesc_np(-err), NULL);
}

static int first_members(struct control *c)
{
	char why[128] = "";
	int err;

	err = own_load(c, AT_FDCWD);
	if (err && err != -ENOENT)
		log_error("our own workloads on disk cannot be read", "file", OWN_FILE, "reason",
		          strerrordesc_np(-err), NULL);
	if (c->node->is_static)
		return static_members(c);
	spread_begin(c);
	err = watch_load(&c->watch, AT_FDCWD, why, sizeof(why));
	if (err == -EBADMSG)
		log_warn("last state on disk is no use", "file", WATCH_STATE_FILE, "reason", why,
		         NULL);
	else if (err && err != -ENOENT)
		log_warn("last state on disk cannot be read", "file", WATCH_STATE_FILE, "reason",
		         strerrordesc_np(-err), NULL);
	load_policy(c);
	return 0; /* a manager will tell */
}

int control_open_wolf(struct control *c)
{
	const struct identity *id = c->params->identity;
	const struct wolf_params wp = {
		.trust = id->trust,
		.cluster = c->node->cluster,
		.chain = &id->chain,
		.key = id->key,
		.admit = engine_admit,
		.admit_arg = &c->engine,
		.wall = control_wall,
		.wall_arg = c,
	};

	return wolf_new(&c->wolf, &wp);
}

static int start_engine(struct control *c)
{
	const struct control_params *p = c->params;
	char workers[24];
	struct snapshot *s;
	int err;

	err = engine_new(&c->engine, p->tun_fds, p->udp_fds, (unsigned)p->ntun);
	if (!err && p->confine)
		err = p->confine();
	if (err)
		return err;
	err = control_open_wolf(c);
	if (err)
		return err;
	err = first_members(c);
	if (err)
		return err;
	err = build_snapshot(c, &s);
	if (err)
		return err;
	err = engine_start(c->engine, s);
	if (!err)
		log_info("packets are carried", "workers", log_num(workers, p->ntun), "aead",
		         aead_name(), "io_uring", c->engine->ringed ? "yes" : "no", NULL);
	return err;
}

static void on_alarm(void *arg)
{
	credentials_look(arg);
}

/* With a manager alone: what it has yet to hear of, or the disk. */
static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;

	(void)fd;
	(void)what;
	denied_log(c->engine);
	save_workloads(c, clock_now());
	edict_kick(c);
	own_kick(c);
}

static int start_cluster(struct control *c)
{
	const struct timeval second = {.tv_sec = 1};

	c->on_second = event_new(c->base, -1, EV_PERSIST, on_second, c);
	if (!c->on_second || event_add(c->on_second, &second) < 0)
		return -ENOMEM;
	credentials_begin(c);
	return uplink_new(&c->uplink, c);
}

static int start(struct control *c)
{
	const struct control_params *p = c->params;
	int err = start_engine(c);

	if (err)
		return err;
	c->on_parent = listen_to(c, p->parent_fd, on_parent);
	c->on_listen = listen_to(c, p->control_fd, on_listen);
	c->on_engine = listen_to(c, engine_event_fd(c->engine), on_engine);
	c->on_members = evtimer_new(c->base, on_members, c);
	if (!c->on_parent || !c->on_listen || !c->on_engine || !c->on_members)
		return -ENOMEM;
	err = alarm_new(&c->alarm, c->base, on_alarm, c);
	if (err)
		return err;
	if (!c->node->is_static) {
		err = start_cluster(c);
		if (err)
			return err;
	}
	credentials_look(c);
	return message_send(p->parent_fd, MESSAGE_READY, 0, NULL, 0, NULL, 0);
}

static void event_drop(struct event *e)
{
	if (e)
		event_free(e);
}

int control_run(const struct control_params *p)
{
	struct control c = {
		.params = p,
		.node = p->node,
		.floor = p->identity->info.not_before,
	};
	int err;

	watch_init(&c.watch, p->node);
	c.watch.trust = p->identity->trust;
	c.base = event_base_new();
	err = c.base ? start(&c) : -ENOMEM;
	if (err)
		log_error("engine does not start", "reason", strerrordesc_np(-err), NULL);
	else
		event_base_dispatch(c.base);
	uplink_free(c.uplink);
	c.uplink = NULL;
	engine_stop(c.engine);
	c.save_workloads = 0;
	save_workloads(&c, clock_now());
	own_clear(&c.own);
	edict_clear(&c.edict);
	watch_clear(&c.watch);
	rule_drops_put(c.rule_drops);
	spread_clear(&c);
	wolf_put(c.wolf);
	credentials_clear(&c);
	alarm_free(c.alarm);
	event_drop(c.on_second);
	event_drop(c.on_members);
	event_drop(c.on_engine);
	event_drop(c.on_listen);
	event_drop(c.on_parent);
	if (c.base)
		event_base_free(c.base);
	return err ? 1 : c.exit_code;
}
