/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pps - how many UDP packets a second come through: one sends as fast as it can, one counts.
 *
 *   pps recv PORT                     waits for the first; prints packets a second, packets, once none comes
 *   pps send ADDR PORT SIZE SECONDS   prints packets a second it got rid of
 *
 * The receiver's rate is the result: between its first and its last packet, so that neither a late
 * start nor a long queue at the end counts as speed. Calls take BATCH packets each, or the two
 * programs would cost more than what is measured; but no UDP_SEGMENT and no UDP_GRO: a packet is a
 * packet to them, as to ordinary programs.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH         64
#define SIZE_MAX_HERE 65507
#define QUIET_NS      1500000000LL /* without a packet for so long, the sender has ended */

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int failed(const char *what)
{
	fprintf(stderr, "pps: %s: %s\n", what, strerror(errno));
	return 1;
}

static int udp_socket(int family)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), big = 8 << 20;

	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof(big));
	}
	return fd;
}

static int receive(const char *port)
{
	static char data[BATCH][SIZE_MAX_HERE + 1];
	struct sockaddr_in6 at = {.sin6_family = AF_INET6,
	                          .sin6_port = htons((uint16_t)atoi(port))};
	struct timeval quiet = {.tv_sec = QUIET_NS / 1000000000,
	                        .tv_usec = QUIET_NS % 1000000000 / 1000};
	int64_t first = 0, last = 0;
	struct mmsghdr m[BATCH] = {0};
	struct iovec io[BATCH];
	long n = 0;
	int fd = udp_socket(AF_INET6), k;

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)))
		return failed("bind");
	for (int i = 0; i < BATCH; i++) {
		io[i] = (struct iovec){data[i], sizeof(data[i])};
		m[i].msg_hdr = (struct msghdr){.msg_iov = &io[i], .msg_iovlen = 1};
	}
	fprintf(stderr, "listening\n");
	for (;;) {
		k = recvmmsg(fd, m, BATCH, MSG_WAITFORONE, NULL);
		if (k <= 0)
			break;
		last = now();
		if (!first) {
			first = last;
			setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof(quiet));
			continue; /* what comes after the first counts, in the time after it */
		}
		n += k;
	}
	printf("%.0f %ld\n", last > first ? (double)n * 1e9 / (double)(last - first) : 0, n);
	close(fd);
	return 0;
}

static int send_all(char **v)
{
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST}, *to;
	static char data[SIZE_MAX_HERE];
	struct mmsghdr m[BATCH] = {0};
	struct iovec io = {data, (size_t)atol(v[2])};
	int64_t start, end;
	long n = 0;
	int fd, k;

	if (io.iov_len < 1 || io.iov_len > sizeof(data) || atof(v[3]) <= 0 ||
	    getaddrinfo(v[0], v[1], &hints, &to)) {
		fprintf(stderr, "pps: bad address, size or time\n");
		return 2;
	}
	fd = udp_socket(to->ai_family);
	if (fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen))
		return failed("connect");
	freeaddrinfo(to);
	for (int i = 0; i < BATCH; i++)
		m[i].msg_hdr = (struct msghdr){.msg_iov = &io, .msg_iovlen = 1};
	start = now();
	end = start + (int64_t)(atof(v[3]) * 1e9);
	while (now() < end) {
		k = sendmmsg(fd, m, BATCH, 0); /* a full queue is no error here */
		n += k > 0 ? k : 0;
	}
	printf("%.0f\n", (double)n * 1e9 / (double)(now() - start));
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "recv") == 0)
		return receive(argv[2]);
	if (argc == 6 && strcmp(argv[1], "send") == 0)
		return send_all(argv + 2);
	fprintf(stderr, "usage: pps recv PORT | pps send ADDR PORT SIZE SECONDS\n");
	return 2;
}
