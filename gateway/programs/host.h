/* SPDX-License-Identifier: GPL-3.0-or-later */
/* host - what a host is to others: its name, the addresses it has, and the one it is reached by.
 *
 * For init and join. Each says itself, by fault() as what ("init", "join"), what is wrong.
 */
#pragma once
#include "gateway/programs/cmd.h"

/* --name, else the config's, else the host's short name made a DNS label. CMD_OK or CMD_FAILED. */
int host_name(const struct cmd *c, const struct config *f, const char *what,
              char out[CERT_NAME_MAX + 1]);

struct host_endpoints {
	uint16_t port; /* where ginneld will listen */
	unsigned n;    /* 0: neither flag nor config says one */
	struct config_endpoint at[CONFIG_ADVERTISE_MAX];
};

/* --advertise, else the config's. The port to listen on is the config's, or the flag's if the config
 * has none. CMD_OK or CMD_FAILED.
 */
int host_endpoints(const struct cmd *c, const struct config *f, const char *what,
                   struct host_endpoints *out);
/* Makes a the one endpoint; false if no other host can reach it. */
bool host_endpoint_set(struct host_endpoints *e, const struct addr *a);

/* The source address of the default route, else the first global address (IPv4 first). */
bool host_address(const struct config *f, struct addr *out);

/* The first of our addresses whose network meets p, leaving out loopback and ginnel's own device.
 * 1 with what, which says "10.77.3.4/24 on eth0"; 0 if there is none; -errno.
 */
int host_meets(const struct config *f, const struct prefix *p, char *what, size_t max);
