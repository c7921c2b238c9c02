/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mkcert - certificates for the namespace tests, bad ones above all.
 *
 *   mkcert DIR ca CLUSTER                      DIR/ca.pem, DIR/ca.key
 *   mkcert DIR KIND CLUSTER NAME [KEY=VALUE…]  DIR/NAME.pem, DIR/NAME.key, under DIR's ca
 *   mkcert kinds                               KIND and the refusal it must meet, one a line
 *
 * KIND is a name of the zoo (tests/zoo.h): node, manager, expired, other-ca, ... NAME.pem is the
 * node's certificate with what else it shows, without the root. Those whose certificate holds no
 * key that we could have (weak-key, off-curve) are there for completeness: no handshake can be made
 * with them.
 */
#include "crypto/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/zoo.h"

#define NAME_MAX_HERE 128

static int fail(const char *what, const char *name, int err)
{
	fprintf(stderr, "mkcert: %s: %s: %s\n", name, what, strerror(-err));
	return 1;
}

static int put(int dir, const char *name, const char *suffix, const char *pem, size_t n)
{
	char file[NAME_MAX_HERE];
	int err;

	snprintf(file, sizeof(file), "%s%s", name, suffix);
	err = keyfile_write(dir, file, pem, n);
	return err ? fail("cannot write it", file, err) : 0;
}

static int put_key(int dir, const char *name, const struct cert_key *key)
{
	char pem[512];
	size_t n = 0;
	int err;

	err = cert_key_to_pem(key, pem, sizeof(pem), &n);
	return err ? fail("cannot write the key", name, err) : put(dir, name, ".key", pem, n);
}

static int make_ca(int dir, const char *cluster)
{
	static struct zoo_ca ca;
	char pem[CERT_DER_MAX * 2];
	size_t n = 0;
	int rc;

	zoo_root(&ca, cluster, 1, time(NULL));
	if (cert_to_pem(pem, sizeof(pem), &n, ca.der, ca.len))
		return 1;
	rc = put(dir, "ca", ".pem", pem, n) || put_key(dir, "ca", ca.key);
	zoo_ca_clear(&ca);
	return rc;
}

/* The ca of DIR, whose names are those that zoo_root gave it. */
static int load_ca(struct zoo_ca *ca, int dir, const char *cluster)
{
	uint8_t text[1024];
	size_t n;
	int err;

	snprintf(ca->cluster, sizeof(ca->cluster), "%s", cluster);
	snprintf(ca->common, sizeof(ca->common), "%s", ZOO_ROOT_NAME);
	err = keyfile_read_secret(dir, "ca.key", text, sizeof(text), &n);
	if (!err)
		err = cert_key_from_pem(&ca->key, text, n);
	return err ? fail("cannot read it", "ca.key", err) : 0;
}

static int kind_find(enum zoo_kind *kind, const char *name)
{
	for (unsigned i = 0; i < ZOO_COUNT; i++) {
		if (strcmp(zoo_list[i].name, name) == 0) {
			*kind = (enum zoo_kind)i;
			return 0;
		}
	}
	return fail("no such kind; see mkcert kinds", name, -EINVAL);
}

static int make_node(int dir, char **argv, int argc)
{
	static struct cert_labels labels;
	static struct zoo_ca ca;
	static char pem[CERT_CHAIN_MAX * CERT_DER_MAX * 2];
	struct zoo_node node;
	enum zoo_kind kind = ZOO_NODE;
	size_t n = 0;
	int rc;

	if (kind_find(&kind, argv[0]) || load_ca(&ca, dir, argv[1]))
		return 1;
	for (int i = 3; i < argc; i++) {
		if (cert_labels_add(&labels, argv[i]) < 0)
			return fail("no label", argv[i], -EINVAL);
	}
	zoo_node(&node, kind, &ca, argv[2], &labels, time(NULL));
	for (unsigned i = 0; i < node.chain.n; i++) {
		if (cert_to_pem(pem, sizeof(pem), &n, node.chain.at[i].der, node.chain.at[i].len))
			return 1;
	}
	rc = put(dir, argv[2], ".pem", pem, n) || put_key(dir, argv[2], node.key);
	zoo_node_clear(&node);
	zoo_ca_clear(&ca);
	return rc;
}

int main(int argc, char **argv)
{
	int dir, rc;

	if (argc == 2 && strcmp(argv[1], "kinds") == 0) {
		for (unsigned i = 0; i < ZOO_COUNT; i++)
			printf("%s %s\n", zoo_list[i].name, cert_refusal_name(zoo_list[i].why));
		return 0;
	}
	if (argc < 4 || (strcmp(argv[2], "ca") == 0 ? argc != 4 : argc < 5)) {
		fputs("usage: mkcert DIR ca CLUSTER\n"
		      "       mkcert DIR KIND CLUSTER NAME [KEY=VALUE...]\n"
		      "       mkcert kinds\n",
		      stderr);
		return 2;
	}
	if (!cert_name_ok(argv[3]) || (argc > 4 && !cert_name_ok(argv[4])))
		return fail("names are lower case DNS labels", argv[argc > 4 ? 4 : 3], -EINVAL);
	dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return fail("cannot open it", argv[1], -errno);
	rc = strcmp(argv[2], "ca") == 0 ? make_ca(dir, argv[3])
	                                : make_node(dir, argv + 2, argc - 2);
	close(dir);
	return rc;
}
