/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/judge.h"

#include "gateway/engine/engine.h"
#include "gateway/engine/worker.h"
#include "gateway/tables/flows.h"
#include <netinet/in.h>

#include "tun/icmp.h"

/* A flow as its opener sees it. */
struct question {
	const struct addr *src, *dst;
	const struct peer *from, *to;
	uint8_t proto;
	uint16_t port;
};

static bool has_ports(const struct ip_view *ip)
{
	return ip->proto == IPPROTO_TCP || ip->proto == IPPROTO_UDP || ip->proto == IPPROTO_SCTP;
}

static struct question ask(const struct ip_view *ip, const struct peer *from, const struct peer *to)
{
	return (struct question){&ip->src, &ip->dst,  from,
	                         to,       ip->proto, has_ports(ip) ? ip->dport : 0};
}

static struct question ask_reply(const struct ip_view *ip, const struct peer *from,
                                 const struct peer *to)
{
	return (struct question){&ip->dst, &ip->src,  to,
	                         from,     ip->proto, has_ports(ip) ? ip->sport : 0};
}

/* A record counts for the node that it names alone: an address may have moved. */
static const struct subject *whose(const struct snapshot *s, const struct addr *a,
                                   const struct peer *at)
{
	const struct subject *who = subjects_lookup(s->subjects, a);

	return who && who->where == at ? who : NULL;
}

/* What has no record shares the room of its node. */
static const char *owner_name(const struct subject *who, const struct peer *at)
{
	if (!who)
		return at->name;
	return *who->id ? who->id : who->name;
}

static enum drop refuse(struct worker *w, const struct judged *j, const struct question *q,
                        uint32_t rule, int64_t now)
{
	const struct refusal one = {
		.src = *q->src,
		.dst = *q->dst,
		.proto = q->proto,
		.port = q->port,
		.inbound = j->inbound,
		.rule = rule,
		.version = w->snapshot->policy_version,
	};

	rule_drops_add(w->snapshot->rule_drops, rule);
	refusals_note(&w->refusals, &one, now);
	return rule == RULE_PLACEMENT ? DROP_PLACEMENT : DROP_POLICY;
}

static enum drop decide(struct worker *w, const struct judged *j, const struct flow_look *look,
                        const struct question *q, int64_t now)
{
	const struct snapshot *s = w->snapshot;
	const struct subject *src = whose(s, q->src, q->from), *dst = whose(s, q->dst, q->to);
	struct policy_verdict v;

	if ((src && src->refused) || (dst && dst->refused))
		return refuse(w, j, q, RULE_PLACEMENT, now);
	v = policy_judge(s->policy, src ? src->class : 0, dst ? dst->class : 0, q->proto, q->port);
	if (v.action == POLICY_DENY)
		return refuse(w, j, q, v.rule, now);
	return flows_allow(look, flows_owner(w->engine->flows, owner_name(src, q->from)))
	               ? DROP_NONE
	               : DROP_FLOW_TABLE;
}

/* An error is to tell the sender of a packet what became of it: so it comes to where that packet came
 * from, and from the node where it was going.
 */
static enum drop judge_error(struct worker *w, const struct judged *j, int64_t now)
{
	const struct snapshot *s = w->snapshot;
	struct flow_look look;
	struct ip_view quoted;
	struct question q;

	if (icmp_quoted(&quoted, j->packet, j->ip) || !addr_equal(&quoted.src, &j->ip->dst) ||
	    route_lookup(s->routes, &quoted.dst) != j->from)
		return DROP_ICMP_ERROR;
	switch (flows_look_quoted(&look, w->engine->flows, &quoted, (uint32_t)s->serial, now)) {
	case FLOW_KNOWN:
		return DROP_NONE;
	case FLOW_ASK:
		q = ask(&quoted, j->to, j->from);
		break;
	case FLOW_ASK_REPLY:
		q = ask_reply(&quoted, j->to, j->from);
		break;
	default:
		return DROP_ICMP_ERROR;
	}
	return decide(w, j, &look, &q, now);
}

enum drop judge(struct worker *w, const struct judged *j, int64_t now)
{
	const struct snapshot *s = w->snapshot;
	struct flow_look look;
	struct question q;

	if (icmp_is_error(j->ip))
		return judge_error(w, j, now);
	switch (flows_look(&look, w->engine->flows, j->ip, (uint32_t)s->serial, now)) {
	case FLOW_KNOWN:
		return DROP_NONE;
	case FLOW_NONE:
		return DROP_FRAGMENT;
	case FLOW_ASK_REPLY:
		q = ask_reply(j->ip, j->from, j->to);
		break;
	default:
		q = ask(j->ip, j->from, j->to);
	}
	return decide(w, j, &look, &q, now);
}
