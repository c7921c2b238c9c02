/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/door.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "gateway/workers.h"

#define WAIT_STEP_MS 10
#define OWN_TRIES    16

static int set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* A socket of IPv6 that also takes IPv4, or of IPv4 where the kernel knows no other. */
static int dual(int *out, int type, bool *six)
{
	int fd, err;

	*six = true;
	fd = socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 && errno == EAFNOSUPPORT) {
		*six = false;
		fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	if (fd < 0)
		return -errno;
	err = *six ? set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0) : 0;
	if (err) {
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

static int bind_port(int fd, bool six, uint16_t port)
{
	struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
	int err = six ? bind(fd, (struct sockaddr *)&any6, sizeof(any6))
	              : bind(fd, (struct sockaddr *)&any, sizeof(any));

	return err < 0 ? -errno : 0;
}

static int udp_options(int fd, bool six)
{
	int err;

	/* PROBE: the path's MTU is found by our own probes; an ICMP that anyone can forge changes
	 * nothing. For IPv4 inside an IPv6 socket both count.
	 */
	err = set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
	if (!err && six)
		err = set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
	/* A reply leaves from the address that was asked. */
	if (!err)
		err = six ? set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
		          : set(fd, IPPROTO_IP, IP_PKTINFO, 1);
	if (!err)
		err = set(fd, SOL_SOCKET, SO_RCVBUFFORCE, DOOR_BUFFER);
	return err ? err : set(fd, SOL_SOCKET, SO_SNDBUFFORCE, DOOR_BUFFER);
}

/* shared: one of the group. */
static int udp_open(int *out, uint16_t port, bool shared)
{
	int fd, err;
	bool six;

	err = dual(&fd, SOCK_DGRAM, &six);
	if (err)
		return err;
	err = udp_options(fd, six);
	if (!err && shared)
		err = set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (!err)
		err = bind_port(fd, six, port);
	if (err) {
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

/* Is the port ours alone? An engine that was killed may hold its sockets for a moment. */
static void udp_wait(uint16_t port)
{
	for (int ms = 0; ms < DOOR_WAIT_MS; ms += WAIT_STEP_MS) {
		int fd, err = udp_open(&fd, port, false);

		if (!err)
			close(fd);
		if (err != -EADDRINUSE)
			return;
		usleep(WAIT_STEP_MS * 1000);
	}
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in6 at; /* the port is where sockaddr_in has it */
	socklen_t len = sizeof(at);

	return getsockname(fd, (struct sockaddr *)&at, &len) < 0 ? 0 : ntohs(at.sin6_port);
}

/* At a free port that names the worker. The kernel knows one that is free; that one, or the one of its
 * neighbours whose number is right. Where there is none, another: lanes are only spread less well.
 */
static int udp_open_own(int *out, unsigned worker)
{
	int err = -EADDRINUSE;

	for (int i = 0; i < OWN_TRIES && err == -EADDRINUSE; i++) {
		uint16_t port;
		int fd;

		err = udp_open(&fd, 0, false);
		if (err)
			return err;
		port = port_of(fd);
		close(fd);
		err = udp_open(out, (uint16_t)(port - port % WORKERS_MAX + worker), false);
	}
	return err == -EADDRINUSE ? udp_open(out, 0, false) : err;
}

int door_udp(int *fds, unsigned n, uint16_t port)
{
	unsigned i, all = workers_sockets(n);
	int err = 0;

	udp_wait(port);
	for (i = 0; i < all; i++) {
		err = i < n ? udp_open(&fds[i], port, true) : udp_open_own(&fds[i], i - n + 1);
		if (err)
			break;
	}
	if (!err)
		return 0;
	while (i-- > 0)
		close(fds[i]);
	return err;
}

int door_tcp(int *fd, uint16_t port)
{
	int s = -1, err;
	bool six;

	err = dual(&s, SOCK_STREAM, &six);
	if (err)
		return err;
	err = set(s, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!err)
		err = bind_port(s, six, port);
	if (!err && listen(s, DOOR_BACKLOG) < 0)
		err = -errno;
	if (err) {
		close(s);
		return err;
	}
	*fd = s;
	return 0;
}

int door_unix(int *fd, int dir, const char *name, bool shared, gid_t gid)
{
	/* By the folder's descriptor: its path may be longer than an address holds. */
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	mode_t mask;
	int s, err = 0;

	if (snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/%s", dir, name) >=
	    (int)sizeof(at.sun_path))
		return -ENAMETOOLONG;
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return -errno;
	if (unlinkat(dir, name, 0) < 0 && errno != ENOENT) {
		err = -errno;
		goto fail;
	}
	mask = umask(0177); /* never open to others, not for a moment */
	if (bind(s, (struct sockaddr *)&at, sizeof(at)) < 0)
		err = -errno;
	umask(mask);
	if (err)
		goto fail;
	if (shared && (fchownat(dir, name, 0, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	               fchmodat(dir, name, 0660, 0) < 0)) {
		err = -errno;
		goto fail;
	}
	if (listen(s, DOOR_BACKLOG) < 0) {
		err = -errno;
		goto fail;
	}
	*fd = s;
	return 0;
fail:
	close(s);
	return err;
}
