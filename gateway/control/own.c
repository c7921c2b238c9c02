/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/own.h"

#include "gateway/clock.h"
#include "gateway/control/state.h"
#include "gateway/control/uplink.h"
#include "gateway/h2.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND      1000000000LL
#define AGAIN       (1 * SECOND)  /* after a failure that passes */
#define AGAIN_LATER (60 * SECOND) /* after a refusal */

/* -- the table --------------------------------------------------------------------------------- */

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
static struct own_workload *find(const struct own *o, const char *id)
{
	struct own_workload *e;

	HASH_FIND_STR(o->workloads, id, e);
	return e;
}

const struct workload *own_find(const struct own *o, const char *id)
{
	const struct own_workload *e = find(o, id);

	return e ? e->w : NULL;
}

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
static void drop(struct own *o, struct own_workload *e)
{
	/* It is in there. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
	HASH_DEL(o->workloads, e);
	workload_free(e->w);
	free(e);
}

/* Takes w. */
static int place(struct own *o, struct workload *w)
{
	struct own_workload *e = calloc(1, sizeof(*e)), *old = find(o, w->id);

	if (!e) {
		workload_free(w);
		return -ENOMEM;
	}
	if (old)
		drop(o, old);
	e->w = w;
	HASH_ADD_KEYPTR(hh, o->workloads, w->id, strlen(w->id), e);
	return 0;
}

void own_clear(struct own *o)
{
	struct own_workload *e, *tmp;

	if (o->question)
		uplink_forget(o->question);
	HASH_ITER(hh, o->workloads, e, tmp)
		drop(o, e);
	for (unsigned i = 0; i < OWN_REFUSED_MAX; i++)
		workload_free(o->refused[i].w);
	memset(o, 0, sizeof(*o));
}

/* -- the disk: those that stand, one of them replaced or left out ------------------------------- */

static int borrow(struct workloads *t, struct own *o, const char *but)
{
	struct own_workload *e, *tmp;
	int err = 0;

	HASH_ITER(hh, o->workloads, e, tmp) {
		json_t *j = err || !strcmp(e->w->id, but) ? NULL : workload_format(e->w);
		struct workload *copy;
		const char *why;

		if (j)
			err = workload_parse(&copy, j, &why);
		if (j && !err)
			err = workloads_put(t, copy);
		json_decref(j);
	}
	return err;
}

/* Before it counts: w is added, or replaces the one of that id; NULL: that one goes. */
static int save(struct own *o, int dir, const char *id, const struct workload *w)
{
	json_t *j = w ? workload_format(w) : NULL;
	struct workloads t = {NULL};
	struct workload *copy;
	const char *why;
	int err = borrow(&t, o, id);

	if (!err && w)
		err = j ? workload_parse(&copy, j, &why) : -ENOMEM;
	if (!err && w)
		err = workloads_put(&t, copy);
	if (!err)
		err = workloads_save(&t, dir, OWN_FILE, 0, 0);
	json_decref(j);
	workloads_clear(&t);
	return err;
}

int own_load(struct control *c, int dir)
{
	struct workloads t = {NULL};
	struct workloads_entry *e, *tmp;
	uint64_t generation, revision;
	int err = workloads_load(&t, dir, OWN_FILE, &generation, &revision);

	HASH_ITER(hh, t.entries, e, tmp) { /* what could be read, whatever came after */
		int failed = place(&c->own, e->w);

		e->w = NULL; /* taken */
		if (!err)
			err = failed;
	}
	workloads_clear(&t);
	return err;
}

/* -- what root asks ---------------------------------------------------------------------------- */

static json_t *refuse(const char *reason, const char *rule, const char *text, const char *cure)
{
	char error[400];

	snprintf(error, sizeof(error), "workload add: %s; %s", text, cure);
	return json_pack("{s:s, s:s, s:s?}", "error", error, "reason", reason, "rule", rule);
}

static bool shares(const struct workload *a, const struct workload *b, const struct addr **at)
{
	for (unsigned i = 0; i < a->naddresses; i++)
		for (unsigned k = 0; k < b->naddresses; k++)
			if (addr_equal(&a->addresses[i], &b->addresses[k])) {
				*at = &a->addresses[i];
				return true;
			}
	return false;
}

/* Another workload that has one of its addresses; NULL: none. Ours as we know them, others' as the
 * manager told.
 */
static const struct workload *holder(const struct control *c, const struct workload *w,
                                     const struct addr **at)
{
	struct own_workload *e, *tmp;
	struct workloads_entry *o, *tmp2;

	HASH_ITER(hh, c->own.workloads, e, tmp)
		if (strcmp(e->w->id, w->id) != 0 && shares(w, e->w, at))
			return e->w;
	HASH_ITER(hh, c->watch.workloads.entries, o, tmp2)
		if (strcmp(o->w->node, c->node->name) != 0 && shares(w, o->w, at))
			return o->w;
	return NULL;
}

static json_t *check_addresses(const struct control *c, const struct workload *w)
{
	const struct node *n = c->node;
	const struct workload *other;
	const struct addr *at;
	char addr[ADDR_TEXT_MAX], text[300];

	for (unsigned i = 0; i < w->naddresses; i++) {
		if (workload_owns(&w->addresses[i], n->prefixes, n->nprefixes, n->pools, n->npools))
			continue;
		addr_format(&w->addresses[i], addr);
		snprintf(text, sizeof(text), "%s is not an address for a workload of this node",
		         addr);
		return refuse("address", NULL, text,
		              "take one of its prefixes, and not the node's own, or of the pools");
	}
	other = holder(c, w, &at);
	if (!other)
		return NULL;
	addr_format(at, addr);
	snprintf(text, sizeof(text), "%s is %s's on %s", addr, other->name,
	         *other->node ? other->node : n->name);
	return refuse("address-taken", NULL, text, "take another, or remove that workload first");
}

/* The oldest makes room; of one workload the last refusal counts. */
static void remember(struct own *o, struct workload *w, const char *rule, time_t at)
{
	struct own_refused *r = &o->refused[o->refused_next];

	for (unsigned i = 0; i < OWN_REFUSED_MAX; i++)
		if (o->refused[i].w && !strcmp(o->refused[i].w->id, w->id))
			r = &o->refused[i];
	if (o->question && o->asking == OWN_REFUSE && r == &o->refused[o->asked_refused])
		o->changed = true;
	if (r == &o->refused[o->refused_next])
		o->refused_next = (o->refused_next + 1) % OWN_REFUSED_MAX;
	workload_free(r->w);
	r->w = w;
	snprintf(r->rule, sizeof(r->rule), "%s", rule);
	r->at = at;
	r->told = false;
}

static bool draining(const struct control *c)
{
	const struct member *self = watch_find(&c->watch, c->node->name);

	return self && self->draining;
}

/* Takes *w if it is refused. */
static json_t *check_placement(struct control *c, struct workload **w)
{
	const struct cert_labels *node = &c->params->identity->info.labels;
	struct cert_labels labels;
	const char *rule, *cure = "run it on another node, or change the policy or the labels";
	char text[300];
	json_t *answer;

	workload_labels(*w, &labels);
	rule = c->edict.policy ? policy_placement(c->edict.policy, &labels, node) : NULL;
	if (!rule && draining(c) && !own_find(&c->own, (*w)->id)) {
		rule = WORKLOAD_RULE_DRAINED;
		cure = "run it on another node, or undo it with `ginnel node drain --undo`";
	}
	if (!rule)
		return NULL;
	snprintf(text, sizeof(text), "%s: rule %s does not let it run on %s", (*w)->name, rule,
	         c->node->name);
	log_warn("placement refused", "workload", (*w)->name, "id", (*w)->id, "rule", rule, NULL);
	answer = refuse("placement", rule, text, cure);
	remember(&c->own, *w, rule, time(NULL));
	*w = NULL;
	return answer;
}

static json_t *check(struct control *c, struct workload **w)
{
	json_t *answer = check_addresses(c, *w);

	if (!answer && !find(&c->own, (*w)->id) &&
	    HASH_COUNT(c->own.workloads) >= WORKLOADS_NODE_MAX)
		answer = refuse("too-many", NULL, "the node holds 1024 workloads",
		                "remove one, or run it on another node");
	return answer ? answer : check_placement(c, w);
}

static json_t *add(struct control *c, struct workload **w)
{
	json_t *answer = check(c, w);
	int err;

	if (answer)
		return answer;
	answer = json_pack("{s:s}", "id", (*w)->id);
	err = save(&c->own, AT_FDCWD, (*w)->id, *w);
	if (!err) {
		if (c->own.question && !strcmp(c->own.asked, (*w)->id))
			c->own.changed = true;
		err = place(&c->own, *w);
		*w = NULL;
	}
	if (!err)
		return answer;
	json_decref(answer);
	return refuse("disk", NULL, strerrordesc_np(-err), "see ginneld's log");
}

json_t *own_add(struct control *c, const json_t *question)
{
	struct workload *w = NULL;
	const char *why;
	json_t *answer;
	int err = workload_parse_of(&w, json_object_get(question, "workload"), c->node->name, &why);

	if (err)
		return refuse("invalid", NULL, err == -ENOMEM ? "no memory" : why, "mend it");
	answer = add(c, &w);
	workload_free(w);
	if (!json_object_get(answer, "error"))
		control_members_changed(c);
	own_kick(c);
	return answer;
}

json_t *own_remove(struct control *c, const json_t *question)
{
	const char *id = json_string_value(json_object_get(question, "id"));
	struct own_workload *e = id && workload_id_ok(id) ? find(&c->own, id) : NULL;
	json_t *answer;
	int err;

	if (!id || !workload_id_ok(id))
		return json_pack("{s:s, s:s}", "error",
		                 "workload remove: no workload's id, which is 1 to 64 hexadecimal "
		                 "digits; see `ginnel workloads`",
		                 "reason", "invalid");
	answer = json_pack("{s:s}", "id", id);
	if (!e)
		return answer;
	err = save(&c->own, AT_FDCWD, id, NULL);
	if (err) {
		json_decref(answer);
		log_error("workload not removed", "id", id, "reason", strerrordesc_np(-err), NULL);
		return json_pack("{s:s, s:s}", "error",
		                 "workload remove: the disk cannot be written; see ginneld's log",
		                 "reason", "disk");
	}
	drop(&c->own, e);
	c->own.check = true;
	control_members_changed(c);
	own_kick(c);
	return answer;
}

json_t *own_refused_json(const struct own *o)
{
	json_t *list = json_array();
	char at[32];
	struct tm tm;

	for (unsigned i = 0; i < OWN_REFUSED_MAX; i++) {
		const struct own_refused *r =
			&o->refused[(o->refused_next + OWN_REFUSED_MAX - 1 - i) % OWN_REFUSED_MAX];
		json_t *j = r->w ? workload_format(r->w) : NULL;

		if (!j || !gmtime_r(&r->at, &tm) || !strftime(at, sizeof(at), "%FT%TZ", &tm)) {
			json_decref(j);
			continue;
		}
		json_object_set_new(j, "rule", json_string(r->rule));
		json_object_set_new(j, "at", json_string(at));
		json_array_append_new(list, j);
	}
	return list;
}

/* -- telling the manager ----------------------------------------------------------------------- */

/* A record of the manager's that says it is ours, and is not. */
static const struct workload *stranger(const struct control *c)
{
	struct workloads_entry *e, *tmp;

	HASH_ITER(hh, c->watch.workloads.entries, e, tmp)
		if (!strcmp(e->w->node, c->node->name) && !find(&c->own, e->w->id))
			return e->w;
	return NULL;
}

static void ask(struct control *c, enum own_asking what, const char *id, const char *path,
                json_t *body);

static void refused_by_manager(struct control *c, struct own_workload *e, const char *body,
                               size_t len)
{
	json_t *j = h2_json(body, len);
	const char *reason = json_string_value(json_object_get(j, "error"));
	const char *rule = json_string_value(json_object_get(j, "rule"));

	if (e->state != OWN_REFUSED || strcmp(e->why, reason ? reason : "?") != 0)
		log_warn("the manager refused a workload", "workload", e->w->name, "id", e->w->id,
		         "reason", reason ? reason : "?", "rule", rule, NULL);
	snprintf(e->why, sizeof(e->why), "%s", reason ? reason : "?");
	e->state = OWN_REFUSED;
	c->own.again_refused = clock_now() + AGAIN_LATER;
	json_decref(j);
}

static void on_answer(void *arg, int status, const char *body, size_t len)
{
	struct control *c = arg;
	struct own *o = &c->own;
	struct own_workload *e = find(o, o->asked);

	o->question = NULL;
	if (!status)
		return; /* the next connection begins anew */
	if (status == 429 || status >= 500) {
		o->again = clock_now() + AGAIN;
		return;
	}
	switch (o->asking) {
	case OWN_PUT:
		if (!e) { /* removed meanwhile; the watch may not know the record yet */
			char id[WORKLOAD_ID_MAX + 1];

			memcpy(id, o->asked, sizeof(id));
			ask(c, OWN_REMOVE, id, "/v1/workload-remove", json_pack("{s:s}", "id", id));
			return;
		}
		if (o->changed)
			break;
		if (status == 200) {
			e->state = OWN_KNOWN;
			e->why[0] = '\0';
		} else {
			refused_by_manager(c, e, body, len);
		}
		break;
	case OWN_REMOVE:
		if (status == 200)
			workloads_remove(&c->watch.workloads,
			                 o->asked); /* the watch says so, soon */
		break;
	case OWN_REFUSE:
		if (!o->changed)
			o->refused[o->asked_refused].told = true; /* or it takes none */
		break;
	}
	own_kick(c);
}

static void ask(struct control *c, enum own_asking what, const char *id, const char *path,
                json_t *body)
{
	struct own *o = &c->own;
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

	json_decref(body);
	o->asking = what;
	o->changed = false;
	snprintf(o->asked, sizeof(o->asked), "%s", id);
	if (!text || uplink_ask(&o->question, c->uplink, "POST", path, text, on_answer, c))
		o->again = clock_now() + AGAIN;
	free(text);
}

static bool ask_remove(struct control *c)
{
	const struct workload *w = c->own.check ? stranger(c) : NULL;

	c->own.check = w != NULL;
	if (w)
		ask(c, OWN_REMOVE, w->id, "/v1/workload-remove", json_pack("{s:s}", "id", w->id));
	return w != NULL;
}

static bool ask_put(struct control *c)
{
	struct own_workload *e, *tmp;

	HASH_ITER(hh, c->own.workloads, e, tmp) {
		if (e->state != OWN_NEW)
			continue;
		ask(c, OWN_PUT, e->w->id, "/v1/workload", workload_format(e->w));
		return true;
	}
	return false;
}

static bool ask_refuse(struct control *c)
{
	for (unsigned i = 0; i < OWN_REFUSED_MAX; i++) {
		const struct own_refused *r = &c->own.refused[i];

		if (!r->w || r->told)
			continue;
		c->own.asked_refused = i;
		ask(c, OWN_REFUSE, "", "/v1/refuse",
		    json_pack("{s:o, s:s}", "workload", workload_format(r->w), "rule", r->rule));
		return true;
	}
	return false;
}

/* First what goes: its addresses may be another's next. */
void own_kick(struct control *c)
{
	int64_t now = clock_now();
	time_t since;

	if (c->own.question || !c->uplink || !uplink_reachable(c->uplink, &since) ||
	    now < c->own.again)
		return;
	if (c->own.again_refused && now >= c->own.again_refused)
		own_retry(c);
	if (now >= c->own.check_at) { /* a record that came after we looked */
		c->own.check = true;
		c->own.check_at = now + AGAIN_LATER;
	}
	if (!ask_remove(c) && !ask_put(c))
		ask_refuse(c);
}

void own_retry(struct control *c)
{
	struct own_workload *e, *tmp;

	c->own.again_refused = 0;
	HASH_ITER(hh, c->own.workloads, e, tmp)
		if (e->state == OWN_REFUSED)
			e->state = OWN_NEW;
}

static bool same(const struct workload *a, const struct workload *b)
{
	char *x = a ? workload_text(a) : NULL, *y = x ? workload_text(b) : NULL;
	bool equal = x && y && !strcmp(x, y);

	free(x);
	free(y);
	return equal;
}

void own_connected(struct control *c)
{
	struct own_workload *e, *tmp;

	HASH_ITER(hh, c->own.workloads, e, tmp)
		e->state = same(workloads_find(&c->watch.workloads, e->w->id), e->w) ? OWN_KNOWN
		                                                                     : OWN_NEW;
	c->own.check = true;
	c->own.again = 0;
	own_kick(c);
}
