/* SPDX-License-Identifier: GPL-3.0-or-later */
/* statedir - the state folder while a host is enrolled by init or join.
 *
 * node.json comes last and is what makes a host enrolled. Before init writes anything it leaves a
 * mark; what lies beside the mark without a node.json was begun and not finished, and may be
 * removed. Without the mark a CA key in the folder is somebody's cluster, and is never touched.
 * One process at a time holds the folder (flock).
 */
#pragma once
#include "gateway/programs/cmd.h"
#include <sys/types.h>

enum statedir_part { STATEDIR_ENGINE, STATEDIR_MANAGER, STATEDIR_CA, STATEDIR_PARTS };

struct statedir {
	const char *what; /* "init", "join": for messages */
	const char *path;
	int fd; /* locked */
	struct {
		int fd; /* -1: not opened */
		uid_t uid;
		gid_t gid;
	} part[STATEDIR_PARTS];
};

/* Makes or takes the folder, and refuses if the host is enrolled, if ginneld runs, or if another
 * init or join is at work. Removes what an unfinished init left. CMD_OK, or CMD_FAILED after saying
 * why. Give it to statedir_release in any case.
 */
int statedir_take(struct statedir *s, const struct cmd *c, const char *what);
/* The same, whatever lies in it: what that is is the caller's to judge. */
int statedir_lock(struct statedir *s, const struct cmd *c, const char *what);
void statedir_release(struct statedir *s);

/* Leaves the mark: from here to statedir_finish what is written is ours to remove. 0 or -errno. */
int statedir_begin(struct statedir *s);
/* Makes or takes engine/, manager/ or ca/: 0700 and its process's own. CMD_OK, or CMD_FAILED after
 * saying why.
 */
int statedir_open(struct statedir *s, enum statedir_part part);
/* Gives a file in it to the part's process. Files that are not there are passed over. */
int statedir_own(const struct statedir *s, enum statedir_part part, const char *name);
/* Writes node.json, then takes the mark away: enrolled. 0 or -errno, then nothing is. */
int statedir_finish(struct statedir *s, const struct node *n);
/* Removes all that was written since statedir_begin, and the mark. */
void statedir_undo(struct statedir *s);

/* What a node was: node.json first, then its keys and what it knew. Refused while ginneld runs. CMD_OK,
 * or CMD_FAILED after saying why.
 */
int statedir_forget(const struct cmd *c, const char *what);
