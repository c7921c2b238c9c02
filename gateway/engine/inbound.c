/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way in: datagram → lane → session → frame → addresses → policy → merge → TUN. Only this side eats foreign
 * bytes.
 *
 * A record is opened where it lies, and what it holds leaves for the device from there: neighbours of
 * a flow as pieces of one packet.
 */
#include "gateway/engine/engine.h"
#include "gateway/engine/judge.h"
#include "gateway/engine/steer.h"
#include "gateway/engine/worker.h"

#include <errno.h>
#include <netinet/in.h>

static void merge_end(struct worker *w)
{
	struct offload_hdr vnet;

	if (!w->growing)
		return;
	w->growing = false;
	offload_merge_end(&w->merge, &vnet);
	io_write_end(&w->io, &vnet, w->merge.segments);
}

/* Where a flow's packets are written, there the kernel brings those that go the other way. So each flow
 * has a home among the workers, and is written to the queue of that one, once it has a lane to the peer.
 */
static unsigned home(const struct worker *w, const struct peer *p, const struct ip_view *ip)
{
	unsigned active = atomic_load_explicit(&p->active, memory_order_relaxed), at;

	if (!(active & ~(1u << w->id)))
		return w->id;
	at = (unsigned)(steer_flow(ip) % w->engine->nworkers);
	if (active >> at & 1)
		return at;
	return active >> w->id & 1 ? w->id : (unsigned)__builtin_ctz(active);
}

static void deliver(struct worker *w, const struct peer *p, uint8_t *data, const struct ip_view *ip,
                    bool elided)
{
	struct offload_merge *m = &w->merge;

	if (w->growing && io_write_room(&w->io) && offload_merge_add(m, data, ip, elided)) {
		io_write_piece(&w->io, data + m->header_len, ip->total - m->header_len);
		return;
	}
	merge_end(w);
	io_write_begin(&w->io, home(w, p, ip));
	offload_merge_start(m, data, ip, elided);
	m->closed |= ip->proto == IPPROTO_UDP && !w->io.uso;
	io_write_piece(&w->io, data, ip->total);
	w->growing = true;
}

/* Identity decides: a key owns its addresses, and only ours are delivered. */
static enum drop inbound_packet(struct worker *w, struct lane *l, uint8_t *data,
                                const struct ip_view *ip, bool elided, int64_t now)
{
	const struct snapshot *s = w->snapshot;

	if (route_lookup(s->routes, &ip->src) != l->peer)
		return DROP_SOURCE;
	if (route_lookup(s->routes, &ip->dst) != s->self)
		return DROP_DESTINATION;
	if (!s->open) {
		const struct judged j = {data, ip, l->peer, s->self, true};
		enum drop why = judge(w, &j, now);

		if (why != DROP_NONE)
			return why;
	}
	deliver(w, l->peer, data, ip, elided);
	return DROP_NONE;
}

static void inbound_packets(struct worker *w, struct lane *l, int64_t now)
{
	const struct frame *f = &w->frame;
	unsigned packets = 0;
	size_t bytes = 0;

	l->last_data = now;
	count_add(&w->counters.wire_read, f->n);
	for (unsigned i = 0; i < f->n; i++) {
		enum drop why = inbound_packet(w, l, f->packets[i].data, &f->packets[i].ip,
		                               f->packets[i].elided, now);

		if (why != DROP_NONE) {
			count_add(&w->counters.drops[why], 1);
			continue;
		}
		packets++;
		bytes += f->packets[i].ip.total;
	}
	count_add(&l->slot->rx_packets, packets);
	count_add(&l->slot->rx_bytes, bytes);
}

static void inbound_control(struct worker *w, struct lane *l, int64_t now)
{
	uint8_t pong[FRAME_PING_LEN + 1];
	int64_t unanswered = l->unanswered;
	uint64_t rtt;

	count_add(&w->counters.control, 1);
	if (w->frame.kind != FRAME_PING && w->frame.kind != FRAME_PONG) {
		gossip_frame(w, l, now);
		return;
	}
	if (w->frame.kind == FRAME_PING) {
		frame_format_ping(pong, FRAME_PONG, w->frame.stamp);
		lane_send(w, l, pong, FRAME_PING_LEN, 0, now);
		l->unanswered = unanswered; /* an answer is no question */
		return;
	}
	lane_answered(w, l, w->frame.stamp);
	rtt = ((uint64_t)now - w->frame.stamp) / 1000;
	if (rtt < 60000000) /* a stamp of ours */
		atomic_store_explicit(&l->peer->rtt_us, (uint32_t)rtt, memory_order_relaxed);
}

static enum drop inbound_record(struct worker *w, struct lane *l, uint8_t *data, size_t len,
                                int64_t now)
{
	uint8_t *plain = NULL;
	ssize_t n = lane_open(w, l, data, len, &plain, now);
	int err;

	if (n == -EPIPE) {
		lane_end(w, l, session_why(l->session), false, now);
		count_add(&w->counters.control, 1);
		return DROP_NONE;
	}
	if (n < 0)
		return n == -EALREADY ? DROP_REPLAYED : DROP_BAD_TAG;
	lane_heard(w, l, n > 0, now);
	if (!n) {
		count_add(&w->counters.control, 1);
		return DROP_NONE;
	}
	err = frame_parse(&w->frame, plain, (size_t)n);
	if (err)
		return err == -EBADMSG ? DROP_BAD_FRAME : drop_of_packet(err);
	if (w->frame.kind == FRAME_PACKETS)
		inbound_packets(w, l, now);
	else
		inbound_control(w, l, now);
	return DROP_NONE;
}

/* DROP_NONE: delivered, a control record, or another thread's now. */
static enum drop inbound_datagram(struct worker *w, const struct udp_path *path, uint8_t *data,
                                  size_t len, int64_t now)
{
	const uint8_t *cid = session_datagram_cid(data, len);
	struct lane *l = cid ? lane_find(w, cid) : NULL;

	if (l)
		return inbound_record(w, l, data, len, now);
	if (!cid && !session_datagram_handshake(data, len))
		return DROP_NOT_DTLS;
	if (cid && cid[0] != w->id)
		return pass_datagram(w, cid, path, data, len);
	/* A half-open session's, or noise: cheap to send, so it may not crowd out hellos. */
	if (cid && mailbox_waiting(&w->strangers) >= WORKER_CID_SLOTS)
		return DROP_UNKNOWN_CID;
	return worker_stranger(w, path, data, len);
}

static void dropped(struct worker *w, enum drop why)
{
	if (why == DROP_NONE)
		return;
	count_add(&w->counters.wire_read, 1);
	count_add(&w->counters.drops[why], 1);
}

void inbound_late(struct worker *w, uint8_t *data, size_t len, int64_t now)
{
	const uint8_t *cid = session_datagram_cid(data, len);
	struct lane *l = cid ? lane_find(w, cid) : NULL;

	dropped(w, l ? inbound_record(w, l, data, len, now) : DROP_UNKNOWN_CID);
	merge_end(w);
}

/* A run holds datagrams of one size back to back, the last may be shorter. */
static void inbound_run(struct worker *w, struct io_arrival *a, int64_t now)
{
	uint8_t *data = a->data;
	size_t left = a->len;

	while (left) {
		size_t n = a->segment && a->segment < left ? a->segment : left;

		count_add(&w->counters.datagrams_in, 1);
		dropped(w, inbound_datagram(w, &a->path, data, n, now));
		data += n;
		left -= n;
	}
}

void inbound_batch(struct worker *w, int64_t now)
{
	for (unsigned i = 0; i < w->io.narrivals; i++)
		inbound_run(w, w->io.arrived[i], now);
	merge_end(w);
}

void inbound_passed(struct worker *w, const struct udp_path *path, uint8_t *data, size_t len,
                    int64_t now)
{
	dropped(w, inbound_datagram(w, path, data, len, now));
}

void inbound_passed_end(struct worker *w)
{
	merge_end(w);
}
