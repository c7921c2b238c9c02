/* SPDX-License-Identifier: GPL-3.0-or-later */
/* traffic - the records of a session that is up: our keys, wolfSSL's lease, and how both stay in step.
 *
 * wolfSSL made the keys and makes those after a KeyUpdate; we derive the same, compare, and take
 * the numbers over. From then on application data is ours, and wolfSSL sees and sends what is not.
 * Part of a session, and owned with it.
 */
#pragma once
#include "crypto/lease.h"
#include "crypto/record.h"

/* What wolfSSL tells while it shakes hands; wiped when it is taken over or given up. */
struct traffic_secrets {
	bool client_known, server_known;
	uint8_t client[RECORD_SECRET], server[RECORD_SECRET];
};

struct traffic {
	bool client;
	uint64_t limit; /* of records a key may seal */
	struct record_sealer *send;
	struct record_opener *receive, *receive_before; /* the epoch before, or NULL */
	struct lease lease;
};

/* Has ssl tell its secrets. ts must outlive the handshake. 0, -EINVAL. */
int traffic_listen(struct traffic_secrets *ts, struct WOLFSSL *ssl);

/* The handshake is done. Wipes ts. 0; -EPROTO something is not as we derive it, -ENOMEM, -EIO. */
int traffic_start(struct traffic *t, struct WOLFSSL *ssl, bool client, struct traffic_secrets *ts,
                  const uint8_t peer_cid[RECORD_CID_LEN], uint64_t limit);
void traffic_clear(struct traffic *t);

/* The record at d: 0 and *r, whose type says whose it is. RECORD_FOREIGN is wolfSSL's, not opened.
 * -EBADMSG, -EALREADY, -EKEYEXPIRED as record_open.
 */
int traffic_open(struct traffic *t, struct record *r, const uint8_t cid[RECORD_CID_LEN], uint8_t *d,
                 size_t len, int64_t now);

/* Before and after a call in which wolfSSL may send; r (may be NULL) is what it reads. If the first
 * fails, there is no call and no second. 0, or the session must end.
 */
int traffic_enter(struct traffic *t, struct WOLFSSL *ssl, struct record *r);
int traffic_leave(struct traffic *t, struct WOLFSSL *ssl);
/* From within it. */
bool traffic_allows(struct traffic *t, const struct WOLFSSL *ssl, const uint8_t *datagram,
                    size_t len);
