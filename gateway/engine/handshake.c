/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/handshake.h"

#include "crypto/secret.h"
#include "gateway/clock.h"
#include "gateway/engine/engine.h"
#include "gateway/engine/rcu.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* syscalls(engine): poll ppoll read getrandom sendmsg */

int handshake_init(struct handshake *h, struct engine *e)
{
	uint64_t key;
	int err;

	memset(h, 0, sizeof(*h));
	h->engine = e;
	err = secret_random(&key, sizeof(key));
	if (err)
		return err;
	ratelimit_init(&h->hellos, key, HANDSHAKE_HELLOS, HANDSHAKE_HELLOS_BURST);
	h->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return h->kick < 0 ? -errno : 0;
}

static void drop(struct handshake *h, enum drop why)
{
	count_add(&h->counters.wire_read, 1);
	count_add(&h->counters.drops[why], 1);
}

static void emit(void *arg, const uint8_t *datagram, size_t len)
{
	struct half *half = arg;

	/* A datagram that is not taken is one that is lost: the session repeats it. */
	udp_send(half->socket, &half->path, datagram, len);
}

/* -- half-open sessions ------------------------------------------------------------------------ */

static void half_free(struct handshake *h, struct half *half)
{
	if (half->peer) {
		half->peer->dials[half->worker].half = NULL;
		peer_put(half->peer);
		h->dials--;
	}
	h->strangers -= half->stranger;
	session_free(half->session);
	memset(half, 0, sizeof(*half));
}

void handshake_clear(struct handshake *h)
{
	for (unsigned i = 0; i < HANDSHAKE_HALF_MAX; i++)
		if (h->halves[i].session)
			half_free(h, &h->halves[i]);
	session_listener_free(h->listener);
	wolf_put(h->wolf);
	close(h->kick);
}

static struct half *half_place(struct handshake *h)
{
	for (unsigned i = 0; i < HANDSHAKE_HALF_MAX; i++)
		if (!h->halves[i].session)
			return &h->halves[i];
	return NULL;
}

/* Strangers are evicted at random, so that a flood of real addresses cannot push out an honest slow
 * one for certain. Known addresses are never evicted.
 */
static struct half *half_place_for(struct handshake *h, bool stranger)
{
	uint32_t start;

	if (stranger && h->strangers < HANDSHAKE_STRANGERS_MAX)
		return half_place(h);
	if (!stranger) {
		struct half *half = half_place(h);

		if (half)
			return half;
	}
	if (secret_random(&start, sizeof(start)))
		return NULL;
	for (unsigned i = 0; i < HANDSHAKE_HALF_MAX; i++) {
		struct half *half = &h->halves[(start + i) % HANDSHAKE_HALF_MAX];

		if (half->session && half->stranger) {
			drop(h, DROP_HANDSHAKE_FULL);
			half_free(h, half);
			return half;
		}
	}
	return NULL;
}

static struct half *half_by_cid(struct handshake *h, const uint8_t *cid)
{
	for (unsigned i = 0; i < HANDSHAKE_HALF_MAX; i++)
		if (h->halves[i].session &&
		    !memcmp(session_cid(h->halves[i].session), cid, SESSION_CID_LEN))
			return &h->halves[i];
	return NULL;
}

/* accepted: the side of it, for both ends may dial each other from the same ports at once. Who came to
 * us came to our port; there one worker reads for all what has no connection ID.
 */
static struct half *half_by_path(struct handshake *h, unsigned worker, const struct udp_path *path,
                                 bool accepted)
{
	for (unsigned i = 0; i < HANDSHAKE_HALF_MAX; i++) {
		struct half *half = &h->halves[i];

		if (half->session && !half->peer == accepted && half->path.socket == path->socket &&
		    (path->socket == UDP_GROUP || half->worker == worker) &&
		    endpoint_equal(&half->path.remote, &path->remote))
			return half;
	}
	return NULL;
}

static void notice(struct handshake *h, const struct endpoint *from, const char *text)
{
	struct notice *n = mailbox_reserve(&h->engine->notices);

	if (!n)
		return;
	n->from = *from;
	snprintf(n->text, sizeof(n->text), "%s", text);
	mailbox_post(&h->engine->notices);
	engine_changed(h->engine);
}

static void half_failed(struct handshake *h, struct half *half, int64_t now)
{
	const char *why = session_why(half->session);
	struct peer *p = half->peer;
	uint16_t jitter = 0;

	if (!p) {
		notice(h, &half->path.remote, why);
	} else {
		struct peer_dial *d = &p->dials[half->worker];

		d->backoff = d->backoff ? d->backoff * 2 : HANDSHAKE_BACKOFF_MIN;
		if (d->backoff > HANDSHAKE_BACKOFF_MAX)
			d->backoff = HANDSHAKE_BACKOFF_MAX;
		secret_random(&jitter, sizeof(jitter)); /* none is no harm */
		d->next = now + d->backoff + d->backoff / 4 * jitter / 65536;
		d->endpoint++;
		if (half->worker)
			d->wanted = false; /* who still needs it asks again */
		peer_set_state(p, PEER_DOWN, why, time(NULL));
		engine_changed(h->engine);
	}
	half_free(h, half);
}

static void dial_answered(struct peer_dial *d, int64_t now)
{
	d->backoff = 0;
	d->wanted = false;
	d->next = now + HANDSHAKE_PROVE; /* the worker has yet to hear of it */
}

static void half_up(struct handshake *h, struct half *half, int64_t now)
{
	const struct cert_info *info = session_peer(half->session);
	const struct snapshot_peer *sp = snapshot_find(h->snapshot, info->node);
	struct worker *w = &h->engine->workers[half->worker];
	struct handover *hand;

	hand = sp && !snapshot_refuses(h->snapshot, sp->peer, info) ? mailbox_reserve(&w->adopt)
	                                                            : NULL;
	if (!hand) { /* the peer left the cluster in this moment, or the worker is far behind */
		drop(h, DROP_HANDSHAKE_FULL);
		half_free(h, half);
		return;
	}
	hand->session = half->session;
	hand->peer = peer_get(sp->peer);
	hand->path = half->path;
	dial_answered(&sp->peer->dials[half->worker], now);
	if (!atomic_load(&sp->peer->active))
		dial_answered(&sp->peer->dials[0], now); /* whichever it is, it is the first */
	memcpy(h->handed[h->nhanded++ % HANDSHAKE_HANDED], session_cid(half->session),
	       SESSION_CID_LEN);
	half->session = NULL;
	mailbox_post(&w->adopt);
	half_free(h, half);
}

static void half_step(struct handshake *h, struct half *half, enum session_state state, int64_t now)
{
	if (state == SESSION_UP)
		half_up(h, half, now);
	else if (state != SESSION_HANDSHAKE)
		half_failed(h, half, now);
}

/* -- dialling ------------------------------------------------------------------------------------ */

static int draw_cid(uint8_t cid[SESSION_CID_LEN], unsigned worker)
{
	int err = secret_random(cid, SESSION_CID_LEN);

	cid[0] = (uint8_t)worker;
	return err;
}

/* A lane of the first worker from our port; of the others each from one of its own, so that cards and
 * the other end tell them apart.
 */
static void dial(struct handshake *h, const struct snapshot_peer *sp, unsigned worker, int64_t now)
{
	struct peer *p = sp->peer;
	struct peer_dial *pd = &p->dials[worker];
	struct half *half = half_place_for(h, false);
	struct session_dial d = {.expect = p->name, .emit = emit, .emit_arg = half};

	pd->next = now + HANDSHAKE_BACKOFF_MIN; /* if it cannot even begin */
	if (!half || draw_cid(d.cid, worker))
		return;
	half->worker = worker;
	half->path.socket = worker ? UDP_OWN : UDP_GROUP;
	half->socket = &h->engine->workers[worker].io.udp[half->path.socket];
	half->path.remote = sp->endpoints[pd->endpoint % sp->nendpoints];
	half->path.local.family = 0;
	if (!udp_reaches(half->socket, &half->path.remote)) { /* IPv6 from a host without it */
		memset(half, 0, sizeof(*half));
		pd->endpoint++;
		return;
	}
	peer_set_state(p, PEER_CONNECTING, NULL, time(NULL));
	if (session_dial(&half->session, h->snapshot->wolf, &d, now)) {
		memset(half, 0, sizeof(*half));
		return;
	}
	half->peer = peer_get(p);
	pd->half = half;
	h->dials++;
}

static bool dial_due(const struct snapshot_peer *sp)
{
	const struct peer_dial *d = &sp->peer->dials[0];

	return sp->nendpoints && !d->half &&
	       (d->wanted || (sp->keep_up && !atomic_load(&sp->peer->lanes)));
}

/* The first worker's are open to most peers, the others' to few. */
static int64_t dials_further(struct handshake *h, const struct snapshot_peer *sp, int64_t now)
{
	int64_t next = INT64_MAX;

	for (unsigned i = 1; i < h->engine->nworkers; i++) {
		const struct peer_dial *d = &sp->peer->dials[i];

		if (!d->wanted) {
			sp->peer->further &= ~(1u << i);
			continue;
		}
		if (d->half || !sp->nendpoints)
			continue;
		if (d->next <= now)
			dial(h, sp, i, now);
		else if (d->next < next)
			next = d->next;
	}
	return next;
}

/* Those that a packet waits for, or the others. Returns when the next is due. */
static int64_t dials_of(struct handshake *h, bool wanted, int64_t now)
{
	int64_t next = INT64_MAX;

	for (unsigned i = 0; i < h->snapshot->npeers; i++) {
		const struct snapshot_peer *sp = &h->snapshot->peers[i];
		const struct peer_dial *d = &sp->peer->dials[0];
		int64_t further;

		if (wanted && sp->peer->further) {
			further = dials_further(h, sp, now);
			next = further < next ? further : next;
		}
		if (d->wanted != wanted || !dial_due(sp))
			continue;
		if (!wanted && h->dials >= HANDSHAKE_DIALS_MAX)
			break; /* one that ends makes room, and brings us here */
		if (d->next <= now)
			dial(h, sp, 0, now);
		else if (d->next < next)
			next = d->next;
	}
	return next;
}

/* Many peers may be away, each of them a half-open session for seconds: they hold up neither one that a
 * packet waits for, nor those that dial us.
 */
static int64_t dials_tick(struct handshake *h, int64_t now)
{
	int64_t wanted = dials_of(h, true, now), others = dials_of(h, false, now);

	return wanted < others ? wanted : others;
}

/* -- accepting ----------------------------------------------------------------------------------- */

#define ADDRESS_BYTES 19

/* What a cookie is bound to. Not the struct: that has a byte of padding. */
static void address_bytes(uint8_t out[ADDRESS_BYTES], const struct endpoint *e)
{
	out[0] = e->addr.family;
	memcpy(out + 1, e->addr.b, 16);
	out[17] = (uint8_t)(e->port >> 8);
	out[18] = (uint8_t)e->port;
}

/* Two secrets are good, the present and the one before: after quiet hours both are old. */
static void cookies_age(struct handshake *h, int64_t now)
{
	int64_t age = now - h->cookie_born;

	if (age < HANDSHAKE_COOKIE_LIFE)
		return;
	wolf_cookie_rotate(h->wolf);
	if (age >= 2 * HANDSHAKE_COOKIE_LIFE)
		wolf_cookie_rotate(h->wolf);
	h->cookie_born = now;
}

/* A lane that comes from where a peer is known to be is the first; another is spread by its port. */
static unsigned worker_for(const struct handshake *h, const struct endpoint *remote)
{
	unsigned n = h->engine->nworkers;

	if (n == 1 ||
	    (snapshot_knows(h->snapshot, &remote->addr) && snapshot_announced(h->snapshot, remote)))
		return 0;
	return workers_by_port(remote->port, n);
}

/* A datagram that begins a handshake, or brings its cookie back. */
static void accept_hello(struct handshake *h, const struct stranger *d, int64_t now)
{
	uint8_t address[ADDRESS_BYTES];
	const struct addr *source = &d->path.remote.addr;
	struct half *old, *half, reply = {.path = d->path};
	struct session_accept a = {
		.address = address,
		.address_len = sizeof(address),
		.emit = emit,
		.emit_arg = &reply,
	};

	if (!ratelimit_take(&h->hellos, source, now) && !snapshot_knows(h->snapshot, source)) {
		drop(h, DROP_HANDSHAKE_RATE);
		return;
	}
	if (!h->listener) { /* no memory for one: the next snapshot tries again */
		drop(h, DROP_HANDSHAKE_FULL);
		return;
	}
	cookies_age(h, now);
	reply.worker = worker_for(h, &d->path.remote);
	reply.socket = &h->engine->workers[reply.worker].io.udp[UDP_GROUP];
	address_bytes(address, &d->path.remote);
	if (draw_cid(a.cid, reply.worker) ||
	    session_listener_feed(h->listener, &a, d->data, d->len, now, &reply.session) != 1)
		return;
	/* Its cookie came back: it is where it says, and what it began before is over. */
	old = half_by_path(h, reply.worker, &d->path, true);
	if (old)
		half_free(h, old);
	reply.stranger = !snapshot_knows(h->snapshot, source);
	half = half_place_for(h, reply.stranger);
	if (!half) {
		drop(h, DROP_HANDSHAKE_FULL);
		session_free(reply.session);
		return;
	}
	*half = reply;
	h->strangers += reply.stranger;
	session_set_emit(half->session, emit, half);
	half_step(h, half, session_state(half->session), now);
}

static void half_datagram(struct handshake *h, struct half *half, const struct stranger *d,
                          int64_t now)
{
	if (!half->path.local.family) /* not again: datagrams of a handshake prove nothing */
		half->path.local = d->path.local;
	half_step(h, half, session_feed(half->session, d->data, d->len, now), now);
}

/* The peer's first records may overtake its session on the way to the worker: they are sent after. */
static void forward_late(struct handshake *h, const struct stranger *d, const uint8_t *cid)
{
	struct handover *late;
	bool ours = false;

	for (unsigned i = 0; i < HANDSHAKE_HANDED && i < h->nhanded; i++)
		ours |= !memcmp(h->handed[i], cid, SESSION_CID_LEN);
	late = ours && cid[0] < h->engine->nworkers
	               ? mailbox_reserve(&h->engine->workers[cid[0]].adopt)
	               : NULL;
	if (!late) {
		drop(h, DROP_UNKNOWN_CID);
		return;
	}
	late->session = NULL;
	late->len = d->len;
	memcpy(late->data, d->data, d->len);
	mailbox_post(&h->engine->workers[cid[0]].adopt);
}

/* Both ends may dial each other at once, from the same ports. Records with a CID name their session; a
 * hello of another attempt is the listener's; what is left is shown to both sides' half-open sessions:
 * each takes what is its own.
 */
static void datagram(struct handshake *h, unsigned worker, const struct stranger *d, int64_t now)
{
	const uint8_t *cid = session_datagram_cid(d->data, d->len);
	struct half *ours, *theirs;

	if (cid) {
		ours = half_by_cid(h, cid);
		if (ours)
			half_datagram(h, ours, d, now);
		else
			forward_late(h, d, cid);
		return;
	}
	ours = half_by_path(h, worker, &d->path, false);
	theirs = half_by_path(h, worker, &d->path, true);
	/* Nobody has a reason to begin with us at a port from which we dial. */
	if (d->path.socket == UDP_GROUP &&
	    session_is_new_hello(theirs ? theirs->session : NULL, d->data, d->len)) {
		accept_hello(h, d, now);
		return;
	}
	if (!ours && !theirs)
		drop(h, DROP_UNKNOWN_CID);
	if (ours)
		half_datagram(h, ours, d, now);
	if (theirs)
		half_datagram(h, theirs, d, now);
}

/* -- the thread ------------------------------------------------------------------------------------ */

static void dials_want(struct peer *p, unsigned workers)
{
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		p->dials[i].wanted |= workers >> i & 1;
	p->further |= workers & ~1u;
}

/* Where load asks for more, what came meanwhile, or failed just now, need not be dialled. */
static void want(const struct handshake *h, const struct stranger *s, int64_t now)
{
	struct peer *p = s->wanted;
	unsigned workers = s->workers;

	if (s->more)
		workers &= ~atomic_load(&p->active);
	for (unsigned i = 0; s->more && i < h->engine->nworkers; i++)
		if (p->dials[i].next > now)
			workers &= ~(1u << i);
	dials_want(p, workers);
}

/* true: more waits. A box that is not empty wakes nobody. */
static bool strangers_round(struct handshake *h, int64_t now)
{
	bool more = false;

	for (unsigned i = 0; i < h->engine->nworkers; i++) {
		struct worker *w = &h->engine->workers[i];
		struct stranger *s;

		/* Not more than a box full in one round: timers want their turn. */
		for (unsigned n = 0; n < WORKER_STRANGER_SLOTS && (s = mailbox_next(&w->strangers));
		     n++) {
			if (s->wanted) {
				want(h, s, now);
				peer_put(s->wanted);
			} else {
				datagram(h, i, s, now);
			}
			mailbox_done(&w->strangers);
		}
		more |= mailbox_next(&w->strangers) != NULL;
	}
	return more;
}

static int64_t halves_tick(struct handshake *h, int64_t now)
{
	int64_t next = INT64_MAX;

	for (unsigned i = 0; i < HANDSHAKE_HALF_MAX; i++) {
		struct half *half = &h->halves[i];

		if (half->session && session_deadline(half->session) <= now)
			half_step(h, half, session_tick(half->session, now), now);
		if (half->session && session_deadline(half->session) < next)
			next = session_deadline(half->session);
	}
	return next;
}

/* New credentials mean a new listener; peers that left take their handshakes with them. */
static void snapshot_changed(struct handshake *h)
{
	struct session_listener *l;

	for (unsigned i = 0; i < h->snapshot->npeers; i++)
		if (h->snapshot->peers[i].fresh) /* each lane proves the present certificate */
			dials_want(h->snapshot->peers[i].peer,
			           1 | atomic_load(&h->snapshot->peers[i].peer->active));
	for (unsigned i = 0; i < HANDSHAKE_HALF_MAX; i++) {
		struct half *half = &h->halves[i];
		const struct snapshot_peer *sp;

		if (!half->session || !half->peer)
			continue;
		sp = snapshot_find(h->snapshot, half->peer->name);
		if (!sp || sp->peer != half->peer)
			half_free(h, half);
	}
	if (h->wolf == h->snapshot->wolf || session_listener_new(&l, h->snapshot->wolf))
		return; /* the old one goes on; the next snapshot tries again */
	session_listener_free(h->listener);
	wolf_put(h->wolf);
	h->listener = l;
	h->wolf = wolf_get(h->snapshot->wolf);
}

static void handshake_poll(struct handshake *h, int64_t next, int64_t now)
{
	struct pollfd fds[WORKERS_MAX + 1];
	unsigned n = h->engine->nworkers;
	uint64_t kicks;

	for (unsigned i = 0; i < n; i++)
		fds[i] =
			(struct pollfd){.fd = h->engine->workers[i].strangers.fd, .events = POLLIN};
	fds[n] = (struct pollfd){.fd = h->kick, .events = POLLIN};
	rcu_leave(&h->engine->snapshot);
	poll(fds, n + 1, clock_poll_ms(next, now));
	rcu_thread_online();
	for (unsigned i = 0; i < n; i++)
		if (fds[i].revents)
			mailbox_awake(&h->engine->workers[i].strangers);
	if (fds[n].revents && read(h->kick, &kicks, sizeof(kicks)) < 0)
		return;
}

void *handshake_main(void *arg)
{
	struct handshake *h = arg;
	uint64_t serial = 0;

	rcu_register_thread();
	while (!atomic_load(&h->engine->stop)) {
		int64_t now = clock_now(), next, dials;
		bool more;

		h->snapshot = engine_snapshot(h->engine);
		if (h->snapshot->serial != serial) {
			snapshot_changed(h);
			serial = h->snapshot->serial;
		}
		more = strangers_round(h, now);
		next = halves_tick(h, now);
		dials = dials_tick(h, now);
		handshake_poll(h, more ? now : dials < next ? dials : next, now);
	}
	h->snapshot = NULL;
	rcu_leave(&h->engine->snapshot);
	rcu_unregister_thread();
	return NULL;
}
