/* SPDX-License-Identifier: GPL-3.0-or-later */
/* workers - how many threads carry packets, and which socket is whose: what the parent, which opens
 * the sockets, and the engine, which serves them, have to agree on.
 *
 * Sockets in the order in which they are handed over: of each worker the one in the group at our
 * port, then of each worker but the first one of its own, at a port whose remainder by WORKERS_MAX is
 * the worker's number. So who is dialled from there can tell lanes apart without a word on the wire,
 * and gives each to another worker; where a translator changes the port they are spread all the same.
 */
#pragma once
#include <stdint.h>

#define WORKERS_MAX     8
#define WORKERS_SOCKETS (2 * WORKERS_MAX - 1)

/* One per core that this process may use, at most WORKERS_MAX, and one alone where there are two; or as text says ("1" to "8", tests and
 * benchmarks), if it is not NULL. 0 or -EINVAL.
 */
int workers_count(unsigned *out, const char *text);
/* Sockets that n workers have. */
unsigned workers_sockets(unsigned n);
/* Whose a lane is that comes from this port, of n. */
unsigned workers_by_port(uint16_t port, unsigned n);
