/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/api.h"

#include "tests/folder.h"
#include "tests/link.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct folder folder;
static struct registry *registry;
static struct api *api;
static struct link_cluster cluster;
static int64_t now = ENDS_START;

/* -- a connection: the node's end and ours ------------------------------------------------------ */

struct end {
	char name[CERT_NAME_MAX + 1];
	struct h2 *client, *server;
	struct api_client *at;
	const char *cut;
	bool woken;
	/* what the node was told */
	int status;
	unsigned answers;
	json_t *body;
	unsigned lines, states, nodes, changes, syncs, resumes;
	uint64_t revision;
	char last[CERT_NAME_MAX + 1], removed[CERT_NAME_MAX + 1];
	bool watch_over;
};

static void on_wake(void *conn)
{
	((struct end *)conn)->woken = true;
}

static void on_cut(void *conn, const char *why)
{
	((struct end *)conn)->cut = why;
}

static const struct api_ops api_ops = {on_wake, on_cut};

static int on_up(void *arg, struct h2 *h)
{
	struct end *e = arg;
	const struct cert_info *peer = stream_peer(h2_stream(h));

	return api_client_new(&e->at, api, peer, e, ENDS_WALL);
}

static void on_request(void *arg, struct h2 *h, struct h2_request *r, const char *method,
                       const char *path, const char *body, size_t len)
{
	struct end *e = arg;

	(void)h;
	api_request(e->at, r, method, path, body, len, now);
}

static void on_closed(void *arg, struct h2_request *r)
{
	struct end *e = arg;

	api_closed(e->at, r);
}

static ssize_t on_watch(void *arg, struct h2_request *r, char *buf, size_t max)
{
	struct end *e = arg;

	return api_watch(e->at, r, buf, max);
}

static const struct h2_server_ops server_ops = {on_up, on_request, on_closed, on_watch};

static void on_response(void *arg, void *user, int status, const char *body, size_t len,
                        const char *why)
{
	struct end *e = arg;

	(void)why;
	if (user) {
		e->watch_over = true;
		return;
	}
	e->answers++;
	e->status = status;
	json_decref(e->body);
	e->body = h2_json(body, len);
}

static void take_node(struct end *e, json_t *n)
{
	const char *name = json_string_value(json_object_get(n, "name"));

	cr_assert(name);
	snprintf(e->last, sizeof(e->last), "%s", name);
}

static void on_line(void *arg, void *user, const char *line, size_t len)
{
	struct end *e = arg;
	json_t *j = h2_json(line, len);
	const char *type = json_string_value(json_object_get(j, "type"));
	json_t *list = json_object_get(j, "nodes"), *n;
	const char *removed = json_string_value(json_object_get(j, "removed"));
	size_t i;

	(void)user;
	cr_assert(type, "%.*s", (int)len, line);
	cr_assert_leq(len, (size_t)API_LINE_MAX + 512);
	e->lines++;
	e->states += strcmp(type, "state") == 0;
	e->syncs += strcmp(type, "sync") == 0;
	e->resumes += strcmp(type, "resume") == 0;
	e->changes += strcmp(type, "change") == 0;
	if (strcmp(type, "nodes") != 0)
		e->revision = (uint64_t)json_integer_value(json_object_get(j, "revision"));
	cr_assert_leq(json_array_size(list), (size_t)API_LINE_NODES);
	e->nodes += (unsigned)json_array_size(list);
	json_array_foreach(list, i, n)
		take_node(e, n);
	if (json_object_get(j, "node"))
		take_node(e, json_object_get(j, "node"));
	if (removed)
		snprintf(e->removed, sizeof(e->removed), "%s", removed);
	json_decref(j);
}

static const struct h2_client_ops client_ops = {on_response, on_line};

static void end_run(struct end *e)
{
	link_run(e->client, e->server, now);
}

static void end_init(struct end *e, const char *node)
{
	memset(e, 0, sizeof(*e));
	snprintf(e->name, sizeof(e->name), "%s", node);
	cr_assert_eq(h2_server_new(&e->server, link_accept(&cluster), &server_ops, e, now), 0);
	cr_assert_eq(h2_client_new(&e->client, link_dial(&cluster, node), &client_ops, e, now), 0);
	end_run(e);
}

static void end_clear(struct end *e)
{
	h2_free(e->client);
	h2_free(e->server);
	api_client_free(e->at);
	json_decref(e->body);
}

static void end_ask(struct end *e, const char *method, const char *path, const char *body)
{
	unsigned before = e->answers;

	cr_assert_eq(h2_ask(e->client, method, path, body, body ? strlen(body) : 0, NULL), 0);
	end_run(e);
	cr_assert_eq(e->answers, before + 1, "%s %s: no answer", method, path);
}

static void end_watch(struct end *e, const char *path)
{
	e->watch_over = false;
	cr_assert_eq(h2_ask_watch(e->client, path, e), 0);
	end_run(e);
}

static const char *text_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "(none)";
}

static void expect_error(struct end *e, int status, const char *reason)
{
	cr_expect_eq(e->status, status, "%d", e->status);
	cr_expect_str_eq(text_of(e->body, "error"), reason);
	cr_expect_gt(strlen(text_of(e->body, "text")), 5u);
}

static void setup(void)
{
	folder_init(&folder);
	registry = folder_registry(&folder, "10.77.0.0/16");
	cr_assert_eq(api_new(&api, registry, &api_ops), 0);
	link_cluster_init(&cluster, link_admit_all, NULL);
	cr_assert_eq(folder_node(registry, "m1", ROLE_MANAGER), 0);
	cr_assert_eq(folder_node(registry, "n1", ROLE_NODE), 0);
	cr_assert_eq(folder_node(registry, "n2", ROLE_NODE), 0);
}

static void teardown(void)
{
	api_free(api);
	registry_close(registry);
	link_cluster_clear(&cluster);
	folder_clear(&folder);
	if (link_leaks())
		abort(); /* an assertion here would not count */
}

TestSuite(api, .init = setup, .fini = teardown, .timeout = 60);

Test(api, gives_the_state)
{
	struct end e;
	json_t *n;

	end_init(&e, "n1");
	end_ask(&e, "GET", "/v1/state", NULL);
	cr_assert_eq(e.status, 200);
	cr_expect_str_eq(text_of(e.body, "cluster"), "c1");
	cr_expect_eq(json_integer_value(json_object_get(e.body, "generation")), 1);
	cr_expect_eq(json_integer_value(json_object_get(e.body, "revision")), 3);
	cr_expect_eq(json_array_size(json_object_get(e.body, "overlay")), 1u);
	cr_expect_eq(json_array_size(json_object_get(e.body, "pools")), 1u);
	cr_expect_eq(json_array_size(json_object_get(e.body, "nodes")), 3u);
	cr_expect(json_is_null(json_object_get(e.body, "next")));
	n = json_array_get(json_object_get(e.body, "nodes"), 1);
	cr_expect_str_eq(text_of(n, "name"), "n1");
	cr_expect_str_eq(text_of(n, "role"), "node");
	cr_expect_str_eq(text_of(n, "last_seen"), "2027-01-15T08:00:00Z", "it is connected");
	end_ask(&e, "GET", "/v1/nodes", NULL);
	cr_assert_eq(e.status, 200);
	cr_expect_eq(json_array_size(json_object_get(e.body, "nodes")), 3u);
	end_ask(&e, "GET", "/v1/nodes?after=n1", NULL);
	cr_expect_eq(json_array_size(json_object_get(e.body, "nodes")), 1u);
	end_clear(&e);
}

Test(api, refuses_by_name_what_it_does_not_know)
{
	static const struct {
		const char *method, *path;
		int status;
		const char *reason;
	} cases[] = {
		{"GET", "/", 404, "not-found"},
		{"GET", "/v1/join", 404, "not-found"},
		{"POST", "/v1/join", 404, "not-found"},
		{"GET", "/v1/statex", 404, "not-found"},
		{"GET", "/v1/state/", 404, "not-found"},
		{"GET", "/V1/state", 404, "not-found"},
		{"GET", "/v1/stat?e", 404, "not-found"},
		{"POST", "/v1/state", 405, "method"},
		{"DELETE", "/v1/nodes", 405, "method"},
		{"HEAD", "/v1/state", 405, "method"},
		{"GET", "/v1/announce", 405, "method"},
		{"PUT", "/v1/announce", 405, "method"},
		{"GET", "/v1/state?", 400, "bad-request"},
		{"GET", "/v1/state?after=", 400, "bad-request"},
		{"GET", "/v1/state?after=N1", 400, "bad-request"},
		{"GET", "/v1/state?after=n1&after=n1", 400, "bad-request"},
		{"GET", "/v1/state?before=n1", 400, "bad-request"},
		{"GET", "/v1/watch?generation=1", 400, "bad-request"},
		{"GET", "/v1/watch?revision=1", 400, "bad-request"},
		{"GET", "/v1/watch?generation=1&revision=-1", 400, "bad-request"},
		{"GET", "/v1/watch?generation=1&revision=1&x=1", 400, "bad-request"},
		{"GET", "/v1/watch?generation=1&revision=99999999999999999999", 400, "bad-request"},
		{"POST", "/v1/announce?x=1", 400, "bad-request"},
	};
	struct end e;

	end_init(&e, "n1");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(cases[i].method, "HEAD") == 0)
			continue; /* has no body to look at */
		end_ask(&e, cases[i].method, cases[i].path, NULL);
		cr_expect_eq(e.status, cases[i].status, "%s %s: %d", cases[i].method, cases[i].path,
		             e.status);
		cr_expect_str_eq(text_of(e.body, "error"), cases[i].reason, "%s", cases[i].path);
	}
	cr_expect_eq(api_refused(api), sizeof(cases) / sizeof(cases[0]) - 1);
	end_clear(&e);
}

#define ANNOUNCE(endpoints) "{\"endpoints\":" endpoints ",\"version\":\"0.2.0\"}"

Test(api, a_node_announces_itself)
{
	static struct registry_node n;
	struct end e;

	end_init(&e, "n1");
	end_ask(&e, "POST", "/v1/announce",
	        ANNOUNCE("[\"10.9.0.1:4747\",\"[2001:db8::1]:4747\",\"host.example\"]"));
	cr_assert_eq(e.status, 200, "%s", text_of(e.body, "text"));
	cr_expect_eq(json_integer_value(json_object_get(e.body, "revision")), 4);
	cr_assert_eq(registry_node_get(registry, "n1", &n), 0);
	cr_expect_eq(n.nendpoints, 3u);
	cr_expect_str_eq(n.endpoints[2].host, "host.example");
	cr_expect_eq(n.endpoints[2].at.port, CONFIG_PORT);
	cr_expect_str_eq(n.version, "0.2.0");
	cr_assert_eq(registry_node_get(registry, "n2", &n), 0);
	cr_expect_eq(n.nendpoints, 1u, "and nobody else");
	end_ask(&e, "POST", "/v1/announce", ANNOUNCE("[]"));
	cr_expect_eq(e.status, 200);
	end_clear(&e);
}

Test(api, refuses_announcements_that_lead_elsewhere)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{",
		"{\"endpoints\":[]}",
		"{\"version\":\"1\"}",
		"{\"endpoints\":{},\"version\":\"1\"}",
		"{\"endpoints\":[],\"version\":1}",
		"{\"endpoints\":[],\"version\":\"01234567890123456789012345678901\"}",
		"{\"endpoints\":[],\"version\":\"a\\n\"}",
		"{\"endpoints\":[],\"endpoints\":[],\"version\":\"1\"}",
		ANNOUNCE("[1]"),
		ANNOUNCE("[\"\"]"),
		ANNOUNCE("[\"10.9.0.1:0\"]"),
		ANNOUNCE("[\"10.9.0.1:65536\"]"),
		ANNOUNCE("[\"10.9.0.1:04747\"]"),
		ANNOUNCE("[\"127.1:4747\"]"),
		ANNOUNCE("[\"2130706433\"]"),
		ANNOUNCE("[\"0x7f000001:4747\"]"),
		ANNOUNCE("[\"localhost:4747\"]"),
		ANNOUNCE("[\"a.localhost\"]"),
		ANNOUNCE("[\"-a.example\"]"),
		ANNOUNCE("[\"a..example\"]"),
		ANNOUNCE("[\"a b\"]"),
		ANNOUNCE("[\"a.example:1:2\"]"),
		ANNOUNCE("[\"a.example:\"]"),
		ANNOUNCE("[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"]"),
	};
	static const char *const elsewhere[] = {
		ANNOUNCE("[\"127.0.0.1:4747\"]"),
		ANNOUNCE("[\"10.77.2.1:4747\"]"),
		ANNOUNCE("[\"10.80.0.1:4747\"]"),
		ANNOUNCE("[\"224.0.0.1:4747\"]"),
		ANNOUNCE("[\"0.0.0.0:4747\"]"),
		ANNOUNCE("[\"[::1]:4747\"]"),
		ANNOUNCE("[\"[::ffff:10.77.2.1]:4747\"]"),
	};
	struct end e;

	end_init(&e, "n1");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		end_ask(&e, "POST", "/v1/announce", bad[i]);
		cr_expect_eq(e.status, 400, "%s", bad[i]);
		cr_expect_str_eq(text_of(e.body, "error"), "bad-request", "%s", bad[i]);
	}
	for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
		end_ask(&e, "POST", "/v1/announce", elsewhere[i]);
		cr_expect_eq(e.status, 400, "%s", elsewhere[i]);
		cr_expect_str_eq(text_of(e.body, "error"), "endpoint", "%s", elsewhere[i]);
	}
	cr_expect_eq(registry_revision(registry), 3u);
	end_clear(&e);
}

Test(api, a_node_may_change_so_often_and_no_more)
{
	char body[80];
	struct end e;

	end_init(&e, "n1");
	for (int i = 0; i < API_ANNOUNCE_BURST; i++) {
		snprintf(body, sizeof(body), ANNOUNCE("[\"10.9.0.1:%d\"]"), 1000 + i);
		end_ask(&e, "POST", "/v1/announce", body);
		cr_expect_eq(e.status, 200);
		end_ask(&e, "POST", "/v1/announce", body); /* no change costs nothing */
		cr_expect_eq(e.status, i < API_ANNOUNCE_BURST - 1 ? 200 : 429);
	}
	end_ask(&e, "POST", "/v1/announce", ANNOUNCE("[\"10.9.0.1:999\"]"));
	expect_error(&e, 429, "rate");
	now += API_ANNOUNCE_EVERY;
	end_ask(&e, "POST", "/v1/announce", ANNOUNCE("[\"10.9.0.1:999\"]"));
	cr_expect_eq(e.status, 200);
	end_ask(&e, "POST", "/v1/announce", ANNOUNCE("[\"10.9.0.1:998\"]"));
	cr_expect_eq(e.status, 429);
	end_clear(&e);
	/* A new connection is the same node. */
	end_init(&e, "n1");
	end_ask(&e, "POST", "/v1/announce", ANNOUNCE("[\"10.9.0.1:998\"]"));
	cr_expect_eq(e.status, 429);
	end_clear(&e);
}

Test(api, watches_from_the_state_on)
{
	struct end e, other;

	end_init(&e, "n1");
	end_init(&other, "n2");
	end_watch(&e, "/v1/watch");
	cr_expect_eq(e.states, 1u);
	cr_expect_eq(e.nodes, 3u);
	cr_expect_eq(e.syncs, 1u);
	cr_expect_eq(e.lines, 2u);
	cr_expect_eq(e.revision, 3u);
	end_ask(&other, "POST", "/v1/announce", ANNOUNCE("[\"10.9.0.2:4747\"]"));
	cr_expect_eq(e.changes, 0u);
	api_changed(api);
	cr_expect(e.woken);
	cr_expect(!other.woken, "who does not watch is left alone");
	end_run(&e);
	cr_expect_eq(e.changes, 1u);
	cr_expect_eq(e.revision, 4u);
	cr_expect_str_eq(e.last, "n2");
	cr_assert_eq(registry_node_remove(registry, "n2"), 0);
	cr_assert_eq(folder_node(registry, "n3", ROLE_NODE), 0);
	api_changed(api);
	end_run(&e);
	cr_expect_eq(e.changes, 3u);
	cr_expect_str_eq(e.removed, "n2");
	cr_expect_str_eq(e.last, "n3");
	cr_expect(other.cut, "who was removed is cut");
	cr_expect_null(e.cut);
	end_clear(&other);
	end_clear(&e);
}

Test(api, resumes_a_watch)
{
	struct end e;

	end_init(&e, "n1");
	end_watch(&e, "/v1/watch?generation=1&revision=1");
	cr_expect_eq(e.resumes, 1u);
	cr_expect_eq(e.states, 0u);
	cr_expect_eq(e.changes, 2u);
	cr_expect_eq(e.revision, 3u);
	end_clear(&e);

	end_init(&e, "n1");
	end_watch(&e, "/v1/watch?generation=1&revision=3");
	cr_expect_eq(e.lines, 1u);
	cr_expect_eq(e.resumes, 1u);
	end_clear(&e);

	/* Another generation, a revision to come, one that is not kept: the state. */
	static const char *const paths[] = {"/v1/watch?generation=2&revision=3",
	                                    "/v1/watch?generation=1&revision=4"};
	for (size_t i = 0; i < 2; i++) {
		end_init(&e, "n1");
		end_watch(&e, paths[i]);
		cr_expect_eq(e.resumes, 0u);
		cr_expect_eq(e.states, 1u);
		cr_expect_eq(e.syncs, 1u);
		end_clear(&e);
	}
	registry_close(registry);
	api_free(api);
	cr_assert_eq(registry_open(&registry, folder.fd), 0);
	cr_assert_eq(api_new(&api, registry, &api_ops), 0);
	end_init(&e, "n1");
	end_watch(&e, "/v1/watch?generation=1&revision=2");
	cr_expect_eq(e.states, 1u, "after a start the ring is empty");
	end_clear(&e);
	end_init(&e, "n1");
	end_watch(&e, "/v1/watch?generation=1&revision=3");
	cr_expect_eq(e.resumes, 1u, "but who has all is well");
	end_clear(&e);
}

/* A big cluster: the state comes in pieces, and what happens meanwhile comes after it. */
Test(api, misses_nothing_while_the_state_is_sent)
{
	unsigned announced = 0, moved = 0;
	char name[16], body[80];
	struct end e, other;

	for (int i = 0; i < 253; i++) {
		snprintf(name, sizeof(name), "x%03d", i);
		cr_assert_eq(folder_node(registry, name, ROLE_NODE), 0);
	}
	end_init(&e, "n1");
	end_init(&other, "n2");
	cr_assert_eq(h2_ask_watch(e.client, "/v1/watch", &e), 0);
	link_move(e.client, e.server, 16384, now);
	while (link_move(e.server, e.client, 997, now) + link_move(e.client, e.server, 997, now)) {
		if (++moved % 5 || announced == 10)
			continue;
		snprintf(body, sizeof(body), ANNOUNCE("[\"10.9.0.2:%u\"]"), 1 + announced++);
		end_ask(&other, "POST", "/v1/announce", body);
		api_changed(api);
	}
	cr_assert_eq(announced, 10u, "%u of %u", announced, moved);
	cr_expect_eq(e.nodes, 256u);
	cr_expect_gt(e.lines, 3u + e.changes, "in pieces");
	cr_expect_eq(e.syncs, 1u);
	cr_expect_eq(e.revision, registry_revision(registry));
	end_clear(&other);
	end_clear(&e);
}

Test(api, resets_a_watcher_that_fell_out_of_the_ring)
{
	static struct registry_node n;
	struct end e;
	size_t pending;

	end_init(&e, "n1");
	end_watch(&e, "/v1/watch");
	cr_assert_eq(registry_node_get(registry, "n2", &n), 0);
	for (unsigned i = 0; i < REGISTRY_RING + 400; i++) {
		n.endpoints[0].at.port = (uint16_t)(1 + i);
		cr_assert_eq(registry_node_put(registry, &n), 0);
		api_changed(api);
		h2_pending(e.server, &pending); /* and is never sent */
	}
	cr_expect_leq(pending, STREAM_BACKLOG + 20000u);
	end_run(&e);
	cr_expect(e.watch_over);
	cr_expect_lt(e.changes, (unsigned)REGISTRY_RING);
	end_watch(&e, "/v1/watch");
	cr_expect_eq(e.states, 2u, "the connection lives on, and the state is there anew");
	cr_expect_eq(e.revision, registry_revision(registry));
	end_clear(&e);
}

Test(api, wakes_a_hundred_watchers)
{
	static struct end ends[100];
	char name[16];

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "w%d", i);
		cr_assert_eq(folder_node(registry, name, ROLE_NODE), 0);
	}
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "w%d", i);
		end_init(&ends[i], name);
		end_watch(&ends[i], "/v1/watch");
		cr_expect_eq(ends[i].nodes, 103u);
	}
	cr_assert_eq(folder_node(registry, "new", ROLE_NODE), 0);
	api_changed(api);
	for (int i = 0; i < 100; i++) {
		cr_expect(ends[i].woken);
		end_run(&ends[i]);
		cr_expect_eq(ends[i].changes, 1u);
		cr_expect_str_eq(ends[i].last, "new");
		end_clear(&ends[i]);
	}
}

Test(api, a_newer_incarnation_ends_the_older)
{
	static struct registry_node n;
	struct end e;

	end_init(&e, "n1");
	end_watch(&e, "/v1/watch");
	cr_assert_eq(registry_node_get(registry, "n1", &n), 0);
	n.incarnation = 2;
	cr_assert_eq(registry_node_put(registry, &n), 0);
	end_ask(&e, "GET", "/v1/state", NULL);
	expect_error(&e, 403, "unknown-node");
	api_changed(api);
	cr_expect(e.cut);
	end_run(&e);
	cr_expect_eq(e.changes, 0u);
	end_clear(&e);
}

Test(api, the_oldest_connection_of_a_node_makes_room)
{
	struct end ends[API_CLIENTS_PER_NODE + 2], other;

	end_init(&other, "n2");
	for (unsigned i = 0; i < API_CLIENTS_PER_NODE + 2; i++)
		end_init(&ends[i], "n1");
	for (unsigned i = 0; i < API_CLIENTS_PER_NODE + 2; i++) {
		cr_expect_eq(ends[i].cut != NULL, i < 2, "%u", i);
		end_clear(&ends[i]);
	}
	cr_expect_null(other.cut);
	end_clear(&other);
}

Test(api, writes_when_nodes_were_seen_now_and_then)
{
	static struct registry_node n;
	struct end e;

	end_init(&e, "n1");
	now += API_FLUSH_EVERY;
	api_tick(api, now, ENDS_WALL + 60);
	end_clear(&e);
	now += API_FLUSH_EVERY;
	api_tick(api, now, ENDS_WALL + 120);
	cr_assert_eq(registry_node_get(registry, "n1", &n), 0);
	cr_expect_eq(n.last_seen, ENDS_WALL + 60);
	cr_expect_eq(registry_revision(registry), 3u);
}

Test(api, gives_a_big_state_in_pages)
{
	static struct registry_node n;
	unsigned total = 0, pages = 0;
	char path[128] = "/v1/state", label[64];
	const char *next;
	struct end e;

	for (int i = 0; i < 120; i++) {
		memset(&n, 0, sizeof(n));
		snprintf(n.name, sizeof(n.name), "big%03d", i);
		n.role = ROLE_NODE;
		n.incarnation = 1;
		for (int k = 0; k < CERT_LABELS_MAX; k++) {
			snprintf(label, sizeof(label), "key-%02d=%s", k,
			         "a-value-of-some-length-0123456789");
			cr_assert_eq(cert_labels_add(&n.labels, label), 0);
		}
		for (n.nendpoints = 0; n.nendpoints < CONFIG_ADVERTISE_MAX; n.nendpoints++) {
			struct config_endpoint *c = &n.endpoints[n.nendpoints];

			memset(c->host, 'h', 60);
			for (int dot = 0; dot < 3; dot++)
				memcpy(c->host + 60 * (dot + 1),
				       ".hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"
				       "hhhhhhhhhhhhhhhhhhhhhhhhhhh",
				       60);
			c->at.port = 4747;
		}
		cr_assert_eq(registry_node_put(registry, &n), 0);
	}
	end_init(&e, "n1");
	do {
		end_ask(&e, "GET", path, NULL);
		cr_assert_eq(e.status, 200);
		total += (unsigned)json_array_size(json_object_get(e.body, "nodes"));
		next = json_string_value(json_object_get(e.body, "next"));
		if (next)
			snprintf(path, sizeof(path), "/v1/state?after=%s", next);
		pages++;
	} while (next);
	cr_expect_eq(total, 123u);
	cr_expect_gt(pages, 1u);
	end_watch(&e, "/v1/watch");
	cr_expect_eq(e.nodes, 123u);
	cr_expect_eq(e.syncs, 1u);
	end_clear(&e);
}

/* -- revocation lists ---------------------------------------------------------------------------- */

static uint64_t told;
static size_t shown;
static int shown_result;

static void on_told(void *arg, uint64_t number)
{
	(void)arg;
	told = number;
}

static int on_shown(void *arg, const uint8_t *list, size_t len)
{
	(void)arg;
	(void)list;
	shown = len;
	return shown_result;
}

static const struct api_list_ops list_ops = {on_told, on_shown};

static void new_list(uint64_t number)
{
	struct revocations s = {0};

	cr_assert_eq(api_revoke(api, number, &s, (const uint8_t *)"list", 4), 0);
}

Test(api, a_list_is_told_when_all_that_watch_have_fetched_it)
{
	struct end e, other, idle;

	api_follow_lists(api, &list_ops, NULL);
	new_list(1);
	cr_expect_eq(told, 1, "nobody watches");
	end_init(&e, "n1");
	end_init(&other, "n2");
	end_init(&idle, "m1");
	end_watch(&e, "/v1/watch");
	end_watch(&other, "/v1/watch");
	new_list(2);
	end_ask(&e, "GET", "/v1/list", NULL);
	cr_expect_eq(told, 1, "one has not");
	end_ask(&e, "GET", "/v1/list", NULL);
	cr_expect_eq(told, 1, "twice is once");
	end_ask(&other, "GET", "/v1/list", NULL);
	cr_expect_eq(told, 2);
	new_list(3);
	end_ask(&e, "GET", "/v1/list", NULL);
	cr_expect_eq(told, 2);
	end_clear(&other);
	cr_expect_eq(told, 3, "who is gone is not waited for");
	end_clear(&idle);
	end_clear(&e);
}

Test(api, a_list_that_a_node_shows_goes_up)
{
	struct end e;
	char body[256];

	api_follow_lists(api, &list_ops, NULL);
	end_init(&e, "n1");
	end_ask(&e, "POST", "/v1/list-shown", "{\"list\":\"00ff01\"}");
	cr_expect_eq(e.status, 200);
	cr_expect_eq(shown, 3u);
	shown_result = -EBADMSG;
	end_ask(&e, "POST", "/v1/list-shown", "{\"list\":\"00ff\"}");
	expect_error(&e, 400, "list");
	shown_result = -EAGAIN;
	end_ask(&e, "POST", "/v1/list-shown", "{\"list\":\"00ff\"}");
	expect_error(&e, 503, "ca");
	shown = 0;
	end_ask(&e, "POST", "/v1/list-shown", "{\"list\":\"0f0\"}");
	expect_error(&e, 400, "list");
	end_ask(&e, "POST", "/v1/list-shown", "{\"list\":7}");
	expect_error(&e, 400, "list");
	end_ask(&e, "POST", "/v1/list-shown?x=1", "{}");
	expect_error(&e, 400, "bad-request");
	cr_expect_eq(shown, 0u);
	shown_result = 0;
	snprintf(body, sizeof(body), "{\"list\":\"00\"}");
	for (int i = 0; i < API_ANNOUNCE_BURST; i++)
		end_ask(&e, "POST", "/v1/list-shown", body);
	expect_error(&e, 429, "rate");
	end_clear(&e);
}
