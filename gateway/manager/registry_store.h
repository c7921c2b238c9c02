/* SPDX-License-Identifier: GPL-3.0-or-later */
/* registry_store - where the registry's records lie: one SQLite file (registry_sqlite.c).
 *
 * WAL, synchronous=FULL, one connection that holds the file exclusively. A function that writes is
 * one transaction, on the disk when it returns 0. Whoever gets an error must take it that nothing
 * was written. Of the registry alone, same thread.
 */
#pragma once
#include "gateway/manager/registry.h"

struct store;

struct store_row {
	struct registry_node node; /* prefixes are the slot's, not stored */
	unsigned slot;             /* which share of the overlay */
};

struct store_seen {
	const char *name;
	time_t at;
};

struct store_refused {
	const char *node, *id, *rule;
	const char *text; /* the workload as JSON */
	time_t at;
};

struct store_head {
	struct registry_cluster cluster;
	uint64_t generation, revision;
};

int store_create(int dir, const struct registry_cluster *c);          /* as registry_create */
int store_open(struct store **out, int dir, struct store_head *head); /* as registry_open */
void store_close(struct store *s);

/* In order of name, until fn returns non-zero, which is returned. -EBADMSG a row is damaged. */
int store_each(struct store *s, int (*fn)(void *arg, const struct store_row *row), void *arg);
int store_get(struct store *s, const char *name, struct store_row *out); /* -ENOENT, -EIO */

/* The revision is the one that this change makes. -ENOSPC, -EIO, -EROFS as registry_node_put. */
int store_put(struct store *s, const struct store_row *row, uint64_t revision);
int store_remove(struct store *s, const char *name, uint64_t revision);
int store_seen(struct store *s, const struct store_seen *at, unsigned n);

/* A workload as JSON text; its node is there. Of a node that is removed or made anew they go with it. */
int store_workload_put(struct store *s, const char *id, const char *node, const char *text,
                       uint64_t revision);
int store_workload_remove(struct store *s, const char *id, uint64_t revision);
/* In order of id; as store_each. */
int store_workloads_each(struct store *s,
                         int (*fn)(void *arg, const char *id, const char *node, const char *text),
                         void *arg);
/* Keeps the newest, REGISTRY_REFUSED_NODE of a node and REGISTRY_REFUSED_MAX of all. */
int store_refused_put(struct store *s, const struct store_refused *row);
/* The newest first; as store_each. */
int store_refused_each(struct store *s, int (*fn)(void *arg, const struct store_refused *row),
                       void *arg);
/* Keeps the REGISTRY_POLICIES newest. */
int store_policy_put(struct store *s, const struct registry_policy *p, uint64_t revision);
/* The newest, its document malloc'ed; version 0: there is none. -EBADMSG, -ENOMEM. */
int store_policy_get(struct store *s, struct registry_policy *out);

/* NULL, or why nothing may be written any more. */
const char *store_fault(const struct store *s);
