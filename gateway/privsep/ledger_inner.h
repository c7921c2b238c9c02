/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ledger_inner - between the files of the ledger: ledger_file (the SQLite file), ledger_rows (tokens
 * and nodes as rows), ledger_list (what is revoked), ledger_restore (what a backup cannot know), ledger (what may
 * happen, each a transaction).
 */
#pragma once
#include "gateway/privsep/ledger.h"
#include <sqlite3.h>

struct ledger {
	sqlite3 *db;
	sqlite3_vfs vfs;
	char vfs_name[32];
	char cluster[CERT_NAME_MAX + 1];
	bool broken; /* a write failed in a way that leaves the file's content unknown */
};

/* -- ledger_file ------------------------------------------------------------------------------ */

int ledger_error(sqlite3 *db, int rc);
int ledger_exec(struct ledger *l, const char *sql);
int ledger_prepare(struct ledger *l, sqlite3_stmt **out, const char *sql);
/* Why a step for one row yielded none. */
int ledger_no_row(struct ledger *l, int rc);
/* For a statement that returns no row: steps and ends it. */
int ledger_finish(struct ledger *l, sqlite3_stmt *s);
int ledger_begin(struct ledger *l);
/* Commits if err is 0, else rolls back; the one place that decides that the handle is spent. */
int ledger_end(struct ledger *l, int err);
/* The integer of a statement's one row. -EBADMSG there is none. */
int ledger_integer(struct ledger *l, const char *sql, int64_t *out);

/* -- ledger_rows ------------------------------------------------------------------------------ */

/* A column's text into a field of max bytes; NULL is "". */
int ledger_column_text(sqlite3_stmt *s, int at, char *out, size_t max);
/* verb: INSERT or REPLACE. */
int ledger_node_write(struct ledger *l, const char *verb, const struct ledger_node *n);
int ledger_token_use(struct ledger *l, const uint8_t id[TOKEN_ID_LEN], const char *name,
                     const uint8_t spki[32], time_t now);

/* -- ledger_list: in the caller's transaction -------------------------------------------------- */

/* Every certificate that the node has had, and its keys. */
int ledger_list_node(struct ledger *l, const struct ledger_node *n, time_t now);
/* Its certificates before issue_min. */
int ledger_list_labels(struct ledger *l, const struct ledger_node *n, time_t now);
/* The end of an act that revoked something. -E2BIG. */
int ledger_list_raise(struct ledger *l, time_t now);
/* -EKEYREVOKED. */
int ledger_list_judge(struct ledger *l, const struct cert_info *cert);

/* -- ledger_restore ----------------------------------------------------------------------------- */

/* The least incarnation that a node may be given now. */
int ledger_incarnation(struct ledger *l, uint64_t *least);
