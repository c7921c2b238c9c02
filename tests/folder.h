/* SPDX-License-Identifier: GPL-3.0-or-later */
/* folder - for tests: a folder of their own with a registry in it. */
#pragma once
#include "gateway/manager/registry.h"
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct folder {
	char path[64];
	int fd; /* O_PATH */
};

static inline void folder_init(struct folder *f)
{
	strcpy(f->path, "/tmp/ginnel-test-XXXXXX");
	if (!mkdtemp(f->path))
		abort();
	f->fd = open(f->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert(f->fd >= 0);
}

/* With all files in it. */
static inline void folder_clear(struct folder *f)
{
	DIR *d = opendir(f->path);
	const struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(f->fd, e->d_name, 0);
	if (d)
		closedir(d);
	close(f->fd);
	rmdir(f->path);
}

/* Of the cluster "c1", with that overlay and the default pools. */
static inline struct registry *folder_registry(struct folder *f, const char *overlay)
{
	struct registry_cluster c = {.name = "c1", .noverlay = 1, .npools = 1};
	struct registry *r;

	if (prefix_parse(&c.overlay[0], overlay) || prefix_parse(&c.pools[0], NODE_POOLS_DEFAULT) ||
	    registry_create(f->fd, &c) || registry_open(&r, f->fd))
		abort();
	return r;
}

/* A node with one endpoint, 10.9.0.9:4747. */
static inline int folder_node(struct registry *r, const char *name, enum cert_role role)
{
	static struct registry_node n;

	memset(&n, 0, sizeof(n));
	n.role = role;
	n.incarnation = 1;
	n.nendpoints = 1;
	n.endpoints[0].is_addr = true;
	snprintf(n.name, sizeof(n.name), "%s", name);
	if (endpoint_parse(&n.endpoints[0].at, "10.9.0.9", CONFIG_PORT))
		abort();
	return registry_node_put(r, &n);
}
