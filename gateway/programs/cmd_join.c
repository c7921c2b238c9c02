/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Enrols this host. The key is kept from before the manager is asked until node.json stands: an
 * answer that was lost, or could not be written, is had again by the same token within the hour.
 * What the manager answers is judged as if a stranger had said it; only then is anything replaced.
 */
#include "gateway/programs/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crypto/hex.h"
#include "crypto/keyfile.h"
#include "crypto/secret.h"
#include "crypto/token.h"
#include "gateway/identity.h"
#include "gateway/programs/host.h"
#include "gateway/programs/joiner.h"
#include "gateway/programs/secretfile.h"
#include "gateway/programs/statedir.h"

#define TOKEN_FILE_MAX 4096
#define KEY_PEM_MAX    4096
#define ROOT_PEM_MAX   (2 * CERT_DER_MAX)
#define CHAIN_PEM_MAX  (CERT_CHAIN_MAX * ROOT_PEM_MAX)
#define PENDING        "node.key.pending"
#define AGAIN          "run it again with the same token: the same key may ask again within the hour"

struct join {
	const struct cmd *c;
	struct config config;
	struct token *token; /* in secret memory */
	struct config_endpoint manager;
	char name[CERT_NAME_MAX + 1];
	struct host_endpoints endpoints;
	struct statedir dir;
	struct cert_key *key;
	struct joiner *joiner;
	json_t *answer;
	char pem[CHAIN_PEM_MAX];
	uint8_t der[CERT_CHAIN_MAX * CERT_DER_MAX];
	struct cert_chain chain; /* into der */
	char root[ROOT_PEM_MAX];
	size_t root_len;
	struct cert_info info;
	struct node node;
};

/* -- the token -------------------------------------------------------------------------------- */

static int parse_token(struct join *j, const char *shown, const char *text, ssize_t n)
{
	int err;

	if (n < 0 && n != -EFBIG) {
		fault(strerrordesc_np((int)-n), "give a file that holds the token", "join: %s",
		      shown);
		return CMD_FAILED;
	}
	err = n < 0 ? -EINVAL : token_parse(j->token, text, (size_t)n);
	if (err == -EBADMSG) {
		fault("the token is mistyped or cut", "copy it again, whole", "join: %s", shown);
		return CMD_FAILED;
	}
	if (err) {
		fault("there is no token in it, which begins with GNL1.",
		      "make one on a manager with "
		      "`ginnel token create`",
		      "join: %s", shown);
		return CMD_FAILED;
	}
	if (j->token->role != ROLE_NODE) {
		fault("it is for a manager, and several managers come with a later version",
		      "make one without --role", "join: %s", shown);
		return CMD_FAILED;
	}
	return CMD_OK;
}

static int read_token(struct join *j)
{
	const char *path = cmd_value(j->c, "token-file");
	bool in = path && !strcmp(path, "-");
	char *text;
	int fd, code;

	if (!path) {
		fault("there is none",
		      "give it with --token-file F, or --token-file - for standard input",
		      "join: a token");
		return CMD_FAILED;
	}
	fd = in ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		fault(strerrordesc_np(errno),
		      errno == ENOENT ? "make one on a manager with `ginnel token create "
		                        ">F`"
		                      : NULL,
		      "join: --token-file %s", path);
		return CMD_FAILED;
	}
	j->token = secret_new(sizeof(*j->token));
	text = secret_new(TOKEN_FILE_MAX);
	code = CMD_FAILED;
	if (!j->token || !text)
		fault("no memory that can be locked", NULL, "join");
	else if (in ||
	         secretfile_check(fd, "join", path,
	                          "if it was yours alone chmod 600 it, else make a new token") ==
	                 CMD_OK)
		code = parse_token(j, in ? "standard input" : path, text,
		                   secretfile_read(fd, text, TOKEN_FILE_MAX));
	secret_free(text, TOKEN_FILE_MAX);
	if (!in)
		close(fd);
	return code;
}

/* -- the key ---------------------------------------------------------------------------------- */

static int state_failed(const char *what, int err)
{
	fault(err == -ENOSPC ? "the disk is full" : strerrordesc_np(-err),
	      err == -ENOSPC ? "free some space and run it again" : NULL, "join: %s", what);
	return CMD_FAILED;
}

/* That of an attempt whose answer did not come, or a new one that is on the disk before we ask. */
static int take_key(struct join *j)
{
	int dir = j->dir.part[STATEDIR_ENGINE].fd;
	char *pem = secret_new(KEY_PEM_MAX);
	size_t len = 0;
	int err = -ENOMEM;

	if (!pem)
		return state_failed("the key", err);
	if (!keyfile_read_secret(dir, PENDING, pem, KEY_PEM_MAX, &len) &&
	    !cert_key_from_pem(&j->key, (const uint8_t *)pem, len)) {
		secret_free(pem, KEY_PEM_MAX);
		return CMD_OK;
	}
	len = 0;
	err = cert_key_new(&j->key);
	if (!err)
		err = cert_key_to_pem(j->key, pem, KEY_PEM_MAX, &len);
	if (!err)
		err = keyfile_write(dir, PENDING, pem, len);
	secret_free(pem, KEY_PEM_MAX);
	return err ? state_failed(j->dir.path, err) : CMD_OK;
}

/* -- asking ----------------------------------------------------------------------------------- */

static json_t *endpoints_json(const struct host_endpoints *e)
{
	char text[CONFIG_ENDPOINT_TEXT_MAX];
	json_t *j = json_array();

	for (unsigned i = 0; i < e->n; i++) {
		config_endpoint_format(&e->at[i], text);
		json_array_append_new(j, json_string(text));
	}
	return j;
}

/* The question, or NULL after saying why not. */
static char *question(struct join *j)
{
	uint8_t csr[CERT_DER_MAX], sig[CERT_SIG_MAX];
	char csr_text[2 * CERT_DER_MAX + 1], sig_text[2 * CERT_SIG_MAX + 1];
	char id[TOKEN_ID_TEXT + 1], *text = NULL;
	size_t csr_len, sig_len;
	json_t *q = NULL;
	int err;

	err = csr_new(j->key, j->name, csr, sizeof(csr), &csr_len);
	if (!err)
		err = token_prove(j->token, joiner_exporter(j->joiner), csr, csr_len, sig,
		                  &sig_len);
	if (err) {
		fault(strerrordesc_np(-err), NULL, "join: no proof could be made");
		return NULL;
	}
	hex_format(csr_text, csr, csr_len);
	hex_format(sig_text, sig, sig_len);
	token_id_format(j->token->id, id);
	q = json_pack("{s:s,s:s,s:s,s:s,s:o,s:s}", "name", j->name, "token", id, "csr", csr_text,
	              "proof", sig_text, "endpoints", endpoints_json(&j->endpoints), "version",
	              GINNEL_VERSION);
	if (q)
		text = json_dumps(q, JSON_COMPACT);
	json_decref(q);
	if (!text)
		fault("no memory", NULL, "join");
	return text;
}

/* What to do about a refusal; the manager's words say what it was. */
static const char *cure_of(const char *reason)
{
	static const struct {
		const char *reason, *cure;
	} cures[] = {
		{"no-token", "make a new one there with `ginnel token create`"},
		{"proof", "make a new one there with `ginnel token create`"},
		{"token-used", "make a new one there with `ginnel token create`"},
		{"token-expired", "make a new one there with `ginnel token create`"},
		{"token-revoked", "make a new one there with `ginnel token create`"},
		{"token-name", "give that name with --name, or make a token for this one"},
		{"name-taken",
	         "choose another with --name, or make a token for it with `ginnel token "
	         "create --name`"},
		{"name-invalid", "choose another with --name"},
		{"rate", "wait a minute, then run it again"},
		{"token-rate", "wait a minute, then run it again"},
		{"overlay-exhausted", "remove nodes that are gone, or make a cluster with a larger "
	                              "--overlay"},
		{"endpoint", "give an address that the others can reach with --advertise"},
		{"busy", "run it again in a few seconds"},
		{"ca", "run it again in a few seconds; if it stays so, see ginneld's log there"},
		{"disk-full", "free some space there, then run it again"},
		{"read-only", "see ginneld's log on the manager, then run it again"},
		{"failed", "see ginneld's log on the manager, then run it again"},
		{"bad-request", "use a ginnel of the same version as the manager's"},
		{"request", "use a ginnel of the same version as the manager's"},
	};

	for (size_t i = 0; reason && i < sizeof(cures) / sizeof(cures[0]); i++)
		if (!strcmp(reason, cures[i].reason))
			return cures[i].cure;
	return "see ginneld's log on the manager";
}

/* Reads {"error","text"}. */
static int say_refused(const struct join *j, int status)
{
	const char *reason = cmd_text(j->answer, "error"), *text = cmd_text(j->answer, "text");
	char number[32];

	snprintf(number, sizeof(number), "HTTP status %d", status);
	fault(text     ? text
	      : reason ? reason
	               : number,
	      cure_of(reason), "join: %s refuses node %s", joiner_manager(j->joiner)->node,
	      j->name);
	return CMD_FAILED;
}

static int ask(struct join *j)
{
	struct joiner_fault f = {.cure = NULL};
	const char *text;
	char *body;
	size_t len;
	int status;

	body = question(j);
	if (!body)
		return CMD_FAILED;
	status = joiner_post(j->joiner, "/v1/join", body, strlen(body), &text, &len, &f);
	free(body);
	if (status < 0) {
		fault(f.why, f.cure, "join: %s", joiner_manager(j->joiner)->node);
		return CMD_FAILED;
	}
	j->answer = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (status != 200)
		return say_refused(j, status);
	return CMD_OK;
}

/* -- judging the answer ----------------------------------------------------------------------- */

static int bad_answer(const struct join *j, const char *why)
{
	fault(why, "nothing was taken from it; see ginneld's log there", "join: the answer of %s",
	      joiner_manager(j->joiner)->node);
	return CMD_FAILED;
}

/* The PEM texts, leaf first, into j->chain. */
static int read_chain(struct join *j)
{
	const json_t *list = json_object_get(j->answer, "certificates");
	size_t len = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *one = json_string_value(json_array_get(list, i));
		size_t n = one ? strlen(one) : 0;

		if (!n || n >= sizeof(j->pem) - len)
			return bad_answer(j, "a certificate in it is too long, or none");
		memcpy(j->pem + len, one, n);
		len += n;
		j->pem[len++] = '\n';
	}
	if (cert_chain_from_pem(&j->chain, j->der, sizeof(j->der), (const uint8_t *)j->pem, len) ||
	    j->chain.n < 2)
		return bad_answer(j, "there is no chain of certificates in it");
	return CMD_OK;
}

/* Ends it in the root that the token names, and is the leaf ours? */
static int judge_chain(struct join *j)
{
	struct cert_expect expect = {
		.cluster = joiner_manager(j->joiner)->cluster,
		.node = j->name,
		.role = ROLE_NODE,
	};
	unsigned last = j->chain.n - 1;
	struct cert_trust *trust;
	enum cert_refusal why;
	uint8_t pin[32];

	if (cert_to_pem(j->root, sizeof(j->root), &j->root_len, j->chain.at[last].der,
	                j->chain.at[last].len) ||
	    cert_trust_new(&trust, (const uint8_t *)j->root, j->root_len))
		return bad_answer(j, "its last certificate is no CA's");
	cert_trust_pin(trust, pin);
	why = memcmp(pin, j->token->pin, sizeof(pin))
	              ? CERT_OTHER_CA
	              : cert_judge(&j->info, trust, &j->chain, &expect, time(NULL));
	cert_trust_free(trust);
	if (why == CERT_EXPIRED || why == CERT_NOT_YET_VALID) {
		fault(cert_refusal_text(why), "compare the clocks of both hosts, then " AGAIN,
		      "join: the certificate from %s", joiner_manager(j->joiner)->node);
		return CMD_FAILED;
	}
	if (why != CERT_OK)
		return bad_answer(j, cert_refusal_text(why));
	if (!cert_key_matches(j->key, j->chain.at[0].der, j->chain.at[0].len))
		return bad_answer(j, "the certificate is for another key");
	return CMD_OK;
}

static bool read_prefixes(const json_t *list, struct prefix *out, unsigned max, unsigned *n)
{
	*n = 0;
	if (!json_is_array(list) || json_array_size(list) > max)
		return false;
	for (; *n < json_array_size(list); ++*n) {
		const char *text = json_string_value(json_array_get(list, *n));

		if (!text || prefix_parse(&out[*n], text))
			return false;
	}
	return true;
}

static bool read_manager(const json_t *one, struct node_manager *m)
{
	const json_t *list = json_object_get(one, "endpoints");
	const char *name = cmd_text(one, "name");

	if (!name || !cert_name_ok(name) || !json_is_array(list) ||
	    json_array_size(list) > CONFIG_ADVERTISE_MAX)
		return false;
	snprintf(m->name, sizeof(m->name), "%s", name);
	for (; m->nendpoints < json_array_size(list); m->nendpoints++) {
		const char *text = json_string_value(json_array_get(list, m->nendpoints));

		if (!text ||
		    config_endpoint_parse(&m->endpoints[m->nendpoints], text, CONFIG_PORT + 1))
			return false;
	}
	return true;
}

/* The address that we came by is known to work from here: it stands first. */
static void add_dialled(struct join *j)
{
	struct node_manager *m = j->node.managers;
	const struct endpoint *far = joiner_far(j->joiner);
	struct config_endpoint e = {.is_addr = true, .at = *far};
	const char *name = joiner_manager(j->joiner)->node;
	unsigned n;

	addr_format(&far->addr, e.host);
	while (m < j->node.managers + j->node.nmanagers && strcmp(m->name, name))
		m++;
	if (m == j->node.managers + j->node.nmanagers) {
		if (j->node.nmanagers == NODE_MANAGERS_MAX)
			m--;
		else
			j->node.nmanagers++;
		memset(m, 0, sizeof(*m));
		snprintf(m->name, sizeof(m->name), "%s", name);
	}
	for (n = 0; n < m->nendpoints; n++)
		if (m->endpoints[n].is_addr && endpoint_equal(&m->endpoints[n].at, far))
			break;
	if (n == m->nendpoints && m->nendpoints < CONFIG_ADVERTISE_MAX)
		m->nendpoints++;
	if (n == CONFIG_ADVERTISE_MAX)
		n--;
	memmove(m->endpoints + 1, m->endpoints, n * sizeof(e));
	m->endpoints[0] = e;
}

static int read_node(struct join *j)
{
	const json_t *a = j->answer, *managers = json_object_get(a, "managers");
	const char *cluster = cmd_text(a, "cluster"), *name = cmd_text(a, "name"), *why;
	struct node *n = &j->node;

	if (!cluster || strcmp(cluster, j->info.cluster) || !name || strcmp(name, j->info.node))
		return bad_answer(j, "it says another cluster or name than the certificate");
	snprintf(n->cluster, sizeof(n->cluster), "%s", cluster);
	snprintf(n->name, sizeof(n->name), "%s", name);
	n->role = ROLE_NODE;
	n->port = j->endpoints.port;
	n->nadvertise = j->endpoints.n;
	memcpy(n->advertise, j->endpoints.at, sizeof(n->advertise));
	if (!read_prefixes(json_object_get(a, "overlay"), n->overlay, CONFIG_OVERLAY_MAX,
	                   &n->noverlay) ||
	    !read_prefixes(json_object_get(a, "pools"), n->pools, NODE_POOLS_MAX, &n->npools) ||
	    !read_prefixes(json_object_get(a, "prefixes"), n->prefixes, CONFIG_PREFIXES_MAX,
	                   &n->nprefixes) ||
	    !n->nprefixes)
		return bad_answer(j, "its overlay, pools or prefixes cannot be read");
	if (!json_is_array(managers) || json_array_size(managers) > NODE_MANAGERS_MAX)
		return bad_answer(j, "its managers cannot be read");
	for (; n->nmanagers < json_array_size(managers); n->nmanagers++)
		if (!read_manager(json_array_get(managers, n->nmanagers),
		                  &n->managers[n->nmanagers]))
			return bad_answer(j, "its managers cannot be read");
	add_dialled(j);
	why = node_refusal(n);
	return why ? bad_answer(j, why) : CMD_OK;
}

/* What ginneld guards must not be the network that the host itself lives in. */
static int check_underlay(const struct join *j, const struct prefix *list, unsigned n,
                          const char *kind)
{
	char what[128], prefix[PREFIX_TEXT_MAX], far[ADDR_TEXT_MAX];

	for (unsigned i = 0; i < n; i++) {
		prefix_format(&list[i], prefix);
		if (host_meets(&j->config, &list[i], what, sizeof(what)) == 1) {
			fault(what,
			      "this host cannot join that cluster as its network is; give it other "
			      "addresses",
			      "join: the cluster's %s %s meets this host's own network", kind,
			      prefix);
			return CMD_FAILED;
		}
		if (prefix_contains(&list[i], &joiner_far(j->joiner)->addr)) {
			addr_format(&joiner_far(j->joiner)->addr, far);
			fault("what runs over it cannot lie in it",
			      "join by the manager's address below "
			      "the overlay",
			      "join: %s lies in the cluster's %s %s", far, kind, prefix);
			return CMD_FAILED;
		}
	}
	return CMD_OK;
}

/* ginneld will hold the config against the cluster at each start. */
static int check_config(const struct join *j)
{
	char why[512];

	if (!node_check_config(&j->node, &j->config, why, sizeof(why)))
		return CMD_OK;
	fault(why, NULL, "join: %s", j->config.path);
	return CMD_FAILED;
}

static int judge(struct join *j)
{
	if (read_chain(j) || judge_chain(j) || read_node(j) || check_config(j) ||
	    check_underlay(j, j->node.overlay, j->node.noverlay, "overlay") ||
	    check_underlay(j, j->node.pools, j->node.npools, "pool"))
		return CMD_FAILED;
	return CMD_OK;
}

/* -- writing, telling ------------------------------------------------------------------------- */

static int save(struct join *j)
{
	static const char *const files[] = {"node.key", "node.pem", "ca.pem"};
	int dir = j->dir.part[STATEDIR_ENGINE].fd;
	int err;

	err = identity_save_dir(dir, "node", j->key, &j->chain, j->root, j->root_len);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && !err; i++)
		err = statedir_own(&j->dir, STATEDIR_ENGINE, files[i]);
	if (!err)
		err = statedir_finish(&j->dir, &j->node);
	if (err) {
		fault(err == -ENOSPC ? "the disk is full" : strerrordesc_np(-err),
		      err == -ENOSPC ? "free some space, then " AGAIN : AGAIN, "join: %s",
		      j->dir.path);
		return CMD_FAILED;
	}
	unlinkat(dir, PENDING, 0);
	return CMD_OK;
}

static bool granted(const struct cert_labels *l, const struct cert_label *wanted)
{
	for (unsigned i = 0; i < l->n; i++)
		if (!strcmp(l->at[i].key, wanted->key))
			return !strcmp(l->at[i].value, wanted->value);
	return false;
}

/* A config may ask for labels; a token or an operator grants them. */
static void tell_labels(const struct join *j)
{
	const struct cert_labels *l = &j->config.labels;

	for (unsigned i = 0; i < l->n; i++)
		if (!granted(&j->info.labels, &l->at[i]))
			fprintf(stderr,
			        "label %s=%s was asked for by the config and not granted: the "
			        "token has to say it (ginnel token create --label)\n",
			        l->at[i].key, l->at[i].value);
}

static int tell(const struct join *j)
{
	char address[ADDR_TEXT_MAX] = "", text[PREFIX_TEXT_MAX];
	struct addr a;
	json_t *out;
	int code;

	tell_labels(j);
	if (node_address(&j->node, 4, &a) || node_address(&j->node, 6, &a))
		addr_format(&a, address);
	if (!j->c->json) {
		printf("this host is node %s of cluster %s, %s: start ginneld\n", j->node.name,
		       j->node.cluster, address);
		return CMD_OK;
	}
	out = json_pack("{s:s,s:s,s:s?,s:[],s:s}", "cluster", j->node.cluster, "node", j->node.name,
	                "address", address[0] ? address : NULL, "prefixes", "manager",
	                joiner_manager(j->joiner)->node);
	for (unsigned i = 0; i < j->node.nprefixes; i++) {
		prefix_format(&j->node.prefixes[i], text);
		json_array_append_new(json_object_get(out, "prefixes"), json_string(text));
	}
	code = cmd_print_json(out);
	json_decref(out);
	return code;
}

/* -- the command ------------------------------------------------------------------------------ */

static int prepare(struct join *j)
{
	if (cmd_config(j->c, &j->config))
		return CMD_FAILED;
	if (config_is_static(&j->config)) {
		fault("it sets identity or peers, which is a host without a cluster",
		      "remove them, or start ginneld without join", "join: %s", j->config.path);
		return CMD_FAILED;
	}
	if (config_endpoint_parse(&j->manager, j->c->args[0], CONFIG_PORT + 1)) {
		fault("not ADDR, NAME, ADDR:PORT or [IPV6]:PORT", "write it like 10.9.0.1",
		      "join: \"%s\"", j->c->args[0]);
		return CMD_FAILED;
	}
	if (read_token(j) || host_name(j->c, &j->config, "join", j->name) ||
	    host_endpoints(j->c, &j->config, "join", &j->endpoints) ||
	    statedir_take(&j->dir, j->c, "join") || statedir_open(&j->dir, STATEDIR_ENGINE))
		return CMD_FAILED;
	return take_key(j);
}

static int meet_manager(struct join *j)
{
	char through[CONFIG_ENDPOINT_TEXT_MAX];
	struct joiner_fault f;

	config_endpoint_format(&j->manager, through);
	fprintf(stderr, "joining through %s\n", through);
	if (joiner_new(&j->joiner, &j->manager, j->token->pin, &f)) {
		fault(f.why, f.cure, "join: %s", through);
		return CMD_FAILED;
	}
	if (!j->endpoints.n && !host_endpoint_set(&j->endpoints, joiner_own(j->joiner))) {
		fault("the address towards the manager is none that other hosts can reach",
		      "give one with --advertise ADDR", "join: no address to advertise");
		return CMD_FAILED;
	}
	fprintf(stderr, "manager %s of cluster %s answers; asking to be node %s\n",
	        joiner_manager(j->joiner)->node, joiner_manager(j->joiner)->cluster, j->name);
	return CMD_OK;
}

int cmd_join(struct cmd *c)
{
	struct join *j = calloc(1, sizeof(*j));
	int code = CMD_FAILED;

	if (!j) {
		fault("no memory", NULL, "join");
		return CMD_FAILED;
	}
	j->c = c;
	j->dir.fd = -1;
	for (int p = 0; p < STATEDIR_PARTS; p++)
		j->dir.part[p].fd = -1;
	if (!prepare(j) && !meet_manager(j) && !ask(j) && !judge(j) && !save(j))
		code = tell(j);
	joiner_free(j->joiner);
	json_decref(j->answer);
	cert_key_free(j->key);
	statedir_release(&j->dir);
	secret_free(j->token, sizeof(*j->token));
	config_clear(&j->config);
	free(j);
	return code;
}
