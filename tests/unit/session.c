/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/session.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#include "crypto/traffic.h"
#include "tests/ends.h"
#include "tests/raw.h"
#include "tests/zoo.h"

#define SEC (1000 * ENDS_MS)
#define BIG 17000

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

TestSuite(session, .init = setup, .fini = teardown, .timeout = 120);

/* -- two of ours ------------------------------------------------------------------------------ */

struct pair {
	struct session *client, *server;
	struct session_listener *listener;
	struct session_accept accept;
	struct ends_queue to_client, to_server;
	int64_t now;
};

static struct pair *pair_new(struct wolf *c, struct wolf *s, const char *expect)
{
	struct pair *p = calloc(1, sizeof(*p));
	struct session_dial dial = {expect, {1, 2, 3, 4}, ends_emit, &p->to_server};

	p->now = ENDS_START;
	p->accept =
		(struct session_accept){"10.9.0.1:1", 10, {5, 6, 7, 8}, ends_emit, &p->to_client};
	cr_assert_eq(session_listener_new(&p->listener, s), 0);
	cr_assert_eq(session_dial(&p->client, c, &dial, p->now), 0);
	return p;
}

static void pair_free(struct pair *p)
{
	session_free(p->client);
	session_free(p->server);
	session_listener_free(p->listener);
	free(p);
}

/* Gives the server one datagram, as an engine would. */
static void give_server(struct pair *p, const uint8_t *d, size_t len)
{
	struct session *fresh = NULL;
	uint8_t out[64];

	if (session_is_new_hello(p->server, d, len)) {
		if (session_listener_feed(p->listener, &p->accept, d, len, p->now, &fresh) == 1) {
			session_free(p->server);
			p->server = fresh;
		}
	} else if (p->server && session_state(p->server) == SESSION_HANDSHAKE) {
		session_feed(p->server, d, len, p->now);
	} else if (p->server) {
		ends_open(p->server, d, len, out, p->now);
	}
}

static void give_client(struct pair *p, const uint8_t *d, size_t len)
{
	uint8_t out[64];

	if (session_state(p->client) == SESSION_HANDSHAKE)
		session_feed(p->client, d, len, p->now);
	else
		ends_open(p->client, d, len, out, p->now);
}

/* One datagram each way; false: none. */
static bool pass_to_server(struct pair *p)
{
	struct ends_datagram d;

	if (!p->to_server.n)
		return false;
	ends_take(&p->to_server, &d);
	give_server(p, d.bytes, d.len);
	return true;
}

static bool pass_to_client(struct pair *p)
{
	struct ends_datagram d;

	if (!p->to_client.n)
		return false;
	ends_take(&p->to_client, &d);
	give_client(p, d.bytes, d.len);
	return true;
}

static void settle(struct pair *p)
{
	bool more;

	do {
		more = pass_to_server(p);
		more |= pass_to_client(p);
	} while (more);
}

/* On with the clock until both have made up their minds. */
static void finish(struct pair *p)
{
	settle(p);
	while (p->now < ENDS_START + 20 * SEC &&
	       (session_state(p->client) == SESSION_HANDSHAKE ||
	        (p->server && session_state(p->server) == SESSION_HANDSHAKE))) {
		int64_t at = session_deadline(p->client);

		if (p->server && session_deadline(p->server) < at)
			at = session_deadline(p->server);
		p->now = at;
		session_tick(p->client, p->now);
		if (p->server)
			session_tick(p->server, p->now);
		settle(p);
	}
}

static struct pair *pair_up(void)
{
	struct pair *p = pair_new(n1, n2, "n2");

	settle(p);
	cr_assert_eq(session_state(p->client), SESSION_UP);
	cr_assert(p->server);
	cr_assert_eq(session_state(p->server), SESSION_UP);
	return p;
}

static size_t seal(struct session *s, const char *text, uint8_t *out)
{
	ssize_t n = ends_seal(s, text, strlen(text), out);

	cr_assert_gt(n, 0);
	return (size_t)n;
}

static ssize_t opens(struct pair *p, struct session *s, const uint8_t *d, size_t len)
{
	uint8_t out[256];

	return ends_open(s, d, len, out, p->now);
}

static void still_well(struct pair *p)
{
	uint8_t d[256];
	size_t n = seal(p->client, "ping", d);

	cr_assert_eq(session_state(p->client), SESSION_UP);
	cr_assert_eq(session_state(p->server), SESSION_UP);
	cr_assert_eq(opens(p, p->server, d, n), 4);
	n = seal(p->server, "pong", d);
	cr_assert_eq(opens(p, p->client, d, n), 4);
}

Test(session, both_ends_know_each_other_by_name)
{
	struct pair *p = pair_up();

	cr_assert_str_eq(session_peer(p->client)->node, "n2");
	cr_assert_str_eq(session_peer(p->server)->node, "n1");
	cr_assert_str_eq(session_kex(p->client), "X25519MLKEM768");
	cr_assert_str_eq(session_kex(p->server), "X25519MLKEM768");
	cr_assert_str_eq(session_cipher(p->client), session_cipher(p->server));
	cr_assert(session_is_client(p->client) && !session_is_client(p->server));
	cr_assert_eq(session_refusal(p->client), CERT_OK);
	cr_assert_str_eq(session_why(p->client), "");
	cr_assert_eq(session_deadline(p->client), INT64_MAX);
	cr_assert_eq(session_deadline(p->server), INT64_MAX);
	still_well(p);
	pair_free(p);
}

Test(session, seals_what_it_says_and_no_more)
{
	static uint8_t plain[BIG], d[BIG], out[BIG];
	static const size_t sizes[] = {1, 15, 16, 17, 1400, 9000, SESSION_PLAIN_MAX};
	struct pair *p = pair_up();

	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t len = sizes[i];
		ssize_t n = ends_seal(p->client, plain, len, d);

		cr_assert_eq(n, (ssize_t)(len + SESSION_OVERHEAD));
		cr_assert_eq(memcmp(session_datagram_cid(d, (size_t)n), session_cid(p->server), 4),
		             0);
		cr_assert_eq(ends_open(p->server, d, (size_t)n, out, p->now), (ssize_t)len);
		cr_assert_eq(memcmp(out, plain, len), 0);
	}
	cr_assert_eq(session_sealed(p->client), sizeof(sizes) / sizeof(sizes[0]));
	cr_assert_eq(ends_seal(p->client, plain, 0, d), -EMSGSIZE);
	cr_assert_eq(ends_seal(p->client, plain, SESSION_PLAIN_MAX + 1, d), -EMSGSIZE);
	still_well(p);
	pair_free(p);
}

Test(session, carries_nothing_before_it_is_up)
{
	struct pair *p = pair_new(n1, n2, "n2");
	uint8_t d[256] = {0x2f}, out[256];

	cr_assert_eq(ends_seal(p->client, d, 4, out), -EPIPE);
	cr_assert_eq(ends_open(p->client, d, 100, out, p->now), -EPIPE);
	cr_assert_null(session_peer(p->client));
	pass_to_server(p);
	pass_to_client(p);
	pass_to_server(p);
	cr_assert(p->server);
	cr_assert_eq(ends_seal(p->server, d, 4, out), -EPIPE);
	cr_assert_eq(ends_open(p->server, d, 100, out, p->now), -EPIPE);
	cr_assert_null(session_peer(p->server));
	pair_free(p);
}

/* The server is up first. Its data may overtake the acknowledgement that makes the client so. */
Test(session, is_up_by_the_acknowledgement_and_not_by_data)
{
	struct pair *p = pair_new(n1, n2, "n2");
	struct ends_datagram ack;
	uint8_t d[256];
	size_t n;

	while (!p->server || session_state(p->server) != SESSION_UP) {
		bool moved = pass_to_server(p);

		if (!p->server || session_state(p->server) != SESSION_UP)
			moved |= pass_to_client(p);
		cr_assert(moved);
	}
	cr_assert_eq(p->to_client.n, 1);
	ends_take(&p->to_client, &ack);
	for (int i = 0; i < 3; i++) {
		n = seal(p->server, "early", d);
		cr_assert_eq(session_feed(p->client, d, n, p->now), SESSION_HANDSHAKE);
	}
	cr_assert_eq(session_feed(p->client, ack.bytes, ack.len, p->now), SESSION_UP);
	still_well(p);
	pair_free(p);
}

/* -- what an attacker can send ----------------------------------------------------------------- */

Test(session, refuses_each_record_once_opened)
{
	struct pair *p = pair_up();
	uint8_t d[256];
	size_t n = seal(p->client, "once", d);

	cr_assert_eq(opens(p, p->server, d, n), 4);
	cr_assert_eq(opens(p, p->server, d, n), -EALREADY);
	cr_assert_eq(opens(p, p->server, d, n), -EALREADY);
	still_well(p);
	pair_free(p);
}

Test(session, takes_records_in_any_order_within_the_window)
{
	enum { MANY = 8000, FAR = 20000 };
	static uint8_t d[FAR][64];
	static size_t len[FAR];
	struct pair *p = pair_up();

	for (int i = 0; i < FAR; i++)
		len[i] = (size_t)ends_seal(p->client, "x", 1, d[i]);
	for (int i = MANY; i-- > 0;)
		cr_assert_eq(opens(p, p->server, d[i], len[i]), 1, "record %d", i);
	for (int i = 0; i < MANY; i++)
		cr_assert_eq(opens(p, p->server, d[i], len[i]), -EALREADY, "record %d", i);
	cr_assert_eq(opens(p, p->server, d[FAR - 1], len[FAR - 1]), 1);
	cr_assert_eq(opens(p, p->server, d[MANY], len[MANY]), -EALREADY); /* too old */
	still_well(p);
	pair_free(p);
}

/* A record number that is changed may be one that has been seen: its own two bytes, or those of the
 * sample from which its mask is made.
 */
static bool refused(ssize_t r, size_t byte)
{
	return r == -EBADMSG || (r == -EALREADY && byte >= 5 && byte < 7 + 16);
}

Test(session, refuses_a_record_with_any_bit_changed)
{
	struct pair *p = pair_up();
	uint8_t d[256], f[256];
	size_t n = seal(p->client, "a packet of some bytes", d);

	for (size_t bit = 0; bit < n * 8; bit++) {
		memcpy(f, d, n);
		f[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert(refused(opens(p, p->server, f, n), bit / 8), "bit %zu", bit);
		cr_assert_eq(session_state(p->server), SESSION_UP);
	}
	cr_assert_eq(p->to_client.n, 0); /* and says nothing */
	cr_assert_eq(opens(p, p->server, d, n), 22);
	still_well(p);
	pair_free(p);
}

Test(session, refuses_a_record_cut_at_any_length)
{
	struct pair *p = pair_up();
	uint8_t d[256];
	size_t n = seal(p->client, "a packet of some bytes", d);

	for (size_t i = 0; i < n; i++)
		cr_assert_eq(opens(p, p->server, d, i), -EBADMSG, "cut at %zu", i);
	cr_assert_eq(opens(p, p->server, d, n), 22);
	still_well(p);
	pair_free(p);
}

Test(session, is_not_ended_by_noise_or_by_anything_in_the_clear)
{
	static const uint8_t alert[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
	static const uint8_t closing[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0};
	static const uint8_t ack[] = {26, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 0, 0};
	static const uint8_t data[] = {23, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 2};
	static const uint8_t change[] = {20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1};
	struct pair *p = pair_up(), *other = pair_new(n1, n2, "n2");
	struct session *ends[] = {p->client, p->server};
	struct ends_datagram hello;
	unsigned dice = 1;

	ends_take(&other->to_server, &hello);
	for (int e = 0; e < 2; e++) {
		cr_assert_eq(opens(p, ends[e], alert, sizeof(alert)), -EBADMSG);
		cr_assert_eq(opens(p, ends[e], closing, sizeof(closing)), -EBADMSG);
		cr_assert_eq(opens(p, ends[e], ack, sizeof(ack)), -EBADMSG);
		cr_assert_eq(opens(p, ends[e], data, sizeof(data)), -EBADMSG);
		cr_assert_eq(opens(p, ends[e], change, sizeof(change)), -EBADMSG);
		cr_assert_eq(opens(p, ends[e], hello.bytes, hello.len), -EBADMSG);
		cr_assert_eq(opens(p, ends[e], (const uint8_t *)"", 0), -EBADMSG);
		for (int i = 0; i < 3000; i++) {
			uint8_t d[120];
			ssize_t refused;
			size_t len;

			for (size_t k = 0; k < sizeof(d); k++)
				d[k] = (uint8_t)((dice = dice * 1103515245 + 12345) >> 16);
			len = 1 + d[0] % (sizeof(d) - 1);
			if (i % 2) { /* noise behind a good header, of every epoch */
				d[0] = (uint8_t)(0x30 | (d[0] & 0xf));
				memcpy(d + 1, session_cid(ends[e]), SESSION_CID_LEN);
			}
			/* Its number is anything, so it may be that of a record that came before. */
			refused = opens(p, ends[e], d, len);
			cr_assert(refused == -EBADMSG || (i % 2 && refused == -EALREADY), "%zd",
			          refused);
		}
	}
	still_well(p);
	pair_free(other);
	pair_free(p);
}

Test(session, drops_the_cid_of_another)
{
	struct pair *p = pair_up();
	uint8_t d[256];
	size_t n = seal(p->client, "mine", d);

	d[4] ^= 0x80;
	cr_assert_eq(opens(p, p->server, d, n), -EBADMSG);
	d[4] ^= 0x80;
	cr_assert_eq(opens(p, p->server, d, n), 4);
	pair_free(p);
}

Test(session, is_closed_by_the_peers_goodbye)
{
	struct pair *p = pair_up();
	struct ends_datagram d;
	uint8_t out[64];

	session_close(p->client);
	cr_assert_eq(session_state(p->client), SESSION_CLOSED);
	cr_assert_eq(ends_seal(p->client, out, 4, out), -EPIPE);
	cr_assert_eq(p->to_server.n, 1);
	ends_take(&p->to_server, &d);
	cr_assert_eq(opens(p, p->server, d.bytes, d.len), -EPIPE);
	cr_assert_eq(session_state(p->server), SESSION_CLOSED);
	cr_assert_str_eq(session_why(p->server), "the peer closed the session");
	cr_assert_eq(ends_seal(p->server, out, 4, out), -EPIPE);
	session_close(p->server); /* twice is once */
	pair_free(p);
}

/* -- what a key may do ---------------------------------------------------------------------------- */

Test(session, a_key_seals_no_more_than_it_may)
{
	struct pair *p = pair_up();
	struct record_sealer *s = session_traffic(p->client)->send;
	uint8_t d[64];
	ssize_t n;

	cr_assert(!session_wants_rekey(p->client));
	s->next = SESSION_RECORDS_SOFT;
	cr_assert(session_wants_rekey(p->client));
	s->next = SESSION_RECORDS_HARD - RECORD_RESERVE - 1;
	n = ends_seal(p->client, "last", 4, d);
	cr_assert_gt(n, 0);
	cr_assert_eq(ends_seal(p->client, "more", 4, d), -EKEYEXPIRED);
	cr_assert_eq(session_state(p->client), SESSION_UP); /* it still opens, and says goodbye */
	n = ends_seal(p->server, "hear", 4, d);
	cr_assert_eq(opens(p, p->client, d, (size_t)n), 4);
	replay_init(&session_traffic(p->server)->receive->replay, s->next);
	session_close(p->client);
	pass_to_server(p);
	cr_assert_eq(session_state(p->server), SESSION_CLOSED);
	pair_free(p);
}

Test(session, ends_after_too_many_forgeries)
{
	struct pair *p = pair_up();
	struct record_opener *o = session_traffic(p->server)->receive;
	uint8_t d[64], bad[64];
	size_t n = seal(p->client, "good", d);

	memcpy(bad, d, n);
	bad[n - 1] ^= 1;
	cr_assert_eq(opens(p, p->server, bad, n), -EBADMSG);
	cr_assert_eq(o->forged, 1);
	o->forged = RECORD_FORGED_SOFT;
	cr_assert(session_wants_rekey(p->server));
	o->forged = RECORD_FORGED_HARD - 1;
	cr_assert_eq(opens(p, p->server, bad, n), -EBADMSG);
	cr_assert_eq(session_state(p->server), SESSION_UP);
	cr_assert_eq(opens(p, p->server, d, n), -EPIPE);
	cr_assert_eq(session_state(p->server), SESSION_FAILED);
	cr_assert_str_eq(session_why(p->server), "too many forged records");
	cr_assert_eq(ends_seal(p->server, d, 4, bad), -EPIPE);
	pass_to_client(p); /* and the other is told */
	cr_assert_eq(session_state(p->client), SESSION_CLOSED);
	pair_free(p);
}

Test(session, hears_again_after_a_million_lost_records)
{
	struct pair *p = pair_up();
	uint8_t d[64];
	ssize_t n;
	int tries = 0;

	still_well(p);
	session_traffic(p->client)->send->next += 1000000;
	do {
		n = ends_seal(p->client, "there?", 6, d);
		cr_assert_lt(tries++, 10);
	} while (opens(p, p->server, d, (size_t)n) < 0);
	still_well(p);
	pair_free(p);
}

/* -- handshakes that others disturb -------------------------------------------------------------- */

/* Forged for a session that is still shaking hands, at every point of it, at both ends. */
Test(session, comes_up_though_alerts_acks_and_noise_are_forged)
{
	static const uint8_t alert[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
	uint8_t ack[13 + 2 + 16 * 12] = {26, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 194, 0, 192};
	uint8_t noise[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1,   0,   16,  2,  0,
	                   0,  4,    0,    0, 0, 0, 0, 0, 0, 4, 0xa, 0xb, 0xc, 0xd};
	struct pair *p = pair_new(n1, n2, "n2");
	bool more;

	for (size_t i = 0; i < 12; i++) { /* all that a client can have sent in epoch 2 */
		ack[15 + 16 * i + 7] = 2;
		ack[15 + 16 * i + 15] = (uint8_t)i;
	}
	do {
		give_client(p, alert, sizeof(alert));
		give_client(p, ack, sizeof(ack));
		give_client(p, noise, sizeof(noise) - 1);
		cr_assert_neq(session_state(p->client), SESSION_FAILED);
		if (p->server) {
			give_server(p, alert, sizeof(alert));
			give_server(p, ack, sizeof(ack));
			give_server(p, noise, sizeof(noise));
			cr_assert_neq(session_state(p->server), SESSION_FAILED);
			/* up by no forged acknowledgement */
			cr_assert(session_state(p->client) != SESSION_UP ||
			          session_state(p->server) == SESSION_UP);
		}
		more = pass_to_server(p);
		more |= pass_to_client(p);
	} while (more);
	finish(p);
	cr_assert_eq(session_state(p->client), SESSION_UP, "%s", session_why(p->client));
	cr_assert_eq(session_state(p->server), SESSION_UP);
	still_well(p);
	pair_free(p);
}

/* A ServerHello in the clear proves nothing: a client that was misled tries again. */
Test(session, starts_anew_after_a_forged_answer)
{
	struct pair *p = pair_new(n1, n2, "n2");
	struct ends_datagram d;

	pass_to_server(p);
	ends_take(&p->to_client, &d);
	d.bytes[d.len - 1] ^= 1; /* in the cookie or the group */
	give_client(p, d.bytes, d.len);
	cr_assert_eq(session_state(p->client), SESSION_HANDSHAKE);
	finish(p);
	cr_assert_eq(session_state(p->client), SESSION_UP, "%s", session_why(p->client));
	cr_assert_eq(session_state(p->server), SESSION_UP);
	still_well(p);
	pair_free(p);
}

Test(session, gives_up_when_nobody_answers)
{
	struct pair *p = pair_new(n1, n2, "n2");
	unsigned hellos = 0;

	while (session_state(p->client) == SESSION_HANDSHAKE) {
		hellos += p->to_server.n;
		p->to_server.n = 0;
		p->now = session_deadline(p->client);
		session_tick(p->client, p->now);
	}
	cr_assert_eq(p->now, ENDS_START + SESSION_DEADLINE);
	cr_assert_eq(session_state(p->client), SESSION_FAILED);
	cr_assert_str_eq(session_why(p->client), "no answer");
	cr_assert(hellos >= 12 && hellos <= 30, "%u hellos", hellos);
	pair_free(p);
}

Test(session, a_half_open_one_ends_by_itself)
{
	struct pair *p = pair_new(n1, n2, "n2");
	unsigned datagrams = 0;

	pass_to_server(p);
	pass_to_client(p);
	pass_to_server(p);
	pass_to_server(p);
	cr_assert(p->server);
	while (session_state(p->server) == SESSION_HANDSHAKE) {
		datagrams += p->to_client.n;
		p->to_client.n = 0;
		p->now = session_deadline(p->server);
		session_tick(p->server, p->now);
	}
	cr_assert_eq(p->now, ENDS_START + SESSION_DEADLINE);
	cr_assert_eq(session_state(p->server), SESSION_FAILED);
	cr_assert_leq(datagrams, 100); /* seven to an address that has proved itself, repeated */
	pair_free(p);
}

Test(session, believes_a_refusal_in_the_clear_when_nothing_better_comes)
{
	static const uint8_t alert[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 120};
	struct pair *p = pair_new(n1, n2, "n2");

	give_client(p, alert, sizeof(alert));
	while (session_state(p->client) == SESSION_HANDSHAKE) {
		p->to_server.n = 0;
		p->now = session_deadline(p->client);
		session_tick(p->client, p->now);
	}
	cr_assert_eq(p->now, ENDS_START + SESSION_RESTART);
	cr_assert_eq(session_peer_alert(p->client), 120);
	cr_assert_str_eq(session_why(p->client),
	                 "the peer ended it: no common application protocol (alert 120)");
	pair_free(p);
}

Test(session, a_client_that_starts_anew_replaces_its_half_open_session)
{
	struct pair *p = pair_new(n1, n2, "n2");
	struct session_dial dial = {"n2", {1, 2, 3, 4}, ends_emit, &p->to_server};
	struct ends_datagram d;
	struct session *before;

	pass_to_server(p);
	pass_to_client(p);
	cr_assert_eq(p->to_server.n, 2);
	d = *ends_next(&p->to_server);
	cr_assert(session_is_new_hello(NULL, d.bytes, d.len));
	pass_to_server(p);
	pass_to_server(p);
	cr_assert(p->server);
	cr_assert(!session_is_new_hello(p->server, d.bytes, d.len)); /* its own, repeated */
	before = p->server;
	session_free(p->client);
	p->to_client.n = p->to_server.n = 0;
	cr_assert_eq(session_dial(&p->client, n1, &dial, p->now), 0);
	d = *ends_next(&p->to_server);
	cr_assert(session_is_new_hello(p->server, d.bytes, d.len));
	pass_to_server(p);
	cr_assert_eq(p->server, before); /* not before its cookie came back */
	settle(p);
	cr_assert_eq(session_state(p->client), SESSION_UP);
	cr_assert_eq(session_state(p->server), SESSION_UP);
	still_well(p);
	pair_free(p);
}

/* -- the listener ------------------------------------------------------------------------------- */

/* Up to the second hello, whose two datagrams it leaves in to_server. */
static struct pair *pair_with_cookie(void)
{
	struct pair *p = pair_new(n1, n2, "n2");

	pass_to_server(p);
	pass_to_client(p);
	cr_assert_eq(p->to_server.n, 2);
	return p;
}

static int listener_says(struct pair *p, const char *address, const struct ends_datagram *d)
{
	struct session_accept a = p->accept;
	struct session *s = NULL;
	int r;

	a.address = address;
	a.address_len = strlen(address);
	r = session_listener_feed(p->listener, &a, d->bytes, d->len, p->now, &s);
	session_free(s);
	return r;
}

Test(session, takes_a_cookie_from_the_address_it_was_made_for_alone)
{
	struct pair *p = pair_with_cookie();
	struct ends_datagram d = *ends_next(&p->to_server);

	cr_assert_eq(listener_says(p, "10.9.0.2:1", &d), 0);
	cr_assert_eq(listener_says(p, "10.9.0.1:2", &d), 0);
	cr_assert_eq(listener_says(p, "10.9.0.1:11", &d), 0);
	cr_assert_eq(p->to_client.n, 0); /* nor does it answer */
	cr_assert_eq(listener_says(p, "10.9.0.1:1", &d), 1);
	pair_free(p);
}

Test(session, takes_the_cookie_before_last_no_more)
{
	struct pair *p = pair_with_cookie();
	struct ends_datagram d = *ends_next(&p->to_server);

	cr_assert_eq(wolf_cookie_rotate(n2), 0);
	cr_assert_eq(listener_says(p, "10.9.0.1:1", &d), 1);
	cr_assert_eq(wolf_cookie_rotate(n2), 0);
	cr_assert_eq(listener_says(p, "10.9.0.1:1", &d), 0);
	finish(p); /* the client is given a new one */
	cr_assert_eq(session_state(p->client), SESSION_UP, "%s", session_why(p->client));
	pair_free(p);
}

Test(session, handshakes_go_on_while_the_cookie_secret_changes)
{
	struct pair *p = pair_with_cookie();

	wolf_cookie_rotate(n2);
	pass_to_server(p); /* the first half of the hello */
	cr_assert(p->server);
	wolf_cookie_rotate(n2);
	wolf_cookie_rotate(n2);
	settle(p);
	cr_assert_eq(session_state(p->client), SESSION_UP);
	cr_assert_eq(p->now, ENDS_START);
	pair_free(p);
}

Test(session, keeps_nothing_of_a_stranger)
{
	struct pair *p = pair_new(n1, n2, "n2");
	struct ends_datagram hello;
	struct mallinfo2 before, after;

	ends_take(&p->to_server, &hello);
	cr_assert_eq(listener_says(p, "10.9.0.1:1", &hello), 0);
	before = mallinfo2();
	for (int i = 0; i < 1000; i++) {
		char from[32];

		snprintf(from, sizeof(from), "10.9.1.%d:%d", i % 250, i);
		p->to_client.n = 0;
		cr_assert_eq(listener_says(p, from, &hello), 0);
		cr_assert_eq(p->to_client.n, 1);
		cr_assert_leq(ends_next(&p->to_client)->len, hello.len + 32);
	}
	after = mallinfo2();
	cr_assert_leq(after.uordblks, before.uordblks + 4096);
	pair_free(p);
}

Test(session, answers_no_damaged_hello_with_an_alert)
{
	struct pair *p = pair_new(n1, n2, "n2");
	struct ends_datagram hello, d;

	ends_take(&p->to_server, &hello);
	for (size_t i = 0; i < hello.len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			d = hello;
			d.bytes[i] ^= (uint8_t)(1 << bit);
			cr_assert_eq(listener_says(p, "10.9.0.1:1", &d), 0);
		}
		d = hello;
		d.len = i;
		cr_assert_eq(listener_says(p, "10.9.0.1:1", &d), 0);
		for (unsigned k = 0; k < p->to_client.n; k++)
			cr_assert_eq(p->to_client.d[k].bytes[0], 22);
		p->to_client.n = 0;
	}
	give_server(p, hello.bytes, hello.len);
	settle(p);
	cr_assert_eq(session_state(p->client), SESSION_UP);
	pair_free(p);
}

/* The same of the second hello: no damaged one becomes more than a half-open session. */
Test(session, is_up_after_a_thousand_damaged_hellos)
{
	struct pair *p = pair_with_cookie();
	struct ends_datagram good = *ends_next(&p->to_server), d;
	unsigned made = 0;

	for (size_t i = 13; i < 500; i++) {
		d = good;
		d.bytes[i] ^= 0x41;
		made += listener_says(p, "10.9.0.1:1", &d) == 1;
		d = good;
		d.len = i * 2;
		made += listener_says(p, "10.9.0.1:1", &d) == 1;
	}
	printf("%u damaged second hellos with a good cookie\n", made);
	settle(p);
	finish(p);
	cr_assert_eq(session_state(p->client), SESSION_UP, "%s", session_why(p->client));
	pair_free(p);
}

Test(session, many_clients_of_one_listener_come_up_amid_noise)
{
	enum { CLIENTS = 32 };
	struct pair *p[CLIENTS];
	unsigned dice = 7;
	bool more = true;

	for (int i = 0; i < CLIENTS; i++) {
		p[i] = pair_new(n1, n2, "n2");
		if (i) { /* all at the first one's */
			session_listener_free(p[i]->listener);
			p[i]->listener = p[0]->listener;
		}
		p[i]->accept.address = p[i];
		p[i]->accept.address_len = sizeof(void *);
		p[i]->accept.cid[0] = (uint8_t)i;
	}
	while (more) {
		more = false;
		for (int i = 0; i < CLIENTS; i++) {
			struct ends_datagram junk = {.len = 200};

			for (size_t k = 0; k < junk.len; k++)
				junk.bytes[k] = (uint8_t)((dice = dice * 1103515245 + 12345) >> 16);
			give_server(p[i], junk.bytes, junk.len);
			if (p[i]->to_server.n) { /* half a hello, and a damaged one */
				junk = *ends_next(&p[i]->to_server);
				listener_says(p[i], "else", &junk);
				junk.bytes[60] ^= 0x41;
				listener_says(p[i], "else", &junk);
			}
			more |= pass_to_server(p[i]);
		}
		for (int i = CLIENTS; i-- > 0;)
			more |= pass_to_client(p[i]);
	}
	for (int i = 0; i < CLIENTS; i++) {
		finish(p[i]);
		cr_assert_eq(session_state(p[i]->client), SESSION_UP, "%s",
		             session_why(p[i]->client));
		cr_assert_eq(session_state(p[i]->server), SESSION_UP);
		cr_assert_eq(session_cid(p[i]->server)[0], i);
		still_well(p[i]);
	}
	for (int i = CLIENTS; i-- > 0;) {
		if (i)
			p[i]->listener = NULL;
		pair_free(p[i]);
	}
}

Test(session, an_idle_one_costs_less_than_16_KiB)
{
	enum { MANY = 64 };
	struct session *client[MANY], *server[MANY];
	struct mallinfo2 before, after;

	for (int i = 0; i < MANY; i++) {
		struct pair *p = pair_up();

		if (i == 0)
			before = mallinfo2();
		client[i] = p->client;
		server[i] = p->server;
		session_set_emit(p->client, NULL, NULL);
		session_set_emit(p->server, NULL, NULL);
		p->client = p->server = NULL;
		pair_free(p);
	}
	after = mallinfo2();
	printf("%zu bytes a session\n", (after.uordblks - before.uordblks) / (2 * (MANY - 1)));
	cr_assert_leq(after.uordblks - before.uordblks, (size_t)2 * MANY * 16384);
	for (int i = 0; i < MANY; i++) {
		session_free(client[i]);
		session_free(server[i]);
	}
}

/* -- whom we take ------------------------------------------------------------------------------- */

static enum cert_refusal admit(void *arg, const struct cert_info *peer)
{
	struct cert_info *saw = arg;

	*saw = *peer;
	return strcmp(peer->node, "n9") == 0 ? CERT_REVOKED : CERT_OK;
}

static struct wolf *wolf_admitting(const char *node, struct cert_info *saw)
{
	struct ends_id id;
	struct cert_chain chain = {.n = 1};
	struct wolf_params params = {.trust = ca.trust,
	                             .cluster = ENDS_CLUSTER,
	                             .chain = &chain,
	                             .wall = ends_wall,
	                             .admit = admit,
	                             .admit_arg = saw};
	struct wolf *w;

	ends_issue(&ca, &id, ENDS_CLUSTER, node, ROLE_NODE);
	chain.at[0].der = id.der;
	chain.at[0].len = id.len;
	params.key = id.key;
	cr_assert_eq(wolf_new(&w, &params), 0);
	ends_id_clear(&id);
	return w;
}

static void refused_by_client(struct pair *p, enum cert_refusal why)
{
	finish(p);
	cr_assert_eq(session_state(p->client), SESSION_FAILED);
	cr_assert_eq(session_refusal(p->client), why, "%s",
	             cert_refusal_name(session_refusal(p->client)));
	cr_assert(strstr(session_why(p->client), cert_refusal_text(why)), "%s",
	          session_why(p->client));
	cr_assert_null(session_peer(p->client));
	cr_assert(!p->server || session_state(p->server) == SESSION_FAILED);
	cr_assert(!p->server || session_peer_alert(p->server) > 0);
}

static void refused_by_server(struct pair *p, enum cert_refusal why)
{
	settle(p);
	cr_assert_eq(session_state(p->server), SESSION_FAILED);
	cr_assert_eq(session_refusal(p->server), why, "%s",
	             cert_refusal_name(session_refusal(p->server)));
	cr_assert(strstr(session_why(p->server), cert_refusal_text(why)));
	cr_assert_null(session_peer(p->server));
	cr_assert_eq(session_state(p->client), SESSION_FAILED); /* and never up before */
	cr_assert_gt(session_peer_alert(p->client), 0);
	cr_assert(strstr(session_why(p->client), "alert"), "%s", session_why(p->client));
}

Test(session, asks_who_is_admitted_at_both_ends)
{
	struct cert_info saw = {.node = ""};
	struct wolf *judge = wolf_admitting("n3", &saw), *n9 = ends_wolf(&ca, "n9", ROLE_NODE);
	struct pair *p = pair_new(n1, judge, "n3");

	settle(p);
	cr_assert_eq(session_state(p->client), SESSION_UP);
	cr_assert_str_eq(saw.node, "n1");
	pair_free(p);
	p = pair_new(n9, judge, "n3");
	refused_by_server(p, CERT_REVOKED);
	cr_assert_str_eq(saw.node, "n9");
	pair_free(p);
	p = pair_new(judge, n9, "n9");
	refused_by_client(p, CERT_REVOKED);
	pair_free(p);
	memset(&saw, 0, sizeof(saw)); /* a wrong name is refused before it is asked */
	p = pair_new(judge, n9, "n8");
	refused_by_client(p, CERT_OTHER_NAME);
	cr_assert_str_eq(saw.node, "");
	pair_free(p);
	wolf_put(judge);
	wolf_put(n9);
}

Test(session, a_manager_is_no_node)
{
	struct wolf *m = ends_wolf(&ca, "m1", ROLE_MANAGER);
	struct pair *p = pair_new(n1, m, "m1");

	refused_by_client(p, CERT_ROLE);
	pair_free(p);
	p = pair_new(m, n1, "n1");
	refused_by_server(p, CERT_ROLE);
	pair_free(p);
	wolf_put(m);
}

Test(session, is_made_of_what_belongs_together_alone)
{
	struct ends_id a, b, stranger;
	struct wolf_params none = {.cluster = ENDS_CLUSTER};
	struct wolf *w;

	ends_issue(&ca, &a, ENDS_CLUSTER, "a", ROLE_NODE);
	ends_issue(&ca, &b, ENDS_CLUSTER, "b", ROLE_NODE);
	ends_issue(&ca, &stranger, ENDS_CLUSTER, "s", ROLE_NODE);
	w = ends_wolf_of(ca.trust, ENDS_CLUSTER, &a);
	cr_assert(w);
	wolf_put(w);
	cr_assert_null(ends_wolf_of(ca.trust, "c2", &a)); /* another cluster's name */
	memcpy(a.der, b.der, b.len);
	a.len = b.len;
	cr_assert_null(ends_wolf_of(ca.trust, ENDS_CLUSTER, &a)); /* another's key */
	stranger.len = 10;
	cr_assert_null(ends_wolf_of(ca.trust, ENDS_CLUSTER, &stranger));
	cr_assert_eq(wolf_new(&w, &none), -EINVAL); /* whom to trust? */
	ends_id_clear(&a);
	ends_id_clear(&b);
	ends_id_clear(&stranger);
}

/* -- peers that are not ours -------------------------------------------------------------------- */

struct foreign {
	struct raw raw;
	struct session *s;
	struct session_listener *listener;
	int64_t now;
};

static void to_raw(void *arg, const uint8_t *d, size_t len)
{
	raw_put(&((struct foreign *)arg)->raw.in, d, len);
}

static void foreign_give(struct foreign *f, const uint8_t *d, size_t len)
{
	const struct session_accept a = {"10.9.0.7:1", 10, {5, 6, 7, 8}, to_raw, f};
	static uint8_t out[BIG];

	if (f->raw.server || (f->s && !session_is_new_hello(f->s, d, len))) {
		if (session_state(f->s) == SESSION_HANDSHAKE)
			session_feed(f->s, d, len, f->now);
		else
			ends_open(f->s, d, len, out, f->now);
	} else {
		struct session *fresh = NULL;

		if (session_listener_feed(f->listener, &a, d, len, f->now, &fresh) == 1) {
			session_free(f->s);
			f->s = fresh;
		}
	}
}

static void foreign_settle(struct foreign *f)
{
	unsigned in;

	do {
		in = f->raw.in.n;
		raw_step(&f->raw);
		while (f->raw.out.n) {
			static uint8_t d[BIG];
			size_t len = f->raw.out.d[0].len;

			memcpy(d, f->raw.out.d[0].bytes, len);
			raw_drop(&f->raw.out);
			foreign_give(f, d, len);
		}
	} while (f->raw.in.n != in || (f->raw.in.n && !f->raw.up && !f->raw.error));
}

/* Our session against a foreign peer, to its end. */
static struct foreign *foreign_meet(struct wolf *w, const struct raw_as *as, const char *expect)
{
	struct foreign *f = calloc(1, sizeof(*f));
	struct session_dial dial = {expect, {1, 2, 3, 4}, to_raw, f};

	f->now = ENDS_START;
	raw_init(&f->raw, as);
	if (as->server)
		cr_assert_eq(session_dial(&f->s, w, &dial, f->now), 0);
	else
		cr_assert_eq(session_listener_new(&f->listener, w), 0);
	foreign_settle(f);
	while (f->s && session_state(f->s) == SESSION_HANDSHAKE) {
		f->now = session_deadline(f->s);
		session_tick(f->s, f->now);
		f->raw.in.n = f->raw.error ? 0 : f->raw.in.n;
		foreign_settle(f);
	}
	return f;
}

static void foreign_free(struct foreign *f)
{
	raw_clear(&f->raw);
	session_free(f->s);
	session_listener_free(f->listener);
	free(f);
}

struct node {
	struct ends_id id;
	struct cert_chain chain;
};

static void node_init(struct node *n, const char *name)
{
	ends_issue(&ca, &n->id, ENDS_CLUSTER, name, ROLE_NODE);
	n->chain.n = 1;
	n->chain.at[0].der = n->id.der;
	n->chain.at[0].len = n->id.len;
}

static void carries_data(struct foreign *f)
{
	uint8_t d[256], out[256];
	ssize_t n = ends_seal(f->s, "to you", 6, d);
	size_t len;

	cr_assert_gt(n, 0);
	raw_put(&f->raw.in, d, (size_t)n);
	cr_assert_eq(wolfSSL_read(f->raw.ssl, out, sizeof(out)), 6);
	cr_assert_eq(wolfSSL_write(f->raw.ssl, "to me", 5), 5);
	cr_assert_geq(f->raw.out.n, 1);
	len = f->raw.out.d[f->raw.out.n - 1].len;
	memcpy(d, f->raw.out.d[f->raw.out.n - 1].bytes, len);
	f->raw.out.n--;
	cr_assert_eq(ends_open(f->s, d, len, out, f->now), 5);
	cr_assert_eq(memcmp(out, "to me", 5), 0);
}

Test(session, talks_to_any_dtls_1_3_peer_and_answers_its_key_updates)
{
	struct node n;
	uint8_t out[256];

	node_init(&n, "n7");
	for (int server = 0; server < 2; server++) {
		struct raw_as as = {
			.server = server, .alpn = ALPN_TUNNEL, .chain = &n.chain, .key = n.id.key};
		struct foreign *f = foreign_meet(n1, &as, "n7");

		cr_assert_eq(session_state(f->s), SESSION_UP, "%s", session_why(f->s));
		cr_assert_str_eq(session_peer(f->s)->node, "n7");
		carries_data(f);
		for (int i = 0; i < 6; i++) {
			cr_assert_eq(wolfSSL_update_keys(f->raw.ssl), WOLFSSL_SUCCESS);
			for (int k = 0; k < 4; k++) {
				while (f->raw.out.n) {
					cr_assert_eq(ends_open(f->s, f->raw.out.d[0].bytes,
					                       f->raw.out.d[0].len, out, f->now),
					             0);
					raw_drop(&f->raw.out);
				}
				cr_assert_lt(wolfSSL_read(f->raw.ssl, out, sizeof(out)), 1);
			}
			carries_data(f);
			cr_assert_eq(session_deadline(f->s), INT64_MAX);
		}
		foreign_free(f);
	}
	ends_id_clear(&n.id);
}

/* Its records say how long they are; ours are all of their datagram. */
Test(session, delivers_a_record_that_noise_follows)
{
	struct node n;
	struct raw_as as = {.alpn = ALPN_TUNNEL, .chain = &n.chain, .key = n.id.key};
	uint8_t d[512], out[256];
	struct foreign *f;
	size_t len;

	node_init(&n, "n7");
	as.key = n.id.key;
	f = foreign_meet(n1, &as, NULL);
	cr_assert_eq(session_state(f->s), SESSION_UP, "%s", session_why(f->s));
	cr_assert_eq(wolfSSL_write(f->raw.ssl, "first", 5), 5);
	cr_assert_eq(wolfSSL_write(f->raw.ssl, "second", 6), 6);
	len = f->raw.out.d[0].len;
	memcpy(d, f->raw.out.d[0].bytes, len);
	memset(d + len, 0xa5, 40);
	cr_assert_eq(ends_open(f->s, d, len + 40, out, f->now), 5);
	cr_assert_eq(memcmp(out, "first", 5), 0);
	memcpy(d + len, f->raw.out.d[1].bytes, f->raw.out.d[1].len);
	cr_assert_eq(ends_open(f->s, d + len, f->raw.out.d[1].len, out, f->now), 6);
	len = (size_t)ends_seal(f->s, "ours", 4, d);
	memset(d + len, 0xa5, 40);
	raw_put(&f->raw.in, d, len + 40);
	cr_assert_lt(wolfSSL_read(f->raw.ssl, out, sizeof(out)), 1);
	raw_put(&f->raw.in, d, len);
	cr_assert_eq(wolfSSL_read(f->raw.ssl, out, sizeof(out)), 4);
	f->raw.out.n = 0;
	carries_data(f);
	foreign_free(f);
	ends_id_clear(&n.id);
}

/* One that has no AES in hardware asks for ChaCha20 alone, or is asked for it. */
Test(session, takes_either_cipher_and_no_third)
{
	static const char *const ciphers[] = {"TLS13-CHACHA20-POLY1305-SHA256",
	                                      "TLS13-AES128-GCM-SHA256"};
	struct node n;

	node_init(&n, "n7");
	for (int c = 0; c < 2; c++)
		for (int server = 0; server < 2; server++) {
			struct raw_as as = {.server = server,
			                    .alpn = ALPN_TUNNEL,
			                    .cipher = ciphers[c],
			                    .chain = &n.chain,
			                    .key = n.id.key};
			struct foreign *f = foreign_meet(n1, &as, "n7");
			uint8_t d[256], out[256];
			ssize_t len;

			cr_assert_eq(session_state(f->s), SESSION_UP, "%s", session_why(f->s));
			cr_assert_str_eq(session_cipher(f->s), ciphers[c]);
			carries_data(f);
			cr_assert_eq(wolfSSL_write(f->raw.ssl, "to me", 5), 5);
			len = (ssize_t)f->raw.out.d[0].len;
			for (int bit = 0; bit < len * 8; bit++) {
				memcpy(d, f->raw.out.d[0].bytes, (size_t)len);
				d[bit / 8] ^= (uint8_t)(1 << bit % 8);
				cr_assert(refused(ends_open(f->s, d, (size_t)len, out, f->now),
				                  (size_t)bit / 8),
				          "bit %d", bit);
			}
			cr_assert_eq(
				ends_open(f->s, f->raw.out.d[0].bytes, (size_t)len, out, f->now),
				5);
			foreign_free(f);
		}
	for (int server = 0; server < 2; server++) {
		struct raw_as as = {.server = server,
		                    .alpn = ALPN_TUNNEL,
		                    .cipher = "TLS13-AES256-GCM-SHA384",
		                    .chain = &n.chain,
		                    .key = n.id.key};
		struct foreign *f = foreign_meet(n1, &as, "n7");

		cr_assert(!f->s || session_state(f->s) == SESSION_FAILED);
		foreign_free(f);
	}
	ends_id_clear(&n.id);
}

/* Our answer to a KeyUpdate is repeated until it is acknowledged, and the session lives on. */
Test(session, repeats_its_answer_to_a_key_update)
{
	struct node n;
	uint8_t out[256];
	struct foreign *f;
	int64_t asked;

	node_init(&n, "n7");
	f = foreign_meet(n1,
	                 &(struct raw_as){.alpn = ALPN_TUNNEL, .chain = &n.chain, .key = n.id.key},
	                 NULL);
	cr_assert_eq(session_state(f->s), SESSION_UP);
	cr_assert_eq(wolfSSL_update_keys(f->raw.ssl), WOLFSSL_SUCCESS);
	cr_assert_eq(ends_open(f->s, f->raw.out.d[0].bytes, f->raw.out.d[0].len, out, f->now), 0);
	f->raw.out.n = 0;
	cr_assert_geq(f->raw.in.n, 2); /* an ACK, and a KeyUpdate of our own */
	f->raw.in.n = 0;               /* both lost */
	asked = f->now;
	f->now = session_deadline(f->s);
	cr_assert(f->now > asked && f->now <= asked + SEC);
	cr_assert_eq(session_tick(f->s, f->now), SESSION_UP);
	cr_assert_geq(f->raw.in.n, 1);
	cr_assert_lt(wolfSSL_read(f->raw.ssl, out, sizeof(out)), 1);
	while (f->raw.out.n) {
		ends_open(f->s, f->raw.out.d[0].bytes, f->raw.out.d[0].len, out, f->now);
		raw_drop(&f->raw.out);
	}
	f->now = session_deadline(f->s);
	if (f->now != INT64_MAX)
		session_tick(f->s, f->now);
	carries_data(f);
	foreign_free(f);
	ends_id_clear(&n.id);
}

Test(session, refuses_a_peer_without_our_application_protocol)
{
	static const char *const wrong[] = {NULL,      "h2",         "ginnel/2", ALPN_TUNNEL_TCP,
	                                    "ginnel/", "ginnel/1,h2"};
	struct node n;

	node_init(&n, "n7");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		for (int server = 0; server < 2; server++) {
			struct raw_as as = {.server = server,
			                    .alpn = wrong[i],
			                    .chain = &n.chain,
			                    .key = n.id.key};
			struct foreign *f;

			if (server && wrong[i] && strchr(wrong[i], ','))
				continue; /* a server that knows more is none of our business */
			f = foreign_meet(n1, &as, "n7");
			cr_assert(f->s);
			cr_assert_eq(session_state(f->s), SESSION_FAILED, "%s", wrong[i]);
			cr_assert(strstr(session_why(f->s), "application protocol"), "%s",
			          session_why(f->s));
			if (!server)
				cr_assert_eq(raw_alert(&f->raw), 120);
			cr_assert_null(session_peer(f->s));
			foreign_free(f);
		}
	ends_id_clear(&n.id);
}

Test(session, refuses_a_weaker_key_exchange)
{
	struct node n;
	struct foreign *f;

	node_init(&n, "n7");
	f = foreign_meet(n1,
	                 &(struct raw_as){.alpn = ALPN_TUNNEL,
	                                  .group = WOLFSSL_ECC_X25519,
	                                  .chain = &n.chain,
	                                  .key = n.id.key},
	                 NULL);
	cr_assert_null(f->s); /* a stranger's hello that offers less is not answered */
	cr_assert_eq(f->raw.in.n, 0);
	foreign_free(f);
	f = foreign_meet(n1,
	                 &(struct raw_as){.server = true,
	                                  .alpn = ALPN_TUNNEL,
	                                  .group = WOLFSSL_ECC_X25519,
	                                  .chain = &n.chain,
	                                  .key = n.id.key},
	                 "n7");
	cr_assert_eq(session_state(f->s), SESSION_FAILED);
	cr_assert(f->now >= ENDS_START + SESSION_RESTART);
	printf("X25519 only: %s\n", session_why(f->s));
	foreign_free(f);
	ends_id_clear(&n.id);
}

Test(session, refuses_a_peer_without_a_connection_id)
{
	struct node n;

	node_init(&n, "n7");
	for (int server = 0; server < 2; server++) {
		struct raw_as as = {.server = server,
		                    .alpn = ALPN_TUNNEL,
		                    .no_cid = true,
		                    .chain = &n.chain,
		                    .key = n.id.key};
		struct foreign *f = foreign_meet(n1, &as, "n7");

		cr_assert_eq(session_state(f->s), SESSION_FAILED);
		cr_assert_str_eq(session_why(f->s), "the peer uses no connection ID of 4 bytes");
		foreign_free(f);
	}
	ends_id_clear(&n.id);
}

Test(session, does_not_answer_a_hello_of_dtls_1_2)
{
	static const uint8_t versions[] = {0, 0x2b, 0, 3, 2, 0xfe, 0xfc};
	struct pair *p = pair_new(n1, n2, "n2");
	struct ends_datagram d;
	uint8_t *at;

	ends_take(&p->to_server, &d);
	at = memmem(d.bytes, d.len, versions, sizeof(versions));
	cr_assert(at);
	at[0] = at[1] = 0x0a; /* an extension nobody knows */
	cr_assert_eq(listener_says(p, "10.9.0.1:1", &d), 0);
	cr_assert_eq(p->to_client.n, 0);
	at[0] = 0;
	at[1] = 0x2b;
	at[6] = 0xfd; /* supported_versions that name DTLS 1.2 alone */
	cr_assert_eq(listener_says(p, "10.9.0.1:1", &d), 0);
	cr_assert_eq(p->to_client.n, 0);
	pair_free(p);
}

Test(session, refuses_a_client_that_shows_no_certificate)
{
	struct foreign *f = foreign_meet(n1, &(struct raw_as){.alpn = ALPN_TUNNEL}, NULL);

	cr_assert(f->s);
	cr_assert_eq(session_state(f->s), SESSION_FAILED);
	cr_assert_eq(session_refusal(f->s), CERT_NO_CERTIFICATE);
	cr_assert_eq(raw_alert(&f->raw), 116);
	foreign_free(f);
}

Test(session, refuses_the_zoo_by_name_at_both_ends)
{
	struct zoo_ca root;
	struct cert_trust *trust;
	struct wolf *w;
	struct zoo_node own, peer;
	struct wolf_params params = {.cluster = ENDS_CLUSTER, .wall = ends_wall};

	zoo_root(&root, ENDS_CLUSTER, 1, ENDS_WALL);
	trust = zoo_trust(&root);
	zoo_node(&own, ZOO_NODE, &root, "n1", NULL, ENDS_WALL);
	params.trust = trust;
	params.chain = &own.chain;
	params.key = own.key;
	cr_assert_eq(wolf_new(&w, &params), 0);
	for (unsigned kind = 0; kind < ZOO_COUNT; kind++)
		for (int server = 0; server < 2; server++) {
			enum cert_refusal want = zoo_list[kind].why;
			struct raw_as as = {.server = server, .alpn = ALPN_TUNNEL};
			struct foreign *f;

			if (kind == ZOO_OTHER_NAME && !server)
				want = CERT_OK; /* who listens expects no name */
			if (kind == ZOO_NUL)
				want = CERT_MALFORMED; /* wolfSSL's parser says it first */
			zoo_node(&peer, (enum zoo_kind)kind, &root, "n7", NULL, ENDS_WALL);
			as.chain = &peer.chain;
			as.key = peer.key;
			f = foreign_meet(w, &as, "n7");
			cr_assert(f->s);
			cr_expect_eq(session_refusal(f->s), want, "%s as %s: %s, %s",
			             zoo_list[kind].name, server ? "server" : "client",
			             cert_refusal_name(session_refusal(f->s)), session_why(f->s));
			cr_assert_eq(session_state(f->s),
			             want == CERT_OK ? SESSION_UP : SESSION_FAILED, "%s",
			             session_why(f->s));
			cr_assert_eq(session_peer(f->s) != NULL, want == CERT_OK);
			if (want != CERT_OK)
				cr_assert_gt(raw_alert(&f->raw), 0, "%s", zoo_list[kind].name);
			foreign_free(f);
			zoo_node_clear(&peer);
		}
	wolf_put(w);
	zoo_node_clear(&own);
	cert_trust_free(trust);
	zoo_ca_clear(&root);
}

/* -- headers without keys ----------------------------------------------------------------------- */

Test(session, reads_headers_without_keys)
{
	struct pair *p = pair_new(n1, n2, "n2");
	struct ends_datagram d = *ends_next(&p->to_server);
	uint8_t sealed[256];
	size_t n;

	cr_assert(session_datagram_handshake(d.bytes, d.len));
	cr_assert_null(session_datagram_cid(d.bytes, d.len));
	cr_assert(session_is_new_hello(NULL, d.bytes, d.len));
	for (size_t i = 0; i < d.len; i++)
		cr_assert(!session_datagram_handshake(d.bytes, i));
	settle(p);
	n = seal(p->client, "data", sealed);
	cr_assert(!session_datagram_handshake(sealed, n));
	cr_assert(!session_is_new_hello(NULL, sealed, n));
	cr_assert_eq(memcmp(session_datagram_cid(sealed, n), session_cid(p->server), 4), 0);
	for (size_t i = 0; i < 6; i++)
		cr_assert_null(session_datagram_cid(sealed, i));
	pair_free(p);
}
