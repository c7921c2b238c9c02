/* SPDX-License-Identifier: GPL-3.0-or-later */
/* policy - who may talk to whom: the document, and what it says of two subjects.
 *
 * One YAML document for the cluster: rules by labels, the first that matches wins, else the default.
 * policy_parse reads, checks and compiles it; policy_class then turns each subject into a small
 * number, and policy_judge decides by two such numbers, protocol and port. What a verdict costs
 * depends on the labels of the two, not on the number of rules (README.md says how).
 * A value: built once by control, then only read, by all workers at once. Pure.
 */
#pragma once
#include "crypto/cert.h"
#include "gateway/config.h"
#include "tun/ip.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_BYTES_MAX      ((size_t)16 << 20) /* of a document */
#define POLICY_RULES_MAX      (1U << 17)
#define POLICY_PLACEMENTS_MAX 1024
#define POLICY_OUTSIDE_MAX    1024
#define POLICY_COMPRESS_MAX   1024
#define POLICY_NAME_MAX       63  /* of a rule */
#define POLICY_KEYS_MAX       16  /* of one selector */
#define POLICY_VALUES_MAX     256 /* of one key in a selector */
#define POLICY_PORTS_MAX      64  /* of one rule */
#define POLICY_CIDRS_MAX      64  /* of one rule for outside */
/* Distinct sets of keys that selectors ask for: a verdict looks at each of them that a subject has. */
#define POLICY_KEYSETS_MAX 64
/* Lists of values in a selector stand for one rule each: so many of those, times their ports. */
#define POLICY_CELLS_MAX (1U << 20)

enum policy_action { POLICY_ALLOW, POLICY_DENY };

#define POLICY_RULE_DEFAULT 0xffffffffU /* no rule matched: the document's default */
#define POLICY_RULE_NODE    0xfffffffeU /* from no node to a node only ICMP and DNS pass */

struct policy_verdict {
	enum policy_action action;
	uint32_t rule; /* its place in the document, from 0, or one of the above */
};

/* Who an address belongs to. A selector's "node" asks for a node itself by its name, "workload" for
 * a workload; "node.KEY" is a label of the node that a workload runs on; other keys are labels of
 * the subject's own, of which those that could be mistaken for these three are not looked at.
 */
struct policy_subject {
	enum policy_subject_kind {
		SUBJECT_UNKNOWN, /* an address without a record: matches {} alone */
		SUBJECT_NODE,
		SUBJECT_WORKLOAD,
	} kind;
	const char *name;                      /* NULL: none */
	const struct cert_labels *labels;      /* a workload's own or the node's; NULL: none */
	const struct cert_labels *node_labels; /* of the node that a workload runs on; NULL: none */
};

struct policy;

/* Reads a document as if it stood in path. 0; -EINVAL with faults, -ENOMEM. faults is cleared first;
 * with 0 it may hold warnings (faults->warnings of them). Nothing of text is kept.
 */
int policy_parse(struct policy **out, const char *path, const char *text, size_t len,
                 struct config_faults *faults);
/* What holds without a document: all may talk, but for what is built in. */
int policy_new_default(struct policy **out);
/* The same document without its classes, for other subjects; it is shared, not read again. Of all
 * that share one, new ones are made and freed by one thread.
 */
int policy_copy(struct policy **out, const struct policy *p);
void policy_free(struct policy *p);

/* Before policy_seal: the class of a subject. Subjects that every selector treats alike share one;
 * 0 is that of unknown ones. Without memory it is 0 too, and policy_seal says so.
 */
uint32_t policy_class(struct policy *p, const struct policy_subject *s);
/* No policy_class after it, no policy_judge before. -ENOMEM. */
int policy_seal(struct policy *p);
uint32_t policy_classes(const struct policy *p); /* how many there are: numbers below it */

/* May the one class open a flow to the other? port: the destination's, of TCP, UDP and SCTP, else 0.
 * Any worker, at any time. A class that is none counts as 0.
 */
struct policy_verdict policy_judge(const struct policy *p, uint32_t src, uint32_t dst,
                                   uint8_t proto, uint16_t port);
/* The same for subjects without a class, rule by rule: for one question, not for packets. */
struct policy_verdict policy_walk(const struct policy *p, const struct policy_subject *src,
                                  const struct policy_subject *dst, uint8_t proto, uint16_t port);
/* May flows between the two be compressed? Any worker. */
bool policy_compress(const struct policy *p, uint32_t src, uint32_t dst);

/* Of the cluster's rules, those for workloads and nodes alone; their numbers are below it. */
uint32_t policy_rules(const struct policy *p);
/* "default" and "container-to-node" for the two that stand in no document. */
const char *policy_rule_name(const struct policy *p, uint32_t rule);

/* May a workload with these labels run on a node with those? NULL, or the name of the rule that
 * refuses it ("placement-2" if it has none). NULL for labels: none.
 */
const char *policy_placement(const struct policy *p, const struct cert_labels *workload,
                             const struct cert_labels *node);

/* -- rules for what lies outside of the cluster ------------------------------------------------ */

struct policy_ports {
	uint8_t proto; /* IPPROTO_TCP, _UDP, _SCTP; IPPROTO_ICMP is that of IPv6 too */
	uint16_t first, last;
};

#define POLICY_PORTS_TEXT_MAX 24

/* "5432/tcp", "8000-8100/udp", "icmp". */
void policy_ports_format(const struct policy_ports *p, char out[POLICY_PORTS_TEXT_MAX]);

/* The first that matches wins, else it is allowed. Borrowed from the policy. */
struct policy_outside {
	const char *name;
	enum policy_action action;
	uint32_t ncidrs, nports; /* no ports: any protocol */
	const struct prefix *cidrs;
	const struct policy_ports *ports;
};

uint32_t policy_outsides(const struct policy *p);
void policy_outside(const struct policy *p, uint32_t i, struct policy_outside *out);
/* Is the rule's "from" this subject? */
bool policy_outside_from(const struct policy *p, uint32_t i, const struct policy_subject *s);
