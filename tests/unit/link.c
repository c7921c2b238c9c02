/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Each test has a network namespace of its own, which ends with it. What was done is looked at with
 * ip(8), which knows nothing of ours.
 */
#include "tun/link.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct link *l;
static char output[1 << 20];

/* The output of ip(8); "" also if it failed. */
__attribute__((format(printf, 1, 2))) static const char *ip(const char *form, ...)
{
	char command[256];
	va_list args;
	size_t n;
	FILE *f;

	n = (size_t)snprintf(command, sizeof(command), "ip ");
	va_start(args, form);
	vsnprintf(command + n, sizeof(command) - n, form, args);
	va_end(args);
	f = popen(command, "r");
	cr_assert(f, "popen");
	n = fread(output, 1, sizeof(output) - 1, f);
	output[n] = '\0';
	pclose(f);
	return output;
}

#define SHOWS(part, ...)                                                           \
	do {                                                                       \
		ip(__VA_ARGS__);                                                   \
		cr_expect(strstr(output, part), "no \"%s\" in: %s", part, output); \
	} while (0)
#define SHOWS_NOT(part, ...)                                                        \
	do {                                                                        \
		ip(__VA_ARGS__);                                                    \
		cr_expect_not(strstr(output, part), "\"%s\" in: %s", part, output); \
	} while (0)

static struct prefix net(const char *text)
{
	const char *slash = strchr(text, '/');
	struct prefix p;
	char addr[64] = "";

	memcpy(addr, text, (size_t)(slash - text));
	cr_assert_eq(addr_parse(&p.addr, addr), 0, "%s", text);
	p.len = (uint8_t)atoi(slash + 1);
	return p;
}

static struct addr addr(const char *text)
{
	struct addr a;

	cr_assert_eq(addr_parse(&a, text), 0, "%s", text);
	return a;
}

static void enter(void)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
		cr_skip("needs root and network namespaces");
	cr_assert_eq(link_new(&l), 0);
	cr_assert_eq(link_up(l, 1, 0), 0); /* lo carries IPv6's unreachable routes */
}

static void leave(void)
{
	link_free(l);
}

/* A device that leads nowhere: the near end of a pair. */
static int dummy(const char *name)
{
	int index;

	ip("link add %s type veth peer name %s-far", name, name);
	ip("link set %s-far up", name);
	index = link_index(l, name);
	cr_assert_gt(index, 0);
	cr_assert_eq(link_up(l, index, 0), 0);
	return index;
}

/* What a sender is told. */
static int send_to(const char *text)
{
	struct addr a = addr(text);
	struct sockaddr_in six4 = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct sockaddr_in6 six6 = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
	int fd = socket(a.family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	cr_assert_geq(fd, 0);
	memcpy(&six4.sin_addr, a.b, 4);
	memcpy(&six6.sin6_addr, a.b, 16);
	err = a.family == 4 ? connect(fd, (struct sockaddr *)&six4, sizeof(six4))
	                    : connect(fd, (struct sockaddr *)&six6, sizeof(six6));
	err = err < 0 ? -errno : 0;
	close(fd);
	return err;
}

TestSuite(link, .init = enter, .fini = leave, .timeout = 30);

Test(link, names_of_interfaces_are_checked)
{
	static const char *const good[] = {"lo",        "ginnel0", "a",  "fifteen-letters",
	                                   "v1.2_3@4+", "all",     "..."};
	static const char *const bad[] = {"",    ".",    "..",   "sixteen-letters!",
	                                  "a/b", "../x", "a b",  "tun%d",
	                                  "a:b", "a\n",  "\x7f", "é"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		cr_expect(link_name_ok(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_expect_not(link_name_ok(bad[i]), "%s", bad[i]);
		cr_expect_eq(link_index(l, bad[i]), -EINVAL, "%s", bad[i]);
	}
}

Test(link, a_device_is_found_by_its_name)
{
	cr_expect_eq(link_index(l, "lo"), 1);
	cr_expect_eq(link_index(l, "gnlt0"), -ENODEV);
	cr_expect_gt(dummy("gnlt0"), 1);
}

Test(link, up_sets_the_mtu_and_the_flag)
{
	int index;

	ip("link add gnlt0 type veth peer name gnlt1");
	index = link_index(l, "gnlt0");
	cr_expect_eq(link_is_up(l, index), 0);
	cr_expect_eq(link_up(l, index, 1420), 0);
	cr_expect_eq(link_is_up(l, index), 1);
	SHOWS("mtu 1420", "link show gnlt0");
	SHOWS(",UP", "link show gnlt0");
	cr_expect_eq(link_up(l, index, 0), 0);
	SHOWS("mtu 1420", "link show gnlt0");
	cr_expect_eq(link_up(l, index, 7), -EINVAL, "too small for the kernel");
	cr_expect_eq(link_up(l, 9999, 1420), -ENODEV);
	cr_expect_eq(link_is_up(l, 9999), -ENODEV);
}

Test(link, a_device_is_removed_once_or_more)
{
	int index = dummy("gnlt0");

	cr_expect_eq(link_del(l, index), 0);
	cr_expect_eq(link_index(l, "gnlt0"), -ENODEV);
	cr_expect_eq(link_del(l, index), 0);
}

Test(link, what_is_no_tun_is_known)
{
	struct link_tun t;

	dummy("gnlt0");
	cr_expect_eq(link_tun(l, "gnlt0", &t), -ENOTTY);
	cr_expect_eq(link_tun(l, "lo", &t), -ENOTTY);
	cr_expect_eq(link_tun(l, "gnlt1", &t), -ENODEV);
}

Test(link, addresses_are_added_and_removed_once_or_more)
{
	static const char *const all[] = {"10.77.1.1/32", "10.77.1.2/24", "fd77::1/128",
	                                  "fd77:1::1/64"};
	int index = dummy("gnlt0");

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct prefix p = net(all[i]);

		cr_expect_eq(link_addr_stands(l, index, &p), 0, "%s", all[i]);
		cr_expect_eq(link_addr_add(l, index, &p), 0, "%s", all[i]);
		cr_expect_eq(link_addr_add(l, index, &p), 0, "%s", all[i]);
		cr_expect_eq(link_addr_stands(l, index, &p), 1, "%s", all[i]);
		cr_expect_eq(link_addr_stands(l, 1, &p), 0, "on another device: %s", all[i]);
		SHOWS(all[i], "addr show dev gnlt0");
		SHOWS("scope global", "addr show dev gnlt0 to %s", all[i]);
		cr_expect_eq(link_addr_del(l, index, &p), 0, "%s", all[i]);
		cr_expect_eq(link_addr_del(l, index, &p), 0, "%s", all[i]);
		SHOWS_NOT(all[i], "addr show dev gnlt0");
	}
}

Test(link, an_ipv6_address_can_be_used_at_once)
{
	struct prefix p = net("fd77::1/128");
	int index = dummy("gnlt0");

	cr_assert_eq(link_addr_add(l, index, &p), 0);
	SHOWS("nodad", "addr show dev gnlt0");
	SHOWS_NOT("tentative", "addr show dev gnlt0 to fd77::1");
}

Test(link, the_same_address_with_another_length_is_not_taken_for_it)
{
	struct prefix p = net("fd77::1/64"), q = net("fd77::1/128");
	int index = dummy("gnlt0");

	cr_assert_eq(link_addr_add(l, index, &p), 0);
	cr_expect_eq(link_addr_stands(l, index, &q), 0);
	cr_expect_eq(link_addr_add(l, index, &q), -EEXIST);
}

Test(link, an_address_on_no_device_is_an_error_and_removing_it_is_none)
{
	struct prefix p = net("10.77.1.1/32");

	cr_expect_eq(link_addr_add(l, 9999, &p), -ENODEV);
	cr_expect_eq(link_addr_del(l, 9999, &p), 0);
	cr_expect_eq(link_addr_stands(l, 9999, &p), 0);
}

static void route_once_or_more(const char *text, const char *src, uint32_t metric,
                               const char *shows)
{
	struct prefix dst = net(text);
	struct addr a;
	int index = link_index(l, "gnlt0");

	if (src)
		a = addr(src);
	cr_expect_eq(link_route_stands(l, index, &dst, metric), 0, "%s", text);
	cr_expect_eq(link_route_add(l, index, &dst, src ? &a : NULL, metric), 0, "%s", text);
	cr_expect_eq(link_route_add(l, index, &dst, src ? &a : NULL, metric), 0, "%s", text);
	cr_expect_eq(link_route_stands(l, index, &dst, metric), 1, "%s", text);
	cr_expect_eq(link_route_stands(l, index, &dst, metric + 1), 0, "%s", text);
	cr_expect_eq(link_route_stands(l, 1, &dst, metric), 0, "%s", text);
	cr_expect_eq(link_route_stands(l, 0, &dst, metric), 0, "%s", text);
	SHOWS(shows, "-%d route show", dst.addr.family);
	cr_expect_eq(link_route_del(l, index, &dst, metric), 0, "%s", text);
	cr_expect_eq(link_route_del(l, index, &dst, metric), 0, "%s", text);
	SHOWS_NOT(shows, "-%d route show", dst.addr.family);
}

Test(link, routes_are_added_and_removed_once_or_more)
{
	struct prefix p = net("10.77.1.1/32"), q = net("fd77::1/128");
	int index = dummy("gnlt0");

	cr_assert_eq(link_addr_add(l, index, &p), 0);
	cr_assert_eq(link_addr_add(l, index, &q), 0);
	route_once_or_more("10.77.0.0/16", "10.77.1.1", 0,
	                   "10.77.0.0/16 dev gnlt0 proto 177 scope link src 10.77.1.1 \n");
	route_once_or_more("10.80.0.0/14", NULL, 50,
	                   "10.80.0.0/14 dev gnlt0 proto 177 scope link metric 50 \n");
	route_once_or_more("0.0.0.0/0", NULL, 7,
	                   "default dev gnlt0 proto 177 scope link metric 7 \n");
	route_once_or_more("fd77::/48", "fd77::1", 0,
	                   "fd77::/48 dev gnlt0 proto 177 src fd77::1 metric 1024 pref medium\n");
	route_once_or_more("fd80::/48", NULL, 50,
	                   "fd80::/48 dev gnlt0 proto 177 metric 50 pref medium\n");
	route_once_or_more("::/0", NULL, 7, "default dev gnlt0 proto 177 metric 7 pref medium\n");
}

static void unreachable_once_or_more(const char *text, const char *inside, const char *shows)
{
	struct prefix dst = net(text);

	cr_expect_eq(link_route_stands(l, 0, &dst, LINK_METRIC_LAST), 0, "%s", text);
	cr_expect_eq(link_unreachable_add(l, &dst, LINK_METRIC_LAST), 0, "%s", text);
	cr_expect_eq(link_unreachable_add(l, &dst, LINK_METRIC_LAST), 0, "%s", text);
	cr_expect_eq(link_route_stands(l, 0, &dst, LINK_METRIC_LAST), 1, "%s", text);
	cr_expect_eq(link_route_stands(l, 0, &dst, 1), 0, "%s", text);
	SHOWS(shows, "-%d route show", dst.addr.family);
	cr_expect_eq(send_to(inside), -EHOSTUNREACH, "%s", inside);
	cr_expect_eq(link_unreachable_del(l, &dst, LINK_METRIC_LAST), 0, "%s", text);
	cr_expect_eq(link_unreachable_del(l, &dst, LINK_METRIC_LAST), 0, "%s", text);
	cr_expect_eq(link_route_stands(l, 0, &dst, LINK_METRIC_LAST), 0, "%s", text);
	cr_expect_eq(send_to(inside), -ENETUNREACH, "%s", inside);
}

Test(link, unreachable_routes_are_added_and_removed_once_or_more)
{
	unreachable_once_or_more("10.77.0.0/16", "10.77.2.9",
	                         "unreachable 10.77.0.0/16 proto 177 metric 4294967295 \n");
	unreachable_once_or_more("fd77::/48", "fd77::9",
	                         "unreachable fd77::/48 dev lo proto 177 metric 4294967295 ");
}

/* The two of them are what a dead daemon relies on: see gateway/privsep/guard. */
Test(link, an_unreachable_route_takes_over_when_the_device_is_gone)
{
	static const char *const nets[] = {"10.77.0.0/16", "fd77::/48"};
	static const char *const hosts[] = {"10.77.2.9", "fd77::9"};
	int index = dummy("gnlt0");

	for (int i = 0; i < 2; i++) {
		struct prefix dst = net(nets[i]), own = net(i ? "fd77::1/128" : "10.77.1.1/32");

		cr_assert_eq(link_unreachable_add(l, &dst, LINK_METRIC_LAST), 0);
		cr_assert_eq(link_addr_add(l, index, &own), 0);
		cr_assert_eq(link_route_add(l, index, &dst, &own.addr, 0), 0);
		cr_expect_eq(send_to(hosts[i]), 0, "the device comes first");
	}
	cr_assert_eq(link_del(l, index), 0);
	for (int i = 0; i < 2; i++) {
		struct prefix dst = net(nets[i]);

		cr_expect_eq(send_to(hosts[i]), -EHOSTUNREACH);
		cr_expect_eq(link_route_stands(l, 0, &dst, LINK_METRIC_LAST), 1);
		cr_expect_eq(link_route_stands(l, index, &dst, 0), 0);
		cr_expect_eq(link_route_del(l, index, &dst, 0), 0, "went with the device");
		cr_expect_eq(link_route_stands(l, 0, &dst, LINK_METRIC_LAST), 1);
	}
}

Test(link, an_unreachable_route_goes_and_the_one_through_a_device_stays)
{
	struct prefix dst = net("fd77::/48");
	int index = dummy("gnlt0");

	cr_assert_eq(link_route_add(l, index, &dst, NULL, 5), 0);
	cr_expect_eq(link_unreachable_del(l, &dst, 5), 0);
	cr_expect_eq(link_route_stands(l, index, &dst, 5), 1);
}

Test(link, the_route_of_another_is_replaced_but_never_removed)
{
	static const char *const nets[] = {"10.77.0.0/16", "fd77::/48"};
	int index = dummy("gnlt0");

	dummy("gnlt1");
	for (int i = 0; i < 2; i++) {
		struct prefix dst = net(nets[i]);

		ip("route add %s dev gnlt0 metric 9", nets[i]);
		cr_expect_eq(link_route_del(l, index, &dst, 9), 0);
		cr_expect_eq(link_route_stands(l, index, &dst, 9), 1, "%s is not ours", nets[i]);
		ip("route replace %s dev gnlt1 metric 9", nets[i]);
		cr_expect_eq(link_route_stands(l, index, &dst, 9), 0);
		cr_expect_eq(link_route_add(l, index, &dst, NULL, 9), 0);
		cr_expect_eq(link_route_stands(l, index, &dst, 9), 1);
		SHOWS_NOT("gnlt1", "-%d route show %s", dst.addr.family, nets[i]);
		ip("route add unreachable %s metric 10", nets[i]);
		cr_expect_eq(link_unreachable_del(l, &dst, 10), 0);
		cr_expect_eq(link_route_stands(l, 0, &dst, 10), 1, "%s is not ours", nets[i]);
	}
}

Test(link, a_route_is_looked_for_in_the_main_table_alone)
{
	struct prefix dst = net("10.77.0.0/16");
	int index = dummy("gnlt0");

	ip("route add 10.77.0.0/16 dev gnlt0 metric 9 table 100");
	cr_expect_eq(link_route_stands(l, index, &dst, 9), 0);
	ip("route add 10.77.0.0/16 dev gnlt0 metric 9 tos 8");
	cr_expect_eq(link_route_stands(l, index, &dst, 9), 0, "some packets only");
}

Test(link, routes_through_no_device_are_errors)
{
	struct prefix dst = net("10.77.0.0/16");
	struct addr foreign = addr("10.77.1.1");
	int index = dummy("gnlt0");

	cr_expect_eq(link_route_add(l, 9999, &dst, NULL, 0), -ENODEV);
	cr_expect_lt(link_route_add(l, index, &dst, &foreign, 0), 0, "a source we do not have");
}

/* More than one part of a dump. */
Test(link, a_route_is_found_among_many)
{
	struct prefix dst = net("10.77.0.0/32"), own = net("10.99.0.0/32"), last;
	int index = dummy("gnlt0");

	for (int i = 0; i < 1000; i++) {
		dst.addr.b[2] = (uint8_t)(i >> 8);
		dst.addr.b[3] = own.addr.b[3] = (uint8_t)i;
		own.addr.b[2] = (uint8_t)(i >> 8);
		cr_assert_eq(link_unreachable_add(l, &dst, 1), 0);
		cr_assert_eq(link_addr_add(l, index, &own), 0);
	}
	last = dst;
	cr_expect_eq(link_route_stands(l, 0, &last, 1), 1);
	cr_expect_eq(link_addr_stands(l, index, &own), 1);
	last.addr.b[0] = 11;
	cr_expect_eq(link_route_stands(l, 0, &last, 1), 0);
	own.addr.b[0] = 11;
	cr_expect_eq(link_addr_stands(l, index, &own), 0);
}

static void expect_source(const char *dst, const char *want)
{
	struct addr to = addr(dst), from, expected = addr(want);
	char text[ADDR_TEXT_MAX];

	cr_assert_eq(link_source(l, &to, &from), 0, "%s", dst);
	addr_format(&from, text);
	cr_expect(addr_equal(&from, &expected), "%s: %s", dst, text);
}

Test(link, the_source_is_what_the_kernel_would_take)
{
	struct prefix four = net("10.9.0.1/24"), six = net("fd09::1/64"), own = net("10.77.1.1/32");
	struct prefix overlay = net("10.77.0.0/16"), dead = net("10.80.0.0/14"),
		      dead6 = net("fd80::/48");
	struct addr to, from;
	int index = dummy("gnlt0");

	to = addr("10.9.0.2");
	cr_expect_eq(link_source(l, &to, &from), -ENETUNREACH);
	to = addr("fd09::2");
	cr_expect_eq(link_source(l, &to, &from), -ENETUNREACH);
	cr_assert_eq(link_addr_add(l, index, &four), 0);
	cr_assert_eq(link_addr_add(l, index, &six), 0);
	cr_assert_eq(link_addr_add(l, index, &own), 0);
	cr_assert_eq(link_route_add(l, index, &overlay, &own.addr, 0), 0);
	expect_source("10.9.0.2", "10.9.0.1");
	expect_source("fd09::2", "fd09::1");
	expect_source("10.77.2.9", "10.77.1.1");
	expect_source("10.9.0.1", "10.9.0.1");
	expect_source("fd09::1", "fd09::1");
	cr_assert_eq(link_unreachable_add(l, &dead, LINK_METRIC_LAST), 0);
	cr_assert_eq(link_unreachable_add(l, &dead6, LINK_METRIC_LAST), 0);
	to = addr("10.80.0.1");
	cr_expect_eq(link_source(l, &to, &from), -ENETUNREACH);
	to = addr("fd80::1");
	cr_expect_eq(link_source(l, &to, &from), -ENETUNREACH);
	ip("route add blackhole 10.84.0.0/14");
	ip("route add prohibit 10.88.0.0/14");
	to = addr("10.84.0.1");
	cr_expect_eq(link_source(l, &to, &from), -ENETUNREACH);
	to = addr("10.88.0.1");
	cr_expect_eq(link_source(l, &to, &from), -ENETUNREACH);
}

Test(link, a_sysctl_is_written_and_the_old_value_told)
{
	int old = -1;

	dummy("gnlt0");
	cr_expect_eq(link_sysctl("ipv4", "gnlt0", "ignore_routes_with_linkdown", 1, &old), 0);
	cr_expect_eq(old, 0);
	cr_expect_eq(link_sysctl("ipv4", "gnlt0", "ignore_routes_with_linkdown", 1, &old), 0);
	cr_expect_eq(old, 1);
	cr_expect_eq(link_sysctl("ipv6", "gnlt0", "keep_addr_on_down", -1, NULL), 0);
	cr_expect_eq(link_sysctl("ipv6", "gnlt0", "keep_addr_on_down", 1, &old), 0);
	cr_expect_eq(old, -1);
	cr_expect_eq(link_sysctl("ipv4", "all", "forwarding", 1, &old), 0);
}

Test(link, a_sysctl_is_no_way_to_another_file)
{
	static const char *const bad_names[] = {"..", ".", "", "../lo", "lo/../all", "gnl%d"};
	static const char *const bad_keys[] = {"",    "..",   "../lo/mtu", "mtu/",
	                                       "Mtu", "mtu ", "mtu.x"};
	int old = 7;

	for (size_t i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++)
		cr_expect_eq(link_sysctl("ipv6", bad_names[i], "mtu", 1, &old), -EINVAL);
	for (size_t i = 0; i < sizeof(bad_keys) / sizeof(bad_keys[0]); i++)
		cr_expect_eq(link_sysctl("ipv6", "lo", bad_keys[i], 1, &old), -EINVAL);
	cr_expect_eq(link_sysctl("ipv5", "lo", "mtu", 1, &old), -EINVAL);
	cr_expect_eq(link_sysctl("../ipv4", "lo", "mtu", 1, &old), -EINVAL);
	cr_expect_eq(link_sysctl("ipv4", "gnlt9", "forwarding", 1, &old), -ENOENT);
	cr_expect_eq(link_sysctl("ipv4", "lo", "no_such_key", 1, &old), -ENOENT);
	cr_expect_eq(old, 7);
}

Test(link, a_socket_outlives_errors)
{
	struct prefix p = net("10.77.0.0/16");

	for (int i = 0; i < 50; i++) {
		cr_expect_eq(link_route_add(l, 9999, &p, NULL, 0), -ENODEV);
		cr_expect_eq(link_index(l, "gnlt9"), -ENODEV);
		cr_expect_eq(link_index(l, "lo"), 1);
	}
	link_free(NULL);
}
