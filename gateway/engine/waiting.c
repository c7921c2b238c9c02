/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/waiting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int waiting_init(struct waiting *w, unsigned worker)
{
	memset(w, 0, sizeof(*w));
	w->worker = worker;
	w->ring = calloc(WAITING_ROOM, sizeof(*w->ring));
	return w->ring ? 0 : -ENOMEM;
}

static struct waiting_packet *at(const struct waiting *w, uint32_t i)
{
	return &w->ring[i % WAITING_ROOM];
}

static void leave(struct waiting *w, struct waiting_packet *e)
{
	e->peer->slots[w->worker].waiting--;
	peer_put(e->peer);
	e->peer = NULL;
	while (w->head != w->tail && !at(w, w->head)->peer)
		w->head++;
}

void waiting_clear(struct waiting *w)
{
	for (uint32_t i = w->head; i != w->tail; i++)
		if (at(w, i)->peer)
			leave(w, at(w, i));
	free(w->ring);
	w->ring = NULL;
}

unsigned waiting_count(const struct waiting *w)
{
	unsigned n = 0;

	for (uint32_t i = w->head; i != w->tail; i++)
		n += at(w, i)->peer != NULL;
	return n;
}

bool waiting_add(struct waiting *w, struct peer *p, const uint8_t *data, size_t len, int64_t now)
{
	struct waiting_packet *e = at(w, w->tail);
	const struct peer_slot *s = &p->slots[w->worker];

	if (w->tail - w->head == WAITING_ROOM || len > WAITING_PACKET ||
	    (s->waiting >= WAITING_PER_PEER && !s->pass.held))
		return false;
	e->peer = peer_get(p);
	e->since = now;
	e->len = len;
	memcpy(e->data, data, len);
	p->slots[w->worker].waiting++;
	w->tail++;
	return true;
}

struct waiting_packet *waiting_take(struct waiting *w, const struct peer *p)
{
	if (!p->slots[w->worker].waiting)
		return NULL;
	for (uint32_t i = w->head; i != w->tail; i++)
		if (at(w, i)->peer == p) {
			struct waiting_packet *e = at(w, i);

			leave(w, e);
			return e;
		}
	return NULL;
}

struct peer *waiting_peer(const struct waiting *w, uint32_t *i)
{
	while (*i != w->tail) {
		struct peer *p = at(w, (*i)++)->peer;

		if (p)
			return p;
	}
	return NULL;
}

unsigned waiting_expire(struct waiting *w, int64_t now)
{
	unsigned n = 0;

	while (w->head != w->tail && now - at(w, w->head)->since >= WAITING_TIME) {
		leave(w, at(w, w->head));
		n++;
	}
	return n;
}

int64_t waiting_deadline(const struct waiting *w)
{
	return w->head == w->tail ? INT64_MAX : at(w, w->head)->since + WAITING_TIME;
}
