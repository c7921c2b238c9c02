/* SPDX-License-Identifier: GPL-3.0-or-later */
/* backup - the file that `ginnel backup` writes and `ginnel restore` reads, as bytes.
 *
 *   "ginnel-backup-1" | 00
 *   part: kind (1) | length (8) | bytes      in ascending order of kind, each at most once
 *   00 (1) | length (1) | ECDSA with SHA-256 by the ca's key over all before the length
 *
 * Big-endian. All parts but the key's are there in each. No I/O; crypto/README.md has who can do what
 * with such a file.
 */
#pragma once
#include "crypto/cert.h"

#define BACKUP_MAX ((size_t)512 << 20)

enum backup_kind {
	BACKUP_NODE = 1, /* node.json */
	BACKUP_CHAIN,    /* ca.pem: the ca's own certificate first, root last */
	BACKUP_LEDGER,   /* SQLite files */
	BACKUP_REGISTRY,
	BACKUP_KEY, /* ca.key, sealed to a passphrase (crypto/vault.h) with BACKUP_CHAIN as what belongs to
	             * it; need not be there
	             */
	BACKUP_KINDS
};

struct backup_part {
	const uint8_t *at; /* borrowed; NULL: not there */
	size_t len;
};

struct backup {
	struct backup_part parts[BACKUP_KINDS]; /* by kind; 0 is none */
	size_t signed_len; /* so many bytes of the file the signature is over */
	struct backup_part signature;
};

/* malloc'ed. -EFBIG, -ENOMEM. */
int backup_make(uint8_t **out, size_t *len, const struct backup *b, const struct cert_key *key);
/* Parts point into bytes. -EBADMSG cut, malformed, or a part is missing; -EPROTO another version's. Who
 * made it is not known before backup_check.
 */
int backup_parse(struct backup *out, const uint8_t *bytes, size_t len);
/* Did this key sign it? 0, -EBADMSG. */
int backup_check(const struct backup *b, const uint8_t *bytes, const uint8_t *spki,
                 size_t spki_len);
