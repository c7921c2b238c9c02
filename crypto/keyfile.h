/* SPDX-License-Identifier: GPL-3.0-or-later */
/* keyfile - small files that are whole or not there, mode 0600.
 *
 * Written to a temporary name in the same folder, fsync, rename, fsync of the folder: after a
 * crash at any point the old or the new content is there, never a mixture. A failed fsync counts
 * as lost data. All names are relative to a folder's descriptor; symbolic links are not followed.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define KEYFILE_MAX 65536 /* no key, certificate or chain of ours is larger */

/* Replaces dir/name. 0 or -errno; on error the old file is untouched and no temporary remains. (An
 * error of the folder's own fsync comes after the rename: then the new file is there, but may not
 * outlive a crash.) -EINVAL name is a path, -EFBIG.
 */
int keyfile_write(int dir, const char *name, const void *data, size_t len);

/* The same for state that may be larger than KEYFILE_MAX. */
int state_write(int dir, const char *name, const void *data, size_t len);

/* Reads at most max bytes of a regular file into buf, sets *len.
 * -EFBIG larger than max, -ENODATA empty, -EINVAL not a regular file, -ELOOP a
 * symbolic link.
 */
int keyfile_read(int dir, const char *name, void *buf, size_t max, size_t *len);

/* As keyfile_read, and -EPERM if group or others may read or write it, or if it belongs neither to
 * us nor to root nor to the owner of dir.
 */
int keyfile_read_secret(int dir, const char *name, void *buf, size_t max, size_t *len);
