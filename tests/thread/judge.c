/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Two engines and a policy: "web" lives on a at 10.77.1.5, "db" on b at 10.77.2.9, each with a node at .1.
 *
 * Checked at both ends: what is allowed passes, and its replies; what is not is dropped by name and
 * counted for its rule, its sender is told on its own host; a change of policy ends what flows; a
 * sender that judges nothing is judged by the receiver; placement; and the balance. Under TSan and
 * ASan, while snapshots are published without a pause.
 */
#include "gateway/engine/engine.h"

#include "tests/engines.h"

#define OPEN "version: 1\ndefault: allow\n"
#define DB_ONLY                                                                              \
	"version: 1\ndefault: deny\nrules:\n"                                                \
	"  - {name: web-to-db, from: {app: web}, to: {app: db}, ports: [5432/udp], action: " \
	"allow}\n"
#define DB_CLOSED                              \
	"version: 1\ndefault: allow\nrules:\n" \
	"  - {name: db-closed, from: {}, to: {app: db}, action: deny}\n"
#define PLACED                                     \
	"version: 1\ndefault: allow\nplacement:\n" \
	"  - {workloads: {app: db}, only-on: {zone: pci}}\n"

static const uint8_t web[2] = {1, 5}, db[2] = {2, 9}, stranger[2] = {1, 77}, node_b[2] = {2, 1};

static const void *node_of(const struct side *me, const struct snapshot *s, const struct side *who)
{
	return me == who ? (const void *)s->self : (const void *)me->peer;
}

static void add_subject(struct policy *p, struct subjects *to, const char *app, const uint8_t at[2],
                        const void *where)
{
	struct cert_labels labels = {0}, none = {0};
	struct policy_subject what = {.kind = SUBJECT_NODE, .name = app};
	struct subject who = {.name = app, .id = "", .where = where};
	struct addr address = {4, {10, 77, at[0], at[1]}};
	char label[32];

	if (at[1] != 1) {
		snprintf(label, sizeof(label), "app=%s", app);
		CHECK(!cert_labels_add(&labels, label));
		what.kind = SUBJECT_WORKLOAD;
		what.labels = &labels;
		what.node_labels = &none;
		who.id = app;
		who.refused = policy_placement(p, &labels, &none) != NULL;
	}
	who.class = policy_class(p, &what);
	CHECK(!subjects_add(to, &who, &address, 1));
}

static struct rule_drops *drops[2];

/* By this policy; NULL: none. */
static struct snapshot *judging(struct side *me, const struct side *other, const char *document)
{
	struct snapshot *s = make_snapshot(me, other);
	struct config_faults faults;
	struct subjects *subjects;
	struct policy *p;

	if (!document)
		return s;
	CHECK(!policy_parse(&p, "policy.yaml", document, strlen(document), &faults));
	CHECK(!subjects_new(&subjects, (const uint8_t *)"0123456789abcdef", 8, 8));
	add_subject(p, subjects, "web", web, node_of(me, s, &a));
	add_subject(p, subjects, "db", db, node_of(me, s, &b));
	add_subject(p, subjects, "a", (const uint8_t[]){1, 1}, node_of(me, s, &a));
	add_subject(p, subjects, "b", node_b, node_of(me, s, &b));
	CHECK(!policy_seal(p));
	snapshot_judge_by(s, p, subjects, drops[me == &b]);
	return s;
}

static void judge_by(const char *document_a, const char *document_b)
{
	for (int i = 0; i < 2; i++) {
		rule_drops_put(drops[i]);
		CHECK(!rule_drops_new(&drops[i], 8));
	}
	engine_publish(a.engine, judging(&a, &b, document_a));
	engine_publish(b.engine, judging(&b, &a, document_b));
}

/* How many packets have arrived for the device, and how many of them say "prohibited". */
static unsigned taken(struct side *s, unsigned *prohibited)
{
	uint8_t p[2048], *ip = p + VNET;
	unsigned n = 0;

	settle(s);
	while (recv(s->far[0], p, sizeof(p), MSG_DONTWAIT) > 0) {
		if (ip[9] == 17) {
			n++;
			continue;
		}
		CHECK(ip[9] == 1 && ip[20] == 3 && ip[21] == 13);
		CHECK(prohibited);
		++*prohibited;
	}
	return n;
}

static uint64_t dropped(struct side *s, enum drop why)
{
	struct counters c = {0};

	engine_counters(s->engine, &c);
	return get(&c.drops[why]);
}

static void expect_note(struct side *s, bool inbound, uint32_t rule, uint16_t port)
{
	struct refusal r;
	bool found = false;

	while (engine_refusal(s->engine, &r))
		found |= r.inbound == inbound && r.rule == rule && r.port == port;
	CHECK(found);
}

static void allowed_flows_have_replies(void)
{
	unsigned told = 0;

	judge_by(DB_ONLY, DB_ONLY);
	send_udp(&b, db, 5432, web, 40000, 0); /* no reply without a request */
	CHECK(taken(&a, NULL) == 0 && taken(&b, &told) == 0 && told == 1);
	send_udp(&a, web, 40000, db, 5432, 1);
	CHECK(taken(&b, NULL) == 1);
	send_udp(&b, db, 5432, web, 40000, 2);
	CHECK(taken(&a, NULL) == 1);
	send_udp(&b, db, 5432, web, 40001, 3);
	CHECK(taken(&a, NULL) == 0 && taken(&b, &told) == 0 && told == 2);
	CHECK(dropped(&b, DROP_POLICY) == 2 && dropped(&a, DROP_POLICY) == 0);
	CHECK(engine_rule_drops(b.engine, POLICY_RULE_DEFAULT) == 2);
	CHECK(engine_rule_drops(b.engine, 0) == 0);
	expect_note(&b, false, POLICY_RULE_DEFAULT, 40000);
}

static void a_change_ends_what_flows(void)
{
	uint64_t before_a = dropped(&a, DROP_POLICY), before_b = dropped(&b, DROP_POLICY);
	unsigned told = 0;

	judge_by(DB_CLOSED, DB_CLOSED);
	send_udp(&b, db, 5432, web, 40000, 4); /* it was web's flow, and web may not */
	CHECK(taken(&a, NULL) == 0 && taken(&b, &told) == 0 && told == 1);
	send_udp(&b, db, 5432, web, 40009, 5); /* one of its own */
	CHECK(taken(&a, NULL) == 1);
	send_udp(&a, stranger, 40000, db, 5432, 6);
	CHECK(taken(&b, NULL) == 0 && taken(&a, &told) == 0 && told == 2);
	CHECK(dropped(&a, DROP_POLICY) == before_a + 1 && dropped(&b, DROP_POLICY) == before_b + 1);
	CHECK(engine_rule_drops(a.engine, 0) == 1 && engine_rule_drops(b.engine, 0) == 1);
}

static void the_receiver_trusts_no_sender(void)
{
	uint64_t before = dropped(&b, DROP_POLICY);

	judge_by(NULL, DB_CLOSED);
	send_udp(&a, web, 41000, db, 5432, 7);
	CHECK(taken(&b, NULL) == 0 && taken(&a, NULL) == 0); /* nobody is told by the far end */
	CHECK(dropped(&b, DROP_POLICY) == before + 1);
	CHECK(engine_rule_drops(b.engine, 0) == 1 && engine_rule_drops(a.engine, 0) == 0);
	expect_note(&b, true, 0, 5432);
	send_udp(&a, web, 41000, node_b, 22, 8); /* a container and its far node */
	CHECK(taken(&b, NULL) == 0);
	CHECK(engine_rule_drops(b.engine, POLICY_RULE_NODE) == 1);
	send_udp(&a, web, 41000, node_b, 53, 9);
	CHECK(taken(&b, NULL) == 1);
}

static void placement_is_judged_at_both_ends(void)
{
	unsigned told = 0;

	judge_by(PLACED, PLACED);
	send_udp(&b, db, 5000, web, 40000, 10);
	CHECK(taken(&a, NULL) == 0 && taken(&b, &told) == 0 && told == 1);
	CHECK(dropped(&b, DROP_PLACEMENT) == 1);
	judge_by(PLACED, NULL);
	send_udp(&b, db, 5000, web, 40000, 11);
	CHECK(taken(&a, NULL) == 0 && taken(&b, NULL) == 0);
	CHECK(dropped(&a, DROP_PLACEMENT) == 1);
	send_udp(&b, node_b, 5000, web, 40000, 12);
	CHECK(taken(&a, NULL) == 1);
	expect_note(&a, true, RULE_PLACEMENT, 40000);
}

/* Rate limited: of a flood a bounded part is answered. */
static void answers_are_few(void)
{
	unsigned told = 0;

	judge_by(DB_CLOSED, DB_CLOSED);
	for (uint32_t i = 0; i < 2000; i++) {
		send_udp(&a, web, (uint16_t)i, db, 5432, i);
		if (i % 50 == 0)
			taken(&a, &told);
	}
	taken(&a, &told);
	CHECK(told >= 50 && told < 1500);
}

static void while_snapshots_change(unsigned n)
{
	unsigned got = 0;

	judge_by(DB_ONLY, DB_ONLY);
	for (uint32_t i = 0; i < n; i++) {
		send_udp(&a, web, (uint16_t)(40000 + i % 100), db, 5432, i);
		if (i % 50 == 0)
			engine_publish(a.engine, judging(&a, &b, DB_ONLY));
		if (i % 70 == 0)
			engine_publish(b.engine, judging(&b, &a, DB_ONLY));
		if (i % 8 == 0)
			while (recv(b.far[0], (uint8_t[2048]){0}, 2048, MSG_DONTWAIT) > 0)
				got++;
	}
	got += taken(&b, NULL);
	printf("sent %u, arrived %u\n", n, got);
	CHECK(got > n / 2);
}

int main(void)
{
	engines_init();
	start(&a, &b);
	start(&b, &a);
	wait_up(&a);
	wait_up(&b);
	judge_by(OPEN, OPEN);
	send_udp(&a, web, 1, db, 2, 0);
	CHECK(taken(&b, NULL) == 1);
	allowed_flows_have_replies();
	a_change_ends_what_flows();
	the_receiver_trusts_no_sender();
	placement_is_judged_at_both_ends();
	answers_are_few();
	while_snapshots_change(getenv("LONG") ? 200000 : 3000);
	balance(&a);
	balance(&b);
	engines_clear();
	rule_drops_put(drops[0]);
	rule_drops_put(drops[1]);
	return 0;
}
