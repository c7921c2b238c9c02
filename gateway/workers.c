/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/workers.h"

#include <errno.h>
#include <sched.h>

/* With so few, those who make the packets, and the kernel's part, want the other one: two workers were
 * as fast as one with small packets and 6 % slower with one TCP stream.
 */
#define WORKERS_FEW_CORES 2

static unsigned cores(void)
{
	cpu_set_t set;

	/* More cores than the set holds: there are enough. */
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return errno == EINVAL ? WORKERS_MAX : 1;
	return (unsigned)CPU_COUNT(&set);
}

int workers_count(unsigned *out, const char *text)
{
	unsigned n;

	if (!text) {
		n = cores();
		*out = n > WORKERS_MAX ? WORKERS_MAX : n > WORKERS_FEW_CORES ? n : 1;
		return 0;
	}
	if (text[0] < '1' || text[0] > '0' + WORKERS_MAX || text[1])
		return -EINVAL;
	*out = (unsigned)(text[0] - '0');
	return 0;
}

unsigned workers_sockets(unsigned n)
{
	return 2 * n - 1;
}

unsigned workers_by_port(uint16_t port, unsigned n)
{
	return port % WORKERS_MAX % n;
}
