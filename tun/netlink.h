/* SPDX-License-Identifier: GPL-3.0-or-later */
/* netlink - one question to the kernel's routing tables and its answers: what link.c is made of.
 *
 * A message is begun, filled with libmnl's mnl_attr_put_*, and asked; nothing of an answer is left
 * for the next one. Attributes are looked at by type and length before they are read.
 */
#pragma once
#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

#define NETLINK_MESSAGE_MAX 512   /* our longest has a header and four attributes */
#define NETLINK_ANSWER_MAX  32768 /* the kernel's own bound for a part of a dump */

struct netlink;

/* Takes one answer; returns MNL_CB_OK. */
typedef int netlink_fn(const struct nlmsghdr *h, void *arg);

struct netlink_message {
	struct nlmsghdr head;
	char rest[NETLINK_MESSAGE_MAX - sizeof(struct nlmsghdr)];
};

/* Attributes by type; those above max are left out. */
struct netlink_attrs {
	const struct nlattr **by_type;
	uint16_t max;
};

int netlink_new(struct netlink **out);
void netlink_free(struct netlink *n);

/* Begins a message: returns its fixed part of size bytes, zeroed. */
void *netlink_begin(struct netlink_message *m, uint16_t type, unsigned flags, size_t size);
/* Asks, gives each answer to fn, and returns what the kernel says of it
 * all: 0 or -errno. fn may be NULL.
 */
int netlink_request(struct netlink *n, struct netlink_message *m, netlink_fn *fn, void *arg);
/* The same for all there are of a kind. A table that changes meanwhile is asked for again: fn may see
 * one twice.
 */
int netlink_dump(struct netlink *n, struct netlink_message *m, netlink_fn *fn, void *arg);

/* The fixed part of an answer, NULL if it is another or too short. */
const void *netlink_body(const struct nlmsghdr *h, uint16_t type, size_t size);
/* What stands behind size bytes of fixed part. */
void netlink_parse(const struct nlmsghdr *h, size_t size, struct netlink_attrs *out);
void netlink_parse_nested(const struct nlattr *nest, struct netlink_attrs *out);
/* 0 if it is not there or has another length. */
uint32_t netlink_u32(const struct nlattr *at);
uint8_t netlink_u8(const struct nlattr *at);
