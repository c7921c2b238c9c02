/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/steer.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define N 4

/* A group of N sockets for both families, and one that sends to it. */
struct group {
	int fd[N], from;
	struct sockaddr_in6 to;
};

static void open_group(struct group *g, const char *to)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	socklen_t len = sizeof(any);
	int one = 1, zero = 0;

	for (int i = 0; i < N; i++) {
		g->fd[i] = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
		cr_assert_geq(g->fd[i], 0);
		setsockopt(g->fd[i], IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
		setsockopt(g->fd[i], IPPROTO_UDP, UDP_GRO, &one, sizeof(one));
		cr_assert_eq(setsockopt(g->fd[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
		cr_assert_eq(bind(g->fd[i], (struct sockaddr *)&any, sizeof(any)), 0);
		cr_assert_eq(getsockname(g->fd[i], (struct sockaddr *)&any, &len), 0);
	}
	g->from = socket(AF_INET6, SOCK_DGRAM, 0);
	setsockopt(g->from, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	g->to = any;
	cr_assert_eq(inet_pton(AF_INET6, to, &g->to.sin6_addr), 1);
	cr_assert_eq(steer_attach(g->fd[0], N), 0);
}

static void close_group(struct group *g)
{
	for (int i = 0; i < N; i++)
		close(g->fd[i]);
	close(g->from);
}

/* At which socket it came out. */
static int goes_to(const struct group *g, const void *data, size_t len)
{
	struct pollfd fds[N];
	uint8_t buf[65536];

	cr_assert_eq(sendto(g->from, data, len, 0, (const struct sockaddr *)&g->to, sizeof(g->to)),
	             (ssize_t)len);
	for (int i = 0; i < N; i++)
		fds[i] = (struct pollfd){.fd = g->fd[i], .events = POLLIN};
	cr_assert_eq(poll(fds, N, 1000), 1);
	for (int i = 0; i < N; i++)
		if (fds[i].revents) {
			cr_assert_eq(recv(g->fd[i], buf, sizeof(buf), 0), (ssize_t)len);
			return i;
		}
	return -1;
}

ParameterizedTestParameters(steer, by_connection_id)
{
	static char to[][32] = {"::1", "::ffff:127.0.0.1"};

	return cr_make_param_array(char[32], to, 2);
}
ParameterizedTest(char (*to)[32], steer, by_connection_id)
{
	struct group g;

	open_group(&g, *to);
	for (uint8_t w = 0; w < N; w++)
		for (uint8_t first = 0x30; first < 0x40; first++) /* 0 0 1 C S L E E with C */
			cr_expect_eq(goes_to(&g, (uint8_t[]){first, w, 1, 2, 3, 4, 5}, 7), w);
	close_group(&g);
}

Test(steer, what_names_no_worker_goes_to_the_first)
{
	static const uint8_t hello[] = {22, 0xfe, 0xfd, 3, 3, 3};
	struct group g;

	open_group(&g, "::1");
	cr_expect_eq(goes_to(&g, hello, sizeof(hello)), 0);
	cr_expect_eq(goes_to(&g, (uint8_t[]){0x2c, 2, 2, 2}, 4), 0, "unified, without an id");
	cr_expect_eq(goes_to(&g, (uint8_t[]){0x70, 2, 2, 2}, 4), 0, "not unified");
	cr_expect_eq(goes_to(&g, (uint8_t[]){0x38, N, 2, 2}, 4), 0, "of a worker that is not");
	cr_expect_eq(goes_to(&g, (uint8_t[]){0x38, 255, 2, 2}, 4), 0);
	cr_expect_eq(goes_to(&g, (uint8_t[]){0x38}, 1), 0, "cut");
	cr_expect_eq(goes_to(&g, "", 0), 0, "empty");
	close_group(&g);
}

/* The kernel keeps together what came together, whosever it is: the others are for the owner to sort. */
Test(steer, a_run_goes_where_its_first_datagram_belongs)
{
	uint8_t run[3 * 100] = {0};
	int size = 100;
	struct group g;

	for (uint8_t i = 0; i < 3; i++) {
		run[i * 100] = 0x38;
		run[i * 100 + 1] = 3 - i;
	}
	open_group(&g, "::1");
	cr_assert_eq(setsockopt(g.from, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	cr_expect_eq(goes_to(&g, run, sizeof(run)), 3);
	close_group(&g);
}

static struct ip_view view(const char *src, const char *dst, uint8_t proto, uint16_t s, uint16_t d)
{
	struct ip_view v = {.proto = proto, .sport = s, .dport = d};

	cr_assert_eq(addr_parse(&v.src, src), 0);
	cr_assert_eq(addr_parse(&v.dst, dst), 0);
	return v;
}

static void same(struct ip_view a, struct ip_view b)
{
	cr_expect_eq(steer_flow(&a), steer_flow(&b));
}

Test(steer, both_directions_of_a_flow_are_one)
{
	same(view("10.1.0.1", "10.2.0.1", 6, 5, 80), view("10.2.0.1", "10.1.0.1", 6, 80, 5));
	same(view("fd00::1", "fd00::2", 17, 5, 53), view("fd00::2", "fd00::1", 17, 53, 5));
	same(view("10.1.0.1", "10.2.0.1", 1, 0x800, 0), view("10.2.0.1", "10.1.0.1", 1, 0, 0));
}

Test(steer, fragments_of_a_packet_stay_together)
{
	struct ip_view first = view("10.1.0.1", "10.2.0.1", 17, 5, 6);
	struct ip_view later = view("10.1.0.1", "10.2.0.1", 17, 0, 0);

	first.fragment = later.fragment = true;
	same(first, later);
}

Test(steer, flows_spread)
{
	unsigned n[N] = {0};

	for (uint16_t port = 1000; port < 2000; port++) {
		struct ip_view v = view("10.1.0.1", "10.2.0.1", 6, port, 80);

		n[steer_flow(&v) % N]++;
	}
	for (int i = 0; i < N; i++)
		cr_expect(n[i] > 200 && n[i] < 300, "%u", n[i]);
}
