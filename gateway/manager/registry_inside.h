/* SPDX-License-Identifier: GPL-3.0-or-later */
/* registry_inside - what registry.c and registry_workload.c share: the records in memory. */
#pragma once
#include "gateway/hash.h"
#include "gateway/manager/registry.h"
#include "gateway/manager/registry_store.h"

struct entry {
	char name[CERT_NAME_MAX + 1];
	uint64_t incarnation;
	unsigned slot;
	unsigned nworkloads;
	time_t last_seen;
	bool unsaved; /* last_seen is newer than the store's */
	char *text;   /* the node as JSON, without its closing brace */
};

struct held {
	struct workload *w;
	char *text;          /* as JSON */
	struct place *place; /* one for each address */
};

/* Whose address it is. */
struct place {
	struct addr addr;
	const struct held *of;
	UT_hash_handle hh;
};

struct registry {
	struct store *store;
	struct store_head head;
	unsigned capacity, n;
	struct entry *entries; /* n of capacity, in order of name */
	bool *taken;           /* slots, capacity */
	unsigned nworkloads, room;
	struct held **workloads; /* in order of id */
	struct place *places;    /* by address */
	struct registry_policy policy;
	char *ring[REGISTRY_RING];
	void (*on_change)(void *arg);
	void *on_change_arg;
};

typedef const char *registry_key_fn(const struct registry *r, unsigned i);
/* Where key is among n in order of key_at, or where it would go. */
unsigned registry_search(const struct registry *r, unsigned n, registry_key_fn *key_at,
                         const char *key, bool *there);
/* NULL if there is none. */
struct entry *registry_entry(const struct registry *r, const char *name);
void registry_fill_prefixes(const struct registry *r, unsigned slot, struct registry_node *n);
/* Takes text. The store has it: from here on it is so. */
void registry_publish(struct registry *r, char *text);

/* registry_workload.c: workloads and the policy, out of the store; and freed. */
int registry_load_rest(struct registry *r);
void registry_clear_rest(struct registry *r);
/* The store has forgotten them. */
void registry_workloads_forget(struct registry *r, const char *node);
