/* SPDX-License-Identifier: GPL-3.0-or-later */
/* route - longest prefix match: address to whose it is.
 *
 * A value: built once by control, then only read, by all workers at once. Memory is one block per
 * family, at most 150 bytes for a prefix, whatever its length; a lookup touches a few cache lines
 * and allocates nothing.
 */
#pragma once
#include "tun/ip.h"

#define ROUTES_MAX (1 << 20)

struct route_table;

int route_table_new(struct route_table **out); /* empty */
void route_table_free(struct route_table *t);
/* Before publication. The later of two equal prefixes wins. who is borrowed, not NULL. -ENOMEM;
 * -E2BIG more than ROUTES_MAX; -EINVAL no family, too long, or host bits set.
 */
int route_add(struct route_table *t, const struct prefix *p, void *who);
/* Builds what lookups use; no route_add after it, no lookup before. -ENOMEM. */
int route_seal(struct route_table *t);
/* Whose address it is, NULL if nobody's. */
void *route_lookup(const struct route_table *t, const struct addr *a);
/* Walks all routes in order of prefix, IPv4 first, a shorter one before those in it: for status. */
void route_each(const struct route_table *t,
                void (*fn)(void *arg, const struct prefix *p, void *who), void *arg);
