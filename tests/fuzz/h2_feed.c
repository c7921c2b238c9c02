/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a peer may send inside TLS: the preface and SETTINGS stand, the rest is the fuzzer's. The
 * first byte says which end is attacked, and whether as a joiner.
 */
#include "gateway/h2.h"

#include "tests/link.h"
#include <stdlib.h>
#include <string.h>

#define HELLO    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
#define SETTINGS "\0\0\0\4\0\0\0\0\0"

static struct link_cluster cluster;
static struct h2 *self;

static void on_request(void *arg, struct h2 *h, struct h2_request *r, const char *method,
                       const char *path, const char *body, size_t len)
{
	(void)arg, (void)h, (void)method;
	json_decref(h2_json(body, len));
	if (path[0] && path[1] == 'w')
		h2_watch(r);
	else if (path[0] && path[1] != 's') /* that one is never answered */
		h2_reply(r, 200, body, len);
}

static void on_closed(void *arg, struct h2_request *r)
{
	(void)arg, (void)r;
}

static ssize_t on_watch(void *arg, struct h2_request *r, char *buf, size_t max)
{
	(void)arg, (void)r;
	memset(buf, '\n', max < 100 ? max : 100);
	return (ssize_t)(max < 100 ? max : 100);
}

static const struct h2_server_ops server_ops = {NULL, on_request, on_closed, on_watch};

static void on_response(void *arg, void *user, int status, const char *body, size_t len,
                        const char *why)
{
	(void)arg, (void)user, (void)status, (void)why;
	if (body)
		json_decref(h2_json(body, len));
	h2_ask(self, "GET", "/again", NULL, 0, NULL);
}

static void on_line(void *arg, void *user, const char *line, size_t len)
{
	(void)arg, (void)user;
	json_decref(h2_json(line, len));
}

static const struct h2_client_ops client_ops = {on_response, on_line};

/* Until neither end has anything to say, or the attacked one does not want to hear. */
static void exchange(struct stream *peer)
{
	uint8_t waste[4096];
	const uint8_t *p;
	uint8_t *copy;
	size_t n, m;

	for (int i = 0; i < 64; i++) {
		p = stream_pending(peer, &n);
		if (n && !h2_over(self)) {
			copy = malloc(n);
			memcpy(copy, p, n);
			stream_sent(peer, n);
			h2_feed(self, copy, n, ENDS_START);
			free(copy);
		}
		p = h2_pending(self, &m);
		if (m > 16384)
			m = 16384;
		if (m && stream_feed(peer, p, m) < 0)
			return;
		h2_sent(self, m, ENDS_START);
		while (stream_read(peer, waste, sizeof(waste)) > 0)
			;
		if (!n && !m)
			return;
	}
}

static void attack(struct stream *peer, const uint8_t *data, size_t size)
{
	size_t part;

	while (size > 0) {
		part = size < 1024 ? size : 1024;
		if (stream_write(peer, data, part) != (ssize_t)part)
			return;
		exchange(peer);
		data += part;
		size -= part;
	}
	h2_tick(self, ENDS_START + H2_HEARTBEAT);
	exchange(peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream *peer;
	bool server;

	if (!cluster.manager)
		link_cluster_init(&cluster, link_admit_all, NULL);
	if (size < 1 || size > 16384)
		return 0;
	server = data[0] & 1;
	peer = server ? link_dial(&cluster, data[0] & 2 ? NULL : "n1") : link_accept(&cluster);
	if (server) {
		h2_server_new(&self, link_accept(&cluster), &server_ops, NULL, ENDS_START);
	} else {
		h2_client_new(&self, link_dial(&cluster, "n1"), &client_ops, NULL, ENDS_START);
		h2_ask(self, "POST", "/v1/announce", "{}", 2, NULL);
		h2_ask_watch(self, "/v1/watch", NULL);
	}
	exchange(peer);
	if (server)
		stream_write(peer, (const uint8_t *)HELLO, sizeof(HELLO) - 1);
	else
		stream_write(peer, (const uint8_t *)SETTINGS, sizeof(SETTINGS) - 1);
	attack(peer, data + 1, size - 1);
	h2_free(self);
	stream_free(peer);
	return 0;
}
