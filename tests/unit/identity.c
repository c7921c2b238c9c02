/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/identity.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/ca.h"
#include "crypto/keyfile.h"

#define NOW     1800000000
#define PEM_MAX 16384

/* One cluster: its root as PEM, and a node's key and chain. */
struct cluster {
	struct ca *ca;
	char trust[PEM_MAX];
	size_t trust_len;
	struct cert_key *key;
	uint8_t leaf[CERT_DER_MAX];
	struct cert_chain chain;
};

static struct cluster demo, other;
static struct identity id;
static char why[512], dir_name[64], path[3][128];
static int dir;

static void cluster_make(struct cluster *k, const char *cluster, const char *node)
{
	struct ca_grant grant = {.cluster = cluster,
	                         .node = node,
	                         .role = ROLE_NODE,
	                         .incarnation = 1,
	                         .issue = 1,
	                         .not_before = NOW - CA_BACKDATE,
	                         .not_after = NOW + CA_NODE_LIFE};
	struct cert_chain root;
	const uint8_t *spki;
	size_t spki_len;

	cr_assert_eq(ca_new(&k->ca, cluster, NOW), 0);
	cr_assert_eq(cert_key_new(&k->key), 0);
	spki = cert_key_spki(k->key, &spki_len);
	k->chain.n = 1;
	k->chain.at[0].der = k->leaf;
	cr_assert_eq(ca_issue(k->ca, &grant, spki, spki_len, k->leaf, &k->chain.at[0].len), 0);
	ca_chain(k->ca, &root);
	k->chain.at[k->chain.n++] = root.at[root.n - 1];
	cr_assert_eq(cert_to_pem(k->trust, sizeof(k->trust), &k->trust_len, root.at[root.n - 1].der,
	                         root.at[root.n - 1].len),
	             0);
}

static void cluster_clear(struct cluster *k)
{
	ca_free(k->ca);
	cert_key_free(k->key);
	memset(k, 0, sizeof(*k));
}

static void set_up(void)
{
	strcpy(dir_name, "/tmp/ginnel-identity.XXXXXX");
	cr_assert_not_null(mkdtemp(dir_name));
	dir = open(dir_name, O_RDONLY | O_DIRECTORY);
	cr_assert_geq(dir, 0);
	cluster_make(&demo, "demo", "n1");
	cluster_make(&other, "demo", "n1"); /* the same words, another CA */
	snprintf(path[0], sizeof(path[0]), "%s/node.pem", dir_name);
	snprintf(path[1], sizeof(path[1]), "%s/node.key", dir_name);
	snprintf(path[2], sizeof(path[2]), "%s/ca.pem", dir_name);
}

static void tear_down(void)
{
	static const char *const names[] = {"node.key", "node.key.new", "node.pem", "ca.pem",
	                                    "link.key"};

	identity_clear(&id);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(dir, names[i], 0);
	close(dir);
	cr_expect_eq(rmdir(dir_name), 0, "something was left behind");
	cluster_clear(&demo);
	cluster_clear(&other);
}

TestSuite(identity, .init = set_up, .fini = tear_down);

static void save(const struct cluster *k)
{
	cr_assert_eq(identity_save_dir(dir, "node", k->key, &k->chain, k->trust, k->trust_len), 0);
}

static int load(void)
{
	identity_clear(&id);
	strcpy(why, "");
	return identity_load_dir(&id, dir, "node", NOW, why, sizeof(why));
}

static int load_files(void)
{
	identity_clear(&id);
	strcpy(why, "");
	return identity_load_files(&id, path[0], path[1], path[2], NOW, why, sizeof(why));
}

#define REFUSED(call, err, text)                                              \
	do {                                                                  \
		cr_expect_eq(call, err, "%s", why);                           \
		cr_expect(strstr(why, text) && strstr(why, "; "), "%s", why); \
		cr_expect_null(id.key);                                       \
	} while (0)

/* Files of a folder by name: read, written, cut. */
static size_t get(const char *name, char *buf)
{
	size_t len;

	cr_assert_eq(keyfile_read(dir, name, buf, PEM_MAX, &len), 0, "%s", name);
	return len;
}

static void put(const char *name, const char *buf, size_t len)
{
	int fd = openat(dir, name, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	cr_assert_eq(write(fd, buf, len), (ssize_t)len);
	close(fd);
}

Test(identity, what_was_saved_is_loaded)
{
	struct stat st;

	save(&demo);
	cr_assert_eq(load(), 0, "%s", why);
	cr_expect_str_eq(id.info.cluster, "demo");
	cr_expect_str_eq(id.info.node, "n1");
	cr_expect_eq(id.info.role, ROLE_NODE);
	cr_expect_eq(id.chain.n, 2);
	cr_expect(cert_key_matches(id.key, id.chain.at[0].der, id.chain.at[0].len));
	cr_assert_eq(fstatat(dir, "node.key", &st, 0), 0);
	cr_expect_eq(st.st_mode & 07777, 0600);
	cr_expect_eq(faccessat(dir, "node.key.new", F_OK, 0), -1);
	cr_expect_eq(load_files(), 0, "%s", why);
}

Test(identity, a_missing_file_is_named)
{
	REFUSED(load(), -ENOENT, "node.pem: is not there; run ginnel init or ginnel join");
	save(&demo);
	unlinkat(dir, "node.key", 0);
	REFUSED(load(), -ENOENT, "node.key: is not there");
	REFUSED(load_files(), -ENOENT, "node.key: is not there; check identity in the config");
	save(&demo);
	unlinkat(dir, "ca.pem", 0);
	REFUSED(load(), -ENOENT, "ca.pem: is not there");
}

Test(identity, a_key_that_others_can_read_is_refused)
{
	save(&demo);
	cr_assert_eq(fchmodat(dir, "node.key", 0640, 0), 0);
	REFUSED(load(), -EPERM, "node.key: group or others can read it");
	REFUSED(load_files(), -EPERM, "chmod 600 it");
	cr_assert_eq(fchmodat(dir, "node.key", 0604, 0), 0);
	REFUSED(load(), -EPERM, "node.key");
}

Test(identity, a_key_of_someone_else_s_is_refused)
{
	if (geteuid() != 0)
		cr_skip_test("only root can give a file away");
	save(&demo);
	cr_assert_eq(fchownat(dir, "node.key", 12345, 12345, 0), 0);
	REFUSED(load(), -EPERM, "it belongs to someone else");
}

Test(identity, files_cut_at_any_length_are_refused)
{
	static const char *const names[] = {"node.key", "node.pem", "ca.pem"};
	static char text[PEM_MAX];

	save(&demo);
	for (size_t i = 0; i < 3; i++) {
		size_t len = get(names[i], text);
		/* PEM ends before its last newline. */
		for (size_t cut = 0; cut + 2 < len; cut += cut < 80 || cut + 80 > len ? 1 : 37) {
			int err;

			put(names[i], text, cut);
			err = load();
			/* Whole certificates before the cut may be left, never a whole identity. */
			cr_expect(err < 0 || (i == 1 && id.chain.n == 1), "%s at %zu: %d", names[i],
			          cut, err);
			cr_expect(err == 0 || strstr(why, names[i]), "%s", why);
		}
		put(names[i], text, len);
	}
	cr_expect_eq(load(), 0, "%s", why);
}

Test(identity, a_swapped_file_is_refused)
{
	static char key[PEM_MAX], cert[PEM_MAX], ca[PEM_MAX];
	size_t key_len, cert_len, ca_len;

	save(&other);
	key_len = get("node.key", key);
	cert_len = get("node.pem", cert);
	ca_len = get("ca.pem", ca);
	save(&demo);
	put("node.key", key, key_len);
	REFUSED(load(), -EINVAL, "node.key: is not the key of node.pem");
	REFUSED(load_files(), -EINVAL, "is not the key of");
	save(&demo);
	put("ca.pem", ca, ca_len);
	REFUSED(load(), -EINVAL, "node.pem: was not issued by the CA in ca.pem");
	save(&demo);
	put("node.pem", cert, cert_len);
	put("node.key", key, key_len);
	REFUSED(load(), -EINVAL, "node.pem: was not issued by the CA in ca.pem");
	put("node.key", cert, cert_len);
	REFUSED(load(), -EBADMSG, "node.key: cannot be parsed");
	put("node.pem", key, key_len);
	REFUSED(load(), -EBADMSG, "node.pem: holds no PEM certificate");
}

Test(identity, the_clock_is_judged)
{
	save(&demo);
	cr_expect_eq(identity_load_dir(&id, dir, "node", NOW + CA_NODE_LIFE + 1, why, sizeof(why)),
	             -EKEYEXPIRED);
	cr_expect(strstr(why, "node.pem: a certificate in it ended (its own: 2027-01-22T08:00:00Z"),
	          "%s", why);
	cr_expect_eq(identity_load_dir(&id, dir, "node", NOW - CA_BACKDATE - 1, why, sizeof(why)),
	             -EINVAL);
	cr_expect(strstr(why, "set this host's clock right"), "%s", why);
}

Test(identity, a_certificate_that_names_no_node_is_refused)
{
	static char text[PEM_MAX];
	size_t len;

	save(&demo);
	len = get("ca.pem", text);
	put("node.pem", text, len);
	cr_expect_eq(load(), -EBADMSG);
	cr_expect(strstr(why, "node.pem: "), "%s", why);
}

Test(identity, links_are_followed_where_the_config_named_them_and_nowhere_else)
{
	save(&demo);
	cr_assert_eq(renameat(dir, "node.key", dir, "link.key"), 0);
	cr_assert_eq(symlinkat("link.key", dir, "node.key"), 0);
	cr_expect_eq(load_files(), 0, "%s", why);
	cr_expect_neq(load(), 0);
	cr_expect(strstr(why, "node.key"), "%s", why);
}

Test(identity, a_folder_in_place_of_a_file_is_refused)
{
	save(&demo);
	unlinkat(dir, "node.pem", 0);
	cr_assert_eq(mkdirat(dir, "node.pem", 0700), 0);
	REFUSED(load(), -EBADMSG, "node.pem: is no regular file");
	cr_assert_eq(unlinkat(dir, "node.pem", AT_REMOVEDIR), 0);
}

Test(identity, a_certificate_is_peeked_at_without_key_and_judgement)
{
	struct cert_info info;

	save(&demo);
	unlinkat(dir, "node.key", 0);
	unlinkat(dir, "ca.pem", 0);
	cr_expect_eq(identity_peek_file(&info, path[0], why, sizeof(why)), 0, "%s", why);
	cr_expect_str_eq(info.node, "n1");
	put("node.pem", "x", 1);
	REFUSED(identity_peek_file(&info, path[0], why, sizeof(why)), -EBADMSG,
	        "node.pem: holds no PEM certificate");
}

/* -- a change of identity that is cut short ---------------------------------------------------- */

static void renew(struct cluster *k)
{
	struct ca_grant grant = {.cluster = "demo",
	                         .node = "n1",
	                         .role = ROLE_NODE,
	                         .incarnation = 1,
	                         .issue = 2,
	                         .not_before = NOW - CA_BACKDATE,
	                         .not_after = NOW + CA_NODE_LIFE};
	const uint8_t *spki;
	size_t spki_len;

	cert_key_free(k->key);
	cr_assert_eq(cert_key_new(&k->key), 0);
	spki = cert_key_spki(k->key, &spki_len);
	cr_assert_eq(ca_issue(k->ca, &grant, spki, spki_len, k->leaf, &k->chain.at[0].len), 0);
}

Test(identity, after_a_crash_before_the_certificate_the_old_one_stands)
{
	static char old[PEM_MAX], new[PEM_MAX], cert[PEM_MAX];
	size_t old_len, new_len, cert_len;

	save(&demo);
	old_len = get("node.key", old);
	cert_len = get("node.pem", cert);
	renew(&demo);
	save(&demo);
	new_len = get("node.key", new);
	put("node.key", old, old_len);
	put("node.key.new", new, new_len);
	put("node.pem", cert, cert_len);
	cr_expect_eq(load(), 0, "%s", why);
	cr_expect_eq(id.info.issue, 1);
}

Test(identity, after_a_crash_behind_the_certificate_the_new_key_takes_its_place)
{
	static char old[PEM_MAX], new[PEM_MAX];
	size_t old_len, new_len;

	save(&demo);
	old_len = get("node.key", old);
	renew(&demo);
	save(&demo);
	new_len = get("node.key", new);
	put("node.key", old, old_len);
	put("node.key.new", new, new_len);
	cr_expect_eq(load(), 0, "%s", why);
	cr_expect_eq(id.info.issue, 2);
	cr_expect_eq(faccessat(dir, "node.key.new", F_OK, 0), -1);
	cr_expect_eq(load(), 0, "%s", why);
	/* The very first identity, cut short at the same point. */
	cr_assert_eq(renameat(dir, "node.key", dir, "node.key.new"), 0);
	cr_expect_eq(load(), 0, "%s", why);
}

/* A file size limit stands for a full disk: writes fail, nothing else does. */
Test(identity, what_cannot_be_written_leaves_the_old_identity)
{
	const struct rlimit tight = {.rlim_cur = 300, .rlim_max = RLIM_INFINITY};
	const struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
	int err;

	save(&demo);
	renew(&demo);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &tight), 0);
	err = identity_save_dir(dir, "node", demo.key, &demo.chain, demo.trust, demo.trust_len);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
	cr_expect_eq(err, -EFBIG);
	cr_expect_eq(load(), 0, "%s", why);
	cr_expect_eq(id.info.issue, 1);
	cr_expect_eq(faccessat(dir, "node.key.new", F_OK, 0), -1);
}
