/* SPDX-License-Identifier: GPL-3.0-or-later */
/* isolate - gives up what a process does not need: uid, groups, capabilities, dumps, its parent's death.
 *
 * Order in a child: uid and gid change, then fchdir on the folder's descriptor (the other order is
 * EACCES without CAP_DAC_OVERRIDE), then PR_SET_PDEATHSIG (a uid change clears it), not dumpable,
 * no core, no new privileges. What is left after that, confine.h narrows.
 */
#pragma once
#include <sys/types.h>

#define ISOLATE_UID_ENGINE  64747
#define ISOLATE_UID_MANAGER 64748
#define ISOLATE_UID_CA      64749

/* The uid and gid of a process: of users ginnel, ginnel-manager, ginnel-ca where they exist, else
 * the fixed numbers; never 0.
 */
int isolate_user(const char *user, uid_t fallback, uid_t *uid, gid_t *gid);

/* For engine, manager, ca: all of the above; no capability remains, bounding set included. */
int isolate_child(uid_t uid, gid_t gid, int dir);

/* For the parent: uid 0 with CAP_NET_ADMIN, SETUID, SETGID, SETPCAP, KILL and nothing else. */
int isolate_parent(void);
