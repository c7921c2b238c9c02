/* SPDX-License-Identifier: GPL-3.0-or-later */
/* First every key is read for itself, in whatever order the file has; then comes what concerns
 * several of them (prefixes against the overlay and against each other), for which the places of
 * the values are kept aside.
 */
#include "gateway/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/reader.h"

#define PORT_MAX       65535
#define PREFIX_CURE    "write one like 10.77.1.0/24 or fd77:0:0:1::/64"
#define LABEL_TEXT_MAX (CERT_LABEL_KEY_MAX + CERT_LABEL_VALUE_MAX + 2)

struct peer_places {
	struct place name;
	struct place prefixes[CONFIG_PREFIXES_MAX];
	struct place endpoints[CONFIG_ADVERTISE_MAX];
};

/* What one run of reading needs beside its result. */
struct parse {
	struct reader *r;
	struct config *c;
	const char *key; /* now being read, of the top level */
	struct place at;
	struct place name, identity, peers_at, prefixes_at;
	struct place overlay[CONFIG_OVERLAY_MAX];
	struct place prefixes[CONFIG_PREFIXES_MAX];
	struct place advertise[CONFIG_ADVERTISE_MAX];
	struct place interfaces[CONFIG_INTERFACES_MAX];
	struct peer_places *peers;
	unsigned peers_cap;
	bool no_memory;
};

#define config_fault(p, at, ...) reader_fault((p)->r, (at), __VA_ARGS__)
#define QUOTE(p, s)              reader_quote((p)->r, (s))

/* -- words ------------------------------------------------------------------------------------ */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	if (b < a)
		a = b;
	return c < a ? c : a;
}

/* How many letters have to be changed, left out, put in or swapped with a neighbour. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][READER_KEY_MAX + 1];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2], *spare;
	size_t n = strlen(a), m = strlen(b), i, j;

	if (n > READER_KEY_MAX || m > READER_KEY_MAX)
		return READER_KEY_MAX;
	for (j = 0; j <= m; j++)
		last[j] = (unsigned)j;
	memset(before, 0, sizeof(rows[0]));
	for (i = 1; i <= n; i++) {
		row[0] = (unsigned)i;
		for (j = 1; j <= m; j++) {
			unsigned differ = tolower((unsigned char)a[i - 1]) != b[j - 1];

			row[j] = min3(last[j] + 1, row[j - 1] + 1, last[j - 1] + differ);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[m];
}

const char *config_nearest(const char *typed, const char *const *known)
{
	size_t n = strlen(typed);
	unsigned limit = n < 4 ? 1 : 2, best = limit + 1, d;
	const char *found = NULL;
	int i;

	for (i = 0; known[i]; i++) {
		d = distance(typed, known[i]);
		if (d < best && d < n) {
			best = d;
			found = known[i];
		}
	}
	for (i = 0; !found && n >= 3 && known[i]; i++)
		if (!strncmp(typed, known[i], n) || !strncmp(known[i], typed, strlen(known[i])))
			found = known[i];
	return found;
}

static int parse_uint(const char *s, unsigned *out)
{
	unsigned long v = 0;
	size_t i;

	if (!*s || (s[0] == '0' && s[1]))
		return -EINVAL;
	for (i = 0; s[i]; i++) {
		if (i >= 9 || s[i] < '0' || s[i] > '9')
			return -EINVAL;
		v = v * 10 + (unsigned long)(s[i] - '0');
	}
	*out = (unsigned)v;
	return 0;
}

static int parse_port(const char *s, uint16_t *out)
{
	unsigned v;

	if (parse_uint(s, &v) < 0 || v == 0 || v > PORT_MAX)
		return -EINVAL;
	*out = (uint16_t)v;
	return 0;
}

bool config_device_ok(const char *name)
{
	size_t n = strlen(name), i;

	if (n == 0 || n > 15 || name[0] < 'a' || name[0] > 'z')
		return false;
	for (i = 1; i < n; i++)
		if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= '0' && name[i] <= '9') &&
		    !strchr("_.-", name[i]))
			return false;
	return strcmp(name, "lo") && strcmp(name, "all") && strcmp(name, "default");
}

/* -- addresses -------------------------------------------------------------------------------- */

/* RFC 1123 section 2.1, and RFC 3696 section 2: a last label of digits is an address gone wrong. */
static bool host_name_ok(const char *s)
{
	size_t n = strlen(s), i, label = 0;
	bool digits = true;

	if (n == 0 || n > CONFIG_HOST_MAX)
		return false;
	for (i = 0; i < n; i++) {
		unsigned char ch = (unsigned char)s[i];

		if (ch == '.') {
			if (label == 0 || s[i - 1] == '-')
				return false;
			label = 0;
			digits = true;
			continue;
		}
		if (!isalnum(ch) && ch != '_' && !(ch == '-' && label > 0))
			return false;
		if (++label > 63)
			return false;
		digits = digits && isdigit(ch);
	}
	return label > 0 && !digits && s[n - 1] != '-';
}

int config_endpoint_parse(struct config_endpoint *out, const char *text, uint16_t port)
{
	struct config_endpoint e = {.at.port = port};
	const char *colon = strrchr(text, ':');
	size_t n = strlen(text);

	if (n >= CONFIG_ENDPOINT_TEXT_MAX)
		return -EINVAL;
	if (!addr_parse(&e.at.addr, text)) {
		e.is_addr = true;
		addr_format(&e.at.addr, e.host);
		*out = e;
		return 0;
	}
	if (colon && colon[1] != '\0' && !strchr(colon, ']')) {
		if (parse_port(colon + 1, &e.at.port) < 0)
			return -EINVAL;
		n = (size_t)(colon - text);
	}
	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
		e.is_addr = true; /* and of IPv6 */
	}
	if (n > CONFIG_HOST_MAX)
		return -EINVAL;
	memcpy(e.host, text, n);
	if (!addr_parse(&e.at.addr, e.host)) {
		if ((e.at.addr.family == 6) != e.is_addr)
			return -EINVAL; /* an IPv6 address with a port needs brackets */
		e.is_addr = true;
		addr_format(&e.at.addr, e.host);
	} else if (e.is_addr || !host_name_ok(e.host)) {
		return -EINVAL;
	}
	*out = e;
	return 0;
}

void config_endpoint_format(const struct config_endpoint *e, char out[CONFIG_ENDPOINT_TEXT_MAX])
{
	if (e->is_addr)
		endpoint_format(&e->at, out);
	else
		snprintf(out, CONFIG_ENDPOINT_TEXT_MAX, "%s:%u", e->host, e->at.port);
}

static bool meets(const struct prefix *p, const char *const *ranges)
{
	struct prefix range;

	for (; *ranges; ranges++)
		if (!prefix_parse(&range, *ranges) && prefix_overlaps(p, &range))
			return true;
	return false;
}

static struct prefix host_prefix(const struct addr *a)
{
	return (struct prefix){.addr = *a, .len = a->family == 4 ? 32 : 128};
}

const char *config_overlay_refusal(const struct prefix *p)
{
	static const char *const taken[] = {"0.0.0.0/8",   "127.0.0.0/8", "169.254.0.0/16",
	                                    "224.0.0.0/3", "::/8",        "fe80::/10",
	                                    "ff00::/8",    NULL};

	if (p->len < (p->addr.family == 4 ? 8 : 16))
		return "takes in too much of the address space";
	if (p->len > (p->addr.family == 4 ? 30 : 126))
		return "has no room for a node's prefix";
	if (meets(p, taken))
		return "meets loopback, link-local, multicast or reserved addresses";
	return NULL;
}

bool config_addr_dialable(const struct addr *a, bool loopback_ok)
{
	static const char *const loopback[] = {"127.0.0.0/8", "::1/128", NULL};
	struct prefix p = host_prefix(a);

	return !addr_is_special(a) || (loopback_ok && meets(&p, loopback));
}

bool config_overlaps(const struct prefix *p, const struct prefix *list, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (prefix_overlaps(p, &list[i]))
			return true;
	return false;
}

bool config_within(const struct prefix *p, const struct prefix *list, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (prefix_within(p, &list[i]))
			return true;
	return false;
}

/* -- values ----------------------------------------------------------------------------------- */

/* "10.77.1.9/24" without its host bits, for the cure. */
static void clean_prefix(const char *text, char out[PREFIX_TEXT_MAX])
{
	struct prefix p = {0};
	char addr[ADDR_TEXT_MAX];
	const char *slash = strchr(text, '/');
	unsigned len, bit;

	snprintf(out, PREFIX_TEXT_MAX, "the network's first address");
	if (!slash || (size_t)(slash - text) >= sizeof(addr) || parse_uint(slash + 1, &len) < 0)
		return;
	snprintf(addr, sizeof(addr), "%.*s", (int)(slash - text), text);
	if (addr_parse(&p.addr, addr) || len > (p.addr.family == 4 ? 32 : 128))
		return;
	for (bit = len; bit < sizeof(p.addr.b) * 8; bit++)
		p.addr.b[bit / 8] &= (uint8_t) ~(0x80U >> bit % 8);
	p.len = (uint8_t)len;
	prefix_format(&p, out);
}

static bool read_prefix(struct parse *p, const char *key, struct prefix *out, struct place *at)
{
	const char *s = reader_scalar(p->r, key, at);
	char clean[PREFIX_TEXT_MAX];
	int err;

	if (!s)
		return false;
	err = prefix_parse(out, s);
	if (err == -ERANGE) {
		clean_prefix(s, clean);
		config_fault(p, *at, "%s: \"%s\" has host bits set; write %s", key, QUOTE(p, s),
		             clean);
	} else if (err) {
		config_fault(p, *at, "%s: \"%s\" is no network in CIDR form; " PREFIX_CURE, key,
		             QUOTE(p, s));
	}
	return !err;
}

/* Returns how many were read; what is too much is said once and skipped. */
static unsigned read_prefixes(struct parse *p, const char *key, struct prefix *out,
                              struct place *places, unsigned max, bool single_ok)
{
	struct reader_list l;
	unsigned n = 0, seen = 0;

	reader_list(p->r, &l, key, single_ok);
	while (reader_list_next(p->r, &l)) {
		if (seen++ == max)
			config_fault(p, reader_place(p->r), "%s: more than %u; leave some out", key,
			             max);
		if (seen > max)
			reader_skip(p->r);
		else if (read_prefix(p, key, &out[n], &places[n]))
			n++;
	}
	return n;
}

static unsigned read_endpoints(struct parse *p, const char *key, struct config_endpoint *out,
                               struct place *places, uint16_t port)
{
	struct reader_list l;
	unsigned n = 0, seen = 0;
	const char *s;

	reader_list(p->r, &l, key, false);
	while (reader_list_next(p->r, &l)) {
		if (seen++ == CONFIG_ADVERTISE_MAX)
			config_fault(p, reader_place(p->r), "%s: more than %d; leave some out", key,
			             CONFIG_ADVERTISE_MAX);
		if (seen > CONFIG_ADVERTISE_MAX) {
			reader_skip(p->r);
			continue;
		}
		s = reader_scalar(p->r, key, &places[n]);
		if (!s)
			continue;
		if (config_endpoint_parse(&out[n], s, port) < 0)
			config_fault(
				p, places[n],
				"%s: \"%s\" is neither address nor host name, with or without a "
				"port; "
				"write one like 10.9.0.2:4747, [fd00::2]:4747 or n2.example.org",
				key, QUOTE(p, s));
		else
			n++;
	}
	return n;
}

/* One of a few words: its index, -1 after saying which there are. */
static int read_word(struct parse *p, const char *key, const char *const *words)
{
	char all[64] = "";
	struct place at;
	const char *s = reader_scalar(p->r, key, &at);
	int i;

	if (!s)
		return -1;
	for (i = 0; words[i]; i++) {
		if (!strcmp(s, words[i]))
			return i;
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s",
		         i == 0         ? ""
		         : words[i + 1] ? ", "
		                        : " or ",
		         words[i]);
	}
	config_fault(p, at, "%s: \"%s\" is not known; write %s", key, QUOTE(p, s), all);
	return -1;
}

/* -- keys ------------------------------------------------------------------------------------- */

static void read_node_name(struct parse *p, const char *key, char out[CERT_NAME_MAX + 1],
                           struct place *at)
{
	const char *s = reader_scalar(p->r, key, at);

	if (!s)
		return;
	if (cert_name_ok(s))
		snprintf(out, CERT_NAME_MAX + 1, "%s", s);
	else
		config_fault(p, *at,
		             "%s: \"%s\" is no lower case DNS label; use a-z, 0-9 and dashes "
		             "inside, at most %d",
		             key, QUOTE(p, s), CERT_NAME_MAX);
}

static void read_name(struct parse *p)
{
	read_node_name(p, p->key, p->c->name, &p->name);
}

static void read_advertise(struct parse *p)
{
	/* The port may stand further down. */
	p->c->nadvertise = read_endpoints(p, p->key, p->c->advertise, p->advertise, 0);
}

static void read_port(struct parse *p)
{
	struct place at;
	const char *s = reader_scalar(p->r, p->key, &at);

	if (!s)
		return;
	if (parse_port(s, &p->c->port) < 0)
		config_fault(p, at, "port: \"%s\" is not 1 to 65535; leave it out to use %d",
		             QUOTE(p, s), CONFIG_PORT);
	else
		p->c->port_set = true;
}

static void read_overlay(struct parse *p)
{
	struct config *c = p->c;
	const char *why;
	unsigned i;

	c->noverlay = read_prefixes(p, p->key, c->overlay, p->overlay, CONFIG_OVERLAY_MAX, true);
	for (i = 0; i < c->noverlay; i++) {
		why = config_overlay_refusal(&c->overlay[i]);
		if (why)
			config_fault(p, p->overlay[i],
			             "overlay: it %s; take a private network like %s", why,
			             c->overlay[i].addr.family == 4 ? CONFIG_OVERLAY_DEFAULT
			                                            : "fd77:1:2::/48");
	}
	if (c->noverlay == 2 && c->overlay[0].addr.family == c->overlay[1].addr.family)
		config_fault(p, p->overlay[1], "overlay: two of IPv%d; at most one of each family",
		             c->overlay[1].addr.family);
}

static void read_device(struct parse *p)
{
	struct place at;
	const char *s = reader_scalar(p->r, p->key, &at);

	if (!s)
		return;
	if (config_device_ok(s))
		snprintf(p->c->device, sizeof(p->c->device), "%s", s);
	else
		config_fault(p, at,
		             "device: \"%s\" cannot be its name; use at most 15 of a-z, 0-9, _.- "
		             "beginning "
		             "with a letter, or leave it out to use " CONFIG_DEVICE,
		             QUOTE(p, s));
}

static void read_file_name(struct parse *p, const char *key, char out[4096])
{
	struct place at;
	const char *s = reader_scalar(p->r, key, &at);
	bool relative;

	if (!s)
		return;
	if (!*s) {
		config_fault(p, at, "%s: is empty; write the file's name", key);
		return;
	}
	relative = *s != '/' && *p->c->dir;
	if (snprintf(out, 4096, "%s%s%s", relative ? p->c->dir : "",
	             relative && strcmp(p->c->dir, "/") ? "/" : "", s) < 4096)
		return;
	config_fault(p, at, "%s: the path is longer than 4095 bytes; shorten it", key);
	*out = '\0';
}

static void read_identity(struct parse *p)
{
	static const char *const keys[] = {"cert", "key", "ca", NULL};
	static const char *const names[] = {"identity.cert", "identity.key", "identity.ca"};
	char(*const to[])[4096] = {&p->c->cert, &p->c->key, &p->c->ca};
	struct reader_mapping m;
	int k;

	p->identity = p->at;
	if (!reader_mapping(p->r, &m, "identity.", keys))
		return;
	while ((k = reader_mapping_next(p->r, &m)) >= 0)
		read_file_name(p, names[k], *to[k]);
	for (k = 0; k < 3; k++)
		if (!(m.seen & 1U << k) && !reader_broken(p->r))
			config_fault(p, p->at,
			             "identity: \"%s\" is missing; name all three: {cert: F, key: "
			             "F, ca: F}",
			             keys[k]);
	p->c->identity = true;
}

static void read_own_prefixes(struct parse *p)
{
	p->prefixes_at = p->at;
	p->c->nprefixes =
		read_prefixes(p, p->key, p->c->prefixes, p->prefixes, CONFIG_PREFIXES_MAX, false);
}

static bool peers_grow(struct parse *p)
{
	unsigned cap = p->peers_cap ? p->peers_cap * 2 : 4;
	struct peer_places *places;
	struct config_peer *peers;

	if (p->c->npeers < p->peers_cap)
		return true;
	places = reallocarray(p->peers, cap, sizeof(*places));
	if (places)
		p->peers = places;
	peers = reallocarray(p->c->peers, cap, sizeof(*peers));
	if (peers)
		p->c->peers = peers;
	if (!places || !peers) {
		p->no_memory = true;
		return false;
	}
	p->peers_cap = cap;
	return true;
}

static void read_peer(struct parse *p, struct config_peer *peer, struct peer_places *places)
{
	static const char *const keys[] = {"name", "endpoints", "prefixes", NULL};
	struct reader_mapping m;
	int k;

	places->name = reader_place(p->r);
	if (!reader_mapping(p->r, &m, "peers.", keys))
		return;
	while ((k = reader_mapping_next(p->r, &m)) >= 0) {
		switch (k) {
		case 0:
			read_node_name(p, "peers.name", peer->name, &places->name);
			break;
		case 1:
			peer->nendpoints = read_endpoints(p, "peers.endpoints", peer->endpoints,
			                                  places->endpoints, CONFIG_PORT);
			break;
		default:
			peer->nprefixes =
				read_prefixes(p, "peers.prefixes", peer->prefixes, places->prefixes,
			                      CONFIG_PREFIXES_MAX, false);
		}
	}
	if (reader_broken(p->r))
		return;
	if (!(m.seen & 1))
		config_fault(p, places->name,
		             "peers: this one has no name; add the one that its certificate holds");
	if (!(m.seen & 4))
		config_fault(p, places->name,
		             "peers: this one has no prefixes; add what lies behind it");
}

static void read_peers(struct parse *p)
{
	struct config *c = p->c;
	struct reader_list l;

	p->peers_at = p->at;
	reader_list(p->r, &l, p->key, false);
	while (reader_list_next(p->r, &l)) {
		if (c->npeers == CONFIG_PEERS_MAX)
			config_fault(p, reader_place(p->r), "peers: more than %d; leave some out",
			             CONFIG_PEERS_MAX);
		if (c->npeers == CONFIG_PEERS_MAX || !peers_grow(p)) {
			reader_skip(p->r);
			continue;
		}
		memset(&c->peers[c->npeers], 0, sizeof(*c->peers));
		memset(&p->peers[c->npeers], 0, sizeof(*p->peers));
		read_peer(p, &c->peers[c->npeers], &p->peers[c->npeers]);
		c->npeers++;
	}
}

static void read_interfaces(struct parse *p)
{
	struct config *c = p->c;
	struct reader_list l;
	unsigned seen = 0;
	const char *s;
	struct place *at;

	reader_list(p->r, &l, p->key, false);
	while (reader_list_next(p->r, &l)) {
		if (seen++ == CONFIG_INTERFACES_MAX)
			config_fault(p, reader_place(p->r),
			             "interfaces: more than %d; leave some out",
			             CONFIG_INTERFACES_MAX);
		if (seen > CONFIG_INTERFACES_MAX) {
			reader_skip(p->r);
			continue;
		}
		at = &p->interfaces[c->ninterfaces];
		s = reader_scalar(p->r, p->key, at);
		if (s && config_device_ok(s))
			snprintf(c->interfaces[c->ninterfaces++], sizeof(c->interfaces[0]), "%s",
			         s);
		else if (s)
			config_fault(p, *at,
			             "interfaces: \"%s\" cannot be a link's name here; use at most "
			             "15 of a-z, "
			             "0-9, _.- beginning with a letter",
			             QUOTE(p, s));
	}
}

static bool label_find(const struct cert_labels *l, const char *key)
{
	unsigned i;

	for (i = 0; i < l->n; i++)
		if (!strcmp(l->at[i].key, key))
			return true;
	return false;
}

static void read_labels(struct parse *p)
{
	struct cert_labels *labels = &p->c->labels;
	char text[LABEL_TEXT_MAX];
	struct reader_mapping m;
	struct place at;
	const char *s;
	int err;

	reader_mapping(p->r, &m, "labels.", NULL);
	while (reader_mapping_next(p->r, &m) >= 0) {
		snprintf(text, sizeof(text), "labels.%s", m.key);
		s = reader_scalar(p->r, text, &at);
		if (!s)
			continue;
		if (label_find(labels, m.key)) {
			config_fault(p, m.at, "labels.%s: given twice; keep one", QUOTE(p, m.key));
			continue;
		}
		err = -EINVAL;
		if (!strchr(m.key, '=') &&
		    snprintf(text, sizeof(text), "%s=%s", m.key, s) < (int)sizeof(text))
			err = cert_labels_add(labels, text);
		if (err == -E2BIG)
			config_fault(p, m.at, "labels: more than %d; leave some out",
			             CERT_LABELS_MAX);
		else if (err)
			config_fault(p, m.at,
			             "labels: \"%s\" and its value cannot be a label; use at most "
			             "63 letters and digits for each, and between them . _ -",
			             QUOTE(p, m.key));
	}
}

static void read_metrics_listen(struct parse *p)
{
	static const char *const key = "metrics.listen";
	struct config_endpoint e;
	struct place at;
	const char *s = reader_scalar(p->r, key, &at);

	if (!s)
		return;
	if (config_endpoint_parse(&e, s, 0) < 0 || !e.is_addr)
		config_fault(p, at, "%s: \"%s\" is no ADDR:PORT; write one like 127.0.0.1:9474",
		             key, QUOTE(p, s));
	else if (e.at.port == 0)
		config_fault(p, at, "%s: \"%s\" has no port; write one like 127.0.0.1:9474", key,
		             QUOTE(p, s));
	else
		p->c->metrics = e.at;
}

static void read_metrics(struct parse *p)
{
	static const char *const keys[] = {"listen", NULL};
	struct reader_mapping m;

	reader_mapping(p->r, &m, "metrics.", keys);
	while (reader_mapping_next(p->r, &m) >= 0)
		read_metrics_listen(p);
}

static void read_log(struct parse *p)
{
	static const char *const keys[] = {"level", "format", NULL};
	static const char *const levels[] = {[LOG_LEVEL_ERROR] = "error",
	                                     [LOG_LEVEL_WARN] = "warn",
	                                     [LOG_LEVEL_INFO] = "info",
	                                     [LOG_LEVEL_DEBUG] = "debug",
	                                     NULL};
	static const char *const formats[] = {"text", "json", NULL};
	struct reader_mapping m;
	int k, word;

	reader_mapping(p->r, &m, "log.", keys);
	while ((k = reader_mapping_next(p->r, &m)) >= 0) {
		if (k == 0) {
			word = read_word(p, "log.level", levels);
			if (word >= 0)
				p->c->log_level = (enum log_level)word;
		} else {
			p->c->log_json = read_word(p, "log.format", formats) == 1;
		}
	}
}

static void read_proxy(struct parse *p)
{
	static const char scheme[] = "http://";
	struct config_endpoint e;
	struct place at;
	const char *s = reader_scalar(p->r, p->key, &at);

	if (!s)
		return;
	if (strncmp(s, scheme, strlen(scheme)) || strlen(s) >= sizeof(p->c->proxy) ||
	    config_endpoint_parse(&e, s + strlen(scheme), 0) < 0 || e.at.port == 0)
		config_fault(
			p, at,
			"proxy: \"%s\" is no http://HOST:PORT; write that and nothing behind it",
			strchr(s, '@') ? "(with a password)" : QUOTE(p, s));
	else
		snprintf(p->c->proxy, sizeof(p->c->proxy), "%s", s);
}

#define KEYS(X)                          \
	X("name", read_name)             \
	X("advertise", read_advertise)   \
	X("port", read_port)             \
	X("overlay", read_overlay)       \
	X("device", read_device)         \
	X("identity", read_identity)     \
	X("prefixes", read_own_prefixes) \
	X("peers", read_peers)           \
	X("interfaces", read_interfaces) \
	X("labels", read_labels)         \
	X("metrics", read_metrics)       \
	X("log", read_log)               \
	X("proxy", read_proxy)

static void read_keys(struct parse *p)
{
#define X(name, fn) name,
	static const char *const names[] = {KEYS(X) NULL};
#undef X
#define X(name, fn) fn,
	static void (*const read[])(struct parse *) = {KEYS(X)};
#undef X
	struct reader_mapping m;
	int k;

	reader_mapping(p->r, &m, "", names);
	while ((k = reader_mapping_next(p->r, &m)) >= 0) {
		p->key = names[k];
		p->at = m.at;
		read[k](p);
	}
}

/* -- what concerns several keys --------------------------------------------------------------- */

/* A prefix with whose it is, for finding overlaps among many. */
struct claim {
	struct prefix prefix;
	struct place at;
	const char *name; /* of the peer; NULL: ours */
	bool said;        /* a fault names it */
};

static bool claim_is_later(const struct claim *a, const struct claim *b)
{
	return a->at.line > b->at.line || (a->at.line == b->at.line && a->at.column > b->at.column);
}

/* By address, the wider first: whoever overlaps another then stands behind it. */
static int claim_compare(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int d = x->prefix.addr.family - y->prefix.addr.family;

	if (!d)
		d = memcmp(x->prefix.addr.b, y->prefix.addr.b, sizeof(x->prefix.addr.b));
	if (!d)
		d = x->prefix.len - y->prefix.len;
	if (!d)
		d = claim_is_later(x, y) - claim_is_later(y, x);
	return d;
}

/* The one that stands further down is at fault, and is told so once. */
static void fault_overlap(struct parse *p, struct claim *one, struct claim *two)
{
	struct claim *later = claim_is_later(one, two) ? one : two;
	const struct claim *sooner = later == one ? two : one;
	char a[PREFIX_TEXT_MAX], b[PREFIX_TEXT_MAX];

	if (later->said)
		return;
	later->said = true;
	prefix_format(&later->prefix, a);
	prefix_format(&sooner->prefix, b);
	config_fault(p, later->at,
	             "%sprefixes: %s overlaps %s%s %s of line %u; an address belongs to one node",
	             later->name ? "peers." : "", a, sooner->name ? sooner->name : "our own",
	             sooner->name ? "'s" : "", b, sooner->at.line);
}

/* Among sorted claims: around[] holds those that the current one may lie in, the widest first. */
static void find_overlaps(struct parse *p, struct claim *claims, size_t n)
{
	struct claim *around[129];
	size_t depth = 0, k;

	for (k = 0; k < n; k++) {
		while (depth > 0 && !prefix_overlaps(&around[depth - 1]->prefix, &claims[k].prefix))
			depth--;
		if (depth > 0)
			fault_overlap(p, around[depth - 1], &claims[k]);
		/* Each is longer than the one before it, so there is room for all lengths. */
		if (depth == 0 || claims[k].prefix.len > around[depth - 1]->prefix.len)
			around[depth++] = &claims[k];
	}
}

static void check_overlaps(struct parse *p)
{
	struct config *c = p->c;
	struct claim *claims;
	size_t n = c->nprefixes, k = 0;
	unsigned i, j;

	for (i = 0; i < c->npeers; i++)
		n += c->peers[i].nprefixes;
	if (n == 0)
		return;
	claims = calloc(n, sizeof(*claims));
	if (!claims) {
		p->no_memory = true;
		return;
	}
	for (i = 0; i < c->nprefixes; i++)
		claims[k++] = (struct claim){.prefix = c->prefixes[i], .at = p->prefixes[i]};
	for (i = 0; i < c->npeers; i++)
		for (j = 0; j < c->peers[i].nprefixes; j++)
			claims[k++] = (struct claim){.prefix = c->peers[i].prefixes[j],
			                             .at = p->peers[i].prefixes[j],
			                             .name = c->peers[i].name};
	qsort(claims, n, sizeof(*claims), claim_compare);
	find_overlaps(p, claims, n);
	free(claims);
}

struct named {
	const char *name;
	struct place at;
};

static int named_compare(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int d = strcmp(x->name, y->name);

	return d ? d : x->at.line < y->at.line ? -1 : x->at.line > y->at.line;
}

static void check_names(struct parse *p)
{
	struct config *c = p->c;
	struct named *names;
	unsigned i;

	if (c->npeers == 0)
		return;
	names = calloc(c->npeers, sizeof(*names));
	if (!names) {
		p->no_memory = true;
		return;
	}
	for (i = 0; i < c->npeers; i++) {
		names[i] = (struct named){c->peers[i].name, p->peers[i].name};
		if (*c->name && !strcmp(c->name, c->peers[i].name))
			config_fault(
				p, p->peers[i].name,
				"peers.name: \"%s\" is this node itself; a peer is another one",
				c->name);
	}
	qsort(names, c->npeers, sizeof(*names), named_compare);
	for (i = 1; i < c->npeers; i++)
		if (*names[i].name && !strcmp(names[i].name, names[i - 1].name))
			config_fault(p, names[i].at,
			             "peers.name: \"%s\" stands in line %u already; name each once",
			             names[i].name, names[i - 1].at.line);
	free(names);
}

static void check_in_overlay(struct parse *p, const char *key, const struct prefix *list,
                             const struct place *at, unsigned n)
{
	struct prefix overlay[CONFIG_OVERLAY_MAX];
	unsigned noverlay = config_overlay(p->c, overlay), i;
	char text[PREFIX_TEXT_MAX], all[2 * PREFIX_TEXT_MAX + 8] = "";

	for (i = 0; i < noverlay; i++) {
		prefix_format(&overlay[i], text);
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ", " : "", text);
	}
	for (i = 0; i < n; i++) {
		if (config_within(&list[i], overlay, noverlay))
			continue;
		prefix_format(&list[i], text);
		config_fault(p, at[i],
		             "%s: %s lies outside the overlay (%s); choose another, or set overlay",
		             key, text, all);
	}
}

static void check_endpoints(struct parse *p, const char *key, const struct config_endpoint *list,
                            const struct place *at, unsigned n, bool loopback_ok)
{
	struct prefix overlay[CONFIG_OVERLAY_MAX], host;
	unsigned noverlay = config_overlay(p->c, overlay), i;

	for (i = 0; i < n; i++) {
		if (!list[i].is_addr)
			continue;
		host = host_prefix(&list[i].at.addr);
		if (!config_addr_dialable(&list[i].at.addr, loopback_ok))
			config_fault(p, at[i],
			             "%s: %s is no address that other hosts can reach; give one of "
			             "the host's own",
			             key, list[i].host);
		else if (config_within(&host, overlay, noverlay))
			config_fault(p, at[i],
			             "%s: %s lies inside the overlay, which runs over it; give an "
			             "address of the "
			             "network below",
			             key, list[i].host);
	}
}

static void check_interfaces(struct parse *p)
{
	struct config *c = p->c;
	unsigned i, j;

	for (i = 0; i < c->ninterfaces; i++) {
		if (!strcmp(c->interfaces[i], c->device))
			config_fault(p, p->interfaces[i],
			             "interfaces: %s is ginnel's own device; leave it out",
			             c->device);
		for (j = 0; j < i; j++)
			if (!strcmp(c->interfaces[i], c->interfaces[j]))
				config_fault(p, p->interfaces[i],
				             "interfaces: %s is given twice; keep one",
				             c->interfaces[i]);
	}
}

static void check_whole(struct parse *p)
{
	struct config *c = p->c;
	unsigned i;

	for (i = 0; i < c->nadvertise; i++)
		if (c->advertise[i].at.port == 0)
			c->advertise[i].at.port = c->port;
	if (!c->identity && c->npeers > 0)
		config_fault(p, p->peers_at,
		             "peers: static peers need a PKI of your own; add identity, or join a "
		             "cluster and "
		             "leave peers out");
	if (!c->identity && c->nprefixes > 0)
		config_fault(p, p->prefixes_at,
		             "prefixes: in a cluster a manager gives them; leave it out, or add "
		             "identity");
	if (c->identity && c->nprefixes == 0 && !p->prefixes_at.line)
		config_fault(p, p->identity,
		             "identity: with a PKI of your own nobody else gives addresses; add "
		             "prefixes");
	check_names(p);
	check_in_overlay(p, "prefixes", c->prefixes, p->prefixes, c->nprefixes);
	check_endpoints(p, "advertise", c->advertise, p->advertise, c->nadvertise, false);
	for (i = 0; i < c->npeers; i++) {
		check_in_overlay(p, "peers.prefixes", c->peers[i].prefixes, p->peers[i].prefixes,
		                 c->peers[i].nprefixes);
		check_endpoints(p, "peers.endpoints", c->peers[i].endpoints, p->peers[i].endpoints,
		                c->peers[i].nendpoints, true);
	}
	check_overlaps(p);
	check_interfaces(p);
}

/* -- the whole -------------------------------------------------------------------------------- */

static void file_fault(struct config_faults *f, const char *path, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void file_fault(struct config_faults *f, const char *path, const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (f->n++ < CONFIG_FAULTS_MAX)
		snprintf(f->text[f->n - 1], sizeof(f->text[0]), "%.*s: %s",
		         (int)(sizeof(f->text[0]) - sizeof(text) - 2), path, text);
}

static void config_defaults(struct config *c)
{
	memset(c, 0, sizeof(*c));
	c->port = CONFIG_PORT;
	strcpy(c->device, CONFIG_DEVICE);
	c->log_level = LOG_LEVEL_INFO;
}

/* path and dir of out are set. */
static int parse_text(struct config *out, struct config_faults *faults, const char *text,
                      size_t len)
{
	struct parse p = {.c = out};
	int err;

	if (len > CONFIG_BYTES_MAX) {
		file_fault(faults, out->path,
		           "is larger than %d bytes; no config is, name another file",
		           CONFIG_BYTES_MAX);
		return -EINVAL;
	}
	err = reader_new(&p.r, faults, out->path, text, len);
	if (err) {
		file_fault(faults, out->path, "out of memory");
		return err;
	}
	if (reader_begin(p.r)) {
		read_keys(&p);
		reader_end(p.r);
		if (!reader_broken(p.r))
			check_whole(&p);
	}
	if (p.no_memory)
		file_fault(faults, out->path, "out of memory");
	reader_free(p.r);
	free(p.peers);
	return faults->n ? -EINVAL : 0;
}

int config_parse(struct config *out, struct config_faults *faults, const char *path,
                 const char *text, size_t len)
{
	const char *slash = strrchr(path, '/');

	config_defaults(out);
	faults->n = 0;
	snprintf(out->path, sizeof(out->path), "%s", path);
	if (slash)
		snprintf(out->dir, sizeof(out->dir), "%.*s",
		         (int)(slash == path ? 1 : slash - path), path);
	return parse_text(out, faults, text, len);
}

static int read_all(int fd, char *buf, size_t max, size_t *len)
{
	ssize_t n;

	for (*len = 0; *len < max; *len += (size_t)n) {
		n = read(fd, buf + *len, max - *len);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n < 0)
			return -errno;
		else if (n == 0)
			break;
	}
	return 0;
}

/* The file's text, malloc'ed; O_NONBLOCK, so that a pipe of that name does not hang the reader. */
static int load_text(const char *path, char **text, size_t *len)
{
	struct stat st;
	int fd, err = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
		err = -EISDIR;
	if (err)
		goto fail_open;
	*text = malloc(CONFIG_BYTES_MAX + 1);
	if (!*text) {
		err = -ENOMEM;
		goto fail_open;
	}
	err = read_all(fd, *text, CONFIG_BYTES_MAX + 1, len);
	if (err)
		free(*text);
fail_open:
	close(fd);
	return err;
}

/* The folder of path as an absolute one, so that it means the same after a chdir. */
static int absolute_dir(const char *path, char out[4096])
{
	const char *slash = strrchr(path, '/');
	char dir[4096], *real;
	int n;

	n = snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash == path ? 1 : slash - path) : 1,
	             slash ? path : ".");
	if (n >= (int)sizeof(dir))
		return -ENAMETOOLONG;
	real = realpath(dir, NULL);
	if (!real)
		return -errno;
	n = snprintf(out, 4096, "%s", real);
	free(real);
	return n < 4096 ? 0 : -ENAMETOOLONG;
}

int config_load(struct config *out, struct config_faults *faults, const char *path, bool must)
{
	char *text = NULL;
	size_t len = 0;
	int err;

	config_defaults(out);
	faults->n = 0;
	err = load_text(path, &text, &len);
	if (err == -ENOENT && !must)
		return 0;
	if (!err) {
		snprintf(out->path, sizeof(out->path), "%s", path);
		err = absolute_dir(path, out->dir);
		if (!err)
			err = parse_text(out, faults, text, len);
		free(text);
	}
	if (faults->n == 0 && err == -EISDIR)
		file_fault(faults, path, "is no regular file; name a config file");
	else if (faults->n == 0 && err)
		file_fault(faults, path,
		           "cannot be read: %s; name a file that is there and readable",
		           strerror(-err));
	return faults->n ? -EINVAL : 0;
}

void config_clear(struct config *c)
{
	free(c->peers);
	memset(c, 0, sizeof(*c));
}

void config_faults_print(const struct config_faults *f, FILE *to)
{
	unsigned i;

	for (i = 0; i < f->n && i < CONFIG_FAULTS_MAX; i++)
		fprintf(to, "%s\n", f->text[i]);
	if (f->n > CONFIG_FAULTS_MAX)
		fprintf(to, "and %u more\n", f->n - CONFIG_FAULTS_MAX);
}

bool config_is_static(const struct config *c)
{
	return c->identity;
}

unsigned config_overlay(const struct config *c, struct prefix out[CONFIG_OVERLAY_MAX])
{
	if (c->noverlay == 0)
		return prefix_parse(&out[0], CONFIG_OVERLAY_DEFAULT) ? 0 : 1;
	memcpy(out, c->overlay, c->noverlay * sizeof(*out));
	return c->noverlay;
}
