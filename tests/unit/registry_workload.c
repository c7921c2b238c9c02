/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/registry.h"

#include "tests/folder.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static struct folder folder;
static struct registry *r;

static void setup(void)
{
	folder_init(&folder);
	r = folder_registry(&folder, "10.77.0.0/16");
	cr_assert_eq(folder_node(r, "n1", ROLE_NODE), 0); /* 10.77.1.0/24 */
	cr_assert_eq(folder_node(r, "n2", ROLE_NODE), 0);
}

static void teardown(void)
{
	registry_close(r);
	folder_clear(&folder);
}

TestSuite(registry_workload, .init = setup, .fini = teardown, .timeout = 60);

static void reopen(void)
{
	registry_close(r);
	r = NULL;
	cr_assert_eq(registry_open(&r, folder.fd), 0);
}

static struct workload *make(const char *node, const char *id, const char *address)
{
	json_t *j = json_pack("{s:s, s:s, s:s, s:[s], s:{s:s}}", "id", id, "name", "web", "node",
	                      node, "addresses", address, "labels", "app", "web");
	struct workload *w;
	const char *why;

	cr_assert_eq(workload_parse(&w, j, &why), 0, "%s", why);
	json_decref(j);
	return w;
}

static int put(const char *node, const char *id, const char *address)
{
	struct workload *w = make(node, id, address);
	int err = registry_workload_put(r, w);

	workload_free(w);
	return err;
}

static int refuse(const char *node, const char *id, const char *rule, time_t at)
{
	struct workload *w = make(node, id, "10.80.0.1");
	int err = registry_refuse(r, w, rule, at);

	workload_free(w);
	return err;
}

static const char *last_change(void)
{
	return registry_change(r, registry_revision(r));
}

Test(registry_workload, keeps_what_it_was_given)
{
	uint64_t before = registry_revision(r);
	char text[8192], last[WORKLOAD_ID_MAX + 1];
	size_t n;

	cr_assert_eq(put("n1", "aa", "10.77.1.5"), 0);
	cr_assert_eq(put("n2", "bb", "10.80.0.5"), 0);
	cr_expect_eq(registry_revision(r), before + 2);
	cr_expect(strstr(last_change(), "\"workload\":{") && strstr(last_change(), "\"id\":\"bb\""),
	          "%s", last_change());
	cr_expect_eq(put("n1", "aa", "10.77.1.5"), 0);
	cr_expect_eq(registry_revision(r), before + 2, "as it was: no change");
	reopen();
	cr_expect_eq(registry_workload_count(r), 2);
	n = registry_workloads_text(r, "", 10, text, sizeof(text), last);
	cr_expect(n > 0 && strstr(text, "\"aa\"") && strstr(text, "\"bb\"") && !last[0]);
	n = registry_workloads_text(r, "", 1, text, sizeof(text), last);
	cr_expect_str_eq(last, "aa");
	text[n] = '\0';
	cr_expect_null(strstr(text, "\"bb\""));
	n = registry_workloads_text(r, "aa", 1, text, sizeof(text), last);
	text[n] = '\0';
	cr_expect(strstr(text, "\"bb\"") && !last[0]);
}

Test(registry_workload, refuses_what_is_another_s)
{
	cr_assert_eq(put("n1", "aa", "10.77.1.5"), 0);
	cr_expect_eq(put("n3", "cc", "10.80.0.1"), -ENOENT);
	cr_expect_eq(put("n2", "cc", "10.77.1.6"), -EINVAL, "n1's prefix");
	cr_expect_eq(put("n1", "cc", "10.77.1.1"), -EINVAL, "the node's own");
	cr_expect_eq(put("n1", "cc", "192.0.2.1"), -EINVAL);
	cr_expect_eq(put("n2", "aa", "10.77.2.5"), -EEXIST);
	cr_expect_eq(put("n1", "cc", "10.77.1.5"), -EADDRINUSE);
	cr_expect_eq(registry_workload_remove(r, "n2", "aa"), -EACCES);
	cr_expect_eq(registry_workload_remove(r, "n1", "cc"), -ENOENT);
	cr_expect_eq(registry_workload_count(r), 1);
	cr_expect(registry_workload_has(r, "n1", "aa"));
	cr_expect_not(registry_workload_has(r, "n2", "aa"));
}

Test(registry_workload, an_address_is_free_when_its_workload_has_gone)
{
	cr_assert_eq(put("n1", "aa", "10.80.0.5"), 0);
	cr_expect_eq(put("n2", "bb", "10.80.0.5"), -EADDRINUSE);
	cr_assert_eq(put("n1", "aa", "10.80.0.6"), 0, "moved");
	cr_assert_eq(put("n2", "bb", "10.80.0.5"), 0);
	cr_assert_eq(registry_workload_remove(r, "n1", "aa"), 0);
	cr_expect(strstr(last_change(), "\"workload_removed\":\"aa\""), "%s", last_change());
	cr_assert_eq(put("n2", "cc", "10.80.0.6"), 0);
	reopen();
	cr_expect_eq(registry_workload_count(r), 2);
	cr_expect_eq(put("n1", "dd", "10.80.0.6"), -EADDRINUSE);
}

Test(registry_workload, a_node_that_goes_takes_its_workloads_along)
{
	cr_assert_eq(put("n1", "aa", "10.77.1.5"), 0);
	cr_assert_eq(put("n1", "ab", "10.80.0.5"), 0);
	cr_assert_eq(put("n2", "bb", "10.77.2.5"), 0);
	cr_assert_eq(registry_node_remove(r, "n1"), 0);
	cr_expect_eq(registry_workload_count(r), 1);
	cr_expect_eq(put("n2", "bc", "10.80.0.5"), 0, "its address is free");
	reopen();
	cr_expect_eq(registry_workload_count(r), 2);
}

Test(registry_workload, a_node_made_anew_has_none)
{
	struct registry_node n;

	cr_assert_eq(put("n1", "aa", "10.77.1.5"), 0);
	cr_assert_eq(registry_node_get(r, "n1", &n), 0);
	strcpy(n.version, "0.2");
	cr_assert_eq(registry_node_put(r, &n), 0);
	cr_expect_eq(registry_workload_count(r), 1, "it is the same node");
	n.incarnation++;
	cr_assert_eq(registry_node_put(r, &n), 0);
	cr_expect_eq(registry_workload_count(r), 0);
	cr_assert_eq(put("n1", "aa", "10.77.1.5"), 0);
	reopen();
	cr_expect_eq(registry_workload_count(r), 1);
}

Test(registry_workload, a_node_holds_so_many_and_no_more)
{
	char id[16], address[32];

	for (unsigned i = 0; i < WORKLOADS_NODE_MAX; i++) {
		snprintf(id, sizeof(id), "%x", i);
		snprintf(address, sizeof(address), "10.80.%u.%u", i / 250, i % 250 + 1);
		cr_assert_eq(put("n1", id, address), 0);
	}
	cr_expect_eq(put("n1", "ffff", "10.81.0.1"), -EDQUOT);
	cr_expect_eq(put("n1", "0", "10.81.0.1"), 0, "one that is there may change");
	cr_expect_eq(put("n2", "ffff", "10.81.0.2"), 0, "others have room");
	cr_assert_eq(registry_workload_remove(r, "n1", "1"), 0);
	cr_expect_eq(put("n1", "fffe", "10.81.0.3"), 0);
}

Test(registry_workload, keeps_the_newest_refusals)
{
	json_t *list, *first;
	char id[16];

	cr_expect_eq(refuse("n1", "aa", "", 1), -EINVAL);
	cr_expect_eq(refuse("n1", "aa", "a\nb", 1), -EINVAL);
	for (unsigned i = 0; i < REGISTRY_REFUSED_NODE + 8; i++) {
		snprintf(id, sizeof(id), "%x", i + 16);
		cr_assert_eq(refuse("n1", id, "only-pci", 1800000000 + i), 0);
	}
	cr_assert_eq(refuse("n2", "aa", "other", 1800000100), 0);
	cr_assert_eq(refuse("n2", "aa", "newer", 1800000200), 0, "the same again");
	reopen();
	list = registry_refused(r, 1 << 20);
	cr_assert_eq(json_array_size(list), REGISTRY_REFUSED_NODE + 1);
	first = json_array_get(list, 0);
	cr_expect_str_eq(json_string_value(json_object_get(first, "node")), "n2");
	cr_expect_str_eq(json_string_value(json_object_get(first, "rule")), "newer");
	cr_expect_str_eq(json_string_value(json_object_get(first, "at")), "2027-01-15T08:03:20Z");
	json_decref(list);
	list = registry_refused(r, 1000);
	cr_expect(json_array_size(list) >= 1 && json_array_size(list) < 6, "as many as fit");
	json_decref(list);
}

Test(registry_workload, drains_a_node_and_no_put_undoes_it)
{
	struct registry_node n;

	cr_expect_eq(registry_node_drain(r, "n9", true), -ENOENT);
	cr_assert_eq(registry_node_drain(r, "n1", true), 0);
	cr_expect(strstr(last_change(), "\"draining\":true"), "%s", last_change());
	cr_assert_eq(folder_node(r, "n1", ROLE_NODE), 0); /* it joins again */
	reopen();
	cr_assert_eq(registry_node_get(r, "n1", &n), 0);
	cr_expect(n.draining);
	cr_assert_eq(registry_node_drain(r, "n1", false), 0);
	cr_assert_eq(registry_node_get(r, "n1", &n), 0);
	cr_expect_not(n.draining);
}

Test(registry_workload, policies_have_rising_versions)
{
	char text[160];

	registry_policy_text(r, text);
	cr_expect_str_eq(text, "null");
	cr_expect_eq(registry_policy(r)->version, 0);
	for (int i = 1; i <= REGISTRY_POLICIES + 3; i++) {
		char document[32];

		snprintf(document, sizeof(document), "version: 1\n# %d\n", i);
		cr_assert_eq(registry_policy_put(r, document, strlen(document), "root", 1800000000),
		             0);
		cr_assert_eq(registry_policy(r)->version, (uint64_t)i);
		cr_expect(strstr(last_change(), "\"policy\":{\"version\":"), "%s", last_change());
		cr_assert_eq(registry_policy_put(r, document, strlen(document), "root", 1900000000),
		             0, "as it was");
		cr_assert_eq(registry_policy(r)->version, (uint64_t)i);
	}
	reopen();
	cr_expect_eq(registry_policy(r)->version, REGISTRY_POLICIES + 3);
	cr_expect_str_eq(registry_policy(r)->document, "version: 1\n# 8\n");
	cr_expect_str_eq(registry_policy(r)->by, "root");
	cr_expect_eq(registry_policy(r)->applied_at, 1800000000);
	cr_expect_eq(registry_policy_put(r, "a\0b", 3, "root", 1), -EINVAL);
	cr_expect_eq(registry_policy_put(r, "\xff\xfe", 2, "root", 1), -EINVAL);
	cr_expect_eq(registry_policy(r)->version, REGISTRY_POLICIES + 3);
}

static void sql(const char *text)
{
	char path[128];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/%s", folder.path, REGISTRY_FILE);
	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

Test(registry_workload, takes_over_a_file_of_the_second_version)
{
	struct registry_node n;

	registry_close(r);
	sql("DROP TABLE workload; DROP TABLE refused; DROP TABLE policy;"
	    "ALTER TABLE node DROP COLUMN draining; PRAGMA user_version = 2");
	cr_assert_eq(registry_open(&r, folder.fd), 0);
	cr_assert_eq(registry_node_get(r, "n1", &n), 0);
	cr_expect_not(n.draining);
	cr_expect_eq(registry_workload_count(r), 0);
	cr_assert_eq(put("n1", "aa", "10.77.1.5"), 0);
	cr_assert_eq(registry_policy_put(r, "version: 1\n", 11, "root", 1800000000), 0);
	reopen();
	cr_expect_eq(registry_workload_count(r), 1);
}

Test(registry_workload, refuses_damaged_rows)
{
	static const char *const damage[] = {
		"UPDATE workload SET record = '{}'",
		"UPDATE workload SET record = ''",
		"UPDATE workload SET id = 'bb'",
		"UPDATE workload SET node = 'n2'",
		"UPDATE workload SET record = replace(record, '10.77.1.5', '10.77.2.5')",
		"UPDATE policy SET by = printf('%.*c', 200, 'x')",
	};

	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		cr_assert_eq(put("n1", "aa", "10.77.1.5"), 0);
		cr_assert_eq(registry_policy_put(r, "version: 1\n", 11, "root", 1800000000), 0);
		registry_close(r);
		sql(damage[i]);
		cr_expect_eq(registry_open(&r, folder.fd), -EBADMSG, "%s", damage[i]);
		unlinkat(folder.fd, REGISTRY_FILE, 0);
		r = folder_registry(&folder, "10.77.0.0/16");
		cr_assert_eq(folder_node(r, "n1", ROLE_NODE), 0);
		cr_assert_eq(folder_node(r, "n2", ROLE_NODE), 0);
	}
}
