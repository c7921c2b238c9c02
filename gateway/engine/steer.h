/* SPDX-License-Identifier: GPL-3.0-or-later */
/* steer - which worker: of a datagram, by the kernel; of a flow, by us.
 *
 * The first byte of a connection ID names the worker that owns its keys. A filter on the group of
 * sockets at our port reads it, so that a datagram wakes that worker and no other. What carries none
 * (hellos, plaintext of a handshake) goes to worker 0, and so does a number that no worker has.
 */
#pragma once
#include "tun/ip.h"

/* The sockets of the group were bound in worker order; fd is one of them. 0 or -errno. */
int steer_attach(int fd, unsigned workers);

/* A number of the flow, the same for both of its directions. */
uint64_t steer_flow(const struct ip_view *ip);
