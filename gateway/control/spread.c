/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/spread.h"

#include "gateway/control/uplink.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* What peers are told of, from the next snapshot on. */
static void make_lists(struct control *c)
{
	uint8_t *file = malloc(LISTS_MAX);
	struct lists *fresh = NULL;
	size_t n = file ? revoked_format(&c->revoked, file) : 0;
	int err = file ? 0 : -ENOMEM;

	if (n && c->revoked.number)
		err = lists_new(&fresh, c->revoked.number, &c->revoked.set, file, n);
	free(file);
	if (err) {
		log_error("revocation lists are not passed on", "reason", strerrordesc_np(-err),
		          NULL);
		return;
	}
	lists_put(c->lists);
	c->lists = fresh;
}

static void raise_floor(struct control *c)
{
	if (c->revoked.issued > c->floor)
		c->floor = c->revoked.issued;
}

/* Sessions are judged first, the disk is written after: a full one must not keep a peer in. */
static void follow(struct control *c)
{
	char number[24];
	int err;

	log_info("revocation list", "number", log_num(number, (long long)c->revoked.number), NULL);
	raise_floor(c);
	make_lists(c);
	control_publish(c);
	err = revoked_save(&c->revoked, AT_FDCWD);
	if (err)
		log_error("revocation list not saved", "reason", strerrordesc_np(-err), NULL);
}

int spread_list(struct control *c, const uint8_t *list, size_t len)
{
	int fresh = revoked_take(&c->revoked, list, len, c->params->identity->trust);

	if (fresh > 0)
		follow(c);
	return fresh;
}

void spread_files(struct control *c)
{
	struct gossip_file f;
	int fresh;

	while (engine_file(c->engine, &f)) {
		fresh = revoked_take_file(&c->revoked, f.bytes, f.len, c->params->identity->trust);
		free(f.bytes);
		if (fresh < 0)
			log_warn("a peer's revocation list was refused", "peer", f.peer, "reason",
			         strerrordesc_np(-fresh), NULL);
		if (fresh <= 0)
			continue;
		log_info("revocations heard of", "peer", f.peer, NULL);
		follow(c);
		if (c->uplink)
			uplink_show_lists(c->uplink);
	}
}

void spread_begin(struct control *c)
{
	int err = revoked_load(&c->revoked, AT_FDCWD, c->params->identity->trust);

	if (err && err != -ENOENT)
		log_warn("revocation lists on disk are no use", "file", REVOKED_FILE, "reason",
		         strerrordesc_np(-err), NULL);
	raise_floor(c);
	make_lists(c);
}

void spread_clear(struct control *c)
{
	lists_put(c->lists);
	revoked_clear(&c->revoked);
}
