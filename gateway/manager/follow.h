/* SPDX-License-Identifier: GPL-3.0-or-later */
/* follow - what the ca beside us says unasked, and what it is told.
 *
 * Its ledger decides, the registry follows: labels, removed nodes. Lists of what is revoked and the proof
 * of the records' generation are handed on as they come. Nothing here is judged but its form: what proves
 * itself proves itself to whoever takes it. Manager's thread.
 */
#pragma once
#include "gateway/manager/registry.h"
#include "gateway/message.h"

struct follow_ops {
	void (*list)(void *arg, const uint8_t *bytes, size_t len);
	void (*generation)(void *arg, uint64_t generation, const uint8_t *proof, size_t len);
};

struct follow {
	struct registry *registry;
	int ca_fd;
	const struct follow_ops *ops; /* NULL: nobody wants to know */
	void *arg;
	uint64_t told;             /* the list of that number has reached all; 0: the ca knows */
	bool copy;                 /* the ca waits for a copy of the registry */
	struct registry_node node; /* that is being written down: too large for a frame */
};

void follow_init(struct follow *f, struct registry *r, int ca_fd);
/* Asks the ca to tell of its nodes, of what is revoked, of the generation. Once, at start. */
int follow_begin(struct follow *f, const struct follow_ops *ops, void *arg);
/* A message of the ca's: takes its descriptors. 0, -EBADMSG it may not say that. */
int follow_take(struct follow *f, struct message *m);
/* What the ca waits for, as far as its socket takes it. 0, or -EPIPE it is gone. */
int follow_send(struct follow *f);
/* All that are connected have the list of that number. */
void follow_told(struct follow *f, uint64_t number);
/* A node has a list of the ca's that we have not. 0, -EAGAIN ask again later, -EPIPE, -ENOMEM. */
int follow_shown(struct follow *f, const uint8_t *bytes, size_t len);
