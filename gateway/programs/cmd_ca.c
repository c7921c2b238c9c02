/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The CA of this manager: which it is, and an intermediate in the root's place. The root's certificate
 * stays what everybody trusts; its key need not lie on a host.
 */
#include "gateway/programs/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crypto/hex.h"
#include "crypto/secret.h"
#include "gateway/privsep/cafiles.h"
#include "gateway/programs/secretfile.h"
#include "gateway/programs/statedir.h"

#define IMPORT_MAX 16384 /* key and two certificates, PEM */
#define IMPORT_LEFT_MIN \
	CA_NODE_LIFE /* s that it must be good for: else it would cut nodes' certificates */

static void time_text(time_t t, char out[32])
{
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(out, 32, "1970-01-01T00:00:00Z");
}

/* -- ca show ---------------------------------------------------------------------------------- */

/* What a certificate of a CA says; init and tokens name a root by its key's hash. */
struct shown {
	char fingerprint[65], not_after[32];
};

static int show_one(const struct cert_chain *chain, unsigned i, struct shown *out)
{
	uint8_t spki[CERT_SPKI_MAX], hash[32];
	size_t len;
	time_t end;
	int err = cert_spki(chain->at[i].der, chain->at[i].len, spki, &len);

	if (!err)
		err = cert_ends(chain->at[i].der, chain->at[i].len, &end);
	if (err)
		return err;
	cert_spki_hash(spki, len, hash);
	hex_format(out->fingerprint, hash, sizeof(hash));
	time_text(end, out->not_after);
	return 0;
}

static int show(const struct cmd *c, const struct cert_chain *chain)
{
	struct shown root, own;
	json_t *j;
	int code, err = show_one(chain, chain->n - 1, &root);

	if (!err)
		err = show_one(chain, 0, &own);
	if (err) {
		fault(strerrordesc_np(-err), NULL, "ca show");
		return CMD_FAILED;
	}
	if (!c->json) {
		printf("root  sha256 %s\n      good until %s\n", root.fingerprint, root.not_after);
		if (chain->n > 1)
			printf("issues by an intermediate, the root's key is elsewhere\n"
			       "      sha256 %s\n      good until %s\n",
			       own.fingerprint, own.not_after);
		return CMD_OK;
	}
	j = json_pack("{s:[{s:s,s:s,s:s}],s:n}", "roots", "fingerprint", root.fingerprint,
	              "not_after", root.not_after, "state", chain->n > 1 ? "offline" : "active",
	              "rotation");
	code = cmd_print_json(j);
	json_decref(j);
	return code;
}

int cmd_ca_show(struct cmd *c)
{
	uint8_t *pem = malloc(CAFILES_CHAIN_MAX), *der = malloc(CERT_CHAIN_MAX * CERT_DER_MAX);
	struct cert_chain chain;
	int state = -1, dir = -1, err = pem && der ? 0 : -ENOMEM;
	int code = cmd_on_manager(c, "ca show");
	size_t len;

	if (code == CMD_OK)
		code = cmd_state_dir(c, &state);
	if (code == CMD_OK && !err) {
		dir = openat(state, "ca", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		err = dir < 0 ? -errno
		              : keyfile_read(dir, CAFILES_CHAIN, pem, CAFILES_CHAIN_MAX, &len);
	}
	if (code == CMD_OK && !err)
		err = cert_chain_from_pem(&chain, der, CERT_CHAIN_MAX * CERT_DER_MAX, pem, len);
	if (code == CMD_OK && err) {
		fault(strerrordesc_np(-err), "run it as root", "ca show: %s/ca/" CAFILES_CHAIN,
		      c->state_path);
		code = CMD_FAILED;
	} else if (code == CMD_OK) {
		code = show(c, &chain);
	}
	if (dir >= 0)
		close(dir);
	if (state >= 0)
		close(state);
	free(pem);
	free(der);
	return code;
}

/* -- ca import -------------------------------------------------------------------------------- */

struct import {
	struct cmd *c;
	struct node node;
	struct statedir dir;
	struct cafiles now; /* what lies here */
	char *text;         /* IMPORT_MAX of secret memory */
	size_t len;
	uint8_t *chain;            /* PEM: the intermediate, the root */
	size_t chain_len, root_at; /* where the root begins in it */
	struct ca *ca;
	time_t end;
};

static int refuse(const struct import *i, const char *why, const char *cure)
{
	fault(why, cure, "ca import: %s", i->c->args[0]);
	return CMD_FAILED;
}

static int read_file(struct import *i)
{
	int fd = open(i->c->args[0], O_RDONLY | O_CLOEXEC | O_NOCTTY), code;
	ssize_t n = 0;

	if (fd < 0)
		return refuse(i, strerrordesc_np(errno), "nothing was changed");
	code = secretfile_check(fd, "ca import", i->c->args[0],
	                        "chown it to root and chmod 600 it");
	if (code == CMD_OK)
		n = secretfile_read(fd, i->text, IMPORT_MAX - 1);
	close(fd);
	if (code != CMD_OK)
		return code;
	if (n < 0)
		return refuse(i, n == -EFBIG ? "it is too long" : strerrordesc_np((int)-n),
		              "give a file with the key and the certificate alone");
	i->len = (size_t)n;
	return strlen(i->text) == i->len ? CMD_OK
	                                 : refuse(i, "it is no PEM file", "nothing was changed");
}

static int load_present(struct import *i)
{
	int err = cafiles_load(&i->now, i->dir.part[STATEDIR_CA].fd);

	if (!err)
		return CMD_OK;
	fault(strerrordesc_np(-err), "mend that first, or restore a backup", "ca import: %s/ca/%s",
	      i->c->state_path, i->now.faulty);
	return CMD_FAILED;
}

/* Certificates and keys of a PEM file are read by different readers, each of which wants its own alone:
 * this finds the first block of a kind whose name ends so, or NULL.
 */
static char *block_find(char *text, const char *kind, size_t *len)
{
	char *begin = text, *end;

	while ((begin = strstr(begin, "-----BEGIN "))) {
		char *name = begin + strlen("-----BEGIN "), *rest = strstr(name, "-----\n");

		if (!rest)
			return NULL;
		end = strstr(rest, "-----END ");
		end = end ? strstr(end, "-----\n") : NULL;
		if (!end)
			return NULL;
		if ((size_t)(rest - name) >= strlen(kind) &&
		    !memcmp(rest - strlen(kind), kind, strlen(kind))) {
			*len = (size_t)(end - begin) + strlen("-----\n");
			return begin;
		}
		begin = end;
	}
	return NULL;
}

/* The chain is the file's first certificate and the root that everybody has: others in it do not count. */
static int make_chain(struct import *i, const char *cert, size_t cert_len)
{
	struct cert_chain now;
	size_t len = cert_len;
	int err;

	ca_chain(i->now.ca, &now);
	if (cert_len > CAFILES_CHAIN_MAX)
		return refuse(i, "its certificate is too long", "nothing was changed");
	memcpy(i->chain, cert, cert_len);
	err = cert_to_pem((char *)i->chain, CAFILES_CHAIN_MAX, &len, now.at[now.n - 1].der,
	                  now.at[now.n - 1].len);
	i->root_at = cert_len;
	i->chain_len = len;
	return err ? refuse(i, strerrordesc_np(-err), "nothing was changed") : CMD_OK;
}

static int load_new(struct import *i)
{
	size_t key_len, cert_len;
	char *key = block_find(i->text, "PRIVATE KEY", &key_len);
	char *cert = block_find(i->text, "CERTIFICATE", &cert_len);
	struct cert_chain chain;
	int err;

	if (!key || !cert)
		return refuse(
			i, "there is no key in it, or no certificate",
			"put the intermediate's certificate and its key, unencrypted, into one "
			"PEM file");
	if (make_chain(i, cert, cert_len) != CMD_OK)
		return CMD_FAILED;
	err = ca_load(&i->ca, (const uint8_t *)key, key_len, i->chain, i->chain_len);
	if (err == -EBADMSG)
		return refuse(i, "its key or certificate is damaged, or no P-256 one",
		              "take another copy of it");
	if (err)
		return refuse(
			i,
			"key and certificate do not belong together, or this cluster's root did "
			"not issue it as a CA",
			"have it issued by the root that ginnel ca show names");
	ca_chain(i->ca, &chain);
	if (chain.at[0].len == chain.at[1].len &&
	    !memcmp(chain.at[0].der, chain.at[1].der, chain.at[0].len))
		return refuse(i, "it is the root itself",
		              "have it issue an intermediate, and import that");
	/* Placed for the disk: the key alone. */
	memmove(i->text, key, key_len);
	secret_wipe(i->text + key_len, IMPORT_MAX - key_len);
	i->len = key_len;
	return CMD_OK;
}

/* As every node will judge it: by a certificate that it issues. */
static enum cert_refusal judge_leaf(const struct import *i, const struct cert_trust *trust,
                                    const struct cert_key *key, time_t now)
{
	const struct ca_grant g = {.cluster = i->node.cluster,
	                           .node = i->node.name,
	                           .role = ROLE_NODE,
	                           .not_before = now - CA_BACKDATE,
	                           .not_after = now + CA_NODE_LIFE};
	const struct cert_expect expect = {i->node.cluster, i->node.name, ROLE_NODE};
	struct cert_chain chain;
	struct cert_info info;
	uint8_t leaf[CERT_DER_MAX];
	const uint8_t *spki;
	size_t spki_len, len;

	spki = cert_key_spki(key, &spki_len);
	ca_chain(i->ca, &chain);
	if (chain.n != 2 || ca_issue(i->ca, &g, spki, spki_len, leaf, &len))
		return CERT_CHAIN_LENGTH;
	chain.at[2] = chain.at[1];
	chain.at[1] = chain.at[0];
	chain.at[0].der = leaf;
	chain.at[0].len = len;
	chain.n = 3;
	return cert_judge(&info, trust, &chain, &expect, now);
}

static int check_use(struct import *i)
{
	struct cert_trust *trust = NULL;
	struct cert_key *key = NULL;
	struct cert_chain now;
	enum cert_refusal why = CERT_OK;
	time_t wall = time(NULL);
	int err;

	ca_chain(i->ca, &now);
	err = cert_trust_new(&trust, i->chain + i->root_at, i->chain_len - i->root_at);
	if (!err)
		err = cert_key_new(&key);
	if (!err)
		err = cert_ends(now.at[0].der, now.at[0].len, &i->end);
	if (!err)
		why = judge_leaf(i, trust, key, wall);
	cert_trust_free(trust);
	cert_key_free(key);
	if (err)
		return refuse(i, strerrordesc_np(-err), "nothing was changed");
	if (why != CERT_OK)
		return refuse(i, cert_refusal_text(why),
		              "have one issued that is a CA with path length 0, of a P-256 key, by "
		              "SHA-256, and good now");
	if (i->end - wall < IMPORT_LEFT_MIN)
		return refuse(i, "it ends within a week, which is what nodes' certificates last",
		              "have one issued that is good for longer");
	return CMD_OK;
}

static int change(struct import *i)
{
	const struct statedir *d = &i->dir;
	char end[32];
	int err = cafiles_replace(d->part[STATEDIR_CA].fd, d->part[STATEDIR_CA].uid,
	                          d->part[STATEDIR_CA].gid, (const uint8_t *)i->text, i->len,
	                          i->chain, i->chain_len);

	if (err)
		return refuse(i, err == -ENOSPC ? "the disk is full" : strerrordesc_np(-err),
		              "the CA is what it was");
	time_text(i->end, end);
	if (!i->c->json)
		printf("this manager issues by the intermediate now, good until %s; import the "
		       "next "
		       "one\n"
		       "before. Start ginneld. The key that lay here was overwritten: what the "
		       "disk "
		       "keeps of it,\n"
		       "and its backups, are yours to destroy.\n",
		       end);
	return CMD_OK;
}

static int run(struct import *i)
{
	static int (*const steps[])(struct import *) = {read_file, load_present, load_new,
	                                                check_use, change};
	int code = cmd_node(i->c, &i->node);

	if (code == CMD_OK && i->node.role != ROLE_MANAGER)
		code = cmd_on_manager(i->c, "ca import");
	if (code == CMD_OK)
		code = statedir_lock(&i->dir, i->c, "ca import");
	if (code == CMD_OK)
		code = statedir_open(&i->dir, STATEDIR_CA);
	for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]) && code == CMD_OK; k++)
		code = steps[k](i);
	return code;
}

int cmd_ca_import(struct cmd *c)
{
	struct import *i = calloc(1, sizeof(*i));
	int code = CMD_FAILED;

	if (!i) {
		fault("no memory", NULL, "ca import");
		return CMD_FAILED;
	}
	i->c = c;
	i->dir.fd = -1;
	for (int p = 0; p < STATEDIR_PARTS; p++)
		i->dir.part[p].fd = -1;
	i->text = secret_new(IMPORT_MAX);
	i->chain = malloc(CAFILES_CHAIN_MAX);
	if (!i->text || !i->chain)
		fault("no memory that can be locked", NULL, "ca import");
	else
		code = run(i);
	if (code == CMD_OK && c->json)
		code = cmd_ca_show(c);
	cafiles_clear(&i->now);
	statedir_release(&i->dir);
	ca_free(i->ca);
	secret_free(i->text, IMPORT_MAX);
	free(i->chain);
	free(i);
	return code;
}
