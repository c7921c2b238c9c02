/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/guarded.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/keyfile.h"

/* -- text --------------------------------------------------------------------------------------- */

static json_t *prefixes_json(const struct prefix *p, unsigned n)
{
	json_t *list = json_array();
	char text[PREFIX_TEXT_MAX];

	for (unsigned i = 0; i < n; i++) {
		prefix_format(&p[i], text);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static json_t *plan_json(const struct guard_plan *p)
{
	json_t *links = json_array();

	for (unsigned i = 0; i < p->ninterfaces; i++)
		json_array_append_new(links, json_string(p->interfaces[i]));
	return json_pack("{s:s,s:o,s:o,s:o}", "device", p->device, "guarded",
	                 prefixes_json(p->guarded, p->nguarded), "own",
	                 prefixes_json(p->own, p->nown), "interfaces", links);
}

char *guarded_format(const struct guarded *g)
{
	json_t *list = json_array();
	char *text;

	for (unsigned i = 0; i < g->n; i++)
		json_array_append_new(list, plan_json(&g->plan[i]));
	text = json_dumps(list, JSON_COMPACT);
	json_decref(list);
	return text;
}

static int get_prefixes(const json_t *list, struct prefix *out, unsigned max, unsigned *n)
{
	if (!json_is_array(list) || json_array_size(list) > max)
		return -EBADMSG;
	for (*n = 0; *n < json_array_size(list); (*n)++) {
		const char *s = json_string_value(json_array_get(list, *n));

		if (!s || prefix_parse(&out[*n], s) < 0)
			return -EBADMSG;
	}
	return 0;
}

static int get_name(const json_t *name, char out[16])
{
	const char *s = json_string_value(name);

	if (!s || !guard_name_ok(s))
		return -EBADMSG;
	memcpy(out, s, strlen(s) + 1);
	return 0;
}

static int get_interfaces(const json_t *list, struct config *c)
{
	if (!json_is_array(list) || json_array_size(list) > CONFIG_INTERFACES_MAX)
		return -EBADMSG;
	for (; c->ninterfaces < json_array_size(list); c->ninterfaces++)
		if (get_name(json_array_get(list, c->ninterfaces), c->interfaces[c->ninterfaces]))
			return -EBADMSG;
	return 0;
}

/* By the way of a node and a config like those it came from, so that one place judges all plans. */
static int get_plan(const json_t *j, struct guard_plan *out, struct node *n, struct config *c)
{
	struct prefix all[CONFIG_OVERLAY_MAX + NODE_POOLS_MAX];
	unsigned nall = 0;
	char why[256];

	memset(n, 0, sizeof(*n));
	memset(c, 0, sizeof(*c));
	if (get_name(json_object_get(j, "device"), c->device) ||
	    get_interfaces(json_object_get(j, "interfaces"), c) ||
	    get_prefixes(json_object_get(j, "own"), n->prefixes, CONFIG_PREFIXES_MAX,
	                 &n->nprefixes) ||
	    get_prefixes(json_object_get(j, "guarded"), all, CONFIG_OVERLAY_MAX + NODE_POOLS_MAX,
	                 &nall))
		return -EBADMSG;
	n->noverlay = nall < CONFIG_OVERLAY_MAX ? nall : CONFIG_OVERLAY_MAX;
	n->npools = nall - n->noverlay;
	memcpy(n->overlay, all, n->noverlay * sizeof(*all));
	memcpy(n->pools, all + n->noverlay, n->npools * sizeof(*all));
	return guard_plan_make(out, n, c, why, sizeof(why)) < 0 ? -EBADMSG : 0;
}

int guarded_parse(struct guarded *out, const char *json, size_t len)
{
	json_t *list = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
	struct config *c = malloc(sizeof(*c));
	struct node *n = malloc(sizeof(*n));
	int err = 0;

	if (!c || !n)
		err = -ENOMEM;
	else if (!json_is_array(list) || json_array_size(list) > GUARDED_MAX)
		err = -EBADMSG;
	for (out->n = 0; !err && out->n < json_array_size(list); out->n += !err)
		err = get_plan(json_array_get(list, out->n), &out->plan[out->n], n, c);
	free(c);
	free(n);
	json_decref(list);
	return err;
}

/* -- the file ----------------------------------------------------------------------------------- */

static int load(struct guarded *out, int state_dir)
{
	char *text = malloc(GUARDED_BYTES_MAX);
	size_t len = 0;
	int err = -ENOMEM;

	if (text)
		err = keyfile_read_secret(state_dir, GUARDED_FILE, text, GUARDED_BYTES_MAX, &len);
	if (!err)
		err = guarded_parse(out, text, len);
	if (err)
		out->n = 0;
	free(text);
	return err;
}

static void save(const struct guarded *g, int state_dir)
{
	char *text = guarded_format(g);
	int err = text ? state_write(state_dir, GUARDED_FILE, text, strlen(text)) : -ENOMEM;

	if (err)
		log_warn("what is guarded is not remembered", "file", GUARDED_FILE, "reason",
		         strerrordesc_np(-err), NULL);
	free(text);
}

int guarded_last(struct guard_plan *out, int state_dir)
{
	struct guarded *g = malloc(sizeof(*g));
	int err = g ? load(g, state_dir) : -ENOMEM;

	if (!err && g->n == 0)
		err = -ENOENT;
	if (!err)
		*out = g->plan[g->n - 1];
	free(g);
	return err;
}

static bool same(const struct guard_plan *a, const struct guard_plan *b)
{
	json_t *x = plan_json(a), *y = plan_json(b);
	bool is = x && json_equal(x, y);

	json_decref(x);
	json_decref(y);
	return is;
}

/* p as the youngest. The oldest of too many is forgotten: it is three changes and crashes ago. */
static void add(struct guarded *g, const struct guard_plan *p)
{
	if (g->n == GUARDED_MAX)
		memmove(&g->plan[0], &g->plan[1], --g->n * sizeof(*p));
	g->plan[g->n++] = *p;
}

/* -- up and down -------------------------------------------------------------------------------- */

static int leave_others(struct guarded *g, const struct guard_plan *p, char *why, size_t max)
{
	int err = 0;

	while (!err && g->n > 0) {
		err = guard_leave(&g->plan[g->n - 1], p, why, max);
		g->n -= !err;
	}
	return err;
}

int guarded_up(struct guard **out, const struct guard_plan *p, char *why, size_t max)
{
	struct guarded *g = calloc(1, sizeof(*g)), *before = calloc(1, sizeof(*g));
	char spare[256];
	int err = -ENOMEM;

	snprintf(why, max, "no memory");
	if (!g || !before)
		goto out;
	(void)load(before, p->state_dir); /* none, or of no use: nothing is known */
	*g = *before;
	if (g->n != 1 || !same(&g->plan[0], p)) {
		add(g, p);
		save(g, p->state_dir);
	}
	err = guard_up(out, p, why, max);
	if (err == -EBUSY && g->n > 1)
		save(before, p->state_dir); /* nothing of p was put up */
	if (err || g->n == 1)
		goto out;
	if (leave_others(before, p, spare, sizeof(spare)) < 0) {
		log_warn("what was guarded before is not all removed", "reason", spare, NULL);
		goto out;
	}
	g->n = 0;
	add(g, p);
	save(g, p->state_dir);
out:
	free(g);
	free(before);
	return err;
}

int guarded_down(const struct guard_plan *p, char *why, size_t max)
{
	struct guarded *g = calloc(1, sizeof(*g));
	int err;

	if (!g) {
		snprintf(why, max, "no memory");
		return -ENOMEM;
	}
	(void)load(g, p->state_dir);
	err = guard_down(p, why, max);
	while (!err && g->n > 0) {
		err = guard_leave(&g->plan[g->n - 1], NULL, why, max);
		g->n -= !err;
	}
	free(g);
	return err;
}
