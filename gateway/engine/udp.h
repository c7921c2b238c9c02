/* SPDX-License-Identifier: GPL-3.0-or-later */
/* udp - datagrams in batches, each with where it came from and the local address it was sent to.
 *
 * The local address goes back out with the answer (RFC 1122 4.1.3.5: a multihomed host answers from
 * the address that was asked). A socket is IPv6 dual-stack, or IPv4 where the host has no IPv6.
 * Buffers belong to the worker; a batch is reused each round.
 */
#pragma once
#include <stdbool.h>
#include <sys/socket.h>
#include "tun/ip.h"

#define UDP_BATCH 64
#define UDP_BUFFER 2048

struct udp_socket {
	int fd;
	int family; /* AF_INET6: dual-stack; AF_INET */
};

struct udp_path {
	struct endpoint remote;
	struct addr local; /* family 0: let the kernel choose */
};

struct udp_batch {
	unsigned n;
	size_t len[UDP_BATCH];
	struct udp_path path[UDP_BATCH];
	uint8_t (*data)[UDP_BUFFER]; /* UDP_BATCH of them */
	struct mmsghdr *msgs;        /* prepared once */
	struct iovec *iovs;
	struct sockaddr_storage *names;
	uint8_t (*controls)[64];
};

/* Takes over a bound socket and asks it for local addresses. 0 or -errno. */
int udp_prepare(struct udp_socket *s, int fd);
int udp_batch_init(struct udp_batch *b);
void udp_batch_clear(struct udp_batch *b);

/* Fills b with what waits, at most UDP_BATCH. Returns b->n; 0 nothing. Datagrams longer than
 * UDP_BUFFER come with len 0.
 */
unsigned udp_read(const struct udp_socket *s, struct udp_batch *b);
/* Sends all of b. What the kernel did not take is lost (numbers are spent) and has len 0 after. */
void udp_flush(const struct udp_socket *s, struct udp_batch *b);
/* One datagram, outside a worker's round. false: not taken. */
bool udp_send(const struct udp_socket *s, const struct udp_path *to, const uint8_t *data,
	      size_t len);
