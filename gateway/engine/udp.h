/* SPDX-License-Identifier: GPL-3.0-or-later */
/* udp - datagrams in batches, each with where it came from and the local address it was sent to.
 *
 * Out: a run of datagrams of one size and path is one call for the kernel (UDP_SEGMENT). In: what the
 * kernel put together (UDP_GRO) comes as one buffer, to be taken apart by its segment size.
 *
 * The local address goes back out with the answer (RFC 1122 4.1.3.5: a multihomed host answers from
 * the address that was asked). A socket is IPv6 dual-stack, or IPv4 where the host has no IPv6.
 * Buffers belong to the worker; a batch is reused each round.
 */
#pragma once
#include "tun/ip.h"
#include <stdbool.h>
#include <sys/socket.h>

#define UDP_BATCH   64   /* datagrams out */
#define UDP_BUFFER  2048 /* a datagram of ours */
#define UDP_RUNS    16   /* buffers in */
#define UDP_RUN_MAX 65536

struct udp_socket {
	int fd;
	int family;    /* AF_INET6: dual-stack; AF_INET */
	bool segments; /* the kernel takes runs; off once a device refused one */
};

struct udp_path {
	struct endpoint remote;
	struct addr local; /* family 0: let the kernel choose */
};

/* Datagrams to send. */
struct udp_batch {
	unsigned n;
	size_t len[UDP_BATCH];
	struct udp_path path[UDP_BATCH];
	uint8_t (*data)[UDP_BUFFER]; /* UDP_BATCH of them */
	struct udp_vectors *v;
};

/* What arrived: each run is one datagram, or several of one size from one peer back to back. */
struct udp_arrival {
	unsigned n;
	size_t len[UDP_RUNS];
	size_t segment[UDP_RUNS]; /* length of each datagram but the last; 0: too long, lost */
	struct udp_path path[UDP_RUNS];
	uint8_t (*data)[UDP_RUN_MAX]; /* UDP_RUNS of them */
	struct udp_vectors *v;
};

/* Takes over a bound socket and asks it for local addresses and runs. 0 or -errno. */
int udp_prepare(struct udp_socket *s, int fd);
int udp_batch_init(struct udp_batch *b);
void udp_batch_clear(struct udp_batch *b);
int udp_arrival_init(struct udp_arrival *a);
void udp_arrival_clear(struct udp_arrival *a);

/* Can this socket send to it? An IPv4 socket has no way to an IPv6 address. */
bool udp_reaches(const struct udp_socket *s, const struct endpoint *e);
/* Fills a with what waits. Returns a->n; 0 nothing. */
unsigned udp_read(const struct udp_socket *s, struct udp_arrival *a);
/* Sends all of b. What the kernel did not take is lost (numbers are spent) and has len 0 after. */
void udp_flush(struct udp_socket *s, struct udp_batch *b);
/* One datagram, outside a worker's round. false: not taken. */
bool udp_send(const struct udp_socket *s, const struct udp_path *to, const uint8_t *data,
              size_t len);
