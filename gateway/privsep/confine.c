/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "gateway/privsep/filter.h"
#include "gateway/privsep/landlock.h"

/* What every program reads. Single files, not /etc: root's own secrets lie there. */
static const struct {
	const char *path;
	uint64_t rights;
} common[] = {
	{"/lib", LANDLOCK_RUN},
	{"/lib64", LANDLOCK_RUN},
	{"/usr/lib", LANDLOCK_RUN},
	{"/usr/lib64", LANDLOCK_RUN},
	{"/usr/local/lib", LANDLOCK_RUN},
	{"/etc/ld.so.cache", LANDLOCK_READ},
	{"/etc/nsswitch.conf", LANDLOCK_READ},
	{"/etc/passwd", LANDLOCK_READ},
	{"/etc/group", LANDLOCK_READ},
	{"/etc/localtime", LANDLOCK_READ},
	{"/etc/iproute2", LANDLOCK_READ},
	{"/dev/null", LANDLOCK_WRITE},
	{"/dev/urandom", LANDLOCK_READ},
	{"/dev/net/tun", LANDLOCK_WRITE | LANDLOCK_FS_IOCTL_DEV},
};

#ifdef GINNEL_SANITIZER
/* Maps, symbols, and reports, wherever the runner wants them. */
static int allow_reports(struct landlock *l)
{
	int err = landlock_allow_path(l, "/proc", LANDLOCK_READ);

	if (!err)
		err = landlock_allow_path(l, "/usr", LANDLOCK_READ);
	if (!err)
		err = landlock_allow_path(l, "/lib", LANDLOCK_READ);
	if (!err)
		err = landlock_allow_path(l, "/tmp", LANDLOCK_OWN);
	return err;
}
#else
static int allow_reports(struct landlock *l)
{
	(void)l;
	return 0;
}
#endif

/* The folder that path lies in. */
static int allow_around(struct landlock *l, const char *path, uint64_t rights)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;

	if (!slash || n + 2 > sizeof(folder))
		return slash ? -ENAMETOOLONG : 0;
	memcpy(folder, path, n + 1);
	folder[n + 1] = 0;
	return landlock_allow_path(l, folder, rights);
}

/* Its folder and not the file: a new version takes the file's place. */
static int allow_program(struct landlock *l, const char *exe)
{
	char self[PATH_MAX];
	ssize_t n;

	if (exe)
		return allow_around(l, exe, LANDLOCK_RUN);
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return -errno;
	self[n] = 0;
	return allow_around(l, self, LANDLOCK_RUN);
}

static int allow_folder(struct landlock *l, int dir, uint64_t rights)
{
	return dir < 0 ? 0 : landlock_allow(l, dir, rights);
}

/* The kernel makes a folder of sysctls anew when nobody has held it for a while, and a rule would
 * be for the former one: it is held open as long as this process lives.
 */
static int allow_sysctls(struct landlock *l)
{
	int fd = open("/proc/sys/net", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return landlock_allow(l, fd, LANDLOCK_WRITE);
}

static int allow_places(struct landlock *l, const struct confine_places *p)
{
	int err = allow_program(l, p->exe);

	for (size_t i = 0; !err && i < sizeof(common) / sizeof(*common); i++)
		err = landlock_allow_path(l, common[i].path, common[i].rights);
	if (!err)
		err = allow_sysctls(l);
	if (!err)
		err = allow_folder(l, p->state, LANDLOCK_OWN);
	if (!err)
		err = allow_folder(l, p->run, LANDLOCK_OWN | LANDLOCK_ACCESS_FS_MAKE_SOCK);
	if (!err && p->config)
		err = landlock_allow_path(l, p->config, LANDLOCK_READ);
	for (size_t i = 0; !err && i < sizeof(p->files) / sizeof(*p->files); i++)
		if (p->files[i])
			err = allow_around(l, p->files[i], LANDLOCK_READ);
	return err ? err : allow_reports(l);
}

int confine_parent(const struct confine_places *p)
{
	struct landlock l;
	/* TCP is the engine's to forbid: it inherits this. systemd may listen on an abstract socket. */
	int err = landlock_init(&l, 0, LANDLOCK_SIGNAL);

	if (!err)
		err = allow_places(&l, p);
	if (!err)
		return landlock_enforce(&l);
	landlock_clear(&l);
	return err;
}

int confine_files(enum process p, int dir)
{
	uint64_t net = LANDLOCK_TCP_BIND | (p == PROCESS_ENGINE ? 0 : LANDLOCK_TCP_CONNECT);
	struct landlock l;
	int err = landlock_init(&l, net, LANDLOCK_ABSTRACT | LANDLOCK_SIGNAL);

	if (!err)
		err = allow_folder(&l, dir, LANDLOCK_OWN);
	/* Libraries that want a seed ask here. */
	if (!err)
		err = landlock_allow_path(&l, "/dev/urandom", LANDLOCK_READ);
	if (!err)
		err = allow_reports(&l);
	if (!err)
		return landlock_enforce(&l);
	landlock_clear(&l);
	return err;
}

int confine_calls(enum process p)
{
	return filter_load(p, FILTER_KILL);
}
