/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cmd - what every command of the operator's tool is given, and what all of them share.
 *
 * ginnel.c reads the command line by a table of rows and hands the one that was named a struct cmd
 * with all options parsed and counted; a command judges their values alone. A command says what
 * went wrong itself, by fault(), and returns how to exit. What it prints on stdout is for people,
 * or with --json one JSON document. One thread.
 */
#pragma once
#include "gateway/config.h"
#include "gateway/node.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#define CMD_OPTIONS_MAX       32 /* given at once, repetitions included */
#define CMD_ANSWER_MAX        ((size_t)64 << 20)
#define CMD_ANSWER_TIMEOUT_MS 10000
#define CMD_TABLE_COLUMNS_MAX 12

#define CMD_CONFIG_DEFAULT "/etc/ginnel/ginnel.yaml"
#define CMD_STATE_DEFAULT  "/var/lib/ginnel"
#define CMD_RUN_DEFAULT    "/run/ginnel"

/* DESIGN of the command line: scripts depend on these numbers. */
enum cmd_exit {
	CMD_OK = 0,
	CMD_FAILED = 1,
	CMD_USAGE = 2,       /* an unknown command or option, and nothing else */
	CMD_UNREACHABLE = 3, /* ginneld does not answer */
	CMD_DEGRADED = 4,    /* status and doctor alone: reachable, but degraded or starting */
};

struct cmd;

struct cmd_option {
	const char *name;  /* "token-file", without dashes */
	const char *value; /* what help calls its value: "F"; NULL: a flag */
	bool many;         /* may be given more than once */
	const char *help;
};

struct cmd_row {
	const char *name, *sub; /* "token", "create"; sub NULL: the command is one word */
	const char *args;       /* what help calls the arguments: "MANAGER[:PORT]"; "" : none */
	unsigned nargs_min, nargs_max;
	const char *help;                 /* one line */
	const struct cmd_option *options; /* ended by a NULL name; NULL: none */
	int (*run)(struct cmd *c);        /* enum cmd_exit */
};

struct cmd {
	const struct cmd_row *row;
	const char *config_path, *state_path, *run_path; /* never NULL */
	bool config_given;                               /* by --config: then it must be there */
	bool json;
	unsigned nargs; /* within the row's bounds */
	char **args;    /* left over after options */
	unsigned noptions;
	struct {
		const struct cmd_option *option;
		const char *value; /* NULL for a flag */
	} options[CMD_OPTIONS_MAX];
};

/* -- options -------------------------------------------------------------------------------- */

/* The value of --name, NULL if it was not given. */
const char *cmd_value(const struct cmd *c, const char *name);
bool cmd_flag(const struct cmd *c, const char *name);
/* The values of an option that may be given more than once, one after the other; *i is 0 at first.
 * NULL after the last.
 */
const char *cmd_value_next(const struct cmd *c, const char *name, unsigned *i);

/* -- config and state ------------------------------------------------------------------------ */

/* Reads the config file (--config, or the default one if it is there) and prints its faults.
 * CMD_OK or CMD_FAILED. out is the caller's to config_clear in any case.
 */
int cmd_config(const struct cmd *c, struct config *out);
/* node.json of the state folder, with words for each way it can fail. CMD_OK or CMD_FAILED. */
int cmd_node(const struct cmd *c, struct node *out);
/* The state folder, as it stands, O_DIRECTORY: for those who read. Who makes it calls
 * parent_open_state. CMD_OK, or CMD_FAILED after saying why.
 */
int cmd_state_dir(const struct cmd *c, int *fd);

/* -- asking a running ginneld ---------------------------------------------------------------- */

/* Sends question as one line to RUN/socket ("control", "admin", "ca") and reads one line of JSON.
 * Takes the reference of question. CMD_OK with *answer (the caller's to json_decref); else it was
 * said why: CMD_UNREACHABLE nobody listens or no answer came in time, CMD_FAILED refused, or the
 * answer was {"error": "what: why; what to do"}.
 */
int cmd_control_ask(const struct cmd *c, const char *socket, json_t *question, json_t **answer);

/* On a manager alone: CMD_FAILED elsewhere, after saying which hosts those are. */
int cmd_on_manager(const struct cmd *c, const char *what);
/* An operator's act, asked of the ca process: cmd_on_manager, then cmd_control_ask. question may be
 * NULL: there was no memory for it.
 */
int cmd_ca_ask(const struct cmd *c, const char *what, json_t *question, json_t **answer);
/* The same, with a file beside the line; fd stays the caller's. */
int cmd_ca_ask_file(const struct cmd *c, const char *what, json_t *question, int fd,
                    json_t **answer);

/* -- printing --------------------------------------------------------------------------------- */

/* One JSON document and a newline on stdout. CMD_OK or CMD_FAILED. */
int cmd_print_json(const json_t *document);
/* Those of a file, as far as they were kept, as an array of text. */
json_t *cmd_faults_json(const struct config_faults *f);

/* Strings of an answer for a terminal: control characters become '?'. */
void cmd_print_text(FILE *to, const char *text);

/* A table whose columns are as wide as their content. heads is ended by NULL. */
struct cmd_table;
int cmd_table_new(struct cmd_table **out, const char *const *heads);
void cmd_table_free(struct cmd_table *t);
/* The next cell, left to right, then the next row; NULL or "" shows as "-". */
int cmd_table_cell(struct cmd_table *t, const char *text);
int cmd_table_cellf(struct cmd_table *t, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void cmd_table_print(const struct cmd_table *t, FILE *to);

/* "42s", "17m", "3h", "5d": how long before now an RFC 3339 time was, or how long after it one is
 * (then with "in " before it). "-" if rfc3339 is NULL or none.
 */
void cmd_ago(char out[32], const char *rfc3339, time_t now);
/* "0 B", "1.5 KiB", "23 GiB". */
void cmd_bytes(char out[16], json_int_t n);

/* Member of an object as text, NULL if absent, null or no string. Borrowed. */
const char *cmd_text(const json_t *object, const char *key);

/* -- commands ---------------------------------------------------------------------------------- */

int cmd_init(struct cmd *c); /* cmd_init.c: --cluster --name --advertise --overlay --pools */
int cmd_join(struct cmd *c); /* cmd_join.c: --token-file --name --advertise; MANAGER[:PORT] */
int cmd_token_create(struct cmd *c); /* cmd_token.c: --role --name --label (many) --ttl */
int cmd_token_list(struct cmd *c);
int cmd_token_revoke(struct cmd *c); /* ID */
int cmd_node_list(struct cmd *c);    /* cmd_node.c: --pending */
int cmd_node_label(struct cmd *c);   /* NAME K=V... K-... */
int cmd_node_remove(struct cmd *c);  /* NAME */
int cmd_node_revoke(struct cmd *c);  /* NAME */
int cmd_node_drain(struct cmd *c);   /* --undo; NAME */
int cmd_leave(struct cmd *c);        /* cmd_leave.c: --force */
int cmd_down(struct cmd *c);         /* cmd_down.c: --force */
int cmd_status(struct cmd *c);
int cmd_peers(struct cmd *c);
int cmd_routes(struct cmd *c);
int cmd_workloads(struct cmd *c);    /* cmd_workload.c: --refused */
int cmd_policy_apply(struct cmd *c); /* cmd_apply.c: F */
int cmd_policy_show(struct cmd *c);
int cmd_version(struct cmd *c);
int cmd_config_check(struct cmd *c); /* F */
int cmd_policy_check(struct cmd *c); /* cmd_policy.c: F */
int cmd_policy_test(struct cmd *c);  /* F */
