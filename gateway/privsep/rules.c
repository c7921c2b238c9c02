/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whether the rules stand is asked by listing them and comparing with the listing taken when they
 * were put up: a table may be there and a rule of it gone. Elements are left out of the listing
 * but for the sets that rules_up filled: those of containers come and go, and may be many.
 */
#include "gateway/privsep/rules.h"

#include <errno.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN     "ginnel"
#define LIVE      "ginnel_live"
#define LIVE_HEAD "table inet " LIVE " {\n\tflags owner;\n"
/* Another program's transaction at the same time makes ours void; it is then sent again. */
#define TRIES 5

/* guard.nft as it stands in the tree. */
__asm__(".pushsection .rodata\n"
        ".local guard_nft\n"
        "guard_nft:\n"
        ".incbin \"gateway/privsep/guard.nft\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char guard_nft[];

struct copy {
	struct nft_ctx *nft;
	char *listing; /* as rules_up left it; NULL: not up */
};

struct rules {
	struct guard_plan plan;
	struct copy plain;
	struct copy live; /* its socket owns the table, so it does nothing but put it up */
};

/* -- text ------------------------------------------------------------------------------------ */

static void prefixes(FILE *f, const char *family, const char *table, const char *set,
                     const struct prefix *p, unsigned n, int version)
{
	const char *sep = "";

	for (unsigned i = 0; i < n; i++) {
		char text[PREFIX_TEXT_MAX];

		if (p[i].addr.family != version)
			continue;
		prefix_format(&p[i], text);
		if (!*sep)
			fprintf(f, "add element %s %s %s { ", family, table, set);
		fprintf(f, "%s%s", sep, text);
		sep = ", ";
	}
	if (*sep)
		fputs(" }\n", f);
}

static void address(FILE *f, const char *family, const char *table, const char *set,
                    const struct addr *a)
{
	char text[ADDR_TEXT_MAX];

	if (!a->family)
		return;
	addr_format(a, text);
	fprintf(f, "add element %s %s %s { %s }\n", family, table, set, text);
}

static void links(FILE *f, const char *family, const char *table, const struct guard_plan *p)
{
	for (unsigned i = 0; i < p->ninterfaces; i++)
		fprintf(f, "add element %s %s links { \"%s\" }\n", family, table, p->interfaces[i]);
}

static void device(FILE *f, const char *table, const char *map, const char *name,
                   const char *verdict)
{
	fprintf(f, "add element inet %s %s { \"%s\" : %s }\n", table, map, name, verdict);
}

/* Where packets of which device go in the rules. What the tunnel's device carries is also judged by
 * the engine, packet by packet: of the guard's copies one looks at its addresses, and it is that
 * one's absence, for milliseconds, that the other is for.
 */
static void devices(FILE *f, const char *table, const struct guard_plan *p, bool judge_tun)
{
	fprintf(f, "add element inet %s tun { \"%s\" }\n", table, p->device);
	links(f, "inet", table, p);
	device(f, table, "inward", p->device, judge_tun ? "goto from_tun" : "accept");
	device(f, table, "across", p->device, "goto delivered");
	device(f, table, "outward", p->device, judge_tun ? "goto into" : "accept");
	for (unsigned i = 0; i < p->ninterfaces; i++) {
		device(f, table, "inward", p->interfaces[i], "goto link");
		device(f, table, "across", p->interfaces[i], "jump mine");
		device(f, table, "outward", p->interfaces[i], "goto onto");
	}
}

static void elements_inet(FILE *f, const char *table, const struct guard_plan *p, bool judge_tun)
{
	prefixes(f, "inet", table, "pools", p->guarded, p->nguarded, 4);
	prefixes(f, "inet", table, "pools6", p->guarded, p->nguarded, 6);
	prefixes(f, "inet", table, "own", p->own, p->nown, 4);
	prefixes(f, "inet", table, "own6", p->own, p->nown, 6);
	address(f, "inet", table, "self", &p->address4);
	address(f, "inet", table, "self6", &p->address6);
	devices(f, table, p, judge_tun);
}

static void elements_arp(FILE *f, const struct guard_plan *p)
{
	prefixes(f, "arp", PLAIN, "pools", p->guarded, p->nguarded, 4);
	prefixes(f, "arp", PLAIN, "own", p->own, p->nown, 4);
	address(f, "arp", PLAIN, "self", &p->address4);
	links(f, "arp", PLAIN, p);
}

static bool names_ok(const struct guard_plan *p)
{
	if (!guard_name_ok(p->device) || p->ninterfaces > CONFIG_INTERFACES_MAX)
		return false;
	for (unsigned i = 0; i < p->ninterfaces; i++)
		if (!guard_name_ok(p->interfaces[i]))
			return false;
	return true;
}

/* The stream says where its text lies only when it is closed. */
static int written(FILE *f, char **text, char **out)
{
	if (fclose(f) == 0) {
		*out = *text;
		return 0;
	}
	free(*text);
	return -ENOMEM;
}

int rules_text(const struct guard_plan *p, char **out)
{
	char *text = NULL;
	size_t n;
	FILE *f;

	if (!names_ok(p) || p->nguarded == 0)
		return -EINVAL;
	f = open_memstream(&text, &n);
	if (!f)
		return -ENOMEM;
	fputs(guard_nft, f);
	elements_inet(f, PLAIN, p, true);
	elements_arp(f, p);
	/* Until a policy is given: workloads of one host may speak to each other. */
	fputs("add element inet " PLAIN " otherwise { ipv4 : accept, ipv6 : accept }\n", f);
	return written(f, &text, out);
}

int rules_live_text(const struct guard_plan *p, char **out)
{
	static const char begin[] = "\ntable inet " PLAIN " {\n", end[] = "\n}\n";
	const char *from, *to;
	char *text = NULL;
	size_t n;
	FILE *f;

	if (!names_ok(p) || p->nguarded == 0)
		return -EINVAL;
	from = strstr(guard_nft, begin);
	if (!from)
		return -EINVAL;
	from += sizeof(begin) - 1;
	to = strstr(from, end);
	if (!to)
		return -EINVAL;
	f = open_memstream(&text, &n);
	if (!f)
		return -ENOMEM;
	/* Made, taken away, made: so that it is whole also where it stood before. */
	fputs(LIVE_HEAD "}\ndelete table inet " LIVE "\n" LIVE_HEAD, f);
	fwrite(from, 1, (size_t)(to - from), f);
	fputs(end, f);
	elements_inet(f, LIVE, p, false);
	return written(f, &text, out);
}

/* -- nftables -------------------------------------------------------------------------------- */

/* The first line of what nftables said, without the place in our text. */
static void said(struct nft_ctx *nft, char *why, size_t max)
{
	const char *text = nft_ctx_get_error_buffer(nft),
		   *at = text ? strstr(text, "Error: ") : NULL;

	if (!at)
		at = text && *text ? text : "nftables said nothing";
	snprintf(why, max, "%.*s", (int)strcspn(at, "\n"), at);
}

static int context(struct nft_ctx **out)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);

	if (!nft)
		return -ENOMEM;
	if (nft_ctx_buffer_output(nft) || nft_ctx_buffer_error(nft)) {
		nft_ctx_free(nft);
		return -ENOMEM;
	}
	*out = nft;
	return 0;
}

static int run(struct nft_ctx *nft, const char *text, char *why, size_t max)
{
	for (int i = 0; i < TRIES; i++)
		if (nft_run_cmd_from_buffer(nft, text) == 0)
			return 0;
	said(nft, why, max);
	return strstr(why, "File exists") || strstr(why, "Operation not permitted") ? -EEXIST
	                                                                            : -EIO;
}

/* Without what nft remarks on the owner of a table: it asks /proc, which is closed to us one day. */
static int list(struct nft_ctx *nft, unsigned flags, const char *what, FILE *to)
{
	const char *text, *remark;

	nft_ctx_output_set_flags(nft, flags);
	if (nft_run_cmd_from_buffer(nft, what) != 0)
		return -ENOENT;
	text = nft_ctx_get_output_buffer(nft);
	while ((remark = strstr(text, " # "))) {
		fwrite(text, 1, (size_t)(remark - text), to);
		text = remark + strcspn(remark, "\n");
	}
	fputs(text, to);
	return 0;
}

struct listed {
	const char *table, *sets[9], *maps[4];
};

#define SETS "pools", "pools6", "own", "own6", "self", "self6", "tun", "links"
#define MAPS "inward", "across", "outward"
static const struct listed plain_tables[] = {
	{"inet " PLAIN, {SETS}, {MAPS}},
	{"arp " PLAIN, {"pools", "own", "self", "links"}, {NULL}},
	{"bridge " PLAIN, {NULL}, {NULL}},
	{NULL, {NULL}, {NULL}},
};
static const struct listed live_tables[] = {{"inet " LIVE, {SETS}, {MAPS}}, {NULL, {NULL}, {NULL}}};

static int list_each(struct nft_ctx *nft, const char *kind, const char *table,
                     const char *const *names, FILE *to)
{
	char what[128];
	int err = 0;

	for (; !err && *names; names++) {
		snprintf(what, sizeof(what), "list %s %s %s", kind, table, *names);
		err = list(nft, NFT_CTX_OUTPUT_STATELESS | NFT_CTX_OUTPUT_NUMERIC_ALL, what, to);
	}
	return err;
}

/* One command at a time: for several, libnftables reads only what the last one needs. And with a
 * context of its own, for one that lists again and again keeps 140 bytes of each time.
 */
static int listing(const struct listed *all, char **out)
{
	const unsigned flags = NFT_CTX_OUTPUT_STATELESS | NFT_CTX_OUTPUT_NUMERIC_ALL;
	char *text = NULL, what[128];
	struct nft_ctx *nft;
	size_t n;
	FILE *f;
	int err;

	err = context(&nft);
	if (err)
		return err;
	f = open_memstream(&text, &n);
	if (!f) {
		nft_ctx_free(nft);
		return -ENOMEM;
	}
	for (; !err && all->table; all++) {
		snprintf(what, sizeof(what), "list table %s", all->table);
		err = list(nft, flags | NFT_CTX_OUTPUT_TERSE, what, f);
		if (!err)
			err = list_each(nft, "set", all->table, all->sets, f);
		if (!err)
			err = list_each(nft, "map", all->table, all->maps, f);
	}
	nft_ctx_free(nft);
	if (err) {
		fclose(f);
		free(text);
		return err;
	}
	return written(f, &text, out);
}

int rules_new(struct rules **out, const struct guard_plan *p)
{
	struct rules *r;
	int err;

	if (!names_ok(p) || p->nguarded == 0)
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->plan = *p;
	err = context(&r->plain.nft);
	if (err)
		goto fail_plain;
	err = context(&r->live.nft);
	if (err)
		goto fail_live;
	*out = r;
	return 0;
fail_live:
	nft_ctx_free(r->plain.nft);
fail_plain:
	free(r);
	return err;
}

void rules_free(struct rules *r)
{
	if (!r)
		return;
	nft_ctx_free(r->live.nft);
	nft_ctx_free(r->plain.nft);
	free(r->live.listing);
	free(r->plain.listing);
	free(r);
}

static bool stands(const struct copy *c, const struct listed *tables)
{
	bool same;
	char *now;

	if (!c->listing || listing(tables, &now) < 0)
		return false;
	same = strcmp(now, c->listing) == 0;
	free(now);
	return same;
}

/* Left alone if it stands: while one copy is made anew the other one guards. */
static int copy_up(struct rules *r, struct copy *c, const struct listed *tables,
                   int (*text)(const struct guard_plan *p, char **out), char *why, size_t max)
{
	char *rules, *now;
	int err;

	if (stands(c, tables))
		return 0;
	snprintf(why, max, "no memory");
	err = text(&r->plan, &rules);
	if (err)
		return err;
	err = run(c->nft, rules, why, max);
	free(rules);
	if (err)
		return err;
	err = listing(tables, &now);
	if (err) {
		snprintf(why, max, "the rules cannot be listed after they were put up");
		return err;
	}
	free(c->listing);
	c->listing = now;
	return 0;
}

/* Of hooks of one priority the youngest is asked first: the plain tables come last, so that their
 * counters are those that count. And a table that is replaced lets packets by for a moment, one
 * transaction or not (5 of 4000 in 15 times, at 1000/s): the second copy stands meanwhile.
 * Neither copy waits for the other's luck.
 */
int rules_up(struct rules *r, char *why, size_t max)
{
	char spare[256];
	int err = copy_up(r, &r->live, live_tables, rules_live_text, why, max);

	if (!err)
		return copy_up(r, &r->plain, plain_tables, rules_text, why, max);
	if (err != -EEXIST)
		(void)copy_up(r, &r->plain, plain_tables, rules_text, spare, sizeof(spare));
	return err;
}

bool rules_stand(struct rules *r)
{
	return stands(&r->plain, plain_tables) && stands(&r->live, live_tables);
}

bool rules_held(void)
{
	struct nft_ctx *nft;
	bool held;

	if (context(&nft) < 0)
		return false; /* who cannot look cannot put up anything, either */
	held = nft_run_cmd_from_buffer(nft, "list table inet " LIVE) == 0;
	nft_ctx_free(nft);
	return held;
}

int rules_down(char *why, size_t max)
{
	/* Made first, so that taking away what is not there is no error. */
	static const char text[] = "table inet " PLAIN "\ndelete table inet " PLAIN
				   "\ntable arp " PLAIN "\ndelete table arp " PLAIN
				   "\ntable bridge " PLAIN "\ndelete table bridge " PLAIN "\n";
	struct nft_ctx *nft;
	int err;

	snprintf(why, max, "no memory");
	err = context(&nft);
	if (err)
		return err;
	err = run(nft, text, why, max);
	nft_ctx_free(nft);
	return err;
}
