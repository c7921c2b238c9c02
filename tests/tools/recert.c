/* SPDX-License-Identifier: GPL-3.0-or-later */
/* recert - the same certificate with other dates, for the namespace tests: what a week does in a moment.
 *
 *   recert CA-FOLDER FOLDER BASE FROM UNTIL    seconds from now, e.g. -1000 60
 *
 * Name, role, labels, key and numbers stay.
 */
#include "crypto/ca.h"

#include "crypto/keyfile.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint8_t text[KEYFILE_MAX], der[CERT_CHAIN_MAX * CERT_DER_MAX], leaf[CERT_DER_MAX];
static char pem[KEYFILE_MAX];

static int read_into(const char *folder, const char *name, uint8_t *buf, size_t *n)
{
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = dir < 0 ? -errno : keyfile_read(dir, name, buf, KEYFILE_MAX, n);

	if (dir >= 0)
		close(dir);
	return err;
}

static int load_ca(struct ca **out, const char *folder)
{
	static uint8_t key[KEYFILE_MAX];
	size_t key_len, chain_len;
	int err = read_into(folder, "ca.key", key, &key_len);

	if (!err)
		err = read_into(folder, "ca.pem", text, &chain_len);
	return err ? err : ca_load(out, key, key_len, text, chain_len);
}

static int write_pem(const char *folder, const char *name, size_t len)
{
	int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int err;

	if (dir < 0)
		return -errno;
	err = fstatat(dir, name, &st, 0) ? -errno : keyfile_write(dir, name, pem, len);
	if (!err && fchownat(dir, name, st.st_uid, st.st_gid, 0))
		err = -errno;
	close(dir);
	return err;
}

static int recert(struct ca *ca, const char *folder, const char *name, time_t from, time_t until)
{
	struct cert_chain chain;
	struct cert_info info;
	uint8_t spki[CERT_SPKI_MAX];
	size_t n, len = 0, spki_len;
	struct ca_grant g = {.cluster = info.cluster,
	                     .node = info.node,
	                     .labels = &info.labels,
	                     .not_before = from,
	                     .not_after = until};
	int err = read_into(folder, name, text, &n);

	if (!err)
		err = cert_chain_from_pem(&chain, der, sizeof(der), text, n);
	if (!err && cert_parse(&info, chain.at[0].der, chain.at[0].len) != CERT_OK)
		err = -EBADMSG;
	if (!err)
		err = cert_spki(chain.at[0].der, chain.at[0].len, spki, &spki_len);
	if (err)
		return err;
	g.role = info.role;
	g.incarnation = info.incarnation;
	g.issue = info.issue;
	err = ca_issue(ca, &g, spki, spki_len, leaf, &n);
	chain.at[0].der = leaf;
	chain.at[0].len = n;
	for (unsigned i = 0; i < chain.n && !err; i++)
		err = cert_to_pem(pem, sizeof(pem), &len, chain.at[i].der, chain.at[i].len);
	return err ? err : write_pem(folder, name, len);
}

int main(int argc, char **argv)
{
	time_t now = time(NULL);
	char name[64];
	struct ca *ca;
	int err;

	if (argc != 6) {
		fputs("usage: recert CA-FOLDER FOLDER BASE FROM UNTIL\n", stderr);
		return 2;
	}
	snprintf(name, sizeof(name), "%s.pem", argv[3]);
	err = load_ca(&ca, argv[1]);
	if (!err) {
		err = recert(ca, argv[2], name, now + strtol(argv[4], NULL, 10),
		             now + strtol(argv[5], NULL, 10));
		ca_free(ca);
	}
	if (err)
		fprintf(stderr, "recert: %s/%s: %s\n", argv[2], name, strerror(-err));
	return err != 0;
}
