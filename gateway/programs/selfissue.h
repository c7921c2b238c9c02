/* SPDX-License-Identifier: GPL-3.0-or-later */
/* selfissue - the certificates of a manager's host, by the CA that lies on it: while no ca process runs.
 *
 * For `ginnel init` and `ginnel restore`, which hold the state folder.
 */
#pragma once
#include "crypto/ca.h"
#include "gateway/privsep/ledger.h"
#include "gateway/programs/statedir.h"

struct selfissue {
	struct ca *ca;
	struct ledger *ledger;
	const char *cluster, *name;
	const struct cert_labels *labels;
	uint64_t incarnation;
	time_t now;
	const char *root; /* PEM */
	size_t root_len;
};

/* BASE.key, BASE.pem and ca.pem into a part, which must be open. *info: what the certificate says. */
int selfissue_write(const struct selfissue *s, const struct statedir *dir, enum statedir_part part,
                    const char *base, const struct cert_key *key, enum cert_role role,
                    struct cert_info *info);
