/* SPDX-License-Identifier: GPL-3.0-or-later */
/* micro - what the steps of a packet's way cost, each by itself: `make bench-micro`.
 *
 *   micro [session|route|policy|packet]   nanoseconds of one operation: the best and the median of
 *                                    ROUNDS rounds
 *
 * The best is what the code costs; a median far above it says that the machine was busy. Caches are
 * warm and the branch predictor has seen it all: compare two builds by it, not with a whole packet.
 */
#include "gateway/engine/frame.h"

#include <stdio.h>
#include <time.h>

#include "gateway/tables/policy.h"
#include "gateway/tables/route.h"
#include "tests/ends.h"
#include "tun/bytes.h"

#define ROUNDS   31
#define ROUND_NS 4000000LL /* a round takes at least so long */
#define BURST    64        /* records sealed, then opened, as in a batch */

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void show(const char *name, double ns[ROUNDS])
{
	qsort(ns, ROUNDS, sizeof(*ns), ascending);
	printf("%-28s %9.1f %9.1f\n", name, ns[0], ns[ROUNDS / 2]);
	fflush(stdout);
}

/* What a step's result is put into, so that the compiler does not leave the step out. */
static volatile uint64_t sink;

/* fn does its operation count times. */
static void run(const char *name, void (*fn)(void *arg, unsigned count), void *arg)
{
	double ns[ROUNDS];
	unsigned count = 64;
	int64_t start;

	for (;; count *= 2) { /* warms up as well */
		start = now();
		fn(arg, count);
		if (now() - start >= ROUND_NS)
			break;
	}
	for (int i = 0; i < ROUNDS; i++) {
		start = now();
		fn(arg, count);
		ns[i] = (double)(now() - start) / count;
	}
	show(name, ns);
}

/* -- sessions --------------------------------------------------------------------------------- */

struct pair {
	struct session *client, *server;
	struct ends_queue to_client, to_server;
};

static void pair_init(struct pair *p, struct wolf *n1, struct wolf *n2)
{
	const struct session_dial dial = {"n2", {1, 2, 3, 4}, ends_emit, &p->to_server};
	const struct session_accept accept = {
		"10.9.0.1:1", 10, {5, 6, 7, 8}, ends_emit, &p->to_client};
	struct session_listener *listener;
	static struct ends_datagram d;

	assert(session_listener_new(&listener, n2) == 0);
	assert(session_dial(&p->client, n1, &dial, ENDS_START) == 0);
	while (p->to_server.n || p->to_client.n) {
		if (p->to_server.n) {
			ends_take(&p->to_server, &d);
			if (p->server)
				session_feed(p->server, d.bytes, d.len, ENDS_START);
			else
				session_listener_feed(listener, &accept, d.bytes, d.len, ENDS_START,
				                      &p->server);
			continue;
		}
		ends_take(&p->to_client, &d);
		session_feed(p->client, d.bytes, d.len, ENDS_START);
	}
	session_listener_free(listener);
	assert(session_state(p->client) == SESSION_UP && session_state(p->server) == SESSION_UP);
}

/* Seals a burst and opens it, as often as a round takes; both are timed apart, for a record opens
 * only once.
 */
static void sessions_of(struct pair *p, size_t len, const char *seal, const char *open)
{
	static uint8_t plain[SESSION_PLAIN_MAX + 1], d[BURST][2048];
	double sealing[ROUNDS], opening[ROUNDS];
	ssize_t n[BURST];

	assert(len + SESSION_OVERHEAD <= sizeof(d[0]));
	for (int i = -1; i < ROUNDS; i++) { /* the first warms up */
		int64_t t[3], spent[2] = {0};
		unsigned records = 0;
		uint8_t *at;

		for (; spent[0] + spent[1] < 2 * ROUND_NS; records += BURST) {
			t[0] = now();
			for (unsigned k = 0; k < BURST; k++)
				n[k] = session_seal(p->client, plain, len, d[k]);
			t[1] = now();
			for (unsigned k = 0; k < BURST; k++)
				n[k] = session_open(p->server, d[k], (size_t)n[k], &at, ENDS_START);
			t[2] = now();
			for (unsigned k = 0; k < BURST; k++)
				assert(n[k] == (ssize_t)len);
			spent[0] += t[1] - t[0];
			spent[1] += t[2] - t[1];
		}
		if (i >= 0) {
			sealing[i] = (double)spent[0] / records;
			opening[i] = (double)spent[1] / records;
		}
	}
	show(seal, sealing);
	show(open, opening);
}

static void sessions(void)
{
	static struct pair p;
	struct wolf *n1, *n2;
	struct ends_ca ca;

	assert(wolf_start() == 0);
	ends_ca_init(&ca);
	n1 = ends_wolf(&ca, "n1", ROLE_NODE);
	n2 = ends_wolf(&ca, "n2", ROLE_NODE);
	assert(n1 && n2);
	pair_init(&p, n1, n2);
	sessions_of(&p, 64, "session_seal 64 B", "session_open 64 B");
	sessions_of(&p, 1400, "session_seal 1400 B", "session_open 1400 B");
	session_free(p.client);
	session_free(p.server);
	wolf_put(n1);
	wolf_put(n2);
	ends_ca_clear(&ca);
}

/* -- tables ------------------------------------------------------------------------------------ */

#define ADDRESSES 4096

struct routes {
	struct route_table *table;
	struct addr at[ADDRESSES]; /* looked up in turn */
};

static void lookups(void *arg, unsigned count)
{
	const struct routes *r = arg;
	uint64_t found = 0;

	for (unsigned i = 0; i < count; i++)
		found += route_lookup(r->table, &r->at[i % ADDRESSES]) != NULL;
	sink += found;
}

/* As a cluster has them: a /24 and a /64 for each node. Addresses of all nodes in no order. */
static void routes_of(unsigned peers)
{
	static struct routes r;
	struct prefix four, six;
	uint32_t draw = 1;
	char name[64];

	assert(route_table_new(&r.table) == 0);
	for (unsigned i = 0; i < peers; i++) {
		four = (struct prefix){{4, {10, (uint8_t)(64 + i / 256), (uint8_t)i}}, 24};
		six = (struct prefix){{6, {0xfd, 0x77, 0, 0, 0, 0, (uint8_t)(i / 256), (uint8_t)i}},
		                      64};
		assert(route_add(r.table, &four, &r) == 0 && route_add(r.table, &six, &r) == 0);
	}
	assert(route_seal(r.table) == 0);
	for (unsigned i = 0; i < ADDRESSES; i++) {
		unsigned node;

		draw = draw * 1664525 + 1013904223;
		node = (draw >> 8) % peers;
		r.at[i] = (struct addr){
			4, {10, (uint8_t)(64 + node / 256), (uint8_t)node, (uint8_t)(draw >> 24)}};
	}
	snprintf(name, sizeof(name), "route_lookup peers=%u", peers);
	run(name, lookups, &r);
	route_table_free(r.table);
}

/* -- policy ------------------------------------------------------------------------------------- */

#define PAIRS 4096

struct verdicts {
	struct policy *policy;
	uint32_t src[PAIRS], dst[PAIRS];
	uint16_t port[PAIRS];
};

static void judge(void *arg, unsigned count)
{
	const struct verdicts *v = arg;
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++)
		sum += policy_judge(v->policy, v->src[i % PAIRS], v->dst[i % PAIRS], 6,
		                    v->port[i % PAIRS])
		               .rule;
	sink += sum;
}

static unsigned port_of(unsigned app)
{
	return 1024 + app % 60000;
}

/* Each app may speak to the next one's port, within its environment; what else is to an app is closed,
 * and monitoring sees all. As many apps as rules.
 */
static char *policy_text(unsigned rules, size_t *len)
{
	char *text;
	FILE *to = open_memstream(&text, len);

	fputs("version: 1\ndefault: deny\nrules:\n"
	      "- {name: mon, from: {app: mon}, to: {}, ports: 9100/tcp, action: allow}\n",
	      to);
	for (unsigned i = 1; i < rules; i++)
		fprintf(to,
		        "- {name: r%u, from: {app: a%u, env: prod}, to: {app: a%u}, ports: "
		        "[%u/tcp, "
		        "icmp], action: allow}\n",
		        i, i, (i + 1) % rules, port_of(i));
	fclose(to);
	return text;
}

static uint32_t class_of(struct policy *p, unsigned app)
{
	struct cert_labels labels = {0};
	const struct policy_subject s = {.kind = SUBJECT_WORKLOAD, .labels = &labels};
	char text[64];

	snprintf(text, sizeof(text), "app=a%u", app);
	assert(cert_labels_add(&labels, text) == 0);
	assert(cert_labels_add(&labels, "env=prod") == 0);
	return policy_class(p, &s);
}

static void policy_of(unsigned rules)
{
	static struct config_faults faults;
	static struct verdicts v;
	uint32_t draw = 1;
	char name[64], *text;
	size_t len;
	int64_t start;

	text = policy_text(rules, &len);
	start = now();
	assert(policy_parse(&v.policy, "bench", text, len, &faults) == 0);
	snprintf(name, sizeof(name), "policy_parse rules=%u", rules);
	printf("%-28s %9.1f ms\n", name, (double)(now() - start) / 1e6);
	free(text);
	for (unsigned i = 0; i < PAIRS; i++) {
		unsigned app;

		draw = draw * 1664525 + 1013904223;
		app = 1 + (draw >> 8) % rules;
		v.src[i] = class_of(v.policy, app % rules);
		v.dst[i] = class_of(v.policy, (app + 1 + (draw >> 4) % 2) % rules);
		v.port[i] = (uint16_t)(port_of(app) + (draw >> 5) % 2);
	}
	assert(policy_seal(v.policy) == 0);
	snprintf(name, sizeof(name), "policy_judge rules=%u", rules);
	run(name, judge, &v);
	policy_free(v.policy);
}

static void policies(void)
{
	policy_of(10);
	policy_of(1000);
	policy_of(10000);
	policy_of(100000);
}

/* -- packets ------------------------------------------------------------------------------------- */

struct packet {
	uint8_t data[1500];
	size_t len;
};

static void packet_udp(uint8_t *p, uint16_t len, uint8_t last)
{
	static const uint8_t head[] = {0x45, 0, 0,  0,  0, 0, 0x40, 0,  64, 17,
	                               0,    0, 10, 77, 1, 1, 10,   77, 2};

	memcpy(p, head, sizeof(head));
	p[19] = last;
	put_be16(p + 2, len);
	put_be16(p + 20, 1000);
	put_be16(p + 22, 2000);
	put_be16(p + 24, (uint16_t)(len - 20));
}

static void parse_ip(void *arg, unsigned count)
{
	const struct packet *p = arg;
	struct ip_view v;

	for (unsigned i = 0; i < count; i++) {
		if (ip_parse(&v, p->data, p->len) == 0)
			sink += v.dport;
	}
}

static void parse_frame(void *arg, unsigned count)
{
	static struct frame f;
	struct packet *p = arg;

	for (unsigned i = 0; i < count; i++) {
		if (frame_parse(&f, p->data, p->len) == 0)
			sink += f.n;
	}
}

static void packets(void)
{
	static struct packet one = {.len = 1400}, many = {.len = 12 * 92};

	packet_udp(one.data, 1400, 1);
	for (uint8_t i = 0; i < 12; i++)
		packet_udp(many.data + i * 92, 92, i);
	run("ip_parse", parse_ip, &one);
	run("frame_parse 1 packet", parse_frame, &one);
	run("frame_parse 12 packets", parse_frame, &many);
}

static void routes(void)
{
	routes_of(1);
	routes_of(10);
	routes_of(100);
	routes_of(1000);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} parts[] = {{"session", sessions},
	             {"route", routes},
	             {"policy", policies},
	             {"packet", packets}};
	unsigned ran = 0;

	if (argc < 2)
		printf("%-28s %9s %9s\n", "ns for one", "best", "median");
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (argc < 2 || strcmp(argv[1], parts[i].name) == 0) {
			parts[i].fn();
			ran++;
		}
	}
	if (ran)
		return 0;
	fprintf(stderr, "usage: micro [session|route|policy|packet]\n");
	return 2;
}
