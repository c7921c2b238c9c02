/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a restore is given: the parts lie inside the file, one behind the other. */
#include "gateway/backup.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *after = data;
	struct backup b;

	if (backup_parse(&b, data, size))
		return 0;
	for (unsigned k = BACKUP_NODE; k < BACKUP_KINDS; k++) {
		const struct backup_part *p = &b.parts[k];

		if (!p->at)
			continue;
		if (p->at < after || p->len > size - (size_t)(p->at - data))
			abort();
		after = p->at + p->len;
	}
	if (after >= data + b.signed_len || b.signature.at + b.signature.len != data + size)
		abort();
	return 0;
}
