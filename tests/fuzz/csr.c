/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a joiner asks with, read by the ca. */
#include "crypto/cert.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t spki[CERT_SPKI_MAX];
	size_t len;

	if (csr_parse(data, size, spki, &len) == 0) {
		/* Only what carries a signature of its own key gets here. */
		if (len > sizeof(spki) || cert_spki_check(spki, len) < 0)
			abort();
	}
	/* The same bytes as a signature, which a proof is. */
	if (size > 8)
		(void)cert_verify(data, size < 91 ? size : 91, "x", 1, data, size);
	return 0;
}
