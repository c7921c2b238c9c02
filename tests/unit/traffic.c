/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Our session and an independent peer, plain wolfSSL over its own read and write, on a wire that
 * loses, doubles and reorders; tests/tap.h reads along.
 */
#include "crypto/session.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "tests/ends.h"
#include "tests/raw.h"
#include "tests/tap.h"

#define MANY (1U << 16) /* records one way */

/* A KeyUpdate of wolfSSL: header, message, type, tag. */
#define UPDATE_LEN (9 + 12 + 1 + 1 + 16)
#define SPREAD     40 /* datagrams that one may overtake, in units of time */

static struct ends_ca ca;
static struct wolf *n1;
static struct ends_id id;
static struct cert_chain chain = {.n = 1};

static void setup(void)
{
	cr_assert_eq(wolf_start(), 0);
	ends_ca_init(&ca);
	n1 = ends_wolf(&ca, "n1", ROLE_NODE);
	cr_assert(n1);
	ends_issue(&ca, &id, ENDS_CLUSTER, "n7", ROLE_NODE);
	chain.at[0].der = id.der;
	chain.at[0].len = id.len;
}

static void teardown(void)
{
	ends_id_clear(&id);
	wolf_put(n1);
	ends_ca_clear(&ca);
}

TestSuite(traffic, .init = setup, .fini = teardown, .timeout = 300);

/* -- the wire ------------------------------------------------------------------------------------ */

struct way {
	struct ends_queue q;
	uint64_t sent, got, wrong, lost, doubled, refused;
	int lose_at; /* 1: the next datagram; 0: none */
	uint8_t seen[MANY / 8];
};

struct meet {
	struct raw raw;
	struct session *s;
	struct session_listener *listener;
	struct tap tap;
	struct way to_us, to_raw;
	int64_t now;
	uint32_t dice;
	unsigned loss, doubling; /* per cent */
	unsigned spread;
	int lose_emitted; /* of what we emit besides data, the next so many */
	unsigned ticks;
	bool goodbye; /* of ours, that the other has read */
};

static uint32_t roll(struct meet *m, uint32_t n)
{
	m->dice ^= m->dice << 13;
	m->dice ^= m->dice >> 17;
	m->dice ^= m->dice << 5;
	return m->dice % n;
}

static void wire(struct meet *m, struct way *w, const uint8_t *d, size_t len)
{
	if (roll(m, 100) < m->loss || (w->lose_at && --w->lose_at == 0)) {
		w->lost++;
		return;
	}
	ends_put(&w->q, d, len, m->now + (m->spread ? roll(m, m->spread) : 0));
	if (roll(m, 100) < m->doubling) {
		w->doubled++;
		ends_put(&w->q, d, len, m->now + (m->spread ? roll(m, m->spread) : 0));
	}
}

static void emit(void *arg, const uint8_t *d, size_t len)
{
	struct meet *m = arg;

	tap_note(&m->tap, d, len);
	if (m->lose_emitted > 0) {
		m->lose_emitted--;
		m->to_raw.lost++;
		return;
	}
	wire(m, &m->to_raw, d, len);
}

static void drain_raw(struct meet *m)
{
	while (m->raw.out.n) {
		static uint8_t d[RAW_MAX];
		size_t len = m->raw.out.d[0].len;

		memcpy(d, m->raw.out.d[0].bytes, len);
		raw_drop(&m->raw.out);
		wire(m, &m->to_us, d, len);
	}
}

static void delivered(struct way *w, const uint8_t *d, ssize_t len)
{
	uint64_t n;

	if (len < 16) {
		w->wrong++;
		return;
	}
	memcpy(&n, d, sizeof(n));
	if (n >= w->sent || d[len - 1] != (uint8_t)(n * 7 + (uint64_t)len) ||
	    w->seen[n / 8] >> n % 8 & 1) {
		w->wrong++;
		return;
	}
	w->seen[n / 8] |= (uint8_t)(1 << n % 8);
	w->got++;
}

static void give_us(struct meet *m, const struct ends_datagram *d)
{
	const struct session_accept a = {"10.9.0.7:1", 10, {5, 6, 7, 8}, emit, m};
	static uint8_t out[ENDS_DATAGRAM];
	struct session *fresh = NULL;
	ssize_t n;

	if (m->listener && session_is_new_hello(m->s, d->bytes, d->len)) {
		if (session_listener_feed(m->listener, &a, d->bytes, d->len, m->now, &fresh) == 1) {
			session_free(m->s);
			m->s = fresh;
		}
	} else if (m->s && session_state(m->s) == SESSION_HANDSHAKE) {
		session_feed(m->s, d->bytes, d->len, m->now);
	} else if (m->s) {
		n = ends_open(m->s, d->bytes, d->len, out, m->now);
		if (n > 0)
			delivered(&m->to_us, out, n);
		m->to_us.refused += n < 0;
	}
}

static void give_raw(struct meet *m, const struct ends_datagram *d)
{
	static uint8_t out[RAW_MAX];
	int n = 0;

	raw_put(&m->raw.in, d->bytes, d->len);
	raw_step(&m->raw);
	while (m->raw.up && (n = wolfSSL_read(m->raw.ssl, out, sizeof(out))) > 0)
		delivered(&m->to_raw, out, n);
	if (m->raw.up && wolfSSL_get_error(m->raw.ssl, n) == WOLFSSL_ERROR_ZERO_RETURN)
		m->goodbye = true;
	drain_raw(m);
}

static bool step(struct meet *m)
{
	const struct ends_datagram *a = ends_next(&m->to_us.q), *b = ends_next(&m->to_raw.q);
	bool us = a && (!b || a->at <= b->at);
	struct ends_datagram d;

	if (!a && !b)
		return false;
	ends_take(us ? &m->to_us.q : &m->to_raw.q, &d);
	if (d.at > m->now)
		m->now = d.at;
	if (us)
		give_us(m, &d);
	else
		give_raw(m, &d);
	return true;
}

static void run(struct meet *m)
{
	while (step(m))
		;
}

static bool raw_waits(const struct meet *m)
{
	return !m->raw.up || wolfSSL_dtls13_has_pending_msg(m->raw.ssl) ||
	       wolfSSL_dtls13_use_quick_timeout(m->raw.ssl);
}

/* wolfSSL's timers, by our clock. */
static void raw_tick(struct meet *m)
{
	if (m->raw.error || !raw_waits(m))
		return;
	m->raw.ssl->dtls13Rtx.lastRtx = 0;
	wolfSSL_dtls_set_timeout_init(m->raw.ssl, 1);
	wolfSSL_dtls_got_timeout(m->raw.ssl);
	drain_raw(m);
}

/* Time passes until neither waits for the other. */
static void rest(struct meet *m, int rounds)
{
	run(m);
	for (int i = 0; i < rounds; i++) {
		if (m->s && session_state(m->s) != SESSION_HANDSHAKE &&
		    session_deadline(m->s) == INT64_MAX && !raw_waits(m))
			return;
		m->now += 300 * ENDS_MS;
		if (m->s && session_deadline(m->s) <= m->now)
			session_tick(m->s, m->now);
		if (++m->ticks % 4 == 0)
			raw_tick(m);
		run(m);
	}
}

static struct meet *meet_new(bool raw_is_server)
{
	const struct raw_as as = {.server = raw_is_server,
	                          .alpn = ALPN_TUNNEL,
	                          .cipher = "TLS13-AES128-GCM-SHA256",
	                          .chain = &chain,
	                          .key = id.key};
	struct meet *m = calloc(1, sizeof(*m));

	m->now = ENDS_START;
	m->dice = 12345;
	raw_init(&m->raw, &as);
	tap_init(&m->tap, raw_is_server, m->raw.ssl);
	return m;
}

static void meet_start(struct meet *m)
{
	const struct session_dial dial = {"n7", {1, 2, 3, 4}, emit, m};

	if (m->raw.server) {
		cr_assert_eq(session_dial(&m->s, n1, &dial, m->now), 0);
	} else {
		cr_assert_eq(session_listener_new(&m->listener, n1), 0);
		raw_step(&m->raw);
		drain_raw(m);
	}
	rest(m, 30);
	cr_assert(m->s);
	cr_assert_eq(session_state(m->s), SESSION_UP, "%s", session_why(m->s));
	cr_assert(m->raw.up, "%d", m->raw.error);
}

static struct meet *meet(bool raw_is_server)
{
	struct meet *m = meet_new(raw_is_server);

	meet_start(m);
	return m;
}

/* epochs: how far we must have come at least. */
static void meet_free(struct meet *m, unsigned epochs)
{
	tap_judge(&m->tap);
	cr_expect_geq(m->tap.epochs, epochs);
	cr_expect_eq(m->tap.twice, 0, "%lu numbers twice", (unsigned long)m->tap.twice);
	cr_expect_eq(m->tap.foreign, 0, "%lu records nobody can read",
	             (unsigned long)m->tap.foreign);
	cr_expect_gt(m->tap.records, 0);
	printf("%lu records of ours, to epoch %u: %lu data, %lu handshake, %lu ACK, %lu alert\n",
	       (unsigned long)m->tap.records, m->tap.epochs, (unsigned long)m->tap.kinds[23],
	       (unsigned long)m->tap.kinds[22], (unsigned long)m->tap.kinds[26],
	       (unsigned long)m->tap.kinds[21]);
	tap_clear(&m->tap);
	raw_clear(&m->raw);
	session_free(m->s);
	session_listener_free(m->listener);
	free(m);
}

/* -- data ---------------------------------------------------------------------------------------- */

static size_t packet(struct meet *m, struct way *w, uint8_t *p)
{
	size_t len = 16 + roll(m, 600);

	cr_assert_lt(w->sent, MANY);
	memset(p, 0x55, len);
	memcpy(p, &w->sent, sizeof(w->sent));
	p[len - 1] = (uint8_t)(w->sent * 7 + len);
	w->sent++;
	return len;
}

static void we_send(struct meet *m)
{
	uint8_t p[1024], d[1100];
	ssize_t n = ends_seal(m->s, p, packet(m, &m->to_raw, p), d);

	cr_assert_gt(n, 0);
	tap_note(&m->tap, d, (size_t)n);
	wire(m, &m->to_raw, d, (size_t)n);
}

static void raw_sends(struct meet *m)
{
	uint8_t p[1024];
	int len = (int)packet(m, &m->to_us, p);

	cr_assert_eq(wolfSSL_write(m->raw.ssl, p, len), len);
	drain_raw(m);
}

static void both_send(struct meet *m, int n)
{
	for (int i = 0; i < n; i++) {
		we_send(m);
		raw_sends(m);
		if (i % 50 == 49)
			run(m);
	}
	run(m);
}

static bool raw_updates(struct meet *m)
{
	bool ok;

	if (raw_waits(m))
		return false;
	ok = wolfSSL_update_keys(m->raw.ssl) == WOLFSSL_SUCCESS;
	drain_raw(m);
	return ok;
}

static void all_is_well(struct meet *m)
{
	uint64_t us = m->to_us.got + 20, raw = m->to_raw.got + 20;

	cr_assert_eq(session_state(m->s), SESSION_UP, "%s", session_why(m->s));
	m->loss = m->doubling = m->spread = 0;
	both_send(m, 20);
	cr_assert_eq(m->to_us.got, us);
	cr_assert_eq(m->to_raw.got, raw);
	cr_assert_eq(m->to_us.wrong, 0);
	cr_assert_eq(m->to_raw.wrong, 0);
	cr_assert_eq(session_deadline(m->s), INT64_MAX);
}

Test(traffic, an_independent_peer_reads_us_and_we_it)
{
	for (int server = 0; server < 2; server++) {
		struct meet *m = meet(server);

		both_send(m, 2000);
		cr_assert_eq(m->to_us.got, m->to_us.sent);
		cr_assert_eq(m->to_raw.got, m->to_raw.sent);
		cr_assert_eq(m->to_us.refused, 0);
		all_is_well(m);
		meet_free(m, 3);
	}
}

Test(traffic, what_is_not_lost_arrives_once_through_loss_reordering_and_repeats)
{
	for (int server = 0; server < 2; server++) {
		struct meet *m = meet(server);
		unsigned updates = 0;

		m->loss = 5;
		m->doubling = 5;
		m->spread = SPREAD;
		for (int round = 0; round < 60; round++) {
			updates += raw_updates(m);
			both_send(m, 100);
			if (raw_waits(m) || session_deadline(m->s) != INT64_MAX)
				rest(m, 4);
		}
		m->loss = 0;
		rest(m, 40);
		printf("%u updates; to us %lu of %lu, to the other %lu of %lu\n", updates,
		       (unsigned long)m->to_us.got, (unsigned long)m->to_us.sent,
		       (unsigned long)m->to_raw.got, (unsigned long)m->to_raw.sent);
		cr_assert_gt(updates, 10);
		cr_assert_geq(m->to_us.got + m->to_us.lost, m->to_us.sent);
		/* a plain peer's window is 128 records wide and wolfSSL's own take some */
		cr_assert_gt(m->to_raw.got, m->to_raw.sent * 90 / 100);
		cr_assert_geq(m->to_us.refused, m->to_us.doubled * 9 / 10);
		all_is_well(m);
		meet_free(m, 3);
	}
}

Test(traffic, key_updates_are_answered_without_end)
{
	for (int server = 0; server < 2; server++) {
		struct meet *m = meet(server);

		for (int i = 0; i < 60; i++) { /* the two bits of an epoch wrap often */
			cr_assert(raw_updates(m), "%d", i);
			both_send(m, 5);
			rest(m, 4);
		}
		all_is_well(m);
		meet_free(m, 63);
	}
}

/* What we answer to a KeyUpdate, an ACK and one of our own, is lost again and again. */
Test(traffic, an_answer_lost_again_and_again_is_given_again_and_again)
{
	for (int server = 0; server < 2; server++) {
		struct meet *m = meet(server);

		for (int round = 0; round < 8; round++) {
			cr_assert(raw_updates(m), "round %d", round);
			m->lose_emitted = round;
			both_send(m, 10);
			rest(m, 60);
			both_send(m, 10);
			cr_assert(!raw_waits(m), "round %d", round);
		}
		cr_assert_eq(m->to_us.got, m->to_us.sent);
		cr_assert_eq(m->to_raw.got, m->to_raw.sent);
		all_is_well(m);
		meet_free(m, 11);
	}
}

/* The other way: its ACK of our answer is lost, so that ours goes out again. */
Test(traffic, our_own_update_is_repeated_until_it_is_acknowledged)
{
	for (int server = 0; server < 2; server++) {
		struct meet *m = meet(server);

		for (int round = 0; round < 8; round++) {
			struct ends_datagram d;

			cr_assert(raw_updates(m));
			for (int i = 0; i < 1 + round % 3; i++) {
				/* to us comes the KeyUpdate, and nothing after it */
				while (m->to_us.q.n && i == 0)
					cr_assert(step(m));
				while (m->to_raw.q.n) {
					ends_take(&m->to_raw.q, &d);
					give_raw(m, &d);
				}
				m->to_us.lost += m->to_us.q.n;
				m->to_us.q.n = 0;
				m->now = session_deadline(m->s);
				cr_assert_neq(m->now, INT64_MAX, "round %d", round);
				session_tick(m->s, m->now);
			}
			both_send(m, 10);
			rest(m, 60);
		}
		all_is_well(m);
		meet_free(m, 11);
	}
}

/* The two directions drift apart: while our own update is unacknowledged we do not begin another,
 * so each cycle moves the peer's epoch by two and ours by one; one ACK of ours is lost in each, and the
 * peer repeats itself in its previous epoch. Two plain wolfSSL ends stick at it.
 */
Test(traffic, epochs_that_drift_apart_do_not_get_us_stuck)
{
	for (int server = 0; server < 2; server++) {
		struct meet *m = meet(server);

		for (int cycle = 0; cycle < 8; cycle++) {
			uint64_t before = m->raw.ssl->dtls13Epoch.n;
			struct ends_datagram d;

			/* our ACK arrives, our update does not */
			cr_assert(raw_updates(m), "cycle %d", cycle);
			while (m->to_us.q.n)
				cr_assert(step(m));
			while (m->to_raw.q.n) {
				ends_take(&m->to_raw.q, &d);
				if (d.len != UPDATE_LEN)
					give_raw(m, &d);
			}
			cr_assert_eq(m->raw.ssl->dtls13Epoch.n, before + 1, "cycle %d", cycle);
			/* the second one: our first answers are lost, so it is repeated */
			cr_assert(raw_updates(m), "cycle %d", cycle);
			m->lose_emitted = 2;
			both_send(m, 5);
			for (int i = 0; i < 20 && m->raw.ssl->dtls13Epoch.n != before + 2; i++)
				rest(m, 4);
			cr_assert_eq(m->raw.ssl->dtls13Epoch.n, before + 2, "cycle %d", cycle);
			rest(m, 40);
			both_send(m, 5);
		}
		printf("peer's epoch %lu, ours %lu\n", (unsigned long)m->raw.ssl->dtls13Epoch.n,
		       (unsigned long)m->raw.ssl->dtls13PeerEpoch.n);
		all_is_well(m);
		meet_free(m, 10);
	}
}

/* Each of our first datagrams lost in turn, and each of the peer's: no number twice, then data. */
Test(traffic, handshakes_that_repeat_themselves_use_no_number_twice)
{
	unsigned up = 0;

	for (int server = 0; server < 2; server++)
		for (int lost = 0; lost < 10; lost++)
			for (int theirs = 0; theirs < 2; theirs++) {
				struct meet *m = meet_new(server);
				struct way *w = theirs ? &m->to_us : &m->to_raw;

				w->lose_at = lost + 1;
				meet_start(m);
				w->lose_at = 0; /* it may have needed fewer */
				up++;
				both_send(m, 50);
				cr_assert_eq(m->to_us.got, 50,
				             "raw %s, of %s datagrams %d lost, %lu",
				             server ? "server" : "client", theirs ? "its" : "our",
				             lost, (unsigned long)m->to_us.got);
				cr_assert_eq(m->to_raw.got, 50);
				all_is_well(m);
				meet_free(m, 3);
			}
	cr_assert_eq(up, 40);
}

Test(traffic, goodbyes_are_understood_both_ways)
{
	for (int server = 0; server < 2; server++) {
		struct meet *m = meet(server);

		both_send(m, 10);
		session_close(m->s);
		run(m);
		cr_assert(m->goodbye);
		meet_free(m, 3);
		m = meet(server);
		both_send(m, 10);
		wolfSSL_shutdown(m->raw.ssl);
		drain_raw(m);
		run(m);
		cr_assert_eq(session_state(m->s), SESSION_CLOSED);
		cr_assert_str_eq(session_why(m->s), "the peer closed the session");
		meet_free(m, 3);
	}
}

/* Else all the above says nothing. */
Test(traffic, the_tap_knows_a_number_used_twice)
{
	struct meet *m = meet(true);
	uint8_t d[256];
	ssize_t n = ends_seal(m->s, "once", 4, d);

	cr_assert_gt(n, 0);
	tap_note(&m->tap, d, (size_t)n);
	tap_note(&m->tap, d, (size_t)n);
	d[n - 1] ^= 1;
	tap_note(&m->tap, d, (size_t)n);
	tap_judge(&m->tap);
	cr_assert_eq(m->tap.twice, 1);
	cr_assert_eq(m->tap.foreign, 1);
	tap_clear(&m->tap);
	raw_clear(&m->raw);
	session_free(m->s);
	free(m);
}
