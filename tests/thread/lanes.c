/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Two engines of four workers each: flows come by all queues, lanes open because of them.
 *
 * Checked: no packet overtakes another of its flow, neither before lanes are there nor while they take
 * over nor afterwards; read = delivered + waiting + drops; all lanes go with a peer that leaves, and
 * come again with one that is back. Snapshots are published meanwhile. Run under TSan.
 */
#include "gateway/engine/engine.h"

#include "tests/engines.h"

#define FLOWS   8
#define WORKERS 4
#define ALL     ((1u << WORKERS) - 1)

struct sink {
	struct side *side;
	pthread_t thread;
	uint32_t last[FLOWS], got;
	unsigned overtaken;
};

static _Atomic bool done;

static void *drain(void *arg)
{
	struct sink *k = arg;
	struct pollfd fd = {.fd = k->side->far[0], .events = POLLIN};
	uint8_t p[2048];
	uint32_t number;

	while (!atomic_load(&done)) {
		if (poll(&fd, 1, 10) < 1)
			continue;
		while (recv(fd.fd, p, sizeof(p), MSG_DONTWAIT) == VNET + 100) {
			uint8_t flow = p[VNET + 21];

			memcpy(&number, p + VNET + 28, 4);
			CHECK(flow < FLOWS);
			k->overtaken += number <= k->last[flow];
			k->last[flow] = number;
			k->got++;
		}
	}
	return NULL;
}

static uint32_t number;

static void feed(void)
{
	number++;
	for (uint8_t f = 0; f < FLOWS; f++) {
		send_packet_of(&a, f % WORKERS, 1, 2, f, number);
		send_packet_of(&b, f % WORKERS, 2, 1, f, number);
	}
	if (number % 200 == 0)
		engine_publish(a.engine, make_snapshot(&a, &b));
	if (number % 300 == 0)
		engine_publish(b.engine, make_snapshot(&b, &a));
}

static bool all_lanes(void)
{
	return atomic_load(&a.peer->active) == ALL && atomic_load(&b.peer->active) == ALL;
}

static void until_all_lanes(void)
{
	int64_t end = clock_now() + 60 * 1000000000LL;

	while (!all_lanes()) {
		CHECK(clock_now() < end);
		feed();
		usleep(500); /* more than is worth a lane, and less than can be held */
	}
	printf("all lanes are there after %u packets of each flow\n", number);
}

static void leave(struct side *s)
{
	int64_t end = clock_now() + 10 * 1000000000LL;
	struct snapshot *alone;

	CHECK(!snapshot_new(&alone, s->wolf, s->name, 0));
	CHECK(!snapshot_add_self(alone, &s->own));
	CHECK(!snapshot_seal(alone));
	engine_publish(s->engine, alone);
	while (atomic_load(&s->peer->lanes) || atomic_load(&s->peer->active)) {
		CHECK(clock_now() < end);
		usleep(1000);
	}
}

static uint64_t passed_by(struct side *s)
{
	uint64_t n = 0;

	for (unsigned i = 1; i < WORKERS; i++)
		n += get(&s->peer->slots[i].tx_packets);
	return n;
}

int main(void)
{
	unsigned more = getenv("LONG") ? 100000 : 2000;
	struct sink at_a = {.side = &a}, at_b = {.side = &b};

	a.workers = b.workers = WORKERS;
	a.one_far = b.one_far = true;
	engines_init();
	start(&a, &b);
	start(&b, &a);
	CHECK(!pthread_create(&at_a.thread, NULL, drain, &at_a));
	CHECK(!pthread_create(&at_b.thread, NULL, drain, &at_b));
	until_all_lanes();
	for (unsigned i = 0; i < more; i++)
		feed();
	settle(&a);
	settle(&b);
	CHECK(passed_by(&a) > more && passed_by(&b) > more); /* the lanes are not for show */
	balance(&a);
	balance(&b);

	/* Without its session the other side is nobody; with it, it is back, and so are all lanes. */
	leave(&a);
	engine_publish(a.engine, make_snapshot(&a, &b));
	until_all_lanes();
	engine_stop(b.engine);
	b.engine = NULL;
	start(&b, &a);
	until_all_lanes();
	settle(&a);
	settle(&b);
	balance(&b);

	atomic_store(&done, true);
	pthread_join(at_a.thread, NULL);
	pthread_join(at_b.thread, NULL);
	printf("sent %u of each flow, arrived %u and %u, overtaken %u and %u\n", number, at_b.got,
	       at_a.got, at_b.overtaken, at_a.overtaken);
	CHECK(!at_a.overtaken && !at_b.overtaken);
	CHECK(at_a.got > more && at_b.got > more); /* the queues are short */
	engines_clear();
	return 0;
}
