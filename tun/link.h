/* SPDX-License-Identifier: GPL-3.0-or-later */
/* link - netlink (libmnl): devices, addresses, routes, and their sysctls.
 *
 * Every call is synchronous and idempotent: what stands already is success. In the network
 * namespace that the caller was in at link_new (sysctls: is in). Privileged process only.
 */
#pragma once
#include "tun/ip.h"

#define LINK_METRIC_LAST 4294967295U /* of the unreachable routes: taken when all else is gone */
#define LINK_PROTOCOL    177         /* who made our routes; `ip route` shows it as "proto 177" */
#define LINK_NAME_MAX    15

struct link;

/* What the kernel says of a TUN or TAP device. */
struct link_tun {
	int index;
	bool tap, pi, vnet, multi_queue, persistent;
	bool owned, grouped; /* is there an owner, a group? */
	uint32_t owner, group;
	uint32_t queues; /* attached or detached */
};

/* Can it be an interface's name? No '/', so that it may stand in a path, and no '%', which the
 * kernel would fill in.
 */
bool link_name_ok(const char *name);

int link_new(struct link **out); /* opens the socket */
void link_free(struct link *l);

int link_index(struct link *l, const char *name); /* > 0; -ENODEV, -EINVAL no name */
/* Sets the MTU (0: leaves it) and IFF_UP. */
int link_up(struct link *l, int index, unsigned mtu);
int link_is_up(struct link *l, int index); /* 1, 0, -ENODEV */
int link_del(struct link *l, int index);
int link_tun(struct link *l, const char *name, struct link_tun *out); /* -ENODEV, -ENOTTY no TUN */

/* Host bits may be set in p->addr. IPv6 without duplicate address detection: on a device without
 * neighbours it would only delay. -EEXIST: the address is there with another prefix length.
 */
int link_addr_add(struct link *l, int index, const struct prefix *p);
int link_addr_del(struct link *l, int index, const struct prefix *p);
int link_addr_stands(struct link *l, int index, const struct prefix *p); /* 1, 0, -errno */

/* Through a device, in the main table. src may be NULL: the preferred source. metric 0: the
 * kernel's default. Another's route of the same destination and metric is replaced.
 */
int link_route_add(struct link *l, int index, const struct prefix *dst, const struct addr *src,
                   uint32_t metric);
/* Only a route that we made. */
int link_route_del(struct link *l, int index, const struct prefix *dst, uint32_t metric);
int link_unreachable_add(struct link *l, const struct prefix *dst, uint32_t metric);
int link_unreachable_del(struct link *l, const struct prefix *dst, uint32_t metric);
/* Does it stand, through that device? index 0: the unreachable route. 1, 0, -errno. */
int link_route_stands(struct link *l, int index, const struct prefix *dst, uint32_t metric);

/* The source address the kernel would use towards dst; -ENETUNREACH. */
int link_source(struct link *l, const struct addr *dst, struct addr *out);

/* Writes /proc/sys/net/FAMILY/conf/NAME/KEY: family "ipv4" or "ipv6", name an interface's (or
 * "all", "default"), key of [a-z0-9_]; anything else is -EINVAL. old, if not NULL, receives the
 * value before. -errno.
 */
int link_sysctl(const char *family, const char *name, const char *key, int value, int *old);
