/* SPDX-License-Identifier: GPL-3.0-or-later */
/* wolf - wolfSSL contexts: the only place that sets groups, options and callbacks.
 *
 * One struct wolf holds what this process is (chain, key, trust, cluster) and whom it admits; every
 * session and stream is made from it and keeps a reference. New credentials mean a new struct wolf;
 * old sessions go on with theirs. Made by one thread, then read-only and usable by all.
 *
 * Fixed for all: (D)TLS 1.3 only, hybrid X25519MLKEM768 only, AES-128-GCM (ChaCha20-Poly1305 where
 * there is no AES), mutual certificates, no tickets, no PSK, no early data.
 */
#pragma once
#include "crypto/cert.h"

struct wolf;

#define ALPN_TUNNEL "ginnel/1"      /* DTLS, between nodes */
#define ALPN_TUNNEL_TCP "ginnel-data/1"
#define ALPN_CONTROL "ginnel-ctl/1" /* TLS, client certificate required */
#define ALPN_JOIN "ginnel-join/1"   /* TLS, no client certificate: the proof is in the body */

struct wolf_params {
	const struct cert_trust *trust; /* kept by the caller as long as the struct wolf lives */
	const char *cluster;
	const struct cert_chain *chain; /* own, leaf first; NULL: no certificate (a joiner) */
	const struct cert_key *key;
	/* Asked inside the handshake after cert_judge said yes, for each peer; may only narrow.
	 * Called from the thread that feeds the session. NULL: whoever cert_judge accepts.
	 */
	enum cert_refusal (*admit)(void *arg, const struct cert_info *peer);
	void *admit_arg;
	/* Seconds since the epoch by which certificates are judged: max(clock, floor). */
	time_t (*wall)(void *arg);
	void *wall_arg;
	/* A joiner pins the root instead of trusting one: trust is NULL, the peer's chain must
	 * include a root whose SPKI hash this is.
	 */
	const uint8_t *pin;
};

/* Once in a process, before threads. */
int wolf_start(void);

/* 0, -EINVAL key and chain do not belong together or are no node's, -ENOMEM. */
int wolf_new(struct wolf **out, const struct wolf_params *p);
struct wolf *wolf_get(struct wolf *w);
void wolf_put(struct wolf *w);

/* Seeds the cookie secret anew; call every 60 s, any thread. The previous one stays good. */
int wolf_cookie_rotate(struct wolf *w);

const char *wolf_version(void);     /* "5.9.2" */
const char *wolf_aead(void);        /* "AES-128-GCM" or "CHACHA20-POLY1305" */
