/* SPDX-License-Identifier: GPL-3.0-or-later */
/* marker - sends UDP datagrams that carry a marker and a number, at a steady rate, or counts them.
 *
 *   marker send ADDR PORT MARKER COUNT RATE [SIZE]   prints "sent N errors E"; errors do not stop it
 *   marker recv PORT MARKER                          until SIGTERM; prints "received N twice T"
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NUMBERS (1u << 24)

static volatile sig_atomic_t done;

static void stop(int sig)
{
	(void)sig;
	done = 1;
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int send_all(char **v, int size)
{
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST}, *to;
	long count = atol(v[3]), rate = atol(v[4]), sent = 0, errors = 0;
	size_t marker = strlen(v[2]);
	char data[1400];
	int64_t start, due;
	int fd;

	if (getaddrinfo(v[0], v[1], &hints, &to) || rate < 1 || size > (int)sizeof(data) ||
	    size < (int)marker + 4) {
		fprintf(stderr, "marker: bad address, rate or size\n");
		return 2;
	}
	fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	memset(data, 'x', sizeof(data));
	memcpy(data + 4, v[2], marker);
	start = now();
	for (uint32_t i = 0; i < count && !done; i++) {
		memcpy(data, &i, 4);
		if (sendto(fd, data, (size_t)size, 0, to->ai_addr, to->ai_addrlen) < 0)
			errors++;
		else
			sent++;
		due = start + (int64_t)(i + 1) * 1000000000 / rate;
		while (due - now() > 200000 && !done) {
			struct timespec t = {.tv_nsec = (due - now()) % 1000000000};

			nanosleep(&t, NULL);
		}
	}
	printf("sent %ld errors %ld\n", sent, errors);
	freeaddrinfo(to);
	close(fd);
	return 0;
}

static int receive(char **v)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6,
	                          .sin6_port = htons((uint16_t)atoi(v[0]))};
	static uint8_t seen[NUMBERS / 8];
	unsigned long received = 0, twice = 0;
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), big = 8 << 20;
	size_t marker = strlen(v[1]);

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at))) {
		perror("marker: bind");
		return 1;
	}
	fprintf(stderr, "listening\n");
	while (!done) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		char data[2048];
		ssize_t n;
		uint32_t i;

		if (poll(&p, 1, 200) < 1)
			continue;
		n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
		if (n < (ssize_t)marker + 4 || memcmp(data + 4, v[1], marker))
			continue;
		memcpy(&i, data, 4);
		received++;
		if (i < NUMBERS) {
			twice += seen[i / 8] >> i % 8 & 1;
			seen[i / 8] |= (uint8_t)(1 << i % 8);
		}
	}
	printf("received %lu twice %lu\n", received, twice);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = stop};

	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	if ((argc == 7 || argc == 8) && !strcmp(argv[1], "send"))
		return send_all(argv + 2, argc == 8 ? atoi(argv[7]) : 64);
	if (argc == 4 && !strcmp(argv[1], "recv"))
		return receive(argv + 2);
	fprintf(stderr,
	        "usage: marker send ADDR PORT MARKER COUNT RATE [SIZE] | recv PORT MARKER\n");
	return 2;
}
