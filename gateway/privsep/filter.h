/* SPDX-License-Identifier: GPL-3.0-or-later */
/* filter - the system calls that engine, manager and ca may make (seccomp); any other is their end.
 *
 * The lists are gathered at build time from the comments beside the calls (syscalls.awk); filter.c
 * adds what the libraries need, and narrows some calls by their arguments. It cannot be taken off,
 * holds for all threads, and what is allowed without a look at its arguments costs next to nothing:
 * the kernel keeps such calls in a bitmap.
 */
#pragma once
#include "gateway/message.h"

enum filter_mode {
	FILTER_KILL, /* a forbidden call ends the process: SIGSYS */
	FILTER_TELL, /* it fails with FILTER_TOLD: for the self-test */
};

#define FILTER_TOLD ENOTRECOVERABLE

/* For this process and all its threads. 0 or -errno; -EINVAL for the parent, which has none. */
int filter_load(enum process p, enum filter_mode mode);

/* How many calls are in its list. */
unsigned filter_count(enum process p);
