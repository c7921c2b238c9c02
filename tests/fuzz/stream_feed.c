/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bytes from a socket that a stranger holds: no stream may come up by them, and none that is up
 * may deliver them.
 *
 * Input: a byte that says to whom (0 a server, 1 a client, 2 a server that is up), a byte that
 * says how many bytes at once, then the bytes.
 */
#include "crypto/stream.h"

#include "tests/ends.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ends_ca ca;
static struct wolf *node, *manager;
static const struct cert_expect a_manager = {.role = ROLE_MANAGER};

static void move(struct stream *from, struct stream *to)
{
	uint8_t none[16];
	const uint8_t *d;
	size_t n;

	d = stream_pending(from, &n);
	if (!n)
		return;
	assert(stream_feed(to, d, n) == 0);
	stream_sent(from, n);
	assert(stream_read(to, none, sizeof(none)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream *s = NULL, *peer = NULL;
	uint8_t out[256];
	bool up;
	size_t piece, n;
	ssize_t r = 0;

	if (!node) {
		assert(wolf_start() == 0);
		ends_ca_init(&ca);
		node = ends_wolf(&ca, "n1", ROLE_NODE);
		manager = ends_wolf(&ca, "m1", ROLE_MANAGER);
		assert(node && manager);
	}
	if (size < 2)
		return 0;
	up = data[0] % 3 == 2;
	piece = data[1] + 1u;
	if (data[0] % 3 == 1)
		assert(stream_dial(&s, node, ALPN_CONTROL, &a_manager) == 0);
	else
		assert(stream_accept(&s, manager, ALPN_CONTROL "," ALPN_JOIN) == 0);
	if (up) {
		assert(stream_dial(&peer, node, ALPN_CONTROL, &a_manager) == 0);
		for (int i = 0; i < 4; i++) {
			move(peer, s);
			move(s, peer);
		}
		assert(stream_up(s) && stream_up(peer));
	}
	data += 2;
	size -= 2;
	while (size && r == 0) {
		n = piece < size ? piece : size;
		if (stream_feed(s, data, n) < 0)
			break;
		data += n;
		size -= n;
		r = stream_read(s, out, sizeof(out));
		stream_pending(s, &n);
		stream_sent(s, n);
		assert(up || !stream_up(s));
	}
	if (r == 0) {
		stream_feed(s, NULL, 0);
		r = stream_read(s, out, sizeof(out));
	}
	assert(r < 0 && stream_why(s)[0]);
	stream_free(s);
	stream_free(peer);
	return 0;
}
