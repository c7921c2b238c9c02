/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/node.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was taken is written, and what was written is taken and written the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct node n, again;
	char *once, *twice;

	if (node_parse(&n, (const char *)data, size))
		return 0;
	once = node_format(&n);
	if (!once || node_parse(&again, once, strlen(once)))
		abort();
	twice = node_format(&again);
	if (!twice || strcmp(once, twice))
		abort();
	free(once);
	free(twice);
	return 0;
}
