/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/steer.h"

#include "crypto/datagram.h"
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* syscalls(engine, before the filter): setsockopt */

#ifndef SO_ATTACH_REUSEPORT_CBPF
#define SO_ATTACH_REUSEPORT_CBPF 51
#endif

int steer_attach(int fd, unsigned workers)
{
	/* The kernel shows the filter what is behind the UDP header, of IPv4 and IPv6 alike; of
	 * datagrams that it merged, the first. What it cannot read is 0.
	 */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, DATAGRAM_UNIFIED_MASK | DATAGRAM_UNIFIED_CID),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, DATAGRAM_UNIFIED | DATAGRAM_UNIFIED_CID, 0, 3),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 1),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, workers, 1, 0),
		BPF_STMT(BPF_RET | BPF_A, 0),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog prog = {.len = sizeof(code) / sizeof(*code), .filter = code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &prog, sizeof(prog)) < 0
	               ? -errno
	               : 0;
}

static uint64_t mix(uint64_t x) /* splitmix64 */
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t end(const struct addr *a, uint16_t port)
{
	uint64_t word[2];

	memcpy(word, a->b, sizeof(word));
	return mix(word[0] ^ mix(word[1] ^ port));
}

uint64_t steer_flow(const struct ip_view *ip)
{
	/* Later fragments have no ports, and an echo's two directions not the same. */
	bool ports = !ip->fragment && (ip->proto == IPPROTO_TCP || ip->proto == IPPROTO_UDP ||
	                               ip->proto == IPPROTO_SCTP);

	/* A sum, for it is the same whichever end comes first. */
	return mix(end(&ip->src, ports ? ip->sport : 0) + end(&ip->dst, ports ? ip->dport : 0) +
	           ip->proto);
}
