/* SPDX-License-Identifier: GPL-3.0-or-later */
/* drops - every reason not to deliver a packet, in one list.
 *
 * The list makes the enum, the names in status and metrics, and the manual. A step of the packet's
 * way returns one; only the loop counts, so that nothing is counted twice or not at all.
 */
#pragma once

#define DROPS(X)                                                                               \
	/* out: TUN to wire */                                                                 \
	X(MALFORMED, "malformed", "a packet whose headers do not add up")                      \
	X(SOURCE, "source", "the inner source does not belong to the sender")                  \
	X(NO_ROUTE, "no-route", "no node announces the destination")                           \
	X(EXTENSION, "extension-header",                                                       \
	  "a source route, or a header that no policy can see past")                           \
	X(FRAGMENT, "fragment", "a fragment that does not follow an allowed first one")        \
	X(POLICY, "policy", "a rule of the policy refuses it, at either end")                  \
	X(PLACEMENT, "placement", "of or to a workload that may not run where it runs")        \
	X(ICMP_ERROR, "icmp-error", "an ICMP error about a flow that is not open")             \
	X(FLOW_TABLE, "flow-table", "its workload has more flows open than there is room for") \
	X(TOO_BIG, "too-big", "larger than the path to the peer carries")                      \
	X(NO_SESSION, "no-session", "no session with the peer, and too many packets wait")     \
	X(KEY_USED_UP, "key-used-up", "the session's key has sealed all it may")               \
	X(SEND_FAILED, "send-failed", "the kernel did not take the datagram")                  \
	/* in: wire to TUN */                                                                  \
	X(UNKNOWN_CID, "unknown-cid", "a record for a session that is not here")               \
	X(NOT_DTLS, "not-dtls", "a datagram that is no DTLS record")                           \
	X(REPLAYED, "replayed", "the record had been accepted before, or is too old")          \
	X(BAD_TAG, "bad-tag", "the record was forged or damaged")                              \
	X(BAD_FRAME, "bad-frame", "an authentic record whose content has no known form")       \
	X(DESTINATION, "destination", "the inner destination is not ours")                     \
	X(DEVICE_FULL, "device-full", "the TUN device did not take the packet")                \
	/* before a peer is proven */                                                          \
	X(HANDSHAKE_FULL, "handshake-full", "too many half-open sessions")                     \
	X(HANDSHAKE_RATE, "handshake-rate", "too many hellos from one source prefix")          \
	X(QUEUE_FULL, "queue-full", "the handshake thread has more waiting than it may")       \
	/* between workers */                                                                  \
	X(WORKER_BEHIND, "worker-behind", "it is another worker's, and too many wait for that one")

enum drop {
	DROP_NONE, /* delivered, or waiting */
#define X(id, name, text) DROP_##id,
	DROPS(X)
#undef X
		DROP_COUNT
};

const char *drop_name(enum drop why); /* "no-route" */
const char *drop_text(enum drop why);
/* What ip_parse or frame_parse said of a packet. */
enum drop drop_of_packet(int err);
