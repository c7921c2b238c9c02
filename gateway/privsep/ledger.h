/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ledger - what the ca knows of its own: names, incarnations, roles, labels, token verifiers.
 *
 * The registry may be copied, restored or written by a compromised manager; nothing is signed that
 * this ledger does not allow. SQLite (WAL, FULL) in the ca's folder. ca process, one thread;
 * `ginnel init` for a moment.
 */
#pragma once
#include "crypto/token.h"

#define LEDGER_FILE "ledger.db"
#define LEDGER_TOKENS_MAX 10000

struct ledger;

struct ledger_token {
	uint8_t id[TOKEN_ID_LEN];
	enum cert_role role;
	char name[CERT_NAME_MAX + 1];   /* "" : any free name */
	struct cert_labels labels;
	time_t created, expires;
	uint8_t spki[CERT_SPKI_MAX];    /* the public half */
	size_t spki_len;
	bool used, revoked;
	uint8_t used_by[32];            /* hash of the SPKI that used it */
	char used_name[CERT_NAME_MAX + 1];
};

struct ledger_node {
	char name[CERT_NAME_MAX + 1];
	enum cert_role role;
	uint64_t incarnation, issue;
	uint8_t spki[32];
	struct cert_labels labels;
};

int ledger_create(int dir, const char *cluster);
int ledger_open(struct ledger **out, int dir);
void ledger_close(struct ledger *l);
const char *ledger_cluster(const struct ledger *l);

int ledger_token_add(struct ledger *l, const struct ledger_token *t); /* -E2BIG */
int ledger_token_get(struct ledger *l, const uint8_t id[TOKEN_ID_LEN], struct ledger_token *out);
int ledger_token_revoke(struct ledger *l, const uint8_t id[TOKEN_ID_LEN]);
/* Calls fn for each; stops when it returns non-zero. */
int ledger_token_each(struct ledger *l, int (*fn)(void *arg, const struct ledger_token *t), void *arg);

int ledger_node_get(struct ledger *l, const char *name, struct ledger_node *out);
/* One transaction, fsynced before it returns: marks the token used by this key and writes the node's
 * next incarnation. Returns the node as it is now in n. -EALREADY the token was used by another key,
 * -EEXIST the name is taken by another key and the token is not made for it, -EKEYEXPIRED, -EKEYREVOKED,
 * -ENOENT no such token. The same key asking again within the token's life gets the same answer.
 */
int ledger_join(struct ledger *l, const uint8_t id[TOKEN_ID_LEN], const char *name,
		const uint8_t spki[32], time_t now, struct ledger_node *n);
/* The first node, by `ginnel init`. */
int ledger_node_add(struct ledger *l, const struct ledger_node *n);
/* Raises and returns the issue number of the next certificate of a node. */
int ledger_next_issue(struct ledger *l, const char *name, uint64_t *issue);
