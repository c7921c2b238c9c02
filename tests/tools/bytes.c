/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bytes - do bytes arrive as they were sent? For paths that cut packets up and merge them.
 *
 *   bytes serve ADDR           until SIGTERM; prints "listening" on stderr once it does
 *   bytes run ADDR MIB SIZE    MIB each way over each of STREAMS TCP streams at once, then bursts of
 *                              UDP datagrams of every size from 0 to SIZE, there and back; prints
 *                              counts; 1 if a byte was wrong, or more datagrams lost than LOST_MAX
 *
 * Where checksums are left to the two ends of a tunnel, no checksum sees a slip in between, and
 * tools that measure do not look at what they get. Here both ends know each byte from its place,
 * so a wrong one is named by where it was. One datagram is also never before another of its burst.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT          "7000" /* TCP and UDP */
#define STREAMS       4
#define MIB_MAX       1024
#define BURST         8 /* datagrams of one size, then wait for them */
#define SIZE_MAX_HERE 65507
#define WAIT_MS       2000 /* for the rest of a burst: the machine may be busy, and few are lost */
#define LOST_MAX      50   /* one in so many may be lost: UDP is allowed to */
#define CHUNK         (1 << 19)

/* Larger ones too, which IP cuts into fragments. */
static const unsigned large[] = {1473, 2000, 5000, 20000, SIZE_MAX_HERE};

/* -- what is where ------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t x) /* splitmix64 */
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* The bytes from..from+len of stream seed. */
static void fill(uint8_t *p, size_t len, uint64_t seed, uint64_t from)
{
	uint64_t word = 0;

	for (size_t i = 0; i < len; i++) {
		uint64_t at = from + i;

		if (i == 0 || at % 8 == 0)
			word = mix(seed + at / 8);
		p[i] = (uint8_t)(word >> at % 8 * 8);
	}
}

/* How many of them are right before the first wrong one. */
static size_t right(const uint8_t *p, size_t len, uint64_t seed, uint64_t from)
{
	static uint8_t want[CHUNK];
	size_t i = 0;

	fill(want, len, seed, from);
	if (memcmp(p, want, len) == 0)
		return len;
	while (p[i] == want[i])
		i++;
	return i;
}

static uint64_t datagram_seed(size_t len, unsigned k)
{
	return mix(len * BURST + k) | 1ULL << 63;
}

/* Which of its burst it is stands in its first byte; the rest follows from that and its length. */
static void datagram_fill(uint8_t *p, size_t len, unsigned k)
{
	fill(p, len, datagram_seed(len, k), 0);
	if (len)
		p[0] = (uint8_t)k;
}

static bool datagram_right(const uint8_t *p, size_t len)
{
	static uint8_t want[SIZE_MAX_HERE];

	if (len && p[0] >= BURST)
		return false;
	datagram_fill(want, len, len ? p[0] : 0);
	return memcmp(p, want, len) == 0;
}

/* -- TCP: a header, then bytes up, a verdict, then bytes down ------------------------------------- */

struct header {
	uint64_t seed, len;
};

static int write_all(int fd, const void *p, size_t len)
{
	const uint8_t *at = p;

	while (len) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* In writes of all sizes, so that segments of all sizes are cut and merged. */
static int stream_send(int fd, uint64_t seed, uint64_t len)
{
	static const size_t sizes[] = {1, 60, 700, 1368, 5000, 65536, 300000};
	static uint8_t data[CHUNK];
	uint64_t at = 0;
	int err = 0;

	for (uint64_t turn = 0; at < len && !err; turn++) {
		size_t n = sizes[mix(seed ^ turn) % (sizeof(sizes) / sizeof(sizes[0]))];

		if (n > len - at)
			n = (size_t)(len - at);
		fill(data, n, seed, at);
		err = write_all(fd, data, n);
		at += n;
	}
	return err;
}

/* How many bytes of the stream came and were right before the first wrong one. It is read to its
 * end all the same, or the other end's kernel would throw the verdict away.
 */
static uint64_t stream_receive(int fd, uint64_t seed, uint64_t len)
{
	static uint8_t data[CHUNK];
	uint64_t at = 0, ok = 0;

	while (at < len) {
		size_t want = len - at < sizeof(data) ? (size_t)(len - at) : sizeof(data);
		ssize_t n = recv(fd, data, want, 0);

		if (n <= 0)
			break;
		if (ok == at)
			ok += right(data, (size_t)n, seed, at);
		at += (uint64_t)n;
	}
	return ok;
}

static void serve_stream(int fd)
{
	struct header h;
	uint64_t ok;

	if (recv(fd, &h, sizeof(h), MSG_WAITALL) != sizeof(h))
		return;
	ok = stream_receive(fd, h.seed, h.len);
	if (write_all(fd, &ok, sizeof(ok)) == 0 && ok == h.len)
		stream_send(fd, ~h.seed, h.len);
}

static int run_stream(const struct addrinfo *to, uint64_t seed, uint64_t len)
{
	const struct header h = {seed, len};
	int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = seed % 2;
	uint64_t up = 0, down = 0;

	if (fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen)) {
		perror("bytes: connect");
		return 1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (write_all(fd, &h, sizeof(h)) == 0)
		stream_send(fd, seed, len);
	if (recv(fd, &up, sizeof(up), MSG_WAITALL) == sizeof(up) && up == len)
		down = stream_receive(fd, ~seed, len);
	close(fd);
	if (up == len && down == len)
		return 0;
	printf("stream %d: wrong or cut off after %llu bytes %s\n", (int)(seed & 0xff),
	       (unsigned long long)(up < len ? up : down), up < len ? "there" : "back");
	return 1;
}

/* A process each: they are to be at once. */
static int run_streams(const struct addrinfo *to, uint64_t len)
{
	int wrong = 0, status;

	for (int i = 0; i < STREAMS; i++) {
		if (fork() == 0)
			_exit(run_stream(to, mix((uint64_t)getpid()) << 8 | (unsigned)i, len));
	}
	while (wait(&status) > 0)
		wrong += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
	printf("tcp streams %d mib %llu wrong %d\n", STREAMS,
	       (unsigned long long)(len * STREAMS * 2 >> 20), wrong);
	return wrong;
}

/* -- UDP ------------------------------------------------------------------------------------------ */

static void serve_datagrams(int fd)
{
	static uint8_t data[SIZE_MAX_HERE + 1];
	struct sockaddr_storage from;

	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &len);

		if (n < 0)
			continue;
		if (!datagram_right(data, (size_t)n))
			n = n ? 1 : 0,
			data[0] = 0xff; /* no datagram of ours: the other end sees it */
		sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
}

/* One call each, or all in one, which the kernel may leave uncut until the tunnel has it. */
static void send_burst(int fd, unsigned size, unsigned n, bool together)
{
	static uint8_t data[BURST * SIZE_MAX_HERE];
	int segment = (int)size;

	for (unsigned k = 0; k < n; k++)
		datagram_fill(data + k * size, size, k);
	setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, together ? &segment : &(int){0}, sizeof(int));
	if (together && send(fd, data, n * size, 0) >= 0)
		return;
	setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &(int){0}, sizeof(int));
	for (unsigned k = 0; k < n; k++)
		send(fd, data + k * size, size, 0);
}

struct count {
	unsigned sent, wrong, lost, late;
};

static void run_burst(int fd, unsigned size, unsigned n, bool together, struct count *c)
{
	static uint8_t data[SIZE_MAX_HERE + 1];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	unsigned got = 0;
	int last = -1;

	send_burst(fd, size, n, together);
	c->sent += n;
	while (got < n && poll(&p, 1, WAIT_MS) > 0) {
		ssize_t len = recv(fd, data, sizeof(data), 0);

		if (len < 0)
			continue;
		if ((size_t)len < size && datagram_right(data, (size_t)len)) {
			c->lost--; /* of a burst that was given up: it is whole, and here at last */
			continue;
		}
		got++;
		if ((size_t)len != size || !datagram_right(data, (size_t)len)) {
			if (c->wrong++ < 5)
				printf("datagram of %u: came back as %zd, wrong\n", size, len);
			continue;
		}
		c->late += len && data[0] < last;
		last = len ? data[0] : last;
	}
	c->lost += n - got;
}

static int run_datagrams(const struct addrinfo *to, unsigned max)
{
	int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct count c = {0};

	if (fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen)) {
		perror("bytes: connect");
		return 1;
	}
	for (unsigned size = 0; size <= max; size++) {
		run_burst(fd, size, BURST, false, &c);
		if (size)
			run_burst(fd, size, BURST, true, &c);
	}
	for (unsigned i = 0; i < sizeof(large) / sizeof(large[0]); i++)
		run_burst(fd, large[i], 1, false, &c);
	close(fd);
	printf("udp sent %u wrong %u lost %u late %u\n", c.sent, c.wrong, c.lost, c.late);
	return c.wrong > 0 || c.late > 0 || c.lost > c.sent / LOST_MAX;
}

/* ---------------------------------------------------------------------------------------------- */

static int find(const char *address, int type, struct addrinfo **out)
{
	struct addrinfo hints = {.ai_socktype = type, .ai_flags = AI_NUMERICHOST};

	if (getaddrinfo(address, PORT, &hints, out) == 0)
		return 0;
	fprintf(stderr, "bytes: %s is no address\n", address);
	return -EINVAL;
}

static int bound(const char *address, int type)
{
	struct addrinfo *at;
	int fd, one = 1;

	if (find(address, type, &at))
		return -1;
	fd = socket(at->ai_family, type | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, at->ai_addr, at->ai_addrlen) || (type == SOCK_STREAM && listen(fd, 16))) {
		perror("bytes: bind");
		close(fd);
		fd = -1;
	}
	freeaddrinfo(at);
	return fd;
}

static int serve(const char *address)
{
	int tcp = bound(address, SOCK_STREAM), udp = bound(address, SOCK_DGRAM), fd;

	if (tcp < 0 || udp < 0)
		return 1;
	signal(SIGCHLD, SIG_IGN);
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve_datagrams(udp);
	}
	fprintf(stderr, "listening\n");
	for (;;) {
		fd = accept4(tcp, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		if (fork() == 0) {
			serve_stream(fd);
			_exit(0);
		}
		close(fd);
	}
}

static int run(char **v)
{
	long mib = atol(v[1]), size = atol(v[2]);
	struct addrinfo *tcp, *udp;
	int rc;

	if (mib < 1 || mib > MIB_MAX || size < 1 || size > SIZE_MAX_HERE ||
	    find(v[0], SOCK_STREAM, &tcp) || find(v[0], SOCK_DGRAM, &udp)) {
		fprintf(stderr, "bytes: bad address, amount or size\n");
		return 2;
	}
	rc = run_streams(tcp, (uint64_t)mib << 20) != 0;
	rc |= run_datagrams(udp, (unsigned)size);
	freeaddrinfo(tcp);
	freeaddrinfo(udp);
	return rc;
}

int main(int argc, char **argv)
{
	setlinebuf(stdout);
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2]);
	if (argc == 5 && strcmp(argv[1], "run") == 0)
		return run(argv + 2);
	fprintf(stderr, "usage: bytes serve ADDR | run ADDR MIB SIZE\n");
	return 2;
}
