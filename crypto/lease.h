/* SPDX-License-Identifier: GPL-3.0-or-later */
/* lease - how two senders share one sequence of record numbers: ours, of application data, and
 * wolfSSL's, of acknowledgements, KeyUpdates and alerts.
 *
 * Sending: the counter is ours. Before a call in which wolfSSL may send, it is given LEASE_BLOCK
 * numbers that are taken off the counter and never used by us. What it sends outside of them does
 * not leave, and the session is over.
 * Receiving: the replay window is ours. wolfSSL is shown control records that we opened, under
 * exactly their epoch and number.
 *
 * The one place that reads or writes wolfSSL's epochs, numbers and keys. Owned by the session.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/record.h"

#define LEASE_BLOCK 16

struct WOLFSSL;

struct lease {
	bool armed;         /* the counter is ours */
	bool broken;        /* wolfSSL left its block: the session must end */
	uint64_t epoch;     /* of the block */
	uint64_t base, end; /* [base, end) is wolfSSL's */
	bool shown;         /* between lease_show and lease_shown: */
	uint64_t peer, as;  /* the peer's newest epoch, and the one named in its place */
};

/* The epoch wolfSSL sends in, and the newest that the peer sends in. */
uint64_t lease_epoch(const struct WOLFSSL *ssl);
uint64_t lease_peer_epoch(const struct WOLFSSL *ssl);
/* The next number wolfSSL would send, and expects, in an epoch. 0, -ENOENT. */
int lease_numbers(struct WOLFSSL *ssl, uint64_t epoch, uint64_t *send, uint64_t *receive);
/* Are wolfSSL's keys for that epoch ours? Proves the key schedule and the struct layout at once. */
bool lease_same_keys(struct WOLFSSL *ssl, bool client_writes, const struct record_key *k);

/* Before a call in which wolfSSL may send. 0, -EPIPE broken, -EKEYEXPIRED. */
int lease_enter(struct lease *l, struct WOLFSSL *ssl, struct record_sealer *s, uint64_t limit);
/* From within it: may this datagram leave? */
bool lease_allows(struct lease *l, const struct WOLFSSL *ssl, const uint8_t *datagram, size_t len);
/* We send in this epoch no more: what is left of it is wolfSSL's. */
void lease_retire(struct WOLFSSL *ssl, const struct record_sealer *s);

/* Around a call in which wolfSSL reads the one record of that epoch and number. 0; -ENOENT it does not
 * know the epoch; -EPIPE it took the record for something else.
 */
int lease_show(struct lease *l, struct WOLFSSL *ssl, uint64_t epoch, uint64_t number);
int lease_shown(struct lease *l, struct WOLFSSL *ssl);

/* After a change of epoch: keys nobody needs any more are forgotten. */
void lease_prune(struct WOLFSSL *ssl);
