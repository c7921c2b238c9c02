/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a peer shows: one certificate read, and a chain of it judged against a root. */
#include "crypto/cert.h"

#include <stdlib.h>
#include <string.h>

#include "tests/zoo.h"

#define NOW 1800000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* What was accepted keeps the promises of the header. */
static void info_check(const struct cert_info *i)
{
	must(cert_name_ok(i->cluster) && cert_name_ok(i->node));
	must(i->role == ROLE_NODE || i->role == ROLE_MANAGER);
	must(i->labels.n <= CERT_LABELS_MAX && strlen(i->serial) <= 40);
	for (unsigned k = 1; k < i->labels.n; k++)
		must(strcmp(i->labels.at[k - 1].key, i->labels.at[k].key) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cert_trust *trust;
	static struct zoo_ca root;
	const struct cert_expect expect = {.cluster = "home", .role = ROLE_NODE};
	struct cert_chain chain = {.n = 1, .at = {{data, size}}};
	struct cert_info info;
	struct claim claim;

	if (!trust) {
		zoo_root(&root, "home", 1, NOW);
		trust = zoo_trust(&root);
	}
	if (cert_parse(&info, data, size) == CERT_OK)
		info_check(&info);
	must(cert_judge(&info, trust, &chain, &expect, NOW) != CERT_OK);

	/* As an intermediate of itself, and before our root. */
	chain.n = 3;
	chain.at[1] = chain.at[0];
	chain.at[2].der = root.der;
	chain.at[2].len = root.len;
	must(cert_judge(&info, trust, &chain, &expect, NOW) != CERT_OK);

	/* The private extension alone: what is read is written the same. */
	if (claim_parse(&claim, data, size) == 0) {
		uint8_t again[4096];
		struct der_out o;

		der_out_init(&o, again, sizeof(again));
		claim_put(&o, claim.role, claim.incarnation, claim.issue, &claim.labels);
		must(o.err == 0 && o.n == size && memcmp(again, data, size) == 0);
	}
	return 0;
}
