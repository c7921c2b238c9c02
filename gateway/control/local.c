/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/control/local.h"

#include "gateway/control/uplink.h"
#include "gateway/h2.h"
#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

struct listing {
	struct evbuffer *to;
	bool any;
};

static int add_workload(void *arg, const struct workload *w)
{
	struct listing *l = arg;
	char *text = workload_text(w);
	int err = text && !evbuffer_add(l->to, l->any ? "," : "[", 1) &&
	                          !evbuffer_add(l->to, text, strlen(text))
	                  ? 0
	                  : -ENOMEM;

	l->any = true;
	free(text);
	return err;
}

int local_workloads(const struct control *c, struct evbuffer *to)
{
	struct listing l = {evbuffer_new(), false};
	int err = l.to ? control_workloads_each(c, add_workload, &l) : -ENOMEM;

	if (!err && (evbuffer_add_printf(l.to, l.any ? "]\n" : "[]\n") < 0 ||
	             evbuffer_add_buffer(to, l.to) < 0))
		err = -ENOMEM;
	if (l.to)
		evbuffer_free(l.to);
	return err;
}

static json_t *root_only(void)
{
	return json_pack("{s:s, s:s}", "error",
	                 "control: only root may add and remove workloads; use sudo", "reason",
	                 "root");
}

json_t *local_answer(struct control *c, const char *cmd, const json_t *question, bool root)
{
	bool add = !strcmp(cmd, "workload-add"), remove = !strcmp(cmd, "workload-remove");

	if ((add || remove) && !root)
		return root_only();
	if (add)
		return own_add(c, question);
	if (remove)
		return own_remove(c, question);
	if (!strcmp(cmd, "policy"))
		return edict_json(&c->edict);
	return NULL;
}

/* -- what the manager is asked ----------------------------------------------------------------- */

struct relay {
	struct control *control;
	struct uplink_question *question; /* NULL: none is under way */
	struct event *soon;               /* without a manager the answer is made from the loop */
	bool refused;                     /* it asks for refused placements */
	void (*fn)(void *arg, json_t *answer);
	void *arg;
};

static void relay_free(struct relay *r)
{
	if (r->question)
		uplink_forget(r->question);
	if (r->soon)
		event_free(r->soon);
	free(r);
}

void relay_cancel(struct relay *r)
{
	relay_free(r);
}

static void finish(struct relay *r, json_t *answer)
{
	void (*fn)(void *arg, json_t *a) = r->fn;
	void *arg = r->arg;

	relay_free(r);
	fn(arg, answer);
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
	struct relay *r = arg;

	(void)fd;
	(void)what;
	finish(r, r->refused ? own_refused_json(&r->control->own)
	                     : json_pack("{s:n, s:[], s:[], s:i}", "version", "waiting", "absent",
	                                 "more", 0));
}

static void on_answer(void *arg, int status, const char *body, size_t len)
{
	struct relay *r = arg;
	json_t *j = status == 200 ? h2_json(body, len) : NULL;
	json_t *a = r->refused ? json_object_get(j, "refused") : j;

	r->question = NULL;
	if (a)
		finish(r, json_incref(a));
	else
		event_active(r->soon, EV_TIMEOUT, 0);
	json_decref(j);
}

int relay_ask(struct relay **out, struct control *c, const char *cmd,
              void (*fn)(void *arg, json_t *answer), void *arg)
{
	bool refused = !strcmp(cmd, "refused");
	struct relay *r;

	if (!refused && strcmp(cmd, "confirmed") != 0)
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->control = c;
	r->refused = refused;
	r->fn = fn;
	r->arg = arg;
	r->soon = event_new(c->base, -1, 0, on_soon, r);
	if (!r->soon) {
		free(r);
		return -ENOMEM;
	}
	if (!c->uplink || uplink_ask(&r->question, c->uplink, "GET",
	                             refused ? "/v1/refused" : "/v1/confirmed", NULL, on_answer, r))
		event_active(r->soon, EV_TIMEOUT, 0);
	*out = r;
	return 0;
}
