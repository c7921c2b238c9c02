/* SPDX-License-Identifier: GPL-3.0-or-later */
/* rules - the guard's nftables rules: guard.nft and the elements of this host's plan.
 *
 * Two copies. The plain tables outlive the process, but any `nft flush ruleset` takes them; the
 * table `inet ginnel_live` is owned by the process that holds a struct rules: others' flush passes
 * over it, and the kernel removes it when the process is gone. Both go in with their elements by
 * one transaction each. Text is composed from guard.nft, from numbers, and from names that passed
 * guard_name_ok; nothing else reaches it. Privileged process only; one thread.
 */
#pragma once
#include "gateway/privsep/guard.h"

struct rules;

/* Opens the sockets of both copies; changes nothing. p is copied. -EINVAL a name in p is none. */
int rules_new(struct rules **out, const struct guard_plan *p);
/* The owned copy goes with it, the plain tables stay. */
void rules_free(struct rules *r);

/* Puts up whichever copy does not stand as it left it, at first both, whatever stood there. On
 * error what stood still stands; why says what nftables said. -EEXIST another process owns the
 * second copy: then the plain tables are its, too, and are left alone.
 */
int rules_up(struct rules *r, char *why, size_t max);
/* Does a process guard this network namespace: does a second copy stand, whoever's? */
bool rules_held(void);
/* Do both stand, rule by rule and with all guarded prefixes, as rules_up left them? */
bool rules_stand(struct rules *r);

/* Removes the plain tables; 0 also where there are none. */
int rules_down(char *why, size_t max);

/* The text of the plain tables with their elements, and of the owned copy: malloc'ed. Pure. */
int rules_text(const struct guard_plan *p, char **out);
int rules_live_text(const struct guard_plan *p, char **out);
