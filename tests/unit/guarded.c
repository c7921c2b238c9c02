/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/guarded.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PLAN                                                                                     \
	"{\"device\":\"ginnel0\",\"guarded\":[\"10.77.0.0/16\",\"fd77::/48\",\"10.80.0.0/14\"]," \
	"\"own\":[\"10.77.1.0/24\",\"fd77:0:0:1::/64\"],\"interfaces\":[\"v1\"]}"

static struct guarded g;

static int parse(const char *text)
{
	return guarded_parse(&g, text, strlen(text));
}

Test(guarded, comes_back_as_it_was)
{
	char *text;

	cr_assert_eq(parse("[" PLAN "," PLAN "]"), 0);
	cr_expect_eq(g.n, 2);
	cr_expect_eq(g.plan[1].nguarded, 3);
	cr_expect_eq(g.plan[1].nown, 2);
	cr_expect(g.plan[1].address4.family == 4 && g.plan[1].address6.family == 6);
	text = guarded_format(&g);
	cr_expect_str_eq(text, "[" PLAN "," PLAN "]");
	free(text);
	cr_expect_eq(parse("[]"), 0);
	cr_expect_eq(g.n, 0);
}

Test(guarded, what_is_no_plan_is_refused)
{
	static const char *const bad[] = {
		"",
		"{}",
		"7",
		"[7]",
		"[{}]",
		"[" PLAN,
		"[null]",
		"[" PLAN "," PLAN "," PLAN "," PLAN "," PLAN "]",
		"[{\"device\":\"../x\",\"guarded\":[\"10.77.0.0/16\"],\"own\":[\"10.77.1.0/"
		"24\"],\"interfaces\":[]}]",
		"[{\"device\":\"lo\",\"guarded\":[\"10.77.0.0/16\"],\"own\":[\"10.77.1.0/"
		"24\"],\"interfaces\":[]}]",
		"[{\"device\":\"g\",\"guarded\":[\"0.0.0.0/0\"],\"own\":[\"10.77.1.0/"
		"24\"],\"interfaces\":[]}]",
		"[{\"device\":\"g\",\"guarded\":[\"10.77.0.0/16\"],\"own\":[\"10.78.1.0/"
		"24\"],\"interfaces\":[]}]",
		"[{\"device\":\"g\",\"guarded\":[7],\"own\":[\"10.77.1.0/24\"],\"interfaces\":[]}]",
		"[{\"device\":\"g\",\"guarded\":[\"10.77.0.0/16\"],\"own\":[],\"interfaces\":[]}]",
		"[{\"device\":\"g\",\"guarded\":[\"10.77.0.0/16\"],\"own\":[\"10.77.1.0/"
		"24\"],\"interfaces\":[\"g\"]}]",
		"[{\"device\":\"g\",\"guarded\":[\"10.77.0.0/16\"],\"own\":[\"10.77.1.0/24\"]}]",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_expect_eq(parse(bad[i]), -EBADMSG, "%s", bad[i]);
}
