/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* syscalls(parent): memfd_create write fcntl */
int sealed_new(int *fd, const char *name, const void *data, size_t len)
{
	int f = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	if (f < 0)
		return -errno;
	err = write_all(f, data, len);
	if (!err && fcntl(f, F_ADD_SEALS, SEALS) < 0)
		err = -errno;
	if (err) {
		close(f);
		return err;
	}
	*fd = f;
	return 0;
}

/* syscalls(all): fcntl fstat pread64 */
int sealed_read(int fd, char **out, size_t *len, size_t max)
{
	int seals = fcntl(fd, F_GET_SEALS);
	size_t used = 0, size;
	struct stat st;
	char *text;

	if (seals < 0 || (seals & SEALS) != SEALS)
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < 0 || (uintmax_t)st.st_size > max)
		return -EFBIG;
	size = (size_t)st.st_size;
	text = malloc(size + 1);
	if (!text)
		return -ENOMEM;
	while (used < size) {
		ssize_t n = pread(fd, text + used, size - used, (off_t)used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(text);
			return n < 0 ? -errno : -EIO;
		}
		used += (size_t)n;
	}
	text[size] = 0;
	*out = text;
	*len = size;
	return 0;
}
