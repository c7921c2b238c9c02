/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Workloads: those that stand, and those that placement refused. */
#include "gateway/programs/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHORT_ID 12 /* digits of an id that people are shown */

static int by_name(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	static const char *const keys[] = {"name", "node", "id"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *p = cmd_text(x, keys[i]), *q = cmd_text(y, keys[i]);
		int order = strcmp(p ? p : "", q ? q : "");

		if (order)
			return order;
	}
	return 0;
}

/* A new list of the same objects, in order of name. NULL: no memory. */
static json_t *sorted(const json_t *list)
{
	size_t n = json_array_size(list);
	json_t **all = calloc(n + 1, sizeof(*all)), *out = all ? json_array() : NULL;

	for (size_t i = 0; out && i < n; i++)
		all[i] = json_array_get(list, i);
	if (out && n)
		qsort(all, n, sizeof(*all), by_name);
	for (size_t i = 0; out && i < n; i++)
		json_array_append(out, all[i]);
	free(all);
	return out;
}

static void join_text(char *out, size_t max, size_t *at, const char *key, const json_t *value)
{
	const char *v = json_string_value(value);

	if (*at < max)
		*at += (size_t)snprintf(out + *at, max - *at, "%s%s%s%s", *at ? "," : "",
		                        key ? key : "", key ? "=" : "", v ? v : "?");
}

static int row(struct cmd_table *t, const json_t *w, bool refused, time_t now)
{
	char addresses[512] = "", labels[512] = "", id[SHORT_ID + 1] = "", when[32];
	const char *key;
	size_t at = 0, i;
	json_t *v;
	int err;

	json_array_foreach(json_object_get(w, "addresses"), i, v)
		join_text(addresses, sizeof(addresses), &at, NULL, v);
	at = 0;
	json_object_foreach(json_object_get(w, "labels"), key, v)
		join_text(labels, sizeof(labels), &at, key, v);
	if (cmd_text(w, "id"))
		snprintf(id, sizeof(id), "%s", cmd_text(w, "id"));
	cmd_ago(when, cmd_text(w, refused ? "at" : "since"), now);
	err = cmd_table_cell(t, cmd_text(w, "name"));
	if (!err)
		err = cmd_table_cell(t, id);
	if (!err)
		err = cmd_table_cell(t, cmd_text(w, "node"));
	if (!err && refused)
		err = cmd_table_cell(t, cmd_text(w, "rule"));
	if (!err && !refused)
		err = cmd_table_cell(t, addresses);
	if (!err && !refused)
		err = cmd_table_cell(t, cmd_text(w, "network"));
	if (!err)
		err = cmd_table_cell(t, when);
	return err ? err : cmd_table_cell(t, labels);
}

static int print(const json_t *list, bool refused)
{
	static const char *const heads[] = {"NAME",    "ID",    "NODE",   "ADDRESS",
	                                    "NETWORK", "SINCE", "LABELS", NULL};
	static const char *const refused_heads[] = {"NAME", "ID",     "NODE", "RULE",
	                                            "AT",   "LABELS", NULL};
	time_t now = time(NULL);
	struct cmd_table *t;
	int err;

	if (json_array_size(list) == 0) {
		puts(refused ? "no refused workloads" : "no workloads");
		return 0;
	}
	err = cmd_table_new(&t, refused ? refused_heads : heads);
	if (err)
		return err;
	for (size_t i = 0; i < json_array_size(list) && !err; i++)
		err = row(t, json_array_get(list, i), refused, now);
	if (!err)
		cmd_table_print(t, stdout);
	cmd_table_free(t);
	return err;
}

int cmd_workloads(struct cmd *c)
{
	bool refused = cmd_flag(c, "refused");
	json_t *answer, *list;
	int code, err;

	code = cmd_control_ask(c, "control",
	                       json_pack("{s:s}", "cmd", refused ? "refused" : "workloads"),
	                       &answer);
	if (code != CMD_OK)
		return code;
	list = refused ? json_incref(answer) : sorted(answer);
	json_decref(answer);
	if (list && c->json) {
		code = cmd_print_json(list);
		json_decref(list);
		return code;
	}
	err = list ? print(list, refused) : -ENOMEM;
	json_decref(list);
	if (!err)
		return CMD_OK;
	fault(strerrordesc_np(-err), NULL, "workloads");
	return CMD_FAILED;
}
