/* SPDX-License-Identifier: GPL-3.0-or-later */
/* nodes - the cluster's nodes, as `ginnel node list` shows them.
 *
 * Asked of the manager, which alone knows when each was last seen; without one the last state that we
 * know. Control's thread.
 */
#pragma once
#include "gateway/control/state.h"

struct nodes_query;

/* done is called once with the list (the reference is its own), never from within this call. -ENOMEM. */
int nodes_ask(struct nodes_query **out, struct control *c, void (*done)(void *arg, json_t *list),
              void *arg);
/* done will not be called. */
void nodes_cancel(struct nodes_query *q);
