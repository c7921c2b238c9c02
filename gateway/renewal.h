/* SPDX-License-Identifier: GPL-3.0-or-later */
/* renewal - when a process asks for its next certificate, and what it says and takes.
 *
 * At a random point between 50 and 80 % of life, or as soon as a manager wants it, with a new key
 * each time. Each process renews its own: the engine over its connection to a manager, the manager
 * process of the ca beside it; how a question gets there is theirs. The key of a question is kept
 * until a certificate came for it, so that a lost answer costs nothing. One thread.
 */
#pragma once
#include "gateway/identity.h"
#include <stdbool.h>
#include <stdint.h>

#define RENEWAL_FROM        50 /* % of life */
#define RENEWAL_UNTIL       80 /* % of life: later it should not be, and is warned of */
#define RENEWAL_PAUSE       (2 * 1000000000LL) /* whoever wants the next one, and how often */
#define RENEWAL_BACKOFF     (5 * 1000000000LL)
#define RENEWAL_BACKOFF_MAX (300 * 1000000000LL)

struct renewal {
	time_t due;           /* from then on by the wall */
	int64_t next;         /* and not before by the clock that only rises */
	int64_t backoff;      /* after the last failure; 0: there was none */
	bool wanted;          /* by a manager: whatever due says */
	bool asked;           /* an answer is to come */
	bool warned;          /* that the certificate is late: once in its life */
	struct cert_key *key; /* of the question; NULL: it is yet to be made */
	char why[256];        /* of the last failure */
};

/* What goes to the ca beside the certificate. */
struct renewal_proof {
	uint8_t csr[CERT_DER_MAX], sig[CERT_SIG_MAX];
	size_t csr_len, sig_len;
};

/* For a certificate that is new. chance: a random number, which the point is drawn by. */
void renewal_begin(struct renewal *r, const struct cert_info *own, uint16_t chance);
void renewal_clear(struct renewal *r);
/* Is it time to ask? */
bool renewal_due(const struct renewal *r, time_t wall, int64_t now);
/* Past RENEWAL_UNTIL of its life: from this second on. */
time_t renewal_late_from(const struct cert_info *own);
bool renewal_late(const struct cert_info *own, time_t wall);
bool renewal_expired(const struct cert_info *own, time_t wall);

/* The question, on the connection with this exporter. 0, -errno. */
int renewal_ask(struct renewal *r, const struct identity *own, const uint8_t exporter[32],
                struct renewal_proof *out);
/* The connection ended before the answer came: ask again on the next one. */
void renewal_lost(struct renewal *r);
/* It was refused, or of no use. */
void renewal_failed(struct renewal *r, int64_t now, const char *why);
/* The answer: judged, written to the disk, own is the new one after it, and r begins anew. On error
 * renewal_failed was called, and own is as it was.
 */
int renewal_take(struct renewal *r, struct identity *own, int dir, const char *base,
                 const struct cert_chain *chain, time_t wall, int64_t now);
