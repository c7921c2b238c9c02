/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/cafiles.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/secret.h"

/* syscalls(ca): openat read write close renameat renameat2 unlinkat fsync fstat */

#define NEW ".new"

static int sync_dir(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = fsync(fd) ? -errno : 0;
	close(fd);
	return err;
}

static int load_with(struct cafiles *f, int dir, const char *key)
{
	int err = keyfile_read_secret(dir, key, f->key, CAFILES_KEY_MAX, &f->key_len);

	return err ? err : ca_load(&f->ca, f->key, f->key_len, f->chain, f->chain_len);
}

/* A change that a crash cut short: the chain is new, its key still waits. If the rename fails, the next
 * reader does as we did.
 */
static bool take_waiting_key(struct cafiles *f, int dir)
{
	if (load_with(f, dir, CAFILES_KEY NEW))
		return false;
	if (!renameat(dir, CAFILES_KEY NEW, dir, CAFILES_KEY))
		sync_dir(dir);
	return true;
}

int cafiles_load(struct cafiles *f, int dir)
{
	int err = 0;

	memset(f, 0, sizeof(*f));
	f->faulty = CAFILES_KEY;
	f->key = secret_new(CAFILES_KEY_MAX);
	f->chain = malloc(CAFILES_CHAIN_MAX);
	if (!f->key || !f->chain)
		return -ENOMEM;
	err = keyfile_read_secret(dir, CAFILES_KEY, f->key, CAFILES_KEY_MAX, &f->key_len);
	if (err && err != -ENOENT)
		return err;
	f->faulty = CAFILES_CHAIN;
	err = keyfile_read(dir, CAFILES_CHAIN, f->chain, CAFILES_CHAIN_MAX, &f->chain_len);
	if (err)
		return err;
	err = load_with(f, dir, CAFILES_KEY);
	if (!err || take_waiting_key(f, dir))
		return 0;
	f->faulty = err == -ENOENT ? CAFILES_KEY : CAFILES_KEY ", " CAFILES_CHAIN;
	return err;
}

void cafiles_clear(struct cafiles *f)
{
	ca_free(f->ca);
	secret_free(f->key, CAFILES_KEY_MAX);
	free(f->chain);
	memset(f, 0, sizeof(*f));
}

/* Of its owner before it is in its place: a ca that cannot read its key is none. */
static int put_new(int dir, const char *name, uid_t uid, gid_t gid, const uint8_t *data, size_t len)
{
	int err = keyfile_write(dir, name, data, len);

	if (!err && fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW))
		err = -errno;
	return err;
}

int cafiles_replace(int dir, uid_t uid, gid_t gid, const uint8_t *key, size_t key_len,
                    const uint8_t *chain, size_t chain_len)
{
	int err = put_new(dir, CAFILES_KEY NEW, uid, gid, key, key_len);

	if (!err)
		err = put_new(dir, CAFILES_CHAIN NEW, uid, gid, chain, chain_len);
	if (!err)
		err = sync_dir(dir);
	if (!err && renameat(dir, CAFILES_CHAIN NEW, dir, CAFILES_CHAIN))
		err = -errno;
	if (err) {
		unlinkat(dir, CAFILES_CHAIN NEW, 0);
		unlinkat(dir, CAFILES_KEY NEW, 0);
		return err;
	}
	err = sync_dir(dir);
	if (!err && renameat(dir, CAFILES_KEY NEW, dir, CAFILES_KEY))
		return 0; /* it is read from where it waits */
	return err ? err : sync_dir(dir);
}
