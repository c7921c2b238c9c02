/* SPDX-License-Identifier: GPL-3.0-or-later */
/* wolf - wolfSSL contexts: the only place that sets groups, options and callbacks.
 *
 * One struct wolf holds what this process is (chain, key, trust, cluster) and whom it admits; every
 * session and stream is made from it and keeps a reference. New credentials mean a new struct wolf;
 * old sessions go on with theirs. Made by one thread, then read-only and usable by all.
 *
 * Fixed for all: (D)TLS 1.3 only, hybrid X25519MLKEM768 only, AES-128-GCM (ChaCha20-Poly1305 where
 * there is no AES), mutual certificates, no tickets, no PSK, no early data.
 *
 * wolfSSL checks a chain first, cert_judge after it, admit last: each may refuse what the one
 * before took, none may accept what another refused. All go by params.wall, wolfSSL too.
 */
#pragma once
#include "crypto/cert.h"

struct wolf;
struct WOLFSSL;

#define ALPN_TUNNEL     "ginnel/1" /* DTLS, between nodes */
#define ALPN_TUNNEL_TCP "ginnel-data/1"
#define ALPN_CONTROL    "ginnel-ctl/1"  /* TLS, client certificate required */
#define ALPN_JOIN       "ginnel-join/1" /* TLS, no client certificate: the proof is in the body */

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

/* Once in a process, before threads; chooses who computes ciphers, too (aead_start). 0, -ENOMEM,
 * -EINVAL, -ENOTSUP.
 */
int wolf_start(void);

/* 0, -EINVAL key and chain do not belong together, are no node's of this cluster, or neither trust
 * nor pin is given; -ENOMEM.
 */
int wolf_new(struct wolf **out, const struct wolf_params *p);
struct wolf *wolf_get(struct wolf *w);
void wolf_put(struct wolf *w);

/* Seeds the cookie secret anew; call every 60 s, any thread. The previous one stays good. */
int wolf_cookie_rotate(struct wolf *w);

const char *wolf_version(void); /* "5.9.2" */

/* -- for session.c and stream.c --------------------------------------------------------------- */

enum wolf_end { WOLF_DTLS_CLIENT, WOLF_DTLS_SERVER, WOLF_TLS_CLIENT, WOLF_TLS_SERVER };

#define WOLF_WHY_MAX 128

/* What the callbacks of one connection know, and what they decided. */
struct wolf_peer {
	struct wolf *w;            /* a reference */
	const char *alpns;         /* those we take, comma separated; borrowed */
	struct cert_expect expect; /* points into the three below */
	char cluster[CERT_NAME_MAX + 1];
	char node[CERT_NAME_MAX + 1];
	char alpn[32]; /* "" until it is decided */
	bool judged;
	enum cert_refusal refusal;
	struct cert_info *info; /* once judged and not refused */
	uint8_t *root;          /* with a pin: room for the root that it names */
	size_t root_len;        /* 0: not seen yet */
	int alert;              /* that the peer sent, -1 */
	char why[WOLF_WHY_MAX];
};

/* alpns must outlive p. expect->cluster NULL: our own, and with a pin whichever the pinned root
 * vouches for. 0, -EINVAL a name is too long, -ENOMEM.
 */
int wolf_peer_init(struct wolf_peer *p, struct wolf *w, const char *alpns,
                   const struct cert_expect *expect);
void wolf_peer_clear(struct wolf_peer *p);
/* Forgets what a handshake decided, before the next attempt. */
void wolf_peer_reset(struct wolf_peer *p);

/* A new object of that end with our callbacks; the caller sets I/O. -ENOMEM, -EINVAL there is no
 * certificate for a server or a tunnel.
 */
int wolf_ssl_new(struct WOLFSSL **out, struct wolf_peer *p, enum wolf_end end);

/* Around each call into wolfSSL that may judge a certificate: its clock is then ours. */
void wolf_enter(const struct wolf *w);
void wolf_leave(void);

/* The handshake is done: was it what we demand? 0, or -EPROTO with p->why. */
int wolf_peer_up(struct wolf_peer *p, struct WOLFSSL *ssl);
/* Writes p->why, p->alert and p->refusal for a wolfSSL error. */
void wolf_peer_failed(struct wolf_peer *p, struct WOLFSSL *ssl, int error);
const char *wolf_alert_name(int alert);

#define WOLF_COOKIE_SECRET 32
/* Secrets for cookies, the present one first; returns how many: 1 or 2. */
unsigned wolf_cookie_secrets(struct wolf *w, uint8_t out[2][WOLF_COOKIE_SECRET]);

/* Between wolf.c and wolf_peer.c: the parameters (pin set if there is no trust; chain and key
 * NULL), the context of one end or NULL, the clock, what judges peers.
 */
struct WOLFSSL_CTX;
const struct wolf_params *wolf_rules(const struct wolf *w);
struct WOLFSSL_CTX *wolf_ctx(const struct wolf *w, enum wolf_end end);
time_t wolf_time(time_t *out);
void wolf_peer_callbacks(struct WOLFSSL_CTX *ctx);
