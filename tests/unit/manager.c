/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/manager.h"

#include "gateway/clock.h"
#include "gateway/message.h"
#include "tests/folder.h"
#include "tests/link.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* The process itself, on loopback; the test is its parent, its ca and its clients. */

static struct folder folder;
static struct link_cluster cluster;
static struct ends_id manager_id;
static uint16_t port;
static int parent_fd, ca_fd;
static pid_t pid;
static struct message m;
static char key_pem[1024]; /* a key's own memory is wiped in a forked child */
static size_t key_len;

static void run_manager(int listen_fd, int parent, int ca)
{
	static struct identity id;
	static struct node node = {.cluster = ENDS_CLUSTER, .name = "m1", .role = ROLE_MANAGER};
	struct manager_params p = {.node = &node,
	                           .identity = &id,
	                           .parent_fd = parent,
	                           .ca_fd = ca,
	                           .listen_fds = {listen_fd},
	                           .nlisten = 1};
	int code;

	id.trust = cluster.ca.trust;
	if (cert_key_from_pem(&id.key, (const uint8_t *)key_pem, key_len) < 0)
		_exit(8);
	id.chain.n = 1; /* the root is added by the manager */
	id.chain.at[0].der = manager_id.der;
	id.chain.at[0].len = manager_id.len;
	if (fchdir(folder.fd) < 0)
		_exit(9);
	code = manager_run(&p);
	cert_key_free(id.key);
	_exit(link_leaks() ? 7 : code);
}

/* Certificates by the real clock, for the process goes by it. */
static void issue(struct ends_id *id, const char *name, enum cert_role role, uint64_t incarnation)
{
	const struct ca_grant g = {.cluster = ENDS_CLUSTER,
	                           .node = name,
	                           .role = role,
	                           .incarnation = incarnation,
	                           .issue = 1,
	                           .not_before = time(NULL) - 60,
	                           .not_after = time(NULL) + 3600};
	const uint8_t *spki;
	size_t len;

	cr_assert_eq(cert_key_new(&id->key), 0);
	spki = cert_key_spki(id->key, &len);
	cr_assert_eq(ca_issue(cluster.ca.ca, &g, spki, len, id->der, &id->len), 0);
}

static time_t real_wall(void *arg)
{
	(void)arg;
	return time(NULL);
}

static void ca_init(void)
{
	struct cert_chain chain;
	char pem[2 * CERT_DER_MAX];
	size_t len = 0;

	cr_assert_eq(ca_new(&cluster.ca.ca, ENDS_CLUSTER, time(NULL)), 0);
	ca_chain(cluster.ca.ca, &chain);
	cr_assert_eq(cert_to_pem(pem, sizeof(pem), &len, chain.at[chain.n - 1].der,
	                         chain.at[chain.n - 1].len),
	             0);
	cr_assert_eq(cert_trust_new(&cluster.ca.trust, (const uint8_t *)pem, len), 0);
	cert_trust_pin(cluster.ca.trust, cluster.pin);
}

static int pair(int *theirs)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	*theirs = fds[1];
	return fds[0];
}

static void setup(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int listen_fd, parent_end, ca_end;
	struct registry *r;

	folder_init(&folder);
	r = folder_registry(&folder, "10.77.0.0/16");
	cr_assert_eq(folder_node(r, "m1", ROLE_MANAGER), 0);
	cr_assert_eq(folder_node(r, "n1", ROLE_NODE), 0);
	registry_close(r);
	cr_assert_eq(wolf_start(), 0);
	ca_init();
	issue(&manager_id, "m1", ROLE_MANAGER, 1);
	cr_assert_eq(cert_key_to_pem(manager_id.key, key_pem, sizeof(key_pem), &key_len), 0);
	listen_fd = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(bind(listen_fd, (struct sockaddr *)&at, sizeof(at)), 0);
	cr_assert_eq(listen(listen_fd, 1024), 0);
	getsockname(listen_fd, (struct sockaddr *)&at, &len);
	port = ntohs(at.sin_port);
	parent_fd = pair(&parent_end);
	ca_fd = pair(&ca_end);
	pid = fork();
	if (pid == 0) {
		close(parent_fd);
		close(ca_fd);
		run_manager(listen_fd, parent_end, ca_end);
	}
	close(listen_fd);
	close(parent_end);
	close(ca_end);
	cr_assert_eq(message_receive(parent_fd, PROCESS_MANAGER, PROCESS_PARENT, &m), 0);
	cr_assert_eq(m.head.type, MESSAGE_READY);
	cr_assert_eq(message_receive(ca_fd, PROCESS_MANAGER, PROCESS_CA, &m), 0);
	cr_assert_eq(m.head.type, MESSAGE_NODES); /* it follows the ledger */
}

static int manager_exit(void)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	pid = 0;
	cr_expect(WIFEXITED(status), "it ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

static void teardown(void)
{
	if (pid) {
		close(parent_fd);
		cr_expect_eq(manager_exit(), 1, "without its parent it ends");
	}
	ends_id_clear(&manager_id);
	ends_ca_clear(&cluster.ca);
	folder_clear(&folder);
}

TestSuite(manager, .init = setup, .fini = teardown, .timeout = 120);

/* -- clients -------------------------------------------------------------------------------------- */

struct peer {
	int fd;
	struct h2 *h2;
	unsigned answers, lines;
	int status;
	char text[4096], line[1024];
	bool over;
};

static void on_response(void *arg, void *user, int status, const char *body, size_t len,
                        const char *why)
{
	struct peer *p = arg;

	(void)user, (void)why;
	p->answers++;
	p->status = status;
	snprintf(p->text, sizeof(p->text), "%.*s", (int)len, body ? body : "");
}

static void on_line(void *arg, void *user, const char *line, size_t len)
{
	struct peer *p = arg;

	(void)user;
	p->lines++;
	snprintf(p->line, sizeof(p->line), "%.*s", (int)len, line);
}

static const struct h2_client_ops client_ops = {on_response, on_line};

static int tcp(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
	                         .sin_port = htons(port),
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* name NULL: a joiner. */
static void peer_dial(struct peer *p, const char *name, uint64_t incarnation)
{
	const struct cert_expect expect = {.cluster = name ? ENDS_CLUSTER : NULL,
	                                   .role = ROLE_MANAGER};
	struct wolf_params params = {.wall = real_wall};
	struct cert_chain chain = {.n = 1};
	struct ends_id id = {0};
	struct stream *s;
	struct wolf *w;

	memset(p, 0, sizeof(*p));
	if (name) {
		issue(&id, name, ROLE_NODE, incarnation);
		chain.at[0].der = id.der;
		chain.at[0].len = id.len;
		params.trust = cluster.ca.trust;
		params.cluster = ENDS_CLUSTER;
		params.chain = &chain;
		params.key = id.key;
	} else {
		params.pin = cluster.pin;
	}
	cr_assert_eq(wolf_new(&w, &params), 0);
	cr_assert_eq(stream_dial(&s, w, name ? ALPN_CONTROL : ALPN_JOIN, &expect), 0);
	wolf_put(w);
	ends_id_clear(&id);
	p->fd = tcp();
	cr_assert_eq(h2_client_new(&p->h2, s, &client_ops, p, clock_now()), 0);
}

static void peer_close(struct peer *p)
{
	h2_free(p->h2);
	close(p->fd);
}

static void peer_write(struct peer *p)
{
	const uint8_t *out;
	ssize_t sent;
	size_t n;

	while ((out = h2_pending(p->h2, &n)) && n > 0) {
		sent = send(p->fd, out, n, MSG_NOSIGNAL);
		if (sent < 0) {
			p->over = true;
			return;
		}
		h2_sent(p->h2, (size_t)sent, clock_now());
	}
}

/* One turn of at most ms. */
static void peer_turn(struct peer *p, int ms)
{
	struct pollfd poll_fd = {.fd = p->fd, .events = POLLIN};
	static uint8_t buf[16384];
	ssize_t n;

	peer_write(p);
	if (poll(&poll_fd, 1, ms) != 1)
		return;
	n = recv(p->fd, buf, sizeof(buf), 0);
	if (h2_feed(p->h2, buf, n > 0 ? (size_t)n : 0, clock_now()) < 0)
		p->over = true;
	peer_write(p);
}

#define UNTIL(p, condition, ms)                                          \
	do {                                                             \
		int64_t end_ = clock_now() + (ms)*1000000LL;             \
		while (!(condition) && !(p)->over && clock_now() < end_) \
			peer_turn(p, 20);                                \
	} while (0)

static void peer_ask(struct peer *p, const char *method, const char *path, const char *body)
{
	unsigned before = p->answers;

	cr_assert_eq(h2_ask(p->h2, method, path, body, body ? strlen(body) : 0, NULL), 0);
	UNTIL(p, p->answers > before, 5000);
}

Test(manager, serves_nodes_and_wakes_their_watches)
{
	static struct peer n1, other;

	peer_dial(&n1, "n1", 1);
	cr_assert_eq(h2_ask_watch(n1.h2, "/v1/watch", NULL), 0);
	UNTIL(&n1, n1.lines == 2, 5000);
	cr_assert_eq(n1.lines, 2u, "%s", h2_why(n1.h2));
	cr_expect(strstr(n1.line, "\"type\":\"sync\""));
	peer_dial(&other, "m1", 1);
	peer_ask(&other, "POST", "/v1/announce",
	         "{\"endpoints\":[\"10.9.0.1:4747\"],\"version\":\"1\"}");
	cr_expect_eq(other.status, 200, "%s", other.text);
	UNTIL(&n1, n1.lines == 3, 1000);
	cr_expect_eq(n1.lines, 3u);
	cr_expect(strstr(n1.line, "\"type\":\"change\""), "%s", n1.line);
	cr_expect(strstr(n1.line, "\"name\":\"m1\""), "%s", n1.line);
	peer_ask(&n1, "GET", "/v1/nope", NULL);
	cr_expect_eq(n1.status, 404);
	peer_close(&other);
	peer_close(&n1);
}

Test(manager, lets_in_only_who_is_in_the_registry)
{
	static struct peer p;

	peer_dial(&p, "stranger", 1);
	peer_ask(&p, "GET", "/v1/state", NULL);
	cr_expect(p.over);
	cr_expect_neq(p.status, 200);
	peer_close(&p);
	peer_dial(&p, "n1", 2);
	peer_ask(&p, "GET", "/v1/state", NULL);
	cr_expect(p.over, "another incarnation");
	peer_close(&p);
	peer_dial(&p, "n1", 1);
	peer_ask(&p, "GET", "/v1/state", NULL);
	cr_expect_eq(p.status, 200);
	peer_close(&p);
}

#define JOIN                                                                               \
	"{\"name\":\"n2\",\"token\":\"0123456789abcdef\",\"csr\":\"30\",\"proof\":\"30\"," \
	"\"endpoints\":[\"10.9.0.2:4747\"],\"version\":\"1\"}"

static void ca_grants(const char *name)
{
	static struct message_signed a;
	struct cert_chain own;
	struct ends_id id;

	cr_assert_eq(message_receive(ca_fd, PROCESS_MANAGER, PROCESS_CA, &m), 0);
	issue(&id, name, ROLE_NODE, 1);
	ca_chain(cluster.ca.ca, &own);
	memcpy(a.chain, id.der, id.len);
	memcpy(a.chain + id.len, own.at[own.n - 1].der, own.at[own.n - 1].len);
	a.len[0] = (uint16_t)id.len;
	a.len[1] = (uint16_t)own.at[own.n - 1].len;
	a.nchain = 2;
	a.role = ROLE_NODE;
	a.incarnation = 1;
	ends_id_clear(&id);
	cr_assert_eq(message_send(ca_fd, MESSAGE_SIGNED, m.head.seq, &a, sizeof(a), NULL, 0), 0);
}

Test(manager, takes_a_joiner_in_and_tells_the_others)
{
	static struct peer joiner, n1, n2;

	peer_dial(&n1, "n1", 1);
	cr_assert_eq(h2_ask_watch(n1.h2, "/v1/watch", NULL), 0);
	UNTIL(&n1, n1.lines == 2, 5000);
	peer_dial(&joiner, NULL, 0);
	cr_assert_eq(h2_ask(joiner.h2, "POST", "/v1/join", JOIN, strlen(JOIN), NULL), 0);
	UNTIL(&joiner, h2_up(joiner.h2), 5000);
	peer_turn(&joiner, 50);
	ca_grants("n2");
	UNTIL(&joiner, joiner.answers, 5000);
	cr_expect_eq(joiner.status, 200, "%s", joiner.text);
	cr_expect(strstr(joiner.text, "10.77.3.0/24"), "%s", joiner.text);
	UNTIL(&n1, n1.lines == 3, 1000);
	cr_expect(strstr(n1.line, "\"name\":\"n2\""), "%s", n1.line);
	peer_dial(&n2, "n2", 1);
	peer_ask(&n2, "GET", "/v1/nodes", NULL);
	cr_expect_eq(n2.status, 200);
	peer_ask(&joiner, "GET", "/v1/state", NULL);
	cr_expect_eq(joiner.status, 404, "a joiner may do nothing else");
	peer_close(&n2);
	peer_close(&joiner);
	peer_close(&n1);
}

Test(manager, stops_in_good_order)
{
	static struct peer n1;

	peer_dial(&n1, "n1", 1);
	peer_ask(&n1, "GET", "/v1/state", NULL);
	cr_expect_eq(n1.status, 200);
	cr_assert_eq(message_send(parent_fd, MESSAGE_STOP, 0, NULL, 0, NULL, 0), 0);
	UNTIL(&n1, false, 3000);
	cr_expect(n1.over);
	cr_expect_eq(manager_exit(), 0);
	peer_close(&n1);
	close(parent_fd);
}

Test(manager, ends_when_the_ca_is_gone)
{
	close(ca_fd);
	cr_expect_eq(manager_exit(), 1);
}

static int open_files(void)
{
	char path[64];
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* How long until the other side closes, in ms. */
static int64_t until_closed(int fd, const void *p, size_t n, bool half)
{
	struct timeval wait = {.tv_sec = 15};
	int64_t start = clock_now();
	char waste[256];

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (n)
		send(fd, p, n, MSG_NOSIGNAL);
	if (half)
		shutdown(fd, SHUT_WR);
	while (recv(fd, waste, sizeof(waste), 0) > 0)
		;
	close(fd);
	return (clock_now() - start) / 1000000;
}

Test(manager, closes_on_who_speaks_no_tls)
{
	static const char http[] = "GET / HTTP/1.1\r\n\r\n";
	static const char part[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
	static const char huge[] = "\x16\x03\x01\xff\xff 0123456789";
	char noise[4096];
	static struct peer n1;
	int before;

	peer_dial(&n1, "n1", 1);
	peer_ask(&n1, "GET", "/v1/state", NULL);
	before = open_files();
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (char)(i * 7919 >> 3);
	cr_expect_lt(until_closed(tcp(), http, sizeof(http) - 1, false), 2000);
	cr_expect_lt(until_closed(tcp(), noise, sizeof(noise), false), 2000);
	cr_expect_lt(until_closed(tcp(), huge, sizeof(huge) - 1, false), 7500);
	cr_expect_lt(until_closed(tcp(), part, sizeof(part) - 1, true), 2000);
	cr_expect_lt(until_closed(tcp(), NULL, 0, true), 2000);
	cr_expect_lt(until_closed(tcp(), part, sizeof(part) - 1, false), 7500);
	cr_expect_lt(until_closed(tcp(), NULL, 0, false), 7500);
	peer_ask(&n1, "GET", "/v1/state", NULL);
	cr_expect_eq(n1.status, 200, "and those who do are served");
	for (int i = 0; i < 100 && open_files() > before; i++)
		usleep(50000);
	cr_expect_leq(open_files(), before, "nothing is left behind");
	peer_close(&n1);
}

Test(manager, a_crowd_of_silent_strangers_keeps_nobody_out)
{
	int fds[3 * MANAGER_HALF_OPEN_SOURCE];
	static struct peer n1;

	/* They all come from one address, and so does the node: their share is used up. */
	for (unsigned i = 0; i < 3 * MANAGER_HALF_OPEN_SOURCE; i++)
		fds[i] = tcp();
	for (int i = 0; i < 10; i++) { /* as a node would: again */
		peer_dial(&n1, "n1", 1);
		peer_ask(&n1, "GET", "/v1/state", NULL);
		if (n1.status == 200)
			break;
		peer_close(&n1);
		usleep(1000000);
	}
	cr_expect_eq(n1.status, 200, "once their time is over");
	peer_close(&n1);
	for (unsigned i = 0; i < 3 * MANAGER_HALF_OPEN_SOURCE; i++)
		close(fds[i]);
}

Test(manager, joiners_make_room_for_each_other)
{
	static struct peer crowd[MANAGER_JOINERS_MAX + 4];
	unsigned over = 0;

	for (unsigned i = 0; i < MANAGER_JOINERS_MAX + 4; i++) {
		peer_dial(&crowd[i], NULL, 0);
		UNTIL(&crowd[i], h2_up(crowd[i].h2), 5000);
		cr_expect(h2_up(crowd[i].h2), "%u", i);
	}
	for (unsigned i = 0; i < MANAGER_JOINERS_MAX + 4; i++) {
		peer_turn(&crowd[i], 20);
		over += crowd[i].over;
		cr_expect_eq(crowd[i].over, i < 4, "%u", i);
		peer_close(&crowd[i]);
	}
	cr_expect_eq(over, 4u);
}
