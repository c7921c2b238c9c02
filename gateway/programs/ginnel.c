/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The operator's tool: a table of commands, and the command line read by it. What a command takes
 * stands in its row alone; help, completion's tests and the errors about it are made from there.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/programs/cmd.h"

#define WORDS_MAX  64
#define VAL_GLOBAL 256 /* of getopt_long: behind any character */
#define VAL_OWN    512

/* -- the table -------------------------------------------------------------------------------- */

static const struct cmd_option globals[] = {
	{"config", "F", false, "the config file; default " CMD_CONFIG_DEFAULT ", if it is there"},
	{"state", "DIR", false, "the state folder; default $GINNEL_STATE or " CMD_STATE_DEFAULT},
	{"run", "DIR", false,
         "the folder of ginneld's sockets; default $GINNEL_RUN or " CMD_RUN_DEFAULT},
	{"json", NULL, false, "one JSON document on stdout, for programs"},
	{"help", NULL, false, "what a command does and takes"},
	{0},
};

enum global { GLOBAL_CONFIG, GLOBAL_STATE, GLOBAL_RUN, GLOBAL_JSON, GLOBAL_HELP, GLOBAL_COUNT };

static const struct cmd_option init_options[] = {
	{"cluster", "C", false, "its name, a lower case DNS label; default ginnel"},
	{"name", "N", false, "this node's name; default the config's, else the host's"},
	{"advertise", "ADDR[:PORT]", false,
         "where others reach this host; default the address towards the internet"},
	{"overlay", "CIDR[,CIDR]", false,
         "one of each family; default " NODE_OVERLAY_DEFAULT " and an IPv6 /48 of its own"},
	{"pools", "CIDR,...", false,
         "where container networks take their subnets; default " NODE_POOLS_DEFAULT},
	{0},
};

static const struct cmd_option token_options[] = {
	{"role", "R", false, "what joins with it; node, which is the default"},
	{"name", "N", false, "good for a node of this name alone; default any free one"},
	{"label", "K=V", true, "granted to the node that joins with it"},
	{"ttl", "T", false, "how long it is good, 90s, 30m, 1h or 2d, at most 7d; default 1h"},
	{0},
};

static const struct cmd_option join_options[] = {
	{"token-file", "F", false, "the token, in a file that others cannot read; - for stdin"},
	{"name", "N", false, "this node's name; default the config's, else the host's"},
	{"advertise", "ADDR[:PORT]", false,
         "where others reach this host; default the address towards the manager"},
	{0},
};

static const struct cmd_option list_options[] = {
	{"pending", NULL, false,
         "those alone that have not taken over the last change of their labels"},
	{0},
};

static const struct cmd_option drain_options[] = {
	{"undo", NULL, false, "take new workloads again"},
	{0},
};

static const struct cmd_option workloads_options[] = {
	{"refused", NULL, false, "those that placement refused, and by which rule"},
	{0},
};

static const struct cmd_option leave_options[] = {
	{"force", NULL, false, "also if no manager can be told"},
	{0},
};

static const struct cmd_option down_options[] = {
	{"force", NULL, false, "also while workloads stand, which then are cut off"},
	{0},
};

static const struct cmd_row rows[] = {
	{"init", NULL, "", 0, 0, "make a new cluster on this host", init_options, cmd_init},
	{"token", "create", "", 0, 0, "a token for one host to join with, alone on stdout",
         token_options, cmd_token_create},
	{"token", "list", "", 0, 0, "tokens, and which node used them", NULL, cmd_token_list},
	{"token", "revoke", "ID", 1, 1, "let nobody join with it", NULL, cmd_token_revoke},
	{"join", NULL, "MANAGER[:PORT]", 1, 1, "enrol this host in a cluster", join_options,
         cmd_join},
	{"leave", NULL, "", 0, 0, "take this host out of its cluster: what join did, undone",
         leave_options, cmd_leave},
	{"node", "list", "", 0, 0, "the cluster's nodes", list_options, cmd_node_list},
	{"node", "label", "NAME K=V... K-...", 2, 1 + 2 * CERT_LABELS_MAX,
         "set labels of a node, or take them away", NULL, cmd_node_label},
	{"node", "revoke", "NAME", 1, 1, "refuse a node's certificates everywhere, from now on",
         NULL, cmd_node_revoke},
	{"node", "drain", "NAME", 1, 1, "refuse new workloads on a node; running ones stay",
         drain_options, cmd_node_drain},
	{"node", "remove", "NAME", 1, 1, "take a node out of the cluster", NULL, cmd_node_remove},
	{"status", NULL, "", 0, 0,
         "how this node, its peers and its drops stand; exit 4 unless ready", NULL, cmd_status},
	{"peers", NULL, "", 0, 0, "the other nodes, and the sessions with them", NULL, cmd_peers},
	{"routes", NULL, "", 0, 0, "which prefix leads to which node", NULL, cmd_routes},
	{"workloads", NULL, "", 0, 0, "what runs in the cluster, on which node", workloads_options,
         cmd_workloads},
	{"policy", "check", "F", 1, 1, "read a policy, say all its faults and what is hardly meant",
         NULL, cmd_policy_check},
	{"policy", "test", "F", 1, 1, "does a policy say what the cases in F expect?", NULL,
         cmd_policy_test},
	{"policy", "apply", "F", 1, 1, "put a policy in force on all nodes", NULL,
         cmd_policy_apply},
	{"policy", "show", "", 0, 0, "the policy that is in force", NULL, cmd_policy_show},
	{"down", NULL, "", 0, 0, "stop ginneld and take the guards away", down_options, cmd_down},
	{"config", "check", "F", 1, 1,
         "read a config file and the identity it names, say all faults", NULL, cmd_config_check},
	{"version", NULL, "", 0, 0, "versions of ginnel, its cryptography and the kernel", NULL,
         cmd_version},
	{0},
};

/* -- help ------------------------------------------------------------------------------------- */

static void row_title(const struct cmd_row *row, char *out, size_t max)
{
	snprintf(out, max, "%s%s%s", row->name, row->sub ? " " : "", row->sub ? row->sub : "");
}

static void print_options(FILE *to, const struct cmd_option *o)
{
	char left[64];

	for (; o->name; o++) {
		snprintf(left, sizeof(left), "--%s%s%s%s", o->name, o->value ? " " : "",
		         o->value ? o->value : "", o->many ? "..." : "");
		fprintf(to, "  %-24s  %s\n", left, o->help);
	}
}

static void print_help(FILE *to)
{
	const struct cmd_row *row;
	char title[64];

	fputs("ginnel - encrypted, identity-based networking for container hosts\n\n"
	      "Usage: ginnel [OPTION]... COMMAND [OPTION]... [ARGUMENT]...\n\nCommands:\n",
	      to);
	for (row = rows; row->name; row++) {
		row_title(row, title, sizeof(title));
		fprintf(to, "  %-24s  %s\n", title, row->help);
	}
	fputs("\nOptions of all commands, before or after COMMAND:\n", to);
	print_options(to, globals);
	fputs("\nExit: 0 ok, 1 failed, 2 unknown command or option, 3 ginneld is not reachable,\n"
	      "4 (status) reachable but degraded or starting.\n"
	      "ginnel help COMMAND says more. Manual: ginnel(1), ginneld(8), ginnel.yaml(5).\n",
	      to);
}

static void print_row_help(const struct cmd_row *row)
{
	char title[64];

	row_title(row, title, sizeof(title));
	printf("ginnel %s - %s\n\nUsage: ginnel %s%s%s%s\n", title, row->help, title,
	       row->options ? " [OPTION]..." : "", *row->args ? " " : "", row->args);
	if (row->options) {
		fputs("\nOptions:\n", stdout);
		print_options(stdout, row->options);
	}
	fputs("\nOptions of all commands:\n", stdout);
	print_options(stdout, globals);
}

/* The help of one command, or of all that begin with this word. */
static int help_on(const char *name, const char *sub)
{
	const struct cmd_row *row;
	bool found = false;

	for (row = rows; row->name; row++) {
		if (strcmp(row->name, name) || (sub && row->sub && strcmp(row->sub, sub)))
			continue;
		if (found)
			putchar('\n');
		print_row_help(row);
		found = true;
	}
	return found ? CMD_OK : CMD_USAGE;
}

/* -- which command ---------------------------------------------------------------------------- */

static bool name_known(const char *name)
{
	const struct cmd_row *row;

	for (row = rows; row->name; row++)
		if (!strcmp(row->name, name))
			return true;
	return false;
}

/* First words if name is NULL, else the second words behind it. */
static void gather(const char *name, const char **words)
{
	const struct cmd_row *row;
	size_t n = 0;

	for (row = rows; row->name && n < WORDS_MAX - 2; row++) {
		if (name && (strcmp(row->name, name) || !row->sub))
			continue;
		if (!name && n > 0 && !strcmp(words[n - 1], row->name))
			continue;
		words[n++] = name ? row->sub : row->name;
	}
	if (!name)
		words[n++] = "help";
	words[n] = NULL;
}

static int unknown_command(const char *name, const char *sub)
{
	const char *words[WORDS_MAX], *near;
	char cure[128];

	gather(sub ? name : NULL, words);
	near = config_nearest(sub ? sub : name, words);
	if (near)
		snprintf(cure, sizeof(cure), "did you mean \"%s%s%s\"?", sub ? name : "",
		         sub ? " " : "", near);
	else
		snprintf(cure, sizeof(cure), "see ginnel help%s%s", sub ? " " : "",
		         sub ? name : "");
	fault("unknown command", cure, "%s%s%s", name, sub ? " " : "", sub ? sub : "");
	return CMD_USAGE;
}

static int incomplete_command(const char *name)
{
	const char *words[WORDS_MAX];
	char why[256] = "needs one of";
	size_t i;

	gather(name, words);
	for (i = 0; words[i]; i++)
		snprintf(why + strlen(why), sizeof(why) - strlen(why), "%s %s", i ? "," : "",
		         words[i]);
	fault(why, "see its help with --help", "%s", name);
	return CMD_USAGE;
}

/* The row that words (n of them) name; *used says how many did. */
static const struct cmd_row *row_find(char **words, int n, int *used)
{
	const struct cmd_row *row;

	for (row = rows; row->name; row++) {
		if (strcmp(row->name, words[0]))
			continue;
		*used = row->sub ? 2 : 1;
		if (!row->sub || (n > 1 && !strcmp(row->sub, words[1])))
			return row;
	}
	return NULL;
}

/* -- the command line ------------------------------------------------------------------------- */

struct line {
	struct cmd *c;
	bool help;
	bool given[GLOBAL_COUNT];
	const struct cmd_option *own; /* of the row; NULL before it is known */
	struct option *table;         /* for getopt_long */
};

static size_t options_count(const struct cmd_option *o)
{
	size_t n = 0;

	while (o && o[n].name)
		n++;
	return n;
}

static int build_table(struct line *l)
{
	size_t own = options_count(l->own), n = 0, i;

	free(l->table);
	l->table = calloc(GLOBAL_COUNT + own + 1, sizeof(*l->table));
	if (!l->table) {
		fault("out of memory", "try again", "command line");
		return CMD_FAILED;
	}
	for (i = 0; i < own; i++)
		l->table[n++] = (struct option){l->own[i].name,
		                                l->own[i].value ? required_argument : no_argument,
		                                NULL, VAL_OWN + (int)i};
	for (i = 0; i < GLOBAL_COUNT; i++)
		l->table[n++] = (struct option){globals[i].name,
		                                globals[i].value ? required_argument : no_argument,
		                                NULL, VAL_GLOBAL + (int)i};
	return CMD_OK;
}

static int unknown_option(const struct line *l, const char *arg)
{
	const char *words[WORDS_MAX], *near;
	char typed[64], cure[128] = "see ginnel --help";
	size_t n = 0, i;

	for (i = 0; i < options_count(l->own) && n < WORDS_MAX - 1 - GLOBAL_COUNT; i++)
		words[n++] = l->own[i].name;
	for (i = 0; i < GLOBAL_COUNT; i++)
		words[n++] = globals[i].name;
	words[n] = NULL;
	snprintf(typed, sizeof(typed), "%.*s", (int)strcspn(arg, "="), arg);
	near = !strncmp(typed, "--", 2) ? config_nearest(typed + 2, words) : NULL;
	if (near)
		snprintf(cure, sizeof(cure), "did you mean \"--%s\"?", near);
	else if (l->c->row)
		snprintf(cure, sizeof(cure), "see ginnel help %s", l->c->row->name);
	fault("unknown option", cure, "%s", typed);
	return CMD_USAGE;
}

static int take_global(struct line *l, enum global which, const char *value)
{
	if (l->given[which] && globals[which].value) {
		fault("given twice", "give it once", "--%s", globals[which].name);
		return CMD_FAILED;
	}
	l->given[which] = true;
	if (globals[which].value && !*value) {
		fault("is empty", "give it a name, or leave it out", "--%s", globals[which].name);
		return CMD_FAILED;
	}
	switch (which) {
	case GLOBAL_CONFIG:
		l->c->config_path = value;
		l->c->config_given = true;
		break;
	case GLOBAL_STATE:
		l->c->state_path = value;
		break;
	case GLOBAL_RUN:
		l->c->run_path = value;
		break;
	case GLOBAL_JSON:
		l->c->json = true;
		break;
	default:
		l->help = true;
		break;
	}
	return CMD_OK;
}

static int take_own(struct line *l, const struct cmd_option *o, const char *value)
{
	struct cmd *c = l->c;

	if (!o->many && cmd_flag(c, o->name)) {
		fault("given twice", "give it once", "--%s", o->name);
		return CMD_FAILED;
	}
	if (c->noptions == CMD_OPTIONS_MAX) {
		fault("too many options", "leave some out", "--%s", o->name);
		return CMD_FAILED;
	}
	c->options[c->noptions].option = o;
	c->options[c->noptions++].value = value;
	return CMD_OK;
}

/* The argument that an option was just read from. */
static const char *option_arg(char **argv)
{
	return optarg && optarg == argv[optind - 1] ? argv[optind - 2] : argv[optind - 1];
}

/* getopt_long also takes an unambiguous beginning of a name. A script that used one would break
 * with the next option that begins so; that is refused.
 */
static bool spelled_out(const char *arg, const char *name)
{
	return !strncmp(arg, "--", 2) && strcspn(arg + 2, "=") == strlen(name) &&
	       !strncmp(arg + 2, name, strlen(name));
}

static int take_option(struct line *l, int val, char **argv)
{
	const struct cmd_option *o;
	char letter[3];

	if (val == 'h') {
		l->help = true;
		return CMD_OK;
	}
	if (val == ':') {
		fault("needs a value", "see its help with --help", "%s", argv[optind - 1]);
		return CMD_FAILED;
	}
	if (val == '?' && optopt >= VAL_GLOBAL) {
		fault("takes no value", "leave the value out", "%.*s",
		      (int)strcspn(argv[optind - 1], "="), argv[optind - 1]);
		return CMD_FAILED;
	}
	if (val == '?' && optopt) {
		/* optind may still be at the argument that holds this letter. */
		snprintf(letter, sizeof(letter), "-%c", optopt);
		return unknown_option(l, letter);
	}
	if (val == '?')
		return unknown_option(l, argv[optind - 1]);
	o = val >= VAL_OWN ? &l->own[val - VAL_OWN] : &globals[val - VAL_GLOBAL];
	if (!spelled_out(option_arg(argv), o->name))
		return unknown_option(l, option_arg(argv));
	return val >= VAL_OWN ? take_own(l, o, optarg)
	                      : take_global(l, (enum global)(val - VAL_GLOBAL), optarg);
}

/* Global options up to the first word, which becomes *first. */
static int read_globals(struct line *l, int argc, char **argv, int *first)
{
	int val, ret = build_table(l);

	opterr = 0;
	optind = 0;
	/* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (ret == CMD_OK && (val = getopt_long(argc, argv, "+:h", l->table, NULL)) != -1)
		ret = take_option(l, val, argv);
	*first = optind;
	return ret;
}

/* Options and arguments behind the command's words; argv[0] is the last of those. */
static int read_rest(struct line *l, int argc, char **argv)
{
	struct cmd *c = l->c;
	int val, ret;

	l->own = c->row->options;
	ret = build_table(l);
	optind = 0;
	/* "-": in the order given, whatever POSIXLY_CORRECT says.
	 * One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (ret == CMD_OK && (val = getopt_long(argc, argv, "-:h", l->table, NULL)) != -1) {
		if (val == 1)
			c->args[c->nargs++] = optarg;
		else
			ret = take_option(l, val, argv);
	}
	while (ret == CMD_OK && optind < argc)
		c->args[c->nargs++] = argv[optind++]; /* behind "--" */
	return ret;
}

static int check_count(const struct cmd *c)
{
	char title[64], why[128];

	row_title(c->row, title, sizeof(title));
	if (c->nargs >= c->row->nargs_min && c->nargs <= c->row->nargs_max)
		return CMD_OK;
	if (c->nargs < c->row->nargs_min)
		snprintf(why, sizeof(why), "needs %s", c->row->args);
	else
		snprintf(why, sizeof(why), "takes %s%s", *c->row->args ? "only " : "no argument",
		         c->row->args);
	fault(why, "see its help with --help", "%s", title);
	return CMD_FAILED;
}

static int run(struct line *l, int argc, char **argv)
{
	struct cmd *c = l->c;
	int first, used = 1, n, ret;

	ret = read_globals(l, argc, argv, &first);
	if (ret != CMD_OK)
		return ret;
	n = argc - first;
	argv += first;
	if (n > 0 && !strcmp(argv[0], "help")) {
		l->help = true;
		ret = read_globals(l, n, argv, &first);
		if (ret != CMD_OK)
			return ret;
		n -= first;
		argv += first;
	}
	if (n == 0) {
		print_help(l->help ? stdout : stderr);
		return l->help ? CMD_OK : CMD_USAGE;
	}
	if (!name_known(argv[0]))
		return unknown_command(argv[0], NULL);
	c->row = row_find(argv, n, &used);
	if (!c->row && n > 1 && strcmp(argv[1], "--help") && strcmp(argv[1], "-h"))
		return argv[1][0] == '-' ? incomplete_command(argv[0])
		                         : unknown_command(argv[0], argv[1]);
	if (!c->row)
		return l->help || n > 1 ? help_on(argv[0], NULL) : incomplete_command(argv[0]);
	if (!l->help) {
		ret = read_rest(l, n - used + 1, argv + used - 1);
		if (ret != CMD_OK)
			return ret;
	}
	if (l->help)
		return help_on(c->row->name, c->row->sub);
	ret = check_count(c);
	return ret == CMD_OK ? c->row->run(c) : ret;
}

static const char *from_environment(const char *name, const char *otherwise)
{
	const char *s = getenv(name); /* NOLINT(concurrency-mt-unsafe): one thread */

	return s && *s ? s : otherwise;
}

int main(int argc, char **argv)
{
	struct cmd c = {
		.config_path = CMD_CONFIG_DEFAULT,
		.state_path = from_environment("GINNEL_STATE", CMD_STATE_DEFAULT),
		.run_path = from_environment("GINNEL_RUN", CMD_RUN_DEFAULT),
	};
	struct line l = {.c = &c};
	int ret = CMD_FAILED;

	c.args = calloc((size_t)argc + 1, sizeof(*c.args));
	if (c.args)
		ret = run(&l, argc, argv);
	else
		fault("out of memory", "try again", "command line");
	/* A full disk behind stdout must not look like success. */
	if (fflush(stdout) || ferror(stdout)) {
		fault(strerrordesc_np(errno), "make room, or print elsewhere", "stdout");
		ret = CMD_FAILED;
	}
	free(l.table);
	free(c.args);
	return ret;
}
