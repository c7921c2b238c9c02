/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/hex.h"

#include <errno.h>

void hex_format(char *out, const uint8_t *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * n] = '\0';
}

static int value_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_parse(uint8_t *out, size_t n, const char *text, size_t len)
{
	if (len % 2 || len / 2 != n)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		int high = value_of(text[2 * i]), low = value_of(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}
