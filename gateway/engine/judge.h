/* SPDX-License-Identifier: GPL-3.0-or-later */
/* judge - may this packet pass, by the policy of the snapshot?
 *
 * Asked for each packet that leaves and for each that arrives, after its addresses were found to be
 * those of both nodes: the sender judges to save work, the receiver because it trusts no sender. A
 * packet of a flow that is known costs one look (tables/flows.h); subjects and policy are asked for its
 * first one, and again after each new snapshot. Worker thread.
 */
#pragma once
#include "gateway/drops.h"
#include "tun/ip.h"

struct worker;
struct peer;

struct judged {
	const uint8_t *packet;
	const struct ip_view *ip;     /* of it; of a super-packet once for all */
	const struct peer *from, *to; /* of both nodes, as the snapshot's routes have them */
	bool inbound;
};

/* DROP_NONE: it may. Not for a snapshot that is open. */
enum drop judge(struct worker *w, const struct judged *j, int64_t now);
