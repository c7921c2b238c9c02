/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What may happen in a cluster: each act is one transaction. */
#include "gateway/privsep/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gateway/privsep/ledger_inner.h"

int ledger_next_issue(struct ledger *l, const char *name, time_t not_after, uint64_t *issue)
{
	struct ledger_node n;
	int err = ledger_begin(l);

	if (err)
		return err;
	err = ledger_node_get(l, name, &n);
	if (!err) {
		n.issue++;
		if (n.not_after < not_after)
			n.not_after = not_after;
		err = ledger_node_write(l, "REPLACE", &n);
	}
	err = ledger_end(l, err);
	if (!err)
		*issue = n.issue;
	return err;
}

/* -- renewal ---------------------------------------------------------------------------------- */

/* The holder of `spki` asks for `next`. A key that proves itself ends the one before: who stole that
 * may not renew by it. Until then its owner may ask again, for the answer may have been lost.
 */
static int keys_renew(struct ledger_keys *k, const uint8_t spki[32], bool newer,
                      const uint8_t next[32])
{
	static const uint8_t none[32];

	if (newer || !memcmp(k->spki, none, sizeof(none)) || !memcmp(k->next, spki, 32))
		memcpy(k->spki, spki, 32);
	else if (memcmp(k->spki, spki, 32))
		return -EEXIST;
	memcpy(k->next, next, 32);
	return 0;
}

/* Was it issued after the backup that this ledger is restored from? Then its key is newer than those
 * that the ledger knows of.
 */
static bool is_newer(const struct ledger_node *n, const struct cert_info *cert)
{
	return n->restored && cert->issue >= n->restored;
}

/* One that was not removed. */
static int member_get(struct ledger *l, const char *name, struct ledger_node *n)
{
	int err = ledger_node_get(l, name, n);

	return !err && n->removed ? -ENOENT : err;
}

/* Is this certificate's holder in the cluster, as what it says? */
static int holder_get(struct ledger *l, const struct cert_info *cert, struct ledger_node *n)
{
	int err = member_get(l, cert->node, n);

	if (err)
		return err;
	if (n->incarnation != cert->incarnation)
		return -ESTALE;
	err = ledger_list_judge(l, cert);
	if (err)
		return err;
	return cert->role == ROLE_NODE || cert->role == n->role ? 0 : -EACCES;
}

int ledger_renew(struct ledger *l, const struct cert_info *cert, const uint8_t next[32],
                 struct ledger_node *n)
{
	struct ledger_node now;
	int err = ledger_begin(l);

	if (err)
		return err;
	err = holder_get(l, cert, &now);
	if (!err)
		err = keys_renew(cert->role == ROLE_NODE ? &now.keys : &now.manager_keys,
		                 cert->spki, is_newer(&now, cert), next);
	if (!err) {
		now.restored = 0; /* its newest key is known again */
		err = ledger_node_write(l, "REPLACE", &now);
	}
	err = ledger_end(l, err);
	if (!err)
		*n = now;
	return err;
}

static bool holds(const struct ledger_keys *k, const uint8_t spki[32])
{
	return !memcmp(k->spki, spki, sizeof(k->spki)) || !memcmp(k->next, spki, sizeof(k->next));
}

int ledger_leave(struct ledger *l, const struct cert_info *cert)
{
	struct ledger_node n;
	int err = ledger_begin(l);

	if (err)
		return err;
	err = holder_get(l, cert, &n);
	if (!err && n.role != ROLE_NODE)
		err = -EACCES;
	if (!err && !holds(&n.keys, cert->spki) && !is_newer(&n, cert))
		err = -EEXIST;
	if (!err) {
		n.removed = true;
		err = ledger_node_write(l, "REPLACE", &n);
	}
	return ledger_end(l, err);
}

/* -- operators' acts -------------------------------------------------------------------------- */

int ledger_remove(struct ledger *l, const char *name)
{
	struct ledger_node n;
	int err = ledger_begin(l);

	if (err)
		return err;
	err = member_get(l, name, &n);
	if (!err) {
		n.removed = true;
		err = ledger_node_write(l, "REPLACE", &n);
	}
	return ledger_end(l, err);
}

static bool labels_lost(const struct cert_labels *before, const struct cert_labels *after)
{
	for (unsigned i = 0; i < before->n; i++) {
		unsigned k = 0;

		while (k < after->n && (strcmp(before->at[i].key, after->at[k].key) ||
		                        strcmp(before->at[i].value, after->at[k].value)))
			k++;
		if (k == after->n)
			return true;
	}
	return false;
}

int ledger_label(struct ledger *l, const char *name, const struct cert_labels *labels, time_t now,
                 struct ledger_node *out, bool *lost)
{
	struct ledger_node n;
	int err = ledger_begin(l);

	if (err)
		return err;
	*lost = false;
	err = member_get(l, name, &n);
	if (!err && !cert_labels_equal(&n.labels, labels)) {
		*lost = labels_lost(&n.labels, labels);
		n.labels = *labels;
		n.issue_min = n.issue + 1;
		err = ledger_node_write(l, "REPLACE", &n);
	}
	if (!err && *lost)
		err = ledger_list_labels(l, &n, now);
	if (!err && *lost)
		err = ledger_list_raise(l, now);
	err = ledger_end(l, err);
	if (!err)
		*out = n;
	return err;
}

int ledger_revoke(struct ledger *l, const char *name, time_t now)
{
	struct ledger_node n;
	int err = ledger_begin(l);

	if (err)
		return err;
	err = member_get(l, name, &n);
	if (!err)
		err = ledger_list_node(l, &n, now);
	if (!err)
		err = ledger_list_raise(l, now);
	return ledger_end(l, err);
}

/* -- join ------------------------------------------------------------------------------------- */

/* May this token let this key in under this name, now? *again: it already did. */
static int join_token(const struct ledger_token *t, const char *name, const uint8_t spki[32],
                      time_t now, bool *again)
{
	*again = false;
	if (t->revoked)
		return -EKEYREVOKED;
	if (t->used) {
		if (memcmp(t->used_by, spki, sizeof(t->used_by)))
			return -EALREADY;
		if (strcmp(t->used_name, name))
			return -EPERM;
		*again = true;
		return now < t->used_at + LEDGER_RETRY ? 0 : -EKEYEXPIRED;
	}
	if (t->name[0] && strcmp(t->name, name))
		return -EPERM;
	return now < t->expires ? 0 : -EKEYEXPIRED;
}

/* The node's next incarnation. Issue numbers go on: those of an earlier one stay below. */
static int join_node(struct ledger *l, const struct ledger_token *t, const char *name,
                     const uint8_t spki[32], struct ledger_node *n)
{
	uint64_t least = 0;
	struct ledger_node old;
	int64_t nodes;
	int err = ledger_incarnation(l, &least);

	if (err)
		return err;

	memset(n, 0, sizeof(*n));
	snprintf(n->name, sizeof(n->name), "%s", name);
	n->role = t->role;
	n->labels = t->labels;
	memcpy(n->keys.spki, spki, sizeof(n->keys.spki));
	err = ledger_node_get(l, name, &old);
	if (!err) {
		if (old.role != t->role && !old.removed)
			return -EEXIST;
		if (!t->name[0] && !old.removed && !holds(&old.keys, spki))
			return -EEXIST;
		n->incarnation = old.incarnation + 1;
		if (n->incarnation < least)
			n->incarnation = least;
		n->issue = old.issue;
		n->issue_min = old.issue_min;
		n->not_after = old.not_after;
		return ledger_node_write(l, "REPLACE", n);
	}
	if (err != -ENOENT)
		return err;
	err = ledger_integer(l, "SELECT count(*) FROM nodes", &nodes);
	if (err)
		return err;
	if (nodes >= LEDGER_NODES_MAX)
		return -E2BIG;
	n->incarnation = least;
	return ledger_node_write(l, "INSERT", n);
}

int ledger_join(struct ledger *l, const uint8_t id[TOKEN_ID_LEN], const char *name,
                const uint8_t spki[32], time_t now, struct ledger_node *n)
{
	struct ledger_token t;
	struct ledger_node made;
	bool again;
	int err;

	if (!cert_name_ok(name))
		return -EINVAL;
	err = ledger_begin(l);
	if (err)
		return err;
	err = ledger_token_get(l, id, &t);
	if (!err)
		err = join_token(&t, name, spki, now, &again);
	if (!err && again) {
		err = ledger_node_get(l, name, &made);
		/* Since then the name may have gone to another key, by a token made for it. */
		if (err == -ENOENT || (!err && (made.removed || !holds(&made.keys, spki))))
			err = -EEXIST;
	} else if (!err) {
		err = join_node(l, &t, name, spki, &made);
		if (!err)
			err = ledger_token_use(l, id, name, spki, now);
	}
	err = ledger_end(l, err);
	if (!err)
		*n = made;
	return err;
}
