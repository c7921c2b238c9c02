/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/own.h"

#include "crypto/digest.h"
#include "gateway/control/local.h"
#include "tests/folder.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static struct folder folder;
static struct control c;
static struct node node;
static struct identity identity;
static struct control_params params = {.identity = &identity, .node = &node};
static int back;

static void nothing(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void setup(void)
{
	folder_init(&folder);
	back = open(".", O_PATH | O_DIRECTORY);
	cr_assert_eq(chdir(folder.path), 0);
	strcpy(node.name, "n1");
	cr_assert(!prefix_parse(&node.overlay[0], "10.77.0.0/16") &&
	          !prefix_parse(&node.prefixes[0], "10.77.1.0/24") &&
	          !prefix_parse(&node.pools[0], "10.80.0.0/14"));
	node.noverlay = node.nprefixes = node.npools = 1;
	c = (struct control){.params = &params, .node = &node, .base = event_base_new()};
	watch_init(&c.watch, &node);
	c.on_members = evtimer_new(c.base, nothing, NULL);
	cr_assert(c.on_members);
}

static void teardown(void)
{
	own_clear(&c.own);
	edict_clear(&c.edict);
	watch_clear(&c.watch);
	event_free(c.on_members);
	event_base_free(c.base);
	cr_assert_eq(fchdir(back), 0);
	close(back);
	folder_clear(&folder);
}

TestSuite(own, .init = setup, .fini = teardown, .timeout = 60);

static json_t *ask(const char *line, bool root)
{
	json_t *q = json_loads(line, 0, NULL), *a;

	cr_assert(q, "%s", line);
	a = local_answer(&c, json_string_value(json_object_get(q, "cmd")), q, root);
	json_decref(q);
	return a;
}

static void expect(const char *line, const char *key, const char *want)
{
	json_t *a = ask(line, true);
	const char *got = json_string_value(json_object_get(a, key));

	cr_expect(got && !strcmp(got, want), "%s: %s %s", line, got ? got : "(none)",
	          json_string_value(json_object_get(a, "error")));
	json_decref(a);
}

#define ADD(id, address)                                       \
	"{\"cmd\":\"workload-add\",\"workload\":{\"id\":\"" id \
	"\",\"name\":\"web\",\"addresses\":"                   \
	"[\"" address "\"],\"labels\":{\"app\":\"web\"}}}"
#define REMOVE(id) "{\"cmd\":\"workload-remove\",\"id\":\"" id "\"}"

static unsigned count(void)
{
	struct evbuffer *to = evbuffer_new();
	json_t *list;
	unsigned n;
	size_t len;
	char *text;

	cr_assert_eq(local_workloads(&c, to), 0);
	text = evbuffer_readln(to, &len, EVBUFFER_EOL_LF);
	list = json_loadb(text, len, 0, NULL);
	cr_expect(json_is_array(list) && evbuffer_get_length(to) == 0, "%s", text);
	n = (unsigned)json_array_size(list);
	json_decref(list);
	free(text);
	evbuffer_free(to);
	return n;
}

static void restart(void)
{
	own_clear(&c.own);
	cr_assert_eq(own_load(&c, AT_FDCWD), 0);
}

Test(own, what_was_added_is_on_the_disk)
{
	struct stat st;

	expect(ADD("aa", "10.77.1.5"), "id", "aa");
	expect(ADD("bb", "10.80.0.5"), "id", "bb");
	cr_assert_eq(stat(OWN_FILE, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0600);
	restart();
	cr_expect_eq(count(), 2);
	cr_expect_str_eq(own_find(&c.own, "aa")->node, "n1");
	expect(ADD("aa", "10.77.1.6"), "id", "aa"); /* replaced */
	cr_expect_eq(count(), 2);
	expect(REMOVE("aa"), "id", "aa");
	expect(REMOVE("aa"), "id", "aa"); /* gone is gone */
	restart();
	cr_expect_eq(count(), 1);
	cr_expect_not_null(own_find(&c.own, "bb"));
}

Test(own, only_root_changes_them)
{
	static const char *const lines[] = {ADD("aa", "10.77.1.5"), REMOVE("aa")};

	for (size_t i = 0; i < 2; i++) {
		json_t *a = ask(lines[i], false);

		cr_expect_str_eq(json_string_value(json_object_get(a, "reason")), "root");
		json_decref(a);
	}
	cr_expect_eq(count(), 0);
}

Test(own, refuses_by_name)
{
	char line[256];

	expect("{\"cmd\":\"workload-add\"}", "reason", "invalid");
	expect("{\"cmd\":\"workload-add\",\"workload\":{\"id\":\"aa\",\"name\":\"w\",\"node\":"
	       "\"n2\","
	       "\"addresses\":[\"10.77.1.5\"]}}",
	       "reason", "invalid");
	expect("{\"cmd\":\"workload-remove\"}", "reason", "invalid");
	expect(ADD("aa", "10.77.2.5"), "reason", "address");
	expect(ADD("aa", "10.77.1.1"), "reason", "address");
	expect(ADD("aa", "192.0.2.1"), "reason", "address");
	expect(ADD("aa", "10.77.1.5"), "id", "aa");
	expect(ADD("bb", "10.77.1.5"), "reason", "address-taken");
	for (unsigned i = 1; i < 40; i++) {
		snprintf(line, sizeof(line), ADD("%x", "10.80.0.%u"), i + 4096, i);
		json_decref(ask(line, true));
	}
	cr_expect_eq(count(), 40);
}

static void state(const char *more)
{
	static const char *const lines[] = {
		"{\"type\":\"state\",\"generation\":1,\"revision\":5,\"nodes\":["
		"{\"name\":\"n1\",\"role\":\"node\",\"incarnation\":1,\"labels\":{},\"prefixes\":"
		"[\"10.77.1.0/24\"],\"endpoints\":[],\"draining\":true},"
		"{\"name\":\"n2\",\"role\":\"node\",\"incarnation\":1,\"labels\":{},\"prefixes\":"
		"[\"10.77.2.0/24\"],\"endpoints\":[]}]}",
		"{\"type\":\"workloads\",\"workloads\":["
		"{\"id\":\"ff\",\"name\":\"db\",\"node\":\"n2\",\"addresses\":[\"10.80.0.77\"]}]}",
		"{\"type\":\"sync\",\"generation\":1,\"revision\":5}"};
	char why[128] = "";

	(void)more;
	for (size_t i = 0; i < 3; i++)
		cr_assert_neq(watch_line(&c.watch, lines[i], strlen(lines[i]), why, sizeof(why)),
		              WATCH_REFUSED, "%s", why);
}

Test(own, knows_what_others_have)
{
	state("");
	cr_expect_eq(count(), 1);
	own_clear(&c.own);
	watch_find(&c.watch, "n1")->draining = false;
	expect(ADD("aa", "10.80.0.77"), "reason", "address-taken");
	expect(ADD("aa", "10.80.0.78"), "id", "aa");
	cr_expect_eq(count(), 2);
}

Test(own, a_drained_node_takes_no_new_ones)
{
	json_t *list;

	expect(ADD("aa", "10.77.1.5"), "id", "aa");
	state("");
	expect(ADD("bb", "10.77.1.6"), "rule", WORKLOAD_RULE_DRAINED);
	expect(ADD("aa", "10.77.1.7"), "id", "aa"); /* it runs here */
	list = own_refused_json(&c.own);
	cr_expect_eq(json_array_size(list), 1u);
	json_decref(list);
}

static void policy(uint64_t version, const char *text)
{
	struct watch_policy p = {.version = version, .size = strlen(text)};

	digest_sha256(text, strlen(text), p.hash);
	cr_assert_eq(edict_take(&c.edict, AT_FDCWD, &p, text, strlen(text), "2026-01-31T12:00:00Z",
	                        "root"),
	             0, "%s", c.edict.why);
}

Test(own, placement_is_judged_by_our_certificate)
{
	json_t *list, *a;

	policy(1, "version: 1\nplacement:\n  - name: web-in-pci\n    workloads: {app: web}\n"
	          "    only-on: {zone: pci}\n");
	a = ask(ADD("aa", "10.77.1.5"), true);
	cr_expect_str_eq(json_string_value(json_object_get(a, "reason")), "placement");
	cr_expect_str_eq(json_string_value(json_object_get(a, "rule")), "web-in-pci");
	cr_expect(strstr(json_string_value(json_object_get(a, "error")), "web-in-pci"));
	json_decref(a);
	cr_expect_eq(count(), 0);
	for (unsigned i = 0; i < OWN_REFUSED_MAX + 4; i++) {
		char line[256];

		snprintf(line, sizeof(line), ADD("%x", "10.77.1.9"), i);
		json_decref(ask(line, true));
	}
	list = own_refused_json(&c.own);
	cr_expect_eq(json_array_size(list), OWN_REFUSED_MAX);
	cr_expect_str_eq(json_string_value(json_object_get(json_array_get(list, 0), "id")), "23");
	json_decref(list);
	cr_assert_eq(cert_labels_add(&identity.info.labels, "zone=pci"), 0);
	expect(ADD("aa", "10.77.1.5"), "id", "aa");
}

Test(own, what_cannot_be_written_is_not_added)
{
	cr_assert_eq(mkdir(OWN_FILE, 0700), 0); /* no file can take its place */
	expect(ADD("aa", "10.77.1.5"), "reason", "disk");
	cr_expect_eq(count(), 0);
	cr_assert_eq(rmdir(OWN_FILE), 0);
	expect(ADD("aa", "10.77.1.5"), "id", "aa");
}

Test(own, a_damaged_file_gives_what_can_be_read)
{
	FILE *f;

	expect(ADD("aa", "10.77.1.5"), "id", "aa");
	f = fopen(OWN_FILE, "a");
	fputs("{\"id\":\"bb\"", f);
	fclose(f);
	own_clear(&c.own);
	cr_expect_eq(own_load(&c, AT_FDCWD), -EBADMSG);
	cr_expect_eq(count(), 1);
}
