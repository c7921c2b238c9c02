/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/edict.h"

#include "crypto/digest.h"
#include "tests/folder.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static struct folder folder;
static struct edict d;

static void setup(void)
{
	folder_init(&folder);
}

static void teardown(void)
{
	edict_clear(&d);
	folder_clear(&folder);
}

TestSuite(edict, .init = setup, .fini = teardown);

static int take(uint64_t version, const char *text)
{
	struct watch_policy p = {.version = version, .size = strlen(text)};

	digest_sha256(text, strlen(text), p.hash);
	return edict_take(&d, folder.fd, &p, text, strlen(text), "2026-01-31T12:00:00Z", "root");
}

Test(edict, counts_once_it_is_on_the_disk)
{
	json_t *j = edict_json(&d);

	cr_expect(json_is_null(json_object_get(j, "version")) &&
	          json_is_null(json_object_get(j, "document")));
	json_decref(j);
	cr_assert_eq(take(3, "version: 1\n# \xc3\xa4 \"quoted\"\n"), 0, "%s", d.why);
	cr_expect_not_null(d.policy);
	edict_clear(&d);
	cr_assert_eq(edict_load(&d, folder.fd), 0, "%s", d.why);
	cr_expect_eq(d.version, 3);
	j = edict_json(&d);
	cr_expect_str_eq(json_string_value(json_object_get(j, "document")),
	                 "version: 1\n# \xc3\xa4 \"quoted\"\n");
	cr_expect_str_eq(json_string_value(json_object_get(j, "applied_at")),
	                 "2026-01-31T12:00:00Z");
	cr_expect_str_eq(json_string_value(json_object_get(j, "by")), "root");
	json_decref(j);
}

Test(edict, the_old_one_stays_where_the_new_one_is_no_use)
{
	struct watch_policy p = {.version = 2, .size = 11};

	cr_assert_eq(take(1, "version: 1\n"), 0);
	cr_expect_eq(take(2, "version: 1\nrulez: []\n"), -EINVAL);
	cr_expect(d.why[0] && d.bad == 2, "%s", d.why);
	cr_expect_eq(edict_take(&d, folder.fd, &p, "version: 1\n", 11, "", ""), -EBADMSG,
	             "the hash is another");
	cr_expect_eq(d.version, 1);
	cr_expect_not_null(d.policy);
	cr_assert_eq(take(3, "version: 1\n#\n"), 0);
	cr_expect_eq(d.version, 3);
	cr_expect_eq(d.why[0], 0);
}

Test(edict, takes_no_damaged_file)
{
	char text[4096];
	FILE *f;
	size_t n;
	char path[128];

	cr_expect_eq(edict_load(&d, folder.fd), -ENOENT);
	cr_assert_eq(take(1, "version: 1\n"), 0);
	edict_clear(&d);
	snprintf(path, sizeof(path), "%s/%s", folder.path, EDICT_FILE);
	f = fopen(path, "r");
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	for (size_t cut = 1; cut < n; cut += 7) {
		f = fopen(path, "w");
		fwrite(text, 1, cut, f);
		fclose(f);
		cr_expect_eq(edict_load(&d, folder.fd), -EBADMSG, "%zu", cut);
		cr_expect_eq(d.version, 0);
	}
	strcpy(strstr(text, "version: 1"), "version: 2");
	f = fopen(path, "w");
	fputs(text, f);
	fclose(f);
	cr_expect_eq(edict_load(&d, folder.fd), -EBADMSG);
}
