/* SPDX-License-Identifier: GPL-3.0-or-later */
/* link - netlink (libmnl): devices, addresses, routes, and their sysctls.
 *
 * Every call is synchronous and idempotent: what stands already is success. In the network
 * namespace of the caller. Privileged process only.
 */
#pragma once
#include "tun/ip.h"

#define LINK_METRIC_LAST 4294967295U /* of the unreachable routes: taken when all else is gone */

struct link;

int link_new(struct link **out); /* opens the socket */
void link_free(struct link *l);

int link_index(struct link *l, const char *name);       /* > 0, or -ENODEV */
int link_up(struct link *l, int index, unsigned mtu);   /* sets the MTU and IFF_UP */
int link_addr_add(struct link *l, int index, const struct prefix *p);   /* host bits may be set in p->addr */
int link_addr_del(struct link *l, int index, const struct prefix *p);
/* Through a device. src may be NULL: the preferred source. metric 0: the kernel's default. */
int link_route_add(struct link *l, int index, const struct prefix *dst, const struct addr *src,
		   uint32_t metric);
int link_route_del(struct link *l, int index, const struct prefix *dst, uint32_t metric);
int link_unreachable_add(struct link *l, const struct prefix *dst, uint32_t metric);
int link_unreachable_del(struct link *l, const struct prefix *dst, uint32_t metric);
/* The source address the kernel would use towards dst; -ENETUNREACH. */
int link_source(struct link *l, const struct addr *dst, struct addr *out);

/* Writes /proc/sys/net/FAMILY/conf/NAME/KEY; name is checked to be an interface's name.
 * old, if not NULL, receives the value before. -errno.
 */
int link_sysctl(const char *family, const char *name, const char *key, int value, int *old);
