/* SPDX-License-Identifier: GPL-3.0-or-later */
/* revocation - which certificates count no more, and the list that says so.
 *
 * An entry names a node up to an incarnation (every certificate it ever had), or below an issue number
 * (where a label was taken away), or a key. Never a certificate: ECDSA signatures are malleable. Lists
 * are signed by the ca; whoever reads several keeps the union of their entries, and the number tells
 * newer from older and nothing else. README.md has the bytes. No I/O; a set has one owner.
 */
#pragma once
#include "crypto/cert.h"

#define REVOCATION_LIST_MAX    114688 /* bytes of a list; hex of it fits into an answer */
#define REVOCATION_ENTRIES_MAX 1024

enum revocation_kind {
	REVOCATION_INCARNATION = 1, /* node: incarnation <= value */
	REVOCATION_ISSUE,           /* node: issue < value */
	REVOCATION_KEY,             /* SHA-256 of an SPKI; value is 0 */
};

struct revocation {
	enum revocation_kind kind;
	char node[CERT_NAME_MAX + 1]; /* "" of a key */
	uint8_t spki[32];             /* of a key */
	uint64_t value;
	time_t until; /* no such certificate can be renewed any more: forgotten then */
};

struct revocations {
	unsigned n;
	struct revocation *at; /* in order of kind and subject; NULL: none */
};

void revocations_clear(struct revocations *s);
int revocations_copy(struct revocations *out, const struct revocations *s);
/* Adds; of one subject the greater value and the later end stay. -E2BIG, -ENOMEM. */
int revocations_add(struct revocations *s, const struct revocation *r);
/* All of other's. On error s is as it was. */
int revocations_join(struct revocations *s, const struct revocations *other);
/* Does s say all that other says? */
bool revocations_cover(const struct revocations *s, const struct revocations *other);
/* Forgets what has ended. */
void revocations_prune(struct revocations *s, time_t wall);
/* SHA-256 of all that it says: of two sets that say the same it is the same. -ENOMEM. */
int revocations_hash(const struct revocations *s, uint8_t out[32]);
/* CERT_OK or CERT_REVOKED. labels: judge by issue numbers too, which are about labels alone. */
enum cert_refusal revocations_judge(const struct revocations *s, const struct cert_info *cert,
                                    bool labels);

/* A signed list into out, of max bytes. chain: the signer's own certificate first, root last. */
int revocation_list_make(uint8_t *out, size_t max, size_t *len, uint64_t number, time_t issued,
                         const struct revocations *s, const struct cert_key *key,
                         const struct cert_chain *chain);
/* Reads a list that one of our roots, or a CA under it, signed. out is the caller's to clear, written
 * on success only. -EBADMSG cut, malformed, or not signed by ours; -ENOMEM.
 */
int revocation_list_read(struct revocations *out, uint64_t *number, time_t *issued,
                         const uint8_t *list, size_t len, const struct cert_trust *trust);
