/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/backup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FAMILY "ginnel-backup-" /* whatever its version */
#define MAGIC  FAMILY "1"       /* with its NUL: nothing else that a ca signs begins so */
#define HEAD   (1 + 8)          /* of a part */

/* -- writing ---------------------------------------------------------------------------------- */

static uint8_t *put_part(uint8_t *at, unsigned kind, const struct backup_part *p)
{
	*at++ = (uint8_t)kind;
	for (unsigned i = 0; i < 8; i++)
		*at++ = (uint8_t)((uint64_t)p->len >> (56 - 8 * i));
	memcpy(at, p->at, p->len);
	return at + p->len;
}

int backup_make(uint8_t **out, size_t *len, const struct backup *b, const struct cert_key *key)
{
	size_t total = sizeof(MAGIC) + 1 + 1 + CERT_SIG_MAX, sig_len;
	uint8_t *bytes, *at;
	int err;

	for (unsigned k = BACKUP_NODE; k < BACKUP_KINDS; k++) {
		if (b->parts[k].len > BACKUP_MAX)
			return -EFBIG;
		total += HEAD + b->parts[k].len;
	}
	if (total > BACKUP_MAX)
		return -EFBIG;
	bytes = malloc(total);
	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, MAGIC, sizeof(MAGIC));
	at = bytes + sizeof(MAGIC);
	for (unsigned k = BACKUP_NODE; k < BACKUP_KINDS; k++)
		if (b->parts[k].at)
			at = put_part(at, k, &b->parts[k]);
	*at++ = 0;
	err = cert_key_sign(key, bytes, (size_t)(at - bytes), at + 1, &sig_len);
	if (err) {
		free(bytes);
		return err;
	}
	*at = (uint8_t)sig_len;
	*len = (size_t)(at - bytes) + 1 + sig_len;
	*out = bytes;
	return 0;
}

/* -- reading ---------------------------------------------------------------------------------- */

static int parse_part(struct backup *b, const uint8_t *bytes, size_t len, size_t *at)
{
	unsigned kind = bytes[*at];
	uint64_t n = 0;

	if (kind >= BACKUP_KINDS || len - *at < HEAD || b->parts[kind].at)
		return -EBADMSG;
	for (unsigned k = kind + 1; k < BACKUP_KINDS; k++)
		if (b->parts[k].at) /* one file has one form */
			return -EBADMSG;
	for (unsigned i = 0; i < 8; i++)
		n = n << 8 | bytes[*at + 1 + i];
	*at += HEAD;
	if (!n || n > len - *at)
		return -EBADMSG;
	b->parts[kind].at = bytes + *at;
	b->parts[kind].len = (size_t)n;
	*at += (size_t)n;
	return 0;
}

int backup_parse(struct backup *out, const uint8_t *bytes, size_t len)
{
	struct backup b = {.signed_len = 0};
	size_t at = sizeof(MAGIC);
	int err = 0;

	if (len < sizeof(FAMILY) - 1 || memcmp(bytes, FAMILY, sizeof(FAMILY) - 1) != 0)
		return -EBADMSG;
	if (len < sizeof(MAGIC) || memcmp(bytes, MAGIC, sizeof(MAGIC)) != 0)
		return -EPROTO;
	while (at < len && bytes[at] && !err)
		err = parse_part(&b, bytes, len, &at);
	if (err)
		return err;
	for (unsigned k = BACKUP_NODE; k < BACKUP_KEY; k++)
		if (!b.parts[k].at)
			return -EBADMSG;
	if (len - at < 2)
		return -EBADMSG;
	b.signed_len = ++at;
	b.signature.len = bytes[at];
	b.signature.at = bytes + at + 1;
	if (!b.signature.len || b.signature.len > CERT_SIG_MAX || len - at - 1 != b.signature.len)
		return -EBADMSG;
	*out = b;
	return 0;
}

int backup_check(const struct backup *b, const uint8_t *bytes, const uint8_t *spki, size_t spki_len)
{
	return cert_verify(spki, spki_len, bytes, b->signed_len, b->signature.at, b->signature.len)
	               ? -EBADMSG
	               : 0;
}
