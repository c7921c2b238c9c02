/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/operator.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOW 1700000000

static char folder[64];
static int dir;
static struct ledger *l;
static const uint8_t pin[32] = {1, 2, 3};

static void setup(void)
{
	strcpy(folder, "/tmp/operator-XXXXXX");
	cr_assert(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(ledger_create(dir, "test"), 0);
	cr_assert_eq(ledger_open(&l, dir), 0);
}

static void teardown(void)
{
	ledger_close(l);
	unlinkat(dir, LEDGER_FILE, 0);
	close(dir);
	rmdir(folder);
}

TestSuite(operator, .init = setup, .fini = teardown);

/* The answer as JSON; it is one line. */
static json_t *ask(const char *line)
{
	struct operator_answer a;
	json_t *j;

	cr_assert_eq(operator_ask(l, pin, "root", line, strlen(line), NOW, &a), 0, "%s", line);
	cr_assert_gt(a.len, 1);
	cr_assert_eq(memchr(a.text, '\n', a.len), a.text + a.len - 1, "%s", line);
	j = json_loadb(a.text, a.len, 0, NULL);
	cr_assert(j, "%s", line);
	operator_answer_clear(&a);
	return j;
}

static const char *text(const json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key));
}

static void expect_error(const char *line, const char *part)
{
	json_t *j = ask(line);
	const char *error = text(j, "error");

	cr_expect(error && strstr(error, part), "%s: %s", line, error ? error : "no error");
	cr_expect(error && strstr(error, ": ") && strstr(error, "; "), "no cure: %s", error);
	json_decref(j);
}

static unsigned tokens(void)
{
	json_t *j = ask("{\"cmd\":\"token-list\"}");
	unsigned n = (unsigned)json_array_size(j);

	cr_expect(json_is_array(j));
	json_decref(j);
	return n;
}

Test(operator, makes_a_token_that_names_what_was_asked)
{
	json_t *j = ask("{\"cmd\":\"token-create\",\"role\":\"node\",\"name\":\"n2\","
	                "\"labels\":{\"zone\":\"pci\",\"app\":\"web\"},\"ttl_s\":90}");
	const char *t = text(j, "token");
	struct ledger_token row;
	struct token token;
	char id[TOKEN_ID_TEXT + 1];

	cr_assert(t);
	cr_assert_eq(token_parse(&token, t, strlen(t)), 0);
	cr_expect_arr_eq(token.pin, pin, 32);
	token_id_format(token.id, id);
	cr_expect_str_eq(text(j, "id"), id);
	cr_expect_str_eq(text(j, "expires"), "2023-11-14T22:14:50Z");
	cr_expect_eq(json_object_size(j), 3);
	cr_assert_eq(ledger_token_get(l, token.id, &row), 0);
	cr_expect_str_eq(row.name, "n2");
	cr_expect_eq(row.labels.n, 2);
	cr_expect_eq(row.expires, NOW + 90);
	cr_expect_str_eq(row.created_by, "root");
	json_decref(j);
}

Test(operator, keeps_the_public_half_alone)
{
	json_t *j = ask("{\"cmd\":\"token-create\"}");
	static uint8_t buf[65536];
	uint8_t spki[CERT_SPKI_MAX];
	struct ledger_token row;
	struct token token;
	size_t len;
	ssize_t n;
	int fd;

	cr_assert_eq(token_parse(&token, text(j, "token"), strlen(text(j, "token"))), 0);
	json_decref(j);
	cr_assert_eq(token_public(&token, spki, &len), 0);
	cr_assert_eq(ledger_token_get(l, token.id, &row), 0);
	cr_expect_eq(row.spki_len, len);
	cr_expect_arr_eq(row.spki, spki, len);
	ledger_close(l);
	l = NULL;
	fd = openat(dir, LEDGER_FILE, O_RDONLY);
	n = read(fd, buf, sizeof(buf));
	close(fd);
	cr_assert_gt(n, 0);
	cr_expect_not(memmem(buf, (size_t)n, token.secret, sizeof(token.secret)));
	cr_expect(memmem(buf, (size_t)n, token.id, sizeof(token.id)), "looked in the wrong place");
}

Test(operator, has_defaults_for_what_is_left_out)
{
	json_t *j = ask("{\"cmd\":\"token-create\"}"), *row;

	cr_expect_str_eq(text(j, "expires"), "2023-11-14T23:13:20Z");
	json_decref(j);
	json_decref(ask("{\"cmd\":\"token-create\",\"name\":null,\"labels\":null,\"role\":null,"
	                "\"ttl_s\":null}"));
	j = ask("{\"cmd\":\"token-list\"}");
	cr_assert_eq(json_array_size(j), 2);
	row = json_array_get(j, 0);
	cr_expect_str_eq(text(row, "role"), "node");
	cr_expect(json_is_null(json_object_get(row, "name")));
	cr_expect_eq(json_object_size(json_object_get(row, "labels")), 0);
	cr_expect(json_is_false(json_object_get(row, "used")));
	cr_expect(json_is_null(json_object_get(row, "used_by")));
	cr_expect_str_eq(text(row, "created_by"), "root");
	json_decref(j);
}

Test(operator, lists_who_used_a_token)
{
	static const uint8_t key[32] = {7};
	json_t *j = ask("{\"cmd\":\"token-create\",\"labels\":{\"zone\":\"pci\"}}"), *row;
	struct ledger_node n;
	char line[128];
	uint8_t id[TOKEN_ID_LEN];

	cr_assert_eq(token_id_parse(id, text(j, "id")), 0);
	cr_assert_eq(ledger_join(l, id, "n2", key, NOW, &n), 0);
	snprintf(line, sizeof(line), "{\"cmd\":\"token-revoke\",\"id\":\"%s\"}", text(j, "id"));
	json_decref(j);
	expect_error(line, "let n2 in already");
	j = ask("{\"cmd\":\"token-list\"}");
	row = json_array_get(j, 0);
	cr_expect(json_is_true(json_object_get(row, "used")));
	cr_expect_str_eq(text(row, "used_by"), "n2");
	cr_expect_str_eq(text(json_object_get(row, "labels"), "zone"), "pci");
	json_decref(j);
}

Test(operator, revokes_a_token)
{
	json_t *j = ask("{\"cmd\":\"token-create\"}"), *row;
	char line[128];

	snprintf(line, sizeof(line), "{\"cmd\":\"token-revoke\",\"id\":\"%s\"}", text(j, "id"));
	json_decref(j);
	j = ask(line);
	cr_expect_eq(json_object_size(j), 0);
	json_decref(j);
	j = ask("{\"cmd\":\"token-list\"}");
	row = json_array_get(j, 0);
	cr_expect(json_is_true(json_object_get(row, "revoked")));
	json_decref(j);
}

Test(operator, names_what_is_wrong_with_a_request)
{
	static const struct {
		const char *line, *part;
	} cases[] = {
		{"", "no JSON object"},
		{"[]", "no JSON object"},
		{"\"token-list\"", "no JSON object"},
		{"{\"cmd\":7}", "no JSON object"},
		{"{\"cmd\":\"token-list\"", "no JSON object"},
		{"{\"cmd\":\"token-list\"} x", "no JSON object"},
		{"{\"cmd\":\"token-list\",\"cmd\":\"token-list\"}", "no JSON object"},
		{"{\"cmd\":\"sign\"}", "knows no \"sign\""},
		{"{\"cmd\":\"token-list\",\"all\":true}", "\"all\" is not known"},
		{"{\"cmd\":\"token-create\",\"ttl\":1}", "\"ttl\" is not known"},
		{"{\"cmd\":\"token-create\",\"role\":\"manager\"}", "several managers come"},
		{"{\"cmd\":\"token-create\",\"role\":\"root\"}", "no such role"},
		{"{\"cmd\":\"token-create\",\"role\":1}", "no such role"},
		{"{\"cmd\":\"token-create\",\"name\":\"N2\"}", "--name"},
		{"{\"cmd\":\"token-create\",\"name\":\"\"}", "--name"},
		{"{\"cmd\":\"token-create\",\"name\":\"n\\u0000x\"}", "no JSON object"},
		{"{\"cmd\":\"token-create\",\"name\":7}", "--name"},
		{"{\"cmd\":\"token-create\",\"labels\":[]}", "labels"},
		{"{\"cmd\":\"token-create\",\"labels\":{\"a b\":\"c\"}}", "--label a b"},
		{"{\"cmd\":\"token-create\",\"labels\":{\"a\":\"\"}}", "--label a"},
		{"{\"cmd\":\"token-create\",\"labels\":{\"a\":7}}", "--label a"},
		{"{\"cmd\":\"token-create\",\"labels\":{\"a\":\"b\\nc=d\"}}", "--label a"},
		{"{\"cmd\":\"token-create\",\"ttl_s\":0}", "--ttl"},
		{"{\"cmd\":\"token-create\",\"ttl_s\":-1}", "--ttl"},
		{"{\"cmd\":\"token-create\",\"ttl_s\":604801}", "--ttl"},
		{"{\"cmd\":\"token-create\",\"ttl_s\":1.5}", "--ttl"},
		{"{\"cmd\":\"token-create\",\"ttl_s\":\"1h\"}", "--ttl"},
		{"{\"cmd\":\"token-revoke\"}", "no token's ID"},
		{"{\"cmd\":\"token-revoke\",\"id\":\"12\"}", "no token's ID"},
		{"{\"cmd\":\"token-revoke\",\"id\":\"0123456789abcdef\"}",
	         "no token 0123456789abcdef"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_error(cases[i].line, cases[i].part);
	cr_expect_eq(tokens(), 0);
}

Test(operator, answers_ascii_whatever_was_asked)
{
	char line[512];
	size_t n;

	/* Cut at 40 bytes the quoted word would end inside a character. */
	n = (size_t)snprintf(line, sizeof(line), "{\"cmd\":\"x");
	for (int i = 0; i < 60; i++)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "\xc3\xa4");
	snprintf(line + n, sizeof(line) - n, "\"}");
	expect_error(line, "knows no \"x??");
}

Test(operator, takes_no_label_set_that_no_certificate_holds)
{
	char line[4096], value[64];
	size_t n;

	memset(value, 'v', 63);
	value[63] = '\0';
	n = (size_t)snprintf(line, sizeof(line), "{\"cmd\":\"token-create\",\"labels\":{");
	for (int i = 0; i < 16; i++)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "%s\"label-%02d\":\"%s\"",
		                      i ? "," : "", i, value);
	snprintf(line + n, sizeof(line) - n, "}}");
	expect_error(line, "do not fit");
	n = (size_t)snprintf(line, sizeof(line), "{\"cmd\":\"token-create\",\"labels\":{");
	for (int i = 0; i < 17; i++)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "%s\"l%02d\":\"v\"", i ? "," : "",
		                      i);
	snprintf(line + n, sizeof(line) - n, "}}");
	expect_error(line, "more than 16");
}

Test(operator, makes_no_token_for_a_managers_name)
{
	struct ledger_node m = {.name = "m1", .role = ROLE_MANAGER, .incarnation = 1};

	cr_assert_eq(ledger_node_add(l, &m), 0);
	expect_error("{\"cmd\":\"token-create\",\"name\":\"m1\"}", "manager of this cluster");
	cr_expect_eq(tokens(), 0);
}

/* -- nodes ------------------------------------------------------------------------------------ */

static void add_node(const char *name, enum cert_role role)
{
	struct ledger_node n = {.role = role, .incarnation = 3, .issue = 7};

	snprintf(n.name, sizeof(n.name), "%s", name);
	memset(n.keys.spki, 1, sizeof(n.keys.spki));
	cr_assert_eq(cert_labels_add(&n.labels, "zone=pci"), 0);
	cr_assert_eq(cert_labels_add(&n.labels, "app=web"), 0);
	cr_assert_eq(ledger_node_add(l, &n), 0);
}

Test(operator, labels_a_node)
{
	struct ledger_node n;
	json_t *j;

	add_node("n2", ROLE_NODE);
	j = ask("{\"cmd\":\"node-label\",\"name\":\"n2\",\"set\":{\"app\":\"db\",\"x/y\":\"1\"},"
	        "\"drop\":[\"zone\",\"none\"]}");
	cr_expect_eq(json_object_size(json_object_get(j, "labels")), 2);
	cr_expect_str_eq(text(json_object_get(j, "labels"), "app"), "db");
	json_decref(j);
	cr_assert_eq(ledger_node_get(l, "n2", &n), 0);
	cr_expect_eq(n.labels.n, 2);
	cr_expect_eq(n.issue_min, 8); /* all that were issued say what no longer holds */
	cr_expect_eq(n.incarnation, 3);
	json_decref(ask("{\"cmd\":\"node-label\",\"name\":\"n2\",\"set\":{\"app\":\"db\"}}"));
	cr_assert_eq(ledger_node_get(l, "n2", &n), 0);
	cr_expect_eq(n.issue_min, 8); /* nothing changed */
}

Test(operator, removes_a_node_and_keeps_its_numbers)
{
	struct ledger_node n;

	add_node("n2", ROLE_NODE);
	add_node("m1", ROLE_MANAGER);
	json_decref(ask("{\"cmd\":\"node-remove\",\"name\":\"n2\"}"));
	cr_assert_eq(ledger_node_get(l, "n2", &n), 0);
	cr_expect(n.removed);
	cr_expect_eq(n.incarnation, 3);
	expect_error("{\"cmd\":\"node-remove\",\"name\":\"n2\"}", "there is no node n2");
	expect_error("{\"cmd\":\"node-label\",\"name\":\"n2\",\"set\":{\"a\":\"b\"}}",
	             "there is no node n2");
	expect_error("{\"cmd\":\"node-remove\",\"name\":\"m1\"}", "is the manager");
	expect_error("{\"cmd\":\"node-remove\",\"name\":\"N2\"}", "no node's name");
}

/* What is asked of the manager, or the error. */
static void order(const char *line, struct message_order *out)
{
	struct operator_answer a;

	cr_assert_eq(operator_ask(l, pin, "root", line, strlen(line), NOW, &a), 0, "%s", line);
	cr_assert_null(a.text, "%s: %s", line, a.text);
	*out = a.order;
}

static void expect_answer(const struct message_order *m, const struct message_ordered *said,
                          const char *want)
{
	struct operator_answer a = {0};

	cr_assert_eq(operator_ordered(&a, m, said), 0);
	cr_assert_eq(a.len, strlen(want) + 1);
	cr_expect(!memcmp(a.text, want, strlen(want)), "%.*s", (int)a.len, a.text);
	operator_answer_clear(&a);
}

Test(operator, has_the_manager_do_what_is_the_registry_s)
{
	struct message_ordered said = {.version = 7};
	struct message_order m;

	add_node("n2", ROLE_NODE);
	order("{\"cmd\":\"node-drain\",\"name\":\"n2\"}", &m);
	cr_expect_eq(m.kind, ORDER_DRAIN);
	cr_expect_eq(m.off, 0);
	cr_expect_str_eq(m.name, "n2");
	cr_expect_str_eq(m.by, "root");
	expect_answer(&m, &said, "{}");
	order("{\"cmd\":\"node-drain\",\"name\":\"n2\",\"off\":true}", &m);
	cr_expect_eq(m.off, 1);
	order("{\"cmd\":\"policy-apply\",\"len\":12}", &m);
	cr_expect_eq(m.kind, ORDER_POLICY);
	cr_expect_eq(m.len, 12);
	expect_answer(&m, &said, "{\"version\":7}");
	strcpy(said.error, "policy apply: p\xff:1; mend it");
	expect_answer(&m, &said, "{\"error\":\"policy apply: p?:1; mend it\"}");
	memset(said.error, 'x', sizeof(said.error));
	expect_answer(&m, &said,
	              "{\"error\":\"request: the manager's answer cannot be read; see ginneld's "
	              "log\"}");
}

Test(operator, orders_nothing_that_is_out_of_form)
{
	expect_error("{\"cmd\":\"node-drain\",\"name\":\"n9\"}", "there is no node n9");
	expect_error("{\"cmd\":\"node-drain\"}", "no node's name");
	add_node("n2", ROLE_NODE);
	expect_error("{\"cmd\":\"node-drain\",\"name\":\"n2\",\"off\":1}", "off");
	expect_error("{\"cmd\":\"policy-apply\"}", "len");
	expect_error("{\"cmd\":\"policy-apply\",\"len\":-1}", "len");
	expect_error("{\"cmd\":\"policy-apply\",\"len\":5000000000}", "len");
	expect_error("{\"cmd\":\"policy-apply\",\"len\":1,\"document\":\"x\"}", "document");
}
