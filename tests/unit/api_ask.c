/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a node asks about workloads and the policy: each refusal by its name. */
#include "gateway/manager/api_ask.h"

#include "tests/folder.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW  1000000000000LL
#define WALL 1800000000

static struct folder folder;
static struct registry *registry;
static struct api *api;
static int64_t now;
static int status;
static json_t *body;

static const struct api_ops no_ops;

static void setup(void)
{
	folder_init(&folder);
	registry = folder_registry(&folder, "10.77.0.0/16");
	cr_assert_eq(api_new(&api, registry, &no_ops), 0);
	cr_assert_eq(folder_node(registry, "n1", ROLE_NODE), 0);
	cr_assert_eq(folder_node(registry, "n2", ROLE_NODE), 0);
	now = NOW;
	api_tick(api, now, WALL);
}

static void teardown(void)
{
	json_decref(body);
	body = NULL;
	api_free(api);
	registry_close(registry);
	folder_clear(&folder);
}

TestSuite(api_ask, .init = setup, .fini = teardown, .timeout = 60);

static void ask(const char *node, const char *method, const char *path, const char *text)
{
	struct api_answer a;

	cr_assert_eq(api_answer(api, node, method, path, text, text ? strlen(text) : 0, now, &a),
	             0);
	json_decref(body);
	body = json_loadb(a.json, a.len, 0, NULL);
	cr_assert(body, "%.*s", (int)a.len, a.json);
	status = a.status;
	free(a.json);
}

static const char *text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "(none)";
}

#define REFUSED(code, reason)                                       \
	do {                                                        \
		cr_expect_eq(status, (code), "%d", status);         \
		cr_expect_str_eq(text_of(body, "error"), (reason)); \
		cr_expect_gt(strlen(text_of(body, "text")), 5u);    \
	} while (0)
#define OK() cr_expect_eq(status, 200, "%d %s", status, text_of(body, "error"))

#define W(id, address)                                                                             \
	"{\"id\":\"" id "\",\"name\":\"web\",\"addresses\":[\"" address "\"],\"labels\":{\"app\":" \
	"\"web\"}}"

static void policy(const char *text)
{
	struct config_faults *faults = calloc(1, sizeof(*faults));
	struct policy *p;

	cr_assert_eq(policy_parse(&p, "p", text, strlen(text), faults), 0, "%s", faults->text[0]);
	cr_assert_eq(registry_policy_put(registry, text, strlen(text), "root", WALL), 0);
	api_policy(api, p);
	free(faults);
}

Test(api_ask, a_node_keeps_its_workloads)
{
	ask("n1", "POST", "/v1/workload", W("aa", "10.77.1.5"));
	OK();
	cr_expect_eq(json_integer_value(json_object_get(body, "revision")), 3);
	ask("n2", "POST", "/v1/workload", W("bb", "10.80.0.5"));
	OK();
	ask("n1", "GET", "/v1/workloads", NULL);
	OK();
	cr_expect_eq(json_array_size(json_object_get(body, "workloads")), 2u);
	cr_expect(json_is_null(json_object_get(body, "next")));
	ask("n1", "GET", "/v1/workloads?after=aa", NULL);
	cr_expect_eq(json_array_size(json_object_get(body, "workloads")), 1u);
	ask("n1", "POST", "/v1/workload-remove", "{\"id\":\"aa\"}");
	OK();
	ask("n1", "POST", "/v1/workload-remove", "{\"id\":\"aa\"}");
	OK(); /* gone is gone */
	cr_expect_eq(registry_workload_count(registry), 1);
}

Test(api_ask, refuses_by_name_what_is_not_the_nodes)
{
	ask("n1", "POST", "/v1/workload", W("aa", "10.77.1.5"));
	OK();
	ask("n2", "POST", "/v1/workload", W("bb", "10.77.1.6"));
	REFUSED(403, "address");
	ask("n1", "POST", "/v1/workload", W("bb", "10.77.1.1"));
	REFUSED(403, "address");
	ask("n2", "POST", "/v1/workload", W("bb", "192.0.2.7"));
	REFUSED(403, "address");
	ask("n2", "POST", "/v1/workload", W("aa", "10.77.2.5"));
	REFUSED(403, "other-node");
	ask("n2", "POST", "/v1/workload",
	    "{\"id\":\"cc\",\"name\":\"w\",\"node\":\"n1\",\"addresses\":[\"10.77.2.5\"]}");
	REFUSED(403, "other-node");
	ask("n2", "POST", "/v1/workload-remove", "{\"id\":\"aa\"}");
	REFUSED(403, "other-node");
	ask("n1", "POST", "/v1/workload", W("bb", "10.80.0.1"));
	OK();
	ask("n2", "POST", "/v1/workload", W("cc", "10.80.0.1"));
	REFUSED(409, "address-taken");
	cr_expect_eq(registry_workload_count(registry), 2);
}

Test(api_ask, refuses_by_name_what_is_out_of_form)
{
	static const char *const bad[] = {
		"",         "[]",
		"{}",       "{\"id\":\"x\"}",
		"nonsense", "{\"id\":\"aa\",\"name\":\"w\",\"addresses\":[1]}"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ask("n1", "POST", "/v1/workload", bad[i]);
		cr_expect_eq(status, 400, "%s", bad[i]);
		ask("n1", "POST", "/v1/workload-remove", i < 5 ? bad[i] : "{\"id\":7}");
		REFUSED(400, "bad-request");
	}
	ask("n1", "GET", "/v1/workload", NULL);
	REFUSED(405, "method");
	ask("n1", "POST", "/v1/workloads", "{}");
	REFUSED(405, "method");
	ask("n1", "POST", "/v1/workload?x=1", W("aa", "10.77.1.5"));
	REFUSED(400, "bad-request");
	ask("n1", "GET", "/v1/workloads?after=NO", NULL);
	REFUSED(400, "bad-request");
	ask("n1", "GET", "/v1/policy?version=x", NULL);
	REFUSED(400, "bad-request");
	ask("n1", "GET", "/v1/policies", NULL);
	REFUSED(404, "not-found");
}

#define PLACED                                                                      \
	"version: 1\nplacement:\n  - name: web-in-pci\n    workloads: {app: web}\n" \
	"    only-on: {zone: pci}\n"

Test(api_ask, placement_refuses_by_the_rule_s_name_and_is_kept)
{
	struct registry_node n;
	json_t *r;

	policy(PLACED);
	ask("n1", "POST", "/v1/workload", W("aa", "10.77.1.5"));
	REFUSED(403, "placement");
	cr_expect_str_eq(text_of(body, "rule"), "web-in-pci");
	ask("n2", "GET", "/v1/refused", NULL);
	OK();
	r = json_array_get(json_object_get(body, "refused"), 0);
	cr_expect_str_eq(text_of(r, "id"), "aa");
	cr_expect_str_eq(text_of(r, "node"), "n1");
	cr_expect_str_eq(text_of(r, "rule"), "web-in-pci");
	cr_expect_str_eq(text_of(r, "at"), "2027-01-15T08:00:00Z");
	cr_assert_eq(registry_node_get(registry, "n1", &n), 0);
	cr_assert_eq(cert_labels_add(&n.labels, "zone=pci"), 0);
	cr_assert_eq(registry_node_put(registry, &n), 0);
	ask("n1", "POST", "/v1/workload", W("aa", "10.77.1.5"));
	OK();
}

Test(api_ask, without_a_policy_that_can_be_read_nothing_is_taken)
{
	policy("version: 1\n");
	api_policy(api, NULL);
	ask("n1", "POST", "/v1/workload", W("aa", "10.77.1.5"));
	REFUSED(503, "policy");
}

Test(api_ask, a_drained_node_keeps_what_it_has)
{
	ask("n1", "POST", "/v1/workload", W("aa", "10.77.1.5"));
	OK();
	cr_assert_eq(registry_node_drain(registry, "n1", true), 0);
	ask("n1", "POST", "/v1/workload", W("bb", "10.77.1.6"));
	REFUSED(403, "placement");
	cr_expect_str_eq(text_of(body, "rule"), WORKLOAD_RULE_DRAINED);
	ask("n1", "POST", "/v1/workload", W("aa", "10.77.1.7"));
	OK();
	cr_assert_eq(registry_node_drain(registry, "n1", false), 0);
	ask("n1", "POST", "/v1/workload", W("bb", "10.77.1.6"));
	OK();
}

Test(api_ask, a_node_tells_of_what_it_refused_itself)
{
	ask("n1", "POST", "/v1/refuse", "{\"workload\":" W("aa", "10.77.1.5") ",\"rule\":\"r1\"}");
	OK();
	ask("n1", "POST", "/v1/refuse",
	    "{\"workload\":{\"id\":\"aa\",\"name\":\"w\",\"node\":\"n2\",\"addresses\":"
	    "[\"10.77.1.5\"]},\"rule\":\"r1\"}");
	REFUSED(403, "other-node");
	ask("n1", "POST", "/v1/refuse", "{\"workload\":" W("aa", "10.77.1.5") "}");
	REFUSED(400, "bad-request");
	ask("n1", "POST", "/v1/refuse", "{\"rule\":\"r1\"}");
	REFUSED(400, "workload");
	ask("n1", "GET", "/v1/refused", NULL);
	cr_expect_eq(json_array_size(json_object_get(body, "refused")), 1u);
}

Test(api_ask, a_node_may_change_so_often_and_no_more)
{
	char text[160];

	for (unsigned i = 0; i < API_WORKLOAD_BURST; i++) {
		snprintf(text, sizeof(text),
		         "{\"id\":\"aa\",\"name\":\"w\",\"addresses\":[\"10.77.1.%u\"]}",
		         5 + i % 2);
		ask("n1", "POST", "/v1/workload", text);
		cr_assert_eq(status, 200);
	}
	ask("n1", "POST", "/v1/workload", W("bb", "10.77.1.9"));
	REFUSED(429, "rate");
	ask("n2", "POST", "/v1/workload", W("bb", "10.77.2.9"));
	OK();
	now += API_WORKLOAD_EVERY;
	ask("n1", "POST", "/v1/workload", W("cc", "10.77.1.9"));
	OK();
	ask("n1", "POST", "/v1/workload", W("cc", "10.77.1.10"));
	REFUSED(429, "rate");
}

Test(api_ask, gives_the_policy_in_parts)
{
	size_t len = 2 * API_POLICY_PART + 100, at = 0;
	char *text = malloc(len + 1), path[64], *got = malloc(len + 1);

	ask("n1", "GET", "/v1/policy", NULL);
	REFUSED(404, "no-policy");
	strcpy(text, "version: 1\n#");
	memset(text + strlen(text), 'x', len - strlen(text));
	memcpy(text + API_POLICY_PART - 1, "\xc3\xa4", 2); /* across the first cut */
	text[len] = '\0';
	policy(text);
	while (at < len) {
		const json_t *part;

		snprintf(path, sizeof(path), "/v1/policy?version=1&offset=%zu", at);
		ask("n1", "GET", path, NULL);
		OK();
		part = json_object_get(body, "part");
		cr_assert(json_string_length(part) > 0 && at + json_string_length(part) <= len);
		memcpy(got + at, json_string_value(part), json_string_length(part));
		at += json_string_length(part);
		cr_expect_eq((size_t)json_integer_value(json_object_get(body, "size")), len);
	}
	cr_expect_eq(memcmp(text, got, len), 0);
	ask("n1", "GET", "/v1/policy?version=1&offset=99999999", NULL);
	REFUSED(400, "bad-request");
	ask("n1", "GET", "/v1/policy?version=2", NULL);
	REFUSED(409, "superseded");
	free(text);
	free(got);
}

Test(api_ask, says_who_has_yet_to_confirm)
{
	ask("n1", "POST", "/v1/confirm", "{\"policy\":1}");
	REFUSED(400, "bad-request"); /* there is none */
	policy("version: 1\n");
	ask("n1", "POST", "/v1/confirm", "{\"policy\":2}");
	REFUSED(400, "bad-request");
	ask("n1", "POST", "/v1/confirm", "{\"policy\":\"1\"}");
	REFUSED(400, "bad-request");
	ask("n1", "POST", "/v1/confirm", "{\"policy\":1}");
	OK();
	ask("n1", "GET", "/v1/confirmed", NULL);
	OK();
	cr_expect_eq(json_integer_value(json_object_get(body, "version")), 1);
	/* Nobody is connected here. */
	cr_expect_eq(json_array_size(json_object_get(body, "absent")), 2u);
	cr_expect_eq(json_array_size(json_object_get(body, "waiting")), 0u);
}
