/* SPDX-License-Identifier: GPL-3.0-or-later */
/* flows - which flows were allowed, so that their replies pass and nothing else does.
 *
 * One table for all workers of a node, for a reply may come by another worker than the one that sent
 * the request. Nobody waits and nothing is allocated: an entry is two atomic words (flows.c says why
 * that is enough). Bounded; when it is full, who has many entries gives way to who has few.
 *
 * An entry is worth what the policy said at its time: each look names the present generation, and
 * what was judged under another has to be judged again before the packet passes.
 *
 * A packet is looked up by flows_look. If that asks for a verdict and it is to allow, flows_allow follows
 * with the same look. An entry that is refused stays until its end, for it knows who opened the flow:
 * else the other side could go on with it as if it were its own.
 */
#pragma once
#include "tun/ip.h"
#include <stdatomic.h>

#define FLOWS_SECOND     1000000000LL
#define FLOWS_MAX        (1U << 17) /* 2 MiB */
#define FLOWS_BUCKET     8          /* a flow has so many places to be in */
#define FLOWS_OWNERS     (1U << 16) /* whose entries are counted; two in one share a share */
#define FLOWS_SWEEP      (60 * FLOWS_SECOND) /* what has ended is cleared away after so long at most */
#define FLOWS_GENERATION 0xffffffU           /* generations are told apart by so many bits */

/* Without a packet for so long an entry ends, in seconds. */
#define FLOWS_TCP_NEW    120  /* no reply yet */
#define FLOWS_TCP_OPEN   7440 /* RFC 5382, REQ-5: 2 h 4 min */
#define FLOWS_TCP_FIN    240  /* one side has sent its FIN: RFC 5382, REQ-5 */
#define FLOWS_TCP_ENDED  10   /* both have, and not renewed: the last ACKs */
#define FLOWS_NEW        30   /* others without a reply; ICMP echo always */
#define FLOWS_UDP_OPEN   180  /* RFC 4787, REQ-5: more than 2 min */
#define FLOWS_OTHER_OPEN 600
#define FLOWS_FRAGMENT   5

#define FLOWS_YOUNG 60 /* s after flows_begin, see there */

struct flows;

enum flow {
	FLOW_KNOWN,     /* allowed, and judged in this generation */
	FLOW_ASK,       /* the policy is asked about the packet as it is */
	FLOW_ASK_REPLY, /* it belongs to a flow that its receiver opened: asked with the ends swapped */
	FLOW_NONE, /* what can only follow or tell of another packet, and that one is not known */
};

/* What flows_look found. The caller looks at none of it. */
struct flow_look {
	struct flows *flows;
	uint64_t tag, state;
	uint32_t bucket, generation, now;
	int slot;     /* -1: no entry */
	bool low;     /* the packet comes from the lower of the two ends */
	bool forward; /* and from who opened the flow, or does so now */
	const struct ip_view *ip;
	enum { FLOW_OF_PACKET, FLOW_OF_QUOTE, FLOW_OF_NOTHING } kind;
};

/* key: 16 random bytes. -ENOMEM. */
int flows_new(struct flows **out, const uint8_t key[16]);
void flows_free(struct flows *f);

/* From now on packets are judged, and connections may be older than that. Who opened one is told by
 * its SYN; without that, the side with the higher port is taken for it. Its packets take a connection
 * up again at any time, if the policy lets them; those of the other side only in the first minute, and
 * later pass if they may by themselves, without a right to be answered.
 */
void flows_begin(struct flows *f, int64_t now);

/* ip is borrowed until flows_allow. Later fragments: FLOW_KNOWN or FLOW_NONE. ICMP errors are
 * flows_look_quoted's.
 */
enum flow flows_look(struct flow_look *l, struct flows *f, const struct ip_view *ip,
                     uint32_t generation, int64_t now);
/* An ICMP error passes if the flow of the packet that it quotes is known. FLOW_ASK: as it stands in the
 * quotation.
 */
enum flow flows_look_quoted(struct flow_look *l, struct flows *f, const struct ip_view *quoted,
                            uint32_t generation, int64_t now);
/* Whose share an entry counts for: of the workload that opens the flow, by its name. */
uint32_t flows_owner(const struct flows *f, const char *name);
/* The verdict was to allow. false: there is no room for one more of this owner. */
bool flows_allow(const struct flow_look *l, uint32_t owner);

/* Clears away a part of what has ended: to be called now and then, by any worker. */
void flows_sweep(struct flows *f, int64_t now);

/* For tests and status. */
uint32_t flows_count(const struct flows *f);
uint32_t flows_share(const struct flows *f, uint32_t owner);
