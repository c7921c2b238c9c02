/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/enroll.h"

#include "crypto/token.h"
#include "tests/folder.h"
#include "tests/link.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static struct folder folder;
static struct registry *registry;
static struct enroll *enroll;
static struct link_cluster cluster;
static int ca_fds[2]; /* ours, the ca's */
static int64_t now = ENDS_START;
static struct h2 *client, *server;
static unsigned woken, answers;
static int status;
static json_t *body;

/* -- a joiner's connection ----------------------------------------------------------------------- */

static void on_request(void *arg, struct h2 *h, struct h2_request *r, const char *method,
                       const char *path, const char *text, size_t len)
{
	struct enroll_source from = {.text = "10.9.0.2:40000"};

	(void)arg;
	memset(from.address, 0xaa, sizeof(from.address));
	cr_assert_eq(stream_exporter(h2_stream(h), from.exporter), 0);
	h2_set_user(r, &woken);
	enroll_request(enroll, &from, r, method, path, text, len, now);
}

static void on_closed(void *arg, struct h2_request *r)
{
	(void)arg;
	enroll_closed(enroll, r);
}

static const struct h2_server_ops server_ops = {.request = on_request, .closed = on_closed};

static void on_response(void *arg, void *user, int code, const char *text, size_t len,
                        const char *why)
{
	(void)arg, (void)user, (void)why;
	answers++;
	status = code;
	json_decref(body);
	body = h2_json(text, len);
}

static const struct h2_client_ops client_ops = {.response = on_response};

static void wake(void *user)
{
	cr_expect_eq(user, &woken);
	woken++;
}

static void connect_joiner(void)
{
	h2_free(client);
	h2_free(server);
	cr_assert_eq(h2_server_new(&server, link_accept(&cluster), &server_ops, NULL, now), 0);
	cr_assert_eq(h2_client_new(&client, link_dial(&cluster, NULL), &client_ops, NULL, now), 0);
	link_run(client, server, now);
}

static void setup(void)
{
	folder_init(&folder);
	registry = folder_registry(&folder, "10.77.0.0/22"); /* four nodes */
	cr_assert_eq(folder_node(registry, "m1", ROLE_MANAGER), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ca_fds),
	             0);
	cr_assert_eq(enroll_new(&enroll, registry, ca_fds[0]), 0);
	link_cluster_init(&cluster, link_admit_all, NULL);
	connect_joiner();
}

static void teardown(void)
{
	h2_free(client);
	h2_free(server);
	json_decref(body);
	enroll_free(enroll);
	registry_close(registry);
	link_cluster_clear(&cluster);
	close(ca_fds[0]);
	close(ca_fds[1]);
	folder_clear(&folder);
	if (link_leaks())
		abort(); /* an assertion here would not count */
}

TestSuite(enroll, .init = setup, .fini = teardown, .timeout = 60);

/* -- what a joiner says, and what the ca says ------------------------------------------------------ */

#define CSR "30820102"
#define JOIN(name)                                                             \
	"{\"name\":\"" name "\",\"token\":\"0123456789abcdef\",\"csr\":\"" CSR \
	"\",\"proof\":\"3045ff\",\"endpoints\":[\"10.9.0.2:4747\"],\"version\":\"0.1\"}"

static void ask(const char *text)
{
	cr_assert_eq(h2_ask(client, "POST", "/v1/join", text, strlen(text), NULL), 0);
	link_run(client, server, now);
}

static struct message m;

static bool ca_asked(struct message_sign *out)
{
	if (message_receive(ca_fds[1], PROCESS_MANAGER, PROCESS_CA, &m) < 0)
		return false;
	cr_assert_eq(m.head.type, MESSAGE_SIGN);
	memcpy(out, m.body, sizeof(*out));
	return true;
}

static void ca_says(uint32_t seq, const struct message_signed *a)
{
	cr_assert_eq(message_send(ca_fds[1], MESSAGE_SIGNED, seq, a, sizeof(*a), NULL, 0), 0);
	cr_assert_eq(enroll_readable(enroll, ENDS_WALL, wake), 0);
	link_run(client, server, now);
}

static struct message_signed *grant(const char *name, uint64_t incarnation)
{
	static struct message_signed a;
	struct cert_labels labels = {0};
	struct ca_grant g = {.cluster = ENDS_CLUSTER,
	                     .node = name,
	                     .role = ROLE_NODE,
	                     .labels = &labels,
	                     .incarnation = incarnation,
	                     .issue = 1,
	                     .not_before = ENDS_WALL - 3600,
	                     .not_after = ENDS_WALL + 86400};
	struct cert_chain own;
	struct cert_key *key;
	const uint8_t *spki;
	size_t n, len;

	cert_labels_add(&labels, "zone=pci");
	memset(&a, 0, sizeof(a));
	cr_assert_eq(cert_key_new(&key), 0);
	spki = cert_key_spki(key, &n);
	cr_assert_eq(ca_issue(cluster.ca.ca, &g, spki, n, a.chain, &len), 0);
	cert_key_free(key);
	ca_chain(cluster.ca.ca, &own);
	memcpy(a.chain + len, own.at[own.n - 1].der, own.at[own.n - 1].len);
	a.result = SIGN_OK;
	a.role = ROLE_NODE;
	a.incarnation = incarnation;
	a.nchain = 2;
	a.len[0] = (uint16_t)len;
	a.len[1] = (uint16_t)own.at[own.n - 1].len;
	a.nlabels = 1;
	strcpy(a.labels[0], "zone=pci");
	return &a;
}

static const char *text_of(const char *key)
{
	const char *s = json_string_value(json_object_get(body, key));

	return s ? s : "(none)";
}

static void expect_error(int want, const char *reason)
{
	cr_expect_eq(status, want, "%d: %s", status, text_of("text"));
	cr_expect_str_eq(text_of("error"), reason);
	cr_expect_gt(strlen(text_of("text")), 5u);
}

Test(enroll, carries_a_proof_to_the_ca_and_a_certificate_back)
{
	const char *name, *endpoint, *prefix, *first, *zone;
	uint8_t exporter[32];
	static struct message_sign q;
	static struct registry_node n;
	struct cert_chain chain;
	static uint8_t der[CERT_CHAIN_MAX * CERT_DER_MAX];

	ask(JOIN("n2"));
	cr_assert(ca_asked(&q));
	cr_expect_eq(enroll_waiting(enroll), 1u);
	cr_expect_eq(answers, 0u);
	cr_expect_eq(q.kind, SIGN_JOIN);
	cr_expect_str_eq(q.name, "n2");
	cr_expect_arr_eq(q.token_id, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
	cr_expect_eq(q.csr_len, 4);
	cr_expect_arr_eq(q.csr, "\x30\x82\x01\x02", 4);
	cr_expect_eq(q.sig_len, 3);
	cr_assert_eq(stream_exporter(h2_stream(client), exporter), 0);
	cr_expect_arr_eq(q.exporter, exporter, 32, "of this very connection");
	cr_expect_eq(q.source[0], 0xaa);

	ca_says(m.head.seq, grant("n2", 7));
	cr_expect_eq(woken, 1u);
	cr_expect_eq(enroll_waiting(enroll), 0u);
	cr_assert_eq(answers, 1u);
	cr_assert_eq(status, 200, "%s", text_of("text"));
	cr_expect_str_eq(text_of("cluster"), ENDS_CLUSTER);
	cr_expect_str_eq(text_of("name"), "n2");
	cr_expect_str_eq(text_of("role"), "node");
	cr_expect_eq(json_unpack(body, "{s:[s], s:[{s:s, s:[s]}], s:{s:s}, s:[s]}", "prefixes",
	                         &prefix, "managers", "name", &name, "endpoints", &endpoint,
	                         "labels", "zone", &zone, "certificates", &first),
	             0);
	cr_expect_str_eq(prefix, "10.77.2.0/24");
	cr_expect_str_eq(name, "m1");
	cr_expect_str_eq(endpoint, "10.9.0.9:4748");
	cr_expect_str_eq(zone, "pci");
	cr_expect_eq(json_array_size(json_object_get(body, "certificates")), 2u);
	cr_expect_eq(cert_chain_from_pem(&chain, der, sizeof(der), (const uint8_t *)first,
	                                 strlen(first)),
	             0);
	cr_expect_eq(json_array_size(json_object_get(body, "overlay")), 1u);
	cr_expect_eq(json_array_size(json_object_get(body, "pools")), 1u);

	cr_assert_eq(registry_node_get(registry, "n2", &n), 0);
	cr_expect_eq(n.incarnation, 7u);
	cr_expect_eq(n.labels.n, 1u);
	cr_expect_eq(n.nendpoints, 1u);
	cr_expect_eq(n.cert_not_after, ENDS_WALL + 86400);
	cr_expect_eq(n.joined, ENDS_WALL);
	cr_expect_str_eq(n.version, "0.1");
}

Test(enroll, says_why_the_ca_refused)
{
	static const struct {
		enum sign_result result;
		int status;
	} cases[] = {
		{SIGN_NO_TOKEN, 403},      {SIGN_TOKEN_USED, 403},   {SIGN_TOKEN_EXPIRED, 403},
		{SIGN_TOKEN_REVOKED, 403}, {SIGN_TOKEN_NAME, 403},   {SIGN_PROOF, 403},
		{SIGN_NAME_TAKEN, 409},    {SIGN_NAME_INVALID, 400}, {SIGN_REQUEST, 400},
		{SIGN_RATE, 429},          {SIGN_TOKEN_RATE, 429},   {SIGN_REFUSED, 403},
		{SIGN_FAILED, 503},
	};
	static struct message_signed a;
	static struct message_sign q;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ask(JOIN("n2"));
		cr_assert(ca_asked(&q));
		a.result = (uint8_t)cases[i].result;
		ca_says(m.head.seq, &a);
		expect_error(cases[i].status, sign_result_name(cases[i].result));
		cr_expect_str_eq(text_of("text"), sign_result_text(cases[i].result));
	}
	ask(JOIN("n2"));
	cr_assert(ca_asked(&q));
	a.result = SIGN_RESULT_COUNT + 5;
	ca_says(m.head.seq, &a);
	expect_error(503, "failed");
	cr_expect_eq(registry_count(registry), 1u);
}

Test(enroll, refuses_what_is_no_request)
{
	static const char *const bad[] = {
		"",
		"{}",
		"[]",
		"x",
		JOIN("N2"),
		JOIN(""),
		JOIN("n_2"),
		JOIN("a.b"),
		JOIN("0123456789012345678901234567890123456789012345678901234567890123"),
		"{\"name\":\"n2\",\"token\":\"0123456789abcde\",\"csr\":\"30\",\"proof\":\"30\","
		"\"endpoints\":[],\"version\":\"1\"}",
		"{\"name\":\"n2\",\"token\":\"0123456789ABCDEF\",\"csr\":\"30\",\"proof\":\"30\","
		"\"endpoints\":[],\"version\":\"1\"}",
		"{\"name\":\"n2\",\"token\":\"0123456789abcdef\",\"csr\":\"3\",\"proof\":\"30\","
		"\"endpoints\":[],\"version\":\"1\"}",
		"{\"name\":\"n2\",\"token\":\"0123456789abcdef\",\"csr\":\"\",\"proof\":\"30\","
		"\"endpoints\":[],\"version\":\"1\"}",
		"{\"name\":\"n2\",\"token\":\"0123456789abcdef\",\"csr\":\"30\",\"proof\":\"zz\","
		"\"endpoints\":[],\"version\":\"1\"}",
		"{\"name\":\"n2\",\"token\":\"0123456789abcdef\",\"csr\":\"30\",\"proof\":\"30\","
		"\"endpoints\":\"10.9.0.2\",\"version\":\"1\"}",
		"{\"name\":\"n2\",\"token\":\"0123456789abcdef\",\"csr\":\"30\",\"proof\":\"30\","
		"\"endpoints\":[]}",
		"{\"name\":\"n2\",\"token\":\"0123456789abcdef\",\"csr\":\"30\",\"proof\":\"30\","
		"\"endpoints\":[],\"version\":null}",
	};
	char long_proof[512], hex[2 * 73 + 1];
	static struct message_sign q;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (i % (H2_JOIN_REQUESTS - 2) == 0)
			connect_joiner();
		ask(bad[i]);
		cr_expect_eq(status, 400, "%d: %s", status, bad[i]);
		cr_expect_str_eq(text_of("error"), "bad-request");
	}
	memset(hex, 'a', 2 * 73);
	hex[2 * 73] = '\0';
	snprintf(long_proof, sizeof(long_proof),
	         "{\"name\":\"n2\",\"token\":\"0123456789abcdef\",\"csr\":\"30\",\"proof\":\"%s\","
	         "\"endpoints\":[],\"version\":\"1\"}",
	         hex);
	ask(long_proof);
	expect_error(400, "bad-request");
	cr_expect(!ca_asked(&q), "nothing of it reaches the ca");
}

Test(enroll, serves_nothing_else)
{
	cr_assert_eq(h2_ask(client, "GET", "/v1/state", NULL, 0, NULL), 0);
	link_run(client, server, now);
	expect_error(404, "not-found");
	cr_assert_eq(h2_ask(client, "GET", "/v1/join", NULL, 0, NULL), 0);
	link_run(client, server, now);
	expect_error(405, "method");
}

Test(enroll, finds_bad_endpoints_and_a_full_overlay_before_a_token_is_used)
{
	static struct message_sign q;

	ask("{\"name\":\"n2\",\"token\":\"0123456789abcdef\",\"csr\":\"30\",\"proof\":\"30\","
	    "\"endpoints\":[\"10.77.1.1:4747\"],\"version\":\"1\"}");
	expect_error(400, "endpoint");
	cr_assert_eq(folder_node(registry, "n2", ROLE_NODE), 0);
	cr_assert_eq(folder_node(registry, "n3", ROLE_NODE), 0);
	cr_assert_eq(folder_node(registry, "n4", ROLE_NODE), 0);
	ask(JOIN("n5"));
	expect_error(507, "overlay-exhausted");
	cr_expect_str_eq(text_of("text"), "the overlay is exhausted: 10.77.0.0/22 holds 4 nodes");
	cr_expect(!ca_asked(&q));
	ask(JOIN("n4"));
	cr_expect(ca_asked(&q), "a name that has prefixes needs none");
}

Test(enroll, answers_go_to_whom_they_belong)
{
	static struct message_sign q;
	static struct message_signed no = {.result = SIGN_RATE};
	uint32_t first;

	ask(JOIN("n2"));
	cr_assert(ca_asked(&q));
	first = m.head.seq;
	ca_says(first + 1, &no); /* asked by nobody */
	cr_expect_eq(answers, 0u);
	ca_says(0, &no);
	cr_expect_eq(answers, 0u);
	ca_says(first, grant("n2", 1));
	cr_expect_eq(status, 200);
	ca_says(first, &no); /* twice */
	cr_expect_eq(answers, 1u);
}

Test(enroll, a_joiner_that_left_gets_nothing_and_harms_nobody)
{
	static struct message_sign q;

	ask(JOIN("n2"));
	cr_assert(ca_asked(&q));
	connect_joiner();
	answers = 0;
	ca_says(m.head.seq, grant("n2", 1));
	cr_expect_eq(answers, 0u);
	cr_expect_eq(enroll_waiting(enroll), 0u);
	cr_expect_eq(registry_count(registry), 1u);
	ask(JOIN("n2"));
	cr_assert(ca_asked(&q));
	ca_says(m.head.seq, grant("n2", 1));
	cr_expect_eq(status, 200, "it may ask again");
}

Test(enroll, a_silent_ca_is_waited_for_so_long)
{
	static struct message_sign q;

	ask(JOIN("n2"));
	cr_assert(ca_asked(&q));
	enroll_tick(enroll, now + ENROLL_DEADLINE - 1, wake);
	cr_expect_eq(woken, 0u);
	enroll_tick(enroll, now + ENROLL_DEADLINE, wake);
	link_run(client, server, now);
	cr_expect_eq(woken, 1u);
	expect_error(503, "ca");
	ca_says(m.head.seq, grant("n2", 1)); /* too late */
	cr_expect_eq(answers, 1u);
	cr_expect_eq(registry_count(registry), 1u);
}

/* Every place is taken by a joiner who waits. */
static struct h2 *crowd[ENROLL_WAITING_MAX][2];

static void crowd_comes(void)
{
	for (int i = 0; i < ENROLL_WAITING_MAX; i++) {
		ask(JOIN("n2"));
		crowd[i][0] = client;
		crowd[i][1] = server;
		client = server = NULL;
		connect_joiner();
	}
	cr_assert_eq(enroll_waiting(enroll), (unsigned)ENROLL_WAITING_MAX);
}

static void crowd_goes(void)
{
	for (int i = 0; i < ENROLL_WAITING_MAX; i++) {
		link_run(crowd[i][0], crowd[i][1], now);
		h2_free(crowd[i][0]);
		h2_free(crowd[i][1]);
	}
}

Test(enroll, asks_so_many_at_once)
{
	static struct message_sign q;

	crowd_comes();
	ask(JOIN("n2"));
	expect_error(503, "busy");
	enroll_tick(enroll, now + ENROLL_DEADLINE, wake);
	cr_expect_eq(woken, (unsigned)ENROLL_WAITING_MAX);
	cr_expect_eq(enroll_waiting(enroll), 0u);
	while (ca_asked(&q))
		;
	ask(JOIN("n2"));
	cr_expect(ca_asked(&q));
	crowd_goes();
}

Test(enroll, sends_the_rest_as_the_ca_answers)
{
	static struct message_signed no = {.result = SIGN_NO_TOKEN};
	static struct message_sign q;
	unsigned asked = 0;

	crowd_comes();
	while (ca_asked(&q)) {
		asked++;
		ca_says(m.head.seq, &no);
	}
	cr_expect_eq(asked, (unsigned)ENROLL_WAITING_MAX);
	cr_expect_eq(woken, (unsigned)ENROLL_WAITING_MAX);
	cr_expect_eq(enroll_waiting(enroll), 0u);
	crowd_goes();
}

Test(enroll, uses_no_token_for_who_left_before_the_ca_was_asked)
{
	static struct message_sign q;
	unsigned asked = 0;

	crowd_comes();
	crowd_goes();
	while (ca_asked(&q)) {
		asked++;
		enroll_tick(enroll, now, wake);
	}
	cr_expect_gt(asked, 0u);
	cr_expect_lt(asked, (unsigned)ENROLL_WAITING_MAX);
	cr_expect_eq(enroll_waiting(enroll), asked, "places kept for answers that still come");
}

Test(enroll, does_not_hand_on_what_was_not_asked_for)
{
	struct message_signed *a;
	static struct message_sign q;

	for (int i = 0; i < 6; i++) {
		ask(JOIN("n2"));
		cr_assert(ca_asked(&q));
		a = grant(i == 0 ? "n3" : "n2", 1);
		if (i == 1)
			a->nchain = 1; /* no root */
		if (i == 2)
			a->len[0] = CERT_DER_MAX + 1;
		if (i == 3)
			a->chain[0] ^= 1;
		if (i == 4)
			a->incarnation = 2;
		if (i == 5)
			a->role = ROLE_MANAGER;
		ca_says(m.head.seq, a);
		expect_error(503, "ca");
	}
	cr_expect_eq(registry_count(registry), 1u);
}

Test(enroll, says_when_the_ca_is_gone)
{
	close(ca_fds[1]);
	cr_expect_eq(enroll_readable(enroll, ENDS_WALL, wake), -EPIPE);
	ask(JOIN("n2"));
	expect_error(503, "ca");
	ca_fds[1] = dup(ca_fds[0]);
}

Test(enroll, a_ca_that_breaks_the_table_is_not_heard)
{
	cr_assert_eq(send(ca_fds[1], "x", 1, 0), 1);
	cr_expect_eq(enroll_readable(enroll, ENDS_WALL, wake), -EBADMSG);
}

/* -- renewal ------------------------------------------------------------------------------------- */

Test(enroll, a_renewal_carries_the_certificate_and_what_the_ca_refuses)
{
	struct message_sign got;
	struct message_signed no = {.result = SIGN_SUPERSEDED};
	char text[2 * CERT_DER_MAX + 256];
	struct ends_id id;
	size_t at;

	ends_issue(&cluster.ca, &id, ENDS_CLUSTER, "n7", ROLE_NODE);
	at = (size_t)sprintf(text, "{\"csr\":\"" CSR "\",\"proof\":\"3045ff\",\"certificate\":\"");
	for (size_t i = 0; i < id.len; i++)
		at += (size_t)sprintf(text + at, "%02x", id.der[i]);
	strcpy(text + at, "\"}");
	cr_assert_eq(h2_ask(client, "POST", "/v1/renew", text, strlen(text), NULL), 0);
	link_run(client, server, now);
	cr_assert(ca_asked(&got));
	cr_expect_eq(got.kind, SIGN_RENEW);
	cr_expect_str_eq(got.name, "n7");
	cr_expect_eq(got.cert_len, id.len);
	cr_expect_arr_eq(got.cert, id.der, id.len);
	cr_assert_eq(message_send(ca_fds[1], MESSAGE_SIGNED, m.head.seq, &no, sizeof(no), NULL, 0),
	             0);
	cr_assert_eq(enroll_readable(enroll, ENDS_WALL, wake), 0);
	link_run(client, server, now);
	cr_expect_eq(status, 403);
	cr_expect_str_eq(json_string_value(json_object_get(body, "error")), "superseded");
	cr_assert_eq(h2_ask(client, "POST", "/v1/renew", "{\"certificate\":\"00\"}", 20, NULL), 0);
	link_run(client, server, now);
	cr_expect_eq(status, 400);
	ends_id_clear(&id);
}
