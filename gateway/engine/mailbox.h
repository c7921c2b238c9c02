/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mailbox - a bounded queue from one thread to one other, without a lock.
 *
 * Slots of a fixed size lie in one block made at start. The writer reserves, fills and posts; the
 * reader takes the next and gives it back. A full mailbox is the writer's to count and drop: nobody
 * waits. The reader sleeps on the descriptor, which is written only when the box was empty.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mailbox {
	_Alignas(64) _Atomic uint32_t tail; /* writer: one past the last posted */
	_Alignas(64) _Atomic uint32_t head; /* reader: the next to take */
	uint32_t mask;
	size_t slot;
	uint8_t *slots;
	int fd;
	bool shared; /* another's descriptor wakes the reader */
};

/* slots is a power of two. 0 or -errno. */
int mailbox_init(struct mailbox *m, size_t slot, uint32_t slots);
/* One more of a reader that sleeps on the descriptor fd of another, and then looks into all. */
int mailbox_init_beside(struct mailbox *m, size_t slot, uint32_t slots, int fd);
void mailbox_clear(struct mailbox *m);

/* Writer: a slot to fill, NULL if the box is full. */
void *mailbox_reserve(struct mailbox *m);
/* Writer: the reserved slot is filled; wakes the reader if it may sleep. */
void mailbox_post(struct mailbox *m);

/* Writer: how many wait. */
uint32_t mailbox_waiting(const struct mailbox *m);

/* Reader: the oldest slot, NULL if empty; valid until mailbox_done. */
void *mailbox_next(struct mailbox *m);
/* Reader: the n-th behind the oldest, NULL if there are not so many; each wants a mailbox_done. A reader
 * that has yet to give some back must not sleep: nobody would wake it.
 */
void *mailbox_peek(struct mailbox *m, uint32_t n);
void mailbox_done(struct mailbox *m);
/* Reader, before it looks for the next slot after a sleep: the wake-up is consumed. */
void mailbox_awake(struct mailbox *m);
