/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cafiles - the CA's key and chain in the ca's folder: a pair that changes as one.
 *
 * ca.key, and ca.pem with its own certificate first and the root last. A new pair waits as ca.key.new and
 * ca.pem.new; that ca.pem takes its place is the moment of change, and the key follows. A crash between
 * the two is finished by whoever reads next. For the ca process, and for the operator's tool while no ca
 * runs.
 */
#pragma once
#include "crypto/ca.h"
#include "crypto/keyfile.h"
#include <sys/types.h>

#define CAFILES_KEY   "ca.key"
#define CAFILES_CHAIN "ca.pem"

#define CAFILES_KEY_MAX   4096 /* little, for it is locked in memory; ours are 227 bytes */
#define CAFILES_CHAIN_MAX KEYFILE_MAX

struct cafiles {
	struct ca *ca;
	uint8_t *key, *chain; /* PEM; key is CAFILES_KEY_MAX of secret memory */
	size_t key_len, chain_len;
	const char *faulty; /* on error: the file that it is about */
};

/* dir may be AT_FDCWD. Errors as keyfile_read_secret and ca_load. f is the caller's to clear in any case. */
int cafiles_load(struct cafiles *f, int dir);
void cafiles_clear(struct cafiles *f);
/* Puts another pair in its place, of that owner; it must be one that ca_load takes. -errno: the old one
 * stands (an error of the last fsync may come after the change).
 */
int cafiles_replace(int dir, uid_t uid, gid_t gid, const uint8_t *key, size_t key_len,
                    const uint8_t *chain, size_t chain_len);
