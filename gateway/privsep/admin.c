/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/admin.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MAX 512

void admin_init(struct admin *a, int listen_fd)
{
	a->listen = listen_fd;
	for (int i = 0; i < ADMIN_CLIENTS_MAX; i++)
		a->client[i].fd = -1;
}

static void drop(struct admin *a, int i)
{
	close(a->client[i].fd);
	a->client[i].fd = -1;
}

void admin_clear(struct admin *a)
{
	for (int i = 0; i < ADMIN_CLIENTS_MAX; i++)
		if (a->client[i].fd >= 0)
			drop(a, i);
	close(a->listen);
	a->listen = -1;
}

void admin_poll(const struct admin *a, struct pollfd *p)
{
	bool full = true;

	for (int i = 0; i < ADMIN_CLIENTS_MAX; i++) {
		p[1 + i] = (struct pollfd){.fd = a->client[i].fd, .events = POLLIN};
		full &= a->client[i].fd >= 0;
	}
	p[0] = (struct pollfd){.fd = full ? -1 : a->listen, .events = POLLIN};
}

static size_t text(char *out, size_t max, json_t *answer)
{
	size_t n = answer ? json_dumpb(answer, out, max - 1, JSON_COMPACT) : 0;

	json_decref(answer);
	if (n > max - 1)
		n = 0;
	out[n] = '\n';
	return n + 1;
}

size_t admin_answer(const char *line, size_t len, bool ready, bool *down, char *out, size_t max)
{
	json_t *q = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const char *cmd = json_string_value(json_object_get(q, "cmd"));
	size_t n;

	*down = cmd && strcmp(cmd, "down") == 0;
	if (*down)
		n = text(out, max, json_pack("{s:i}", "pid", (int)getpid()));
	else if (cmd && strcmp(cmd, "ping") == 0)
		n = text(out, max,
		         json_pack("{s:i,s:s,s:b}", "pid", (int)getpid(), "version", GINNEL_VERSION,
		                   "ready", ready));
	else
		n = text(out, max,
		         json_pack("{s:s}", "error",
		                   "admin: this is no command of ginneld's; ping and down are"));
	json_decref(q);
	return n;
}

static void reply(int fd, const char *answer, size_t n)
{
	/* One short line into an empty buffer: it fits, or nobody reads. */
	(void)!send(fd, answer, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void admit(struct admin *a, int64_t now)
{
	struct ucred who = {.uid = (uid_t)-1};
	socklen_t n = sizeof(who);
	char answer[ANSWER_MAX];
	int fd = accept4(a->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0 || who.uid != 0) {
		int len = snprintf(answer, sizeof(answer),
		                   "{\"error\":\"admin: only root may, and you are uid %u; use "
		                   "sudo\"}\n",
		                   who.uid);

		reply(fd, answer, (size_t)len);
		close(fd);
		return;
	}
	for (int i = 0; i < ADMIN_CLIENTS_MAX; i++)
		if (a->client[i].fd < 0) {
			a->client[i].fd = fd;
			a->client[i].len = 0;
			a->client[i].deadline = now + ADMIN_DEADLINE_NS;
			return;
		}
	close(fd);
}

/* True if the client asked for down. It is answered and let go in any case but an unfinished line. */
static bool serve_one(struct admin *a, int i, bool ready)
{
	char *line = a->client[i].line;
	size_t *len = &a->client[i].len, n;
	char answer[ANSWER_MAX], *nl;
	bool down = false;
	ssize_t got = recv(a->client[i].fd, line + *len, ADMIN_LINE_MAX - *len, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got > 0) {
		*len += (size_t)got;
		nl = memchr(line, '\n', *len);
		if (!nl && *len < ADMIN_LINE_MAX)
			return false;
		n = admin_answer(line, nl ? (size_t)(nl - line) : *len, ready, &down, answer,
		                 sizeof(answer));
		reply(a->client[i].fd, answer, n);
	}
	drop(a, i);
	return down;
}

bool admin_serve(struct admin *a, const struct pollfd *p, bool ready, int64_t now)
{
	bool down = false;

	for (int i = 0; i < ADMIN_CLIENTS_MAX; i++) {
		if (a->client[i].fd < 0)
			continue;
		if (p[1 + i].fd == a->client[i].fd && p[1 + i].revents)
			down |= serve_one(a, i, ready);
		else if (now >= a->client[i].deadline)
			drop(a, i);
	}
	if (p[0].fd >= 0 && p[0].revents)
		admit(a, now);
	return down;
}
