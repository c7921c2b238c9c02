/* SPDX-License-Identifier: GPL-3.0-or-later */
/* counters - counts per worker, summed by control.
 *
 * One writer each (its worker), relaxed atomics, so that a reader on another thread sees whole
 * numbers. Invariant after each batch: read = delivered + waiting + sum of drops.
 */
#pragma once
#include "gateway/drops.h"
#include <stdatomic.h>
#include <stdint.h>

struct counters {
	_Atomic uint64_t tun_read, tun_delivered; /* packets from the device; put on the wire */
	_Atomic uint64_t wire_read,
		wire_delivered; /* packets out of records; written to the device */
	_Atomic uint64_t datagrams_in, datagrams_out;
	_Atomic uint64_t control; /* control frames and records without packets */
	_Atomic uint64_t drops[DROP_COUNT];
};

/* The one writer adds; no locked instruction is needed. */
static inline void count_add(_Atomic uint64_t *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
	                      memory_order_relaxed);
}

void counters_sum(struct counters *total, const struct counters *one);
