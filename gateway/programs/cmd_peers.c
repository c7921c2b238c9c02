/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The tables of peers and routes. Whatever is null or missing shows as "-": what is printed is only
 * as sure as the answer, and a table must not end in the middle.
 */
#include "gateway/programs/cmd_peers.h"

#include <string.h>

#include "gateway/programs/cmd.h"

static json_int_t number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static bool has(const json_t *object, const char *key)
{
	return json_is_integer(json_object_get(object, key));
}

static int cell_bytes(struct cmd_table *t, const json_t *peer, const char *key)
{
	char text[16];

	if (!has(peer, key))
		return cmd_table_cell(t, NULL);
	cmd_bytes(text, number(peer, key));
	return cmd_table_cell(t, text);
}

static int cell_rtt(struct cmd_table *t, const json_t *peer)
{
	if (!has(peer, "rtt_us"))
		return cmd_table_cell(t, NULL);
	return cmd_table_cellf(t, "%.2f ms", (double)number(peer, "rtt_us") / 1000);
}

/* Why it is not up, or why it is on TLS. */
static const char *note(const json_t *peer)
{
	const char *state = cmd_text(peer, "state");

	if (state && !strcmp(state, "up"))
		return cmd_text(peer, "fallback_reason");
	return cmd_text(peer, "last_error");
}

static int peer_row(struct cmd_table *t, const json_t *peer, time_t now)
{
	char since[32];
	int err;

	cmd_ago(since, cmd_text(peer, "state_since"), now);
	err = cmd_table_cell(t, cmd_text(peer, "name"));
	if (!err)
		err = cmd_table_cell(t, cmd_text(peer, "state"));
	if (!err)
		err = cmd_table_cell(t, since);
	if (!err)
		err = cmd_table_cell(t, cmd_text(peer, "transport"));
	if (!err)
		err = cmd_table_cell(t, cmd_text(peer, "kex"));
	if (!err)
		err = cmd_table_cell(t, cmd_text(peer, "endpoint"));
	if (!err)
		err = cell_rtt(t, peer);
	if (!err)
		err = cell_bytes(t, peer, "rx_bytes");
	if (!err)
		err = cell_bytes(t, peer, "tx_bytes");
	return err ? err : cmd_table_cell(t, note(peer));
}

int peers_print(FILE *to, const json_t *peers, time_t now)
{
	static const char *const heads[] = {"PEER", "STATE",    "SINCE", "TRANSPORT",
	                                    "KEX",  "ENDPOINT", "RTT",   "RX",
	                                    "TX",   "NOTE",     NULL};
	struct cmd_table *t;
	size_t i;
	int err;

	if (json_array_size(peers) == 0) {
		fputs("no peers\n", to);
		return 0;
	}
	err = cmd_table_new(&t, heads);
	if (err)
		return err;
	for (i = 0; i < json_array_size(peers) && !err; i++)
		err = peer_row(t, json_array_get(peers, i), now);
	if (!err)
		cmd_table_print(t, to);
	cmd_table_free(t);
	return err;
}

static int out_of_memory(int err)
{
	if (err)
		fault("out of memory", "try again", "table");
	return err ? CMD_FAILED : CMD_OK;
}

int cmd_peers(struct cmd *c)
{
	json_t *answer;
	int ret;

	ret = cmd_control_ask(c, "control", json_pack("{s:s}", "cmd", "peers"), &answer);
	if (ret != CMD_OK)
		return ret;
	ret = c->json ? cmd_print_json(answer)
	              : out_of_memory(peers_print(stdout, answer, time(NULL)));
	json_decref(answer);
	return ret;
}

static int routes_print(FILE *to, const json_t *routes)
{
	static const char *const heads[] = {"PREFIX", "VIA", "SOURCE", NULL};
	struct cmd_table *t;
	size_t i, k;
	int err;

	if (json_array_size(routes) == 0) {
		fputs("no routes\n", to);
		return 0;
	}
	err = cmd_table_new(&t, heads);
	if (err)
		return err;
	for (i = 0; i < json_array_size(routes) && !err; i++) {
		static const char *const keys[] = {"prefix", "via", "source"};

		for (k = 0; k < 3 && !err; k++)
			err = cmd_table_cell(t, cmd_text(json_array_get(routes, i), keys[k]));
	}
	if (!err)
		cmd_table_print(t, to);
	cmd_table_free(t);
	return err;
}

int cmd_routes(struct cmd *c)
{
	json_t *answer;
	int ret;

	ret = cmd_control_ask(c, "control", json_pack("{s:s}", "cmd", "routes"), &answer);
	if (ret != CMD_OK)
		return ret;
	ret = c->json ? cmd_print_json(answer) : out_of_memory(routes_print(stdout, answer));
	json_decref(answer);
	return ret;
}
