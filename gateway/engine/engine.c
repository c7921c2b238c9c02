/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/engine.h"

#include "gateway/engine/rcu.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* syscalls(engine): write */

static void kick(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is awake */
}

static void kick_all(struct engine *e)
{
	for (unsigned i = 0; i < e->nworkers; i++)
		kick(e->workers[i].adopt.fd);
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

/* Signals are control's: the threads are started with all of them blocked. */
static int start_thread(pthread_t *t, void *(*main)(void *), void *arg)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(t, NULL, main, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

static void join_workers(struct engine *e, unsigned n)
{
	atomic_store(&e->stop, true);
	kick_all(e);
	for (unsigned i = 0; i < n; i++)
		pthread_join(e->workers[i].thread, NULL);
}

int engine_start(struct engine **out, struct snapshot *s, const int *tun_fds, const int *udp_fds,
                 unsigned n)
{
	struct engine *e = calloc(1, sizeof(*e));
	unsigned made = 0, running = 0;
	int err = -ENOMEM;

	if (!e || !n || n > ENGINE_WORKERS_MAX)
		goto fail_engine;
	e->workers = calloc(n, sizeof(*e->workers));
	if (!e->workers)
		goto fail_engine;
	e->nworkers = n;
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
		err = worker_init(&e->workers[made], e, made, tun_fds[made], udp_fds[made]);
		if (err)
			goto fail_workers;
	}
	e->ringed = true;
	for (unsigned i = 0; i < n; i++)
		e->ringed &= e->workers[i].io.ringed;
	s->serial = ++e->serial;
	atomic_store(&e->snapshot, s);
	*out = e; /* before the threads: engine_admit follows this pointer */
	for (; running < n; running++) {
		err = start_thread(&e->workers[running].thread, worker_main, &e->workers[running]);
		if (err)
			goto fail_threads;
	}
	err = start_thread(&e->handshake.thread, handshake_main, &e->handshake);
	if (err)
		goto fail_threads;
	return 0;
fail_threads:
	join_workers(e, running);
	*out = NULL;
fail_workers:
	while (made)
		worker_clear(&e->workers[--made]);
	handshake_clear(&e->handshake);
fail_handshake:
	mailbox_clear(&e->notices);
fail_notices:
	close(e->event_fd);
fail_event:
	free(e->workers);
fail_engine:
	free(e);
	snapshot_free(s);
	return err;
}

void engine_stop(struct engine *e)
{
	if (!e)
		return;
	join_workers(e, e->nworkers);
	pthread_join(e->handshake.thread, NULL);
	handshake_clear(&e->handshake);
	for (unsigned i = 0; i < e->nworkers; i++)
		worker_clear(&e->workers[i]);
	mailbox_clear(&e->notices);
	close(e->event_fd);
	snapshot_free(e->snapshot);
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
