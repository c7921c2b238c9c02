/* SPDX-License-Identifier: GPL-3.0-or-later */
/* link - for tests: a manager's and a node's end of control connections, without a network. */
#pragma once
#include "gateway/h2.h"
#include "tests/ends.h"
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#define LINK_SECOND 1000000000LL
#define LINK_ALPNS  ALPN_CONTROL "," ALPN_JOIN

/* Is there memory that nobody holds? Known to the sanitizer's build alone: else false. A test's
 * process ends without asking.
 */
static inline bool link_leaks(void)
{
#ifdef __SANITIZE_ADDRESS__
	return __lsan_do_recoverable_leak_check() != 0;
#else
	return false;
#endif
}

struct link_cluster {
	struct ends_ca ca;
	struct wolf *manager; /* its chain includes the root, for joiners */
	uint8_t pin[32];
};

static inline enum cert_refusal link_admit_all(void *arg, const struct cert_info *peer)
{
	(void)arg, (void)peer;
	return CERT_OK;
}

static inline void
link_cluster_init(struct link_cluster *c,
                  enum cert_refusal (*admit)(void *arg, const struct cert_info *), void *arg)
{
	struct cert_chain own, chain = {.n = 2};
	struct wolf_params p = {.cluster = ENDS_CLUSTER,
	                        .chain = &chain,
	                        .wall = ends_wall,
	                        .admit = admit,
	                        .admit_arg = arg};
	struct ends_id id;

	assert(wolf_start() == 0);
	ends_ca_init(&c->ca);
	cert_trust_pin(c->ca.trust, c->pin);
	ends_issue(&c->ca, &id, ENDS_CLUSTER, "m1", ROLE_MANAGER);
	ca_chain(c->ca.ca, &own);
	chain.at[0].der = id.der;
	chain.at[0].len = id.len;
	chain.at[1] = own.at[own.n - 1];
	p.trust = c->ca.trust;
	p.key = id.key;
	assert(wolf_new(&c->manager, &p) == 0);
	ends_id_clear(&id);
}

static inline void link_cluster_clear(struct link_cluster *c)
{
	wolf_put(c->manager);
	ends_ca_clear(&c->ca);
}

/* A node's end, or a joiner's if node is NULL. */
static inline struct stream *link_dial(struct link_cluster *c, const char *node)
{
	const struct cert_expect expect = {.cluster = node ? ENDS_CLUSTER : NULL,
	                                   .role = ROLE_MANAGER};
	struct wolf_params joiner = {.pin = c->pin, .wall = ends_wall};
	struct stream *s;
	struct wolf *w;

	if (node)
		w = ends_wolf(&c->ca, node, ROLE_NODE);
	else
		assert(wolf_new(&w, &joiner) == 0);
	assert(w);
	assert(stream_dial(&s, w, node ? ALPN_CONTROL : ALPN_JOIN, &expect) == 0);
	wolf_put(w); /* the stream has a reference of its own */
	return s;
}

static inline struct stream *link_accept(struct link_cluster *c)
{
	struct stream *s;

	assert(stream_accept(&s, c->manager, LINK_ALPNS) == 0);
	return s;
}

/* At most max bytes from one end to the other; how many. */
static inline size_t link_move(struct h2 *from, struct h2 *to, size_t max, int64_t now)
{
	const uint8_t *p;
	uint8_t *copy;
	size_t n;

	p = h2_pending(from, &n);
	if (n > max)
		n = max;
	if (n == 0)
		return 0;
	copy = malloc(n);
	assert(copy);
	memcpy(copy, p, n);
	h2_sent(from, n, now);
	h2_feed(to, copy, n, now);
	free(copy);
	return n;
}

/* Until both ends have nothing to say. */
static inline void link_run(struct h2 *a, struct h2 *b, int64_t now)
{
	while (link_move(a, b, 16384, now) + link_move(b, a, 16384, now) > 0)
		;
}
