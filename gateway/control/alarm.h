/* SPDX-License-Identifier: GPL-3.0-or-later */
/* alarm - calls control when so many seconds of the wall clock are over, or when somebody set that clock.
 *
 * What is bound to dates is looked at when it is due, not once a second: an idle node sleeps. A clock
 * that jumps would make any sleep wrong, so the kernel is asked to tell of it. Control's thread.
 */
#pragma once
#include <event2/event.h>
#include <time.h>

#define ALARM_FAR 3600 /* s: nothing is due, and so long it may sleep */

struct alarm;

int alarm_new(struct alarm **out, struct event_base *base, void (*fn)(void *arg), void *arg);
void alarm_free(struct alarm *a);
/* Instead of what was set before; in 0 seconds or fewer: from the loop's next turn. */
void alarm_set(struct alarm *a, time_t seconds);
