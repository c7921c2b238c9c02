/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/revocation.h"

#include "tests/ends.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ends_ca ca;
	struct revocations s = {0};
	uint64_t number;
	time_t issued;

	if (!ca.ca)
		ends_ca_init(&ca);
	if (!revocation_list_read(&s, &number, &issued, data, size, ca.trust))
		revocations_clear(&s);
	return 0;
}
