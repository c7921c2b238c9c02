/* SPDX-License-Identifier: GPL-3.0-or-later */
/* identity - own certificate chain, key and trust, read and checked before anything is served.
 *
 * In a cluster: BASE.key, BASE.pem (leaf first, root last) and ca.pem in the process's own folder
 * (BASE is "node" for the engine, "manager" for the manager). With one's own PKI: the three files
 * of the config's identity. Key files that group or others can read are refused. Errors are made
 * for people, in why: "node.key: group or others can read it; chmod 600 it".
 */
#pragma once
#include "crypto/cert.h"

struct identity {
	struct cert_trust *trust;
	struct cert_key *key;
	uint8_t der[CERT_CHAIN_MAX * CERT_DER_MAX];
	struct cert_chain chain; /* into der */
	struct cert_info info;   /* of the leaf */
};

/* 0; -ENOENT a file is missing; -EPERM too open; -EBADMSG malformed, swapped or truncated; -EINVAL
 * key and certificate do not belong together, or the chain does not end in the trust; -EKEYEXPIRED.
 */
int identity_load_dir(struct identity *out, int dir, const char *base, time_t wall, char *why,
                      size_t max);
/* The same, but a certificate that ended up to CERT_GRACE ago is taken: with it nothing can be proven
 * to a peer, but the next one can be had.
 */
int identity_load_renewable(struct identity *out, int dir, const char *base, time_t wall, char *why,
                            size_t max);
int identity_load_files(struct identity *out, const char *cert, const char *key, const char *ca,
                        time_t wall, char *why, size_t max);
void identity_clear(struct identity *i);

/* What the certificate file of one's own PKI says, without the key and without judging it: for who
 * may hold no secret, and for the guard, which also stands for a node whose certificate has ended.
 */
int identity_peek_file(struct cert_info *out, const char *cert, char *why, size_t max);

/* Writes BASE.key, BASE.pem, ca.pem into dir, so that after a crash or on a full disk the old
 * identity or the new one is there, whole: the key goes to BASE.key.new, the certificate's rename is
 * the moment of change, and the key takes its place after it (loading finishes that if it must).
 * trust_pem: the roots. 0 or -errno.
 */
int identity_save_dir(int dir, const char *base, const struct cert_key *key,
                      const struct cert_chain *chain, const char *trust_pem, size_t trust_len);

/* A renewal: writes the pair in the same way, the roots stay; then id is the new one, in place. key
 * is taken over on success. -EINVAL chain is not that node's, of that role, under the same roots and
 * valid now, or not for this key; -errno it could not be written, and id is as it was.
 */
int identity_renew(struct identity *id, int dir, const char *base, struct cert_key *key,
                   const struct cert_chain *chain, time_t wall, char *why, size_t max);
