/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way out: TUN → route → policy → lane; then, lane by lane, cut → bundle → session → run.
 *
 * A batch is sorted by lane before anything is sealed, so that what goes the same way leaves together
 * however it came mixed. The order within a lane is that of the device.
 */
#include "gateway/engine/judge.h"
#include "gateway/engine/worker.h"

#include <string.h>

#include "tun/icmp.h"

static void seal(struct worker *w, struct lane *l, uint8_t *plain, size_t len, unsigned packets,
                 int64_t now)
{
	enum drop why = lane_send(w, l, plain, len, packets, now);

	if (why != DROP_NONE)
		count_add(&w->counters.drops[why], packets);
}

static void bundle_flush(struct worker *w, struct lane *l, int64_t now)
{
	struct bundle *b = &w->bundle;

	if (b->packets)
		seal(w, l, b->data, b->len, b->packets, now);
	b->packets = 0;
	b->len = 0;
}

/* Small ones share a record: those of the batch alone, so that none waits for another. */
static void bundle_add(struct worker *w, struct lane *l, uint8_t *data, size_t len, int64_t now)
{
	struct bundle *b = &w->bundle;

	if (b->len + len > LANE_PLAIN_MAX || b->packets == FRAME_BUNDLE_MAX)
		bundle_flush(w, l, now);
	if (len > LANE_PLAIN_MAX / 2) {
		bundle_flush(w, l, now); /* the order stays */
		seal(w, l, data, len, 1, now);
		return;
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
	b->packets++;
}

/* false: it is none that can be cut. */
static bool cut_start(struct worker *w, struct offload_cut *cut, const struct outbound *o)
{
	if (offload_cut_start(cut, o->read->packet, &o->ip, &o->read->vnet) == 0)
		return true;
	count_add(&w->counters.tun_read, 1);
	count_add(&w->counters.drops[DROP_MALFORMED], 1);
	return false;
}

static void cut_up(struct worker *w, struct lane *l, const struct outbound *o, int64_t now)
{
	struct offload_cut cut;
	bool partial;
	uint8_t *data;
	size_t len;

	if (!cut_start(w, &cut, o))
		return;
	while (offload_cut_next(&cut, &data, &len, &partial)) {
		count_add(&w->counters.tun_read, 1);
		if (partial)
			data[0] |= FRAME_ELIDED;
		bundle_add(w, l, data, len, now);
	}
}

/* A whole packet, with its checksum, waits for a lane. */
static enum drop wait(struct worker *w, struct peer *peer, uint8_t *data, size_t len, bool elided,
                      int64_t now)
{
	struct ip_view ip;

	if (!peer->slots[w->id].pass.held) {
		atomic_store_explicit(&peer->wanted, now, memory_order_relaxed);
		worker_want(w, peer, now);
	}
	if (elided && ip_parse(&ip, data, len) == 0)
		offload_finish(data, &ip);
	return waiting_add(&w->waiting, peer, data, len, now) ? DROP_NONE : DROP_NO_SESSION;
}

/* We have no lane: by another worker's, if that has one. */
static enum drop aside(struct worker *w, struct peer *peer, const struct addr *dst, uint8_t *data,
                       size_t len, bool elided, int64_t now)
{
	int by = pass_by(w, peer, now);

	if (by < 0)
		return wait(w, peer, data, len, elided, now);
	if (len > PASS_DATA)
		return DROP_TOO_BIG;
	data[0] |= elided ? FRAME_ELIDED : 0;
	return pass_packet(w, (unsigned)by, dst, data, len) ? DROP_NONE : DROP_WORKER_BEHIND;
}

static void set_aside(struct worker *w, struct peer *peer, const struct outbound *o, int64_t now)
{
	struct offload_cut cut;
	bool partial;
	uint8_t *data;
	size_t len;

	if (!cut_start(w, &cut, o))
		return;
	while (offload_cut_next(&cut, &data, &len, &partial)) {
		enum drop why = aside(w, peer, &o->ip.dst, data, len, partial, now);

		count_add(&w->counters.tun_read, 1);
		if (why != DROP_NONE)
			count_add(&w->counters.drops[why], 1);
	}
}

/* Its sender is told, at once and on its own host: the error is written over the packet. From the
 * address that it was for, since the kernel takes nothing from the device that claims to come from an
 * address of this host.
 */
static void answer(struct worker *w, struct outbound *o, int64_t now)
{
	const struct offload_hdr vnet = {0};
	uint8_t error[ICMP_ERROR6_MAX];
	size_t len = icmp_prohibited(error, o->read->packet, &o->ip, &o->ip.dst);

	if (!len || !ratelimit_take(&w->answers, &o->ip.src, now))
		return;
	memcpy(o->read->packet, error, len);
	io_write_begin(&w->io, w->id);
	io_write_piece(&w->io, o->read->packet, len);
	io_write_end(&w->io, &vnet, 0);
}

static enum drop judge_out(struct worker *w, struct outbound *o, const struct peer *to, int64_t now)
{
	const struct judged j = {
		.packet = o->read->packet, .ip = &o->ip, .from = w->snapshot->self, .to = to};
	enum drop why = judge(w, &j, now);

	if (why == DROP_POLICY || why == DROP_PLACEMENT)
		answer(w, o, now);
	return why;
}

/* To its lane's batch. */
static enum drop sort(struct worker *w, struct outbound *o, int64_t now)
{
	const struct snapshot *s = w->snapshot;
	const struct io_read *r = o->read;
	struct peer *peer;
	struct lane *lane;
	enum drop why = drop_of_packet(ip_parse(&o->ip, r->packet, r->len));

	if (why != DROP_NONE)
		return why;
	if (o->ip.total != r->len)
		return DROP_MALFORMED;
	if (route_lookup(s->routes, &o->ip.src) != s->self)
		return DROP_SOURCE;
	peer = route_lookup(s->routes, &o->ip.dst);
	if (!peer || peer == s->self)
		return DROP_NO_ROUTE;
	if (!s->open) {
		why = judge_out(w, o, peer, now);
		if (why != DROP_NONE)
			return why;
	}
	lane = peer->slots[w->id].active;
	if (!lane) {
		set_aside(w, peer, o, now);
		return DROP_NONE;
	}
	if (!lane->batch) {
		lane->next_busy = w->busy;
		w->busy = lane;
		lane->batch_end = &lane->batch;
	}
	o->next = NULL;
	*lane->batch_end = o;
	lane->batch_end = &o->next;
	return DROP_NONE;
}

void outbound_batch(struct worker *w, int64_t now)
{
	for (unsigned i = 0; i < w->io.nreads; i++) {
		enum drop why;

		w->out[i].read = &w->io.reads[i];
		why = sort(w, &w->out[i], now);
		if (why != DROP_NONE) {
			count_add(&w->counters.tun_read, 1);
			count_add(&w->counters.drops[why], 1);
		}
	}
	for (struct lane *l = w->busy; l; l = l->next_busy) {
		for (const struct outbound *o = l->batch; o; o = o->next)
			cut_up(w, l, o, now);
		bundle_flush(w, l, now);
		l->batch = NULL;
	}
	w->busy = NULL;
}

/* -- of other workers ----------------------------------------------------------------------------- */

void outbound_passed_end(struct worker *w, int64_t now)
{
	if (w->passing)
		bundle_flush(w, w->passing, now);
	w->passing = NULL;
}

/* Read and judged by another worker. If our lane has gone meanwhile it is lost, too: where that worker
 * sends its next ones, or lets them wait, it would come behind them.
 */
void outbound_passed(struct worker *w, const struct addr *dst, uint8_t *data, size_t len,
                     int64_t now)
{
	const struct snapshot *s = w->snapshot;
	struct peer *peer = route_lookup(s->routes, dst);
	struct lane *lane = NULL;

	if (peer && peer != s->self)
		lane = peer->slots[w->id].active;
	if (lane != w->passing)
		outbound_passed_end(w, now);
	w->passing = lane;
	if (lane)
		bundle_add(w, lane, data, len, now);
	else
		count_add(&w->counters.drops[DROP_NO_SESSION], 1);
}
