/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Texts and their places stand in tests/golden/config: NAME.yaml and, in NAME.txt, what reading it
 * says and gives. GOLDEN_WRITE=1 writes them anew; the diff is the review.
 */
#include "gateway/config.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOLDEN "tests/golden/config"

static struct config c;
static struct config_faults f;

static int parse(const char *text)
{
	config_clear(&c);
	return config_parse(&c, &f, "/etc/ginnel/ginnel.yaml", text, strlen(text));
}

#define TAKEN(yaml) cr_expect_eq(parse(yaml), 0, "%s", f.text[0])
#define FAULT(yaml, says)                                                                      \
	do {                                                                                   \
		cr_expect_eq(parse(yaml), -EINVAL);                                            \
		cr_expect(f.n > 0 && strstr(f.text[0], says), "\"%s\" is not in \"%s\"", says, \
		          f.n ? f.text[0] : "");                                               \
	} while (0)

/* -- golden --------------------------------------------------------------------------------- */

static void dump_endpoints(FILE *to, const char *name, const struct config_endpoint *e, unsigned n)
{
	char text[CONFIG_ENDPOINT_TEXT_MAX];

	for (unsigned i = 0; i < n; i++) {
		config_endpoint_format(&e[i], text);
		fprintf(to, "%s %s %s\n", name, e[i].is_addr ? "addr" : "name", text);
	}
}

static void dump_prefixes(FILE *to, const char *name, const struct prefix *p, unsigned n)
{
	char text[PREFIX_TEXT_MAX];

	for (unsigned i = 0; i < n; i++) {
		prefix_format(&p[i], text);
		fprintf(to, "%s %s\n", name, text);
	}
}

static void dump(FILE *to, const struct config *x)
{
	char text[ENDPOINT_TEXT_MAX];

	fprintf(to, "name %s\nport %u%s\ndevice %s\nlog %d %d\nproxy %s\nstatic %d\n", x->name,
	        x->port, x->port_set ? " set" : "", x->device, (int)x->log_level, x->log_json,
	        x->proxy, config_is_static(x));
	dump_endpoints(to, "advertise", x->advertise, x->nadvertise);
	dump_prefixes(to, "overlay", x->overlay, x->noverlay);
	if (x->identity)
		fprintf(to, "cert %s\nkey %s\nca %s\n", x->cert, x->key, x->ca);
	dump_prefixes(to, "prefix", x->prefixes, x->nprefixes);
	for (unsigned i = 0; i < x->npeers; i++) {
		fprintf(to, "peer %s\n", x->peers[i].name);
		dump_endpoints(to, "  endpoint", x->peers[i].endpoints, x->peers[i].nendpoints);
		dump_prefixes(to, "  prefix", x->peers[i].prefixes, x->peers[i].nprefixes);
	}
	for (unsigned i = 0; i < x->ninterfaces; i++)
		fprintf(to, "interface %s\n", x->interfaces[i]);
	for (unsigned i = 0; i < x->labels.n; i++)
		fprintf(to, "label %s=%s\n", x->labels.at[i].key, x->labels.at[i].value);
	if (x->metrics.addr.family) {
		endpoint_format(&x->metrics, text);
		fprintf(to, "metrics %s\n", text);
	}
}

static char *slurp(const char *path, size_t *len)
{
	FILE *in = fopen(path, "r");
	char *text;

	*len = 0;
	if (!in)
		return strdup("");
	text = calloc(1, 2 * CONFIG_BYTES_MAX);
	*len = fread(text, 1, 2 * CONFIG_BYTES_MAX - 1, in);
	fclose(in);
	return text;
}

/* The text goes to a block of its own size, so that a sanitizer sees a byte too far. */
static char *judge(const char *file, const char *text, size_t len)
{
	char path[512], *out = NULL, *tight = malloc(len + !len);
	size_t n;
	FILE *to = open_memstream(&out, &n);

	memcpy(tight, text, len);
	snprintf(path, sizeof(path), "/etc/ginnel/%s", file);
	config_clear(&c);
	if (config_parse(&c, &f, path, tight, len))
		config_faults_print(&f, to);
	else
		dump(to, &c);
	fclose(to);
	free(tight);
	return out;
}

static void golden(const char *file)
{
	char path[512], *text, *want, *got;
	size_t len, n;
	FILE *to;

	snprintf(path, sizeof(path), "%s/%s", GOLDEN, file);
	text = slurp(path, &len);
	got = judge(file, text, len);
	strcpy(path + strlen(path) - strlen("yaml"), "txt");
	if (getenv("GOLDEN_WRITE")) {
		to = fopen(path, "w");
		cr_assert_not_null(to);
		fputs(got, to);
		fclose(to);
	}
	want = slurp(path, &n);
	cr_expect_str_eq(got, want, "%s", file);
	free(text);
	free(want);
	free(got);
}

Test(config, every_golden_file_gives_what_stands_beside_it)
{
	DIR *d = opendir(GOLDEN);
	struct dirent *e;
	unsigned n = 0;

	cr_assert_not_null(d, "run from the top of the tree");
	while ((e = readdir(d)) != NULL) {
		size_t len = strlen(e->d_name);

		if (len < 5 || strcmp(e->d_name + len - 5, ".yaml"))
			continue;
		golden(e->d_name);
		n++;
	}
	closedir(d);
	cr_expect_geq(n, 40);
}

/* Half a file is never read beyond its end, and never makes a config that the whole did not. */
Test(config, a_file_cut_at_every_length_is_read_without_harm)
{
	size_t len;
	char *text = slurp(GOLDEN "/full.yaml", &len);

	cr_assert_gt(len, 100);
	for (size_t cut = 0; cut <= len; cut++) {
		free(judge("cut.yaml", text, cut));
		cr_expect(f.n == 0 || f.text[0][0], "at %zu", cut);
	}
	cr_expect_eq(f.n, 0);
	free(text);
}

Test(config, a_file_with_any_bit_flipped_is_read_without_harm)
{
	size_t len;
	char *text = slurp(GOLDEN "/two-families.yaml", &len);

	for (size_t bit = 0; bit < 8 * len; bit++) {
		text[bit / 8] ^= (char)(1 << bit % 8);
		free(judge("flipped.yaml", text, len));
		text[bit / 8] ^= (char)(1 << bit % 8);
	}
	free(text);
}

/* -- faults ----------------------------------------------------------------------------------- */

Test(config, the_place_is_the_value_s)
{
	cr_expect_eq(config_parse(&c, &f, "ginnel.yaml", "\n\nport: \"70000\"\n", 16), -EINVAL);
	cr_expect_str_eq(
		f.text[0],
		"ginnel.yaml:3:7: port: \"70000\" is not 1 to 65535; leave it out to use 4747");
}

Test(config, no_fault_stops_the_next)
{
	FAULT("port: x\nname: N\nlog: {level: y}\nfoo: 1\n", "port");
	cr_expect_eq(f.n, 4);
}

Test(config, no_more_faults_are_kept_than_there_is_room_for)
{
	char *text = NULL;
	size_t n;
	FILE *to = open_memstream(&text, &n);

	for (int i = 0; i < 1000; i++)
		fprintf(to, "k%d: v\n", i);
	fclose(to);
	cr_expect_eq(parse(text), -EINVAL);
	cr_expect_eq(f.n, 1000);
	free(text);
}

Test(config, a_config_of_the_size_limit_is_read_and_one_byte_more_is_not)
{
	char *text = malloc(CONFIG_BYTES_MAX + 1);

	memset(text, '#', CONFIG_BYTES_MAX + 1);
	cr_expect_eq(config_parse(&c, &f, "x", text, CONFIG_BYTES_MAX), 0);
	cr_expect_eq(config_parse(&c, &f, "x", text, CONFIG_BYTES_MAX + 1), -EINVAL);
	cr_expect_str_eq(f.text[0],
	                 "x: is larger than 1048576 bytes; no config is, name another file");
	free(text);
}

Test(config, thousands_of_peers_are_checked_against_each_other)
{
	char *text = NULL;
	size_t n;
	FILE *to = open_memstream(&text, &n);

	fputs("overlay: 10.0.0.0/8\nidentity: {cert: a, key: b, ca: c}\nprefixes: "
	      "[10.0.0.0/24]\npeers:\n",
	      to);
	for (int i = 1; i < 10000; i++)
		fprintf(to, "- {name: n%d, prefixes: [10.%d.%d.0/24]}\n", i, i / 256, i % 256);
	fputs("- {name: n77, prefixes: [10.1.2.0/24]}\n", to);
	fclose(to);
	cr_expect_eq(parse(text), -EINVAL);
	cr_expect_eq(c.npeers, 10000);
	cr_expect_eq(f.n, 2);
	cr_expect_str_eq(f.text[0],
	                 "/etc/ginnel/ginnel.yaml:10004:10: peers.name: \"n77\" stands in "
	                 "line 81 already; name each once");
	cr_expect(strstr(f.text[1], "10.1.2.0/24 overlaps n258's 10.1.2.0/24 of line 262"), "%s",
	          f.text[1]);
	free(text);
}

Test(config, a_path_however_long_leaves_room_for_the_fault)
{
	char path[4000];

	memset(path, 'p', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	cr_expect_eq(config_parse(&c, &f, path, "port: x\n", 8), -EINVAL);
	cr_expect(strstr(f.text[0], "leave it out to use 4747"));
}

Test(config, a_terminal_is_not_driven_by_a_fault)
{
	FAULT("name: \"\\e[2J\\u0085\\u202e\"\n", "is no lower case DNS label");
	for (const char *s = f.text[0]; *s; s++)
		cr_expect(*s >= 0x20 && *s < 0x7f);
}

Test(config, a_password_is_not_repeated)
{
	FAULT("proxy: http://me:hunter2@proxy:3128\n", "http://HOST:PORT");
	cr_expect_null(strstr(f.text[0], "hunter2"));
}

/* -- keys ------------------------------------------------------------------------------------- */

Test(config, defaults_are_those_of_the_manual)
{
	TAKEN("");
	cr_expect_eq(c.port, 4747);
	cr_expect(!c.port_set);
	cr_expect_str_eq(c.device, "ginnel0");
	cr_expect_eq(c.log_level, LOG_LEVEL_INFO);
	cr_expect(!config_is_static(&c));
	cr_expect_eq(c.metrics.addr.family, 0);
}

Test(config, the_port_of_advertise_is_ours_wherever_it_stands)
{
	TAKEN("advertise: [10.9.0.1, '10.9.0.1:1', h.example]\nport: 5000\n");
	cr_expect_eq(c.advertise[0].at.port, 5000);
	cr_expect_eq(c.advertise[1].at.port, 1);
	cr_expect_eq(c.advertise[2].at.port, 5000);
	cr_expect(!c.advertise[2].is_addr);
}

Test(config, overlay_is_one_or_a_list)
{
	TAKEN("overlay: 10.80.0.0/16\n");
	cr_expect_eq(c.noverlay, 1);
	TAKEN("overlay: [10.80.0.0/16]\n");
	cr_expect_eq(c.noverlay, 1);
	TAKEN("overlay: [10.80.0.0/16, 'fd00:1::/48']\n");
	cr_expect_eq(c.noverlay, 2);
	TAKEN("overlay: []\n");
	cr_expect_eq(c.noverlay, 0);
}

Test(config, identity_files_lie_beside_the_config)
{
	TAKEN("identity: {cert: a.pem, key: /k, ca: ../ca}\nprefixes: [10.77.1.0/24]\n");
	cr_expect_str_eq(c.cert, "/etc/ginnel/a.pem");
	cr_expect_str_eq(c.key, "/k");
	cr_expect_str_eq(c.ca, "/etc/ginnel/../ca");
}

Test(config, as_many_labels_as_a_certificate_holds_and_no_more)
{
	char text[512] = "labels:\n";

	for (int i = 0; i < CERT_LABELS_MAX; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "  k%d: v\n", i);
	TAKEN(text);
	cr_expect_eq(c.labels.n, CERT_LABELS_MAX);
	strcat(text, "  more: v\n");
	FAULT(text, "labels: more than 16");
}

/* -- files ------------------------------------------------------------------------------------ */

Test(config, a_missing_file_is_empty_unless_it_was_named)
{
	cr_expect_eq(config_load(&c, &f, "/nonexistent/ginnel.yaml", false), 0);
	cr_expect_str_eq(c.path, "");
	cr_expect_eq(c.port, 4747);
	cr_expect_eq(config_load(&c, &f, "/nonexistent/ginnel.yaml", true), -EINVAL);
	cr_expect_str_eq(f.text[0], "/nonexistent/ginnel.yaml: cannot be read: No such file or "
	                            "directory; name a file that is there and readable");
}

Test(config, what_is_no_file_is_refused_at_once)
{
	char dir[] = "/tmp/ginnel-config.XXXXXX", fifo[64];

	cr_assert_not_null(mkdtemp(dir));
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	cr_expect_eq(config_load(&c, &f, dir, false), -EINVAL);
	cr_expect(strstr(f.text[0], "is no regular file"));
	cr_expect_eq(config_load(&c, &f, fifo, true), -EINVAL);
	cr_expect(strstr(f.text[0], "is no regular file"));
	cr_expect_eq(config_load(&c, &f, "/dev/zero", true), -EINVAL);
	cr_expect(strstr(f.text[0], "is larger than"));
	cr_expect_eq(config_load(&c, &f, "/dev/null", true), 0);
	cr_expect(c.text && c.len == 0);
	config_clear(&c);
	unlink(fifo);
	rmdir(dir);
}

Test(config, the_folder_of_a_file_is_absolute)
{
	char dir[] = "/tmp/ginnel-config.XXXXXX", want[64];
	FILE *to;

	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(chdir(dir), 0);
	to = fopen("f.yaml", "w");
	fputs("identity: {cert: a, key: b, ca: c}\nprefixes: [10.77.1.0/24]\n", to);
	fclose(to);
	cr_expect_eq(config_load(&c, &f, "f.yaml", true), 0, "%s", f.text[0]);
	snprintf(want, sizeof(want), "%s/a", dir);
	cr_expect_str_eq(c.cert, want);
	cr_expect_str_eq(c.path, "f.yaml");
	cr_expect(c.len == 60 && memcmp(c.text, "identity: {", 11) == 0, "%zu", c.len);
	config_clear(&c);
	unlink("f.yaml");
	rmdir(dir);
}

/* -- small parts ------------------------------------------------------------------------------ */

#define ENDPOINT(text, want)                                    \
	do {                                                    \
		struct config_endpoint e;                       \
		char out[CONFIG_ENDPOINT_TEXT_MAX] = "refused"; \
		if (!config_endpoint_parse(&e, (text), 7))      \
			config_endpoint_format(&e, out);        \
		cr_expect_str_eq(out, (want), "%s", (text));    \
	} while (0)

Test(config, endpoints_are_addresses_or_names_with_or_without_a_port)
{
	ENDPOINT("10.9.0.1", "10.9.0.1:7");
	ENDPOINT("10.9.0.1:1", "10.9.0.1:1");
	ENDPOINT("fd00::1", "[fd00::1]:7");
	ENDPOINT("[fd00::1]", "[fd00::1]:7");
	ENDPOINT("[FD00:0::1]:65535", "[fd00::1]:65535");
	ENDPOINT("n1", "n1:7");
	ENDPOINT("n1.example.org:80", "n1.example.org:80");
	ENDPOINT("xn--bcher-kva.example", "xn--bcher-kva.example:7");
	ENDPOINT("", "refused");
	ENDPOINT(":", "refused");
	ENDPOINT(":80", "refused");
	ENDPOINT("10.9.0.1:", "refused");
	ENDPOINT("10.9.0.1:0", "refused");
	ENDPOINT("10.9.0.1:65536", "refused");
	ENDPOINT("10.9.0.1:99999999999999999999", "refused");
	ENDPOINT("10.9.0.256", "refused");
	ENDPOINT("10.9.0", "refused");
	ENDPOINT("10.9.0.1.", "refused");
	ENDPOINT("[10.9.0.1]:1", "refused");
	ENDPOINT("[n1]:1", "refused");
	ENDPOINT("[fd00::1", "refused");
	ENDPOINT("fd00::1]:1", "refused");
	ENDPOINT("[fd00::1]1", "refused");
	ENDPOINT("[fd00::1]:1:1", "refused");
	ENDPOINT("[]:1", "refused");
	ENDPOINT("a..b", "refused");
	ENDPOINT(".a", "refused");
	ENDPOINT("a.", "refused");
	ENDPOINT("-a", "refused");
	ENDPOINT("a-", "refused");
	ENDPOINT("a-.b", "refused");
	ENDPOINT("a b", "refused");
	ENDPOINT("a/b", "refused");
	ENDPOINT("a@b", "refused");
	ENDPOINT("b\xc3\xbc"
	         "cher",
	         "refused");
}

Test(config, a_host_name_is_bounded)
{
	char text[400];

	memset(text, 'a', sizeof(text));
	for (size_t i = 50; i < sizeof(text); i += 50)
		text[i] = '.';
	text[CONFIG_HOST_MAX] = '\0';
	cr_expect_eq(config_endpoint_parse(&(struct config_endpoint){0}, text, 1), 0);
	text[CONFIG_HOST_MAX] = 'a';
	text[CONFIG_HOST_MAX + 1] = '\0';
	cr_expect_eq(config_endpoint_parse(&(struct config_endpoint){0}, text, 1), -EINVAL);
	memset(text, 'a', 63);
	text[63] = '\0';
	cr_expect_eq(config_endpoint_parse(&(struct config_endpoint){0}, text, 1), 0);
	memset(text, 'a', 64);
	text[64] = '\0';
	cr_expect_eq(config_endpoint_parse(&(struct config_endpoint){0}, text, 1), -EINVAL);
}

Test(config, the_nearest_word_is_found_and_no_far_one)
{
	static const char *const known[] = {"name", "advertise", "port", "overlay", NULL};

	cr_expect_str_eq(config_nearest("nmae", known), "name");
	cr_expect_str_eq(config_nearest("Name", known), "name");
	cr_expect_str_eq(config_nearest("prt", known), "port");
	cr_expect_str_eq(config_nearest("adv", known), "advertise");
	cr_expect_str_eq(config_nearest("overlays", known), "overlay");
	cr_expect_null(config_nearest("encryption", known));
	cr_expect_null(config_nearest("", known));
	cr_expect_null(config_nearest("x", known));
	cr_expect_null(config_nearest("zz", known));
}

Test(config, a_device_s_name_is_safe_in_rules_and_paths)
{
	cr_expect(config_device_ok("v1"));
	cr_expect(config_device_ok("eth0.100"));
	cr_expect(config_device_ok("a23456789012345"));
	cr_expect(!config_device_ok("a234567890123456"));
	cr_expect(!config_device_ok(""));
	cr_expect(!config_device_ok("lo"));
	cr_expect(!config_device_ok("all"));
	cr_expect(!config_device_ok("default"));
	cr_expect(!config_device_ok("0a"));
	cr_expect(!config_device_ok("A"));
	cr_expect(!config_device_ok("."));
	cr_expect(!config_device_ok("a/b"));
	cr_expect(!config_device_ok("a\n"));
}
