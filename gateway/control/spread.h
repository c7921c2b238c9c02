/* SPDX-License-Identifier: GPL-3.0-or-later */
/* spread - a revocation list that came, from a manager or from a peer: judged, followed, kept, passed on.
 * Control's thread.
 */
#pragma once
#include "gateway/control/state.h"

/* What lies on the disk. */
void spread_begin(struct control *c);
void spread_clear(struct control *c);
/* A list from a manager. As revoked_take. */
int spread_list(struct control *c, const uint8_t *list, size_t len);
/* What peers had, since the last time. */
void spread_files(struct control *c);
