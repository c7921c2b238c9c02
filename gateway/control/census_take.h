/* SPDX-License-Identifier: GPL-3.0-or-later */
/* census_take - what a new snapshot judges packets by: members, workloads and the policy that we have.
 *
 * Static peers have no policy: their snapshots stay open. Control's thread.
 */
#pragma once
#include "gateway/control/census.h"
#include "gateway/control/state.h"

/* After all peers were added. 0 or -errno: the snapshot is then not to be published. */
int census_take(struct control *c, struct snapshot *s);
