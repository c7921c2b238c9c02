/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct hello h;

	if (!hello_parse(&h, data, len) && h.random &&
	    (h.random < data || h.random + HELLO_RANDOM_LEN > data + len))
		__builtin_trap();
	return 0;
}
