/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/programs/selfissue.h"

#include <errno.h>
#include <stdio.h>

#include "gateway/identity.h"

static int issue(const struct selfissue *s, const struct cert_key *key, enum cert_role role,
                 uint8_t leaf[CERT_DER_MAX], size_t *len)
{
	struct ca_grant g = {
		.cluster = s->cluster,
		.node = s->name,
		.role = role,
		.labels = s->labels,
		.incarnation = s->incarnation,
		.not_before = s->now - CA_BACKDATE,
		.not_after = s->now + (time_t)CA_NODE_LIFE,
	};
	const uint8_t *spki;
	size_t spki_len;
	int err = ledger_next_issue(s->ledger, s->name, g.not_after, &g.issue);

	spki = cert_key_spki(key, &spki_len);
	return err ? err : ca_issue(s->ca, &g, spki, spki_len, leaf, len);
}

int selfissue_write(const struct selfissue *s, const struct statedir *dir, enum statedir_part part,
                    const char *base, const struct cert_key *key, enum cert_role role,
                    struct cert_info *info)
{
	static const char *const suffix[] = {".key", ".pem"};
	uint8_t leaf[CERT_DER_MAX];
	struct cert_chain own, out;
	char name[32];
	int err = issue(s, key, role, leaf, &out.at[0].len);

	if (err)
		return err;
	if (cert_parse(info, leaf, out.at[0].len) != CERT_OK)
		return -EBADMSG;
	out.at[0].der = leaf;
	out.n = 1;
	ca_chain(s->ca, &own);
	for (unsigned i = 0; i < own.n && out.n < CERT_CHAIN_MAX; i++)
		out.at[out.n++] = own.at[i];
	err = identity_save_dir(dir->part[part].fd, base, key, &out, s->root, s->root_len);
	for (int i = 0; i < 2 && !err; i++) {
		snprintf(name, sizeof(name), "%s%s", base, suffix[i]);
		err = statedir_own(dir, part, name);
	}
	return err ? err : statedir_own(dir, part, "ca.pem");
}
