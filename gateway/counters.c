/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/counters.h"

/* total is the caller's alone; one is being written by its worker. */
static void sum(_Atomic uint64_t *total, const _Atomic uint64_t *one)
{
	count_add(total, atomic_load_explicit(one, memory_order_relaxed));
}

void counters_sum(struct counters *total, const struct counters *one)
{
	sum(&total->tun_read, &one->tun_read);
	sum(&total->tun_delivered, &one->tun_delivered);
	sum(&total->wire_read, &one->wire_read);
	sum(&total->wire_delivered, &one->wire_delivered);
	sum(&total->datagrams_in, &one->datagrams_in);
	sum(&total->datagrams_out, &one->datagrams_out);
	sum(&total->control, &one->control);
	for (int i = 0; i < DROP_COUNT; i++)
		sum(&total->drops[i], &one->drops[i]);
}
