/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/api.h"

#include "crypto/hex.h"
#include "gateway/log.h"
#include "gateway/manager/api_ask.h"
#include "gateway/manager/records.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define SECOND          1000000000LL
#define QUERY_VALUE_MAX 64
#define SEAT_BUCKETS    1024

/* What is kept of a node for as long as it is connected, or has asked for much. */
struct seat {
	char name[CERT_NAME_MAX + 1];
	unsigned clients;
	int64_t free_at;          /* announcements: when the bucket is full again */
	int64_t workload_free_at; /* the same, of workloads */
	uint64_t policy;          /* the version that it confirmed; 0: none */
	LIST_ENTRY(seat) in;
};

LIST_HEAD(seat_list, seat);

enum stage {
	STAGE_STATE, /* the first line, with the first nodes */
	STAGE_NODES, /* more of them */
	STAGE_WORKLOADS,
	STAGE_SYNC,
	STAGE_RESUME,
	STAGE_CHANGES, /* for good */
};

struct watcher {
	LIST_ENTRY(watcher) in;
	struct api_client *client;
	struct h2_request *r;
	enum stage stage;
	uint64_t revision;               /* the watcher has all up to here, once its line is out */
	char after[WORKLOAD_ID_MAX + 1]; /* the last node or workload sent */
	uint64_t list;                   /* the number of the revocation list that it was told of */
	char *line;                      /* being sent; of changes the ring's is */
	size_t len, at;
};

struct api_client {
	TAILQ_ENTRY(api_client) in;
	struct api *api;
	struct seat *seat;
	uint64_t incarnation;
	uint8_t spki[32];
	time_t not_after; /* of the certificate that proved it */
	void *conn;
	bool cut;
	LIST_HEAD(, watcher) watchers;
};

struct api {
	struct registry *registry;
	const struct api_ops *ops;
	TAILQ_HEAD(, api_client) clients; /* oldest first */
	struct seat_list seats[SEAT_BUCKETS];
	struct revocations revoked;
	struct policy *policy;
	time_t wall;     /* a second ago at most */
	uint64_t list;   /* the number of the list that says so */
	char *list_text; /* the list as GET /v1/list answers it; NULL: there is none */
	uint64_t refused, unlogged;
	int64_t log_free_at, seen_at, flushed_at;
};

/* A bucket of `burst` that fills one every `every`: may one be taken now? */
static bool bucket_take(int64_t *free_at, int64_t burst, int64_t every, int64_t now)
{
	if (*free_at < now)
		*free_at = now;
	if (*free_at - now > (burst - 1) * every)
		return false;
	*free_at += every;
	return true;
}

/* -- queries ----------------------------------------------------------------------------------- */

/* The value of key in "a=b&c=d", into out; the rest of the query must be known too. */
struct query {
	const char *key;
	bool there;
	char value[QUERY_VALUE_MAX];
};

static bool query_pair(const char *p, size_t n, struct query *want, unsigned nwant)
{
	const char *eq = memchr(p, '=', n);
	size_t key, value;

	if (!eq)
		return false;
	key = (size_t)(eq - p);
	value = n - key - 1;
	for (unsigned i = 0; i < nwant; i++) {
		if (strlen(want[i].key) != key || memcmp(want[i].key, p, key) != 0)
			continue;
		if (want[i].there || value == 0 || value >= QUERY_VALUE_MAX)
			return false;
		memcpy(want[i].value, eq + 1, value);
		want[i].value[value] = '\0';
		want[i].there = true;
		return true;
	}
	return false;
}

/* query is what follows '?', or NULL. */
static bool query_parse(const char *query, struct query *want, unsigned nwant)
{
	size_t n;

	while (query) {
		n = strcspn(query, "&");
		if (!query_pair(query, n, want, nwant))
			return false;
		query = query[n] ? query + n + 1 : NULL;
	}
	return true;
}

static bool number_parse(const char *text, uint64_t *out)
{
	uint64_t v = 0;

	for (; *text; text++) {
		if (*text < '0' || *text > '9' || v > (INT64_MAX - 9) / 10)
			return false;
		v = v * 10 + (uint64_t)(*text - '0');
	}
	*out = v;
	return true;
}

/* -- requests ---------------------------------------------------------------------------------- */

/* {"generation":1,"revision":7 and, if whole, what the cluster is; no closing brace. */
static char *head_text(const struct api *a, const char *type, bool whole)
{
	const struct registry_cluster *c = registry_cluster(a->registry);
	json_t *j = json_object();
	char *text, policy[160];
	int bad = 0;

	if (type)
		bad |= json_object_set_new(j, "type", json_string(type));
	bad |= json_object_set_new(j, "generation",
	                           json_integer((json_int_t)registry_generation(a->registry)));
	bad |= json_object_set_new(j, "revision",
	                           json_integer((json_int_t)registry_revision(a->registry)));
	if (whole) {
		bad |= json_object_set_new(j, "cluster", json_string(c->name));
		bad |= json_object_set_new(j, "overlay",
		                           record_prefixes_format(c->overlay, c->noverlay));
		bad |= json_object_set_new(j, "pools", record_prefixes_format(c->pools, c->npools));
		registry_policy_text(a->registry, policy);
		bad |= json_object_set_new(j, "policy", json_loads(policy, JSON_DECODE_ANY, NULL));
	}
	text = bad ? NULL : json_dumps(j, JSON_COMPACT | JSON_PRESERVE_ORDER);
	json_decref(j);
	if (text)
		text[strlen(text) - 1] = '\0';
	return text;
}

/* head,"nodes":[…] and what follows; last as registry_nodes_text says. NULL: no memory. */
static char *nodes_text(const struct api *a, const char *head, unsigned n, size_t max,
                        const char *after, char last[CERT_NAME_MAX + 1], size_t *len)
{
	size_t head_len = strlen(head);
	char *text = malloc(head_len + max + CERT_NAME_MAX + 64);
	size_t used;

	if (!text)
		return NULL;
	used = (size_t)sprintf(text, "%s,\"nodes\":[", head);
	used += registry_nodes_text(a->registry, after, n, text + used, max, last);
	text[used++] = ']';
	*len = used;
	return text;
}

static int answer_page(struct api *a, bool whole, const char *query, struct api_answer *out)
{
	struct query q[] = {{.key = "after"}};
	char last[CERT_NAME_MAX + 1];
	char *head, *text;
	size_t len;

	if (!query_parse(query, q, 1) || (q[0].there && !cert_name_ok(q[0].value)))
		return answer_error(out, 400, "bad-request", "the query is ?after=NAME or nothing");
	head = head_text(a, NULL, whole);
	if (!head)
		return -ENOMEM;
	text = nodes_text(a, head, REGISTRY_NODES_MAX, API_PAGE_MAX, q[0].value, last, &len);
	free(head);
	if (!text)
		return -ENOMEM;
	if (last[0])
		len += (size_t)sprintf(text + len, ",\"next\":\"%s\"}", last);
	else
		len += (size_t)sprintf(text + len, ",\"next\":null}");
	*out = (struct api_answer){.status = 200, .json = text, .len = len};
	return 0;
}

/* May a watcher that has all up to this revision go on from there? */
static bool may_resume(const struct api *a, uint64_t generation, uint64_t revision)
{
	uint64_t now = registry_revision(a->registry);

	if (generation != registry_generation(a->registry) || revision > now)
		return false;
	return revision == now || registry_change(a->registry, revision + 1);
}

static int answer_watch(struct api *a, const char *query, struct api_answer *out)
{
	struct query q[] = {{.key = "generation"}, {.key = "revision"}};
	uint64_t generation, revision;

	if (!query_parse(query, q, 2) || q[0].there != q[1].there ||
	    !number_parse(q[0].value, &generation) || !number_parse(q[1].value, &revision))
		return answer_error(out, 400, "bad-request",
		                    "the query is ?generation=N&revision=N or nothing");
	*out = (struct api_answer){.status = 200};
	out->resume = q[0].there && may_resume(a, generation, revision);
	out->revision = revision;
	return 0;
}

/* FNV-1a. Names are in the registry: nobody fills one bucket at will. */
static unsigned bucket_of(const char *name)
{
	uint32_t h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return h % SEAT_BUCKETS;
}

static struct seat *seat_lookup(struct api *a, const char *node)
{
	struct seat *s;

	LIST_FOREACH(s, &a->seats[bucket_of(node)], in)
	if (strcmp(s->name, node) == 0)
		return s;
	return NULL;
}

/* Made if there is none; NULL: no memory. */
static struct seat *seat_find(struct api *a, const char *node)
{
	struct seat *s = seat_lookup(a, node);

	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	snprintf(s->name, sizeof(s->name), "%s", node);
	LIST_INSERT_HEAD(&a->seats[bucket_of(node)], s, in);
	return s;
}

/* As much of an announcement as can be judged without the registry. */
static bool announcement_parse(const char *body, size_t len, struct config_endpoint *e, unsigned *n,
                               char version[REGISTRY_VERSION_MAX + 1])
{
	json_t *j = h2_json(body, len);
	json_t *endpoints = json_object_get(j, "endpoints");
	const char *text = json_string_value(json_object_get(j, "version"));
	bool ok = endpoints && text && record_version_ok(text) &&
	          record_endpoints_parse(e, n, endpoints) == 0;

	if (ok)
		memcpy(version, text, strlen(text) + 1);
	json_decref(j);
	return ok;
}

static int answer_announce(struct api *a, const char *node, const char *body, size_t len,
                           int64_t now, struct api_answer *out)
{
	struct config_endpoint e[CONFIG_ADVERTISE_MAX];
	char version[REGISTRY_VERSION_MAX + 1];
	uint64_t before = registry_revision(a->registry);
	struct seat *seat = seat_find(a, node);
	int64_t free_at;
	unsigned n;
	int err;

	if (!seat)
		return -ENOMEM;
	if (!announcement_parse(body, len, e, &n, version))
		return answer_error(
			out, 400, "bad-request",
			"the body is {\"endpoints\":[\"ADDR:PORT\",…],\"version\":\"…\"}"
			" with at most 8 endpoints");
	free_at = seat->free_at;
	if (!bucket_take(&seat->free_at, API_ANNOUNCE_BURST, API_ANNOUNCE_EVERY, now))
		return answer_error(out, 429, "rate", "the node announces too often");
	err = registry_node_announce(a->registry, node, e, n, version);
	if (registry_revision(a->registry) == before)
		seat->free_at = free_at; /* nothing was written, nobody was woken */
	if (err)
		return answer_errno(out, err);
	return answer_revision(out, a->registry);
}

static int answer_list(const struct api *a, struct api_answer *out)
{
	char *text = strdup(a->list_text ? a->list_text : "{\"number\":0,\"list\":null}");

	if (!text)
		return -ENOMEM;
	*out = (struct api_answer){.status = 200, .json = text, .len = strlen(text)};
	return 0;
}

/* -- which request ----------------------------------------------------------------------------- */

/* One request, with what it comes to. */
struct request {
	struct api *api;
	struct ask ask;
	const char *query; /* what follows '?', or NULL */
	int64_t now;
};

static int get_state(const struct request *q, struct api_answer *out)
{
	return answer_page(q->api, true, q->query, out);
}

static int get_nodes(const struct request *q, struct api_answer *out)
{
	return answer_page(q->api, false, q->query, out);
}

static int get_watch(const struct request *q, struct api_answer *out)
{
	return answer_watch(q->api, q->query, out);
}

static int get_list(const struct request *q, struct api_answer *out)
{
	return answer_list(q->api, out);
}

static int post_announce(const struct request *q, struct api_answer *out)
{
	return answer_announce(q->api, q->ask.node, q->ask.body, q->ask.len, q->now, out);
}

static int get_workloads(const struct request *q, struct api_answer *out)
{
	struct query after[] = {{.key = "after"}};

	if (!query_parse(q->query, after, 1) || (after[0].there && !workload_id_ok(after[0].value)))
		return answer_error(out, 400, "bad-request", "the query is ?after=ID or nothing");
	return ask_workloads(&q->ask, after[0].value, out);
}

static int get_refused(const struct request *q, struct api_answer *out)
{
	return ask_refused_list(&q->ask, out);
}

static int get_policy(const struct request *q, struct api_answer *out)
{
	struct query at[] = {{.key = "version"}, {.key = "offset"}};
	uint64_t version, offset;

	if (!query_parse(q->query, at, 2) || !number_parse(at[0].value, &version) ||
	    !number_parse(at[1].value, &offset))
		return answer_error(out, 400, "bad-request",
		                    "the query is ?version=N&offset=N, one of them, or nothing");
	return ask_policy(&q->ask, version, offset, out);
}

/* A change costs a place in the node's bucket, unless nothing came of it: then nothing was written,
 * and nobody was woken. Of what is refused the placements are written down, too.
 */
static int post_change(const struct request *q, struct api_answer *out,
                       int (*fn)(const struct ask *a, struct api_answer *out))
{
	uint64_t before = registry_revision(q->api->registry);
	struct seat *seat = seat_find(q->api, q->ask.node);
	int64_t free_at;
	int err;

	if (!seat)
		return -ENOMEM;
	free_at = seat->workload_free_at;
	if (!bucket_take(&seat->workload_free_at, API_WORKLOAD_BURST, API_WORKLOAD_EVERY, q->now))
		return answer_error(out, 429, "rate", "the node changes its workloads too often");
	err = fn(&q->ask, out);
	if (!err && out->status == 200 && fn != ask_refused &&
	    registry_revision(q->api->registry) == before)
		seat->workload_free_at = free_at;
	return err;
}

static int post_workload(const struct request *q, struct api_answer *out)
{
	return post_change(q, out, ask_workload);
}

static int post_workload_remove(const struct request *q, struct api_answer *out)
{
	return post_change(q, out, ask_workload_remove);
}

static int post_refused(const struct request *q, struct api_answer *out)
{
	return post_change(q, out, ask_refused);
}

/* Kept for as long as the node is connected: it says so again when it is back. */
static int post_confirm(const struct request *q, struct api_answer *out)
{
	json_t *j = h2_json(q->ask.body, q->ask.len);
	json_int_t version = json_integer_value(json_object_get(j, "policy"));
	bool ok = json_is_integer(json_object_get(j, "policy")) && version > 0 &&
	          (uint64_t)version <= registry_policy(q->api->registry)->version;
	struct seat *seat = seat_find(q->api, q->ask.node);

	json_decref(j);
	if (!ok)
		return answer_error(out, 400, "bad-request",
		                    "the body is {\"policy\":VERSION}, of one that was applied");
	if (!seat)
		return -ENOMEM;
	seat->policy = (uint64_t)version;
	return answer_json(out, 200, json_object());
}

static bool node_revoked(const struct api *a, const char *name, uint64_t incarnation)
{
	struct cert_info newest = {.incarnation = incarnation, .issue = UINT64_MAX};

	snprintf(newest.node, sizeof(newest.node), "%s", name);
	return revocations_judge(&a->revoked, &newest, false) != CERT_OK;
}

/* Who has yet to confirm the policy: those that are connected, and those that are not. */
static int get_confirmed(const struct request *q, struct api_answer *out)
{
	uint64_t version = registry_policy(q->api->registry)->version, incarnation, n = 0;
	json_t *waiting = json_array(), *absent = json_array();
	const char *name = "";

	while ((name = registry_node_next(q->api->registry, name, &incarnation))) {
		const struct seat *s = seat_lookup(q->api, name);
		bool here = s && s->clients > 0;

		if ((here && s->policy == version) || node_revoked(q->api, name, incarnation))
			continue;
		if (n++ < API_WAITING_MAX)
			json_array_append_new(here ? waiting : absent, json_string(name));
	}
	return answer_json(out, 200,
	                   json_pack("{s:I, s:o, s:o, s:I}", "version", (json_int_t)version,
	                             "waiting", waiting, "absent", absent, "more",
	                             (json_int_t)(n > API_WAITING_MAX ? n - API_WAITING_MAX : 0)));
}

static const struct {
	const char *path;
	bool post, query; /* POST, else GET; may there be one? */
	int (*answer)(const struct request *q, struct api_answer *out);
} requests[] = {
	{"/v1/state", false, true, get_state},
	{"/v1/nodes", false, true, get_nodes},
	{"/v1/watch", false, true, get_watch},
	{"/v1/announce", true, false, post_announce},
	{"/v1/list", false, false, get_list},
	{"/v1/workloads", false, true, get_workloads},
	{"/v1/workload", true, false, post_workload},
	{"/v1/workload-remove", true, false, post_workload_remove},
	{"/v1/refused", false, false, get_refused},
	{"/v1/refuse", true, false, post_refused},
	{"/v1/policy", false, true, get_policy},
	{"/v1/confirm", true, false, post_confirm},
	{"/v1/confirmed", false, false, get_confirmed},
};

int api_answer(struct api *a, const char *node, const char *method, const char *path,
               const char *body, size_t len, int64_t now, struct api_answer *out)
{
	const char *query = strchr(path, '?');
	size_t n = query ? (size_t)(query - path) : strlen(path), i = 0;
	struct request q = {
		.api = a,
		.ask = {a->registry, a->policy, node, body, len, a->wall},
		.query = query ? query + 1 : NULL,
		.now = now,
	};

	while (i < sizeof(requests) / sizeof(requests[0]) &&
	       (strlen(requests[i].path) != n || memcmp(requests[i].path, path, n) != 0))
		i++;
	if (i == sizeof(requests) / sizeof(requests[0]))
		return answer_error(out, 404, "not-found", "there is no such path");
	if (strcmp(method, requests[i].post ? "POST" : "GET") != 0)
		return answer_error(out, 405, "method", requests[i].post ? "use POST" : "use GET");
	if (query && !requests[i].query)
		return answer_error(out, 400, "bad-request", "there is no query here");
	return requests[i].answer(&q, out);
}

/* -- watchers ---------------------------------------------------------------------------------- */

static void watcher_free(struct watcher *w)
{
	LIST_REMOVE(w, in);
	free(w->line);
	free(w);
}

static int watcher_new(struct api_client *c, struct h2_request *r, const struct api_answer *answer)
{
	struct watcher *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->client = c;
	w->r = r;
	w->stage = answer->resume ? STAGE_RESUME : STAGE_STATE;
	w->revision = answer->resume ? answer->revision : registry_revision(c->api->registry);
	LIST_INSERT_HEAD(&c->watchers, w, in);
	h2_set_user(r, w);
	return h2_watch(r);
}

/* The line of some nodes, and what comes after it. */
static int nodes_line(struct watcher *w, const char *head)
{
	char last[CERT_NAME_MAX + 1] = "";

	w->line = nodes_text(w->client->api, head, API_LINE_NODES, API_LINE_MAX, w->after, last,
	                     &w->len);
	if (!w->line)
		return -ENOMEM;
	w->line[w->len++] = '}';
	w->line[w->len++] = '\n';
	w->stage = last[0]                                             ? STAGE_NODES
	           : registry_workload_count(w->client->api->registry) ? STAGE_WORKLOADS
	                                                               : STAGE_SYNC;
	memcpy(w->after, last, sizeof(last));
	return 0;
}

/* The line of some workloads. */
static int workloads_line(struct watcher *w)
{
	static const char head[] = "{\"type\":\"workloads\",\"workloads\":[";
	char last[WORKLOAD_ID_MAX + 1] = "";

	w->line = malloc(sizeof(head) + API_LINE_MAX + 8);
	if (!w->line)
		return -ENOMEM;
	w->len = (size_t)sprintf(w->line, "%s", head);
	w->len += registry_workloads_text(w->client->api->registry, w->after, API_LINE_NODES,
	                                  w->line + w->len, API_LINE_MAX, last);
	w->len += (size_t)sprintf(w->line + w->len, "]}\n");
	w->stage = last[0] ? STAGE_WORKLOADS : STAGE_SYNC;
	memcpy(w->after, last, sizeof(last));
	return 0;
}

static int state_line(struct watcher *w)
{
	char *head = head_text(w->client->api, "state", true);
	int err = head ? nodes_line(w, head) : -ENOMEM;

	free(head);
	return err;
}

/* {"type":…} with the revision that the watcher has then. */
static int mark_line(struct watcher *w, const char *type)
{
	int n = asprintf(&w->line, "{\"type\":\"%s\",\"generation\":%llu,\"revision\":%llu}\n",
	                 type, (unsigned long long)registry_generation(w->client->api->registry),
	                 (unsigned long long)w->revision);

	if (n < 0) {
		w->line = NULL;
		return -ENOMEM;
	}
	w->len = (size_t)n;
	w->stage = STAGE_CHANGES;
	return 0;
}

/* {"type":"list"} says that there is one, which is then asked for. */
static int list_line(struct watcher *w)
{
	int n = asprintf(&w->line, "{\"type\":\"list\",\"number\":%llu}\n",
	                 (unsigned long long)w->client->api->list);

	if (n < 0) {
		w->line = NULL;
		return -ENOMEM;
	}
	w->len = (size_t)n;
	w->list = w->client->api->list;
	return 0;
}

/* Between two lines, and after the state: it is no change of the registry. */
static bool list_due(const struct watcher *w)
{
	return w->stage == STAGE_CHANGES && w->list != w->client->api->list &&
	       (w->line || w->at == 0);
}

static int next_line(struct watcher *w)
{
	free(w->line);
	w->line = NULL;
	w->at = w->len = 0;
	switch (w->stage) {
	case STAGE_STATE:
		/* What changes while the state is sent is sent again, as changes. */
		w->revision = registry_revision(w->client->api->registry);
		return state_line(w);
	case STAGE_NODES:
		return nodes_line(w, "{\"type\":\"nodes\"");
	case STAGE_WORKLOADS:
		return workloads_line(w);
	case STAGE_SYNC:
		return mark_line(w, "sync");
	case STAGE_RESUME:
		return mark_line(w, "resume");
	case STAGE_CHANGES:
		return list_due(w) ? list_line(w) : 0;
	}
	return 0;
}

static size_t copy_part(char *buf, size_t max, const char *from, size_t len, size_t *at)
{
	size_t n = len - *at < max ? len - *at : max;

	memcpy(buf, from + *at, n);
	*at += n;
	return n;
}

/* Changes, out of the ring. -1: it no longer holds the one that is due. */
static ssize_t copy_changes(struct watcher *w, char *buf, size_t max)
{
	const struct registry *r = w->client->api->registry;
	const char *text;
	size_t used = 0, len;

	while (used < max && w->revision < registry_revision(r)) {
		text = registry_change(r, w->revision + 1);
		if (!text)
			return -1;
		len = strlen(text);
		used += copy_part(buf + used, max - used, text, len, &w->at);
		if (w->at < len || used == max)
			break;
		buf[used++] = '\n';
		w->at = 0;
		w->revision++;
	}
	return (ssize_t)used;
}

ssize_t api_watch(struct api_client *c, struct h2_request *r, char *buf, size_t max)
{
	struct watcher *w = h2_user(r);
	ssize_t changes;
	size_t used = 0;

	if (c->cut || registry_node_admit(c->api->registry, c->seat->name, c->incarnation) < 0)
		return -1;
	while (used < max && (w->at < w->len || w->stage != STAGE_CHANGES || list_due(w))) {
		if (w->at == w->len && next_line(w) < 0)
			return -1;
		used += copy_part(buf + used, max - used, w->line, w->len, &w->at);
	}
	if (w->at < w->len || list_due(w))
		return (ssize_t)used;
	if (w->line)
		next_line(w); /* frees it: most of a watcher's life it holds none */
	changes = copy_changes(w, buf + used, max - used);
	return changes < 0 ? -1 : (ssize_t)used + changes;
}

/* -- clients ----------------------------------------------------------------------------------- */

static void log_refusal(struct api_client *c, const char *method, const char *path, int status,
                        const char *json, int64_t now)
{
	struct api *a = c->api;
	json_t *j = json_loads(json, 0, NULL);
	char code[24], more[24];

	a->refused++;
	if (bucket_take(&a->log_free_at, API_LOG_BURST, SECOND, now)) {
		log_warn("request refused", "peer", c->seat->name, "request", method, "path", path,
		         "status", log_num(code, status), "reason",
		         json_string_value(json_object_get(j, "error")), "unlogged",
		         a->unlogged ? log_num(more, (long long)a->unlogged) : NULL, NULL);
		a->unlogged = 0;
	} else {
		a->unlogged++;
	}
	json_decref(j);
}

void api_request(struct api_client *c, struct h2_request *r, const char *method, const char *path,
                 const char *body, size_t len, int64_t now)
{
	static const char no_memory[] = "{\"error\":\"failed\",\"text\":\"no memory\"}";
	struct api_answer answer = {0};
	int err;

	err = registry_node_admit(c->api->registry, c->seat->name, c->incarnation);
	if (err)
		err = answer_errno(&answer, err);
	else
		err = api_answer(c->api, c->seat->name, method, path, body, len, now, &answer);
	if (!err && !answer.json)
		err = watcher_new(c, r, &answer);
	else if (!err)
		err = h2_reply(r, answer.status, answer.json, answer.len);
	if (err)
		h2_reply(r, 503, no_memory, sizeof(no_memory) - 1);
	else if (answer.status >= 400)
		log_refusal(c, method, path, answer.status, answer.json, now);
	free(answer.json);
}

void api_closed(struct api_client *c, struct h2_request *r)
{
	struct watcher *w = h2_user(r);

	(void)c;
	if (w)
		watcher_free(w);
}

static void cut(struct api_client *c, const char *why)
{
	if (c->cut)
		return;
	c->cut = true;
	c->api->ops->cut(c->conn, why);
}

static void cut_oldest_of(struct api *a, const struct seat *s)
{
	struct api_client *c;

	TAILQ_FOREACH(c, &a->clients, in)
	{
		if (c->seat != s || c->cut)
			continue;
		cut(c, "the node made newer connections");
		return;
	}
}

int api_client_new(struct api_client **out, struct api *a, const struct cert_info *node, void *conn,
                   time_t wall)
{
	struct api_client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->seat = seat_find(a, node->node);
	if (!c->seat) {
		free(c);
		return -ENOMEM;
	}
	c->api = a;
	c->incarnation = node->incarnation;
	c->not_after = node->not_after;
	memcpy(c->spki, node->spki, sizeof(c->spki));
	c->conn = conn;
	LIST_INIT(&c->watchers);
	if (c->seat->clients >= API_CLIENTS_PER_NODE)
		cut_oldest_of(a, c->seat);
	if (c->seat->clients++ == 0)
		c->seat->policy = 0; /* what it had then it may have lost */
	a->wall = wall;
	TAILQ_INSERT_TAIL(&a->clients, c, in);
	registry_node_seen(a->registry, node->node, wall);
	*out = c;
	return 0;
}

void api_client_free(struct api_client *c)
{
	struct watcher *w, *next;

	if (!c)
		return;
	for (w = LIST_FIRST(&c->watchers); w; w = next) {
		next = LIST_NEXT(w, in);
		watcher_free(w);
	}
	c->seat->clients--;
	TAILQ_REMOVE(&c->api->clients, c, in);
	free(c);
}

bool api_admits(const struct api *a, const struct cert_info *node)
{
	return revocations_judge(&a->revoked, node, false) == CERT_OK;
}

static bool client_revoked(const struct api *a, const struct api_client *c)
{
	struct cert_info who = {.incarnation = c->incarnation};

	snprintf(who.node, sizeof(who.node), "%s", c->seat->name);
	memcpy(who.spki, c->spki, sizeof(who.spki));
	return !api_admits(a, &who);
}

int api_revoke(struct api *a, uint64_t number, struct revocations *s, const uint8_t *list,
               size_t len)
{
	char *text = malloc(2 * len + 64), *at = text;
	struct api_client *c;

	if (!text) {
		revocations_clear(s);
		return -ENOMEM;
	}
	at += sprintf(at, "{\"number\":%llu,\"list\":\"", (unsigned long long)number);
	hex_format(at, list, len);
	strcpy(at + 2 * len, "\"}");
	free(a->list_text);
	revocations_clear(&a->revoked);
	a->list_text = text;
	a->revoked = *s;
	a->list = number;
	*s = (struct revocations){0};
	TAILQ_FOREACH(c, &a->clients, in)
	if (client_revoked(a, c))
		cut(c, "the node was revoked");
	api_changed(a);
	return 0;
}

void api_changed(struct api *a)
{
	struct api_client *c;
	struct watcher *w;

	TAILQ_FOREACH(c, &a->clients, in)
	{
		if (c->cut)
			continue;
		if (registry_node_admit(a->registry, c->seat->name, c->incarnation) < 0) {
			cut(c, "the node is not in the cluster any more, or was made anew");
			continue;
		}
		LIST_FOREACH(w, &c->watchers, in)
		h2_wake(w->r);
		if (!LIST_EMPTY(&c->watchers))
			a->ops->wake(c->conn);
	}
}

/* -- life -------------------------------------------------------------------------------------- */

int api_new(struct api **out, struct registry *r, const struct api_ops *ops)
{
	struct api *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->registry = r;
	a->ops = ops;
	TAILQ_INIT(&a->clients);
	*out = a;
	return 0;
}

static void forget_bucket(struct seat_list *bucket, int64_t now)
{
	struct seat *s, *next;

	for (s = LIST_FIRST(bucket); s; s = next) {
		next = LIST_NEXT(s, in);
		if (s->clients > 0 || s->free_at > now || s->workload_free_at > now)
			continue;
		LIST_REMOVE(s, in);
		free(s);
	}
}

static void forget_seats(struct api *a, int64_t now)
{
	for (unsigned i = 0; i < SEAT_BUCKETS; i++)
		forget_bucket(&a->seats[i], now);
}

void api_free(struct api *a)
{
	if (!a)
		return;
	forget_seats(a, INT64_MAX);
	revocations_clear(&a->revoked);
	free(a->list_text);
	policy_free(a->policy);
	free(a);
}

void api_policy(struct api *a, struct policy *p)
{
	policy_free(a->policy);
	a->policy = p;
}

uint64_t api_refused(const struct api *a)
{
	return a->refused;
}

void api_tick(struct api *a, int64_t now, time_t wall)
{
	struct api_client *c;

	a->wall = wall;
	TAILQ_FOREACH(c, &a->clients, in)
	if (wall > c->not_after)
		cut(c, "the node's certificate has ended");
	if (now - a->seen_at >= API_SEEN_EVERY) {
		a->seen_at = now;
		TAILQ_FOREACH(c, &a->clients, in)
		registry_node_seen(a->registry, c->seat->name, wall);
		forget_seats(a, now);
	}
	if (now - a->flushed_at >= API_FLUSH_EVERY) {
		a->flushed_at = now;
		registry_flush(a->registry); /* logs by itself; tried again in a minute */
	}
}
