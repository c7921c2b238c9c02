/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/denied.h"

#include "gateway/log.h"
#include <netinet/in.h>
#include <stdio.h>

#define LINES 64 /* at most, a second */

/* A name with its address; the address alone if nobody has it on record. */
static void name_format(const struct snapshot *s, const struct addr *a, char *out, size_t max)
{
	const struct subject *who = s->open ? NULL : subjects_lookup(s->subjects, a);
	char text[ADDR_TEXT_MAX];

	addr_format(a, text);
	if (who)
		snprintf(out, max, "%s (%s)", who->name, text);
	else
		snprintf(out, max, "%s", text);
}

static void what_format(const struct refusal *r, char *out, size_t max)
{
	const char *proto = r->proto == IPPROTO_TCP                                  ? "tcp"
	                    : r->proto == IPPROTO_UDP                                ? "udp"
	                    : r->proto == IPPROTO_SCTP                               ? "sctp"
	                    : r->proto == IPPROTO_ICMP || r->proto == IPPROTO_ICMPV6 ? "icmp"
	                                                                             : NULL;

	if (proto && r->port)
		snprintf(out, max, "%u/%s", r->port, proto);
	else if (proto)
		snprintf(out, max, "%s", proto);
	else
		snprintf(out, max, "protocol %u", r->proto);
}

static void log_one(const struct snapshot *s, const struct refusal *r)
{
	char src[CERT_NAME_MAX + ADDR_TEXT_MAX + 4], dst[sizeof(src)], what[32];
	const char *rule = NULL;

	name_format(s, &r->src, src, sizeof(src));
	name_format(s, &r->dst, dst, sizeof(dst));
	what_format(r, what, sizeof(what));
	if (!s->open && r->version == s->policy_version && r->rule != RULE_PLACEMENT)
		rule = policy_rule_name(s->policy, r->rule);
	log_warn("packet refused", "from", src, "to", dst, "port", what, "direction",
	         r->inbound ? "in" : "out", "reason",
	         r->rule == RULE_PLACEMENT ? "placement" : "policy", "rule", rule, NULL);
}

void denied_log(struct engine *e)
{
	const struct snapshot *s = engine_snapshot(e); /* control published it: it is here */
	uint32_t said[LINES];
	unsigned n = 0, i;
	struct refusal r;

	while (engine_refusal(e, &r)) {
		for (i = 0; i < n && said[i] != r.rule; i++)
			;
		if (i < n || n == LINES)
			continue;
		said[n++] = r.rule;
		log_one(s, &r);
	}
}
