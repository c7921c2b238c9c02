/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A sealed secret of a stranger's making is never opened, and its rounds do not hold us up. */
#include "crypto/vault.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS_OF_A_TRY 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char passphrase[] = "correct horse battery";
	uint8_t copy[512], out[512];

	if (size > sizeof(copy))
		return 0;
	memcpy(copy, data, size);
	if (size >= 5 && !(copy[1] | copy[2])) /* as many as there is time for here */
		copy[3] = 0, copy[4] %= ROUNDS_OF_A_TRY;
	else if (size >= 5 && copy[1] < 1)
		return 0;
	if (!vault_open(out, passphrase, sizeof(passphrase) - 1, copy, size, NULL, 0))
		abort();
	return 0;
}
