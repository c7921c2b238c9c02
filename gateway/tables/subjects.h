/* SPDX-License-Identifier: GPL-3.0-or-later */
/* subjects - whose an address is: the workload or the node that the policy speaks of.
 *
 * A value: built once by control, then only read, by all workers at once. An address without a record
 * is nobody's here: the policy knows it as class 0, and routes say which node answers for it.
 */
#pragma once
#include "tun/ip.h"

#define SUBJECTS_MAX  (1U << 17)
#define SUBJECT_ADDRS 16 /* of one */

struct subject {
	const char *name;
	const char *id;    /* of a workload, as its runtime has it; "": a node */
	const void *where; /* the node that it is on, as routes have it; borrowed */
	uint32_t class;    /* policy_class */
	bool refused;      /* placement: its node may not run it */
};

struct subjects;

/* Empty, with room for so many of each. key: 16 random bytes, so that nobody chooses addresses that
 * fall together. -E2BIG, -ENOMEM.
 */
int subjects_new(struct subjects **out, const uint8_t key[16], uint32_t max, uint32_t max_addrs);
void subjects_free(struct subjects *s);
/* Before publication; name and id are copied. The first to claim an address has it. -E2BIG no room, or
 * more than SUBJECT_ADDRS; -EINVAL an address without family; -ENOMEM.
 */
int subjects_add(struct subjects *s, const struct subject *who, const struct addr *addrs,
                 unsigned naddrs);
uint32_t subjects_count(const struct subjects *s);
size_t subjects_memory(const struct subjects *s); /* bytes */
/* NULL: no record. Borrowed. */
const struct subject *subjects_lookup(const struct subjects *s, const struct addr *a);
