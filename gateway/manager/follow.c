/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/manager/follow.h"

#include "crypto/revocation.h"
#include "crypto/statement.h"
#include "gateway/log.h"
#include "gateway/sealed.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void follow_init(struct follow *f, struct registry *r, int ca_fd)
{
	*f = (struct follow){.registry = r, .ca_fd = ca_fd};
}

int follow_begin(struct follow *f, const struct follow_ops *ops, void *arg)
{
	f->ops = ops;
	f->arg = arg;
	return message_send(f->ca_fd, MESSAGE_NODES, 0, NULL, 0, NULL, 0);
}

/* -- what the ca says unasked ------------------------------------------------------------------ */

static int labels_of(struct cert_labels *out, const struct message_node *m)
{
	memset(out, 0, sizeof(*out));
	if (m->nlabels > CERT_LABELS_MAX)
		return -EBADMSG;
	for (unsigned i = 0; i < m->nlabels; i++)
		if (!memchr(m->labels[i], '\0', sizeof(m->labels[i])) ||
		    cert_labels_add(out, m->labels[i]) < 0)
			return -EBADMSG;
	return 0;
}

static void note_error(const char *name, int err)
{
	if (err && err != -ENOENT)
		log_error("registry: a node's change was not written; it is at the next start",
		          "peer", name, "reason", strerrordesc_np(-err), NULL);
}

/* The ledger decides; the registry follows. What a kill between the two left behind is told again at
 * the next start. A node that only the ledger knows has yet to get its answer.
 */
static int take_node(struct follow *f, const struct message *message)
{
	struct registry_node *n = &f->node;
	struct message_node m;
	struct cert_labels labels;
	int err;

	memcpy(&m, message->body, sizeof(m));
	if (!memchr(m.name, '\0', sizeof(m.name)) || !cert_name_ok(m.name) ||
	    labels_of(&labels, &m) < 0)
		return -EBADMSG;
	err = registry_node_get(f->registry, m.name, n);
	if (!err && m.removed) {
		err = registry_node_remove(f->registry, m.name);
		if (!err)
			log_info("node removed", "peer", m.name, NULL);
	} else if (!err && n->incarnation == m.incarnation &&
	           (n->issue_min != m.issue_min || !cert_labels_equal(&n->labels, &labels))) {
		n->issue_min = m.issue_min;
		n->labels = labels;
		err = registry_node_put(f->registry, n);
		if (!err)
			log_info("node labelled", "peer", m.name, NULL);
	}
	note_error(m.name, err);
	return 0;
}

static int take_list(struct follow *f, struct message *message)
{
	struct message_list m;
	uint8_t *bytes;
	int err = 0;

	memcpy(&m, message->body, sizeof(m));
	bytes = m.len <= REVOCATION_LIST_MAX ? malloc(m.len + 1) : NULL;
	/* One byte more: the file is as long as it says. */
	if (!bytes || pread(message->fds[0], bytes, m.len + 1, 0) != (ssize_t)m.len)
		err = -EBADMSG;
	else if (f->ops)
		f->ops->list(f->arg, bytes, m.len);
	free(bytes);
	message_close_fds(message);
	return err;
}

static int take_generation(struct follow *f, const struct message *message)
{
	struct message_generation m;

	memcpy(&m, message->body, sizeof(m));
	if (m.len > sizeof(m.proof))
		return -EBADMSG;
	if (f->ops)
		f->ops->generation(f->arg, m.generation, m.proof, m.len);
	return 0;
}

int follow_take(struct follow *f, struct message *m)
{
	switch (m->head.type) {
	case MESSAGE_LIST:
		return take_list(f, m);
	case MESSAGE_NODE:
		return take_node(f, m);
	case MESSAGE_GENERATION:
		return take_generation(f, m);
	case MESSAGE_COPY:
		f->copy = true; /* with what is sent next */
		return 0;
	default:
		message_close_fds(m);
		return -EBADMSG;
	}
}

/* -- what the ca is told ----------------------------------------------------------------------- */

/* An empty file says that there is none. */
static int send_copy(struct follow *f)
{
	struct message_copied m = {0};
	size_t len = 0;
	int fd, err = registry_copy(f->registry, &fd, &len);

	if (err) {
		log_error("the registry could not be copied", "reason", strerrordesc_np(-err),
		          NULL);
		err = sealed_new(&fd, "registry", "", 0);
	}
	if (err) {
		f->copy = false; /* whoever waits does not for long */
		return 0;
	}
	m.len = len;
	err = message_send(f->ca_fd, MESSAGE_COPIED, 0, &m, sizeof(m), &fd, 1);
	close(fd);
	if (!err)
		f->copy = false;
	return err;
}

static int send_told(struct follow *f)
{
	struct message_list_told m = {.number = f->told};
	int err = message_send(f->ca_fd, MESSAGE_LIST_TOLD, 0, &m, sizeof(m), NULL, 0);

	if (!err)
		f->told = 0;
	return err;
}

int follow_send(struct follow *f)
{
	int err = f->told ? send_told(f) : 0;

	if (!err && f->copy)
		err = send_copy(f);
	return err == -EAGAIN ? 0 : err;
}

void follow_told(struct follow *f, uint64_t number)
{
	f->told = number;
	follow_send(f); /* what is left, and who is gone, shows with the next message */
}

int follow_shown(struct follow *f, const uint8_t *bytes, size_t len)
{
	struct message_list m = {.len = (uint32_t)len};
	int fd, err = sealed_new(&fd, "revocations", bytes, len);

	if (err)
		return err;
	err = message_send(f->ca_fd, MESSAGE_LIST_SHOWN, 0, &m, sizeof(m), &fd, 1);
	close(fd);
	return err;
}
