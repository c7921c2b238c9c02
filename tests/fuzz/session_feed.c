/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a stranger can send to a handshake: no session may come up by it, whatever the order.
 *
 * Input: a byte that says to whom (0 a listener, 1 a client, 2 a half-open server), then
 * datagrams, each behind a byte that says what it is: its low 7 bits are the length / 4 of one
 * taken from the input; with the top bit set, a genuine one is taken and the next byte of input
 * says which and at which place the byte after that changes it.
 */
#include "crypto/session.h"

#include "tests/ends.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ends_ca ca;
static struct wolf *n1, *n2;
static struct session_listener *listener;
static struct ends_queue genuine; /* of one undisturbed handshake, both directions */

static const struct session_accept from = {"address", 7, {5, 6, 7, 8}, NULL, NULL};

static void keep(void *arg, const uint8_t *d, size_t len)
{
	if (genuine.n < 64)
		ends_put(&genuine, d, len, 0);
	ends_put(arg, d, len, 0);
}

static void start(void)
{
	static struct ends_queue to_client, to_server;
	struct session_dial dial = {"n2", {1, 2, 3, 4}, keep, &to_server};
	struct session_accept accept = from;
	struct session *c, *s = NULL;
	struct ends_datagram d;

	assert(wolf_start() == 0);
	ends_ca_init(&ca);
	n1 = ends_wolf(&ca, "n1", ROLE_NODE);
	n2 = ends_wolf(&ca, "n2", ROLE_NODE);
	assert(n1 && n2 && session_listener_new(&listener, n2) == 0);
	assert(session_dial(&c, n1, &dial, ENDS_START) == 0);
	accept.emit = keep;
	accept.emit_arg = &to_client;
	while (to_client.n || to_server.n) {
		if (to_server.n) {
			ends_take(&to_server, &d);
			if (s)
				session_feed(s, d.bytes, d.len, ENDS_START);
			else
				session_listener_feed(listener, &accept, d.bytes, d.len, ENDS_START,
				                      &s);
		}
		if (to_client.n) {
			ends_take(&to_client, &d);
			session_feed(c, d.bytes, d.len, ENDS_START);
		}
	}
	assert(session_state(c) == SESSION_UP);
	session_free(c);
	session_free(s);
}

static size_t take(const uint8_t **data, size_t *size, uint8_t out[ENDS_DATAGRAM])
{
	size_t n = 0;
	uint8_t what = **data;

	(*data)++;
	(*size)--;
	if (what & 0x80 && *size >= 3) {
		const struct ends_datagram *d = &genuine.d[(*data)[0] % genuine.n];

		n = d->len;
		memcpy(out, d->bytes, n);
		out[((*data)[1] * 5u) % n] ^= (*data)[2];
		*data += 3;
		*size -= 3;
	} else {
		n = (what & 0x7fu) * 4u;
		if (n > *size)
			n = *size;
		memcpy(out, *data, n);
		*data += n;
		*size -= n;
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t d[ENDS_DATAGRAM];
	struct session_dial dial = {.expect = "n2", .cid = {1, 2, 3, 4}};
	struct session *s = NULL, *other = NULL;
	int64_t now = ENDS_START;
	uint8_t whom;

	if (!n1)
		start();
	if (size < 2)
		return 0;
	whom = *data++ % 3;
	size--;
	if (whom == 1) {
		assert(session_dial(&s, n1, &dial, now) == 0);
	} else if (whom == 2) {
		/* The second hello with its cookie, which is good for long. */
		for (unsigned i = 0; i < genuine.n && !s; i++)
			session_listener_feed(listener, &from, genuine.d[i].bytes, genuine.d[i].len,
			                      now, &s);
		assert(s);
	}
	for (int i = 0; i < 40 && size; i++) {
		size_t n = take(&data, &size, d);

		if (s && !session_is_new_hello(s, d, n))
			session_feed(s, d, n, now);
		else
			session_listener_feed(listener, &from, d, n, now, &other);
		session_datagram_cid(d, n);
		session_datagram_handshake(d, n);
		session_free(other);
		other = NULL;
		now += 50 * ENDS_MS;
		if (s && session_deadline(s) <= now)
			session_tick(s, now);
		assert(!s || session_state(s) != SESSION_UP);
		assert(!s || session_state(s) != SESSION_FAILED || session_why(s)[0]);
	}
	session_free(s);
	return 0;
}
