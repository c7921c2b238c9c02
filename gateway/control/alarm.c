/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/alarm.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* syscalls(engine): timerfd_create timerfd_settime read */

#define LATER_NS 10000000 /* time(2) goes by the last tick, which may lie so far back */

struct alarm {
	int fd;
	struct event *event;
	void (*fn)(void *arg);
	void *arg;
};

static void on_fd(evutil_socket_t fd, short what, void *arg)
{
	struct alarm *a = arg;
	uint64_t times;

	(void)what;
	if (read(fd, &times, sizeof(times)) < 0 && errno != ECANCELED && errno != EAGAIN)
		return;
	a->fn(a->arg);
}

int alarm_new(struct alarm **out, struct event_base *base, void (*fn)(void *arg), void *arg)
{
	struct alarm *a = calloc(1, sizeof(*a));
	int err;

	if (!a)
		return -ENOMEM;
	a->fn = fn;
	a->arg = arg;
	a->fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (a->fd < 0) {
		err = -errno;
		goto fail_fd;
	}
	a->event = event_new(base, a->fd, EV_READ | EV_PERSIST, on_fd, a);
	if (!a->event || event_add(a->event, NULL)) {
		err = -ENOMEM;
		goto fail_event;
	}
	*out = a;
	return 0;
fail_event:
	if (a->event)
		event_free(a->event);
	close(a->fd);
fail_fd:
	free(a);
	return err;
}

void alarm_free(struct alarm *a)
{
	if (!a)
		return;
	event_free(a->event);
	close(a->fd);
	free(a);
}

void alarm_set(struct alarm *a, time_t seconds)
{
	struct itimerspec at = {.it_value.tv_nsec = LATER_NS};

	if (seconds > ALARM_FAR)
		seconds = ALARM_FAR;
	at.it_value.tv_sec = time(NULL) + (seconds > 0 ? seconds : 0);
	/* The clock was set since it was last asked: what is due has to be reckoned anew. */
	if (timerfd_settime(a->fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL) < 0)
		event_active(a->event, EV_READ, 0);
}
