/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/programs/echo.h"

#include <errno.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "gateway/clock.h"
#include "tun/bytes.h"
#include "tun/checksum.h"

#define BATCH        64
#define ICMP_HEADER  8
#define PAYLOAD      16 /* run (4), kind (4), number (8) */
#define BUFFER_BYTES (16 << 20)
#define FAILURES_MAX 100 /* in a row that did not leave */
#define IP4_HEADER   20
#define IP6_HEADER   40
#define IP4_MIN_IHL  5
#define WAIT_NS      1000000 /* for an answer, before we look again */
#define KIND_LOAD    0
#define KIND_PROBE   1
#define RECEIVED_MAX (ECHO_LEN_MAX + 60)
#define PROBE_LEN    ECHO_LEN_MIN

_Static_assert(IP6_HEADER + ICMP_HEADER + PAYLOAD <= ECHO_LEN_MIN, "the smallest has room for it");

/* Those under way, in a ring: numbers from first to next. */
struct flight {
	uint64_t first, next;
	unsigned under_way;
	int64_t sent[ECHO_UNDER_WAY_MAX]; /* 0: answered, or given up */
};

struct echo {
	int fd, family;
	bool raw;        /* else a ping socket, whose id and checksum are the kernel's */
	bool with_ip;    /* what is received begins with the IP header */
	uint16_t id;     /* ours in raw ones */
	uint32_t run;    /* of echo_run; answers to others are none */
	unsigned failed; /* in a row */
	struct flight load, probes;
	uint8_t out[BATCH][ECHO_LEN_MAX], in[BATCH][RECEIVED_MAX];
};

/* -- the socket --------------------------------------------------------------------------------- */

static int open_socket(struct echo *e)
{
	int protocol = e->family == 4 ? (int)IPPROTO_ICMP : (int)IPPROTO_ICMPV6;
	int domain = e->family == 4 ? AF_INET : AF_INET6;
	int flags = SOCK_CLOEXEC | SOCK_NONBLOCK;

	e->fd = socket(domain, SOCK_RAW | flags, protocol);
	e->raw = e->fd >= 0;
	if (e->fd < 0 && (errno == EPERM || errno == EACCES))
		e->fd = socket(domain, SOCK_DGRAM | flags, protocol);
	if (e->fd < 0)
		return errno == EACCES ? -EPERM : -errno;
	e->with_ip = e->raw && e->family == 4;
	return 0;
}

/* A raw socket hears every ICMP message of the host: the kernel sorts out what is no answer. */
static int set_up(struct echo *e)
{
	struct icmp_filter four = {.data = ~(1U << ICMP_ECHOREPLY)};
	struct icmp6_filter six;
	int bytes = BUFFER_BYTES;

	/* More is better, less is no fault: others than root get what they may. */
	if (setsockopt(e->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(e->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (setsockopt(e->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(e->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	if (!e->raw)
		return 0;
	memset(&six, 0xff, sizeof(six));
	six.data[ICMPV6_ECHO_REPLY / 32] &= ~(1U << ICMPV6_ECHO_REPLY % 32);
	if (e->family == 4)
		return setsockopt(e->fd, SOL_RAW, ICMP_FILTER, &four, sizeof(four)) ? -errno : 0;
	return setsockopt(e->fd, IPPROTO_ICMPV6, ICMPV6_FILTER, &six, sizeof(six)) ? -errno : 0;
}

static int connect_to(int fd, const struct addr *to)
{
	struct sockaddr_in four = {.sin_family = AF_INET};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	int err;

	memcpy(&four.sin_addr, to->b, sizeof(four.sin_addr));
	memcpy(&six.sin6_addr, to->b, sizeof(six.sin6_addr));
	err = to->family == 4 ? connect(fd, (struct sockaddr *)&four, sizeof(four))
	                      : connect(fd, (struct sockaddr *)&six, sizeof(six));
	return err ? -errno : 0;
}

int echo_new(struct echo **out, const struct addr *to)
{
	struct echo *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	e->family = to->family;
	err = secret_random(&e->run, sizeof(e->run));
	if (err)
		goto fail_open;
	e->id = (uint16_t)(e->run >> 16);
	err = open_socket(e);
	if (err)
		goto fail_open;
	err = set_up(e);
	if (!err)
		err = connect_to(e->fd, to);
	if (err)
		goto fail_set_up;
	*out = e;
	return 0;
fail_set_up:
	close(e->fd);
fail_open:
	free(e);
	return err;
}

void echo_free(struct echo *e)
{
	if (!e)
		return;
	close(e->fd);
	free(e);
}

/* -- what is under way -------------------------------------------------------------------------- */

static void took_off(struct flight *f, int64_t now)
{
	f->sent[f->next++ % ECHO_UNDER_WAY_MAX] = now;
	f->under_way++;
}

/* When it left; 0: it is not under way. */
static int64_t landed(struct flight *f, uint64_t number)
{
	int64_t sent;

	if (number < f->first || number >= f->next)
		return 0;
	sent = f->sent[number % ECHO_UNDER_WAY_MAX];
	if (!sent)
		return 0;
	f->sent[number % ECHO_UNDER_WAY_MAX] = 0;
	f->under_way--;
	return sent;
}

/* Behind those that were answered, and those that will not be. */
static void move_up(struct flight *f, int64_t now)
{
	while (f->first < f->next) {
		int64_t sent = f->sent[f->first % ECHO_UNDER_WAY_MAX];

		if (sent && now - sent < ECHO_LOST_NS)
			return;
		f->under_way -= sent != 0;
		f->first++;
	}
}

static bool has_room(const struct flight *f)
{
	return f->next - f->first < ECHO_UNDER_WAY_MAX;
}

/* -- out ---------------------------------------------------------------------------------------- */

static size_t compose(const struct echo *e, uint8_t *p, size_t ip_len, uint32_t kind,
                      uint64_t number)
{
	size_t len = ip_len - (e->family == 4 ? IP4_HEADER : IP6_HEADER);

	memset(p, 0, len);
	p[0] = e->family == 4 ? ICMP_ECHO : ICMPV6_ECHO_REQUEST;
	put_be16(p + 4, e->id);
	put_be16(p + 6, (uint16_t)number);
	put_be32(p + 8, e->run);
	put_be32(p + 12, kind);
	put_be32(p + 16, (uint32_t)(number >> 32));
	put_be32(p + 20, (uint32_t)number);
	if (e->raw && e->family == 4) /* of ICMPv6 the kernel makes it always */
		put_be16(p + 2, (uint16_t)~checksum_fold(checksum_add(0, p, len)));
	return len;
}

/* What did not leave: a full queue is waited out, anything else for a while. 0, or it is no use. */
static int not_sent(struct echo *e, struct echo_result *r)
{
	if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)
		return 0;
	r->error = errno;
	return ++e->failed >= FAILURES_MAX ? -r->error : 0;
}

static int send_load(struct echo *e, const struct echo_plan *p, struct echo_result *r, int64_t now)
{
	struct mmsghdr m[BATCH];
	struct iovec v[BATCH];
	unsigned n = 0;
	int sent;

	memset(m, 0, sizeof(m));
	while (n < BATCH && e->load.under_way + n < p->under_way &&
	       e->load.next + n - e->load.first < ECHO_UNDER_WAY_MAX) {
		v[n].iov_base = e->out[n];
		v[n].iov_len = compose(e, e->out[n], p->len, KIND_LOAD, e->load.next + n);
		m[n].msg_hdr.msg_iov = &v[n];
		m[n].msg_hdr.msg_iovlen = 1;
		n++;
	}
	if (!n)
		return 0;
	sent = sendmmsg(e->fd, m, n, 0);
	if (sent < 0)
		return not_sent(e, r);
	e->failed = 0;
	r->sent += (unsigned)sent;
	while (sent-- > 0)
		took_off(&e->load, now);
	return 0;
}

static int send_probe(struct echo *e, struct echo_result *r, int64_t now)
{
	size_t len;

	if (!has_room(&e->probes) || r->probes >= ECHO_TIMES_MAX)
		return 0;
	len = compose(e, e->out[0], PROBE_LEN, KIND_PROBE, e->probes.next);
	r->probes++;
	if (send(e->fd, e->out[0], len, 0) < 0)
		return not_sent(e, r);
	e->failed = 0;
	took_off(&e->probes, now);
	return 0;
}

/* -- in ----------------------------------------------------------------------------------------- */

static void answer(struct echo *e, struct echo_result *r, const uint8_t *p, size_t len, int64_t now)
{
	uint64_t number;
	int64_t sent;

	if (e->with_ip) {
		size_t header = len ? (size_t)(p[0] & 15) * 4 : 0;

		if (header < IP4_MIN_IHL * 4 || len < header)
			return;
		p += header;
		len -= header;
	}
	if (len < ICMP_HEADER + PAYLOAD ||
	    p[0] != (e->family == 4 ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY) ||
	    (e->raw && get_be16(p + 4) != e->id) || get_be32(p + 8) != e->run)
		return;
	number = (uint64_t)get_be32(p + 16) << 32 | get_be32(p + 20);
	if (get_be32(p + 12) == KIND_LOAD) {
		r->answered += landed(&e->load, number) != 0;
		return;
	}
	sent = landed(&e->probes, number);
	if (sent && r->ntimes < ECHO_TIMES_MAX)
		r->times[r->ntimes++] = now - sent;
}

/* All that is there. 0, -errno. An ICMP error that came back is told once, in place of a message. */
static int receive(struct echo *e, struct echo_result *r)
{
	for (;;) {
		struct mmsghdr m[BATCH];
		struct iovec v[BATCH];
		int64_t now;
		int n;

		memset(m, 0, sizeof(m));
		for (unsigned i = 0; i < BATCH; i++) {
			v[i] = (struct iovec){e->in[i], sizeof(e->in[i])};
			m[i].msg_hdr.msg_iov = &v[i];
			m[i].msg_hdr.msg_iovlen = 1;
		}
		n = recvmmsg(e->fd, m, BATCH, MSG_DONTWAIT, NULL);
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return not_sent(e, r);
		now = clock_now();
		for (int i = 0; i < n; i++)
			answer(e, r, e->in[i], m[i].msg_len, now);
		if (n < BATCH)
			return 0;
	}
}

/* -- a run --------------------------------------------------------------------------------------- */

static void wait_for_answer(int fd, int64_t now, int64_t until)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t ns = until > now ? until - now : 0;
	struct timespec t = {.tv_nsec = ns < WAIT_NS ? ns : WAIT_NS};

	ppoll(&p, 1, &t, NULL);
}

/* What is under way when time is up may still come; it is waited for, and counted. */
static int finish(struct echo *e, struct echo_result *r)
{
	int64_t now = clock_now(), end = now + ECHO_LOST_NS;
	int err = 0;

	while (!err && now < end && (e->load.under_way || e->probes.under_way)) {
		wait_for_answer(e->fd, now, end);
		err = receive(e, r);
		now = clock_now();
	}
	return err;
}

static int by_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int echo_run(struct echo *e, const struct echo_plan *p, struct echo_result *r)
{
	int64_t start = clock_now(), now = start, probe = start;
	int err = 0;

	memset(r, 0, sizeof(*r));
	memset(&e->load, 0, sizeof(e->load));
	memset(&e->probes, 0, sizeof(e->probes));
	e->run++;
	e->failed = 0;
	while (!err && now - start < p->duration_ns) {
		int64_t next = start + p->duration_ns;

		if (p->probe_ns && now >= probe) {
			err = send_probe(e, r, now);
			probe += p->probe_ns;
		}
		if (!err)
			err = send_load(e, p, r, now);
		if (p->probe_ns && probe < next)
			next = probe;
		now = clock_now();
		if (e->load.under_way >= p->under_way)
			wait_for_answer(e->fd, now, next);
		if (!err)
			err = receive(e, r);
		now = clock_now();
		move_up(&e->load, now);
		move_up(&e->probes, now);
	}
	r->took = now - start;
	if (!err)
		err = finish(e, r);
	qsort(r->times, r->ntimes, sizeof(*r->times), by_time);
	return err;
}

int64_t echo_percentile(const struct echo_result *r, unsigned percent)
{
	unsigned i;

	if (!r->ntimes)
		return 0;
	i = (unsigned)((uint64_t)r->ntimes * percent / 100);
	return r->times[i < r->ntimes ? i : r->ntimes - 1];
}
