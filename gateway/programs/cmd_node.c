/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Nodes, as operators see and change them. Acts go to the ca process, which decides; what came of them
 * is read from the engine, which hears it from the manager as every node does.
 */
#include "gateway/programs/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONFIRM_MS   10000 /* for the nodes to take a change over */
#define CONFIRM_STEP 100

/* -- node list -------------------------------------------------------------------------------- */

static int list_row(struct cmd_table *t, const json_t *n, time_t now)
{
	char labels[512] = "", seen[32];
	const char *key;
	json_t *value;
	size_t at = 0;
	int err;

	json_object_foreach(json_object_get(n, "labels"), key, value) {
		const char *v = json_string_value(value);

		if (at < sizeof(labels))
			at += (size_t)snprintf(labels + at, sizeof(labels) - at, "%s%s=%s",
			                       at ? "," : "", key, v ? v : "?");
	}
	cmd_ago(seen, cmd_text(n, "last_seen"), now);
	err = cmd_table_cell(t, cmd_text(n, "name"));
	if (!err)
		err = cmd_table_cell(t, cmd_text(n, "role"));
	if (!err)
		err = cmd_table_cell(t, cmd_text(n, "state"));
	if (!err)
		err = cmd_table_cell(t, cmd_text(n, "address"));
	if (!err)
		err = cmd_table_cell(
			t, json_string_value(json_array_get(json_object_get(n, "endpoints"), 0)));
	if (!err)
		err = cmd_table_cell(t, seen);
	if (!err)
		err = cmd_table_cell(t, cmd_text(n, "cert_not_after"));
	if (!err)
		err = cmd_table_cell(t, cmd_text(n, "version"));
	return err ? err : cmd_table_cell(t, labels);
}

static int list_print(const json_t *nodes)
{
	static const char *const heads[] = {"NAME",     "ROLE",      "STATE",     "ADDRESS",
	                                    "ENDPOINT", "LAST SEEN", "CERT ENDS", "VERSION",
	                                    "LABELS",   NULL};
	time_t now = time(NULL);
	struct cmd_table *t;
	int err;

	err = cmd_table_new(&t, heads);
	if (!err) {
		for (size_t i = 0; i < json_array_size(nodes) && !err; i++)
			err = list_row(t, json_array_get(nodes, i), now);
		if (!err)
			cmd_table_print(t, stdout);
		cmd_table_free(t);
	}
	if (!err)
		return CMD_OK;
	fault(strerrordesc_np(-err), NULL, "node list");
	return CMD_FAILED;
}

static int ask_nodes(const struct cmd *c, json_t **nodes)
{
	return cmd_control_ask(c, "control", json_pack("{s:s}", "cmd", "nodes"), nodes);
}

/* Keeps those that are to be shown, as they are to be shown. */
static void list_filter(json_t *nodes, bool pending)
{
	size_t i = 0;

	while (i < json_array_size(nodes)) {
		json_t *n = json_array_get(nodes, i);

		if (pending && !json_is_true(json_object_get(n, "pending"))) {
			json_array_remove(nodes, i);
			continue;
		}
		json_object_del(n, "pending");
		i++;
	}
}

int cmd_node_list(struct cmd *c)
{
	json_t *nodes;
	int code;

	code = cmd_on_manager(c, "node list");
	if (code == CMD_OK)
		code = ask_nodes(c, &nodes);
	if (code != CMD_OK)
		return code;
	list_filter(nodes, cmd_flag(c, "pending"));
	code = c->json ? cmd_print_json(nodes) : list_print(nodes);
	json_decref(nodes);
	return code;
}

/* -- node label ------------------------------------------------------------------------------- */

/* K=V, K-; the ca judges the rest. */
static int read_change(const char *text, json_t *set, json_t *drop)
{
	const char *eq = strchr(text, '=');
	size_t n = strlen(text);
	char key[CERT_LABEL_KEY_MAX + 1];

	if (eq && eq > text && (size_t)(eq - text) <= CERT_LABEL_KEY_MAX) {
		snprintf(key, sizeof(key), "%.*s", (int)(eq - text), text);
		return json_object_set_new(set, key, json_string(eq + 1)) ? -EINVAL : 0;
	}
	if (!eq && n > 1 && text[n - 1] == '-' && n - 1 <= CERT_LABEL_KEY_MAX)
		return json_array_append_new(drop, json_stringn(text, n - 1)) ? -EINVAL : 0;
	return -EINVAL;
}

static json_t *label_question(const struct cmd *c)
{
	json_t *set = json_object(), *drop = json_array();

	for (unsigned i = 1; i < c->nargs; i++) {
		if (!read_change(c->args[i], set, drop))
			continue;
		fault("neither K=V nor K-", "write zone=pci to set a label, zone- to take it away",
		      "node label: \"%s\"", c->args[i]);
		json_decref(set);
		json_decref(drop);
		return NULL;
	}
	return json_pack("{s:s, s:s, s:o, s:o}", "cmd", "node-label", "name", c->args[0], "set",
	                 set, "drop", drop);
}

/* Has the node a certificate that says so? 1 yes, 0 not yet, < 0 nobody knows. */
static int confirmed(const struct cmd *c, const char *name, const json_t *labels)
{
	const json_t *n;
	json_t *nodes;
	int yes = 0;

	if (ask_nodes(c, &nodes) != CMD_OK)
		return -EIO;
	for (size_t i = 0; i < json_array_size(nodes); i++) {
		n = json_array_get(nodes, i);
		if (cmd_text(n, "name") && !strcmp(cmd_text(n, "name"), name))
			yes = json_is_false(json_object_get(n, "pending")) &&
			      json_equal(json_object_get(n, "labels"), labels);
	}
	json_decref(nodes);
	return yes;
}

static bool wait_confirmed(const struct cmd *c, const char *name, const json_t *labels)
{
	const struct timespec step = {.tv_nsec = CONFIRM_STEP * 1000000L};
	int yes = confirmed(c, name, labels);

	for (int ms = 0; yes == 0 && ms < CONFIRM_MS; ms += CONFIRM_STEP) {
		nanosleep(&step, NULL);
		yes = confirmed(c, name, labels);
	}
	return yes > 0;
}

int cmd_node_label(struct cmd *c)
{
	json_t *question = label_question(c), *answer, *out;
	const json_t *labels;
	bool yes;
	int code;

	if (!question)
		return CMD_FAILED;
	code = cmd_ca_ask(c, "node label", question, &answer);
	if (code != CMD_OK)
		return code;
	labels = json_object_get(answer, "labels");
	yes = wait_confirmed(c, c->args[0], labels);
	if (!yes)
		fprintf(stderr,
		        "not confirmed yet: %s; it takes the labels over when it is back, see "
		        "ginnel node list --pending\n",
		        c->args[0]);
	if (c->json) {
		out = json_pack("{s:s, s:O, s:o}", "name", c->args[0], "labels", labels,
		                "unconfirmed", yes ? json_array() : json_pack("[s]", c->args[0]));
		code = cmd_print_json(out);
		json_decref(out);
	}
	json_decref(answer);
	return code;
}

/* -- node remove, node revoke ----------------------------------------------------------------- */

static int act(const struct cmd *c, const char *what, const char *cmd)
{
	json_t *answer;
	int code;

	code = cmd_ca_ask(c, what, json_pack("{s:s, s:s}", "cmd", cmd, "name", c->args[0]),
	                  &answer);
	if (code != CMD_OK)
		return code;
	code = c->json ? cmd_print_json(answer) : CMD_OK;
	json_decref(answer);
	return code;
}

int cmd_node_remove(struct cmd *c)
{
	return act(c, "node remove", "node-remove");
}

int cmd_node_revoke(struct cmd *c)
{
	return act(c, "node revoke", "node-revoke");
}

int cmd_node_drain(struct cmd *c)
{
	json_t *answer;
	int code;

	code = cmd_ca_ask(c, "node drain",
	                  json_pack("{s:s, s:s, s:b}", "cmd", "node-drain", "name", c->args[0],
	                            "off", cmd_flag(c, "undo")),
	                  &answer);
	if (code != CMD_OK)
		return code;
	code = c->json ? cmd_print_json(answer) : CMD_OK;
	json_decref(answer);
	return code;
}
