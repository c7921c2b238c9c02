/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/cases.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static struct config_faults f;
static struct cases *cases;
static struct policy *p;

static void teardown(void)
{
	cases_free(cases);
	policy_free(p);
}

TestSuite(cases, .fini = teardown);

#define POLICY                                                                             \
	"version: 1\ndefault: deny\nrules:\n"                                              \
	"- {name: web, from: {app: web}, to: {app: db}, ports: 5432/tcp, action: allow}\n" \
	"- {name: pci, from: {node.zone: pci}, to: {app: db}, action: allow}\n"            \
	"- {name: n1, from: {node: n1}, to: {workload: w1}, action: allow}\n"

static void take(const char *text)
{
	cr_assert_eq(cases_parse(&cases, "t.yaml", text, strlen(text), &f), 0, "%s", f.text[0]);
	cr_assert_eq(policy_parse(&p, "t.yaml", POLICY, strlen(POLICY), &f), 0, "%s", f.text[0]);
	cr_assert_eq(cases_seal(cases, p), 0);
}

static void shows(uint32_t i, bool from, const char *want)
{
	char *text;
	size_t n;
	FILE *to = open_memstream(&text, &n);

	cases_print(cases, i, from, to);
	fclose(to);
	cr_expect_str_eq(text, want);
	free(text);
}

Test(cases, each_is_judged_by_what_it_expects)
{
	static const bool ok[] = {true, false, true, false, true, true, true, false};
	struct case_verdict v;

	take(POLICY
	     "cases:\n"
	     "- {from: {app: web}, to: {app: db}, port: 5432/tcp, expect: allow}\n"
	     "- {name: typo, from: {app: wbe}, to: {app: db}, port: 5432/tcp, expect: allow}\n"
	     "- {from: {app: web}, to: {app: db}, port: 5433/tcp, expect: deny}\n"
	     "- {from: {app: web}, to: {app: db}, port: 5430-5440/tcp, expect: deny}\n"
	     "- {from: {app: x, node.zone: pci}, to: {app: db}, expect: allow}\n"
	     "- {from: {node: n1, zone: pci}, to: {workload: w1}, port: icmp, expect: allow}\n"
	     "- {from: {}, to: {}, expect: deny}\n"
	     "- {from: {app: web}, to: {app: db}, expect: deny}\n");
	cr_assert_eq(cases_count(cases), 8);
	for (uint32_t i = 0; i < 8; i++) {
		cases_judge(cases, i, p, &v);
		cr_expect_eq(v.ok, ok[i], "case %u", i);
		cr_expect_eq(v.line, 8 + i);
		cr_expect_eq(v.column, 3);
	}
	cases_judge(cases, 1, p, &v);
	cr_expect_str_eq(v.name, "typo");
	cr_expect_eq(v.verdict.rule, POLICY_RULE_DEFAULT);
	cases_judge(cases, 3, p, &v);
	cr_expect_eq(v.ports.first, 5432, "the port that differs");
	cr_expect_str_eq(policy_rule_name(p, v.verdict.rule), "web");
	cases_judge(cases, 7, p, &v);
	cr_expect(!v.any && v.ports.proto == IPPROTO_TCP && v.ports.first == 5432);
	cases_judge(cases, 4, p, &v);
	cr_expect(v.any && v.name == NULL);
	cr_expect_null(cases_policy(cases));
	shows(4, true, "{app: x, node.zone: pci}");
	shows(5, true, "{node: n1, zone: pci}");
	shows(5, false, "{workload: w1}");
	shows(6, true, "{}");
}

/* Without a port, what is built in for nodes is the same for none. */
Test(cases, all_ports_of_a_node_are_not_one_answer)
{
	struct case_verdict v;

	take("policy: p.yaml\ncases:\n"
	     "- {from: {app: web}, to: {node: n1}, expect: deny}\n"
	     "- {from: {app: web}, to: {node: n1}, expect: allow}\n"
	     "- {from: {app: web}, to: {node: n1}, port: 22/tcp, expect: deny}\n"
	     "- {from: {app: web}, to: {node: n1}, port: 50-60/udp, expect: deny}\n");
	cr_expect_str_eq(cases_policy(cases), "p.yaml");
	cases_judge(cases, 0, p, &v);
	cr_expect(!v.ok && v.ports.proto == IPPROTO_ICMP);
	cases_judge(cases, 1, p, &v);
	cr_expect(!v.ok && v.ports.proto == 0);
	cases_judge(cases, 2, p, &v);
	cr_expect(v.ok);
	cr_expect_eq(v.verdict.rule, POLICY_RULE_NODE);
	cases_judge(cases, 3, p, &v);
	cr_expect(!v.ok && v.ports.first == 53);
}

#define FAULT(yaml, says)                                                                     \
	do {                                                                                  \
		cr_expect_eq(cases_parse(&cases, "t.yaml", yaml, strlen(yaml), &f), -EINVAL); \
		cr_expect_str_eq(f.text[0], says);                                            \
	} while (0)
#define CASE(rest) "policy: p\ncases:\n- {" rest "}\n"

Test(cases, every_fault_has_its_place_and_its_text)
{
	FAULT("", "t.yaml:1:1: is empty; write cases into it");
	FAULT("policy: p\n",
	      "t.yaml:1:1: cases: there is none; write them as {from, to, port, expect}");
	FAULT("cases: [{from: {}, to: {}, expect: deny}]\n",
	      "t.yaml:1:1: policy: is missing; name the file of the policy, or write the cases "
	      "into it");
	FAULT("policy: p\nversion: 1\ncases: [{from: {}, to: {}, expect: deny}]\n",
	      "t.yaml:1:9: policy: its own keys stand beside it; keep those, or this");
	FAULT("polcy: p\n", "t.yaml:1:1: polcy: unknown key; did you mean \"policy\"?");
	FAULT(CASE("from: {}, to: {}"),
	      "t.yaml:3:3: cases: \"expect\" is missing; a case needs it");
	FAULT(CASE("from: {}, expect: deny"),
	      "t.yaml:3:3: cases: \"to\" is missing; a case needs it");
	FAULT(CASE("from: {}, to: {}, expect: drop"),
	      "t.yaml:3:30: cases.expect: \"drop\" is not known; write allow or deny");
	FAULT(CASE("from: {}, to: {}, port: 80, expect: deny"),
	      "t.yaml:3:28: cases.port: \"80\" names no protocol; write it like 5432/tcp or "
	      "5432/udp");
	FAULT(CASE("from: {app: [a]}, to: {}, expect: deny"),
	      "t.yaml:3:16: cases.from.app: a single value is wanted here, no list and no mapping");
	FAULT(CASE("from: {app: a b}, to: {}, expect: deny"),
	      "t.yaml:3:11: cases.from.app: \"a b\" cannot be a label's value; use at most 63 "
	      "letters "
	      "and digits, and between them . _ -");
	FAULT(CASE("from: {app: a, app: b}, to: {}, expect: deny"),
	      "t.yaml:3:19: cases.from.app: given twice; keep one");
	FAULT(CASE("from: {node: a, workload: b}, to: {}, expect: deny"),
	      "t.yaml:3:20: cases.from: is given two names; keep node, or workload");
	FAULT(CASE("from: {node: A}, to: {}, expect: deny"),
	      "t.yaml:3:11: cases.from.node: \"A\" cannot be the name of one");
	FAULT(CASE("from: {node: a, node.b: c}, to: {}, expect: deny"),
	      "t.yaml:3:10: cases.from: is a node, whose labels are written without \"node.\"");
	FAULT(CASE("from: web, to: {}, expect: deny"),
	      "t.yaml:3:10: cases.from: a mapping is wanted here: lines of \"key: value\"");
}
