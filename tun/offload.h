/* SPDX-License-Identifier: GPL-3.0-or-later */
/* offload - super-packets cut into packets on the way out, neighbours merged on the way in.
 *
 * The kernel hands over up to 64 KiB of one flow at once and takes as much back. Neither way copies
 * payload, and neither sums it up: a checksum the kernel left to the device stays undone ("partial")
 * from one device to the other; the record's tag guards the bytes between.
 * What the vnet header says is believed only where our own parse implies it too; the one written is
 * made from the parse alone. Pure; any thread; a struct is its caller's.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tun/ip.h"

#define OFFLOAD_HDR_LEN          10
#define OFFLOAD_HEADER_MAX       120 /* IPv4 60 and TCP 60 */
#define OFFLOAD_TCP_SEGMENTS_MAX 128 /* 64 KiB of the old default MSS, 536 */
#define OFFLOAD_UDP_SEGMENTS_MAX 64  /* the kernel throws larger ones away */

/* struct virtio_net_hdr: what the kernel says of a packet, and what it wants to hear. */
#define OFFLOAD_NEEDS_CSUM 1
#define OFFLOAD_DATA_VALID 2 /* whoever received it has checked the sum */
#define OFFLOAD_GSO_NONE   0
#define OFFLOAD_GSO_TCP4   1
#define OFFLOAD_GSO_TCP6   4
#define OFFLOAD_GSO_UDP    5    /* USO: each segment is a datagram */
#define OFFLOAD_GSO_ECN    0x80 /* with TCP: CWR is set */

struct offload_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
};

/* In the machine's byte order, as TUN has it. */
void offload_hdr_parse(struct offload_hdr *out, const uint8_t p[OFFLOAD_HDR_LEN]);
void offload_hdr_format(const struct offload_hdr *h, uint8_t p[OFFLOAD_HDR_LEN]);

/* Can its checksum be left undone at all? TCP and UDP, no fragment, no extension header between, a
 * UDP length that is the packet's. The way in asks this of a packet that is said to be partial, and
 * drops it if not.
 */
bool offload_may_elide(const uint8_t *packet, const struct ip_view *ip);
/* Fills in the checksum of one that may, whatever its field holds. */
void offload_finish(uint8_t *packet, const struct ip_view *ip);

/* -- the way out -- */

/* A packet or super-packet from the device, being cut up where it lies. */
struct offload_cut {
	uint8_t *packet;
	size_t len;
	/* private */
	uint8_t header[OFFLOAD_HEADER_MAX];
	size_t header_len, l4;
	size_t at;         /* of the next payload; len: all is out */
	uint16_t gso_size; /* 0: no super-packet */
	uint16_t id;
	uint32_t seq;
	uint64_t sum; /* of the IPv4 header, without length, id and sum */
	uint8_t proto, flags;
	bool v4, partial;
};

/* ip is the packet's own ip_parse, of all of its bytes: ip->total. 0; -EBADMSG:
 * - flags or a GSO type that we did not ask for, or that do not fit version and protocol;
 * - a super-packet whose sum is not left to us at its place; with extension headers; of 0 bytes
 *   payload or a segment; TCP with SYN, RST or URG; UDP of another length;
 * - a sum to be made in a fragment, outside the packet, or where it would change what ip_parse read.
 * A sum left to us at a place that the headers do not imply (of a tunnel's inner packet, say) is
 * made here.
 */
int offload_cut_start(struct offload_cut *c, uint8_t *packet, const struct ip_view *ip,
                      const struct offload_hdr *h);
/* The next whole packet: true; false: there is no more. Its header is written over the end of the
 * one before, which must have been used by then; the bytes behind it are the next one's and must be
 * the same at the next call. partial: the checksum is not in it, and its field means nothing.
 */
bool offload_cut_next(struct offload_cut *c, uint8_t **data, size_t *len, bool *partial);

/* -- the way in -- */

/* A packet that neighbours of its flow may join. Its pieces for the device: the first packet whole,
 * then of each that joined what lies behind header_len.
 */
struct offload_merge {
	uint8_t *header;   /* the first packet, the caller's; changed when it ends */
	size_t header_len; /* 0 if none can join */
	size_t total;      /* bytes with all that joined */
	unsigned segments;
	uint16_t gso_size; /* payload of the first: of each but the last */
	bool closed;       /* nothing more can join: end it. The caller may set it */
	bool partial;
	struct ip_view ip; /* of the first */
	/* private */
	uint8_t flags; /* PSH and FIN of the last */
	uint16_t next_id;
	uint32_t next_seq;
};

/* Begins with a whole packet and its own ip_parse. Only a partial one that offload_may_elide is one
 * that others may join: a full sum would be lost unverified. Not UDP of the ports of VXLAN and
 * Geneve (the kernel could take it for a tunnel's), nor with IPv4 options, without payload, or TCP
 * with flags but ACK, ECE, CWR. partial is ignored for one that may not: the kernel will check it.
 */
void offload_merge_start(struct offload_merge *m, uint8_t *packet, const struct ip_view *ip,
                         bool partial);
/* Does it continue the flow, so that the kernel, cutting again, would restore it? true: it has
 * joined. All of its header is the first's, but length, checksums, and
 * - TCP's sequence number, which follows; PSH and FIN, which end it; CWR, which only the first has;
 * - IPv4's id, which follows by one, or means nothing as DF is set (RFC 6864, 4.1).
 * A shorter one ends it; a longer one does not join.
 */
bool offload_merge_add(struct offload_merge *m, const uint8_t *packet, const struct ip_view *ip,
                       bool partial);
/* Ends it: completes the header and says what to write before it. */
void offload_merge_end(struct offload_merge *m, struct offload_hdr *out);
