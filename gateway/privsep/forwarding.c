/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/forwarding.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/keyfile.h"
#include "tun/link.h"

#define CONF6     "/proc/sys/net/ipv6/conf"
#define LINE_MAX_ 48 /* "ipv6 " + 15 + " forwarding 0\n" */
#define FILE_MAX  ((size_t)LINE_MAX_ * FORWARDING_INTERFACES_MAX)

static int sysctl_get(const char *family, const char *name, const char *key)
{
	char path[128], value[16];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, name, key);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, value, sizeof(value) - 1);
	close(fd);
	if (n <= 0)
		return -EIO;
	value[n] = 0;
	return value[0] == '-' ? 0 : (int)strtol(value, NULL, 10);
}

static bool word(const char **at, const char *end, char *out, size_t max)
{
	size_t n = 0;

	while (*at < end && **at != ' ' && n + 1 < max)
		out[n++] = *(*at)++;
	out[n] = 0;
	if (n == 0 || *at == end || **at != ' ')
		return false;
	(*at)++;
	return memchr(out, '/', n) == NULL && memchr(out, 0, n) == NULL && strcmp(out, ".") != 0 &&
	       strcmp(out, "..") != 0;
}

int forwarding_line_parse(struct forwarding_line *out, const char *text, size_t n)
{
	const char *at = text, *end = text + n;
	struct forwarding_line l;
	bool v6;

	if (!word(&at, end, l.family, sizeof(l.family)) ||
	    !word(&at, end, l.name, sizeof(l.name)) || !word(&at, end, l.key, sizeof(l.key)) ||
	    end - at != 1 || *at < '0' || *at > '2')
		return -EBADMSG;
	l.value = *at - '0';
	v6 = strcmp(l.family, "ipv6") == 0;
	if (!v6 && strcmp(l.family, "ipv4") != 0)
		return -EBADMSG;
	if (strcmp(l.key, "forwarding") == 0 ? strcmp(l.name, "all") != 0 || l.value > 1
	                                     : !v6 || strcmp(l.key, "accept_ra") != 0)
		return -EBADMSG;
	*out = l;
	return 0;
}

/* Of the interfaces that listen to routers. */
static int listeners(FILE *f)
{
	unsigned n = 0;
	struct dirent *e;
	DIR *d = opendir(CONF6);

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d))) { /* NOLINT(concurrency-mt-unsafe): d is ours alone */
		if (e->d_name[0] == '.' || strcmp(e->d_name, "all") == 0 ||
		    strcmp(e->d_name, "lo") == 0 || strcmp(e->d_name, "default") == 0 ||
		    strchr(e->d_name, ' '))
			continue;
		if (sysctl_get("ipv6", e->d_name, "accept_ra") != 1)
			continue;
		if (++n >= FORWARDING_INTERFACES_MAX)
			break;
		fprintf(f, "ipv6 %s accept_ra 1\n", e->d_name);
	}
	closedir(d);
	return 0;
}

/* What to put back, in the order to do it: forwarding ends before routers are heard as before. */
static int remember(int state_dir, int v4, int v6)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	int err = 0;

	if (!f)
		return -ENOMEM;
	if (v4 == 0)
		fputs("ipv4 all forwarding 0\n", f);
	if (v6 == 0) {
		fputs("ipv6 all forwarding 0\n", f);
		err = listeners(f);
	}
	if (fclose(f) != 0)
		err = -ENOMEM;
	if (!err)
		err = state_write(state_dir, FORWARDING_FILE, text, n);
	free(text);
	return err;
}

/* Runs fn for each line of the file; -ENOENT there is none. */
static int each(int state_dir, int (*fn)(const struct forwarding_line *l))
{
	char *text = malloc(FILE_MAX);
	struct forwarding_line l;
	size_t len = 0;
	int err;

	if (!text)
		return -ENOMEM;
	err = keyfile_read_secret(state_dir, FORWARDING_FILE, text, FILE_MAX, &len);
	for (size_t i = 0; !err && i < len;) {
		const char *nl = memchr(text + i, '\n', len - i);
		size_t n = nl ? (size_t)(nl - (text + i)) : 0;

		err = nl ? forwarding_line_parse(&l, text + i, n) : -EBADMSG;
		if (!err)
			err = fn(&l);
		i += n + 1;
	}
	free(text);
	return err;
}

static int hear_still(const struct forwarding_line *l)
{
	int err = 0;

	if (strcmp(l->key, "accept_ra") == 0 && sysctl_get(l->family, l->name, l->key) == 1)
		err = link_sysctl(l->family, l->name, l->key, 2, NULL);
	return err == -ENOENT ? 0 : err;
}

static int put_back(const struct forwarding_line *l)
{
	int err = link_sysctl(l->family, l->name, l->key, l->value, NULL);

	return err == -ENOENT ? 0 : err; /* the interface is gone */
}

int forwarding_on(int state_dir, bool *changed, char *why, size_t max)
{
	int v4 = sysctl_get("ipv4", "all", "forwarding");
	int v6 = sysctl_get("ipv6", "all", "forwarding"); /* -ENOENT: a kernel without IPv6 */
	int err;

	*changed = false;
	if (v4 != 0 && v6 != 0)
		return 0;
	if (faccessat(state_dir, FORWARDING_FILE, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
		err = remember(state_dir, v4, v6);
		if (err) {
			snprintf(why, max, "forwarding: its old values cannot be kept: %s",
			         strerrordesc_np(-err));
			return err;
		}
	}
	*changed = true;
	err = each(state_dir, hear_still);
	if (!err && v4 == 0)
		err = link_sysctl("ipv4", "all", "forwarding", 1, NULL);
	if (!err && v6 == 0)
		err = link_sysctl("ipv6", "all", "forwarding", 1, NULL);
	if (err)
		snprintf(why, max, "forwarding: it cannot be turned on: %s", strerrordesc_np(-err));
	return err;
}

int forwarding_back(int state_dir, char *why, size_t max)
{
	int err = each(state_dir, put_back);

	if (err == -ENOENT)
		return 0;
	if (!err && unlinkat(state_dir, FORWARDING_FILE, 0) < 0)
		err = -errno;
	if (err)
		snprintf(why, max, "forwarding: it cannot be put back: %s", strerrordesc_np(-err));
	return err;
}
