/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/secret.h"

/* syscalls(engine manager ca): openat fchmod read write fsync close unlinkat renameat renameat2 fstat
 * newfstatat geteuid
 */

#define TEMPORARY_MARK 8 /* random bytes in a temporary name */
#define TEMPORARY_MAX  (NAME_MAX + 1)

/* A name in this folder and nothing else: no path, not the folder itself. */
static bool name_ok(const char *name)
{
	return name[0] && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* ".NAME.0123456789abcdef", which no other writer chooses. */
static int temporary_name(char *out, size_t max, const char *name)
{
	uint8_t mark[TEMPORARY_MARK];
	size_t at;
	int err, n;

	err = secret_random(mark, sizeof(mark));
	if (err)
		return err;
	n = snprintf(out, max, ".%s.", name);
	if (n < 0 || (size_t)n + 2 * sizeof(mark) >= max)
		return -ENAMETOOLONG;
	at = (size_t)n;
	for (size_t i = 0; i < sizeof(mark); i++)
		at += (size_t)snprintf(out + at, max - at, "%02x", (unsigned)mark[i]);
	return 0;
}

static int write_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			return -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A new file with these contents on the disk, mode 0600 whatever the umask is. */
static int temporary_write(int dir, const char *name, const void *data, size_t len)
{
	int fd, err;

	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = fchmod(fd, 0600) < 0 ? -errno : 0;
	if (!err)
		err = write_all(fd, data, len);
	if (!err && fsync(fd) < 0)
		err = -errno;
	if (close(fd) < 0 && !err && errno != EINTR)
		err = -errno; /* network file systems tell of a full disk here */
	if (err)
		unlinkat(dir, name, 0);
	return err;
}

int state_write(int dir, const char *name, const void *data, size_t len)
{
	char temporary[TEMPORARY_MAX];
	int err;

	if (!name_ok(name))
		return -EINVAL;
	err = temporary_name(temporary, sizeof(temporary), name);
	if (err)
		return err;
	err = temporary_write(dir, temporary, data, len);
	if (err)
		return err;
	if (renameat(dir, temporary, dir, name) < 0) {
		err = -errno;
		unlinkat(dir, temporary, 0);
		return err;
	}
	/* Also of a folder that was opened by O_PATH, which fsync would refuse. */
	dir = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	err = fsync(dir) < 0 ? -errno : 0;
	close(dir);
	return err;
}

int keyfile_write(int dir, const char *name, const void *data, size_t len)
{
	if (len > KEYFILE_MAX)
		return -EFBIG;
	return state_write(dir, name, data, len);
}

/* Reads what is there, and one byte more than max to see that there is none. */
static int read_all(int fd, void *buf, size_t max, size_t *len)
{
	uint8_t *p = buf;
	uint8_t more;
	size_t used = 0;

	for (;;) {
		ssize_t n = used < max ? read(fd, p + used, max - used) : read(fd, &more, 1);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			break;
		if (used == max)
			return -EFBIG;
		used += (size_t)n;
	}
	if (used == 0)
		return -ENODATA;
	*len = used;
	return 0;
}

/* Ours, root's, or of whoever owns the folder: a process's folder holds that process's keys, and root
 * looks at them before the process is started.
 */
static bool trusted_owner(int dir, uid_t owner)
{
	struct stat st;

	if (owner == 0 || owner == geteuid())
		return true;
	return fstatat(dir, ".", &st, 0) == 0 && st.st_uid == owner;
}

static int file_read(int dir, const char *name, void *buf, size_t max, size_t *len, bool secret)
{
	struct stat st;
	int fd, err;

	if (!name_ok(name))
		return -EINVAL;
	/* O_NONBLOCK: a pipe in the file's place must not hold us up. */
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENXIO ? -EINVAL : -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		err = -EINVAL;
	else if (secret && ((st.st_mode & (S_IRWXG | S_IRWXO)) || !trusted_owner(dir, st.st_uid)))
		err = -EPERM;
	else if (st.st_size > 0 && (uintmax_t)st.st_size > max)
		err = -EFBIG;
	else
		err = read_all(fd, buf, max, len);
	close(fd);
	if (err && secret)
		secret_wipe(buf, max);
	return err;
}

int keyfile_read(int dir, const char *name, void *buf, size_t max, size_t *len)
{
	return file_read(dir, name, buf, max, len, false);
}

int keyfile_read_secret(int dir, const char *name, void *buf, size_t max, size_t *len)
{
	return file_read(dir, name, buf, max, len, true);
}
