/* SPDX-License-Identifier: GPL-3.0-or-later */
/* manager - the manager process: accepts control connections and serves the API (api.c, enroll.c).
 *
 * Holds the registry and its own key and certificate (role manager); no session key, no engine.
 * One libevent loop. The current folder is the manager's own.
 */
#pragma once
#include "gateway/identity.h"
#include "gateway/node.h"

#define MANAGER_CONNECTIONS_MAX  10240
#define MANAGER_JOINERS_MAX      64 /* connections without a client certificate; the oldest makes room */
#define MANAGER_JOINER_LIFE      (30 * 1000000000LL)
#define MANAGER_HALF_OPEN_MAX    512 /* handshakes at once; the oldest makes room */
#define MANAGER_LISTEN_MAX       4
#define MANAGER_HALF_OPEN_SOURCE 64 /* of them from one IPv4 address or IPv6 /64 */

struct manager_params {
	const struct node *node;
	struct identity *identity; /* of the manager */
	int parent_fd, ca_fd;
	int listen_fds[MANAGER_LISTEN_MAX];
	int nlisten;
};

/* Serves until the parent is gone or says stop, or the ca is gone (the parent starts both anew):
 * the process's exit code.
 */
int manager_run(const struct manager_params *p);
