/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* syscalls(engine): read write */

int mailbox_init_beside(struct mailbox *m, size_t slot, uint32_t slots, int fd)
{
	if (!slots || (slots & (slots - 1)))
		return -EINVAL;
	m->slot = (slot + 63) & ~(size_t)63; /* no two slots share a cache line */
	m->slots = aligned_alloc(64, m->slot * slots);
	if (!m->slots)
		return -ENOMEM;
	m->fd = fd;
	m->shared = true;
	m->mask = slots - 1;
	atomic_init(&m->head, 0);
	atomic_init(&m->tail, 0);
	return 0;
}

int mailbox_init(struct mailbox *m, size_t slot, uint32_t slots)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = mailbox_init_beside(m, slot, slots, fd);
	if (err) {
		close(fd);
		return err;
	}
	m->shared = false;
	return 0;
}

void mailbox_clear(struct mailbox *m)
{
	if (!m->slots)
		return;
	if (!m->shared)
		close(m->fd);
	free(m->slots);
	m->slots = NULL;
}

void *mailbox_reserve(struct mailbox *m)
{
	uint32_t tail = atomic_load_explicit(&m->tail, memory_order_relaxed);

	if (tail - atomic_load_explicit(&m->head, memory_order_acquire) > m->mask)
		return NULL;
	return m->slots + (size_t)(tail & m->mask) * m->slot;
}

uint32_t mailbox_waiting(const struct mailbox *m)
{
	return atomic_load_explicit(&m->tail, memory_order_relaxed) -
	       atomic_load_explicit(&m->head, memory_order_acquire);
}

/* The writer stores tail and then looks at head, the reader stores head and then looks at tail, both
 * sequentially consistent: so either the reader sees the new slot before it sleeps, or the writer
 * sees that everything before it was taken, and wakes.
 */
void mailbox_post(struct mailbox *m)
{
	uint32_t tail = atomic_load_explicit(&m->tail, memory_order_relaxed);
	uint64_t one = 1;

	atomic_store(&m->tail, tail + 1);
	if (atomic_load(&m->head) == tail && write(m->fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: the reader is awake anyway */
}

void *mailbox_peek(struct mailbox *m, uint32_t n)
{
	uint32_t head = atomic_load_explicit(&m->head, memory_order_relaxed);

	if (atomic_load(&m->tail) - head <= n)
		return NULL;
	return m->slots + (size_t)((head + n) & m->mask) * m->slot;
}

void *mailbox_next(struct mailbox *m)
{
	return mailbox_peek(m, 0);
}

void mailbox_done(struct mailbox *m)
{
	atomic_store(&m->head, atomic_load_explicit(&m->head, memory_order_relaxed) + 1);
}

void mailbox_awake(struct mailbox *m)
{
	uint64_t n;

	if (read(m->fd, &n, sizeof(n)) < 0)
		return; /* woken for another reason */
}
