/* SPDX-License-Identifier: GPL-3.0-or-later */
/* folder - the state folder, the run folder, and the one of each process in the state folder.
 *
 * Whoever may write a folder decides what is read from it, so that each belongs to root, or to the
 * one process it is for. Privileged process only.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define FOLDER_GROUP "ginnel" /* may enter the run folder and read from the control socket */

/* Made with the folders above it, or taken with whatever lies in it if root owns it; its mode is
 * mended: 0700, or if it is for a group that exists 0750 root:group (group NULL: none). *fd is
 * O_RDONLY. 0, or -errno with a line in why that begins with path.
 */
int folder_open(int *fd, const char *path, const char *group, char *why, size_t max);

/* The folder of one process: made, or taken if root or its uid owns it; 0700 and of its uid. *fd is
 * O_PATH, which is enough to fchdir to it, by whoever may.
 */
int folder_open_own(int *fd, int state_dir, const char *name, uid_t uid, gid_t gid, char *why,
                    size_t max);

/* Takes the folder for this process and as long as it lives. -EBUSY another one has it. */
int folder_lock(int fd);

/* The gid of FOLDER_GROUP; false if there is no such group. */
bool folder_group(const char *group, gid_t *gid);
