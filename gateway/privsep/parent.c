/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One poll loop. What it waits for: the guard's events, its children's words and deaths, signals,
 * root on the admin socket, and a handful of points in time. Nothing in it blocks.
 *
 * manager and ca speak over a socketpair of their own. When one of the two dies the other could
 * only be told by handing it a new end; both are made to survive a kill at any moment, so that they
 * are simply started again together.
 *
 * Queues of the device and UDP sockets are opened for each start of the engine and kept open by it
 * alone: without an engine the device has no carrier, and a sender gets an error.
 */
#include "gateway/privsep/parent.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/clock.h"
#include "gateway/log.h"
#include "gateway/privsep/admin.h"
#include "gateway/privsep/child.h"
#include "gateway/privsep/door.h"
#include "gateway/privsep/folder.h"
#include "gateway/privsep/guarded.h"
#include "gateway/privsep/isolate.h"
#include "gateway/privsep/landlock.h"
#include "gateway/sealed.h"
#include "gateway/workers.h"
#include "tun/tun.h"

#define WHY_MAX        512
#define FILES_WANTED   65536        /* a manager has a socket for each node */
#define MEMLOCK_WANTED (64UL << 20) /* keys are locked */
#define PORT_RETRIES   20           /* a manager that was just killed may still hold its port */
#define PORT_RETRY_US  50000

#define PARENT_KILL_AGAIN_NS 100000000LL

enum { CA, MANAGER, ENGINE, CHILDREN };

/* Entries of the poll. */
enum {
	POLL_SIGNAL,
	POLL_GUARD,
	POLL_CHILD,
	POLL_ADMIN = POLL_CHILD + CHILDREN,
	POLL_COUNT = POLL_ADMIN + ADMIN_CLIENTS_MAX + 1
};

struct parent {
	const struct parent_params *params;
	struct child_exec exec;
	struct guard_plan plan;
	struct guard *guard;
	int index; /* of the device that the engine's queues belong to */
	bool guard_ok;
	int64_t next_check;
	struct child child[CHILDREN];
	int control, ca_door, tcp; /* listening sockets, handed over at each start; -1 */
	uint32_t group;            /* that may use control; MESSAGE_NO_GROUP */
	struct admin admin;
	int signals;
	struct message_health told; /* what the engine knows */
	bool notified;
	int64_t stop_at;        /* 0: goes on; else who is still there then is killed */
	struct message message; /* too large for a frame */
};

static bool exists(const struct child *c)
{
	return c->role != PROCESS_PARENT;
}

/* -- systemd ---------------------------------------------------------------------------------- */

static void notify(const char *state)
{
	/* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;
	int fd;

	if (n < 2 || n >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(to.sun_path, path, n);
	if (path[0] == '@')
		to.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
	              (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}

/* -- starting the others ----------------------------------------------------------------------- */

static void started(const struct child *c)
{
	char pid[24];

	log_info("process started", "process", process_name(c->role), "pid", log_num(pid, c->pid),
	         NULL);
}

static void not_started(struct child *c, const char *what, int err, int64_t now)
{
	log_error("process cannot be started", "process", process_name(c->role), "what", what,
	          "reason", strerrordesc_np(-err), NULL);
	child_kill(c);
	if (!c->pid)
		child_failed(c, now);
}

/* Queues first: if the device is gone there is no use for the rest. */
static int engine_fds(const struct parent *p, struct message_start *s, int *fds)
{
	int want = (int)p->params->workers, n = 0, err;

	for (; n < want; n++) {
		err = tun_attach(&fds[n], p->plan.device);
		if (err)
			goto fail;
	}
	err = door_udp(fds + n, p->params->workers, p->params->node->port);
	if (err)
		goto fail;
	s->ntun = want;
	s->nudp = (int)workers_sockets(p->params->workers);
	s->nlisten = 1;
	s->group = p->group;
	return s->ntun + s->nudp;
fail:
	while (n-- > 0)
		close(fds[n]);
	return err;
}

static void engine_start(struct parent *p, int64_t now)
{
	struct child *c = &p->child[ENGINE];
	struct message_start s = {0};
	int fds[MESSAGE_FDS_MAX], n, err;

	n = engine_fds(p, &s, fds);
	if (n < 0) {
		not_started(c, "device and sockets", n, now);
		return;
	}
	p->index = guard_index(p->guard);
	memset(&p->told, 0xff, sizeof(p->told)); /* it knows nothing yet */
	err = child_spawn(c, &p->exec, now);
	if (err) {
		not_started(c, "fork", err, now);
		goto out;
	}
	fds[n] = p->control;
	err = child_start(c, &p->exec, &s, fds, n + 1);
	if (err)
		not_started(c, "first message", err, now);
	else
		started(c);
out:
	while (n-- > 0)
		close(fds[n]);
}

static void pair_start(struct parent *p, int64_t now)
{
	struct child *ca = &p->child[CA], *manager = &p->child[MANAGER];
	struct message_start s = {.nlisten = 1, .npeer = 1};
	int pair[2], err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		not_started(ca, "socketpair", -errno, now);
		return;
	}
	err = child_spawn(ca, &p->exec, now);
	if (!err)
		err = child_start(ca, &p->exec, &s, (const int[]){p->ca_door, pair[1]}, 2);
	if (err) {
		not_started(ca, "fork or first message", err, now);
		goto out;
	}
	started(ca);
	err = child_spawn(manager, &p->exec, now);
	if (!err)
		err = child_start(manager, &p->exec, &s, (const int[]){p->tcp, pair[0]}, 2);
	if (err) {
		child_kill(ca); /* the other end is not there */
		not_started(manager, "fork or first message", err, now);
		goto out;
	}
	started(manager);
out:
	close(pair[0]);
	close(pair[1]);
}

static void start_due(struct parent *p, int64_t now)
{
	struct child *ca = &p->child[CA], *manager = &p->child[MANAGER];

	if (p->stop_at)
		return;
	if (exists(ca) && !ca->pid && !manager->pid && now >= ca->next && now >= manager->next)
		pair_start(p, now);
	if (!p->child[ENGINE].pid && now >= p->child[ENGINE].next)
		engine_start(p, now);
}

/* -- what the engine is told -------------------------------------------------------------------- */

static uint8_t health_of(const struct child *c)
{
	if (!exists(c))
		return 2;
	return c->ready ? 1 : 0;
}

/* A full socket is no harm: the next round sends what is true then. */
static void tell_engine(struct parent *p)
{
	struct child *engine = &p->child[ENGINE];
	struct message_health h = {
		.guard_ok = p->guard_ok,
		.device_ok = p->index == guard_index(p->guard),
		.manager_ok = health_of(&p->child[MANAGER]),
		.ca_ok = health_of(&p->child[CA]),
	};

	if (!engine->ready || memcmp(&h, &p->told, sizeof(h)) == 0)
		return;
	if (message_send(engine->fd, MESSAGE_HEALTH, 0, &h, sizeof(h), NULL, 0) == 0)
		p->told = h;
}

/* -- events ------------------------------------------------------------------------------------- */

static void child_event(struct parent *p, struct child *c)
{
	int err;

	do
		err = child_read(c, &p->message);
	while (!err);
	if (err == -EAGAIN) {
		if (c->role == PROCESS_ENGINE && c->ready && !p->notified) {
			notify("READY=1");
			p->notified = true;
		}
		return;
	}
	if (err == -EBADMSG)
		log_error("a process said what it may not and is ended", "process",
		          process_name(c->role), NULL);
	/* Also if it only closed its end: it could be told nothing more. */
	child_kill(c);
	close(c->fd);
	c->fd = -1;
}

static void ended(struct parent *p, pid_t pid, int status, int64_t now)
{
	char how[CHILD_HOW_MAX], pid_text[24];
	struct child *other = NULL;

	for (int i = 0; i < CHILDREN; i++) {
		struct child *c = &p->child[i];
		bool blameless;

		if (c->pid != pid || !pid)
			continue;
		if (i != ENGINE)
			other = &p->child[i == CA ? MANAGER : CA];
		/* The second of the pair to go was killed for the first. */
		blameless = (other && !other->pid) ||
		            (i == ENGINE && p->index != guard_index(p->guard));
		child_ended(c, status, blameless, now, how);
		log_num(pid_text, pid);
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
			log_error("a process made a system call that its filter forbids and was "
			          "killed: a bug or an attack",
			          "process", process_name(c->role), "pid", pid_text, "look",
			          "journalctl -k -g type=1326 names the call (syscall=)", NULL);
		if (p->stop_at)
			log_info("process ended", "process", process_name(c->role), "pid", pid_text,
			         "how", how, NULL);
		else
			log_warn("process ended and is started again", "process",
			         process_name(c->role), "pid", pid_text, "how", how, NULL);
		if (other && !p->stop_at)
			child_kill(other);
		return;
	}
}

static void stop(struct parent *p, int64_t now, const char *why)
{
	if (p->stop_at)
		return;
	log_info("stopping", "reason", why, NULL);
	notify("STOPPING=1");
	p->stop_at = now + PARENT_STOP_NS;
	for (int i = 0; i < CHILDREN; i++)
		if (p->child[i].fd >= 0)
			message_send(p->child[i].fd, MESSAGE_STOP, 0, NULL, 0, NULL, 0);
}

static void signal_event(struct parent *p, int64_t now)
{
	struct signalfd_siginfo s;
	pid_t pid;
	int status;

	while (read(p->signals, &s, sizeof(s)) == (ssize_t)sizeof(s)) {
		if (s.ssi_signo == SIGTERM || s.ssi_signo == SIGINT)
			stop(p, now, s.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
		else if (s.ssi_signo == SIGHUP)
			log_warn("SIGHUP does nothing; restart ginneld to read the config anew",
			         NULL);
	}
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		ended(p, pid, status, now);
}

/* found: what guard_watch or guard_check returned. */
static void guard_result(struct parent *p, int found, const char *why, int64_t now)
{
	bool ok = found >= 0;

	if (found > 0)
		log_warn("the guard was not whole and is again", "rules",
		         found & GUARD_RULES ? "missed" : NULL, "routes",
		         found & GUARD_ROUTES ? "missed" : NULL, "device",
		         found & GUARD_DEVICE ? "missed" : NULL, NULL);
	if (!ok && p->guard_ok)
		log_error("the guard is not whole", "reason", why, NULL);
	if (ok && !p->guard_ok)
		log_info("the guard stands again", NULL);
	p->guard_ok = ok;
	p->next_check = now + (ok ? PARENT_CHECK_NS : PARENT_RETRY_NS);
	if (p->child[ENGINE].pid && p->index != guard_index(p->guard)) {
		log_warn("the device was made anew: the engine is started again", NULL);
		child_kill(&p->child[ENGINE]);
	}
}

static void overdue(struct parent *p, int64_t now)
{
	bool late = false;

	for (int i = 0; i < CHILDREN; i++) {
		struct child *c = &p->child[i];

		if (!c->pid)
			continue;
		if (p->stop_at && now >= p->stop_at) {
			child_kill(c);
			late = true;
		} else if (!c->ready && c->fd >= 0 && now >= c->started + CHILD_READY_NS) {
			log_error("a process did not get ready in time and is ended", "process",
			          process_name(c->role), NULL);
			child_kill(c);
			c->started = now; /* once */
		}
	}
	if (late)
		p->stop_at = now +
		             PARENT_KILL_AGAIN_NS; /* one that hangs in the kernel takes its time */
}

static bool all_gone(const struct parent *p)
{
	for (int i = 0; i < CHILDREN; i++)
		if (p->child[i].pid)
			return false;
	return true;
}

static bool all_ready(const struct parent *p)
{
	for (int i = 0; i < CHILDREN; i++)
		if (exists(&p->child[i]) && !p->child[i].ready)
			return false;
	return true;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When something is to be done though nothing happens. */
static int timeout_ms(const struct parent *p, int64_t now)
{
	int64_t at = p->next_check, left;

	if (p->stop_at)
		at = earlier(at, p->stop_at);
	for (int i = 0; i < CHILDREN; i++) {
		const struct child *c = &p->child[i];

		if (!exists(c))
			continue;
		if (!c->pid && !p->stop_at)
			at = earlier(at, c->next);
		else if (c->pid && !c->ready && c->fd >= 0)
			at = earlier(at, c->started + CHILD_READY_NS);
	}
	for (int i = 0; i < ADMIN_CLIENTS_MAX; i++)
		if (p->admin.client[i].fd >= 0)
			at = earlier(at, p->admin.client[i].deadline);
	left = at - now;
	/* Rounded up, or the last millisecond would be spent in a busy loop. */
	return left <= 0 ? 0 : (int)(left / 1000000) + 1;
}

static void fill_poll(const struct parent *p, struct pollfd *f)
{
	f[POLL_SIGNAL] = (struct pollfd){.fd = p->signals, .events = POLLIN};
	f[POLL_GUARD] = (struct pollfd){.fd = guard_watch_fd(p->guard), .events = POLLIN};
	for (int i = 0; i < CHILDREN; i++)
		f[POLL_CHILD + i] = (struct pollfd){.fd = p->child[i].fd, .events = POLLIN};
	admin_poll(&p->admin, &f[POLL_ADMIN]);
}

static void round_of(struct parent *p, const struct pollfd *f, int64_t now)
{
	char why[WHY_MAX] = "";

	/* The guard before all else. */
	if (f[POLL_GUARD].revents)
		guard_result(p, guard_watch(p->guard, why, sizeof(why)), why, now);
	if (now >= p->next_check)
		guard_result(p, guard_check(p->guard, why, sizeof(why)), why, now);
	for (int i = 0; i < CHILDREN; i++)
		if (p->child[i].fd >= 0 && f[POLL_CHILD + i].revents)
			child_event(p, &p->child[i]);
	if (f[POLL_SIGNAL].revents)
		signal_event(p, now);
	if (admin_serve(&p->admin, &f[POLL_ADMIN], all_ready(p), now))
		stop(p, now, "down");
	overdue(p, now);
	start_due(p, now);
	tell_engine(p);
}

static void loop(struct parent *p)
{
	struct pollfd f[POLL_COUNT];

	start_due(p, clock_now());
	while (!p->stop_at || !all_gone(p)) {
		fill_poll(p, f);
		if (poll(f, POLL_COUNT, timeout_ms(p, clock_now())) < 0) {
			if (errno != EINTR)
				log_error("poll", "reason", strerrordesc_np(errno), NULL);
			continue;
		}
		round_of(p, f, clock_now());
	}
}

/* -- before and after ---------------------------------------------------------------------------- */

static int open_signals(int *fd)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		return -EINVAL;
	*fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return *fd < 0 ? -errno : 0;
}

static int add_child(struct parent *p, int which, enum process role, const char *user,
                     uid_t fallback, char *why, size_t max)
{
	struct child *c = &p->child[which];
	int err;

	c->role = role;
	err = isolate_user(user, fallback, &c->uid, &c->gid);
	if (err) {
		snprintf(why, max, "user %s: it has uid or gid 0, and may not", user);
		return err;
	}
	return folder_open_own(&c->dir, p->params->state_dir, process_name(role), c->uid, c->gid,
	                       why, max);
}

static int add_children(struct parent *p, char *why, size_t max)
{
	int err = add_child(p, ENGINE, PROCESS_ENGINE, "ginnel", ISOLATE_UID_ENGINE, why, max);

	if (!err && p->params->node->role == ROLE_MANAGER)
		err = add_child(p, MANAGER, PROCESS_MANAGER, "ginnel-manager", ISOLATE_UID_MANAGER,
		                why, max);
	if (!err && p->params->node->role == ROLE_MANAGER)
		err = add_child(p, CA, PROCESS_CA, "ginnel-ca", ISOLATE_UID_CA, why, max);
	return err;
}

static int open_tcp(struct parent *p, char *why, size_t max)
{
	uint16_t port = (uint16_t)(p->params->node->port + 1);
	int err = -EADDRINUSE;

	for (int i = 0; err == -EADDRINUSE && i < PORT_RETRIES; i++) {
		if (i)
			usleep(PORT_RETRY_US);
		err = door_tcp(&p->tcp, port);
	}
	if (err)
		snprintf(why, max, "port %u (TCP): %s", port, strerrordesc_np(-err));
	return err;
}

static int open_doors(struct parent *p, char *why, size_t max)
{
	int run = p->params->run_dir, admin, err;
	gid_t gid = 0;
	bool shared = folder_group(FOLDER_GROUP, &gid);
	const char *name = "control";

	p->group = shared ? gid : MESSAGE_NO_GROUP;
	err = door_unix(&p->control, run, name, shared, gid);
	if (!err) {
		name = "admin";
		err = door_unix(&admin, run, name, false, 0);
	}
	if (!err) {
		admin_init(&p->admin, admin);
		name = "ca";
		if (exists(&p->child[CA]))
			err = door_unix(&p->ca_door, run, name, false, 0);
	}
	if (err) {
		snprintf(why, max, "%s/%s: %s", p->params->run_path, name, strerrordesc_np(-err));
		return err;
	}
	return exists(&p->child[MANAGER]) ? open_tcp(p, why, max) : 0;
}

/* More is asked for while we may; what cannot be had is missed later, and said then. */
static void raise_limit(int what, rlim_t wanted)
{
	struct rlimit l;

	if (getrlimit((__rlimit_resource_t)what, &l) < 0 || l.rlim_cur >= wanted)
		return;
	l.rlim_cur = wanted;
	if (l.rlim_max < wanted)
		l.rlim_max = wanted;
	(void)setrlimit((__rlimit_resource_t)what, &l);
}

/* -- giving up ------------------------------------------------------------------------------------ */

struct confine_places parent_places(const struct parent_params *q)
{
	const struct config *c = q->config;
	struct confine_places p = {
		.state = q->state_dir,
		.run = q->run_dir,
		.config = c->path[0] ? c->dir : NULL,
		.exe = q->exe,
	};

	if (c->identity) {
		p.files[0] = c->cert;
		p.files[1] = c->key;
		p.files[2] = c->ca;
	}
	return p;
}

static int give_up(const struct parent *p, char *why, size_t max)
{
	struct confine_places places = parent_places(p->params);
	int abi = landlock_abi(), err = isolate_parent();
	char text[24];

	if (err) {
		snprintf(why, max, "privileges cannot be given up: %s", strerrordesc_np(-err));
		return err;
	}
	err = confine_parent(&places);
	if (err) {
		snprintf(why, max, "files cannot be closed off by Landlock: %s",
		         strerrordesc_np(-err));
		return err;
	}
	if (abi)
		log_info("processes are confined", "landlock", log_num(text, abi), NULL);
	else
		log_warn(
			"the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, lsm=landlock): "
			"processes are confined by uid, capabilities and system call filters alone",
			NULL);
	return 0;
}

/* In this order: guarded before anything can be asked of us, folders and sockets while we may. */
static int set_up(struct parent *p, char *why, size_t max)
{
	const struct parent_params *q = p->params;
	int err;

	err = guard_plan_make(&p->plan, q->node, q->config, why, max);
	if (err)
		return err;
	p->plan.state_dir = q->state_dir;
	err = guarded_up(&p->guard, &p->plan, why, max);
	if (err)
		return err;
	p->guard_ok = true;
	p->index = guard_index(p->guard);
	if (guard_forwarding_changed(p->guard))
		log_info("forwarding is on now, for the addresses behind interfaces; "
		         "`ginnel down` puts it back",
		         NULL);
	err = add_children(p, why, max);
	if (err)
		return err;
	err = open_doors(p, why, max);
	if (err)
		return err;
	err = sealed_new(&p->exec.config, "ginnel.yaml", q->config->text, q->config->len);
	if (err) {
		snprintf(why, max, "the config cannot be kept: %s", strerrordesc_np(-err));
		return err;
	}
	raise_limit(RLIMIT_NOFILE, FILES_WANTED);
	raise_limit(RLIMIT_MEMLOCK, MEMLOCK_WANTED);
	err = open_signals(&p->signals);
	if (err) {
		snprintf(why, max, "signals: %s", strerrordesc_np(-err));
		return err;
	}
	return give_up(p, why, max);
}

static void close_one(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* The guards stay: overlay traffic is refused, not let out, while nobody is here. */
static void take_down(struct parent *p)
{
	static const char *const names[] = {"control", "admin", "ca"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unlinkat(p->params->run_dir, names[i], 0);
	admin_clear(&p->admin);
	for (int i = 0; i < CHILDREN; i++)
		close_one(p->child[i].dir);
	close_one(p->control);
	close_one(p->ca_door);
	close_one(p->tcp);
	close_one(p->signals);
	close_one(p->exec.config);
	guard_release(p->guard);
}

int parent_run(const struct parent_params *params)
{
	struct parent *p = calloc(1, sizeof(*p));
	char why[WHY_MAX] = "";
	int err;

	if (!p || params->workers < 1 || params->workers > WORKERS_MAX) {
		free(p);
		return 1;
	}
	p->params = params;
	p->exec = (struct child_exec){.exe = params->exe,
	                              .config_path = params->config_path,
	                              .state_path = params->state_path,
	                              .run_path = params->run_path,
	                              .config = -1};
	p->control = p->ca_door = p->tcp = p->signals = -1;
	admin_init(&p->admin, -1);
	for (int i = 0; i < CHILDREN; i++)
		child_init(&p->child[i]);
	err = set_up(p, why, sizeof(why));
	if (err) {
		fault(why, NULL, "ginneld cannot start");
	} else {
		p->next_check = clock_now() + PARENT_CHECK_NS;
		loop(p);
	}
	take_down(p);
	free(p);
	return err ? 1 : 0;
}

int parent_lock(int state_dir, int run_dir, char *why, size_t max)
{
	int err = folder_lock(run_dir);

	if (!err)
		err = folder_lock(state_dir);
	if (err == -EBUSY)
		snprintf(why, max,
		         "another ginneld runs here, or `ginnel init` or `join` is at "
		         "work; a second node on one machine needs its own --state and "
		         "--run");
	else if (err)
		snprintf(why, max, "its lock cannot be taken: %s", strerrordesc_np(-err));
	return err;
}

int parent_open_state(int *fd, const char *path, char *why, size_t max)
{
	return folder_open(fd, path, NULL, why, max);
}

int parent_open_run(int *fd, const char *path, char *why, size_t max)
{
	return folder_open(fd, path, FOLDER_GROUP, why, max);
}
