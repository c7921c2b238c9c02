/* SPDX-License-Identifier: GPL-3.0-or-later */
/* workload - what runs on a node and has addresses of its own: a record, checked whole.
 *
 * One block of memory each, as large as it says, for a node knows those of the whole cluster.
 * Who made a record is foreign to all who read it: parsing judges form and bounds, workload_owns
 * whether an address can be the node's to give. Pure; any thread.
 */
#pragma once
#include "crypto/cert.h"
#include "tun/ip.h"
#include <jansson.h>

#define WORKLOAD_ID_MAX        64 /* lower case hexadecimal digits */
#define WORKLOAD_ADDRESSES_MAX 16
#define WORKLOAD_NETWORK_MAX   63
#define WORKLOAD_IMAGE_MAX     255
#define WORKLOAD_TEXT_MAX      4096         /* one as JSON, at its longest */
#define WORKLOADS_NODE_MAX     1024         /* of one node */
#define WORKLOADS_MAX          65536        /* of a cluster */
#define WORKLOAD_RULE_DRAINED  "node-drain" /* the rule that refuses one on a node that is drained */

struct workload {
	const char *id, *name, *node; /* node: whose; "" if it was not said */
	const char *network, *image;  /* NULL: none */
	time_t since;                 /* 0: not known */
	unsigned naddresses, nlabels;
	const struct addr *addresses;
	const struct workload_label {
		const char *key, *value;
	} * labels; /* in order of key */
};

bool workload_id_ok(const char *id);
/* {"id","name","node","network","addresses","labels","image","since"}: node, network, labels, image and
 * since may be missing or null, other keys are passed over. *why says in a few words what is wrong.
 * -EINVAL, -ENOMEM.
 */
int workload_parse(struct workload **out, const json_t *j, const char **why);
/* The same, of that node: -EACCES the record names another. */
int workload_parse_of(struct workload **out, const json_t *j, const char *node, const char **why);
void workload_free(struct workload *w); /* takes NULL */
void workload_labels(const struct workload *w, struct cert_labels *out);
/* New reference, NULL: no memory. Equal workloads have equal texts. */
json_t *workload_format(const struct workload *w);
char *workload_text(const struct workload *w); /* compact; malloc'ed */

/* May a node with these prefixes have a workload with that address? Inside its own prefixes, but not
 * its own address, or inside the pools.
 */
bool workload_owns(const struct addr *a, const struct prefix *own, unsigned nown,
                   const struct prefix *pools, unsigned npools);
