/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/pass.h"

#include "gateway/engine/engine.h"
#include "gateway/engine/worker.h"
#include <string.h>

#define AGAIN (1000000LL) /* ns: the box was too full for a mark */

static unsigned bit(const struct worker *w)
{
	return 1u << w->id;
}

int pass_init(struct worker *w, unsigned n)
{
	for (unsigned from = 0; from < n; from++) {
		int err;

		if (from == w->id)
			continue;
		err = mailbox_init_beside(&w->passed[from].box, sizeof(struct passed), PASS_SLOTS,
		                          w->adopt.fd);
		if (err) {
			pass_clear(w);
			return err;
		}
	}
	return 0;
}

/* After all threads have ended. */
void pass_clear(struct worker *w)
{
	for (unsigned from = 0; from < WORKERS_MAX; from++) {
		struct pass_box *b = &w->passed[from];
		struct passed *p;

		if (!b->box.slots)
			continue;
		for (; b->taken; b->taken--)
			mailbox_done(&b->box);
		while ((p = mailbox_next(&b->box))) {
			if (p->kind == PASSED_MARK)
				peer_put(p->peer);
			mailbox_done(&b->box);
		}
		mailbox_clear(&b->box);
	}
}

/* -- the writer ----------------------------------------------------------------------------------- */

static struct mailbox *box_of(struct worker *w, unsigned to)
{
	return &w->engine->workers[to].passed[w->id].box;
}

bool pass_packet(struct worker *w, unsigned to, const struct addr *dst, const uint8_t *data,
                 size_t len)
{
	struct passed *p = len <= PASS_DATA ? mailbox_reserve(box_of(w, to)) : NULL;

	if (!p)
		return false;
	p->kind = PASSED_PACKET;
	p->dst = *dst;
	p->len = len;
	memcpy(p->data, data, len);
	mailbox_post(box_of(w, to));
	return true;
}

enum drop pass_datagram(struct worker *w, const uint8_t *cid, const struct udp_path *path,
                        const uint8_t *data, size_t len)
{
	struct passed *p;

	if (cid[0] >= w->engine->nworkers || len > PASS_DATA)
		return DROP_UNKNOWN_CID;
	/* Anybody can send what looks like it: room is left for packets and marks, which are our own. */
	if (mailbox_waiting(box_of(w, cid[0])) >= PASS_SLOTS / 2)
		return DROP_WORKER_BEHIND;
	p = mailbox_reserve(box_of(w, cid[0]));
	if (!p)
		return DROP_WORKER_BEHIND;
	p->kind = PASSED_DATAGRAM;
	p->path = *path;
	p->len = len;
	memcpy(p->data, data, len);
	mailbox_post(box_of(w, cid[0]));
	return DROP_NONE;
}

static bool pass_mark(struct worker *w, unsigned to, struct peer *peer)
{
	struct passed *p = mailbox_reserve(box_of(w, to));

	if (!p)
		return false;
	p->kind = PASSED_MARK;
	p->peer = peer_get(peer);
	mailbox_post(box_of(w, to));
	return true;
}

/* Those that waited go first. */
static void waiting_leave(struct worker *w, struct peer *peer, unsigned to)
{
	struct waiting_packet *p;

	while ((p = waiting_take(&w->waiting, peer))) {
		struct ip_view ip;

		if (ip_parse(&ip, p->data, p->len) < 0 ||
		    !pass_packet(w, to, &ip.dst, p->data, p->len))
			count_add(&w->counters.drops[DROP_WORKER_BEHIND], 1);
	}
}

static void count(struct worker *w, struct peer *p, int64_t now)
{
	struct pass_slot *s = &p->slots[w->id].pass;

	s->last = now;
	if (now - s->since >= PASS_WINDOW) {
		s->windows = s->count > PASS_MANY ? s->windows + 1 : 0;
		s->since = now;
		s->count = 0;
	}
	if (++s->count > PASS_MANY && s->windows >= (lane_ours_first(w, p) ? 0 : LANE_PATIENCE))
		worker_want_more(w, p, bit(w), now);
}

static void end_hold(struct worker *w, struct pass_slot *s)
{
	w->holds -= s->held != 0;
	s->held = 0;
}

/* The other lane carries them on for a while. */
static void give_up(struct worker *w, struct pass_slot *s, int64_t now)
{
	end_hold(w, s);
	s->tries++;
	s->again = now + PASS_AGAIN;
	worker_tick_by(w, s->again);
}

static bool held_too_long(const struct peer_slot *s, int64_t now)
{
	return s->pass.held && (s->waiting >= PASS_HELD || now - s->pass.held >= PASS_HELD_MAX);
}

int pass_by(struct worker *w, struct peer *p, int64_t now)
{
	struct peer_slot *s = &p->slots[w->id];
	unsigned active = atomic_load_explicit(&p->active, memory_order_acquire);

	if (held_too_long(s, now))
		give_up(w, &s->pass, now);
	if (!active || s->pass.held)
		return -1;
	if (!(active >> s->pass.to & 1))
		s->pass.to = (unsigned)__builtin_ctz(active);
	if (s->waiting)
		waiting_leave(w, p, s->pass.to);
	count(w, p, now);
	return (int)s->pass.to;
}

void pass_waiting(struct worker *w, int64_t now)
{
	uint32_t at = w->waiting.head;
	struct peer *p;

	while ((p = waiting_peer(&w->waiting, &at))) {
		peer_get(p); /* the last packet that waits may be the last that holds it */
		if (!p->slots[w->id].active)
			pass_by(w, p, now);
		peer_put(p);
	}
}

bool pass_over(struct worker *w, struct peer *p, int64_t now)
{
	struct pass_slot *s = &p->slots[w->id].pass;

	if (s->held && atomic_load_explicit(&p->through, memory_order_acquire) & bit(w))
		return true;
	if (held_too_long(&p->slots[w->id], now)) {
		give_up(w, s, now);
		pass_by(w, p, now); /* those that were held */
	}
	if (!s->last || now - s->last >= PASS_SETTLED || s->tries >= PASS_TRIES)
		return true;
	if (s->held || now < s->again)
		return false;
	atomic_fetch_and(&p->through, ~bit(w));
	if (!pass_mark(w, s->to, p)) {
		s->again = now + AGAIN;
		worker_tick_by(w, s->again);
		return false;
	}
	s->held = now;
	w->holds++;
	worker_tick_by(w, now + PASS_HELD_MAX);
	return false;
}

void pass_ended(struct worker *w, struct peer *p)
{
	struct pass_slot *s = &p->slots[w->id].pass;

	end_hold(w, s);
	s->last = s->again = 0;
	s->tries = 0;
}

/* -- the reader ----------------------------------------------------------------------------------- */

void pass_through(struct worker *w, struct peer *p, unsigned workers)
{
	atomic_fetch_or(&p->through, workers);
	engine_wake(w->engine, workers);
}

static void take(struct worker *w, unsigned from, struct passed *p, int64_t now)
{
	switch (p->kind) {
	case PASSED_PACKET:
		outbound_passed(w, &p->dst, p->data, p->len, now);
		return;
	case PASSED_DATAGRAM:
		outbound_passed_end(w, now); /* its lane may end by this one */
		inbound_passed(w, &p->path, p->data, p->len, now);
		return;
	case PASSED_MARK:
		outbound_passed_end(w, now);
		if (p->peer->slots[w->id].active)
			lane_mark(w, p->peer->slots[w->id].active, 1u << from, now);
		else
			pass_through(w, p->peer, 1u << from);
		peer_put(p->peer);
	}
}

void pass_done(struct worker *w)
{
	for (unsigned from = 0; from < w->engine->nworkers; from++)
		for (struct pass_box *b = &w->passed[from]; b->taken; b->taken--)
			mailbox_done(&b->box);
}

bool pass_round(struct worker *w, int64_t now)
{
	bool any = false;

	for (unsigned from = 0; from < w->engine->nworkers; from++) {
		struct pass_box *b = &w->passed[from];
		struct passed *p;

		if (from == w->id)
			continue;
		while (b->taken < PASS_ROUND && (p = mailbox_peek(&b->box, b->taken))) {
			b->taken++;
			take(w, from, p, now);
		}
		any |= b->taken > 0;
	}
	outbound_passed_end(w, now);
	inbound_passed_end(w);
	return any;
}
