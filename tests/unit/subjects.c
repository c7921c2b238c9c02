/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/tables/subjects.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const uint8_t key[16] = "0123456789abcdef";
static struct subjects *s;
static const char n1[] = "n1", n2[] = "n2";

static void leave(void)
{
	subjects_free(s);
	s = NULL;
}

TestSuite(subjects, .fini = leave, .timeout = 120);

static struct addr addr(const char *text)
{
	struct addr a;

	cr_assert_eq(addr_parse(&a, text), 0, "%s", text);
	return a;
}

static int add(const char *name, const void *where, uint32_t class, const char *at)
{
	struct subject who = {.name = name, .id = "", .where = where, .class = class};
	struct addr a = addr(at);

	return subjects_add(s, &who, &a, 1);
}

static const struct subject *who(const char *at)
{
	struct addr a = addr(at);

	return subjects_lookup(s, &a);
}

Test(subjects, an_address_leads_to_whose_it_is)
{
	struct subject db = {
		.name = "db-1", .id = "abc123", .where = n2, .class = 7, .refused = true};
	struct addr at[2] = {addr("10.77.2.9"), addr("fd77:0:0:2::9")};
	char name[8] = "web-1";

	cr_assert_eq(subjects_new(&s, key, 10, 10), 0);
	cr_assert_eq(subjects_add(s, &db, at, 2), 0);
	cr_assert_eq(add(name, n1, 3, "10.77.1.5"), 0);
	memset(name, 'x', sizeof(name) - 1); /* it was copied */
	cr_expect_eq(who("10.77.2.9"), who("fd77:0:0:2::9"));
	cr_expect_str_eq(who("10.77.2.9")->name, "db-1");
	cr_expect_str_eq(who("10.77.2.9")->id, "abc123");
	cr_expect_eq(who("10.77.2.9")->where, n2);
	cr_expect_eq(who("10.77.2.9")->class, 7);
	cr_expect(who("10.77.2.9")->refused);
	cr_expect_str_eq(who("10.77.1.5")->name, "web-1");
	cr_expect_not(who("10.77.1.5")->refused);
	cr_expect_null(who("10.77.1.6"));
	cr_expect_null(who("fd77::1"));
	cr_expect_null(who("::"));
	cr_expect_eq(subjects_count(s), 2);
}

Test(subjects, an_empty_table_knows_nobody)
{
	cr_assert_eq(subjects_new(&s, key, 0, 0), 0);
	cr_expect_null(who("10.77.1.5"));
	cr_expect_null(who("::"));
	cr_expect_eq(add("a", n1, 1, "10.77.1.5"), -E2BIG);
}

Test(subjects, the_first_to_claim_an_address_has_it)
{
	cr_assert_eq(subjects_new(&s, key, 10, 10), 0);
	cr_assert_eq(add("a", n1, 1, "10.77.1.5"), 0);
	cr_assert_eq(add("b", n2, 2, "10.77.1.5"), 0);
	cr_expect_str_eq(who("10.77.1.5")->name, "a");
}

Test(subjects, what_does_not_fit_is_refused)
{
	struct subject one = {.name = "a", .id = ""};
	struct addr at[SUBJECT_ADDRS + 1], none = {0};

	for (unsigned i = 0; i <= SUBJECT_ADDRS; i++) {
		at[i] = addr("10.77.1.0");
		at[i].b[3] = (uint8_t)i;
	}
	cr_expect_eq(subjects_new(&s, key, SUBJECTS_MAX + 1, 1), -E2BIG);
	cr_assert_eq(subjects_new(&s, key, 2, SUBJECT_ADDRS + 1), 0);
	cr_expect_eq(subjects_add(s, &one, at, SUBJECT_ADDRS + 1), -E2BIG);
	cr_expect_eq(subjects_add(s, &one, &none, 1), -EINVAL);
	cr_expect_eq(subjects_count(s), 0);
	cr_expect_eq(subjects_add(s, &one, at, SUBJECT_ADDRS), 0);
	cr_expect_eq(subjects_add(s, &one, at, 2), -E2BIG, "addresses");
	cr_expect_eq(subjects_add(s, &one, at + SUBJECT_ADDRS, 1), 0);
	cr_expect_eq(subjects_add(s, &one, at, 0), -E2BIG, "subjects");
}

#define NODES 10000
#define EACH  5

/* A cluster at its largest: all are found, nobody else is, and what it takes. */
Test(subjects, sixty_thousand)
{
	char name[32], id[65];
	struct addr a[2];

	cr_assert_eq(subjects_new(&s, key, NODES * (EACH + 1), NODES * (EACH + 1) * 2), 0);
	for (unsigned i = 0; i < NODES * (EACH + 1); i++) {
		struct subject one = {.name = name, .id = id, .class = i};
		unsigned n = i / (EACH + 1), k = i % (EACH + 1) + 1;

		snprintf(name, sizeof(name), "workload-%u", i);
		snprintf(id, sizeof(id), "%064u", i);
		a[0] = (struct addr){4, {10, (uint8_t)(128 + n / 256), (uint8_t)n, (uint8_t)k}};
		a[1] = (struct addr){
			6, {0xfd, 0x77, [6] = (uint8_t)(n / 256), (uint8_t)n, [15] = (uint8_t)k}};
		cr_assert_eq(subjects_add(s, &one, a, 2), 0);
	}
	for (unsigned i = 0; i < NODES * (EACH + 1); i++) {
		unsigned n = i / (EACH + 1), k = i % (EACH + 1) + 1;

		for (unsigned miss = 0; miss <= 16; miss += 16) {
			unsigned host = k + miss;

			a[0] = (struct addr){
				4, {10, (uint8_t)(128 + n / 256), (uint8_t)n, (uint8_t)host}};
			a[1] = (struct addr){6,
			                     {0xfd, 0x77, [6] = (uint8_t)(n / 256),
			                      (uint8_t)n, [15] = (uint8_t)host}};
			for (int j = 0; j < 2; j++) {
				const struct subject *found = subjects_lookup(s, &a[j]);

				cr_assert_eq(found != NULL, !miss);
				cr_assert(!found || found->class == i);
			}
		}
	}
	printf("subjects: %u with two addresses each: %zu KiB\n", subjects_count(s),
	       subjects_memory(s) / 1024);
	cr_expect_lt(subjects_memory(s), 20U << 20);
}
