/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/intern.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct intern *t;

static void setup(void)
{
	cr_assert_eq(intern_new(&t), 0);
}

static void teardown(void)
{
	intern_free(t);
}

TestSuite(intern, .init = setup, .fini = teardown);

static uint32_t add(const char *text)
{
	uint32_t id = INTERN_NONE;

	cr_assert_eq(intern_add(t, text, strlen(text), &id), 0);
	return id;
}

Test(intern, equal_ones_have_one_number)
{
	cr_expect_eq(intern_find(t, "a", 1), INTERN_NONE);
	cr_expect_eq(add("a"), 0);
	cr_expect_eq(add("b"), 1);
	cr_expect_eq(add("a"), 0);
	cr_expect_eq(add(""), 2, "nothing is a string, too");
	cr_expect_eq(add("ab"), 3);
	cr_expect_eq(intern_find(t, "b", 1), 1);
	cr_expect_eq(intern_find(t, "", 0), 2);
	cr_expect_eq(intern_find(t, "abc", 3), INTERN_NONE);
	cr_expect_eq(intern_find(t, "a\0", 2), INTERN_NONE, "a zero byte is one like others");
	cr_expect_eq(intern_count(t), 4);
	cr_expect_str_eq(intern_bytes(t, 3), "ab");
	cr_expect_eq(intern_len(t, 3), 2);
	intern_free(NULL);
}

Test(intern, many_keep_their_numbers_and_bytes)
{
	char text[32];

	for (uint32_t i = 0; i < 50000; i++) {
		snprintf(text, sizeof(text), "word-%u", i * 7919 % 50000);
		cr_assert_eq(add(text), i);
	}
	for (uint32_t i = 0; i < 50000; i++) {
		snprintf(text, sizeof(text), "word-%u", i * 7919 % 50000);
		cr_assert_eq(intern_find(t, text, strlen(text)), i);
		cr_assert_str_eq(intern_bytes(t, i), text);
		cr_assert_eq((uintptr_t)intern_bytes(t, i) % sizeof(uint32_t), 0);
	}
	cr_expect_eq(intern_find(t, "word-50000", 10), INTERN_NONE);
}
