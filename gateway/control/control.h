/* SPDX-License-Identifier: GPL-3.0-or-later */
/* control - the engine's libevent thread: members in, snapshots out, questions answered.
 *
 * Owns the list of members (from the config's static peers, or from a manager), the identity's
 * contexts, the engine, and the local socket. Knows of packets only what status tells.
 */
#pragma once
#include "gateway/config.h"
#include "gateway/engine/engine.h"
#include "gateway/identity.h"
#include "gateway/message.h"
#include "gateway/node.h"

#define CONTROL_WORKERS     1  /* so many queues of the device, and UDP sockets, it serves */
#define CONTROL_EAGER_NODES 64 /* so many nodes at most: lane 0 to every peer from the start */
#define CONTROL_CLIENTS_MAX 32
#define CONTROL_LINE_MAX    8192 /* a question */

struct control_params {
	const struct config *config;
	const struct node *node;
	struct identity *identity;
	int parent_fd;
	int tun_fds[ENGINE_WORKERS_MAX], ntun;
	int udp_fds[ENGINE_WORKERS_MAX], nudp;
	int control_fd; /* listening */
	uint32_t group; /* whose members may ask at the local socket; MESSAGE_NO_GROUP */
	/* Gives up what is still left, once all that takes more was had. NULL: nothing. */
	int (*confine)(void);
};

/* Serves until the parent says stop or is gone: the process's exit code. The current folder is the
 * engine's own.
 */
int control_run(const struct control_params *p);
