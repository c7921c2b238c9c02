/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Two engines in one process: real sessions over loopback UDP, socketpairs in place of the devices.
 *
 * Packets flow both ways while snapshots are published without a pause and one side is stopped and
 * started again. Checked: what arrives is what was sent, forged sources are dropped by name, and
 * read = delivered + waiting + drops on both sides at the end. Run under TSan and under ASan.
 */
#include "gateway/engine/engine.h"

#include "tests/engines.h"

/* What arrived; no number twice in a stretch of the test (the numbers begin at 0 in each). */
static uint8_t seen[2][1 << 18];

static void forget(void)
{
	memset(seen, 0, sizeof(seen));
}

/* A node that lies: it takes 10.77.9.0/24 for its own, and the other's 10.77.8.0/24 for the other's. */
static struct snapshot *make_lying_snapshot(struct side *s, const struct side *other)
{
	struct snapshot_peer sp = {.peer = s->peer, .keep_up = true, .nendpoints = 1};
	struct prefix not_its_own, not_the_others, others[2];
	struct snapshot *snap;

	CHECK(!prefix_parse(&not_its_own, "10.77.9.0/24"));
	CHECK(!prefix_parse(&not_the_others, "10.77.8.0/24"));
	others[0] = s->others;
	others[1] = not_the_others;
	sp.endpoints[0] = other->at;
	CHECK(!snapshot_new(&snap, s->wolf, s->name, 1));
	CHECK(!snapshot_add_self(snap, &s->own));
	CHECK(!snapshot_add_self(snap, &not_its_own));
	CHECK(!snapshot_add_peer(snap, &sp, others, 2));
	CHECK(!snapshot_seal(snap));
	return snap;
}

static unsigned drain(struct side *s)
{
	uint8_t p[2048], *mine = seen[s == &b];
	unsigned n = 0;
	uint32_t number;
	ssize_t len;

	while ((len = recv(s->far[0], p, sizeof(p), MSG_DONTWAIT)) > 0) {
		CHECK(len == VNET + 100);
		CHECK(p[VNET + 12] == 10 && p[VNET + 16] == 10);
		memcpy(&number, p + VNET + 28, 4);
		CHECK(number < sizeof(seen[0]));
		CHECK(!mine[number]++);
		n++;
	}
	return n;
}

static uint64_t dropped(struct side *s, enum drop why)
{
	struct counters c = {0};

	engine_counters(s->engine, &c);
	return get(&c.drops[why]);
}

int main(void)
{
	unsigned got_a = 0, got_b = 0, n = getenv("LONG") ? 200000 : 5000;

	engines_init();
	start(&a, &b);
	send_packet(&a, 1, 2, 0); /* waits for the session, and is not lost */
	start(&b, &a);
	wait_up(&a);
	wait_up(&b);
	settle(&b);
	CHECK(drain(&b) == 1);
	forget();

	for (uint32_t i = 0; i < n; i++) {
		send_packet(&a, 1, 2, i);
		send_packet(&b, 2, 1, i);
		if (i % 50 == 0)
			engine_publish(a.engine, make_snapshot(&a, &b));
		if (i % 70 == 0)
			engine_publish(b.engine, make_snapshot(&b, &a));
		if (i % 8 == 0) {
			got_a += drain(&a);
			got_b += drain(&b);
		}
	}
	settle(&a);
	settle(&b);
	got_a += drain(&a);
	got_b += drain(&b);
	printf("sent %u each way, arrived %u and %u\n", n, got_b, got_a);
	CHECK(got_a > n / 2 && got_b > n / 2); /* the socketpairs are short */

	send_packet(&a, 9, 2, 0); /* not ours: never leaves */
	send_packet(&a, 1, 9, 0); /* nobody's */
	settle(&a);
	CHECK(dropped(&a, DROP_SOURCE) == 1);
	CHECK(dropped(&a, DROP_NO_ROUTE) == 1);

	/* A peer that is let in but lies: neither a source that is not its own gets in, nor a packet
	 * for somebody else.
	 */
	engine_publish(b.engine, make_lying_snapshot(&b, &a));
	send_packet(&b, 9, 1, 0);
	send_packet(&b, 2, 8, 0);
	settle(&b);
	settle(&a);
	CHECK(drain(&a) == 0);
	CHECK(dropped(&a, DROP_SOURCE) == 2);
	CHECK(dropped(&a, DROP_DESTINATION) == 1);
	engine_publish(b.engine, make_snapshot(&b, &a));

	balance(&a);
	balance(&b);
	forget();
	/* One side goes in good order and comes back; the other notices at once. */
	engine_stop(b.engine);
	b.engine = NULL;
	for (int64_t end = clock_now() + 5 * 1000000000LL; state_of(&a) == PEER_UP; usleep(1000))
		CHECK(clock_now() < end);
	start(&b, &a);
	wait_up(&a);
	wait_up(&b);
	send_packet(&a, 1, 2, 7);
	settle(&b);
	CHECK(drain(&b) == 1);

	/* A peer that leaves the cluster takes its sessions with it. */
	struct snapshot *alone;
	CHECK(!snapshot_new(&alone, a.wolf, a.name, 0));
	CHECK(!snapshot_add_self(alone, &a.own));
	CHECK(!snapshot_seal(alone));
	engine_publish(a.engine, alone);
	for (int64_t end = clock_now() + 5 * 1000000000LL; atomic_load(&a.peer->lanes);
	     usleep(1000))
		CHECK(clock_now() < end);
	balance(&a);
	engines_clear();
	return 0;
}
