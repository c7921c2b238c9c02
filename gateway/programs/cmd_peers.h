/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cmd_peers - the table of peers, which `status` shows too. */
#pragma once
#include <jansson.h>
#include <stdio.h>
#include <time.h>

/* peers: the array of the control socket's answer. 0 or -ENOMEM. */
int peers_print(FILE *to, const json_t *peers, time_t now);
