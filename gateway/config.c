/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/config_parse.h"

static void file_fault(struct config_faults *f, const char *path, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void file_fault(struct config_faults *f, const char *path, const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (f->n++ < CONFIG_FAULTS_MAX)
		snprintf(f->text[f->n - 1], sizeof(f->text[0]), "%.*s: %s",
		         (int)(sizeof(f->text[0]) - sizeof(text) - 2), path, text);
}

static void config_defaults(struct config *c)
{
	memset(c, 0, sizeof(*c));
	c->port = CONFIG_PORT;
	snprintf(c->device, sizeof(c->device), "%s", CONFIG_DEVICE);
	c->log_level = LOG_LEVEL_INFO;
}

/* path and dir of out are set. */
static int parse_text(struct config *out, struct config_faults *faults, const char *text,
                      size_t len)
{
	struct parse p = {.c = out};
	int err;

	if (len > CONFIG_BYTES_MAX) {
		file_fault(faults, out->path,
		           "is larger than %d bytes; no config is, name another file",
		           CONFIG_BYTES_MAX);
		return -EINVAL;
	}
	err = reader_new(&p.r, faults, out->path, text, len);
	if (err) {
		file_fault(faults, out->path, "out of memory");
		return err;
	}
	if (reader_begin(p.r)) {
		config_read_keys(&p);
		reader_end(p.r);
		if (!reader_broken(p.r))
			config_check_whole(&p);
	}
	if (p.no_memory)
		file_fault(faults, out->path, "out of memory");
	reader_free(p.r);
	free(p.peers);
	return faults->n ? -EINVAL : 0;
}

int config_parse(struct config *out, struct config_faults *faults, const char *path,
                 const char *text, size_t len)
{
	const char *slash = strrchr(path, '/');

	config_defaults(out);
	faults->n = faults->warnings = 0;
	snprintf(out->path, sizeof(out->path), "%s", path);
	if (slash)
		snprintf(out->dir, sizeof(out->dir), "%.*s",
		         (int)(slash == path ? 1 : slash - path), path);
	return parse_text(out, faults, text, len);
}

static int read_all(int fd, char *buf, size_t max, size_t *len)
{
	ssize_t n;

	for (*len = 0; *len < max; *len += (size_t)n) {
		n = read(fd, buf + *len, max - *len);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n < 0)
			return -errno;
		else if (n == 0)
			break;
	}
	return 0;
}

/* The file's text, malloc'ed; O_NONBLOCK, so that a pipe of that name does not hang the reader. */
static int load_text(const char *path, size_t max, char **text, size_t *len)
{
	struct stat st;
	int fd, err = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
		err = -EISDIR;
	if (err)
		goto fail_open;
	*text = malloc(max + 1);
	if (!*text) {
		err = -ENOMEM;
		goto fail_open;
	}
	err = read_all(fd, *text, max + 1, len);
	if (err)
		free(*text);
fail_open:
	close(fd);
	return err;
}

static void fault_unreadable(struct config_faults *faults, const char *path, int err)
{
	if (err == -EISDIR)
		file_fault(faults, path, "is no regular file; name one that is");
	else
		file_fault(faults, path,
		           "cannot be read: %s; name a file that is there and readable",
		           strerrordesc_np(-err));
}

int config_load_text(const char *path, size_t max, char **text, size_t *len,
                     struct config_faults *faults)
{
	int err = load_text(path, max, text, len);

	if (err)
		fault_unreadable(faults, path, err);
	return err ? -EINVAL : 0;
}

/* The folder of path as an absolute one, so that it means the same after a chdir. */
static int absolute_dir(const char *path, char out[4096])
{
	const char *slash = strrchr(path, '/');
	char dir[4096], *real;
	int n;

	n = snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash == path ? 1 : slash - path) : 1,
	             slash ? path : ".");
	if (n >= (int)sizeof(dir))
		return -ENAMETOOLONG;
	real = realpath(dir, NULL);
	if (!real)
		return -errno;
	n = snprintf(out, 4096, "%s", real);
	free(real);
	return n < 4096 ? 0 : -ENAMETOOLONG;
}

int config_load(struct config *out, struct config_faults *faults, const char *path, bool must)
{
	char *text = NULL;
	size_t len = 0;
	int err;

	config_defaults(out);
	faults->n = faults->warnings = 0;
	err = load_text(path, CONFIG_BYTES_MAX, &text, &len);
	if (err == -ENOENT && !must)
		return 0;
	if (!err) {
		snprintf(out->path, sizeof(out->path), "%s", path);
		err = absolute_dir(path, out->dir);
		if (!err)
			err = parse_text(out, faults, text, len);
		if (err) {
			free(text);
		} else {
			out->text = text;
			out->len = len;
		}
	}
	if (faults->n == 0 && err)
		fault_unreadable(faults, path, err);
	return faults->n ? -EINVAL : 0;
}

void config_clear(struct config *c)
{
	free(c->peers);
	free(c->text);
	memset(c, 0, sizeof(*c));
}

void config_faults_print(const struct config_faults *f, FILE *to)
{
	unsigned i;

	for (i = 0; i < f->n && i < CONFIG_FAULTS_MAX; i++)
		fprintf(to, "%s\n", f->text[i]);
	if (f->n > CONFIG_FAULTS_MAX)
		fprintf(to, "and %u more\n", f->n - CONFIG_FAULTS_MAX);
}

bool config_is_static(const struct config *c)
{
	return c->identity;
}

unsigned config_overlay(const struct config *c, struct prefix out[CONFIG_OVERLAY_MAX])
{
	if (c->noverlay == 0)
		return prefix_parse(&out[0], CONFIG_OVERLAY_DEFAULT) ? 0 : 1;
	memcpy(out, c->overlay, c->noverlay * sizeof(*out));
	return c->noverlay;
}
