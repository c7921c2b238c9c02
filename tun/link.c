/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tun/link.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <limits.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tun/netlink.h"

/* syscalls(parent): openat pread64 pwrite64 close */

#define LOOPBACK_INDEX  1    /* in every namespace; carries unreachable routes of IPv6 */
#define V6_METRIC       1024 /* what the kernel makes of metric 0 for IPv6 */
#define SYSCTL_PATH_MAX 256
#define SYSCTL_VALUE    16

struct link {
	struct netlink *netlink;
};

int link_new(struct link **out)
{
	struct link *l;
	int err;

	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	err = netlink_new(&l->netlink);
	if (err)
		goto fail_open;
	*out = l;
	return 0;
fail_open:
	free(l);
	return err;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	netlink_free(l->netlink);
	free(l);
}

static unsigned char family_of(const struct addr *a)
{
	return a->family == 4 ? AF_INET : AF_INET6;
}

static size_t size_of(const struct addr *a)
{
	return a->family == 4 ? 4 : 16;
}

static void put_addr(struct netlink_message *m, uint16_t type, const struct addr *a)
{
	mnl_attr_put(&m->head, type, size_of(a), a->b);
}

/* Is there such an attribute, and does it hold that address? */
static bool is_addr(const struct nlattr *at, const struct addr *a)
{
	return at && mnl_attr_get_payload_len(at) == size_of(a) &&
	       memcmp(mnl_attr_get_payload(at), a->b, size_of(a)) == 0;
}

/* -- devices -- */

bool link_name_ok(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > LINK_NAME_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (name[i] <= ' ' || name[i] >= 127 || strchr("/:%", name[i]))
			return false;
	}
	return true;
}

struct device {
	int index;
	unsigned flags;
	bool is_tun;
	struct link_tun tun;
};

static void device_tun(struct device *d, const struct nlattr *data)
{
	const struct nlattr *t[IFLA_TUN_MAX + 1] = {0};
	struct netlink_attrs attrs = {t, IFLA_TUN_MAX};

	d->is_tun = true;
	netlink_parse_nested(data, &attrs);
	d->tun.index = d->index;
	d->tun.tap = netlink_u8(t[IFLA_TUN_TYPE]) != IFF_TUN;
	d->tun.pi = netlink_u8(t[IFLA_TUN_PI]) != 0;
	d->tun.vnet = netlink_u8(t[IFLA_TUN_VNET_HDR]) != 0;
	d->tun.multi_queue = netlink_u8(t[IFLA_TUN_MULTI_QUEUE]) != 0;
	d->tun.persistent = netlink_u8(t[IFLA_TUN_PERSIST]) != 0;
	d->tun.owned = t[IFLA_TUN_OWNER] != NULL;
	d->tun.owner = netlink_u32(t[IFLA_TUN_OWNER]);
	d->tun.grouped = t[IFLA_TUN_GROUP] != NULL;
	d->tun.group = netlink_u32(t[IFLA_TUN_GROUP]);
	d->tun.queues =
		netlink_u32(t[IFLA_TUN_NUM_QUEUES]) + netlink_u32(t[IFLA_TUN_NUM_DISABLED_QUEUES]);
}

static int device_take(const struct nlmsghdr *h, void *arg)
{
	const struct nlattr *t[IFLA_MAX + 1] = {0}, *info[IFLA_INFO_MAX + 1] = {0};
	struct netlink_attrs attrs = {t, IFLA_MAX}, inner = {info, IFLA_INFO_MAX};
	const struct ifinfomsg *m = netlink_body(h, RTM_NEWLINK, sizeof(*m));
	struct device *d = arg;

	if (!m)
		return MNL_CB_OK;
	d->index = m->ifi_index;
	d->flags = m->ifi_flags;
	netlink_parse(h, sizeof(*m), &attrs);
	if (!t[IFLA_LINKINFO])
		return MNL_CB_OK;
	netlink_parse_nested(t[IFLA_LINKINFO], &inner);
	if (info[IFLA_INFO_KIND] && info[IFLA_INFO_DATA] &&
	    mnl_attr_validate(info[IFLA_INFO_KIND], MNL_TYPE_NUL_STRING) == 0 &&
	    strcmp(mnl_attr_get_str(info[IFLA_INFO_KIND]), "tun") == 0)
		device_tun(d, info[IFLA_INFO_DATA]);
	return MNL_CB_OK;
}

/* By name, or by index if there is none. */
static int device_get(struct link *l, const char *name, int index, struct device *out)
{
	struct netlink_message q;
	struct ifinfomsg *m;
	int err;

	m = netlink_begin(&q, RTM_GETLINK, 0, sizeof(*m));
	m->ifi_family = AF_UNSPEC;
	m->ifi_index = index;
	if (name)
		mnl_attr_put_strz(&q.head, IFLA_IFNAME, name);
	memset(out, 0, sizeof(*out));
	err = netlink_request(l->netlink, &q, device_take, out);
	if (!err && out->index <= 0)
		err = -ENODEV;
	return err;
}

int link_index(struct link *l, const char *name)
{
	struct device d;
	int err;

	if (!link_name_ok(name))
		return -EINVAL;
	err = device_get(l, name, 0, &d);
	return err ? err : d.index;
}

int link_tun(struct link *l, const char *name, struct link_tun *out)
{
	struct device d;
	int err;

	if (!link_name_ok(name))
		return -EINVAL;
	err = device_get(l, name, 0, &d);
	if (err)
		return err;
	if (!d.is_tun)
		return -ENOTTY;
	*out = d.tun;
	return 0;
}

int link_is_up(struct link *l, int index)
{
	struct device d;
	int err;

	err = device_get(l, NULL, index, &d);
	return err ? err : (d.flags & IFF_UP) != 0;
}

int link_up(struct link *l, int index, unsigned mtu)
{
	struct netlink_message q;
	struct ifinfomsg *m;

	m = netlink_begin(&q, RTM_NEWLINK, 0, sizeof(*m));
	m->ifi_family = AF_UNSPEC;
	m->ifi_index = index;
	m->ifi_change = IFF_UP;
	m->ifi_flags = IFF_UP;
	if (mtu)
		mnl_attr_put_u32(&q.head, IFLA_MTU, mtu); /* the kernel sets it before the flags */
	return netlink_request(l->netlink, &q, NULL, NULL);
}

int link_del(struct link *l, int index)
{
	struct netlink_message q;
	struct ifinfomsg *m;
	int err;

	m = netlink_begin(&q, RTM_DELLINK, 0, sizeof(*m));
	m->ifi_family = AF_UNSPEC;
	m->ifi_index = index;
	err = netlink_request(l->netlink, &q, NULL, NULL);
	return err == -ENODEV ? 0 : err;
}

/* -- addresses -- */

static void addr_message(struct netlink_message *q, uint16_t type, unsigned flags, int index,
                         const struct prefix *p)
{
	struct ifaddrmsg *m = netlink_begin(q, type, flags, sizeof(*m));

	m->ifa_family = family_of(&p->addr);
	m->ifa_prefixlen = p->len;
	m->ifa_scope = RT_SCOPE_UNIVERSE;
	m->ifa_index = (uint32_t)index;
	put_addr(q, IFA_LOCAL, &p->addr);
	put_addr(q, IFA_ADDRESS, &p->addr);
}

int link_addr_add(struct link *l, int index, const struct prefix *p)
{
	struct netlink_message q;
	int err, stands;

	addr_message(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, p);
	if (p->addr.family == 6)
		mnl_attr_put_u32(&q.head, IFA_FLAGS, IFA_F_NODAD);
	err = netlink_request(l->netlink, &q, NULL, NULL);
	if (err != -EEXIST)
		return err;
	stands = link_addr_stands(l, index, p);
	return stands < 0 ? stands : stands ? 0 : -EEXIST;
}

int link_addr_del(struct link *l, int index, const struct prefix *p)
{
	struct netlink_message q;
	int err;

	addr_message(&q, RTM_DELADDR, 0, index, p);
	err = netlink_request(l->netlink, &q, NULL, NULL);
	return err == -EADDRNOTAVAIL || err == -ENODEV ? 0 : err;
}

struct addr_wanted {
	int index;
	const struct prefix *prefix;
	bool found;
};

static int addr_compare(const struct nlmsghdr *h, void *arg)
{
	const struct nlattr *t[IFA_MAX + 1] = {0}, *local;
	struct netlink_attrs attrs = {t, IFA_MAX};
	const struct ifaddrmsg *m = netlink_body(h, RTM_NEWADDR, sizeof(*m));
	struct addr_wanted *want = arg;

	if (!m)
		return MNL_CB_OK;
	if (m->ifa_index != (uint32_t)want->index || m->ifa_prefixlen != want->prefix->len ||
	    m->ifa_family != family_of(&want->prefix->addr))
		return MNL_CB_OK;
	netlink_parse(h, sizeof(*m), &attrs);
	/* IPv6 says the local one only where it differs. */
	local = t[IFA_LOCAL] ? t[IFA_LOCAL] : t[IFA_ADDRESS];
	want->found |= is_addr(local, &want->prefix->addr);
	return MNL_CB_OK;
}

int link_addr_stands(struct link *l, int index, const struct prefix *p)
{
	struct addr_wanted want = {index, p, false};
	struct netlink_message q;
	struct ifaddrmsg *m;
	int err;

	m = netlink_begin(&q, RTM_GETADDR, 0, sizeof(*m));
	m->ifa_family = family_of(&p->addr);
	m->ifa_index = (uint32_t)index;
	err = netlink_dump(l->netlink, &q, addr_compare, &want);
	if (err == -ENODEV)
		return 0;
	return err ? err : want.found;
}

/* -- routes -- */

/* kind: RTN_UNICAST, RTN_UNREACHABLE. RT_SCOPE_NOWHERE: to remove one of any scope. */
static void route_message(struct netlink_message *q, uint16_t type, uint8_t kind, uint8_t scope,
                          const struct prefix *dst, uint32_t metric)
{
	unsigned flags = type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_REPLACE : 0;
	struct rtmsg *m = netlink_begin(q, type, flags, sizeof(*m));

	m->rtm_family = family_of(&dst->addr);
	m->rtm_dst_len = dst->len;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = LINK_PROTOCOL;
	m->rtm_type = kind;
	m->rtm_scope = scope;
	put_addr(q, RTA_DST, &dst->addr);
	if (metric)
		mnl_attr_put_u32(&q->head, RTA_PRIORITY, metric);
}

static int route_remove(struct link *l, struct netlink_message *q)
{
	int err;

	err = netlink_request(l->netlink, q, NULL, NULL);
	return err == -ESRCH || err == -ENOENT || err == -ENODEV ? 0 : err;
}

int link_route_add(struct link *l, int index, const struct prefix *dst, const struct addr *src,
                   uint32_t metric)
{
	struct netlink_message q;

	route_message(&q, RTM_NEWROUTE, RTN_UNICAST,
	              dst->addr.family == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE, dst, metric);
	mnl_attr_put_u32(&q.head, RTA_OIF, (uint32_t)index);
	if (src)
		put_addr(&q, RTA_PREFSRC, src);
	return netlink_request(l->netlink, &q, NULL, NULL);
}

int link_route_del(struct link *l, int index, const struct prefix *dst, uint32_t metric)
{
	struct netlink_message q;

	route_message(&q, RTM_DELROUTE, RTN_UNICAST, RT_SCOPE_NOWHERE, dst, metric);
	mnl_attr_put_u32(&q.head, RTA_OIF, (uint32_t)index);
	return route_remove(l, &q);
}

int link_unreachable_add(struct link *l, const struct prefix *dst, uint32_t metric)
{
	struct netlink_message q;

	route_message(&q, RTM_NEWROUTE, RTN_UNREACHABLE, RT_SCOPE_UNIVERSE, dst, metric);
	return netlink_request(l->netlink, &q, NULL, NULL);
}

int link_unreachable_del(struct link *l, const struct prefix *dst, uint32_t metric)
{
	struct netlink_message q;

	route_message(&q, RTM_DELROUTE, RTN_UNREACHABLE, RT_SCOPE_NOWHERE, dst, metric);
	/* IPv6 does not look at the type; the device tells it from a route through ours. */
	if (dst->addr.family == 6)
		mnl_attr_put_u32(&q.head, RTA_OIF, LOOPBACK_INDEX);
	return route_remove(l, &q);
}

struct route_wanted {
	int index;
	const struct prefix *dst;
	uint32_t metric;
	bool found;
};

static int route_compare(const struct nlmsghdr *h, void *arg)
{
	const struct nlattr *t[RTA_MAX + 1] = {0};
	struct netlink_attrs attrs = {t, RTA_MAX};
	const struct rtmsg *m = netlink_body(h, RTM_NEWROUTE, sizeof(*m));
	struct route_wanted *want = arg;

	if (!m)
		return MNL_CB_OK;
	if (m->rtm_family != family_of(&want->dst->addr) || m->rtm_dst_len != want->dst->len ||
	    m->rtm_table != RT_TABLE_MAIN || m->rtm_flags & RTM_F_CLONED || m->rtm_tos != 0 ||
	    m->rtm_type != (want->index ? RTN_UNICAST : RTN_UNREACHABLE))
		return MNL_CB_OK;
	netlink_parse(h, sizeof(*m), &attrs);
	if (m->rtm_dst_len != 0 && !is_addr(t[RTA_DST], &want->dst->addr))
		return MNL_CB_OK;
	if (netlink_u32(t[RTA_PRIORITY]) != want->metric)
		return MNL_CB_OK;
	want->found |= want->index == 0 || (int)netlink_u32(t[RTA_OIF]) == want->index;
	return MNL_CB_OK;
}

int link_route_stands(struct link *l, int index, const struct prefix *dst, uint32_t metric)
{
	struct route_wanted want = {index, dst, metric, false};
	struct netlink_message q;
	struct rtmsg *m;
	int err;

	if (metric == 0 && dst->addr.family == 6)
		want.metric = V6_METRIC;
	m = netlink_begin(&q, RTM_GETROUTE, 0, sizeof(*m));
	m->rtm_family = family_of(&dst->addr);
	m->rtm_table = RT_TABLE_MAIN;
	err = netlink_dump(l->netlink, &q, route_compare, &want);
	if (err == -ENOENT) /* no route was ever in the table */
		return 0;
	return err ? err : want.found;
}

static int source_take(const struct nlmsghdr *h, void *arg)
{
	const struct nlattr *t[RTA_MAX + 1] = {0};
	struct netlink_attrs attrs = {t, RTA_MAX};
	const struct rtmsg *m = netlink_body(h, RTM_NEWROUTE, sizeof(*m));
	struct addr a = {.family = 4};
	struct addr *out = arg;

	if (!m)
		return MNL_CB_OK;
	if (m->rtm_type != RTN_UNICAST && m->rtm_type != RTN_LOCAL)
		return MNL_CB_OK;
	netlink_parse(h, sizeof(*m), &attrs);
	if (m->rtm_family == AF_INET6)
		a.family = 6;
	if (!t[RTA_PREFSRC] || mnl_attr_get_payload_len(t[RTA_PREFSRC]) != size_of(&a))
		return MNL_CB_OK;
	memcpy(a.b, mnl_attr_get_payload(t[RTA_PREFSRC]), size_of(&a));
	*out = a;
	return MNL_CB_OK;
}

int link_source(struct link *l, const struct addr *dst, struct addr *out)
{
	struct addr found = {0};
	struct netlink_message q;
	struct rtmsg *m;
	int err;

	m = netlink_begin(&q, RTM_GETROUTE, 0, sizeof(*m));
	m->rtm_family = family_of(dst);
	m->rtm_dst_len = (unsigned char)(size_of(dst) * 8);
	put_addr(&q, RTA_DST, dst);
	err = netlink_request(l->netlink, &q, source_take, &found);
	/* What unreachable, prohibit and blackhole routes answer. */
	if (err == -EHOSTUNREACH || err == -EACCES || err == -EINVAL)
		return -ENETUNREACH;
	if (err)
		return err;
	if (found.family == 0)
		return -ENETUNREACH;
	*out = found;
	return 0;
}

/* -- sysctls -- */

static bool key_ok(const char *key)
{
	size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return n > 0 && key[n] == '\0';
}

static int number_read(int fd, int *out)
{
	char text[SYSCTL_VALUE + 1], *end;
	ssize_t n;
	long v;

	n = pread(fd, text, SYSCTL_VALUE, 0);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	errno = 0;
	v = strtol(text, &end, 10);
	if (end == text || (*end != '\0' && *end != '\n') || errno || v < INT_MIN || v > INT_MAX)
		return -EBADMSG;
	*out = (int)v;
	return 0;
}

int link_sysctl(const char *family, const char *name, const char *key, int value, int *old)
{
	char path[SYSCTL_PATH_MAX], text[SYSCTL_VALUE];
	int fd, len, err = 0;
	ssize_t n;

	if ((strcmp(family, "ipv4") != 0 && strcmp(family, "ipv6") != 0) || !link_name_ok(name) ||
	    !key_ok(key))
		return -EINVAL;
	len = snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, name, key);
	if (len < 0 || (size_t)len >= sizeof(path))
		return -EINVAL;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (old)
		err = number_read(fd, old);
	if (err)
		goto out;
	len = snprintf(text, sizeof(text), "%d\n", value);
	n = pwrite(fd, text, (size_t)len, 0);
	if (n != len)
		err = n < 0 ? -errno : -EIO;
out:
	close(fd);
	return err;
}
