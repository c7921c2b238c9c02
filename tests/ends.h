/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ends - for tests: a small cluster, and datagrams between two ends without a network.
 *
 * Everything goes by a clock that the test moves, so what is lost, doubled or late is exact.
 */
#pragma once
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/ca.h"
#include "crypto/session.h"

#define ENDS_WALL    ((time_t)1800000000) /* 2027-01-15 */
#define ENDS_MS      1000000LL
#define ENDS_START   (1000 * ENDS_MS)
#define ENDS_CLUSTER "c1"

static inline time_t ends_wall(void *arg)
{
	(void)arg;
	return ENDS_WALL;
}

struct ends_ca {
	struct ca *ca;
	struct cert_trust *trust;
};

static inline void ends_ca_init(struct ends_ca *c)
{
	struct cert_chain chain;
	char pem[2 * CERT_DER_MAX];
	size_t len = 0;

	assert(ca_new(&c->ca, ENDS_CLUSTER, ENDS_WALL - 86400) == 0);
	ca_chain(c->ca, &chain);
	assert(cert_to_pem(pem, sizeof(pem), &len, chain.at[chain.n - 1].der,
	                   chain.at[chain.n - 1].len) == 0);
	assert(cert_trust_new(&c->trust, (const uint8_t *)pem, len) == 0);
}

static inline void ends_ca_clear(struct ends_ca *c)
{
	cert_trust_free(c->trust);
	ca_free(c->ca);
}

/* A certificate and its key. */
struct ends_id {
	struct cert_key *key;
	uint8_t der[CERT_DER_MAX];
	size_t len;
};

static inline void ends_issue(const struct ends_ca *c, struct ends_id *id, const char *cluster,
                              const char *node, enum cert_role role)
{
	const struct ca_grant grant = {.cluster = cluster,
	                               .node = node,
	                               .role = role,
	                               .incarnation = 1,
	                               .issue = 1,
	                               .not_before = ENDS_WALL - 3600,
	                               .not_after = ENDS_WALL + 86400};
	const uint8_t *spki;
	size_t len;

	assert(cert_key_new(&id->key) == 0);
	spki = cert_key_spki(id->key, &len);
	assert(ca_issue(c->ca, &grant, spki, len, id->der, &id->len) == 0);
}

static inline void ends_id_clear(struct ends_id *id)
{
	cert_key_free(id->key);
	id->key = NULL;
}

/* What one can be with this id, or NULL. */
static inline struct wolf *ends_wolf_of(const struct cert_trust *trust, const char *cluster,
                                        const struct ends_id *id)
{
	struct cert_chain chain = {.n = 1, .at = {[0] = {id->der, id->len}}};
	struct wolf_params p = {.trust = trust,
	                        .cluster = cluster,
	                        .chain = &chain,
	                        .key = id->key,
	                        .wall = ends_wall};
	struct wolf *w;

	return wolf_new(&w, &p) < 0 ? NULL : w;
}

/* A good node or manager of this CA. */
static inline struct wolf *ends_wolf(const struct ends_ca *c, const char *node, enum cert_role role)
{
	struct ends_id id;
	struct wolf *w;

	ends_issue(c, &id, ENDS_CLUSTER, node, role);
	w = ends_wolf_of(c->trust, ENDS_CLUSTER, &id);
	ends_id_clear(&id);
	return w;
}

/* -- datagrams under way ---------------------------------------------------------------------- */

#define ENDS_QUEUE    512
#define ENDS_DATAGRAM 2048

struct ends_datagram {
	int64_t at; /* when it arrives */
	unsigned order;
	size_t len;
	uint8_t bytes[ENDS_DATAGRAM];
};

struct ends_queue {
	unsigned n, put;
	struct ends_datagram d[ENDS_QUEUE];
};

static inline void ends_put(struct ends_queue *q, const uint8_t *bytes, size_t len, int64_t at)
{
	struct ends_datagram *d = &q->d[q->n++];

	assert(q->n < ENDS_QUEUE && len <= ENDS_DATAGRAM);
	d->at = at;
	d->order = q->put++;
	d->len = len;
	memcpy(d->bytes, bytes, len);
}

/* The next to arrive, by time and then by order; NULL if there is none. */
static inline const struct ends_datagram *ends_next(const struct ends_queue *q)
{
	const struct ends_datagram *first = NULL;

	for (unsigned i = 0; i < q->n; i++)
		if (!first || q->d[i].at < first->at ||
		    (q->d[i].at == first->at && q->d[i].order < first->order))
			first = &q->d[i];
	return first;
}

static inline void ends_take(struct ends_queue *q, struct ends_datagram *out)
{
	const struct ends_datagram *first = ends_next(q);
	size_t i = (size_t)(first - q->d);

	*out = *first;
	q->d[i] = q->d[--q->n];
}

/* An emit function that fills a queue. */
static inline void ends_emit(void *arg, const uint8_t *bytes, size_t len)
{
	ends_put(arg, bytes, len, 0);
}

/* session_seal and session_open for bytes that are to stay as they are. out has room for len +
 * SESSION_OVERHEAD, and for len.
 */
static inline ssize_t ends_seal(struct session *s, const void *plain, size_t len, uint8_t *out)
{
	static _Thread_local uint8_t copy[SESSION_PLAIN_MAX + 2];

	if (len < sizeof(copy))
		memcpy(copy, plain, len);
	return session_seal(s, copy, len, out);
}

static inline ssize_t ends_open(struct session *s, const uint8_t *d, size_t len, uint8_t *out,
                                int64_t now)
{
	uint8_t *copy = malloc(len ? len : 1), *plain = NULL; /* of its own, so that a sanitizer sees its ends */
	ssize_t n;

	assert(copy);
	memcpy(copy, d, len);
	n = session_open(s, copy, len, &plain, now);
	if (n > 0)
		memcpy(out, plain, (size_t)n);
	free(copy);
	return n;
}
