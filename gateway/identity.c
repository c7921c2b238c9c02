/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/keyfile.h"
#include "crypto/secret.h"

/* syscalls(engine manager): faccessat faccessat2 renameat renameat2 unlinkat */

#define BASE_MAX      32
#define FILE_NAME_MAX (BASE_MAX + 16)
#define TRUST_FILE    "ca.pem"
#define CURE_MAKE     "run ginnel init or ginnel join"
#define CURE_NAMED    "check identity in the config"

/* The three files, wherever they lie. */
struct file {
	int dir;
	char name[NAME_MAX + 1];
	const char *shown; /* for people */
};

struct why {
	char *text;
	size_t max;
	const char *cure; /* where a file is missing or of no use */
};

static struct why why_into(char *text, size_t max, const char *cure)
{
	struct why w = {.max = max, .cure = cure};

	w.text = text;
	return w;
}

static int refuse(const struct why *w, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(const struct why *w, int err, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(w->text, w->max, format, ap);
	va_end(ap);
	return err;
}

/* Words for a file that could not be read. */
static int refuse_read(const struct why *w, const struct file *f, int err)
{
	switch (err) {
	case -ENOENT:
		return refuse(w, err, "%s: is not there; %s", f->shown, w->cure);
	case -EPERM:
		return refuse(w, err,
		              "%s: group or others can read it, or it belongs to someone else; "
		              "chown it to "
		              "root and chmod 600 it",
		              f->shown);
	case -EACCES:
		return refuse(w, -EPERM, "%s: may not be read; run as root", f->shown);
	case -EFBIG:
	case -ENODATA:
	case -EINVAL:
	case -ELOOP:
		return refuse(w, -EBADMSG, "%s: is %s; %s", f->shown,
		              err == -EFBIG     ? "larger than any key or certificate"
		              : err == -ENODATA ? "empty"
		                                : "no regular file",
		              w->cure);
	default:
		return refuse(w, err, "%s: cannot be read: %s; %s", f->shown, strerrordesc_np(-err),
		              w->cure);
	}
}

/* -- the parts -------------------------------------------------------------------------------- */

static int load_key(struct identity *out, const struct file *f, const struct why *w)
{
	uint8_t *pem = secret_new(KEYFILE_MAX);
	size_t len;
	int err;

	if (!pem)
		return refuse(w, -ENOMEM, "%s: no locked memory left; raise RLIMIT_MEMLOCK",
		              f->shown);
	err = keyfile_read_secret(f->dir, f->name, pem, KEYFILE_MAX, &len);
	if (err) {
		err = refuse_read(w, f, err);
		goto done;
	}
	err = cert_key_from_pem(&out->key, pem, len);
	if (err == -EINVAL)
		err = refuse(w, -EBADMSG, "%s: is no ECDSA P-256 key; %s", f->shown, w->cure);
	else if (err == -EBADMSG)
		err = refuse(w, err, "%s: cannot be parsed as an unencrypted PEM key; %s", f->shown,
		             w->cure);
	else if (err)
		err = refuse(w, err, "%s: cannot be used: %s; try again", f->shown,
		             strerrordesc_np(-err));
done:
	secret_free(pem, KEYFILE_MAX);
	return err;
}

static int load_chain(struct identity *out, const struct file *f, const struct why *w)
{
	uint8_t *pem = malloc(KEYFILE_MAX);
	enum cert_refusal refusal;
	size_t len;
	int err;

	if (!pem)
		return refuse(w, -ENOMEM, "%s: out of memory; try again", f->shown);
	err = keyfile_read(f->dir, f->name, pem, KEYFILE_MAX, &len);
	if (err) {
		err = refuse_read(w, f, err);
		goto done;
	}
	err = cert_chain_from_pem(&out->chain, out->der, sizeof(out->der), pem, len);
	if (err == -E2BIG) {
		err = refuse(w, -EBADMSG,
		             "%s: holds more or larger certificates than %d of %d bytes; %s",
		             f->shown, CERT_CHAIN_MAX, CERT_DER_MAX, w->cure);
		goto done;
	}
	if (err) {
		err = refuse(w, -EBADMSG, "%s: holds no PEM certificate, or a damaged one; %s",
		             f->shown, w->cure);
		goto done;
	}
	refusal = cert_parse(&out->info, out->chain.at[0].der, out->chain.at[0].len);
	if (refusal != CERT_OK)
		err = refuse(w, -EBADMSG, "%s: %s; %s", f->shown, cert_refusal_text(refusal),
		             w->cure);
done:
	free(pem);
	return err;
}

static int load_trust(struct identity *out, const struct file *f, const struct why *w)
{
	uint8_t *pem = malloc(KEYFILE_MAX);
	size_t len;
	int err;

	if (!pem)
		return refuse(w, -ENOMEM, "%s: out of memory; try again", f->shown);
	err = keyfile_read(f->dir, f->name, pem, KEYFILE_MAX, &len);
	if (err) {
		err = refuse_read(w, f, err);
		goto done;
	}
	err = cert_trust_new(&out->trust, pem, len);
	if (err == -EINVAL)
		err = refuse(w, -EBADMSG, "%s: holds a certificate that is no ECDSA P-256 CA; %s",
		             f->shown, w->cure);
	else if (err == -EBADMSG)
		err = refuse(w, err, "%s: holds no PEM certificate, or a damaged one; %s", f->shown,
		             w->cure);
	else if (err)
		err = refuse(w, err, "%s: cannot be used: %s; try again", f->shown,
		             strerrordesc_np(-err));
done:
	free(pem);
	return err;
}

static void utc(time_t t, char out[32])
{
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(out, 32, "an unknown time");
}

/* We judge ourselves as any peer would, so that nobody learns it first from a refusal. grace: so long
 * ago it may have ended.
 */
static int judge(struct identity *i, const char *cert, const char *ca, time_t wall, time_t grace,
                 const struct why *w)
{
	const struct cert_expect expect = {i->info.cluster, i->info.node, i->info.role};
	time_t at = wall > i->info.not_after && wall - i->info.not_after <= grace
	                    ? i->info.not_after
	                    : wall;
	enum cert_refusal refusal;
	struct cert_info info;
	char when[32], now[32];

	refusal = cert_judge(&info, i->trust, &i->chain, &expect, at);
	utc(wall, now);
	switch (refusal) {
	case CERT_OK:
		return 0;
	case CERT_EXPIRED:
		utc(i->info.not_after, when);
		return refuse(w, -EKEYEXPIRED,
		              "%s: a certificate in it ended (its own: %s, now: %s); %s", cert,
		              when, now,
		              grace ? "set this host's clock right if it is wrong; else make a "
		                      "token for it on a manager with ginnel token create "
		                      "--name, then here run ginnel leave --force and ginnel join"
		                    : "renew it, or set this host's clock right");
	case CERT_NOT_YET_VALID:
		utc(i->info.not_before, when);
		return refuse(w, -EINVAL,
		              "%s: is not valid before %s, and it is %s here; set this host's "
		              "clock right",
		              cert, when, now);
	case CERT_OTHER_CA:
	case CERT_SELF_SIGNED:
		return refuse(w, -EINVAL,
		              "%s: was not issued by the CA in %s; put files together that belong "
		              "together",
		              cert, ca);
	default:
		return refuse(w, -EINVAL, "%s: %s; %s", cert, cert_refusal_text(refusal), w->cure);
	}
}

static bool key_fits(const struct identity *i)
{
	return cert_key_matches(i->key, i->chain.at[0].der, i->chain.at[0].len);
}

/* -- in a cluster: a folder of the process's own ---------------------------------------------- */

static int file_of(struct file *f, int dir, const char *base, const char *suffix)
{
	int n = snprintf(f->name, sizeof(f->name), "%s%s", base, suffix);

	f->dir = dir;
	f->shown = f->name;
	return n < FILE_NAME_MAX ? 0 : -EINVAL;
}

/* A change of identity that a crash cut short: the certificate is new, its key still waits. */
static bool take_waiting_key(struct identity *out, int dir, const char *base)
{
	char unused[256];
	const struct why w = {unused, sizeof(unused), ""};
	struct cert_key *old = out->key;
	struct file waiting, key;

	if (file_of(&waiting, dir, base, ".key.new") || file_of(&key, dir, base, ".key"))
		return false;
	out->key = NULL;
	if (load_key(out, &waiting, &w) || !key_fits(out)) {
		cert_key_free(out->key);
		out->key = old;
		return false;
	}
	cert_key_free(old);
	/* If it fails, the next start takes it from where it is, as we do now. */
	(void)renameat(dir, waiting.name, dir, key.name);
	return true;
}

static int load_dir(struct identity *out, int dir, const char *base, time_t wall, time_t grace,
                    char *text, size_t max)
{
	const struct why w = why_into(text, max, CURE_MAKE);
	struct file key, chain, ca = {dir, TRUST_FILE, TRUST_FILE};
	int err, key_err;

	memset(out, 0, sizeof(*out));
	if (file_of(&key, dir, base, ".key") || file_of(&chain, dir, base, ".pem"))
		return refuse(&w, -EINVAL, "%s: is too long a name", base);
	err = load_chain(out, &chain, &w);
	if (!err)
		err = load_trust(out, &ca, &w);
	if (err)
		goto fail;
	key_err = load_key(out, &key, &w);
	if (key_err || !key_fits(out)) {
		if (!take_waiting_key(out, dir, base)) {
			err = key_err ? key_err
			              : refuse(&w, -EINVAL,
			                       "%s: is not the key of %s; put back the one that is",
			                       key.shown, chain.shown);
			goto fail;
		}
	}
	err = judge(out, chain.shown, ca.shown, wall, grace, &w);
	if (err)
		goto fail;
	return 0;
fail:
	identity_clear(out);
	return err;
}

int identity_load_dir(struct identity *out, int dir, const char *base, time_t wall, char *text,
                      size_t max)
{
	return load_dir(out, dir, base, wall, 0, text, max);
}

int identity_load_renewable(struct identity *out, int dir, const char *base, time_t wall,
                            char *text, size_t max)
{
	return load_dir(out, dir, base, wall, CERT_GRACE, text, max);
}

/* Also of a folder that is not open, or by O_PATH alone. */
static int sync_dir(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return err;
}

/* trust_pem NULL: the roots stay. *changed: the new identity stands, whatever is returned. */
static int save_dir(int dir, const char *base, const struct cert_key *key,
                    const struct cert_chain *chain, const char *trust_pem, size_t trust_len,
                    bool *changed)
{
	struct file waiting, final, cert;
	char *pem = secret_new(KEYFILE_MAX);
	size_t len = 0;
	unsigned i;
	int err;

	*changed = false;
	if (!pem)
		return -ENOMEM;
	err = file_of(&waiting, dir, base, ".key.new");
	if (!err)
		err = file_of(&final, dir, base, ".key");
	if (!err)
		err = file_of(&cert, dir, base, ".pem");
	if (!err)
		err = cert_key_to_pem(key, pem, KEYFILE_MAX, &len);
	if (!err)
		err = keyfile_write(dir, waiting.name, pem, len);
	if (err)
		goto fail;
	len = 0;
	for (i = 0; i < chain->n && !err; i++)
		err = cert_to_pem(pem, KEYFILE_MAX, &len, chain->at[i].der, chain->at[i].len);
	if (!err && trust_pem)
		err = keyfile_write(dir, TRUST_FILE, trust_pem, trust_len);
	if (!err)
		err = keyfile_write(dir, cert.name, pem, len);
	if (err)
		goto fail_key;
	*changed = true;
	if (renameat(dir, waiting.name, dir, final.name) < 0)
		err = -errno; /* the identity is whole all the same: see take_waiting_key */
	else
		err = sync_dir(dir);
	secret_free(pem, KEYFILE_MAX);
	return err;
fail_key:
	unlinkat(dir, waiting.name, 0);
fail:
	secret_free(pem, KEYFILE_MAX);
	return err;
}

int identity_save_dir(int dir, const char *base, const struct cert_key *key,
                      const struct cert_chain *chain, const char *trust_pem, size_t trust_len)
{
	bool changed;

	return save_dir(dir, base, key, chain, trust_pem, trust_len, &changed);
}

/* -- the next certificate --------------------------------------------------------------------- */

static void take_over(struct identity *id, struct cert_key *key, const struct cert_chain *chain,
                      const struct cert_info *info)
{
	uint8_t *at = id->der;

	for (unsigned i = 0; i < chain->n; i++) {
		memcpy(at, chain->at[i].der, chain->at[i].len);
		id->chain.at[i].der = at;
		id->chain.at[i].len = chain->at[i].len;
		at += chain->at[i].len;
	}
	id->chain.n = chain->n;
	id->info = *info;
	cert_key_free(id->key);
	id->key = key;
}

/* A key that still waits is the one in use: it goes to its place before another may wait. */
static int settle_key(const struct identity *id, int dir, const char *base)
{
	struct file waiting, final;
	size_t len = 0;
	char *pem;
	int err;

	if (file_of(&waiting, dir, base, ".key.new") || file_of(&final, dir, base, ".key"))
		return -EINVAL;
	if (faccessat(dir, waiting.name, F_OK, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	pem = secret_new(KEYFILE_MAX);
	if (!pem)
		return -ENOMEM;
	err = cert_key_to_pem(id->key, pem, KEYFILE_MAX, &len);
	if (!err)
		err = keyfile_write(dir, final.name, pem, len);
	secret_free(pem, KEYFILE_MAX);
	return err;
}

int identity_renew(struct identity *id, int dir, const char *base, struct cert_key *key,
                   const struct cert_chain *chain, time_t wall, char *text, size_t max)
{
	const struct cert_expect expect = {id->info.cluster, id->info.node, id->info.role};
	const struct why w = why_into(text, max, CURE_MAKE);
	enum cert_refusal refusal;
	struct cert_info info;
	bool changed;
	int err;

	refusal = cert_judge(&info, id->trust, chain, &expect, wall);
	if (refusal != CERT_OK)
		return refuse(&w, -EINVAL, "the certificate that came: %s",
		              cert_refusal_text(refusal));
	if (!cert_key_matches(key, chain->at[0].der, chain->at[0].len))
		return refuse(&w, -EINVAL, "the certificate that came is for another key");
	err = settle_key(id, dir, base);
	changed = false;
	if (!err)
		err = save_dir(dir, base, key, chain, NULL, 0, &changed);
	if (!changed)
		return refuse(&w, err, "the new certificate cannot be written: %s",
		              err == -ENOSPC ? "the disk is full" : strerrordesc_np(-err));
	take_over(id, key, chain, &info);
	return 0;
}

/* -- one's own PKI: three files by name ------------------------------------------------------- */

/* The files were named by root: unlike in our own folders, symbolic links are followed (every
 * certificate manager has them).
 */
static int file_named(struct file *f, const char *path, const struct why *w)
{
	char *real = realpath(path, NULL), *slash;
	int err;

	*f = (struct file){.dir = -1, .shown = path};
	if (!real)
		return refuse_read(w, f, -errno);
	slash = strrchr(real, '/');
	if (!slash[1] || strlen(slash + 1) > NAME_MAX) {
		err = refuse_read(w, f, -EINVAL);
		goto done;
	}
	snprintf(f->name, sizeof(f->name), "%s", slash + 1);
	slash[slash == real] = '\0';
	f->dir = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
	err = f->dir < 0 ? refuse_read(w, f, -errno) : 0;
done:
	free(real);
	return err;
}

static void file_close(struct file *f)
{
	if (f->dir >= 0)
		close(f->dir);
}

static int load_named(struct identity *out, const char *path, const struct why *w,
                      int (*load)(struct identity *, const struct file *, const struct why *))
{
	struct file f;
	int err = file_named(&f, path, w);

	if (!err)
		err = load(out, &f, w);
	file_close(&f);
	return err;
}

int identity_load_files(struct identity *out, const char *cert, const char *key, const char *ca,
                        time_t wall, char *text, size_t max)
{
	const struct why w = why_into(text, max, CURE_NAMED);
	int err;

	memset(out, 0, sizeof(*out));
	err = load_named(out, key, &w, load_key);
	if (!err)
		err = load_named(out, cert, &w, load_chain);
	if (!err)
		err = load_named(out, ca, &w, load_trust);
	if (!err && !key_fits(out))
		err = refuse(&w, -EINVAL,
		             "%s: is not the key of %s; put files together that belong together",
		             key, cert);
	if (!err)
		err = judge(out, cert, ca, wall, 0, &w);
	if (err)
		identity_clear(out);
	return err;
}

int identity_peek_file(struct cert_info *out, const char *cert, char *text, size_t max)
{
	const struct why w = why_into(text, max, CURE_NAMED);
	struct identity *i = calloc(1, sizeof(*i));
	int err;

	if (!i)
		return refuse(&w, -ENOMEM, "%s: out of memory; try again", cert);
	err = load_named(i, cert, &w, load_chain);
	if (!err)
		*out = i->info;
	free(i);
	return err;
}

void identity_clear(struct identity *i)
{
	cert_trust_free(i->trust);
	cert_key_free(i->key);
	memset(i, 0, sizeof(*i));
}
