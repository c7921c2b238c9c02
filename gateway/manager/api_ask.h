/* SPDX-License-Identifier: GPL-3.0-or-later */
/* api_ask - what a node asks about workloads and the policy: judged and done, without a connection.
 *
 * A node writes its own workloads and no others, where placement lets them run: it is refused by
 * name, and a refused placement is kept. README.md has the API. Of api.c; makes no system calls.
 */
#pragma once
#include "gateway/manager/api.h"
#include "gateway/tables/policy.h"

#define API_POLICY_PART 98304 /* bytes of the document in one answer: twice as many as JSON */
#define API_WAITING_MAX 1000  /* names in one answer */
#define API_REFUSED_MAX 196608

/* Who asks, and of what. */
struct ask {
	struct registry *registry;
	const struct policy *policy; /* NULL: none was applied, or it cannot be read here */
	const char *node;
	const char *body;
	size_t len;
	time_t wall;
};

/* All: 0 with out filled, or -ENOMEM. */
int answer_json(struct api_answer *out, int status, json_t *j); /* takes j, which may be NULL */
int answer_error(struct api_answer *out, int status, const char *reason, const char *text);
int answer_errno(struct api_answer *out, int err);
/* {"generation","revision"}: as it is now. */
int answer_revision(struct api_answer *out, const struct registry *r);

int ask_workload(const struct ask *a, struct api_answer *out);
int ask_workload_remove(const struct ask *a, struct api_answer *out);
int ask_refused(const struct ask *a, struct api_answer *out);      /* POST: tells of one */
int ask_refused_list(const struct ask *a, struct api_answer *out); /* GET */
int ask_workloads(const struct ask *a, const char *after, struct api_answer *out);
/* Of that version (0: the newest), from that byte on. */
int ask_policy(const struct ask *a, uint64_t version, uint64_t offset, struct api_answer *out);
