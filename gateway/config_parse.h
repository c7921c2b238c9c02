/* SPDX-License-Identifier: GPL-3.0-or-later */
/* config_parse - one run over a config file, as config's three files share it.
 *
 * config_keys.c reads every key for itself, in whatever order the file has; config_check.c then looks
 * at what concerns several of them, for which the places of the values are kept aside here.
 */
#pragma once
#include "gateway/reader.h"

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

/* Reads all keys of the file into p->c. */
void config_read_keys(struct parse *p);
/* Prefixes, names and endpoints against each other; fills in the ports left out. */
void config_check_whole(struct parse *p);
