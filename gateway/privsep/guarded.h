/* SPDX-License-Identifier: GPL-3.0-or-later */
/* guarded - what the guards were put up for, kept in the state folder: guarded.json.
 *
 * With it they go up again though config or node.json are of no use now, and what a former overlay,
 * prefix or device left behind is taken away once the new guards stand. Several plans are in the
 * file while one is being replaced by another, so that a crash in between forgets none.
 * Privileged process only.
 */
#pragma once
#include "gateway/privsep/guard.h"

#define GUARDED_FILE      "guarded.json"
#define GUARDED_MAX       4 /* more are left by as many crashes, each after another change */
#define GUARDED_BYTES_MAX 65536

struct guarded {
	unsigned n; /* the youngest is the last */
	struct guard_plan plan[GUARDED_MAX];
};

/* From/to JSON text; every value is checked as guard_plan_make does. -EBADMSG. */
int guarded_parse(struct guarded *out, const char *json, size_t len);
char *guarded_format(const struct guarded *g); /* malloc'ed, NULL: no memory */

/* The last plan that is remembered. -ENOENT, -EBADMSG, -EPERM others may write it; other -errno. */
int guarded_last(struct guard_plan *out, int state_dir);

/* guard_up and guard_down with p->state_dir's memory: p is remembered before anything of it stands,
 * and what else is remembered is removed, unless p has it too. What cannot be remembered is logged
 * and no error: a full disk keeps no guard down.
 */
int guarded_up(struct guard **out, const struct guard_plan *p, char *why, size_t max);
int guarded_down(const struct guard_plan *p, char *why, size_t max);
