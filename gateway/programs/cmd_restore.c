/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A manager from its backup, on its own host or on another one. All that can be wrong with the file, the
 * passphrase or the folder is found before anything in it is changed: the databases are made in a folder
 * beside, opened, brought up to date and closed there. From the moment that node.json is taken away until it
 * is back the host is enrolled nowhere, so that a kill in between is mended by running it again.
 */
#include "gateway/programs/cmd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crypto/keyfile.h"
#include "crypto/secret.h"
#include "crypto/vault.h"
#include "gateway/backup.h"
#include "gateway/identity.h"
#include "gateway/manager/registry.h"
#include "gateway/privsep/cafiles.h"
#include "gateway/programs/secretfile.h"
#include "gateway/programs/selfissue.h"
#include "gateway/programs/statedir.h"

#define KEY_PEM_MAX 4096
#define SCRATCH     "restore.unfinished"
#define WHY_MAX     1024

struct restore {
	struct cmd *c;
	time_t now;
	uint8_t *bytes;
	size_t len;
	struct backup backup;
	struct node node;
	struct statedir dir;
	int scratch;
	char *key; /* KEY_PEM_MAX of secret memory; of the CA */
	size_t key_len;
	bool key_here; /* it lies in the folder already */
	struct ca *ca;
	char root[2 * CERT_DER_MAX]; /* PEM */
	size_t root_len;
	struct ledger *ledger;
	struct registry *registry;
	struct ledger_node self;
	struct registry_node record; /* these are too large for a frame */
	struct cert_info issued[2];
	struct identity node_id, manager_id;
	struct cert_key *node_key, *manager_key; /* new ones, if this host has none */
};

static int failed(const char *what, int err)
{
	fault(err == -ENOSPC ? "the disk is full, nothing was changed" : strerrordesc_np(-err),
	      err == -ENOSPC ? "free some space and run it again" : "nothing was changed",
	      "restore: %s", what);
	return CMD_FAILED;
}

/* -- the file --------------------------------------------------------------------------------- */

static int read_file(struct restore *r)
{
	const char *path = r->c->args[0];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), err = 0;
	struct stat st;
	ssize_t n = 0;

	if (fd < 0 || fstat(fd, &st))
		return failed(path, -errno);
	if (!S_ISREG(st.st_mode) || (uintmax_t)st.st_size > BACKUP_MAX)
		err = S_ISREG(st.st_mode) ? -EFBIG : -EINVAL;
	r->bytes = err ? NULL : malloc((size_t)st.st_size + 1);
	if (!err && !r->bytes)
		err = -ENOMEM;
	if (!err)
		n = secretfile_read(fd, (char *)r->bytes, (size_t)st.st_size + 1);
	close(fd);
	if (n < 0)
		err = (int)n;
	r->len = err ? 0 : (size_t)n;
	return err ? failed(path, err) : CMD_OK;
}

static const struct backup_part *part(const struct restore *r, enum backup_kind kind)
{
	return &r->backup.parts[kind];
}

static int refuse_damaged(const struct restore *r)
{
	fault("it is cut or damaged", "take another copy of it", "restore: %s", r->c->args[0]);
	return CMD_FAILED;
}

static int parse_file(struct restore *r)
{
	const struct backup_part *p;
	int err = backup_parse(&r->backup, r->bytes, r->len);

	if (err == -EPROTO) {
		fault("it was made by another version of ginnel", "install that one", "restore: %s",
		      r->c->args[0]);
		return CMD_FAILED;
	}
	if (err) {
		fault("it is no backup of ginnel's, or cut", "take another copy of it",
		      "restore: %s", r->c->args[0]);
		return CMD_FAILED;
	}
	p = part(r, BACKUP_NODE);
	if (node_parse(&r->node, (const char *)p->at, p->len) || r->node.role != ROLE_MANAGER)
		return refuse_damaged(r);
	return CMD_OK;
}

/* -- what lies here --------------------------------------------------------------------------- */

static int refuse_other(const struct restore *r, const char *what)
{
	fault(what,
	      "restore into another folder, or stop ginneld, run `ginnel down`, and move that "
	      "folder away",
	      "restore: %s", r->c->state_path);
	return CMD_FAILED;
}

static int check_node(struct restore *r)
{
	struct node *here = calloc(1, sizeof(*here));
	char what[3 * CERT_NAME_MAX + 64];
	int err = here ? node_load(here, r->dir.fd) : -ENOMEM, code = CMD_OK;

	if (!err && (strcmp(here->cluster, r->node.cluster) || strcmp(here->name, r->node.name) ||
	             here->role != ROLE_MANAGER)) {
		snprintf(what, sizeof(what), "this host is %s of cluster %s, the backup is of %s",
		         here->name, here->cluster, r->node.name);
		code = refuse_other(r, what);
	} else if (err && err != -ENOENT && err != -EBADMSG) {
		code = failed(NODE_FILE, err);
	}
	free(here);
	return code;
}

/* The root's certificate says which cluster it is; names may be alike. */
static int check_root(struct restore *r)
{
	uint8_t *pem = malloc(KEYFILE_MAX), *der = malloc(CERT_CHAIN_MAX * CERT_DER_MAX);
	const struct backup_part *p = part(r, BACKUP_CHAIN);
	struct cert_chain ours, here;
	uint8_t root[CERT_DER_MAX];
	size_t len = 0, root_len = 0;
	int err = -ENOMEM, code = CMD_OK;

	if (pem && der)
		err = cert_chain_from_pem(&ours, der, CERT_CHAIN_MAX * CERT_DER_MAX, p->at, p->len);
	if (err) {
		code = refuse_damaged(r);
		goto out;
	}
	root_len = ours.at[ours.n - 1].len;
	memcpy(root, ours.at[ours.n - 1].der, root_len);
	err = cert_to_pem(r->root, sizeof(r->root), &r->root_len, root, root_len);
	if (err) {
		code = refuse_damaged(r);
		goto out;
	}
	err = keyfile_read(r->dir.part[STATEDIR_CA].fd, CAFILES_CHAIN, pem, KEYFILE_MAX, &len);
	if (err == -ENOENT)
		goto out;
	if (!err)
		err = cert_chain_from_pem(&here, der, CERT_CHAIN_MAX * CERT_DER_MAX, pem, len);
	if (err || here.at[here.n - 1].len != root_len ||
	    memcmp(here.at[here.n - 1].der, root, root_len) != 0)
		code = refuse_other(r, "another cluster's CA lies there");
out:
	free(pem);
	free(der);
	return code;
}

/* -- the CA's key ----------------------------------------------------------------------------- */

static int load_ca(struct restore *r)
{
	const struct backup_part *p = part(r, BACKUP_CHAIN);

	return ca_load(&r->ca, (const uint8_t *)r->key, r->key_len, p->at, p->len);
}

static int unseal_key(struct restore *r)
{
	const struct backup_part *p = part(r, BACKUP_KEY), *chain = part(r, BACKUP_CHAIN);
	char *passphrase = secret_new(PASSPHRASE_MAX);
	uint8_t about[32];
	size_t n = 0;
	int code = passphrase ? passphrase_read(r->c, "restore", false, passphrase, &n)
	                      : failed("the CA's key", -ENOMEM);
	int err = p->len > KEY_PEM_MAX + VAULT_OVERHEAD ? -EBADMSG : 0;

	if (code == CMD_OK && !err) {
		cert_spki_hash(chain->at, chain->len, about);
		err = vault_open((uint8_t *)r->key, passphrase, n, p->at, p->len, about,
		                 sizeof(about));
	}
	secret_free(passphrase, PASSPHRASE_MAX);
	if (code != CMD_OK)
		return code;
	if (err == -EKEYREJECTED) {
		fault("it does not open the CA's key", "try another one",
		      "restore: the passphrase");
		return CMD_FAILED;
	}
	r->key_len = p->len - VAULT_OVERHEAD;
	return err || load_ca(r) ? refuse_damaged(r) : CMD_OK;
}

/* The one that lies here, if it is the backup's; else the backup's own. */
static int take_key(struct restore *r)
{
	size_t spki_len;
	const uint8_t *spki;
	int code = CMD_OK;

	r->key_here = !keyfile_read_secret(r->dir.part[STATEDIR_CA].fd, CAFILES_KEY, r->key,
	                                   KEY_PEM_MAX, &r->key_len) &&
	              !load_ca(r);
	if (!r->key_here && part(r, BACKUP_KEY)->at) {
		code = unseal_key(r);
	} else if (!r->key_here) {
		fault("the backup holds none, and " CAFILES_KEY " here is missing or another's",
		      "take a backup made with --with-ca, or put " CAFILES_KEY
		      " there, 0600 of root, and run it again",
		      "restore: the CA's key: %s/ca", r->c->state_path);
		code = CMD_FAILED;
	}
	if (code != CMD_OK)
		return code;
	spki = cert_key_spki(ca_key(r->ca), &spki_len);
	return backup_check(&r->backup, r->bytes, spki, spki_len) ? refuse_damaged(r) : CMD_OK;
}

/* -- the databases, in a folder beside -------------------------------------------------------- */

/* All of it: a kill leaves temporary names, too. */
static void scratch_clean(int state)
{
	int fd = openat(state, SCRATCH, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(d))) /* NOLINT(concurrency-mt-unsafe): the stream is ours alone */
		unlinkat(fd, e->d_name, 0);
	closedir(d);
	unlinkat(state, SCRATCH, AT_REMOVEDIR);
}

static int scratch_fill(struct restore *r)
{
	const struct backup_part *l = part(r, BACKUP_LEDGER), *g = part(r, BACKUP_REGISTRY);
	int err;

	scratch_clean(r->dir.fd);
	if (mkdirat(r->dir.fd, SCRATCH, 0700))
		return failed(SCRATCH, -errno);
	r->scratch = openat(r->dir.fd, SCRATCH, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (r->scratch < 0)
		return failed(SCRATCH, -errno);
	err = state_write(r->scratch, LEDGER_FILE, l->at, l->len);
	if (!err)
		err = state_write(r->scratch, REGISTRY_FILE, g->at, g->len);
	if (err)
		return failed(SCRATCH, err);
	err = ledger_open(&r->ledger, r->scratch);
	if (!err)
		err = registry_open(&r->registry, r->scratch);
	if (err == -EPROTO) {
		fault("its records were made by a newer ginnel", "install that one", "restore: %s",
		      r->c->args[0]);
		return CMD_FAILED;
	}
	if (err || strcmp(ledger_cluster(r->ledger), r->node.cluster) ||
	    strcmp(registry_cluster(r->registry)->name, r->node.cluster) ||
	    ledger_node_get(r->ledger, r->node.name, &r->self))
		return err == -ENOSPC ? failed(SCRATCH, err) : refuse_damaged(r);
	return CMD_OK;
}

/* What the ledger here knows of revocations is not lost; it need not be whole. */
static int merge_present(struct restore *r, uint64_t *generation)
{
	struct revocations all = {0};
	struct ledger *here;
	uint64_t number;
	bool news;
	int err = ledger_open(&here, r->dir.part[STATEDIR_CA].fd);

	*generation = 0;
	if (err) {
		if (err != -ENOENT)
			fprintf(stderr,
			        "the ledger here cannot be read (%s): revocations that only it "
			        "knows come back from the nodes\n",
			        strerrordesc_np(-err));
		return CMD_OK;
	}
	err = ledger_list(here, &number, &all);
	if (!err)
		err = ledger_generation(here, generation);
	ledger_close(here);
	if (!err)
		err = ledger_list_take(r->ledger, number, &all, r->now, &news);
	revocations_clear(&all);
	return err ? failed("the revocations of the ledger here", err) : CMD_OK;
}

static int raise_numbers(struct restore *r)
{
	uint64_t known, generation;
	int err;

	if (merge_present(r, &known) != CMD_OK)
		return CMD_FAILED;
	if (known < registry_generation(r->registry))
		known = registry_generation(r->registry);
	err = ledger_restore(r->ledger, known, r->now, &generation);
	if (!err)
		err = registry_restore(r->registry, generation);
	return err ? failed("the records", err) : CMD_OK;
}

/* -- who this host is ------------------------------------------------------------------------- */

static bool is_ours(const struct restore *r, const struct identity *id, enum cert_role role)
{
	return !strcmp(id->info.cluster, r->node.cluster) && !strcmp(id->info.node, r->node.name) &&
	       id->info.role == role && id->info.incarnation == r->self.incarnation;
}

/* This host's own, if it is that manager: whoever is connected sees no other. */
static bool identities_here(struct restore *r)
{
	char why[WHY_MAX];

	return !identity_load_renewable(&r->node_id, r->dir.part[STATEDIR_ENGINE].fd, "node",
	                                r->now, why, sizeof(why)) &&
	       is_ours(r, &r->node_id, ROLE_NODE) &&
	       !identity_load_renewable(&r->manager_id, r->dir.part[STATEDIR_MANAGER].fd, "manager",
	                                r->now, why, sizeof(why)) &&
	       is_ours(r, &r->manager_id, ROLE_MANAGER);
}

static int note_self(struct restore *r, const struct cert_info *node,
                     const struct cert_info *manager)
{
	struct registry_node *n = &r->record;
	int err = ledger_node_keys(r->ledger, r->node.name, node->spki, manager->spki);

	if (!err)
		err = registry_node_get(r->registry, r->node.name, n);
	if (err)
		return err;
	n->issue = node->issue;
	n->cert_not_after = node->not_after;
	memcpy(n->spki, node->spki, sizeof(n->spki));
	return registry_node_put(r->registry, n);
}

static int make_keys(struct restore *r)
{
	int err = 0;

	if (identities_here(r)) {
		err = note_self(r, &r->node_id.info, &r->manager_id.info);
	} else {
		err = cert_key_new(&r->node_key);
		if (!err)
			err = cert_key_new(&r->manager_key);
	}
	return err ? failed("this host's keys", err) : CMD_OK;
}

/* -- the change ------------------------------------------------------------------------------- */

static int write_ca(struct restore *r)
{
	const struct backup_part *chain = part(r, BACKUP_CHAIN);
	int dir = r->dir.part[STATEDIR_CA].fd, err = 0;

	if (!r->key_here)
		err = keyfile_write(dir, CAFILES_KEY, r->key, r->key_len);
	if (!err)
		err = keyfile_write(dir, CAFILES_CHAIN, chain->at, chain->len);
	if (!err)
		err = statedir_own(&r->dir, STATEDIR_CA, CAFILES_KEY);
	return err ? err : statedir_own(&r->dir, STATEDIR_CA, CAFILES_CHAIN);
}

static int write_identities(struct restore *r)
{
	const struct selfissue own = {
		.ca = r->ca,
		.ledger = r->ledger,
		.cluster = r->node.cluster,
		.name = r->node.name,
		.labels = &r->self.labels,
		.incarnation = r->self.incarnation,
		.now = r->now,
		.root = r->root,
		.root_len = r->root_len,
	};
	struct cert_info *node = &r->issued[0], *manager = &r->issued[1];
	int err;

	if (!r->node_key)
		return 0;
	err = selfissue_write(&own, &r->dir, STATEDIR_ENGINE, "node", r->node_key, ROLE_NODE, node);
	if (!err)
		err = selfissue_write(&own, &r->dir, STATEDIR_MANAGER, "manager", r->manager_key,
		                      ROLE_MANAGER, manager);
	return err ? err : note_self(r, node, manager);
}

/* Closed, so that all of it is in the one file; its log of before must not be taken for the new one's. */
static int place(struct restore *r, enum statedir_part to, const char *name, const char *wal,
                 const char *shm)
{
	int dir = r->dir.part[to].fd;

	if (!faccessat(r->scratch, wal, F_OK, AT_SYMLINK_NOFOLLOW))
		return -EIO;
	if ((unlinkat(dir, wal, 0) && errno != ENOENT) ||
	    (unlinkat(dir, shm, 0) && errno != ENOENT) || fsync(dir) ||
	    renameat(r->scratch, name, dir, name))
		return -errno;
	if (fsync(dir))
		return -errno;
	return statedir_own(&r->dir, to, name);
}

static int change(struct restore *r)
{
	int err = 0;

	if ((unlinkat(r->dir.fd, NODE_FILE, 0) && errno != ENOENT) || fsync(r->dir.fd))
		return -errno;
	err = write_ca(r);
	if (!err)
		err = write_identities(r);
	registry_close(r->registry);
	r->registry = NULL;
	ledger_close(r->ledger);
	r->ledger = NULL;
	if (!err)
		err = place(r, STATEDIR_CA, LEDGER_FILE, LEDGER_FILE "-wal", LEDGER_FILE "-shm");
	if (!err) /* else the next start would put it in the place of ours */
		err = registry_forget_rewrite(r->dir.part[STATEDIR_MANAGER].fd);
	if (!err)
		err = place(r, STATEDIR_MANAGER, REGISTRY_FILE, REGISTRY_FILE "-wal",
		            REGISTRY_FILE "-shm");
	return err ? err : statedir_finish(&r->dir, &r->node);
}

static int commit(struct restore *r)
{
	int err = change(r);

	if (!err)
		return CMD_OK;
	fault(err == -ENOSPC ? "the disk is full" : strerrordesc_np(-err),
	      "this host is half restored and ginneld does not start on it: mend that, and run it "
	      "again",
	      "restore: %s", r->c->state_path);
	return CMD_FAILED;
}

/* -- the command ------------------------------------------------------------------------------ */

static int tell(const struct restore *r)
{
	json_t *j;
	int code;

	if (r->c->json) {
		j = json_pack("{s:s,s:s}", "cluster", r->node.cluster, "node", r->node.name);
		code = cmd_print_json(j);
		json_decref(j);
		return code;
	}
	printf("this host is %s of cluster %s again; start ginneld here\n"
	       "What happened since the backup is not in it:\n"
	       "  nodes that joined since are unknown: let them leave and join again\n"
	       "  nodes that were removed since are back: see ginnel node list\n"
	       "  tokens that nobody had used are void: make new ones\n"
	       "  revocations come back from any node that knows of them, once it is connected\n",
	       r->node.name, r->node.cluster);
	return CMD_OK;
}

static int open_parts(struct restore *r)
{
	for (int p = 0; p < STATEDIR_PARTS; p++)
		if (statedir_open(&r->dir, (enum statedir_part)p) != CMD_OK)
			return CMD_FAILED;
	return CMD_OK;
}

static int run(struct restore *r)
{
	static int (*const steps[])(struct restore *) = {
		read_file, parse_file,   NULL,          check_node, open_parts, check_root,
		take_key,  scratch_fill, raise_numbers, make_keys,  commit,
	};
	int code = CMD_OK;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && code == CMD_OK; i++)
		code = steps[i] ? steps[i](r) : statedir_lock(&r->dir, r->c, "restore");
	return code == CMD_OK ? tell(r) : code;
}

static void restore_clear(struct restore *r)
{
	registry_close(r->registry);
	ledger_close(r->ledger);
	if (r->scratch >= 0) {
		scratch_clean(r->dir.fd);
		close(r->scratch);
	}
	statedir_release(&r->dir);
	identity_clear(&r->node_id);
	identity_clear(&r->manager_id);
	cert_key_free(r->node_key);
	cert_key_free(r->manager_key);
	ca_free(r->ca);
	secret_free(r->key, KEY_PEM_MAX);
	free(r->bytes);
	free(r);
}

int cmd_restore(struct cmd *c)
{
	struct restore *r = calloc(1, sizeof(*r));
	int code = CMD_FAILED;

	if (!r) {
		fault("no memory", NULL, "restore");
		return CMD_FAILED;
	}
	r->c = c;
	r->now = time(NULL);
	r->scratch = r->dir.fd = -1;
	for (int p = 0; p < STATEDIR_PARTS; p++)
		r->dir.part[p].fd = -1;
	r->key = secret_new(KEY_PEM_MAX);
	if (!r->key)
		fault("no memory that can be locked", NULL, "restore");
	else
		code = run(r);
	restore_clear(r);
	return code;
}
