/* SPDX-License-Identifier: GPL-3.0-or-later */
/* edict - the policy as this node has it: fetched from a manager, kept on disk, read.
 *
 * The watch says which version is in force; its text comes in parts, counts once its hash is that
 * version's and it can be read, and is on the disk before it does. Until then, and where it cannot be
 * read, the one before stays. A manager that knows of none takes none away. Control's thread.
 */
#pragma once
#include "gateway/control/watch.h"
#include "gateway/tables/policy.h"

#define EDICT_FILE   "policy.json"
#define EDICT_BY_MAX 63
#define EDICT_RETRY  (1000000000LL) /* after a failure */

struct control;

struct edict {
	uint64_t version; /* 0: none */
	uint8_t hash[32];
	char applied_at[32], by[EDICT_BY_MAX + 1];
	char *text;
	size_t len;
	struct policy *policy; /* read, not sealed: for policy_copy and policy_placement */
	char why[512];         /* why the manager's is not taken; "" */
	uint64_t bad;          /* the version that cannot be read */
	uint64_t confirmed;    /* the version that the manager was told of on this connection */
	/* what is being fetched */
	struct watch_policy coming;
	char *part;
	size_t have;
	struct uplink_question *question, *telling;
	int64_t again;
};

void edict_clear(struct edict *d);
/* What lies in dir. 0, -ENOENT, -EBADMSG (with why), -errno. */
int edict_load(struct edict *d, int dir);
/* Takes a document that came whole: reads it, writes it to dir, puts it in force. -EINVAL it cannot be
 * read (with why), -EBADMSG the hash is another, -errno. The old one stays on error. text is copied.
 */
int edict_take(struct edict *d, int dir, const struct watch_policy *p, const char *text, size_t len,
               const char *applied_at, const char *by);

/* Asks for what is missing, and says what is there; now and then, and when something changed. */
void edict_kick(struct control *c);
/* A new connection: the manager knows nothing of us. */
void edict_connected(struct control *c);
/* Is the manager's version another than ours? */
bool edict_behind(const struct control *c);
/* {"version","applied_at","by","document"}; all null if there is none. */
json_t *edict_json(const struct edict *d);
