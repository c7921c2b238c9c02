/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Debian 12's ends after its first member; a kernel takes the size that it is told. */
struct attributes {
	uint64_t files, net, scope;
};

#define FIRST_FILES ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1) /* ABI 1: thirteen rights */
#define RIGHTS_OF_FILES                                               \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | \
	 LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_FS_TRUNCATE | LANDLOCK_FS_IOCTL_DEV)

int landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi < 0 ? 0 : (int)abi;
}

static uint64_t files_of(int abi)
{
	uint64_t all = FIRST_FILES;

	if (abi >= 2)
		all |= LANDLOCK_FS_REFER;
	if (abi >= 3)
		all |= LANDLOCK_FS_TRUNCATE;
	if (abi >= 5)
		all |= LANDLOCK_FS_IOCTL_DEV;
	return all;
}

int landlock_init(struct landlock *l, uint64_t net, uint64_t scope)
{
	int abi = landlock_abi();
	struct attributes a = {.files = files_of(abi)};
	long fd;

	l->fd = -1;
	l->files = a.files;
	if (!abi)
		return 0;
	if (abi >= 4)
		a.net = net;
	if (abi >= 6)
		a.scope = scope;
	fd = syscall(SYS_landlock_create_ruleset, &a, sizeof(a), 0);
	/* An older kernel takes what it does not know as long as that is zero. */
	if (fd < 0)
		return -errno;
	l->fd = (int)fd;
	return 0;
}

void landlock_clear(struct landlock *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

int landlock_allow(struct landlock *l, int dir, uint64_t rights)
{
	struct landlock_path_beneath_attr rule = {.parent_fd = dir};
	struct stat st;

	if (l->fd < 0)
		return 0;
	if (fstat(dir, &st) < 0)
		return -errno;
	rights &= l->files;
	if (!S_ISDIR(st.st_mode))
		rights &= RIGHTS_OF_FILES;
	rule.allowed_access = rights;
	if (syscall(SYS_landlock_add_rule, l->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return -errno;
	return 0;
}

int landlock_allow_path(struct landlock *l, const char *path, uint64_t rights)
{
	int fd, err;

	if (l->fd < 0)
		return 0;
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	err = landlock_allow(l, fd, rights);
	close(fd);
	return err;
}

int landlock_enforce(struct landlock *l)
{
	int err = 0;

	if (l->fd >= 0 && syscall(SYS_landlock_restrict_self, l->fd, 0) < 0)
		err = -errno;
	landlock_clear(l);
	return err;
}
