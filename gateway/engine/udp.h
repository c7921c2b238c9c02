/* SPDX-License-Identifier: GPL-3.0-or-later */
/* udp - one system call's datagrams: where they come from, where they go, how long each is.
 *
 * Out: a run of datagrams of one size and path is one call (UDP_SEGMENT). In: what the kernel put
 * together (UDP_GRO) comes as one buffer, to be taken apart by its segment size.
 *
 * The local address goes back out with the answer (RFC 1122 4.1.3.5: a multihomed host answers from
 * the address that was asked). A socket is IPv6 dual-stack, or IPv4 where the host has no IPv6.
 */
#pragma once
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "tun/ip.h"

#define UDP_BUFFER  2048 /* a datagram of a handshake */
#define UDP_RUN_MAX 65536
#define UDP_CONTROL 128 /* a packet info of either family, and a segment size */

struct udp_socket {
	int fd;
	int family;    /* AF_INET6: dual-stack; AF_INET */
	bool segments; /* the kernel takes runs; off once a device refused one */
};

enum udp_which {
	UDP_GROUP, /* at our port, one of a group: by the connection ID each worker has its own */
	UDP_OWN,   /* at a port of its own, from which a further worker dials */
	UDP_SOCKETS
};

struct udp_path {
	struct endpoint remote;
	struct addr local; /* family 0: let the kernel choose */
	uint8_t socket;    /* enum udp_which, of the worker whose the lane is */
};

/* What recvmsg and sendmsg want to see. Stays where it is until the call is made. */
struct udp_message {
	struct msghdr m;
	struct iovec iov;
	struct sockaddr_storage name;
	_Alignas(struct cmsghdr) uint8_t control[UDP_CONTROL];
};

/* Takes over a bound socket and asks it for local addresses and runs. 0 or -errno. */
int udp_prepare(struct udp_socket *s, int fd);
/* Can this socket send to it? An IPv4 socket has no way to an IPv6 address. */
bool udp_reaches(const struct udp_socket *s, const struct endpoint *e);
bool udp_path_equal(const struct udp_path *a, const struct udp_path *b);

/* Ready for recvmsg into data, of max bytes. */
void udp_message_in(struct udp_message *m, uint8_t *data, size_t max);
/* After recvmsg gave len bytes: from where, and the length of each datagram but the last, which may
 * be shorter. 0: it was too long, and is lost.
 */
size_t udp_message_read(struct udp_message *m, size_t len, struct udp_path *from);
/* Ready for sendmsg of len bytes; segment: the length of each datagram but the last, or 0 for one. */
void udp_message_out(const struct udp_socket *s, struct udp_message *m, const struct udp_path *to,
                     uint8_t *data, size_t len, size_t segment);

/* One datagram, at once. false: not taken. */
bool udp_send(const struct udp_socket *s, const struct udp_path *to, const uint8_t *data,
              size_t len);
