/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Undoes join. The cluster is told first, by a proof of our key, so that the others cut us off and the
 * name is free; then ginneld and the guards go; then what this host was. A kill in between is mended
 * by running it again.
 */
#include "gateway/programs/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crypto/hex.h"
#include "crypto/proof.h"
#include "gateway/identity.h"
#include "gateway/programs/joiner.h"
#include "gateway/programs/statedir.h"

#define BODY_MAX (2 * CERT_DER_MAX + 2 * CERT_SIG_MAX + 64)
#define WHY_MAX  1024

struct leave {
	struct cmd *c;
	struct node node;
	struct identity identity;
	char why[WHY_MAX]; /* why the cluster could not be told */
};

static int load_identity(struct leave *l)
{
	int state, dir, err;

	if (cmd_state_dir(l->c, &state) != CMD_OK)
		return -ENOENT;
	dir = openat(state, "engine", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	close(state);
	if (dir < 0) {
		snprintf(l->why, sizeof(l->why), "engine: %s", strerrordesc_np(errno));
		return -errno;
	}
	err = identity_load_renewable(&l->identity, dir, "node", time(NULL), l->why,
	                              sizeof(l->why));
	close(dir);
	return err;
}

static char *hex(char *at, const uint8_t *p, size_t n)
{
	hex_format(at, p, n);
	return at + 2 * n;
}

static int make_body(const struct leave *l, const uint8_t *exporter, char body[BODY_MAX])
{
	const uint8_t *cert = l->identity.chain.at[0].der;
	size_t len = l->identity.chain.at[0].len, sig_len;
	uint8_t sig[CERT_SIG_MAX];
	int err;

	err = proof_make(PROOF_LEAVE, l->identity.key, exporter, cert, len, sig, &sig_len);
	if (err)
		return err;
	body = hex(stpcpy(body, "{\"certificate\":\""), cert, len);
	body = hex(stpcpy(body, "\",\"proof\":\""), sig, sig_len);
	strcpy(body, "\"}");
	return 0;
}

/* 0: the cluster knows, or has known already. */
static int tell_one(struct leave *l, const struct config_endpoint *at)
{
	struct joiner_fault f = {.cure = NULL};
	char body[BODY_MAX];
	struct joiner *j;
	const char *text, *error;
	uint8_t pin[32];
	json_t *answer;
	size_t len;
	int status;

	cert_trust_pin(l->identity.trust, pin);
	status = joiner_new(&j, at, pin, &f);
	if (!status)
		status = make_body(l, joiner_exporter(j), body);
	else
		j = NULL;
	if (!status)
		status = joiner_post(j, "/v1/leave", body, strlen(body), &text, &len, &f);
	if (status == 200) {
		joiner_free(j);
		return 0;
	}
	snprintf(l->why, sizeof(l->why), "%s", f.why[0] ? f.why : strerrordesc_np(-status));
	answer = status > 0 ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
	error = cmd_text(answer, "error");
	if (status > 0)
		snprintf(l->why, sizeof(l->why), "%s",
		         cmd_text(answer, "text") ? cmd_text(answer, "text") : "it refuses");
	/* Removed, or its name has gone to another host: there is nothing to leave. */
	if (error && (!strcmp(error, "unknown-node") || !strcmp(error, "joined-anew")))
		status = 200;
	json_decref(answer);
	joiner_free(j);
	return status == 200 ? 0 : -EACCES;
}

static int tell_cluster(struct leave *l)
{
	int err = load_identity(l);

	if (err)
		return err;
	err = -EHOSTUNREACH;
	snprintf(l->why, sizeof(l->why), "it knows no manager");
	for (unsigned m = 0; m < l->node.nmanagers && err; m++)
		for (unsigned e = 0; e < l->node.managers[m].nendpoints && err; e++)
			err = tell_one(l, &l->node.managers[m].endpoints[e]);
	return err;
}

static int leave(struct leave *l)
{
	bool json = l->c->json;
	int code;

	if (cmd_node(l->c, &l->node) != CMD_OK)
		return CMD_FAILED;
	if (l->node.role != ROLE_NODE) {
		fault("this host is the cluster's manager, without which no host can join or renew",
		      "remove the others first; then run ginnel down here and move the folder away",
		      "leave: %s", l->node.name);
		return CMD_FAILED;
	}
	if (tell_cluster(l)) {
		if (!cmd_flag(l->c, "force")) {
			fault(l->why,
			      "with --force this host leaves all the same; then run ginnel node "
			      "remove on a manager",
			      "leave: the cluster could not be told");
			return CMD_FAILED;
		}
		fprintf(stderr,
		        "the cluster could not be told (%s): run ginnel node remove %s on a "
		        "manager\n",
		        l->why, l->node.name);
	}
	l->c->json = false;
	code = cmd_down(l->c);
	l->c->json = json;
	return code == CMD_OK ? statedir_forget(l->c, "leave") : code;
}

int cmd_leave(struct cmd *c)
{
	struct leave *l = calloc(1, sizeof(*l));
	json_t *out;
	int code;

	if (!l) {
		fault("no memory", NULL, "leave");
		return CMD_FAILED;
	}
	l->c = c;
	if (geteuid() != 0) {
		fault("only root may", "use sudo", "leave");
		code = CMD_FAILED;
	} else {
		code = leave(l);
	}
	if (code == CMD_OK && c->json) {
		out = json_pack("{s:s, s:s}", "cluster", l->node.cluster, "node", l->node.name);
		code = cmd_print_json(out);
		json_decref(out);
	} else if (code == CMD_OK) {
		printf("this host was node %s of cluster %s\n", l->node.name, l->node.cluster);
	}
	identity_clear(&l->identity);
	free(l);
	return code;
}
