/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/orders.h"

#include "gateway/log.h"
#include "gateway/tables/policy.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* syscalls(manager): fstat pread64 */

/* The whole file, NUL-terminated; it is as long as was said, and one that never blocks. */
static char *read_document(int fd, size_t len)
{
	char *text = len <= POLICY_BYTES_MAX ? malloc(len + 1) : NULL;
	struct stat st;
	size_t at = 0;
	ssize_t n;

	if (!text || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != len)
		goto fail;
	while (at < len) {
		n = pread(fd, text + at, len - at, (off_t)at);
		if (n <= 0)
			goto fail;
		at += (size_t)n;
	}
	text[len] = '\0';
	return text;
fail:
	free(text);
	return NULL;
}

static const char *write_why(int err)
{
	switch (err) {
	case -EINVAL:
		return "it is no UTF-8; mend it";
	case -ENOSPC:
		return "the manager's disk is full; make room";
	case -EROFS:
		return "the registry is read-only since a write failed; see ginneld's log";
	case -ENOENT:
		return "the registry knows no node of that name; see `ginnel node list`";
	default:
		return "the registry could not be written; see ginneld's log";
	}
}

/* The first fault, as it is printed to people: FILE:LINE:COLUMN: ... */
static void say_fault(const struct config_faults *f, struct message_ordered *out)
{
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	if (to) {
		config_faults_print(f, to);
		fclose(to);
	}
	snprintf(out->error, sizeof(out->error),
	         "policy apply: %.*s; mend it, the old one is in "
	         "force",
	         text ? (int)strcspn(text, "\n") : 0, text ? text : "");
	free(text);
}

static int parse(struct policy **out, const char *text, size_t len, struct message_ordered *said)
{
	struct config_faults *faults = calloc(1, sizeof(*faults));
	int err = faults ? policy_parse(out, "policy", text, len, faults) : -ENOMEM;

	if (err == -EINVAL)
		say_fault(faults, said);
	else if (err)
		snprintf(said->error, sizeof(said->error),
		         "policy apply: %s; the old one is in force", strerrordesc_np(-err));
	free(faults);
	return err;
}

static void take_policy(const struct orders *o, const struct message_order *m, int fd,
                        struct message_ordered *out)
{
	char *text = fd >= 0 ? read_document(fd, m->len) : NULL, version[24];
	struct policy *p = NULL;
	int err;

	if (!text) {
		snprintf(out->error, sizeof(out->error),
		         "policy apply: the document did not come whole; try again");
		return;
	}
	if (parse(&p, text, m->len, out) < 0)
		goto out;
	err = registry_policy_put(o->registry, text, m->len, m->by, o->wall(NULL));
	if (err) {
		policy_free(p);
		snprintf(out->error, sizeof(out->error), "policy apply: %s", write_why(err));
		goto out;
	}
	api_policy(o->api, p);
	out->version = registry_policy(o->registry)->version;
	log_info("policy applied", "version", log_num(version, (long long)out->version), "by",
	         m->by, NULL);
out:
	free(text);
}

static void take_drain(const struct orders *o, const struct message_order *m,
                       struct message_ordered *out)
{
	int err = cert_name_ok(m->name) ? registry_node_drain(o->registry, m->name, !m->off)
	                                : -ENOENT;

	if (err)
		snprintf(out->error, sizeof(out->error), "node drain: %s", write_why(err));
	else
		log_info(m->off ? "node takes workloads again" : "node is drained", "peer", m->name,
		         "by", m->by, NULL);
}

void orders_take(void *arg, const struct message_order *m, int fd, struct message_ordered *out)
{
	const struct orders *o = arg;

	memset(out, 0, sizeof(*out));
	switch (m->kind) {
	case ORDER_POLICY:
		take_policy(o, m, fd, out);
		break;
	case ORDER_DRAIN:
		take_drain(o, m, out);
		break;
	default:
		snprintf(out->error, sizeof(out->error),
		         "request: the manager does not know it; are all parts of one version?");
	}
}

void orders_begin(const struct orders *o)
{
	const struct registry_policy *rp = registry_policy(o->registry);
	struct message_ordered said = {0};
	struct policy *p = NULL;

	if (!rp->version)
		return;
	if (parse(&p, rp->document, rp->len, &said) < 0)
		log_error("the policy in force cannot be read: no workload is taken", "reason",
		          said.error, NULL);
	api_policy(o->api, p);
}
