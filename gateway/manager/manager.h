/* SPDX-License-Identifier: GPL-3.0-or-later */
/* manager - the manager process: accepts control connections and serves the API (api.c, enroll.c).
 *
 * Holds the registry and its own key and certificate (role manager); no session key, no engine.
 * One libevent loop. The current folder is the manager's own.
 */
#pragma once
#include "gateway/identity.h"
#include "gateway/node.h"

#define MANAGER_CONNECTIONS_MAX 10240
#define MANAGER_JOINERS_MAX 64       /* connections without a client certificate */

struct manager_params {
	const struct node *node;
	struct identity *identity; /* of the manager */
	int parent_fd, ca_fd;
	int listen_fds[4];
	int nlisten;
};

int manager_run(const struct manager_params *p);
