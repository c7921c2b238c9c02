/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/watch.h"

#include "crypto/hex.h"
#include "crypto/keyfile.h"
#include "crypto/statement.h"
#include "gateway/h2.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_BYTES_MAX (32 << 20) /* 10,000 nodes of 3 KiB */

static void member_free(struct member *m)
{
	if (!m)
		return;
	json_decref(m->json);
	peer_put(m->peer);
	free(m);
}

static void members_free(struct member **members)
{
	struct member *m = *members, *next;

	HASH_CLEAR(hh, *members); /* they are a list still */
	for (; m; m = next) {
		next = m->hh.next;
		member_free(m);
	}
}

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
static void member_add(struct member **to, struct member *m)
{
	HASH_ADD_STR(*to, name, m);
}

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
static void member_remove(struct member **from, struct member *m)
{
	/* It is in there. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
	HASH_DEL(*from, m);
	member_free(m);
}

void watch_init(struct watch *w, const struct node *n)
{
	memset(w, 0, sizeof(*w));
	w->node = n;
}

void watch_clear(struct watch *w)
{
	members_free(&w->members);
	members_free(&w->coming);
	workloads_clear(&w->workloads);
	workloads_clear(&w->coming_workloads);
}

void watch_cut(struct watch *w)
{
	members_free(&w->coming);
	workloads_clear(&w->coming_workloads);
	w->receiving = false;
}

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
static struct member *find(struct member *members, const char *name)
{
	struct member *m;

	HASH_FIND_STR(members, name, m);
	return m;
}

void watch_add(struct watch *w, struct member *m)
{
	member_add(&w->members, m);
}

static int by_name(const struct member *a, const struct member *b)
{
	return strcmp(a->name, b->name);
}

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
void watch_sort(struct watch *w)
{
	HASH_SORT(w->members, by_name);
}

struct member *watch_find(const struct watch *w, const char *name)
{
	return find(w->members, name);
}

/* -- one member ----------------------------------------------------------------------------------- */

static bool inside(const struct prefix *p, const struct prefix *of, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (prefix_within(p, &of[i]))
			return true;
	return false;
}

static bool guarded(const struct node *n, const struct addr *a)
{
	for (unsigned i = 0; i < n->noverlay; i++)
		if (prefix_contains(&n->overlay[i], a))
			return true;
	for (unsigned i = 0; i < n->npools; i++)
		if (prefix_contains(&n->pools[i], a))
			return true;
	return false;
}

/* Ours are ours, whatever a record says. */
static int parse_prefixes(struct member *m, json_t *list, const struct node *n)
{
	bool us = !strcmp(m->name, n->name);
	size_t i;
	json_t *v;

	if (!json_is_array(list) || json_array_size(list) > WATCH_PREFIXES)
		return -EBADMSG;
	json_array_foreach(list, i, v) {
		struct prefix *p = &m->prefixes[i];

		if (!json_is_string(v) || prefix_parse(p, json_string_value(v)) ||
		    !inside(p, n->overlay, n->noverlay) ||
		    (!us && config_overlaps(p, n->prefixes, n->nprefixes)))
			return -EBADMSG;
		m->nprefixes++;
	}
	return 0;
}

/* Names among the endpoints are not ours to resolve: who advertises one is reached by the others. */
static int parse_endpoints(struct member *m, json_t *list, const struct node *n)
{
	size_t i;
	json_t *v;

	if (!json_is_array(list) || json_array_size(list) > SNAPSHOT_ENDPOINTS)
		return -EBADMSG;
	json_array_foreach(list, i, v) {
		struct endpoint *e = &m->endpoints[m->nendpoints];

		if (!json_is_string(v))
			return -EBADMSG;
		if (!endpoint_parse(e, json_string_value(v), CONFIG_PORT) && e->port &&
		    config_addr_dialable(&e->addr, false) && !guarded(n, &e->addr))
			m->nendpoints++;
	}
	return 0;
}

static int parse_labels(struct member *m, json_t *labels)
{
	char text[CERT_LABEL_KEY_MAX + CERT_LABEL_VALUE_MAX + 3];
	const char *key;
	json_t *v;

	if (!json_is_object(labels))
		return -EBADMSG;
	json_object_foreach(labels, key, v) {
		if (!json_is_string(v) ||
		    snprintf(text, sizeof(text), "%s=%s", key, json_string_value(v)) >=
		            (int)sizeof(text) ||
		    cert_labels_add(&m->labels, text))
			return -EBADMSG;
	}
	return 0;
}

/* 0 if it is not there: an older manager, or a state from before. */
static int parse_number(json_t *j, const char *key, uint64_t *out)
{
	json_t *v = json_object_get(j, key);

	if (v && (!json_is_integer(v) || json_integer_value(v) < 0))
		return -EBADMSG;
	*out = (uint64_t)json_integer_value(v);
	return 0;
}

static int member_parse(struct member **out, json_t *j, const struct node *n)
{
	const char *name = json_string_value(json_object_get(j, "name"));
	const char *role = json_string_value(json_object_get(j, "role"));
	json_t *incarnation = json_object_get(j, "incarnation");
	struct member *m;

	if (!name || !role || !cert_name_ok(name) || !json_is_integer(incarnation) ||
	    json_integer_value(incarnation) < 0)
		return -EBADMSG;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	snprintf(m->name, sizeof(m->name), "%s", name);
	m->incarnation = (uint64_t)json_integer_value(incarnation);
	if (cert_role_parse(&m->role, role) || parse_number(j, "issue", &m->issue) ||
	    parse_number(j, "issue_min", &m->issue_min) ||
	    parse_prefixes(m, json_object_get(j, "prefixes"), n) ||
	    parse_endpoints(m, json_object_get(j, "endpoints"), n) ||
	    parse_labels(m, json_object_get(j, "labels"))) {
		free(m);
		return -EBADMSG;
	}
	m->draining = json_is_true(json_object_get(j, "draining"));
	m->json = json_incref(j);
	*out = m;
	return 0;
}

/* A prefix has one owner: a state in which two nodes hold it is nobody's to repair. */
static bool overlaps_another(struct member *members, const struct member *m)
{
	struct member *o, *tmp;

	HASH_ITER(hh, members, o, tmp) {
		if (!strcmp(o->name, m->name))
			continue;
		for (unsigned i = 0; i < o->nprefixes; i++)
			for (unsigned k = 0; k < m->nprefixes; k++)
				if (prefix_overlaps(&o->prefixes[i], &m->prefixes[k]))
					return true;
	}
	return false;
}

static int by_address(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;

	if (x->addr.family != y->addr.family)
		return x->addr.family - y->addr.family;
	return memcmp(x->addr.b, y->addr.b, sizeof(x->addr.b));
}

/* The same over all members at once: sorted by address, prefixes that overlap are neighbours. */
static bool any_overlap(struct member *members)
{
	size_t n = 0, max = (size_t)HASH_COUNT(members) * WATCH_PREFIXES;
	struct prefix *all = calloc(max + 1, sizeof(*all));
	struct member *m, *tmp;
	bool found = !all;

	HASH_ITER(hh, members, m, tmp)
		for (unsigned i = 0; all && i < m->nprefixes; i++)
			all[n++] = m->prefixes[i];
	if (all)
		qsort(all, n, sizeof(*all), by_address);
	for (size_t i = 1; !found && i < n; i++)
		found = prefix_overlaps(&all[i - 1], &all[i]);
	free(all);
	return found;
}

/* -- one workload -------------------------------------------------------------------------------- */

static bool places_ok(const struct member *m, const struct workload *w, const struct node *n)
{
	for (unsigned i = 0; i < w->naddresses; i++)
		if (!workload_owns(&w->addresses[i], m->prefixes, m->nprefixes, n->pools,
		                   n->npools))
			return false;
	return true;
}

/* What nobody may have is left out, and an older record of it goes: see workloads.h. -EBADMSG. */
static int put_workload(struct workloads *to, struct member *members, const json_t *j,
                        const struct node *n)
{
	struct workload *w;
	const struct member *m;
	const char *why;
	int err = workload_parse(&w, j, &why);

	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	m = find(members, w->node);
	if (m && places_ok(m, w, n))
		return workloads_put(to, w);
	workloads_remove(to, w->id);
	workload_free(w);
	return 0;
}

/* null: none was applied. An older manager says nothing of it. */
static int parse_policy(struct watch_policy *p, const json_t *j)
{
	json_int_t version = json_integer_value(json_object_get(j, "version"));
	json_int_t size = json_integer_value(json_object_get(j, "size"));
	const json_t *hash = json_object_get(j, "hash");

	memset(p, 0, sizeof(*p));
	if (!j || json_is_null(j))
		return 0;
	if (version <= 0 || size < 0 || !json_is_string(hash) ||
	    json_string_length(hash) != 2 * sizeof(p->hash) ||
	    hex_parse(p->hash, sizeof(p->hash), json_string_value(hash), 2 * sizeof(p->hash)) < 0)
		return -EBADMSG;
	p->version = (uint64_t)version;
	p->size = (uint64_t)size;
	return 0;
}

/* -- lines ------------------------------------------------------------------------------------------ */

static enum watch_result refuse(char *why, size_t max, const char *text)
{
	snprintf(why, max, "%s", text);
	return WATCH_REFUSED;
}

static int add_nodes(struct watch *w, json_t *nodes)
{
	size_t i;
	json_t *j;

	if (!json_is_array(nodes))
		return -EBADMSG;
	json_array_foreach(nodes, i, j) {
		struct member *m;
		int err = member_parse(&m, j, w->node);

		if (err)
			return err;
		if (find(w->coming, m->name) || HASH_COUNT(w->coming) >= WATCH_MEMBERS_MAX) {
			member_free(m);
			return -EBADMSG;
		}
		member_add(&w->coming, m);
	}
	return 0;
}

static int read_revision(json_t *line, uint64_t *generation, uint64_t *revision)
{
	json_t *g = json_object_get(line, "generation"), *r = json_object_get(line, "revision");

	if (!json_is_integer(g) || !json_is_integer(r) || json_integer_value(g) < 0 ||
	    json_integer_value(r) < 0)
		return -EBADMSG;
	*generation = (uint64_t)json_integer_value(g);
	*revision = (uint64_t)json_integer_value(r);
	return 0;
}

static bool goes_back(const struct watch *w, uint64_t generation, uint64_t revision)
{
	return generation < w->generation ||
	       (generation == w->generation && revision < w->revision);
}

/* Whoever could say so freely could lead us back to any state that once was. */
static bool generation_proven(const struct watch *w, uint64_t generation, json_t *proof)
{
	uint8_t bytes[GENERATION_PROOF_MAX];
	size_t n = json_string_length(proof) / 2;

	return w->trust && json_is_string(proof) && n <= sizeof(bytes) &&
	       hex_parse(bytes, n, json_string_value(proof), json_string_length(proof)) >= 0 &&
	       generation_check(bytes, n, generation, w->trust) == 0;
}

/* Within a generation versions rise, and one version is one document. */
static bool policy_goes_back(const struct watch *w, const struct watch_policy *p)
{
	return p->version < w->policy.version ||
	       (p->version && p->version == w->policy.version &&
	        memcmp(p->hash, w->policy.hash, sizeof(p->hash)) != 0);
}

static enum watch_result take_state(struct watch *w, json_t *line, char *why, size_t max)
{
	uint64_t generation, revision;

	watch_cut(w);
	if (read_revision(line, &generation, &revision))
		return refuse(why, max, "a state without generation and revision");
	if (goes_back(w, generation, revision))
		return refuse(why, max, "the manager's state is older than the one we have");
	if (w->generation && generation != w->generation &&
	    !generation_proven(w, generation, json_object_get(line, "proof")))
		return refuse(why, max,
		              "a state of another generation that the ca does not vouch for");
	w->receiving = true;
	w->coming_generation = generation;
	w->coming_revision = revision;
	if (parse_policy(&w->coming_policy, json_object_get(line, "policy")))
		return refuse(why, max, "a policy that cannot be read");
	if (generation == w->generation && policy_goes_back(w, &w->coming_policy))
		return refuse(why, max,
		              "a policy older than the one we have, or another of its version");
	return add_nodes(w, json_object_get(line, "nodes"))
	               ? refuse(why, max, "a node record that cannot be read")
	               : WATCH_NOTHING;
}

static enum watch_result take_nodes(struct watch *w, json_t *line, char *why, size_t max)
{
	if (!w->receiving)
		return refuse(why, max, "nodes outside of a state");
	return add_nodes(w, json_object_get(line, "nodes"))
	               ? refuse(why, max, "a node record that cannot be read")
	               : WATCH_NOTHING;
}

static enum watch_result take_workloads(struct watch *w, json_t *line, char *why, size_t max)
{
	json_t *list = json_object_get(line, "workloads"), *j;
	size_t i;

	if (!w->receiving || !json_is_array(list))
		return refuse(why, max, "workloads outside of a state");
	json_array_foreach(list, i, j)
		if (put_workload(&w->coming_workloads, w->coming, j, w->node))
			return refuse(why, max, "a workload record that cannot be read");
	return WATCH_NOTHING;
}

/* A node that stays keeps its peer: that carries its sessions. */
static void inherit(struct member *m, const struct member *before)
{
	m->peer = before->peer ? peer_get(before->peer) : NULL;
	m->logged = before->logged;
	m->fresh = before->fresh;
	m->fresh_asked = before->fresh_asked;
}

static enum watch_result take_sync(struct watch *w, char *why, size_t max)
{
	struct member *m, *tmp, *before;

	if (!w->receiving)
		return refuse(why, max, "a sync outside of a state");
	if (any_overlap(w->coming))
		return refuse(why, max, "two nodes hold the same prefix");
	HASH_ITER(hh, w->coming, m, tmp) {
		before = watch_find(w, m->name);
		if (before)
			inherit(m, before);
	}
	members_free(&w->members);
	w->members = w->coming;
	w->coming = NULL;
	workloads_clear(&w->workloads);
	w->workloads = w->coming_workloads;
	w->coming_workloads = (struct workloads){NULL};
	w->policy = w->coming_policy;
	w->receiving = false;
	w->behind = false;
	w->members_dirty = true;
	w->generation = w->coming_generation;
	w->revision = w->coming_revision;
	return WATCH_CHANGED;
}

static enum watch_result put_member(struct watch *w, json_t *j, char *why, size_t max)
{
	struct member *m, *before;

	if (member_parse(&m, j, w->node))
		return refuse(why, max, "a node record that cannot be read");
	if (overlaps_another(w->members, m)) {
		member_free(m);
		return refuse(why, max, "two nodes hold the same prefix");
	}
	before = watch_find(w, m->name);
	if (!before && HASH_COUNT(w->members) >= WATCH_MEMBERS_MAX) {
		member_free(m);
		return refuse(why, max, "more nodes than a cluster holds");
	}
	if (before) {
		if (before->incarnation != m->incarnation) /* made anew: nothing runs there */
			workloads_forget(&w->workloads, m->name);
		inherit(m, before);
		member_remove(&w->members, before);
	}
	member_add(&w->members, m);
	w->members_dirty = true;
	return WATCH_CHANGED;
}

static enum watch_result drop_member(struct watch *w, const char *name)
{
	struct member *m = watch_find(w, name);

	if (!m)
		return WATCH_NOTHING;
	workloads_forget(&w->workloads, name);
	member_remove(&w->members, m);
	w->members_dirty = true;
	return WATCH_CHANGED;
}

static enum watch_result put_policy(struct watch *w, const json_t *j, char *why, size_t max)
{
	struct watch_policy p;

	if (parse_policy(&p, j) || !p.version)
		return refuse(why, max, "a policy that cannot be read");
	if (policy_goes_back(w, &p))
		return refuse(why, max,
		              "a policy older than the one we have, or another of its version");
	w->policy = p;
	w->members_dirty = true;
	return WATCH_CHANGED;
}

static enum watch_result take_change(struct watch *w, json_t *line, char *why, size_t max)
{
	const char *removed = json_string_value(json_object_get(line, "removed"));
	const char *gone = json_string_value(json_object_get(line, "workload_removed"));
	json_t *node = json_object_get(line, "node"), *workload = json_object_get(line, "workload");
	json_t *policy = json_object_get(line, "policy");
	uint64_t generation, revision;
	enum watch_result result = WATCH_NOTHING;

	if (read_revision(line, &generation, &revision) || w->receiving ||
	    generation != w->generation)
		return refuse(why, max, "a change that fits no state");
	if (revision <= w->revision)
		return WATCH_NOTHING; /* seen in the state already */
	if (removed)
		result = drop_member(w, removed);
	else if (node)
		result = put_member(w, node, why, max);
	else if (gone)
		result = workloads_remove(&w->workloads, gone) ? WATCH_CHANGED : WATCH_NOTHING;
	else if (workload)
		result = put_workload(&w->workloads, w->members, workload, w->node)
		                 ? refuse(why, max, "a workload record that cannot be read")
		                 : WATCH_CHANGED;
	else if (policy)
		result = put_policy(w, policy, why, max);
	if (result != WATCH_REFUSED)
		w->revision = revision;
	return result;
}

enum watch_result watch_line(struct watch *w, const char *line, size_t len, char *why, size_t max)
{
	json_t *j = h2_json(line, len);
	const char *type = json_string_value(json_object_get(j, "type"));
	enum watch_result result = WATCH_NOTHING;
	uint64_t generation, revision;

	if (!j)
		return refuse(why, max, "a line that is no JSON");
	if (!type)
		result = refuse(why, max, "a line without a type");
	else if (!strcmp(type, "state"))
		result = take_state(w, j, why, max);
	else if (!strcmp(type, "nodes"))
		result = take_nodes(w, j, why, max);
	else if (!strcmp(type, "workloads"))
		result = take_workloads(w, j, why, max);
	else if (!strcmp(type, "sync"))
		result = take_sync(w, why, max);
	else if (!strcmp(type, "change"))
		result = take_change(w, j, why, max);
	else if (!strcmp(type, "resume") &&
	         (read_revision(j, &generation, &revision) || generation != w->generation))
		result = refuse(why, max, "a resume of another generation");
	/* Other types are of a newer manager: not for us. */
	json_decref(j);
	return result;
}

/* -- the disk ----------------------------------------------------------------------------------------- */

static json_t *policy_json(const struct watch_policy *p)
{
	char hash[2 * sizeof(p->hash) + 1];

	if (!p->version)
		return json_null();
	hex_format(hash, p->hash, sizeof(p->hash));
	return json_pack("{s:I, s:s, s:I}", "version", (json_int_t)p->version, "hash", hash, "size",
	                 (json_int_t)p->size);
}

int watch_save(struct watch *w, int dir)
{
	json_t *nodes = json_array();
	struct member *m, *tmp;
	json_t *doc;
	char *text;
	int err;

	HASH_ITER(hh, w->members, m, tmp)
		json_array_append(nodes, m->json);
	doc = json_pack("{sIsIsoso}", "generation", (json_int_t)w->generation, "revision",
	                (json_int_t)w->revision, "policy", policy_json(&w->policy), "nodes", nodes);
	text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	if (!text)
		return -ENOMEM;
	err = state_write(dir, WATCH_STATE_FILE, text, strlen(text));
	free(text);
	if (!err)
		w->members_dirty = false;
	return err;
}

/* The members first: whoever finds both of one revision has a state that once was. */
int watch_save_workloads(struct watch *w, int dir)
{
	int err = watch_save(w, dir);

	if (!err)
		err = workloads_save(&w->workloads, dir, WATCH_WORKLOADS, w->generation,
		                     w->revision);
	if (!err) {
		w->saved = w->revision;
		w->workloads_kept = true;
	}
	return err;
}

bool watch_workloads_dirty(const struct watch *w)
{
	return w->generation && !w->behind && (!w->workloads_kept || w->saved != w->revision);
}

bool watch_resumable(const struct watch *w)
{
	return w->generation && !w->behind;
}

/* What they say is better than nothing, also where it is older. */
static void load_workloads(struct watch *w, int dir)
{
	uint64_t generation = 0, revision = 0;
	int err = workloads_load(&w->workloads, dir, WATCH_WORKLOADS, &generation, &revision);

	w->saved = revision;
	w->workloads_kept = !err && generation == w->generation;
	w->behind = !w->workloads_kept || revision != w->revision;
}

int watch_load(struct watch *w, int dir, char *why, size_t max)
{
	char *text = malloc(STATE_BYTES_MAX);
	json_t *doc;
	size_t len;
	int err = -ENOMEM;

	if (!text)
		return -ENOMEM;
	err = keyfile_read(dir, WATCH_STATE_FILE, text, STATE_BYTES_MAX, &len);
	if (err)
		goto done;
	err = -EBADMSG;
	doc = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (!doc)
		snprintf(why, max, "no JSON");
	else if (take_state(w, doc, why, max) != WATCH_REFUSED &&
	         take_sync(w, why, max) != WATCH_REFUSED)
		err = 0;
	json_decref(doc);
	w->members_dirty = false;
	if (!err)
		load_workloads(w, dir);
done:
	free(text);
	return err;
}
