/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a user pastes: a token that is read is written the same. */
#include "crypto/token.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[TOKEN_TEXT_MAX], id[TOKEN_ID_TEXT + 1];
	uint8_t bytes[TOKEN_ID_LEN];
	struct token t;

	if (token_parse(&t, (const char *)data, size) == 0) {
		if (token_format(&t, text, sizeof(text)) || !memmem(data, size, text, strlen(text)))
			abort();
	}
	if (size < sizeof(text)) {
		memcpy(text, data, size);
		text[size] = 0;
		if (token_id_parse(bytes, text) == 0) {
			token_id_format(bytes, id);
			if (strcmp(id, text) != 0)
				abort();
		}
	}
	return 0;
}
