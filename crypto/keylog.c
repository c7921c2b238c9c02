/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/keylog.h"

#ifndef GINNEL_KEYLOG

bool keylog_built(void)
{
	return false;
}

void keylog_to(int fd)
{
	(void)fd;
}

void keylog_secret(struct WOLFSSL *ssl, int id, const unsigned char *secret, int len)
{
	(void)ssl;
	(void)id;
	(void)secret;
	(void)len;
}

#else

#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/settings.h>

#include "crypto/hex.h"
#include "crypto/secret.h"

#define RANDOM_LEN 32
#define SECRET_MAX 64 /* of SHA-512 */
#define LABEL_MAX  40

static int to = -1; /* set once, before there are threads */

bool keylog_built(void)
{
	return true;
}

void keylog_to(int fd)
{
	to = fd;
}

static const char *label_of(int id)
{
	switch (id) {
	case CLIENT_HANDSHAKE_TRAFFIC_SECRET:
		return "CLIENT_HANDSHAKE_TRAFFIC_SECRET";
	case SERVER_HANDSHAKE_TRAFFIC_SECRET:
		return "SERVER_HANDSHAKE_TRAFFIC_SECRET";
	case CLIENT_TRAFFIC_SECRET:
		return "CLIENT_TRAFFIC_SECRET_0";
	case SERVER_TRAFFIC_SECRET:
		return "SERVER_TRAFFIC_SECRET_0";
	case EXPORTER_SECRET:
		return "EXPORTER_SECRET";
	default:
		return NULL;
	}
}

void keylog_secret(WOLFSSL *ssl, int id, const unsigned char *secret, int len)
{
	char line[LABEL_MAX + 2 * RANDOM_LEN + 2 * SECRET_MAX + 4];
	char random_hex[2 * RANDOM_LEN + 1], secret_hex[2 * SECRET_MAX + 1];
	const char *label = label_of(id);
	uint8_t random[RANDOM_LEN];
	int n;

	if (to < 0 || !label || len <= 0 || len > SECRET_MAX ||
	    wolfSSL_get_client_random(ssl, random, sizeof(random)) != sizeof(random))
		return;
	hex_format(random_hex, random, sizeof(random));
	hex_format(secret_hex, secret, (size_t)len);
	n = snprintf(line, sizeof(line), "%s %s %s\n", label, random_hex, secret_hex);
	if (n < 0 || (size_t)n >= sizeof(line) || write(to, line, (size_t)n) != n)
		fputs("key log: a line is not whole\n", stderr);
	secret_wipe(line, sizeof(line));
	secret_wipe(secret_hex, sizeof(secret_hex));
}

#endif
