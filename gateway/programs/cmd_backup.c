/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The manager's records in one file. ca and manager copy their databases each; what else belongs to it is
 * read here, as root: the CA's key never passes a socket.
 */
#include "gateway/programs/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/keyfile.h"
#include "crypto/secret.h"
#include "crypto/vault.h"
#include "gateway/backup.h"
#include "gateway/privsep/cafiles.h"
#include "gateway/programs/secretfile.h"
#include "gateway/sealed.h"

struct run {
	struct cmd *c;
	struct node node;
	struct backup backup;
	char *parts[BACKUP_KINDS]; /* malloc'ed, what backup's point to */
	struct cafiles files;
	char dir[PATH_MAX], name[NAME_MAX + 1]; /* of the file */
	int dir_fd;
};

static int failed(const char *what, int err)
{
	fault(err == -ENOSPC ? "the disk is full" : strerrordesc_np(-err),
	      err == -ENOSPC ? "free some space and run it again" : "nothing was written",
	      "backup: %s", what);
	return CMD_FAILED;
}

static void put(struct run *r, enum backup_kind kind, char *bytes, size_t len)
{
	r->parts[kind] = bytes;
	r->backup.parts[kind] = (struct backup_part){(const uint8_t *)bytes, len};
}

/* -- where it goes ---------------------------------------------------------------------------- */

/* Before anything is asked: what cannot be written need not be copied. */
static int open_target(struct run *r)
{
	const char *path = r->c->args[0];
	char base[PATH_MAX];
	struct stat st;

	if (snprintf(r->dir, sizeof(r->dir), "%s", path) >= (int)sizeof(r->dir))
		return failed(path, -ENAMETOOLONG);
	snprintf(base, sizeof(base), "%s", path);
	if (snprintf(r->name, sizeof(r->name), "%s", basename(base)) >= (int)sizeof(r->name))
		return failed(path, -ENAMETOOLONG);
	r->dir_fd = open(dirname(r->dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->dir_fd < 0)
		return failed(path, -errno);
	if (!fstatat(r->dir_fd, r->name, &st, AT_SYMLINK_NOFOLLOW) && !S_ISREG(st.st_mode)) {
		fault("it is no regular file", "name another one", "backup: %s", path);
		return CMD_FAILED;
	}
	return CMD_OK;
}

/* -- what it holds ---------------------------------------------------------------------------- */

static int read_records(struct run *r)
{
	static const enum backup_kind kinds[] = {BACKUP_REGISTRY, BACKUP_LEDGER};
	json_t *answer;
	int fds[2], code, err = 0;

	code = cmd_ca_ask_files(r->c, "backup", json_pack("{s:s}", "cmd", "backup"), &answer, fds,
	                        2);
	if (code != CMD_OK)
		return code;
	json_decref(answer);
	for (int i = 0; i < 2; i++) {
		char *bytes;
		size_t len;

		if (!err)
			err = sealed_read(fds[i], &bytes, &len, BACKUP_MAX);
		if (!err)
			put(r, kinds[i], bytes, len);
		close(fds[i]);
	}
	return err ? failed("the records", err) : CMD_OK;
}

static int read_node(struct run *r)
{
	char *text;

	if (cmd_node(r->c, &r->node) != CMD_OK)
		return CMD_FAILED;
	text = node_format(&r->node);
	if (!text)
		return failed(NODE_FILE, -ENOMEM);
	put(r, BACKUP_NODE, text, strlen(text));
	return CMD_OK;
}

static int read_ca(struct run *r)
{
	int state, dir, err;

	if (cmd_state_dir(r->c, &state) != CMD_OK)
		return CMD_FAILED;
	dir = openat(state, "ca", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	err = dir < 0 ? -errno : cafiles_load(&r->files, dir);
	if (dir >= 0)
		close(dir);
	close(state);
	if (err)
		return failed("the CA's key", err);
	r->backup.parts[BACKUP_CHAIN] = (struct backup_part){r->files.chain, r->files.chain_len};
	return CMD_OK;
}

static int seal_key(struct run *r)
{
	const struct backup_part *chain = &r->backup.parts[BACKUP_CHAIN];
	char *passphrase = secret_new(PASSPHRASE_MAX);
	uint8_t *sealed = malloc(CAFILES_KEY_MAX + VAULT_OVERHEAD), about[32];
	size_t n = 0;
	int code, err;

	code = passphrase && sealed ? passphrase_read(r->c, "backup", true, passphrase, &n)
	                            : failed("the CA's key", -ENOMEM);
	if (code == CMD_OK) {
		cert_spki_hash(chain->at, chain->len, about);
		err = vault_seal(sealed, passphrase, n, VAULT_ROUNDS, r->files.key,
		                 r->files.key_len, about, sizeof(about));
		if (err)
			code = failed("the CA's key", err);
		else
			put(r, BACKUP_KEY, (char *)sealed, r->files.key_len + VAULT_OVERHEAD);
	}
	if (code != CMD_OK)
		free(sealed);
	secret_free(passphrase, PASSPHRASE_MAX);
	return code;
}

/* -- the command ------------------------------------------------------------------------------ */

static int tell(const struct run *r, size_t len)
{
	bool with_ca = r->backup.parts[BACKUP_KEY].at != NULL;
	json_t *j;
	int code = CMD_OK;

	if (r->c->json) {
		j = json_pack("{s:s,s:s,s:s,s:I,s:b}", "file", r->c->args[0], "cluster",
		              r->node.cluster, "node", r->node.name, "bytes", (json_int_t)len,
		              "with_ca", with_ca);
		code = cmd_print_json(j);
		json_decref(j);
	} else {
		printf("backup of cluster %s, %s the CA's key: %s, %zu bytes\n", r->node.cluster,
		       with_ca ? "with" : "without", r->c->args[0], len);
	}
	return code;
}

static int run(struct run *r)
{
	uint8_t *bytes;
	size_t len;
	int code = cmd_on_manager(r->c, "backup"), err;

	if (code == CMD_OK && cmd_value(r->c, "passphrase-file") && !cmd_flag(r->c, "with-ca")) {
		fault("nothing is sealed without --with-ca", "give both, or none",
		      "backup: --passphrase-file");
		code = CMD_FAILED;
	}
	if (code == CMD_OK)
		code = open_target(r);
	if (code == CMD_OK)
		code = read_node(r);
	if (code == CMD_OK)
		code = read_ca(r);
	if (code == CMD_OK && cmd_flag(r->c, "with-ca"))
		code = seal_key(r);
	if (code == CMD_OK)
		code = read_records(r);
	if (code != CMD_OK)
		return code;
	err = backup_make(&bytes, &len, &r->backup, ca_key(r->files.ca));
	if (err)
		return failed("the file", err);
	err = state_write(r->dir_fd, r->name, bytes, len);
	free(bytes);
	return err ? failed(r->c->args[0], err) : tell(r, len);
}

int cmd_backup(struct cmd *c)
{
	struct run *r = calloc(1, sizeof(*r));
	int code = CMD_FAILED;

	if (!r) {
		fault("no memory", NULL, "backup");
		return CMD_FAILED;
	}
	r->c = c;
	r->dir_fd = -1;
	if (geteuid() != 0)
		fault("only root may", "use sudo", "backup");
	else
		code = run(r);
	for (int k = 0; k < BACKUP_KINDS; k++)
		free(r->parts[k]);
	if (r->dir_fd >= 0)
		close(r->dir_fd);
	cafiles_clear(&r->files);
	free(r);
	return code;
}
