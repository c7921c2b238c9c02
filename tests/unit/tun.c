/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Each test has a network namespace of its own, with a real device in it. */
#include "tun/tun.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tun/bytes.h"
#include "tun/link.h"
#include "tun/offload.h"

#define NAME     "gnlt0"
#define OURS     (IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE)
#define NOBODY   65534
#define WAIT_MS  3000
#define SEGMENTS 10

static struct link *l;
static uint8_t buf[65536];

static void enter(void)
{
	if (geteuid() != 0 || access("/dev/net/tun", R_OK | W_OK) < 0 || unshare(CLONE_NEWNET) < 0)
		cr_skip("needs root, /dev/net/tun and network namespaces");
	cr_assert_eq(link_new(&l), 0);
	cr_assert_eq(link_up(l, 1, 0), 0);
}

static void leave(void)
{
	link_free(l);
}

TestSuite(tun, .init = enter, .fini = leave, .timeout = 60);

__attribute__((format(printf, 1, 2))) static void run(const char *form, ...)
{
	char command[256];
	va_list args;

	va_start(args, form);
	vsnprintf(command, sizeof(command), form, args);
	va_end(args);
	cr_assert_eq(system(command), 0, "%s", command);
}

static bool shows(const char *command, const char *part)
{
	static char output[4096];
	FILE *f = popen(command, "r");
	size_t n;

	cr_assert(f, "popen");
	n = fread(output, 1, sizeof(output) - 1, f);
	output[n] = '\0';
	pclose(f);
	return strstr(output, part) != NULL;
}

/* -- whose device it is -- */

/* Attaches to that name as any program may: 0 or -errno. */
static int attach_raw(int fd, int flags)
{
	struct ifreq ifr = {.ifr_name = NAME};

	ifr.ifr_flags = (short)flags;
	return ioctl(fd, TUNSETIFF, &ifr) < 0 ? -errno : 0;
}

static int open_raw(void)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	cr_assert_geq(fd, 0);
	return fd;
}

/* A device as another program might have made it. owner, group: -1 for none. */
static void foreign(int flags, int owner, int group, bool persistent)
{
	int fd = open_raw();

	cr_assert_eq(attach_raw(fd, flags), 0);
	if (owner >= 0)
		cr_assert_eq(ioctl(fd, TUNSETOWNER, (unsigned long)owner), 0);
	if (group >= 0)
		cr_assert_eq(ioctl(fd, TUNSETGROUP, (unsigned long)group), 0);
	cr_assert_eq(ioctl(fd, TUNSETPERSIST, (unsigned long)persistent), 0);
	if (persistent)
		close(fd); /* else it stays open until the test ends, and the device with it */
}

static void expect_refused(void)
{
	int fd = -7, index = link_index(l, NAME);

	cr_assert_gt(index, 0);
	cr_expect_eq(tun_create(NAME), -EEXIST);
	cr_expect_eq(tun_attach(&fd, NAME), -EEXIST);
	cr_expect_eq(tun_destroy(NAME), -EEXIST);
	cr_expect_eq(fd, -7);
	cr_expect_eq(link_index(l, NAME), index, "it was not touched");
}

/* What attaching as an ordinary user gives; the descriptor is opened while root still can. */
static int attach_as_nobody(int flags)
{
	int fd = open_raw(), status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(255);
		_exit(-attach_raw(fd, flags));
	}
	close(fd);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

Test(tun, a_device_is_made_as_the_header_says)
{
	struct link_tun t;

	cr_assert_eq(tun_create(NAME), 0);
	cr_expect(shows("ip -d link show " NAME, "tun type tun pi off vnet_hdr on multi_queue "));
	cr_expect(shows("ip -d link show " NAME, " persist on user root "));
	cr_assert_eq(link_tun(l, NAME, &t), 0);
	cr_expect(!t.tap && !t.pi && t.vnet && t.multi_queue && t.persistent);
	cr_expect(t.owned && t.owner == 0 && !t.grouped && t.queues == 0);
	cr_expect_eq(t.index, link_index(l, NAME));
	cr_expect_eq(link_is_up(l, t.index), 0, "nothing is up before the guards are");
}

Test(tun, made_or_removed_twice_is_the_same_as_once)
{
	int index;

	cr_assert_eq(tun_create(NAME), 0);
	index = link_index(l, NAME);
	cr_expect_eq(tun_create(NAME), 0);
	cr_expect_eq(link_index(l, NAME), index);
	cr_expect_eq(tun_destroy(NAME), 0);
	cr_expect_eq(link_index(l, NAME), -ENODEV);
	cr_expect_eq(tun_destroy(NAME), 0);
}

Test(tun, it_is_removed_under_an_attached_queue_too)
{
	int fd;

	cr_assert_eq(tun_create(NAME), 0);
	cr_assert_eq(tun_attach(&fd, NAME), 0);
	cr_expect_eq(tun_destroy(NAME), 0);
	cr_expect_eq(link_index(l, NAME), -ENODEV);
	cr_expect_lt(tun_read(fd, buf, sizeof(buf)), 0);
	cr_expect_neq(tun_read(fd, buf, sizeof(buf)), -EAGAIN, "or its reader would wait for ever");
}

Test(tun, queues_are_attached_and_outlived)
{
	struct link_tun t;
	int fd[3];

	cr_assert_eq(tun_create(NAME), 0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(tun_attach(&fd[i], NAME), 0);
		cr_expect(fcntl(fd[i], F_GETFL) & O_NONBLOCK);
		cr_expect(fcntl(fd[i], F_GETFD) & FD_CLOEXEC);
	}
	cr_assert_eq(link_tun(l, NAME, &t), 0);
	cr_expect_eq(t.queues, 3);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	cr_assert_eq(link_tun(l, NAME, &t), 0);
	cr_expect_eq(t.queues, 0);
	cr_expect_eq(tun_create(NAME), 0, "and taken again");
}

Test(tun, attaching_makes_no_device)
{
	int fd = -7;

	cr_expect_eq(tun_attach(&fd, NAME), -ENODEV);
	cr_expect_eq(fd, -7);
	cr_expect_eq(link_index(l, NAME), -ENODEV);
}

Test(tun, names_are_checked)
{
	static const char *const bad[] = {"",    ".",     "..",  "sixteen-letters!",
	                                  "a/b", "gnl%d", "a b", "a:b"};
	int fd;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_expect_eq(tun_create(bad[i]), -EINVAL, "%s", bad[i]);
		cr_expect_eq(tun_attach(&fd, bad[i]), -EINVAL, "%s", bad[i]);
		cr_expect_eq(tun_destroy(bad[i]), -EINVAL, "%s", bad[i]);
	}
	cr_expect_not(shows("ip -o link show", "gnl"));
	cr_expect_eq(tun_create("fifteen-letters"), 0);
	cr_expect_eq(tun_destroy("fifteen-letters"), 0);
}

Test(tun, a_foreign_tap_is_refused)
{
	foreign(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE, 0, -1, true);
	expect_refused();
}

Test(tun, a_device_of_one_queue_is_refused)
{
	foreign(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, 0, -1, true);
	expect_refused();
}

Test(tun, a_device_without_owner_is_refused)
{
	foreign(OURS, -1, -1, true);
	expect_refused();
}

Test(tun, a_device_of_another_owner_is_refused)
{
	foreign(OURS, NOBODY, -1, true);
	expect_refused();
}

Test(tun, a_device_open_to_a_group_is_refused)
{
	foreign(OURS, 0, NOBODY, true);
	expect_refused();
}

Test(tun, a_device_that_ends_with_its_maker_is_refused)
{
	foreign(OURS, 0, -1, false);
	expect_refused();
}

Test(tun, a_device_with_other_headers_is_refused)
{
	foreign(IFF_TUN | IFF_VNET_HDR | IFF_MULTI_QUEUE, 0, -1, true);
	expect_refused();
	run("ip link del " NAME);
	foreign(IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE, 0, -1, true);
	expect_refused();
}

Test(tun, a_device_that_is_no_tun_is_refused)
{
	run("ip link add " NAME " type veth peer name gnlt1");
	expect_refused();
}

Test(tun, another_user_cannot_attach)
{
	int fd;

	/* The test itself: a device without owner lets him in, which is why ours has one. */
	foreign(OURS, -1, -1, true);
	cr_assert_eq(attach_as_nobody(OURS), 0);
	run("ip link del " NAME);

	cr_assert_eq(tun_create(NAME), 0);
	cr_expect_eq(attach_as_nobody(OURS), -EPERM);
	cr_assert_eq(tun_attach(&fd, NAME), 0);
	cr_expect_eq(attach_as_nobody(OURS), -EPERM, "nor while it is in use");
}

/* While it is made, the device has no owner for a moment. */
Test(tun, who_attaches_in_the_moment_before_it_is_owned_gains_nothing)
{
	int fd = open_raw();
	pid_t pid = fork();
	struct link_tun t;

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(255);
		/* He does not outlive the test, however that ends. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(60);
		for (;;)
			attach_raw(fd, OURS);
	}
	for (int i = 0; i < 60; i++) {
		int err = tun_create(NAME);

		if (err) {
			cr_assert_eq(err, -EEXIST);
			cr_assert_eq(link_index(l, NAME), -ENODEV,
			             "what he is attached to is gone");
			continue;
		}
		cr_assert_eq(link_tun(l, NAME, &t), 0);
		cr_assert_eq(t.queues, 0, "round %d", i);
		cr_assert_eq(tun_destroy(NAME), 0);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(tun, without_privilege_nothing_is_made)
{
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(255);
		_exit(-tun_create(NAME));
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WEXITSTATUS(status) == EPERM || WEXITSTATUS(status) == EACCES);
	cr_expect_eq(link_index(l, NAME), -ENODEV);
}

/* -- packets -- */

static void add_net(int index, const char *own, const char *net)
{
	struct prefix p, q;

	cr_assert_eq(prefix_parse(&p, own), 0);
	cr_assert_eq(prefix_parse(&q, net), 0);
	cr_assert_eq(link_addr_add(l, index, &p), 0);
	cr_assert_eq(link_route_add(l, index, &q, &p.addr, 0), 0);
}

/* Makes the device, gives it addresses and routes, and attaches one queue. */
static int device_up(void)
{
	int fd, index;

	cr_assert_eq(tun_create(NAME), 0);
	cr_assert_eq(tun_attach(&fd, NAME), 0);
	index = link_index(l, NAME);
	cr_assert_eq(link_up(l, index, 1420), 0);
	add_net(index, "10.77.1.1/32", "10.77.0.0/16");
	add_net(index, "fd77:1::1/128", "fd77::/16");
	return fd;
}

/* The next packet of that protocol, in buf: its length; the kernel sends others of its own. */
static size_t next_packet(int fd, int family, int proto)
{
	struct pollfd p = {fd, POLLIN, 0};
	struct ip_view v;
	ssize_t n;

	for (;;) {
		n = tun_read(fd, buf, sizeof(buf));
		if (n == -EAGAIN) {
			cr_assert_eq(poll(&p, 1, WAIT_MS), 1, "no such packet came");
			continue;
		}
		cr_assert_geq(n, 0, "read: %s", strerror((int)-n));
		cr_assert_eq(ip_parse(&v, buf, (size_t)n), 0);
		cr_assert_eq(v.total, n);
		if (v.version == family && v.proto == proto)
			return (size_t)n;
	}
}

static uint32_t sum(uint32_t s, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + 1 < n; i += 2)
		s += get_be16(p + i);
	if (n % 2)
		s += (uint32_t)p[n - 1] << 8;
	return s;
}

static uint16_t fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

/* Of the upper layer with its pseudo header: 0 if the checksum in it is right. */
static uint16_t checksum(const uint8_t *p, const struct ip_view *v)
{
	uint16_t len = (uint16_t)(v->total - v->l4);
	uint32_t s = (uint32_t)v->proto + len;

	s = sum(s, v->src.b, 16);
	s = sum(s, v->dst.b, 16);
	return fold(sum(s, p + v->l4, len));
}

static void expect_checksums(const uint8_t *p, size_t n)
{
	struct ip_view v;

	cr_assert_eq(ip_parse(&v, p, n), 0);
	cr_expect_eq(checksum(p, &v), 0, "upper layer");
	if (v.version == 4)
		cr_expect_eq(fold(sum(0, p, v.l4)), 0, "IPv4 header");
}

static int sender(int family, int type, const char *to, int port)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;

	cr_assert_geq(fd, 0);
	if (family == AF_INET) {
		inet_pton(family, to, &a4.sin_addr);
		err = connect(fd, (struct sockaddr *)&a4, sizeof(a4));
	} else {
		inet_pton(family, to, &a6.sin6_addr);
		err = connect(fd, (struct sockaddr *)&a6, sizeof(a6));
	}
	cr_assert(err == 0 || errno == EINPROGRESS, "connect to %s: %s", to, strerror(errno));
	return fd;
}

/* With offloads off the kernel completes them: that is what lets tun_read refuse the others. */
Test(tun, packets_come_with_whole_checksums)
{
	static const int families[] = {AF_INET, AF_INET6}, versions[] = {4, 6};
	static const char *const hosts[] = {"10.77.2.9", "fd77:2::9"};
	static const char text[] = "an odd number of bytes";
	int fd = device_up();

	for (int i = 0; i < 2; i++) {
		int udp = sender(families[i], SOCK_DGRAM, hosts[i], 53);
		int tcp = sender(families[i], SOCK_STREAM, hosts[i], 443);
		struct ip_view v;
		size_t n;

		n = next_packet(fd, versions[i], IPPROTO_TCP);
		expect_checksums(buf, n);
		cr_assert_eq(send(udp, text, sizeof(text) - 1, 0), sizeof(text) - 1);
		n = next_packet(fd, versions[i], IPPROTO_UDP);
		expect_checksums(buf, n);
		cr_assert_eq(ip_parse(&v, buf, n), 0);
		cr_expect_eq(v.dport, 53);
		cr_expect_arr_eq(buf + v.l4 + 8, text, sizeof(text) - 1);
		close(udp);
		close(tcp);
	}
}

/* In a namespace behind ours, which becomes its router: 10.88.0.2. Sends a super-packet, and a SYN;
 * both leave with checksums still to be made.
 */
static void behind(int ready, int go)
{
	char data[100 * SEGMENTS] = {0};
	int size = 100;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
	char c;
	int fd;

	inet_pton(AF_INET, "10.77.2.9", &to.sin_addr);
	if (unshare(CLONE_NEWNET) < 0 || write(ready, "x", 1) != 1 || read(go, &c, 1) != 1)
		_exit(1);
	if (system("ip addr add 10.88.0.2/24 dev gnlt2 && ip link set gnlt2 up && "
	           "ip route add default via 10.88.0.1") != 0)
		_exit(2);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof(size)) < 0 ||
	    sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)) != sizeof(data))
		_exit(3);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno != EINPROGRESS)
		_exit(4);
	if (read(go, &c, 1) < 0)
		_exit(5);
	_exit(0);
}

Test(tun, forwarded_super_packets_come_split_and_with_whole_checksums)
{
	int fd = device_up(), ready[2], go[2], status;
	pid_t pid;
	char c;

	cr_assert(pipe(ready) == 0 && pipe(go) == 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		close(go[1]);
		behind(ready[1], go[0]);
	}
	cr_assert_eq(read(ready[0], &c, 1), 1);
	run("ip link add gnlt1 type veth peer name gnlt2 netns %d", (int)pid);
	run("ip addr add 10.88.0.1/24 dev gnlt1 && ip link set gnlt1 up");
	cr_assert_eq(link_sysctl("ipv4", "all", "forwarding", 1, NULL), 0);
	cr_assert_eq(write(go[1], "x", 1), 1);
	for (int i = 0; i < SEGMENTS; i++) {
		size_t n = next_packet(fd, 4, IPPROTO_UDP);

		cr_assert_eq(n, 20 + 8 + 100);
		expect_checksums(buf, n);
	}
	expect_checksums(buf, next_packet(fd, 4, IPPROTO_TCP));
	close(go[1]);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0, "exit %d", WEXITSTATUS(status));
}

/* A UDP packet from 10.77.2.9 port 53 to 10.77.1.1 port 4660. */
static size_t reply(uint8_t *p, const char *text)
{
	size_t n = 28 + strlen(text);
	struct ip_view v;

	memset(p, 0, 28);
	p[0] = 0x45;
	put_be16(p + 2, (uint16_t)n);
	p[8] = 64;
	p[9] = IPPROTO_UDP;
	put_be32(p + 12, 0x0a4d0209);
	put_be32(p + 16, 0x0a4d0101);
	put_be16(p + 10, fold(sum(0, p, 20)));
	put_be16(p + 20, 53);
	put_be16(p + 22, 4660);
	put_be16(p + 24, (uint16_t)(n - 20));
	memcpy(p + 28, text, strlen(text));
	cr_assert_eq(ip_parse(&v, p, n), 0);
	put_be16(p + 26, checksum(p, &v));
	return n;
}

static int receiver(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(4660)};
	struct timeval wait = {.tv_sec = WAIT_MS / 1000};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
	return fd;
}

Test(tun, a_written_packet_arrives_and_one_with_a_wrong_checksum_does_not)
{
	uint8_t packet[256], got[256];
	int fd = device_up(), in = receiver();
	size_t n;

	n = reply(packet, "forged");
	packet[28] ^= 1;
	cr_expect_eq(tun_write(fd, packet, n), 0, "the kernel judges later");
	n = reply(packet, "hello");
	cr_expect_eq(tun_write(fd, packet, n), 0);
	cr_assert_eq(recv(in, got, sizeof(got), 0), 5);
	cr_expect_arr_eq(got, "hello", 5);
}

Test(tun, two_queues_share_the_packets)
{
	int fd[2], seen = 0;

	fd[0] = device_up();
	cr_assert_eq(tun_attach(&fd[1], NAME), 0);
	for (int i = 0; i < 64; i++) {
		int udp = sender(AF_INET, SOCK_DGRAM, "10.77.2.9", 1000 + i);

		cr_assert_eq(send(udp, "x", 1, 0), 1);
		close(udp);
	}
	for (int i = 0; i < 2; i++) {
		struct ip_view v;
		ssize_t n;
		int here = 0;

		while ((n = tun_read(fd[i], buf, sizeof(buf))) >= 0) {
			cr_assert_eq(ip_parse(&v, buf, (size_t)n), 0);
			here += v.version == 4 && v.proto == IPPROTO_UDP;
		}
		cr_expect_eq(n, -EAGAIN);
		cr_expect_gt(here, 0, "queue %d", i);
		seen += here;
	}
	cr_expect_eq(seen, 64);
}

Test(tun, an_empty_device_says_so)
{
	int fd;

	cr_assert_eq(tun_create(NAME), 0);
	cr_assert_eq(tun_attach(&fd, NAME), 0);
	cr_expect_eq(tun_read(fd, buf, sizeof(buf)), -EAGAIN);
}

Test(tun, what_is_no_packet_is_refused)
{
	uint8_t junk[64] = {0x10};
	int fd = device_up();

	cr_expect_eq(tun_write(fd, junk, sizeof(junk)), -EINVAL);
	cr_expect_lt(tun_write(fd, junk, 0), 0);
	cr_expect_lt(tun_write(-1, junk, sizeof(junk)), 0);
	cr_expect_eq(tun_read(-1, junk, sizeof(junk)), -EBADF);
}

Test(tun, a_device_that_is_down_takes_nothing)
{
	uint8_t packet[256];
	size_t n = reply(packet, "x");
	int fd = device_up();

	run("ip link set " NAME " down");
	cr_expect_eq(tun_write(fd, packet, n), -EIO);
}

/* A stream of bytes in the device's stead: headers that offloads would bring. */
static ssize_t read_with(uint8_t flags, uint8_t gso, size_t len)
{
	uint8_t frame[TUN_VNET_LEN + 4] = {flags, gso, 0, 0, 0, 0, 0, 0, 0, 0, 0x45, 1, 2, 3};
	int pair[2];
	ssize_t n;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	cr_assert_eq(send(pair[0], frame, len, 0), (ssize_t)len);
	n = tun_read(pair[1], buf, sizeof(buf));
	if (n == 4)
		cr_expect_eq(buf[0], 0x45);
	close(pair[0]);
	close(pair[1]);
	return n;
}

Test(tun, frames_of_offloads_are_refused)
{
	cr_expect_eq(read_with(0, 0, TUN_VNET_LEN + 4), 4);
	cr_expect_eq(read_with(2, 0, TUN_VNET_LEN + 4), 4, "checksum already verified");
	cr_expect_eq(read_with(1, 0, TUN_VNET_LEN + 4), -EBADMSG, "checksum still to be made");
	for (unsigned gso = 1; gso < 256; gso++)
		cr_expect_eq(read_with(0, (uint8_t)gso, TUN_VNET_LEN + 4), -EBADMSG, "gso %u", gso);
	for (size_t n = 1; n < TUN_VNET_LEN; n++)
		cr_expect_eq(read_with(0, 0, n), -EBADMSG);
	cr_expect_eq(read_with(0, 0, TUN_VNET_LEN), 0);
}

/* -- offloads: two devices in two namespaces, and all that one brings written to the other -- */

#define STREAM    (4U << 20)
#define DATAGRAMS 40
#define ARENA     (1U << 20)

struct end {
	int tun, in;
	bool uso;
};

/* Pieces lie in the arena as records would bring them, one behind the other. */
struct relay {
	struct offload_merge m;
	bool open;
	struct iovec pieces[TUN_PIECES_MAX];
	unsigned n;
	size_t used;
	uint8_t arena[ARENA];
	unsigned supers, pieces_cut, merged; /* read, what they were cut into, written */
};

static struct relay relay;

/* Enters a namespace of its own; the listening socket keeps it. */
static struct end end_make(const char *v4, const char *v6)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(4660)};
	struct end e;
	int index, off = 0;

	link_free(l);
	cr_assert_eq(unshare(CLONE_NEWNET), 0);
	cr_assert_eq(link_new(&l), 0);
	cr_assert_eq(link_up(l, 1, 0), 0);
	cr_assert_eq(tun_create(NAME), 0);
	cr_assert_eq(tun_attach(&e.tun, NAME), 0);
	cr_assert_eq(tun_offloads_on(e.tun, &e.uso), 0);
	index = link_index(l, NAME);
	cr_assert_eq(link_up(l, index, 1420), 0);
	add_net(index, v4, "10.77.0.0/16");
	add_net(index, v6, "fd77::/16");
	e.in = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	cr_assert_eq(setsockopt(e.in, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)), 0);
	cr_assert_eq(bind(e.in, (struct sockaddr *)&any, sizeof(any)), 0);
	cr_assert_eq(listen(e.in, 4), 0);
	return e;
}

static void relay_end(int to)
{
	struct offload_hdr h;

	if (!relay.open)
		return;
	offload_merge_end(&relay.m, &h);
	cr_assert_eq(tun_writev(to, &h, relay.pieces, relay.n), 0);
	relay.merged += h.gso_type != OFFLOAD_GSO_NONE;
	relay.open = false;
}

static uint8_t *relay_append(const uint8_t *data, size_t len)
{
	uint8_t *at = relay.arena + relay.used;

	cr_assert(relay.used + len <= ARENA && relay.n < TUN_PIECES_MAX);
	memcpy(at, data, len);
	relay.pieces[relay.n++] = (struct iovec){at, len};
	relay.used += len;
	return at;
}

static void relay_piece(const uint8_t *data, size_t len, bool partial, int to)
{
	size_t header = relay.m.header_len;
	struct ip_view v;

	cr_assert_eq(ip_parse(&v, data, len), 0);
	cr_assert_eq(v.total, len);
	if (relay.open && offload_merge_add(&relay.m, data, &v, partial)) {
		relay_append(data + header, len - header);
		return;
	}
	relay_end(to);
	relay.n = 0;
	relay.used = 0;
	relay.open = true;
	offload_merge_start(&relay.m, relay_append(data, len), &v, partial);
}

/* All that the device has, to the other. */
static void relay_all(int from, int to)
{
	struct offload_hdr h;
	struct offload_cut c;
	struct ip_view v;
	uint8_t *p;
	bool partial;
	size_t len;
	ssize_t n;

	while ((n = tun_readv(from, &h, buf, sizeof(buf))) >= 0) {
		cr_assert_eq(ip_parse(&v, buf, (size_t)n), 0);
		cr_assert_eq(v.total, n);
		cr_assert_eq(offload_cut_start(&c, buf, &v, &h), 0);
		relay.supers += h.gso_type != OFFLOAD_GSO_NONE;
		while (offload_cut_next(&c, &p, &len, &partial)) {
			relay_piece(p, len, partial, to);
			relay.pieces_cut += h.gso_type != OFFLOAD_GSO_NONE;
		}
	}
	cr_assert_eq(n, -EAGAIN);
	relay_end(to);
}

static uint8_t stream_byte(size_t at)
{
	return (uint8_t)((at * 2654435761U) >> 11);
}

static void stream_send(int fd, size_t *sent)
{
	static uint8_t out[65536];
	ssize_t n;

	if (*sent == STREAM)
		return;
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = stream_byte(*sent + i);
	n = send(fd, out, STREAM - *sent < sizeof(out) ? STREAM - *sent : sizeof(out), 0);
	cr_assert(n > 0 || errno == EAGAIN || errno == ENOTCONN);
	*sent += n > 0 ? (size_t)n : 0;
}

static void stream_receive(int fd, size_t *got)
{
	static uint8_t in[65536];
	ssize_t n;

	while ((n = recv(fd, in, sizeof(in), 0)) > 0) {
		for (ssize_t i = 0; i < n; i++, ++*got)
			cr_assert_eq(in[i], stream_byte(*got), "byte %zu", *got);
	}
}

Test(tun, tcp_goes_through_super_packets_unchanged)
{
	static const int families[] = {AF_INET, AF_INET6};
	static const char *const hosts[] = {"10.77.1.1", "fd77:1::1"};
	struct end a = end_make("10.77.1.1/32", "fd77:1::1/128");
	struct end b = end_make("10.77.2.1/32", "fd77:2::1/128");

	for (int i = 0; i < 2; i++) {
		struct pollfd p[2] = {{a.tun, POLLIN, 0}, {b.tun, POLLIN, 0}};
		int out = sender(families[i], SOCK_STREAM, hosts[i], 4660), in = -1;
		size_t sent = 0, got = 0;

		relay.supers = relay.pieces_cut = relay.merged = 0;
		while (got < STREAM) {
			cr_assert_gt(poll(p, 2, WAIT_MS), 0, "%zu of %zu bytes came", got, sent);
			relay_all(b.tun, a.tun);
			relay_all(a.tun, b.tun);
			stream_send(out, &sent);
			if (in < 0)
				in = accept4(a.in, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
			if (in >= 0)
				stream_receive(in, &got);
		}
		cr_expect_gt(relay.supers, 0, "the kernel sent some");
		cr_expect_gt(relay.pieces_cut, 3 * relay.supers, "and long ones");
		cr_expect_gt(relay.merged, 0, "and took some");
		cr_expect_lt(2 * relay.merged, relay.pieces_cut, "long ones too");
		close(in);
		close(out);
	}
}

Test(tun, datagrams_go_through_super_packets_one_by_one)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(53)};
	int size = 101, in, out;
	static uint8_t data[101 * DATAGRAMS - 50], got[256];
	struct end a = end_make("10.77.1.1/32", "fd77:1::1/128"), b;
	size_t at = 0;
	ssize_t n;

	in = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(in, (struct sockaddr *)&to, sizeof(to)), 0);
	b = end_make("10.77.2.1/32", "fd77:2::1/128");
	if (!a.uso)
		cr_skip("needs Linux 6.2");
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = stream_byte(i);
	out = sender(AF_INET6, SOCK_DGRAM, "fd77:1::1", 53);
	cr_assert_eq(setsockopt(out, SOL_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	cr_assert_eq(send(out, data, sizeof(data), 0), (ssize_t)sizeof(data));
	/* The kernel may bring it a moment later: its queue may be at work on another processor. */
	while (at < sizeof(data)) {
		struct pollfd p[2] = {{b.tun, POLLIN, 0}, {in, POLLIN, 0}};
		size_t rest = sizeof(data) - at < 101 ? sizeof(data) - at : 101;

		cr_assert_gt(poll(p, 2, WAIT_MS), 0, "%zu of %zu bytes came", at, sizeof(data));
		relay_all(b.tun, a.tun);
		n = recv(in, got, sizeof(got), 0);
		if (n < 0 && errno == EAGAIN)
			continue;
		cr_assert_eq(n, (ssize_t)rest);
		cr_assert_arr_eq(got, data + at, rest);
		at += rest;
	}
	cr_expect_lt(recv(in, got, sizeof(got), 0), 0, "and no more");
	cr_expect_gt(relay.merged, 0, "the kernel took them as one");
}

Test(tun, too_many_pieces_are_refused)
{
	static const struct offload_hdr none;
	static struct iovec pieces[TUN_PIECES_MAX + 1];

	cr_expect_eq(tun_writev(-1, &none, pieces, TUN_PIECES_MAX + 1), -E2BIG);
	cr_expect_eq(tun_writev(-1, &none, pieces, TUN_PIECES_MAX), -EBADF);
}

Test(tun, offloads_are_of_a_device)
{
	int fd = open_raw();
	bool uso;

	cr_expect_lt(tun_offloads_on(fd, &uso), 0, "attached to none");
	cr_expect_eq(tun_offloads_on(-1, &uso), -EBADF);
}
