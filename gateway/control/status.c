/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/status.h"

#include "gateway/clock.h"
#include "gateway/control/credentials.h"
#include "gateway/control/uplink.h"
#include <stdio.h>
#include <string.h>

#define LIST_AGE_MAX  3600               /* seconds without a word on the list: degraded */
#define MANAGER_GRACE 60                 /* seconds without one before we say degraded */
#define WAITED_FOR    (5 * 1000000000LL) /* a packet asked for a session so recently */

static json_t *time_json(time_t t)
{
	char text[32];
	struct tm tm;

	if (!t || !gmtime_r(&t, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return json_null();
	return json_string(text);
}

static json_t *text_json(const char *text)
{
	return text && *text ? json_string(text) : json_null();
}

static json_t *prefixes_json(const struct prefix *p, unsigned n)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++) {
		char text[PREFIX_TEXT_MAX];

		prefix_format(&p[i], text);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static json_t *address_json(const struct node *n, int family)
{
	char text[ADDR_TEXT_MAX], with_len[ADDR_TEXT_MAX + 4];
	struct addr a;

	if (!node_address(n, family, &a))
		return json_null();
	addr_format(&a, text);
	for (unsigned i = 0; i < n->nprefixes; i++)
		if (prefix_contains(&n->prefixes[i], &a)) {
			snprintf(with_len, sizeof(with_len), "%s/%u", text, n->prefixes[i].len);
			return json_string(with_len);
		}
	return json_null();
}

static json_t *labels_json(const struct cert_labels *l)
{
	json_t *o = json_object();

	for (unsigned i = 0; i < l->n; i++)
		json_object_set_new(o, l->at[i].key, json_string(l->at[i].value));
	return o;
}

static json_int_t atomic_json(const _Atomic uint64_t *v)
{
	return (json_int_t)atomic_load_explicit(v, memory_order_relaxed);
}

static json_t *peer_json(const struct control *c, const struct member *m)
{
	struct peer *p = m->peer;
	struct peer_counts counts;
	struct peer_status s;
	char at[ENDPOINT_TEXT_MAX] = "";
	bool up;
	uint32_t rtt;
	json_t *o = json_object();

	peer_read_status(p, &s);
	peer_read_counts(p, &counts);
	up = s.state == PEER_UP;
	if (s.endpoint.addr.family)
		endpoint_format(&s.endpoint, at);
	else if (m->nendpoints)
		endpoint_format(&m->endpoints[0], at);
	rtt = atomic_load_explicit(&p->rtt_us, memory_order_relaxed);
	json_object_set_new(o, "name", json_string(p->name));
	json_object_set_new(
		o, "state",
		json_string(control_revoked(c, m) ? "revoked" : peer_state_name(s.state)));
	json_object_set_new(o, "state_since", time_json(s.since));
	json_object_set_new(o, "last_error", text_json(s.last_error));
	json_object_set_new(o, "transport", up ? json_string("dtls") : json_null());
	json_object_set_new(o, "fallback_reason", json_null());
	json_object_set_new(o, "endpoint", text_json(at));
	json_object_set_new(o, "lanes", json_integer(atomic_load(&p->lanes)));
	json_object_set_new(o, "kex", up ? text_json(s.kex) : json_null());
	json_object_set_new(o, "cipher", up ? text_json(s.cipher) : json_null());
	json_object_set_new(o, "rtt_us", up && rtt ? json_integer(rtt) : json_null());
	json_object_set_new(o, "pmtu", json_null());
	json_object_set_new(o, "rx_bytes", json_integer((json_int_t)counts.rx_bytes));
	json_object_set_new(o, "tx_bytes", json_integer((json_int_t)counts.tx_bytes));
	json_object_set_new(o, "rx_packets", json_integer((json_int_t)counts.rx_packets));
	json_object_set_new(o, "tx_packets", json_integer((json_int_t)counts.tx_packets));
	json_object_set_new(o, "cert_not_after", time_json(s.cert_not_after));
	json_object_set_new(o, "labels", labels_json(m->json ? &m->labels : &s.labels));
	json_object_set_new(o, "prefixes", prefixes_json(m->prefixes, m->nprefixes));
	return o;
}

json_t *status_peers(struct control *c)
{
	json_t *list = json_array();
	struct member *m, *tmp;

	watch_sort(&c->watch);
	HASH_ITER(hh, c->watch.members, m, tmp)
		if (m->peer)
			json_array_append_new(list, peer_json(c, m));
	return list;
}

static void add_route(json_t *list, const struct prefix *p, const char *via, const char *source)
{
	char text[PREFIX_TEXT_MAX];

	prefix_format(p, text);
	json_array_append_new(list,
	                      json_pack("{ssssss}", "prefix", text, "via", via, "source", source));
}

json_t *status_routes(struct control *c)
{
	const struct node *n = c->node;
	const char *source = n->is_static ? "config" : "registry";
	json_t *list = json_array();
	struct member *m, *tmp;

	for (unsigned i = 0; i < n->nprefixes; i++)
		add_route(list, &n->prefixes[i], "local", source);
	watch_sort(&c->watch);
	HASH_ITER(hh, c->watch.members, m, tmp)
		for (unsigned i = 0; m->peer && i < m->nprefixes; i++)
			add_route(list, &m->prefixes[i], m->name, source);
	for (unsigned i = 0; i < n->noverlay; i++)
		add_route(list, &n->overlay[i], "unreachable", source);
	for (unsigned i = 0; i < n->npools; i++)
		add_route(list, &n->pools[i], "unreachable", source);
	return list;
}

/* -- state ------------------------------------------------------------------------------------------- */

static void because(json_t *reasons, const char *text)
{
	json_array_append_new(reasons, json_string(text));
}

static bool starting(struct control *c, json_t *reasons)
{
	if (!c->health_known || !c->health.guard_ok || !c->health.device_ok)
		because(reasons, "the guard and the device are being put up");
	if (c->node->role == ROLE_MANAGER && (c->health.manager_ok != 1 || c->health.ca_ok != 1))
		because(reasons, "manager and ca are starting");
	return json_array_size(reasons) > 0;
}

static void judge_peers(struct control *c, json_t *reasons)
{
	int64_t now = clock_now();
	struct member *m, *tmp;

	HASH_ITER(hh, c->watch.members, m, tmp) {
		char text[160];
		int64_t wanted;
		struct peer_status s;

		if (!m->peer)
			continue;
		wanted = atomic_load_explicit(&m->peer->wanted, memory_order_relaxed);
		peer_read_status(m->peer, &s);
		if (s.state == PEER_UP || !wanted || now - wanted > WAITED_FOR)
			continue;
		snprintf(text, sizeof(text), "packets wait for %s, which is %s", m->name,
		         peer_state_name(s.state));
		because(reasons, text);
	}
}

static void judge_cert(struct control *c, json_t *reasons)
{
	const struct cert_info *own = &c->params->identity->info;
	const char *why = credentials_why(c);
	time_t now = control_wall(c);
	char text[400];

	if (!renewal_late(own, now))
		return;
	snprintf(text, sizeof(text), "our certificate %s%s%s",
	         renewal_expired(own, now) ? "has expired" : "is past 80 % of its life",
	         *why ? ": " : "", why);
	because(reasons, text);
}

static void judge_manager(struct control *c, json_t *reasons)
{
	char text[400];
	time_t since;

	if (!c->uplink || uplink_reachable(c->uplink, &since) || time(NULL) - since < MANAGER_GRACE)
		return;
	snprintf(text, sizeof(text), "no manager answers: %s", uplink_error(c->uplink));
	because(reasons, text);
}

/* While the manager is there it would tell of a newer one: it is as good as confirmed. */
static int64_t list_age(struct control *c)
{
	int64_t by_peers = atomic_load(&c->engine->lists_confirmed);
	int64_t at = c->revoked_confirmed > by_peers ? c->revoked_confirmed : by_peers;
	time_t since;

	if (!at)
		return -1;
	if (c->revoked_confirmed && uplink_reachable(c->uplink, &since))
		return 0;
	return (clock_now() - at) / 1000000000;
}

static void judge_list(struct control *c, json_t *reasons)
{
	if (c->uplink && list_age(c) > LIST_AGE_MAX)
		because(reasons,
		        "no manager and no peer has confirmed the revocation list for an hour");
}

static void judge_policy(struct control *c, json_t *reasons)
{
	char text[700];

	if (!edict_behind(c))
		return;
	snprintf(text, sizeof(text), "policy behind the manager's: version %llu, not %llu%s%s",
	         (unsigned long long)c->edict.version, (unsigned long long)c->watch.policy.version,
	         c->edict.why[0] ? ": " : "", c->edict.why);
	because(reasons, text);
}

const char *status_state(struct control *c, json_t *reasons)
{
	static bool was_ready;

	if (!was_ready && starting(c, reasons))
		return "starting";
	was_ready = true;
	if (!c->health.guard_ok)
		because(reasons, "the guard is missing");
	if (!c->health.device_ok)
		because(reasons, "the device is missing");
	if (c->node->role == ROLE_MANAGER && c->health.manager_ok != 1)
		because(reasons, "the manager process is not running");
	if (c->node->role == ROLE_MANAGER && c->health.ca_ok != 1)
		because(reasons, "the ca process is not running");
	judge_peers(c, reasons);
	judge_cert(c, reasons);
	judge_manager(c, reasons);
	judge_list(c, reasons);
	judge_policy(c, reasons);
	return json_array_size(reasons) ? "degraded" : "ready";
}

static json_t *drops_json(struct control *c)
{
	struct counters total = {0};
	json_t *o = json_object();

	engine_counters(c->engine, &total);
	for (unsigned i = DROP_NONE + 1; i < DROP_COUNT; i++)
		json_object_set_new(o, drop_name(i), json_integer(atomic_json(&total.drops[i])));
	return o;
}

static json_t *manager_json(struct control *c)
{
	bool reachable;
	time_t since;

	if (!c->uplink)
		return json_null();
	reachable = uplink_reachable(c->uplink, &since);
	return json_pack("{sssbso}", "name", uplink_manager(c->uplink), "reachable", reachable,
	                 "since", time_json(since));
}

static json_t *list_json(struct control *c)
{
	int64_t age;

	if (!c->uplink)
		return json_null();
	age = list_age(c);
	return json_pack("{s:I, s:o}", "number", (json_int_t)c->revoked.number, "age_s",
	                 age < 0 ? json_null() : json_integer(age));
}

json_t *status_json(struct control *c)
{
	const struct node *n = c->node;
	const struct cert_info *own = &c->params->identity->info;
	json_int_t policy = (json_int_t)control_policy_version(c);
	json_t *o = json_object(), *reasons = json_array();

	json_object_set_new(o, "cluster", json_string(n->cluster));
	json_object_set_new(o, "node", json_string(n->name));
	json_object_set_new(o, "role", json_string(cert_role_name(n->role)));
	json_object_set_new(o, "version", json_string(GINNEL_VERSION));
	json_object_set_new(o, "state", json_string(status_state(c, reasons)));
	json_object_set_new(o, "reasons", reasons);
	json_object_set_new(o, "device", json_string(c->params->config->device));
	json_object_set_new(o, "address", address_json(n, 4));
	json_object_set_new(o, "address6", address_json(n, 6));
	json_object_set_new(o, "prefixes", prefixes_json(n->prefixes, n->nprefixes));
	json_object_set_new(o, "mtu", json_integer(CONTROL_MTU));
	json_object_set_new(o, "policy_version", policy ? json_integer(policy) : json_null());
	json_object_set_new(o, "manager", manager_json(c));
	json_object_set_new(
		o, "cert",
		json_pack("{soss}", "not_after", time_json(own->not_after), "serial", own->serial));
	json_object_set_new(o, "list", list_json(c));
	json_object_set_new(o, "peers", status_peers(c));
	json_object_set_new(o, "drops", drops_json(c));
	return o;
}
