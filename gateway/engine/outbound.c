/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way out: TUN → route → peer → session → batch. */
#include "gateway/engine/worker.h"
#include "tun/tun.h"
#include <errno.h>

static enum drop outbound_packet(struct worker *w, uint8_t *data, size_t len, int64_t now)
{
	const struct snapshot *s = w->snapshot;
	struct ip_view ip;
	struct peer *peer;
	struct lane *lane;
	enum drop why;

	if (ip_parse(&ip, data, len) < 0 || ip.total != len)
		return DROP_MALFORMED;
	if (route_lookup(s->routes, &ip.src) != s->self)
		return DROP_SOURCE;
	peer = route_lookup(s->routes, &ip.dst);
	if (!peer || peer == s->self)
		return DROP_NO_ROUTE;
	lane = peer->slots[w->id].active;
	if (!lane) {
		atomic_store_explicit(&peer->wanted, now, memory_order_relaxed);
		worker_want(w, peer, now);
		return waiting_add(&w->waiting, peer, data, len, now) ? DROP_NONE : DROP_NO_SESSION;
	}
	why = lane_send(w, lane, data, len, 1, now);
	if (why == DROP_NONE)
		lane_sent(lane, len);
	return why;
}

void outbound_round(struct worker *w, int64_t now)
{
	for (unsigned i = 0; i < UDP_BATCH; i++) {
		ssize_t n = tun_read(w->tun_fd, w->plain, WORKER_PLAIN_MAX);
		enum drop why;

		if (n == -EAGAIN || n == -EBADFD || n == -EIO)
			break; /* nothing, or the device is down */
		count_add(&w->counters.tun_read, 1);
		why = n < 0 ? DROP_MALFORMED : outbound_packet(w, w->plain, (size_t)n, now);
		if (why != DROP_NONE)
			count_add(&w->counters.drops[why], 1);
	}
	worker_flush(w);
}
