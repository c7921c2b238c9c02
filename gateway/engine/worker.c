/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/worker.h"

#include "gateway/clock.h"
#include "gateway/engine/engine.h"
#include "gateway/engine/rcu.h"
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* syscalls(engine): poll sched_yield */

#define SMALL_PACKETS 24     /* a turn that brought fewer, and */
#define SMALL_BYTES   16384  /* less, costs nearly as much as a full one */
#define ARRIVAL_IS    8      /* packets, at a guess */
#define YIELD_LONG    20000  /* ns: somebody else had our core */
#define YIELD_NOT     200    /* turns, after that */
#define SPIN          100000 /* ns before sleeping */
#define SPIN_STREAM   20000  /* ns: what comes sooner comes by itself, and gathers while we sleep */
#define SPIN_LUCK     16     /* of the last spins' results that are remembered, about */

int worker_init(struct worker *w, struct engine *e, unsigned id, int tun_fd, int udp_fd)
{
	int err;

	memset(w, 0, sizeof(*w));
	w->engine = e;
	w->id = id;
	err = mailbox_init(&w->adopt, sizeof(struct handover), WORKER_ADOPT_SLOTS);
	if (err)
		return err;
	err = mailbox_init(&w->strangers, sizeof(struct stranger), WORKER_STRANGER_SLOTS);
	if (err)
		goto fail_strangers;
	err = waiting_init(&w->waiting, id);
	if (err)
		goto fail_waiting;
	err = mailbox_init(&w->files, sizeof(struct gossip_file), WORKER_FILE_SLOTS);
	if (err)
		goto fail_files;
	err = io_init(&w->io, tun_fd, udp_fd, &w->counters);
	if (err)
		goto fail_io;
	return 0;
fail_io:
	mailbox_clear(&w->files);
fail_files:
	waiting_clear(&w->waiting);
fail_waiting:
	mailbox_clear(&w->strangers);
fail_strangers:
	mailbox_clear(&w->adopt);
	return err;
}

static void free_handovers(struct worker *w)
{
	struct handover *h;

	while ((h = mailbox_next(&w->adopt))) {
		if (h->session) {
			session_free(h->session);
			peer_put(h->peer);
		}
		mailbox_done(&w->adopt);
	}
}

static void free_strangers(struct worker *w)
{
	struct stranger *s;

	while ((s = mailbox_next(&w->strangers))) {
		peer_put(s->wanted);
		mailbox_done(&w->strangers);
	}
}

static void free_files(struct worker *w)
{
	struct gossip_file *f;

	while ((f = mailbox_next(&w->files))) {
		free(f->bytes);
		mailbox_done(&w->files);
	}
	mailbox_clear(&w->files);
}

/* After both threads have ended. */
void worker_clear(struct worker *w)
{
	free_files(w);
	free_handovers(w);
	free_strangers(w);
	io_clear(&w->io);
	waiting_clear(&w->waiting);
	mailbox_clear(&w->strangers);
	mailbox_clear(&w->adopt);
}

bool worker_want(struct worker *w, struct peer *p, int64_t now)
{
	int64_t *asked = &p->slots[w->id].asked;
	struct stranger *s;

	if (*asked && now - *asked < SECONDS(1))
		return false;
	s = mailbox_reserve(&w->strangers);
	if (!s)
		return false;
	*asked = now;
	s->wanted = peer_get(p);
	mailbox_post(&w->strangers);
	return true;
}

enum drop worker_stranger(struct worker *w, const struct udp_path *path, const uint8_t *data,
                          size_t len)
{
	struct stranger *s;

	if (len > sizeof(s->data))
		return DROP_NOT_DTLS;
	if (mailbox_waiting(&w->strangers) >= WORKER_STRANGER_SLOTS - WORKER_WANT_SLOTS)
		return DROP_QUEUE_FULL;
	s = mailbox_reserve(&w->strangers);
	if (!s)
		return DROP_QUEUE_FULL;
	s->wanted = NULL;
	s->path = *path;
	s->len = len;
	memcpy(s->data, data, len);
	mailbox_post(&w->strangers);
	return DROP_NONE;
}

static void adopt_round(struct worker *w, int64_t now)
{
	struct handover *h;

	while ((h = mailbox_next(&w->adopt))) {
		if (h->session) {
			lane_adopt(w, h, now);
		} else {
			inbound_late(w, h->data, h->len, now);
			io_leave(&w->io); /* packets leave from where they lie: the slot */
		}
		mailbox_done(&w->adopt);
	}
}

/* Returns how long the thread may sleep. */
static int64_t worker_round(struct worker *w, int64_t now)
{
	int64_t waiting;
	unsigned expired;

	w->snapshot = engine_snapshot(w->engine);
	if (w->snapshot->serial != w->judged) {
		lanes_judge(w, now);
		w->judged = w->snapshot->serial;
	}
	adopt_round(w, now);
	io_turn(&w->io);
	outbound_batch(w, now);
	inbound_batch(w, now);
	expired = waiting_expire(&w->waiting, now);
	count_add(&w->counters.drops[DROP_NO_SESSION], expired);
	if (now >= w->tick) {
		w->tick = INT64_MAX;
		worker_tick_by(w, lanes_tick(w, now));
	}
	if (io_pending(&w->io) || w->io.nreads || w->io.narrivals)
		return now;
	waiting = waiting_deadline(&w->waiting);
	return w->tick < waiting ? w->tick : waiting;
}

static void sleep_until(struct worker *w, struct pollfd fds[3], int64_t next, int64_t now)
{
	rcu_leave(&w->engine->snapshot);
	poll(fds, 3, clock_poll_ms(next, now));
	rcu_thread_online();
	if (fds[2].revents)
		mailbox_awake(&w->adopt);
	if (fds[0].revents & (POLLERR | POLLHUP)) {
		fds[0].fd = -1; /* it would wake us for ever */
		engine_device_gone(w->engine);
	}
}

/* A small batch costs as much as a full one: let those run first who make packets, so that more
 * gather. Where our core is our own that costs a microsecond; if others took it for long, not again
 * for a while.
 */
static void let_gather(struct worker *w)
{
	unsigned got = w->io.nreads + ARRIVAL_IS * w->io.narrivals;
	int64_t before;

	if (w->no_yield)
		w->no_yield--;
	if (w->no_yield || got >= SMALL_PACKETS || w->io.bytes >= SMALL_BYTES)
		return;
	before = clock_now();
	sched_yield();
	if (clock_now() - before > YIELD_LONG)
		w->no_yield = YIELD_NOT;
}

/* An answer often comes within microseconds, and to be woken for it takes longer than to wait: so
 * look again for a while before sleeping, as long as that was worth it lately. A worker that never
 * finds anything by it spends SPIN for one in SPIN_LUCK sleeps. In a stream it would be wrong: there
 * sleep is what makes a batch.
 */
static bool spins(struct worker *w, int64_t now)
{
	if (!w->spin_since) {
		if (w->luck < SPIN_LUCK / 2 && ++w->sleeps % SPIN_LUCK)
			return false;
		w->spin_since = now;
	}
	if (now - w->spin_since < SPIN) {
		sched_yield();
		return true;
	}
	w->luck -= w->luck > 0;
	w->spin_since = 0;
	return false;
}

static void spin_won(struct worker *w, int64_t now)
{
	if (!w->spin_since)
		return;
	if (now - w->spin_since < SPIN_STREAM)
		w->luck = 0;
	else if (w->luck < SPIN_LUCK)
		w->luck++;
	w->spin_since = 0;
}

void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct pollfd fds[] = {
		{.fd = w->io.tun_fd, .events = POLLIN},
		{.fd = w->io.udp.fd, .events = POLLIN},
		{.fd = w->adopt.fd, .events = POLLIN},
	};

	rcu_register_thread();
	while (!atomic_load(&w->engine->stop)) {
		int64_t now = clock_now();
		int64_t next = worker_round(w, now);

		if (next > now && !spins(w, now)) {
			sleep_until(w, fds, next, now);
			continue;
		}
		rcu_quiet(&w->engine->snapshot);
		if (next <= now) {
			spin_won(w, now);
			let_gather(w);
		}
	}
	w->snapshot = engine_snapshot(w->engine);
	lanes_end_all(w, clock_now());
	io_leave(&w->io);
	rcu_leave(&w->engine->snapshot);
	rcu_unregister_thread();
	return NULL;
}
