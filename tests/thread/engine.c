/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Two engines in one process: real sessions over loopback UDP, socketpairs in place of the devices.
 *
 * Packets flow both ways while snapshots are published without a pause and one side is stopped and
 * started again. Checked: what arrives is what was sent, forged sources are dropped by name, and
 * read = delivered + waiting + drops on both sides at the end. Run under TSan and under ASan.
 */
#include "gateway/engine/engine.h"

#include "crypto/ca.h"
#include "gateway/clock.h"
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(cond)                                                                \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			exit(1);                                                   \
		}                                                                  \
	} while (0)

#define VNET 10

struct side {
	const char *name, *other;
	struct prefix own, others;
	struct cert_key *key;
	uint8_t der[CERT_DER_MAX];
	struct cert_chain chain;
	struct wolf *wolf;
	struct peer *peer; /* the other one, as this side sees it */
	struct endpoint at;
	int tun[2], udp; /* tun[0] is the engine's end */
	struct engine *engine;
};

static struct ca *ca;
static struct cert_trust *trust;
static struct side a = {.name = "a", .other = "b"}, b = {.name = "b", .other = "a"};

/* What arrived; no number twice in a stretch of the test (the numbers begin at 0 in each). */
static uint8_t seen[2][1 << 18];

static void forget(void)
{
	memset(seen, 0, sizeof(seen));
}

static void make_identity(struct side *s)
{
	struct ca_grant g = {.cluster = "lab", .node = s->name, .role = ROLE_NODE};
	struct wolf_params p = {.trust = trust, .cluster = "lab", .admit = engine_admit};
	size_t spki_len, len;
	const uint8_t *spki;

	g.not_before = time(NULL) - 60;
	g.not_after = time(NULL) + 3600;
	CHECK(!cert_key_new(&s->key));
	spki = cert_key_spki(s->key, &spki_len);
	CHECK(!ca_issue(ca, &g, spki, spki_len, s->der, &len));
	s->chain.n = 1;
	s->chain.at[0].der = s->der;
	s->chain.at[0].len = len;
	p.chain = &s->chain;
	p.key = s->key;
	p.admit_arg = &s->engine;
	CHECK(!wolf_new(&s->wolf, &p));
	CHECK(!peer_new(&s->peer, s->other));
}

static void make_trust(void)
{
	struct cert_chain root;
	char pem[4096];
	size_t len = 0;

	CHECK(!ca_new(&ca, "lab", time(NULL)));
	ca_chain(ca, &root);
	CHECK(!cert_to_pem(pem, sizeof(pem), &len, root.at[root.n - 1].der,
	                   root.at[root.n - 1].len));
	CHECK(!cert_trust_new(&trust, (uint8_t *)pem, len));
}

static void make_sockets(struct side *s)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);

	CHECK(!socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s->tun));
	s->udp = socket(AF_INET, SOCK_DGRAM, 0);
	in.sin_port = htons(s->at.port);
	CHECK(!bind(s->udp, (struct sockaddr *)&in, sizeof(in)));
	CHECK(!getsockname(s->udp, (struct sockaddr *)&in, &len));
	CHECK(!endpoint_parse(&s->at, "127.0.0.1", ntohs(in.sin_port)));
}

/* A node that lies: it takes 10.77.9.0/24 for its own, and the other's 10.77.8.0/24 for the other's. */
static struct snapshot *make_lying_snapshot(struct side *s, const struct side *other)
{
	struct snapshot_peer sp = {.peer = s->peer, .keep_up = true, .nendpoints = 1};
	struct prefix not_its_own, not_the_others, others[2];
	struct snapshot *snap;

	CHECK(!prefix_parse(&not_its_own, "10.77.9.0/24"));
	CHECK(!prefix_parse(&not_the_others, "10.77.8.0/24"));
	others[0] = s->others;
	others[1] = not_the_others;
	sp.endpoints[0] = other->at;
	CHECK(!snapshot_new(&snap, s->wolf, s->name, 1));
	CHECK(!snapshot_add_self(snap, &s->own));
	CHECK(!snapshot_add_self(snap, &not_its_own));
	CHECK(!snapshot_add_peer(snap, &sp, others, 2));
	CHECK(!snapshot_seal(snap));
	return snap;
}

static struct snapshot *make_snapshot(struct side *s, const struct side *other)
{
	struct snapshot_peer sp = {.peer = s->peer, .keep_up = true, .nendpoints = 1};
	struct snapshot *snap;

	sp.endpoints[0] = other->at;
	CHECK(!snapshot_new(&snap, s->wolf, s->name, 1));
	CHECK(!snapshot_add_self(snap, &s->own));
	CHECK(!snapshot_add_peer(snap, &sp, &s->others, 1));
	CHECK(!snapshot_seal(snap));
	return snap;
}

static void start(struct side *s, const struct side *other)
{
	CHECK(!engine_start(&s->engine, make_snapshot(s, other), &s->tun[0], &s->udp, 1));
}

/* An IPv4 UDP packet of 100 bytes with a number in it, behind a vnet header. */
static void send_packet(struct side *s, uint8_t src3, uint8_t dst3, uint32_t number)
{
	uint8_t p[VNET + 100] = {0};
	uint8_t *ip = p + VNET;

	ip[0] = 0x45;
	ip[3] = 100;
	ip[8] = 64;
	ip[9] = 17;
	memcpy(ip + 12, (uint8_t[]){10, 77, src3, 1, 10, 77, dst3, 1}, 8);
	ip[25] = 80; /* UDP length */
	memcpy(ip + 28, &number, 4);
	while (send(s->tun[1], p, sizeof(p), MSG_DONTWAIT) < 0) {
		CHECK(errno == EAGAIN);
		usleep(200);
	}
}

static unsigned drain(struct side *s)
{
	uint8_t p[2048], *mine = seen[s == &b];
	unsigned n = 0;
	uint32_t number;
	ssize_t len;

	while ((len = recv(s->tun[1], p, sizeof(p), MSG_DONTWAIT)) > 0) {
		CHECK(len == VNET + 100);
		CHECK(p[VNET + 12] == 10 && p[VNET + 16] == 10);
		memcpy(&number, p + VNET + 28, 4);
		CHECK(number < sizeof(seen[0]));
		CHECK(!mine[number]++);
		n++;
	}
	return n;
}

static enum peer_state state_of(struct side *s)
{
	struct peer_status st;

	peer_read_status(s->peer, &st);
	return st.state;
}

static void wait_up(struct side *s)
{
	int64_t end = clock_now() + 30 * 1000000000LL;

	while (state_of(s) != PEER_UP) {
		CHECK(clock_now() < end);
		usleep(1000);
	}
}

static uint64_t get(_Atomic uint64_t *v)
{
	return atomic_load(v);
}

/* Every packet is somewhere: nothing counts twice or not at all. */
static void balance(struct side *s)
{
	struct counters c = {0};
	uint64_t drops = 0;

	engine_counters(s->engine, &c);
	for (unsigned i = 1; i < DROP_COUNT; i++)
		drops += get(&c.drops[i]);
	printf("%s: read %llu + %llu, delivered %llu + %llu, dropped %llu\n", s->name,
	       (unsigned long long)get(&c.tun_read), (unsigned long long)get(&c.wire_read),
	       (unsigned long long)get(&c.tun_delivered),
	       (unsigned long long)get(&c.wire_delivered), (unsigned long long)drops);
	CHECK(get(&c.tun_read) + get(&c.wire_read) ==
	      get(&c.tun_delivered) + get(&c.wire_delivered) + drops);
}

static uint64_t dropped(struct side *s, enum drop why)
{
	struct counters c = {0};

	engine_counters(s->engine, &c);
	return get(&c.drops[why]);
}

static void settle(struct side *s)
{
	struct counters c;
	uint64_t before = 0;

	for (int quiet = 0; quiet < 20;) {
		memset(&c, 0, sizeof(c));
		engine_counters(s->engine, &c);
		usleep(10000);
		quiet = get(&c.tun_read) + get(&c.wire_read) == before ? quiet + 1 : 0;
		before = get(&c.tun_read) + get(&c.wire_read);
	}
}

int main(void)
{
	unsigned got_a = 0, got_b = 0, n = getenv("LONG") ? 200000 : 5000;

	CHECK(!wolf_start());
	make_trust();
	prefix_parse(&a.own, "10.77.1.0/24");
	prefix_parse(&a.others, "10.77.2.0/24");
	b.own = a.others;
	b.others = a.own;
	make_identity(&a);
	make_identity(&b);
	make_sockets(&a);
	make_sockets(&b);
	start(&a, &b);
	send_packet(&a, 1, 2, 0); /* waits for the session, and is not lost */
	start(&b, &a);
	wait_up(&a);
	wait_up(&b);
	settle(&b);
	CHECK(drain(&b) == 1);
	forget();

	for (uint32_t i = 0; i < n; i++) {
		send_packet(&a, 1, 2, i);
		send_packet(&b, 2, 1, i);
		if (i % 50 == 0)
			engine_publish(a.engine, make_snapshot(&a, &b));
		if (i % 70 == 0)
			engine_publish(b.engine, make_snapshot(&b, &a));
		if (i % 8 == 0) {
			got_a += drain(&a);
			got_b += drain(&b);
		}
	}
	settle(&a);
	settle(&b);
	got_a += drain(&a);
	got_b += drain(&b);
	printf("sent %u each way, arrived %u and %u\n", n, got_b, got_a);
	CHECK(got_a > n / 2 && got_b > n / 2); /* the socketpairs are short */

	send_packet(&a, 9, 2, 0); /* not ours: never leaves */
	send_packet(&a, 1, 9, 0); /* nobody's */
	settle(&a);
	CHECK(dropped(&a, DROP_SOURCE) == 1);
	CHECK(dropped(&a, DROP_NO_ROUTE) == 1);

	/* A peer that is let in but lies: neither a source that is not its own gets in, nor a packet
	 * for somebody else.
	 */
	engine_publish(b.engine, make_lying_snapshot(&b, &a));
	send_packet(&b, 9, 1, 0);
	send_packet(&b, 2, 8, 0);
	settle(&b);
	settle(&a);
	CHECK(drain(&a) == 0);
	CHECK(dropped(&a, DROP_SOURCE) == 2);
	CHECK(dropped(&a, DROP_DESTINATION) == 1);
	engine_publish(b.engine, make_snapshot(&b, &a));

	balance(&a);
	balance(&b);
	forget();
	/* One side goes in good order and comes back; the other notices at once. */
	engine_stop(b.engine);
	b.engine = NULL;
	for (int64_t end = clock_now() + 5 * 1000000000LL; state_of(&a) == PEER_UP; usleep(1000))
		CHECK(clock_now() < end);
	start(&b, &a);
	wait_up(&a);
	wait_up(&b);
	send_packet(&a, 1, 2, 7);
	settle(&b);
	CHECK(drain(&b) == 1);

	/* A peer that leaves the cluster takes its sessions with it. */
	struct snapshot *alone;
	CHECK(!snapshot_new(&alone, a.wolf, a.name, 0));
	CHECK(!snapshot_add_self(alone, &a.own));
	CHECK(!snapshot_seal(alone));
	engine_publish(a.engine, alone);
	for (int64_t end = clock_now() + 5 * 1000000000LL; atomic_load(&a.peer->lanes);
	     usleep(1000))
		CHECK(clock_now() < end);
	balance(&a);
	engine_stop(a.engine);
	engine_stop(b.engine);
	peer_put(a.peer);
	peer_put(b.peer);
	wolf_put(a.wolf);
	wolf_put(b.wolf);
	cert_key_free(a.key);
	cert_key_free(b.key);
	cert_trust_free(trust);
	ca_free(ca);
	for (int i = 0; i < 2; i++) {
		close(a.tun[i]);
		close(b.tun[i]);
	}
	close(a.udp);
	close(b.udp);
	return 0;
}
