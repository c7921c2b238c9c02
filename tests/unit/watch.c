/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/watch.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct node self;
static struct watch w;
static char why[128];

static void setup(void)
{
	snprintf(self.cluster, sizeof(self.cluster), "lab");
	snprintf(self.name, sizeof(self.name), "n1");
	cr_assert_eq(prefix_parse(&self.overlay[0], "10.77.0.0/16"), 0);
	self.noverlay = 1;
	cr_assert_eq(prefix_parse(&self.pools[0], "10.80.0.0/14"), 0);
	self.npools = 1;
	watch_init(&w, &self);
}

static void teardown(void)
{
	watch_clear(&w);
}

TestSuite(watch, .init = setup, .fini = teardown);

static enum watch_result line(const char *text)
{
	why[0] = '\0';
	return watch_line(&w, text, strlen(text), why, sizeof(why));
}

#define N(i)                                                                                    \
	"{\"name\":\"n" #i "\",\"role\":\"node\",\"incarnation\":1,\"labels\":{\"zone\":\"z" #i \
	"\"},\"prefixes\":[\"10.77." #i ".0/24\"],\"endpoints\":[\"10.9.0." #i ":4747\"]}"

static void take_state(void)
{
	cr_assert_eq(line("{\"type\":\"state\",\"generation\":1,\"revision\":5,\"nodes\":[" N(
			     1) "," N(2) "]}"),
	             WATCH_NOTHING, "%s", why);
	cr_assert_eq(line("{\"type\":\"nodes\",\"nodes\":[" N(3) "]}"), WATCH_NOTHING);
	cr_assert_eq(HASH_COUNT(w.members), 0); /* not before it is whole */
	cr_assert_eq(line("{\"type\":\"sync\",\"generation\":1,\"revision\":5}"), WATCH_CHANGED);
}

Test(watch, a_state_counts_once_it_is_whole)
{
	struct member *m;

	take_state();
	cr_expect_eq(HASH_COUNT(w.members), 3);
	m = watch_find(&w, "n3");
	cr_assert_not_null(m);
	cr_expect_eq(m->nprefixes, 1);
	cr_expect_eq(m->endpoints[0].port, 4747);
	cr_expect_str_eq(m->labels.at[0].value, "z3");
}

Test(watch, a_cut_connection_leaves_the_old_state)
{
	take_state();
	line("{\"type\":\"state\",\"generation\":1,\"revision\":9,\"nodes\":[" N(1) "]}");
	watch_cut(&w);
	cr_expect_eq(HASH_COUNT(w.members), 3);
	cr_expect_eq(line("{\"type\":\"sync\",\"generation\":1,\"revision\":9}"), WATCH_REFUSED);
}

Test(watch, changes_add_replace_and_remove)
{
	take_state();
	cr_expect_eq(
		line("{\"type\":\"change\",\"generation\":1,\"revision\":6,\"node\":" N(4) "}"),
		WATCH_CHANGED);
	cr_expect_eq(HASH_COUNT(w.members), 4);
	cr_expect_eq(
		line("{\"type\":\"change\",\"generation\":1,\"revision\":7,\"removed\":\"n2\"}"),
		WATCH_CHANGED);
	cr_expect_null(watch_find(&w, "n2"));
	cr_expect_eq(w.revision, 7);
}

Test(watch, a_node_that_stays_keeps_its_peer)
{
	struct peer *p;

	take_state();
	cr_assert_eq(peer_new(&p, "n2"), 0);
	watch_find(&w, "n2")->peer = p;
	line("{\"type\":\"change\",\"generation\":1,\"revision\":6,\"node\":" N(2) "}");
	cr_expect_eq(watch_find(&w, "n2")->peer, p);
	line("{\"type\":\"state\",\"generation\":2,\"revision\":1,\"nodes\":[" N(2) "]}");
	line("{\"type\":\"sync\",\"generation\":2,\"revision\":1}");
	cr_expect_eq(watch_find(&w, "n2")->peer, p);
	cr_expect_eq(HASH_COUNT(w.members), 1);
}

Test(watch, never_goes_back_within_a_generation)
{
	take_state();
	cr_expect_eq(line("{\"type\":\"state\",\"generation\":1,\"revision\":4,\"nodes\":[]}"),
	             WATCH_REFUSED);
	cr_expect_eq(line("{\"type\":\"state\",\"generation\":0,\"revision\":9,\"nodes\":[]}"),
	             WATCH_REFUSED);
	/* An old change is one that the state held already. */
	cr_expect_eq(
		line("{\"type\":\"change\",\"generation\":1,\"revision\":5,\"removed\":\"n2\"}"),
		WATCH_NOTHING);
	cr_expect_not_null(watch_find(&w, "n2"));
	cr_expect_eq(
		line("{\"type\":\"change\",\"generation\":2,\"revision\":6,\"removed\":\"n2\"}"),
		WATCH_REFUSED);
}

#define REFUSED(text)                                                \
	do {                                                         \
		cr_expect_eq(line(text), WATCH_REFUSED, "%s", text); \
		cr_expect_neq(why[0], '\0');                         \
	} while (0)
#define NODE(rest) "{\"type\":\"state\",\"generation\":1,\"revision\":1,\"nodes\":[{" rest "}]}"
#define ROLE       "\"role\":\"node\",\"incarnation\":1,\"labels\":{},"

Test(watch, what_cannot_be_read_is_refused)
{
	REFUSED("");
	REFUSED("[]");
	REFUSED("{}");
	REFUSED("{\"type\":5}");
	REFUSED("{\"type\":\"state\"}");
	REFUSED("{\"type\":\"nodes\",\"nodes\":[]}");
	REFUSED("{\"type\":\"change\",\"generation\":-1,\"revision\":1}");
	REFUSED(NODE("\"name\":\"N2\"," ROLE "\"prefixes\":[],\"endpoints\":[]"));
	REFUSED(NODE("\"name\":\"../n2\"," ROLE "\"prefixes\":[],\"endpoints\":[]"));
	REFUSED(NODE("\"name\":\"n2\"," ROLE "\"endpoints\":[]"));
	REFUSED(NODE("\"name\":\"n2\"," ROLE "\"prefixes\":[7],\"endpoints\":[]"));
	REFUSED(NODE("\"name\":\"n2\"," ROLE "\"prefixes\":[\"8.8.8.0/24\"],\"endpoints\":[]"));
	REFUSED(NODE("\"name\":\"n2\"," ROLE "\"prefixes\":[\"0.0.0.0/0\"],\"endpoints\":[]"));
	REFUSED(NODE("\"name\":\"n2\",\"role\":\"king\",\"incarnation\":1,\"labels\":{},"
	             "\"prefixes\":[],\"endpoints\":[]"));
	REFUSED(NODE("\"name\":\"n2\"," ROLE "\"prefixes\":[],\"endpoints\":[],\"name\":\"n3\""));
}

Test(watch, two_nodes_never_hold_one_prefix)
{
	take_state();
	REFUSED("{\"type\":\"change\",\"generation\":1,\"revision\":6,\"node\":{\"name\":"
	        "\"n9\"," ROLE "\"prefixes\":[\"10.77.2.128/25\"],\"endpoints\":[]}}");
	line("{\"type\":\"state\",\"generation\":1,\"revision\":8,\"nodes\":[" N(
		1) ",{\"name\":\"n9\"," ROLE "\"prefixes\":[\"10.77.0.0/16\"],\"endpoints\":[]}]}");
	REFUSED("{\"type\":\"sync\",\"generation\":1,\"revision\":8}");
	cr_expect_eq(HASH_COUNT(w.members), 3);
}

Test(watch, endpoints_inside_the_overlay_or_pools_are_left_out)
{
	line("{\"type\":\"state\",\"generation\":1,\"revision\":1,\"nodes\":[{\"name\":\"n2\"," ROLE
	     "\"prefixes\":[\"10.77.2.0/24\"],\"endpoints\":[\"10.77.3.1:4747\",\"10.81.0.1:4747\","
	     "\"10.9.0.2:4747\",\"host.example:4747\"]}]}");
	line("{\"type\":\"sync\",\"generation\":1,\"revision\":1}");
	cr_assert_not_null(watch_find(&w, "n2"));
	cr_expect_eq(watch_find(&w, "n2")->nendpoints, 1);
}

Test(watch, the_last_state_survives_on_disk)
{
	char dir[] = "/tmp/ginnel-watch.XXXXXX";
	struct watch again;
	int fd;

	cr_assert_not_null(mkdtemp(dir));
	fd = open(dir, O_DIRECTORY | O_RDONLY);
	take_state();
	cr_assert_eq(watch_save(&w, fd), 0);
	watch_init(&again, &self);
	cr_assert_eq(watch_load(&again, fd, why, sizeof(why)), 0, "%s", why);
	cr_expect_eq(HASH_COUNT(again.members), 3);
	cr_expect_eq(again.revision, 5);
	watch_clear(&again);
	cr_expect_eq(unlinkat(fd, WATCH_STATE_FILE, 0), 0);
	cr_expect_eq(watch_load(&again, fd, why, sizeof(why)), -ENOENT);
	close(fd);
	rmdir(dir);
}

#define WL(id, node, address)                                                                      \
	"{\"id\":\"" id "\",\"name\":\"web\",\"node\":\"" node "\",\"addresses\":[\"" address "\"" \
	"]}"
#define HASH1 "0101010101010101010101010101010101010101010101010101010101010101"

static void take_whole_state(void)
{
	cr_assert_eq(line("{\"type\":\"state\",\"generation\":1,\"revision\":5,\"policy\":{"
	                  "\"version\":2,\"hash\":\"" HASH1
	                  "\",\"size\":11},\"nodes\":[" N(1) "," N(2) "]}"),
	             WATCH_NOTHING, "%s", why);
	cr_assert_eq(line("{\"type\":\"workloads\",\"workloads\":[" WL(
			     "aa", "n2", "10.77.2.5") "," WL("bb", "n2", "10.80.0.5") "]}"),
	             WATCH_NOTHING, "%s", why);
	cr_assert_eq(
		line("{\"type\":\"workloads\",\"workloads\":[" WL("cc", "n1", "10.80.0.6") "]}"),
		WATCH_NOTHING);
	cr_assert_eq(workloads_count(&w.workloads), 0); /* not before it is whole */
	cr_assert_eq(line("{\"type\":\"sync\",\"generation\":1,\"revision\":5}"), WATCH_CHANGED);
}

static enum watch_result change(unsigned revision, const char *what)
{
	char text[512];

	snprintf(text, sizeof(text), "{\"type\":\"change\",\"generation\":1,\"revision\":%u,%s}",
	         revision, what);
	return line(text);
}

Test(watch, workloads_come_with_the_state_and_change)
{
	take_whole_state();
	cr_expect_eq(workloads_count(&w.workloads), 3);
	cr_expect_str_eq(workloads_find(&w.workloads, "aa")->node, "n2");
	cr_expect_eq(w.policy.version, 2);
	cr_expect_eq(change(6, "\"workload\":" WL("dd", "n1", "10.77.1.9")), WATCH_CHANGED);
	cr_expect_eq(change(6, "\"workload_removed\":\"aa\""), WATCH_NOTHING, "seen");
	cr_expect_eq(change(7, "\"workload_removed\":\"aa\""), WATCH_CHANGED);
	cr_expect_eq(change(8, "\"workload_removed\":\"aa\""), WATCH_NOTHING);
	cr_expect_eq(workloads_count(&w.workloads), 3);
	cr_expect_eq(change(9, "\"removed\":\"n2\""), WATCH_CHANGED);
	cr_expect_eq(workloads_count(&w.workloads), 2, "its own go with a node");
	cr_expect_eq(w.revision, 9);
}

Test(watch, a_node_made_anew_has_no_workloads)
{
	take_whole_state();
	cr_expect_eq(change(6, "\"node\":" N(2)), WATCH_CHANGED);
	cr_expect_eq(workloads_count(&w.workloads), 3);
	cr_expect_eq(change(7, "\"node\":{\"name\":\"n2\",\"role\":\"node\",\"incarnation\":2,"
	                       "\"labels\":{},\"prefixes\":[\"10.77.2.0/24\"],\"endpoints\":[]}"),
	             WATCH_CHANGED);
	cr_expect_eq(workloads_count(&w.workloads), 1);
}

Test(watch, a_workload_that_nobody_may_have_is_left_out)
{
	take_whole_state();
	change(6, "\"workload\":" WL("dd", "n9", "10.80.0.9"));
	change(7, "\"workload\":" WL("dd", "n1", "10.77.2.9")); /* n2's */
	change(8, "\"workload\":" WL("dd", "n1", "10.77.1.1")); /* the node's own */
	change(9, "\"workload\":" WL("aa", "n2", "192.0.2.1"));
	cr_expect_eq(w.revision, 9);
	cr_expect_null(workloads_find(&w.workloads, "dd"));
	cr_expect_null(workloads_find(&w.workloads, "aa"), "what it was before it is no more");
}

Test(watch, refuses_workloads_and_policies_that_cannot_be_read)
{
	cr_expect_eq(line("{\"type\":\"workloads\",\"workloads\":[]}"), WATCH_REFUSED);
	take_whole_state();
	cr_expect_eq(change(6, "\"workload\":{\"id\":\"XX\"}"), WATCH_REFUSED);
	cr_expect_eq(change(6, "\"policy\":null"), WATCH_REFUSED);
	cr_expect_eq(change(6, "\"policy\":{\"version\":0}"), WATCH_REFUSED);
	cr_expect_eq(change(6, "\"policy\":{\"version\":3,\"hash\":\"01\",\"size\":1}"),
	             WATCH_REFUSED);
	cr_expect_eq(w.revision, 5);
	cr_expect_eq(change(6, "\"policy\":{\"version\":3,\"hash\":\"" HASH1 "\",\"size\":1}"),
	             WATCH_CHANGED);
	cr_expect_eq(w.policy.version, 3);
}

Test(watch, workloads_and_members_of_one_revision_survive_on_disk)
{
	char folder[] = "/tmp/ginnel-watch-XXXXXX";
	int dir;

	cr_assert(mkdtemp(folder));
	dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	take_whole_state();
	cr_expect(watch_workloads_dirty(&w));
	cr_assert_eq(watch_save_workloads(&w, dir), 0);
	cr_expect_not(watch_workloads_dirty(&w));
	watch_clear(&w);
	watch_init(&w, &self);
	cr_assert_eq(watch_load(&w, dir, why, sizeof(why)), 0, "%s", why);
	cr_expect(watch_resumable(&w));
	cr_expect_eq(workloads_count(&w.workloads), 3);
	cr_expect_eq(w.policy.version, 2);
	cr_expect_eq(w.policy.size, 11);
	/* Killed between the two: the workloads are older, and all is asked for. */
	cr_expect_eq(change(6, "\"workload_removed\":\"aa\""), WATCH_CHANGED);
	cr_expect_eq(change(7, "\"node\":" N(3)), WATCH_CHANGED);
	cr_assert_eq(watch_save(&w, dir), 0);
	watch_clear(&w);
	watch_init(&w, &self);
	cr_assert_eq(watch_load(&w, dir, why, sizeof(why)), 0);
	cr_expect_eq(w.revision, 7);
	cr_expect_eq(HASH_COUNT(w.members), 3);
	cr_expect_eq(workloads_count(&w.workloads), 3, "better than none");
	cr_expect_not(watch_resumable(&w));
	cr_expect_not(watch_workloads_dirty(&w));
	unlinkat(dir, WATCH_STATE_FILE, 0);
	unlinkat(dir, WATCH_WORKLOADS, 0);
	close(dir);
	rmdir(folder);
}
