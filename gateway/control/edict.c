/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/edict.h"

#include "crypto/digest.h"
#include "crypto/hex.h"
#include "crypto/keyfile.h"
#include "gateway/clock.h"
#include "gateway/control/state.h"
#include "gateway/control/uplink.h"
#include "gateway/h2.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (2 * POLICY_BYTES_MAX + 4096) /* as JSON */

static void fetch_clear(struct edict *d)
{
	free(d->part);
	d->part = NULL;
	d->have = 0;
}

void edict_clear(struct edict *d)
{
	if (d->question)
		uplink_forget(d->question);
	if (d->telling)
		uplink_forget(d->telling);
	fetch_clear(d);
	policy_free(d->policy);
	free(d->text);
	memset(d, 0, sizeof(*d));
}

/* -- one document ------------------------------------------------------------------------------ */

static int parse(struct policy **out, const char *text, size_t len, char *why, size_t max)
{
	struct config_faults *faults = calloc(1, sizeof(*faults));
	int err = faults ? policy_parse(out, "policy", text, len, faults) : -ENOMEM;

	if (err == -EINVAL)
		snprintf(why, max, "%s", faults->text[0]);
	else if (err)
		snprintf(why, max, "%s", strerrordesc_np(-err));
	free(faults);
	return err;
}

static int save(const struct edict *d, int dir)
{
	char hash[2 * sizeof(d->hash) + 1], *text;
	json_t *j;
	int err;

	hex_format(hash, d->hash, sizeof(d->hash));
	j = json_pack("{s:I, s:s, s:s, s:s, s:o}", "version", (json_int_t)d->version, "hash", hash,
	              "applied_at", d->applied_at, "by", d->by, "document",
	              json_stringn(d->text, d->len));
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	json_decref(j);
	if (!text)
		return -ENOMEM;
	err = state_write(dir, EDICT_FILE, text, strlen(text));
	free(text);
	return err;
}

/* Takes what fresh holds. */
static void replace(struct edict *d, const struct edict *fresh)
{
	policy_free(d->policy);
	free(d->text);
	d->version = fresh->version;
	memcpy(d->hash, fresh->hash, sizeof(d->hash));
	memcpy(d->applied_at, fresh->applied_at, sizeof(d->applied_at));
	memcpy(d->by, fresh->by, sizeof(d->by));
	d->text = fresh->text;
	d->len = fresh->len;
	d->policy = fresh->policy;
	d->why[0] = '\0';
	d->bad = 0;
}

static int fill(struct edict *fresh, const struct watch_policy *p, const char *text, size_t len,
                const char *applied_at, const char *by, char *why, size_t max)
{
	fresh->version = p->version;
	digest_sha256(text, len, fresh->hash);
	if (!p->version || memcmp(fresh->hash, p->hash, sizeof(p->hash)) != 0)
		return -EBADMSG;
	snprintf(fresh->applied_at, sizeof(fresh->applied_at), "%s", applied_at);
	snprintf(fresh->by, sizeof(fresh->by), "%s", by);
	fresh->len = len;
	fresh->text = malloc(len + 1);
	if (!fresh->text)
		return -ENOMEM;
	memcpy(fresh->text, text, len);
	fresh->text[len] = '\0';
	return parse(&fresh->policy, text, len, why, max);
}

int edict_take(struct edict *d, int dir, const struct watch_policy *p, const char *text, size_t len,
               const char *applied_at, const char *by)
{
	struct edict fresh = {0};
	int err = fill(&fresh, p, text, len, applied_at, by, d->why, sizeof(d->why));

	if (err == -EINVAL)
		d->bad = p->version;
	if (!err)
		err = save(&fresh, dir);
	if (err) {
		policy_free(fresh.policy);
		free(fresh.text);
		return err;
	}
	replace(d, &fresh);
	return 0;
}

static const char *string_of(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static int read_file(struct edict *d, const json_t *j)
{
	const json_t *text = json_object_get(j, "document");
	const char *hash = string_of(j, "hash");
	struct edict fresh = {0};
	struct watch_policy p = {
		.version = (uint64_t)json_integer_value(json_object_get(j, "version"))};
	int err = -EBADMSG;

	if (json_is_string(text) && hex_parse(p.hash, sizeof(p.hash), hash, strlen(hash)) >= 0)
		err = fill(&fresh, &p, json_string_value(text), json_string_length(text),
		           string_of(j, "applied_at"), string_of(j, "by"), d->why, sizeof(d->why));
	if (err) {
		policy_free(fresh.policy);
		free(fresh.text);
		return err == -ENOMEM ? err : -EBADMSG;
	}
	replace(d, &fresh);
	return 0;
}

int edict_load(struct edict *d, int dir)
{
	char *text = malloc(FILE_BYTES_MAX); /* what is not written to is no memory */
	json_t *j;
	size_t len;
	int err;

	if (!text)
		return -ENOMEM;
	err = keyfile_read(dir, EDICT_FILE, text, FILE_BYTES_MAX, &len);
	if (!err) {
		j = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
		err = j ? read_file(d, j) : -EBADMSG;
		json_decref(j);
	}
	free(text);
	return err;
}

json_t *edict_json(const struct edict *d)
{
	if (!d->version)
		return json_pack("{s:n, s:n, s:n, s:n}", "version", "applied_at", "by", "document");
	return json_pack("{s:I, s:s, s:s, s:o}", "version", (json_int_t)d->version, "applied_at",
	                 d->applied_at, "by", d->by, "document", json_stringn(d->text, d->len));
}

/* -- from the manager -------------------------------------------------------------------------- */

bool edict_behind(const struct control *c)
{
	const struct watch_policy *p = &c->watch.policy;
	const struct edict *d = &c->edict;

	return p->version &&
	       (p->version != d->version || memcmp(p->hash, d->hash, sizeof(p->hash)) != 0);
}

static void fetch_failed(struct edict *d, const char *why)
{
	fetch_clear(d);
	snprintf(d->why, sizeof(d->why), "%s", why);
	d->again = clock_now() + EDICT_RETRY;
}

static void fetched(struct control *c, const json_t *j)
{
	struct edict *d = &c->edict;
	char version[24];
	int err = edict_take(d, AT_FDCWD, &d->coming, d->part, d->have, string_of(j, "applied_at"),
	                     string_of(j, "by"));

	log_num(version, (long long)d->coming.version);
	if (!err) {
		fetch_clear(d);
		log_info("policy", "version", version, NULL);
		control_members_changed(c);
		return;
	}
	if (err != -EINVAL)
		fetch_failed(d, err == -EBADMSG ? "its hash is another" : strerrordesc_np(-err));
	fetch_clear(d);
	log_error("policy not taken, the old one is in force", "version", version, "reason", d->why,
	          NULL);
}

/* One more part, of the version that was asked for, where the last one ended. */
static bool part_ok(const struct edict *d, const json_t *j)
{
	const json_t *part = json_object_get(j, "part");
	json_int_t version = json_integer_value(json_object_get(j, "version"));
	json_int_t offset = json_integer_value(json_object_get(j, "offset"));
	size_t n = json_string_length(part);

	return json_is_string(part) && version >= 0 && (uint64_t)version == d->coming.version &&
	       offset >= 0 && (size_t)offset == d->have && n <= d->coming.size - d->have &&
	       (n > 0 || d->coming.size == 0);
}

static void on_part(void *arg, int status, const char *body, size_t len)
{
	struct control *c = arg;
	struct edict *d = &c->edict;
	json_t *j = status == 200 ? h2_json(body, len) : NULL;

	d->question = NULL;
	if (!status) { /* the next connection asks again */
		fetch_clear(d);
		return;
	}
	if (!part_ok(d, j)) {
		/* Another one may be in force by now: the watch says so. */
		fetch_failed(d, "the manager did not give it");
	} else {
		const json_t *part = json_object_get(j, "part");

		memcpy(d->part + d->have, json_string_value(part), json_string_length(part));
		d->have += json_string_length(part);
		if (d->have == d->coming.size)
			fetched(c, j);
	}
	json_decref(j);
	edict_kick(c);
}

static void ask_part(struct control *c)
{
	struct edict *d = &c->edict;
	char path[96];

	if (!d->part) {
		d->coming = c->watch.policy;
		if (d->coming.size > POLICY_BYTES_MAX) {
			d->bad = d->coming.version;
			fetch_failed(d, "it is larger than a policy may be");
			return;
		}
		d->part = malloc(d->coming.size + 1);
		if (!d->part) {
			fetch_failed(d, "no memory");
			return;
		}
	}
	snprintf(path, sizeof(path), "/v1/policy?version=%llu&offset=%zu",
	         (unsigned long long)d->coming.version, d->have);
	if (uplink_ask(&d->question, c->uplink, "GET", path, NULL, on_part, c))
		fetch_failed(d, "the manager cannot be asked");
}

static void on_told(void *arg, int status, const char *body, size_t len)
{
	struct control *c = arg;

	(void)body;
	(void)len;
	c->edict.telling = NULL;
	if (status && status != 200) {
		c->edict.confirmed = 0;
		c->edict.again = clock_now() + EDICT_RETRY;
	}
}

static void tell(struct control *c)
{
	struct edict *d = &c->edict;
	uint64_t version = control_policy_version(c);
	char body[48];

	snprintf(body, sizeof(body), "{\"policy\":%llu}", (unsigned long long)version);
	if (!uplink_ask(&d->telling, c->uplink, "POST", "/v1/confirm", body, on_told, c))
		d->confirmed = version;
}

void edict_kick(struct control *c)
{
	struct edict *d = &c->edict;
	uint64_t version;
	time_t since;

	if (!c->uplink || !uplink_reachable(c->uplink, &since) || clock_now() < d->again)
		return;
	if (!d->question && edict_behind(c) && c->watch.policy.version != d->bad)
		ask_part(c);
	version = control_policy_version(c);
	if (!d->telling && version && version != d->confirmed && !edict_behind(c))
		tell(c);
}

void edict_connected(struct control *c)
{
	c->edict.confirmed = 0;
	c->edict.again = 0;
	edict_kick(c);
}
