/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/renewal.h"

#include "crypto/proof.h"
#include "crypto/secret.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static time_t life_at(const struct cert_info *own, double percent)
{
	return own->not_before +
	       (time_t)((double)(own->not_after - own->not_before) * percent / 100);
}

void renewal_begin(struct renewal *r, const struct cert_info *own, uint16_t chance)
{
	memset(r, 0, sizeof(*r));
	r->due = life_at(own, RENEWAL_FROM + (RENEWAL_UNTIL - RENEWAL_FROM) * (chance / 65536.0));
}

void renewal_clear(struct renewal *r)
{
	cert_key_free(r->key);
	r->key = NULL;
}

bool renewal_due(const struct renewal *r, time_t wall, int64_t now)
{
	return !r->asked && now >= r->next && (r->wanted || wall >= r->due);
}

time_t renewal_late_from(const struct cert_info *own)
{
	return life_at(own, RENEWAL_UNTIL) + 1;
}

bool renewal_late(const struct cert_info *own, time_t wall)
{
	return wall >= renewal_late_from(own);
}

bool renewal_expired(const struct cert_info *own, time_t wall)
{
	return wall > own->not_after;
}

int renewal_ask(struct renewal *r, const struct identity *own, const uint8_t exporter[32],
                struct renewal_proof *out)
{
	int err = r->key ? 0 : cert_key_new(&r->key);

	if (!err)
		err = csr_new(r->key, own->info.node, out->csr, sizeof(out->csr), &out->csr_len);
	if (!err)
		err = proof_make(PROOF_RENEW, own->key, exporter, out->csr, out->csr_len, out->sig,
		                 &out->sig_len);
	if (!err)
		r->asked = true;
	return err;
}

void renewal_lost(struct renewal *r)
{
	r->asked = false;
}

void renewal_failed(struct renewal *r, int64_t now, const char *why)
{
	r->asked = false;
	r->backoff = r->backoff ? r->backoff * 2 : RENEWAL_BACKOFF;
	if (r->backoff > RENEWAL_BACKOFF_MAX)
		r->backoff = RENEWAL_BACKOFF_MAX;
	r->next = now + r->backoff;
	snprintf(r->why, sizeof(r->why), "%s", why);
}

int renewal_take(struct renewal *r, struct identity *own, int dir, const char *base,
                 const struct cert_chain *chain, time_t wall, int64_t now)
{
	char why[sizeof(r->why)] = "it was not asked for";
	uint16_t chance = 0;
	int err = -EINVAL;

	if (r->key)
		err = identity_renew(own, dir, base, r->key, chain, wall, why, sizeof(why));
	if (err) {
		renewal_failed(r, now, why);
		return err;
	}
	secret_random(&chance, sizeof(chance)); /* none: at its earliest, no harm */
	renewal_begin(r, &own->info, chance);
	r->next = now + RENEWAL_PAUSE;
	return 0;
}
