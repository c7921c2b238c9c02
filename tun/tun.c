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

/* syscalls(parent): openat ioctl close */
/* syscalls(engine): readv writev */

#define DEVICE     "/dev/net/tun"
#define OUR_FLAGS  (IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE)
#define OUR_OWNER  0
#define MAKE_TRIES 8 /* against someone who tries to attach all the time */

_Static_assert(sizeof(struct virtio_net_hdr) == TUN_VNET_LEN, "length of the vnet header");

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

ssize_t tun_read(int fd, uint8_t *buf, size_t max)
{
	struct virtio_net_hdr vnet;
	struct iovec parts[2] = {{&vnet, sizeof(vnet)}, {buf, max}};
	ssize_t n;

	do
		n = readv(fd, parts, 2);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(vnet))
		return -EBADMSG;
	/* With offloads off neither can be: a packet to be split, or one to be summed up. */
	if (vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE ||
	    (vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0)
		return -EBADMSG;
	return n - (ssize_t)sizeof(vnet);
}

int tun_write(int fd, const uint8_t *packet, size_t len)
{
	struct virtio_net_hdr vnet = {0};
	/* writev only reads. NOLINTNEXTLINE(performance-no-int-to-ptr) */
	struct iovec parts[2] = {{&vnet, sizeof(vnet)}, {(void *)(uintptr_t)packet, len}};
	ssize_t n;

	do
		n = writev(fd, parts, 2);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}
