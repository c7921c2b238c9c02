/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What ip_parse accepts must add up, and must not depend on bytes behind the
 * packet's end. */
#include "tun/ip.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ip_view v, again;
	uint8_t *exact;

	if (ip_parse(&v, data, len) < 0)
		return 0;
	require(v.version == data[0] >> 4 && v.src.family == v.version &&
	        v.dst.family == v.version);
	require(v.total <= len && v.l4 <= v.total && v.l4 >= (v.version == 4 ? 20 : 40));
	require(v.first || (v.fragment && v.sport == 0 && v.dport == 0));
	exact = malloc(v.total);
	memcpy(exact, data, v.total);
	memset(&again, 0, sizeof(again));
	require(ip_parse(&again, exact, v.total) == 0);
	require(addr_equal(&v.src, &again.src) && addr_equal(&v.dst, &again.dst));
	require(v.proto == again.proto && v.l4 == again.l4 && v.dport == again.dport);
	require(ip_parse(&again, exact, v.total - 1U) < 0);
	free(exact);
	return 0;
}
