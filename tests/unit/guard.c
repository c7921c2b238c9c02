/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What reaches rule text, and what the plan refuses. What the rules do to packets is tested in
 * namespaces: netns/guard.bats.
 */
#include "gateway/privsep/guard.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/privsep/forwarding.h"
#include "gateway/privsep/rules.h"

static struct node node;
static struct config config;
static struct guard_plan plan;
static char why[256];

static struct prefix prefix(const char *text)
{
	struct prefix p;

	cr_assert_eq(prefix_parse(&p, text), 0, "%s", text);
	return p;
}

static void setup(void)
{
	memset(&node, 0, sizeof(node));
	memset(&config, 0, sizeof(config));
	strcpy(config.device, "ginnel0");
	node.overlay[node.noverlay++] = prefix("10.77.0.0/16");
	node.overlay[node.noverlay++] = prefix("fd77::/48");
	node.pools[node.npools++] = prefix("10.80.0.0/14");
	node.prefixes[node.nprefixes++] = prefix("10.77.1.0/24");
	node.prefixes[node.nprefixes++] = prefix("fd77:0:0:1::/64");
	memset(why, 0, sizeof(why));
}

static int make(void)
{
	return guard_plan_make(&plan, &node, &config, why, sizeof(why));
}

TestSuite(guard, .init = setup);

Test(guard, names_that_may_reach_rule_text)
{
	static const char *const good[] = {"v", "v1", "ginnel0", "gnl0123456789ab", "br-0.1_x"};
	static const char *const bad[] = {"",        "V1",     "1v",  "-v",  ".v",
	                                  "a b",     "a\"b",   "a;b", "a{b", "a*",
	                                  "a\nb",    "a/../b", "a%d", "a$x", "gnl0123456789abc",
	                                  "\xc3\xa4"};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		cr_expect(guard_name_ok(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_expect_not(guard_name_ok(bad[i]), "%s", bad[i]);
}

Test(guard, a_plan_holds_overlay_and_pools_and_the_node)
{
	strcpy(config.interfaces[config.ninterfaces++], "v1");
	cr_assert_eq(make(), 0);
	cr_expect_eq(plan.nguarded, 3);
	cr_expect_eq(plan.nown, 2);
	cr_expect_eq(plan.ninterfaces, 1);
	cr_expect_eq(plan.address4.b[3], 1);
	cr_expect_eq(plan.address6.b[15], 1);
	cr_expect_eq(plan.state_dir, -1);
}

Test(guard, own_prefixes_lie_inside)
{
	node.prefixes[0] = prefix("10.78.1.0/24");
	cr_expect_eq(make(), -EINVAL);
	cr_expect(strstr(why, "10.78.1.0/24"), "%s", why);
	node.prefixes[0] = prefix("10.0.0.0/8");
	cr_expect_eq(make(), -EINVAL);
	node.prefixes[0] = prefix("10.81.3.0/24"); /* of a pool */
	cr_expect_eq(make(), 0);
}

Test(guard, nobody_is_cut_off_from_the_world)
{
	static const char *const wide[] = {"0.0.0.0/0", "10.0.0.0/7",  "::/0",
	                                   "fc00::/15", "127.0.0.0/8", "224.0.0.0/8"};

	for (size_t i = 0; i < sizeof(wide) / sizeof(*wide); i++) {
		setup();
		node.pools[0] = prefix(wide[i]);
		cr_expect_eq(make(), -EINVAL, "%s", wide[i]);
	}
}

Test(guard, a_node_without_an_address_is_none)
{
	node.nprefixes = 0;
	cr_expect_eq(make(), -EINVAL);
}

Test(guard, devices_and_links_have_names_of_their_own)
{
	static const char *const bad[] = {"lo", "ginnel0", "x\" }; flush", "V1", ""};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		setup();
		strcpy(config.interfaces[config.ninterfaces++], bad[i]);
		cr_expect_eq(make(), -EINVAL, "%s", bad[i]);
	}
	setup();
	strcpy(config.device, "lo");
	cr_expect_eq(make(), -EINVAL);
	strcpy(config.device, "a;b");
	cr_expect_eq(make(), -EINVAL);
	config.device[0] = 0;
	cr_expect_eq(make(), 0);
	cr_expect_str_eq(plan.device, "ginnel0");
}

Test(guard, rule_text_ends_with_all_elements)
{
	static const char *const wanted[] = {
		"add element inet ginnel pools { 10.77.0.0/16, 10.80.0.0/14 }\n",
		"add element inet ginnel pools6 { fd77::/48 }\n",
		"add element inet ginnel own { 10.77.1.0/24 }\n",
		"add element inet ginnel own6 { fd77:0:0:1::/64 }\n",
		"add element inet ginnel self { 10.77.1.1 }\n",
		"add element inet ginnel self6 { fd77:0:0:1::1 }\n",
		"add element inet ginnel tun { \"ginnel0\" }\n",
		"add element inet ginnel links { \"v1\" }\n",
		"add element inet ginnel inward { \"ginnel0\" : goto from_tun }\n",
		"add element inet ginnel across { \"ginnel0\" : goto delivered }\n",
		"add element inet ginnel outward { \"ginnel0\" : goto into }\n",
		"add element inet ginnel inward { \"v1\" : goto link }\n",
		"add element inet ginnel across { \"v1\" : jump mine }\n",
		"add element inet ginnel outward { \"v1\" : goto onto }\n",
		"add element arp ginnel pools { 10.77.0.0/16, 10.80.0.0/14 }\n",
		"add element arp ginnel own { 10.77.1.0/24 }\n",
		"add element arp ginnel self { 10.77.1.1 }\n",
		"add element arp ginnel links { \"v1\" }\n",
	};
	char *text;

	strcpy(config.interfaces[config.ninterfaces++], "v1");
	cr_assert_eq(make(), 0);
	cr_assert_eq(rules_text(&plan, &text), 0);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		cr_expect(strstr(text, wanted[i]), "%s", wanted[i]);
	free(text);
}

Test(guard, the_owned_copy_guards_and_does_nothing_else)
{
	static const char *const there[] = {"flags owner;",
	                                    "chain pre {",
	                                    "chain post {",
	                                    "chain pass {",
	                                    "chain link {",
	                                    "chain onto {",
	                                    "add element inet ginnel_live pools {",
	                                    "add element inet ginnel_live self6 {"};
	static const char *const absent[] = {"masquerade",   "verdict4",  "reject",
	                                     "inet ginnel ", "table arp", "table bridge"};
	char *text;

	cr_assert_eq(make(), 0);
	cr_assert_eq(rules_live_text(&plan, &text), 0);
	for (size_t i = 0; i < sizeof(there) / sizeof(*there); i++)
		cr_expect(strstr(text, there[i]), "%s", there[i]);
	for (size_t i = 0; i < sizeof(absent) / sizeof(*absent); i++)
		cr_expect_null(strstr(text, absent[i]), "%s", absent[i]);
	free(text);
}

Test(guard, no_text_is_made_of_a_name_that_is_none)
{
	char *text;

	cr_assert_eq(make(), 0);
	strcpy(plan.device, "x\" }; x");
	cr_expect_eq(rules_text(&plan, &text), -EINVAL);
	cr_expect_eq(rules_live_text(&plan, &text), -EINVAL);
	cr_assert_eq(make(), 0);
	strcpy(plan.interfaces[plan.ninterfaces++], "a b");
	cr_expect_eq(rules_text(&plan, &text), -EINVAL);
	cr_assert_eq(make(), 0);
	plan.nguarded = 0; /* tables without pools would guard nothing */
	cr_expect_eq(rules_text(&plan, &text), -EINVAL);
}

static int line(const char *text)
{
	struct forwarding_line l;

	return forwarding_line_parse(&l, text, strlen(text));
}

Test(guard, remembered_values_are_of_the_two_kinds_alone)
{
	static const char *const bad[] = {
		"",
		" ",
		"ipv4",
		"ipv4 all forwarding",
		"ipv4 all forwarding 2",
		"ipv4 all forwarding 0 ",
		"ipv4 eth0 forwarding 0",
		"ipv5 all forwarding 0",
		"ipv4 eth0 accept_ra 1",
		"ipv6 eth0 accept_ra 3",
		"ipv6 ../x accept_ra 1",
		"ipv6 .. accept_ra 1",
		"ipv6 eth0 disable_ipv6 1",
		"ipv6 eth0 accept_raa 1",
		"ipv6 0123456789abcdef accept_ra 1",
		"ipv6  accept_ra 1",
	};
	struct forwarding_line l;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_expect_eq(line(bad[i]), -EBADMSG, "%s", bad[i]);
	cr_expect_eq(line("ipv4 all forwarding 0"), 0);
	cr_assert_eq(forwarding_line_parse(&l, "ipv6 eth0.1 accept_ra 1xx", 23), 0);
	cr_expect_str_eq(l.family, "ipv6");
	cr_expect_str_eq(l.name, "eth0.1");
	cr_expect_str_eq(l.key, "accept_ra");
	cr_expect_eq(l.value, 1);
}
