/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/programs/statedir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/control/edict.h"
#include "gateway/control/own.h"
#include "gateway/control/revoked.h"
#include "gateway/control/watch.h"
#include "gateway/manager/registry.h"
#include "gateway/privsep/folder.h"
#include "gateway/privsep/isolate.h"
#include "gateway/privsep/ledger.h"

#define MARK    "init.unfinished"
#define GUARDED "guarded.json" /* ginneld's */

static const struct {
	const char *name, *user;
	uid_t uid;
	const char *files[10]; /* each also with a suffix: a temporary, a journal */
} parts[STATEDIR_PARTS] = {
	[STATEDIR_ENGINE] = {"engine",
                             "ginnel",
                             ISOLATE_UID_ENGINE,
                             {"node.key", "node.pem", "ca.pem", WATCH_STATE_FILE, WATCH_WORKLOADS,
                              REVOKED_FILE, EDICT_FILE, OWN_FILE}},
	[STATEDIR_MANAGER] = {"manager",
                              "ginnel-manager",
                              ISOLATE_UID_MANAGER,
                              {"manager.key", "manager.pem", "ca.pem", REGISTRY_FILE}},
	[STATEDIR_CA] = {"ca", "ginnel-ca", ISOLATE_UID_CA, {"ca.key", "ca.pem", LEDGER_FILE}},
};

/* -- removing --------------------------------------------------------------------------------- */

/* "ca.key", ".ca.key.0123456789abcdef", "ledger.db-wal" */
static bool is_piece(const char *const *f, const char *name)
{
	name += *name == '.';
	for (; *f; f++) {
		size_t n = strlen(*f);

		if (!strncmp(name, *f, n) && (!name[n] || name[n] == '.' || name[n] == '-'))
			return true;
	}
	return false;
}

static void folder_clean(int state, const char *name, const char *const *files)
{
	int fd = openat(state, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(d))) /* NOLINT(concurrency-mt-unsafe): the stream is ours alone */
		if (is_piece(files, e->d_name))
			unlinkat(fd, e->d_name, 0);
	fsync(fd);
	closedir(d);
}

void statedir_undo(struct statedir *s)
{
	static const char *const own[] = {NODE_FILE, NULL};

	/* First: it may stand though its folder's fsync failed, and would speak of keys that are gone. */
	unlinkat(s->fd, NODE_FILE, 0);
	fsync(s->fd);
	for (int p = 0; p < STATEDIR_PARTS; p++)
		folder_clean(s->fd, parts[p].name, parts[p].files);
	folder_clean(s->fd, ".", own); /* a temporary of it */
	unlinkat(s->fd, MARK, 0);      /* last: as long as it is there, so may pieces be */
	fsync(s->fd);
}

/* -- taking ----------------------------------------------------------------------------------- */

static int refuse_enrolled(const struct statedir *s)
{
	struct node *n = calloc(1, sizeof(*n));
	char why[2 * CERT_NAME_MAX + 64];
	int err = n ? node_load(n, s->fd) : -ENOMEM;

	if (!err)
		snprintf(why, sizeof(why), "this host is %s of cluster %s", n->name, n->cluster);
	free(n);
	switch (err) {
	case 0:
		unlinkat(s->fd, MARK, 0); /* a crash between node.json and this */
		fault(why,
		      "to enrol it anew, stop ginneld, run `ginnel down`, and move that folder "
		      "away",
		      "%s: %s", s->what, s->path);
		return CMD_FAILED;
	case -ENOENT:
		return CMD_OK;
	case -EPERM:
		fault("others than root can read or write it",
		      "see who changed it, then chmod 600 it", "%s: %s/" NODE_FILE, s->what,
		      s->path);
		return CMD_FAILED;
	case -EBADMSG:
		fault("it is damaged, and says what this host is",
		      "restore it from a backup, or move "
		      "the folder away",
		      "%s: %s/" NODE_FILE, s->what, s->path);
		return CMD_FAILED;
	default:
		fault(strerrordesc_np(-err), NULL, "%s: %s/" NODE_FILE, s->what, s->path);
		return CMD_FAILED;
	}
}

/* What an init that was cut short left is removed; a CA that was finished is not. */
static int refuse_ca(struct statedir *s)
{
	if (!faccessat(s->fd, MARK, F_OK, AT_SYMLINK_NOFOLLOW)) {
		statedir_undo(s);
		return CMD_OK;
	}
	if (!faccessat(s->fd, "ca/ca.key", F_OK, AT_SYMLINK_NOFOLLOW) ||
	    !faccessat(s->fd, "ca/ledger.db", F_OK, AT_SYMLINK_NOFOLLOW)) {
		fault("a cluster's CA lies there, but no " NODE_FILE,
		      "restore " NODE_FILE " from a "
		      "backup, or move the folder away",
		      "%s: %s", s->what, s->path);
		return CMD_FAILED;
	}
	return CMD_OK;
}

int statedir_lock(struct statedir *s, const struct cmd *c, const char *what)
{
	char why[512];
	int err;

	memset(s, 0, sizeof(*s));
	s->what = what;
	s->path = c->state_path;
	s->fd = -1;
	for (int p = 0; p < STATEDIR_PARTS; p++)
		s->part[p].fd = -1;
	if (geteuid() != 0) {
		fault("it makes folders for root and for users of ginnel's own", "run it as root",
		      "%s", what);
		return CMD_FAILED;
	}
	if (folder_open(&s->fd, c->state_path, NULL, why, sizeof(why))) {
		fault(NULL, NULL, "%s: %s", what, why);
		return CMD_FAILED;
	}
	err = folder_lock(s->fd);
	if (err) {
		fault(err == -EBUSY ? "ginneld runs there, or another init or join"
		                    : strerrordesc_np(-err),
		      "stop it first", "%s: %s", what, c->state_path);
		return CMD_FAILED;
	}
	return CMD_OK;
}

int statedir_take(struct statedir *s, const struct cmd *c, const char *what)
{
	if (statedir_lock(s, c, what) != CMD_OK || refuse_enrolled(s) != CMD_OK)
		return CMD_FAILED;
	return refuse_ca(s);
}

void statedir_release(struct statedir *s)
{
	for (int p = 0; p < STATEDIR_PARTS; p++)
		if (s->part[p].fd >= 0)
			close(s->part[p].fd);
	if (s->fd >= 0)
		close(s->fd);
}

/* -- filling ---------------------------------------------------------------------------------- */

int statedir_begin(struct statedir *s)
{
	int fd = openat(s->fd, MARK, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) || fsync(s->fd))
		err = -errno;
	close(fd);
	if (err)
		unlinkat(s->fd, MARK, 0);
	return err;
}

int statedir_open(struct statedir *s, enum statedir_part part)
{
	char why[256];
	int err, path;

	err = isolate_user(parts[part].user, parts[part].uid, &s->part[part].uid,
	                   &s->part[part].gid);
	if (err) {
		fault("user or group is root's", "give it a uid and a gid of its own",
		      "%s: user %s", s->what, parts[part].user);
		return CMD_FAILED;
	}
	if (folder_open_own(&path, s->fd, parts[part].name, s->part[part].uid, s->part[part].gid,
	                    why, sizeof(why))) {
		fault(NULL, NULL, "%s: %s/%s", s->what, s->path, why);
		return CMD_FAILED;
	}
	/* A descriptor of O_PATH cannot be synced. */
	s->part[part].fd = openat(path, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(path);
	if (s->part[part].fd < 0) {
		fault(strerrordesc_np(errno), NULL, "%s: %s/%s", s->what, s->path,
		      parts[part].name);
		return CMD_FAILED;
	}
	return CMD_OK;
}

int statedir_own(const struct statedir *s, enum statedir_part part, const char *name)
{
	if (!fchownat(s->part[part].fd, name, s->part[part].uid, s->part[part].gid,
	              AT_SYMLINK_NOFOLLOW) ||
	    errno == ENOENT)
		return 0;
	return -errno;
}

int statedir_finish(struct statedir *s, const struct node *n)
{
	int err = node_save(n, s->fd);

	if (err)
		return err;
	unlinkat(s->fd, MARK, 0);
	fsync(s->fd);
	return 0;
}

int statedir_forget(const struct cmd *c, const char *what)
{
	struct statedir s = {.what = what, .path = c->state_path};
	int err;

	if (cmd_state_dir(c, &s.fd) != CMD_OK)
		return CMD_FAILED;
	err = folder_lock(s.fd);
	if (err) {
		fault(err == -EBUSY ? "ginneld runs there" : strerrordesc_np(-err),
		      "stop it first, then run it again", "%s: %s", what, c->state_path);
	} else {
		statedir_undo(&s);
		unlinkat(s.fd, GUARDED, 0);
		fsync(s.fd);
	}
	close(s.fd);
	return err ? CMD_FAILED : CMD_OK;
}
