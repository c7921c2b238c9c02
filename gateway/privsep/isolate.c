/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Each step is checked by looking at what it left, not by its return code alone: a process that
 * believes it gave something up and did not is worse than one that does not start.
 */
#include "gateway/privsep/isolate.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

int isolate_user(const char *user, uid_t fallback, uid_t *uid, gid_t *gid)
{
	/* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const struct passwd *p = user ? getpwnam(user) : NULL;
	uid_t u = p ? p->pw_uid : fallback;
	gid_t g = p ? p->pw_gid : fallback;

	if (u == 0 || g == 0)
		return -EPERM;
	*uid = u;
	*gid = g;
	return 0;
}

/* No core with keys in it, no look by a debugger of the same uid, nothing gained by exec. */
static int seal(void)
{
	const struct rlimit none = {0, 0};

	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

static int keep(const unsigned *caps, size_t n)
{
	capng_clear(CAPNG_SELECT_ALL);
	for (size_t i = 0; i < n; i++)
		if (capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET,
		                 caps[i]) < 0)
			return -EINVAL;
	if (capng_apply(CAPNG_SELECT_ALL) < 0)
		return -EPERM;
	return 0;
}

/* Exactly these and no other, in every set that matters. */
static bool kept(const unsigned *caps, size_t n)
{
	if (capng_get_caps_process() < 0)
		return false;
	for (unsigned c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++) {
		bool wanted = false;

		for (size_t i = 0; i < n; i++)
			wanted |= caps[i] == c;
		if (!!capng_have_capability(CAPNG_EFFECTIVE, c) != wanted ||
		    !!capng_have_capability(CAPNG_PERMITTED, c) != wanted ||
		    !!capng_have_capability(CAPNG_BOUNDING_SET, c) != wanted ||
		    capng_have_capability(CAPNG_INHERITABLE, c) ||
		    capng_have_capability(CAPNG_AMBIENT, c))
			return false;
	}
	return true;
}

static int change_ids(uid_t uid, gid_t gid)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	if (getresuid(&r, &e, &s) < 0 || getresgid(&rg, &eg, &sg) < 0)
		return -errno;
	if (r != uid || e != uid || s != uid || rg != gid || eg != gid || sg != gid ||
	    getgroups(0, NULL) != 0)
		return -EPERM;
	return setuid(0) == 0 ? -EPERM : 0;
}

int isolate_child(uid_t uid, gid_t gid, int dir)
{
	int err;

	if (uid == 0 || gid == 0)
		return -EINVAL;
	/* The bounding set wants CAP_SETPCAP, so it goes while we are still uid 0; the other sets
	 * must last until the ids are changed.
	 */
	capng_get_caps_process();
	capng_clear(CAPNG_SELECT_BOUNDS);
	if (capng_apply(CAPNG_SELECT_BOUNDS) < 0)
		return -EPERM;
	err = change_ids(uid, gid);
	if (err)
		return err;
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0 || capng_apply(CAPNG_SELECT_AMBIENT) < 0 ||
	    !kept(NULL, 0))
		return -EPERM;
	if (dir >= 0 && fchdir(dir) < 0)
		return -errno;
	err = seal();
	if (err)
		return err;
	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? -errno : 0;
}

int isolate_parent(void)
{
	static const unsigned caps[] = {CAP_NET_ADMIN, CAP_SETUID, CAP_SETGID, CAP_SETPCAP,
	                                CAP_KILL};
	const size_t n = sizeof(caps) / sizeof(*caps);
	int err;

	if (geteuid() != 0)
		return -EPERM;
	err = keep(caps, n);
	if (err)
		return err;
	if (!kept(caps, n))
		return -EPERM;
	return seal();
}
