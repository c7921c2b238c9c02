/* SPDX-License-Identifier: GPL-3.0-or-later */
/* session_inner - what session.c, which shakes hands, and session_data.c, which carries data, share. */
#pragma once
#include "crypto/datagram.h"
#include "crypto/session.h"
#include "crypto/traffic.h"

#define SESSION_MS        1000000LL
#define SESSION_RTX_FIRST (300 * SESSION_MS)
#define SESSION_MTU_UP    16384

struct session {
	struct WOLFSSL *ssl;
	struct wolf_peer peer;
	enum session_state state;
	bool client;
	bool stateless;   /* in a listener: nothing but a HelloRetryRequest may leave */
	bool emitted;     /* something left in the present call */
	bool broken;      /* a client's handshake came to nothing: restart_at */
	bool heard;       /* a record of the right shape came */
	bool without_cid; /* a protected record came that has none */
	uint8_t cid[SESSION_CID_LEN];
	uint8_t random[DATAGRAM_RANDOM_LEN]; /* a server's: of the hello it came from */
	session_emit_fn *emit;
	void *emit_arg;
	const uint8_t *in; /* the datagram that wolfSSL may read */
	size_t in_len;
	struct traffic_secrets secrets; /* until we are up, then */
	struct traffic traffic;
	uint64_t sealed;
	int64_t up_at;
	int64_t started, progress_at, restart_at;
	int64_t rtx_at, rtx_wait, rtx_last, quick_at;
	unsigned progress;
	unsigned errors;
	int plain_alert;               /* that came in the clear, -1 */
	char last_error[WOLF_WHY_MAX]; /* why the attempt before this one came to nothing */
};

/* Around each call into wolfSSL: its clocks are then the caller's. */
void session_clock_in(struct session *s, int64_t now);
void session_clock_out(struct session *s, int64_t now);
/* SESSION_FAILED, unless it knows better why. */
enum session_state session_fail(struct session *s, const char *why);
/* wolfSSL's timeout: acknowledges, and repeats if so asked. 0 or wolfSSL's error. */
int session_timeout(struct session *s, bool repeat, int64_t now);
void session_backoff(struct session *s, int64_t now);
/* session_tick of one that is up. */
enum session_state session_data_tick(struct session *s, int64_t now);
