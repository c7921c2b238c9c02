/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One thread, one poll: the parent, the manager, the operators' socket and its clients. A proof is
 * judged and its answer sent before the next is read; what is asked twice is signed twice.
 *
 * After a write failed so that the ledger's content is unknown, the process ends: its successor,
 * which the parent starts, reads what is there.
 */
#include "gateway/privsep/signer_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crypto/ca.h"
#include "crypto/statement.h"
#include "gateway/clock.h"
#include "gateway/log.h"
#include "gateway/privsep/operator.h"

/* syscalls(ca): poll ppoll accept4 recvfrom recvmsg sendto sendmsg getsockopt fcntl close
 * syscalls(ca): memfd_create write pread64 clock_gettime
 */

#define NEWS_MAX 64 /* nodes; more at once are told with all of them */

struct client {
	int fd; /* -1: free */
	int64_t deadline;
	size_t n, sent;
	int file;                      /* that came with its line; -1: none */
	uint32_t order;                /* what the manager has yet to answer; 0: nothing */
	struct operator_answer answer; /* text is NULL while it still asks, or waits */
	uint64_t held;                 /* until all have the list of that number; 0: it is not */
	bool copying;                  /* until the manager has copied the registry */
	char line[SIGNER_LINE_MAX];
};

/* Of which nodes the manager is to be told. */
struct news {
	bool list;                     /* the revocation list, before all else */
	bool generation, copy;         /* of the records; a question for a copy of them */
	bool all;                      /* from `after` on */
	char after[CERT_NAME_MAX + 1]; /* the last one of all that was told */
	unsigned n;
	char names[NEWS_MAX][CERT_NAME_MAX + 1]; /* first: these */
};

struct server {
	struct signer *signer;
	int parent_fd, manager_fd, listen_fd; /* manager_fd -1: it is gone */
	bool over;
	int code;
	bool answering; /* answer waits for room in the manager's socket */
	uint32_t seq;
	uint32_t orders; /* given to the manager so far */
	struct message message;
	struct message_sign sign;
	struct message_signed answer;
	struct news news;
	struct client clients[SIGNER_CLIENTS_MAX];
};

enum {
	SLOT_PARENT,
	SLOT_MANAGER,
	SLOT_LISTEN,
	SLOT_CLIENTS,
	SLOTS = SLOT_CLIENTS + SIGNER_CLIENTS_MAX
};

static void server_end(struct server *v, int code)
{
	v->over = true;
	v->code = code;
}

static void client_end(struct client *c)
{
	close(c->fd);
	c->fd = -1;
	if (c->file >= 0)
		close(c->file);
	c->file = -1;
	operator_answer_clear(&c->answer);
}

/* Descriptors go with the first byte. */
static ssize_t send_answer(const struct client *c)
{
	const struct operator_answer *a = &c->answer;
	struct iovec iov = {.iov_base = a->text + c->sent, .iov_len = a->len - c->sent};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(a->fds))];
	} control = {0};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	size_t fds = (size_t)a->nfds * sizeof(int);

	if (a->nfds && !c->sent) {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(fds);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(fds);
		memcpy(CMSG_DATA(&control.align), a->fds, fds);
	}
	return sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void client_send(struct client *c)
{
	ssize_t n = send_answer(c);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->sent += (size_t)n;
	if (n <= 0 || c->sent == c->answer.len)
		client_end(c);
}

static void tell_all(struct server *v)
{
	v->news.n = 0;
	v->news.after[0] = '\0';
	v->news.all = true;
}

static void tell_one(struct server *v, const char *name)
{
	if (!name[0])
		return;
	if (v->news.n == NEWS_MAX)
		tell_all(v);
	else
		memcpy(v->news.names[v->news.n++], name, CERT_NAME_MAX + 1);
}

/* Whatever comes in after the line is not looked at. */
static void client_answer(struct client *c, int err, int64_t now)
{
	if (err) {
		client_end(c);
		return;
	}
	c->sent = 0;
	c->deadline = now + SIGNER_CLIENT_DEADLINE;
	client_send(c);
}

/* What the registry is to do the manager is asked; its answer is the client's. */
static void client_order(struct server *v, struct client *c, int64_t now)
{
	const struct message_order *m = &c->answer.order;
	int nfds = m->kind == ORDER_POLICY, err;

	if (nfds && c->file < 0) {
		client_answer(c,
		              operator_refuse(&c->answer,
		                              "policy apply: the document did not come; "
		                              "is ginnel newer than ginneld?"),
		              now);
		return;
	}
	if (++v->orders == 0)
		v->orders = 1;
	c->order = v->orders;
	c->deadline = now + SIGNER_ORDER_DEADLINE;
	err = v->manager_fd < 0 ? -EPIPE
	                        : message_send(v->manager_fd, MESSAGE_ORDER, c->order, m,
	                                       sizeof(*m), &c->file, nfds);
	if (!err)
		return;
	c->order = 0;
	client_answer(c,
	              operator_refuse(&c->answer, "the manager process cannot be asked now; try "
	                                          "again"),
	              now);
}

/* An act that revoked something is answered when all that are connected have the list, or soon: who was
 * told that a node is revoked may kill this host a moment later.
 */
static void client_hold(struct server *v, struct client *c, int64_t now)
{
	if (v->manager_fd < 0 || ledger_list_number(v->signer->ledger, &c->held))
		c->held = 0;
	c->deadline = now + SIGNER_TOLD;
	if (!c->held)
		client_answer(c, 0, now);
}

static void client_asked(struct server *v, struct client *c, size_t len, int64_t now)
{
	int err = operator_ask(v->signer->ledger, v->signer->pin, "root", c->line, len, time(NULL),
	                       &c->answer);

	v->news.list |= c->answer.list;
	tell_one(v, c->answer.changed);
	if (!err && c->answer.list) {
		client_hold(v, c, now);
	} else if (!err && c->answer.copy && v->manager_fd >= 0) {
		c->copying = true;
		c->deadline = now + SIGNER_CLIENT_DEADLINE;
		v->news.copy = true;
	} else if (!err && c->answer.copy) {
		client_answer(c,
		              operator_refuse(&c->answer, "backup: the manager process is not "
		                                          "there; try again in a few seconds"),
		              now);
	} else if (!err && c->answer.order.kind) {
		client_order(v, c, now);
	} else {
		client_answer(c, err, now);
	}
}

static bool client_waits(const struct client *c)
{
	return c->held || c->copying || c->order;
}

/* Its time is over: who is held has its answer, which was only delayed. */
static void client_late(struct client *c, int64_t now)
{
	if (!c->held) {
		client_end(c);
		return;
	}
	c->held = 0;
	client_answer(c, 0, now);
}

/* More of the line, and the file that may come with it: the first one. */
static ssize_t client_receive(struct client *c)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {c->line + c->n, sizeof(c->line) - c->n};
	struct msghdr msg = {.msg_iov = &iov,
	                     .msg_iovlen = 1,
	                     .msg_control = control.bytes,
	                     .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *h = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	int fd;

	if (!h || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS ||
	    h->cmsg_len != CMSG_LEN(sizeof(int)))
		return n;
	memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	if (c->file < 0)
		c->file = fd;
	else
		close(fd);
	return n;
}

static void client_read(struct server *v, struct client *c, int64_t now)
{
	char *end;
	ssize_t n;

	n = client_receive(c);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_end(c);
		return;
	}
	end = memchr(c->line + c->n, '\n', (size_t)n);
	c->n += (size_t)n;
	if (end) {
		client_asked(v, c, (size_t)(end - c->line), now);
	} else if (c->n == sizeof(c->line))
		client_answer(c,
		              operator_refuse(&c->answer, "request: the line is longer than 8192 "
		                                          "bytes; leave some labels out"),
		              now);
}

static void listener_accept(struct server *v, int64_t now)
{
	struct client *c = v->clients;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd;

	while (c < v->clients + SIGNER_CLIENTS_MAX && c->fd >= 0)
		c++;
	if (c == v->clients + SIGNER_CLIENTS_MAX)
		return;
	fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	c->file = -1;
	c->deadline = now + SIGNER_CLIENT_DEADLINE;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || peer.uid != 0)
		client_answer(c,
		              operator_refuse(&c->answer, "ca: only root may ask this; run it as "
		                                          "root"),
		              now);
}

static void manager_lost(struct server *v, const char *why)
{
	log_warn("the manager process is gone", "reason", why, NULL);
	close(v->manager_fd);
	v->manager_fd = -1;
	v->answering = false;
}

static void manager_answer(struct server *v)
{
	int err = message_send(v->manager_fd, MESSAGE_SIGNED, v->seq, &v->answer, sizeof(v->answer),
	                       NULL, 0);

	v->answering = err == -EAGAIN;
	if (err && err != -EAGAIN)
		manager_lost(v, strerrordesc_np(-err));
}

static int next_node(struct server *v, struct ledger_node *n)
{
	struct news *w = &v->news;
	int err;

	if (w->n)
		return ledger_node_get(v->signer->ledger, w->names[w->n - 1], n);
	err = ledger_node_next(v->signer->ledger, w->after, n);
	if (err == -ENOENT)
		w->all = false;
	return err;
}

static void news_sent(struct news *w, const char *name)
{
	if (w->n)
		w->n--;
	else
		memcpy(w->after, name, CERT_NAME_MAX + 1);
}

static bool has_news(const struct server *v)
{
	const struct news *w = &v->news;

	return v->manager_fd >= 0 && (w->n || w->all || w->list || w->generation || w->copy);
}

/* The list as it is now, signed, in a file without a name. The number is on the disk: it was raised
 * with the entries.
 */
static int list_file(struct signer *s, size_t *len)
{
	uint8_t *list = malloc(REVOCATION_LIST_MAX);
	struct revocations all = {0};
	struct cert_chain chain;
	uint64_t number;
	int fd = -1, err = list ? ledger_list(s->ledger, &number, &all) : -ENOMEM;

	ca_chain(s->ca, &chain);
	if (!err)
		err = revocation_list_make(list, REVOCATION_LIST_MAX, len, number, time(NULL), &all,
		                           ca_key(s->ca), &chain);
	if (!err) {
		fd = memfd_create("revocations", MFD_CLOEXEC);
		err = fd < 0 ? -errno : 0;
	}
	if (!err && write(fd, list, *len) != (ssize_t)*len) {
		err = -EIO;
		close(fd);
	}
	revocations_clear(&all);
	free(list);
	return err ? err : fd;
}

/* 0, -EAGAIN, or -errno: the manager is gone. */
static int manager_tell_list(struct server *v)
{
	struct message_list m = {0};
	size_t len;
	int fd = list_file(v->signer, &len), err;

	if (fd < 0) {
		log_error("no revocation list could be made", "reason", strerrordesc_np(-fd), NULL);
		v->news.list = false;
		return 0;
	}
	m.len = (uint32_t)len;
	err = message_send(v->manager_fd, MESSAGE_LIST, 0, &m, sizeof(m), &fd, 1);
	close(fd);
	if (!err)
		v->news.list = false;
	return err;
}

static int manager_tell_generation(struct server *v)
{
	const struct signer *s = v->signer;
	struct message_generation m = {0};
	struct cert_chain chain;
	size_t len = 0;
	int err = ledger_generation(s->ledger, &m.generation);

	ca_chain(s->ca, &chain);
	if (!err)
		err = generation_sign(m.proof, &len, m.generation, ca_key(s->ca), &chain);
	if (err) {
		log_error("no generation could be told", "reason", strerrordesc_np(-err), NULL);
		v->news.generation = false;
		return 0;
	}
	m.len = (uint32_t)len;
	err = message_send(v->manager_fd, MESSAGE_GENERATION, 0, &m, sizeof(m), NULL, 0);
	if (!err)
		v->news.generation = false;
	return err;
}

static int manager_tell_copy(struct server *v)
{
	int err = message_send(v->manager_fd, MESSAGE_COPY, 0, NULL, 0, NULL, 0);

	if (!err)
		v->news.copy = false;
	return err;
}

static int manager_tell_node(struct server *v)
{
	struct message_node m = {0};
	struct ledger_node n;
	int err = next_node(v, &n);

	if (err) {
		if (v->news.n)
			v->news.n--;
		if (err != -ENOENT) {
			log_error("ledger cannot be read", "reason", strerrordesc_np(-err), NULL);
			v->news.all = false;
		}
		return 0;
	}
	memcpy(m.name, n.name, sizeof(m.name));
	m.removed = n.removed;
	m.incarnation = n.incarnation;
	m.issue_min = n.issue_min;
	m.nlabels = (uint16_t)n.labels.n;
	for (unsigned i = 0; i < n.labels.n; i++)
		snprintf(m.labels[i], sizeof(m.labels[i]), "%s=%s", n.labels.at[i].key,
		         n.labels.at[i].value);
	err = message_send(v->manager_fd, MESSAGE_NODE, 0, &m, sizeof(m), NULL, 0);
	if (!err)
		news_sent(&v->news, n.name);
	return err;
}

/* As much as the manager's socket takes. */
static void manager_tell(struct server *v)
{
	int err = 0;

	while (has_news(v) && !err) {
		if (v->news.list)
			err = manager_tell_list(v);
		else if (v->news.generation)
			err = manager_tell_generation(v);
		else if (v->news.copy)
			err = manager_tell_copy(v);
		else
			err = manager_tell_node(v);
	}
	if (err && err != -EAGAIN)
		manager_lost(v, strerrordesc_np(-err));
}

/* -- what the manager says -------------------------------------------------------------------- */

static void take_told(struct server *v, int64_t now)
{
	struct message_list_told m;

	memcpy(&m, v->message.body, sizeof(m));
	for (unsigned i = 0; i < SIGNER_CLIENTS_MAX; i++) {
		struct client *c = &v->clients[i];

		if (c->fd < 0 || !c->held || c->held > m.number)
			continue;
		c->held = 0;
		client_answer(c, 0, now);
	}
}

static void take_ordered(struct server *v, int64_t now)
{
	struct message_ordered said;

	memcpy(&said, v->message.body, sizeof(said));
	for (unsigned i = 0; i < SIGNER_CLIENTS_MAX; i++) {
		struct client *c = &v->clients[i];

		if (c->fd < 0 || !c->order || c->order != v->message.head.seq)
			continue;
		c->order = 0;
		client_answer(c, operator_ordered(&c->answer, &c->answer.order, &said), now);
	}
}

static void take_copied(struct server *v, int64_t now)
{
	struct message_copied m;
	int err;

	memcpy(&m, v->message.body, sizeof(m));
	for (unsigned i = 0; i < SIGNER_CLIENTS_MAX; i++) {
		struct client *c = &v->clients[i];

		if (c->fd < 0 || !c->copying)
			continue;
		c->copying = false;
		err = operator_copied(v->signer->ledger, v->message.fds[0], m.len, &c->answer);
		client_answer(c, err, now);
	}
	message_close_fds(&v->message);
}

/* It is ours if it proves itself, whoever shows it. */
static int shown_read(const struct server *v, struct revocations *out, uint64_t *number)
{
	struct message_list m;
	uint8_t *bytes;
	time_t issued;
	int err = -EBADMSG;

	memcpy(&m, v->message.body, sizeof(m));
	bytes = m.len <= REVOCATION_LIST_MAX ? malloc((size_t)m.len + 1) : NULL;
	if (bytes && pread(v->message.fds[0], bytes, (size_t)m.len + 1, 0) == (ssize_t)m.len)
		err = revocation_list_read(out, number, &issued, bytes, m.len, v->signer->trust);
	free(bytes);
	return err;
}

static void take_shown(struct server *v)
{
	struct revocations said = {0};
	uint64_t number = 0;
	bool news = false;
	char text[24];
	int err = shown_read(v, &said, &number);

	message_close_fds(&v->message);
	if (!err)
		err = ledger_list_take(v->signer->ledger, number, &said, time(NULL), &news);
	revocations_clear(&said);
	if (err) {
		log_warn("a revocation list that was shown is of no use", "reason",
		         strerrordesc_np(-err), NULL);
		return;
	}
	if (!news)
		return;
	log_warn("revocations that this ledger did not have come back from a node", "number",
	         log_num(text, (long long)number), NULL);
	v->news.list = true;
	tell_all(v); /* numbers of nodes may have changed with it */
}

static void manager_read(struct server *v, int64_t now)
{
	int err = message_receive(v->manager_fd, PROCESS_MANAGER, PROCESS_CA, &v->message);

	if (err == -EAGAIN)
		return;
	if (err == -EBADMSG) {
		/* Nobody of ours says that: neither it nor what it may have led to is trusted. */
		log_error("the manager process sent what is no message", "reason", "malformed",
		          NULL);
		server_end(v, 1);
		return;
	}
	if (err) {
		manager_lost(v, strerrordesc_np(-err));
		return;
	}
	switch (v->message.head.type) {
	case MESSAGE_NODES:
		v->news.list = v->news.generation = true;
		tell_all(v);
		return;
	case MESSAGE_LIST_TOLD:
		take_told(v, now);
		return;
	case MESSAGE_LIST_SHOWN:
		take_shown(v);
		return;
	case MESSAGE_COPIED:
		take_copied(v, now);
		return;
	case MESSAGE_ORDERED:
		take_ordered(v, now);
		return;
	default: /* MESSAGE_SIGN, by the table */
		break;
	}
	memcpy(&v->sign, v->message.body, sizeof(v->sign));
	v->seq = v->message.head.seq;
	signer_sign(v->signer, &v->sign, time(NULL), now, &v->answer);
	manager_answer(v);
}

static void parent_read(struct server *v)
{
	int err = message_receive(v->parent_fd, PROCESS_PARENT, PROCESS_CA, &v->message);

	if (err == -EAGAIN)
		return;
	if (err) {
		server_end(v, err == -EPIPE ? 0 : 1);
		return;
	}
	message_close_fds(&v->message);
	if (v->message.head.type == MESSAGE_STOP)
		server_end(v, 0);
}

/* What each slot waits for; returns the poll's time-out in ms. */
static int server_watch(struct server *v, struct pollfd *p, int64_t now)
{
	int64_t next = INT64_MAX;
	bool room = false;

	p[SLOT_PARENT] = (struct pollfd){.fd = v->parent_fd, .events = POLLIN};
	p[SLOT_MANAGER] =
		(struct pollfd){.fd = v->manager_fd, .events = v->answering ? POLLOUT : POLLIN};
	if (has_news(v))
		p[SLOT_MANAGER].events |= POLLOUT;
	for (unsigned i = 0; i < SIGNER_CLIENTS_MAX; i++) {
		struct client *c = &v->clients[i];

		p[SLOT_CLIENTS + i] = (struct pollfd){.fd = c->fd,
		                                      .events = client_waits(c)  ? 0
		                                                : c->answer.text ? POLLOUT
		                                                                 : POLLIN};
		if (c->fd < 0)
			room = true;
		else if (c->deadline < next)
			next = c->deadline;
	}
	p[SLOT_LISTEN] = (struct pollfd){.fd = room ? v->listen_fd : -1, .events = POLLIN};
	return clock_poll_ms(next, now);
}

static void server_round(struct server *v)
{
	struct pollfd p[SLOTS];
	int64_t now;

	if (poll(p, SLOTS, server_watch(v, p, clock_now())) < 0)
		return; /* a signal: the sets hold nothing */
	now = clock_now();
	if (p[SLOT_PARENT].revents)
		parent_read(v);
	if (v->over)
		return;
	if (p[SLOT_MANAGER].revents) {
		if (v->answering)
			manager_answer(v);
		else if (p[SLOT_MANAGER].revents & ~POLLOUT)
			manager_read(v, now);
	}
	manager_tell(v);
	for (unsigned i = 0; i < SIGNER_CLIENTS_MAX; i++) {
		struct client *c = &v->clients[i];

		if (c->fd < 0)
			continue;
		if (now >= c->deadline)
			client_late(c, now);
		else if (p[SLOT_CLIENTS + i].revents && client_waits(c))
			client_end(c); /* it is gone */
		else if (p[SLOT_CLIENTS + i].revents && c->answer.text)
			client_send(c);
		else if (p[SLOT_CLIENTS + i].revents)
			client_read(v, c, now);
	}
	if (p[SLOT_LISTEN].revents)
		listener_accept(v, now);
	if (ledger_broken(v->signer->ledger)) {
		log_error("a write to the ledger failed; it is read anew", "reason", "write", NULL);
		server_end(v, 1);
	}
}

static void nonblocking(int fd)
{
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int serve(struct server *v)
{
	char why[256];
	int err;

	err = signer_new(&v->signer, AT_FDCWD, why, sizeof(why));
	if (err) {
		log_error("the ca cannot start", "reason", why, NULL);
		return 1;
	}
	err = message_send(v->parent_fd, MESSAGE_READY, 0, NULL, 0, NULL, 0);
	if (err) {
		log_error("the ca cannot reach its parent", "reason", strerrordesc_np(-err), NULL);
		server_end(v, 1);
	}
	while (!v->over)
		server_round(v);
	signer_free(v->signer);
	return v->code;
}

int signer_run(int parent_fd, int manager_fd, int listen_fd)
{
	struct server *v = calloc(1, sizeof(*v));
	int code = 1;

	if (!v) {
		log_error("the ca cannot start", "reason", "no memory", NULL);
		goto out;
	}
	v->parent_fd = parent_fd;
	v->manager_fd = manager_fd;
	v->listen_fd = listen_fd;
	nonblocking(parent_fd);
	nonblocking(manager_fd);
	nonblocking(listen_fd);
	for (unsigned i = 0; i < SIGNER_CLIENTS_MAX; i++)
		v->clients[i].fd = v->clients[i].file = -1;
	code = serve(v);
	for (unsigned i = 0; i < SIGNER_CLIENTS_MAX; i++)
		if (v->clients[i].fd >= 0)
			client_end(&v->clients[i]);
	manager_fd = v->manager_fd;
	free(v);
out:
	close(parent_fd);
	if (manager_fd >= 0)
		close(manager_fd);
	close(listen_fd);
	return code;
}
