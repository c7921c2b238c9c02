/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Workloads, refused placements and the policy: the same scheme as of nodes. Of a workload the record
 * and the JSON that watchers are sent are held in memory, and whose each address is; of policies the
 * newest; refused placements are read when they are asked for.
 */
#include "gateway/manager/registry.h"

#include "crypto/digest.h"
#include "crypto/hex.h"
#include "gateway/manager/records.h"
#include "gateway/manager/registry_inside.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANGE_HEAD_MAX 128
#define ROOM_FIRST      64

/* -- held workloads ---------------------------------------------------------------------------- */

static const char *held_key(const struct registry *r, unsigned i)
{
	return r->workloads[i]->w->id;
}

static unsigned held_at(const struct registry *r, const char *id, bool *there)
{
	return registry_search(r, r->nworkloads, held_key, id, there);
}

static struct held *held_find(const struct registry *r, const char *id)
{
	bool there;
	unsigned at = held_at(r, id, &there);

	return there ? r->workloads[at] : NULL;
}

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
static struct place *place_find(const struct registry *r, const struct addr *a)
{
	struct place *p;

	HASH_FIND(hh, r->places, a, sizeof(*a), p);
	return p;
}

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
static void places_add(struct registry *r, struct held *h)
{
	for (unsigned i = 0; i < h->w->naddresses; i++) {
		struct place *p = &h->place[i];

		p->addr = h->w->addresses[i];
		p->of = h;
		HASH_ADD(hh, r->places, addr, sizeof(p->addr), p);
	}
}

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
static void places_remove(struct registry *r, struct held *h)
{
	for (unsigned i = 0; i < h->w->naddresses; i++)
		/* It is in there. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
		HASH_DEL(r->places, &h->place[i]);
}

static void held_free(struct held *h)
{
	if (!h)
		return;
	workload_free(h->w);
	free(h->text);
	free(h->place);
	free(h);
}

/* Takes w, also on failure. */
static int held_new(struct held **out, struct workload *w)
{
	struct held *h = calloc(1, sizeof(*h));

	if (!h) {
		workload_free(w);
		return -ENOMEM;
	}
	h->w = w;
	h->text = workload_text(w);
	h->place = calloc(w->naddresses, sizeof(*h->place));
	if (!h->text || !h->place) {
		held_free(h);
		return -ENOMEM;
	}
	*out = h;
	return 0;
}

static int make_room(struct registry *r)
{
	unsigned room = r->room ? r->room * 2 : ROOM_FIRST;
	struct held **more;

	if (r->nworkloads < r->room)
		return 0;
	more = realloc(r->workloads, room * sizeof(struct held *));
	if (!more)
		return -ENOMEM;
	r->workloads = more;
	r->room = room;
	return 0;
}

/* Takes h; there is room. Replaces the one of that id. */
static void held_place(struct registry *r, struct held *h)
{
	bool there;
	unsigned at = held_at(r, h->w->id, &there);

	if (there) {
		places_remove(r, r->workloads[at]);
		held_free(r->workloads[at]);
	} else {
		memmove(&r->workloads[at + 1], &r->workloads[at],
		        (r->nworkloads - at) * sizeof(struct held *));
		r->nworkloads++;
		registry_entry(r, h->w->node)->nworkloads++;
	}
	r->workloads[at] = h;
	places_add(r, h);
}

static void held_remove(struct registry *r, unsigned at)
{
	struct held *h = r->workloads[at];

	places_remove(r, h);
	registry_entry(r, h->w->node)->nworkloads--;
	held_free(h);
	r->nworkloads--;
	memmove(&r->workloads[at], &r->workloads[at + 1],
	        (r->nworkloads - at) * sizeof(struct held *));
}

void registry_workloads_forget(struct registry *r, const char *node)
{
	struct entry *e = registry_entry(r, node);
	unsigned kept = 0;

	if (e->nworkloads == 0)
		return;
	e->nworkloads = 0;
	for (unsigned i = 0; i < r->nworkloads; i++) {
		struct held *h = r->workloads[i];

		if (strcmp(h->w->node, node) != 0) {
			r->workloads[kept++] = h;
			continue;
		}
		places_remove(r, h);
		held_free(h);
	}
	r->nworkloads = kept;
}

/* -- out of the store -------------------------------------------------------------------------- */

/* What may stand beside what is held: 0, or why not. */
static int judge(const struct registry *r, const struct workload *w)
{
	const struct entry *e = registry_entry(r, w->node);
	const struct held *old = held_find(r, w->id);
	struct registry_node n;

	if (!e)
		return -ENOENT;
	if (old && strcmp(old->w->node, w->node) != 0)
		return -EEXIST;
	if (!old && (e->nworkloads >= WORKLOADS_NODE_MAX || r->nworkloads >= WORKLOADS_MAX))
		return -EDQUOT;
	registry_fill_prefixes(r, e->slot, &n);
	for (unsigned i = 0; i < w->naddresses; i++) {
		const struct place *p = place_find(r, &w->addresses[i]);

		if (!workload_owns(&w->addresses[i], n.prefixes, n.nprefixes, r->head.cluster.pools,
		                   r->head.cluster.npools))
			return -EINVAL;
		if (p && p->of != old)
			return -EADDRINUSE;
	}
	return 0;
}

static int load_workload(void *arg, const char *id, const char *node, const char *text)
{
	struct registry *r = arg;
	json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	struct workload *w = NULL;
	struct held *h;
	const char *why;
	int err = workload_parse_of(&w, j, node, &why);

	json_decref(j);
	if (!err && (strcmp(w->id, id) != 0 || judge(r, w) < 0 || held_find(r, id)))
		err = -EINVAL;
	if (err) {
		workload_free(w);
		return err == -ENOMEM ? err : -EBADMSG;
	}
	err = held_new(&h, w);
	if (err)
		return err;
	err = make_room(r);
	if (err)
		held_free(h);
	else
		held_place(r, h);
	return err;
}

int registry_load_rest(struct registry *r)
{
	int err = store_workloads_each(r->store, load_workload, r);

	return err ? err : store_policy_get(r->store, &r->policy);
}

void registry_clear_rest(struct registry *r)
{
	HASH_CLEAR(hh, r->places);
	for (unsigned i = 0; i < r->nworkloads; i++)
		held_free(r->workloads[i]);
	free(r->workloads);
	free(r->policy.document);
}

/* -- changes ----------------------------------------------------------------------------------- */

/* {"type":"change","generation":…,"revision":…,"what":text} of the next revision. */
static char *change_text(const struct registry *r, const char *what, const char *text)
{
	char *line;

	if (asprintf(&line, "{\"type\":\"change\",\"generation\":%llu,\"revision\":%llu,\"%s\":%s}",
	             (unsigned long long)r->head.generation,
	             (unsigned long long)r->head.revision + 1, what, text) < 0)
		return NULL;
	return line;
}

/* A copy of its own: what came is the caller's. */
static int copy(struct held **out, const struct workload *w)
{
	json_t *j = workload_format(w);
	struct workload *own;
	const char *why;
	int err = j ? workload_parse(&own, j, &why) : -ENOMEM;

	json_decref(j);
	return err ? err : held_new(out, own);
}

int registry_workload_put(struct registry *r, const struct workload *w)
{
	int err = judge(r, w);
	const struct held *old;
	struct held *h;
	char *line = NULL;

	if (err)
		return err;
	err = copy(&h, w);
	if (err)
		return err;
	old = held_find(r, w->id);
	if (old && strcmp(old->text, h->text) == 0) {
		held_free(h);
		return 0;
	}
	err = make_room(r);
	if (!err) {
		line = change_text(r, "workload", h->text);
		err = line ? store_workload_put(r->store, w->id, w->node, h->text,
		                                r->head.revision + 1)
		           : -ENOMEM;
	}
	if (err) {
		free(line);
		held_free(h);
		return err;
	}
	held_place(r, h);
	registry_publish(r, line);
	return 0;
}

int registry_workload_remove(struct registry *r, const char *node, const char *id)
{
	char quoted[WORKLOAD_ID_MAX + 3], *line;
	bool there;
	unsigned at = held_at(r, id, &there);
	int err;

	if (!there)
		return -ENOENT;
	if (strcmp(r->workloads[at]->w->node, node) != 0)
		return -EACCES;
	snprintf(quoted, sizeof(quoted), "\"%s\"", id);
	line = change_text(r, "workload_removed", quoted);
	err = line ? store_workload_remove(r->store, id, r->head.revision + 1) : -ENOMEM;
	if (err) {
		free(line);
		return err;
	}
	held_remove(r, at);
	registry_publish(r, line);
	return 0;
}

bool registry_workload_has(const struct registry *r, const char *node, const char *id)
{
	const struct held *h = held_find(r, id);

	return h && strcmp(h->w->node, node) == 0;
}

unsigned registry_workload_count(const struct registry *r)
{
	return r->nworkloads;
}

size_t registry_workloads_text(const struct registry *r, const char *after, unsigned n, char *buf,
                               size_t max, char last[WORKLOAD_ID_MAX + 1])
{
	size_t used = 0, len;
	bool there;
	unsigned first = held_at(r, after, &there), at;

	first += there;
	for (at = first; at < r->nworkloads && n > 0; at++, n--) {
		len = strlen(r->workloads[at]->text);
		if (used + len + 2 > max)
			break;
		if (used > 0)
			buf[used++] = ',';
		memcpy(buf + used, r->workloads[at]->text, len);
		used += len;
	}
	if (at < r->nworkloads && at > first)
		snprintf(last, WORKLOAD_ID_MAX + 1, "%s", r->workloads[at - 1]->w->id);
	else
		last[0] = '\0';
	return used;
}

/* -- refused placements ------------------------------------------------------------------------ */

static bool rule_ok(const char *rule)
{
	size_t n = strlen(rule);

	for (size_t i = 0; i < n; i++)
		if (rule[i] < 0x20 || rule[i] > 0x7e)
			return false;
	return n > 0 && n <= REGISTRY_RULE_MAX;
}

int registry_refuse(struct registry *r, const struct workload *w, const char *rule, time_t at)
{
	struct store_refused row = {.node = w->node, .id = w->id, .rule = rule, .at = at};
	char *text;
	int err;

	if (!rule_ok(rule))
		return -EINVAL;
	text = workload_text(w);
	if (!text)
		return -ENOMEM;
	row.text = text;
	err = store_refused_put(r->store, &row);
	free(text);
	return err;
}

struct refused_list {
	json_t *list;
	size_t room;
};

static int add_refused(void *arg, const struct store_refused *row)
{
	struct refused_list *l = arg;
	json_t *o = json_loads(row->text, JSON_REJECT_DUPLICATES, NULL);
	size_t len = strlen(row->text) + strlen(row->rule) + CHANGE_HEAD_MAX;

	if (!o)
		return -EBADMSG;
	if (len > l->room) {
		json_decref(o);
		return 1; /* the rest is older */
	}
	l->room -= len;
	json_object_set_new(o, "rule", json_string(row->rule));
	json_object_set_new(o, "at", record_time_format(row->at));
	return json_array_append_new(l->list, o) < 0 ? -ENOMEM : 0;
}

json_t *registry_refused(struct registry *r, size_t max)
{
	struct refused_list l = {json_array(), max};
	int err = l.list ? store_refused_each(r->store, add_refused, &l) : -ENOMEM;

	if (err >= 0)
		return l.list;
	json_decref(l.list);
	return NULL;
}

/* -- the policy -------------------------------------------------------------------------------- */

static void policy_text(const struct registry_policy *p, char out[160])
{
	char hash[2 * sizeof(p->hash) + 1];

	if (!p->version) {
		strcpy(out, "null");
		return;
	}
	hex_format(hash, p->hash, sizeof(p->hash));
	snprintf(out, 160, "{\"version\":%llu,\"hash\":\"%s\",\"size\":%zu}",
	         (unsigned long long)p->version, hash, p->len);
}

void registry_policy_text(const struct registry *r, char out[160])
{
	policy_text(&r->policy, out);
}

/* JSON holds UTF-8 alone. */
static bool is_text(const char *document, size_t len)
{
	json_t *j = memchr(document, '\0', len) ? NULL : json_stringn(document, len);
	bool ok = j != NULL;

	json_decref(j);
	return ok;
}

int registry_policy_put(struct registry *r, const char *document, size_t len, const char *by,
                        time_t at)
{
	struct registry_policy p = {.version = r->policy.version + 1, .applied_at = at, .len = len};
	char text[160], *line;
	int err;

	if (!is_text(document, len))
		return -EINVAL;
	digest_sha256(document, len, p.hash);
	if (r->policy.version && memcmp(p.hash, r->policy.hash, sizeof(p.hash)) == 0)
		return 0;
	snprintf(p.by, sizeof(p.by), "%s", by);
	p.document = strndup(document, len);
	if (!p.document)
		return -ENOMEM;
	policy_text(&p, text);
	line = change_text(r, "policy", text);
	err = line ? store_policy_put(r->store, &p, r->head.revision + 1) : -ENOMEM;
	if (err) {
		free(line);
		free(p.document);
		return err;
	}
	free(r->policy.document);
	r->policy = p;
	registry_publish(r, line);
	return 0;
}

const struct registry_policy *registry_policy(const struct registry *r)
{
	return &r->policy;
}
