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

static pthread_t workers[2];
static _Atomic bool counting;
static _Atomic unsigned allocations, frees, locks;

/* A sanitizer has its own: there the packets are carried and nothing is counted. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTED 1
static bool on_a_worker(void)
{
	return atomic_load(&counting) && (pthread_equal(pthread_self(), workers[0]) ||
	                                  pthread_equal(pthread_self(), workers[1]));
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

	while (recv(s->tun[1], p, sizeof(p), MSG_DONTWAIT) > 0)
		n++;
	return n;
}

static void carry(unsigned packets)
{
	for (uint32_t i = 0; i < packets; i++) {
		send_packet(&a, 1, 2, i);
		send_packet(&b, 2, 1, i);
		if (i % 4 == 0) {
			drain(&a);
			drain(&b);
		}
	}
}

Test(quiet, a_worker_neither_allocates_nor_locks_for_a_packet, .timeout = 60)
{
	struct counters before = {0}, after = {0};

	engines_init();
	start(&a, &b);
	start(&b, &a);
	wait_up(&a);
	wait_up(&b);
	carry(PACKETS / 10); /* whatever is made once is made now */
	workers[0] = a.engine->workers[0].thread;
	workers[1] = b.engine->workers[0].thread;
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
	engines_clear();
}

/* Else it could not fail. */
Test(quiet, the_counting_counts)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	void *volatile p;

	if (!COUNTED)
		cr_skip_test("counted in the plain build");
	workers[0] = pthread_self();
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
