/* SPDX-License-Identifier: GPL-3.0-or-later */
/* attempt - what a process that was taken over would try, and confinement refuses: tried for real.
 *
 * Each is harmless where it succeeds. /proc shows neither a Landlock domain nor what a filter allows,
 * so that the only proof is to try: at ginneld's start, in --check, and in the tests.
 */
#pragma once
#include "gateway/message.h"
#include "gateway/privsep/confine.h"
#include <stdbool.h>
#include <stddef.h>

enum attempt_by {
	ATTEMPT_CALL, /* the filter refuses it */
	ATTEMPT_FILE, /* Landlock does, where the kernel has it */
};

unsigned attempt_count(void);
const char *attempt_name(unsigned i);
enum attempt_by attempt_by(unsigned i);
/* Is it anything that p may not? */
bool attempt_forbidden(unsigned i, enum process p);
/* 0 if it succeeded, else -errno. The process is not what it was before. */
int attempt_make(unsigned i);

/* In short-lived processes that are confined as p is: each attempt must be refused, and one kill. dir
 * is p's folder, or -1; places are the parent's. 0 with a line for people in text, or -errno with what
 * went wrong in it.
 */
int attempt_all(enum process p, int dir, const struct confine_places *places, char *text,
                size_t max);
