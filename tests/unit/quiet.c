/* SPDX-License-Identifier: GPL-3.0-or-later */
/* On a packet's way a worker neither allocates nor frees nor takes a lock: every such call is counted
 * here, whoever makes it, while a worker carries packets.
 */
#include "gateway/engine/engine.h"

#include <criterion/criterion.h>
#include <dlfcn.h>

#include "tests/engines.h"

#define PACKETS 20000

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

static pthread_t workers[2 * WORKERS_MAX];
static unsigned nworkers;
static _Atomic bool counting;
static _Atomic unsigned allocations, frees, locks;

/* A sanitizer has its own: there the packets are carried and nothing is counted. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTED 1
static bool on_a_worker(void)
{
	if (!atomic_load(&counting))
		return false;
	for (unsigned i = 0; i < nworkers; i++)
		if (pthread_equal(pthread_self(), workers[i]))
			return true;
	return false;
}

void *malloc(size_t n)
{
	allocations += on_a_worker();
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	allocations += on_a_worker();
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	allocations += on_a_worker();
	return __libc_realloc(p, n);
}

void free(void *p)
{
	frees += on_a_worker();
	__libc_free(p);
}

int pthread_mutex_lock(pthread_mutex_t *m)
{
	static int (*lock)(pthread_mutex_t *);

	locks += on_a_worker();
	if (!lock)
		*(void **)&lock = dlsym(RTLD_NEXT, "pthread_mutex_lock");
	return lock(m);
}
#else
#define COUNTED 0
#endif

static unsigned drain(struct side *s)
{
	uint8_t p[65536];
	unsigned n = 0;

	for (unsigned i = 0; i < s->workers; i++)
		while (recv(s->far[i], p, sizeof(p), MSG_DONTWAIT) > 0)
			n++;
	return n;
}

static void carry(unsigned packets)
{
	for (uint32_t i = 0; i < packets; i++) {
		send_packet_of(&a, i % a.workers, 1, 2, (uint8_t)i, i);
		send_packet_of(&b, i % b.workers, 2, 1, (uint8_t)i, i);
		if (i % 4 == 0) {
			drain(&a);
			drain(&b);
		}
	}
}

static void is_quiet(void)
{
	struct counters before = {0}, after = {0};

	for (unsigned i = 0; i < a.workers; i++)
		workers[nworkers++] = a.engine->workers[i].thread;
	for (unsigned i = 0; i < b.workers; i++)
		workers[nworkers++] = b.engine->workers[i].thread;
	engine_counters(a.engine, &before);
	atomic_store(&counting, true);
	carry(PACKETS);
	atomic_store(&counting, false);
	engine_counters(a.engine, &after);
	cr_expect_gt(get(&after.tun_delivered) - get(&before.tun_delivered), PACKETS / 2);
	cr_expect_gt(get(&after.wire_delivered) - get(&before.wire_delivered), PACKETS / 10);
	cr_expect_eq(allocations, 0, "%u", allocations);
	cr_expect_eq(frees, 0, "%u", frees);
	cr_expect_eq(locks, 0, "%u", locks);
}

static void begin(unsigned n)
{
	a.workers = b.workers = n;
	engines_init();
	start(&a, &b);
	start(&b, &a);
	wait_up(&a);
	wait_up(&b);
}

Test(quiet, a_worker_neither_allocates_nor_locks_for_a_packet, .timeout = 60)
{
	begin(1);
	carry(PACKETS / 10); /* whatever is made once is made now */
	is_quiet();
	engines_clear();
}

Test(quiet, nor_do_two_with_a_lane_each, .timeout = 60)
{
	begin(2);
	for (int64_t end = clock_now() + 30 * 1000000000LL;
	     atomic_load(&a.peer->active) != 3 || atomic_load(&b.peer->active) != 3;) {
		cr_assert_lt(clock_now(), end);
		carry(100);
	}
	settle(&a);
	is_quiet();
	cr_expect_gt(get(&a.peer->slots[1].tx_packets), PACKETS / 4);
	engines_clear();
}

/* Nobody may ask for a second lane: all that comes by the other queue is passed on. */
Test(quiet, nor_does_one_that_passes_packets_on, .timeout = 60)
{
	begin(2);
	for (unsigned i = 1; i < WORKERS_MAX; i++) /* no further lane is asked for */
		a.peer->slots[i].asked_more = b.peer->slots[i].asked_more = INT64_MAX / 2;
	a.peer->slots[0].asked_more = b.peer->slots[0].asked_more = INT64_MAX / 2;
	carry(PACKETS / 10);
	is_quiet();
	cr_expect_eq(get(&a.peer->slots[1].tx_packets), 0);
	engines_clear();
}

/* Else it could not fail. */
Test(quiet, the_counting_counts)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	void *volatile p;

	if (!COUNTED)
		cr_skip_test("counted in the plain build");
	workers[nworkers++] = pthread_self();
	atomic_store(&counting, true);
	p = malloc(1);
	free(p);
	pthread_mutex_lock(&m);
	atomic_store(&counting, false);
	pthread_mutex_unlock(&m);
	cr_expect_eq(allocations, 1);
	cr_expect_eq(frees, 1);
	cr_expect_eq(locks, 1);
}
