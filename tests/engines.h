/* SPDX-License-Identifier: GPL-3.0-or-later */
/* engines - for tests: two engines in one process, real sessions over loopback UDP, unix sockets in place
 * of the devices' queues. By which queue a packet comes the test says. What the workers write comes out
 * at the queue's own far end; or all of it at one, in the order in which it was written, but then no
 * more than a few packets of it wait there.
 */
#pragma once
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
#include <sys/un.h>
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
	bool one_far;
	int tun[WORKERS_MAX], far[WORKERS_MAX]; /* tun: the engine's ends */
	struct sockaddr_un queue[WORKERS_MAX];  /* the address of each of them */
	socklen_t queue_len[WORKERS_MAX];
	int udp[WORKERS_SOCKETS];
	unsigned workers;
	struct engine *engine;
};

static struct ca *ca;
static struct cert_trust *trust;
static struct side a = {.name = "a", .other = "b", .workers = 1},
		   b = {.name = "b", .other = "a", .workers = 1};

static inline void make_identity(struct side *s)
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

static inline void make_trust(void)
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

static inline int bound(uint16_t port, uint16_t *got)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0), one = 1, big = 4 << 20;
	socklen_t len = sizeof(in);

	in.sin_port = htons(port);
	CHECK(!setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
	CHECK(!bind(fd, (struct sockaddr *)&in, sizeof(in)));
	CHECK(!getsockname(fd, (struct sockaddr *)&in, &len));
	*got = ntohs(in.sin_port);
	return fd;
}

/* A name of the kernel's choice. */
static inline int named(struct sockaddr_un *at, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	*at = (struct sockaddr_un){.sun_family = AF_UNIX};
	CHECK(!bind(fd, (struct sockaddr *)at, sizeof(at->sun_family)));
	*len = sizeof(*at);
	CHECK(!getsockname(fd, (struct sockaddr *)at, len));
	return fd;
}

static inline void make_device(struct side *s)
{
	struct sockaddr_un far;
	socklen_t len;

	for (unsigned i = 0; i < s->workers; i++) {
		s->far[i] = i && s->one_far ? s->far[0] : named(&far, &len);
		s->tun[i] = named(&s->queue[i], &s->queue_len[i]);
		CHECK(!connect(s->tun[i], (struct sockaddr *)&far, len));
		if (!s->one_far)
			CHECK(!connect(s->far[i], (struct sockaddr *)&s->queue[i],
			               s->queue_len[i]));
	}
}

/* As the parent opens them (workers.h). */
static inline void make_sockets(struct side *s)
{
	uint16_t port = s->at.port, own;

	for (unsigned i = 0; i < s->workers; i++)
		s->udp[i] = bound(port, &port);
	CHECK(!endpoint_parse(&s->at, "127.0.0.1", port));
	for (unsigned i = 1; i < s->workers;) {
		int fd = bound(0, &own);

		if (own % WORKERS_MAX == i)
			s->udp[s->workers + i++ - 1] = fd;
		else
			close(fd);
	}
}

static inline struct snapshot *make_snapshot(struct side *s, const struct side *other)
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

static inline void start(struct side *s, const struct side *other)
{
	CHECK(!engine_new(&s->engine, s->tun, s->udp, s->workers));
	CHECK(!engine_start(s->engine, make_snapshot(s, other)));
}

/* An IPv4 UDP packet of 100 bytes with a number in it, behind a vnet header, by a queue; addresses
 * 10.77.X.Y.
 */
static inline void send_udp_by(struct side *s, unsigned queue, const uint8_t src[2], uint16_t sport,
                               const uint8_t dst[2], uint16_t dport, uint32_t number)
{
	uint8_t p[VNET + 100] = {0};
	uint8_t *ip = p + VNET;

	ip[0] = 0x45;
	ip[3] = 100;
	ip[8] = 64;
	ip[9] = 17;
	memcpy(ip + 12, (uint8_t[]){10, 77, src[0], src[1], 10, 77, dst[0], dst[1]}, 8);
	memcpy(ip + 20,
	       (uint8_t[]){(uint8_t)(sport >> 8), (uint8_t)sport, (uint8_t)(dport >> 8),
	                   (uint8_t)dport, 0, 80},
	       6);
	memcpy(ip + 28, &number, 4);
	while (sendto(s->far[queue], p, sizeof(p), MSG_DONTWAIT,
	              (struct sockaddr *)&s->queue[queue], s->queue_len[queue]) < 0) {
		CHECK(errno == EAGAIN);
		usleep(200);
	}
}

static inline void send_udp(struct side *s, const uint8_t src[2], uint16_t sport,
                            const uint8_t dst[2], uint16_t dport, uint32_t number)
{
	send_udp_by(s, 0, src, sport, dst, dport, number);
}

/* Of a flow, between .1 and .1. */
static inline void send_packet_of(struct side *s, unsigned queue, uint8_t src3, uint8_t dst3,
                                  uint8_t flow, uint32_t number)
{
	send_udp_by(s, queue, (uint8_t[]){src3, 1}, flow, (uint8_t[]){dst3, 1}, flow, number);
}

static inline void send_packet(struct side *s, uint8_t src3, uint8_t dst3, uint32_t number)
{
	send_packet_of(s, 0, src3, dst3, 0, number);
}

static inline enum peer_state state_of(struct side *s)
{
	struct peer_status st;

	peer_read_status(s->peer, &st);
	return st.state;
}

static inline void wait_up(struct side *s)
{
	int64_t end = clock_now() + 30 * 1000000000LL;

	while (state_of(s) != PEER_UP) {
		CHECK(clock_now() < end);
		usleep(1000);
	}
}

static inline uint64_t get(_Atomic uint64_t *v)
{
	return atomic_load(v);
}

static inline void settle(struct side *s)
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

/* Every packet is somewhere: nothing counts twice or not at all. */
static inline void balance(struct side *s)
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

/* Identities and sockets, no engine yet. */
static inline void engines_init(void)
{
	CHECK(!wolf_start());
	make_trust();
	prefix_parse(&a.own, "10.77.1.0/24");
	prefix_parse(&a.others, "10.77.2.0/24");
	b.own = a.others;
	b.others = a.own;
	make_identity(&a);
	make_identity(&b);
	make_device(&a);
	make_device(&b);
	make_sockets(&a);
	make_sockets(&b);
}

/* Stops what runs. */
static inline void engines_clear(void)
{
	struct side *both[] = {&a, &b};

	engine_stop(a.engine);
	engine_stop(b.engine);
	for (int i = 0; i < 2; i++) {
		struct side *s = both[i];

		peer_put(s->peer);
		wolf_put(s->wolf);
		cert_key_free(s->key);
		for (unsigned w = 0; w < s->workers; w++) {
			close(s->tun[w]);
			if (!w || !s->one_far)
				close(s->far[w]);
		}
		for (unsigned w = 0; w < workers_sockets(s->workers); w++)
			close(s->udp[w]);
	}
	cert_trust_free(trust);
	ca_free(ca);
	a.at.port = b.at.port = 0;
}
