/* SPDX-License-Identifier: GPL-3.0-or-later */
/* session - one DTLS 1.3 association without I/O: datagrams in, datagrams and packets out.
 *
 * Life: dialled, or handed out by a listener once its cookie came back → session_feed and
 * session_tick until SESSION_UP → session_seal and session_open → session_close, session_free.
 * Nobody gets a session that is up before the peer's chain, its one SPIFFE name and the name that
 * was dialled are verified and admitted.
 *
 * Owned by one thread at a time (handshake thread, then a worker); hand it over whole. What leaves
 * goes to the emit function, which the present owner sets. Time is CLOCK_MONOTONIC nanoseconds.
 */
#pragma once
#include "crypto/wolf.h"

#define SESSION_CID_LEN       4     /* the first byte names the worker, 24 random bits follow */
#define SESSION_MTU_HANDSHAKE 1200  /* datagrams of a handshake; safe on any underlay path */
#define SESSION_OVERHEAD      24    /* what session_seal adds */
#define SESSION_PLAIN_MAX     16360 /* a datagram is then at most 16384 bytes */
#define SESSION_DATAGRAM_MAX  1700 /* of a handshake, that we read; ours are SESSION_MTU_HANDSHAKE */
#define SESSION_ADDRESS_MAX   32
#define SESSION_DEADLINE      (15 * 1000000000LL) /* of a handshake, from first to last */
#define SESSION_RESTART       (2500 * 1000000LL)  /* without progress: a client starts anew */
#define SESSION_RECORDS_SOFT  (1ULL << 23)        /* rekey by a fresh handshake */
#define SESSION_RECORDS_HARD  23726566ULL         /* 2^24.5, RFC 9147 section 4.5.3 */

enum session_state {
	SESSION_HANDSHAKE, /* feed and tick it; nothing may be sealed or opened */
	SESSION_UP,        /* the handshake is done, the peer is who it should be */
	SESSION_CLOSED,    /* the peer said goodbye */
	SESSION_FAILED,    /* see session_why */
};

struct session;

/* Datagrams that the session wants to send now; borrowed bytes. */
typedef void session_emit_fn(void *arg, const uint8_t *datagram, size_t len);

struct session_dial {
	const char *expect;           /* name of the node, never NULL */
	uint8_t cid[SESSION_CID_LEN]; /* what the peer puts into records for us */
	session_emit_fn *emit;
	void *emit_arg;
};

/* Client. Emits the first ClientHello. 0, -ENOMEM. */
int session_dial(struct session **out, struct wolf *w, const struct session_dial *d, int64_t now);
void session_free(struct session *s); /* takes NULL; zeroes; emits nothing */

void session_set_emit(struct session *s, session_emit_fn *emit, void *arg);

/* One datagram of the handshake, whole and untouched. Returns the state after it. A datagram that
 * is noise changes nothing; nor does an alert or an ACK in the clear, which anybody can forge (a
 * client remembers the alert, and gives up by it if nothing better comes for SESSION_RESTART).
 * Changes nothing once SESSION_UP: all datagrams are then session_open's.
 */
enum session_state session_feed(struct session *s, const uint8_t *datagram, size_t len,
                                int64_t now);
/* To be called at or after session_deadline: retransmits, or gives up. */
enum session_state session_tick(struct session *s, int64_t now);
/* When session_tick wants to be called; INT64_MAX: never. Valid before and after the handshake
 * (acknowledgements of post-handshake messages).
 */
int64_t session_deadline(const struct session *s);

enum session_state session_state(const struct session *s);
/* Why it failed or closed, one line for people: "the peer's certificate was refused: expired".
 * "" while it is well. Lives as long as s.
 */
const char *session_why(const struct session *s);
/* CERT_OK, or why we refused the peer's certificate. */
enum cert_refusal session_refusal(const struct session *s);
/* The TLS alert the peer sent, -1 if none (RFC 8446 section 6). */
int session_peer_alert(const struct session *s);
/* -- once SESSION_UP -- */
const struct cert_info *session_peer(const struct session *s);
const char *session_kex(const struct session *s);    /* "X25519MLKEM768" */
const char *session_cipher(const struct session *s); /* "TLS13-AES128-GCM-SHA256" */
bool session_is_client(const struct session *s);
const uint8_t *session_cid(const struct session *s); /* ours, SESSION_CID_LEN bytes */
uint64_t session_sealed(const struct session *s);    /* records sealed so far */
/* A new session should take its place: the key has sealed SESSION_RECORDS_SOFT records, or half as
 * many tags were wrong as end a session.
 */
bool session_wants_rekey(const struct session *s);

/* Seals one record of plain (1 to SESSION_PLAIN_MAX bytes) into out, which has room for len +
 * SESSION_OVERHEAD bytes and does not overlap plain: one datagram. plain[len] is written and put
 * back, for the content type stands there while it is sealed; so a packet that is cut up in place
 * need not be copied. Returns the datagram's length; -EKEYEXPIRED past SESSION_RECORDS_HARD,
 * -EMSGSIZE, -EPIPE not up.
 */
ssize_t session_seal(struct session *s, uint8_t *plain, size_t len, uint8_t *out);

/* Opens one datagram in place. Returns the length of the plaintext, and where it begins within
 * the datagram in *plain; 0 if it held no application data (an ACK, a repeated flight: answered by
 * emit), -EBADMSG forged, damaged or not a record for our CID, -EALREADY replayed or too old, -EPIPE
 * the session closed or failed by it. A datagram carries one record of data: what comes behind the
 * first is not delivered. Whatever it returns, the datagram is spent: its bytes are those of the
 * plaintext, or nobody's.
 */
ssize_t session_open(struct session *s, uint8_t *datagram, size_t len, uint8_t **plain,
                     int64_t now);

/* Emits close_notify. */
void session_close(struct session *s);

/* -- the listener: what a stranger meets ----------------------------------------------------- */

struct session_listener;

/* Stateless until a cookie comes back (RFC 9147 section 5.1). w is kept by reference. */
int session_listener_new(struct session_listener **out, struct wolf *w);
void session_listener_free(struct session_listener *l);

struct session_accept {
	const void *address;          /* the source, as bytes: the cookie is bound to it */
	size_t address_len;           /* 1 to SESSION_ADDRESS_MAX */
	uint8_t cid[SESSION_CID_LEN]; /* for the session, if it becomes one */
	session_emit_fn *emit;
	void *emit_arg;
};

/* One datagram from an address with no half-open session, or for which session_is_new_hello says
 * yes. 0: answered or ignored, nothing kept. 1: *out is a new session of the caller, half-open or
 * already failed; it takes the place of any half-open one from that address. -ENOMEM.
 */
int session_listener_feed(struct session_listener *l, const struct session_accept *a,
                          const uint8_t *datagram, size_t len, int64_t now, struct session **out);

/* -- reading headers without keys -------------------------------------------------------------- */

/* The CID of a DTLS 1.3 record with a unified header (RFC 9147 section 4), or NULL if the datagram
 * does not begin with one that carries a CID of ours. Pure.
 */
const uint8_t *session_datagram_cid(const uint8_t *datagram, size_t len);
/* Does it begin with a plaintext handshake record or a unified header of a handshake epoch? */
bool session_datagram_handshake(const uint8_t *datagram, size_t len);
/* Does it begin a handshake other than the one that s (may be NULL) came from? A client that starts
 * anew, or its host after a restart, does so from the same address. Such a datagram goes to the
 * listener, not to s; s lives on until the listener hands out another in its place.
 */
bool session_is_new_hello(const struct session *s, const uint8_t *datagram, size_t len);

/* -- for session_listener.c -------------------------------------------------------------------- */

/* A server that has seen nobody. */
int session_server_new(struct session **out, struct wolf *w);
/* Shows it a hello. 1: the cookie was good; 0: answered, -EAGAIN: neither, and it knows nothing of
 * it unless *spoilt; -ENOMEM.
 */
int session_server_hello(struct session *s, const struct session_accept *a,
                         const uint8_t secret[WOLF_COOKIE_SECRET], const uint8_t *datagram,
                         size_t len, bool *spoilt);
/* After a good one, whose random (32 bytes) is given: the handshake goes on. */
void session_server_start(struct session *s, const uint8_t *random, int64_t now);

/* -- for tests, which cannot wait for 2^24 records ------------------------------------------------ */

struct traffic;
struct traffic *session_traffic(struct session *s);
