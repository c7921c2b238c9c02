/* SPDX-License-Identifier: GPL-3.0-or-later */
/* landlock - which files, sockets and processes a process may reach, whatever its uid may.
 *
 * All that the running kernel's Landlock can forbid is forbidden, save what is allowed by name. It
 * cannot be taken back and is inherited: who was started by a process has that one's limits and its own.
 * Where the kernel has no Landlock all of this does nothing, and landlock_abi says so.
 */
#pragma once
#include <stdint.h>

/* Of the headers that Debian 12 lacks. */
#define LANDLOCK_FS_REFER     (1ULL << 13) /* ABI 2 */
#define LANDLOCK_FS_TRUNCATE  (1ULL << 14) /* ABI 3 */
#define LANDLOCK_FS_IOCTL_DEV (1ULL << 15) /* ABI 5 */
#define LANDLOCK_TCP_BIND     (1ULL << 0)  /* ABI 4 */
#define LANDLOCK_TCP_CONNECT  (1ULL << 1)
#define LANDLOCK_ABSTRACT     (1ULL << 0) /* ABI 6: abstract unix sockets of others */
#define LANDLOCK_SIGNAL       (1ULL << 1)

/* Rights below a folder, or to a file. */
#define LANDLOCK_READ  (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define LANDLOCK_RUN   (LANDLOCK_READ | LANDLOCK_ACCESS_FS_EXECUTE)
#define LANDLOCK_WRITE (LANDLOCK_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_FS_TRUNCATE)
#define LANDLOCK_OWN   (LANDLOCK_WRITE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE)

struct landlock {
	int fd; /* -1: the kernel has none */
	uint64_t files;
};

/* Of the running kernel; 0: it has none, or it is off, or forbidden to us. */
int landlock_abi(void);

/* Forbids all with files, and of TCP and other processes what net and scope say. */
int landlock_init(struct landlock *l, uint64_t net, uint64_t scope);
void landlock_clear(struct landlock *l);

/* dir may be O_PATH, or a file; rights that a file cannot have are left out for one. */
int landlock_allow(struct landlock *l, int dir, uint64_t rights);
/* What does not exist need not be allowed: no error. */
int landlock_allow_path(struct landlock *l, const char *path, uint64_t rights);

/* For this thread and those it makes. It must have no_new_privs. Ends in landlock_clear. */
int landlock_enforce(struct landlock *l);
