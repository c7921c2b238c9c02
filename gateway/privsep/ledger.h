/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ledger - what the ca knows of its own: names, incarnations, roles, labels, keys, token verifiers.
 *
 * The registry may be copied, restored or written by a compromised manager; nothing is signed that
 * this ledger does not allow. SQLite (WAL, FULL) in the ca's folder. ca process, one thread;
 * `ginnel init` for a moment.
 */
#pragma once
#include "crypto/revocation.h"
#include "crypto/token.h"
#include <stdbool.h>

#define LEDGER_FILE       "ledger.db"
#define LEDGER_TOKENS_MAX 10000
#define LEDGER_NODES_MAX  20000  /* names, those of dead nodes included */
#define LEDGER_RETRY      3600   /* s: the key that used a token may ask again so long */
#define LEDGER_TOKEN_KEEP 604800 /* s: so long an expired token is called so, not unknown */
#define LEDGER_BY_MAX     32

struct ledger;

struct ledger_token {
	uint8_t id[TOKEN_ID_LEN];
	enum cert_role role;
	char name[CERT_NAME_MAX + 1]; /* "" : any free name */
	struct cert_labels labels;
	time_t created, expires;
	char created_by[LEDGER_BY_MAX + 1]; /* the operator's user name */
	uint8_t spki[CERT_SPKI_MAX];        /* the public half */
	size_t spki_len;
	bool used, revoked;
	time_t used_at;
	uint8_t used_by[32]; /* hash of the SPKI that used it */
	char used_name[CERT_NAME_MAX + 1];
};

/* The hash of the key that last proved itself, and of the one that it was renewed to and that has not
 * proven itself yet: its owner may never have got the answer. All zero: none.
 */
struct ledger_keys {
	uint8_t spki[32], next[32];
};

struct ledger_node {
	char name[CERT_NAME_MAX + 1];
	enum cert_role role; /* ROLE_MANAGER: it has certificates of both roles */
	uint64_t incarnation, issue;
	struct ledger_keys keys, manager_keys;
	struct cert_labels labels;
	uint64_t issue_min; /* certificates before this one say what no longer holds */
	time_t not_after;   /* no certificate of this node ends later */
	bool removed;       /* not in the cluster; kept for its numbers, which never come again */
	uint64_t
		restored; /* certificates from this one on are newer than what we know; 0: none are */
};

/* All return 0 or, besides what is said below, -ENOSPC the disk is full, -EIO (then nothing more is
 * written until the ledger was opened anew: a failed sync is lost data), -EBUSY another process
 * holds it, -EBADMSG a damaged file or row, -ENOMEM. On any error nothing has changed.
 *
 * dir is a folder's descriptor, or AT_FDCWD where the path to the folder may not be walked: the
 * file is never opened by an absolute path.
 */

/* -EEXIST there is one, -EINVAL no cluster's name. On other errors what was made is removed. */
int ledger_create(int dir, const char *cluster);
/* -ENOENT there is none, -EPROTO made by a newer ginnel. */
int ledger_open(struct ledger **out, int dir);
void ledger_close(struct ledger *l);
const char *ledger_cluster(const struct ledger *l);
/* A write failed so that the file's content is unknown: close it, open it anew. */
bool ledger_broken(const struct ledger *l);

/* Prunes tokens that expired long before t->created. -E2BIG LEDGER_TOKENS_MAX stand, -EEXIST. */
int ledger_token_add(struct ledger *l, const struct ledger_token *t);
int ledger_token_get(struct ledger *l, const uint8_t id[TOKEN_ID_LEN],
                     struct ledger_token *out); /* -ENOENT */
/* -ENOENT; -EALREADY it was used: what it let in is revoked by the node's name. */
int ledger_token_revoke(struct ledger *l, const uint8_t id[TOKEN_ID_LEN]);
/* Calls fn for each, oldest first; stops when it returns non-zero, and returns that. */
int ledger_token_each(struct ledger *l, int (*fn)(void *arg, const struct ledger_token *t),
                      void *arg);

int ledger_node_get(struct ledger *l, const char *name, struct ledger_node *out); /* -ENOENT */
/* One transaction, fsynced before it returns: marks the token used by this key and writes the node's
 * next incarnation. Returns the node as it is now in n. In this order: -ENOENT no such token,
 * -EKEYREVOKED, -EALREADY the token was used by another key, -EPERM the token is made (or was used)
 * for another name, -EKEYEXPIRED, -EEXIST the name is taken by another key and the token is not made
 * for it, or is a manager's and the token none for managers, -E2BIG. The same key asking again
 * within LEDGER_RETRY of its first use gets the same answer, and nothing is written.
 */
int ledger_join(struct ledger *l, const uint8_t id[TOKEN_ID_LEN], const char *name,
                const uint8_t spki[32], time_t now, struct ledger_node *n);
/* The first node, by `ginnel init`. -EEXIST, -EINVAL. */
int ledger_node_add(struct ledger *l, const struct ledger_node *n);
/* Raises and returns the issue number of the next certificate of a node, which ends at not_after.
 * -ENOENT.
 */
int ledger_next_issue(struct ledger *l, const char *name, time_t not_after, uint64_t *issue);
/* May the holder of this certificate (its signature, dates and the proof are the caller's to judge)
 * have the next one, for the key whose hash is next? One transaction, fsynced before it returns: the
 * keys are noted. In this order: -ENOENT no such node, or removed; -ESTALE another incarnation: it
 * joined anew; -EKEYREVOKED; -EACCES the role is not its; -EEXIST its key was renewed, and the newer one has proven
 * itself since. n is the node as it is now.
 */
int ledger_renew(struct ledger *l, const struct cert_info *cert, const uint8_t next[32],
                 struct ledger_node *n);
/* The same holder leaves: the node is removed. As ledger_renew; -EACCES besides: it is a manager. */
int ledger_leave(struct ledger *l, const struct cert_info *cert);
/* Not in the cluster any more: its name is free, its numbers are not. -ENOENT no such node, or removed
 * before.
 */
int ledger_remove(struct ledger *l, const char *name);
/* Its labels from now on; certificates issued before say what no longer holds, and are revoked by
 * their issue numbers if one of their labels is gone (*lost). Nothing is written if the labels are as
 * they were. -ENOENT no such node, or removed; -E2BIG the list is full. n is the node after it.
 */
int ledger_label(struct ledger *l, const char *name, const struct cert_labels *labels, time_t now,
                 struct ledger_node *n, bool *lost);
/* Revokes every certificate that the node has had, and its keys. -ENOENT no such node, or removed;
 * -E2BIG the list is full.
 */
int ledger_revoke(struct ledger *l, const char *name, time_t now);
/* What is revoked, and the number of the list that says so. It is raised in the transaction of each
 * entry, above now and every number before. s is the caller's to clear.
 */
int ledger_list(struct ledger *l, uint64_t *number, struct revocations *s);
int ledger_list_number(struct ledger *l, uint64_t *number);
/* A list of ours that was shown to us says so: what it has and we do not is ours from now on, and the
 * number is above it. *news: something has changed. -E2BIG.
 */
int ledger_list_take(struct ledger *l, uint64_t number, const struct revocations *s, time_t now,
                     bool *news);
/* The node whose name follows `after` ("": the first). -ENOENT: there is none. */
int ledger_node_next(struct ledger *l, const char *after, struct ledger_node *out);

/* -- backups ------------------------------------------------------------------------------------ */

/* The whole database as it is now, in a descriptor of gateway/sealed.h. */
int ledger_copy(struct ledger *l, int *fd, size_t *len);
/* Of the cluster's records: the ca vouches for it, and each restore raises it. */
int ledger_generation(struct ledger *l, uint64_t *out);
/* This is a copy from a backup, and goes on as a cluster's ledger. What was given out since is not in
 * it, so all numbers go on from the clock (now), above any that it or the cluster had; what the newest key of
 * a node is has yet to be seen; tokens that were open are void, for they may have been used. generation:
 * the greatest that is known besides; out: the new one.
 */
int ledger_restore(struct ledger *l, uint64_t generation, time_t now, uint64_t *out);
/* The node's keys are these: they were made, or looked at, on this host. -ENOENT. */
int ledger_node_keys(struct ledger *l, const char *name, const uint8_t spki[32],
                     const uint8_t manager_spki[32]);
