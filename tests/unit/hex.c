/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/hex.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

Test(hex, every_byte_there_and_back)
{
	uint8_t all[256], back[256];
	char text[2 * sizeof(all) + 1];

	for (unsigned i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)i;
	hex_format(text, all, sizeof(all));
	cr_assert_eq(strlen(text), 2 * sizeof(all));
	cr_expect_eq(strncmp(text, "000102", 6), 0);
	cr_expect_str_eq(text + 2 * 254, "feff");
	cr_assert_eq(hex_parse(back, sizeof(back), text, strlen(text)), 0);
	cr_expect_arr_eq(back, all, sizeof(all));
}

Test(hex, nothing_is_nothing)
{
	char text[1] = {'x'};
	uint8_t none[1] = {0};

	hex_format(text, none, 0);
	cr_expect_str_eq(text, "");
	cr_expect_eq(hex_parse(none, 0, "", 0), 0);
}

Test(hex, what_is_not_exactly_that_is_refused)
{
	uint8_t out[2];

	cr_expect_eq(hex_parse(out, 2, "0a1", 3), -EINVAL);
	cr_expect_eq(hex_parse(out, 2, "0a", 2), -EINVAL);
	cr_expect_eq(hex_parse(out, 2, "0a1b2c", 6), -EINVAL);
	for (unsigned c = 0; c < 256; c++) {
		char text[4] = {'0', 'a', '1', (char)c};
		bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');

		cr_expect_eq(hex_parse(out, 2, text, 4), digit ? 0 : -EINVAL, "%u", c);
	}
}
