/* SPDX-License-Identifier: GPL-3.0-or-later */
/* secret - memory for keys: locked, kept out of core dumps, zero in a forked child, wiped on free.
 *
 * A key that is swapped, dumped or inherited has left the process that may hold it.
 * Any thread; one allocation belongs to one owner. A forked child finds its parent's secrets zero and
 * the pages no longer locked: it is to exec before it makes secrets of its own.
 */
#pragma once
#include <stddef.h>

/* n zeroed bytes, aligned to 16, or NULL (no memory, or RLIMIT_MEMLOCK). Give n back to secret_free. */
void *secret_new(size_t n);

/* Wipes and frees; NULL is taken. */
void secret_free(void *p, size_t n);

/* Zeroes n bytes in a way that no compiler drops. */
void secret_wipe(void *p, size_t n);

/* 1 if equal, 0 if not, in a time that depends on n alone. */
int secret_equal(const void *a, const void *b, size_t n);

/* n random bytes of the kernel; 0 or -errno (then nothing may be made of out). */
int secret_random(void *out, size_t n);
