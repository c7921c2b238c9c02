/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/gossip.h"

#include "gateway/engine/engine.h"
#include "gateway/engine/worker.h"
#include <stdlib.h>
#include <string.h>

struct fetch {
	struct lists_head head;
	size_t got;
	int64_t begun, asked;
	unsigned tries;
	uint8_t bytes[];
};

/* It is no question whose answer shows that the lane lives: those are pings. */
static void send_frame(struct worker *w, struct lane *l, uint8_t *frame, size_t len, int64_t now)
{
	int64_t unanswered = l->unanswered;

	lane_send(w, l, frame, len, 0, now);
	l->unanswered = unanswered;
}

static bool same(const uint8_t a[LISTS_HASH], const uint8_t b[LISTS_HASH])
{
	return !memcmp(a, b, LISTS_HASH);
}

static bool same_head(const struct lists_head *a, const struct lists_head *b)
{
	return a->number == b->number && same(a->says, b->says) && same(a->id, b->id);
}

/* -- telling ---------------------------------------------------------------------------------- */

/* The peer says the same, and of a list as new. */
static bool agreed(const struct gossip *g, const struct lists *ours)
{
	return same(g->peer.says, ours->head.says) && g->peer.number >= ours->head.number;
}

static void note_agreed(struct worker *w, const struct gossip *g, const struct lists *ours,
                        int64_t now)
{
	if (agreed(g, ours))
		atomic_store_explicit(&w->engine->lists_confirmed, now, memory_order_relaxed);
}

static void tell(struct worker *w, struct lane *l, const struct lists *ours, int64_t now)
{
	uint8_t frame[FRAME_LISTS_LEN + 1];
	struct gossip *g = &l->gossip;

	frame_format_lists(frame, &ours->head, g->peer.says);
	send_frame(w, l, frame, FRAME_LISTS_LEN, now);
	if (!same_head(&g->told, &ours->head))
		g->wait = GOSSIP_TELL;
	else if (g->wait < GOSSIP_TELL_MAX)
		g->wait *= 2;
	g->told = ours->head;
	g->told_at = now;
	g->unheard = false;
	note_agreed(w, g, ours, now);
}

/* It says with it what it has heard of us: who is heard does not answer, or two would never end. */
static void take_head(struct worker *w, struct lane *l, int64_t now)
{
	const struct lists *ours = w->snapshot->lists;
	struct gossip *g = &l->gossip;

	g->peer = w->frame.lists;
	g->unheard = ours && !same(w->frame.heard, ours->head.says);
	if (ours)
		note_agreed(w, g, ours, now);
	worker_tick_by(w, now);
}

static int64_t tell_at(const struct gossip *g, const struct lists *ours)
{
	if (g->unheard || !same_head(&g->told, &ours->head))
		return 0;
	return g->told_at + (agreed(g, ours) ? GOSSIP_AGAIN : g->wait);
}

/* -- fetching --------------------------------------------------------------------------------- */

static void fetch_end(struct worker *w, struct gossip *g)
{
	if (!g->fetch)
		return;
	free(g->fetch);
	g->fetch = NULL;
	w->fetches--;
}

static void fetch_fail(struct worker *w, struct gossip *g, int64_t now)
{
	fetch_end(w, g);
	g->fetch_at = now + GOSSIP_TELL;
}

void gossip_clear(struct worker *w, struct gossip *g)
{
	fetch_end(w, g);
}

static void fetch_ask(struct worker *w, struct lane *l, int64_t now)
{
	struct fetch *f = l->gossip.fetch;
	uint8_t frame[FRAME_ASK_LEN + 1];

	f->asked = now;
	frame_format_ask(frame, f->head.id, (uint32_t)f->got);
	send_frame(w, l, frame, FRAME_ASK_LEN, now);
	worker_tick_by(w, now + GOSSIP_ASK);
}

static bool wanted(const struct gossip *g, const struct lists *ours, int64_t now)
{
	const struct lists_head *p = &g->peer;

	if (!p->number || g->fetch || now < g->fetch_at || same(p->id, g->tried))
		return false;
	return !ours || p->number > ours->head.number || !same(p->says, ours->head.says);
}

static void fetch_begin(struct worker *w, struct lane *l, int64_t now)
{
	struct gossip *g = &l->gossip;

	if (!wanted(g, w->snapshot->lists, now) || w->fetches >= GOSSIP_FETCHES)
		return;
	g->fetch = malloc(sizeof(*g->fetch) + g->peer.len);
	if (!g->fetch)
		return; /* it is told again */
	*g->fetch = (struct fetch){.head = g->peer, .begun = now};
	w->fetches++;
	fetch_ask(w, l, now);
}

/* Handed to control, if there is room; else it is told again, and fetched again. */
static void fetch_done(struct worker *w, struct lane *l, int64_t now)
{
	struct gossip *g = &l->gossip;
	struct fetch *f = g->fetch;
	uint8_t id[LISTS_HASH];
	struct gossip_file *slot;
	uint8_t *copy;

	g->fetch_at = now + GOSSIP_TELL;
	lists_id(id, f->bytes, f->head.len);
	slot = same(id, f->head.id) ? mailbox_reserve(&w->files) : NULL;
	copy = slot ? malloc(f->head.len) : NULL;
	if (copy) {
		memcpy(copy, f->bytes, f->head.len);
		slot->bytes = copy;
		slot->len = f->head.len;
		memcpy(slot->peer, l->peer->name, sizeof(slot->peer));
		mailbox_post(&w->files);
		engine_changed(w->engine);
		memcpy(g->tried, f->head.id, LISTS_HASH);
	}
	fetch_end(w, g);
}

static void take_part(struct worker *w, struct lane *l, int64_t now)
{
	const struct frame *p = &w->frame;
	struct fetch *f = l->gossip.fetch;

	if (!f || !same(p->lists.id, f->head.id) || p->offset != f->got ||
	    p->part_len > f->head.len - f->got)
		return; /* late, or of a window that was asked for twice */
	memcpy(f->bytes + f->got, p->part, p->part_len);
	f->got += p->part_len;
	f->tries = 0;
	f->asked = now;
	if (f->got == f->head.len)
		fetch_done(w, l, now);
	else if (f->got % (GOSSIP_WINDOW * GOSSIP_PART) == 0)
		fetch_ask(w, l, now);
}

/* -- serving ---------------------------------------------------------------------------------- */

static bool may_serve(struct gossip *g, int64_t now)
{
	if (now - g->served_since >= SECONDS(1)) {
		g->served_since = now;
		g->served = 0;
	}
	return g->served++ < GOSSIP_SERVED;
}

static void serve(struct worker *w, struct lane *l, int64_t now)
{
	const struct lists *ours = w->snapshot->lists;
	uint8_t frame[FRAME_PART_HEAD + GOSSIP_PART + 1];
	size_t at = w->frame.offset;

	if (!ours || !same(w->frame.lists.id, ours->head.id) || !may_serve(&l->gossip, now))
		return;
	for (int i = 0; i < GOSSIP_WINDOW && at < ours->head.len; i++) {
		size_t n = ours->head.len - at < GOSSIP_PART ? ours->head.len - at : GOSSIP_PART;

		frame_format_part(frame, ours->head.id, (uint32_t)at);
		memcpy(frame + FRAME_PART_HEAD, ours->bytes + at, n);
		send_frame(w, l, frame, FRAME_PART_HEAD + n, now);
		at += n;
	}
}

/* -- both --------------------------------------------------------------------------------------- */

void gossip_frame(struct worker *w, struct lane *l, int64_t now)
{
	switch (w->frame.kind) {
	case FRAME_LISTS:
		take_head(w, l, now);
		break;
	case FRAME_LISTS_ASK:
		serve(w, l, now);
		break;
	default:
		take_part(w, l, now);
		break;
	}
}

static int64_t fetch_tick(struct worker *w, struct lane *l, int64_t now)
{
	struct gossip *g = &l->gossip;

	if (!g->fetch)
		fetch_begin(w, l, now);
	else if (now - g->fetch->begun >= GOSSIP_FETCH ||
	         (now - g->fetch->asked >= GOSSIP_ASK && ++g->fetch->tries > GOSSIP_TRIES))
		fetch_fail(w, g, now);
	else if (now - g->fetch->asked >= GOSSIP_ASK)
		fetch_ask(w, l, now);
	if (g->fetch)
		return g->fetch->asked + GOSSIP_ASK;
	return wanted(g, w->snapshot->lists, INT64_MAX) ? now + GOSSIP_ASK : INT64_MAX;
}

int64_t gossip_tick(struct worker *w, struct lane *l, int64_t now)
{
	const struct lists *ours = w->snapshot->lists;
	struct gossip *g = &l->gossip;
	int64_t next = fetch_tick(w, l, now);

	if (!ours)
		return next;
	if (now >= tell_at(g, ours))
		tell(w, l, ours, now);
	return next < tell_at(g, ours) ? next : tell_at(g, ours);
}
