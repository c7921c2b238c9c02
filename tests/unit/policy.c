/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a document means: two subjects, a port, the verdict and the rule that gave it. Faults and
 * warnings stand in tests/golden/policy: NAME.yaml, and in NAME.txt what reading it says.
 * GOLDEN_WRITE=1 writes them anew; the diff is the review.
 */
#include "gateway/tables/policy.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GOLDEN    "tests/golden/policy"
#define SUBJECTS  64
#define TEXT_ROOM (24 << 20)

static struct config_faults f;
static struct policy *p;

/* -- subjects --------------------------------------------------------------------------------- */

/* "app=web node.zone=pci", a workload, "workload:w1 app=web", one with a name; "node:n1 zone=pci",
 * a node; "?", an address that nobody has.
 */
struct who {
	struct policy_subject subject;
	struct cert_labels labels, node_labels;
	char name[64];
};

static void who_is(struct who *w, const char *text)
{
	char copy[512], *save, *word;

	memset(w, 0, sizeof(*w));
	w->subject.kind = strcmp(text, "?") ? SUBJECT_WORKLOAD : SUBJECT_UNKNOWN;
	w->subject.labels = &w->labels;
	w->subject.node_labels = &w->node_labels;
	snprintf(copy, sizeof(copy), "%s", strcmp(text, "?") ? text : "");
	for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (strchr(word, ':')) {
			if (!strncmp(word, "node:", 5))
				w->subject.kind = SUBJECT_NODE;
			snprintf(w->name, sizeof(w->name), "%s", strchr(word, ':') + 1);
			w->subject.name = w->name;
		} else if (!strncmp(word, "node.", 5)) {
			cr_assert_eq(cert_labels_add(&w->node_labels, word + 5), 0, "%s", word);
		} else {
			cr_assert_eq(cert_labels_add(&w->labels, word), 0, "%s", word);
		}
	}
}

static void port_is(const char *text, uint8_t *proto, uint16_t *port)
{
	static const struct {
		const char *name;
		uint8_t number;
	} names[] = {{"tcp", 6},    {"udp", 17}, {"sctp", 132}, {"icmp", 1},
	             {"icmp6", 58}, {"gre", 47}, {"esp", 50}};
	const char *slash = strchr(text, '/');

	*port = (uint16_t)(slash ? atoi(text) : 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(names[i].name, slash ? slash + 1 : text))
			*proto = names[i].number;
}

static int parse(const char *text)
{
	policy_free(p);
	p = NULL;
	return policy_parse(&p, "policy.yaml", text, strlen(text), &f);
}

static void take(const char *text)
{
	cr_assert_eq(parse(text), 0, "%s", f.text[0]);
}

/* Both ways to a verdict, by class and rule by rule. A policy that is sealed takes no classes more,
 * so that each question is asked of a copy.
 */
static struct policy_verdict ask(const char *src, const char *dst, const char *ports)
{
	static struct who s, t;
	struct policy_verdict v, slow;
	struct policy *once;
	uint32_t a, b;
	uint8_t proto = 0;
	uint16_t port;

	who_is(&s, src);
	who_is(&t, dst);
	port_is(ports, &proto, &port);
	cr_assert_eq(policy_copy(&once, p), 0);
	a = policy_class(once, &s.subject);
	b = policy_class(once, &t.subject);
	cr_assert_eq(policy_seal(once), 0);
	v = policy_judge(once, a, b, proto, port);
	slow = policy_walk(once, &s.subject, &t.subject, proto, port);
	cr_expect(v.action == slow.action && v.rule == slow.rule,
	          "%s to %s %s: by class %u, by walk %u", src, dst, ports, v.rule, slow.rule);
	policy_free(once);
	return v;
}

#define SAYS(src, dst, ports, what, by)                                                            \
	do {                                                                                       \
		struct policy_verdict v = ask(src, dst, ports);                                    \
		cr_expect_eq(v.action, what, "%s to %s %s", src, dst, ports);                      \
		cr_expect_str_eq(policy_rule_name(p, v.rule), by, "%s to %s %s", src, dst, ports); \
	} while (0)
#define ALLOWS(src, dst, ports, by) SAYS(src, dst, ports, POLICY_ALLOW, by)
#define DENIES(src, dst, ports, by) SAYS(src, dst, ports, POLICY_DENY, by)

static void teardown(void)
{
	policy_free(p);
	p = NULL;
}

TestSuite(policy, .fini = teardown);

/* -- what a document means -------------------------------------------------------------------- */

#define EXAMPLE                                                          \
	"version: 1\n"                                                   \
	"default: allow\n"                                               \
	"placement:\n"                                                   \
	"  - workloads: {app: payments}\n"                               \
	"    only-on:   {zone: pci}\n"                                   \
	"rules:\n"                                                       \
	"  - name: web-to-db\n"                                          \
	"    from: {app: web}\n"                                         \
	"    to: {app: db}\n"                                            \
	"    ports: [5432/tcp]\n"                                        \
	"    action: allow\n"                                            \
	"  - {name: db-closed, from: {}, to: {app: db}, action: deny}\n" \
	"outside: []\n"                                                  \
	"compress:\n"                                                    \
	"  - {within: {app: logs}}\n"

Test(policy, the_first_rule_that_matches_wins)
{
	take(EXAMPLE);
	cr_expect_eq(policy_rules(p), 2);
	ALLOWS("app=web", "app=db", "5432/tcp", "web-to-db");
	DENIES("app=web", "app=db", "5433/tcp", "db-closed");
	DENIES("app=web", "app=db", "5432/udp", "db-closed");
	DENIES("app=web", "app=db", "icmp", "db-closed");
	DENIES("app=web", "app=db", "gre", "db-closed");
	DENIES("app=api", "app=db", "5432/tcp", "db-closed");
	DENIES("app=db", "app=db", "5432/tcp", "db-closed");
	DENIES("?", "app=db", "5432/tcp", "db-closed");
	DENIES("node:n1", "app=db", "5432/tcp", "db-closed");
	ALLOWS("app=db", "app=web", "80/tcp", "default");
	ALLOWS("app=web", "app=api", "80/tcp", "default");
	ALLOWS("?", "?", "80/tcp", "default");
	ALLOWS("app=web tier=front", "app=db tier=back", "5432/tcp", "web-to-db");
}

Test(policy, without_a_document_all_may_talk_but_to_nodes)
{
	cr_assert_eq(policy_new_default(&p), 0);
	ALLOWS("app=web", "app=db", "5432/tcp", "default");
	ALLOWS("?", "app=db", "5432/tcp", "default");
	ALLOWS("node:n1", "node:n2", "22/tcp", "default");
	ALLOWS("node:n1", "app=db", "22/tcp", "default");
	DENIES("app=web", "node:n1", "22/tcp", "container-to-node");
	cr_expect_eq(policy_rules(p), 0);
	cr_expect_null(policy_placement(p, NULL, NULL));
	cr_expect_not(policy_compress(p, 0, 0));
}

Test(policy, from_a_container_to_a_node_only_icmp_and_dns_pass)
{
	take("version: 1\ndefault: deny\nrules:\n"
	     "- {name: metrics, from: {app: prom}, to: {node: '*'}, ports: 9100/tcp, action: "
	     "allow}\n"
	     "- {name: quiet, from: {app: mute}, to: {node: n1}, ports: [icmp, 53/udp], action: "
	     "deny}\n");
	ALLOWS("app=web", "node:n1", "icmp", "container-to-node");
	ALLOWS("app=web", "node:n1", "icmp6", "container-to-node");
	ALLOWS("app=web", "node:n1", "53/udp", "container-to-node");
	ALLOWS("app=web", "node:n1", "53/tcp", "container-to-node");
	DENIES("app=web", "node:n1", "53/sctp", "container-to-node");
	DENIES("app=web", "node:n1", "54/udp", "container-to-node");
	DENIES("app=web", "node:n1", "22/tcp", "container-to-node");
	DENIES("app=web", "node:n1", "gre", "container-to-node");
	DENIES("?", "node:n1", "22/tcp", "container-to-node");
	ALLOWS("?", "node:n1", "icmp", "container-to-node");
	ALLOWS("app=prom", "node:n1", "9100/tcp", "metrics");
	DENIES("app=prom", "app=web", "9100/tcp", "default");
	DENIES("app=mute", "node:n1", "icmp", "quiet");
	DENIES("app=mute", "node:n1", "53/udp", "quiet");
	ALLOWS("app=mute", "node:n1", "53/tcp", "container-to-node");
	ALLOWS("app=mute", "node:n2", "icmp", "container-to-node");
	DENIES("node:n1", "node:n2", "icmp", "default");
	DENIES("node:n1", "app=web", "icmp", "default");
}

Test(policy, all_keys_must_match_and_any_value_of_one)
{
	take("version: 1\ndefault: deny\nrules:\n"
	     "- {name: both, from: {app: web, env: prod}, to: {app: [db, cache]}, action: allow}\n"
	     "- {name: lists, from: {app: [a, b], env: [x, y]}, to: {app: [c, d]}, action: "
	     "allow}\n");
	ALLOWS("app=web env=prod", "app=db", "1/tcp", "both");
	ALLOWS("app=web env=prod", "app=cache", "1/tcp", "both");
	ALLOWS("app=web env=prod zone=x", "app=cache", "1/tcp", "both");
	DENIES("app=web env=prod", "app=queue", "1/tcp", "default");
	DENIES("app=web", "app=db", "1/tcp", "default");
	DENIES("env=prod", "app=db", "1/tcp", "default");
	DENIES("app=web env=dev", "app=db", "1/tcp", "default");
	DENIES("app=webb env=prod", "app=db", "1/tcp", "default");
	DENIES("app=WEB env=prod", "app=db", "1/tcp", "default");
	ALLOWS("app=a env=x", "app=c", "1/tcp", "lists");
	ALLOWS("app=b env=y", "app=d", "1/tcp", "lists");
	DENIES("app=a env=z", "app=d", "1/tcp", "default");
	DENIES("app=a env=x", "app=a", "1/tcp", "default");
}

Test(policy, a_node_s_labels_are_asked_for_with_node)
{
	take("version: 1\ndefault: deny\nrules:\n"
	     "- {name: own, from: {zone: pci}, to: {app: db}, action: allow}\n"
	     "- {name: hosts, from: {node.zone: pci}, to: {app: db}, action: allow}\n"
	     "- {name: mixed, from: {app: web, node.rack: [r1, r2]}, to: {}, ports: icmp, action: "
	     "allow}\n");
	ALLOWS("zone=pci", "app=db", "1/tcp", "own");
	ALLOWS("node:n1 zone=pci", "app=db", "1/tcp", "own");
	ALLOWS("app=web node.zone=pci", "app=db", "1/tcp", "hosts");
	DENIES("app=web node.zone=dmz", "app=db", "1/tcp", "default");
	DENIES("node:n1 zone=dmz", "app=db", "1/tcp", "default");
	ALLOWS("app=web node.rack=r2", "app=web", "icmp", "mixed");
	DENIES("app=web node.rack=r3", "app=web", "icmp", "default");
	DENIES("app=web rack=r2", "app=web", "icmp", "default");
}

/* A workload may call its labels as it likes; Docker's may hold dots. */
Test(policy, no_label_passes_for_a_node_s_or_for_a_name)
{
	static struct who w, db;
	struct policy_verdict v;

	take("version: 1\ndefault: deny\nrules:\n"
	     "- {name: hosts, from: {node.zone: pci}, to: {}, action: allow}\n"
	     "- {name: n1, from: {node: n1}, to: {}, action: allow}\n"
	     "- {name: nodes, from: {node: \"*\"}, to: {}, action: allow}\n"
	     "- {name: w1, from: {workload: w1}, to: {}, action: allow}\n");
	who_is(&w, "app=web");
	who_is(&db, "app=db");
	cr_assert_eq(cert_labels_add(&w.labels, "node.zone=pci"), 0);
	cr_assert_eq(cert_labels_add(&w.labels, "node=n1"), 0);
	cr_assert_eq(cert_labels_add(&w.labels, "workload=w1"), 0);
	v = policy_walk(p, &w.subject, &db.subject, IPPROTO_TCP, 1);
	cr_expect_eq(v.rule, POLICY_RULE_DEFAULT);
	cr_expect_eq(policy_class(p, &w.subject), 0, "it matches no more than {}");
	w.subject.kind = SUBJECT_NODE;
	w.subject.name = "n2";
	v = policy_walk(p, &w.subject, &db.subject, IPPROTO_TCP, 1);
	cr_expect_str_eq(policy_rule_name(p, v.rule), "nodes");
	w.node_labels = w.labels;
	cr_assert_eq(cert_labels_add(&w.node_labels, "zone=pci"), 0);
	v = policy_walk(p, &w.subject, &db.subject, IPPROTO_TCP, 1);
	cr_expect_str_eq(policy_rule_name(p, v.rule), "nodes", "a node runs on no node");
}

Test(policy, names_are_of_nodes_or_of_workloads)
{
	take("version: 1\ndefault: deny\nrules:\n"
	     "- {name: n1, from: {node: n1}, to: {node: [n2, n3]}, action: allow}\n"
	     "- {name: w1, from: {workload: n1}, to: {workload: \"*\"}, action: allow}\n"
	     "- {name: labelled, from: {node: \"*\", zone: a}, to: {workload: [w1, w2]}, action: "
	     "allow}\n");
	ALLOWS("node:n1", "node:n2", "22/tcp", "n1");
	ALLOWS("node:n1", "node:n3", "22/tcp", "n1");
	DENIES("node:n1", "node:n4", "22/tcp", "default");
	DENIES("node:n2", "node:n1", "22/tcp", "default");
	ALLOWS("workload:n1", "workload:x", "22/tcp", "w1");
	ALLOWS("workload:n1", "app=web", "22/tcp", "w1");
	DENIES("workload:n1", "node:x", "22/tcp", "container-to-node");
	DENIES("workload:n1", "?", "22/tcp", "default");
	DENIES("workload:x", "workload:n1", "22/tcp", "default");
	ALLOWS("node:n9 zone=a", "workload:w2", "22/tcp", "labelled");
	DENIES("node:n9 zone=b", "workload:w2", "22/tcp", "default");
	DENIES("zone=a", "workload:w2", "22/tcp", "default");
	DENIES("node:n9 zone=a", "workload:w3", "22/tcp", "default");
}

Test(policy, an_unknown_address_matches_all_alone)
{
	static struct who w;

	take("version: 1\ndefault: deny\nrules:\n"
	     "- {name: workloads, from: {workload: \"*\"}, to: {}, ports: 1/tcp, action: allow}\n"
	     "- {name: all, from: {}, to: {}, ports: 2/tcp, action: allow}\n"
	     "- {name: app, from: {app: web}, to: {}, ports: 3/tcp, action: allow}\n");
	DENIES("?", "app=web", "1/tcp", "default");
	ALLOWS("?", "app=web", "2/tcp", "all");
	DENIES("?", "app=web", "3/tcp", "default");
	ALLOWS("app=web", "?", "1/tcp", "workloads");
	ALLOWS("app=web", "?", "3/tcp", "app");
	who_is(&w, "?");
	cr_assert_eq(cert_labels_add(&w.labels, "app=web"), 0);
	cr_expect_eq(policy_class(p, &w.subject), 0, "whatever is said of it");
}

Test(policy, ports_are_words_ranges_and_protocols)
{
	take("version: 1\ndefault: deny\nrules:\n"
	     "- {name: range, from: {}, to: {a: r}, ports: [8000-8100/udp, 80/tcp], action: "
	     "allow}\n"
	     "- {name: tcp, from: {}, to: {a: t}, ports: tcp, action: allow}\n"
	     "- {name: icmp, from: {}, to: {a: i}, ports: [icmp], action: allow}\n"
	     "- {name: sctp, from: {}, to: {a: s}, ports: [1-65535/sctp], action: allow}\n"
	     "- {name: any, from: {}, to: {a: x}, action: allow}\n");
	DENIES("?", "a=r", "7999/udp", "default");
	ALLOWS("?", "a=r", "8000/udp", "range");
	ALLOWS("?", "a=r", "8100/udp", "range");
	DENIES("?", "a=r", "8101/udp", "default");
	DENIES("?", "a=r", "8000/tcp", "default");
	ALLOWS("?", "a=r", "80/tcp", "range");
	ALLOWS("?", "a=t", "0/tcp", "tcp");
	ALLOWS("?", "a=t", "65535/tcp", "tcp");
	DENIES("?", "a=t", "0/udp", "default");
	DENIES("?", "a=t", "icmp", "default");
	ALLOWS("?", "a=i", "icmp", "icmp");
	ALLOWS("?", "a=i", "icmp6", "icmp");
	DENIES("?", "a=i", "gre", "default");
	DENIES("?", "a=i", "0/tcp", "default");
	ALLOWS("?", "a=s", "65535/sctp", "sctp");
	DENIES("?", "a=s", "0/sctp", "default");
	DENIES("?", "a=s", "1/udp", "default");
	ALLOWS("?", "a=x", "gre", "any");
	ALLOWS("?", "a=x", "esp", "any");
	ALLOWS("?", "a=x", "65535/sctp", "any");
	ALLOWS("?", "a=x", "icmp6", "any");
}

Test(policy, a_rule_in_front_holds_where_it_is_narrower_too)
{
	take("version: 1\ndefault: allow\nrules:\n"
	     "- {name: one, from: {}, to: {app: db}, ports: 5432/tcp, action: allow}\n"
	     "- {name: two, from: {app: web}, to: {}, ports: 5000-6000/tcp, action: deny}\n"
	     "- {name: three, from: {app: web}, to: {app: db}, action: allow}\n"
	     "- {name: four, from: {}, to: {}, action: deny}\n");
	ALLOWS("app=web", "app=db", "5432/tcp", "one");
	DENIES("app=web", "app=db", "5431/tcp", "two");
	DENIES("app=web", "app=db", "5433/tcp", "two");
	ALLOWS("app=web", "app=db", "4999/tcp", "three");
	ALLOWS("app=web", "app=db", "icmp", "three");
	DENIES("app=api", "app=db", "4999/tcp", "four");
	DENIES("app=api", "node:n1", "53/udp", "four");
}

/* by: the rule that refuses, NULL if it may run. */
static void place(const char *workload, const char *node, const char *by)
{
	static struct who w, n;
	const char *why;

	who_is(&w, workload);
	who_is(&n, node);
	why = policy_placement(p, &w.labels, &n.labels);
	cr_expect_str_eq(why ? why : "may", by ? by : "may", "%s on %s", workload, node);
}

Test(policy, placement_says_which_rule_refuses)
{
	take("version: 1\ndefault: allow\nplacement:\n"
	     "- {name: pci-only, workloads: {app: payments}, only-on: {zone: pci}}\n"
	     "- {workloads: {app: [payments, web]}, never-on: {edge: [yes, maybe]}}\n"
	     "- {name: gpu, workloads: {}, only-on: {hw: [gpu, cpu]}, never-on: {hw: gpu, old: "
	     "x}}\n");
	place("app=payments", "node:n zone=pci hw=cpu", NULL);
	place("app=payments", "node:n zone=dmz hw=cpu", "pci-only");
	place("app=payments", "node:n", "pci-only");
	place("app=payments", "node:n zone=pci edge=yes hw=cpu", "placement-2");
	place("app=web", "node:n edge=maybe hw=cpu", "placement-2");
	place("app=web", "node:n edge=no hw=cpu", NULL);
	place("app=db", "node:n edge=yes hw=cpu", NULL);
	place("app=db", "node:n", "gpu");
	place("app=db", "node:n hw=gpu", NULL);
	place("app=db", "node:n hw=gpu old=x", "gpu");
	place("app=db zone=pci", "node:n hw=tpu", "gpu");
	cr_expect_str_eq(policy_placement(p, NULL, NULL), "gpu", "no labels are none");
}

Test(policy, outside_is_kept_for_who_enforces_it)
{
	static struct who w;
	struct policy_outside o;

	take("version: 1\ndefault: allow\noutside:\n"
	     "- {name: mail, from: {app: mx}, cidr: [10.1.0.0/16, 'fd00:1::/48'], ports: [25/tcp, "
	     "icmp], action: allow}\n"
	     "- {name: shut, from: {node.zone: pci}, cidr: 0.0.0.0/0, action: deny}\n");
	cr_assert_eq(policy_outsides(p), 2);
	policy_outside(p, 0, &o);
	cr_expect_str_eq(o.name, "mail");
	cr_expect_eq(o.action, POLICY_ALLOW);
	cr_assert_eq(o.ncidrs, 2);
	cr_expect_eq(o.cidrs[0].len, 16);
	cr_expect_eq(o.cidrs[1].addr.family, 6);
	cr_assert_eq(o.nports, 2);
	cr_expect_eq(o.ports[0].proto, IPPROTO_TCP);
	cr_expect_eq(o.ports[0].first, 25);
	cr_expect_eq(o.ports[0].last, 25);
	cr_expect_eq(o.ports[1].proto, IPPROTO_ICMP);
	policy_outside(p, 1, &o);
	cr_expect_str_eq(o.name, "shut");
	cr_expect_eq(o.action, POLICY_DENY);
	cr_expect_eq(o.nports, 0);
	cr_expect_eq(o.cidrs[0].len, 0);
	who_is(&w, "app=mx node.zone=dmz");
	cr_expect(policy_outside_from(p, 0, &w.subject));
	cr_expect_not(policy_outside_from(p, 1, &w.subject));
	who_is(&w, "app=web node.zone=pci");
	cr_expect_not(policy_outside_from(p, 0, &w.subject));
	cr_expect(policy_outside_from(p, 1, &w.subject));
}

Test(policy, compress_is_for_the_named_ones_alone)
{
	static const char *const texts[] = {"app=logs", "app=logs env=x", "app=web", "app=api",
	                                    "?"};
	static const bool may[5][5] = {{1, 1, 0, 0, 0}, {1, 1, 0, 0, 0}, {0, 0, 0, 1, 0}};
	static struct who w;
	uint32_t class[5];

	take("version: 1\ndefault: allow\ncompress:\n- {within: {app: logs}}\n"
	     "- {from: {app: web}, to: {app: api}}\n");
	for (int i = 0; i < 5; i++) {
		who_is(&w, texts[i]);
		class[i] = policy_class(p, &w.subject);
	}
	cr_assert_eq(policy_seal(p), 0);
	for (int i = 0; i < 5; i++)
		for (int k = 0; k < 5; k++)
			cr_expect_eq(policy_compress(p, class[i], class[k]), may[i][k], "%s %s",
			             texts[i], texts[k]);
}

/* -- classes ---------------------------------------------------------------------------------- */

Test(policy, who_is_treated_alike_shares_a_class)
{
	static struct who w;
	uint32_t web, db;
	char text[64];

	take(EXAMPLE);
	who_is(&w, "?");
	cr_expect_eq(policy_class(p, &w.subject), 0);
	who_is(&w, "colour=red");
	cr_expect_eq(policy_class(p, &w.subject), 0, "no selector asks for it");
	who_is(&w, "app=web");
	web = policy_class(p, &w.subject);
	who_is(&w, "app=db");
	db = policy_class(p, &w.subject);
	cr_expect(web && db && web != db);
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "app=%s n=%d", i % 2 ? "web" : "db", i);
		who_is(&w, text);
		cr_expect_eq(policy_class(p, &w.subject), i % 2 ? web : db);
	}
	who_is(&w, "node:n1");
	cr_expect_neq(policy_class(p, &w.subject), 0, "a node is asked for by what is built in");
	cr_expect_eq(policy_classes(p), 4);
	cr_assert_eq(policy_seal(p), 0);
	cr_expect_eq(policy_judge(p, 4711, db, 6, 5432).action, POLICY_DENY, "none counts as 0");
}

Test(policy, a_copy_has_the_document_but_not_the_classes)
{
	static struct who w;
	struct policy *copy;
	uint32_t web, db;

	take(EXAMPLE);
	who_is(&w, "app=web");
	web = policy_class(p, &w.subject);
	cr_assert_eq(policy_seal(p), 0);
	cr_assert_eq(policy_copy(&copy, p), 0);
	policy_free(p);
	p = copy;
	cr_expect_eq(policy_classes(p), 1);
	who_is(&w, "app=db");
	db = policy_class(p, &w.subject);
	who_is(&w, "app=web");
	web = policy_class(p, &w.subject);
	cr_assert_eq(policy_seal(p), 0);
	cr_expect_str_eq(policy_rule_name(p, policy_judge(p, web, db, 6, 5432).rule), "web-to-db");
	policy_free(NULL);
}

/* -- golden ----------------------------------------------------------------------------------- */

static char *slurp(const char *path, size_t *len)
{
	FILE *in = fopen(path, "r");
	char *text;

	*len = 0;
	if (!in)
		return strdup("");
	text = calloc(1, 1 << 20);
	*len = fread(text, 1, (1 << 20) - 1, in);
	fclose(in);
	return text;
}

/* The text goes to a block of its own size, so that a sanitizer sees a byte too far. */
static char *judge(const char *file, const char *text, size_t len)
{
	char *out = NULL, *tight = malloc(len + !len);
	size_t n;
	FILE *to = open_memstream(&out, &n);
	int err;

	memcpy(tight, text, len);
	policy_free(p);
	p = NULL;
	err = policy_parse(&p, file, tight, len, &f);
	config_faults_print(&f, to);
	cr_expect(err == 0 || err == -EINVAL);
	cr_expect_eq(err != 0, f.n > f.warnings);
	cr_expect_eq(err == 0, p != NULL);
	if (!err)
		fprintf(to, "%u rules, %u for outside\n", policy_rules(p), policy_outsides(p));
	fclose(to);
	free(tight);
	return out;
}

static void golden(const char *file)
{
	char path[512], *text, *want, *got;
	size_t len, n;
	FILE *to;

	snprintf(path, sizeof(path), "%s/%s", GOLDEN, file);
	text = slurp(path, &len);
	got = judge(file, text, len);
	strcpy(path + strlen(path) - strlen("yaml"), "txt");
	if (getenv("GOLDEN_WRITE")) {
		to = fopen(path, "w");
		cr_assert_not_null(to);
		fputs(got, to);
		fclose(to);
	}
	want = slurp(path, &n);
	cr_expect_str_eq(got, want, "%s", file);
	free(text);
	free(want);
	free(got);
}

Test(policy, every_golden_file_gives_what_stands_beside_it)
{
	DIR *d = opendir(GOLDEN);
	struct dirent *e;
	unsigned n = 0;

	cr_assert_not_null(d, "run from the top of the tree");
	while ((e = readdir(d)) != NULL) {
		size_t len = strlen(e->d_name);

		if (len < 5 || strcmp(e->d_name + len - 5, ".yaml"))
			continue;
		golden(e->d_name);
		n++;
	}
	closedir(d);
	cr_expect_geq(n, 25);
}

Test(policy, a_file_cut_at_every_length_is_read_without_harm)
{
	size_t len;
	char *text = slurp(GOLDEN "/full.yaml", &len);

	cr_assert_gt(len, 100);
	for (size_t cut = 0; cut <= len; cut++)
		free(judge("cut.yaml", text, cut));
	free(text);
}

Test(policy, a_file_with_any_bit_flipped_is_read_without_harm)
{
	size_t len;
	char *text = slurp(GOLDEN "/full.yaml", &len);

	for (size_t bit = 0; bit < 8 * len; bit++) {
		text[bit / 8] ^= (char)(1 << bit % 8);
		free(judge("flipped.yaml", text, len));
		text[bit / 8] ^= (char)(1 << bit % 8);
	}
	free(text);
}

/* -- bounds ----------------------------------------------------------------------------------- */

static char *text_of(size_t *room)
{
	*room = TEXT_ROOM;
	return calloc(1, TEXT_ROOM);
}

#define ADD(...) (len += (size_t)snprintf(text + len, room - len, __VA_ARGS__))
#define HEAD     "version: 1\ndefault: deny\nrules:\n"

Test(policy, a_hundred_thousand_rules_are_taken)
{
	static struct who w;
	size_t room, len = 0;
	char *text = text_of(&room), who[32];
	uint32_t from, to;

	ADD(HEAD);
	for (int i = 0; i < 100000; i++)
		ADD("- {name: r%d, from: {app: a%d, node.zone: z}, to: {app: b%d}, ports: [%d/tcp, "
		    "icmp], action: allow}\n",
		    i, i, i % 1000, 1 + i % 65535);
	cr_assert_eq(policy_parse(&p, "p.yaml", text, len, &f), 0, "%s", f.text[0]);
	free(text);
	cr_expect_eq(policy_rules(p), 100000);
	cr_expect_eq(f.n, 0, "%s", f.text[0]);
	snprintf(who, sizeof(who), "app=a%d node.zone=z", 99999);
	who_is(&w, who);
	from = policy_class(p, &w.subject);
	who_is(&w, "app=b999");
	to = policy_class(p, &w.subject);
	cr_assert_eq(policy_seal(p), 0);
	cr_expect_eq(policy_judge(p, from, to, 6, 1 + 99999 % 65535).rule, 99999);
	cr_expect_eq(policy_judge(p, from, to, 6, 2).rule, POLICY_RULE_DEFAULT);
}

Test(policy, more_rules_than_there_may_be_are_refused)
{
	size_t room, len = 0;
	char *text = text_of(&room);

	ADD(HEAD);
	for (unsigned i = 0; i <= POLICY_RULES_MAX; i++)
		ADD("- {name: r%u, from: {}, to: {}, ports: %u/udp, action: deny}\n", i,
		    1 + i % 65535);
	cr_expect_eq(policy_parse(&p, "p.yaml", text, len, &f), -EINVAL);
	cr_expect_eq(f.n, 1);
	cr_expect_str_eq(f.text[0], "p.yaml:131076:3: rules: more than 131072; leave some out");
	cr_expect_eq(policy_parse(&p, "p.yaml", text, POLICY_BYTES_MAX + 1, &f), -EINVAL);
	cr_expect_str_eq(f.text[0], "p.yaml:1:1: is larger than 16 MiB; no policy is");
	free(text);
}

Test(policy, what_would_grow_beyond_measure_is_refused)
{
	size_t room, len = 0;
	char *text = text_of(&room);

	ADD("version: 1\ndefault: deny\nrules:\n"
	    "- {name: good, from: {}, to: {}, ports: icmp, action: allow}\n"
	    "- name: big\n  from:\n");
	for (int k = 0; k < 16; k++) {
		ADD("    k%d: [", k);
		for (int i = 0; i < 256; i++)
			ADD("v%d,", i);
		ADD("]\n");
	}
	ADD("  to: {}\n  action: allow\n");
	cr_expect_eq(policy_parse(&p, "p.yaml", text, len, &f), -EINVAL);
	cr_expect_eq(f.n, 1);
	cr_expect_str_eq(
		f.text[0],
		"p.yaml:5:3: rules: with \"big\" the lists of values and ports make more "
		"than 1048576 combinations; give what belongs together a label of its own");
	len = 0;
	ADD(HEAD);
	for (int i = 0; i < 65; i++)
		ADD("- {name: r%d, from: {k%d: v}, to: {app: x}, action: allow}\n", i, i);
	cr_expect_eq(policy_parse(&p, "p.yaml", text, len, &f), -EINVAL);
	cr_expect_str_eq(f.text[0],
	                 "p.yaml:67:3: rules: with \"r63\" selectors ask for more than 64 "
	                 "different sets of keys; use the same keys in more of them");
	free(text);
}

/* Every rule lies over every other, and the last behind them all. */
Test(policy, rules_that_all_overlap_end_in_time)
{
	size_t room, len = 0;
	char *text = text_of(&room);
	clock_t start = clock();

	ADD(HEAD);
	for (int i = 0; i < 60000; i++)
		ADD("- {name: a%d, from: {}, to: {}, ports: %d/tcp, action: allow}\n", i, i + 1);
	for (int i = 0; i < 40000; i++)
		ADD("- {name: b%d, from: {app: a%d}, to: {}, ports: 1-60000/tcp, action: allow}\n",
		    i, i);
	cr_assert_eq(policy_parse(&p, "p.yaml", text, len, &f), 0, "%s", f.text[0]);
	free(text);
	cr_expect_lt((double)(clock() - start) / CLOCKS_PER_SEC, 60.0);
	cr_expect_gt(f.warnings, 0);
	cr_expect_eq(policy_judge(p, 0, 0, 6, 60000).rule, 59999);
}

Test(policy, a_bomb_is_refused_at_once)
{
	size_t room, len = 0;
	char *text = text_of(&room);

	ADD("version: 1\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
	    "c: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n");
	cr_expect_eq(policy_parse(&p, "p.yaml", text, len, &f), -EINVAL);
	cr_expect(strstr(f.text[1], "p.yaml:2:1: a: unknown key"));
	cr_expect(strstr(f.text[0], "p.yaml:2:4: anchors (&name) are not read"), "%s", f.text[0]);
	len = 0;
	ADD("version: 1\nrules: ");
	memset(text + len, '[', 4 << 20);
	len += 4 << 20;
	cr_expect_eq(policy_parse(&p, "p.yaml", text, len, &f), -EINVAL);
	memset(text, 0, room);
	len = 0;
	ADD("version: 1\nrules:\n");
	for (int i = 0; i < 2000; i++)
		ADD("%*s- \n", i, "");
	cr_expect_eq(policy_parse(&p, "p.yaml", text, len, &f), -EINVAL);
	free(text);
}

/* -- against the slow way ---------------------------------------------------------------------- */

/* A random document and subjects, with a judge of their own that knows nothing of the product's. */
#define KEYS   5
#define VALUES 4
#define RULES  40

struct model_selector {
	unsigned values[KEYS]; /* a bit for each value that will do; 0: not asked for */
};

struct model_rule {
	struct model_selector from, to;
	unsigned nports;
	struct {
		int proto;
		unsigned first, last;
	} ports[4];
	bool deny;
};

static const char *const keys[KEYS] = {"app", "env", "tier", "node.zone", "node.rack"};

static unsigned below(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static struct model_selector random_selector(unsigned *seed)
{
	struct model_selector s = {0};

	for (int k = 0; k < KEYS; k++)
		if (below(seed, 3) == 0)
			s.values[k] = 1 + below(seed, (1 << VALUES) - 1);
	return s;
}

static size_t print_selector(char *text, size_t room, const struct model_selector *s)
{
	size_t len = 0;
	bool any = false;

	ADD("{");
	for (int k = 0; k < KEYS; k++) {
		if (!s->values[k])
			continue;
		ADD("%s%s: [", any ? ", " : "", keys[k]);
		for (int v = 0; v < VALUES; v++)
			if (s->values[k] & 1U << v)
				ADD("v%d,", v);
		ADD("]");
		any = true;
	}
	ADD("}");
	return len;
}

static void random_rule(unsigned *seed, struct model_rule *r)
{
	static const int protos[] = {6, 17, 132, 1};

	memset(r, 0, sizeof(*r));
	r->from = random_selector(seed);
	r->to = random_selector(seed);
	r->deny = below(seed, 2);
	r->nports = below(seed, 5);
	for (unsigned i = 0; i < r->nports; i++) {
		r->ports[i].proto = protos[below(seed, 4)];
		r->ports[i].first = 1 + below(seed, 20);
		r->ports[i].last = r->ports[i].first + below(seed, 10);
	}
}

static size_t print_rule(char *text, size_t room, const struct model_rule *r, unsigned i)
{
	size_t len = 0;

	ADD("- {name: r%u, action: %s, from: ", i, r->deny ? "deny" : "allow");
	len += print_selector(text + len, room - len, &r->from);
	ADD(", to: ");
	len += print_selector(text + len, room - len, &r->to);
	for (unsigned k = 0; k < r->nports; k++) {
		ADD("%s", k ? ", " : ", ports: [");
		if (r->ports[k].proto == 1)
			ADD("icmp");
		else
			ADD("%u-%u/%s", r->ports[k].first, r->ports[k].last,
			    r->ports[k].proto == 6    ? "tcp"
			    : r->ports[k].proto == 17 ? "udp"
			                              : "sctp");
	}
	ADD("%s}\n", r->nports ? "]" : "");
	return len;
}

struct model_subject {
	struct who who;
	int value[KEYS]; /* -1: none */
};

static void random_subject(unsigned *seed, struct model_subject *s)
{
	char text[256] = "";
	size_t len = 0, room = sizeof(text);

	for (int k = 0; k < KEYS; k++) {
		s->value[k] = (int)below(seed, VALUES + 1) - 1;
		if (s->value[k] >= 0)
			ADD("%s=v%d ", keys[k], s->value[k]);
	}
	who_is(&s->who, text);
}

static bool model_matches(const struct model_selector *s, const struct model_subject *x)
{
	for (int k = 0; k < KEYS; k++)
		if (s->values[k] && (x->value[k] < 0 || !(s->values[k] & 1U << x->value[k])))
			return false;
	return true;
}

static uint32_t model_judge(const struct model_rule *rules, unsigned n,
                            const struct model_subject *s, const struct model_subject *t, int proto,
                            unsigned port)
{
	for (unsigned i = 0; i < n; i++) {
		bool hit = rules[i].nports == 0;

		for (unsigned k = 0; k < rules[i].nports; k++)
			hit = hit || (rules[i].ports[k].proto == proto &&
			              (proto == 1 || (rules[i].ports[k].first <= port &&
			                              port <= rules[i].ports[k].last)));
		if (hit && model_matches(&rules[i].from, s) && model_matches(&rules[i].to, t))
			return i;
	}
	return POLICY_RULE_DEFAULT;
}

static void compare(unsigned first, unsigned n)
{
	static const int protos[] = {6, 17, 132, 1, 47};
	static struct model_rule rules[RULES];
	static struct model_subject subjects[SUBJECTS];
	static uint32_t class[SUBJECTS];
	static char text[1 << 16];
	size_t room = sizeof(text), len = 0;
	unsigned seed = first;

	ADD(HEAD);
	for (unsigned i = 0; i < n; i++) {
		random_rule(&seed, &rules[i]);
		len += print_rule(text + len, room - len, &rules[i], i);
	}
	take(text);
	for (unsigned i = 0; i < SUBJECTS; i++) {
		random_subject(&seed, &subjects[i]);
		class[i] = policy_class(p, &subjects[i].who.subject);
	}
	cr_assert_eq(policy_seal(p), 0);
	for (unsigned i = 0; i < 4000; i++) {
		unsigned s = below(&seed, SUBJECTS), t = below(&seed, SUBJECTS);
		int proto = protos[below(&seed, 5)];
		unsigned port = proto == 1 || proto == 47 ? 0 : below(&seed, 32);
		uint32_t want = model_judge(rules, n, &subjects[s], &subjects[t], proto, port);
		struct policy_verdict v =
			policy_judge(p, class[s], class[t], (uint8_t)proto, (uint16_t)port);
		struct policy_verdict slow =
			policy_walk(p, &subjects[s].who.subject, &subjects[t].who.subject,
		                    (uint8_t)proto, (uint16_t)port);

		cr_assert_eq(v.rule, want, "seed %u, %u rules", first, n);
		cr_assert_eq(slow.rule, want, "seed %u, %u rules", first, n);
		cr_assert_eq(v.action == POLICY_DENY,
		             want == POLICY_RULE_DEFAULT || rules[want].deny);
	}
}

Test(policy, verdicts_agree_with_the_slow_way)
{
	unsigned seed = (unsigned)time(NULL);

	for (unsigned round = 0; round < 60; round++)
		compare(seed + round, 1 + round % RULES);
}

/* A rule is called unreachable if and only if nothing ever gets to it. With few values for few keys
 * all subjects can be tried.
 */
Test(policy, warnings_of_rules_that_never_match_are_true)
{
	static struct model_rule rules[12];
	static char text[1 << 16], name[32];
	unsigned seed = (unsigned)time(NULL), start = seed;
	struct model_subject s, t;

	for (unsigned round = 0; round < 40; round++) {
		bool hit[12] = {false};
		size_t room = sizeof(text), len = 0;

		ADD(HEAD);
		for (unsigned i = 0; i < 12; i++) {
			random_rule(&seed, &rules[i]);
			rules[i].nports = rules[i].nports > 1 ? 0 : rules[i].nports;
			for (int k = 2; k < KEYS; k++)
				rules[i].from.values[k] = rules[i].to.values[k] = 0;
			len += print_rule(text + len, room - len, &rules[i], i);
		}
		take(text);
		for (int k = 0; k < KEYS; k++)
			s.value[k] = t.value[k] = -1;
		for (int i = 0; i < 5 * 5 * 5 * 5; i++) {
			s.value[0] = i % 5 - 1;
			s.value[1] = i / 5 % 5 - 1;
			t.value[0] = i / 25 % 5 - 1;
			t.value[1] = i / 125 - 1;
			for (int point = 0; point < 128; point++) {
				static const int protos[] = {6, 17, 132, 1};
				uint32_t rule = model_judge(rules, 12, &s, &t, protos[point / 32],
				                            (unsigned)point % 32);

				if (rule < 12)
					hit[rule] = true;
			}
		}
		for (unsigned i = 0; i < 12; i++) {
			bool said = false;

			snprintf(name, sizeof(name), "\"r%u\" never", i);
			for (unsigned k = 0; k < f.n && k < CONFIG_FAULTS_MAX; k++)
				said = said || strstr(f.text[k], name);
			cr_expect_eq(said, !hit[i], "seed %u, round %u, rule %u:\n%s", start, round,
			             i, text);
		}
	}
}
