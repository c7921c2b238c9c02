/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The forms of single values, as the config file and the command line have them. */
#include "gateway/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PORT_MAX 65535
#define WORD_MAX 64

/* -- words ------------------------------------------------------------------------------------ */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	if (b < a)
		a = b;
	return c < a ? c : a;
}

/* A row of the table of Damerau and Levenshtein: what it costs to make the first i letters of typed
 * into the first j of known, from the two rows before it.
 */
static void distance_row(unsigned *row, const unsigned *last, const unsigned *before,
                         const char *typed, size_t i, const char *known)
{
	unsigned char letter = (unsigned char)tolower((unsigned char)typed[i - 1]);
	size_t j;

	row[0] = (unsigned)i;
	for (j = 1; known[j - 1]; j++) {
		row[j] = min3(last[j] + 1, row[j - 1] + 1,
		              last[j - 1] + (letter != (unsigned char)known[j - 1]));
		if (i > 1 && j > 1 && typed[i - 1] == known[j - 2] &&
		    typed[i - 2] == known[j - 1] && before[j - 2] + 1 < row[j])
			row[j] = before[j - 2] + 1;
	}
}

/* How many letters have to be changed, left out, put in or swapped with a neighbour. */
static unsigned distance(const char *typed, const char *known)
{
	unsigned rows[3][WORD_MAX + 1] = {0};
	size_t n = strlen(typed), m = strlen(known), i, j;

	if (n > WORD_MAX || m > WORD_MAX)
		return WORD_MAX;
	for (j = 0; j <= m; j++)
		rows[0][j] = (unsigned)j;
	for (i = 1; i <= n; i++)
		distance_row(rows[i % 3], rows[(i + 2) % 3], rows[(i + 1) % 3], typed, i, known);
	return rows[n % 3][m];
}

const char *config_nearest(const char *typed, const char *const *known)
{
	size_t n = strlen(typed);
	unsigned limit = n < 4 ? 1 : 2, best = limit + 1, d;
	const char *found = NULL;
	int i;

	for (i = 0; known[i]; i++) {
		d = distance(typed, known[i]);
		if (d < best && d < n) {
			best = d;
			found = known[i];
		}
	}
	for (i = 0; !found && n >= 3 && known[i]; i++)
		if (!strncmp(typed, known[i], n) || !strncmp(known[i], typed, strlen(known[i])))
			found = known[i];
	return found;
}

bool config_device_ok(const char *name)
{
	size_t n = strlen(name), i;

	if (n == 0 || n > 15 || name[0] < 'a' || name[0] > 'z')
		return false;
	for (i = 1; i < n; i++)
		if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= '0' && name[i] <= '9') &&
		    !strchr("_.-", name[i]))
			return false;
	return strcmp(name, "lo") && strcmp(name, "all") && strcmp(name, "default");
}

int config_uint_parse(const char *s, unsigned *out)
{
	unsigned long v = 0;
	size_t i;

	if (!*s || (s[0] == '0' && s[1]))
		return -EINVAL;
	for (i = 0; s[i]; i++) {
		if (i >= 9 || s[i] < '0' || s[i] > '9')
			return -EINVAL;
		v = v * 10 + (unsigned long)(s[i] - '0');
	}
	*out = (unsigned)v;
	return 0;
}

int config_port_parse(const char *s, uint16_t *out)
{
	unsigned v;

	if (config_uint_parse(s, &v) < 0 || v == 0 || v > PORT_MAX)
		return -EINVAL;
	*out = (uint16_t)v;
	return 0;
}

/* -- addresses -------------------------------------------------------------------------------- */

/* RFC 1123 section 2.1, and RFC 3696 section 2: a last label of digits is an address gone wrong. */
static bool host_name_ok(const char *s)
{
	size_t n = strlen(s), i, label = 0;
	bool digits = true;

	if (n == 0 || n > CONFIG_HOST_MAX)
		return false;
	for (i = 0; i < n; i++) {
		unsigned char ch = (unsigned char)s[i];

		if (ch == '.') {
			if (label == 0 || s[i - 1] == '-')
				return false;
			label = 0;
			digits = true;
			continue;
		}
		if (!isalnum(ch) && ch != '_' && !(ch == '-' && label > 0))
			return false;
		if (++label > 63)
			return false;
		digits = digits && isdigit(ch);
	}
	return label > 0 && !digits && s[n - 1] != '-';
}

int config_endpoint_parse(struct config_endpoint *out, const char *text, uint16_t port)
{
	struct config_endpoint e = {.at.port = port};
	const char *colon = strrchr(text, ':');
	size_t n = strlen(text);

	if (n >= CONFIG_ENDPOINT_TEXT_MAX)
		return -EINVAL;
	if (!addr_parse(&e.at.addr, text)) {
		e.is_addr = true;
		addr_format(&e.at.addr, e.host);
		*out = e;
		return 0;
	}
	if (colon && colon[1] != '\0' && !strchr(colon, ']')) {
		if (config_port_parse(colon + 1, &e.at.port) < 0)
			return -EINVAL;
		n = (size_t)(colon - text);
	}
	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
		e.is_addr = true; /* and of IPv6 */
	}
	if (n > CONFIG_HOST_MAX)
		return -EINVAL;
	memcpy(e.host, text, n);
	if (!addr_parse(&e.at.addr, e.host)) {
		if ((e.at.addr.family == 6) != e.is_addr)
			return -EINVAL; /* an IPv6 address with a port needs brackets */
		e.is_addr = true;
		addr_format(&e.at.addr, e.host);
	} else if (e.is_addr || !host_name_ok(e.host)) {
		return -EINVAL;
	}
	*out = e;
	return 0;
}

void config_endpoint_format(const struct config_endpoint *e, char out[CONFIG_ENDPOINT_TEXT_MAX])
{
	if (e->is_addr)
		endpoint_format(&e->at, out);
	else
		snprintf(out, CONFIG_ENDPOINT_TEXT_MAX, "%s:%u", e->host, e->at.port);
}

static bool meets(const struct prefix *p, const char *const *ranges)
{
	struct prefix range;

	for (; *ranges; ranges++)
		if (!prefix_parse(&range, *ranges) && prefix_overlaps(p, &range))
			return true;
	return false;
}

struct prefix config_host_prefix(const struct addr *a)
{
	return (struct prefix){.addr = *a, .len = a->family == 4 ? 32 : 128};
}

const char *config_overlay_refusal(const struct prefix *p)
{
	static const char *const taken[] = {"0.0.0.0/8",   "127.0.0.0/8", "169.254.0.0/16",
	                                    "224.0.0.0/3", "::/8",        "fe80::/10",
	                                    "ff00::/8",    NULL};

	if (p->len < (p->addr.family == 4 ? 8 : 16))
		return "takes in too much of the address space";
	if (p->len > (p->addr.family == 4 ? 30 : 126))
		return "has no room for a node's prefix";
	if (meets(p, taken))
		return "meets loopback, link-local, multicast or reserved addresses";
	return NULL;
}

bool config_addr_dialable(const struct addr *a, bool loopback_ok)
{
	static const char *const loopback[] = {"127.0.0.0/8", "::1/128", NULL};
	struct prefix p = config_host_prefix(a);

	return !addr_is_special(a) || (loopback_ok && meets(&p, loopback));
}

bool config_overlaps(const struct prefix *p, const struct prefix *list, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (prefix_overlaps(p, &list[i]))
			return true;
	return false;
}

bool config_within(const struct prefix *p, const struct prefix *list, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (prefix_within(p, &list[i]))
			return true;
	return false;
}
