/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Packets, their replies, time and new policies, as an engine would feed them. What passes unasked must be
 * of a flow that was allowed in this generation, by a list that forgets nothing; and a bare SYN only
 * the way that was allowed. One table for all inputs, hours apart, and now and then it is looked whether
 * anything is left in it.
 */
#include "gateway/tables/flows.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 64
#define RUNS  8 /* between two such looks: the seconds in an entry go round */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool ok)
{
	if (!ok)
		abort();
}

struct way {
	struct addr src, dst;
	uint16_t sport, dport, echo;
	uint8_t proto;
	uint32_t ident, generation;
};

static struct flows *f;
static struct way allowed[2 * STEPS];
static unsigned nallowed;
static uint32_t generation;
static int64_t now;

static struct way way_of(const struct ip_view *ip, bool swapped)
{
	struct way w = {
		.src = swapped ? ip->dst : ip->src,
		.dst = swapped ? ip->src : ip->dst,
		.sport = swapped ? ip->dport : ip->sport,
		.dport = swapped ? ip->sport : ip->dport,
		.echo = ip->echo,
		.proto = ip->proto,
		.ident = ip->ident,
		.generation = generation,
	};

	if (ip->proto == IPPROTO_ICMP || ip->proto == IPPROTO_ICMPV6)
		w.sport = w.dport = 0;
	return w;
}

static bool was_allowed(const struct ip_view *ip, bool swapped)
{
	struct way w = way_of(ip, swapped);

	for (unsigned i = 0; i < nallowed; i++) {
		const struct way *a = &allowed[i];

		if (a->generation != generation ||
		    (a->proto != w.proto && (ip->first || ip->version == 4)) ||
		    !addr_equal(&a->src, &w.src) || !addr_equal(&a->dst, &w.dst))
			continue;
		if (ip->first ? a->sport == w.sport && a->dport == w.dport && a->echo == w.echo
		              : a->ident == w.ident)
			return true;
	}
	return false;
}

static bool bare_syn(const struct ip_view *ip)
{
	return ip->proto == IPPROTO_TCP && (ip->flags & 22) == 2;
}

static void note(const struct ip_view *ip, bool swapped)
{
	struct way w = way_of(ip, swapped);

	allowed[nallowed++] = w;
}

static void feed(const struct ip_view *ip)
{
	struct flow_look l;
	enum flow found = flows_look(&l, f, ip, generation, now);
	bool swapped = found == FLOW_ASK_REPLY;
	uint16_t port = swapped ? ip->sport : ip->dport;

	switch (found) {
	case FLOW_KNOWN:
		require(was_allowed(ip, false) || (ip->first && was_allowed(ip, true)));
		require(!bare_syn(ip) || was_allowed(ip, false));
		if (ip->fragment && ip->first)
			note(ip, false);
		return;
	case FLOW_NONE:
		require(!ip->first);
		return;
	default:
		require(ip->first);
	}
	if ((port + generation) % 3 == 0) {
		require(flows_look(&l, f, ip, generation, now) != FLOW_KNOWN);
		return;
	}
	require(flows_allow(&l, flows_owner(f, "x")));
	note(ip, swapped);
	if (swapped)
		note(ip, false);
}

static struct ip_view reply(struct ip_view v, uint8_t how)
{
	struct ip_view r = v;

	r.src = v.dst;
	r.dst = v.src;
	r.flags = how;
	if (v.proto != IPPROTO_ICMP && v.proto != IPPROTO_ICMPV6) {
		r.sport = v.dport;
		r.dport = v.sport;
	} else if (v.first) {
		r.sport = v.proto == IPPROTO_ICMP ? 0 : 129 << 8;
	}
	return r;
}

/* Returns what is left. */
static size_t step(const uint8_t *p, size_t len, struct ip_view *last)
{
	struct ip_view v;

	switch (p[0] % 4) {
	case 0: /* a packet: its length, its bytes */
		if (len < 2 || len - 2 < p[1])
			return 0;
		if (ip_parse(&v, p + 2, p[1]) == 0) {
			*last = v;
			feed(last);
		}
		return len - 2 - p[1];
	case 1:
		if (len < 2 || !last->version)
			return 0;
		*last = reply(*last, p[1]);
		feed(last);
		return len - 2;
	case 2:
		now += p[0] * FLOWS_SECOND;
		return len - 1;
	default:
		generation++;
		return len - 1;
	}
}

static void start(void)
{
	static unsigned runs;

	if (!f)
		require(flows_new(&f, (const uint8_t *)"0123456789abcdef") == 0);
	now += 2LL * FLOWS_TCP_OPEN * FLOWS_SECOND;
	if (runs++ % RUNS == 0) {
		flows_sweep(f, now);
		require(flows_share(f, flows_owner(f, "x")) == 0);
	}
	flows_begin(f, now);
	generation++;
	nallowed = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ip_view last = {0};

	start();
	for (unsigned i = 0; i < STEPS && len; i++) {
		size_t left = step(data, len, &last);

		data += len - left;
		len = left;
	}
	return 0;
}
