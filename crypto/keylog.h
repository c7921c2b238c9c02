/* SPDX-License-Identifier: GPL-3.0-or-later */
/* keylog - writes the secrets of DTLS sessions as NSS key log lines, for tshark: in a debug build alone.
 *
 * Whoever has such a file reads all traffic of its sessions. So it exists with `make KEYLOG=1` only,
 * which cannot be installed and says at its start what it is; in any other build nothing is written,
 * whatever is called. What is written, and where, is set once, before there are sessions.
 */
#pragma once
#include <stdbool.h>

#define KEYLOG_FILE "keylog.txt"

struct WOLFSSL;

/* Is this such a build? */
bool keylog_built(void);
/* Lines go there from now on, one write for each. Borrowed; opened with O_APPEND. */
void keylog_to(int fd);
/* From wolfSSL's callback for secrets, whose arguments these are. */
void keylog_secret(struct WOLFSSL *ssl, int id, const unsigned char *secret, int len);
