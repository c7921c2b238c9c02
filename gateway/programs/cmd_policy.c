/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/programs/cmd.h"
#include "gateway/tables/cases.h"
#include "gateway/tables/policy.h"

/* A file that was read, and what is to be said of it. */
struct file {
	char path[CONFIG_TEXT_MAX];
	char *text;
	size_t len;
	struct config_faults faults;
};

static const char *const actions[] = {[POLICY_ALLOW] = "allow", [POLICY_DENY] = "deny"};

/* NULL after saying so. */
static struct file *file_new(const char *path)
{
	struct file *f = calloc(1, sizeof(*f));

	if (f)
		snprintf(f->path, sizeof(f->path), "%s", path);
	else
		fault("out of memory", "try again", "%s", path);
	return f;
}

static void file_free(struct file *f)
{
	if (!f)
		return;
	free(f->text);
	free(f);
}

/* 0; -EINVAL with faults; -ENOMEM after saying so. */
static int file_policy(struct file *f, struct policy **out)
{
	int err = config_load_text(f->path, POLICY_BYTES_MAX, &f->text, &f->len, &f->faults);

	if (!err)
		err = policy_parse(out, f->path, f->text, f->len, &f->faults);
	if (err == -ENOMEM)
		fault("out of memory", "try again", "%s", f->path);
	return err;
}

/* -- policy check ------------------------------------------------------------------------------- */

static int report_check_json(const struct file *f, const struct policy *p)
{
	json_t *faults = p ? json_array() : cmd_faults_json(&f->faults);
	json_t *warnings = p ? cmd_faults_json(&f->faults) : json_array();
	json_t *document = json_pack("{s:s, s:b, s:o, s:o, s:o}", "file", f->path, "ok", p != NULL,
	                             "rules", p ? json_integer(policy_rules(p)) : json_null(),
	                             "faults", faults, "warnings", warnings);
	int ret = document ? cmd_print_json(document) : CMD_FAILED;

	json_decref(document);
	return p ? ret : CMD_FAILED;
}

static int report_check(const struct file *f, const struct policy *p)
{
	config_faults_print(&f->faults, stderr);
	if (!p)
		return CMD_FAILED;
	printf("%s: ok, %u %s", f->path, policy_rules(p), policy_rules(p) == 1 ? "rule" : "rules");
	if (f->faults.n)
		printf(", %u %s", f->faults.n, f->faults.n == 1 ? "warning" : "warnings");
	putchar('\n');
	return CMD_OK;
}

int cmd_policy_check(struct cmd *c)
{
	struct file *f = file_new(c->args[0]);
	struct policy *p = NULL;
	int ret = CMD_FAILED;

	if (f && file_policy(f, &p) != -ENOMEM)
		ret = c->json ? report_check_json(f, p) : report_check(f, p);
	policy_free(p);
	file_free(f);
	return ret;
}

/* -- policy test -------------------------------------------------------------------------------- */

/* The policy of a file of cases: the file itself, or the one that it names, from its own folder. */
static struct file *policy_file(const struct file *f, const struct cases *cases)
{
	const char *name = cases_policy(cases), *slash = strrchr(f->path, '/');
	char path[CONFIG_TEXT_MAX];
	int n;

	if (!name)
		return file_new(f->path);
	n = snprintf(path, sizeof(path), "%.*s%s",
	             *name != '/' && slash ? (int)(slash - f->path) + 1 : 0, f->path, name);
	if (n < (int)sizeof(path))
		return file_new(path);
	fault("its name is too long", "move it nearer to the cases", "%s", name);
	return NULL;
}

static char *subject_text(const struct cases *cases, uint32_t i, bool from)
{
	char *text = NULL;
	size_t n;
	FILE *to = open_memstream(&text, &n);

	if (!to)
		return NULL;
	cases_print(cases, i, from, to);
	fclose(to);
	return text;
}

static json_t *case_json(const struct cases *cases, uint32_t i, const struct policy *p,
                         const struct case_verdict *v)
{
	char ports[POLICY_PORTS_TEXT_MAX], *from = subject_text(cases, i, true);
	char *to = subject_text(cases, i, false);
	json_t *out;

	policy_ports_format(&v->ports, ports);
	out = json_pack("{s:s?, s:i, s:s?, s:s?, s:s?, s:s, s:s, s:s, s:b}", "name", v->name,
	                "line", (int)v->line, "from", from, "to", to, "port", v->any ? NULL : ports,
	                "expect", actions[v->expect], "verdict", actions[v->verdict.action], "rule",
	                policy_rule_name(p, v->verdict.rule), "ok", v->ok);
	free(from);
	free(to);
	return out;
}

static void print_failed(const struct file *f, const struct cases *cases, uint32_t i,
                         const struct policy *p, const struct case_verdict *v)
{
	char ports[POLICY_PORTS_TEXT_MAX];

	policy_ports_format(&v->ports, ports);
	fprintf(stderr, "%s:%u:%u: ", f->path, v->line, v->column);
	if (v->name) {
		cmd_print_text(stderr, v->name);
		fputs(": ", stderr);
	}
	cases_print(cases, i, true, stderr);
	fputs(" to ", stderr);
	cases_print(cases, i, false, stderr);
	fprintf(stderr, " %s: expected %s, but \"%s\" says %s\n", ports, actions[v->expect],
	        policy_rule_name(p, v->verdict.rule), actions[v->verdict.action]);
}

/* Judges all; results is an array to put them into, or NULL to print what fails. */
static uint32_t run_cases(const struct file *f, const struct cases *cases, const struct policy *p,
                          json_t *results)
{
	uint32_t i, failed = 0;
	struct case_verdict v;

	for (i = 0; i < cases_count(cases); i++) {
		cases_judge(cases, i, p, &v);
		failed += !v.ok;
		if (results)
			json_array_append_new(results, case_json(cases, i, p, &v));
		else if (!v.ok)
			print_failed(f, cases, i, p, &v);
	}
	return failed;
}

static int report_test(const struct cmd *c, const struct file *f, const struct file *of,
                       const struct cases *cases, const struct policy *p)
{
	json_t *results = c->json ? json_array() : NULL, *document;
	uint32_t failed = run_cases(f, cases, p, results);
	int ret = failed ? CMD_FAILED : CMD_OK;

	if (!c->json) {
		printf("%s: %u %s, %u failed\n", f->path, cases_count(cases),
		       cases_count(cases) == 1 ? "case" : "cases", failed);
		return ret;
	}
	document = json_pack("{s:s, s:s, s:b, s:o, s:[]}", "file", f->path, "policy", of->path,
	                     "ok", failed == 0, "cases", results, "faults");
	if (!document || cmd_print_json(document) != CMD_OK)
		ret = CMD_FAILED;
	json_decref(document);
	return ret;
}

/* Of one of the two files: neither is then tested. */
static int report_faults(const struct cmd *c, const struct file *f, const struct file *of)
{
	json_t *document;

	if (!c->json) {
		config_faults_print(&of->faults, stderr);
		return CMD_FAILED;
	}
	document = json_pack("{s:s, s:s?, s:b, s:[], s:o}", "file", f->path, "policy",
	                     of == f ? NULL : of->path, "ok", false, "cases", "faults",
	                     cmd_faults_json(&of->faults));
	if (document)
		cmd_print_json(document);
	json_decref(document);
	return CMD_FAILED;
}

static int test_policy(const struct cmd *c, const struct file *f, struct cases *cases)
{
	struct file *of = policy_file(f, cases);
	struct policy *p = NULL;
	int ret = CMD_FAILED, err = of ? file_policy(of, &p) : -ENOMEM;

	if (err == -EINVAL)
		ret = report_faults(c, f, of);
	else if (!err && cases_seal(cases, p))
		fault("out of memory", "try again", "%s", of->path);
	else if (!err)
		ret = report_test(c, f, of, cases, p);
	policy_free(p);
	file_free(of);
	return ret;
}

int cmd_policy_test(struct cmd *c)
{
	struct file *f = file_new(c->args[0]);
	struct cases *cases = NULL;
	int ret = CMD_FAILED, err;

	if (!f)
		return ret;
	err = config_load_text(f->path, POLICY_BYTES_MAX, &f->text, &f->len, &f->faults);
	if (!err)
		err = cases_parse(&cases, f->path, f->text, f->len, &f->faults);
	if (err == -ENOMEM)
		fault("out of memory", "try again", "%s", f->path);
	else
		ret = err ? report_faults(c, f, f) : test_policy(c, f, cases);
	cases_free(cases);
	file_free(f);
	return ret;
}
