/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A session that is up: data by our own records, the rest by wolfSSL, which is shown one control
 * record at a time and speaks under numbers that it was given.
 */
#include "crypto/session_inner.h"

#include <errno.h>
#include <stdio.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/internal.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/settings.h>

#define OUT_OF_STEP     "record numbers or keys are out of step"
#define TOO_MANY_FORGED "too many forged records"

ssize_t session_seal(struct session *s, uint8_t *plain, size_t len, uint8_t *out)
{
	ssize_t n;

	if (s->state != SESSION_UP)
		return -EPIPE;
	if (!len || len > SESSION_PLAIN_MAX)
		return -EMSGSIZE;
	n = record_seal(s->traffic.send, plain, len, out);
	if (n > 0)
		s->sealed++;
	if (n == -EIO) {
		session_fail(s, "a record could not be sealed");
		return -EPIPE;
	}
	return n;
}

/* After the handshake: our answer to the peer's KeyUpdate until it is acknowledged, or what we
 * have still to acknowledge.
 */
static bool waits_for_ack(const struct session *s)
{
	return s->ssl->dtls13Rtx.rtxRecords || s->ssl->dtls13Rtx.seenRecords;
}

static int ended(struct session *s, int error)
{
	if (error == WOLFSSL_ERROR_ZERO_RETURN) {
		snprintf(s->peer.why, sizeof(s->peer.why), "the peer closed the session");
		s->state = SESSION_CLOSED;
		return -EPIPE;
	}
	wolf_peer_failed(&s->peer, s->ssl, error);
	session_fail(s, "the session failed");
	return -EPIPE;
}

static void await_ack(struct session *s, int64_t now)
{
	if (!waits_for_ack(s)) {
		s->rtx_at = INT64_MAX;
	} else if (s->rtx_at == INT64_MAX) {
		s->rtx_wait = SESSION_RTX_FIRST;
		s->rtx_at = now + SESSION_RTX_FIRST;
	}
}

enum session_state session_data_tick(struct session *s, int64_t now)
{
	if (now < s->rtx_at)
		return s->state;
	if (traffic_enter(&s->traffic, s->ssl, NULL) < 0)
		return session_fail(s, OUT_OF_STEP);
	session_timeout(s, true, now);
	if (traffic_leave(&s->traffic, s->ssl) < 0)
		return session_fail(s, OUT_OF_STEP);
	session_backoff(s, now);
	if (!waits_for_ack(s))
		s->rtx_at = INT64_MAX;
	return s->state;
}

/* A record that is not data, for wolfSSL. 0, -EBADMSG, -EPIPE. */
static int control(struct session *s, struct record *r, int64_t now)
{
	uint8_t none[16];
	int n, error;

	if (traffic_enter(&s->traffic, s->ssl, r) < 0) {
		session_fail(s, OUT_OF_STEP);
		return -EPIPE;
	}
	s->in = r->at;
	s->in_len = r->total;
	s->ssl->keys.decryptedCur = 0;
	session_clock_in(s, now);
	n = wolfSSL_read(s->ssl, none, sizeof(none));
	error = wolfSSL_get_error(s->ssl, n);
	session_clock_out(s, now);
	s->in = NULL;
	/* Data does not come this way. */
	if (traffic_leave(&s->traffic, s->ssl) < 0 || n > 0) {
		session_fail(s, OUT_OF_STEP);
		return -EPIPE;
	}
	if (error != WOLFSSL_ERROR_WANT_READ && error != WOLFSSL_ERROR_WANT_WRITE)
		return ended(s, error);
	await_ack(s, now);
	/* It drops in silence what it cannot open. */
	return s->ssl->keys.decryptedCur ? 0 : -EBADMSG;
}

/* close_notify, if there are numbers left for it. */
static void say_goodbye(struct session *s)
{
	if (traffic_enter(&s->traffic, s->ssl, NULL) == 0)
		wolfSSL_shutdown(s->ssl);
}

/* The record at d, and what is not data done with. */
static int open_one(struct session *s, struct record *r, uint8_t *d, size_t len, int64_t now)
{
	int err = traffic_open(&s->traffic, r, s->cid, d, len, now);

	if (err == -EKEYEXPIRED) {
		say_goodbye(s);
		session_fail(s, TOO_MANY_FORGED);
		return -EPIPE;
	}
	if (err)
		return err;
	switch (r->type) {
	case RECORD_FOREIGN:
		if (now - s->up_at >= SESSION_DEADLINE)
			return -EBADMSG; /* nobody is still shaking hands */
		return control(s, r, now);
	case RECORD_ALERT:
	case RECORD_HANDSHAKE:
	case RECORD_ACK:
		return control(s, r, now);
	default:
		return 0;
	}
}

ssize_t session_open(struct session *s, uint8_t *d, size_t len, uint8_t **plain, int64_t now)
{
	bool any = false;
	ssize_t got = 0;
	struct record r;
	int err = -EBADMSG;

	if (len > SESSION_MTU_UP)
		return -EBADMSG;
	for (; len && s->state == SESSION_UP; d += r.total, len -= r.total) {
		err = open_one(s, &r, d, len, now);
		if (err)
			break; /* what is behind it may not begin where it says */
		any = true;
		if (r.type == RECORD_DATA && !got) {
			*plain = r.plain;
			got = (ssize_t)r.len;
		}
	}
	if (got)
		return got;
	if (s->state != SESSION_UP)
		return -EPIPE;
	return any ? 0 : err;
}

void session_close(struct session *s)
{
	if (s->state != SESSION_UP)
		return;
	say_goodbye(s);
	snprintf(s->peer.why, sizeof(s->peer.why), "we closed the session");
	s->state = SESSION_CLOSED;
}
