/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A text that parses is written as a text that parses to the same, and to no
 * other text again. */
#include "tun/ip.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 128

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void try_addr(const char *text)
{
	char out[ADDR_TEXT_MAX];
	struct addr a, b;

	if (addr_parse(&a, text) < 0)
		return;
	addr_format(&a, out);
	require(addr_parse(&b, out) == 0 && addr_equal(&a, &b));
}

static void try_prefix(const char *text)
{
	char out[PREFIX_TEXT_MAX];
	struct prefix p, q;
	struct addr first;

	if (prefix_parse(&p, text) < 0)
		return;
	prefix_format(&p, out);
	require(prefix_parse(&q, out) == 0 && prefix_equal(&p, &q));
	require(prefix_contains(&p, &p.addr) && prefix_host(&p, 0, &first));
	require(addr_equal(&first, &p.addr));
}

static void try_endpoint(const char *text)
{
	char out[ENDPOINT_TEXT_MAX];
	struct endpoint e, f;

	if (endpoint_parse(&e, text, 4747) < 0)
		return;
	require(e.port != 0);
	endpoint_format(&e, out);
	require(endpoint_parse(&f, out, 1) == 0 && endpoint_equal(&e, &f));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char text[TEXT_MAX];

	if (len >= sizeof(text))
		return 0;
	memcpy(text, data, len);
	text[len] = '\0';
	try_addr(text);
	try_prefix(text);
	try_endpoint(text);
	return 0;
}
