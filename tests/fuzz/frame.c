/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/frame.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t plain[65536];
	static struct frame f;
	size_t sum = 0;

	if (len > sizeof(plain))
		return 0;
	memcpy(plain, data, len);
	if (frame_parse(&f, plain, len) || f.kind != FRAME_PACKETS)
		return 0;
	for (unsigned i = 0; i < f.n; i++) {
		if (f.packets[i].data != plain + sum)
			__builtin_trap(); /* packets lie back to back */
		sum += f.packets[i].ip.total;
	}
	if (sum != len)
		__builtin_trap();
	return 0;
}
