/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/stream.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "tests/ends.h"
#include "tests/raw.h"
#include "tests/zoo.h"

#define BOTH ALPN_CONTROL "," ALPN_JOIN

static struct ends_ca ca, other_ca;
static struct wolf *node, *manager;
static uint8_t pin[32];

static const struct cert_expect a_manager = {.role = ROLE_MANAGER};

static void setup(void)
{
	cr_assert_eq(wolf_start(), 0);
	ends_ca_init(&ca);
	ends_ca_init(&other_ca);
	cert_trust_pin(ca.trust, pin);
	node = ends_wolf(&ca, "n1", ROLE_NODE);
	manager = ends_wolf(&ca, "m1", ROLE_MANAGER);
	cr_assert(node && manager);
}

static void teardown(void)
{
	wolf_put(node);
	wolf_put(manager);
	ends_ca_clear(&ca);
	ends_ca_clear(&other_ca);
}

TestSuite(stream, .init = setup, .fini = teardown, .timeout = 120);

static struct wolf *joiner(const uint8_t by[32])
{
	const struct wolf_params p = {.pin = by, .wall = ends_wall};
	struct wolf *w;

	cr_assert_eq(wolf_new(&w, &p), 0);
	return w;
}

struct pair {
	struct stream *client, *server;
	size_t piece; /* bytes a time, 0: all there are */
};

static struct pair pair_new(struct wolf *c, struct wolf *s, const char *alpn)
{
	struct pair p = {.piece = 0};

	cr_assert_eq(stream_dial(&p.client, c, alpn, &a_manager), 0);
	cr_assert_eq(stream_accept(&p.server, s, BOTH), 0);
	return p;
}

static void pair_free(struct pair *p)
{
	stream_free(p->client);
	stream_free(p->server);
}

/* From one to the other; true if there was something. */
static bool move(struct stream *from, struct stream *to, size_t piece)
{
	uint8_t none[16];
	const uint8_t *d;
	size_t n;

	d = stream_pending(from, &n);
	if (!n)
		return false;
	if (piece && n > piece)
		n = piece;
	stream_feed(to, d, n);
	stream_sent(from, n);
	cr_assert_leq(stream_read(to, none, sizeof(none)), 0);
	return true;
}

static void settle(struct pair *p)
{
	bool more;

	do {
		more = move(p->client, p->server, p->piece);
		more |= move(p->server, p->client, p->piece);
	} while (more);
}

static ssize_t says(struct stream *from, struct stream *to, const char *text)
{
	uint8_t buf[256];
	const uint8_t *d;
	ssize_t r;
	size_t n;

	cr_assert_eq(stream_write(from, (const uint8_t *)text, strlen(text)), strlen(text));
	d = stream_pending(from, &n);
	cr_assert_eq(stream_feed(to, d, n), 0);
	stream_sent(from, n);
	r = stream_read(to, buf, sizeof(buf));
	if (r > 0)
		cr_assert_eq(memcmp(buf, text, (size_t)r), 0);
	return r;
}

static void well(struct pair *p)
{
	cr_assert(stream_up(p->client), "%s", stream_why(p->client));
	cr_assert(stream_up(p->server), "%s", stream_why(p->server));
	cr_assert_eq(says(p->client, p->server, "ask"), 3);
	cr_assert_eq(says(p->server, p->client, "answer"), 6);
}

/* -- control ------------------------------------------------------------------------------------ */

Test(stream, control_wants_a_certificate_of_both)
{
	struct pair p = pair_new(node, manager, ALPN_CONTROL);
	uint8_t out[32], far[32];
	size_t n;

	cr_assert(!stream_up(p.client));
	cr_assert_eq(stream_exporter(p.client, out), -ENODATA);
	cr_assert_null(stream_alpn(p.server));
	settle(&p);
	well(&p);
	cr_assert_str_eq(stream_alpn(p.client), ALPN_CONTROL);
	cr_assert_str_eq(stream_alpn(p.server), ALPN_CONTROL);
	cr_assert_str_eq(stream_peer(p.client)->node, "m1");
	cr_assert_str_eq(stream_peer(p.server)->node, "n1");
	cr_assert_str_eq(stream_kex(p.client), "X25519MLKEM768");
	cr_assert_str_eq(stream_kex(p.server), "X25519MLKEM768");
	cr_assert_eq(stream_exporter(p.client, out), 0); /* for a renewal's proof */
	cr_assert_eq(stream_exporter(p.server, far), 0);
	cr_assert_arr_eq(out, far, sizeof(out));
	cr_assert_null(stream_peer_root(p.client, &n));
	pair_free(&p);
}

Test(stream, control_refuses_a_client_without_a_certificate)
{
	struct wolf *j = joiner(pin);
	struct pair p = pair_new(j, manager, ALPN_CONTROL);

	settle(&p);
	cr_assert(!stream_up(p.server));
	cr_assert_eq(stream_refusal(p.server), CERT_NO_CERTIFICATE);
	cr_assert_eq(stream_peer_alert(p.client), 116);
	cr_assert_null(stream_peer(p.server));
	pair_free(&p);
	wolf_put(j);
}

Test(stream, control_refuses_a_node_that_listens_as_a_manager)
{
	struct wolf *n2 = ends_wolf(&ca, "n2", ROLE_NODE);
	struct pair p = pair_new(node, n2, ALPN_CONTROL);

	settle(&p);
	cr_assert_eq(stream_refusal(p.client), CERT_ROLE);
	cr_assert(!stream_up(p.client) && !stream_up(p.server));
	cr_assert_gt(stream_peer_alert(p.server), 0);
	pair_free(&p);
	wolf_put(n2);
}

Test(stream, the_name_that_was_dialled_must_answer)
{
	const struct cert_expect m2 = {.role = ROLE_MANAGER, .node = "m2"};
	struct pair p = {.piece = 0};

	cr_assert_eq(stream_dial(&p.client, node, ALPN_CONTROL, &m2), 0);
	cr_assert_eq(stream_accept(&p.server, manager, BOTH), 0);
	settle(&p);
	cr_assert_eq(stream_refusal(p.client), CERT_OTHER_NAME);
	pair_free(&p);
}

/* -- join --------------------------------------------------------------------------------------- */

Test(stream, a_joiner_needs_the_pin_alone)
{
	struct wolf *j = joiner(pin);
	struct pair p = pair_new(j, manager, ALPN_JOIN), q = pair_new(j, manager, ALPN_JOIN);
	uint8_t c[32], s[32], again[32];
	struct cert_chain roots;
	const uint8_t *root;
	size_t n;

	settle(&p);
	well(&p);
	cr_assert_null(stream_peer(p.server));
	cr_assert_str_eq(stream_peer(p.client)->node, "m1");
	cr_assert_str_eq(stream_peer(p.client)->cluster, ENDS_CLUSTER);
	cert_trust_roots(ca.trust, &roots);
	root = stream_peer_root(p.client, &n);
	cr_assert(root && n == roots.at[0].len && !memcmp(root, roots.at[0].der, n));
	cr_assert_eq(stream_exporter(p.client, c), 0);
	cr_assert_eq(stream_exporter(p.server, s), 0);
	cr_assert_eq(memcmp(c, s, sizeof(c)), 0);
	settle(&q);
	cr_assert_eq(stream_exporter(q.client, again), 0);
	cr_assert_neq(memcmp(c, again, sizeof(c)), 0); /* of this connection alone */
	pair_free(&p);
	pair_free(&q);
	wolf_put(j);
}

Test(stream, a_joiner_takes_no_other_ca_and_no_node)
{
	uint8_t wrong[32];
	struct wolf *j = joiner(pin), *k;
	struct wolf *n2 = ends_wolf(&ca, "n2", ROLE_NODE);
	struct wolf *thief = ends_wolf(&other_ca, "m1", ROLE_MANAGER);
	struct pair p;

	memcpy(wrong, pin, sizeof(wrong));
	wrong[31] ^= 1;
	k = joiner(wrong);
	p = pair_new(k, manager, ALPN_JOIN);
	settle(&p);
	cr_assert_eq(stream_refusal(p.client), CERT_OTHER_CA);
	cr_assert(!stream_up(p.client));
	pair_free(&p);
	p = pair_new(j, thief, ALPN_JOIN);
	settle(&p);
	cr_assert_eq(stream_refusal(p.client), CERT_OTHER_CA);
	pair_free(&p);
	p = pair_new(j, n2, ALPN_JOIN); /* shows no root, being no manager */
	settle(&p);
	cr_assert_eq(stream_refusal(p.client), CERT_OTHER_CA);
	pair_free(&p);
	wolf_put(j);
	wolf_put(k);
	wolf_put(n2);
	wolf_put(thief);
}

/* Its own certificate, and our root behind it: the root alone proves nothing. */
Test(stream, a_joiner_is_not_fooled_by_the_right_root_behind_a_wrong_leaf)
{
	static const enum zoo_kind kinds[] = {ZOO_OTHER_CA, ZOO_SAME_CA, ZOO_SELF_SIGNED, ZOO_NODE};
	static const enum cert_refusal why[] = {CERT_OTHER_CA, CERT_OTHER_CA, CERT_SELF_SIGNED,
	                                        CERT_ROLE};
	struct zoo_ca root;
	struct cert_trust *trust;
	struct wolf *j;

	zoo_root(&root, ENDS_CLUSTER, 1, ENDS_WALL);
	trust = zoo_trust(&root);
	cert_trust_pin(trust, pin);
	j = joiner(pin);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct zoo_node peer;
		struct raw_as as = {.server = true, .stream = true, .alpn = ALPN_JOIN};
		static struct raw raw;
		struct stream *s;
		uint8_t buf[16];
		const uint8_t *d;
		size_t n;

		zoo_node(&peer, kinds[i], &root, "m1", NULL, ENDS_WALL);
		zoo_chain_add(&peer, &root);
		as.chain = &peer.chain;
		as.key = peer.key;
		raw_init(&raw, &as);
		cr_assert_eq(stream_dial(&s, j, ALPN_JOIN, &a_manager), 0);
		d = stream_pending(s, &n);
		raw_put(&raw.in, d, n);
		stream_sent(s, n);
		raw_step(&raw);
		for (unsigned k = 0; k < raw.out.n; k++)
			stream_feed(s, raw.out.d[k].bytes, raw.out.d[k].len);
		cr_assert_eq(stream_read(s, buf, sizeof(buf)), -EPIPE);
		cr_assert_eq(stream_refusal(s), why[i], "%s: %s", zoo_list[kinds[i]].name,
		             cert_refusal_name(stream_refusal(s)));
		stream_free(s);
		raw_clear(&raw);
		zoo_node_clear(&peer);
	}
	wolf_put(j);
	cert_trust_free(trust);
	zoo_ca_clear(&root);
}

/* -- bytes -------------------------------------------------------------------------------------- */

Test(stream, does_not_care_how_its_bytes_are_cut)
{
	for (size_t piece = 1; piece < 200; piece += piece < 40 ? 1 : 13) {
		struct pair p = pair_new(node, manager, ALPN_CONTROL);

		p.piece = piece;
		settle(&p);
		well(&p);
		pair_free(&p);
	}
}

/* The peer's end of file after each number of bytes of its handshake. */
Test(stream, is_never_up_when_the_handshake_is_cut_off)
{
	for (size_t keep = 0; keep < 2400; keep += 41) {
		struct pair p = pair_new(node, manager, ALPN_CONTROL);
		size_t given = 0;
		uint8_t buf[16];
		ssize_t r;

		while (given < keep) {
			const uint8_t *d;
			size_t n;

			d = stream_pending(p.client, &n);
			if (!n)
				break;
			if (n > keep - given)
				n = keep - given;
			cr_assert_eq(stream_feed(p.server, d, n), 0);
			stream_sent(p.client, n);
			given += n;
			stream_read(p.server, buf, sizeof(buf));
			while (move(p.server, p.client, 0))
				;
		}
		if (stream_up(p.server)) { /* the whole of it was shorter */
			pair_free(&p);
			break;
		}
		cr_assert_eq(stream_feed(p.server, NULL, 0), 0);
		r = stream_read(p.server, buf, sizeof(buf));
		cr_assert_eq(r, -EPIPE);
		cr_assert_str_eq(stream_why(p.server), "the connection was cut off");
		cr_assert_null(stream_peer(p.server));
		cr_assert_eq(stream_feed(p.server, buf, 1), -EPIPE);
		cr_assert_eq(stream_write(p.server, buf, 1), -EPIPE);
		pair_free(&p);
	}
}

Test(stream, is_ended_by_a_goodbye_or_by_an_end_without_one)
{
	struct pair p = pair_new(node, manager, ALPN_CONTROL);
	uint8_t buf[16];

	settle(&p);
	stream_close(p.client);
	cr_assert_eq(stream_write(p.client, buf, 1), -EPIPE);
	cr_assert(move(p.client, p.server, 0));
	cr_assert_eq(stream_read(p.server, buf, sizeof(buf)), -EPIPE);
	cr_assert_str_eq(stream_why(p.server), "the peer closed the connection");
	pair_free(&p);
	p = pair_new(node, manager, ALPN_CONTROL);
	settle(&p);
	cr_assert_eq(stream_feed(p.server, NULL, 0), 0);
	cr_assert_eq(stream_read(p.server, buf, sizeof(buf)), -EPIPE);
	cr_assert_str_eq(stream_why(p.server), "the connection was cut off");
	pair_free(&p);
}

Test(stream, is_ended_by_a_record_with_any_bit_changed)
{
	for (size_t bit = 0; bit < 8 * 30; bit += 7) {
		struct pair p = pair_new(node, manager, ALPN_CONTROL);
		uint8_t record[64], buf[64];
		const uint8_t *d;
		ssize_t r;
		size_t n;

		settle(&p);
		cr_assert_eq(stream_write(p.client, (const uint8_t *)"a packet", 8), 8);
		d = stream_pending(p.client, &n);
		cr_assert_eq(n, 30);
		memcpy(record, d, n);
		record[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_eq(stream_feed(p.server, record, n), 0);
		stream_feed(p.server, NULL, 0); /* a longer one never comes */
		r = stream_read(p.server, buf, sizeof(buf));
		cr_assert_eq(r, -EPIPE, "bit %zu: %zd", bit, r);
		cr_assert(!stream_up(p.server));
		cr_assert(stream_why(p.server)[0]);
		pair_free(&p);
	}
}

Test(stream, ends_what_is_no_tls)
{
	static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	unsigned dice = 3;

	for (int i = 0; i < 500; i++) {
		uint8_t noise[300], buf[16];
		struct stream *s;

		for (size_t k = 0; k < sizeof(noise); k++)
			noise[k] = (uint8_t)((dice = dice * 1103515245 + 12345) >> 16);
		if (i % 3 == 1) { /* a record of a handshake, and in it noise */
			memcpy(noise, "\x16\x03\x01\x01\x00\x01\x00\x00", 8);
			noise[8] = (uint8_t)(noise[8] & 0x7f);
		}
		cr_assert_eq(stream_accept(&s, manager, BOTH), 0);
		if (i == 0)
			cr_assert_eq(stream_feed(s, (const uint8_t *)http, sizeof(http) - 1), 0);
		else
			cr_assert_eq(stream_feed(s, noise, sizeof(noise)), 0);
		cr_assert_eq(stream_feed(s, NULL, 0), 0);
		cr_assert_eq(stream_read(s, buf, sizeof(buf)), -EPIPE);
		cr_assert(stream_why(s)[0]);
		stream_free(s);
	}
}

/* -- bounds ------------------------------------------------------------------------------------- */

Test(stream, takes_no_more_than_the_socket_does)
{
	struct pair p = pair_new(node, manager, ALPN_CONTROL);
	static uint8_t plain[STREAM_PLAIN_MAX], buf[STREAM_PLAIN_MAX];
	const uint8_t *d;
	ssize_t r;
	size_t n, got = 0, put = 0;

	cr_assert_eq(stream_write(p.client, plain, 10), -EAGAIN); /* not up */
	settle(&p);
	cr_assert_eq(stream_write(p.client, plain, 0), -EMSGSIZE);
	cr_assert_eq(stream_write(p.client, plain, STREAM_PLAIN_MAX + 1), -EMSGSIZE);
	while ((r = stream_write(p.client, plain, sizeof(plain))) > 0)
		put += (size_t)r;
	cr_assert_eq(r, -EAGAIN);
	stream_pending(p.client, &n);
	cr_assert(n >= STREAM_BACKLOG && n < STREAM_BACKLOG + STREAM_PLAIN_MAX + 64);
	d = stream_pending(p.client, &n);
	cr_assert_eq(stream_feed(p.server, d, n), 0);
	cr_assert_eq(stream_feed(p.server, d, n), -EAGAIN); /* read first */
	stream_sent(p.client, n);
	while ((r = stream_read(p.server, buf, sizeof(buf))) > 0)
		got += (size_t)r;
	cr_assert_eq(got, put);
	cr_assert_eq(r, 0);
	well(&p);
	pair_free(&p);
}

Test(stream, does_not_read_on_while_its_answers_wait)
{
	struct pair p = pair_new(node, manager, ALPN_CONTROL);
	static uint8_t plain[STREAM_PLAIN_MAX];
	uint8_t buf[16];
	const uint8_t *d;
	size_t n;

	settle(&p);
	while (stream_write(p.server, plain, sizeof(plain)) > 0)
		;
	cr_assert_eq(stream_write(p.client, (const uint8_t *)"ask", 3), 3);
	d = stream_pending(p.client, &n);
	cr_assert_eq(stream_feed(p.server, d, n), 0);
	stream_sent(p.client, n);
	cr_assert_eq(stream_read(p.server, buf, sizeof(buf)), 0);
	stream_pending(p.server, &n);
	stream_sent(p.server, n);
	cr_assert_eq(stream_read(p.server, buf, sizeof(buf)), 3);
	pair_free(&p);
}

/* -- foreign peers ------------------------------------------------------------------------------ */

struct foreign {
	struct raw raw;
	struct stream *s;
};

static void foreign_settle(struct foreign *f)
{
	uint8_t buf[64];
	bool more;

	do {
		const uint8_t *d;
		size_t n;

		raw_step(&f->raw);
		more = f->raw.out.n > 0;
		while (f->raw.out.n) {
			stream_feed(f->s, f->raw.out.d[0].bytes, f->raw.out.d[0].len);
			raw_drop(&f->raw.out);
		}
		stream_read(f->s, buf, sizeof(buf));
		d = stream_pending(f->s, &n);
		if (n) {
			raw_put(&f->raw.in, d, n);
			stream_sent(f->s, n);
			more = true;
		}
	} while (more);
}

static struct foreign *foreign_new(struct wolf *w, const struct raw_as *as)
{
	struct foreign *f = calloc(1, sizeof(*f));

	raw_init(&f->raw, as);
	if (as->server)
		cr_assert_eq(stream_dial(&f->s, w, ALPN_CONTROL, &a_manager), 0);
	else
		cr_assert_eq(stream_accept(&f->s, w, BOTH), 0);
	return f;
}

static void foreign_free(struct foreign *f)
{
	raw_clear(&f->raw);
	stream_free(f->s);
	free(f);
}

static void foreign_chain(struct cert_chain *chain, struct ends_id *id, const char *name)
{
	ends_issue(&ca, id, ENDS_CLUSTER, name, ROLE_NODE);
	chain->n = 1;
	chain->at[0].der = id->der;
	chain->at[0].len = id->len;
}

Test(stream, takes_one_application_protocol_and_no_list)
{
	static const char *const wrong[] = {NULL,
	                                    "h2",
	                                    "ginnel-ctl/2",
	                                    ALPN_TUNNEL,
	                                    ALPN_TUNNEL_TCP,
	                                    "ginnel-ctl/1,ginnel-join/1",
	                                    "ginnel-join/1,h2",
	                                    "h2,ginnel-ctl/1"};
	struct cert_chain chain;
	struct ends_id id;

	foreign_chain(&chain, &id, "n7");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct raw_as as = {
			.stream = true, .alpn = wrong[i], .chain = &chain, .key = id.key};
		struct foreign *f = foreign_new(manager, &as);

		foreign_settle(f);
		cr_assert(!stream_up(f->s));
		cr_assert(strstr(stream_why(f->s), "application protocol"), "%s", stream_why(f->s));
		cr_assert_eq(raw_alert(&f->raw), 120);
		foreign_free(f);
	}
	ends_id_clear(&id);
}

Test(stream, a_client_refuses_a_server_that_agrees_on_no_protocol)
{
	struct cert_chain chain;
	struct ends_id id;
	struct foreign *f;

	ends_issue(&ca, &id, ENDS_CLUSTER, "m7", ROLE_MANAGER);
	chain.n = 1;
	chain.at[0].der = id.der;
	chain.at[0].len = id.len;
	f = foreign_new(node, &(struct raw_as){.server = true,
	                                       .stream = true,
	                                       .alpn = ALPN_CONTROL,
	                                       .chain = &chain,
	                                       .key = id.key});
	foreign_settle(f);
	cr_assert(stream_up(f->s), "%s", stream_why(f->s));
	foreign_free(f);
	f = foreign_new(
		node,
		&(struct raw_as){.server = true, .stream = true, .chain = &chain, .key = id.key});
	foreign_settle(f);
	cr_assert(!stream_up(f->s));
	cr_assert(strstr(stream_why(f->s), "application protocol"), "%s", stream_why(f->s));
	foreign_free(f);
	ends_id_clear(&id);
}

/* After a HelloRetryRequest the second hello names another protocol: join first, so that no
 * certificate is asked for, then control.
 */
Test(stream, the_second_hello_must_name_the_same_protocol)
{
	static const char *const second[] = {ALPN_JOIN, ALPN_CONTROL};

	for (int i = 0; i < 2; i++) {
		struct raw_as as = {.stream = true, .alpn = ALPN_JOIN};
		struct foreign *f = foreign_new(manager, &as);
		char name[32];
		const uint8_t *d;
		uint8_t buf[16];
		size_t n;

		cr_assert_eq(wolfSSL_NoKeyShares(f->raw.ssl), WOLFSSL_SUCCESS);
		raw_step(&f->raw);
		cr_assert_eq(f->raw.out.n, 1);
		stream_feed(f->s, f->raw.out.d[0].bytes, f->raw.out.d[0].len);
		raw_drop(&f->raw.out);
		cr_assert_eq(stream_read(f->s, buf, sizeof(buf)), 0);
		d = stream_pending(f->s, &n);
		cr_assert_gt(n, 0); /* the HelloRetryRequest */
		TLSX_Remove(&f->raw.ssl->extensions, TLSX_APPLICATION_LAYER_PROTOCOL, NULL);
		snprintf(name, sizeof(name), "%s", second[i]);
		wolfSSL_UseALPN(f->raw.ssl, name, (unsigned)strlen(name),
		                WOLFSSL_ALPN_CONTINUE_ON_MISMATCH);
		raw_put(&f->raw.in, d, n);
		stream_sent(f->s, n);
		foreign_settle(f);
		cr_assert_eq(stream_up(f->s), i == 0, "%s", stream_why(f->s));
		if (i) {
			cr_assert(strstr(stream_why(f->s), "application protocol"));
			cr_assert_eq(raw_alert(&f->raw), 120);
		}
		foreign_free(f);
	}
}

Test(stream, refuses_a_weaker_key_exchange)
{
	struct cert_chain chain;
	struct ends_id id;

	foreign_chain(&chain, &id, "n7");
	for (int server = 0; server < 2; server++) {
		struct raw_as as = {.server = server,
		                    .stream = true,
		                    .alpn = ALPN_CONTROL,
		                    .group = WOLFSSL_ECC_X25519,
		                    .chain = &chain,
		                    .key = id.key};
		struct foreign *f = foreign_new(server ? node : manager, &as);

		foreign_settle(f);
		cr_assert(!stream_up(f->s));
		printf("X25519 only: %s\n", stream_why(f->s));
		foreign_free(f);
	}
	ends_id_clear(&id);
}

Test(stream, refuses_a_hello_of_tls_1_2)
{
	static const uint8_t versions[] = {0, 0x2b, 0, 3, 2, 3, 4};
	struct pair p = pair_new(node, manager, ALPN_CONTROL);
	uint8_t hello[4096], buf[16], *at;
	const uint8_t *d;
	size_t n;

	d = stream_pending(p.client, &n);
	memcpy(hello, d, n);
	at = memmem(hello, n, versions, sizeof(versions));
	cr_assert(at);
	at[6] = 3; /* TLS 1.2 */
	stream_feed(p.server, hello, n);
	cr_assert_eq(stream_read(p.server, buf, sizeof(buf)), -EPIPE);
	printf("TLS 1.2: %s\n", stream_why(p.server));
	pair_free(&p);
}

Test(stream, a_flood_of_key_updates_ends_it)
{
	struct cert_chain chain;
	struct ends_id id;
	struct foreign *f;
	size_t fed = 0, queued = 0;
	uint8_t buf[64];
	ssize_t r = 0;

	foreign_chain(&chain, &id, "n7");
	f = foreign_new(manager, &(struct raw_as){.stream = true,
	                                          .alpn = ALPN_CONTROL,
	                                          .chain = &chain,
	                                          .key = id.key});
	foreign_settle(f);
	cr_assert(stream_up(f->s));
	for (int i = 0; i < 20000 && r == 0; i++) {
		size_t n;

		cr_assert_eq(wolfSSL_update_keys(f->raw.ssl), WOLFSSL_SUCCESS);
		while (f->raw.out.n) {
			fed += f->raw.out.d[0].len;
			stream_feed(f->s, f->raw.out.d[0].bytes, f->raw.out.d[0].len);
			raw_drop(&f->raw.out);
		}
		r = stream_read(f->s, buf, sizeof(buf));
		stream_pending(f->s, &n);
		queued += n;
		stream_sent(f->s, n); /* it reads: this bounds nothing */
		f->raw.ssl->keys.updateResponseReq = 0;
	}
	cr_assert_eq(r, -EPIPE);
	cr_assert_leq(fed, 2 * STREAM_BARREN);
	cr_assert_str_eq(stream_why(f->s), "a flood of records without data");
	foreign_free(f);
	ends_id_clear(&id);
}

Test(stream, refuses_the_zoo_by_name_at_both_ends)
{
	struct zoo_ca root;
	struct cert_trust *trust;
	struct zoo_node own, peer;
	struct wolf *w;
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
			struct raw_as as = {.server = server, .stream = true, .alpn = ALPN_CONTROL};
			struct foreign *f;

			if (kind == ZOO_NUL)
				want = CERT_MALFORMED; /* wolfSSL's parser says it first */
			if (kind == ZOO_OTHER_NAME)
				want = CERT_OK; /* no name is expected */
			if (server && kind == ZOO_MANAGER)
				want = CERT_OK;
			else if (server && want == CERT_OK)
				want = CERT_ROLE;
			zoo_node(&peer, (enum zoo_kind)kind, &root, "n7", NULL, ENDS_WALL);
			as.chain = &peer.chain;
			as.key = peer.key;
			f = foreign_new(w, &as);
			foreign_settle(f);
			cr_expect_eq(stream_refusal(f->s), want, "%s as %s: %s, %s",
			             zoo_list[kind].name, server ? "server" : "client",
			             cert_refusal_name(stream_refusal(f->s)), stream_why(f->s));
			cr_expect_eq(stream_up(f->s), want == CERT_OK, "%s: %s",
			             zoo_list[kind].name, stream_why(f->s));
			cr_expect_eq(stream_peer(f->s) != NULL, want == CERT_OK);
			if (want != CERT_OK)
				cr_expect_gt(raw_alert(&f->raw), 0, "%s", zoo_list[kind].name);
			foreign_free(f);
			zoo_node_clear(&peer);
		}
	wolf_put(w);
	zoo_node_clear(&own);
	cert_trust_free(trust);
	zoo_ca_clear(&root);
}
