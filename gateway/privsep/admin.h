/* SPDX-License-Identifier: GPL-3.0-or-later */
/* admin - the parent's own socket, for root alone: one line of JSON in, one out.
 *
 *   {"cmd":"ping"} → {"pid":n,"version":"…","ready":true}      {"cmd":"down"} → {"pid":n}
 * or {"error":"what: why; what to do"}.
 *
 * Who asks is known by SO_PEERCRED before a byte is read; bounded in clients, bytes and time.
 * Parent process only.
 */
#pragma once
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADMIN_CLIENTS_MAX 8
#define ADMIN_LINE_MAX    1024
#define ADMIN_DEADLINE_NS (5 * 1000000000LL)

struct admin {
	int listen;
	struct {
		int fd; /* -1: free */
		size_t len;
		int64_t deadline;
		char line[ADMIN_LINE_MAX];
	} client[ADMIN_CLIENTS_MAX];
};

void admin_init(struct admin *a, int listen_fd); /* takes the descriptor */
void admin_clear(struct admin *a);
/* Fills ADMIN_CLIENTS_MAX + 1 entries; those not used have fd -1. */
void admin_poll(const struct admin *a, struct pollfd *p);
/* Goes on with those entries. True if someone asked for down and was answered. */
bool admin_serve(struct admin *a, const struct pollfd *p, bool ready, int64_t now);

/* Answers one line (not NUL-terminated) into out, newline included; its length. True in *down if
 * that was asked for. Pure.
 */
size_t admin_answer(const char *line, size_t len, bool ready, bool *down, char *out, size_t max);
