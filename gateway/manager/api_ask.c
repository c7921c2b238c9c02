/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/api_ask.h"

#include "crypto/hex.h"
#include "gateway/log.h"
#include "gateway/manager/records.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- answers ----------------------------------------------------------------------------------- */

int answer_json(struct api_answer *out, int status, json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	if (!text)
		return -ENOMEM;
	*out = (struct api_answer){.status = status, .json = text, .len = strlen(text)};
	return 0;
}

int answer_error(struct api_answer *out, int status, const char *reason, const char *text)
{
	return answer_json(out, status, json_pack("{s:s, s:s}", "error", reason, "text", text));
}

int answer_errno(struct api_answer *out, int err)
{
	switch (err) {
	case -ENOMEM:
		return err;
	case -EINVAL:
		return answer_error(out, 400, "endpoint",
		                    "an endpoint is no address of a host: loopback, multicast, or "
		                    "inside the overlay or the pools");
	case -ENOENT:
	case -ESTALE:
		return answer_error(out, 403, "unknown-node",
		                    "the node is not in the cluster, or was made anew");
	case -ENOSPC:
		return answer_error(out, 503, "disk-full", "the manager's disk is full");
	case -EROFS:
		return answer_error(out, 503, "read-only",
		                    "the registry is read-only since a write failed");
	default:
		return answer_error(out, 503, "failed", "the registry could not be written");
	}
}

int answer_revision(struct api_answer *out, const struct registry *r)
{
	return answer_json(out, 200,
	                   json_pack("{s:I, s:I}", "generation", (json_int_t)registry_generation(r),
	                             "revision", (json_int_t)registry_revision(r)));
}

/* -- a workload -------------------------------------------------------------------------------- */

static int workload_errno(struct api_answer *out, int err)
{
	switch (err) {
	case -EINVAL:
		return answer_error(out, 403, "address",
		                    "an address is neither in the node's own prefixes, without its "
		                    "own address, nor in the pools");
	case -EADDRINUSE:
		return answer_error(out, 409, "address-taken", "an address is another workload's");
	case -EEXIST:
	case -EACCES:
		return answer_error(out, 403, "other-node", "the workload is another node's");
	case -EDQUOT:
		return answer_error(out, 507, "too-many",
		                    "the node, or the cluster, holds no more workloads");
	default:
		return answer_errno(out, err);
	}
}

/* The record in j, of the node that asks. 1: out says why not. */
static int read_workload(const struct ask *a, const json_t *j, struct workload **w,
                         struct api_answer *out)
{
	const char *why;
	int err = workload_parse_of(w, j, a->node, &why);

	if (!err || err == -ENOMEM)
		return err;
	err = err == -EACCES ? answer_error(out, 403, "other-node", why)
	                     : answer_error(out, 400, "workload", why);
	return err ? err : 1;
}

/* Which rule refuses it on the node as the registry knows it; "" none. Running ones stay on a node
 * that is drained.
 */
static int judge_placement(const struct ask *a, const struct workload *w,
                           char rule[REGISTRY_RULE_MAX + 1])
{
	struct cert_labels labels;
	struct registry_node n;
	const char *name;
	int err = registry_node_get(a->registry, a->node, &n);

	rule[0] = '\0';
	if (err)
		return err;
	workload_labels(w, &labels);
	name = a->policy ? policy_placement(a->policy, &labels, &n.labels) : NULL;
	if (!name && n.draining && !registry_workload_has(a->registry, a->node, w->id))
		name = WORKLOAD_RULE_DRAINED;
	if (name)
		snprintf(rule, REGISTRY_RULE_MAX + 1, "%s", name);
	return 0;
}

/* Kept, so that people see it; what cannot be written is refused all the same. */
static void keep_refused(const struct ask *a, const struct workload *w, const char *rule)
{
	int err = registry_refuse(a->registry, w, rule, a->wall);

	log_warn("placement refused", "peer", a->node, "workload", w->name, "id", w->id, "rule",
	         rule, "reason", err ? strerrordesc_np(-err) : NULL, NULL);
}

static int refuse_placement(const struct ask *a, const struct workload *w, const char *rule,
                            struct api_answer *out)
{
	keep_refused(a, w, rule);
	return answer_json(out, 403,
	                   json_pack("{s:s, s:s, s:s}", "error", "placement", "text",
	                             "a rule does not let this workload run on the node", "rule",
	                             rule));
}

int ask_workload(const struct ask *a, struct api_answer *out)
{
	json_t *j = h2_json(a->body, a->len);
	char rule[REGISTRY_RULE_MAX + 1];
	struct workload *w = NULL;
	int err;

	if (!j)
		return answer_error(out, 400, "bad-request", "the body is no JSON object");
	err = read_workload(a, j, &w, out);
	json_decref(j);
	if (err)
		return err > 0 ? 0 : err;
	err = -EAGAIN;
	if (!a->policy && registry_policy(a->registry)->version)
		err = answer_error(out, 503, "policy", "the policy cannot be read here");
	if (err == -EAGAIN) {
		err = judge_placement(a, w, rule);
		if (err)
			err = answer_errno(out, err);
		else if (rule[0])
			err = refuse_placement(a, w, rule, out);
		else
			err = -EAGAIN;
	}
	if (err == -EAGAIN) {
		err = registry_workload_put(a->registry, w);
		err = err ? workload_errno(out, err) : answer_revision(out, a->registry);
	}
	workload_free(w);
	return err;
}

int ask_workload_remove(const struct ask *a, struct api_answer *out)
{
	json_t *j = h2_json(a->body, a->len);
	const char *id = json_string_value(json_object_get(j, "id"));
	int err;

	if (!id || !workload_id_ok(id)) {
		json_decref(j);
		return answer_error(out, 400, "bad-request", "the body is {\"id\":\"…\"}");
	}
	err = registry_workload_remove(a->registry, a->node, id);
	json_decref(j);
	if (err && err != -ENOENT) /* gone is gone */
		return workload_errno(out, err);
	return answer_revision(out, a->registry);
}

/* -- refused placements ------------------------------------------------------------------------ */

int ask_refused(const struct ask *a, struct api_answer *out)
{
	json_t *j = h2_json(a->body, a->len);
	const char *rule = json_string_value(json_object_get(j, "rule"));
	struct workload *w = NULL;
	int err;

	if (!rule) {
		json_decref(j);
		return answer_error(out, 400, "bad-request",
		                    "the body is {\"workload\":{…},\"rule\":\"NAME\"}");
	}
	err = read_workload(a, json_object_get(j, "workload"), &w, out);
	if (!err) {
		err = registry_refuse(a->registry, w, rule, a->wall);
		if (err == -EINVAL)
			err = answer_error(out, 400, "bad-request", "the rule is no name");
		else if (err)
			err = answer_errno(out, err);
		else
			err = answer_json(out, 200, json_object());
	} else if (err > 0) {
		err = 0;
	}
	workload_free(w);
	json_decref(j);
	return err;
}

int ask_refused_list(const struct ask *a, struct api_answer *out)
{
	json_t *list = registry_refused(a->registry, API_REFUSED_MAX);

	if (!list)
		return answer_error(out, 503, "failed", "the registry could not be read");
	return answer_json(out, 200, json_pack("{s:o}", "refused", list));
}

/* -- pages ------------------------------------------------------------------------------------- */

int ask_workloads(const struct ask *a, const char *after, struct api_answer *out)
{
	char last[WORKLOAD_ID_MAX + 1];
	char *text = malloc(API_PAGE_MAX + WORKLOAD_ID_MAX + 128);
	size_t len;

	if (!text)
		return -ENOMEM;
	len = (size_t)sprintf(text, "{\"generation\":%llu,\"revision\":%llu,\"workloads\":[",
	                      (unsigned long long)registry_generation(a->registry),
	                      (unsigned long long)registry_revision(a->registry));
	len += registry_workloads_text(a->registry, after, WORKLOADS_MAX, text + len, API_PAGE_MAX,
	                               last);
	if (last[0])
		len += (size_t)sprintf(text + len, "],\"next\":\"%s\"}", last);
	else
		len += (size_t)sprintf(text + len, "],\"next\":null}");
	*out = (struct api_answer){.status = 200, .json = text, .len = len};
	return 0;
}

/* No character is cut in two. */
static size_t part_of(const struct registry_policy *p, size_t offset)
{
	size_t end = p->len - offset > API_POLICY_PART ? offset + API_POLICY_PART : p->len;

	while (end < p->len && ((unsigned char)p->document[end] & 0xc0) == 0x80)
		end--;
	return end - offset;
}

int ask_policy(const struct ask *a, uint64_t version, uint64_t offset, struct api_answer *out)
{
	const struct registry_policy *p = registry_policy(a->registry);
	char hash[2 * sizeof(p->hash) + 1];
	size_t n;

	if (!p->version)
		return answer_error(out, 404, "no-policy", "no policy was applied yet");
	if (version && version != p->version)
		return answer_error(out, 409, "superseded", "another version is in force");
	if (offset >= p->len && offset)
		return answer_error(out, 400, "bad-request", "the offset is behind the end");
	n = part_of(p, offset);
	hex_format(hash, p->hash, sizeof(p->hash));
	return answer_json(
		out, 200,
		json_pack("{s:I, s:s, s:I, s:o, s:s, s:I, s:o}", "version", (json_int_t)p->version,
	                  "hash", hash, "size", (json_int_t)p->len, "applied_at",
	                  record_time_format(p->applied_at), "by", p->by, "offset",
	                  (json_int_t)offset, "part", json_stringn(p->document + offset, n)));
}
