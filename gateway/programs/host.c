/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/programs/host.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* -- name ------------------------------------------------------------------------------------- */

/* As it may stand in a label, or '-'. */
static char plain(char c)
{
	static const char upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
			  lower[] = "abcdefghijklmnopqrstuvwxyz";
	const char *at = strchr(upper, c);

	if (at)
		return lower[at - upper];
	if (strchr(lower, c) || (c >= '0' && c <= '9'))
		return c;
	return '-';
}

/* "Web_1.example.org" → "web-1" */
static bool label_of(const char *host, char out[CERT_NAME_MAX + 1])
{
	size_t n = 0;

	for (; *host && *host != '.' && n < CERT_NAME_MAX; host++)
		if (n > 0 || plain(*host) != '-')
			out[n++] = plain(*host);
	while (n > 0 && out[n - 1] == '-')
		n--;
	out[n] = '\0';
	return cert_name_ok(out);
}

int host_name(const struct cmd *c, const struct config *f, const char *what,
              char out[CERT_NAME_MAX + 1])
{
	const char *name = cmd_value(c, "name");
	char host[HOST_NAME_MAX + 1] = "";

	if (!name && f->name[0])
		name = f->name;
	if (name && f->name[0] && strcmp(name, f->name)) {
		fault("the config says another, and ginneld would refuse to start",
		      "mend one of the two", "%s: --name %s", what, name);
		return CMD_FAILED;
	}
	if (name) {
		if (!cert_name_ok(name)) {
			fault("a node's name is a lower case DNS label: a-z, 0-9 and - inside, at "
			      "most "
			      "63 characters",
			      "choose another", "%s: --name \"%s\"", what, name);
			return CMD_FAILED;
		}
		snprintf(out, CERT_NAME_MAX + 1, "%s", name);
		return CMD_OK;
	}
	if (gethostname(host, sizeof(host) - 1) || !label_of(host, out)) {
		fault("the host's own name cannot be made one", "give one with --name NAME",
		      "%s: no name for this node", what);
		return CMD_FAILED;
	}
	return CMD_OK;
}

/* -- addresses of this host ------------------------------------------------------------------- */

static bool addr_of(const struct sockaddr *sa, struct addr *out)
{
	memset(out, 0, sizeof(*out));
	if (sa && sa->sa_family == AF_INET) {
		out->family = 4;
		memcpy(out->b, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
	} else if (sa && sa->sa_family == AF_INET6) {
		out->family = 6;
		memcpy(out->b, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
	}
	return out->family != 0;
}

/* Asks the kernel's routes alone: a connected UDP socket sends nothing. */
static bool source_towards(int family, struct addr *out)
{
	struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
	const struct sockaddr *to = family == 4 ? (struct sockaddr *)&to4 : (struct sockaddr *)&to6;
	struct sockaddr_storage own = {0};
	socklen_t len = sizeof(own);
	bool ok = false;
	int fd;

	/* Documentation addresses: reached by the default route and by no other. */
	inet_pton(AF_INET, "192.0.2.1", &to4.sin_addr);
	inet_pton(AF_INET6, "2001:db8::1", &to6.sin6_addr);
	fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	if (!connect(fd, to, family == 4 ? sizeof(to4) : sizeof(to6)) &&
	    !getsockname(fd, (struct sockaddr *)&own, &len))
		ok = addr_of((struct sockaddr *)&own, out) && config_addr_dialable(out, false);
	close(fd);
	return ok;
}

static bool is_foreign(const struct config *f, const struct ifaddrs *i)
{
	return i->ifa_addr && !(i->ifa_flags & IFF_LOOPBACK) && strcmp(i->ifa_name, f->device);
}

static bool first_address(const struct config *f, int family, struct addr *out)
{
	struct ifaddrs *all, *i;
	struct addr a;
	bool found = false;

	if (getifaddrs(&all))
		return false;
	for (i = all; i && !found; i = i->ifa_next) {
		if (!is_foreign(f, i) || !addr_of(i->ifa_addr, &a) || a.family != family ||
		    !config_addr_dialable(&a, false))
			continue;
		*out = a;
		found = true;
	}
	freeifaddrs(all);
	return found;
}

bool host_address(const struct config *f, struct addr *out)
{
	return source_towards(4, out) || source_towards(6, out) || first_address(f, 4, out) ||
	       first_address(f, 6, out);
}

static unsigned mask_len(const struct addr *mask)
{
	unsigned n = 0, max = mask->family == 4 ? 32 : 128;

	while (n < max && mask->b[n / 8] & (0x80 >> n % 8))
		n++;
	return n;
}

int host_meets(const struct config *f, const struct prefix *p, char *what, size_t max)
{
	char text[ADDR_TEXT_MAX];
	struct ifaddrs *all, *i;
	struct addr mask;
	int met = 0;

	if (getifaddrs(&all))
		return -errno;
	for (i = all; i && !met; i = i->ifa_next) {
		struct prefix net = {0};

		if (!is_foreign(f, i) || !addr_of(i->ifa_addr, &net.addr))
			continue;
		net.len = net.addr.family == 4 ? 32 : 128;
		if (addr_of(i->ifa_netmask, &mask) && mask.family == net.addr.family)
			net.len = (uint8_t)mask_len(&mask);
		addr_format(&net.addr, text);
		for (unsigned bit = net.len; bit < (net.addr.family == 4 ? 32U : 128U); bit++)
			net.addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
		if (!prefix_overlaps(&net, p))
			continue;
		snprintf(what, max, "%s/%u on %s", text, net.len, i->ifa_name);
		met = 1;
	}
	freeifaddrs(all);
	return met;
}

/* -- endpoints -------------------------------------------------------------------------------- */

static int flag_endpoint(const char *text, const struct config *f, const char *what,
                         struct host_endpoints *out)
{
	struct config_endpoint *e = &out->at[0];

	if (config_endpoint_parse(e, text, 0)) {
		fault("not ADDR, NAME, ADDR:PORT or [IPV6]:PORT",
		      "write it like 10.9.0.1 or "
		      "n1.example.org:4747",
		      "%s: --advertise \"%s\"", what, text);
		return CMD_FAILED;
	}
	if (e->is_addr && !config_addr_dialable(&e->at.addr, false)) {
		fault("no address that other hosts can reach", "give one of this host's own",
		      "%s: --advertise %s", what, text);
		return CMD_FAILED;
	}
	if (!e->at.port)
		e->at.port = out->port;
	else if (!f->port_set)
		out->port = e->at.port;
	out->n = 1;
	return CMD_OK;
}

int host_endpoints(const struct cmd *c, const struct config *f, const char *what,
                   struct host_endpoints *out)
{
	const char *text = cmd_value(c, "advertise");

	memset(out, 0, sizeof(*out));
	out->port = f->port;
	if (text) {
		if (flag_endpoint(text, f, what, out) != CMD_OK)
			return CMD_FAILED;
	} else {
		assert(f->nadvertise <= CONFIG_ADVERTISE_MAX);
		memcpy(out->at, f->advertise, f->nadvertise * sizeof(out->at[0]));
		out->n = f->nadvertise;
	}
	for (unsigned i = 0; i <= out->n; i++) {
		uint16_t port = i < out->n ? out->at[i].at.port : out->port;

		if (port == UINT16_MAX) {
			fault("the port above it is the control port, and there is none",
			      "choose another", "%s: port %u", what, port);
			return CMD_FAILED;
		}
	}
	return CMD_OK;
}

bool host_endpoint_set(struct host_endpoints *e, const struct addr *a)
{
	struct config_endpoint *to = &e->at[0];

	if (!config_addr_dialable(a, false))
		return false;
	memset(to, 0, sizeof(*to));
	to->is_addr = true;
	to->at.addr = *a;
	to->at.port = e->port;
	addr_format(a, to->host);
	e->n = 1;
	return true;
}
