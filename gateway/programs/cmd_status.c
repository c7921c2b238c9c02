/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "gateway/drops.h"
#include "gateway/programs/cmd.h"
#include "gateway/programs/cmd_peers.h"

static void print_word(FILE *to, const char *text)
{
	cmd_print_text(to, text && *text ? text : "-");
}

static void print_head(FILE *to, const char *name)
{
	fprintf(to, "%-12s ", name);
}

static void print_line(FILE *to, const char *name, const char *text)
{
	print_head(to, name);
	print_word(to, text);
	fputc('\n', to);
}

static void print_list(FILE *to, const char *name, const json_t *list)
{
	size_t i, n = json_array_size(list);

	print_head(to, name);
	for (i = 0; i < n; i++) {
		if (i > 0)
			fputs(", ", to);
		print_word(to, json_string_value(json_array_get(list, i)));
	}
	fputs(n ? "\n" : "-\n", to);
}

static void print_state(FILE *to, const json_t *s)
{
	const json_t *reasons = json_object_get(s, "reasons");
	size_t i;

	print_line(to, "state", cmd_text(s, "state"));
	for (i = 0; i < json_array_size(reasons); i++)
		print_line(to, i ? "" : "because", json_string_value(json_array_get(reasons, i)));
}

static void print_address(FILE *to, const json_t *s)
{
	const char *six = cmd_text(s, "address6");
	const json_t *mtu = json_object_get(s, "mtu");

	print_head(to, "address");
	print_word(to, cmd_text(s, "address"));
	if (six) {
		fputs(", ", to);
		print_word(to, six);
	}
	fputs(" on ", to);
	print_word(to, cmd_text(s, "device"));
	if (json_is_integer(mtu))
		fprintf(to, ", MTU %lld", (long long)json_integer_value(mtu));
	fputc('\n', to);
}

static void print_manager(FILE *to, const json_t *m, time_t now)
{
	bool reachable = json_is_true(json_object_get(m, "reachable"));
	char since[32];

	if (!json_is_object(m))
		return; /* static peers: there is none */
	cmd_ago(since, cmd_text(m, "since"), now);
	print_head(to, "manager");
	print_word(to, cmd_text(m, "name"));
	fprintf(to, ", %sreachable for %s\n", reachable ? "" : "not ", since);
}

static void print_certificate(FILE *to, const json_t *c, time_t now)
{
	const char *end = cmd_text(c, "not_after");
	char left[32];

	if (!json_is_object(c))
		return;
	cmd_ago(left, end, now);
	print_head(to, "certificate");
	fputs("ends ", to);
	print_word(to, end);
	fprintf(to, " (%s%s), serial ", left, strncmp(left, "in ", 3) ? " ago" : "");
	print_word(to, cmd_text(c, "serial"));
	fputc('\n', to);
}

static void print_revocations(FILE *to, const json_t *l)
{
	if (!json_is_object(l))
		return;
	print_head(to, "revocations");
	fprintf(to, "list %lld, confirmed %lld s ago\n",
	        (long long)json_integer_value(json_object_get(l, "number")),
	        (long long)json_integer_value(json_object_get(l, "age_s")));
}

static const char *drop_meaning(const char *name)
{
	int why;

	for (why = DROP_NONE + 1; why < DROP_COUNT; why++)
		if (!strcmp(drop_name((enum drop)why), name))
			return drop_text((enum drop)why);
	return "";
}

/* Those that are not zero, with what they mean. */
static int print_drops(FILE *to, json_t *drops)
{
	static const char *const heads[] = {"DROPPED", "PACKETS", "MEANING", NULL};
	struct cmd_table *t;
	const char *name;
	bool any = false;
	json_t *count;
	int err;

	err = cmd_table_new(&t, heads);
	if (err)
		return err;
	json_object_foreach(drops, name, count) {
		if (err || json_integer_value(count) <= 0)
			continue;
		any = true;
		err = cmd_table_cell(t, name);
		if (!err)
			err = cmd_table_cellf(t, "%lld", (long long)json_integer_value(count));
		if (!err)
			err = cmd_table_cell(t, drop_meaning(name));
	}
	if (!err && any) {
		fputc('\n', to);
		cmd_table_print(t, to);
	}
	cmd_table_free(t);
	return err;
}

static int status_print(FILE *to, const json_t *s, time_t now)
{
	int err;

	print_line(to, "node", cmd_text(s, "node"));
	print_line(to, "cluster", cmd_text(s, "cluster"));
	print_line(to, "role", cmd_text(s, "role"));
	print_line(to, "version", cmd_text(s, "version"));
	print_state(to, s);
	print_address(to, s);
	print_list(to, "prefixes", json_object_get(s, "prefixes"));
	print_manager(to, json_object_get(s, "manager"), now);
	print_certificate(to, json_object_get(s, "cert"), now);
	print_revocations(to, json_object_get(s, "list"));
	fputc('\n', to);
	err = peers_print(to, json_object_get(s, "peers"), now);
	return err ? err : print_drops(to, json_object_get(s, "drops"));
}

int cmd_status(struct cmd *c)
{
	const char *state;
	json_t *answer;
	int ret;

	ret = cmd_control_ask(c, "control", json_pack("{s:s}", "cmd", "status"), &answer);
	if (ret != CMD_OK)
		return ret;
	state = cmd_text(answer, "state");
	if (!state) {
		fault("the answer names no state", "use a ginnel of the same version as ginneld",
		      "status");
		ret = CMD_FAILED;
	} else if (c->json) {
		ret = cmd_print_json(answer);
	} else if (status_print(stdout, answer, time(NULL))) {
		fault("out of memory", "try again", "status");
		ret = CMD_FAILED;
	}
	if (ret == CMD_OK && strcmp(state, "ready"))
		ret = CMD_DEGRADED;
	json_decref(answer);
	return ret;
}
