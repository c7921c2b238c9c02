/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Of the debug build: what the log says opens what was on the wire. Of any other: there is no log. */
#include "crypto/keylog.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crypto/datagram.h"
#include "crypto/hex.h"
#include "tests/ends.h"
#include "tests/tap.h"

#define LOG_MAX 8192

static struct ends_ca ca;
static struct wolf *n1, *n2;
static struct session *client, *server;
static struct ends_queue to_client, to_server;
static struct tap tap; /* what the client sends */
static uint8_t client_random[DATAGRAM_RANDOM_LEN];
static char text[LOG_MAX];
static int fd;

static void setup(void)
{
	cr_assert_eq(wolf_start(), 0);
	ends_ca_init(&ca);
	n1 = ends_wolf(&ca, "n1", ROLE_NODE);
	n2 = ends_wolf(&ca, "n2", ROLE_NODE);
	cr_assert(n1 && n2);
	fd = memfd_create("keylog", 0);
	cr_assert_geq(fd, 0);
	tap.client = true;
	tap.last = &tap.first;
}

static void teardown(void)
{
	tap_clear(&tap);
	session_free(client);
	session_free(server);
	wolf_put(n1);
	wolf_put(n2);
	ends_ca_clear(&ca);
	close(fd);
}

TestSuite(keylog, .init = setup, .fini = teardown, .timeout = 60);

static void emit_client(void *arg, const uint8_t *d, size_t len)
{
	const uint8_t *random = datagram_hello(d, len);

	if (random)
		memcpy(client_random, random, sizeof(client_random));
	tap_note(&tap, d, len);
	ends_emit(arg, d, len);
}

static void shake_hands(void)
{
	const struct session_dial dial = {"n2", {1, 2, 3, 4}, emit_client, &to_server};
	const struct session_accept accept = {
		"10.9.0.1:1", 10, {5, 6, 7, 8}, ends_emit, &to_client};
	struct session_listener *listener;
	static struct ends_datagram d;

	cr_assert_eq(session_listener_new(&listener, n2), 0);
	cr_assert_eq(session_dial(&client, n1, &dial, ENDS_START), 0);
	while (to_server.n || to_client.n) {
		if (to_client.n) {
			ends_take(&to_client, &d);
			session_feed(client, d.bytes, d.len, ENDS_START);
			continue;
		}
		ends_take(&to_server, &d);
		if (server)
			session_feed(server, d.bytes, d.len, ENDS_START);
		else
			session_listener_feed(listener, &accept, d.bytes, d.len, ENDS_START,
			                      &server);
	}
	session_listener_free(listener);
	cr_assert_eq(session_state(client), SESSION_UP);
}

static void read_log(void)
{
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	cr_assert_geq(n, 0);
	text[n] = '\0';
}

#ifndef GINNEL_KEYLOG

Test(keylog, is_not_in_a_build_that_is_not_made_for_it)
{
	cr_expect_not(keylog_built());
	keylog_to(fd);
	shake_hands();
	read_log();
	cr_expect_str_empty(text);
}

#else

/* The secret of the first line with that label; how many such lines there are. */
static unsigned find(const char *label, uint8_t secret[32])
{
	char start[40 + 2 * sizeof(client_random) + 2], random[2 * sizeof(client_random) + 1];
	unsigned n = 0;

	hex_format(random, client_random, sizeof(client_random));
	snprintf(start, sizeof(start), "%s %s ", label, random);
	for (const char *at = text; (at = strstr(at, start)); n++) {
		cr_assert(at == text || at[-1] == '\n');
		at += strlen(start);
		cr_assert_eq(strcspn(at, "\n"), 64);
		if (!n)
			cr_assert_eq(hex_parse(secret, 32, at, 64), 0);
	}
	return n;
}

Test(keylog, opens_what_was_on_the_wire)
{
	uint8_t handshake[32], traffic[32], other[32], d[64 + SESSION_OVERHEAD];
	ssize_t n;

	cr_expect(keylog_built());
	keylog_to(fd);
	shake_hands();
	read_log();
	/* Both ends are of this program: each wrote its own. */
	cr_assert_eq(find("CLIENT_HANDSHAKE_TRAFFIC_SECRET", handshake), 2);
	cr_assert_eq(find("CLIENT_TRAFFIC_SECRET_0", traffic), 2);
	cr_assert_eq(find("SERVER_HANDSHAKE_TRAFFIC_SECRET", other), 2);
	cr_assert_eq(find("SERVER_TRAFFIC_SECRET_0", other), 2);
	n = ends_seal(client, "one packet", 10, d);
	cr_assert_gt(n, 0);
	tap_note(&tap, d, (size_t)n);
	tap_learn(&tap, handshake, 2);
	tap_learn(&tap, traffic, 3);
	tap_judge(&tap);
	cr_expect_gt(tap.kinds[22], 0); /* Certificate, Finished */
	cr_expect_eq(tap.kinds[23], 1);
	cr_expect_eq(tap.foreign, 0);
}

Test(keylog, that_was_given_no_file_writes_none)
{
	shake_hands();
	read_log();
	cr_expect_str_empty(text);
}

#endif
