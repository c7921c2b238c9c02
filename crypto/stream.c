/* SPDX-License-Identifier: GPL-3.0-or-later */
/* wolfSSL reads from one buffer and writes to another; the caller moves bytes between them and a
 * socket. Both are bounded here, because the peer decides how fast they fill: no plaintext is
 * made while the socket takes none, and records that carry no data (KeyUpdates, which wolfSSL
 * answers without end) are counted.
 */
#include "crypto/stream.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/settings.h>

#include "crypto/secret.h"
#include "crypto/token.h"

struct bytes {
	uint8_t *p;
	size_t at, len, room; /* len bytes from p + at on, of room */
};

struct stream {
	WOLFSSL *ssl;
	struct wolf_peer peer;
	bool client, up, over, eof;
	bool exported;
	uint8_t exporter[TOKEN_EXPORTER_LEN];
	size_t barren; /* bytes read from the peer since the last byte of data */
	struct bytes in, out;
};

/* -- bytes; an empty buffer holds no memory ------------------------------------------------- */

static int bytes_add(struct bytes *b, const void *p, size_t n)
{
	if (b->at && b->at + b->len + n > b->room) {
		memmove(b->p, b->p + b->at, b->len);
		b->at = 0;
	}
	if (b->len + n > b->room) {
		size_t room = (b->len + n) * 3 / 2 + 64;
		uint8_t *more = realloc(b->p, room);

		if (!more)
			return -ENOMEM;
		b->p = more;
		b->room = room;
	}
	memcpy(b->p + b->at + b->len, p, n);
	b->len += n;
	return 0;
}

static void bytes_drop(struct bytes *b, size_t n)
{
	b->at += n;
	b->len -= n;
	if (b->len)
		return;
	free(b->p);
	*b = (struct bytes){NULL, 0, 0, 0};
}

static int on_receive(WOLFSSL *ssl, char *buf, int max, void *arg)
{
	struct stream *s = arg;
	size_t n = s->in.len;

	(void)ssl;
	if (max <= 0)
		return WOLFSSL_CBIO_ERR_GENERAL;
	if (!n)
		return s->eof ? WOLFSSL_CBIO_ERR_CONN_CLOSE : WOLFSSL_CBIO_ERR_WANT_READ;
	if (n > (size_t)max)
		n = (size_t)max;
	memcpy(buf, s->in.p + s->in.at, n);
	bytes_drop(&s->in, n);
	s->barren += n;
	return (int)n;
}

/* Takes all it is given: who produces is asked to stop at STREAM_BACKLOG, so that no record is
 * ever half-written.
 */
static int on_send(WOLFSSL *ssl, char *buf, int len, void *arg)
{
	struct stream *s = arg;

	(void)ssl;
	if (len <= 0)
		return len;
	return bytes_add(&s->out, buf, (size_t)len) < 0 ? WOLFSSL_CBIO_ERR_GENERAL : len;
}

static int stream_new(struct stream **out, struct wolf *w, enum wolf_end end, const char *alpns,
                      const struct cert_expect *expect)
{
	struct stream *s;
	int err;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->client = end == WOLF_TLS_CLIENT;
	err = wolf_peer_init(&s->peer, w, alpns, expect);
	if (err)
		goto fail_peer;
	err = wolf_ssl_new(&s->ssl, &s->peer, end);
	if (err)
		goto fail_ssl;
	wolfSSL_SSLSetIORecv(s->ssl, on_receive);
	wolfSSL_SSLSetIOSend(s->ssl, on_send);
	wolfSSL_SetIOReadCtx(s->ssl, s);
	wolfSSL_SetIOWriteCtx(s->ssl, s);
	*out = s;
	return 0;
fail_ssl:
	wolf_peer_clear(&s->peer);
fail_peer:
	free(s);
	return err;
}

int stream_accept(struct stream **out, struct wolf *w, const char *alpns)
{
	static const struct cert_expect expect = {.role = ROLE_NODE};

	return stream_new(out, w, WOLF_TLS_SERVER, alpns, &expect);
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	wolfSSL_free(s->ssl);
	wolf_peer_clear(&s->peer);
	free(s->in.p);
	free(s->out.p);
	secret_wipe(s, sizeof(*s));
	free(s);
}

/* -- the handshake -------------------------------------------------------------------------- */

static int end_for(struct stream *s, int error)
{
	s->over = true;
	if (error == WOLFSSL_ERROR_ZERO_RETURN)
		snprintf(s->peer.why, sizeof(s->peer.why), "the peer closed the connection");
	else if (s->eof && !s->in.len && !s->peer.why[0])
		snprintf(s->peer.why, sizeof(s->peer.why), "the connection was cut off");
	wolf_peer_failed(&s->peer, s->ssl, error);
	return -EPIPE;
}

static int end_why(struct stream *s, const char *why)
{
	s->over = true;
	if (!s->peer.why[0])
		snprintf(s->peer.why, sizeof(s->peer.why), "%s", why);
	wolfSSL_shutdown(s->ssl);
	return -EPIPE;
}

static int on_up(struct stream *s)
{
	if (wolf_peer_up(&s->peer, s->ssl) < 0)
		return end_why(s, "");
	if (!strcmp(s->peer.alpn, ALPN_JOIN) || !strcmp(s->peer.alpn, ALPN_CONTROL)) {
		if (wolfSSL_export_keying_material(
			    s->ssl, s->exporter, sizeof(s->exporter), TOKEN_EXPORTER_LABEL,
			    sizeof(TOKEN_EXPORTER_LABEL) - 1, NULL, 0, 0) != WOLFSSL_SUCCESS)
			return end_why(s, "TLS gave no exporter");
		s->exported = true;
	}
	wolfSSL_FreeArrays(s->ssl);
	s->up = true;
	return 0;
}

/* 0 done or waiting, -EPIPE over. */
static int handshake(struct stream *s)
{
	int r = s->client ? wolfSSL_connect(s->ssl) : wolfSSL_accept(s->ssl);
	int error;

	if (r == WOLFSSL_SUCCESS)
		return on_up(s);
	error = wolfSSL_get_error(s->ssl, r);
	if (error != WOLFSSL_ERROR_WANT_READ)
		return end_for(s, error);
	if (s->barren > STREAM_BARREN)
		return end_why(s, "the peer's handshake is too long");
	return 0;
}

int stream_dial(struct stream **out, struct wolf *w, const char *alpn,
                const struct cert_expect *expect)
{
	struct stream *s;
	int err;

	err = stream_new(&s, w, WOLF_TLS_CLIENT, alpn, expect);
	if (err)
		return err;
	wolf_enter(w);
	err = handshake(s); /* the ClientHello becomes pending */
	wolf_leave();
	if (err) {
		stream_free(s);
		return -ENOMEM;
	}
	*out = s;
	return 0;
}

/* -- bytes and plaintext -------------------------------------------------------------------- */

int stream_feed(struct stream *s, const uint8_t *bytes, size_t n)
{
	if (s->over)
		return -EPIPE;
	if (!n) {
		s->eof = true;
		return 0;
	}
	if (s->in.len >= STREAM_BACKLOG)
		return -EAGAIN;
	return bytes_add(&s->in, bytes, n);
}

const uint8_t *stream_pending(const struct stream *s, size_t *n)
{
	*n = s->out.len;
	return s->out.len ? s->out.p + s->out.at : NULL;
}

void stream_sent(struct stream *s, size_t n)
{
	bytes_drop(&s->out, n < s->out.len ? n : s->out.len);
}

bool stream_up(const struct stream *s)
{
	return s->up && !s->over;
}

static ssize_t read_plain(struct stream *s, uint8_t *buf, size_t max)
{
	int r, error;

	if (!s->up && handshake(s) < 0)
		return -EPIPE;
	if (!s->up)
		return 0;
	r = wolfSSL_read(s->ssl, buf, max < INT_MAX ? (int)max : INT_MAX);
	if (r > 0) {
		s->barren = 0;
		return r;
	}
	error = wolfSSL_get_error(s->ssl, r);
	if (error != WOLFSSL_ERROR_WANT_READ)
		return end_for(s, error);
	return 0;
}

ssize_t stream_read(struct stream *s, uint8_t *buf, size_t max)
{
	ssize_t r;

	if (s->over)
		return -EPIPE;
	if (!max || s->out.len >= STREAM_BACKLOG)
		return 0;
	wolf_enter(s->peer.w);
	r = read_plain(s, buf, max);
	wolf_leave();
	if (r == 0 && s->barren > STREAM_BARREN)
		return end_why(s, "a flood of records without data");
	return r;
}

ssize_t stream_write(struct stream *s, const uint8_t *buf, size_t n)
{
	int r;

	if (s->over)
		return -EPIPE;
	if (!n || n > STREAM_PLAIN_MAX)
		return -EMSGSIZE;
	if (!s->up || s->out.len >= STREAM_BACKLOG)
		return -EAGAIN;
	r = wolfSSL_write(s->ssl, buf, (int)n);
	if (r == (int)n)
		return r;
	return end_for(s, wolfSSL_get_error(s->ssl, r));
}

void stream_close(struct stream *s)
{
	if (!s->over)
		end_why(s, "we closed the connection");
}

/* -- what it says of itself ----------------------------------------------------------------- */

const char *stream_why(const struct stream *s)
{
	return s->over ? s->peer.why : "";
}

enum cert_refusal stream_refusal(const struct stream *s)
{
	return s->peer.refusal;
}

int stream_peer_alert(const struct stream *s)
{
	return s->peer.alert;
}

const char *stream_alpn(const struct stream *s)
{
	return s->peer.alpn[0] ? s->peer.alpn : NULL;
}

const struct cert_info *stream_peer(const struct stream *s)
{
	return s->up ? s->peer.info : NULL;
}

const uint8_t *stream_peer_root(const struct stream *s, size_t *len)
{
	*len = s->up ? s->peer.root_len : 0;
	return s->up ? s->peer.root : NULL;
}

int stream_exporter(const struct stream *s, uint8_t out[32])
{
	if (!s->exported)
		return -ENODATA;
	memcpy(out, s->exporter, sizeof(s->exporter));
	return 0;
}

const char *stream_kex(const struct stream *s)
{
	return s->up ? wolfSSL_get_curve_name(s->ssl) : "";
}
