/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/workload.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *why;

static int parse(struct workload **w, const char *text)
{
	json_t *j = json_loads(text, 0, NULL);
	int err;

	cr_assert(j, "%s", text);
	err = workload_parse(w, j, &why);
	json_decref(j);
	return err;
}

#define HEAD "{\"id\":\"ab01\",\"name\":\"web\",\"addresses\":[\"10.77.1.5\"]"

Test(workload, reads_what_it_writes)
{
	static const char text[] =
		"{\"addresses\":[\"10.77.1.5\",\"fd77::5\"],\"id\":\"ab01\",\"image\":\"web:1\","
		"\"labels\":{\"app\":\"web\",\"tier\":\"a\"},\"name\":\"web\",\"network\":"
		"\"front_1\",\"node\":\"n1\",\"since\":\"2026-01-31T12:00:00Z\"}";
	struct cert_labels labels;
	struct workload *w;
	char *back;

	cr_assert_eq(parse(&w, text), 0, "%s", why);
	cr_expect_str_eq(w->id, "ab01");
	cr_expect_str_eq(w->node, "n1");
	cr_expect_eq(w->naddresses, 2);
	cr_expect_eq(w->addresses[1].family, 6);
	cr_expect_eq(w->since, 1769860800);
	workload_labels(w, &labels);
	cr_expect_eq(labels.n, 2);
	cr_expect_str_eq(labels.at[1].key, "tier");
	cr_expect_str_eq(labels.at[1].value, "a");
	back = workload_text(w);
	cr_expect_str_eq(back, text);
	free(back);
	workload_free(w);
}

Test(workload, needs_little)
{
	struct workload *w;
	char *back;

	cr_assert_eq(parse(&w, HEAD "}"), 0);
	cr_expect_null(w->network);
	cr_expect_null(w->image);
	cr_expect_str_eq(w->node, "");
	cr_expect_eq(w->nlabels, 0);
	back = workload_text(w);
	cr_expect(strstr(back, "\"image\":null") && strstr(back, "\"since\":null"), "%s", back);
	free(back);
	workload_free(w);
}

Test(workload, labels_come_in_one_order)
{
	struct workload *a, *b;
	char *x, *y;

	cr_assert_eq(parse(&a, HEAD ",\"labels\":{\"b\":\"1\",\"a\":\"2\"}}"), 0);
	cr_assert_eq(parse(&b, HEAD ",\"labels\":{\"a\":\"2\",\"b\":\"1\"}}"), 0);
	x = workload_text(a);
	y = workload_text(b);
	cr_expect_str_eq(x, y);
	free(x);
	free(y);
	workload_free(a);
	workload_free(b);
}

Test(workload, refuses_what_is_out_of_form)
{
	static const struct {
		const char *text, *part;
	} bad[] = {
		{"{}", "id"},
		{"{\"id\":\"AB\",\"name\":\"w\",\"addresses\":[\"10.77.1.5\"]}", "id"},
		{"{\"id\":\"\",\"name\":\"w\",\"addresses\":[\"10.77.1.5\"]}", "id"},
		{"{\"id\":\"00000000000000000000000000000000000000000000000000000000000000000\","
	         "\"name\":\"w\",\"addresses\":[\"10.77.1.5\"]}",
	         "id"},
		{"{\"id\":7,\"name\":\"w\",\"addresses\":[\"10.77.1.5\"]}", "id"},
		{"{\"id\":\"1\",\"name\":\"W\",\"addresses\":[\"10.77.1.5\"]}", "name"},
		{"{\"id\":\"1\",\"name\":\"a.b\",\"addresses\":[\"10.77.1.5\"]}", "name"},
		{"{\"id\":\"1\",\"addresses\":[\"10.77.1.5\"]}", "name"},
		{"{\"id\":\"1\",\"name\":\"w\",\"addresses\":[]}", "addresses"},
		{"{\"id\":\"1\",\"name\":\"w\"}", "addresses"},
		{"{\"id\":\"1\",\"name\":\"w\",\"addresses\":[\"10.77.1.5/24\"]}", "addresses"},
		{"{\"id\":\"1\",\"name\":\"w\",\"addresses\":[\"127.0.0.1\"]}", "addresses"},
		{"{\"id\":\"1\",\"name\":\"w\",\"addresses\":[\"10.77.1.5\",\"10.77.1.5\"]}",
	         "addresses"},
		{HEAD ",\"node\":\"-\"}", "node"},
		{HEAD ",\"node\":3}", "node"},
		{HEAD ",\"network\":\"a b\"}", "network"},
		{HEAD ",\"network\":\"-a\"}", "network"},
		{HEAD ",\"network\":\"\"}", "network"},
		{HEAD ",\"image\":\"a b\"}", "image"},
		{HEAD ",\"image\":[]}", "image"},
		{HEAD ",\"labels\":[]}", "labels"},
		{HEAD ",\"labels\":{\"a\":1}}", "labels"},
		{HEAD ",\"labels\":{\"a=b\":\"c\"}}", "labels"},
		{HEAD ",\"labels\":{\"a\":\"\"}}", "labels"},
		{HEAD ",\"since\":\"yesterday\"}", "since"},
		{HEAD ",\"since\":\"2026-01-31T12:00:00Zx\"}", "since"},
	};
	struct workload *w;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_expect_eq(parse(&w, bad[i].text), -EINVAL, "%s", bad[i].text);
		cr_expect(why && strncmp(why, bad[i].part, strlen(bad[i].part)) == 0, "%s: %s",
		          bad[i].text, why ? why : "(none)");
	}
}

static char *many(const char *what, unsigned n)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fprintf(f, "{\"id\":\"1\",\"name\":\"w\",");
	if (*what == 'a') {
		fprintf(f, "\"addresses\":[");
		for (unsigned i = 0; i < n; i++)
			fprintf(f, "%s\"10.77.1.%u\"", i ? "," : "", i + 2);
		fprintf(f, "]}");
	} else {
		fprintf(f, "\"addresses\":[\"10.77.1.5\"],\"labels\":{");
		for (unsigned i = 0; i < n; i++)
			fprintf(f, "%s\"k%u\":\"v\"", i ? "," : "", i);
		fprintf(f, "}}");
	}
	fclose(f);
	return text;
}

Test(workload, holds_sixteen_addresses_and_labels_and_no_more)
{
	static const char *const what[] = {"addresses", "labels"};
	struct workload *w;

	for (size_t i = 0; i < 2; i++) {
		char *fits = many(what[i], 16), *more = many(what[i], 17);

		cr_expect_eq(parse(&w, fits), 0);
		workload_free(w);
		cr_expect_eq(parse(&w, more), -EINVAL);
		free(fits);
		free(more);
	}
}

Test(workload, is_of_the_node_that_announces_it)
{
	json_t *j = json_loads(HEAD ",\"node\":\"n2\"}", 0, NULL);
	struct workload *w;

	cr_expect_eq(workload_parse_of(&w, j, "n1", &why), -EACCES);
	cr_assert_eq(workload_parse_of(&w, j, "n2", &why), 0);
	workload_free(w);
	json_object_del(j, "node");
	cr_assert_eq(workload_parse_of(&w, j, "n1", &why), 0);
	cr_expect_str_eq(w->node, "n1");
	workload_free(w);
	json_decref(j);
}

static bool owns(const char *text)
{
	struct prefix own, pool;
	struct addr a;

	cr_assert(!prefix_parse(&own, "10.77.1.0/24") && !prefix_parse(&pool, "10.80.0.0/14") &&
	          !addr_parse(&a, text));
	return workload_owns(&a, &own, 1, &pool, 1);
}

Test(workload, an_address_is_the_nodes_to_give_or_of_a_pool)
{
	cr_expect(owns("10.77.1.2"));
	cr_expect(owns("10.80.0.9"));
	cr_expect_not(owns("10.77.1.1"), "the node's own");
	cr_expect_not(owns("10.77.2.2"), "another node's");
	cr_expect_not(owns("8.8.8.8"));
	cr_expect_not(owns("fd77::2"));
}
