/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way in: datagram → lane → session → frame → addresses → TUN. Only this side eats foreign bytes. */
#include "gateway/engine/engine.h"
#include "gateway/engine/worker.h"
#include "tun/tun.h"
#include <errno.h>

/* Identity decides: a key owns its addresses, and only ours are delivered. */
static enum drop inbound_packet(struct worker *w, struct lane *l, const uint8_t *data,
                                const struct ip_view *ip)
{
	const struct snapshot *s = w->snapshot;

	if (route_lookup(s->routes, &ip->src) != l->peer)
		return DROP_SOURCE;
	if (route_lookup(s->routes, &ip->dst) != s->self)
		return DROP_DESTINATION;
	if (tun_write(w->tun_fd, data, ip->total) < 0)
		return DROP_DEVICE_FULL;
	count_add(&l->peer->rx_packets, 1);
	count_add(&l->peer->rx_bytes, ip->total);
	return DROP_NONE;
}

static void inbound_control(struct worker *w, struct lane *l, int64_t now)
{
	uint8_t pong[FRAME_PING_LEN + 1];
	int64_t unanswered = l->unanswered;
	uint64_t rtt;

	count_add(&w->counters.control, 1);
	if (w->frame.kind == FRAME_PING) {
		frame_format_ping(pong, FRAME_PONG, w->frame.stamp);
		lane_send(w, l, pong, FRAME_PING_LEN, 0, now);
		l->unanswered = unanswered; /* an answer is no question */
		return;
	}
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
	lane_heard(w, l, now);
	if (!n) {
		count_add(&w->counters.control, 1);
		return DROP_NONE;
	}
	err = frame_parse(&w->frame, plain, (size_t)n);
	if (err)
		return err == -EPROTO ? DROP_MALFORMED : DROP_BAD_FRAME;
	if (w->frame.kind != FRAME_PACKETS) {
		inbound_control(w, l, now);
		return DROP_NONE;
	}
	l->last_data = now;
	count_add(&w->counters.wire_read, w->frame.n);
	for (unsigned i = 0; i < w->frame.n; i++) {
		enum drop why =
			inbound_packet(w, l, w->frame.packets[i].data, &w->frame.packets[i].ip);

		count_add(why == DROP_NONE ? &w->counters.wire_delivered : &w->counters.drops[why],
		          1);
	}
	return DROP_NONE;
}

/* DROP_NONE: delivered, a control record, or the handshake thread's now. */
static enum drop inbound_datagram(struct worker *w, const struct udp_path *path, uint8_t *data,
                                  size_t len, int64_t now)
{
	const uint8_t *cid = session_datagram_cid(data, len);
	struct lane *l = cid ? lane_find(w, cid) : NULL;

	if (l)
		return inbound_record(w, l, data, len, now);
	if (!cid && !session_datagram_handshake(data, len))
		return DROP_NOT_DTLS;
	/* A half-open session's, or noise: cheap to send, so it may not crowd out hellos. */
	if (cid && (cid[0] != w->id || mailbox_waiting(&w->strangers) >= WORKER_CID_SLOTS))
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
}

/* A run holds datagrams of one size back to back, the last may be shorter. */
static void inbound_run(struct worker *w, unsigned run, int64_t now)
{
	uint8_t *data = w->rx.data[run];
	size_t left = w->rx.len[run], segment = w->rx.segment[run];

	do {
		size_t n = left < segment ? left : segment;

		count_add(&w->counters.datagrams_in, 1);
		dropped(w, inbound_datagram(w, &w->rx.path[run], data, n, now));
		data += n;
		left -= n;
	} while (left && segment);
}

bool inbound_round(struct worker *w, int64_t now)
{
	unsigned n = udp_read(&w->udp, &w->rx);

	for (unsigned i = 0; i < n; i++)
		inbound_run(w, i, now);
	worker_flush(w);
	return n == UDP_RUNS;
}
