/* SPDX-License-Identifier: GPL-3.0-or-later */
/* workloads - those of the cluster, as the manager tells of them: a table by id, and on disk.
 *
 * Every record is checked when it comes; one of a node that is not a member, or with an address that
 * is not that node's to give, is worth nothing and left out. One block of memory for each, of about
 * 0.4 KiB (README of gateway/). No thread; control's.
 */
#pragma once
#include "gateway/hash.h"
#include "gateway/workload.h"

struct workloads_entry {
	struct workload *w;
	UT_hash_handle hh; /* by id */
};

struct workloads {
	struct workloads_entry *entries;
};

void workloads_clear(struct workloads *t);
unsigned workloads_count(const struct workloads *t);
const struct workload *workloads_find(const struct workloads *t, const char *id); /* NULL */
/* Takes w, also on failure; replaces the one of that id. -E2BIG, -ENOMEM. */
int workloads_put(struct workloads *t, struct workload *w);
bool workloads_remove(struct workloads *t, const char *id);
/* All of a node. True if there was one. */
bool workloads_forget(struct workloads *t, const char *node);
/* In no order, until fn returns non-zero, which is returned. */
int workloads_each(const struct workloads *t, int (*fn)(void *arg, const struct workload *w),
                   void *arg);

/* One JSON document a line: {"generation","revision"}, then the workloads. -errno. */
int workloads_save(const struct workloads *t, int dir, const char *name, uint64_t generation,
                   uint64_t revision);
/* Adds what can be read. 0, -ENOENT, -EBADMSG, -errno. */
int workloads_load(struct workloads *t, int dir, const char *name, uint64_t *generation,
                   uint64_t *revision);
