/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Two plain wolfSSL ends, of which one is under a lease. */
#include "crypto/traffic.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "tests/ends.h"
#include "tests/raw.h"

#define LIMIT 23726566ULL
#define EPOCH 3

static struct ends_ca ca;
static struct ends_id id;
static struct cert_chain chain = {.n = 1};

static void setup(void)
{
	cr_assert_eq(wolf_start(), 0);
	ends_ca_init(&ca);
	ends_issue(&ca, &id, ENDS_CLUSTER, "n7", ROLE_NODE);
	chain.at[0].der = id.der;
	chain.at[0].len = id.len;
}

static void teardown(void)
{
	ends_id_clear(&id);
	ends_ca_clear(&ca);
}

TestSuite(lease, .init = setup, .fini = teardown, .timeout = 60);

struct pair {
	struct raw client, server;
	struct traffic_secrets secrets; /* as the client knows them */
	struct traffic t;               /* the client's */
	bool guarded;                   /* the client's datagrams are asked about */
	unsigned stopped;
};

static int guarded_send(WOLFSSL *ssl, char *buf, int len, void *arg)
{
	struct pair *p = arg;

	if (p->guarded && !traffic_allows(&p->t, ssl, (const uint8_t *)buf, (size_t)len)) {
		p->stopped++;
		return WOLFSSL_CBIO_ERR_GENERAL;
	}
	raw_put(&p->server.in, (const uint8_t *)buf, (size_t)len);
	return len;
}

static void carry(struct raw *from, struct raw *to)
{
	while (from->out.n) {
		raw_put(&to->in, from->out.d[0].bytes, from->out.d[0].len);
		raw_drop(&from->out);
	}
}

static struct pair *pair_up(const char *cipher)
{
	struct raw_as as = {.cipher = cipher, .chain = &chain, .key = id.key};
	struct pair *p = calloc(1, sizeof(*p));

	raw_init(&p->client, &as);
	as.server = true;
	raw_init(&p->server, &as);
	wolfSSL_SSLSetIOSend(p->client.ssl, guarded_send);
	wolfSSL_SetIOWriteCtx(p->client.ssl, p);
	cr_assert_eq(traffic_listen(&p->secrets, p->client.ssl), 0);
	for (int i = 0; i < 30 && !(p->client.up && p->server.up); i++) {
		raw_step(&p->client);
		raw_step(&p->server);
		carry(&p->server, &p->client);
	}
	cr_assert(p->client.up && p->server.up);
	return p;
}

static void pair_free(struct pair *p)
{
	traffic_clear(&p->t);
	raw_clear(&p->client);
	raw_clear(&p->server);
	free(p);
}

static int start(struct pair *p)
{
	uint8_t cid[RECORD_CID_LEN];
	int err;

	cr_assert_eq(wolfSSL_dtls_cid_get_tx(p->client.ssl, cid, sizeof(cid)), WOLFSSL_SUCCESS);
	err = traffic_start(&p->t, p->client.ssl, true, &p->secrets, cid, LIMIT);
	p->guarded = err == 0;
	return err;
}

static uint64_t wolf_next(struct pair *p)
{
	uint64_t send = 0, receive = 0;

	cr_assert_eq(lease_numbers(p->client.ssl, EPOCH, &send, &receive), 0);
	return send;
}

/* Where wolfSSL keeps it. */
static void wolf_next_set(struct pair *p, uint64_t next)
{
	for (int i = 0; i < DTLS13_EPOCH_SIZE; i++)
		if (p->client.ssl->dtls13Epochs[i].isValid &&
		    p->client.ssl->dtls13Epochs[i].epochNumber.n == EPOCH)
			p->client.ssl->dtls13Epochs[i].nextSeqNumber.n = next;
}

static const char *const ciphers[] = {"TLS13-AES128-GCM-SHA256", "TLS13-CHACHA20-POLY1305-SHA256"};

Test(lease, keys_are_taken_over_if_they_are_wolfssls)
{
	for (int c = 0; c < 2; c++) {
		struct pair *p = pair_up(ciphers[c]);
		struct traffic_secrets none = {.client_known = false};
		uint64_t next = wolf_next(p);

		cr_assert_eq(start(p), 0);
		cr_assert_eq(p->t.send->next,
		             next + LEASE_BLOCK); /* it goes on where wolfSSL was */
		cr_assert_eq(memcmp(&p->secrets, &none, sizeof(none)), 0);
		for (size_t i = 0; i < AEAD_KEY_MAX; i++)
			cr_assert_eq(p->t.send->key.key[i] | p->t.receive->key.key[i] |
			                     p->t.send->key.sn[i] | p->t.receive->key.sn[i],
			             0);
		pair_free(p);
	}
}

Test(lease, other_keys_are_refused)
{
	for (int c = 0; c < 2; c++)
		for (int which = 0; which < 4; which++) {
			struct pair *p = pair_up(ciphers[c]);

			if (which == 0)
				p->secrets.client[31] ^= 1;
			else if (which == 1)
				p->secrets.server[0] ^= 0x80;
			else if (which == 2)
				p->secrets.client_known = false;
			else
				p->secrets.server_known = false;
			cr_assert_eq(start(p), -EPROTO);
			pair_free(p);
		}
}

Test(lease, a_cipher_that_is_not_ours_is_refused)
{
	struct pair *p = pair_up("TLS13-AES256-GCM-SHA384");

	cr_assert_eq(start(p), -EPROTO);
	pair_free(p);
}

Test(lease, wolfssl_sends_under_fresh_numbers_alone)
{
	struct pair *p = pair_up(ciphers[0]);
	uint64_t base;

	cr_assert_eq(start(p), 0);
	base = p->t.send->next - LEASE_BLOCK;
	cr_assert_eq(wolf_next(p), base);
	/* nothing of ours in between: the block is used on */
	cr_assert_eq(wolfSSL_write(p->client.ssl, "x", 1), 1);
	cr_assert_eq(traffic_enter(&p->t, p->client.ssl, NULL), 0);
	cr_assert_eq(wolf_next(p), base + 1);
	/* half of it gone */
	for (int i = 0; i < LEASE_BLOCK / 2; i++)
		cr_assert_eq(wolfSSL_write(p->client.ssl, "x", 1), 1);
	cr_assert_eq(traffic_enter(&p->t, p->client.ssl, NULL), 0);
	cr_assert_eq(wolf_next(p), base + LEASE_BLOCK);
	/* one of ours: it is behind that */
	p->t.send->next++;
	cr_assert_eq(traffic_enter(&p->t, p->client.ssl, NULL), 0);
	cr_assert_eq(wolf_next(p), base + 2 * LEASE_BLOCK + 1);
	cr_assert_eq(p->t.send->next, base + 3 * LEASE_BLOCK + 1);
	cr_assert_eq(p->stopped, 0);
	pair_free(p);
}

Test(lease, what_leaves_its_block_does_not_leave_and_ends_the_session)
{
	static const int64_t off[] = {-1, -5, LEASE_BLOCK, LEASE_BLOCK + 1, 1000000};

	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
		struct pair *p = pair_up(ciphers[0]);
		unsigned before;

		cr_assert_eq(start(p), 0);
		p->t.send->next += 100;
		cr_assert_eq(traffic_enter(&p->t, p->client.ssl, NULL), 0);
		wolf_next_set(p, (uint64_t)((int64_t)wolf_next(p) + off[i]));
		before = p->server.in.n;
		cr_assert_lt(wolfSSL_write(p->client.ssl, "x", 1), 1);
		cr_assert_eq(p->server.in.n, before);
		cr_assert_eq(p->stopped, 1);
		cr_assert_eq(traffic_leave(&p->t, p->client.ssl), -EPIPE);
		cr_assert_eq(traffic_enter(&p->t, p->client.ssl, NULL), -EPIPE);
		pair_free(p);
	}
}

Test(lease, runs_out_with_the_key)
{
	struct pair *p = pair_up(ciphers[0]);
	uint8_t plain[8] = "x", out[64];

	cr_assert_eq(start(p), 0);
	p->t.send->next = LIMIT - RECORD_RESERVE;
	cr_assert_eq(record_seal(p->t.send, plain, 1, out), -EKEYEXPIRED);
	for (unsigned i = 0; i < RECORD_RESERVE / LEASE_BLOCK; i++) {
		cr_assert_eq(traffic_enter(&p->t, p->client.ssl, NULL), 0);
		wolf_next_set(p, p->t.send->next); /* all used */
	}
	cr_assert_eq(p->t.send->next, LIMIT);
	cr_assert_eq(traffic_enter(&p->t, p->client.ssl, NULL), -EKEYEXPIRED);
	pair_free(p);
}

Test(lease, shows_a_record_as_what_it_is_and_no_other)
{
	struct pair *p = pair_up(ciphers[0]);
	uint64_t send, receive;

	cr_assert_eq(start(p), 0);
	cr_assert_eq(lease_show(&p->t.lease, p->client.ssl, 9, 5), -ENOENT);
	cr_assert_eq(lease_show(&p->t.lease, p->client.ssl, EPOCH, 77), 0);
	cr_assert_eq(lease_numbers(p->client.ssl, EPOCH, &send, &receive), 0);
	cr_assert_eq(receive, 77);
	cr_assert_eq(lease_shown(&p->t.lease, p->client.ssl), 0);
	cr_assert_eq(lease_peer_epoch(p->client.ssl), EPOCH);
	/* an older epoch is named for the one call */
	cr_assert_eq(lease_show(&p->t.lease, p->client.ssl, EPOCH - 1, 0), 0);
	cr_assert_eq(lease_peer_epoch(p->client.ssl), EPOCH - 1);
	cr_assert_eq(lease_shown(&p->t.lease, p->client.ssl), 0);
	cr_assert_eq(lease_peer_epoch(p->client.ssl), EPOCH);
	/* and must not move on in it */
	cr_assert_eq(lease_show(&p->t.lease, p->client.ssl, EPOCH - 1, 0), 0);
	p->client.ssl->dtls13PeerEpoch.n++;
	cr_assert_eq(lease_shown(&p->t.lease, p->client.ssl), -EPIPE);
	cr_assert(p->t.lease.broken);
	pair_free(p);
}
