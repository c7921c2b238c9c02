/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealed - bytes in a descriptor that nobody can change any more, to be handed to another process.
 *
 * A memfd with all its seals: what its maker wrote is what every reader finds, for as long as there is
 * a descriptor of it, whatever happens to the file that the bytes once came from.
 */
#pragma once
#include <stddef.h>

/* Copies data. name is for /proc alone. -errno. */
int sealed_new(int *fd, const char *name, const void *data, size_t len);
/* All of it, malloc'ed and with a NUL behind it, from the start and leaving the descriptor's place
 * alone: several processes may share it. -EINVAL it is not sealed, -EFBIG more than max.
 */
int sealed_read(int fd, char **out, size_t *len, size_t max);
