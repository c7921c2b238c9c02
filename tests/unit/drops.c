/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/drops.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <string.h>

Test(drops, each_reason_has_a_name_of_its_own_and_a_text)
{
	for (int i = 0; i < DROP_COUNT; i++) {
		const char *name = drop_name((enum drop)i);

		cr_assert(name && *name, "reason %d", i);
		cr_assert(drop_text((enum drop)i) && *drop_text((enum drop)i), "%s", name);
		for (int k = 0; k < i; k++)
			cr_assert_str_neq(name, drop_name((enum drop)k));
	}
}

Test(drops, a_name_is_lower_case_words_joined_by_hyphens)
{
	for (int i = 0; i < DROP_COUNT; i++) {
		const char *name = drop_name((enum drop)i);

		cr_assert(islower((unsigned char)name[0]), "%s", name);
		for (const char *c = name; *c; c++)
			cr_assert(islower((unsigned char)*c) || *c == '-', "%s", name);
	}
}

Test(drops, names_that_users_know_stay)
{
	cr_assert_str_eq(drop_name(DROP_NONE), "none");
	cr_assert_str_eq(drop_name(DROP_NO_ROUTE), "no-route");
	cr_assert_str_eq(drop_name(DROP_BAD_TAG), "bad-tag");
	cr_assert_str_eq(drop_text(DROP_DESTINATION), "the inner destination is not ours");
}
