/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Small secrets share chunks of locked pages, in slots of one size; a large one gets pages of its
 * own. Between unreadable pages both: running over a neighbour faults. What is taken and what is
 * free is noted outside of the pages, because those are zero in a forked child.
 *
 * The list of chunks is the one piece of state here that no argument carries: it belongs to the
 * process as the heap does.
 */
#include "crypto/secret.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

/* syscalls(engine manager ca): mmap mprotect mlock madvise munmap getrandom tgkill */

#define SLOT        256
#define CHUNK_SLOTS 64
#define CHUNK_BYTES ((size_t)SLOT * CHUNK_SLOTS)

struct chunk {
	struct chunk *next;
	uint8_t *slots;
	uint64_t taken; /* one bit a slot */
};

static pthread_mutex_t chunks_lock = PTHREAD_MUTEX_INITIALIZER;
static struct chunk *chunks;

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t pages_round(size_t n)
{
	size_t page = page_size();

	return (n + page - 1) / page * page;
}

/* n bytes, a multiple of the page size, between two pages that nobody may touch. */
static void *pages_new(size_t n)
{
	size_t page = page_size();
	uint8_t *all, *inner;

	all = mmap(NULL, n + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		return NULL;
	inner = all + page;
	if (mprotect(inner, n, PROT_READ | PROT_WRITE) < 0 || mlock(inner, n) < 0 ||
	    madvise(inner, n, MADV_DONTDUMP) < 0 || madvise(inner, n, MADV_WIPEONFORK) < 0) {
		munmap(all, n + 2 * page);
		return NULL;
	}
	return inner;
}

static void pages_free(void *p, size_t n)
{
	size_t page = page_size();

	munmap((uint8_t *)p - page, n + 2 * page);
}

static struct chunk *chunk_new(void)
{
	struct chunk *c;

	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->slots = pages_new(pages_round(CHUNK_BYTES));
	if (!c->slots) {
		free(c);
		return NULL;
	}
	c->next = chunks;
	chunks = c;
	return c;
}

static void *slot_take(void)
{
	struct chunk *c = chunks;
	int i;

	while (c && c->taken == UINT64_MAX)
		c = c->next;
	if (!c)
		c = chunk_new();
	if (!c)
		return NULL;
	i = __builtin_ctzll(~c->taken);
	c->taken |= 1ULL << i;
	return c->slots + (size_t)i * SLOT;
}

/* A chunk stays when its last slot is given back: the next secret will come. */
static void slot_give(const uint8_t *p)
{
	for (struct chunk *c = chunks; c; c = c->next) {
		if (p >= c->slots && p < c->slots + CHUNK_BYTES) {
			c->taken &= ~(1ULL << ((size_t)(p - c->slots) / SLOT));
			return;
		}
	}
	abort(); /* not from secret_new, or given back with another size */
}

void *secret_new(size_t n)
{
	void *p;

	if (n == 0 || n > SIZE_MAX / 2)
		return NULL;
	if (n > SLOT)
		return pages_new(pages_round(n));
	pthread_mutex_lock(&chunks_lock);
	p = slot_take();
	pthread_mutex_unlock(&chunks_lock);
	return p;
}

void secret_free(void *p, size_t n)
{
	if (!p)
		return;
	if (n > SLOT) {
		secret_wipe(p, n);
		pages_free(p, pages_round(n));
		return;
	}
	secret_wipe(p, SLOT); /* whole: the next owner is promised zeros */
	pthread_mutex_lock(&chunks_lock);
	slot_give(p);
	pthread_mutex_unlock(&chunks_lock);
}

void secret_wipe(void *p, size_t n)
{
	if (n > 0)
		explicit_bzero(p, n);
}

int secret_equal(const void *a, const void *b, size_t n)
{
	const volatile uint8_t *x = a;
	const volatile uint8_t *y = b;
	unsigned differ = 0;

	for (size_t i = 0; i < n; i++)
		differ |= (unsigned)(x[i] ^ y[i]);
	return (int)(((differ - 1) >> 8) & 1); /* 0 - 1 borrows, 1 to 255 do not */
}

int secret_random(void *out, size_t n)
{
	uint8_t *p = out;

	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);

		if (got < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += got;
		n -= (size_t)got;
	}
	return 0;
}
