/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What anybody can send to a session that is up: nothing of it may be delivered, and afterwards a
 * genuine record still is.
 *
 * Input: a byte that says what it is (0 a datagram as it stands, 1 with our CID put in, 2 a
 * genuine record that the rest is XORed into), then the bytes.
 */
#include "crypto/session.h"

#include <errno.h>

#include "tests/ends.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RECORDS 50000 /* of one session: wolfSSL's bookkeeping must not be the limit */

static struct ends_ca ca;
static struct wolf *n1, *n2;
static struct session *client, *server;

static void pair_make(void)
{
	static struct ends_queue to_client, to_server;
	struct session_dial dial = {"n2", {1, 2, 3, 4}, ends_emit, &to_server};
	struct session_accept accept = {"address", 7, {5, 6, 7, 8}, ends_emit, &to_client};
	struct session_listener *listener;
	struct ends_datagram d;

	session_free(client);
	session_free(server);
	server = NULL;
	assert(session_listener_new(&listener, n2) == 0);
	assert(session_dial(&client, n1, &dial, ENDS_START) == 0);
	while (to_client.n || to_server.n) {
		if (to_server.n) {
			ends_take(&to_server, &d);
			if (server)
				session_feed(server, d.bytes, d.len, ENDS_START);
			else
				session_listener_feed(listener, &accept, d.bytes, d.len, ENDS_START,
				                      &server);
		}
		if (to_client.n) {
			ends_take(&to_client, &d);
			session_feed(client, d.bytes, d.len, ENDS_START);
		}
	}
	session_listener_free(listener);
	session_set_emit(client, NULL, NULL);
	session_set_emit(server, NULL, NULL);
	assert(session_state(client) == SESSION_UP && session_state(server) == SESSION_UP);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t d[ENDS_DATAGRAM], out[ENDS_DATAGRAM], plain[1000];
	bool changed = true;
	ssize_t r;
	size_t n;

	if (!n1) {
		assert(wolf_start() == 0);
		ends_ca_init(&ca);
		n1 = ends_wolf(&ca, "n1", ROLE_NODE);
		n2 = ends_wolf(&ca, "n2", ROLE_NODE);
		pair_make();
	}
	if (!size || size > sizeof(plain))
		return 0;
	if (session_sealed(client) > RECORDS)
		pair_make();
	n = size - 1;
	memcpy(d, data + 1, n);
	if (data[0] % 3 == 1 && n > 5) {
		d[0] = (uint8_t)(0x30 | (d[0] & 0x0f));
		memcpy(d + 1, session_cid(server), SESSION_CID_LEN);
	} else if (data[0] % 3 == 2) {
		n = (size_t)ends_seal(client, plain, size, d);
		changed = false;
		for (size_t i = 0; i + 1 < size; i++) {
			d[i] ^= data[1 + i];
			changed |= data[1 + i] != 0;
		}
	}
	r = ends_open(server, d, n, out, ENDS_START);
	assert(changed ? r == -EBADMSG || r == -EALREADY : r == (ssize_t)size);
	assert(session_state(server) == SESSION_UP);
	r = ends_seal(client, "still", 5, d);
	assert(r > 0);
	assert(ends_open(server, d, (size_t)r, out, ENDS_START) == 5);
	return 0;
}
