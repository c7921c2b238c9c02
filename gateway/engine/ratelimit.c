/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/ratelimit.h"

#include <string.h>

void ratelimit_init(struct ratelimit *r, uint64_t key, unsigned per_second, unsigned burst)
{
	memset(r, 0, sizeof(*r));
	r->key = key | 1;
	r->every = 1000000000LL / per_second;
	r->burst = burst;
}

/* Multiply and fold with a secret odd key: enough to keep an attacker from choosing buckets. */
static unsigned bucket_of(const struct ratelimit *r, const struct addr *a)
{
	unsigned n = a->family == 4 ? 3 : 7;
	uint64_t prefix = a->family;

	for (unsigned i = 0; i < n; i++)
		prefix = prefix << 8 | a->b[i];
	prefix = (prefix ^ r->key >> 32) * r->key;
	prefix = (prefix ^ prefix >> 29) * r->key;
	return (unsigned)(prefix >> 54) % RATELIMIT_BUCKETS;
}

bool ratelimit_take(struct ratelimit *r, const struct addr *source, int64_t now)
{
	int64_t *full = &r->full[bucket_of(r, source)];

	if (*full < now)
		*full = now;
	if (*full + r->every > now + r->burst * r->every)
		return false;
	*full += r->every;
	return true;
}
