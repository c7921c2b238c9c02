/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tun/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tun/link.h"
#include "tun/offload.h"

/* syscalls(parent): openat ioctl close */
/* syscalls(engine): readv writev */

#define DEVICE     "/dev/net/tun"
#define OUR_FLAGS  (IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE)
#define OUR_OWNER  0
#define MAKE_TRIES 8 /* against someone who tries to attach all the time */

#define OFFLOADS     (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)
#define OFFLOADS_USO 0x60UL /* TUN_F_USO4 and USO6 of Linux 6.2, one not without the other */

_Static_assert(sizeof(struct virtio_net_hdr) == TUN_VNET_LEN, "length of the vnet header");
_Static_assert(TUN_VNET_LEN == OFFLOAD_HDR_LEN, "the same header");

static bool is_ours(const struct link_tun *t)
{
	return !t->tap && !t->pi && t->vnet && t->multi_queue && t->persistent && t->owned &&
	       t->owner == OUR_OWNER && !t->grouped;
}

/* 0 a device that we made so, -ENODEV none, -EEXIST another's. */
static int inspect(struct link *l, const char *name, struct link_tun *out)
{
	int err;

	err = link_tun(l, name, out);
	if (err == -ENOTTY || (!err && !is_ours(out)))
		return -EEXIST;
	return err;
}

/* A new descriptor of the device: one queue. */
static int queue_open(int *out, const char *name, short flags)
{
	struct ifreq ifr = {0};
	int fd, err;

	fd = open(DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ifr.ifr_flags = flags;
	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		err = -errno;
		goto fail_attach;
	}
	*out = fd;
	return 0;
fail_attach:
	close(fd);
	return err;
}

/* Between the first two calls the device has no owner, and any local user may attach a queue to it
 * and keep it: so it is taken only if ours is the one there is.
 */
static int make(struct link *l, const char *name)
{
	struct link_tun t;
	int fd = -1, err;

	err = queue_open(&fd, name, (short)(OUR_FLAGS | IFF_TUN_EXCL));
	if (err)
		return err;
	if (ioctl(fd, TUNSETOWNER, (unsigned long)OUR_OWNER) < 0) {
		err = -errno;
		goto out;
	}
	err = link_tun(l, name, &t);
	if (!err && t.queues != 1) {
		link_del(l, t.index);
		err = -EEXIST;
	}
	if (!err && ioctl(fd, TUNSETPERSIST, 1UL) < 0)
		err = -errno;
out:
	close(fd);
	return err;
}

int tun_create(const char *name)
{
	struct link_tun t;
	struct link *l;
	int err;

	err = link_new(&l);
	if (err)
		return err;
	err = inspect(l, name, &t);
	if (err != -ENODEV)
		goto out;
	err = -EEXIST;
	for (int i = 0; i < MAKE_TRIES && err == -EEXIST; i++)
		err = make(l, name);
	if (!err || err == -EBUSY) /* another was quicker: is it ours? */
		err = inspect(l, name, &t);
out:
	link_free(l);
	return err;
}

int tun_destroy(const char *name)
{
	struct link_tun t;
	struct link *l;
	int err;

	err = link_new(&l);
	if (err)
		return err;
	err = inspect(l, name, &t);
	if (!err)
		err = link_del(l, t.index);
	link_free(l);
	return err == -ENODEV ? 0 : err;
}

static int offloads_off(int fd)
{
	int len = TUN_VNET_LEN;

	if (ioctl(fd, TUNSETVNETHDRSZ, &len) < 0 || ioctl(fd, TUNSETOFFLOAD, 0UL) < 0)
		return -errno;
	return 0;
}

int tun_offloads_on(int fd, bool *uso)
{
	int len = TUN_VNET_LEN, err;
	bool known = true;

	if (ioctl(fd, TUNSETVNETHDRSZ, &len) < 0)
		return -errno;
	err = ioctl(fd, TUNSETOFFLOAD, OFFLOADS | OFFLOADS_USO) < 0 ? -errno : 0;
	if (err == -EINVAL) {
		known = false;
		err = ioctl(fd, TUNSETOFFLOAD, (unsigned long)OFFLOADS) < 0 ? -errno : 0;
	}
	if (err)
		return err;
	*uso = known;
	return 0;
}

/* Looks again afterwards: if the device went away meanwhile, the kernel has made another of the
 * name, which ends with its descriptor.
 */
static int attach(struct link *l, int *out, const char *name)
{
	struct link_tun before, after;
	int fd = -1, err;

	err = inspect(l, name, &before);
	if (err)
		return err;
	err = queue_open(&fd, name, (short)OUR_FLAGS);
	if (err)
		return err;
	err = inspect(l, name, &after);
	if (!err && after.index != before.index)
		err = -EEXIST;
	if (!err)
		err = offloads_off(fd);
	if (err)
		goto fail_check;
	*out = fd;
	return 0;
fail_check:
	close(fd);
	return err;
}

int tun_attach(int *fd, const char *name)
{
	struct link *l;
	int err;

	err = link_new(&l);
	if (err)
		return err;
	err = attach(l, fd, name);
	link_free(l);
	return err;
}

ssize_t tun_readv(int fd, struct offload_hdr *h, uint8_t *buf, size_t max)
{
	uint8_t vnet[TUN_VNET_LEN];
	struct iovec parts[2] = {{vnet, sizeof(vnet)}, {buf, max}};
	ssize_t n;

	do
		n = readv(fd, parts, 2);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(vnet))
		return -EBADMSG;
	offload_hdr_parse(h, vnet);
	return n - (ssize_t)sizeof(vnet);
}

ssize_t tun_read(int fd, uint8_t *buf, size_t max)
{
	struct offload_hdr h = {0};
	ssize_t n = tun_readv(fd, &h, buf, max);

	if (n < 0)
		return n;
	/* With offloads off neither can be: a packet to be split, or one to be summed up. */
	if (h.gso_type != OFFLOAD_GSO_NONE || (h.flags & OFFLOAD_NEEDS_CSUM) != 0)
		return -EBADMSG;
	return n;
}

int tun_writev(int fd, const struct offload_hdr *h, const struct iovec *pieces, unsigned n)
{
	struct iovec parts[1 + TUN_PIECES_MAX];
	uint8_t vnet[TUN_VNET_LEN];
	ssize_t done;

	if (n > TUN_PIECES_MAX)
		return -E2BIG;
	offload_hdr_format(h, vnet);
	parts[0] = (struct iovec){vnet, sizeof(vnet)};
	memcpy(parts + 1, pieces, n * sizeof(*pieces));
	do
		done = writev(fd, parts, (int)n + 1);
	while (done < 0 && errno == EINTR);
	return done < 0 ? -errno : 0;
}

int tun_write(int fd, const uint8_t *packet, size_t len)
{
	static const struct offload_hdr none;
	/* writev only reads. NOLINTNEXTLINE(performance-no-int-to-ptr) */
	struct iovec piece = {(void *)(uintptr_t)packet, len};

	return tun_writev(fd, &none, &piece, 1);
}
