/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/orders.h"

#include "tests/folder.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static struct folder folder;
static struct registry *registry;
static struct api *api;
static struct orders orders;
static struct message_ordered said;

static const struct api_ops no_ops;

static time_t wall(void *arg)
{
	(void)arg;
	return 1800000000;
}

static void setup(void)
{
	folder_init(&folder);
	registry = folder_registry(&folder, "10.77.0.0/16");
	cr_assert_eq(api_new(&api, registry, &no_ops), 0);
	cr_assert_eq(folder_node(registry, "n1", ROLE_NODE), 0);
	orders = (struct orders){registry, api, wall};
}

static void teardown(void)
{
	api_free(api);
	registry_close(registry);
	folder_clear(&folder);
}

TestSuite(orders, .init = setup, .fini = teardown);

static void order(enum order_kind kind, const char *name, uint32_t len, int fd)
{
	struct message_order m = {.kind = (uint8_t)kind, .len = len, .by = "root"};

	snprintf(m.name, sizeof(m.name), "%s", name);
	orders_take(&orders, &m, fd, &said);
}

static void apply(const char *text, uint32_t len)
{
	int fd = memfd_create("policy", MFD_CLOEXEC);

	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	order(ORDER_POLICY, "", len, fd);
	close(fd);
}

#define GOOD "version: 1\ndefault: allow\n"

Test(orders, a_document_is_in_force_with_the_next_version)
{
	apply(GOOD, sizeof(GOOD) - 1);
	cr_expect_str_eq(said.error, "");
	cr_expect_eq(said.version, 1);
	cr_expect_str_eq(registry_policy(registry)->by, "root");
	cr_expect_eq(registry_policy(registry)->applied_at, 1800000000);
	apply(GOOD, sizeof(GOOD) - 1);
	cr_expect_eq(said.version, 1, "it is the same");
	apply(GOOD "#\n", sizeof(GOOD "#\n") - 1);
	cr_expect_eq(said.version, 2);
	orders_begin(&orders); /* as at a start */
}

static void expect_refused(const char *part)
{
	cr_expect(strstr(said.error, part) && strstr(said.error, ": ") && strstr(said.error, "; "),
	          "%s", said.error);
	cr_expect_eq(said.version, 0);
	cr_expect_eq(registry_policy(registry)->version, 1, "the old one stays");
}

Test(orders, a_document_with_a_fault_changes_nothing)
{
	int p[2];

	apply(GOOD, sizeof(GOOD) - 1);
	apply("version: 1\nrulez: []\n", 21);
	expect_refused("policy:2:1: ");
	apply("", 0);
	expect_refused("policy apply: ");
	apply(GOOD, sizeof(GOOD) - 2);
	expect_refused("did not come whole");
	apply(GOOD, sizeof(GOOD));
	expect_refused("did not come whole");
	apply(GOOD, UINT32_MAX);
	expect_refused("did not come whole");
	order(ORDER_POLICY, "", 5, -1);
	expect_refused("did not come whole");
	cr_assert_eq(pipe(p), 0); /* must not be waited for */
	order(ORDER_POLICY, "", 5, p[0]);
	expect_refused("did not come whole");
	close(p[0]);
	close(p[1]);
}

Test(orders, drains_a_node_that_is_there)
{
	struct message_order m = {.kind = ORDER_DRAIN, .off = 1, .name = "n1"};
	struct registry_node n;

	order(ORDER_DRAIN, "n1", 0, -1);
	cr_expect_str_eq(said.error, "");
	cr_assert_eq(registry_node_get(registry, "n1", &n), 0);
	cr_expect(n.draining);
	orders_take(&orders, &m, -1, &said);
	cr_assert_eq(registry_node_get(registry, "n1", &n), 0);
	cr_expect_not(n.draining);
	order(ORDER_DRAIN, "n9", 0, -1);
	cr_expect(strstr(said.error, "no node of that name"), "%s", said.error);
	order(ORDER_DRAIN, "N1", 0, -1);
	cr_expect(said.error[0]);
	order(77, "n1", 0, -1);
	cr_expect(strstr(said.error, "does not know it"), "%s", said.error);
}
