/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/census.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static struct peer self = {.name = "n1"}, other = {.name = "n2"};
static struct snapshot s;
static struct policy *document;
static struct rule_drops *drops;
static struct cert_labels web, db, pci;
static struct prefix own[2], others[1];
static struct census *c;

static void setup(void)
{
	s.open = true;
	cr_assert_eq(cert_labels_add(&web, "app=web"), 0);
	cr_assert_eq(cert_labels_add(&db, "app=db"), 0);
	cr_assert_eq(cert_labels_add(&pci, "zone=pci"), 0);
	cr_assert_eq(prefix_parse(&own[0], "10.77.1.0/24"), 0);
	cr_assert_eq(prefix_parse(&own[1], "fd77:0:0:1::/64"), 0);
	cr_assert_eq(prefix_parse(&others[0], "10.77.2.0/24"), 0);
}

static void teardown(void)
{
	census_free(c);
	policy_free(document);
	policy_free(s.policy);
	subjects_free(s.subjects);
	rule_drops_put(s.rule_drops);
	rule_drops_put(drops);
}

TestSuite(census, .init = setup, .fini = teardown);

static void begin(const char *text)
{
	static struct config_faults faults;

	if (text)
		cr_assert_eq(policy_parse(&document, "p", text, strlen(text), &faults), 0, "%s",
		             faults.text[0]);
	else
		cr_assert_eq(policy_new_default(&document), 0);
	cr_assert_eq(rule_drops_new(&drops, policy_rules(document)), 0);
	cr_assert_eq(census_new(&c, &s, document, 2, 2, 4), 0);
}

static const struct census_node n1 = {
	.name = "n1", .peer = &self, .labels = &web, .prefixes = own, .nprefixes = 2};

static struct census_node n2(const struct cert_labels *labels)
{
	return (struct census_node){"n2", &other, labels, others, 1};
}

static void workload(const char *name, const struct cert_labels *labels, const char *at,
                     const struct census_node *on)
{
	struct addr a;
	struct census_workload w = {name, name, labels, &a, 1};

	cr_assert_eq(addr_parse(&a, at), 0);
	cr_assert_eq(census_workload(c, &w, on), 0);
}

static const struct subject *who(const char *at)
{
	struct addr a;

	cr_assert_eq(addr_parse(&a, at), 0);
	return subjects_lookup(s.subjects, &a);
}

static enum policy_action judge(const char *src, const char *dst, uint16_t port)
{
	return policy_judge(s.policy, who(src) ? who(src)->class : 0,
	                    who(dst) ? who(dst)->class : 0, IPPROTO_TCP, port)
	        .action;
}

Test(census, nodes_alone_that_all_may_talk_leave_the_snapshot_open)
{
	begin(NULL);
	cr_assert_eq(census_node(c, &n1), 0);
	cr_assert_eq(census_end(c, drops), 0);
	cr_expect(s.open && !s.policy && !s.subjects);
}

Test(census, a_workload_closes_it_for_its_node_is_not_its_to_reach)
{
	begin(NULL);
	cr_assert_eq(census_node(c, &n1), 0);
	workload("web-1", &web, "10.77.1.5", &n1);
	cr_assert_eq(census_end(c, drops), 0);
	cr_assert_not(s.open);
	cr_expect_eq(judge("10.77.1.5", "10.77.1.1", 22), POLICY_DENY);
	cr_expect_eq(judge("10.77.1.5", "fd77:0:0:1::1", 22), POLICY_DENY);
	cr_expect_eq(judge("10.77.1.5", "10.77.1.1", 53), POLICY_ALLOW);
	cr_expect_eq(judge("10.77.1.1", "10.77.1.5", 22), POLICY_ALLOW);
}

Test(census, so_does_a_rule_and_so_does_another_default)
{
	begin("version: 1\ndefault: deny\n");
	cr_assert_eq(census_node(c, &n1), 0);
	cr_assert_eq(census_end(c, drops), 0);
	cr_assert_not(s.open);
	cr_expect_eq(judge("10.77.1.1", "10.77.9.9", 22), POLICY_DENY);
}

Test(census, labels_names_and_nodes_are_those_of_the_records)
{
	struct census_node far = n2(NULL);

	begin("version: 1\ndefault: deny\nrules:\n"
	      "  - {name: r, from: {app: web}, to: {app: db}, ports: [5432/tcp], action: allow}\n");
	cr_assert_eq(census_node(c, &n1), 0);
	cr_assert_eq(census_node(c, &far), 0);
	workload("web-1", &web, "10.77.1.5", &n1);
	workload("db-1", &db, "10.77.2.9", &far);
	cr_assert_eq(census_end(c, drops), 0);
	cr_expect_eq(judge("10.77.1.5", "10.77.2.9", 5432), POLICY_ALLOW);
	cr_expect_eq(judge("10.77.1.5", "10.77.2.9", 5433), POLICY_DENY);
	cr_expect_eq(judge("10.77.2.9", "10.77.1.5", 5432), POLICY_DENY);
	cr_expect_str_eq(who("10.77.2.9")->name, "db-1");
	cr_expect_eq(who("10.77.2.9")->where, &other);
	cr_expect_eq(who("10.77.1.1")->where, &self);
	cr_expect_null(who("10.77.1.6"));
}

Test(census, placement_refuses_a_workload_on_the_wrong_node)
{
	struct census_node far = n2(&pci);

	begin("version: 1\ndefault: allow\nplacement:\n"
	      "  - {workloads: {app: db}, only-on: {zone: pci}}\n");
	workload("db-1", &db, "10.77.1.9", &n1);
	workload("db-2", &db, "10.77.2.9", &far);
	cr_assert_eq(census_end(c, drops), 0);
	cr_expect(who("10.77.1.9")->refused);
	cr_expect_not(who("10.77.2.9")->refused);
}
