/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/lists.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void lists_id(uint8_t out[LISTS_HASH], const uint8_t *bytes, size_t len)
{
	uint8_t hash[32];

	cert_spki_hash(bytes, len, hash);
	memcpy(out, hash, LISTS_HASH);
}

int lists_new(struct lists **out, uint64_t number, const struct revocations *set,
              const uint8_t *bytes, size_t len)
{
	struct lists *l = malloc(sizeof(*l) + len);
	uint8_t says[32];
	int err = l ? revocations_hash(set, says) : -ENOMEM;

	if (err) {
		free(l);
		return err;
	}
	atomic_init(&l->refs, 1);
	l->head.number = number;
	l->head.len = (uint32_t)len;
	memcpy(l->head.says, says, LISTS_HASH);
	memcpy(l->bytes, bytes, len);
	lists_id(l->head.id, bytes, len);
	*out = l;
	return 0;
}

struct lists *lists_get(struct lists *l)
{
	if (l)
		atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void lists_put(struct lists *l)
{
	if (l && atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1)
		free(l);
}
