/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/programs/joiner.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crypto/token.h"
#include "gateway/clock.h"
#include "gateway/h2.h"

#define TICK_MS 500

struct joiner {
	int fd;
	struct addr own;
	struct endpoint far;
	struct wolf *wolf;
	struct h2 *h2;
	struct cert_info manager;
	uint8_t exporter[TOKEN_EXPORTER_LEN];
	bool heard; /* a byte, or the end, of the peer's */
	bool answered;
	int status;
	char *answer;
	size_t answer_len;
	char why[128]; /* of an answer that failed */
};

static int fail(struct joiner_fault *f, int err, const char *why, const char *cure)
{
	snprintf(f->why, sizeof(f->why), "%s", why);
	f->cure = cure;
	return err;
}

/* -- the TCP connection ----------------------------------------------------------------------- */

static int wait_connected(int fd)
{
	int64_t deadline = clock_now() + JOINER_CONNECT;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t len = sizeof(int);
	int n, err = 0;

	do
		n = poll(&p, 1, clock_poll_ms(deadline, clock_now()));
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return -ETIMEDOUT;
	if (n < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
		return -errno;
	return -err;
}

static int dial(const struct addrinfo *a, int *out)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = connect(fd, a->ai_addr, a->ai_addrlen) ? -errno : 0;
	if (err == -EINPROGRESS)
		err = wait_connected(fd);
	if (err)
		close(fd);
	else
		*out = fd;
	return err;
}

static void endpoint_of(const struct sockaddr_storage *s, struct endpoint *out)
{
	memset(out, 0, sizeof(*out));
	if (s->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)s;

		out->addr.family = 4;
		memcpy(out->addr.b, &in->sin_addr, 4);
		out->port = ntohs(in->sin_port);
	} else if (s->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)s;

		out->addr.family = 6;
		memcpy(out->addr.b, &in->sin6_addr, 16);
		out->port = ntohs(in->sin6_port);
	}
}

static int connect_fault(struct joiner_fault *f, int err)
{
	switch (err) {
	case -ECONNREFUSED:
		return fail(f, err, "nobody listens there",
		            "is ginneld running there, is it a manager, and "
		            "is the port right? Managers listen on 4748 if nothing else was set");
	case -ETIMEDOUT:
		return fail(f, err, "no answer within 5 s",
		            "is the host up, and does a firewall let TCP "
		            "to that port through?");
	default:
		return fail(f, err, strerrordesc_np(-err),
		            "is the address right, and is there a route to it?");
	}
}

static int joiner_connect(struct joiner *j, const struct config_endpoint *m, struct joiner_fault *f)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all, *a;
	struct sockaddr_storage own = {0};
	socklen_t len = sizeof(own);
	struct endpoint e;
	char port[8];
	int err;

	hints.ai_flags = AI_NUMERICSERV | (m->is_addr ? AI_NUMERICHOST : 0);
	snprintf(port, sizeof(port), "%u", m->at.port);
	err = getaddrinfo(m->host, port, &hints, &all);
	if (err)
		return fail(f, -EHOSTUNREACH, gai_strerror(err), "is the name right?");
	err = -EHOSTUNREACH;
	for (a = all; a && j->fd < 0; a = a->ai_next) {
		struct sockaddr_storage far = {0};

		err = dial(a, &j->fd);
		if (err || a->ai_addrlen > sizeof(far))
			continue;
		memcpy(&far, a->ai_addr, a->ai_addrlen);
		endpoint_of(&far, &j->far);
	}
	freeaddrinfo(all);
	if (j->fd < 0)
		return connect_fault(f, err);
	if (getsockname(j->fd, (struct sockaddr *)&own, &len))
		return fail(f, -errno, strerrordesc_np(errno), NULL);
	endpoint_of(&own, &e);
	j->own = e.addr;
	return 0;
}

/* -- TLS and HTTP/2 on it --------------------------------------------------------------------- */

/* Sends what waits. 0, or -errno when the socket is done for. */
static int flush(struct joiner *j, bool *more)
{
	*more = false;
	for (;;) {
		const uint8_t *p;
		ssize_t n;
		size_t len;

		p = h2_pending(j->h2, &len);
		if (!len)
			return 0;
		n = send(j->fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			*more = errno == EAGAIN;
			return *more ? 0 : -errno;
		}
		h2_sent(j->h2, (size_t)n, clock_now());
	}
}

static int take(struct joiner *j)
{
	uint8_t buf[4096];
	ssize_t n = recv(j->fd, buf, sizeof(buf), 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	j->heard = true;
	return h2_feed(j->h2, buf, (size_t)n, clock_now());
}

/* Moves bytes until done says so. 0, -ETIMEDOUT, -EPIPE it is over. */
static int pump(struct joiner *j, bool (*done)(const struct joiner *j), int64_t deadline)
{
	struct pollfd p = {.fd = j->fd};
	bool more;
	int err;

	for (;;) {
		int ms = clock_poll_ms(deadline, clock_now());

		err = flush(j, &more);
		if (done(j))
			return 0;
		if (err || h2_over(j->h2))
			return -EPIPE;
		if (ms == 0)
			return -ETIMEDOUT;
		p.events = (short)((more ? POLLOUT : 0) | (h2_wants_read(j->h2) ? POLLIN : 0));
		if (poll(&p, 1, ms < TICK_MS ? ms : TICK_MS) < 0 && errno != EINTR)
			return -errno;
		/* An error of ours is an alert to the peer: it still goes out, above. */
		if (p.revents & ~POLLOUT)
			take(j);
		h2_tick(j->h2, clock_now());
	}
}

static bool is_up(const struct joiner *j)
{
	return h2_up(j->h2);
}

static bool is_answered(const struct joiner *j)
{
	return j->answered;
}

static void on_response(void *arg, void *user, int status, const char *body, size_t len,
                        const char *why)
{
	struct joiner *j = arg;

	(void)user;
	j->answered = true;
	j->status = status;
	snprintf(j->why, sizeof(j->why), "%s", why ? why : "");
	j->answer = malloc(len + 1);
	if (!j->answer) {
		j->status = 0;
		return;
	}
	if (len)
		memcpy(j->answer, body, len);
	j->answer[len] = '\0';
	j->answer_len = len;
}

/* Why the manager and we did not come together. */
static int up_fault(const struct joiner *j, int err, struct joiner_fault *f)
{
	struct stream *s = h2_stream(j->h2);
	enum cert_refusal why = s ? stream_refusal(s) : CERT_OK;
	char text[sizeof(f->why)];

	switch (why) {
	case CERT_OK:
		break;
	case CERT_OTHER_CA:
		return fail(f, -EACCES,
		            "what answers there is not of the cluster that the token is for",
		            "give that cluster's manager, or make a token on this one");
	case CERT_ROLE:
		return fail(f, -EACCES, "what answers there is a node, and no manager",
		            "give a manager's address");
	case CERT_EXPIRED:
	case CERT_NOT_YET_VALID:
		snprintf(text, sizeof(text), "the manager's certificate: %s",
		         cert_refusal_text(why));
		return fail(f, -EACCES, text, "compare the clocks of both hosts");
	default:
		snprintf(text, sizeof(text), "the manager's certificate: %s",
		         cert_refusal_text(why));
		return fail(f, -EACCES, text, "see ginneld's log there");
	}
	if (!j->heard)
		return fail(f, err, "it takes the connection, but says nothing within 5 s",
		            "is the port right? Managers listen on 4748 if nothing else was set");
	snprintf(text, sizeof(text), "what answers there lets no host join (%s)",
	         h2_why(j->h2)[0] ? h2_why(j->h2) : strerrordesc_np(-err));
	return fail(f, -EPROTO, text,
	            "is the port right, and is it a manager? Managers listen on 4748 if "
	            "nothing else was set");
}

static time_t wall(void *arg)
{
	(void)arg;
	return time(NULL);
}

static int joiner_secure(struct joiner *j, const uint8_t pin[32], struct joiner_fault *f)
{
	static const struct h2_client_ops ops = {.response = on_response};
	const struct wolf_params params = {.pin = pin, .wall = wall};
	const struct cert_expect expect = {.role = ROLE_MANAGER};
	struct stream *s;
	int err;

	err = wolf_start();
	if (!err)
		err = wolf_new(&j->wolf, &params);
	if (!err)
		err = stream_dial(&s, j->wolf, ALPN_JOIN, &expect);
	if (!err)
		err = h2_client_new(&j->h2, s, &ops, j, clock_now());
	if (err)
		return fail(f, err, strerrordesc_np(-err), NULL);
	err = pump(j, is_up, clock_now() + STREAM_DEADLINE);
	if (err)
		return up_fault(j, err, f);
	s = h2_stream(j->h2);
	if (!stream_peer(s))
		return fail(f, -EPROTO, "the manager showed no certificate", NULL);
	j->manager = *stream_peer(s);
	err = stream_exporter(s, j->exporter);
	return err ? fail(f, err, "the connection yields no secret to prove with", NULL) : 0;
}

/* -- the joiner ------------------------------------------------------------------------------- */

int joiner_new(struct joiner **out, const struct config_endpoint *manager, const uint8_t pin[32],
               struct joiner_fault *f)
{
	struct joiner *j = calloc(1, sizeof(*j));
	int err;

	f->cure = NULL;
	if (!j)
		return fail(f, -ENOMEM, strerrordesc_np(ENOMEM), NULL);
	j->fd = -1;
	err = joiner_connect(j, manager, f);
	if (!err)
		err = joiner_secure(j, pin, f);
	if (err) {
		joiner_free(j);
		return err;
	}
	*out = j;
	return 0;
}

void joiner_free(struct joiner *j)
{
	bool more;

	if (!j)
		return;
	if (j->h2) {
		h2_close(j->h2);
		flush(j, &more);
	}
	h2_free(j->h2);
	wolf_put(j->wolf);
	if (j->fd >= 0)
		close(j->fd);
	free(j->answer);
	free(j);
}

const struct cert_info *joiner_manager(const struct joiner *j)
{
	return &j->manager;
}

const uint8_t *joiner_exporter(const struct joiner *j)
{
	return j->exporter;
}

const struct addr *joiner_own(const struct joiner *j)
{
	return &j->own;
}

const struct endpoint *joiner_far(const struct joiner *j)
{
	return &j->far;
}

int joiner_post(struct joiner *j, const char *path, const char *body, size_t len,
                const char **answer, size_t *answer_len, struct joiner_fault *f)
{
	char text[sizeof(f->why)];
	int err;

	free(j->answer);
	j->answer = NULL;
	j->answered = false;
	f->cure = "run it again: the same key may ask again within the hour";
	err = h2_ask(j->h2, "POST", path, body, len, NULL);
	if (!err)
		err = pump(j, is_answered, clock_now() + JOINER_ANSWER);
	if (err == -ETIMEDOUT)
		return fail(f, err, "the manager did not answer within 15 s", f->cure);
	if (err || j->status < 100) {
		snprintf(text, sizeof(text), "the connection ended before the answer came (%s)",
		         j->why[0] ? j->why : h2_why(j->h2));
		return fail(f, -EPIPE, text, f->cure);
	}
	*answer = j->answer;
	*answer_len = j->answer_len;
	return j->status;
}
