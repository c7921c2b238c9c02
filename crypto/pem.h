/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pem - the textual form of certificates and keys (RFC 7468), read strictly.
 *
 * Text between blocks is passed over, as other tools write comments there. Inside a block stands
 * base64 and white space and nothing else, so that headers of encrypted keys are refused. Decoding
 * looks nothing up in tables: keys pass through here. Pure; any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEM_LABEL_MAX 63

struct pem_block {
	char label[PEM_LABEL_MAX + 1]; /* "CERTIFICATE" */
	const uint8_t *body;           /* base64, borrowed */
	size_t n;
};

/* The next block; *text and *len move behind it. -ENOENT there is no more, -EBADMSG a block that
 * does not end.
 */
int pem_next(const uint8_t **text, size_t *len, struct pem_block *out);
/* -EBADMSG malformed or empty, -E2BIG. On error der holds nothing of it. */
int pem_decode(const struct pem_block *b, uint8_t *der, size_t max, size_t *len);
/* Appends a block to the text in pem (of max bytes, *len used), with a NUL behind it that is not
 * counted. -E2BIG, and then nothing is written.
 */
int pem_append(char *pem, size_t max, size_t *len, const char *label, const uint8_t *der,
               size_t der_len);
