/* SPDX-License-Identifier: GPL-3.0-or-later */
/* claim - the private extension: what a cluster's CA says of a node beside its name.
 *
 *   GinnelClaim ::= SEQUENCE {
 *       role         INTEGER,            -- 1 node, 2 manager
 *       incarnation  INTEGER,            -- 0 to 2^64-1
 *       issue        INTEGER,            -- 0 to 2^64-1
 *       labels       SEQUENCE OF SEQUENCE { key UTF8String, value UTF8String } }
 *
 * in DER, labels in ascending order of their keys, each key once. There is no version inside:
 * another form gets another identifier. The identifier is 2.25 with a random UUID of version 4,
 * 86a0531a-a4be-4ae7-8b63-69c3a5b03fb6, which needs nobody's registry (ITU-T X.667).
 * Pure; any thread.
 */
#pragma once
#include "crypto/cert.h"
#include "crypto/der.h"

/* 2.25.178949004483459219091981962621937008566, without header. */
extern const uint8_t claim_oid[20];

struct claim {
	enum cert_role role;
	uint64_t incarnation;
	uint64_t issue;
	struct cert_labels labels;
};

/* 0 or -EBADMSG. out is written on success only. */
int claim_parse(struct claim *out, const uint8_t *bytes, size_t len);
/* -EINVAL in o->err: role or labels are not what claim_parse would take. */
void claim_put(struct der_out *o, enum cert_role role, uint64_t incarnation, uint64_t issue,
               const struct cert_labels *labels);

/* Is this a label's key, a label's value? Letters and digits, inside also . _ - and in keys / */
bool claim_key_ok(const char *text, size_t n);
bool claim_value_ok(const char *text, size_t n);
