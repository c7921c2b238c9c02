/* SPDX-License-Identifier: GPL-3.0-or-later */
/* child - one of the other processes, as the parent sees it: started, watched, ended, started again.
 *
 * It begins as this binary, exec'ed anew with a hidden role argument, so that nothing of the
 * parent's memory is in it: no environment, stdin /dev/null, stderr ours, and no descriptor but
 * its end of a socketpair, number MESSAGE_CHILD_FD. What it serves comes over that one.
 * Parent process only.
 */
#pragma once
#include "gateway/message.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CHILD_READY_NS       (10 * 1000000000LL) /* from start to READY, or it is killed */
#define CHILD_BACKOFF_MIN_NS 100000000LL         /* before it is started again, doubled each time */
#define CHILD_BACKOFF_MAX_NS (5 * 1000000000LL)
#define CHILD_WELL_NS        (10 * 1000000000LL) /* who lived so long begins at the minimum again */
#define CHILD_HOW_MAX        64

struct child {
	enum process role; /* PROCESS_PARENT: no such process on this node */
	uid_t uid;
	gid_t gid;
	int dir;   /* its folder, O_PATH */
	pid_t pid; /* 0: does not run */
	int fd;    /* our end of the socketpair, non-blocking; -1 */
	bool ready;
	uint32_t seen;
	int64_t started, next, backoff;
};

struct child_exec {
	const char *exe;                                 /* NULL: this very binary */
	const char *config_path, *state_path, *run_path; /* config_path NULL: there is none */
	int config; /* its text as the parent read it, sealed */
};

void child_init(struct child *c);

/* Forks and execs. 0 or -errno. */
int child_spawn(struct child *c, const struct child_exec *x, int64_t now);
/* Sends START: its folder and uid, the config, then fds as the counts in s say (ndir, nconfig, uid and
 * gid are filled in here). fds are the caller's to close.
 */
int child_start(struct child *c, const struct child_exec *x, const struct message_start *s,
                const int *fds, int nfds);
/* One message, of which READY is the only one. 0; -EAGAIN; -EPIPE, -EBADMSG: kill it. */
int child_read(struct child *c, struct message *m);
/* The process is gone: forgets it and says when it may start again; how receives for people how it
 * ended. Another's fault (blameless) costs it no delay.
 */
void child_ended(struct child *c, int status, bool blameless, int64_t now, char how[CHILD_HOW_MAX]);
/* It could not even be started. */
void child_failed(struct child *c, int64_t now);
/* SIGKILL, if it runs. */
void child_kill(const struct child *c);
