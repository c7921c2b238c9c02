/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/lane.h"

#include "gateway/engine/engine.h"
#include "gateway/engine/worker.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
struct lane *lane_find(struct worker *w, const uint8_t *cid)
{
	struct lane *l;

	HASH_FIND(hh, w->lanes, cid, SESSION_CID_LEN, l);
	return l;
}

/* What the session itself has to say: acknowledgements, repeated flights, goodbyes. */
static void emit(void *arg, const uint8_t *datagram, size_t len)
{
	struct lane *l = arg;
	struct io *io = &l->worker->io;

	if (len > UDP_BUFFER)
		return;
	memcpy(io_place(io, &l->path, len), datagram, len);
	io_placed(io, len, 0);
}

enum drop lane_send(struct worker *w, struct lane *l, uint8_t *plain, size_t len, unsigned packets,
                    int64_t now)
{
	ssize_t n;

	if (len > LANE_PLAIN_MAX)
		return DROP_TOO_BIG;
	n = session_seal(l->session, plain, len,
	                 io_place(&w->io, &l->path, len + SESSION_OVERHEAD));
	if (n < 0) {
		l->dead = true; /* it seals no more: the next tick ends it, and dials anew */
		worker_tick_by(w, now);
		return n == -EKEYEXPIRED ? DROP_KEY_USED_UP : DROP_SEND_FAILED;
	}
	io_placed(&w->io, (size_t)n, packets);
	if (packets) {
		l->last_data = now;
		count_add(&l->slot->tx_packets, packets);
		count_add(&l->slot->tx_bytes, len);
	}
	if (!l->unanswered) {
		l->unanswered = now;
		worker_tick_by(w, now + LANE_ANSWER);
	}
	return DROP_NONE;
}

ssize_t lane_open(struct worker *w, struct lane *l, uint8_t *datagram, size_t len, uint8_t **plain,
                  int64_t now)
{
	ssize_t n;

	n = session_open(l->session, datagram, len, plain, now);
	worker_tick_by(w, session_state(l->session) == SESSION_UP ? session_deadline(l->session)
	                                                          : now);
	return n;
}

static enum drop ping_stamped(struct worker *w, struct lane *l, uint64_t stamp, int64_t now)
{
	uint8_t frame[FRAME_PING_LEN + 1];

	frame_format_ping(frame, FRAME_PING, stamp);
	l->last_ping = now;
	return lane_send(w, l, frame, FRAME_PING_LEN, 0, now);
}

/* A lost one is asked again. Its stamp is even: no mark's. */
static void ping(struct worker *w, struct lane *l, int64_t now)
{
	ping_stamped(w, l, (uint64_t)now & ~1ULL, now);
}

static void let_through(struct worker *w, struct lane *l)
{
	if (l->marked_for)
		pass_through(w, l->peer, l->marked_for);
	l->marked_for = 0;
}

void lane_mark(struct worker *w, struct lane *l, unsigned workers, int64_t now)
{
	uint64_t stamp = (uint64_t)now | 1;

	l->mark = stamp > l->mark ? stamp : l->mark + 2; /* each has one of its own */
	l->marked_for |= workers;
	if (ping_stamped(w, l, l->mark, now) != DROP_NONE)
		let_through(w, l);
}

void lane_answered(struct worker *w, struct lane *l, uint64_t stamp)
{
	if (stamp == l->mark)
		let_through(w, l);
}

static bool answers(const struct lane *l, int64_t now)
{
	return !l->unanswered || now - l->unanswered < LANE_PING;
}

bool lane_ours_first(const struct worker *w, const struct peer *p)
{
	return strcmp(w->snapshot->self_name, p->name) < 0;
}

/* One that answers, before one that does not. Of twins, born of both sides dialling at once, the one
 * dialled by the smaller name: so both ends come to the same choice. Else the younger one: its keys
 * are the freshest. If the ends differ for a moment (each goes by its own clock), both lanes live on,
 * for who hears on one keeps it.
 */
static bool better(const struct worker *w, const struct lane *a, const struct lane *b, int64_t now)
{
	bool smaller = lane_ours_first(w, a->peer);
	int64_t apart = a->born - b->born;

	if (answers(a, now) != answers(b, now))
		return answers(a, now);
	if (apart > -LANE_TWINS && apart < LANE_TWINS) {
		bool a_by_smaller = session_is_client(a->session) == smaller;
		bool b_by_smaller = session_is_client(b->session) == smaller;

		if (a_by_smaller != b_by_smaller)
			return a_by_smaller;
	}
	return apart > 0;
}

static void put_aside(struct peer_slot *s, struct lane *l)
{
	l->next = s->others;
	s->others = l;
}

static void take_aside(struct peer_slot *s, struct lane *l)
{
	struct lane **at = &s->others;

	while (*at && *at != l)
		at = &(*at)->next;
	if (*at)
		*at = l->next;
	l->next = NULL;
}

static void send_waiting(struct worker *w, struct lane *l, int64_t now)
{
	struct waiting_packet *p;

	while ((p = waiting_take(&w->waiting, l->peer))) {
		enum drop why = lane_send(w, l, p->data, p->len, 1, now);

		if (why != DROP_NONE)
			count_add(&w->counters.drops[why], 1);
	}
}

/* Workers that have one, beside this. */
static unsigned elsewhere(const struct worker *w, struct peer *p)
{
	return atomic_load_explicit(&p->active, memory_order_relaxed) & ~(1u << w->id);
}

static void make_active(struct worker *w, struct lane *l, int64_t now)
{
	struct peer_slot *s = l->slot;
	bool first = !s->active;

	if (s->active) {
		gossip_clear(w, &s->active->gossip); /* nobody would see it time out */
		put_aside(s, s->active);
	}
	take_aside(s, l);
	s->active = l;
	/* Where the peer is: not at a port from which it dials further lanes, if we know better. */
	peer_set_session(l->peer, session_peer(l->session),
	                 w->id && elsewhere(w, l->peer) ? NULL : &l->path.remote,
	                 session_kex(l->session), session_cipher(l->session));
	pass_ended(w, l->peer);
	send_waiting(w, l, now);
	if (!first)
		return;
	atomic_fetch_or(&l->peer->active, 1u << w->id);
	if (w->engine->nworkers > 1) {
		atomic_fetch_add(&w->engine->lanes_news, 1);
		engine_wake(w->engine, ~(1u << w->id));
	}
}

static struct lane *best_of(struct worker *w, const struct peer_slot *s, int64_t now)
{
	struct lane *best = s->active;

	for (struct lane *l = s->others; l; l = l->next)
		if (!best || (l->proven && !best->proven) ||
		    (l->proven == best->proven && better(w, l, best, now)))
			best = l;
	return best;
}

/* The best of the proven lanes sends. One that is not proven may not be known to the peer's worker yet:
 * what came by it would take a way round, and what comes next overtake it. If it is the first of ours,
 * packets went by another worker's: those are through before.
 */
static void choose(struct worker *w, struct peer *p, int64_t now)
{
	struct peer_slot *s = &p->slots[w->id];
	struct lane *best = best_of(w, s, now);

	if (!best)
		pass_ended(w, p);
	else if (best != s->active && best->proven && (s->active || pass_over(w, p, now)))
		make_active(w, best, now);
	if (!s->active)
		atomic_fetch_and(&p->active, ~(1u << w->id));
}

/* The one that was heard least lately makes room: a member may dial as often as it likes. */
static void bound_others(struct worker *w, struct peer_slot *s, int64_t now)
{
	struct lane *oldest = NULL;
	unsigned n = 0;

	for (struct lane *l = s->others; l; l = l->next, n++)
		if (!oldest || l->last_rx < oldest->last_rx)
			oldest = l;
	if (n >= LANE_OTHERS_MAX)
		lane_end(w, oldest, NULL, true, now);
}

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
void lane_adopt(struct worker *w, struct handover *h, int64_t now)
{
	struct lane *l = calloc(1, sizeof(*l));

	if (!l || lane_find(w, session_cid(h->session)) ||
	    snapshot_refuses(w->snapshot, h->peer, session_peer(h->session))) {
		free(l);
		session_free(h->session);
		peer_put(h->peer);
		return;
	}
	l->session = h->session;
	l->peer = h->peer;
	l->slot = &l->peer->slots[w->id];
	l->path = h->path;
	l->worker = w;
	l->born = l->last_rx = l->last_data = now;
	session_set_emit(l->session, emit, l);
	memcpy(l->cid, session_cid(l->session), sizeof(l->cid));
	HASH_ADD(hh, w->lanes, cid, SESSION_CID_LEN, l);
	bound_others(w, l->slot, now);
	put_aside(l->slot, l);
	ping(w, l, now); /* up means that a record of the peer opened: ask for one */
	worker_tick_by(w, now + LANE_PING);
	choose(w, l->peer, now);
}

void lane_heard(struct worker *w, struct lane *l, bool data, int64_t now)
{
	l->last_rx = now;
	l->unanswered = 0;
	if (l->proven || !data)
		return;
	l->proven = true;
	worker_tick_by(w, now); /* what we hold is told at once */
	atomic_fetch_add(&l->peer->lanes, 1);
	choose(w, l->peer, now);
	peer_set_state(l->peer, PEER_UP, "", time(NULL));
	engine_changed(w->engine);
}

/* Nothing was wrong, or the other side closed what nobody wants open: no reason to dial again. */
static bool rests(struct worker *w, const struct lane *l, const char *error)
{
	const struct snapshot_peer *sp = snapshot_find(w->snapshot, l->peer->name);

	return !error || (session_state(l->session) == SESSION_CLOSED && sp && !sp->keep_up);
}

static void peer_without_lane(struct worker *w, struct peer *p, bool rest, const char *error,
                              int64_t now)
{
	peer_set_state(p, rest ? PEER_IDLE : PEER_DOWN, error, time(NULL));
	if (!rest)
		worker_want(w, p, now);
	engine_changed(w->engine);
}

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
void lane_end(struct worker *w, struct lane *l, const char *error, bool goodbye, int64_t now)
{
	struct peer_slot *s = l->slot;
	bool rest = rests(w, l, error), last;

	last = l->proven ? atomic_fetch_sub(&l->peer->lanes, 1) == 1
	                 : !atomic_load(&l->peer->lanes);
	if (goodbye)
		session_close(l->session);
	if (s->active == l)
		s->active = NULL;
	else
		take_aside(s, l);
	/* It is in there. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
	HASH_DEL(w->lanes, l);
	let_through(w, l);
	choose(w, l->peer, now);
	if (last)
		peer_without_lane(w, l->peer, rest, error, now);
	gossip_clear(w, &l->gossip);
	session_free(l->session);
	peer_put(l->peer);
	free(l);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t idle_after(const struct worker *w, const struct lane *l)
{
	return w->id && elsewhere(w, l->peer) ? LANE_SPARE : LANE_IDLE;
}

/* Opened for a packet, or for many, and none came for long: it goes, both ends agree or the next one
 * opens it. The last one of a peer that is to be up stays, whichever worker's it is.
 */
static bool idle(const struct worker *w, const struct lane *l, int64_t now)
{
	const struct snapshot_peer *sp;

	if (now - l->last_data < idle_after(w, l))
		return false;
	sp = snapshot_find(w->snapshot, l->peer->name);
	return !sp || !sp->keep_up || (w->id && elsewhere(w, l->peer));
}

static int64_t tick_active(struct worker *w, struct lane *l, int64_t now)
{
	int64_t ask, idle_at;

	if (l->unanswered && now - l->unanswered >= LANE_DEAD) {
		lane_end(w, l, "the peer answers no more", true, now);
		return INT64_MAX;
	}
	if (idle(w, l, now)) {
		lane_end(w, l, NULL, true, now);
		return INT64_MAX;
	}
	ask = !l->proven      ? l->last_ping + LANE_PING
	      : l->unanswered ? l->unanswered + LANE_ANSWER
	                      : l->last_rx + LANE_QUIET;
	if (ask < l->last_ping + LANE_PING)
		ask = l->last_ping + LANE_PING;
	if (now >= ask) {
		ping(w, l, now);
		ask = now + LANE_PING;
		choose(w, l->peer, now); /* another may answer */
	}
	if (session_wants_rekey(l->session) || now - l->born >= LANE_AGE_MAX) {
		if (now >= l->rekey_at && worker_want(w, l->peer, now))
			l->rekey_at = now + LANE_REKEY; /* if none has taken over by then */
		ask = least(ask, l->rekey_at > now ? l->rekey_at : now + LANE_PING);
	} else {
		ask = least(ask, l->born + LANE_AGE_MAX);
	}
	if (l->unanswered)
		ask = least(ask, l->unanswered + LANE_DEAD);
	idle_at = l->last_data + idle_after(w, l);
	return least(ask, idle_at > now ? idle_at : INT64_MAX);
}

/* A lane that another took over from only listens, and goes once nobody speaks on it. One that is
 * not proven yet asks until it is, or is lost.
 */
static int64_t tick_other(struct worker *w, struct lane *l, int64_t now)
{
	if (!l->proven)
		return tick_active(w, l, now);
	if (now - l->last_rx >= LANE_LINGER) {
		lane_end(w, l, NULL, true, now);
		return INT64_MAX;
	}
	return l->last_rx + LANE_LINGER;
}

int64_t lanes_tick(struct worker *w, int64_t now)
{
	int64_t next = INT64_MAX;
	struct lane *l, *tmp;

	HASH_ITER(hh, w->lanes, l, tmp) {
		if (session_deadline(l->session) <= now)
			session_tick(l->session, now);
		if (l->dead || session_state(l->session) != SESSION_UP) {
			const char *why = session_why(l->session);

			lane_end(w, l, *why ? why : "the session's keys are used up", l->dead, now);
			continue;
		}
		if (l->proven && l->slot->active == l)
			next = least(next, gossip_tick(w, l, now));
		next = least(next, session_deadline(l->session));
		if (!l->slot->active)
			choose(w, l->peer,
			       now); /* it held packets back, or has yet to begin with it */
		if (l->slot->pass.held)
			next = least(next, l->slot->pass.held + PASS_HELD_MAX);
		next = least(next,
		             l->slot->active == l ? tick_active(w, l, now) : tick_other(w, l, now));
	}
	return next;
}

/* The smaller name dials first: a moment later the other has what it needs. */
static void judge_load(struct worker *w, struct lane *l, int64_t now)
{
	uint64_t n = l->slot->rx_packets + l->slot->tx_packets;
	int64_t windows = (now - l->counted_at) / WORKER_LOAD_WINDOW;
	unsigned missing = ((1u << w->engine->nworkers) - 1) & ~l->peer->active;
	bool load = l->counted_at && n - l->counted > (uint64_t)(LANE_LOAD * windows);

	l->counted = n;
	l->counted_at = now;
	l->loaded = !load ? 0 : windows > 2 ? 1 : l->loaded + 1;
	if (missing && l->loaded >= (lane_ours_first(w, l->peer) ? 1 : LANE_PATIENCE))
		worker_want_more(w, l->peer, missing, now);
}

void lanes_loaded(struct worker *w, int64_t now)
{
	struct lane *l, *tmp;

	HASH_ITER(hh, w->lanes, l, tmp)
		if (l->slot->active == l)
			judge_load(w, l, now);
}

void lanes_judge(struct worker *w, int64_t now)
{
	struct lane *l, *tmp;

	worker_tick_by(w, now); /* other lists are told of */
	HASH_ITER(hh, w->lanes, l, tmp) {
		const char *why = snapshot_refuses(w->snapshot, l->peer, session_peer(l->session));

		if (why)
			lane_end(w, l, why, true, now);
	}
}

void lanes_end_all(struct worker *w, int64_t now)
{
	struct lane *l, *tmp;

	HASH_ITER(hh, w->lanes, l, tmp)
		lane_end(w, l, "ginneld ends", true, now);
}
