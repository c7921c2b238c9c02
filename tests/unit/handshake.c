/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A handshake over a network that does the worst: each datagram lost, doubled, late after the
 * next one, late by 300 ms; singly and in all pairs. Deterministic but for the keys, on a clock
 * of its own: the path takes 10 ms each way.
 *
 *   HANDSHAKE_TRIPLES=N   besides, N random triples and N runs with a third of all lost
 */
#include "crypto/session.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/ends.h"

#define PATH      (10 * ENDS_MS)
#define LATE      (300 * ENDS_MS)
#define POSITIONS 20 /* an undisturbed handshake has 15 datagrams */
#define END       (ENDS_START + SESSION_DEADLINE)

enum fault { NONE, LOST, DOUBLED, AFTER_NEXT, LATE_300, FAULTS };
static const char *const fault_names[] = {"-", "lost", "doubled", "after the next", "late"};

struct plan {
	enum fault at[64];
	unsigned loss; /* per cent, of all */
	uint32_t dice;
};

struct net;
struct side {
	struct net *net;
	struct ends_queue in;
	struct session *s;
	bool held; /* AFTER_NEXT: waits for the next one in the same direction */
	struct ends_datagram hold;
};

struct net {
	const struct plan *plan;
	unsigned sent;
	int64_t now;
	struct side client, server;
	struct session_listener *listener;
	struct session_accept accept;
	unsigned replaced;
};

static struct ends_ca ca;
static struct wolf *n1, *n2;

static void setup(void)
{
	cr_assert_eq(wolf_start(), 0);
	ends_ca_init(&ca);
	n1 = ends_wolf(&ca, "n1", ROLE_NODE);
	n2 = ends_wolf(&ca, "n2", ROLE_NODE);
	cr_assert(n1 && n2);
}

static void teardown(void)
{
	wolf_put(n1);
	wolf_put(n2);
	ends_ca_clear(&ca);
}

static uint32_t roll(struct plan *p)
{
	p->dice ^= p->dice << 13;
	p->dice ^= p->dice >> 17;
	p->dice ^= p->dice << 5;
	return p->dice;
}

static void arrive(struct side *to, const uint8_t *d, size_t len)
{
	struct net *net = to->net;
	unsigned i = net->sent++;
	enum fault f = i < 64 ? net->plan->at[i] : NONE;

	if (net->plan->loss && roll((struct plan *)(uintptr_t)net->plan) % 100 < net->plan->loss)
		f = LOST;
	if (f == AFTER_NEXT && !to->held) {
		to->held = true;
		to->hold.len = len;
		memcpy(to->hold.bytes, d, len);
		return;
	}
	if (f != LOST)
		ends_put(&to->in, d, len, net->now + PATH + (f == LATE_300 ? LATE : 0));
	if (f == DOUBLED)
		ends_put(&to->in, d, len, net->now + PATH);
	if (to->held) {
		to->held = false;
		ends_put(&to->in, to->hold.bytes, to->hold.len, net->now + PATH);
	}
}

static void to_server(void *arg, const uint8_t *d, size_t len)
{
	arrive(&((struct net *)arg)->server, d, len);
}

static void to_client(void *arg, const uint8_t *d, size_t len)
{
	arrive(&((struct net *)arg)->client, d, len);
}

/* As an engine gives datagrams of one address to sessions. */
static void server_gets(struct net *net, const struct ends_datagram *d)
{
	struct session *fresh = NULL;
	uint8_t out[ENDS_DATAGRAM];

	if (session_is_new_hello(net->server.s, d->bytes, d->len)) {
		if (session_listener_feed(net->listener, &net->accept, d->bytes, d->len, net->now,
		                          &fresh) == 1) {
			net->replaced += net->server.s != NULL;
			session_free(net->server.s);
			net->server.s = fresh;
		}
	} else if (net->server.s && session_state(net->server.s) == SESSION_UP) {
		ends_open(net->server.s, d->bytes, d->len, out, net->now);
	} else if (net->server.s) {
		session_feed(net->server.s, d->bytes, d->len, net->now);
	}
}

static void client_gets(struct net *net, const struct ends_datagram *d)
{
	uint8_t out[ENDS_DATAGRAM];

	if (session_state(net->client.s) == SESSION_UP)
		ends_open(net->client.s, d->bytes, d->len, out, net->now);
	else
		session_feed(net->client.s, d->bytes, d->len, net->now);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* To the next thing that happens; false if nothing does before END. */
static bool step(struct net *net)
{
	const struct ends_datagram *c = ends_next(&net->client.in), *s = ends_next(&net->server.in);
	struct ends_datagram d;
	int64_t at;

	at = session_deadline(net->client.s);
	if (net->server.s)
		at = earlier(at, session_deadline(net->server.s));
	if (s && s->at <= at && (!c || s->at <= c->at)) {
		net->now = s->at;
		ends_take(&net->server.in, &d);
		server_gets(net, &d);
	} else if (c && c->at <= at) {
		net->now = c->at;
		ends_take(&net->client.in, &d);
		client_gets(net, &d);
	} else if (at > END) {
		return false;
	} else {
		net->now = at > net->now ? at : net->now;
		session_tick(net->client.s, net->now);
		if (net->server.s)
			session_tick(net->server.s, net->now);
	}
	return net->now <= END;
}

static bool both_up(const struct net *net)
{
	return session_state(net->client.s) == SESSION_UP && net->server.s &&
	       session_state(net->server.s) == SESSION_UP;
}

static bool passes(struct session *from, struct session *to, int64_t now)
{
	static const uint8_t plain[] = "a packet";
	uint8_t sealed[256], opened[256];
	ssize_t n = ends_seal(from, plain, sizeof(plain), sealed);

	return n > 0 && ends_open(to, sealed, (size_t)n, opened, now) == sizeof(plain) &&
	       !memcmp(plain, opened, sizeof(plain));
}

/* Milliseconds until both were up and data passed, -1: never. */
static int64_t run(const struct plan *plan, unsigned *datagrams)
{
	struct net *net = calloc(1, sizeof(*net));
	struct session_dial dial = {"n2", {1, 2, 3, 4}, to_server, net};
	int64_t took = -1;

	net->plan = plan;
	net->now = ENDS_START;
	net->client.net = net->server.net = net;
	net->accept = (struct session_accept){"10.9.0.1:4747", 13, {5, 6, 7, 8}, to_client, net};
	cr_assert_eq(session_listener_new(&net->listener, n2), 0);
	cr_assert_eq(session_dial(&net->client.s, n1, &dial, net->now), 0);
	while (!both_up(net) && step(net))
		;
	if (both_up(net) && passes(net->client.s, net->server.s, net->now) &&
	    passes(net->server.s, net->client.s, net->now))
		took = (net->now - ENDS_START) / ENDS_MS;
	if (datagrams)
		*datagrams = net->sent;
	if (took < 0)
		printf("client: %d %s, server: %d %s\n", (int)session_state(net->client.s),
		       session_why(net->client.s),
		       net->server.s ? (int)session_state(net->server.s) : -1,
		       net->server.s ? session_why(net->server.s) : "none");
	session_free(net->client.s);
	session_free(net->server.s);
	session_listener_free(net->listener);
	free(net);
	return took;
}

struct worst {
	int64_t ms;
	unsigned runs, failed, slow;
	char what[128];
};

static void note(struct worst *w, int64_t took, const char *what)
{
	w->runs++;
	if (took < 0 || took > SESSION_DEADLINE / ENDS_MS) {
		w->failed++;
		printf("never up: %s\n", what);
	}
	w->slow += took > 3000;
	if (took > w->ms) {
		w->ms = took;
		snprintf(w->what, sizeof(w->what), "%s", what);
	}
}

static void report(const struct worst *w, const char *name)
{
	printf("%s: %u handshakes, %u above 3 s, worst %lld ms: %s\n", name, w->runs, w->slow,
	       (long long)w->ms, w->what);
	cr_assert_eq(w->failed, 0);
	cr_assert_leq(w->ms, SESSION_DEADLINE / ENDS_MS);
}

TestSuite(handshake, .init = setup, .fini = teardown, .timeout = 600);

Test(handshake, undisturbed_takes_three_round_trips)
{
	struct plan plan = {.loss = 0};
	unsigned datagrams = 0;
	int64_t took = run(&plan, &datagrams);

	printf("undisturbed: %lld ms, %u datagrams\n", (long long)took, datagrams);
	cr_assert_eq(took, 6 * PATH / ENDS_MS);
	cr_assert_leq(datagrams, POSITIONS - 4); /* the positions below cover it, and repeats */
}

Test(handshake, completes_with_any_one_datagram_lost_doubled_or_late)
{
	struct worst worst = {.ms = 0};
	char what[64];

	for (unsigned i = 0; i < POSITIONS; i++)
		for (unsigned f = LOST; f < FAULTS; f++) {
			struct plan plan = {.at = {[0] = NONE}};

			plan.at[i] = (enum fault)f;
			snprintf(what, sizeof(what), "%u %s", i, fault_names[f]);
			note(&worst, run(&plan, NULL), what);
		}
	report(&worst, "one");
}

Test(handshake, completes_with_any_two_datagrams_lost_doubled_or_late)
{
	struct worst worst = {.ms = 0};
	char what[64];

	for (unsigned i = 0; i < POSITIONS; i++)
		for (unsigned j = i + 1; j < POSITIONS; j++)
			for (unsigned k = 0; k < (FAULTS - 1) * (FAULTS - 1); k++) {
				struct plan plan = {.at = {[0] = NONE}};

				plan.at[i] = (enum fault)(1 + k % (FAULTS - 1));
				plan.at[j] = (enum fault)(1 + k / (FAULTS - 1));
				snprintf(what, sizeof(what), "%u %s, %u %s", i,
				         fault_names[plan.at[i]], j, fault_names[plan.at[j]]);
				note(&worst, run(&plan, NULL), what);
			}
	report(&worst, "two");
}

Test(handshake, completes_though_a_flight_is_lost_thrice)
{
	struct worst worst = {.ms = 0};
	char what[64];

	for (unsigned from = 0; from < 12; from++)
		for (unsigned n = 3; n <= 12; n++) {
			struct plan plan = {.at = {[0] = NONE}};

			for (unsigned i = from; i < from + n; i++)
				plan.at[i] = LOST;
			snprintf(what, sizeof(what), "%u lost from %u", n, from);
			note(&worst, run(&plan, NULL), what);
		}
	report(&worst, "burst");
}

Test(handshake, a_longer_run_for_soak)
{
	const char *many = getenv("HANDSHAKE_TRIPLES");
	struct worst worst = {.ms = 0}, lossy = {.ms = 0};
	struct plan dice = {.dice = 12345};
	char what[128];
	long n = many ? strtol(many, NULL, 10) : 200;

	for (long r = 0; r < n; r++) {
		struct plan plan = {.at = {[0] = NONE}};
		int used = 0;

		for (unsigned k = 0; k < 3; k++) {
			unsigned i = roll(&dice) % POSITIONS;

			plan.at[i] = (enum fault)(1 + roll(&dice) % (FAULTS - 1));
			used += snprintf(what + used, sizeof(what) - (size_t)used, "%u %s, ", i,
			                 fault_names[plan.at[i]]);
		}
		note(&worst, run(&plan, NULL), what);
	}
	report(&worst, "three");
	for (long r = 0; r < n; r++) {
		struct plan plan = {.loss = 10, .dice = roll(&dice) | 1};

		snprintf(what, sizeof(what), "a tenth lost, dice %u", plan.dice);
		note(&lossy, run(&plan, NULL), what);
	}
	report(&lossy, "a tenth lost");
}
