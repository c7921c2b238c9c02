/* SPDX-License-Identifier: GPL-3.0-or-later */
/* orders - what operators order of the registry: a policy, a node to be drained.
 *
 * They come from the ca process, whose socket root alone reaches: no node can say any of it. A document
 * is checked here again, whoever checked it before; the old one stays in force if it has a fault.
 * Manager's thread.
 */
#pragma once
#include "gateway/manager/api.h"
#include "gateway/message.h"

struct orders {
	struct registry *registry; /* borrowed, both */
	struct api *api;
	time_t (*wall)(void *arg);
};

/* fd: the file of the order, -1: none. For enroll_obey; arg is a struct orders. */
void orders_take(void *arg, const struct message_order *m, int fd, struct message_ordered *out);
/* At start: placement is judged by the document that is in force. */
void orders_begin(const struct orders *o);
