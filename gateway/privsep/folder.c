/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

bool folder_group(const char *group, gid_t *gid)
{
	/* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const struct group *g = group ? getgrnam(group) : NULL;

	if (!g)
		return false;
	*gid = g->gr_gid;
	return true;
}

static int make(const char *path)
{
	char part[PATH_MAX];
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof(part))
		return n ? -ENAMETOOLONG : -ENOENT;
	memcpy(part, path, n + 1);
	for (char *at = strchr(part + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
		*at = '/';
	}
	return mkdir(part, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* What is so already is not touched: a folder may lie on a file system that is read-only now. */
static int mend(int fd, const struct stat *st, mode_t mode, gid_t gid)
{
	if (st->st_gid != gid && fchown(fd, (uid_t)-1, gid) < 0)
		return -errno;
	if ((st->st_mode & 07777) != mode && fchmod(fd, mode) < 0)
		return -errno;
	return 0;
}

int folder_open(int *fd, const char *path, const char *group, char *why, size_t max)
{
	gid_t gid = 0;
	bool shared = folder_group(group, &gid);
	struct stat st;
	int d, err;

	err = make(path);
	if (err)
		goto fail;
	d = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d < 0) {
		err = -errno;
		goto fail;
	}
	if (fstat(d, &st) < 0) {
		err = -errno;
		goto fail_open;
	}
	if (st.st_uid != 0) {
		snprintf(why, max, "%s: uid %u owns it, not root; chown it, or give another folder",
		         path, st.st_uid);
		close(d);
		return -EPERM;
	}
	err = mend(d, &st, shared ? 0750 : 0700, gid);
	if (err)
		goto fail_open;
	*fd = d;
	return 0;
fail_open:
	close(d);
fail:
	snprintf(why, max, "%s: %s", path, strerrordesc_np(-err));
	return err;
}

int folder_open_own(int *fd, int state_dir, const char *name, uid_t uid, gid_t gid, char *why,
                    size_t max)
{
	struct stat st;
	int d, err;

	if (mkdirat(state_dir, name, 0700) < 0 && errno != EEXIST) {
		err = -errno;
		goto fail;
	}
	d = openat(state_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (d < 0) {
		err = -errno;
		goto fail;
	}
	if (fstat(d, &st) < 0) {
		err = -errno;
		goto fail_open;
	}
	if (st.st_uid != 0 && st.st_uid != uid) {
		snprintf(why, max, "%s/: uid %u owns it, not %u whose it is; chown -R it", name,
		         st.st_uid, uid);
		close(d);
		return -EPERM;
	}
	if ((st.st_uid != uid || st.st_gid != gid) && fchown(d, uid, gid) < 0) {
		err = -errno;
		goto fail_open;
	}
	if ((st.st_mode & 07777) != 0700 && fchmod(d, 0700) < 0) {
		err = -errno;
		goto fail_open;
	}
	close(d);
	d = openat(state_dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (d < 0) {
		err = -errno;
		goto fail;
	}
	*fd = d;
	return 0;
fail_open:
	close(d);
fail:
	snprintf(why, max, "%s/: %s", name, strerrordesc_np(-err));
	return err;
}

int folder_lock(int fd)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK ? -EBUSY : -errno;
}
