/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One struct wolf, used by several threads at once: handshakes as client and server, each with
 * sessions of its own, while the cookie secret changes under them. Then they outlive its owner's
 * reference.
 */
#include "crypto/session.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/ends.h"

#define THREADS 4
#define ROUNDS  20

static struct ends_ca ca;
static struct wolf *n1, *n2;
static atomic_bool done;
static atomic_uint up;

static bool meet(struct session_listener *l)
{
	struct ends_queue *q = calloc(2, sizeof(*q));
	struct session_dial dial = {"n2", {1, 2, 3, 4}, ends_emit, &q[0]};
	struct session_accept from = {"10.9.0.1:1", 10, {5, 6, 7, 8}, ends_emit, &q[1]};
	struct session *c, *s = NULL;
	uint8_t sealed[64], opened[64];
	struct ends_datagram d;
	ssize_t n;
	bool ok;

	assert(session_dial(&c, n1, &dial, ENDS_START) == 0);
	while (q[0].n || q[1].n) {
		if (q[0].n) {
			ends_take(&q[0], &d);
			if (s)
				session_feed(s, d.bytes, d.len, ENDS_START);
			else
				session_listener_feed(l, &from, d.bytes, d.len, ENDS_START, &s);
		}
		if (q[1].n) {
			ends_take(&q[1], &d);
			session_feed(c, d.bytes, d.len, ENDS_START);
		}
	}
	ok = s && session_state(c) == SESSION_UP && session_state(s) == SESSION_UP;
	if (ok) {
		n = ends_seal(c, "hello", 5, sealed);
		ok = n > 0 && ends_open(s, sealed, (size_t)n, opened, ENDS_START) == 5;
	} else {
		printf("client: %s, server: %s\n", session_why(c), s ? session_why(s) : "none");
	}
	session_free(c);
	session_free(s);
	free(q);
	return ok;
}

static void *worker(void *arg)
{
	struct session_listener *l;

	(void)arg;
	assert(session_listener_new(&l, n2) == 0);
	for (int i = 0; i < ROUNDS; i++)
		up += meet(l);
	session_listener_free(l);
	return NULL;
}

/* Slowly enough that a handshake sees one change at most. */
static void *rotator(void *arg)
{
	(void)arg;
	while (!done) {
		assert(wolf_cookie_rotate(n2) == 0);
		usleep(200000);
	}
	return NULL;
}

int main(void)
{
	pthread_t t[THREADS], r;

	assert(wolf_start() == 0);
	ends_ca_init(&ca);
	n1 = ends_wolf(&ca, "n1", ROLE_NODE);
	n2 = ends_wolf(&ca, "n2", ROLE_NODE);
	assert(n1 && n2);
	assert(pthread_create(&r, NULL, rotator, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		assert(pthread_create(&t[i], NULL, worker, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	done = true;
	pthread_join(r, NULL);
	wolf_put(n1);
	wolf_put(n2);
	ends_ca_clear(&ca);
	printf("%u of %d handshakes came up\n", up, THREADS * ROUNDS);
	return up == THREADS * ROUNDS ? 0 : 1;
}
