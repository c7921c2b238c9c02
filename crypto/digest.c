/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/digest.h"

#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/settings.h>

void digest_sha256(const void *bytes, size_t len, uint8_t out[DIGEST_LEN])
{
	/* Fails on a NULL argument alone. */
	(void)wc_Sha256Hash(bytes ? bytes : (const uint8_t *)"", (word32)len, out);
}
