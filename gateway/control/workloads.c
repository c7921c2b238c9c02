/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/workloads.h"

#include "crypto/keyfile.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX ((size_t)WORKLOADS_MAX * 2048)

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
static struct workloads_entry *find(const struct workloads *t, const char *id)
{
	struct workloads_entry *e;

	HASH_FIND_STR(t->entries, id, e);
	return e;
}

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
static void drop(struct workloads *t, struct workloads_entry *e)
{
	/* It is in there. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
	HASH_DEL(t->entries, e);
	workload_free(e->w);
	free(e);
}

void workloads_clear(struct workloads *t)
{
	struct workloads_entry *e = t->entries, *next;

	HASH_CLEAR(hh, t->entries); /* they are a list still */
	for (; e; e = next) {
		next = e->hh.next;
		workload_free(e->w);
		free(e);
	}
}

unsigned workloads_count(const struct workloads *t)
{
	return HASH_COUNT(t->entries);
}

const struct workload *workloads_find(const struct workloads *t, const char *id)
{
	const struct workloads_entry *e = find(t, id);

	return e ? e->w : NULL;
}

/* Nested is uthash's macro. NOLINTNEXTLINE(readability-function-size) */
int workloads_put(struct workloads *t, struct workload *w)
{
	struct workloads_entry *old = find(t, w->id), *e;

	e = old || workloads_count(t) < WORKLOADS_MAX ? calloc(1, sizeof(*e)) : NULL;
	if (!e) {
		int err = old || workloads_count(t) < WORKLOADS_MAX ? -ENOMEM : -E2BIG;

		workload_free(w);
		return err;
	}
	if (old)
		drop(t, old);
	e->w = w;
	HASH_ADD_KEYPTR(hh, t->entries, w->id, strlen(w->id), e);
	return 0;
}

bool workloads_remove(struct workloads *t, const char *id)
{
	struct workloads_entry *e = find(t, id);

	if (!e)
		return false;
	drop(t, e);
	return true;
}

bool workloads_forget(struct workloads *t, const char *node)
{
	struct workloads_entry *e, *tmp;
	bool any = false;

	HASH_ITER(hh, t->entries, e, tmp) {
		if (strcmp(e->w->node, node) != 0)
			continue;
		drop(t, e);
		any = true;
	}
	return any;
}

int workloads_each(const struct workloads *t, int (*fn)(void *arg, const struct workload *w),
                   void *arg)
{
	struct workloads_entry *e, *tmp;
	int ret;

	HASH_ITER(hh, t->entries, e, tmp) {
		ret = fn(arg, e->w);
		if (ret)
			return ret;
	}
	return 0;
}

/* -- the disk ---------------------------------------------------------------------------------- */

static int write_one(void *arg, const struct workload *w)
{
	char *text = workload_text(w);
	int err = text && fprintf(arg, "%s\n", text) > 0 ? 0 : -ENOMEM;

	free(text);
	return err;
}

int workloads_save(const struct workloads *t, int dir, const char *name, uint64_t generation,
                   uint64_t revision)
{
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);
	int err;

	if (!to)
		return -ENOMEM;
	fprintf(to, "{\"generation\":%llu,\"revision\":%llu}\n", (unsigned long long)generation,
	        (unsigned long long)revision);
	err = workloads_each(t, write_one, to);
	if (fclose(to) != 0)
		err = -ENOMEM;
	if (!err)
		err = state_write(dir, name, text, len);
	free(text);
	return err;
}

static int read_head(const char *line, size_t len, uint64_t *generation, uint64_t *revision)
{
	json_t *j = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	json_int_t g = json_integer_value(json_object_get(j, "generation"));
	json_int_t r = json_integer_value(json_object_get(j, "revision"));

	if (g < 0 || r < 0 || !j) {
		json_decref(j);
		return -EBADMSG;
	}
	json_decref(j);
	*generation = (uint64_t)g;
	*revision = (uint64_t)r;
	return 0;
}

static int read_one(struct workloads *t, const char *line, size_t len)
{
	json_t *j = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	struct workload *w = NULL;
	const char *why;
	int err = j ? workload_parse(&w, j, &why) : -EBADMSG;

	json_decref(j);
	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	return workloads_put(t, w);
}

int workloads_load(struct workloads *t, int dir, const char *name, uint64_t *generation,
                   uint64_t *revision)
{
	char *text = malloc(FILE_BYTES_MAX); /* what is not written to is no memory */
	size_t len, at = 0, n;
	bool head = true;
	int err;

	if (!text)
		return -ENOMEM;
	err = keyfile_read(dir, name, text, FILE_BYTES_MAX, &len);
	while (!err && at < len) {
		const char *end = memchr(text + at, '\n', len - at);

		n = end ? (size_t)(end - text) - at : len - at;
		err = head ? read_head(text + at, n, generation, revision)
		           : read_one(t, text + at, n);
		head = false;
		at += n + 1;
	}
	free(text);
	return err;
}
