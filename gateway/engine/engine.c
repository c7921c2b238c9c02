/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/engine.h"

#include "crypto/secret.h"
#include "gateway/engine/rcu.h"
#include "gateway/engine/steer.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* syscalls(engine): write */
/* syscalls(engine, before the filter): getrandom */

static void kick(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is awake */
}

void engine_wake(struct engine *e, unsigned workers)
{
	for (unsigned i = 0; i < e->nworkers; i++)
		if (workers >> i & 1)
			kick(e->workers[i].adopt.fd);
}

static void kick_all(struct engine *e)
{
	engine_wake(e, ~0u);
	kick(e->handshake.kick);
}

void engine_changed(struct engine *e)
{
	kick(e->event_fd);
}

void engine_device_gone(struct engine *e)
{
	atomic_store(&e->device_gone, true);
	engine_changed(e);
}

int engine_event_fd(const struct engine *e)
{
	return e->event_fd;
}

/* Signals are control's: the threads are started with all of them blocked, but the filter's. */
static int start_thread(pthread_t *t, void *(*main)(void *), void *arg)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	sigdelset(&all, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(t, NULL, main, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

static void join_all(struct engine *e)
{
	atomic_store(&e->stop, true);
	kick_all(e);
	for (unsigned i = 0; i < e->running; i++)
		pthread_join(e->workers[i].thread, NULL);
	if (e->handshaking)
		pthread_join(e->handshake.thread, NULL);
	e->running = 0;
	e->handshaking = false;
}

static int flows_start(struct flows **out)
{
	uint8_t key[16];
	int err = secret_random(key, sizeof(key));

	return err ? err : flows_new(out, key);
}

/* Worker i of n: its queue among all of them, and its sockets. */
static int start_worker(struct engine *e, unsigned i, const int *tun_fds, const int *udp_fds,
                        unsigned n)
{
	struct io_files f = {.queues = tun_fds, .nqueues = n, .own = i};

	f.udp[UDP_GROUP] = udp_fds[i];
	f.udp[UDP_OWN] = i ? udp_fds[n + i - 1] : -1;
	return worker_init(&e->workers[i], e, i, &f);
}

int engine_new(struct engine **out, const int *tun_fds, const int *udp_fds, unsigned n)
{
	struct engine *e = calloc(1, sizeof(*e));
	unsigned made = 0;
	int err = -ENOMEM;

	if (!e || !n || n > WORKERS_MAX)
		goto fail_engine;
	e->workers = aligned_alloc(_Alignof(struct worker), n * sizeof(*e->workers));
	if (!e->workers)
		goto fail_engine;
	e->nworkers = n;
	err = flows_start(&e->flows);
	if (err)
		goto fail_flows;
	e->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (e->event_fd < 0) {
		err = -errno;
		goto fail_event;
	}
	err = mailbox_init(&e->notices, sizeof(struct notice), ENGINE_NOTICES);
	if (err)
		goto fail_notices;
	err = handshake_init(&e->handshake, e);
	if (err)
		goto fail_handshake;
	for (; made < n; made++) {
		err = start_worker(e, made, tun_fds, udp_fds, n);
		if (err)
			goto fail_workers;
	}
	err = n > 1 ? steer_attach(udp_fds[0], n) : 0;
	if (err)
		goto fail_workers;
	e->ringed = true;
	for (unsigned i = 0; i < n; i++)
		e->ringed &= e->workers[i].io.ringed;
	*out = e;
	return 0;
fail_workers:
	while (made)
		worker_clear(&e->workers[--made]);
	handshake_clear(&e->handshake);
fail_handshake:
	mailbox_clear(&e->notices);
fail_notices:
	close(e->event_fd);
fail_event:
	flows_free(e->flows);
fail_flows:
	free(e->workers);
fail_engine:
	free(e);
	return err;
}

int engine_start(struct engine *e, struct snapshot *s)
{
	int err = 0;

	s->serial = ++e->serial;
	atomic_store(&e->snapshot, s);
	while (!err && e->running < e->nworkers) {
		struct worker *w = &e->workers[e->running];

		err = start_thread(&w->thread, worker_main, w);
		e->running += !err;
	}
	if (!err)
		err = start_thread(&e->handshake.thread, handshake_main, &e->handshake);
	e->handshaking = !err;
	if (err)
		join_all(e);
	return err;
}

void engine_stop(struct engine *e)
{
	if (!e)
		return;
	join_all(e);
	handshake_clear(&e->handshake);
	for (unsigned i = 0; i < e->nworkers; i++)
		worker_clear(&e->workers[i]);
	mailbox_clear(&e->notices);
	close(e->event_fd);
	if (e->snapshot)
		snapshot_free(e->snapshot);
	flows_free(e->flows);
	free(e->workers);
	free(e);
}

void engine_publish(struct engine *e, struct snapshot *s)
{
	struct snapshot *old;

	s->serial = ++e->serial;
	old = atomic_exchange(&e->snapshot, s);
	kick_all(e);
	rcu_wait(&e->snapshot); /* every thread has ended the round it was in */
	snapshot_free(old);
}

void engine_counters(struct engine *e, struct counters *total)
{
	for (unsigned i = 0; i < e->nworkers; i++)
		counters_sum(total, &e->workers[i].counters);
	counters_sum(total, &e->handshake.counters);
}

uint64_t engine_rule_drops(const struct engine *e, uint32_t rule)
{
	const struct snapshot *s = atomic_load_explicit(&e->snapshot, memory_order_relaxed);

	return s->open ? 0 : rule_drops_read(s->rule_drops, rule);
}

bool engine_refusal(struct engine *e, struct refusal *out)
{
	for (unsigned i = 0; i < e->nworkers; i++)
		if (refusals_next(&e->workers[i].refusals, out))
			return true;
	return false;
}

const struct notice *engine_notice(struct engine *e)
{
	static _Thread_local struct notice copy;
	struct notice *n = mailbox_next(&e->notices);

	if (!n)
		return NULL;
	copy = *n;
	mailbox_done(&e->notices);
	return &copy;
}

bool engine_file(struct engine *e, struct gossip_file *out)
{
	for (unsigned i = 0; i < e->nworkers; i++) {
		struct gossip_file *f = mailbox_next(&e->workers[i].files);

		if (!f)
			continue;
		*out = *f;
		mailbox_done(&e->workers[i].files);
		return true;
	}
	return false;
}

enum cert_refusal engine_admit(void *engine_pointer, const struct cert_info *peer)
{
	struct engine *e = *(struct engine **)engine_pointer;
	const struct snapshot_peer *sp;

	if (!e || !e->handshake.snapshot)
		return CERT_UNKNOWN_NODE;
	sp = snapshot_find(e->handshake.snapshot, peer->node);
	if (!sp || (sp->incarnation && sp->incarnation != peer->incarnation))
		return CERT_UNKNOWN_NODE;
	return revocations_judge(&e->handshake.snapshot->revoked, peer, true);
}
