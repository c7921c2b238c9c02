/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/ports.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLAIMS 60

static struct painter *painter;

static void setup(void)
{
	cr_assert_eq(painter_new(&painter), 0);
}

static void teardown(void)
{
	painter_free(painter);
}

TestSuite(ports, .init = setup, .fini = teardown);

Test(ports, text_and_back)
{
	static const char *const texts[] = {"5432/tcp", "8000-8100/udp", "icmp",       "tcp",
	                                    "sctp",     "65535/sctp",    "1-65535/udp"};
	struct policy_ports p;
	char text[POLICY_PORTS_TEXT_MAX];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		cr_expect_null(ports_parse(&p, texts[i]), "%s", texts[i]);
		policy_ports_format(&p, text);
		cr_expect_str_eq(text, texts[i]);
	}
	cr_expect_null(ports_parse(&p, "7-7/tcp"));
	policy_ports_format(&p, text);
	cr_expect_str_eq(text, "7/tcp");
}

Test(ports, what_is_none_is_refused)
{
	static const char *const texts[] = {"",
	                                    "80",
	                                    "/tcp",
	                                    "80/",
	                                    "80/tc",
	                                    "80/tcp/tcp",
	                                    "0/tcp",
	                                    "65536/tcp",
	                                    "-1/tcp",
	                                    "1-/tcp",
	                                    "9-8/tcp",
	                                    "0-8/tcp",
	                                    "080/tcp",
	                                    "8/icmp",
	                                    "http",
	                                    "80 /tcp",
	                                    "1-2-3/tcp",
	                                    "tcp/80",
	                                    "+1/tcp",
	                                    "0x50/tcp",
	                                    "TCP",
	                                    "icmp/icmp",
	                                    "100000/tcp",
	                                    "1.5/tcp",
	                                    "99999999999999999999999999999999999999999/tcp"};
	struct policy_ports p;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		cr_expect_not_null(ports_parse(&p, texts[i]), "%s", texts[i]);
}

Test(ports, each_packet_has_one_point)
{
	struct policy_ports p;

	cr_expect_eq(ports_point(IPPROTO_ICMP, 0), PORTS_ICMP);
	cr_expect_eq(ports_point(IPPROTO_ICMPV6, 77), PORTS_ICMP);
	cr_expect_eq(ports_point(IPPROTO_TCP, 0), PORTS_TCP);
	cr_expect_eq(ports_point(IPPROTO_TCP, 65535), PORTS_UDP - 1);
	cr_expect_eq(ports_point(IPPROTO_UDP, 0), PORTS_UDP);
	cr_expect_eq(ports_point(IPPROTO_SCTP, 65535), PORTS_LAST);
	cr_expect_eq(ports_point(47, 80), PORTS_OTHER);
	cr_expect_eq(ports_point(0, 0), PORTS_OTHER);
	ports_at(PORTS_UDP + 53, &p);
	cr_expect(p.proto == IPPROTO_UDP && p.first == 53 && p.last == 53);
	ports_at(PORTS_ICMP, &p);
	cr_expect(p.proto == IPPROTO_ICMP && p.first == 0);
	ports_at(PORTS_OTHER, &p);
	cr_expect(p.proto == 0);
}

/* Painted as one would by hand, point by point. */
static void compare(unsigned *seed, unsigned n)
{
	static uint32_t line[PORTS_LAST + 1];
	struct claim claims[CLAIMS];
	const struct cell *cells;
	uint32_t ncells, i, at;

	memset(line, 0xff, sizeof(line));
	for (i = 0; i < n; i++) {
		uint32_t first = (uint32_t)rand_r(seed) % (PORTS_LAST + 1), last;

		/* Many meet in a corner, some take all, some end where the line does. */
		if (rand_r(seed) % 2)
			first %= 16;
		last = first + (uint32_t)rand_r(seed) % 12;
		if (rand_r(seed) % 9 == 0)
			last = PORTS_LAST;
		if (last > PORTS_LAST)
			last = PORTS_LAST;
		claims[i] = (struct claim){{first, last}, i / 2};
		for (at = first; at <= last; at++)
			if (line[at] == PORTS_NOBODY)
				line[at] = i / 2;
	}
	cr_assert_eq(painter_paint(painter, claims, n, &cells, &ncells), 0);
	cr_assert_eq(cells[0].start, 0);
	cr_assert_leq(ncells, 2 * n + 1);
	for (i = 1; i < ncells; i++)
		cr_assert(cells[i].start > cells[i - 1].start &&
		          cells[i].rule != cells[i - 1].rule);
	for (i = 0, at = 0; at <= PORTS_LAST; at++) {
		if (i + 1 < ncells && cells[i + 1].start == at)
			i++;
		cr_assert_eq(cells[i].rule, line[at], "at %u of %u claims", at, n);
		if (at % 97 == 0 || at < 64)
			cr_assert_eq(cells_find(cells, ncells, at), i);
	}
}

Test(ports, the_first_claim_to_a_point_has_it)
{
	unsigned seed = (unsigned)time(NULL);

	for (unsigned round = 0; round < 60; round++)
		compare(&seed, round % CLAIMS);
}
