/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files that a user names: certificates, keys, roots. */
#include "crypto/pem.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/ca.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is read and written is read again as the same bytes. */
static void chain_check(const struct cert_chain *chain)
{
	static char text[CERT_CHAIN_MAX * CERT_DER_MAX * 2];
	static uint8_t der[CERT_CHAIN_MAX * CERT_DER_MAX];
	struct cert_chain again;
	size_t n = 0;

	for (unsigned i = 0; i < chain->n; i++) {
		if (cert_to_pem(text, sizeof(text), &n, chain->at[i].der, chain->at[i].len))
			abort();
	}
	if (cert_chain_from_pem(&again, der, sizeof(der), (const uint8_t *)text, n) ||
	    again.n != chain->n)
		abort();
	for (unsigned i = 0; i < chain->n; i++) {
		if (again.at[i].len != chain->at[i].len ||
		    memcmp(again.at[i].der, chain->at[i].der, again.at[i].len) != 0)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t der[CERT_CHAIN_MAX * CERT_DER_MAX];
	struct cert_chain chain;
	struct cert_trust *trust;
	struct cert_key *key;
	struct ca *ca;

	if (cert_chain_from_pem(&chain, der, sizeof(der), data, size) == 0)
		chain_check(&chain);
	if (cert_trust_new(&trust, data, size) == 0)
		cert_trust_free(trust);
	if (cert_key_from_pem(&key, data, size) == 0)
		cert_key_free(key);
	if (ca_load(&ca, data, size, data, size) == 0)
		ca_free(ca);
	return 0;
}
