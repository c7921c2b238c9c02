/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/registry.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];
static int dir = -1;

static void folder_new(void)
{
	strcpy(folder, "/tmp/ginnel-registry-XXXXXX");
	cr_assert(mkdtemp(folder));
	dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(dir, 0);
}

static void folder_remove(void)
{
	static const char *const names[] = {REGISTRY_FILE,
	                                    REGISTRY_FILE "-wal",
	                                    REGISTRY_FILE "-shm",
	                                    REGISTRY_FILE ".part",
	                                    REGISTRY_FILE ".new",
	                                    "inner/" REGISTRY_FILE,
	                                    "inner/" REGISTRY_FILE "-wal"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(dir, names[i], 0);
	unlinkat(dir, "inner", AT_REMOVEDIR);
	close(dir);
	cr_expect_eq(rmdir(folder), 0, "something was left in %s", folder);
}

TestSuite(registry, .init = folder_new, .fini = folder_remove, .timeout = 60);

static struct registry_cluster cluster_of(const char *v4, const char *v6)
{
	struct registry_cluster c = {.name = "demo"};

	cr_assert_eq(prefix_parse(&c.overlay[c.noverlay++], v4), 0);
	if (v6)
		cr_assert_eq(prefix_parse(&c.overlay[c.noverlay++], v6), 0);
	cr_assert_eq(prefix_parse(&c.pools[c.npools++], "10.80.0.0/14"), 0);
	return c;
}

static void create(const char *v4, const char *v6)
{
	struct registry_cluster c = cluster_of(v4, v6);

	cr_assert_eq(registry_create(dir, &c), 0);
}

static struct registry *reopen(void)
{
	struct registry *r;

	cr_assert_eq(registry_open(&r, dir), 0);
	return r;
}

static struct config_endpoint endpoint(const char *text)
{
	struct config_endpoint e = {.is_addr = true};

	cr_assert_eq(endpoint_parse(&e.at, text, CONFIG_PORT), 0);
	addr_format(&e.at.addr, e.host);
	return e;
}

static struct registry_node node(const char *name)
{
	struct registry_node n = {.role = ROLE_NODE, .incarnation = 1, .nendpoints = 1};

	snprintf(n.name, sizeof(n.name), "%s", name);
	n.endpoints[0] = endpoint("10.9.0.2:4747");
	strcpy(n.version, "0.1.0");
	memset(n.spki, 0xab, sizeof(n.spki));
	n.cert_not_after = 1800000000;
	n.joined = 1700000000;
	return n;
}

static int put(struct registry *r, const char *name)
{
	struct registry_node n = node(name);

	return registry_node_put(r, &n);
}

static void expect_prefix(const struct registry_node *n, unsigned i, const char *want)
{
	char text[PREFIX_TEXT_MAX];

	cr_assert_lt(i, n->nprefixes);
	prefix_format(&n->prefixes[i], text);
	cr_expect_str_eq(text, want);
}

static mode_t mode_of(const char *name)
{
	struct stat st;

	cr_assert_eq(fstatat(dir, name, &st, 0), 0, "%s is not there", name);
	return st.st_mode & 07777;
}

Test(registry, keeps_what_it_was_given)
{
	static struct registry_node n, got;
	struct registry *r;

	n = node("n1");
	create("10.77.0.0/16", "fd77::/48");
	r = reopen();
	cert_labels_add(&n.labels, "zone=pci");
	cert_labels_add(&n.labels, "app=web");
	n.role = ROLE_MANAGER;
	cr_assert_eq(registry_node_put(r, &n), 0);
	expect_prefix(&n, 0, "10.77.1.0/24");
	expect_prefix(&n, 1, "fd77:0:0:1::/64");
	registry_close(r);

	r = reopen();
	cr_expect_str_eq(registry_cluster(r)->name, "demo");
	cr_expect_eq(registry_cluster(r)->npools, 1u);
	cr_expect_eq(registry_revision(r), 1u);
	cr_expect_eq(registry_generation(r), 1u);
	cr_expect_eq(registry_count(r), 1u);
	cr_assert_eq(registry_node_get(r, "n1", &got), 0);
	cr_expect_eq(got.role, ROLE_MANAGER);
	cr_expect_eq(got.incarnation, 1u);
	cr_expect_arr_eq(got.spki, n.spki, sizeof(n.spki));
	cr_expect_eq(got.labels.n, 2u);
	cr_expect_str_eq(got.labels.at[0].key, "app");
	cr_expect_str_eq(got.labels.at[1].value, "pci");
	cr_expect_eq(got.nendpoints, 1u);
	cr_expect(endpoint_equal(&got.endpoints[0].at, &n.endpoints[0].at));
	cr_expect_eq(got.cert_not_after, 1800000000);
	cr_expect_eq(got.joined, 1700000000);
	cr_expect_str_eq(got.version, "0.1.0");
	expect_prefix(&got, 1, "fd77:0:0:1::/64");
	cr_expect_eq(registry_node_get(r, "n2", &got), -ENOENT);
	registry_close(r);
}

Test(registry, files_are_for_their_owner_alone)
{
	struct registry *r;

	umask(0);
	create("10.77.0.0/16", NULL);
	cr_expect_eq(mode_of(REGISTRY_FILE), 0600);
	r = reopen();
	cr_assert_eq(put(r, "n1"), 0);
	cr_expect_eq(mode_of(REGISTRY_FILE), 0600);
	cr_expect_eq(mode_of(REGISTRY_FILE "-wal"), 0600);
	registry_close(r);
}

Test(registry, one_process_at_a_time_holds_it)
{
	struct registry *r, *second;

	create("10.77.0.0/16", NULL);
	r = reopen();
	cr_assert_eq(put(r, "n1"), 0);
	cr_expect_eq(registry_open(&second, dir), -EBUSY);
	registry_close(r);
	registry_close(reopen());
}

Test(registry, is_made_once_and_whole)
{
	struct registry_cluster c = cluster_of("10.77.0.0/16", NULL);
	struct registry *r;

	cr_expect_eq(registry_open(&r, dir), -ENOENT);
	cr_assert_eq(registry_create(dir, &c), 0);
	cr_assert_eq(put(r = reopen(), "n1"), 0);
	registry_close(r);
	cr_expect_eq(registry_create(dir, &c), -EEXIST);
	r = reopen();
	cr_expect_eq(registry_count(r), 1u);
	registry_close(r);
}

Test(registry, refuses_an_overlay_without_room)
{
	struct registry_cluster c;
	static const struct {
		const char *v4, *v6;
		unsigned nodes;
	} cases[] = {
		{"10.77.0.0/16", NULL, 256},        {"10.77.0.0/20", NULL, 16},
		{"10.77.0.0/23", NULL, 2},          {"10.77.0.0/24", NULL, 0},
		{"10.77.0.0/28", NULL, 0},          {"10.128.0.0/10", NULL, 10000},
		{"10.77.0.0/16", "fd77::/48", 256}, {"10.128.0.0/10", "fd77::/56", 256},
		{"10.77.0.0/16", "fd77::/64", 0},   {"10.0.0.0/8", "fd77::/32", 10000},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		c = cluster_of(cases[i].v4, cases[i].v6);
		c.npools = 0;
		cr_expect_eq(registry_capacity(&c), cases[i].nodes, "%s", cases[i].v4);
		if (!cases[i].nodes)
			cr_expect_eq(registry_create(dir, &c), -EINVAL);
	}
	c = cluster_of("10.80.0.0/16", NULL);
	cr_expect_eq(registry_create(dir, &c), -EINVAL, "overlay inside the pools");
	c = cluster_of("10.77.0.0/16", "10.78.0.0/16");
	cr_expect_eq(registry_create(dir, &c), -EINVAL, "two overlays of a family");
	c.noverlay = 0;
	cr_expect_eq(registry_create(dir, &c), -EINVAL, "no overlay");
	cr_expect_neq(faccessat(dir, REGISTRY_FILE, F_OK, 0), 0);
}

Test(registry, gives_the_lowest_free_prefix_and_says_when_there_is_none)
{
	static struct registry_node n;
	struct registry *r;
	char name[16];

	create("10.77.16.0/20", "fd77:0:0:10::/60");
	r = reopen();
	for (int i = 1; i <= 16; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		cr_expect_eq(registry_has_room(r, name), 0);
		n = node(name);
		cr_assert_eq(registry_node_put(r, &n), 0);
		if (i == 1)
			expect_prefix(&n, 0, "10.77.17.0/24");
		if (i == 15)
			expect_prefix(&n, 1, "fd77:0:0:1f::/64");
		if (i == 16)
			expect_prefix(&n, 0, "10.77.16.0/24");
	}
	cr_expect_eq(put(r, "n17"), -EDQUOT);
	cr_expect_eq(registry_has_room(r, "n17"), -EDQUOT);
	cr_expect_eq(registry_has_room(r, "n5"), 0, "a name that has one needs none");
	cr_expect_eq(registry_revision(r), 16u, "a refusal is no change");
	cr_assert_eq(registry_node_remove(r, "n5"), 0);
	cr_expect_eq(registry_node_remove(r, "n5"), -ENOENT);
	registry_close(r);

	r = reopen();
	n = node("n17");
	cr_assert_eq(registry_node_put(r, &n), 0);
	expect_prefix(&n, 0, "10.77.21.0/24");
	n = node("n16");
	n.incarnation = 2;
	cr_assert_eq(registry_node_put(r, &n), 0);
	expect_prefix(&n, 0, "10.77.16.0/24");
	registry_close(r);
}

Test(registry, admits_the_incarnation_it_knows)
{
	struct registry_node n = node("n1");
	struct registry *r;

	create("10.77.0.0/16", NULL);
	r = reopen();
	n.incarnation = 3;
	cr_assert_eq(registry_node_put(r, &n), 0);
	cr_expect_eq(registry_node_admit(r, "n1", 3), 0);
	cr_expect_eq(registry_node_admit(r, "n1", 2), -ESTALE);
	cr_expect_eq(registry_node_admit(r, "n1", 4), -ESTALE);
	cr_expect_eq(registry_node_admit(r, "n", 3), -ENOENT);
	registry_close(r);
}

Test(registry, refuses_endpoints_that_lead_elsewhere)
{
	static const char *const bad[] = {
		"127.0.0.1:4747", "0.0.0.0:4747",
		"224.0.0.1:4747", "10.77.3.1:4747",
		"10.81.0.1:4747", "255.255.255.255:1",
		"[::1]:4747",     "[::]:4747",
		"[ff02::1]:4747", "[::ffff:127.0.0.1]:4747",
		"[fe80::1]:4747", "169.254.1.1:1",
		"[fd77::5]:4747",
	};
	static struct config_endpoint e[CONFIG_ADVERTISE_MAX + 1];
	struct registry *r;

	create("10.77.0.0/16", "fd77::/48");
	r = reopen();
	cr_assert_eq(put(r, "n1"), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e[0] = endpoint(bad[i]);
		cr_expect_eq(registry_node_announce(r, "n1", e, 1, "0.1.0"), -EINVAL, "%s", bad[i]);
	}
	for (unsigned i = 0; i <= CONFIG_ADVERTISE_MAX; i++)
		e[i] = endpoint("10.9.0.7:4747");
	cr_expect_eq(registry_node_announce(r, "n1", e, CONFIG_ADVERTISE_MAX + 1, "0.1.0"),
	             -EINVAL);
	e[0].at.port = 0;
	cr_expect_eq(registry_node_announce(r, "n1", e, 1, "0.1.0"), -EINVAL);
	cr_expect_eq(registry_node_announce(r, "n2", e + 1, 1, "0.1.0"), -ENOENT);
	cr_expect_eq(registry_node_announce(r, "n1", e + 1, 1, "a\nb"), -EINVAL);
	cr_expect_eq(registry_revision(r), 1u);
	registry_close(r);
}

static void count(void *arg)
{
	++*(int *)arg;
}

Test(registry, announces_only_what_is_new)
{
	struct config_endpoint e = endpoint("10.9.0.7:4748");
	static struct registry_node got;
	struct registry *r;
	int changes = 0;

	create("10.77.0.0/16", NULL);
	r = reopen();
	cr_assert_eq(put(r, "n1"), 0);
	registry_on_change(r, count, &changes);
	cr_expect_eq(registry_node_announce(r, "n1", &e, 1, "0.2.0"), 0);
	cr_expect_eq(registry_node_announce(r, "n1", &e, 1, "0.2.0"), 0);
	cr_expect_eq(changes, 1);
	cr_expect_eq(registry_revision(r), 2u);
	cr_assert_eq(registry_node_get(r, "n1", &got), 0);
	cr_expect_str_eq(got.version, "0.2.0");
	cr_expect_eq(got.endpoints[0].at.port, 4748);
	cr_expect_eq(registry_node_announce(r, "n1", NULL, 0, "0.2.0"), 0);
	cr_expect_eq(changes, 2);
	registry_close(r);
}

Test(registry, puts_only_what_is_new)
{
	static struct registry_node n;
	struct registry *r;
	int changes = 0;

	create("10.77.0.0/16", NULL);
	r = reopen();
	cr_assert_eq(put(r, "n1"), 0);
	cr_assert_eq(registry_node_get(r, "n1", &n), 0);
	registry_on_change(r, count, &changes);
	n.joined++;
	n.last_seen++;
	n.nprefixes = 0;
	cr_expect_eq(registry_node_put(r, &n), 0);
	cr_expect_eq(n.nprefixes, 1, "it says what it has, all the same");
	cr_expect_eq(changes, 0);
	cr_expect_eq(registry_revision(r), 1u);
	n.cert_not_after++;
	cr_expect_eq(registry_node_put(r, &n), 0);
	n.incarnation++;
	cr_expect_eq(registry_node_put(r, &n), 0);
	n.spki[31] ^= 1;
	cr_expect_eq(registry_node_put(r, &n), 0);
	n.endpoints[0] = endpoint("10.9.0.99:4747");
	n.nendpoints = 1;
	cr_expect_eq(registry_node_put(r, &n), 0);
	n.labels.n = 1;
	snprintf(n.labels.at[0].key, sizeof(n.labels.at[0].key), "zone");
	snprintf(n.labels.at[0].value, sizeof(n.labels.at[0].value), "pci");
	cr_expect_eq(registry_node_put(r, &n), 0);
	snprintf(n.labels.at[0].value, sizeof(n.labels.at[0].value), "pcj");
	cr_expect_eq(registry_node_put(r, &n), 0);
	cr_expect_eq(registry_node_put(r, &n), 0);
	cr_expect_eq(changes, 6);
	registry_close(r);
}

static json_t *change(const struct registry *r, uint64_t rev)
{
	const char *text = registry_change(r, rev);
	json_t *j;

	cr_assert(text, "revision %llu is not kept", (unsigned long long)rev);
	j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	cr_assert(j, "%s", text);
	return j;
}

Test(registry, keeps_changes_as_the_lines_of_a_watch)
{
	const char *type, *name;
	json_int_t generation, revision;
	struct registry *r;
	json_t *j, *n;

	create("10.77.0.0/16", NULL);
	r = reopen();
	cr_expect_null(registry_change(r, 0));
	cr_expect_null(registry_change(r, 1));
	cr_assert_eq(put(r, "n1"), 0);
	cr_expect_eq(registry_node_seen(r, "n1", 1700000001), 0);
	cr_assert_eq(put(r, "n2"), 0);
	cr_assert_eq(registry_node_remove(r, "n1"), 0);

	j = change(r, 2);
	cr_expect_eq(json_unpack(j, "{s:s, s:I, s:I, s:o}", "type", &type, "generation",
	                         &generation, "revision", &revision, "node", &n),
	             0);
	cr_expect_str_eq(type, "change");
	cr_expect_eq(generation, 1);
	cr_expect_eq(revision, 2);
	cr_expect_eq(json_unpack(n, "{s:s, s:n}", "name", &name, "last_seen"), 0);
	cr_expect_str_eq(name, "n2");
	static const char *const keys[] = {"name",      "role",           "incarnation", "issue",
	                                   "issue_min", "spki",           "labels",      "prefixes",
	                                   "endpoints", "cert_not_after", "last_seen",   "version",
	                                   "draining"};
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		cr_expect(json_object_get(n, keys[i]), "%s", keys[i]);
	cr_expect_eq(json_object_size(n), sizeof(keys) / sizeof(keys[0]));
	json_decref(j);

	j = change(r, 3);
	cr_expect_eq(json_unpack(j, "{s:s, s:s}", "type", &type, "removed", &name), 0);
	cr_expect_str_eq(name, "n1");
	json_decref(j);
	cr_expect_null(registry_change(r, 4));
	registry_close(r);

	r = reopen();
	cr_expect_eq(registry_revision(r), 3u);
	cr_expect_null(registry_change(r, 3), "changes before a start are not kept");
	registry_close(r);
}

Test(registry, gives_the_state_whole_and_in_pieces)
{
	static char buf[REGISTRY_NODE_TEXT_MAX];
	char last[CERT_NAME_MAX + 1] = "", name[16];
	static char wrapped[REGISTRY_NODE_TEXT_MAX + 3];
	const char *cluster, *overlay, *first, *prefix, *seen;
	unsigned total = 0, rounds = 0;
	struct registry *r;
	json_t *j;
	size_t n;

	create("10.77.0.0/16", NULL);
	r = reopen();
	cr_expect_eq(registry_nodes_text(r, "", 100, buf, sizeof(buf), last), 0u);
	cr_expect_str_eq(last, "");
	for (int i = 1; i <= 40; i++) {
		snprintf(name, sizeof(name), "n%02d", i);
		cr_assert_eq(put(r, name), 0);
	}
	registry_node_seen(r, "n01", 1700000000);
	do {
		n = registry_nodes_text(r, last, 15, buf, sizeof(buf), last);
		snprintf(wrapped, sizeof(wrapped), "[%.*s]", (int)n, buf);
		j = json_loads(wrapped, 0, NULL);
		cr_assert(j, "%s", wrapped);
		total += (unsigned)json_array_size(j);
		rounds++;
		json_decref(j);
	} while (last[0]);
	cr_expect_eq(total, 40u);
	cr_expect_eq(rounds, 3u);

	j = registry_state(r);
	cr_assert(j);
	cr_expect_eq(json_unpack(j, "{s:s, s:[s], s:[{s:s, s:[s], s:s}]}", "cluster", &cluster,
	                         "overlay", &overlay, "nodes", "name", &first, "prefixes", &prefix,
	                         "last_seen", &seen),
	             0);
	cr_expect_str_eq(cluster, "demo");
	cr_expect_str_eq(overlay, "10.77.0.0/16");
	cr_expect_str_eq(first, "n01");
	cr_expect_str_eq(prefix, "10.77.1.0/24");
	cr_expect_str_eq(seen, "2023-11-14T22:13:20Z");
	cr_expect_eq(json_array_size(json_object_get(j, "nodes")), 40u);
	json_decref(j);
	registry_close(r);
}

Test(registry, keeps_when_nodes_were_seen_once_it_is_told_to)
{
	static struct registry_node got;
	struct registry *r;

	create("10.77.0.0/16", NULL);
	r = reopen();
	cr_assert_eq(put(r, "n1"), 0);
	cr_expect_eq(registry_node_seen(r, "n1", 1750000000), 0);
	cr_expect_eq(registry_node_seen(r, "n1", 1740000000), 0, "an older time changes nothing");
	cr_expect_eq(registry_node_seen(r, "n2", 1), -ENOENT);
	cr_expect_eq(registry_flush(r), 0);
	cr_expect_eq(registry_revision(r), 1u);
	registry_close(r);
	r = reopen();
	cr_assert_eq(registry_node_get(r, "n1", &got), 0);
	cr_expect_eq(got.last_seen, 1750000000);
	registry_close(r);
}

static int collect(void *arg, const struct registry_node *n)
{
	strcat(arg, n->name);
	return 0;
}

Test(registry, finds_nodes_by_role)
{
	static struct registry_node n;
	struct registry *r;
	char names[64] = "";

	create("10.77.0.0/16", NULL);
	r = reopen();
	n = node("m1");
	n.role = ROLE_MANAGER;
	cr_assert_eq(registry_node_put(r, &n), 0);
	cr_assert_eq(put(r, "n2"), 0);
	cr_expect_eq(registry_each(r, ROLE_MANAGER, collect, names), 0);
	cr_expect_str_eq(names, "m1");
	registry_close(r);
}

/* -- files that are not as they were left ------------------------------------------------------ */

static void overwrite(off_t at, const void *bytes, size_t n)
{
	int fd = openat(dir, REGISTRY_FILE, O_WRONLY);

	cr_assert_geq(fd, 0);
	cr_assert_eq(pwrite(fd, bytes, n, at), (ssize_t)n);
	close(fd);
}

static void sql(const char *text)
{
	char path[128];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/" REGISTRY_FILE, folder);
	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void expect_refused(int why)
{
	struct registry *r;

	cr_expect_eq(registry_open(&r, dir), why);
}

Test(registry, refuses_a_file_that_is_none_of_ours)
{
	create("10.77.0.0/16", NULL);
	overwrite(0, "not a database at all", 21);
	expect_refused(-EBADMSG);
	unlinkat(dir, REGISTRY_FILE, 0);
	sql("CREATE TABLE x (y)");
	expect_refused(-EBADMSG);
	unlinkat(dir, REGISTRY_FILE, 0);
	cr_assert_eq(symlinkat("/dev/null", dir, REGISTRY_FILE), 0);
	expect_refused(-EBADMSG);
}

Test(registry, refuses_a_file_made_by_a_newer_ginnel)
{
	create("10.77.0.0/16", NULL);
	sql("PRAGMA user_version = 4");
	expect_refused(-EPROTO);
}

Test(registry, refuses_damaged_rows)
{
	static const char *const damage[] = {
		"UPDATE node SET name = 'N1'",
		"UPDATE node SET slot = 300",
		"UPDATE node SET labels = '{\"a\":1}'",
		"UPDATE node SET labels = ''",
		"UPDATE node SET endpoints = '[\"nowhere:0\"]'",
		"UPDATE range SET prefix = '10.77.0.1/16' WHERE kind = 'overlay'",
		"DELETE FROM range WHERE kind = 'overlay'",
		"DELETE FROM cluster",
	};
	struct registry *r;

	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		create("10.77.0.0/16", NULL);
		cr_assert_eq(put(r = reopen(), "n1"), 0);
		registry_close(r);
		sql(damage[i]);
		cr_expect_eq(registry_open(&r, dir), -EBADMSG, "%s", damage[i]);
		unlinkat(dir, REGISTRY_FILE, 0);
	}
}

Test(registry, refuses_a_damaged_page)
{
	static const char zero[2048];
	struct registry *r;
	char name[16];

	create("10.77.0.0/16", NULL);
	r = reopen();
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		cr_assert_eq(put(r, name), 0);
	}
	registry_close(r);
	overwrite(6 * 4096, zero, sizeof(zero));
	expect_refused(-EBADMSG);
}

/* -- crashes ----------------------------------------------------------------------------------- */

/* Writes for ever and says on fd what was acknowledged. */
static void write_for_ever(int fd)
{
	struct config_endpoint e = endpoint("10.9.0.7:1");
	struct registry *r = reopen();
	uint64_t revision;

	for (unsigned i = 1;; i++) {
		e.at.port = (uint16_t)(1 + i % 65535);
		if (registry_node_announce(r, "n1", &e, 1, "") < 0)
			_exit(1);
		revision = registry_revision(r);
		if (write(fd, &revision, sizeof(revision)) != sizeof(revision))
			_exit(1);
	}
}

static uint64_t kill_writer_after(unsigned us)
{
	uint64_t said, last = 0;
	int fds[2], status;
	pid_t child;

	cr_assert_eq(pipe(fds), 0);
	child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		close(fds[0]);
		write_for_ever(fds[1]);
	}
	close(fds[1]);
	cr_assert_eq(read(fds[0], &last, sizeof(last)), (ssize_t)sizeof(last));
	usleep(us);
	kill(child, SIGKILL);
	while (read(fds[0], &said, sizeof(said)) == sizeof(said))
		last = said;
	close(fds[0]);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	return last;
}

Test(registry, keeps_what_it_acknowledged_when_killed)
{
	uint64_t acknowledged;
	struct registry *r;

	create("10.77.0.0/16", NULL);
	cr_assert_eq(put(r = reopen(), "n1"), 0);
	registry_close(r);
	for (unsigned i = 0; i < 20; i++) {
		acknowledged = kill_writer_after(1000 + 1500 * i);
		r = reopen();
		/* One more may have reached the file before it could be said. */
		cr_expect_geq(registry_revision(r), acknowledged);
		cr_expect_leq(registry_revision(r), acknowledged + 1);
		registry_close(r);
	}
}

Test(registry, finishes_a_swap_that_a_crash_cut_short)
{
	struct registry *r;

	create("10.77.0.0/16", NULL);
	cr_assert_eq(put(r = reopen(), "n1"), 0);
	registry_close(r);
	/* The new file is whole; the old one and its log are still there. */
	cr_assert_eq(renameat(dir, REGISTRY_FILE, dir, REGISTRY_FILE ".new"), 0);
	create("10.78.0.0/16", NULL);
	close(openat(dir, REGISTRY_FILE "-wal", O_CREAT | O_WRONLY, 0600));
	close(openat(dir, REGISTRY_FILE ".part", O_CREAT | O_WRONLY, 0600));
	r = reopen();
	cr_expect_eq(registry_count(r), 1u);
	cr_expect_neq(faccessat(dir, REGISTRY_FILE ".new", F_OK, 0), 0);
	cr_expect_neq(faccessat(dir, REGISTRY_FILE ".part", F_OK, 0), 0);
	registry_close(r);
}

/* -- failing disks: a file system between SQLite and the real one ------------------------------ */

static struct {
	bool fast;                   /* sync nothing */
	int sync_fails, write_fails; /* calls that fail from now on; < 0: all */
	const sqlite3_io_methods *real;
	sqlite3_io_methods methods[2]; /* the database's; its logs', which are not locked */
	int (*open)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
	sqlite3_vfs vfs;
} disk;

static bool fails(int *left)
{
	if (*left == 0)
		return false;
	if (*left > 0)
		--*left;
	return true;
}

static int bad_sync(sqlite3_file *f, int flags)
{
	if (disk.fast)
		return SQLITE_OK;
	return fails(&disk.sync_fails) ? SQLITE_IOERR_FSYNC : disk.real->xSync(f, flags);
}

static int bad_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	return fails(&disk.write_fails) ? SQLITE_IOERR_WRITE : disk.real->xWrite(f, p, n, at);
}

static int bad_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
	sqlite3_io_methods *m = &disk.methods[!(flags & SQLITE_OPEN_MAIN_DB)];
	int rc = disk.open(vfs, name, f, flags, out);

	if (rc == SQLITE_OK && f->pMethods) {
		disk.real = f->pMethods;
		*m = *f->pMethods;
		m->xSync = bad_sync;
		m->xWrite = bad_write;
		f->pMethods = m;
	}
	return rc;
}

static void bad_disk(void)
{
	disk.vfs = *sqlite3_vfs_find(NULL);
	disk.open = disk.vfs.xOpen;
	disk.vfs.zName = "bad-disk";
	disk.vfs.xOpen = bad_open;
	cr_assert_eq(sqlite3_vfs_register(&disk.vfs, 1), SQLITE_OK);
}

Test(registry, forgets_changes_beyond_the_ring)
{
	struct config_endpoint e = endpoint("10.9.0.7:1");
	struct registry *r;

	bad_disk();
	disk.fast = true;
	create("10.77.0.0/16", NULL);
	r = reopen();
	cr_assert_eq(put(r, "n1"), 0);
	for (unsigned i = 1; i <= REGISTRY_RING; i++) {
		e.at.port = (uint16_t)i;
		cr_assert_eq(registry_node_announce(r, "n1", &e, 1, ""), 0);
	}
	cr_expect_null(registry_change(r, 1));
	json_decref(change(r, 2));
	json_decref(change(r, REGISTRY_RING + 1));
	registry_close(r);
}

static void survive(int *what)
{
	static struct registry_node got;
	struct registry *r;

	bad_disk();
	create("10.77.0.0/16", NULL);
	r = reopen();
	cr_assert_eq(put(r, "n1"), 0);
	*what = 1;
	cr_expect_eq(put(r, "n2"), -EIO, "what failed is not acknowledged");
	cr_expect_null(registry_fault(r));
	cr_expect_eq(registry_revision(r), 1u);
	cr_expect_eq(registry_count(r), 1u);
	cr_expect_null(registry_change(r, 2));
	cr_expect_eq(put(r, "n3"), 0, "and the registry goes on in a new file");
	registry_close(r);
	r = reopen();
	cr_expect_eq(registry_node_get(r, "n1", &got), 0);
	cr_expect_eq(registry_node_get(r, "n2", &got), -ENOENT);
	cr_expect_eq(registry_node_get(r, "n3", &got), 0);
	cr_expect_eq(mode_of(REGISTRY_FILE), 0600);
	registry_close(r);
}

Test(registry, goes_on_in_a_new_file_after_a_failed_sync)
{
	survive(&disk.sync_fails);
}

Test(registry, goes_on_in_a_new_file_after_a_failed_write)
{
	survive(&disk.write_fails);
}

Test(registry, is_read_only_when_nothing_can_be_written)
{
	struct config_endpoint e = endpoint("10.9.0.9:4747");
	static struct registry_node got;
	struct registry *r;
	json_t *state;

	bad_disk();
	create("10.77.0.0/16", NULL);
	r = reopen();
	cr_assert_eq(put(r, "n1"), 0);
	disk.sync_fails = disk.write_fails = -1;
	cr_expect_eq(put(r, "n2"), -EIO);
	cr_expect_not_null(registry_fault(r));
	disk.sync_fails = disk.write_fails = 0;
	cr_expect_eq(put(r, "n2"), -EROFS, "also when the disk seems well again");
	cr_expect_eq(registry_has_room(r, "n2"), -EROFS);
	cr_expect_eq(registry_node_announce(r, "n1", &e, 1, ""), -EROFS);
	cr_expect_eq(registry_node_remove(r, "n1"), -EROFS);
	cr_expect_eq(registry_node_get(r, "n1", &got), 0, "reading goes on");
	state = registry_state(r);
	cr_expect_eq(json_array_size(json_object_get(state, "nodes")), 1u);
	json_decref(state);
	cr_expect_eq(registry_revision(r), 1u);
	registry_close(r);

	r = reopen();
	cr_expect_eq(registry_count(r), 1u);
	cr_expect_eq(put(r, "n2"), 0, "a new start tries again");
	registry_close(r);
}

Test(registry, says_when_the_disk_is_full_and_goes_on_when_it_is_not)
{
	char name[16], filler[128];
	struct registry *r;
	int err = 0, fd, n;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", folder, "tmpfs", 0, "size=256k") < 0)
		cr_skip_test("needs a mount namespace");
	close(dir);
	dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	create("10.77.0.0/16", NULL);
	r = reopen();
	snprintf(filler, sizeof(filler), "%s/filler", folder);
	fd = open(filler, O_CREAT | O_WRONLY, 0600);
	static const char page[4096];
	for (n = 0; n < 32; n++) /* leaves a little */
		cr_assert_eq(write(fd, page, sizeof(page)), (ssize_t)sizeof(page));
	for (n = 0; n < 200; n++) {
		snprintf(name, sizeof(name), "n%d", n);
		err = put(r, name);
		if (err)
			break;
	}
	cr_assert_eq(err, -ENOSPC);
	cr_expect_gt(n, 0);
	cr_expect_eq(put(r, "later"), -ENOSPC);
	cr_expect_null(registry_fault(r));
	cr_expect_eq(registry_revision(r), (uint64_t)n);
	close(fd);
	cr_assert_eq(unlink(filler), 0);
	cr_expect_eq(put(r, "later"), 0);
	registry_close(r);
	r = reopen();
	cr_expect_eq(registry_count(r), (unsigned)n + 1);
	registry_close(r);
	close(dir);
	cr_assert_eq(umount(folder), 0);
	dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The process changes its uid first and then enters its folder; the one above is root's alone. */
Test(registry, works_in_a_folder_whose_parent_is_closed_to_it)
{
	struct registry *r;
	pid_t child;
	int status, inner;

	if (geteuid() != 0)
		cr_skip_test("needs another uid");
	cr_assert_eq(mkdirat(dir, "inner", 0700), 0);
	inner = openat(dir, "inner", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct registry_cluster c = cluster_of("10.77.0.0/16", NULL);
	cr_assert_eq(registry_create(inner, &c), 0);
	cr_assert_eq(fchownat(dir, "inner", 64748, 64748, 0), 0);
	cr_assert_eq(fchownat(inner, REGISTRY_FILE, 64748, 64748, 0), 0);
	child = fork();
	if (child == 0) {
		if (setgid(64748) < 0 || setuid(64748) < 0 || fchdir(inner) < 0)
			_exit(2);
		if (registry_open(&r, AT_FDCWD) < 0)
			_exit(3);
		if (put(r, "n1") < 0)
			_exit(4);
		registry_close(r);
		if (registry_open(&r, AT_FDCWD) < 0 || registry_count(r) != 1)
			_exit(5);
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "exit %d", WEXITSTATUS(status));
	close(inner);
}
