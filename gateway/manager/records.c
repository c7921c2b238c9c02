/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/records.h"

#include "crypto/hex.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A name of RFC 1123, underscores allowed. Its last label begins with a letter, so that no
 * resolver reads it as a number: those would come past the checks of addresses.
 */
static bool host_ok(const char *host)
{
	const char *label = host;
	size_t n;

	if (!*host || strlen(host) > CONFIG_HOST_MAX)
		return false;
	for (;;) {
		n = strcspn(label, ".");
		if (n == 0 || n > CERT_NAME_MAX || label[0] == '-' || label[n - 1] == '-')
			return false;
		for (size_t i = 0; i < n; i++)
			if (!is_alpha(label[i]) && !is_digit(label[i]) && label[i] != '-' &&
			    label[i] != '_')
				return false;
		if (!label[n])
			break;
		label += n + 1;
	}
	return is_alpha(label[0]) && strcasecmp(label, "localhost") != 0;
}

static int port_parse(uint16_t *out, const char *text)
{
	unsigned v = 0;

	if (text[0] == '0' || strlen(text) < 1 || strlen(text) > 5)
		return -EINVAL;
	for (; *text; text++) {
		if (!is_digit(*text))
			return -EINVAL;
		v = v * 10 + (unsigned)(*text - '0');
	}
	if (v == 0 || v > 65535)
		return -EINVAL;
	*out = (uint16_t)v;
	return 0;
}

static int name_endpoint_parse(struct config_endpoint *out, const char *text)
{
	const char *colon = strchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : strlen(text);

	if (n > CONFIG_HOST_MAX)
		return -EINVAL;
	memcpy(out->host, text, n);
	out->host[n] = '\0';
	out->at.port = CONFIG_PORT;
	if (colon && port_parse(&out->at.port, colon + 1) < 0)
		return -EINVAL;
	return host_ok(out->host) ? 0 : -EINVAL;
}

int record_endpoint_parse(struct config_endpoint *out, const char *text)
{
	struct config_endpoint e = {0};

	if (endpoint_parse(&e.at, text, CONFIG_PORT) == 0) {
		if (e.at.port == 0)
			return -EINVAL;
		e.is_addr = true;
		addr_format(&e.at.addr, e.host);
	} else if (name_endpoint_parse(&e, text) < 0) {
		return -EINVAL;
	}
	*out = e;
	return 0;
}

void record_endpoint_format(const struct config_endpoint *e, char out[RECORD_ENDPOINT_TEXT])
{
	_Static_assert(RECORD_ENDPOINT_TEXT >= ENDPOINT_TEXT_MAX, "holds an address too");

	if (e->is_addr)
		endpoint_format(&e->at, out);
	else
		snprintf(out, RECORD_ENDPOINT_TEXT, "%s:%u", e->host, (unsigned)e->at.port);
}

bool record_endpoint_equal(const struct config_endpoint *a, const struct config_endpoint *b)
{
	if (a->is_addr != b->is_addr)
		return false;
	if (a->is_addr)
		return endpoint_equal(&a->at, &b->at);
	return a->at.port == b->at.port && strcmp(a->host, b->host) == 0;
}

/* The text of a JSON string, or NULL if it is none or holds a NUL. */
static const char *plain_string(const json_t *j)
{
	const char *s = json_string_value(j);

	return s && strlen(s) == json_string_length(j) ? s : NULL;
}

int record_endpoints_parse(struct config_endpoint *out, unsigned *n, const json_t *j)
{
	size_t count = json_array_size(j);
	const char *text;

	if (!json_is_array(j) || count > CONFIG_ADVERTISE_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		text = plain_string(json_array_get(j, i));
		if (!text || record_endpoint_parse(&out[i], text) < 0)
			return -EINVAL;
	}
	*n = (unsigned)count;
	return 0;
}

json_t *record_endpoints_format(const struct config_endpoint *e, unsigned n, unsigned port_offset)
{
	json_t *list = json_array();
	char text[RECORD_ENDPOINT_TEXT];
	struct config_endpoint shifted;

	for (unsigned i = 0; i < n; i++) {
		if (e[i].at.port + port_offset > 65535)
			continue;
		shifted = e[i];
		shifted.at.port = (uint16_t)(e[i].at.port + port_offset);
		record_endpoint_format(&shifted, text);
		if (json_array_append_new(list, json_string(text)) < 0)
			goto fail;
	}
	return list;
fail:
	json_decref(list);
	return NULL;
}

int record_labels_parse(struct cert_labels *out, const json_t *j)
{
	char pair[CERT_LABEL_KEY_MAX + 1 + CERT_LABEL_VALUE_MAX + 1];
	struct cert_labels l = {0};
	const char *key, *value;
	json_t *v;

	if (!json_is_object(j) || json_object_size(j) > CERT_LABELS_MAX)
		return -EINVAL;
	/* The loop macro takes no const; nothing is changed. */
	json_object_foreach((json_t *)(uintptr_t)j, key, v) {
		value = plain_string(v);
		if (!value || strlen(key) > CERT_LABEL_KEY_MAX ||
		    strlen(value) > CERT_LABEL_VALUE_MAX || strchr(key, '='))
			return -EINVAL;
		stpcpy(stpcpy(stpcpy(pair, key), "="), value);
		if (cert_labels_add(&l, pair) < 0)
			return -EINVAL;
	}
	*out = l;
	return 0;
}

json_t *record_labels_format(const struct cert_labels *l)
{
	json_t *o = json_object();

	for (unsigned i = 0; i < l->n; i++)
		if (json_object_set_new(o, l->at[i].key, json_string(l->at[i].value)) < 0)
			goto fail;
	return o;
fail:
	json_decref(o);
	return NULL;
}

json_t *record_prefixes_format(const struct prefix *p, unsigned n)
{
	json_t *list = json_array();
	char text[PREFIX_TEXT_MAX];

	for (unsigned i = 0; i < n; i++) {
		prefix_format(&p[i], text);
		if (json_array_append_new(list, json_string(text)) < 0)
			goto fail;
	}
	return list;
fail:
	json_decref(list);
	return NULL;
}

json_t *record_time_format(time_t t)
{
	char text[RECORD_TIME_TEXT];
	struct tm tm;

	if (t <= 0 || !gmtime_r(&t, &tm) || !strftime(text, sizeof(text), "%FT%TZ", &tm))
		return json_null();
	return json_string(text);
}

bool record_version_ok(const char *version)
{
	size_t n = strlen(version);

	for (size_t i = 0; i < n; i++)
		if (version[i] < 0x20 || version[i] > 0x7e)
			return false;
	return n <= REGISTRY_VERSION_MAX;
}

json_t *record_node_format(const struct registry_node *n)
{
	char spki[2 * sizeof(n->spki) + 1];

	hex_format(spki, n->spki, sizeof(n->spki));
	/* "o" takes the reference also when something fails. */
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:o, s:o, s:o, s:o, s:b, s:s?}", "name",
	                 n->name, "role", cert_role_name(n->role), "incarnation",
	                 (json_int_t)n->incarnation, "issue", (json_int_t)n->issue, "issue_min",
	                 (json_int_t)n->issue_min, "spki", spki, "labels",
	                 record_labels_format(&n->labels), "prefixes",
	                 record_prefixes_format(n->prefixes, n->nprefixes), "endpoints",
	                 record_endpoints_format(n->endpoints, n->nendpoints, 0), "cert_not_after",
	                 record_time_format(n->cert_not_after), "draining", n->draining, "version",
	                 n->version[0] ? n->version : NULL);
}
