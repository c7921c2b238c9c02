/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/watch.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The input is a watch stream: lines, one after the other. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct node self = {.noverlay = 1};
	const char *p = (const char *)data, *end = p + len;
	struct watch w;
	char why[128];

	prefix_parse(&self.overlay[0], "10.77.0.0/16");
	watch_init(&w, &self);
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t n = nl ? (size_t)(nl - p) : (size_t)(end - p);
		uint64_t revision = w.revision, generation = w.generation;

		if (watch_line(&w, p, n, why, sizeof(why)) == WATCH_REFUSED)
			break;
		if (w.generation < generation ||
		    (w.generation == generation && w.revision < revision))
			__builtin_trap();
		p += n + 1;
	}
	watch_clear(&w);
	return 0;
}
