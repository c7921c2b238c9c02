/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/node.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHY_MAX 512

static struct node n;
static struct config c;
static char why[WHY_MAX];

static const char good[] =
	"{\n"
	"  \"format\": 1,\n"
	"  \"cluster\": \"demo\",\n"
	"  \"name\": \"n1\",\n"
	"  \"role\": \"manager\",\n"
	"  \"port\": 4747,\n"
	"  \"overlay\": [\n    \"10.77.0.0/16\",\n    \"fd77::/48\"\n  ],\n"
	"  \"pools\": [\n    \"10.80.0.0/14\"\n  ],\n"
	"  \"prefixes\": [\n    \"10.77.1.0/24\",\n    \"fd77:0:0:1::/64\"\n  ],\n"
	"  \"advertise\": [\n    \"10.9.0.1:4747\",\n    \"n1.example.org:4747\"\n  ],\n"
	"  \"managers\": [\n"
	"    {\n"
	"      \"name\": \"n1\",\n"
	"      \"endpoints\": [\n        \"10.9.0.1:4748\"\n      ]\n"
	"    }\n"
	"  ]\n"
	"}";

/* good with one part replaced; the block has the text's own size, for a sanitizer to see past it. */
static int parse_with(const char *part, const char *by)
{
	const char *at = strstr(good, part);
	size_t len = strlen(good) - strlen(part) + strlen(by);
	char *text = malloc(len + 1);
	int err;

	cr_assert_not_null(at, "%s", part);
	snprintf(text, len + 1, "%.*s%s%s", (int)(at - good), good, by, at + strlen(part));
	err = node_parse(&n, text, len);
	free(text);
	return err;
}

#define REFUSED(part, by) cr_expect_eq(parse_with((part), (by)), -EBADMSG, "%s", (by))
#define TAKEN(part, by)   cr_expect_eq(parse_with((part), (by)), 0, "%s", (by))

Test(node, what_is_written_is_what_was_read)
{
	char *text;

	cr_assert_eq(node_parse(&n, good, strlen(good)), 0);
	cr_expect_str_eq(n.cluster, "demo");
	cr_expect_str_eq(n.name, "n1");
	cr_expect_eq(n.role, ROLE_MANAGER);
	cr_expect_eq(n.port, 4747);
	cr_expect_eq(n.noverlay, 2);
	cr_expect_eq(n.npools, 1);
	cr_expect_eq(n.nprefixes, 2);
	cr_expect_eq(n.nadvertise, 2);
	cr_expect(!n.advertise[1].is_addr);
	cr_expect_eq(n.nmanagers, 1);
	cr_expect_eq(n.managers[0].endpoints[0].at.port, 4748);
	cr_expect(!n.is_static);
	text = node_format(&n);
	cr_expect_str_eq(text, good);
	free(text);
}

Test(node, a_file_cut_at_every_length_is_refused)
{
	for (size_t cut = 0; cut < strlen(good); cut++) {
		char *text = malloc(cut + 1);

		memcpy(text, good, cut);
		cr_expect_eq(node_parse(&n, text, cut), -EBADMSG, "%zu", cut);
		free(text);
	}
}

Test(node, a_refused_file_leaves_the_node_as_it_was)
{
	memset(&n, 0x5a, sizeof(n));
	REFUSED("\"n1\"", "\"N1\"");
	for (size_t i = 0; i < sizeof(n); i++)
		cr_assert_eq(((const unsigned char *)&n)[i], 0x5a);
}

Test(node, every_key_is_there_once_and_no_other)
{
	REFUSED("  \"port\": 4747,\n", "");
	REFUSED("\"port\": 4747", "\"port\": 4747, \"port\": 4747");
	REFUSED("\"port\": 4747", "\"port\": 4747, \"more\": 1");
	REFUSED("\"format\": 1", "\"format\": 2");
	REFUSED("\"format\": 1", "\"format\": \"1\"");
	REFUSED("\"name\": \"n1\",\n      \"endpoints\"", "\"endpoints\"");
	REFUSED("\"name\": \"n1\",\n      \"endpoints\"",
	        "\"name\": \"n1\", \"x\": 1, \"endpoints\"");
	cr_expect_eq(node_parse(&n, "[]", 2), -EBADMSG);
	cr_expect_eq(node_parse(&n, "", 0), -EBADMSG);
}

Test(node, values_have_their_types_and_ranges)
{
	REFUSED("\"demo\"", "\"De mo\"");
	REFUSED("\"demo\"", "\"de\\u0000mo\"");
	REFUSED("\"demo\"", "7");
	REFUSED("\"demo\"", "null");
	REFUSED("\"manager\"", "\"root\"");
	REFUSED("\"manager\"", "1");
	TAKEN("\"manager\"", "\"node\"");
	REFUSED("4747,\n", "0,\n");
	REFUSED("4747,\n", "-1,\n");
	REFUSED("4747,\n", "65536,\n");
	REFUSED("4747,\n", "4747.0,\n");
	REFUSED("4747,\n", "\"4747\",\n");
	REFUSED("4747,\n", "18446744073709551616,\n");
	REFUSED("4747,\n", "65535,\n"); /* a manager listens on the next one too */
	TAKEN("4747,\n", "65534,\n");
}

Test(node, networks_are_whole_and_apart)
{
	REFUSED("\"10.77.0.0/16\"", "\"10.77.0.1/16\"");
	REFUSED("\"10.77.0.0/16\"", "\"0.0.0.0/0\"");
	REFUSED("\"10.77.0.0/16\"", "\"127.0.0.0/8\"");
	REFUSED("\"10.77.0.0/16\"", "10");
	REFUSED("\"10.77.0.0/16\"", "\"fd78::/48\""); /* two of one family */
	REFUSED("\"10.77.0.0/16\",", "\"10.77.0.0/16\", \"10.88.0.0/16\",");
	REFUSED("\"10.80.0.0/14\"", "\"10.64.0.0/10\"");
	REFUSED("\"10.80.0.0/14\"", "\"10.80.0.0/14\", \"10.81.0.0/16\"");
	TAKEN("\"10.80.0.0/14\"", "");
	REFUSED("\"10.77.1.0/24\"", "\"10.78.1.0/24\"");
	REFUSED("\"10.77.1.0/24\"", "\"10.77.1.0/24\", \"10.77.1.0/25\"");
	REFUSED("\"10.77.1.0/24\",\n    \"fd77:0:0:1::/64\"", "");
	REFUSED("\"10.77.1.0/24\",\n    \"fd77:0:0:1::/64\"",
	        "\"10.77.1.0/24\", [\"fd77:0:0:1::/64\"]");
}

Test(node, endpoints_lead_out_of_the_overlay)
{
	REFUSED("\"10.9.0.1:4747\"", "\"10.9.0.1\"");
	REFUSED("\"10.9.0.1:4747\"", "\"10.9.0.1:0\"");
	REFUSED("\"10.9.0.1:4747\"", "\"10.77.1.1:4747\"");
	REFUSED("\"10.9.0.1:4747\"", "\"10.80.1.1:4747\"");
	REFUSED("\"10.9.0.1:4747\"", "\"127.0.0.1:4747\"");
	REFUSED("\"10.9.0.1:4747\"", "\"224.0.0.1:4747\"");
	REFUSED("\"10.9.0.1:4748\"", "\"10.77.1.1:4748\"");
	REFUSED("\"10.9.0.1:4748\"", "");
	TAKEN("\"10.9.0.1:4748\"", "\"127.0.0.1:4748\", \"[fd00::1]:4748\"");
}

Test(node, lists_are_bounded)
{
	char many[1024] = "";

	for (int i = 1; i <= NODE_POOLS_MAX; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), "%s\"10.80.%d.0/24\"",
		         i > 1 ? ", " : "", i);
	TAKEN("\"10.80.0.0/14\"", many);
	strcat(many, ", \"10.80.0.0/24\"");
	REFUSED("\"10.80.0.0/14\"", many);
	REFUSED("\"10.9.0.1:4747\"",
	        "\"a:1\", \"b:1\", \"c:1\", \"d:1\", \"e:1\", \"f:1\", \"g:1\", \"h:1\"");
}

Test(node, depth_and_size_are_bounded)
{
	size_t len = NODE_BYTES_MAX + 1;
	char *text = malloc(len);

	memset(text, '[', len);
	cr_expect_eq(node_parse(&n, text, NODE_BYTES_MAX), -EBADMSG);
	memset(text, ' ', len);
	memcpy(text, good, strlen(good));
	cr_expect_eq(node_parse(&n, text, NODE_BYTES_MAX), 0);
	cr_expect_eq(node_parse(&n, text, len), -EBADMSG);
	free(text);
}

#define ADDRESS(family, want)                     \
	do {                                      \
		struct addr a;                    \
		char out[ADDR_TEXT_MAX] = "none"; \
		if (node_address(&n, family, &a)) \
			addr_format(&a, out);     \
		cr_expect_str_eq(out, want);      \
	} while (0)

Test(node, its_own_address_is_the_first_of_its_first_prefix)
{
	cr_assert_eq(node_parse(&n, good, strlen(good)), 0);
	ADDRESS(4, "10.77.1.1");
	ADDRESS(6, "fd77:0:0:1::1");
	n.nprefixes = 1;
	ADDRESS(6, "none");
	cr_assert_eq(prefix_parse(&n.prefixes[0], "10.77.1.7/32"), 0);
	ADDRESS(4, "10.77.1.7");
	cr_assert_eq(prefix_parse(&n.prefixes[0], "10.77.1.6/31"), 0);
	ADDRESS(4, "10.77.1.7");
	n.nprefixes = 0;
	ADDRESS(4, "none");
}

/* -- files ------------------------------------------------------------------------------------ */

static char dir_name[64];
static int dir;

static void dir_make(void)
{
	strcpy(dir_name, "/tmp/ginnel-node.XXXXXX");
	cr_assert_not_null(mkdtemp(dir_name));
	dir = open(dir_name, O_RDONLY | O_DIRECTORY);
	cr_assert_geq(dir, 0);
}

static void dir_remove(void)
{
	unlinkat(dir, NODE_FILE, 0);
	close(dir);
	rmdir(dir_name);
}

Test(node, it_is_saved_for_root_alone_and_loaded, .init = dir_make, .fini = dir_remove)
{
	struct stat st;

	cr_expect_eq(node_load(&n, dir), -ENOENT);
	cr_assert_eq(node_parse(&n, good, strlen(good)), 0);
	cr_assert_eq(node_save(&n, dir), 0);
	cr_assert_eq(fstatat(dir, NODE_FILE, &st, 0), 0);
	cr_expect_eq(st.st_mode & 07777, 0600);
	memset(&n, 0, sizeof(n));
	cr_assert_eq(node_load(&n, dir), 0);
	cr_expect_str_eq(n.name, "n1");
	cr_assert_eq(fchmodat(dir, NODE_FILE, 0644, 0), 0);
	cr_expect_eq(node_load(&n, dir), -EPERM);
}

Test(node, a_damaged_file_is_told_from_a_missing_one, .init = dir_make, .fini = dir_remove)
{
	int fd = openat(dir, NODE_FILE, O_CREAT | O_WRONLY, 0600);

	cr_expect_eq(node_load(&n, dir), -EBADMSG); /* empty */
	cr_assert_eq(write(fd, good, 100), 100);
	cr_expect_eq(node_load(&n, dir), -EBADMSG);
	cr_assert_eq(ftruncate(fd, 10 << 20), 0);
	cr_expect_eq(node_load(&n, dir), -EBADMSG);
	close(fd);
}

Test(node, what_cannot_be_loaded_is_not_saved, .init = dir_make, .fini = dir_remove)
{
	cr_assert_eq(node_parse(&n, good, strlen(good)), 0);
	n.nprefixes = 0;
	cr_expect_eq(node_save(&n, dir), -EINVAL);
	cr_expect_eq(faccessat(dir, NODE_FILE, F_OK, 0), -1);
}

/* -- against the config ----------------------------------------------------------------------- */

static const struct cert_info own = {.cluster = "demo", .node = "n1", .role = ROLE_NODE};

static void config_of(const char *yaml)
{
	static struct config_faults f;

	config_clear(&c);
	cr_assert_eq(config_parse(&c, &f, "/etc/ginnel/ginnel.yaml", yaml, strlen(yaml)), 0, "%s",
	             f.text[0]);
}

#define PKI "identity: {cert: a, key: b, ca: c}\n"
#define STATIC(yaml, err)                                                            \
	do {                                                                         \
		config_of(yaml);                                                     \
		cr_expect_eq(node_from_config(&n, &c, &own, why, sizeof(why)), err); \
	} while (0)
#define ENROLLED(yaml, err)                                                     \
	do {                                                                    \
		config_of(yaml);                                                \
		cr_expect_eq(node_check_config(&n, &c, why, sizeof(why)), err); \
	} while (0)
#define BECAUSE(text) cr_expect(strstr(why, text) && strchr(why, ';'), "%s", why)

Test(node, static_peers_make_a_node_without_a_manager)
{
	STATIC(PKI "prefixes: [10.77.1.0/24]\nport: 5000\nadvertise: [10.9.0.1]\n"
	           "peers:\n- {name: n2, endpoints: [10.9.0.2], prefixes: [10.77.2.0/24]}\n",
	       0);
	cr_expect(n.is_static);
	cr_expect_str_eq(n.cluster, "demo");
	cr_expect_str_eq(n.name, "n1");
	cr_expect_eq(n.role, ROLE_NODE);
	cr_expect_eq(n.port, 5000);
	cr_expect_eq(n.noverlay, 1);
	cr_expect_eq(n.npools, 0);
	cr_expect_eq(n.nmanagers, 0);
	ADDRESS(4, "10.77.1.1");
}

Test(node, the_certificate_says_who_a_static_node_is)
{
	static const struct cert_info manager = {
		.cluster = "demo", .node = "n1", .role = ROLE_MANAGER};

	STATIC("name: n1\n" PKI "prefixes: [10.77.1.0/24]\n", 0);
	STATIC("name: n3\n" PKI "prefixes: [10.77.1.0/24]\n", -EINVAL);
	BECAUSE("the config says \"n3\", the certificate \"n1\"");
	STATIC(PKI "prefixes: [10.77.1.0/24]\npeers:\n- {name: n1, prefixes: [10.77.2.0/24]}\n",
	       -EINVAL);
	BECAUSE("\"n1\" is the name in this node's own certificate");
	config_of(PKI "prefixes: [10.77.1.0/24]\n");
	cr_expect_eq(node_from_config(&n, &c, &manager, why, sizeof(why)), -EINVAL);
	BECAUSE("role manager");
	STATIC("name: n1\n", -EINVAL);
	BECAUSE("identity");
}

/* config_parse refuses these already; a struct config that was made otherwise must not pass. */
Test(node, a_static_node_is_checked_whatever_made_the_config)
{
	config_of(PKI "prefixes: [10.77.1.0/24]\npeers:\n- {name: n2, prefixes: [10.77.2.0/24]}\n");
	prefix_parse(&c.peers[0].prefixes[0], "10.77.1.128/25");
	cr_expect_eq(node_from_config(&n, &c, &own, why, sizeof(why)), -EINVAL);
	BECAUSE("10.77.1.128/25 of n2 overlaps our own");
	prefix_parse(&c.peers[0].prefixes[0], "10.99.1.0/24");
	cr_expect_eq(node_from_config(&n, &c, &own, why, sizeof(why)), -EINVAL);
	BECAUSE("outside the overlay");
	prefix_parse(&c.prefixes[0], "10.99.2.0/24");
	cr_expect_eq(node_from_config(&n, &c, &own, why, sizeof(why)), -EINVAL);
	BECAUSE("outside the overlay");
	c.nprefixes = 0;
	cr_expect_eq(node_from_config(&n, &c, &own, why, sizeof(why)), -EINVAL);
	BECAUSE("prefixes: there are none");
}

Test(node, a_config_may_not_contradict_where_the_host_is_enrolled)
{
	cr_assert_eq(node_parse(&n, good, strlen(good)), 0);
	ENROLLED("", 0);
	ENROLLED("name: n1\nport: 4747\noverlay: ['fd77::/48', 10.77.0.0/16]\n", 0);
	ENROLLED("name: n2\n", -EINVAL);
	BECAUSE("enrolled as \"n1\"");
	ENROLLED("port: 4800\n", -EINVAL);
	BECAUSE("4800");
	ENROLLED("overlay: 10.77.0.0/16\n", -EINVAL);
	BECAUSE("contradicts the cluster's");
	ENROLLED("overlay: [10.78.0.0/16, 'fd77::/48']\n", -EINVAL);
	ENROLLED(PKI "prefixes: [10.77.1.0/24]\n", -EINVAL);
	BECAUSE("enrolled in cluster demo");
}
