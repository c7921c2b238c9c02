/* SPDX-License-Identifier: GPL-3.0-or-later */
/* forwarding - turns the kernel's forwarding on for addresses that live behind links, and back.
 *
 * What was found is written to a file in the state folder before anything is changed, and only if
 * none is there: after a crash the first values are still the ones to go back to.
 * Privileged process only.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define FORWARDING_FILE           "forwarding"
#define FORWARDING_INTERFACES_MAX 4096

/* IPv4 and IPv6; where an interface listened to router advertisements (accept_ra 1) it goes on to
 * (2), which the kernel else ends. 0 or -errno with why; *changed if something was off.
 */
int forwarding_on(int state_dir, bool *changed, char *why, size_t max);
/* 0 also if nothing was ever changed; interfaces that are gone are passed over. */
int forwarding_back(int state_dir, char *why, size_t max);

/* One line of the file: "ipv6 eth0 accept_ra 1". */
struct forwarding_line {
	char family[5], name[16], key[11];
	int value;
};
/* 0 or -EBADMSG; n bytes without the newline. */
int forwarding_line_parse(struct forwarding_line *out, const char *text, size_t n);
