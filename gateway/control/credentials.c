/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/credentials.h"

#include "crypto/hex.h"
#include "crypto/secret.h"
#include "gateway/clock.h"
#include "gateway/control/alarm.h"
#include "gateway/control/uplink.h"
#include "gateway/h2.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND    1000000000LL
#define CHAIN_PEM (CERT_CHAIN_MAX * 2 * CERT_DER_MAX)

static struct identity *own(const struct control *c)
{
	return c->params->identity;
}

void credentials_begin(struct control *c)
{
	uint16_t chance = 0;

	secret_random(&chance, sizeof(chance)); /* none: at its earliest, no harm */
	renewal_begin(&c->renewal, &own(c)->info, chance);
}

void credentials_clear(struct control *c)
{
	renewal_clear(&c->renewal);
}

const char *credentials_why(const struct control *c)
{
	return c->renewal.why;
}

/* -- when something is due -------------------------------------------------------------------- */

/* So long before a peer's certificate ends we want a session by its next one: a tenth of ours, which
 * are of one kind in a cluster.
 */
static time_t fresh_before(const struct control *c)
{
	time_t tenth = (own(c)->info.not_after - own(c)->info.not_before) / 10;

	return tenth < 1 ? 1 : tenth > CREDENTIALS_FRESH_MAX ? CREDENTIALS_FRESH_MAX : tenth;
}

static time_t sooner(time_t a, time_t b)
{
	return a < b ? a : b;
}

/* Whole seconds until then, at least one. */
static time_t seconds_until(int64_t then, int64_t now)
{
	return then > now ? (time_t)((then - now) / SECOND + 1) : 1;
}

/* In how many seconds there is something to do about it. *changed: a snapshot has to say something
 * new of it.
 */
static time_t member_tick(const struct control *c, struct member *m, time_t wall, int64_t now,
                          bool *changed)
{
	time_t before = fresh_before(c), left;
	int64_t again = m->fresh_asked + (before / 4 + 1) * SECOND;
	struct peer_status s;

	peer_read_status(m->peer, &s);
	if (s.state != PEER_UP || !s.cert_not_after)
		return ALARM_FAR;
	left = s.cert_not_after - wall;
	if (left < 0) {
		/* It is cut by the time that a snapshot was made; which brings us here again. */
		if (!m->cut_asked || now - m->cut_asked >= SECOND) {
			*changed = true;
			m->cut_asked = now;
		}
		return 1;
	}
	if (left > before)
		return left - before;
	if (!m->fresh_asked || now >= again) {
		m->fresh = *changed = true;
		m->fresh_asked = now;
		again = now + (before / 4 + 1) * SECOND;
	}
	return sooner(left + 1, seconds_until(again, now));
}

static time_t renewal_tick(struct control *c, time_t wall, int64_t now)
{
	const struct member *us = watch_find(&c->watch, c->node->name);
	const struct renewal *r = &c->renewal;

	if (us && us->incarnation == own(c)->info.incarnation && own(c)->info.issue < us->issue_min)
		c->renewal.wanted = true; /* what our certificate says no longer holds */
	if (!c->uplink || r->asked)
		return ALARM_FAR;
	if (!renewal_due(r, wall, now))
		return r->wanted || wall >= r->due ? seconds_until(r->next, now) : r->due - wall;
	uplink_look(c->uplink);
	return 1; /* if there is none to ask yet */
}

static time_t tick(struct control *c, time_t wall, int64_t now)
{
	time_t next = renewal_tick(c, wall, now), late = renewal_late_from(&own(c)->info);
	struct member *m, *tmp;
	bool changed = false;

	if (wall < late)
		next = sooner(next, late - wall);
	if (renewal_late(&own(c)->info, wall) && !c->renewal.warned) {
		c->renewal.warned = true;
		log_warn(renewal_expired(&own(c)->info, wall)
		                 ? "our certificate has ended"
		                 : "our certificate is past 80 % of its life",
		         "reason", c->renewal.why[0] ? c->renewal.why : "not renewed yet", NULL);
	}
	HASH_ITER(hh, c->watch.members, m, tmp)
		if (m->peer)
			next = sooner(next, member_tick(c, m, wall, now, &changed));
	if (changed)
		control_members_changed(c);
	return next;
}

void credentials_look(struct control *c)
{
	alarm_set(c->alarm, tick(c, control_wall(c), clock_now()));
}

/* -- asking ----------------------------------------------------------------------------------- */

static json_t *hex_json(const uint8_t *p, size_t n)
{
	char text[2 * CERT_DER_MAX + 1];

	hex_format(text, p, n);
	return json_stringn(text, 2 * n);
}

char *credentials_question(struct control *c, const uint8_t exporter[32], time_t wall, int64_t now)
{
	const struct identity *id = own(c);
	struct renewal_proof p;
	json_t *doc;
	char *text;
	int err;

	if (!renewal_due(&c->renewal, wall, now))
		return NULL;
	err = renewal_ask(&c->renewal, id, exporter, &p);
	if (err) {
		renewal_failed(&c->renewal, now, strerrordesc_np(-err));
		return NULL;
	}
	doc = json_pack("{s:o, s:o, s:o}", "certificate",
	                hex_json(id->chain.at[0].der, id->chain.at[0].len), "csr",
	                hex_json(p.csr, p.csr_len), "proof", hex_json(p.sig, p.sig_len));
	text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	if (!text)
		renewal_failed(&c->renewal, now, "no memory");
	return text;
}

/* The manager says why; we say what to do on this host. */
static const char *cure_of(const char *reason)
{
	static const struct {
		const char *reason, *cure;
	} cures[] = {
		{"unknown-node",
	         "to have it back, make a token on a manager (ginnel token create), "
	         "then here ginnel leave --force and ginnel join"},
		{"revoked",
	         "if that was a mistake, make a token for its name on a manager (ginnel token "
	         "create --name), then here ginnel leave --force and ginnel join"},
		{"joined-anew", "another host has its name now: run ginnel leave --force here"},
		{"superseded",
	         "two hosts use one identity, or it was restored from an old backup: revoke "
	         "it if it was stolen, else here ginnel leave --force and ginnel join"},
		{"expired",
	         "make a token for its name on a manager (ginnel token create --name), then "
	         "here ginnel leave --force and ginnel join"},
		{"certificate", "is this host's clock right?"},
	};

	for (size_t i = 0; reason && i < sizeof(cures) / sizeof(cures[0]); i++)
		if (!strcmp(reason, cures[i].reason))
			return cures[i].cure;
	return "it will ask again";
}

static void answer_failed(struct control *c, int status, const json_t *j, const char *why,
                          int64_t now)
{
	const char *reason = json_string_value(json_object_get(j, "error"));
	const char *text = json_string_value(json_object_get(j, "text"));
	char said[sizeof(c->renewal.why)];

	snprintf(said, sizeof(said), "%s; %s",
	         text          ? text
	         : why && *why ? why
	                       : "no answer",
	         cure_of(reason));
	if (strcmp(c->renewal.why, said)) {
		char number[24];

		log_warn("certificate not renewed", "status", log_num(number, status), "reason",
		         said, NULL);
	}
	renewal_failed(&c->renewal, now, said);
}

static int read_chain(const json_t *list, char *pem, uint8_t *der, size_t max,
                      struct cert_chain *out)
{
	size_t len = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *one = json_string_value(json_array_get(list, i));
		size_t n = one ? strlen(one) : 0;

		if (!n || n + 1 > CHAIN_PEM - len)
			return -EBADMSG;
		memcpy(pem + len, one, n);
		len += n;
		pem[len++] = '\n';
	}
	return cert_chain_from_pem(out, der, max, (const uint8_t *)pem, len);
}

/* Handshakes from the next snapshot on show the new certificate; who runs keeps what it has. */
static int use_renewed(struct control *c)
{
	struct wolf *old = c->wolf;
	int err = control_open_wolf(c);

	if (err)
		return err;
	wolf_put(old); /* snapshots and sessions have references of their own */
	if (own(c)->info.not_before > c->floor)
		c->floor = own(c)->info.not_before;
	control_members_changed(c);
	return 0;
}

bool credentials_answer(struct control *c, int status, const char *body, size_t len,
                        const char *why, time_t wall, int64_t now)
{
	json_t *j = body ? h2_json(body, len) : NULL;
	uint8_t *der = malloc(CERT_CHAIN_MAX * CERT_DER_MAX);
	char *pem = malloc(CHAIN_PEM);
	struct cert_chain chain;
	bool taken = false;
	int err;

	if (status != 200) {
		answer_failed(c, status, j, why, now);
	} else if (!der || !pem ||
	           read_chain(json_object_get(j, "certificates"), pem, der,
	                      CERT_CHAIN_MAX * CERT_DER_MAX, &chain)) {
		renewal_failed(&c->renewal, now, "the manager's answer cannot be read");
	} else if (!renewal_take(&c->renewal, own(c), AT_FDCWD, "node", &chain, wall, now)) {
		err = use_renewed(c);
		if (err)
			log_error("the new certificate is used from the next start on", "reason",
			          strerrordesc_np(-err), NULL);
		else
			log_info("certificate renewed", "serial", own(c)->info.serial, NULL);
		taken = !err;
	}
	if (status == 200 && c->renewal.why[0])
		log_warn("certificate not renewed", "reason", c->renewal.why, NULL);
	json_decref(j);
	free(der);
	free(pem);
	credentials_look(c);
	return taken;
}
