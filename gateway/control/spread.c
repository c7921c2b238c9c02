/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/spread.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

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

void spread_begin(struct control *c)
{
	int err = revoked_load(&c->revoked, AT_FDCWD, c->params->identity->trust);

	if (err && err != -ENOENT)
		log_warn("revocation lists on disk are no use", "file", REVOKED_FILE, "reason",
		         strerrordesc_np(-err), NULL);
	raise_floor(c);
}

void spread_clear(struct control *c)
{
	revoked_clear(&c->revoked);
}
