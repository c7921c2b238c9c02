/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tokens, asked of the ca process on its own socket. */
#include "gateway/programs/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "gateway/privsep/operator.h"

/* -- token create ----------------------------------------------------------------------------- */

/* "90s", "30m", "1h", "2d" */
static int read_ttl(const char *text, json_int_t *out)
{
	static const struct {
		char unit;
		long seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	size_t digits = strspn(text, "0123456789");
	long n;

	if (digits < 1 || digits > 6 || strlen(text) != digits + 1)
		return -EINVAL;
	n = strtol(text, NULL, 10);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (text[digits] == units[i].unit) {
			*out = n * units[i].seconds;
			return *out >= 1 && *out <= OPERATOR_TTL_MAX ? 0 : -ERANGE;
		}
	return -EINVAL;
}

static int read_labels(const struct cmd *c, json_t *out)
{
	struct cert_labels l = {0};
	unsigned i = 0;
	const char *text;
	int err;

	while ((text = cmd_value_next(c, "label", &i))) {
		err = cert_labels_add(&l, text);
		if (err) {
			fault(err == -E2BIG ? "there are too many"
			                    : "not K=V, each 1 to 63 letters and digits with - _ . "
			                      "between (and / in K)",
			      "leave it out or mend it", "token create: --label \"%s\"", text);
			return CMD_FAILED;
		}
	}
	for (unsigned n = 0; n < l.n; n++)
		json_object_set_new(out, l.at[n].key, json_string(l.at[n].value));
	return CMD_OK;
}

/* Nothing goes out that is not known to be text: the ca judges the rest. */
static json_t *create_question(const struct cmd *c)
{
	const char *ttl = cmd_value(c, "ttl"), *role = cmd_value(c, "role");
	const char *name = cmd_value(c, "name");
	json_int_t seconds = OPERATOR_TTL_DEFAULT;
	enum cert_role known;
	json_t *labels;
	int err;

	if (role && cert_role_parse(&known, role)) {
		fault("no such role", "leave it out for a node", "token create: --role \"%s\"",
		      role);
		return NULL;
	}
	if (name && !cert_name_ok(name)) {
		fault("a node's name is a lower case DNS label: a-z, 0-9 and - inside, at most 63 "
		      "characters",
		      "choose another", "token create: --name \"%s\"", name);
		return NULL;
	}
	err = ttl ? read_ttl(ttl, &seconds) : 0;
	if (err) {
		fault(err == -ERANGE ? "not between 1s and 7d" : "no time",
		      "write it like 90s, 30m, 1h or 2d", "token create: --ttl \"%s\"", ttl);
		return NULL;
	}
	labels = json_object();
	if (!labels || read_labels(c, labels) != CMD_OK) {
		json_decref(labels);
		return NULL;
	}
	return json_pack("{s:s,s:s?,s:s?,s:o,s:I}", "cmd", "token-create", "role", role, "name",
	                 name, "labels", labels, "ttl_s", seconds);
}

/* Past stdio, whose buffer nobody wipes. */
static int print_token(const char *token)
{
	struct iovec parts[2] = {
		{.iov_base = (void *)(uintptr_t)token, .iov_len = strlen(token)},
		{.iov_base = (void *)(uintptr_t) "\n", .iov_len = 1},
	};
	ssize_t n;

	do
		n = writev(STDOUT_FILENO, parts, 2);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)(parts[0].iov_len + 1))
		return CMD_OK;
	fault(n < 0 ? strerrordesc_np(errno) : "it takes no more",
	      "the token stands, but nobody has it: "
	      "revoke it, see `ginnel token list`",
	      "token create: standard output");
	return CMD_FAILED;
}

int cmd_token_create(struct cmd *c)
{
	json_t *question = create_question(c), *answer;
	const char *token;
	int code;

	if (!question)
		return CMD_FAILED;
	code = cmd_ca_ask(c, "token create", question, &answer);
	if (code != CMD_OK)
		return code;
	token = cmd_text(answer, "token");
	if (!token) {
		fault("the answer holds no token", "use a ginnel of the same version as ginneld",
		      "token create");
		code = CMD_FAILED;
	} else if (c->json) {
		code = cmd_print_json(answer);
	} else {
		code = print_token(token);
	}
	if (token)
		secret_wipe((void *)(uintptr_t)token, strlen(token));
	json_decref(answer);
	return code;
}

/* -- token list, token revoke ----------------------------------------------------------------- */

/* Times in UTC of one form sort as text. */
static const char *state_of(const json_t *t, const char *now)
{
	const char *expires = cmd_text(t, "expires");

	if (json_is_true(json_object_get(t, "used")))
		return "used";
	if (json_is_true(json_object_get(t, "revoked")))
		return "revoked";
	return expires && strcmp(expires, now) <= 0 ? "expired" : "unused";
}

static void labels_text(const json_t *labels, char *out, size_t max)
{
	const char *key;
	json_t *value;
	size_t at = 0;

	out[0] = '\0';
	json_object_foreach((json_t *)(uintptr_t)labels, key, value) {
		const char *v = json_string_value(value);

		if (at < max)
			at += (size_t)snprintf(out + at, max - at, "%s%s=%s", at ? "," : "", key,
			                       v ? v : "?");
	}
}

static int list_row(struct cmd_table *t, const json_t *token, const char *now)
{
	static const char *const keys[] = {"id", "role", "name", "expires", "created_by"};
	char labels[512];
	int err = 0;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && !err; i++)
		err = cmd_table_cell(t, cmd_text(token, keys[i]));
	if (!err)
		err = cmd_table_cell(t, state_of(token, now));
	if (!err)
		err = cmd_table_cell(t, cmd_text(token, "used_by"));
	labels_text(json_object_get(token, "labels"), labels, sizeof(labels));
	return err ? err : cmd_table_cell(t, labels);
}

static int list_print(const json_t *tokens)
{
	static const char *const heads[] = {"ID",    "ROLE",    "NAME",   "EXPIRES", "BY",
	                                    "STATE", "USED BY", "LABELS", NULL};
	time_t wall = time(NULL);
	struct cmd_table *t;
	char now[32] = "";
	struct tm tm;
	int err;

	if (gmtime_r(&wall, &tm))
		strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (!json_array_size(tokens)) {
		puts("no tokens");
		return CMD_OK;
	}
	err = cmd_table_new(&t, heads);
	if (err)
		goto fail;
	for (size_t i = 0; i < json_array_size(tokens) && !err; i++)
		err = list_row(t, json_array_get(tokens, i), now);
	if (!err)
		cmd_table_print(t, stdout);
	cmd_table_free(t);
	if (!err)
		return CMD_OK;
fail:
	fault(strerrordesc_np(-err), NULL, "token list");
	return CMD_FAILED;
}

int cmd_token_list(struct cmd *c)
{
	json_t *answer;
	int code;

	code = cmd_ca_ask(c, "token list", json_pack("{s:s}", "cmd", "token-list"), &answer);
	if (code != CMD_OK)
		return code;
	code = c->json ? cmd_print_json(answer) : list_print(answer);
	json_decref(answer);
	return code;
}

int cmd_token_revoke(struct cmd *c)
{
	uint8_t id[TOKEN_ID_LEN];
	json_t *answer;
	int code;

	if (token_id_parse(id, c->args[0])) {
		fault("no token's ID, which is 16 hexadecimal digits", "see `ginnel token list`",
		      "token revoke: \"%s\"", c->args[0]);
		return CMD_FAILED;
	}
	code = cmd_ca_ask(c, "token revoke",
	                  json_pack("{s:s,s:s}", "cmd", "token-revoke", "id", c->args[0]), &answer);
	if (code != CMD_OK)
		return code;
	code = c->json ? cmd_print_json(answer) : CMD_OK;
	json_decref(answer);
	return code;
}
