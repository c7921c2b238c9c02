/* SPDX-License-Identifier: GPL-3.0-or-later */
/* rcu - liburcu's quiescent-state flavour, with what a race detector must be told of it.
 *
 * A thread that looks at snapshots registers, and leaves them by going offline before it sleeps. The
 * detector does not see into the library; without the two marks it would take each free for a race.
 */
#pragma once
#include <urcu-qsbr.h>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define RCU_LEFT(p)     __tsan_release(p)
#define RCU_ALL_LEFT(p) __tsan_acquire(p)
#else
#define RCU_LEFT(p)     ((void)(p))
#define RCU_ALL_LEFT(p) ((void)(p))
#endif

/* Reader: no snapshot found under p is looked at any more; the thread may sleep. */
static inline void rcu_leave(void *p)
{
	RCU_LEFT(p);
	rcu_thread_offline();
}

/* Reader: no snapshot found under p is looked at any more; the thread goes on. */
static inline void rcu_quiet(void *p)
{
	RCU_LEFT(p);
	rcu_quiescent_state();
}

/* Writer: every reader has left what p held before. */
static inline void rcu_wait(void *p)
{
	synchronize_rcu();
	RCU_ALL_LEFT(p);
}
