/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stream - TLS 1.3 over a byte stream without I/O: control plane now, fallback tunnel later.
 *
 * Bytes from the socket go in by stream_feed; bytes for the socket come out by stream_pending and
 * stream_sent; plaintext by stream_read and stream_write. An empty buffer holds no memory (10,000
 * idle peers). Owned by one thread.
 *
 * A TLS 1.3 client is "connected" before the server judged it: only the server's first bytes prove
 * that it was let in.
 */
#pragma once
#include "crypto/wolf.h"

#define STREAM_BACKLOG   65536 /* sealed bytes waiting for the socket, or bytes waiting to be read */
#define STREAM_PLAIN_MAX 16384              /* of one stream_write */
#define STREAM_BARREN    65536              /* bytes of records without data: a flood */
#define STREAM_DEADLINE  (5 * 1000000000LL) /* of a handshake; the caller's timer */

struct stream;

/* Client. Offers exactly this ALPN and expects it back; expect as cert_judge wants it (role
 * manager for control and join; cluster NULL: our own, or with a pin whichever it vouches for).
 * alpn must outlive the stream. With ALPN_JOIN and ALPN_CONTROL the exporter is kept. 0, -ENOMEM, -EINVAL.
 */
int stream_dial(struct stream **out, struct wolf *w, const char *alpn,
                const struct cert_expect *expect);
/* Server. The ClientHello's one ALPN name decides: of `alpns` (comma separated, e.g.
 * "ginnel-ctl/1,ginnel-join/1"; must outlive the stream); with ALPN_JOIN no client certificate is
 * asked for, with all others it is required, of role node.
 */
int stream_accept(struct stream **out, struct wolf *w, const char *alpns);
void stream_free(struct stream *s);

/* Bytes that came from the socket; n = 0: the peer's end of file. 0, -EAGAIN nothing taken,
 * STREAM_BACKLOG bytes wait for stream_read, -EPIPE over (stream_why), -ENOMEM.
 */
int stream_feed(struct stream *s, const uint8_t *bytes, size_t n);
/* Bytes for the socket, borrowed; *n may be 0. */
const uint8_t *stream_pending(const struct stream *s, size_t *n);
void stream_sent(struct stream *s, size_t n);

bool stream_up(const struct stream *s); /* our side of the handshake is done */
/* Plaintext. > 0 bytes, 0 nothing now, -EPIPE closed or failed. Drives the handshake too. While
 * STREAM_BACKLOG bytes wait for the socket it returns 0: a peer that asks and does not listen must
 * not fill our memory. After -EPIPE the pending bytes (an alert) should still go out.
 */
ssize_t stream_read(struct stream *s, uint8_t *buf, size_t max);
/* All or nothing: n, -EAGAIN not up or STREAM_BACKLOG bytes wait, -EPIPE, -EMSGSIZE n is 0 or
 * more than STREAM_PLAIN_MAX.
 */
ssize_t stream_write(struct stream *s, const uint8_t *buf, size_t n);
/* Sends close_notify into the pending bytes. */
void stream_close(struct stream *s);

const char *stream_why(const struct stream *s);
enum cert_refusal stream_refusal(const struct stream *s);
int stream_peer_alert(const struct stream *s);
const char *stream_alpn(const struct stream *s);             /* NULL before the hello was read */
const struct cert_info *stream_peer(const struct stream *s); /* NULL: no certificate (join) */
/* The peer's root as DER, borrowed, when dialled with a pin; NULL otherwise. */
const uint8_t *stream_peer_root(const struct stream *s, size_t *len);
/* TOKEN_EXPORTER_LABEL's 32 bytes; -ENODATA before the handshake is done or with another ALPN. */
int stream_exporter(const struct stream *s, uint8_t out[32]);
const char *stream_kex(const struct stream *s);
