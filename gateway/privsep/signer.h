/* SPDX-License-Identifier: GPL-3.0-or-later */
/* signer - the ca process: signs only what it can verify itself.
 *
 * Holds the CA key and its ledger; no network. Two doors: the socketpair with the manager (a
 * joiner's proof, taken for hostile) and the operators' socket (root alone, SO_PEERCRED): one JSON
 * line in, one out.
 *   {"cmd":"token-create","role","name"|null,"labels":{},"ttl_s"} → {"token","id","expires"}
 *   {"cmd":"token-list"} → [{"id","role","name","labels","expires","created_by","used"}]
 *   {"cmd":"token-revoke","id"} → {}
 * or {"error":"what: why; what to do"}.
 */
#pragma once

#define SIGNER_LINE_MAX 8192
#define SIGNER_CLIENTS_MAX 16
#define SIGNER_TTL_DEFAULT 3600
#define SIGNER_TTL_MAX (7 * 86400)
#define SIGNER_WRONG_PROOFS 5 /* per minute and source address */

/* Serves until the parent is gone or says stop: the process's exit code. The current folder is the
 * ca's own. manager_fd is the socketpair with the manager, listen_fd the operators' socket.
 */
int signer_run(int parent_fd, int manager_fd, int listen_fd);
