/* SPDX-License-Identifier: GPL-3.0-or-later */
/* uplink - our connection to a manager: announce ourselves, watch the cluster.
 *
 * One HTTP/2 connection over TLS 1.3 with our certificate; the other end must show one of role
 * manager, of our cluster. It is kept, and made again with backoff to the next manager when it ends;
 * the data plane goes on without. Our certificate is renewed over it; where that has ended, over one
 * without a certificate (ginnel-join/1), whose body proves by the old key who we are. Control's thread.
 */
#pragma once
#include "gateway/control/state.h"

#define UPLINK_BACKOFF_MIN 1
#define UPLINK_BACKOFF_MAX 60 /* seconds; reconnects of a whole cluster spread over a minute */

int uplink_new(struct uplink **out, struct control *c);
void uplink_free(struct uplink *u);
/* The name of the manager we speak to or tried last. */
const char *uplink_manager(const struct uplink *u);
/* Is it there: connected, and its state has arrived? since: of that state of affairs. */
bool uplink_reachable(const struct uplink *u, time_t *since);
/* "" or why not. */
const char *uplink_error(const struct uplink *u);

/* One request over the connection; body NULL: none. fn is called once, from the loop: status 0 if the
 * connection ended first. *out is for uplink_forget until then. -ENOTCONN no manager is there, -EAGAIN
 * too much is asked at once, -ENOMEM.
 */
struct uplink_question;
int uplink_ask(struct uplink_question **out, struct uplink *u, const char *method, const char *path,
               const char *body, void (*fn)(void *arg, int status, const char *body, size_t len),
               void *arg);
/* fn will not be called. */
void uplink_forget(struct uplink_question *q);
