/* SPDX-License-Identifier: GPL-3.0-or-later */
/* denied - the log's lines about packets that the policy refused: with names, and one a second for each
 * rule. Control's thread.
 */
#pragma once
#include "gateway/engine/engine.h"

/* Once a second. */
void denied_log(struct engine *e);
