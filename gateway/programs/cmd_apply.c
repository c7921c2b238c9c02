/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The policy in force: applied by root on a manager, and shown. The document goes to the ca's socket as
 * a file beside the line, and from there to the manager process, which no node can tell such things.
 */
#include "gateway/programs/cmd.h"

#include "gateway/tables/policy.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CONFIRM_MS   10000 /* for the nodes to take it over */
#define CONFIRM_STEP 100

/* -- apply ------------------------------------------------------------------------------------- */

/* Checked here first, so that what is wrong is said by the file's own name, line and column. */
static int read_file(const char *path, char **text, size_t *len)
{
	struct config_faults *faults = calloc(1, sizeof(*faults));
	struct policy *p = NULL;
	int err = faults ? config_load_text(path, POLICY_BYTES_MAX, text, len, faults) : -ENOMEM;

	if (!err)
		err = policy_parse(&p, path, *text, *len, faults);
	policy_free(p);
	if (faults && err != -ENOMEM)
		config_faults_print(faults, stderr);
	else if (err)
		fault("out of memory", "try again", "%s", path);
	free(faults);
	return err ? CMD_FAILED : CMD_OK;
}

/* A file without a name. */
static int file_of(const char *text, size_t len)
{
	int fd = memfd_create("policy", MFD_CLOEXEC);
	size_t at = 0;
	ssize_t n;

	while (fd >= 0 && at < len) {
		n = write(fd, text + at, len - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			close(fd);
			return -EIO;
		}
		at += (size_t)n;
	}
	return fd < 0 ? -errno : fd;
}

static int send_document(const struct cmd *c, const char *text, size_t len, json_t **answer)
{
	int fd = file_of(text, len), code;

	if (fd < 0) {
		fault(strerrordesc_np(-fd), NULL, "policy apply");
		return CMD_FAILED;
	}
	code = cmd_ca_ask_file(
		c, "policy apply",
		json_pack("{s:s, s:I}", "cmd", "policy-apply", "len", (json_int_t)len), fd, answer);
	close(fd);
	return code;
}

static void append(json_t *to, const json_t *from)
{
	for (size_t i = 0; i < json_array_size(from); i++)
		json_array_append(to, json_array_get(from, i));
}

/* Who has not confirmed that version. NULL: nobody can say. *over: nobody who is reachable is missing. */
static json_t *unconfirmed(const struct cmd *c, json_int_t version, bool *over)
{
	json_t *answer, *names = NULL;

	*over = false;
	if (cmd_control_ask(c, "control", json_pack("{s:s}", "cmd", "confirmed"), &answer) !=
	    CMD_OK)
		return NULL;
	if (json_integer_value(json_object_get(answer, "version")) >= version) {
		names = json_array();
		append(names, json_object_get(answer, "waiting"));
		*over = json_array_size(names) == 0;
		append(names, json_object_get(answer, "absent"));
	}
	json_decref(answer);
	return names;
}

static json_t *wait_confirmed(const struct cmd *c, json_int_t version)
{
	const struct timespec step = {.tv_nsec = CONFIRM_STEP * 1000000L};
	json_t *names, *last = NULL;
	bool over = false;

	for (int ms = 0; !over && ms <= CONFIRM_MS; ms += CONFIRM_STEP) {
		if (ms)
			nanosleep(&step, NULL);
		names = unconfirmed(c, version, &over);
		if (!names)
			continue; /* the manager is being started again */
		json_decref(last);
		last = names;
	}
	return last;
}

static void say_unconfirmed(const json_t *names)
{
	size_t i;
	json_t *v;

	if (!names) {
		fputs("not confirmed yet: no manager answers; see ginnel status\n", stderr);
		return;
	}
	if (json_array_size(names) == 0)
		return;
	fputs("not confirmed yet: ", stderr);
	json_array_foreach(names, i, v) {
		fputs(i ? ", " : "", stderr);
		cmd_print_text(stderr, json_string_value(v));
	}
	fputs("; they take it over when they are back\n", stderr);
}

static int confirm(const struct cmd *c, json_int_t version)
{
	json_t *names = wait_confirmed(c, version), *out;
	int code = CMD_OK;

	say_unconfirmed(names);
	if (c->json) {
		out = json_pack("{s:I, s:o}", "version", version, "unconfirmed",
		                names ? json_incref(names) : json_null());
		code = cmd_print_json(out);
		json_decref(out);
	} else {
		printf("policy version %lld is in force\n", (long long)version);
	}
	json_decref(names);
	return code;
}

int cmd_policy_apply(struct cmd *c)
{
	json_t *answer = NULL;
	char *text = NULL;
	size_t len;
	int code;

	code = cmd_on_manager(c, "policy apply");
	if (code == CMD_OK)
		code = read_file(c->args[0], &text, &len);
	if (code == CMD_OK)
		code = send_document(c, text, len, &answer);
	free(text);
	if (code != CMD_OK)
		return code;
	code = confirm(c, json_integer_value(json_object_get(answer, "version")));
	json_decref(answer);
	return code;
}

/* -- show -------------------------------------------------------------------------------------- */

int cmd_policy_show(struct cmd *c)
{
	const char *document;
	json_t *answer;
	int code;

	code = cmd_on_manager(c, "policy show");
	if (code == CMD_OK)
		code = cmd_control_ask(c, "control", json_pack("{s:s}", "cmd", "policy"), &answer);
	if (code != CMD_OK)
		return code;
	document = cmd_text(answer, "document");
	if (c->json) {
		code = cmd_print_json(answer);
	} else if (!document) {
		puts("# no policy was applied: all may talk to all");
	} else {
		/* A comment of YAML's, so that the whole can be applied again. */
		printf("# version %lld, applied %s by %s\n%s",
		       (long long)json_integer_value(json_object_get(answer, "version")),
		       cmd_text(answer, "applied_at"), cmd_text(answer, "by"), document);
	}
	json_decref(answer);
	return code;
}
