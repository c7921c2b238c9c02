/* SPDX-License-Identifier: GPL-3.0-or-later */
/* config - the config file and its faults.
 *
 * YAML read by libyaml's events, which carry line and column. Unknown keys, duplicate keys, wrong
 * types and values out of range are faults; reading goes on, so that one run names them all. All
 * keys have defaults, and a missing file is an empty one. Pure but for reading the file.
 */
#pragma once
#include "crypto/cert.h"
#include "gateway/log.h"
#include "tun/ip.h"
#include <stdio.h>

#define CONFIG_BYTES_MAX         (1 << 20)
#define CONFIG_DEPTH_MAX         16   /* lists in lists; the deepest we know is 4 */
#define CONFIG_TEXT_MAX          4096 /* one value */
#define CONFIG_ADVERTISE_MAX     8
#define CONFIG_PREFIXES_MAX      16 /* ours, and of one static peer */
#define CONFIG_PEERS_MAX         10000
#define CONFIG_INTERFACES_MAX    64
#define CONFIG_OVERLAY_MAX       2 /* one of each family */
#define CONFIG_HOST_MAX          253
#define CONFIG_ENDPOINT_TEXT_MAX (CONFIG_HOST_MAX + 9) /* [..]:65535 */
#define CONFIG_FAULTS_MAX        50                    /* then "and more" */
#define CONFIG_PORT              4747
#define CONFIG_DEVICE            "ginnel0"
#define CONFIG_OVERLAY_DEFAULT   "10.77.0.0/16"

/* ADDR or NAME, with or without :PORT; the port is filled in. */
struct config_endpoint {
	char host[CONFIG_HOST_MAX + 1];
	bool is_addr;
	struct endpoint at; /* addr is set if is_addr; port always */
};

struct config_peer {
	char name[CERT_NAME_MAX + 1];
	unsigned nendpoints, nprefixes;
	struct config_endpoint endpoints[CONFIG_ADVERTISE_MAX];
	struct prefix prefixes[CONFIG_PREFIXES_MAX];
};

struct config {
	char path[4096]; /* of the file, for messages; "" if there was none */
	char dir[4096];  /* folder of the file: identity paths are relative to it */
	char *text;      /* as config_load read it, owned; NULL: no file, or faults */
	size_t len;
	char name[CERT_NAME_MAX + 1]; /* "" : not set */
	unsigned nadvertise;
	struct config_endpoint advertise[CONFIG_ADVERTISE_MAX];
	uint16_t port;
	bool port_set;
	unsigned noverlay;
	struct prefix overlay[CONFIG_OVERLAY_MAX];
	char device[16];
	bool identity; /* the three files below are set, as absolute paths */
	char cert[4096], key[4096], ca[4096];
	unsigned nprefixes;
	struct prefix prefixes[CONFIG_PREFIXES_MAX];
	unsigned npeers;
	struct config_peer *peers; /* owned */
	unsigned ninterfaces;
	char interfaces[CONFIG_INTERFACES_MAX][16];
	struct cert_labels labels;
	struct endpoint metrics; /* family 0: off */
	enum log_level log_level;
	bool log_json;
	char proxy[256]; /* "" : none */
};

struct config_faults {
	unsigned n;                        /* may be more than are kept */
	unsigned warnings;                 /* of them, which refuse nothing */
	char text[CONFIG_FAULTS_MAX][512]; /* "ginnel.yaml:3:7: port: …" */
};

/* Parses text as if it stood in path. 0, or -EINVAL with faults. out is cleared first; give it to
 * config_clear in any case.
 */
int config_parse(struct config *out, struct config_faults *faults, const char *path,
                 const char *text, size_t len);
/* Reads the file. must: a missing file is a fault, else an empty config. Keeps its text, so that who
 * reads the config later, in another process, need not trust the file to be the same still.
 */
int config_load(struct config *out, struct config_faults *faults, const char *path, bool must);
void config_clear(struct config *c);
/* A whole file, malloc'ed; of one larger than max the first max + 1 bytes. -EINVAL after saying why it
 * cannot be read.
 */
int config_load_text(const char *path, size_t max, char **text, size_t *len,
                     struct config_faults *faults);
/* One fault a line, and how many more there were. */
void config_faults_print(const struct config_faults *f, FILE *to);
/* With static peers and own PKI there is no cluster and no manager. */
bool config_is_static(const struct config *c);
/* The overlay to go by with static peers: the config's, else the default. Returns how many. */
unsigned config_overlay(const struct config *c, struct prefix out[CONFIG_OVERLAY_MAX]);

/* ADDR, NAME, ADDR:PORT, NAME:PORT, [IPV6]:PORT; port is what stands for a missing one. -EINVAL.
 * A name is a host's name whose last label is not a number, so that 10.9.0.300 is none.
 */
int config_endpoint_parse(struct config_endpoint *out, const char *text, uint16_t port);
void config_endpoint_format(const struct config_endpoint *e, char out[CONFIG_ENDPOINT_TEXT_MAX]);
/* ^[a-z][a-z0-9_.-]{0,14}$ and not one of the kernel's own words (lo, all, default). */
bool config_device_ok(const char *name);
/* Can p be an overlay? NULL, or why not: too large, too small, or meeting an address range that
 * has a meaning of its own (loopback, link-local, multicast).
 */
const char *config_overlay_refusal(const struct prefix *p);
/* Can another host dial this address? Not unspecified, multicast, broadcast, link-local or
 * v4-mapped; loopback only if it may be.
 */
bool config_addr_dialable(const struct addr *a, bool loopback_ok);
/* Decimal, without sign, leading zero or anything behind; a port is 1 to 65535. -EINVAL. */
int config_uint_parse(const char *text, unsigned *out);
int config_port_parse(const char *text, uint16_t *out);
/* The one address as a prefix. */
struct prefix config_host_prefix(const struct addr *a);
/* Does p lie within one of the list; does it overlap one? */
bool config_within(const struct prefix *p, const struct prefix *list, unsigned n);
bool config_overlaps(const struct prefix *p, const struct prefix *list, unsigned n);
/* The known word nearest to what was typed, NULL if none is near. known is ended by NULL. */
const char *config_nearest(const char *typed, const char *const *known);
