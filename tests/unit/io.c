/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/io.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A socketpair in the device's stead, loopback UDP in the network's. */
struct bench {
	struct io io;
	struct counters counters;
	int tun, udp[2];       /* the far ends */
	struct udp_path to[2]; /* to each of those */
	int other_tun;         /* of a queue that another worker reads */
	int queues[2], udp_own[UDP_SOCKETS];
};

static int udp_bound(struct endpoint *at)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), big = 4 << 20;

	cr_assert_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
	endpoint_parse(at, "127.0.0.1", ntohs(in.sin_port));
	return fd;
}

static struct bench *bench_new(bool ringed)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct io_files files = {.queues = b->queues, .nqueues = 2};
	struct endpoint own;
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), 0);
	b->tun = pair[0];
	b->queues[0] = pair[1];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), 0);
	b->other_tun = pair[0];
	b->queues[1] = pair[1];
	for (int i = 0; i < UDP_SOCKETS; i++)
		files.udp[i] = b->udp_own[i] = udp_bound(&own);
	for (int i = 0; i < 2; i++)
		b->udp[i] = udp_bound(&b->to[i].remote);
	cr_assert_eq(io_init(&b->io, &files, &b->counters), 0);
	if (ringed && !b->io.ringed)
		cr_skip_test("io_uring is forbidden here");
	if (!ringed && b->io.ringed) {
		ring_clear(&b->io.ring);
		b->io.ringed = false;
	}
	return b;
}

static void bench_free(struct bench *b)
{
	io_clear(&b->io);
	close(b->tun);
	close(b->other_tun);
	close(b->queues[0]);
	close(b->queues[1]);
	close(b->udp_own[0]);
	close(b->udp_own[1]);
	close(b->udp[0]);
	close(b->udp[1]);
	free(b);
}

static void place(struct bench *b, unsigned to, size_t size, uint8_t fill)
{
	memset(io_place(&b->io, &b->to[to], size), fill, size);
	io_placed(&b->io, size, 1);
}

static ssize_t came(int fd, uint8_t *buf, size_t max)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 100) == 1 ? recv(fd, buf, max, MSG_DONTWAIT) : -EAGAIN;
}

static uint64_t get(_Atomic uint64_t *c)
{
	return atomic_load(c);
}

/* With io_uring, and without. */
#define BOTH_WAYS(name)                                    \
	ParameterizedTestParameters(io, name)              \
	{                                                  \
		static bool ways[] = {true, false};        \
                                                           \
		return cr_make_param_array(bool, ways, 2); \
	}                                                  \
	ParameterizedTest(bool *ringed, io, name)

BOTH_WAYS(records_leave_in_runs)
{
	static const size_t sizes[] = {100, 100, 60, 100, 120};
	struct bench *b = bench_new(*ringed);
	uint8_t buf[256];

	for (unsigned i = 0; i < 5; i++)
		place(b, 0, sizes[i], (uint8_t)i);
	cr_expect_eq(b->io.nruns, 3, "a shorter one ends a run, a longer one cannot join");
	cr_expect_eq(b->io.runs[0].records, 3);
	place(b, 1, 100, 9);
	cr_expect_eq(b->io.nruns, 4, "another path is another run");
	cr_expect(io_pending(&b->io));
	io_turn(&b->io);
	cr_expect(!io_pending(&b->io));
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(came(b->udp[0], buf, sizeof(buf)), sizes[i], "%u", i);
		cr_expect_eq(buf[0], i);
		cr_expect_eq(buf[sizes[i] - 1], i);
	}
	cr_assert_eq(came(b->udp[1], buf, sizeof(buf)), 100);
	cr_expect_eq(get(&b->counters.tun_delivered), 6);
	cr_expect_eq(get(&b->counters.datagrams_out), 6);
	bench_free(b);
}

BOTH_WAYS(more_than_there_is_room_for_leaves_at_once)
{
	struct bench *b = bench_new(*ringed);
	unsigned n[2] = {0, 0};
	uint8_t buf[256];

	for (unsigned i = 0; i < 3 * IO_RUNS; i++)
		place(b, i % 2, 50, (uint8_t)i); /* each a run of its own */
	for (unsigned i = 0; i < 2 * IO_RUN_RECORDS + 1; i++)
		place(b, 0, 50, 0);
	io_leave(&b->io);
	for (int to = 0; to < 2; to++)
		while (came(b->udp[to], buf, sizeof(buf)) == 50)
			n[to]++;
	cr_expect_eq(n[0], 3 * IO_RUNS / 2 + 2 * IO_RUN_RECORDS + 1);
	cr_expect_eq(n[1], 3 * IO_RUNS / 2);
	cr_expect_eq(get(&b->counters.tun_delivered), n[0] + n[1]);
	bench_free(b);
}

BOTH_WAYS(a_place_without_a_record_sends_nothing)
{
	struct bench *b = bench_new(*ringed);
	uint8_t buf[16];

	io_place(&b->io, &b->to[0], 100); /* and the session refused to seal */
	io_turn(&b->io);
	cr_expect_eq(came(b->udp[0], buf, sizeof(buf)), -EAGAIN);
	cr_expect_eq(get(&b->counters.datagrams_out), 0);
	cr_expect_eq(get(&b->counters.drops[DROP_SEND_FAILED]), 0);
	bench_free(b);
}

BOTH_WAYS(what_cannot_be_sent_is_counted)
{
	struct bench *b = bench_new(*ringed);

	endpoint_parse(&b->to[0].remote, "fd00::1", 9); /* an IPv4 socket has no way there */
	place(b, 0, 50, 1);
	endpoint_parse(&b->to[0].remote, "255.255.255.255", 9); /* nor to all */
	place(b, 0, 50, 1);
	place(b, 0, 50, 1);
	io_turn(&b->io);
	cr_expect_eq(get(&b->counters.tun_delivered) + get(&b->counters.drops[DROP_SEND_FAILED]),
	             3);
	cr_expect_geq(get(&b->counters.drops[DROP_SEND_FAILED]), 2);
	bench_free(b);
}

BOTH_WAYS(a_packet_goes_to_the_device_in_pieces)
{
	const struct offload_hdr vnet = {.flags = 1, .gso_type = 5, .hdr_len = 28, .gso_size = 7};
	struct bench *b = bench_new(*ringed);
	static uint8_t data[4 * 1000], buf[8192];
	size_t at = TUN_VNET_LEN;
	struct offload_hdr seen;

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	io_write_begin(&b->io, 0);
	cr_expect(!io_pending(&b->io), "it is in the making");
	for (unsigned i = 0; i < 4; i++)
		io_write_piece(&b->io, data + i * 1000, i % 2 ? IO_SMALL : 1000);
	io_write_piece(&b->io, data, 3);
	io_write_end(&b->io, &vnet, 5);
	cr_expect_eq(b->io.writes[0].pieces, 5, "small ones behind each other are one piece");
	io_turn(&b->io);
	cr_assert_eq(came(b->tun, buf, sizeof(buf)), TUN_VNET_LEN + 2000 + 2 * IO_SMALL + 3);
	offload_hdr_parse(&seen, buf);
	cr_expect_eq(seen.gso_size, 7);
	for (unsigned i = 0; i < 4; i++) {
		size_t len = i % 2 ? IO_SMALL : 1000;

		cr_expect_eq(memcmp(buf + at, data + i * 1000, len), 0, "%u", i);
		at += len;
	}
	cr_expect_eq(get(&b->counters.wire_delivered), 5);
	bench_free(b);
}

BOTH_WAYS(a_packet_in_the_making_outlives_full_runs)
{
	static const struct offload_hdr none;
	struct bench *b = bench_new(*ringed);
	uint8_t data[600], buf[1024];

	memset(data, 0x5a, sizeof(data));
	io_write_begin(&b->io, 0);
	io_write_piece(&b->io, data, 300);
	for (unsigned i = 0; i < 2 * IO_RUNS + 1; i++)
		place(b, i % 2, 50, 1); /* answers to pings, in between */
	io_write_piece(&b->io, data + 300, 300);
	io_write_end(&b->io, &none, 1);
	io_turn(&b->io);
	cr_assert_eq(came(b->tun, buf, sizeof(buf)), TUN_VNET_LEN + 600);
	cr_expect_eq(memcmp(buf + TUN_VNET_LEN, data, 600), 0);
	bench_free(b);
}

BOTH_WAYS(batches_grow_while_they_come_full)
{
	struct bench *b = bench_new(*ringed);
	uint8_t p[TUN_VNET_LEN + 40] = {0};
	unsigned seen = 0, before = 0;

	for (unsigned turn = 0; turn < 6; turn++) {
		for (int i = 0; i < 10; i++) {
			p[TUN_VNET_LEN] = (uint8_t)(turn * 10 + i);
			if (send(b->tun, p, i == 5 ? 3 : sizeof(p), MSG_DONTWAIT) < 0)
				break; /* the queue of a socketpair is short */
		}
		before = b->io.want_reads;
		io_turn(&b->io);
		cr_expect_leq(b->io.nreads, before);
		for (unsigned i = 0; i < b->io.nreads; i++) {
			cr_expect_eq(b->io.reads[i].len, 40, "one of 3 bytes is none");
			cr_expect_geq(b->io.reads[i].packet[0], seen, "in order");
			seen = b->io.reads[i].packet[0];
		}
	}
	cr_expect_gt(b->io.want_reads, 2);
	for (int i = 0; i < 10; i++)
		io_turn(&b->io);
	cr_expect_eq(b->io.nreads, 0);
	cr_expect_eq(b->io.want_reads, 2, "and shrink when nothing comes");
	bench_free(b);
}

static void send_to(int own, int from, const char *text)
{
	struct pollfd p = {.fd = own, .events = POLLIN};
	struct sockaddr_in in;
	socklen_t len = sizeof(in);

	cr_assert_eq(getsockname(own, (struct sockaddr *)&in, &len), 0);
	cr_assert_eq(sendto(from, text, 5, 0, (struct sockaddr *)&in, len), 5);
	cr_assert_eq(poll(&p, 1, 1000), 1);
}

BOTH_WAYS(datagrams_arrive_with_where_they_came_from)
{
	struct bench *b = bench_new(*ringed);

	send_to(b->udp_own[UDP_OWN], b->udp[0], "later");
	send_to(b->udp_own[UDP_GROUP], b->udp[1], "hello");
	io_turn(&b->io);
	cr_assert_eq(b->io.narrivals, 2);
	cr_expect_eq(b->io.arrived[0]->len, 5);
	cr_expect_eq(b->io.arrived[0]->segment, 5);
	cr_expect_eq(memcmp(b->io.arrived[0]->data, "hello", 5), 0);
	cr_expect(endpoint_equal(&b->io.arrived[0]->path.remote, &b->to[1].remote));
	cr_expect_eq(b->io.arrived[0]->path.local.b[0], 127, "and at which address of ours");
	cr_expect_eq(b->io.arrived[0]->path.socket, UDP_GROUP);
	cr_expect_eq(memcmp(b->io.arrived[1]->data, "later", 5), 0);
	cr_expect(endpoint_equal(&b->io.arrived[1]->path.remote, &b->to[0].remote));
	cr_expect_eq(b->io.arrived[1]->path.socket, UDP_OWN);
	io_turn(&b->io);
	cr_expect_eq(b->io.narrivals, 0);
	bench_free(b);
}

BOTH_WAYS(each_leaves_by_its_socket)
{
	struct bench *b = bench_new(*ringed);
	struct sockaddr_in own, from;
	socklen_t len = sizeof(own);
	uint8_t buf[64];

	for (uint8_t s = 0; s < UDP_SOCKETS; s++) {
		b->to[0].socket = s;
		place(b, 0, 50, s);
	}
	cr_expect_eq(b->io.nruns, 2, "another socket is another run");
	io_turn(&b->io);
	for (uint8_t s = 0; s < UDP_SOCKETS; s++) {
		cr_assert_eq(getsockname(b->udp_own[s], (struct sockaddr *)&own, &len), 0);
		cr_assert_eq(
			recvfrom(b->udp[0], buf, sizeof(buf), 0, (struct sockaddr *)&from, &len),
			50);
		cr_expect_eq(buf[0], s);
		cr_expect_eq(from.sin_port, own.sin_port);
	}
	bench_free(b);
}

BOTH_WAYS(a_packet_may_go_to_another_workers_queue)
{
	static const struct offload_hdr none;
	struct bench *b = bench_new(*ringed);
	uint8_t data[2][60], buf[128];

	for (unsigned i = 0; i < 2; i++) {
		memset(data[i], (int)i, sizeof(data[i]));
		io_write_begin(&b->io, 1 - i);
		io_write_piece(&b->io, data[i], sizeof(data[i]));
		io_write_end(&b->io, &none, 1);
	}
	io_turn(&b->io);
	cr_assert_eq(came(b->other_tun, buf, sizeof(buf)), TUN_VNET_LEN + 60);
	cr_expect_eq(buf[TUN_VNET_LEN], 0);
	cr_assert_eq(came(b->tun, buf, sizeof(buf)), TUN_VNET_LEN + 60);
	cr_expect_eq(buf[TUN_VNET_LEN], 1);
	bench_free(b);
}
