/* SPDX-License-Identifier: GPL-3.0-or-later */
/* operator - what root may ask of the ca: one JSON line in, one out.
 *
 *   {"cmd":"token-create","role","name"|null,"labels":{},"ttl_s"} → {"token","id","expires"}
 *   {"cmd":"token-list"} → [{"id","role","name","labels","expires","created_by","used","used_by",
 *                            "revoked"}]
 *   {"cmd":"token-revoke","id"} → {}
 *   {"cmd":"node-label","name","set":{},"drop":[]} → {"name","labels":{},"issue_min"}
 *   {"cmd":"node-remove","name"} → {}
 *   {"cmd":"node-revoke","name"} → {"name","number"}
 *   {"cmd":"node-drain","name","off"} → {}
 *   {"cmd":"policy-apply","len"}, with the document's file beside the line → {"version"}
 * or {"error":"what: why; what to do"}. Members may be missing where a default is meant (role node,
 * no name, no labels, one hour); unknown ones are refused. The last two are the registry's: the manager does
 * them, and answers. ca process, one thread.
 */
#pragma once
#include "gateway/message.h"
#include "gateway/privsep/ledger.h"

#define OPERATOR_TTL_DEFAULT  3600
#define OPERATOR_TTL_MAX      604800 /* s: 7 days */
#define OPERATOR_LABELS_BYTES 1000   /* "K=V" of all together: the certificate has room for them */

/* One line with its newline, in secret memory: it may hold a token. */
struct operator_answer {
	char *text;
	size_t len;
	char changed[CERT_NAME_MAX + 1]; /* the node that the manager is to be told of; "" : none */
	bool list;                       /* the revocation list has changed */
	struct message_order order; /* kind 0: none; else the manager is asked, and text is NULL */
};

/* Answers one line (without its newline) of the operator named by. pin is the root's key hash. 0;
 * -ENOMEM, then there is no answer.
 */
int operator_ask(struct ledger *l, const uint8_t pin[32], const char *by, const char *line,
                 size_t len, time_t wall, struct operator_answer *out);
/* The answer to what the manager was asked. */
int operator_ordered(struct operator_answer *out, const struct message_order *order,
                     const struct message_ordered *said);
/* An answer that says {"error": text}. */
int operator_refuse(struct operator_answer *out, const char *text);
void operator_answer_clear(struct operator_answer *a);
