/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/peer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *peer_state_name(enum peer_state s)
{
	static const char *const names[] = {"idle", "connecting", "up", "down"};

	return names[s];
}

int peer_new(struct peer **out, const char *name)
{
	struct peer *p = aligned_alloc(_Alignof(struct peer), sizeof(*p));

	if (!p)
		return -ENOMEM;
	memset(p, 0, sizeof(*p));
	if (pthread_mutex_init(&p->lock, NULL)) {
		free(p);
		return -ENOMEM;
	}
	snprintf(p->name, sizeof(p->name), "%s", name);
	atomic_init(&p->refs, 1);
	*out = p;
	return 0;
}

struct peer *peer_get(struct peer *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void peer_put(struct peer *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < WORKERS_MAX; i++) { /* each of these held a reference */
		assert(!p->dials[i].half);
		assert(!p->slots[i].active && !p->slots[i].others && !p->slots[i].waiting);
	}
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void peer_set_state(struct peer *p, enum peer_state state, const char *error, time_t wall)
{
	pthread_mutex_lock(&p->lock);
	if (error)
		snprintf(p->status.last_error, sizeof(p->status.last_error), "%s", error);
	if (state != p->status.state &&
	    (state == PEER_UP || !atomic_load_explicit(&p->lanes, memory_order_relaxed))) {
		p->status.state = state;
		p->status.since = wall;
		p->status.changes++;
	}
	pthread_mutex_unlock(&p->lock);
}

void peer_set_session(struct peer *p, const struct cert_info *info, const struct endpoint *at,
                      const char *kex, const char *cipher)
{
	pthread_mutex_lock(&p->lock);
	if (at)
		p->status.endpoint = *at;
	p->status.cert_not_after = info->not_after;
	p->status.incarnation = info->incarnation;
	p->status.labels = info->labels;
	snprintf(p->status.kex, sizeof(p->status.kex), "%s", kex);
	snprintf(p->status.cipher, sizeof(p->status.cipher), "%s", cipher);
	pthread_mutex_unlock(&p->lock);
}

void peer_read_status(struct peer *p, struct peer_status *out)
{
	pthread_mutex_lock(&p->lock);
	*out = p->status;
	pthread_mutex_unlock(&p->lock);
}

void peer_read_counts(const struct peer *p, struct peer_counts *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < WORKERS_MAX; i++) {
		const struct peer_slot *s = &p->slots[i];

		out->rx_bytes += atomic_load_explicit(&s->rx_bytes, memory_order_relaxed);
		out->tx_bytes += atomic_load_explicit(&s->tx_bytes, memory_order_relaxed);
		out->rx_packets += atomic_load_explicit(&s->rx_packets, memory_order_relaxed);
		out->tx_packets += atomic_load_explicit(&s->tx_packets, memory_order_relaxed);
	}
}
