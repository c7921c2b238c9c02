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

/* syscalls(engine): poll ppoll sched_yield */

#define SMALL_PACKETS      24     /* a turn that brought fewer, and */
#define SMALL_BYTES        16384  /* less, costs nearly as much as a full one */
#define ARRIVAL_IS         8      /* packets, at a guess */
#define YIELD_LONG         20000  /* ns: somebody else had our core */
#define YIELD_NOT          200    /* turns, after that */
#define SPIN               100000 /* ns before sleeping */
#define SPIN_STREAM        20000 /* ns: what comes sooner comes by itself, and gathers while we sleep */
#define ANSWERS_PER_SECOND 100
#define ANSWERS_BURST      50
#define ANSWERS_KEY        0x9e3779b97f4a7c15 /* no secret: those who are answered are our own */
#define SPIN_LUCK          16 /* of the last spins' results that are remembered, about */

int worker_init(struct worker *w, struct engine *e, unsigned id, const struct io_files *files)
{
	int err;

	memset(w, 0, sizeof(*w));
	w->engine = e;
	w->id = id;
	w->open = true;
	err = mailbox_init(&w->adopt, sizeof(struct handover), WORKER_ADOPT_SLOTS);
	if (err)
		return err;
	err = mailbox_init(&w->strangers, sizeof(struct stranger), WORKER_STRANGER_SLOTS);
	if (err)
		goto fail_strangers;
	err = waiting_init(&w->waiting, id);
	if (err)
		goto fail_waiting;
	err = refusals_init(&w->refusals);
	if (err)
		goto fail_refusals;
	ratelimit_init(&w->answers, ANSWERS_KEY, ANSWERS_PER_SECOND, ANSWERS_BURST);
	err = pass_init(w, e->nworkers);
	if (err)
		goto fail_pass;
	err = mailbox_init(&w->files, sizeof(struct gossip_file), WORKER_FILE_SLOTS);
	if (err)
		goto fail_files;
	err = io_init(&w->io, files, &w->counters);
	if (err)
		goto fail_io;
	return 0;
fail_io:
	mailbox_clear(&w->files);
fail_files:
	pass_clear(w);
fail_pass:
	refusals_clear(&w->refusals);
fail_refusals:
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

/* After all threads have ended. */
void worker_clear(struct worker *w)
{
	free_files(w);
	free_handovers(w);
	free_strangers(w);
	io_clear(&w->io);
	refusals_clear(&w->refusals);
	pass_clear(w);
	waiting_clear(&w->waiting);
	mailbox_clear(&w->strangers);
	mailbox_clear(&w->adopt);
}

static bool ask(struct worker *w, struct peer *p, unsigned workers, bool more, int64_t *asked,
                int64_t now)
{
	struct stranger *s;

	if (*asked && now - *asked < SECONDS(1))
		return false;
	s = mailbox_reserve(&w->strangers);
	if (!s)
		return false;
	*asked = now;
	s->wanted = peer_get(p);
	s->workers = workers;
	s->more = more;
	mailbox_post(&w->strangers);
	return true;
}

bool worker_want(struct worker *w, struct peer *p, int64_t now)
{
	unsigned worker = atomic_load_explicit(&p->active, memory_order_relaxed) ? w->id : 0;

	return ask(w, p, 1u << worker, false, &p->slots[w->id].asked, now);
}

void worker_want_more(struct worker *w, struct peer *p, unsigned workers, int64_t now)
{
	ask(w, p, workers, true, &p->slots[w->id].asked_more, now);
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

/* A tick looks at all lanes, and each of a thousand idle ones wants one at a time of its own. */
#define TICK_APART (20 * 1000000LL)
/* Another worker has a lane that packets may wait for here. */
static void heed_news(struct worker *w, int64_t now)
{
	unsigned news = atomic_load_explicit(&w->engine->lanes_news, memory_order_acquire);

	if (news == w->news)
		return;
	w->news = news;
	pass_waiting(w, now);
}

/* Worth a few more lanes? */
static void judge_load(struct worker *w, int64_t now)
{
	if (now - w->load_since < WORKER_LOAD_WINDOW)
		return;
	if (2 * w->worked > now - w->load_since)
		lanes_loaded(w, now);
	w->load_since = now;
	w->worked = 0;
}

/* Returns how long the thread may sleep. */
static int64_t worker_round(struct worker *w, int64_t now)
{
	bool passed = false;
	int64_t waiting;
	unsigned expired;

	w->snapshot = engine_snapshot(w->engine);
	if (w->snapshot->serial != w->judged) {
		lanes_judge(w, now);
		if (w->open && !w->snapshot->open)
			flows_begin(w->engine->flows, now);
		w->open = w->snapshot->open;
		w->judged = w->snapshot->serial;
	}
	adopt_round(w, now);
	io_turn(&w->io);
	outbound_batch(w, now);
	inbound_batch(w, now);
	if (w->engine->nworkers > 1) {
		heed_news(w, now);
		pass_done(w);
		passed = pass_round(w, now);
		judge_load(w, now);
		if (w->holds)
			worker_tick_by(w, now);
	}
	if (!w->snapshot->open)
		flows_sweep(w->engine->flows, now);
	expired = waiting_expire(&w->waiting, now);
	count_add(&w->counters.drops[DROP_NO_SESSION], expired);
	if (now >= w->tick) {
		int64_t next;

		w->tick = INT64_MAX;
		next = lanes_tick(w, now);
		worker_tick_by(w, next < now + TICK_APART ? now + TICK_APART : next);
	}
	if (passed || io_pending(&w->io) || w->io.nreads || w->io.narrivals)
		return now;
	waiting = waiting_deadline(&w->waiting);
	return w->tick < waiting ? w->tick : waiting;
}

enum { WAKE_TUN, WAKE_MAILBOX, WAKE_UDP, WAKES = WAKE_UDP + UDP_SOCKETS };

static void sleep_until(struct worker *w, struct pollfd fds[WAKES], int64_t next, int64_t now)
{
	rcu_leave(&w->engine->snapshot);
	poll(fds, WAKE_UDP + w->io.nsockets, clock_poll_ms(next, now));
	rcu_thread_online();
	if (fds[WAKE_MAILBOX].revents)
		mailbox_awake(&w->adopt);
	if (fds[WAKE_TUN].revents & (POLLERR | POLLHUP)) {
		fds[WAKE_TUN].fd = -1; /* it would wake us for ever */
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
	struct pollfd fds[WAKES] = {
		[WAKE_TUN] = {.fd = w->io.tun_fd, .events = POLLIN},
		[WAKE_MAILBOX] = {.fd = w->adopt.fd, .events = POLLIN},
	};
	int64_t before = 0; /* when a round began that was work; 0: it was not */

	for (unsigned i = 0; i < w->io.nsockets; i++)
		fds[WAKE_UDP + i] = (struct pollfd){.fd = w->io.udp[i].fd, .events = POLLIN};
	rcu_register_thread();
	while (!atomic_load(&w->engine->stop)) {
		int64_t now = clock_now(), next;

		w->worked += before ? now - before : 0;
		next = worker_round(w, now);
		before = next <= now ? now : 0;
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
