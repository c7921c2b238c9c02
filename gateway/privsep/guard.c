/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Everything here can be run again at any time: what stands already is success. So a start after a
 * crash, a boot with the guards up, and putting back what someone took are one and the same code.
 */
#include "gateway/privsep/guard.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "gateway/privsep/forwarding.h"
#include "gateway/privsep/rules.h"
#include "tun/tun.h"

/* No overlay is wider: with a /0 among the guarded the host would be cut off from everything. */
#define WIDEST4       8
#define WIDEST6       16
#define EVENTS_RCVBUF (1 << 20)
#define OTHER_WAIT_MS 500 /* for another's guard to go */
#define OTHER_STEP_MS 20

struct guard {
	struct guard_plan plan;
	struct rules *rules;
	struct link *link;
	int index; /* of the device */
	bool forwarding_changed;
	int epoll, nft, route; /* what guard_watch_fd waits for: the two sockets */
	char events[16384] __attribute__((aligned(NLMSG_ALIGNTO))); /* too large for a frame */
};

static int fail(int err, char *why, size_t max, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int fail(int err, char *why, size_t max, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(why, max, format, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < max)
		snprintf(why + n, max - (size_t)n, ": %s", strerrordesc_np(-err));
	return err;
}

static int fail_prefix(int err, char *why, size_t max, const char *what, const struct prefix *p)
{
	char text[PREFIX_TEXT_MAX];

	prefix_format(p, text);
	return fail(err, why, max, "%s %s", what, text);
}

/* -- the plan -------------------------------------------------------------------------------- */

bool guard_name_ok(const char *name)
{
	size_t n = strnlen(name, TUN_NAME_MAX + 1);

	if (n == 0 || n > TUN_NAME_MAX || name[0] < 'a' || name[0] > 'z')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

static int plan_guarded(struct guard_plan *p, const struct prefix *from, unsigned n, char *why,
                        size_t max)
{
	for (unsigned i = 0; i < n; i++) {
		const struct prefix *x = &from[i];
		unsigned widest = x->addr.family == 4 ? WIDEST4 : WIDEST6;
		char text[PREFIX_TEXT_MAX];

		if (x->addr.family != 4 && x->addr.family != 6) {
			snprintf(why, max, "overlay or pools: a prefix of no family");
			return -EINVAL;
		}
		if (x->len < widest || addr_is_special(&x->addr)) {
			prefix_format(x, text);
			snprintf(why, max, "%s: no overlay or pool is so wide or lies there", text);
			return -EINVAL;
		}
		if (p->nguarded >= sizeof(p->guarded) / sizeof(*p->guarded)) {
			snprintf(why, max, "too many pools");
			return -EINVAL;
		}
		p->guarded[p->nguarded++] = *x;
	}
	return 0;
}

static bool inside(const struct prefix *p, const struct prefix *of, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (prefix_within(p, &of[i]))
			return true;
	return false;
}

static int plan_own(struct guard_plan *p, const struct node *n, char *why, size_t max)
{
	for (unsigned i = 0; i < n->nprefixes && i < CONFIG_PREFIXES_MAX; i++) {
		char text[PREFIX_TEXT_MAX];

		if (!inside(&n->prefixes[i], p->guarded, p->nguarded)) {
			prefix_format(&n->prefixes[i], text);
			snprintf(why, max, "%s: outside overlay and pools", text);
			return -EINVAL;
		}
		p->own[p->nown++] = n->prefixes[i];
	}
	if (!node_address(n, 4, &p->address4))
		p->address4 = (struct addr){0};
	if (!node_address(n, 6, &p->address6))
		p->address6 = (struct addr){0};
	if (p->address4.family || p->address6.family)
		return 0;
	snprintf(why, max, "the node has no address of its own: it has no prefix");
	return -EINVAL;
}

int guard_plan_make(struct guard_plan *out, const struct node *n, const struct config *c, char *why,
                    size_t max)
{
	struct guard_plan p = {.mtu = GUARD_MTU, .state_dir = -1};
	const char *device = c->device[0] ? c->device : CONFIG_DEVICE;

	if (!guard_name_ok(device) || strcmp(device, "lo") == 0) {
		snprintf(why, max, "device: not a name for a device");
		return -EINVAL;
	}
	memcpy(p.device, device, strlen(device));
	if (plan_guarded(&p, n->overlay, n->noverlay, why, max) < 0 ||
	    plan_guarded(&p, n->pools, n->npools, why, max) < 0 || plan_own(&p, n, why, max) < 0)
		return -EINVAL;
	for (unsigned i = 0; i < c->ninterfaces && i < CONFIG_INTERFACES_MAX; i++) {
		const char *name = c->interfaces[i];

		if (!guard_name_ok(name) || strcmp(name, "lo") == 0 || strcmp(name, device) == 0) {
			snprintf(why, max, "interfaces: \"%.15s\" cannot be one", name);
			return -EINVAL;
		}
		memcpy(p.interfaces[p.ninterfaces++], name, strlen(name) + 1);
	}
	*out = p;
	return 0;
}

/* -- routes and device ------------------------------------------------------------------------ */

/* A kernel without IPv6 has nothing to guard there. */
static bool usable(const struct prefix *p)
{
	return p->addr.family == 4 || access("/proc/sys/net/ipv6", F_OK) == 0;
}

/* The overlay and the pools, then our own prefixes: an address of ours that no container has must
 * be an error, and no ride through the tunnel.
 */
static const struct prefix *unreachable(const struct guard_plan *p, unsigned i)
{
	if (i < p->nguarded)
		return &p->guarded[i];
	i -= p->nguarded;
	return i < p->nown ? &p->own[i] : NULL;
}

static bool routes_stand(struct guard *g)
{
	const struct prefix *p;

	for (unsigned i = 0; (p = unreachable(&g->plan, i)); i++)
		if (usable(p) && link_route_stands(g->link, 0, p, LINK_METRIC_LAST) != 1)
			return false;
	return true;
}

static int routes_up(struct guard *g, char *why, size_t max)
{
	const struct prefix *p;
	int err;

	for (unsigned i = 0; (p = unreachable(&g->plan, i)); i++) {
		if (!usable(p))
			continue;
		err = link_unreachable_add(g->link, p, LINK_METRIC_LAST);
		if (err)
			return fail_prefix(err, why, max, "unreachable route of", p);
	}
	return 0;
}

/* .1 as a host's prefix, so that the rest of the node's prefix is not on the device. */
static bool host_prefix(const struct addr *a, struct prefix *out)
{
	*out = (struct prefix){.addr = *a, .len = a->family == 4 ? 32 : 128};
	return a->family && usable(out);
}

static const struct addr *own_address(const struct guard *g, int family)
{
	const struct addr *a = family == 4 ? &g->plan.address4 : &g->plan.address6;

	return a->family ? a : NULL;
}

static bool device_stands(struct guard *g)
{
	struct prefix host;

	if (link_index(g->link, g->plan.device) != g->index || link_is_up(g->link, g->index) != 1)
		return false;
	if ((host_prefix(&g->plan.address4, &host) &&
	     link_addr_stands(g->link, g->index, &host) != 1) ||
	    (host_prefix(&g->plan.address6, &host) &&
	     link_addr_stands(g->link, g->index, &host) != 1))
		return false;
	for (unsigned i = 0; i < g->plan.nguarded; i++)
		if (usable(&g->plan.guarded[i]) &&
		    link_route_stands(g->link, g->index, &g->plan.guarded[i], 0) != 1)
			return false;
	return true;
}

static int device_sysctls(const struct guard *g, char *why, size_t max)
{
	static const struct {
		const char *family, *key;
		int value;
	} wanted[] = {
		/* Without a queue the device has no carrier: its routes are passed over then, and
		 * the unreachable ones answer.
		 */
		{"ipv4", "ignore_routes_with_linkdown", 1},
		{"ipv6", "ignore_routes_with_linkdown", 1},
		{"ipv6", "disable_ipv6", 0},      /* the overlay has it, whatever the host wants */
		{"ipv6", "keep_addr_on_down", 1}, /* else `link set down` takes .1 for good */
		{"ipv6", "accept_ra", 0},
		{"ipv6", "addr_gen_mode", 1}, /* no link-local address */
	};
	const struct prefix six = {.addr.family = 6};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		int err;

		if (wanted[i].family[3] == '6' && !usable(&six))
			continue;
		err = link_sysctl(wanted[i].family, g->plan.device, wanted[i].key, wanted[i].value,
		                  NULL);
		if (err)
			return fail(err, why, max, "net.%s.conf.%s.%s", wanted[i].family,
			            g->plan.device, wanted[i].key);
	}
	return 0;
}

static int device_up(struct guard *g, char *why, size_t max)
{
	const struct guard_plan *p = &g->plan;
	struct prefix host;
	int err;

	err = tun_create(p->device);
	if (err == -EEXIST) {
		snprintf(why, max, "%s exists, and we did not make it", p->device);
		return err;
	}
	if (err)
		return fail(err, why, max, "%s cannot be made", p->device);
	g->index = link_index(g->link, p->device);
	if (g->index < 0)
		return fail(g->index, why, max, "%s", p->device);
	err = device_sysctls(g, why, max);
	if (err)
		return err;
	err = link_up(g->link, g->index, p->mtu);
	if (err)
		return fail(err, why, max, "%s cannot be set up", p->device);
	for (int family = 4; family <= 6; family += 2) {
		const struct addr *a = own_address(g, family);

		if (!a || !host_prefix(a, &host))
			continue;
		err = link_addr_add(g->link, g->index, &host);
		if (err)
			return fail_prefix(err, why, max, "address", &host);
	}
	for (unsigned i = 0; i < p->nguarded; i++) {
		if (!usable(&p->guarded[i]))
			continue;
		err = link_route_add(g->link, g->index, &p->guarded[i],
		                     own_address(g, p->guarded[i].addr.family), 0);
		if (err)
			return fail_prefix(err, why, max, "route of", &p->guarded[i]);
	}
	return 0;
}

/* -- events ------------------------------------------------------------------------------------ */

static int subscribe(int *out, int protocol, const int *groups, size_t n)
{
	struct sockaddr_nl at = {.nl_family = AF_NETLINK};
	const int buf = EVENTS_RCVBUF;
	int fd, err;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buf, sizeof(buf)); /* or the default */
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		goto fail;
	for (size_t i = 0; i < n; i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i],
		               sizeof(groups[i])) < 0)
			goto fail;
	*out = fd;
	return 0;
fail:
	err = -errno;
	close(fd);
	return err;
}

static int watch_open(struct guard *g)
{
	static const int nft[] = {NFNLGRP_NFTABLES};
	static const int route[] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
	                            RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE};
	struct epoll_event e = {.events = EPOLLIN};
	int err;

	g->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (g->epoll < 0)
		return -errno;
	err = subscribe(&g->nft, NETLINK_NETFILTER, nft, 1);
	if (err)
		goto fail_nft;
	err = subscribe(&g->route, NETLINK_ROUTE, route, sizeof(route) / sizeof(*route));
	if (err)
		goto fail_route;
	if (epoll_ctl(g->epoll, EPOLL_CTL_ADD, g->nft, &e) < 0 ||
	    epoll_ctl(g->epoll, EPOLL_CTL_ADD, g->route, &e) < 0) {
		err = -errno;
		goto fail_add;
	}
	return 0;
fail_add:
	close(g->route);
fail_route:
	close(g->nft);
fail_nft:
	close(g->epoll);
	return err;
}

static void watch_close(struct guard *g)
{
	close(g->route);
	close(g->nft);
	close(g->epoll);
}

/* Is it about a table of ours? In all of nftables' messages the table's name is attribute 1, but
 * in the one that ends a transaction.
 */
static bool about_us(const struct nlmsghdr *h)
{
	const unsigned char *at = (const unsigned char *)h + NLMSG_LENGTH(sizeof(struct nfgenmsg));
	const unsigned char *end = (const unsigned char *)h + h->nlmsg_len;
	struct nlattr a;

	if ((h->nlmsg_type & 0xff) == NFT_MSG_NEWGEN)
		return false;
	while (at + sizeof(a) <= end) {
		memcpy(&a, at, sizeof(a));
		if (a.nla_len < sizeof(a) || a.nla_len > end - at)
			return true; /* not what we know: better look */
		if ((a.nla_type & NLA_TYPE_MASK) == NFTA_TABLE_NAME)
			return strncmp((const char *)at + sizeof(a), "ginnel",
			               a.nla_len - sizeof(a) < 6 ? a.nla_len - sizeof(a) : 6) == 0;
		at += NLA_ALIGN(a.nla_len);
	}
	return true;
}

/* Reads all that waits. True if something may have happened to what is ours. */
static bool drain(struct guard *g, int fd, bool rules)
{
	bool ours = false;

	for (;;) {
		ssize_t n = recv(fd, g->events, sizeof(g->events), MSG_TRUNC);
		struct nlmsghdr *h = (struct nlmsghdr *)(void *)g->events;
		size_t left;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS) { /* events were lost */
			ours = true;
			continue;
		}
		if (n <= 0)
			return ours;
		left = (size_t)n < sizeof(g->events) ? (size_t)n : sizeof(g->events);
		ours |= !rules || (size_t)n > sizeof(g->events);
		for (; !ours && NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
			ours = about_us(h);
	}
}

static int put_back(struct guard *g, bool rules, bool routes, char *why, size_t max)
{
	int missing = 0, err = 0, e;

	if (rules && !rules_stand(g->rules)) {
		missing |= GUARD_RULES;
		err = rules_up(g->rules, why, max);
	}
	if (routes && !routes_stand(g)) {
		missing |= GUARD_ROUTES;
		e = routes_up(g, why, max);
		err = err ? err : e;
	}
	if (routes && !device_stands(g)) {
		missing |= GUARD_DEVICE;
		e = device_up(g, why, max);
		err = err ? err : e;
	}
	return err ? err : missing;
}

int guard_watch(struct guard *g, char *why, size_t max)
{
	bool rules = drain(g, g->nft, true), routes = drain(g, g->route, false);

	return put_back(g, rules, routes, why, max);
}

int guard_check(struct guard *g, char *why, size_t max)
{
	return put_back(g, true, true, why, max);
}

bool guard_stands(struct guard *g)
{
	return rules_stand(g->rules) && routes_stand(g) && device_stands(g);
}

int guard_watch_fd(const struct guard *g)
{
	return g->epoll;
}

int guard_index(const struct guard *g)
{
	return g->index;
}

bool guard_forwarding_changed(const struct guard *g)
{
	return g->forwarding_changed;
}

/* -- up and down -------------------------------------------------------------------------------- */

/* Its rules would be replaced by ours, and its device taken away. One that was just killed may take a
 * moment to be gone.
 */
static int alone(char *why, size_t max)
{
	const struct timespec step = {.tv_nsec = OTHER_STEP_MS * 1000000L};

	for (int ms = 0; rules_held(); ms += OTHER_STEP_MS) {
		if (ms >= OTHER_WAIT_MS) {
			snprintf(why, max,
			         "another ginneld guards this network namespace; stop that one "
			         "first, or give this node a namespace of its own");
			return -EBUSY;
		}
		nanosleep(&step, NULL);
	}
	return 0;
}

int guard_up(struct guard **out, const struct guard_plan *p, char *why, size_t max)
{
	struct guard *g = calloc(1, sizeof(*g));
	char spare[256] = "";
	int err, routes;

	if (!g)
		return fail(-ENOMEM, why, max, "guard");
	g->plan = *p;
	err = alone(why, max);
	if (err)
		goto fail_watch;
	err = watch_open(g); /* first, so that nothing happens unseen */
	if (err) {
		fail(err, why, max, "netlink");
		goto fail_watch;
	}
	err = link_new(&g->link);
	if (err) {
		fail(err, why, max, "netlink");
		goto fail_link;
	}
	err = rules_new(&g->rules, p);
	if (err) {
		fail(err, why, max, "nftables");
		goto fail_rules;
	}
	/* Two layers that fail apart: without rules the routes still make an error of what would leave. */
	err = rules_up(g->rules, why, max);
	routes = routes_up(g, spare, sizeof(spare));
	if (!err && routes) {
		err = routes;
		snprintf(why, max, "%s", spare);
	}
	if (!err)
		err = device_up(g, why, max);
	if (!err && p->ninterfaces && p->state_dir >= 0)
		err = forwarding_on(p->state_dir, &g->forwarding_changed, why, max);
	if (err)
		goto fail_up;
	*out = g;
	return 0;
fail_up:
	rules_free(g->rules);
fail_rules:
	link_free(g->link);
fail_link:
	watch_close(g);
fail_watch:
	free(g);
	return err;
}

void guard_release(struct guard *g)
{
	if (!g)
		return;
	rules_free(g->rules);
	link_free(g->link);
	watch_close(g);
	free(g);
}

static bool among(const struct prefix *x, const struct prefix *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].len == x->len && prefix_within(x, &list[i]))
			return true;
	return false;
}

static bool unreachable_in(const struct guard_plan *now, const struct prefix *x)
{
	return now && (among(x, now->guarded, now->nguarded) || among(x, now->own, now->nown));
}

static int leave_address(struct link *link, int index, const struct addr *old,
                         const struct addr *now, char *why, size_t max)
{
	struct prefix host;
	int err;

	if (!host_prefix(old, &host) || (now->family && addr_equal(old, now)))
		return 0;
	err = link_addr_del(link, index, &host);
	return err ? fail_prefix(err, why, max, "address", &host) : 0;
}

static int leave_device(struct link *link, const struct guard_plan *old,
                        const struct guard_plan *now, char *why, size_t max)
{
	int index, err;

	if (!now || strcmp(old->device, now->device) != 0) {
		err = tun_destroy(old->device);
		return err && err != -EEXIST
		               ? fail(err, why, max, "%s cannot be removed", old->device)
		               : 0;
	}
	index = link_index(link, old->device);
	if (index < 0)
		return index == -ENODEV ? 0 : fail(index, why, max, "%s", old->device);
	for (unsigned i = 0; i < old->nguarded; i++) {
		const struct prefix *x = &old->guarded[i];

		if (!usable(x) || among(x, now->guarded, now->nguarded))
			continue;
		err = link_route_del(link, index, x, 0);
		if (err)
			return fail_prefix(err, why, max, "route of", x);
	}
	err = leave_address(link, index, &old->address4, &now->address4, why, max);
	if (err)
		return err;
	return leave_address(link, index, &old->address6, &now->address6, why, max);
}

int guard_leave(const struct guard_plan *old, const struct guard_plan *now, char *why, size_t max)
{
	const struct prefix *x;
	struct link *link;
	int err;

	err = link_new(&link);
	if (err)
		return fail(err, why, max, "netlink");
	err = leave_device(link, old, now, why, max);
	for (unsigned i = 0; !err && (x = unreachable(old, i)); i++) {
		if (!usable(x) || unreachable_in(now, x))
			continue;
		err = link_unreachable_del(link, x, LINK_METRIC_LAST);
		if (err)
			fail_prefix(err, why, max, "unreachable route of", x);
	}
	link_free(link);
	return err;
}

/* The device goes first, while all that guards still stands. */
int guard_down(const struct guard_plan *p, char *why, size_t max)
{
	const struct prefix *x;
	struct link *link;
	int err;

	err = alone(why, max);
	if (err)
		return err;
	err = tun_destroy(p->device);
	if (err == -EEXIST) {
		snprintf(why, max, "%s exists, and we did not make it", p->device);
		return err;
	}
	if (err)
		return fail(err, why, max, "%s cannot be removed", p->device);
	err = p->state_dir >= 0 ? forwarding_back(p->state_dir, why, max) : 0;
	if (err)
		return err;
	err = link_new(&link);
	if (err)
		return fail(err, why, max, "netlink");
	for (unsigned i = 0; !err && (x = unreachable(p, i)); i++) {
		err = usable(x) ? link_unreachable_del(link, x, LINK_METRIC_LAST) : 0;
		if (err)
			fail_prefix(err, why, max, "unreachable route of", x);
	}
	link_free(link);
	return err ? err : rules_down(why, max);
}
