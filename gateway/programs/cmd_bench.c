/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What this processor's cryptography gives, and with --peer what a live tunnel does: measured with
 * echoes, because those need nothing at the other end and open nothing there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/aead.h"
#include "crypto/record.h"
#include "crypto/secret.h"
#include "gateway/clock.h"
#include "gateway/programs/cmd.h"
#include "gateway/programs/echo.h"

#define SECOND          1000000000LL
#define SECONDS_DEFAULT 3
#define SECONDS_MAX     60
#define PROBE_NS        10000000LL   /* between timed echoes */
#define WAKE_NS         (5 * SECOND) /* a session is made for the first packet */
#define WAKE_TRY_NS     (SECOND / 2)
#define LOST_MOST       1.0 /* per cent; with more, fewer under way do better */

/* -- this processor ---------------------------------------------------------------------------- */

#define RECORD_LEN 1400
#define BURST      64 /* sealed, then opened, as in a batch */
#define EPOCH      3
#define RECORDS    (1ULL << 40)

struct local {
	struct record_sealer *sealer;
	struct record_opener *opener;
	uint8_t plain[RECORD_LEN + 1], records[BURST][RECORD_LEN + RECORD_OVERHEAD];
	int64_t sealing, opening; /* ns */
	uint64_t n;
};

static int local_burst(struct local *l, const uint8_t cid[RECORD_CID_LEN])
{
	int64_t t[3];

	t[0] = clock_now();
	for (unsigned i = 0; i < BURST; i++)
		if (record_seal(l->sealer, l->plain, RECORD_LEN, l->records[i]) < 0)
			return -EIO;
	t[1] = clock_now();
	for (unsigned i = 0; i < BURST; i++) {
		struct record r;

		if (record_parse(&r, cid, l->records[i], sizeof(l->records[i])) ||
		    record_open(l->opener, &r, t[0]) || r.len != RECORD_LEN)
			return -EIO;
	}
	t[2] = clock_now();
	l->sealing += t[1] - t[0];
	l->opening += t[2] - t[1];
	l->n += BURST;
	return 0;
}

static int local_run(struct local *l, int64_t duration)
{
	const uint8_t cid[RECORD_CID_LEN] = {1, 2, 3, 4};
	const struct aead *a = aead_find(aead_preferred());
	int64_t start = clock_now();
	uint8_t secret[RECORD_SECRET];
	int err = secret_random(secret, sizeof(secret));

	if (!err)
		err = record_sealer_new(&l->sealer, a, secret, EPOCH, cid, RECORDS);
	if (!err)
		err = record_opener_new(&l->opener, a, secret, EPOCH);
	while (!err && clock_now() - start < duration)
		err = local_burst(l, cid);
	secret_wipe(secret, sizeof(secret));
	record_sealer_free(l->sealer);
	record_opener_free(l->opener);
	return err;
}

static double gbit(double ns_each)
{
	return 8.0 * RECORD_LEN / ns_each;
}

static int bench_local(struct cmd *c, int64_t seconds)
{
	struct local *l = calloc(1, sizeof(*l));
	double seal, open;
	int err = l ? aead_start() : -ENOMEM, ret = CMD_OK;
	json_t *document;

	if (!err)
		err = local_run(l, seconds * SECOND);
	if (err) {
		fault(strerrordesc_np(-err), "try again", "bench");
		free(l);
		return CMD_FAILED;
	}
	seal = (double)l->sealing / (double)l->n;
	open = (double)l->opening / (double)l->n;
	free(l);
	if (!c->json) {
		printf("one core of this host, %s, records of %d bytes, without any network:\n",
		       aead_name(), RECORD_LEN);
		printf("seal  %6.0f ns  %6.1f Gbit/s\nopen  %6.0f ns  %6.1f Gbit/s\n", seal,
		       gbit(seal), open, gbit(open));
		puts("With --peer NAME: what the tunnel to that node does.");
		return CMD_OK;
	}
	document = json_pack("{s:s, s:i, s:f, s:f, s:f, s:f}", "aead", aead_name(), "bytes",
	                     RECORD_LEN, "seal_ns", seal, "seal_gbit_per_s", gbit(seal), "open_ns",
	                     open, "open_gbit_per_s", gbit(open));
	ret = document ? cmd_print_json(document) : CMD_FAILED;
	json_decref(document);
	return ret;
}

/* -- a peer ------------------------------------------------------------------------------------ */

struct target {
	const char *name;
	struct addr addr;
	char text[ADDR_TEXT_MAX];
	size_t mtu;
	char state[32], error[192]; /* as ginneld has it */
};

static const json_t *peer_named(const json_t *status, const char *name)
{
	const json_t *peers = json_object_get(status, "peers"), *p;
	const char *n;
	size_t i;

	for (i = 0; i < json_array_size(peers); i++) {
		p = json_array_get(peers, i);
		n = cmd_text(p, "name");
		if (n && !strcmp(n, name))
			return p;
	}
	return NULL;
}

/* A node has the first host address of its first prefix of each family. */
static bool address_of(const json_t *prefixes, int family, struct addr *out)
{
	struct prefix p;
	size_t i;

	for (i = 0; i < json_array_size(prefixes); i++) {
		const char *s = json_string_value(json_array_get(prefixes, i));

		if (s && !prefix_parse(&p, s) && p.addr.family == family && prefix_host(&p, 1, out))
			return true;
	}
	return false;
}

static void copy_text(char *out, size_t max, const char *text)
{
	snprintf(out, max, "%s", text ? text : "");
}

static int find_target(struct cmd *c, struct target *t)
{
	const json_t *peer;
	json_t *status;
	json_int_t mtu;
	int ret;

	ret = cmd_control_ask(c, "control", json_pack("{s:s}", "cmd", "status"), &status);
	if (ret != CMD_OK)
		return ret;
	ret = CMD_FAILED;
	peer = peer_named(status, t->name);
	mtu = json_integer_value(json_object_get(status, "mtu"));
	if (!peer) {
		fault("no peer of this node has that name", "ginnel peers lists them", "%s",
		      t->name);
	} else if (!address_of(json_object_get(peer, "prefixes"), 4, &t->addr) &&
	           !address_of(json_object_get(peer, "prefixes"), 6, &t->addr)) {
		fault("it has no address in the overlay", NULL, "%s", t->name);
	} else if (mtu < ECHO_LEN_MIN || mtu > ECHO_LEN_MAX) {
		fault("the answer names no MTU", "use a ginnel of the same version as ginneld",
		      "status");
	} else {
		addr_format(&t->addr, t->text);
		t->mtu = (size_t)mtu;
		copy_text(t->state, sizeof(t->state), cmd_text(peer, "state"));
		copy_text(t->error, sizeof(t->error), cmd_text(peer, "last_error"));
		ret = CMD_OK;
	}
	json_decref(status);
	return ret;
}

/* -- runs -- */

struct figures {
	double per_s, bits_per_s, lost; /* per cent */
	struct echo_result r;
};

struct results {
	struct figures idle, large, small;
};

static int run(struct echo *e, struct figures *f, size_t len, unsigned under_way, bool probes,
               int64_t duration)
{
	const struct echo_plan p = {len, under_way, probes ? PROBE_NS : 0, duration};
	const struct echo_result *r = &f->r;
	int err = echo_run(e, &p, &f->r);
	uint64_t sent = under_way ? r->sent : r->probes;
	uint64_t answered = under_way ? r->answered : r->ntimes;

	if (err)
		return err;
	f->per_s = (double)answered / ((double)r->took / SECOND);
	f->bits_per_s = f->per_s * 8 * (double)len;
	f->lost = sent ? 100.0 * (double)(sent - answered) / (double)sent : 0;
	return 0;
}

/* As many under way as bring the most through without losing any to speak of: found in a quarter of the
 * time, then measured.
 */
static int run_loaded(struct echo *e, struct figures *f, size_t len, int64_t duration)
{
	static const unsigned tries[] = {16, 64, 256, 1024};
	const size_t n = sizeof(tries) / sizeof(tries[0]);
	unsigned best = tries[0];
	double most = 0;
	int err = 0;

	for (size_t i = 0; !err && i < n; i++) {
		err = run(e, f, len, tries[i], false, duration / 4 / (int64_t)n);
		if (!err && f->per_s > most && f->lost <= LOST_MOST) {
			most = f->per_s;
			best = tries[i];
		}
	}
	return err ? err : run(e, f, len, best, true, duration);
}

/* The first packets open the session, if there is none. */
static int wake(struct echo *e, struct figures *f, const struct target *t)
{
	int64_t end = clock_now() + WAKE_NS;
	int err;

	do {
		err = run(e, f, ECHO_LEN_MIN, 0, true, WAKE_TRY_NS);
	} while (!err && !f->r.ntimes && clock_now() < end);
	if (!err && f->r.ntimes)
		return CMD_OK;
	if (err)
		fault(strerrordesc_np(-err), "see ginnel status", "%s (%s)", t->name, t->text);
	else if (strcmp(t->state, "up"))
		fault(t->error[0] ? t->error : "it does not answer", "see ginnel peers",
		      "%s (%s), which is %s", t->name, t->text, t->state);
	else
		fault("its session is up, but it does not answer echoes",
		      "does a firewall there drop ICMP?", "%s (%s)", t->name, t->text);
	return CMD_FAILED;
}

static int measure(struct echo *e, struct results *r, const struct target *t, int64_t duration)
{
	int err, ret = wake(e, &r->idle, t);

	if (ret != CMD_OK)
		return ret;
	err = run(e, &r->idle, ECHO_LEN_MIN, 0, true, duration);
	if (!err)
		err = run_loaded(e, &r->large, t->mtu, duration);
	if (!err)
		err = run_loaded(e, &r->small, ECHO_LEN_MIN, duration);
	if (err) {
		fault(strerrordesc_np(-err), "see ginnel status", "%s (%s)", t->name, t->text);
		return CMD_FAILED;
	}
	return CMD_OK;
}

/* -- what is said -- */

static double ms(const struct echo_result *r, unsigned percent)
{
	return (double)echo_percentile(r, percent) / 1e6;
}

static void print_times(const char *head, const struct echo_result *r)
{
	printf("%-20s p50 %.3f  p90 %.3f  p99 %.3f  max %.3f ms, %u of %u answered\n", head,
	       ms(r, 50), ms(r, 90), ms(r, 99), ms(r, 100), r->ntimes, r->probes);
}

static void print_results(const struct target *t, const struct results *r, int64_t seconds)
{
	printf("%s (%s), %lld s for each figure. Both ends' kernels and this program are in it:\n"
	       "every packet goes through the tunnel, is answered by the kernel there, and comes "
	       "back.\n"
	       "What is sent in bulk (TCP) is carried in larger pieces, and gets further.\n\n",
	       t->name, t->text, (long long)seconds);
	print_times("round trip, idle", &r->idle.r);
	printf("%-20s %.3f Gbit/s each way at once: %.0f packets of %zu B a second, %.2f %% lost\n",
	       "large packets", r->large.bits_per_s / 1e9, r->large.per_s, t->mtu, r->large.lost);
	print_times("  round trip then", &r->large.r);
	printf("%-20s %.0f packets of %d B a second each way at once, %.2f %% lost\n",
	       "small packets", r->small.per_s, ECHO_LEN_MIN, r->small.lost);
	print_times("  round trip then", &r->small.r);
}

static json_t *times_json(const struct echo_result *r)
{
	return json_pack("{s:i, s:i, s:f, s:f, s:f, s:f}", "sent", (int)r->probes, "answered",
	                 (int)r->ntimes, "p50_us", ms(r, 50) * 1000, "p90_us", ms(r, 90) * 1000,
	                 "p99_us", ms(r, 99) * 1000, "max_us", ms(r, 100) * 1000);
}

static json_t *load_json(const struct figures *f, size_t len)
{
	return json_pack("{s:i, s:f, s:f, s:f, s:o}", "bytes", (int)len, "packets_per_s", f->per_s,
	                 "bits_per_s", f->bits_per_s, "lost_percent", f->lost, "round_trip",
	                 times_json(&f->r));
}

static int print_document(const struct target *t, const struct results *r, int64_t seconds)
{
	json_t *document = json_pack("{s:s, s:s, s:I, s:o, s:o, s:o}", "peer", t->name, "address",
	                             t->text, "seconds", (json_int_t)seconds, "idle",
	                             times_json(&r->idle.r), "large", load_json(&r->large, t->mtu),
	                             "small", load_json(&r->small, ECHO_LEN_MIN));
	int ret = document ? cmd_print_json(document) : CMD_FAILED;

	json_decref(document);
	return ret;
}

static int bench_peer(struct cmd *c, const char *name, int64_t seconds)
{
	struct target t = {.name = name};
	struct results *r;
	struct echo *e;
	int err, ret;

	ret = find_target(c, &t);
	if (ret != CMD_OK)
		return ret;
	err = echo_new(&e, &t.addr);
	if (err) {
		fault(strerrordesc_np(-err),
		      err == -EPERM ? "run it as root (sudo ginnel bench ...)"
		                    : "see ginnel status",
		      "echoes to %s", t.text);
		return CMD_FAILED;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		fault("out of memory", "try again", "bench");
	ret = r ? measure(e, r, &t, seconds * SECOND) : CMD_FAILED;
	if (ret == CMD_OK && c->json)
		ret = print_document(&t, r, seconds);
	else if (ret == CMD_OK)
		print_results(&t, r, seconds);
	free(r);
	echo_free(e);
	return ret;
}

int cmd_bench(struct cmd *c)
{
	const char *peer = cmd_value(c, "peer"), *text = cmd_value(c, "seconds");
	int64_t seconds = SECONDS_DEFAULT;

	if (text) {
		char *end;

		errno = 0;
		seconds = strtoll(text, &end, 10);
		if (errno || end == text || *end || seconds < 1 || seconds > SECONDS_MAX) {
			fault("it is not 1 to 60", "leave it out for 3", "--seconds: \"%s\"", text);
			return CMD_FAILED;
		}
	}
	return peer ? bench_peer(c, peer, seconds) : bench_local(c, seconds);
}
