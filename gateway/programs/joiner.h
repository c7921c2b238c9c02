/* SPDX-License-Identifier: GPL-3.0-or-later */
/* joiner - one connection from a host without a certificate to a manager, and one question on it.
 *
 * TLS with the root pinned that the token names: who answers has proven to be a manager of that
 * cluster before a byte about us is sent. Says nothing to people; its faults are made for them.
 */
#pragma once
#include "gateway/config.h"

#define JOINER_CONNECT (5 * 1000000000LL)  /* of each address of the manager */
#define JOINER_ANSWER  (15 * 1000000000LL) /* the manager writes to disk before it answers */

struct joiner;

struct joiner_fault {
	char why[256];
	const char *cure; /* may be NULL */
};

/* Connects, and returns once the manager let us in. 0, or -errno with the fault. */
int joiner_new(struct joiner **out, const struct config_endpoint *manager, const uint8_t pin[32],
               struct joiner_fault *f);
void joiner_free(struct joiner *j);

/* What the manager's certificate says. */
const struct cert_info *joiner_manager(const struct joiner *j);
/* 32 bytes that only the two ends of this connection know. */
const uint8_t *joiner_exporter(const struct joiner *j);
/* Our end's and the manager's address. */
const struct addr *joiner_own(const struct joiner *j);
const struct endpoint *joiner_far(const struct joiner *j);

/* Posts the body and waits for the whole answer, borrowed until joiner_free. Returns the status
 * (100 and up), or -errno with the fault.
 */
int joiner_post(struct joiner *j, const char *path, const char *body, size_t len,
                const char **answer, size_t *answer_len, struct joiner_fault *f);
