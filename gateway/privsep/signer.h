/* SPDX-License-Identifier: GPL-3.0-or-later */
/* signer - the ca process: signs only what it can verify itself.
 *
 * Holds the CA key and its ledger; no network. Two doors: the socketpair with the manager (a
 * joiner's proof, taken for hostile) and the operators' socket (root alone, SO_PEERCRED): one JSON
 * line in, one out (operator.h).
 *
 * What is told to whom: proof first. Who cannot sign with the token's key learns one thing, "no
 * such token", whether the id is unknown or the signature wrong, after the same work; it learns
 * nothing about tokens or names. Who can sign holds the token, and is told by name why it does not
 * do: revoked, used, expired, made for another name; and then, whether a name is taken.
 */
#pragma once
#include "gateway/message.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define SIGNER_KEY_FILE   "ca.key"
#define SIGNER_CHAIN_FILE "ca.pem" /* own certificate first, root last */

#define SIGNER_LINE_MAX    8192
#define SIGNER_CLIENTS_MAX 16
#define SIGNER_CLIENT_DEADLINE \
	(5 * 1000000000LL)                       /* to send a line, then again to take the answer */
#define SIGNER_ORDER_DEADLINE (9 * 1000000000LL) /* for the manager to answer an operator */
#define SIGNER_WRONG_PROOFS   5                  /* per minute and source address (IPv6: per /64) */
#define SIGNER_WINDOW         (60 * 1000000000LL)
#define SIGNER_WRONG_SOURCES  1024 /* the longest unseen is forgotten */
#define SIGNER_JOINS          5    /* per minute and token: each is news for all nodes */
#define SIGNER_JOIN_TOKENS    256

/* Serves until the parent is gone or says stop: the process's exit code. The current folder is the
 * ca's own. manager_fd is the socketpair with the manager, listen_fd the operators' socket. Takes
 * all three.
 */
int signer_run(int parent_fd, int manager_fd, int listen_fd);

/* -- what it is made of, for tests ----------------------------------------------------------- */

struct signer;

/* Reads key, chain and ledger in dir (AT_FDCWD: the current folder). On error why says for people
 * what is wrong with which file.
 */
int signer_new(struct signer **out, int dir, char *why, size_t max);
void signer_free(struct signer *s);

/* Judges a joiner's proof, and signs. Always fills *a. wall judges tokens and dates certificates,
 * now (monotonic) counts wrong proofs and joins.
 */
void signer_sign(struct signer *s, const struct message_sign *q, time_t wall, int64_t now,
                 struct message_signed *a);
