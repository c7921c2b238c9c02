/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ports - protocols and ports on one line of numbers, and who comes first at each of them.
 *
 * On the line stand: all protocols without ports as one point, ICMP as one, then the ports of TCP,
 * UDP and SCTP. So a rule is a few spans, whatever it says, and what many rules say of two subjects
 * is a list of cells, found by a binary search. Pure.
 */
#pragma once
#include "gateway/tables/policy.h"

#define PORTS_OTHER 0U /* a protocol that has a name here neither */
#define PORTS_ICMP  1U
#define PORTS_TCP   0x10000U
#define PORTS_UDP   0x20000U
#define PORTS_SCTP  0x30000U
#define PORTS_LAST  0x3ffffU

struct span {
	uint32_t first, last; /* on the line */
};

#define PORTS_ALL ((struct span){0, PORTS_LAST})

/* Where a packet stands on the line. */
uint32_t ports_point(uint8_t proto, uint16_t port);
/* The protocol and port at a point, to name it. Of PORTS_OTHER it is protocol 0. */
void ports_at(uint32_t point, struct policy_ports *out);
struct span ports_span(const struct policy_ports *p);

/* "5432/tcp", "8000-8100/udp", "icmp", "tcp". NULL, or what is wrong and what to write instead. */
const char *ports_parse(struct policy_ports *out, const char *text);

/* -- who comes first ---------------------------------------------------------------------------- */

#define PORTS_NOBODY UINT32_MAX

struct claim {
	struct span span;
	uint32_t rule;
};

/* From here up to the start of the next one this rule is the first; PORTS_NOBODY: none. */
struct cell {
	uint32_t start, rule;
};

struct painter; /* memory for painting, kept from one time to the next */

int painter_new(struct painter **out);
void painter_free(struct painter *p);
/* Cells for n claims that stand in order of rules, at most 2n + 1; they begin at 0, neighbours
 * differ. The cells are the painter's, until the next call. -ENOMEM.
 */
int painter_paint(struct painter *p, const struct claim *claims, uint32_t n,
                  const struct cell **cells, uint32_t *ncells);
/* The cell that holds a point. */
uint32_t cells_find(const struct cell *cells, uint32_t n, uint32_t point);
