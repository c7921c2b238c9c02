/* SPDX-License-Identifier: GPL-3.0-or-later */
/* records - what the registry keeps, as text and JSON and back, every value checked.
 *
 * Pure. One place for the forms that the API, the store and the watch share. Functions that return
 * json_t give a new reference, NULL if there is no memory.
 */
#pragma once
#include "gateway/manager/registry.h"
#include <jansson.h>

#define RECORD_ENDPOINT_TEXT (CONFIG_HOST_MAX + 8)
#define RECORD_TIME_TEXT     24

/* "10.9.0.2:4747", "[fd00::1]:4747", "host.example:4747"; without a port CONFIG_PORT. A name must
 * not be one that a resolver takes for a number ("127.1", "0x7f000001") or for this host
 * ("localhost"). -EINVAL.
 */
int record_endpoint_parse(struct config_endpoint *out, const char *text);
void record_endpoint_format(const struct config_endpoint *e, char out[RECORD_ENDPOINT_TEXT]);
bool record_endpoint_equal(const struct config_endpoint *a, const struct config_endpoint *b);
/* An array of at most CONFIG_ADVERTISE_MAX texts. -EINVAL. */
int record_endpoints_parse(struct config_endpoint *out, unsigned *n, const json_t *j);
/* port_offset: 1 for control endpoints (the control port is the node's port + 1). */
json_t *record_endpoints_format(const struct config_endpoint *e, unsigned n, unsigned port_offset);

/* An object of strings. -EINVAL. */
int record_labels_parse(struct cert_labels *out, const json_t *j);
json_t *record_labels_format(const struct cert_labels *l);

json_t *record_prefixes_format(const struct prefix *p, unsigned n);

/* RFC 3339 UTC; null for 0. */
json_t *record_time_format(time_t t);
/* Printable ASCII, at most REGISTRY_VERSION_MAX. */
bool record_version_ok(const char *version);

/* {"name","role","incarnation","issue","issue_min","spki","labels","prefixes","endpoints","cert_not_after","draining","version"}:
 * all that watchers see of a node but last_seen, which changes without a revision.
 */
json_t *record_node_format(const struct registry_node *n);
