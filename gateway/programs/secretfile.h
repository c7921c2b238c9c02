/* SPDX-License-Identifier: GPL-3.0-or-later */
/* secretfile - secrets that an operator hands over: in a file, by a pipe, at a terminal. Never in argv. */
#pragma once
#include "gateway/programs/cmd.h"
#include <sys/types.h>

#define PASSPHRASE_MAX 1024

/* A terminal or a pipe has no mode that matters; a file that others can read is no secret. CMD_OK, or
 * CMD_FAILED after saying so; cure: what to do with a secret that others may have seen.
 */
int secretfile_check(int fd, const char *what, const char *path, const char *cure);
/* Up to max bytes until the end. -EFBIG max or more, -errno. */
ssize_t secretfile_read(int fd, char *buf, size_t max);

/* The passphrase of --passphrase-file, without the newline behind it, or of the terminal: asked for twice
 * if it is a new one. Into buf of PASSPHRASE_MAX bytes of secret memory. CMD_OK, or CMD_FAILED after saying
 * why.
 */
int passphrase_read(const struct cmd *c, const char *what, bool fresh, char *buf, size_t *len);
