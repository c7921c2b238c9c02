/* SPDX-License-Identifier: GPL-3.0-or-later */
/* enroll - join, renew, leave: carries a proof to the ca, and what it signs back.
 *
 * Judges nothing but form: whoever may join or renew is the ca's to say, which verifies the proof
 * itself. Who renews is not asked for a certificate in TLS: the one in the body counts, also where it
 * has ended, so that both a node's own connection and a joiner's do.
 * Before a token can be used up, the overlay must have room; before a joiner is answered, it is in
 * the registry. Whatever fails after the ca signed is mended by asking again with the same key.
 * Manager's thread. README.md has the API.
 */
#pragma once
#include "gateway/h2.h"
#include "gateway/manager/registry.h"
#include "gateway/message.h"

#define ENROLL_WAITING_MAX 64                 /* questions to the ca at once */
#define ENROLL_DEADLINE    (5 * 1000000000LL) /* of an answer */

struct enroll;

/* Keeps r by reference; ca_fd stays the owner's and does not block. */
int enroll_new(struct enroll **out, struct registry *r, int ca_fd);
void enroll_free(struct enroll *e); /* no request may be left; takes NULL */

/* Asks the ca to tell of its nodes, and of what is revoked: the registry is brought in line with its
 * ledger, and list is given each revocation list, unjudged. Once, at start.
 */
int enroll_follow(struct enroll *e, void (*list)(void *arg, const uint8_t *bytes, size_t len),
                  void *arg);

/* What operators order through the ca: fn answers each; fd is -1 or the file that came with it, which
 * is closed after.
 */
void enroll_obey(struct enroll *e,
                 void (*fn)(void *arg, const struct message_order *m, int fd,
                            struct message_ordered *out),
                 void *arg);

/* Who asks: the address as IPv6 (IPv4 mapped), and the exporter of the connection. */
struct enroll_source {
	uint8_t address[16];
	uint8_t exporter[32];
	char text[64]; /* of the address, for the log */
};

/* Is this path one of those below, for who is let in with a certificate? */
bool enroll_path(const char *path);
/* For h2_server_ops, of a joiner; of a node, if enroll_path says so. Answers now, or when the ca has; h2_user(r) is the owner's, and is
 * given to wake below.
 */
void enroll_request(struct enroll *e, const struct enroll_source *from, struct h2_request *r,
                    const char *method, const char *path, const char *body, size_t len,
                    int64_t now);
void enroll_closed(struct enroll *e, struct h2_request *r);
/* ca_fd is readable. 0, -EPIPE the ca is gone, -EBADMSG it broke the table: then it is taken for
 * compromised. wake is called with the user of each request that was answered.
 */
int enroll_readable(struct enroll *e, time_t wall, void (*wake)(void *user));
/* Once a second or so: who waits too long is answered. */
void enroll_tick(struct enroll *e, int64_t now, void (*wake)(void *user));
/* A question of the manager's own: fn is told what the ca says, or NULL: it did not answer. 0, or
 * -EBUSY, -ENOMEM, -EPIPE: fn is not called.
 */
int enroll_own(struct enroll *e, const struct message_sign *q,
               void (*fn)(void *arg, const struct message_signed *a), void *arg, int64_t now);
/* The chain in an answer that says OK; the bytes are the answer's. -EBADMSG. */
int enroll_chain(const struct message_signed *a, struct cert_chain *out);
/* How many wait for the ca. */
unsigned enroll_waiting(const struct enroll *e);

/* -- the body alone, for tests --------------------------------------------------------------------- */

struct enroll_ask {
	struct message_sign sign; /* but for exporter and source */
	unsigned nendpoints;
	struct config_endpoint endpoints[CONFIG_ADVERTISE_MAX];
	char version[REGISTRY_VERSION_MAX + 1];
};

/* SIGN_JOIN: {"name","token","csr","proof","endpoints","version"}; SIGN_RENEW:
 * {"certificate","csr","proof"}; SIGN_LEAVE: {"certificate","proof"}. 0, or -EINVAL with what is wrong in why.
 */
int enroll_parse(struct enroll_ask *out, enum sign_kind kind, const char *body, size_t len,
                 const char **why);
