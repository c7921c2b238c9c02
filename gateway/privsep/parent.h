/* SPDX-License-Identifier: GPL-3.0-or-later */
/* parent - opens, hands over, checks, watches: the one process with a privilege.
 *
 * Puts up the guard, makes folders and sockets, starts the others (fork and exec of this binary
 * with a hidden role argument), restarts what dies and says so, keeps the guard standing. Parses
 * nothing from the network. Its admin socket (root alone): {"cmd":"down"|"ping"} → {…}.
 */
#pragma once
#include "gateway/config.h"
#include "gateway/node.h"
#include "gateway/privsep/confine.h"
#include <stddef.h>

struct parent_params {
	const struct config *config;
	const struct node *node;
	/* Passed on to the children. Where the config lay, absolute, is all they take from there: its
	 * text comes from config. NULL: there was none.
	 */
	const char *config_path, *state_path, *run_path;
	int state_dir;
	int run_dir;
	unsigned workers; /* 1 to WORKERS_MAX: queues of the device, and their UDP sockets */
	const char *exe;  /* what is exec'ed for the others; NULL: this very binary */
};

#define PARENT_STOP_NS  (2 * 1000000000LL)  /* that the others have to end in good order */
#define PARENT_CHECK_NS (10 * 1000000000LL) /* the guard is looked at without an event, too */
#define PARENT_RETRY_NS 1000000000LL        /* and so soon again if it could not be put back */

/* Until SIGTERM, SIGINT or `down`: the exit code. */
int parent_run(const struct parent_params *p);

/* What the parent, and so all that it starts, may reach of the file system. */
struct confine_places parent_places(const struct parent_params *p);

/* Takes both folders for this process. -EBUSY: another ginneld runs here. */
int parent_lock(int state_dir, int run_dir, char *why, size_t max);

/* The folders: made, or taken if root owns them; modes mended to 0700 (state) and 0750 root:ginnel
 * (run). 0 with *fd, or -errno with a line in why.
 */
int parent_open_state(int *fd, const char *path, char *why, size_t max);
int parent_open_run(int *fd, const char *path, char *why, size_t max);
