/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cases - what a policy is expected to say: {from, to, port, expect}, and whether it does.
 *
 * They stand under "cases" in the policy itself, or in a file of their own whose "policy" names it.
 * A case's from and to are subjects, written like selectors with one value each: "node" makes it a
 * node, {} an address that nobody has, anything else a workload. Without a port the policy has to say
 * the same of all protocols and ports. Pure.
 */
#pragma once
#include "gateway/tables/policy.h"
#include <stdio.h>

#define CASES_MAX 4096

struct cases;

/* Leaves the policy's own keys to policy_parse. -EINVAL with faults, -ENOMEM. faults is cleared. */
int cases_parse(struct cases **out, const char *path, const char *text, size_t len,
                struct config_faults *faults);
void cases_free(struct cases *c);
/* The file's name under "policy", NULL if the policy stands beside the cases. */
const char *cases_policy(const struct cases *c);
uint32_t cases_count(const struct cases *c);

/* Gives p the cases' classes and seals it; then they can be judged. -ENOMEM. */
int cases_seal(struct cases *c, struct policy *p);

struct case_verdict {
	const char *name; /* NULL: it has none */
	unsigned line, column;
	bool ok;
	enum policy_action expect;
	struct policy_verdict verdict; /* where it is not ok, the first that differs */
	bool any;                      /* no port was asked for, and it is the same for all */
	struct policy_ports ports;     /* what was asked for, or the port that differs */
};

void cases_judge(const struct cases *c, uint32_t i, const struct policy *p,
                 struct case_verdict *out);
/* A case's subject as text: "{app: web, node.zone: pci}". */
void cases_print(const struct cases *c, uint32_t i, bool from, FILE *to);
