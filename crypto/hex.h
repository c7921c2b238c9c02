/* SPDX-License-Identifier: GPL-3.0-or-later */
/* hex - bytes as text: lower case, two digits each, nothing between. Pure; any thread. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* out has room for 2 * n + 1 bytes. */
void hex_format(char *out, const uint8_t *p, size_t n);
/* text has len bytes, which must be exactly n bytes' hex. 0; -EINVAL: out is undefined. */
int hex_parse(uint8_t *out, size_t n, const char *text, size_t len);
