/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/workload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIME_TEXT_MAX 32

/* What was read, before it is copied into one block. Strings are the JSON's. */
struct parts {
	const char *id, *name, *node, *network, *image;
	time_t since;
	unsigned naddresses;
	struct addr addresses[WORKLOAD_ADDRESSES_MAX];
	struct cert_labels labels;
};

/* -- values ---------------------------------------------------------------------------------- */

/* The text of a JSON string, NULL if it is none or holds a NUL. */
static const char *plain(const json_t *j)
{
	const char *s = json_string_value(j);

	return s && strlen(s) == json_string_length(j) ? s : NULL;
}

static bool absent(const json_t *j)
{
	return !j || json_is_null(j);
}

bool workload_id_ok(const char *id)
{
	size_t n = strspn(id, "0123456789abcdef");

	return n > 0 && n <= WORKLOAD_ID_MAX && !id[n];
}

/* What container engines call a network. */
static bool network_ok(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > WORKLOAD_NETWORK_MAX)
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
	               n &&
	       s[0] != '-' && s[0] != '.';
}

static bool image_ok(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (s[i] <= 0x20 || s[i] > 0x7e)
			return false;
	return n > 0 && n <= WORKLOAD_IMAGE_MAX;
}

static int read_time(const json_t *j, time_t *out)
{
	const char *text = plain(j), *rest;
	struct tm tm = {0};

	*out = 0;
	if (absent(j))
		return 0;
	rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm) : NULL;
	if (!rest || *rest)
		return -EINVAL;
	*out = timegm(&tm);
	return *out > 0 ? 0 : -EINVAL;
}

static int read_addresses(struct parts *p, const json_t *list)
{
	size_t n = json_array_size(list);

	if (!json_is_array(list) || n == 0 || n > WORKLOAD_ADDRESSES_MAX)
		return -EINVAL;
	for (; p->naddresses < n; p->naddresses++) {
		struct addr *a = &p->addresses[p->naddresses];
		const char *text = plain(json_array_get(list, p->naddresses));

		if (!text || addr_parse(a, text) < 0 || addr_is_special(a))
			return -EINVAL;
		for (unsigned i = 0; i < p->naddresses; i++)
			if (addr_equal(a, &p->addresses[i]))
				return -EINVAL;
	}
	return 0;
}

static int read_labels(struct cert_labels *l, const json_t *j)
{
	char pair[CERT_LABEL_KEY_MAX + CERT_LABEL_VALUE_MAX + 2];
	const char *key, *value;
	json_t *v;

	if (absent(j))
		return 0;
	if (!json_is_object(j) || json_object_size(j) > CERT_LABELS_MAX)
		return -EINVAL;
	/* The loop macro takes no const; nothing is changed. */
	json_object_foreach((json_t *)(uintptr_t)j, key, v) {
		value = plain(v);
		if (!value || strchr(key, '=') ||
		    snprintf(pair, sizeof(pair), "%s=%s", key, value) >= (int)sizeof(pair) ||
		    cert_labels_add(l, pair) < 0)
			return -EINVAL;
	}
	return 0;
}

/* What is wrong with it, NULL: nothing. */
static const char *read_parts(struct parts *p, const json_t *j)
{
	const json_t *node = json_object_get(j, "node"), *network = json_object_get(j, "network");
	const json_t *image = json_object_get(j, "image");

	p->id = plain(json_object_get(j, "id"));
	if (!p->id || !workload_id_ok(p->id))
		return "id: not 1 to 64 lower case hexadecimal digits";
	p->name = plain(json_object_get(j, "name"));
	if (!p->name || !cert_name_ok(p->name))
		return "name: no lower case DNS label of at most 63 characters";
	p->node = absent(node) ? "" : plain(node);
	if (!p->node || (*p->node && !cert_name_ok(p->node)))
		return "node: no node's name";
	p->network = plain(network);
	if (!absent(network) && (!p->network || !network_ok(p->network)))
		return "network: not 1 to 63 letters, digits, dots, dashes and underscores";
	p->image = plain(image);
	if (!absent(image) && (!p->image || !image_ok(p->image)))
		return "image: not 1 to 255 printable characters";
	if (read_addresses(p, json_object_get(j, "addresses")) < 0)
		return "addresses: not 1 to 16 different addresses of a host";
	if (read_labels(&p->labels, json_object_get(j, "labels")) < 0)
		return "labels: not at most 16 of K=V, each 1 to 63 of letters and digits with - _ "
		       ". "
		       "between (and / in K)";
	if (read_time(json_object_get(j, "since"), &p->since) < 0)
		return "since: no time like 2026-01-31T12:00:00Z";
	return NULL;
}

/* -- one block --------------------------------------------------------------------------------- */

static size_t text_bytes(const char *s)
{
	return s ? strlen(s) + 1 : 0;
}

static size_t parts_bytes(const struct parts *p)
{
	size_t n = sizeof(struct workload) + p->labels.n * sizeof(struct workload_label) +
	           p->naddresses * sizeof(struct addr);

	n += text_bytes(p->id) + text_bytes(p->name) + text_bytes(p->node);
	n += text_bytes(p->network) + text_bytes(p->image);
	for (unsigned i = 0; i < p->labels.n; i++)
		n += text_bytes(p->labels.at[i].key) + text_bytes(p->labels.at[i].value);
	return n;
}

static const char *put_text(char **at, const char *s)
{
	char *text = *at;

	if (!s)
		return NULL;
	*at = stpcpy(text, s) + 1;
	return text;
}

/* The struct, then what it points to, the widest first. */
static struct workload *build(const struct parts *p)
{
	struct workload *w = calloc(1, parts_bytes(p));
	struct workload_label *labels;
	struct addr *addresses;
	char *text;

	if (!w)
		return NULL;
	labels = (struct workload_label *)(w + 1);
	addresses = (struct addr *)(labels + p->labels.n);
	text = (char *)(addresses + p->naddresses);
	w->id = put_text(&text, p->id);
	w->name = put_text(&text, p->name);
	w->node = put_text(&text, p->node);
	w->network = put_text(&text, p->network);
	w->image = put_text(&text, p->image);
	w->since = p->since;
	w->naddresses = p->naddresses;
	memcpy(addresses, p->addresses, p->naddresses * sizeof(*addresses));
	w->addresses = addresses;
	w->nlabels = p->labels.n;
	for (unsigned i = 0; i < p->labels.n; i++) {
		labels[i].key = put_text(&text, p->labels.at[i].key);
		labels[i].value = put_text(&text, p->labels.at[i].value);
	}
	w->labels = labels;
	return w;
}

int workload_parse(struct workload **out, const json_t *j, const char **why)
{
	struct parts p = {0};
	struct workload *w;

	*why = read_parts(&p, j);
	if (*why)
		return -EINVAL;
	w = build(&p);
	if (!w)
		return -ENOMEM;
	*out = w;
	return 0;
}

int workload_parse_of(struct workload **out, const json_t *j, const char *node, const char **why)
{
	struct parts p = {0};
	struct workload *w;

	*why = read_parts(&p, j);
	if (*why)
		return -EINVAL;
	if (*p.node && strcmp(p.node, node) != 0) {
		*why = "node: another than who announces it";
		return -EACCES;
	}
	p.node = node;
	w = build(&p);
	if (!w)
		return -ENOMEM;
	*out = w;
	return 0;
}

void workload_free(struct workload *w)
{
	free(w);
}

void workload_labels(const struct workload *w, struct cert_labels *out)
{
	memset(out, 0, sizeof(*out));
	for (; out->n < w->nlabels; out->n++) { /* in order, and as many as there is room for */
		snprintf(out->at[out->n].key, sizeof(out->at[0].key), "%s", w->labels[out->n].key);
		snprintf(out->at[out->n].value, sizeof(out->at[0].value), "%s",
		         w->labels[out->n].value);
	}
}

/* -- and back ---------------------------------------------------------------------------------- */

static json_t *addresses_json(const struct workload *w)
{
	json_t *list = json_array();
	char text[ADDR_TEXT_MAX];

	for (unsigned i = 0; list && i < w->naddresses; i++) {
		addr_format(&w->addresses[i], text);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static json_t *labels_json(const struct workload *w)
{
	json_t *o = json_object();

	for (unsigned i = 0; o && i < w->nlabels; i++)
		json_object_set_new(o, w->labels[i].key, json_string(w->labels[i].value));
	return o;
}

static json_t *time_json(time_t t)
{
	char text[TIME_TEXT_MAX];
	struct tm tm;

	if (t <= 0 || !gmtime_r(&t, &tm) || !strftime(text, sizeof(text), "%FT%TZ", &tm))
		return json_null();
	return json_string(text);
}

json_t *workload_format(const struct workload *w)
{
	return json_pack("{s:s, s:s, s:s, s:s?, s:o, s:o, s:s?, s:o}", "name", w->name, "id", w->id,
	                 "node", w->node, "network", w->network, "addresses", addresses_json(w),
	                 "labels", labels_json(w), "image", w->image, "since", time_json(w->since));
}

char *workload_text(const struct workload *w)
{
	json_t *o = workload_format(w);
	char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

	json_decref(o);
	return text;
}

bool workload_owns(const struct addr *a, const struct prefix *own, unsigned nown,
                   const struct prefix *pools, unsigned npools)
{
	struct addr first;

	for (unsigned i = 0; i < npools; i++)
		if (prefix_contains(&pools[i], a))
			return true;
	for (unsigned i = 0; i < nown; i++)
		if (prefix_contains(&own[i], a))
			return !prefix_host(&own[i], 1, &first) || !addr_equal(a, &first);
	return false;
}
