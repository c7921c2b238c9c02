/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/traffic.h"

#include <errno.h>
#include <string.h>

#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/settings.h>

#include "crypto/keylog.h"
#include "crypto/secret.h"

#define FIRST_EPOCH     3 /* of application data */
#define HANDSHAKE_EPOCH 2
#define SUITE_AES       0x1301
#define SUITE_CHACHA    0x1303

static int on_secret(WOLFSSL *ssl, int id, const unsigned char *secret, int len, void *arg)
{
	struct traffic_secrets *ts = arg;

	keylog_secret(ssl, id, secret, len);
	if (id != CLIENT_TRAFFIC_SECRET && id != SERVER_TRAFFIC_SECRET)
		return 0;
	if (len != RECORD_SECRET)
		return 0; /* of a hash we did not offer: traffic_start finds none */
	if (id == CLIENT_TRAFFIC_SECRET) {
		memcpy(ts->client, secret, RECORD_SECRET);
		ts->client_known = true;
	} else {
		memcpy(ts->server, secret, RECORD_SECRET);
		ts->server_known = true;
	}
	return 0;
}

int traffic_listen(struct traffic_secrets *ts, WOLFSSL *ssl)
{
	secret_wipe(ts, sizeof(*ts));
	return wolfSSL_set_tls13_secret_cb(ssl, on_secret, ts) == WOLFSSL_SUCCESS ? 0 : -EINVAL;
}

static const struct aead *aead_of(WOLFSSL *ssl)
{
	switch (wolfSSL_get_current_cipher_suite(ssl)) {
	case SUITE_AES:
		return aead_find(AEAD_AES_128_GCM);
	case SUITE_CHACHA:
		return aead_find(AEAD_CHACHA20_POLY1305);
	default:
		return NULL;
	}
}

/* wolfSSL's keys for it must be ours. */
static int same(WOLFSSL *ssl, bool client_writes, struct record_key *k)
{
	bool yes = lease_same_keys(ssl, client_writes, k);

	record_keys_forget(k);
	return yes ? 0 : -EPROTO;
}

static int sealer_make(struct traffic *t, WOLFSSL *ssl, const struct aead *a, const uint8_t *secret,
                       uint64_t epoch, const uint8_t cid[RECORD_CID_LEN])
{
	struct record_sealer *s;
	uint64_t send, receive;
	int err;

	err = record_sealer_new(&s, a, secret, epoch, cid, t->limit);
	if (err)
		return err;
	err = same(ssl, t->client, &s->key);
	if (!err)
		err = lease_numbers(ssl, epoch, &send, &receive);
	if (err) {
		record_sealer_free(s);
		return err;
	}
	s->next = send; /* what wolfSSL has sent there stays spent */
	record_sealer_free(t->send);
	t->send = s;
	return 0;
}

static int opener_make(struct traffic *t, WOLFSSL *ssl, const struct aead *a, const uint8_t *secret,
                       uint64_t epoch)
{
	struct record_opener *o;
	uint64_t send, receive;
	int err;

	err = record_opener_new(&o, a, secret, epoch);
	if (err)
		return err;
	err = same(ssl, !t->client, &o->key);
	if (!err)
		err = lease_numbers(ssl, epoch, &send, &receive);
	if (err) {
		record_opener_free(o);
		return err;
	}
	replay_init(&o->replay, receive); /* wolfSSL had those before */
	record_opener_free(t->receive_before);
	t->receive_before = t->receive;
	t->receive = o;
	return 0;
}

int traffic_start(struct traffic *t, WOLFSSL *ssl, bool client, struct traffic_secrets *ts,
                  const uint8_t peer_cid[RECORD_CID_LEN], uint64_t limit)
{
	const struct aead *a = aead_of(ssl);
	int err = -EPROTO;

	t->client = client;
	t->limit = limit;
	if (a && ts->client_known && ts->server_known && lease_epoch(ssl) == FIRST_EPOCH &&
	    lease_peer_epoch(ssl) == FIRST_EPOCH)
		err = sealer_make(t, ssl, a, client ? ts->client : ts->server, FIRST_EPOCH,
		                  peer_cid);
	if (!err)
		err = opener_make(t, ssl, a, client ? ts->server : ts->client, FIRST_EPOCH);
	if (!err)
		err = lease_enter(&t->lease, ssl, t->send, limit);
	secret_wipe(ts, sizeof(*ts));
	return err;
}

void traffic_clear(struct traffic *t)
{
	record_sealer_free(t->send);
	record_opener_free(t->receive);
	record_opener_free(t->receive_before);
	secret_wipe(t, sizeof(*t));
}

/* -- what comes --------------------------------------------------------------------------------- */

static struct record_opener *opener_of(const struct traffic *t, uint8_t epoch_bits)
{
	if (epoch_bits == (t->receive->key.epoch & DATAGRAM_UNIFIED_EPOCH))
		return t->receive;
	if (t->receive_before &&
	    epoch_bits == (t->receive_before->key.epoch & DATAGRAM_UNIFIED_EPOCH))
		return t->receive_before;
	return NULL;
}

int traffic_open(struct traffic *t, struct record *r, const uint8_t cid[RECORD_CID_LEN], uint8_t *d,
                 size_t len, int64_t now)
{
	struct record_opener *o;
	int err;

	err = record_parse(r, cid, d, len);
	if (err)
		return err;
	o = opener_of(t, r->epoch_bits);
	if (o)
		return record_open(o, r, now);
	/* A server is done before its client, whose last flight may come again. */
	if (r->epoch_bits != HANDSHAKE_EPOCH || t->receive->key.epoch != FIRST_EPOCH ||
	    t->send->key.epoch != FIRST_EPOCH)
		return -EBADMSG;
	r->type = RECORD_FOREIGN;
	return 0;
}

/* -- around wolfSSL ----------------------------------------------------------------------------- */

/* As it came, and named. */
static int show(struct traffic *t, WOLFSSL *ssl, struct record *r)
{
	struct record_opener *o =
		r->epoch == t->receive->key.epoch ? t->receive : t->receive_before;
	int err;

	err = record_restore(o, r);
	if (err)
		return err;
	return lease_show(&t->lease, ssl, r->epoch, r->number);
}

int traffic_enter(struct traffic *t, WOLFSSL *ssl, struct record *r)
{
	int err;

	err = lease_enter(&t->lease, ssl, t->send, t->limit);
	if (!err && r && r->type != RECORD_FOREIGN)
		err = show(t, ssl, r);
	return err;
}

/* wolfSSL sends in a new epoch: so do we. */
static int follow_sending(struct traffic *t, WOLFSSL *ssl)
{
	const uint64_t epoch = lease_epoch(ssl);
	const struct record_sealer *old = t->send;

	if (epoch == old->key.epoch)
		return 0;
	if (epoch != old->key.epoch + 1)
		return -EPROTO;
	lease_retire(ssl, old);
	return sealer_make(t, ssl, old->key.aead, old->key.next_secret, epoch, old->cid);
}

static int follow_receiving(struct traffic *t, WOLFSSL *ssl)
{
	const uint64_t epoch = lease_peer_epoch(ssl);
	const struct record_opener *old = t->receive;

	if (epoch == old->key.epoch)
		return 0;
	if (epoch != old->key.epoch + 1)
		return -EPROTO;
	return opener_make(t, ssl, old->key.aead, old->key.next_secret, epoch);
}

int traffic_leave(struct traffic *t, WOLFSSL *ssl)
{
	const uint64_t send = t->send->key.epoch, receive = t->receive->key.epoch;
	int err;

	err = lease_shown(&t->lease, ssl);
	if (!err && t->lease.broken)
		err = -EPIPE;
	if (!err)
		err = follow_sending(t, ssl);
	if (!err)
		err = follow_receiving(t, ssl);
	if (!err && (send != t->send->key.epoch || receive != t->receive->key.epoch))
		lease_prune(ssl);
	return err;
}

bool traffic_allows(struct traffic *t, const WOLFSSL *ssl, const uint8_t *d, size_t len)
{
	return lease_allows(&t->lease, ssl, d, len);
}
