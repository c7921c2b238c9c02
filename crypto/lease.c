/* SPDX-License-Identifier: GPL-3.0-or-later */
/* wolfSSL 5.9.2 keeps the epochs of both directions in one table, and finds a record's from its two
 * bits so: the peer's newest if they fit, else the highest in the table that fits. Once the
 * directions have drifted apart, a repeated KeyUpdate in the peer's previous epoch is taken for one
 * of our own sending epochs, does not decrypt, is dropped, and the peer repeats it until it gives
 * up: two plain wolfSSL ends stick at epochs 10 and 7. It also throws out the lowest epoch when the
 * table is full, though the peer may still need it. We know the epoch, so lease_show names it for
 * the one call; lease_prune keeps slots free; and the table has 8 of them. All three are needed.
 *
 * A block must be fresh: a record under a number from an earlier one is behind the peer's replay
 * window, which is 64 numbers wide in a plain wolfSSL.
 */
#include "crypto/lease.h"

#include <errno.h>

#include <wolfssl/internal.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/settings.h>

#include "crypto/secret.h"

#define FIRST_EPOCH 3 /* of application data */

#if LIBWOLFSSL_VERSION_HEX < 0x05009002
#error "wolfSSL 5.9.2 or later is needed"
#endif
_Static_assert(DTLS13_EPOCH_SIZE >= 8, "room for both directions' present and previous epoch");
_Static_assert(sizeof(w64wrapper) == sizeof(uint64_t), "w64wrapper is one 64-bit number");

static Dtls13Epoch *find(WOLFSSL *ssl, uint64_t epoch)
{
	for (int i = 0; i < DTLS13_EPOCH_SIZE; i++)
		if (ssl->dtls13Epochs[i].isValid && ssl->dtls13Epochs[i].epochNumber.n == epoch)
			return &ssl->dtls13Epochs[i];
	return NULL;
}

uint64_t lease_epoch(const WOLFSSL *ssl)
{
	return ssl->dtls13Epoch.n;
}

uint64_t lease_peer_epoch(const WOLFSSL *ssl)
{
	return ssl->dtls13PeerEpoch.n;
}

int lease_numbers(WOLFSSL *ssl, uint64_t epoch, uint64_t *send, uint64_t *receive)
{
	const Dtls13Epoch *e = find(ssl, epoch);

	if (!e)
		return -ENOENT;
	*send = e->nextSeqNumber.n;
	*receive = e->nextPeerSeqNumber.n;
	return 0;
}

bool lease_same_keys(WOLFSSL *ssl, bool client_writes, const struct record_key *k)
{
	const Dtls13Epoch *e = find(ssl, k->epoch);
	const size_t n = k->aead->key_len;

	if (!e)
		return false;
	return secret_equal(client_writes ? e->client_write_key : e->server_write_key, k->key, n) &&
	       secret_equal(client_writes ? e->client_write_IV : e->server_write_IV, k->iv,
	                    sizeof(k->iv)) &&
	       secret_equal(client_writes ? e->client_sn_key : e->server_sn_key, k->sn, n);
}

/* -- sending ----------------------------------------------------------------------------------- */

int lease_enter(struct lease *l, WOLFSSL *ssl, struct record_sealer *s, uint64_t limit)
{
	Dtls13Epoch *e = find(ssl, s->key.epoch);

	if (l->broken || !e || s->key.epoch < FIRST_EPOCH)
		return -EPIPE;
	/* What is left of a block is good while nothing of ours was sent since. */
	if (l->armed && l->epoch == s->key.epoch && l->end == s->next &&
	    e->nextSeqNumber.n >= l->base && e->nextSeqNumber.n + LEASE_BLOCK / 2 <= l->end)
		return 0;
	if (s->next + LEASE_BLOCK > limit)
		return -EKEYEXPIRED;
	l->epoch = s->key.epoch;
	l->base = s->next;
	l->end = s->next + LEASE_BLOCK;
	s->next = l->end;
	e->nextSeqNumber.n = l->base;
	l->armed = true;
	return 0;
}

bool lease_allows(struct lease *l, const WOLFSSL *ssl, const uint8_t *d, size_t len)
{
	const Dtls13Epoch *e = ssl->dtls13EncryptEpoch;
	uint64_t epoch, next;

	if (!l->armed)
		return true; /* still the handshake: all numbers are wolfSSL's */
	if (!l->broken && e && datagram_cid(d, len)) {
		epoch = e->epochNumber.n;
		next = e->nextSeqNumber.n; /* beyond the record that it hands over */
		if (epoch < l->epoch)
			return true; /* not ours, or not any more */
		if (epoch == l->epoch && next > l->base && next <= l->end)
			return true;
		/* It has moved on within this call: we have sent nothing there yet. */
		if (epoch == l->epoch + 1 && next <= LEASE_BLOCK)
			return true;
	}
	l->broken = true;
	return false;
}

void lease_retire(WOLFSSL *ssl, const struct record_sealer *s)
{
	Dtls13Epoch *e = find(ssl, s->key.epoch);

	if (e)
		e->nextSeqNumber.n = s->next;
}

/* -- receiving --------------------------------------------------------------------------------- */

int lease_show(struct lease *l, WOLFSSL *ssl, uint64_t epoch, uint64_t number)
{
	Dtls13Epoch *e = find(ssl, epoch);

	if (!e)
		return -ENOENT;
	e->nextPeerSeqNumber.n = number;
	XMEMSET(e->window, 0, sizeof(e->window));
	l->shown = true;
	l->as = epoch;
	l->peer = ssl->dtls13PeerEpoch.n;
	ssl->dtls13PeerEpoch.n = epoch;
	return 0;
}

/* Only a KeyUpdate in the newest epoch moves it on. One that moves an older one breaks the protocol. */
int lease_shown(struct lease *l, WOLFSSL *ssl)
{
	if (!l->shown)
		return 0;
	l->shown = false;
	if (l->as == l->peer)
		return 0;
	if (ssl->dtls13PeerEpoch.n != l->as) {
		l->broken = true;
		return -EPIPE;
	}
	ssl->dtls13PeerEpoch.n = l->peer;
	return 0;
}

void lease_prune(WOLFSSL *ssl)
{
	const uint64_t send = ssl->dtls13Epoch.n, receive = ssl->dtls13PeerEpoch.n;

	for (int i = 0; i < DTLS13_EPOCH_SIZE; i++) {
		Dtls13Epoch *e = &ssl->dtls13Epochs[i];
		const uint64_t n = e->epochNumber.n;

		if (!e->isValid || n == send || n == receive || n + 1 == receive ||
		    e == ssl->dtls13EncryptEpoch || e == ssl->dtls13DecryptEpoch)
			continue;
		secret_wipe(e, sizeof(*e));
	}
}
