/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/nodes.h"

#include "gateway/control/uplink.h"
#include "gateway/h2.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct nodes_query {
	struct control *control;
	struct uplink_question *question; /* NULL: none is under way */
	struct event *soon;               /* the end is told from the loop */
	json_t *list;
	void (*done)(void *arg, json_t *list);
	void *arg;
};

static void query_free(struct nodes_query *q)
{
	if (q->question)
		uplink_forget(q->question);
	if (q->soon)
		event_free(q->soon);
	json_decref(q->list);
	free(q);
}

void nodes_cancel(struct nodes_query *q)
{
	query_free(q);
}

/* -- one node --------------------------------------------------------------------------------- */

/* The first host address of the first prefix of the family, with the prefix's length. */
static json_t *address_of(const json_t *prefixes, int family)
{
	char text[ADDR_TEXT_MAX], with_len[ADDR_TEXT_MAX + 4];
	struct prefix p;
	struct addr a;
	const char *s;

	for (size_t i = 0; i < json_array_size(prefixes); i++) {
		s = json_string_value(json_array_get(prefixes, i));
		if (!s || prefix_parse(&p, s) || p.addr.family != family || !prefix_host(&p, 1, &a))
			continue;
		addr_format(&a, text);
		snprintf(with_len, sizeof(with_len), "%s/%u", text, p.len);
		return json_string(with_len);
	}
	return json_null();
}

/* Times in UTC of one form sort as text. */
static bool ended(const struct control *c, const char *not_after)
{
	time_t wall = control_wall((void *)(uintptr_t)c);
	char now[32];
	struct tm tm;

	if (!not_after || !gmtime_r(&wall, &tm) ||
	    !strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return false;
	return strcmp(not_after, now) < 0;
}

static bool revoked(const struct control *c, const json_t *record)
{
	const char *name = json_string_value(json_object_get(record, "name"));
	struct member m = {0};

	snprintf(m.name, sizeof(m.name), "%s", name ? name : "");
	m.incarnation = (uint64_t)json_integer_value(json_object_get(record, "incarnation"));
	return control_revoked(c, &m);
}

static void copy(json_t *to, const json_t *from, const char *key)
{
	json_t *v = json_object_get(from, key);

	json_object_set_new(to, key, v ? json_incref(v) : json_null());
}

static json_t *entry_json(const struct control *c, const json_t *record)
{
	static const char *const rest[] = {"prefixes",       "endpoints", "labels",
	                                   "cert_not_after", "last_seen", "version"};
	const json_t *prefixes = json_object_get(record, "prefixes");
	json_int_t issue = json_integer_value(json_object_get(record, "issue"));
	json_int_t issue_min = json_integer_value(json_object_get(record, "issue_min"));
	const char *not_after = json_string_value(json_object_get(record, "cert_not_after"));
	json_t *o = json_object();

	copy(o, record, "name");
	copy(o, record, "role");
	json_object_set_new(o, "state",
	                    json_string(revoked(c, record)    ? "revoked"
	                                : ended(c, not_after) ? "expired"
	                                : json_is_true(json_object_get(record, "draining"))
	                                        ? "draining"
	                                        : "active"));
	json_object_set_new(o, "address", address_of(prefixes, 4));
	json_object_set_new(o, "address6", address_of(prefixes, 6));
	for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
		copy(o, record, rest[i]);
	json_object_set_new(o, "pending", json_boolean(issue < issue_min));
	return o;
}

/* -- where they come from --------------------------------------------------------------------- */

static int by_name(struct member *a, struct member *b)
{
	return strcmp(a->name, b->name);
}

static void last_state(struct nodes_query *q)
{
	struct member *m, *tmp;

	json_array_clear(q->list);
	HASH_SORT(q->control->watch.members, by_name);
	HASH_ITER(hh, q->control->watch.members, m, tmp)
		if (m->json)
			json_array_append_new(q->list, entry_json(q->control, m->json));
}

static void finish(struct nodes_query *q)
{
	void (*done)(void *arg, json_t *list) = q->done;
	void *arg = q->arg;
	json_t *list = json_incref(q->list);

	query_free(q);
	done(arg, list);
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
	struct nodes_query *q = arg;

	(void)fd;
	(void)what;
	last_state(q);
	finish(q);
}

static void on_page(void *arg, int status, const char *body, size_t len);

static int ask_page(struct nodes_query *q, const char *after)
{
	char path[32 + CERT_NAME_MAX];

	if (!q->control->uplink)
		return -ENOTCONN;
	snprintf(path, sizeof(path), "/v1/nodes%s%s", after ? "?after=" : "", after ? after : "");
	return uplink_ask(&q->question, q->control->uplink, "GET", path, NULL, on_page, q);
}

/* A page of the manager's; what cannot be read or went wrong leaves the last state. */
static void on_page(void *arg, int status, const char *body, size_t len)
{
	struct nodes_query *q = arg;
	json_t *j = status == 200 ? h2_json(body, len) : NULL;
	const json_t *nodes = json_object_get(j, "nodes");
	const char *next = json_string_value(json_object_get(j, "next"));
	bool ok = json_is_array(nodes) && (!next || cert_name_ok(next)) &&
	          json_array_size(q->list) < WATCH_MEMBERS_MAX;

	q->question = NULL;
	for (size_t i = 0; ok && i < json_array_size(nodes); i++)
		json_array_append_new(q->list, entry_json(q->control, json_array_get(nodes, i)));
	if (!ok || (next && ask_page(q, next)))
		event_active(q->soon, EV_TIMEOUT, 0);
	else if (!next)
		finish(q);
	json_decref(j);
}

int nodes_ask(struct nodes_query **out, struct control *c, void (*done)(void *arg, json_t *list),
              void *arg)
{
	struct nodes_query *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	q->control = c;
	q->done = done;
	q->arg = arg;
	q->list = json_array();
	q->soon = event_new(c->base, -1, 0, on_soon, q);
	if (!q->list || !q->soon) {
		query_free(q);
		return -ENOMEM;
	}
	if (ask_page(q, NULL))
		event_active(q->soon, EV_TIMEOUT, 0);
	*out = q;
	return 0;
}
