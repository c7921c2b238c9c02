/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/ports.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 24

static const struct protocol {
	const char *name;
	uint8_t number;
	uint32_t base; /* on the line */
} protocols[] = {
	{"tcp", IPPROTO_TCP, PORTS_TCP},
	{"udp", IPPROTO_UDP, PORTS_UDP},
	{"sctp", IPPROTO_SCTP, PORTS_SCTP},
	{"icmp", IPPROTO_ICMP, PORTS_ICMP},
};

#define PROTOCOLS (sizeof(protocols) / sizeof(protocols[0]))

static const struct protocol *protocol_of(uint8_t number)
{
	size_t i;

	if (number == IPPROTO_ICMPV6)
		number = IPPROTO_ICMP;
	for (i = 0; i < PROTOCOLS; i++)
		if (protocols[i].number == number)
			return &protocols[i];
	return NULL;
}

uint32_t ports_point(uint8_t proto, uint16_t port)
{
	const struct protocol *p = protocol_of(proto);

	if (!p)
		return PORTS_OTHER;
	return p->base == PORTS_ICMP ? PORTS_ICMP : p->base + port;
}

void ports_at(uint32_t point, struct policy_ports *out)
{
	size_t i;

	*out = (struct policy_ports){0};
	if (point == PORTS_ICMP)
		out->proto = IPPROTO_ICMP;
	if (point < PORTS_TCP)
		return;
	for (i = 0; i < PROTOCOLS; i++)
		if (protocols[i].base == (point & ~0xffffU))
			out->proto = protocols[i].number;
	out->first = out->last = (uint16_t)point;
}

struct span ports_span(const struct policy_ports *p)
{
	return (struct span){ports_point(p->proto, p->first), ports_point(p->proto, p->last)};
}

/* -- text ---------------------------------------------------------------------------------------- */

static const char *range_parse(struct policy_ports *out, const char *text)
{
	char first[WORD_MAX];
	const char *dash = strchr(text, '-');

	snprintf(first, sizeof(first), "%.*s", dash ? (int)(dash - text) : WORD_MAX, text);
	if (config_port_parse(first, &out->first) ||
	    config_port_parse(dash ? dash + 1 : first, &out->last))
		return "is not of 1 to 65535; write a port like 5432/tcp or a range like "
		       "8000-8100/udp";
	if (out->first > out->last)
		return "ends before it begins; write the lower port first";
	return NULL;
}

const char *ports_parse(struct policy_ports *out, const char *text)
{
	const char *slash = strchr(text, '/'), *name = slash ? slash + 1 : text;
	char range[WORD_MAX];
	size_t i;

	for (i = 0; i < PROTOCOLS && strcmp(protocols[i].name, name) != 0; i++)
		continue;
	if (i == PROTOCOLS && !slash && *text >= '0' && *text <= '9')
		return "names no protocol; write it like 5432/tcp or 5432/udp";
	if (i == PROTOCOLS)
		return "is no port; write it like 5432/tcp, 8000-8100/udp, or icmp";
	*out = (struct policy_ports){.proto = protocols[i].number, .last = UINT16_MAX};
	if (protocols[i].base == PORTS_ICMP) {
		out->last = 0;
		return slash ? "gives ICMP a port, which it has not; write icmp alone" : NULL;
	}
	if (!slash)
		return NULL;
	if ((size_t)(slash - text) >= sizeof(range))
		return "is not of 1 to 65535; write a port like 5432/tcp";
	snprintf(range, sizeof(range), "%.*s", (int)(slash - text), text);
	return range_parse(out, range);
}

void policy_ports_format(const struct policy_ports *p, char out[POLICY_PORTS_TEXT_MAX])
{
	const struct protocol *of = protocol_of(p->proto);
	const char *name = of ? of->name : "other";

	if (!of || of->base == PORTS_ICMP || (p->first == 0 && p->last == UINT16_MAX))
		snprintf(out, POLICY_PORTS_TEXT_MAX, "%s", name);
	else if (p->first == p->last)
		snprintf(out, POLICY_PORTS_TEXT_MAX, "%u/%s", p->first, name);
	else
		snprintf(out, POLICY_PORTS_TEXT_MAX, "%u-%u/%s", p->first, p->last, name);
}

/* -- painting ------------------------------------------------------------------------------------ */

/* The line is cut at every end of a claim. The claims then paint what lies between two cuts, in
 * order, each only what is still blank: next[] leads from a painted piece to the first that may not
 * be, so that no piece is visited by every claim.
 */
struct painter {
	uint32_t room;
	uint32_t *cuts, *next, *rule;
	struct cell *cells;
};

int painter_new(struct painter **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void painter_free(struct painter *p)
{
	if (!p)
		return;
	free(p->cuts);
	free(p->next);
	free(p->rule);
	free(p->cells);
	free(p);
}

static int painter_grow(struct painter *p, uint32_t need)
{
	uint32_t room = p->room ? p->room : 64;

	if (need <= p->room)
		return 0;
	while (room < need)
		room *= 2;
	free(p->cuts);
	free(p->next);
	free(p->rule);
	free(p->cells);
	p->cuts = calloc(room, sizeof(*p->cuts));
	p->next = calloc(room, sizeof(*p->next));
	p->rule = calloc(room, sizeof(*p->rule));
	p->cells = calloc(room, sizeof(*p->cells));
	p->room = p->cuts && p->next && p->rule && p->cells ? room : 0;
	return p->room ? 0 : -ENOMEM;
}

static int ascending(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint32_t cut(struct painter *p, const struct claim *claims, uint32_t n)
{
	uint32_t cuts = 0, kept = 1, i;

	p->cuts[cuts++] = 0;
	for (i = 0; i < n; i++) {
		p->cuts[cuts++] = claims[i].span.first;
		p->cuts[cuts++] = claims[i].span.last + 1;
	}
	qsort(p->cuts, cuts, sizeof(*p->cuts), ascending);
	for (i = 1; i < cuts; i++)
		if (p->cuts[i] != p->cuts[kept - 1])
			p->cuts[kept++] = p->cuts[i];
	/* Beyond the line's end lies nothing. */
	return kept - (p->cuts[kept - 1] > PORTS_LAST);
}

/* The first piece from i on that is blank, or the number of pieces. */
static uint32_t blank_from(struct painter *p, uint32_t i)
{
	while (p->next[i] != i) {
		p->next[i] = p->next[p->next[i]];
		i = p->next[i];
	}
	return i;
}

static uint32_t piece_of(const struct painter *p, uint32_t pieces, uint32_t start)
{
	uint32_t low = 0, high = pieces, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (p->cuts[middle] < start)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int painter_paint(struct painter *p, const struct claim *claims, uint32_t n,
                  const struct cell **cells, uint32_t *ncells)
{
	uint32_t pieces, end, i, k, kept = 0;

	if (painter_grow(p, 2 * n + 2))
		return -ENOMEM;
	pieces = cut(p, claims, n);
	for (i = 0; i <= pieces; i++) {
		p->next[i] = i;
		p->rule[i] = PORTS_NOBODY;
	}
	for (k = 0; k < n; k++) {
		end = piece_of(p, pieces, claims[k].span.last + 1);
		i = blank_from(p, piece_of(p, pieces, claims[k].span.first));
		for (; i < end; i = blank_from(p, i)) {
			p->rule[i] = claims[k].rule;
			p->next[i] = i + 1;
		}
	}
	for (i = 0; i < pieces; i++)
		if (i == 0 || p->rule[i] != p->cells[kept - 1].rule)
			p->cells[kept++] = (struct cell){p->cuts[i], p->rule[i]};
	*cells = p->cells;
	*ncells = kept;
	return 0;
}

uint32_t cells_find(const struct cell *cells, uint32_t n, uint32_t point)
{
	uint32_t low = 0, middle;

	while (n - low > 1) {
		middle = low + (n - low) / 2;
		if (cells[middle].start <= point)
			low = middle;
		else
			n = middle;
	}
	return low;
}
