/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/flows.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define SEC FLOWS_SECOND

#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16

static const uint8_t key[16] = "0123456789abcdef";
static struct flows *f;
static uint32_t generation = 1, mine, others;
static int64_t now = 1000 * SEC;

static void enter(void)
{
	cr_assert_eq(flows_new(&f, key), 0);
	mine = flows_owner(f, "mine");
	others = flows_owner(f, "others");
	cr_assert_neq(mine, others);
}

static void leave(void)
{
	flows_free(f);
}

TestSuite(flows, .init = enter, .fini = leave, .timeout = 120);

/* -- packets ----------------------------------------------------------------------------------- */

static struct ip_view view(uint8_t proto, const char *src, uint16_t sport, const char *dst,
                           uint16_t dport, uint8_t flags)
{
	struct ip_view v = {
		.proto = proto, .first = true, .sport = sport, .dport = dport, .flags = flags};

	cr_assert_eq(addr_parse(&v.src, src), 0);
	cr_assert_eq(addr_parse(&v.dst, dst), 0);
	cr_assert_eq(v.src.family, v.dst.family);
	v.version = v.src.family;
	return v;
}

static struct ip_view tcp(const char *src, uint16_t sport, const char *dst, uint16_t dport,
                          uint8_t flags)
{
	return view(IPPROTO_TCP, src, sport, dst, dport, flags);
}

static struct ip_view udp(const char *src, uint16_t sport, const char *dst, uint16_t dport)
{
	return view(IPPROTO_UDP, src, sport, dst, dport, 0);
}

static struct ip_view echo(const char *src, const char *dst, bool request, uint16_t id)
{
	struct ip_view v = view(IPPROTO_ICMP, src, request ? 8 << 8 : 0, dst, 0, 0);

	v.echo = id;
	if (v.version == 6) {
		v.proto = IPPROTO_ICMPV6;
		v.sport = (uint16_t)((request ? 128 : 129) << 8);
	}
	return v;
}

static struct ip_view back(struct ip_view v, uint8_t flags)
{
	struct ip_view b = v;

	b.src = v.dst;
	b.dst = v.src;
	b.sport = v.dport;
	b.dport = v.sport;
	b.flags = flags;
	return b;
}

/* What the engine does with one, by a policy that lets all into port 5432 and 53, echo requests, and GRE
 * out of 10.77.1.
 */
static bool strict(const struct ip_view *v, bool swapped)
{
	uint16_t port = swapped ? v->sport : v->dport;

	if (v->proto == IPPROTO_GRE)
		return (swapped ? v->dst.b[2] : v->src.b[2]) == 1;
	if (v->proto == IPPROTO_ICMP || v->proto == IPPROTO_ICMPV6)
		return v->sport >> 8 == 8 || v->sport >> 8 == 128;
	return port == 5432 || port == 53;
}

static bool nobody(const struct ip_view *v, bool swapped)
{
	(void)v;
	(void)swapped;
	return false;
}

/* The database may talk to all, and nobody to it. */
static bool db_closed(const struct ip_view *v, bool swapped)
{
	return (swapped ? v->src.b[2] : v->dst.b[2]) != 2;
}

static bool everybody(const struct ip_view *v, bool swapped)
{
	(void)v;
	(void)swapped;
	return true;
}

static bool (*policy)(const struct ip_view *v, bool swapped) = strict;
static unsigned asked;

static bool judged(struct flow_look *l, enum flow found, const struct ip_view *v, uint32_t owner)
{
	if (found == FLOW_KNOWN || found == FLOW_NONE)
		return found == FLOW_KNOWN;
	asked++;
	return policy(v, found == FLOW_ASK_REPLY) && flows_allow(l, owner);
}

static bool passes_of(struct ip_view v, uint32_t owner)
{
	struct flow_look l;
	enum flow found = flows_look(&l, f, &v, generation, now);

	return judged(&l, found, &v, owner);
}

static bool passes(struct ip_view v)
{
	return passes_of(v, mine);
}

static bool quote_passes(struct ip_view v)
{
	struct flow_look l;
	enum flow found = flows_look_quoted(&l, f, &v, generation, now);

	return judged(&l, found, &v, mine);
}

#define PASSES(v)  cr_expect(passes(v))
#define REFUSED(v) cr_expect_not(passes(v))

#define WEB "10.77.1.5"
#define DB  "10.77.2.9"

static struct ip_view syn(void)
{
	return tcp(WEB, 40000, DB, 5432, SYN);
}

static struct ip_view data(void)
{
	return tcp(WEB, 40000, DB, 5432, ACK);
}

/* A connection that is up. */
static void connected(void)
{
	PASSES(syn());
	PASSES(back(syn(), SYN | ACK));
	PASSES(data());
}

/* -- replies ------------------------------------------------------------------------------------- */

Test(flows, replies_pass_and_nothing_else_does)
{
	REFUSED(back(syn(), SYN | ACK)); /* not before */
	REFUSED(back(syn(), ACK));
	connected();
	PASSES(back(syn(), ACK));
	REFUSED(tcp(DB, 5432, WEB, 40001, ACK));
	REFUSED(tcp(DB, 5433, WEB, 40000, ACK));
	REFUSED(tcp("10.77.2.10", 5432, WEB, 40000, ACK));
	REFUSED(tcp(DB, 5432, "10.77.1.6", 40000, ACK));
	REFUSED(udp(DB, 5432, WEB, 40000));
	cr_expect_eq(flows_count(f), 1);
	cr_expect_eq(flows_share(f, mine), 1);
}

Test(flows, both_families_and_either_order_of_addresses)
{
	PASSES(tcp("10.77.9.1", 5432, "10.77.1.1", 5432, SYN));
	PASSES(tcp("10.77.1.1", 5432, "10.77.9.1", 5432, SYN | ACK));
	PASSES(udp("fd77::1", 1000, "fd77::2", 53));
	PASSES(udp("fd77::2", 53, "fd77::1", 1000));
	PASSES(udp("fd77:9::1", 1000, "fd77::2", 53));
	PASSES(udp("fd77::2", 53, "fd77:9::1", 1000));
	REFUSED(udp("fd77::2", 53, "fd77:9::2", 1000));
	REFUSED(udp("fd77::3", 53, "fd77:9::1", 1000));
	cr_expect_eq(flows_count(f), 3);
}

Test(flows, a_known_flow_is_not_asked_about)
{
	connected();
	asked = 0;
	for (int i = 0; i < 100; i++) {
		PASSES(data());
		PASSES(back(data(), ACK));
		now += SEC;
	}
	cr_expect_eq(asked, 0);
}

Test(flows, the_reverse_direction_carries_no_bare_syn)
{
	connected();
	REFUSED(back(syn(), SYN));
	PASSES(data()); /* and who tries does not end the flow */
	PASSES(back(data(), ACK));
	cr_expect_eq(flows_count(f), 1);
}

Test(flows, an_init_of_sctp_is_like_a_bare_syn)
{
	struct ip_view init = view(IPPROTO_SCTP, WEB, 40000, DB, 5432, 1);

	PASSES(init);
	PASSES(back(init, 2));
	REFUSED(back(init, 1));
	PASSES(back(init, 3));
}

Test(flows, a_syn_the_other_way_turns_a_flow_if_it_may)
{
	struct ip_view there = tcp(WEB, 5432, DB, 5432, SYN);

	PASSES(there);
	PASSES(back(there, SYN | ACK));
	cr_assert(passes_of(back(there, SYN), others)); /* allowed by itself */
	cr_expect_eq(flows_count(f), 1);
	cr_expect_eq(flows_share(f, mine), 0);
	cr_expect_eq(flows_share(f, others), 1);
	PASSES(tcp(WEB, 5432, DB, 5432, SYN | ACK));
	PASSES(tcp(DB, 5432, WEB, 5432, ACK));
}

/* -- connections that are older than the table ---------------------------------------------------- */

Test(flows, its_opener_takes_up_an_older_connection)
{
	REFUSED(back(data(), ACK)); /* its receiver cannot */
	PASSES(data());
	PASSES(back(data(), ACK));
}

Test(flows, in_the_first_minute_its_receiver_may_too)
{
	flows_begin(f, now);
	now += (FLOWS_YOUNG - 1) * SEC;
	PASSES(back(data(), ACK));
	REFUSED(back(syn(), SYN)); /* but open none */
	PASSES(data());
	now += SEC;
	REFUSED(tcp(DB, 5432, WEB, 40001, ACK));
	PASSES(back(data(), ACK));
}

Test(flows, an_older_connection_is_cut_if_its_opener_may_not)
{
	policy = db_closed;
	for (int young = 0; young <= 1; young++) {
		cr_expect_eq(passes(back(data(), ACK)), !young, "by itself it may");
		REFUSED(data()); /* and that gives no right to answer */
		cr_expect_eq(flows_count(f), 0);
		flows_begin(f, now);
	}
	REFUSED(back(syn(), SYN | ACK));
	PASSES(back(syn(), SYN));
	PASSES(tcp(WEB, 40000, DB, 5432, SYN | ACK));
}

/* -- the end ------------------------------------------------------------------------------------- */

Test(flows, a_reset_of_either_side_ends_a_flow)
{
	connected();
	PASSES(tcp(WEB, 40000, DB, 5432, RST));
	cr_expect_eq(flows_count(f), 0);
	REFUSED(back(data(), ACK));
	connected();
	PASSES(back(data(), RST | ACK));
	cr_expect_eq(flows_count(f), 0);
	REFUSED(back(data(), ACK));
	PASSES(tcp(WEB, 40000, DB, 5432, RST)); /* and makes none */
	cr_expect_eq(flows_count(f), 0);
}

Test(flows, two_fins_end_a_flow_but_for_the_last_acks)
{
	connected();
	PASSES(tcp(WEB, 40000, DB, 5432, FIN | ACK));
	PASSES(back(data(), ACK)); /* half closed: the answer may be long */
	now += (FLOWS_TCP_FIN - 1) * SEC;
	PASSES(back(data(), ACK));
	now += (FLOWS_TCP_FIN - 1) * SEC;
	PASSES(back(data(), FIN | ACK));
	PASSES(data());
	now += FLOWS_TCP_ENDED / 2 * SEC;
	PASSES(back(data(), ACK));
	now += (FLOWS_TCP_ENDED / 2 + 1) * SEC; /* that has not prolonged it */
	REFUSED(back(data(), ACK));
}

Test(flows, a_fin_comes_again_and_ends_nothing_by_that)
{
	connected();
	for (int i = 0; i < 5; i++)
		PASSES(tcp(WEB, 40000, DB, 5432, FIN | ACK));
	now += (FLOWS_TCP_ENDED + 1) * SEC;
	PASSES(back(data(), ACK));
}

Test(flows, the_same_ports_may_be_used_again)
{
	connected();
	PASSES(tcp(WEB, 40000, DB, 5432, FIN | ACK));
	PASSES(back(data(), FIN | ACK));
	PASSES(syn());
	now += (FLOWS_TCP_ENDED + 1) * SEC;
	PASSES(back(syn(), SYN | ACK));
	now += (FLOWS_TCP_OPEN - 1) * SEC;
	PASSES(back(data(), ACK));
}

/* Silent for just that long, and one second more. */
static void expect_life(struct ip_view open, struct ip_view reply, uint32_t life, bool replied)
{
	for (int over = 0; over <= 1; over++) {
		leave();
		enter();
		PASSES(open);
		if (replied)
			PASSES(reply);
		now += (life + over) * SEC;
		cr_expect_eq(passes(reply), !over, "protocol %u, %u s", open.proto, life + over);
	}
}

Test(flows, silence_ends_a_flow_after_the_time_of_its_protocol)
{
	struct ip_view u = udp(WEB, 40000, DB, 53), e = echo(WEB, DB, true, 7),
		       o = view(IPPROTO_GRE, WEB, 0, DB, 0, 0);

	expect_life(syn(), back(data(), SYN | ACK), FLOWS_TCP_NEW, false);
	expect_life(syn(), back(data(), ACK), FLOWS_TCP_OPEN, true);
	expect_life(u, back(u, 0), FLOWS_NEW, false);
	expect_life(u, back(u, 0), FLOWS_UDP_OPEN, true);
	expect_life(e, echo(DB, WEB, false, 7), FLOWS_NEW, true);
	expect_life(o, back(o, 0), FLOWS_NEW, false);
	expect_life(o, back(o, 0), FLOWS_OTHER_OPEN, true);
}

Test(flows, a_packet_prolongs_it)
{
	struct ip_view u = udp(WEB, 40000, DB, 53);

	PASSES(u);
	PASSES(back(u, 0));
	for (int i = 0; i < 50; i++) {
		now += (FLOWS_UDP_OPEN - FLOWS_UDP_OPEN / 16 - 1) * SEC;
		PASSES(i % 2 ? u : back(u, 0));
	}
}

Test(flows, time_that_goes_round_brings_nothing_back)
{
	PASSES(syn());
	for (int i = 0; i < 40; i++) {
		now += 40000 * SEC; /* 2^20 s and more in all */
		flows_sweep(f, now);
		REFUSED(back(data(), ACK));
	}
	cr_expect_eq(flows_count(f), 0);
}

/* -- ICMP ---------------------------------------------------------------------------------------- */

Test(flows, an_echo_is_answered_under_its_id)
{
	static const char *const ends[][2] = {{WEB, DB}, {DB, WEB}, {"fd77::1", "fd77::2"}};

	for (int i = 0; i < 3; i++) {
		const char *a = ends[i][0], *b = ends[i][1];

		REFUSED(echo(b, a, false, 7));
		PASSES(echo(a, b, true, 7));
		PASSES(echo(b, a, false, 7));
		REFUSED(echo(b, a, false, 8));
		REFUSED(echo(a, b, false, 7)); /* who asks does not answer */
		flows_free(f);
		enter();
	}
}

Test(flows, an_answer_opens_nothing)
{
	policy = everybody;
	PASSES(echo(DB, WEB, false, 7));
	PASSES(view(IPPROTO_ICMP, WEB, 13 << 8, DB, 0, 0)); /* nor does what has no answer here */
	cr_expect_eq(flows_count(f), 0);
}

Test(flows, an_error_passes_about_a_flow_that_is_open)
{
	struct ip_view u = udp(WEB, 40000, DB, 53), cut = syn();

	cut.flags = 0; /* of what is quoted only ports are known */
	cr_expect_not(quote_passes(u));
	cr_expect_not(quote_passes(cut));
	PASSES(u);
	connected();
	cr_expect(quote_passes(u));
	cr_expect(quote_passes(back(u, 0)));
	cr_expect(quote_passes(cut));
	cr_expect_not(quote_passes(udp(WEB, 40001, DB, 53)));
	now += (FLOWS_NEW + 1) * SEC;
	cr_expect_not(quote_passes(u), "nor does an error prolong it");
	PASSES(echo(WEB, DB, true, 7));
	cr_expect(quote_passes(echo(WEB, DB, true, 7)));
	cr_expect(quote_passes(echo(DB, WEB, false, 7)));
	cr_expect_not(quote_passes(echo(WEB, DB, true, 8)));
}

/* -- the policy changes -------------------------------------------------------------------------- */

Test(flows, a_new_generation_judges_every_flow_again)
{
	connected();
	asked = 0;
	generation++;
	PASSES(data());
	cr_expect_eq(asked, 1);
	PASSES(back(data(), ACK));
	cr_expect_eq(asked, 1);
	generation++;
	PASSES(back(data(), ACK)); /* asked as its opener would be */
	cr_expect_eq(asked, 2);
	cr_expect_eq(flows_count(f), 1);
	generation++;
	policy = nobody;
	REFUSED(back(data(), ACK));
	REFUSED(data());
}

Test(flows, who_is_refused_does_not_go_on_as_the_other_side)
{
	connected();
	generation++;
	policy = db_closed;
	for (int i = 0; i < 3; i++) {
		REFUSED(data());
		REFUSED(back(data(), ACK)); /* though by itself it may */
		generation++;
	}
	PASSES(back(syn(), SYN)); /* as it does with one of its own */
	PASSES(data());
	generation++;
	policy = strict;
	PASSES(tcp(WEB, 40001, DB, 5432, SYN));
}

Test(flows, one_that_is_allowed_again_goes_on)
{
	connected();
	generation++;
	policy = nobody;
	REFUSED(data());
	generation++;
	policy = strict;
	PASSES(back(data(), ACK));
	PASSES(data());
	cr_expect_eq(flows_count(f), 1);
}

Test(flows, an_error_is_judged_again_too)
{
	connected();
	generation++;
	cr_expect(quote_passes(data()));
	generation++;
	cr_expect(quote_passes(back(data(), 0)));
	generation++;
	policy = nobody;
	cr_expect_not(quote_passes(back(data(), 0)));
	cr_expect_not(quote_passes(data()));
}

Test(flows, generations_are_told_apart_by_their_lower_bits)
{
	generation = FLOWS_GENERATION;
	connected();
	asked = 0;
	generation++;
	PASSES(data());
	cr_expect_eq(asked, 1);
	PASSES(data());
	cr_expect_eq(asked, 1);
}

/* -- fragments ----------------------------------------------------------------------------------- */

static struct ip_view fragment(struct ip_view v, uint16_t offset, uint16_t end, uint32_t ident)
{
	v.fragment = true;
	v.first = offset == 0;
	v.offset = offset;
	v.end = end;
	v.ident = ident;
	if (!v.first)
		v.sport = v.dport = v.flags = 0;
	return v;
}

Test(flows, fragments_follow_their_first_one)
{
	struct ip_view u = udp(WEB, 40000, DB, 53);

	REFUSED(fragment(u, 1400, 2000, 9));
	PASSES(fragment(u, 0, 1400, 9));
	PASSES(fragment(u, 1400, 2000, 9));
	PASSES(fragment(u, 2000, 2100, 9));
	REFUSED(fragment(u, 1400, 2000, 10));
	REFUSED(fragment(back(u, 0), 1400, 2000, 9)); /* not the other way */
	PASSES(fragment(back(u, 0), 0, 1400, 9));     /* by a first one of its own */
	PASSES(fragment(back(u, 0), 1400, 2000, 9));
	cr_expect_eq(flows_count(f), 3);
}

Test(flows, a_later_fragment_of_ipv6_may_name_another_header)
{
	struct ip_view u = udp("fd77::1", 40000, "fd77::2", 53), w;

	PASSES(fragment(u, 0, 1400, 9));
	w = fragment(u, 1400, 2000, 9);
	w.proto = IPPROTO_DSTOPTS;
	PASSES(w);
	u = udp(WEB, 40000, DB, 53);
	PASSES(fragment(u, 0, 1400, 9));
	w = fragment(u, 1400, 2000, 9);
	w.proto = IPPROTO_TCP;
	REFUSED(w); /* in IPv4 it would be another packet's */
}

Test(flows, fragments_of_what_is_refused_are_refused)
{
	struct ip_view u = udp(WEB, 40000, DB, 54);

	REFUSED(fragment(u, 0, 1400, 9));
	REFUSED(fragment(u, 1400, 2000, 9));
}

Test(flows, fragments_come_within_five_seconds)
{
	struct ip_view u = udp("fd77::1", 40000, "fd77::2", 53);

	PASSES(fragment(u, 0, 1400, 0x12345678));
	now += FLOWS_FRAGMENT * SEC;
	PASSES(fragment(u, 1400, 2000, 0x12345678));
	now += SEC;
	REFUSED(fragment(u, 2000, 2100, 0x12345678));
}

Test(flows, no_fragment_lies_over_the_first_one)
{
	struct ip_view u = udp(WEB, 40000, DB, 53);

	PASSES(fragment(u, 0, 1400, 9));
	REFUSED(fragment(u, 16, 2000, 9));
	REFUSED(fragment(u, 1392, 2000, 9));
	PASSES(fragment(u, 1400, 2000, 9));
	PASSES(fragment(u, 0, 24, 9)); /* nor does a shorter first one make room */
	REFUSED(fragment(u, 24, 2000, 9));
	PASSES(fragment(u, 0, 65528, 11));
	REFUSED(fragment(u, 65520, 65535, 11));
	PASSES(fragment(u, 65528, 65535, 11));
}

Test(flows, a_new_generation_ends_what_only_follows)
{
	struct ip_view u = udp(WEB, 40000, DB, 53);

	PASSES(fragment(u, 0, 1400, 9));
	generation++;
	REFUSED(fragment(u, 1400, 2000, 9));
}

/* -- bounds -------------------------------------------------------------------------------------- */

static struct ip_view numbered(uint32_t n, bool other)
{
	struct ip_view v = udp(other ? "10.77.3.1" : "10.77.1.1", 0, DB, 53);

	v.sport = (uint16_t)n;
	v.src.b[2] = (uint8_t)(v.src.b[2] + (n >> 16) * 8);
	return v;
}

Test(flows, a_scan_does_not_push_out_others)
{
	unsigned kept = 0, n = 4000;

	for (uint32_t i = 0; i < n; i++)
		cr_assert(passes_of(numbered(i, true), others));
	for (uint32_t i = 0; i < 4 * FLOWS_MAX; i++)
		passes_of(numbered(i, false), mine);
	cr_expect_leq(flows_count(f), FLOWS_MAX);
	cr_expect_gt(flows_share(f, mine), FLOWS_MAX * 9 / 10);
	cr_expect_eq(flows_share(f, others), n);
	for (uint32_t i = 0; i < n; i++)
		kept += passes_of(back(numbered(i, true), 0), others);
	cr_expect_eq(kept, n);
	/* And who has few finds room in a full table. */
	for (uint32_t i = n; i < 2 * n; i++)
		cr_assert(passes_of(numbered(i, true), others), "%u", i);
	cr_expect_eq(flows_share(f, others), 2 * n);
	cr_expect_leq(flows_count(f), FLOWS_MAX);
}

Test(flows, who_has_most_gives_way_until_all_have_the_same)
{
	uint32_t got = 0;

	for (uint32_t i = 0; i < 2 * FLOWS_MAX; i++)
		passes_of(numbered(i, false), mine);
	for (uint32_t i = 0; i < 2 * FLOWS_MAX; i++)
		got += passes_of(numbered(i, true), others);
	cr_expect(flows_share(f, others) > FLOWS_MAX * 45 / 100 &&
	                  flows_share(f, others) < FLOWS_MAX * 55 / 100,
	          "%u of %u", flows_share(f, others), FLOWS_MAX);
	cr_expect_gt(got, FLOWS_MAX);
}

Test(flows, what_has_ended_is_swept_away)
{
	for (uint32_t i = 0; i < 1000; i++)
		cr_assert(passes(numbered(i, false)));
	PASSES(syn());
	flows_sweep(f, now);
	cr_expect_eq(flows_count(f), 1001);
	for (unsigned i = 0; i <= FLOWS_NEW + 1; i++, now += SEC)
		flows_sweep(f, now);
	for (unsigned i = 0; i <= FLOWS_SWEEP / SEC; i++, now += SEC)
		flows_sweep(f, now);
	cr_expect_eq(flows_count(f), 1);
	cr_expect_eq(flows_share(f, mine), 1);
	PASSES(back(syn(), SYN | ACK));
}

Test(flows, what_has_ended_makes_room)
{
	for (uint32_t i = 0; i < 2 * FLOWS_MAX; i++)
		passes_of(numbered(i, false), mine);
	now += (FLOWS_NEW + 1) * SEC;
	for (uint32_t i = 0; i < 1000; i++)
		cr_assert(passes_of(numbered(i, true), others));
	cr_expect_eq(flows_share(f, others), 1000);
}

Test(flows, another_key_makes_other_owners)
{
	static const uint8_t key2[16] = "fedcba9876543210";
	struct flows *g;
	unsigned same = 0;
	char name[16];

	cr_assert_eq(flows_new(&g, key2), 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "w%d", i);
		cr_assert_lt(flows_owner(f, name), FLOWS_OWNERS);
		cr_assert_eq(flows_owner(f, name), flows_owner(f, name));
		same += flows_owner(f, name) == flows_owner(g, name);
	}
	cr_expect_lt(same, 3);
	flows_free(g);
}
