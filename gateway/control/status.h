/* SPDX-License-Identifier: GPL-3.0-or-later */
/* status - what `ginnel status`, `peers` and `routes` show, as JSON. Control's thread. */
#pragma once
#include "gateway/control/state.h"

json_t *status_json(struct control *c);
json_t *status_peers(struct control *c);
json_t *status_routes(struct control *c);
/* "ready", "degraded" or "starting", and why into reasons (an array). */
const char *status_state(struct control *c, json_t *reasons);
