/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tun - the device: made, attached, read and written.
 *
 * The device is persistent, multi-queue, without packet information, with a vnet header, and owned
 * by uid 0 before it is made persistent: an unowned one can be attached by any local user. It
 * outlives the process, so that a dead daemon is an error to the sender and not another route.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define TUN_VNET_LEN   10 /* struct virtio_net_hdr */
#define TUN_NAME_MAX   15
#define TUN_READ_MAX   (TUN_VNET_LEN + 65536)
#define TUN_PIECES_MAX 128 /* of a packet that is written */

struct offload_hdr;

/* Makes the device or takes one that we made so. 0; -EEXIST a device of that name that is not ours
 * (other type, owner, group or flags, not persistent), or someone attached to it while it was made;
 * -EINVAL no name for a device; -EPERM; other -errno. Needs CAP_NET_ADMIN.
 */
int tun_create(const char *name);
/* Removes it, attached queues or not; 0 also if it was not there; -EEXIST as above. */
int tun_destroy(const char *name);
/* Opens one queue (non-blocking, close on exec) of a device that tun_create made; offloads off.
 * The descriptor may be handed to a process without capability. -ENODEV there is none; -EEXIST as
 * above.
 */
int tun_attach(int *fd, const char *name);

/* One packet into buf without its vnet header: its length, -EAGAIN, or -errno. -EBADMSG: one that
 * the offloads we turned off would bring; read on. max should hold the longest packet of 65535
 * bytes: a longer one than max is cut, as its own length then shows.
 */
ssize_t tun_read(int fd, uint8_t *buf, size_t max);
/* One packet; 0, -EAGAIN device full, -EINVAL neither IPv4 nor IPv6, -EIO the device is down. */
int tun_write(int fd, const uint8_t *packet, size_t len);

/* Lets the device bring, and take, super-packets of TCP, and packets without their checksums: from
 * then on tun_readv reads this queue and not tun_read. uso: those of UDP too (Linux 6.2); else no
 * merged UDP may be written. The offloads are the device's: all of its queues have them. 0 or
 * -errno.
 */
int tun_offloads_on(int fd, bool *uso);
/* As tun_read, with what the kernel says of the packet: offload_cut_start judges it. */
ssize_t tun_readv(int fd, struct offload_hdr *h, uint8_t *buf, size_t max);
/* As tun_write, in n pieces, TUN_PIECES_MAX at most: else -E2BIG. */
int tun_writev(int fd, const struct offload_hdr *h, const struct iovec *pieces, unsigned n);
