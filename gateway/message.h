/* SPDX-License-Identifier: GPL-3.0-or-later */
/* message - how the processes of one daemon speak: fixed structs and descriptors on a socketpair
 * of SOCK_SEQPACKET.
 *
 * One datagram is one message: a header, then a body of the size that the table in message.c names
 * for its type (or up to it, for types with a variable tail). Who receives consults the table first:
 * direction, size, number of descriptors, when allowed; anything else is -EBADMSG and the sender is
 * taken for compromised. Bodies are plain structs of this one binary, exec'ed by the same parent.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MESSAGE_MAX      16384
#define MESSAGE_FDS_MAX  20 /* engine: folder, config, 8 queues, 8 sockets, control */
#define MESSAGE_CHILD_FD 3  /* a child's end of its socketpair with the parent */
#define MESSAGE_NO_GROUP UINT32_MAX

enum process { PROCESS_PARENT, PROCESS_ENGINE, PROCESS_MANAGER, PROCESS_CA, PROCESS_COUNT };

const char *process_name(enum process p);

enum message_type {
	/* parent → child, once, at start: its folder, the config, then what it serves */
	MESSAGE_START = 1, /* struct message_start + fds */
	/* child → parent: confined, serving */
	MESSAGE_READY,
	/* parent → child: end in good order */
	MESSAGE_STOP,
	/* parent → engine: guards, device, other processes as they stand now */
	MESSAGE_HEALTH,
	/* manager → ca and back */
	MESSAGE_SIGN,
	MESSAGE_SIGNED,
	/* manager → ca: tell of all nodes, one after the other; ca → manager: of one, also unasked */
	MESSAGE_NODES,
	MESSAGE_NODE, /* struct message_node */
	/* ca → manager: the revocation list, in a file; once asked for nodes, and with each change */
	MESSAGE_LIST,
	/* ca → manager: what an operator asks of the registry, with a file for some; and the answer */
	MESSAGE_ORDER,
	MESSAGE_ORDERED,
	MESSAGE_TYPE_COUNT
};

struct message_header {
	uint32_t type;
	uint32_t len; /* of the body */
	uint32_t seq; /* an answer carries the question's */
};

/* Too large for a frame: static, or on the heap. Bodies are copied out, for body is not aligned. */
struct message {
	struct message_header head;
	uint8_t body[MESSAGE_MAX];
	int nfds;
	int fds[MESSAGE_FDS_MAX]; /* the receiver's to close */
};

/* What descriptors a START carries, in order; the counts say how many of each. */
struct message_start {
	int32_t ndir;      /* 1: the process's own state folder */
	int32_t nconfig;   /* 1: the config's text, sealed */
	int32_t ntun;      /* engine: queues of the device */
	int32_t nudp;      /* engine: UDP sockets, in worker order (one of each family or dual) */
	int32_t nlisten;   /* engine: control; manager: TCP 4748; ca: its operators' socket */
	int32_t npeer;     /* manager, ca: the socketpair between the two */
	uint32_t uid, gid; /* to change to */
	uint32_t group;    /* engine: who may ask besides root; MESSAGE_NO_GROUP */
};

/* From the parent to the engine for status. */
struct message_health {
	uint8_t guard_ok; /* rules and routes stand */
	uint8_t device_ok;
	uint8_t manager_ok; /* 1 runs, 0 does not, 2: no such process on this node */
	uint8_t ca_ok;
};

/* manager → ca: a proof, to be judged by the ca alone. Lengths are checked against the arrays by
 * whoever receives.
 */
struct message_sign {
	uint8_t kind; /* enum sign_kind */
	uint8_t token_id[8];
	uint8_t exporter[32];
	char name[64]; /* asked for; NUL-terminated */
	uint16_t csr_len, sig_len, cert_len;
	uint8_t csr[2048];
	uint8_t sig[72];
	uint8_t cert[2048]; /* renewal and leave: whose key proves it, DER */
	uint8_t source[16]; /* who asks, for the rate limit of wrong proofs */
};

enum sign_kind {
	SIGN_JOIN = 1, /* node certificate against a token */
	SIGN_RENEW,    /* the next certificate against the one that cert is */
	SIGN_LEAVE,    /* none: the node is to be removed; csr is empty */
};

/* Why the ca refused: also the answer's "reason" in the API and the text `ginnel join` prints. */
#define SIGN_RESULTS(X)                                                                        \
	X(OK, "ok", "signed")                                                                  \
	X(NO_TOKEN, "no-token", "no such token")                                               \
	X(TOKEN_USED, "token-used", "the token was used by another key")                       \
	X(TOKEN_EXPIRED, "token-expired", "the token has expired")                             \
	X(TOKEN_REVOKED, "token-revoked", "the token was revoked")                             \
	X(TOKEN_NAME, "token-name", "the token is made for another name")                      \
	X(PROOF, "proof", "the proof does not match the token")                                \
	X(NAME_TAKEN, "name-taken", "a node of that name exists and has another key")          \
	X(NAME_INVALID, "name-invalid", "the name is no lower case DNS label")                 \
	X(REQUEST, "request", "the certificate request cannot be read")                        \
	X(CERTIFICATE, "certificate", "the certificate is none of this cluster's")             \
	X(EXPIRED, "expired", "the certificate ended more than 30 days ago")                   \
	X(UNKNOWN, "unknown-node", "the node was removed from the cluster")                    \
	X(REVOKED, "revoked", "the node was revoked")                                          \
	X(STALE, "joined-anew", "the node has joined anew since")                              \
	X(SUPERSEDED, "superseded", "the certificate was renewed, and the next one is in use") \
	X(RATE, "rate", "too many wrong proofs from this address")                             \
	X(TOKEN_RATE, "token-rate", "the token is used too often")                             \
	X(REFUSED, "refused", "the request is not allowed")                                    \
	X(FAILED, "failed", "the ca could not write its ledger")

enum sign_result {
#define X(id, name, text) SIGN_##id,
	SIGN_RESULTS(X)
#undef X
		SIGN_RESULT_COUNT
};

const char *sign_result_name(enum sign_result r);
const char *sign_result_text(enum sign_result r);

struct message_signed {
	uint8_t result; /* enum sign_result */
	uint8_t role;   /* enum cert_role granted */
	uint64_t incarnation;
	uint16_t nchain; /* leaf, intermediate, root */
	uint16_t len[3];
	uint8_t chain[3 * 2048]; /* DER, one after the other */
	uint16_t nlabels;
	char labels[16][128]; /* "key=value", granted */
};

/* A node as the ca's ledger has it: what the manager's registry is brought in line with. */
struct message_node {
	char name[64]; /* NUL-terminated */
	uint8_t removed;
	uint64_t incarnation;
	uint64_t issue_min;
	uint16_t nlabels;
	char labels[16][128]; /* "key=value", granted */
};

struct message_list {
	uint32_t len; /* of the signed list: the whole file */
};

/* An operator's act that is none of the ca's: root alone reaches the ca, so that the manager takes it
 * from there and from nobody else. seq says whose.
 */
struct message_order {
	uint8_t kind; /* enum order_kind */
	uint8_t off;  /* ORDER_DRAIN: no longer */
	char name[64];
	char by[64];  /* NUL-terminated, as name is */
	uint32_t len; /* ORDER_POLICY: of the document, which is the file */
};

enum order_kind {
	ORDER_POLICY = 1, /* the document from now on */
	ORDER_DRAIN,      /* refuse new workloads on that node */
};

struct message_ordered {
	uint64_t version; /* ORDER_POLICY: the version that is in force */
	char error[512];  /* "what: why; what to do"; "": done */
};

int message_send(int fd, enum message_type type, uint32_t seq, const void *body, size_t len,
                 const int *fds, int nfds);
/* from: who sits at the other end. 0; -EAGAIN; -EPIPE the other end is gone; -EBADMSG against the
 * table. Descriptors of a refused message are closed.
 */
int message_receive(int fd, enum process from, enum process self, struct message *out);
void message_close_fds(struct message *m);

/* Some types may come once in the life of a connection. seen is the connection's own, 0 at first.
 * 0, or -EBADMSG if this one came before.
 */
int message_once(uint32_t *seen, const struct message *m);

/* The body of a START whose counts are in range and add up to the descriptors that came with it,
 * the folder and the config among them, and whose uid and gid are not 0. -EBADMSG.
 */
int message_start_read(const struct message *m, struct message_start *out);
