/* SPDX-License-Identifier: GPL-3.0-or-later */
/* hex - for tests: bytes as golden files have them. */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* "-" is none. Returns how many, or 0 if that is not hex or more than max. */
static inline size_t hex_parse(uint8_t *out, size_t max, const char *text)
{
	size_t n = strlen(text) / 2;
	unsigned byte;

	if (n > max)
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			return 0;
		out[i] = (uint8_t)byte;
	}
	return n;
}
