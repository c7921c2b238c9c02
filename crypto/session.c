/* SPDX-License-Identifier: GPL-3.0-or-later */
/* wolfSSL does the protocol; this file decides what it gets to see and when it may send.
 *
 * What it sees: datagrams whose records are of the right shape, never an alert or ACK in the clear
 * (RFC 9147 lets anyone on the path forge them, and wolfSSL takes an ACK of epoch 0 at any time,
 * also the one that ends a client's handshake), never anything in the clear once the session is
 * up.
 *
 * When it sends: wolfSSL starts no timer, counts its timeouts in whole seconds, and skips in
 * silence what it thinks too soon by its own clock. Here one clock rules, the caller's: a flight
 * is repeated after SESSION_RTX_FIRST, then doubling, also on the peer's repeats, never sooner than
 * RTX_MIN after the last time. With ML-KEM the second ClientHello is in two datagrams, and some orders of
 * loss end in an error or in two ends that wait for each other: a client that makes no progress
 * for SESSION_RESTART throws its WOLFSSL away and starts anew within the same struct session.
 *
 * A client is up when the server acknowledged its Finished, in a protected record; the server
 * does so only after it judged the certificate. So both ends are up with a peer that took them.
 */
#include "crypto/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/internal.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/settings.h>

#include "crypto/secret.h"
#include "crypto/session_inner.h"

#define MS                  SESSION_MS
#define RTX_MAX             (2400 * MS)
#define RTX_MIN             (200 * MS)
#define RTX_QUICK           (75 * MS) /* until a part of a flight is acknowledged */
#define RESTART_AFTER_ERROR (300 * MS)
#define LONG_AGO            (INT64_MIN / 2)
#define NO_CID              "the peer uses no connection ID of 4 bytes"

/* -- what is let in ------------------------------------------------------------------------- */

const uint8_t *session_datagram_cid(const uint8_t *d, size_t len)
{
	return datagram_cid(d, len);
}

bool session_datagram_handshake(const uint8_t *d, size_t len)
{
	uint16_t seq;
	size_t n;

	if (datagram_cid(d, len))
		return (d[0] & DATAGRAM_UNIFIED_EPOCH) == 2;
	n = datagram_plain(d, len);
	return n && datagram_message(d, n, &seq) >= 0;
}

bool session_is_new_hello(const struct session *s, const uint8_t *d, size_t len)
{
	const uint8_t *random = datagram_hello(d, len);

	if (!random)
		return false;
	return !s || s->client || memcmp(random, s->random, DATAGRAM_RANDOM_LEN) != 0;
}

/* May wolfSSL see it? All of it or nothing: a datagram that is partly noise is noise. */
static bool admissible(struct session *s, const uint8_t *d, size_t len)
{
	bool any = false;

	while (len) {
		size_t n = datagram_plain(d, len);
		uint16_t seq;

		if (n && (d[0] == DATAGRAM_ALERT || d[0] == DATAGRAM_ACK)) {
			if (d[0] == DATAGRAM_ALERT && n == DATAGRAM_PLAIN_HEADER + 2)
				s->plain_alert = d[DATAGRAM_PLAIN_HEADER + 1];
			return false;
		}
		if (n) {
			if (datagram_message(d, n, &seq) !=
			    (s->client ? DATAGRAM_SERVER_HELLO : DATAGRAM_CLIENT_HELLO))
				return false;
			/* Each is alone in its flight: one that comes early is of an old
			 * attempt, and would be kept for later.
			 */
			if (seq > s->ssl->keys.dtls_expected_peer_handshake_number)
				return false;
		} else {
			n = datagram_protected(s->cid, d, len);
			s->without_cid |= (d[0] & (DATAGRAM_UNIFIED_MASK | DATAGRAM_UNIFIED_CID)) ==
			                  DATAGRAM_UNIFIED;
			if (!n)
				return false;
		}
		d += n;
		len -= n;
		any = true;
	}
	return any;
}

/* -- between wolfSSL and the caller --------------------------------------------------------- */

static int on_receive(WOLFSSL *ssl, char *buf, int max, void *arg)
{
	struct session *s = arg;
	const uint8_t *in = s->in;

	(void)ssl;
	s->in = NULL;
	if (!in || max < 0 || s->in_len > (size_t)max)
		return WOLFSSL_CBIO_ERR_WANT_READ;
	memcpy(buf, in, s->in_len);
	return (int)s->in_len;
}

static void emit(struct session *s, const uint8_t *d, size_t len)
{
	if (s->stateless && d[0] != DATAGRAM_HANDSHAKE)
		return; /* no alerts to strangers */
	s->emitted = true;
	if (s->emit)
		s->emit(s->emit_arg, d, len);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the type is wolfSSL's */
static int on_send(WOLFSSL *ssl, char *buf, int len, void *arg)
{
	struct session *s = arg;
	const uint8_t *d = (const uint8_t *)buf;

	if (len <= 0)
		return len;
	if (s->state == SESSION_UP && !traffic_allows(&s->traffic, ssl, d, (size_t)len))
		return WOLFSSL_CBIO_ERR_GENERAL;
	emit(s, d, (size_t)len);
	return len;
}

/* Retransmission by our clock: wolfSSL compares the last one's time with its own clock, so it is
 * shown one that lies far back, or one in the future.
 */
void session_clock_in(struct session *s, int64_t now)
{
	s->ssl->dtls13Rtx.lastRtx = now - s->rtx_last < RTX_MIN ? INT64_MAX : 0;
	wolf_enter(s->peer.w);
}

void session_clock_out(struct session *s, int64_t now)
{
	wolf_leave();
	if (s->ssl->dtls13Rtx.lastRtx != 0 && s->ssl->dtls13Rtx.lastRtx != INT64_MAX)
		s->rtx_last = now;
}

static int ssl_make(struct session *s)
{
	WOLFSSL *ssl;
	int err;

	err = wolf_ssl_new(&ssl, &s->peer, s->client ? WOLF_DTLS_CLIENT : WOLF_DTLS_SERVER);
	if (err)
		return err;
	wolfSSL_SSLSetIORecv(ssl, on_receive);
	wolfSSL_SSLSetIOSend(ssl, on_send);
	wolfSSL_SetIOReadCtx(ssl, s);
	wolfSSL_SetIOWriteCtx(ssl, s);
	wolfSSL_dtls_set_using_nonblock(ssl, 1);
	if (wolfSSL_dtls_set_mtu(ssl, SESSION_MTU_HANDSHAKE) != WOLFSSL_SUCCESS ||
	    wolfSSL_dtls_cid_use(ssl) != WOLFSSL_SUCCESS ||
	    wolfSSL_dtls_cid_set(ssl, s->cid, SESSION_CID_LEN) != WOLFSSL_SUCCESS ||
	    (!s->client && wolfSSL_dtls13_allow_ch_frag(ssl, 1) != WOLFSSL_SUCCESS) ||
	    traffic_listen(&s->secrets, ssl) < 0) {
		wolfSSL_free(ssl);
		return -ENOMEM;
	}
	s->ssl = ssl;
	return 0;
}

static int session_new(struct session **out, struct wolf *w, bool client, const char *node)
{
	const struct cert_expect expect = {.node = node, .role = ROLE_NODE};
	struct session *s;
	int err;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->client = client;
	s->plain_alert = -1;
	s->rtx_last = LONG_AGO;
	err = wolf_peer_init(&s->peer, w, ALPN_TUNNEL, &expect);
	if (err)
		goto fail_peer;
	*out = s;
	return 0;
fail_peer:
	free(s);
	return err;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	s->emit = NULL;
	wolfSSL_free(s->ssl);
	traffic_clear(&s->traffic);
	wolf_peer_clear(&s->peer);
	secret_wipe(s, sizeof(*s));
	free(s);
}

void session_set_emit(struct session *s, session_emit_fn *fn, void *arg)
{
	s->emit = fn;
	s->emit_arg = arg;
}

/* -- the handshake -------------------------------------------------------------------------- */

static void timers_start(struct session *s, int64_t now)
{
	s->progress_at = now;
	s->rtx_wait = SESSION_RTX_FIRST;
	s->rtx_at = now + SESSION_RTX_FIRST;
	s->quick_at = INT64_MAX;
	s->restart_at = INT64_MAX;
}

/* What the peer has got us to so far; changes with each message that counted. */
static unsigned progress_of(const struct session *s)
{
	return (unsigned)s->ssl->keys.dtls_expected_peer_handshake_number << 8 |
	       (unsigned)(s->client ? s->ssl->options.connectState : s->ssl->options.acceptState);
}

static void timers_follow(struct session *s, int64_t now)
{
	unsigned progress = progress_of(s);

	if (progress != s->progress) {
		s->progress = progress;
		s->plain_alert = -1; /* a peer that goes on did not refuse us */
		timers_start(s, now);
	}
	if (wolfSSL_dtls13_use_quick_timeout(s->ssl)) {
		if (s->quick_at == INT64_MAX)
			s->quick_at = now + RTX_QUICK;
	} else {
		s->quick_at = INT64_MAX;
	}
}

enum session_state session_fail(struct session *s, const char *why)
{
	if (!s->peer.why[0])
		snprintf(s->peer.why, sizeof(s->peer.why), "%s", why);
	return s->state = SESSION_FAILED;
}

/* An error of wolfSSL's. What the peer said under its keys, or what we hold against its
 * certificate, is final. All else can be forged or is one of wolfSSL's edges: a client tries
 * again a little later; a server's half-open session costs nothing to replace.
 */
static enum session_state failed(struct session *s, int error, int64_t now)
{
	bool judged = s->peer.why[0] || s->peer.refusal != CERT_OK;

	wolf_peer_failed(&s->peer, s->ssl, error);
	if (!s->client || judged || s->peer.refusal != CERT_OK || s->peer.alert >= 0)
		return session_fail(s, "the handshake failed");
	s->broken = true;
	s->restart_at = now + (RESTART_AFTER_ERROR << (s->errors < 3 ? s->errors : 3));
	s->errors++;
	return s->state;
}

/* The connection ID that the peer wants in records. */
static int peer_cid(struct session *s, uint8_t cid[SESSION_CID_LEN])
{
	unsigned len = 0;

	if (wolfSSL_dtls_cid_get_tx_size(s->ssl, &len) != WOLFSSL_SUCCESS || len != SESSION_CID_LEN)
		return -EPROTO;
	return wolfSSL_dtls_cid_get_tx(s->ssl, cid, SESSION_CID_LEN) == WOLFSSL_SUCCESS ? 0
	                                                                                : -EPROTO;
}

static enum session_state up(struct session *s, int64_t now)
{
	uint8_t cid[SESSION_CID_LEN];
	const char *why = NULL;

	if (wolf_peer_up(&s->peer, s->ssl) < 0)
		why = "";
	else if (peer_cid(s, cid) < 0)
		why = NO_CID;
	else if (traffic_start(&s->traffic, s->ssl, s->client, &s->secrets, cid,
	                       SESSION_RECORDS_HARD) < 0)
		why = "the keys are not those that were agreed";
	if (why) {
		wolfSSL_shutdown(s->ssl);
		return session_fail(s, why);
	}
	wolfSSL_FreeArrays(s->ssl);
	wolfSSL_dtls_set_mtu(s->ssl, SESSION_MTU_UP);
	s->rtx_wait = SESSION_RTX_FIRST;
	s->rtx_at = s->quick_at = s->restart_at = INT64_MAX;
	s->up_at = now;
	return s->state = SESSION_UP;
}

/* Lets wolfSSL go as far as it can. */
static enum session_state drive(struct session *s, int64_t now)
{
	int r, error;

	do {
		session_clock_in(s, now);
		r = s->client ? wolfSSL_connect(s->ssl) : wolfSSL_accept(s->ssl);
		error = r == WOLFSSL_SUCCESS ? 0 : wolfSSL_get_error(s->ssl, r);
		session_clock_out(s, now);
		/* Data before we are up is nobody's: the peer will send it again. */
		if (error == APP_DATA_READY)
			s->ssl->buffers.clearOutputBuffer.length = 0;
	} while (error == APP_DATA_READY);
	if (!error)
		return up(s, now);
	if (error != WOLFSSL_ERROR_WANT_READ && error != WOLFSSL_ERROR_WANT_WRITE)
		return failed(s, error, now);
	timers_follow(s, now);
	return s->state;
}

static enum session_state restart(struct session *s, int64_t now)
{
	WOLFSSL *old = s->ssl;

	if (s->peer.why[0])
		memcpy(s->last_error, s->peer.why, sizeof(s->last_error));
	wolf_peer_reset(&s->peer);
	s->ssl = NULL;
	if (ssl_make(s) < 0) {
		s->ssl = old;
		return session_fail(s, "out of memory");
	}
	wolfSSL_free(old);
	s->broken = false;
	s->rtx_last = LONG_AGO;
	s->progress = progress_of(s);
	timers_start(s, now);
	return drive(s, now);
}

int session_dial(struct session **out, struct wolf *w, const struct session_dial *d, int64_t now)
{
	struct session *s;
	int err;

	err = session_new(&s, w, true, d->expect);
	if (err)
		return err;
	memcpy(s->cid, d->cid, sizeof(s->cid));
	session_set_emit(s, d->emit, d->emit_arg);
	err = ssl_make(s);
	if (err)
		goto fail;
	s->started = now;
	s->progress = progress_of(s);
	timers_start(s, now);
	drive(s, now);
	*out = s;
	return 0;
fail:
	session_free(s);
	return err;
}

enum session_state session_feed(struct session *s, const uint8_t *d, size_t len, int64_t now)
{
	if (s->state != SESSION_HANDSHAKE || s->broken || len > SESSION_DATAGRAM_MAX ||
	    !admissible(s, d, len))
		return s->state;
	s->heard = true;
	s->in = d;
	s->in_len = len;
	drive(s, now);
	s->in = NULL;
	return s->state;
}

/* wolfSSL's timeout: acknowledges a part of a flight at once, repeats ours only on the second call
 * if there was something to acknowledge. Its own wait doubles with each call until it gives up;
 * ours is what counts, so its is put back.
 */
int session_timeout(struct session *s, bool repeat, int64_t now)
{
	int r, error = 0;

	session_clock_in(s, now);
	wolfSSL_dtls_set_timeout_init(s->ssl, 1);
	if (repeat && wolfSSL_dtls13_use_quick_timeout(s->ssl))
		wolfSSL_dtls_got_timeout(s->ssl);
	r = wolfSSL_dtls_got_timeout(s->ssl);
	if (r != WOLFSSL_SUCCESS)
		error = wolfSSL_get_error(s->ssl, r);
	wolfSSL_dtls_set_timeout_init(s->ssl, 1);
	session_clock_out(s, now);
	return error;
}

void session_backoff(struct session *s, int64_t now)
{
	s->rtx_wait = s->rtx_wait * 2 < RTX_MAX ? s->rtx_wait * 2 : RTX_MAX;
	s->rtx_at = now + s->rtx_wait;
}

static const char *too_late(const struct session *s)
{
	if (s->last_error[0])
		return s->last_error;
	if (s->without_cid)
		return NO_CID;
	if (s->client && !s->heard)
		return "no answer";
	return "the handshake was not done in time";
}

static enum session_state tick_handshake(struct session *s, int64_t now)
{
	bool stuck = s->broken ? now >= s->restart_at : now - s->progress_at >= SESSION_RESTART;
	int error = 0;

	if (s->client && s->plain_alert >= 0 && now - s->progress_at >= SESSION_RESTART) {
		s->peer.alert = s->plain_alert;
		snprintf(s->peer.why, sizeof(s->peer.why), "the peer ended it: %s (alert %d)",
		         wolf_alert_name(s->plain_alert), s->plain_alert);
		return session_fail(s, "");
	}
	if (now - s->started >= SESSION_DEADLINE)
		return session_fail(s, too_late(s));
	if (s->client && stuck)
		return restart(s, now);
	if (s->broken)
		return s->state;
	if (now >= s->rtx_at) {
		error = session_timeout(s, true, now);
		session_backoff(s, now);
	} else if (now >= s->quick_at) {
		error = session_timeout(s, false, now);
	} else {
		return s->state;
	}
	s->quick_at = INT64_MAX;
	if (error)
		return failed(s, error, now);
	return s->state;
}

enum session_state session_tick(struct session *s, int64_t now)
{
	if (s->state == SESSION_HANDSHAKE)
		return tick_handshake(s, now);
	return s->state == SESSION_UP ? session_data_tick(s, now) : s->state;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int64_t session_deadline(const struct session *s)
{
	int64_t at;

	if (s->state == SESSION_UP)
		return s->rtx_at;
	if (s->state != SESSION_HANDSHAKE)
		return INT64_MAX;
	at = s->started + SESSION_DEADLINE;
	if (s->broken)
		return earlier(at, s->restart_at);
	at = earlier(at, earlier(s->rtx_at, s->quick_at));
	if (s->client)
		at = earlier(at, s->progress_at + SESSION_RESTART);
	return at;
}

/* -- what it says of itself ----------------------------------------------------------------- */

enum session_state session_state(const struct session *s)
{
	return s->state;
}

const char *session_why(const struct session *s)
{
	return s->state == SESSION_FAILED || s->state == SESSION_CLOSED ? s->peer.why : "";
}

enum cert_refusal session_refusal(const struct session *s)
{
	return s->peer.refusal;
}

int session_peer_alert(const struct session *s)
{
	return s->peer.alert;
}

const struct cert_info *session_peer(const struct session *s)
{
	return s->state == SESSION_UP || s->state == SESSION_CLOSED ? s->peer.info : NULL;
}

const char *session_kex(const struct session *s)
{
	return s->state == SESSION_UP ? wolfSSL_get_curve_name(s->ssl) : "";
}

const char *session_cipher(const struct session *s)
{
	return s->state == SESSION_UP ? wolfSSL_get_cipher_name(s->ssl) : "";
}

bool session_is_client(const struct session *s)
{
	return s->client;
}

const uint8_t *session_cid(const struct session *s)
{
	return s->cid;
}

uint64_t session_sealed(const struct session *s)
{
	return s->sealed;
}

bool session_wants_rekey(const struct session *s)
{
	return s->state == SESSION_UP && (s->traffic.send->next >= SESSION_RECORDS_SOFT ||
	                                  s->traffic.receive->forged >= RECORD_FORGED_SOFT);
}

struct traffic *session_traffic(struct session *s)
{
	return &s->traffic;
}

/* -- for session_listener.c ------------------------------------------------------------------- */

int session_server_new(struct session **out, struct wolf *w)
{
	struct session *s;
	int err;

	err = session_new(&s, w, false, NULL);
	if (err)
		return err;
	err = ssl_make(s);
	if (err) {
		session_free(s);
		return err;
	}
	*out = s;
	return 0;
}

/* The CID that we receive cannot be set twice, but the bytes are ours. */
static int cid_put(struct session *s, const uint8_t cid[SESSION_CID_LEN])
{
	unsigned char *at = NULL;

	if (wolfSSL_dtls_cid_get0_rx(s->ssl, &at) != WOLFSSL_SUCCESS || !at)
		return -EINVAL;
	memcpy(at, cid, SESSION_CID_LEN);
	memcpy(s->cid, cid, SESSION_CID_LEN);
	return 0;
}

int session_server_hello(struct session *s, const struct session_accept *a,
                         const uint8_t secret[WOLF_COOKIE_SECRET], const uint8_t *d, size_t len,
                         bool *spoilt)
{
	uint8_t address[SESSION_ADDRESS_MAX];
	int r;

	memcpy(address, a->address, a->address_len);
	if (wolfSSL_send_hrr_cookie(s->ssl, secret, WOLF_COOKIE_SECRET) != WOLFSSL_SUCCESS ||
	    wolfSSL_dtls_set_peer(s->ssl, address, (unsigned)a->address_len) != WOLFSSL_SUCCESS ||
	    cid_put(s, a->cid) < 0)
		return -ENOMEM;
	session_set_emit(s, a->emit, a->emit_arg);
	s->in = d;
	s->in_len = len;
	s->emitted = false;
	s->stateless = true;
	wolf_enter(s->peer.w);
	r = wolfDTLS_accept_stateless(s->ssl);
	wolf_leave();
	s->stateless = false;
	s->in = NULL;
	if (r == WOLFSSL_SUCCESS)
		return 1;
	*spoilt = s->ssl->error || s->peer.alpn[0] || s->peer.why[0];
	return s->emitted ? 0 : -EAGAIN;
}

void session_server_start(struct session *s, const uint8_t *random, int64_t now)
{
	memcpy(s->random, random, DATAGRAM_RANDOM_LEN);
	s->started = now;
	s->progress = progress_of(s);
	timers_start(s, now);
	drive(s, now);
}
