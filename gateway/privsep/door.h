/* SPDX-License-Identifier: GPL-3.0-or-later */
/* door - the sockets that the parent opens and hands over: UDP, TCP, unix.
 *
 * All are non-blocking and close on exec. Privileged process only.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DOOR_BUFFER  (4 << 20) /* asked for, both ways, of a UDP socket */
#define DOOR_BACKLOG 512
#define DOOR_WAIT_MS 200

/* The sockets of n workers, as workers.h has them: IPv6 that also takes IPv4 where there is IPv6, else
 * IPv4. Each datagram comes with the address it was sent to, and leaves with DF and no bound but the
 * device's MTU. What is left of a group that was closed just now is waited for, DOOR_WAIT_MS at most:
 * the kernel would number ours behind it. -errno: none is open.
 */
int door_udp(int *fds, unsigned n, uint16_t port);

/* One listening socket, for both families as above. */
int door_tcp(int *fd, uint16_t port);

/* Listens on dir/name, of mode 0600 root, or 0660 root:gid with shared. One that was left there is
 * replaced: the caller holds the folder's lock.
 */
int door_unix(int *fd, int dir, const char *name, bool shared, gid_t gid);
