/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Values that more than one kind of file has. */
#include "gateway/reader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PREFIX_CURE "write one like 10.77.1.0/24 or fd77:0:0:1::/64"

/* "10.77.1.9/24" without its host bits, for the cure. */
static void clean_prefix(const char *text, char out[PREFIX_TEXT_MAX])
{
	struct prefix p = {0};
	char addr[ADDR_TEXT_MAX];
	const char *slash = strchr(text, '/');
	unsigned len, bit;

	snprintf(out, PREFIX_TEXT_MAX, "the network's first address");
	if (!slash || (size_t)(slash - text) >= sizeof(addr) ||
	    config_uint_parse(slash + 1, &len) < 0)
		return;
	snprintf(addr, sizeof(addr), "%.*s", (int)(slash - text), text);
	if (addr_parse(&p.addr, addr) || len > (p.addr.family == 4 ? 32 : 128))
		return;
	for (bit = len; bit < sizeof(p.addr.b) * 8; bit++)
		p.addr.b[bit / 8] &= (uint8_t) ~(0x80U >> bit % 8);
	p.len = (uint8_t)len;
	prefix_format(&p, out);
}

bool reader_prefix(struct reader *r, const char *key, struct prefix *out, struct place *at)
{
	const char *s = reader_scalar(r, key, at);
	char clean[PREFIX_TEXT_MAX];
	int err;

	if (!s)
		return false;
	err = prefix_parse(out, s);
	if (err == -ERANGE) {
		clean_prefix(s, clean);
		reader_fault(r, *at, "%s: \"%s\" has host bits set; write %s", key,
		             reader_quote(r, s), clean);
	} else if (err) {
		reader_fault(r, *at, "%s: \"%s\" is no network in CIDR form; " PREFIX_CURE, key,
		             reader_quote(r, s));
	}
	return !err;
}

int reader_word(struct reader *r, const char *key, const char *const *words)
{
	char all[64] = "";
	struct place at;
	const char *s = reader_scalar(r, key, &at);
	int i;

	if (!s)
		return -1;
	for (i = 0; words[i]; i++) {
		if (!strcmp(s, words[i]))
			return i;
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s",
		         i == 0         ? ""
		         : words[i + 1] ? ", "
		                        : " or ",
		         words[i]);
	}
	reader_fault(r, at, "%s: \"%s\" is not known; write %s", key, reader_quote(r, s), all);
	return -1;
}
