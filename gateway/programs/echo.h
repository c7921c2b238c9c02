/* SPDX-License-Identifier: GPL-3.0-or-later */
/* echo - ICMP echoes to one address, many under way at once, each of them counted and timed.
 *
 * The other end's kernel answers them: nothing has to run there, and nobody gets a port to it. Nothing
 * of an answer is believed but that it came: when an echo left is in a table of ours, and an answer
 * that is not to one under way (late, doubled, made up) is passed over. One thread.
 */
#pragma once
#include "tun/ip.h"
#include <stdbool.h>

#define ECHO_UNDER_WAY_MAX 4096
#define ECHO_LEN_MIN       64   /* of the IP packet */
#define ECHO_LEN_MAX       1500 /* never cut on the way to the device */
#define ECHO_LOST_NS       500000000LL
#define ECHO_TIMES_MAX     8192 /* probes that are timed in one run */

struct echo;

/* So many packets of len bytes under way, for so long; and a small one every probe_ns beside them, each
 * of which is timed. Either may be 0: none.
 */
struct echo_plan {
	size_t len;
	unsigned under_way;
	int64_t probe_ns, duration_ns;
};

struct echo_result {
	uint64_t sent, answered;       /* of the load */
	unsigned probes, ntimes;       /* sent, and answered */
	int64_t times[ECHO_TIMES_MAX]; /* of probes, ascending, ns */
	int64_t took;                  /* ns, until the last was sent */
	int error;                     /* why the last one that failed to leave did, or 0 */
};

/* -EPERM: neither root nor in net.ipv4.ping_group_range. Others: the socket's. */
int echo_new(struct echo **out, const struct addr *to);
void echo_free(struct echo *e);
/* 0, -errno that ended it. */
int echo_run(struct echo *e, const struct echo_plan *p, struct echo_result *r);
/* The one below which percent of the times lie; 0: there are none. */
int64_t echo_percentile(const struct echo_result *r, unsigned percent);
