/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "gateway/engine/engine.h"
#include "gateway/engine/worker.h"

static struct peer_slot *slot_of(struct worker *w, struct lane *l)
{
	return &l->peer->slots[w->id];
}

struct lane *lane_find(struct worker *w, const uint8_t *cid)
{
	struct lane *l;

	HASH_FIND(hh, w->lanes, cid, SESSION_CID_LEN, l);
	return l;
}

/* What the session itself has to say (acknowledgements, repeated flights, goodbyes). */
struct lane_emit {
	struct worker *w;
	struct lane *l;
};

static void emit(void *arg, const uint8_t *datagram, size_t len)
{
	struct lane_emit *e = arg;
	unsigned i;
	uint8_t *out;

	if (len > UDP_BUFFER)
		return;
	out = worker_tx(e->w, &i);
	memcpy(out, datagram, len);
	e->w->tx.len[i] = len;
	e->w->tx.path[i] = e->l->path;
	e->w->tx_packets[i] = 0;
}

enum drop lane_send(struct worker *w, struct lane *l, const uint8_t *plain, size_t len,
		    unsigned packets, int64_t now)
{
	unsigned i;
	uint8_t *out;
	ssize_t n;

	if (len > UDP_BUFFER - SESSION_OVERHEAD)
		return DROP_TOO_BIG;
	out = worker_tx(w, &i);
	n = session_seal(l->session, plain, len, out, UDP_BUFFER);
	if (n < 0) {
		w->tx.n--; /* the slot is free again */
		return n == -EKEYEXPIRED ? DROP_KEY_USED_UP : DROP_SEND_FAILED;
	}
	w->tx.len[i] = (size_t)n;
	w->tx.path[i] = l->path;
	w->tx_packets[i] = packets;
	if (!l->unanswered) {
		l->unanswered = now;
		worker_tick_by(w, now + LANE_ANSWER);
	}
	return DROP_NONE;
}

ssize_t lane_open(struct worker *w, struct lane *l, const uint8_t *datagram, size_t len,
		  int64_t now)
{
	struct lane_emit e = {w, l};
	ssize_t n;

	session_set_emit(l->session, emit, &e);
	n = session_open(l->session, datagram, len, w->plain, WORKER_PLAIN_MAX, now);
	worker_tick_by(w, session_deadline(l->session));
	return n;
}

static void ping(struct worker *w, struct lane *l, int64_t now)
{
	uint8_t frame[FRAME_PING_LEN];

	frame_format_ping(frame, FRAME_PING, (uint64_t)now);
	l->last_ping = now;
	lane_send(w, l, frame, sizeof(frame), 0, now); /* a lost one is asked again */
}

/* Both ends must come to the same choice. Twins were born of both sides dialling at once: the one
 * dialled by the smaller name stays. Else the younger one: its keys are the freshest.
 */
static bool better(const struct worker *w, const struct lane *a, const struct lane *b)
{
	bool smaller = strcmp(w->snapshot->self_name, a->peer->name) < 0;
	int64_t apart = a->born - b->born;

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
	const struct waiting_packet *p;

	while ((p = waiting_take(&w->waiting, l->peer))) {
		enum drop why = lane_send(w, l, p->data, p->len, 1, now);

		if (why != DROP_NONE)
			count_add(&w->counters.drops[why], 1);
	}
}

static void make_active(struct worker *w, struct lane *l, int64_t now)
{
	struct peer_slot *s = slot_of(w, l);

	if (s->active)
		put_aside(s, s->active);
	take_aside(s, l);
	s->active = l;
	peer_set_session(l->peer, session_peer(l->session), &l->path.remote,
			 session_kex(l->session), session_cipher(l->session));
	send_waiting(w, l, now);
}

/* The best of the proven lanes sends; one that is not proven only if there is no other. */
static void choose(struct worker *w, struct peer_slot *s, int64_t now)
{
	struct lane *best = s->active;

	for (struct lane *l = s->others; l; l = l->next)
		if (!best || (l->proven && !best->proven) ||
		    (l->proven == best->proven && better(w, l, best)))
			best = l;
	if (best && best != s->active)
		make_active(w, best, now);
}

void lane_adopt(struct worker *w, struct handover *h, int64_t now)
{
	struct lane *l = calloc(1, sizeof(*l));

	if (!l || lane_find(w, session_cid(h->session))) {
		free(l);
		session_free(h->session);
		peer_put(h->peer);
		return;
	}
	l->session = h->session;
	l->peer = h->peer;
	l->path = h->path;
	l->born = l->last_rx = now;
	memcpy(l->cid, session_cid(l->session), sizeof(l->cid));
	HASH_ADD(hh, w->lanes, cid, SESSION_CID_LEN, l);
	put_aside(slot_of(w, l), l);
	ping(w, l, now); /* up means that a record of the peer opened: ask for one */
	worker_tick_by(w, now + LANE_PING);
	choose(w, slot_of(w, l), now);
}

void lane_heard(struct worker *w, struct lane *l, int64_t now)
{
	l->last_rx = now;
	l->unanswered = 0;
	if (l->proven)
		return;
	l->proven = true;
	atomic_fetch_add(&l->peer->lanes, 1);
	choose(w, slot_of(w, l), now);
	peer_set_state(l->peer, PEER_UP, "", time(NULL));
	engine_changed(w->engine);
}

void lane_end(struct worker *w, struct lane *l, const char *error, bool goodbye, int64_t now)
{
	struct peer_slot *s = slot_of(w, l);
	struct lane_emit e = {w, l};

	if (goodbye) {
		session_set_emit(l->session, emit, &e);
		session_close(l->session);
	}
	if (s->active == l)
		s->active = NULL;
	else
		take_aside(s, l);
	HASH_DEL(w->lanes, l);
	if (l->proven && atomic_fetch_sub(&l->peer->lanes, 1) == 1) {
		peer_set_state(l->peer, PEER_DOWN, error, time(NULL));
		worker_want(w, l->peer, now);
		engine_changed(w->engine);
	}
	choose(w, s, now);
	session_free(l->session);
	peer_put(l->peer);
	free(l);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t tick_active(struct worker *w, struct lane *l, int64_t now)
{
	int64_t ask;

	if (l->unanswered && now - l->unanswered >= LANE_DEAD) {
		lane_end(w, l, "the peer answers no more", true, now);
		return INT64_MAX;
	}
	ask = !l->proven ? l->last_ping + LANE_PING
	      : l->unanswered ? l->unanswered + LANE_ANSWER
			      : l->last_rx + LANE_QUIET;
	if (ask < l->last_ping + LANE_PING)
		ask = l->last_ping + LANE_PING;
	if (now >= ask) {
		ping(w, l, now);
		ask = now + LANE_PING;
	}
	if (!l->rekeying && (session_sealed(l->session) >= SESSION_RECORDS_SOFT ||
			     now - l->born >= LANE_AGE_MAX)) {
		l->rekeying = true;
		worker_want(w, l->peer, now);
	}
	if (l->unanswered)
		ask = least(ask, l->unanswered + LANE_DEAD);
	return least(ask, l->rekeying ? INT64_MAX : l->born + LANE_AGE_MAX);
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
		struct lane_emit e = {w, l};

		session_set_emit(l->session, emit, &e);
		if (session_deadline(l->session) <= now &&
		    session_tick(l->session, now) != SESSION_UP) {
			lane_end(w, l, session_why(l->session), false, now);
			continue;
		}
		next = least(next, session_deadline(l->session));
		next = least(next, slot_of(w, l)->active == l ? tick_active(w, l, now)
							      : tick_other(w, l, now));
	}
	return next;
}

void lanes_judge(struct worker *w, int64_t now)
{
	struct lane *l, *tmp;

	HASH_ITER(hh, w->lanes, l, tmp) {
		const struct snapshot_peer *sp = snapshot_find(w->snapshot, l->peer->name);

		if (!sp || sp->peer != l->peer)
			lane_end(w, l, "the node is no longer in the cluster", true, now);
		else if (sp->incarnation &&
			 session_peer(l->session)->incarnation != sp->incarnation)
			lane_end(w, l, "the node has joined anew", true, now);
	}
}

void lanes_end_all(struct worker *w, int64_t now)
{
	struct lane *l, *tmp;

	HASH_ITER(hh, w->lanes, l, tmp)
		lane_end(w, l, "ginneld ends", true, now);
}
