/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What of the records is held in memory: for each node its name, incarnation, share of the overlay
 * and the JSON that watchers are sent, made once for a change and not once for a watcher. All else
 * is read from the store when it is asked for.
 */
#include "gateway/manager/registry.h"

#include "gateway/manager/records.h"
#include "gateway/manager/registry_inside.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- shares of the overlay ------------------------------------------------------------------- */

static unsigned node_len(const struct prefix *overlay)
{
	return overlay->addr.family == 4 ? REGISTRY_NODE_V4 : REGISTRY_NODE_V6;
}

unsigned registry_capacity(const struct registry_cluster *c)
{
	unsigned least = c->noverlay ? REGISTRY_NODES_MAX : 0;
	unsigned bits;

	for (unsigned i = 0; i < c->noverlay; i++) {
		if (c->overlay[i].len >= node_len(&c->overlay[i]))
			return 0;
		bits = node_len(&c->overlay[i]) - c->overlay[i].len;
		if (bits < 31 && (1u << bits) < least)
			least = 1u << bits;
	}
	return least;
}

static void slot_prefix(const struct prefix *overlay, unsigned slot, struct prefix *out)
{
	unsigned at = node_len(overlay) / 8;

	*out = *overlay;
	out->len = (uint8_t)node_len(overlay);
	/* The overlay's own bits lie above the slot's: registry_capacity saw to it. */
	for (; slot && at > 0; slot >>= 8)
		out->addr.b[--at] |= (uint8_t)(slot & 0xff);
}

void registry_fill_prefixes(const struct registry *r, unsigned slot, struct registry_node *n)
{
	n->nprefixes = r->head.cluster.noverlay;
	for (unsigned i = 0; i < n->nprefixes; i++)
		slot_prefix(&r->head.cluster.overlay[i], slot, &n->prefixes[i]);
}

/* The first node's share is number 1, so that its address is 10.77.1.1 and not 10.77.0.1; number
 * 0 is the last to be given.
 */
static bool free_slot(const struct registry *r, unsigned *out)
{
	for (unsigned i = 1; i <= r->capacity; i++) {
		if (r->taken[i % r->capacity])
			continue;
		*out = i % r->capacity;
		return true;
	}
	return false;
}

static int check_cluster(const struct registry_cluster *c)
{
	if (!cert_name_ok(c->name) || c->noverlay > CONFIG_OVERLAY_MAX ||
	    c->npools > NODE_POOLS_MAX || registry_capacity(c) == 0)
		return -EINVAL;
	if (c->noverlay == 2 && c->overlay[0].addr.family == c->overlay[1].addr.family)
		return -EINVAL;
	for (unsigned i = 0; i < c->npools; i++) {
		for (unsigned j = 0; j < c->noverlay; j++)
			if (prefix_overlaps(&c->pools[i], &c->overlay[j]))
				return -EINVAL;
		for (unsigned j = 0; j < i; j++)
			if (prefix_overlaps(&c->pools[i], &c->pools[j]))
				return -EINVAL;
	}
	return 0;
}

int registry_create(int dir, const struct registry_cluster *c)
{
	int err = check_cluster(c);

	return err ? err : store_create(dir, c);
}

/* -- entries --------------------------------------------------------------------------------- */

unsigned registry_search(const struct registry *r, unsigned n, registry_key_fn *key_at,
                         const char *key, bool *there)
{
	unsigned low = 0, high = n, mid;
	int order;

	*there = false;
	while (low < high) {
		mid = low + (high - low) / 2;
		order = strcmp(key_at(r, mid), key);
		if (order == 0) {
			*there = true;
			return mid;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static const char *entry_key(const struct registry *r, unsigned i)
{
	return r->entries[i].name;
}

static unsigned entry_at(const struct registry *r, const char *name, bool *there)
{
	return registry_search(r, r->n, entry_key, name, there);
}

struct entry *registry_entry(const struct registry *r, const char *name)
{
	bool there;
	unsigned at = entry_at(r, name, &there);

	return there ? &r->entries[at] : NULL;
}

static char *node_text(const struct registry_node *n)
{
	json_t *o = record_node_format(n);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	size_t len;

	json_decref(o);
	if (!text)
		return NULL;
	len = strlen(text);
	if (len + 64 > REGISTRY_NODE_TEXT_MAX) { /* last_seen comes behind it */
		free(text);
		return NULL;
	}
	text[len - 1] = '\0';
	return text;
}

/* Everything that can fail is done here, before the store is written. */
static int entry_make(struct entry *e, const struct registry_node *n, unsigned slot)
{
	memset(e, 0, sizeof(*e));
	memcpy(e->name, n->name, sizeof(e->name));
	e->incarnation = n->incarnation;
	e->slot = slot;
	e->last_seen = n->last_seen;
	e->text = node_text(n);
	return e->text ? 0 : -ENOMEM;
}

/* Takes e's text; replaces the one of that name. */
static void entry_place(struct registry *r, const struct entry *e)
{
	bool there;
	unsigned at = entry_at(r, e->name, &there), nworkloads = 0;

	if (there) {
		struct entry *old = &r->entries[at];

		if (old->incarnation != e->incarnation)
			registry_workloads_forget(r, e->name); /* as the store does */
		nworkloads = old->nworkloads;
		free(old->text);
	} else {
		memmove(&r->entries[at + 1], &r->entries[at], (r->n - at) * sizeof(*e));
		r->n++;
	}
	r->entries[at] = *e;
	r->entries[at].nworkloads = nworkloads;
	r->taken[e->slot] = true;
}

static void entry_remove(struct registry *r, const char *name)
{
	bool there;
	unsigned at = entry_at(r, name, &there);

	registry_workloads_forget(r, name); /* as the store does */
	r->taken[r->entries[at].slot] = false;
	free(r->entries[at].text);
	r->n--;
	memmove(&r->entries[at], &r->entries[at + 1], (r->n - at) * sizeof(*r->entries));
}

/* The entry's JSON, whole. Returns what snprintf does. */
static int entry_format(const struct entry *e, char *out, size_t max)
{
	char at[RECORD_TIME_TEXT];
	struct tm tm;

	if (e->last_seen > 0 && gmtime_r(&e->last_seen, &tm) &&
	    strftime(at, sizeof(at), "%FT%TZ", &tm))
		return snprintf(out, max, "%s,\"last_seen\":\"%s\"}", e->text, at);
	return snprintf(out, max, "%s,\"last_seen\":null}", e->text);
}

/* -- life ------------------------------------------------------------------------------------ */

static int load_row(void *arg, const struct store_row *row)
{
	struct registry *r = arg;
	struct registry_node n = row->node;
	struct entry e;
	int err;

	if (row->slot >= r->capacity || r->taken[row->slot] || r->n == r->capacity)
		return -EBADMSG;
	registry_fill_prefixes(r, row->slot, &n);
	err = entry_make(&e, &n, row->slot);
	if (!err)
		entry_place(r, &e);
	return err;
}

int registry_open(struct registry **out, int dir)
{
	struct registry *r;
	int err;

	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	err = store_open(&r->store, dir, &r->head);
	if (err)
		goto fail;
	err = -EBADMSG;
	r->capacity = registry_capacity(&r->head.cluster);
	if (r->capacity == 0 || check_cluster(&r->head.cluster) < 0)
		goto fail;
	err = -ENOMEM;
	r->entries = calloc(r->capacity, sizeof(*r->entries));
	r->taken = calloc(r->capacity, sizeof(*r->taken));
	if (!r->entries || !r->taken)
		goto fail;
	err = store_each(r->store, load_row, r);
	if (!err)
		err = registry_load_rest(r);
	if (err)
		goto fail;
	*out = r;
	return 0;
fail:
	registry_close(r);
	return err;
}

void registry_close(struct registry *r)
{
	if (!r)
		return;
	if (r->store)
		registry_flush(r);
	store_close(r->store);
	for (unsigned i = 0; i < r->n; i++)
		free(r->entries[i].text);
	for (unsigned i = 0; i < REGISTRY_RING; i++)
		free(r->ring[i]);
	registry_clear_rest(r);
	free(r->entries);
	free(r->taken);
	free(r);
}

const struct registry_cluster *registry_cluster(const struct registry *r)
{
	return &r->head.cluster;
}

uint64_t registry_generation(const struct registry *r)
{
	return r->head.generation;
}

uint64_t registry_revision(const struct registry *r)
{
	return r->head.revision;
}

unsigned registry_count(const struct registry *r)
{
	return r->n;
}

const char *registry_fault(const struct registry *r)
{
	return store_fault(r->store);
}

void registry_on_change(struct registry *r, void (*fn)(void *arg), void *arg)
{
	r->on_change = fn;
	r->on_change_arg = arg;
}

/* -- changes --------------------------------------------------------------------------------- */

static char *change_text(const struct registry *r, uint64_t revision, const struct entry *e)
{
	char *text = malloc(REGISTRY_NODE_TEXT_MAX + 128);
	int n;

	if (!text)
		return NULL;
	n = sprintf(text, "{\"type\":\"change\",\"generation\":%llu,\"revision\":%llu,\"node\":",
	            (unsigned long long)r->head.generation, (unsigned long long)revision);
	n += entry_format(e, text + n, REGISTRY_NODE_TEXT_MAX);
	text[n] = '}';
	text[n + 1] = '\0';
	return realloc(text, (size_t)n + 2);
}

static char *removal_text(const struct registry *r, uint64_t revision, const char *name)
{
	char *text;

	if (asprintf(&text,
	             "{\"type\":\"change\",\"generation\":%llu,\"revision\":%llu,\"removed\":\"%"
	             "s\"}",
	             (unsigned long long)r->head.generation, (unsigned long long)revision,
	             name) < 0)
		return NULL;
	return text;
}

void registry_publish(struct registry *r, char *text)
{
	char **at = &r->ring[++r->head.revision % REGISTRY_RING];

	free(*at);
	*at = text;
	if (r->on_change)
		r->on_change(r->on_change_arg);
}

const char *registry_change(const struct registry *r, uint64_t rev)
{
	if (rev == 0 || rev > r->head.revision || r->head.revision - rev >= REGISTRY_RING)
		return NULL;
	return r->ring[rev % REGISTRY_RING]; /* NULL: made before the process began */
}

static bool endpoint_ok(const struct registry_cluster *c, const struct config_endpoint *e)
{
	if (e->at.port == 0)
		return false;
	if (!e->is_addr)
		return e->host[0] != '\0';
	if (addr_is_special(&e->at.addr))
		return false;
	for (unsigned i = 0; i < c->noverlay; i++)
		if (prefix_contains(&c->overlay[i], &e->at.addr))
			return false;
	for (unsigned i = 0; i < c->npools; i++)
		if (prefix_contains(&c->pools[i], &e->at.addr))
			return false;
	return true;
}

bool registry_endpoints_ok(const struct registry *r, const struct config_endpoint *e, unsigned n)
{
	if (n > CONFIG_ADVERTISE_MAX)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (!endpoint_ok(&r->head.cluster, &e[i]))
			return false;
	return true;
}

int registry_has_room(const struct registry *r, const char *name)
{
	unsigned slot;

	if (store_fault(r->store))
		return -EROFS;
	if (registry_entry(r, name) || free_slot(r, &slot))
		return 0;
	return -EDQUOT;
}

static int put(struct registry *r, const struct store_row *row)
{
	struct entry e;
	char *text;
	int err;

	err = entry_make(&e, &row->node, row->slot);
	if (err)
		return err;
	text = change_text(r, r->head.revision + 1, &e);
	err = text ? store_put(r->store, row, r->head.revision + 1) : -ENOMEM;
	if (err) {
		free(text);
		free(e.text);
		return err;
	}
	entry_place(r, &e);
	registry_publish(r, text);
	return 0;
}

static int get(struct registry *r, const char *name, struct store_row *row)
{
	const struct entry *e = registry_entry(r, name);
	int err;

	if (!e)
		return -ENOENT;
	err = store_get(r->store, name, row);
	if (err)
		return err == -ENOENT ? -EBADMSG : err;
	registry_fill_prefixes(r, row->slot, &row->node);
	row->node.last_seen = e->last_seen;
	return 0;
}

static bool same_announcement(const struct registry_node *have, const struct config_endpoint *e,
                              unsigned n, const char *version)
{
	if (have->nendpoints != n || strcmp(have->version, version) != 0)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (!record_endpoint_equal(&have->endpoints[i], &e[i]))
			return false;
	return true;
}

static bool same_labels(const struct cert_labels *a, const struct cert_labels *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned i = 0; i < a->n; i++)
		if (strcmp(a->at[i].key, b->at[i].key) != 0 ||
		    strcmp(a->at[i].value, b->at[i].value) != 0)
			return false;
	return true;
}

/* But for when it was seen, and when it asked to join again. */
static bool same_node(const struct registry_node *a, const struct registry_node *b)
{
	return a->role == b->role && a->draining == b->draining &&
	       a->incarnation == b->incarnation && memcmp(a->spki, b->spki, sizeof(a->spki)) == 0 &&
	       a->cert_not_after == b->cert_not_after && a->issue_min == b->issue_min &&
	       same_labels(&a->labels, &b->labels) &&
	       same_announcement(a, b->endpoints, b->nendpoints, b->version);
}

int registry_node_put(struct registry *r, struct registry_node *n)
{
	const struct entry *old = registry_entry(r, n->name);
	struct store_row row;
	int err;

	if (!cert_name_ok(n->name) || !cert_role_name(n->role) || n->incarnation > INT64_MAX ||
	    n->issue > INT64_MAX || n->issue_min > INT64_MAX || n->labels.n > CERT_LABELS_MAX ||
	    !record_version_ok(n->version) ||
	    !registry_endpoints_ok(r, n->endpoints, n->nendpoints))
		return -EINVAL;
	n->draining = false;
	if (old) {
		err = get(r, n->name, &row);
		if (!err)
			n->draining = row.node.draining;
		if (!err && same_node(&row.node, n)) {
			registry_fill_prefixes(r, row.slot, n);
			return 0;
		}
		row.slot = old->slot;
	} else if (!free_slot(r, &row.slot))
		return -EDQUOT;
	registry_fill_prefixes(r, row.slot, n);
	row.node = *n;
	return put(r, &row);
}

int registry_node_drain(struct registry *r, const char *name, bool draining)
{
	struct store_row row;
	int err = get(r, name, &row);

	if (err || row.node.draining == draining)
		return err;
	row.node.draining = draining;
	return put(r, &row);
}

int registry_node_remove(struct registry *r, const char *name)
{
	char *text;
	int err;

	if (!registry_entry(r, name))
		return -ENOENT;
	text = removal_text(r, r->head.revision + 1, name);
	if (!text)
		return -ENOMEM;
	err = store_remove(r->store, name, r->head.revision + 1);
	if (err) {
		free(text);
		return err;
	}
	entry_remove(r, name);
	registry_publish(r, text);
	return 0;
}

int registry_node_get(struct registry *r, const char *name, struct registry_node *out)
{
	struct store_row row;
	int err = get(r, name, &row);

	if (!err)
		*out = row.node;
	return err;
}

const char *registry_node_next(const struct registry *r, const char *after, uint64_t *incarnation)
{
	bool there;
	unsigned at = entry_at(r, after, &there);

	at += there;
	if (at == r->n)
		return NULL;
	*incarnation = r->entries[at].incarnation;
	return r->entries[at].name;
}

int registry_node_admit(const struct registry *r, const char *name, uint64_t incarnation)
{
	const struct entry *e = registry_entry(r, name);

	if (!e)
		return -ENOENT;
	return e->incarnation == incarnation ? 0 : -ESTALE;
}

int registry_node_announce(struct registry *r, const char *name, const struct config_endpoint *e,
                           unsigned n, const char *version)
{
	struct store_row row;
	int err;

	if (!registry_endpoints_ok(r, e, n) || !record_version_ok(version))
		return -EINVAL;
	err = get(r, name, &row);
	if (err)
		return err;
	if (same_announcement(&row.node, e, n, version))
		return 0;
	memset(row.node.endpoints, 0, sizeof(row.node.endpoints));
	for (unsigned i = 0; i < n; i++)
		row.node.endpoints[i] = e[i];
	row.node.nendpoints = n;
	snprintf(row.node.version, sizeof(row.node.version), "%s", version);
	return put(r, &row);
}

int registry_node_seen(struct registry *r, const char *name, time_t at)
{
	struct entry *e = registry_entry(r, name);

	if (!e)
		return -ENOENT;
	if (at > e->last_seen) {
		e->last_seen = at;
		e->unsaved = true;
	}
	return 0;
}

int registry_flush(struct registry *r)
{
	struct store_seen *at = NULL;
	unsigned n = 0;
	int err;

	for (unsigned i = 0; i < r->n; i++)
		n += r->entries[i].unsaved;
	if (n == 0)
		return 0;
	at = calloc(n, sizeof(*at));
	if (!at)
		return -ENOMEM;
	n = 0;
	for (unsigned i = 0; i < r->n; i++)
		if (r->entries[i].unsaved)
			at[n++] = (struct store_seen){r->entries[i].name, r->entries[i].last_seen};
	err = store_seen(r->store, at, n);
	free(at);
	for (unsigned i = 0; !err && i < r->n; i++)
		r->entries[i].unsaved = false;
	return err;
}

/* -- reading --------------------------------------------------------------------------------- */

struct each {
	struct registry *r;
	enum cert_role role;
	int (*fn)(void *arg, const struct registry_node *n);
	void *arg;
};

static int each_row(void *arg, const struct store_row *row)
{
	struct each *e = arg;
	struct registry_node n = row->node;

	if (n.role != e->role)
		return 0;
	registry_fill_prefixes(e->r, row->slot, &n);
	return e->fn(e->arg, &n);
}

int registry_each(struct registry *r, enum cert_role role,
                  int (*fn)(void *arg, const struct registry_node *n), void *arg)
{
	struct each e = {r, role, fn, arg};

	return store_each(r->store, each_row, &e);
}

size_t registry_nodes_text(const struct registry *r, const char *after, unsigned n, char *buf,
                           size_t max, char last[CERT_NAME_MAX + 1])
{
	char name[CERT_NAME_MAX + 1] = "";
	size_t used = 0;
	unsigned at;
	bool there;
	int len;

	at = entry_at(r, after, &there);
	for (at += there; at < r->n && n > 0; at++, n--) {
		if (max - used < 2)
			break;
		len = entry_format(&r->entries[at], buf + used + (used > 0), max - used - 1);
		if ((size_t)len >= max - used - 1)
			break;
		if (used > 0)
			buf[used++] = ',';
		used += (size_t)len;
		memcpy(name, r->entries[at].name, sizeof(name));
	}
	if (at < r->n)
		memcpy(last, name, sizeof(name));
	else
		last[0] = '\0';
	return used;
}

static json_t *nodes_json(const struct registry *r)
{
	char *text = malloc(REGISTRY_NODE_TEXT_MAX);
	json_t *list = json_array();
	int n;

	for (unsigned i = 0; text && i < r->n; i++) {
		n = entry_format(&r->entries[i], text, REGISTRY_NODE_TEXT_MAX);
		if (json_array_append_new(list, json_loadb(text, (size_t)n, 0, NULL)) < 0)
			break;
	}
	free(text);
	if (json_array_size(list) == r->n)
		return list;
	json_decref(list);
	return NULL;
}

json_t *registry_state(struct registry *r)
{
	const struct registry_cluster *c = &r->head.cluster;

	return json_pack("{s:I, s:I, s:s, s:o, s:o, s:o}", "generation",
	                 (json_int_t)r->head.generation, "revision", (json_int_t)r->head.revision,
	                 "cluster", c->name, "overlay",
	                 record_prefixes_format(c->overlay, c->noverlay), "pools",
	                 record_prefixes_format(c->pools, c->npools), "nodes", nodes_json(r));
}

/* -- backups ------------------------------------------------------------------------------------ */

int registry_copy(struct registry *r, int *fd, size_t *len)
{
	registry_flush(r); /* when nodes were seen: no loss */
	return store_copy(r->store, fd, len);
}

int registry_restore(struct registry *r, uint64_t generation)
{
	int err = generation > r->head.generation && generation <= INT64_MAX
	                  ? store_restore(r->store, generation)
	                  : -EINVAL;

	if (!err)
		r->head.generation = generation;
	return err;
}
