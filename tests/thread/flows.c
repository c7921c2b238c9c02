/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One table of flows, several threads, no lock: some flows that all of them open, renew, reset and refuse
 * at once, and so many others that all places are fought for. Checked: a reply passes only where
 * somebody allowed the flow, and once all is over no place and no share is left behind. Under TSan.
 */
#include "gateway/tables/flows.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 4
#define HOT     64         /* flows that all threads work on */
#define COLD    (1U << 18) /* twice the table */

enum { PORT_HOT = 80, PORT_COLD, PORT_CLOSED }; /* the last is never allowed */

#define CHECK(cond)                                                                \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			exit(1);                                                   \
		}                                                                  \
	} while (0)

static struct flows *f;
static _Atomic int64_t now = 1000 * FLOWS_SECOND;
static _Atomic uint32_t generation = 1;
static _Atomic uint64_t known, allowed, full;
static unsigned rounds = 200000;

static struct ip_view packet(uint32_t number, uint16_t port, unsigned draw)
{
	static const uint8_t hot[] = {2, 18, 16, 16, 16, 16, 17, 4}, cold[] = {2, 18, 16};
	struct ip_view v = {.version = 4, .first = true, .proto = IPPROTO_TCP};

	v.src = (struct addr){4, {10, 77, 1, (uint8_t)(number >> 16)}};
	v.dst = (struct addr){4, {10, 77, 2, 1}};
	v.sport = (uint16_t)number;
	v.dport = port;
	v.flags = port == PORT_COLD ? cold[draw % 3] : hot[draw % 8];
	if (draw >> 12 & 1) {
		struct addr a = v.src;

		v.src = v.dst;
		v.dst = a;
		v.dport = v.sport;
		v.sport = port;
	}
	return v;
}

static void one(unsigned *seed, uint32_t owner)
{
	unsigned draw = (unsigned)rand_r(seed);
	uint16_t port = draw % 4 == 0 ? PORT_HOT : draw % 4 == 1 ? PORT_CLOSED : PORT_COLD;
	unsigned number = (unsigned)rand_r(seed) % (port == PORT_COLD ? COLD : HOT);
	struct ip_view v = packet(number, port, draw / 4);
	struct flow_look l;

	switch (flows_look(&l, f, &v, generation, now)) {
	case FLOW_KNOWN:
		CHECK(port != PORT_CLOSED);
		known++;
		break;
	case FLOW_NONE:
		CHECK(false);
		break;
	default:
		if (port == PORT_CLOSED)
			break;
		allowed++;
		full += !flows_allow(&l, owner);
	}
}

static void *work(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg, first = seed;
	char name[8];

	snprintf(name, sizeof(name), "w%u", seed);
	for (unsigned i = 0; i < rounds; i++) {
		one(&seed, flows_owner(f, name));
		if (i % 64 == 0)
			flows_sweep(f, now);
		if (first == 1 && i % 10000 == 0)
			now += FLOWS_SECOND;
		if (first == 2 && i % 1000 == 0)
			generation++;
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];

	if (getenv("LONG"))
		rounds = 3000000;
	CHECK(!flows_new(&f, (const uint8_t *)"0123456789abcdef"));
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, work, (void *)(i + 1)));
	for (unsigned i = 0; i < THREADS; i++)
		CHECK(!pthread_join(threads[i], NULL));
	printf("known %llu, allowed %llu, of those without room %llu, entries %u\n",
	       (unsigned long long)known, (unsigned long long)allowed, (unsigned long long)full,
	       flows_count(f));
	CHECK(known > rounds / 10 && allowed > rounds / 10);
	CHECK(flows_count(f) > FLOWS_MAX / 2 && flows_count(f) <= FLOWS_MAX);
	now += 2LL * FLOWS_TCP_OPEN * FLOWS_SECOND;
	flows_sweep(f, now);
	for (uint32_t i = 0; i < FLOWS_OWNERS; i++)
		CHECK(flows_share(f, i) == 0);
	flows_free(f);
	return 0;
}
