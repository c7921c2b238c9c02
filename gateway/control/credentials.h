/* SPDX-License-Identifier: GPL-3.0-or-later */
/* credentials - our certificate's life, and the end of those that prove our sessions.
 *
 * The uplink carries what is asked here to a manager. A certificate that came is used by handshakes
 * from the next snapshot on; sessions that run are not touched. No session outlives the certificate
 * that proved it, of the peer: shortly before its end a fresh handshake is asked for, which proves the
 * next one; at its end the session is cut. Control's thread.
 */
#pragma once
#include "gateway/control/state.h"

#define CREDENTIALS_FRESH_MAX 600 /* s before a peer's certificate ends: a new session is made */

void credentials_begin(struct control *c);
void credentials_clear(struct control *c);
/* Does what is due and sets the alarm for what will be: at the alarm, and when members, sessions or our
 * certificate have changed.
 */
void credentials_look(struct control *c);

/* The body of POST /v1/renew on the connection with that exporter, malloc'ed, if it is time to ask;
 * NULL: not now.
 */
char *credentials_question(struct control *c, const uint8_t exporter[32], time_t wall, int64_t now);
/* The answer. True: we have a new certificate, and the uplink should show it. */
bool credentials_answer(struct control *c, int status, const char *body, size_t len,
                        const char *why, time_t wall, int64_t now);
/* Why it was not renewed and what to do, "" if there is nothing to say. */
const char *credentials_why(const struct control *c);
