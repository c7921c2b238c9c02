/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/identity.h"
#include "gateway/programs/cmd.h"

#define WHY_MAX 1024

/* The files that identity names: there, closed to others, of one piece, and what the config says
 * of this node. 0, or -EINVAL with a line in why.
 */
static int check_identity(const struct config *c, char *why, size_t max)
{
	struct identity *id = calloc(1, sizeof(*id));
	struct node *node = calloc(1, sizeof(*node));
	int err = -1;

	if (!id || !node) {
		snprintf(why, max, "out of memory");
		goto done;
	}
	err = identity_load_files(id, c->cert, c->key, c->ca, time(NULL), why, max);
	if (err)
		goto done;
	err = node_from_config(node, c, &id->info, why, max);
	identity_clear(id);
done:
	free(id);
	free(node);
	return err;
}

static json_t *fault_list(const struct config_faults *f, const char *why)
{
	json_t *list = cmd_faults_json(f);

	if (*why)
		json_array_append_new(list, json_string(why));
	return list;
}

static int report(const struct cmd *c, const struct config_faults *f, const char *why)
{
	bool ok = f->n == 0 && !*why;
	json_t *document;
	int ret = ok ? CMD_OK : CMD_FAILED;

	if (c->json) {
		document = json_pack("{s:s, s:b, s:o}", "file", c->args[0], "ok", ok, "faults",
		                     fault_list(f, why));
		if (!document || cmd_print_json(document) != CMD_OK)
			ret = CMD_FAILED;
		json_decref(document);
		return ret;
	}
	config_faults_print(f, stderr);
	if (*why)
		fault(NULL, NULL, "%s", why);
	if (ok)
		printf("%s: ok\n", c->args[0]);
	return ret;
}

int cmd_config_check(struct cmd *c)
{
	struct config *config = calloc(1, sizeof(*config));
	struct config_faults *f = calloc(1, sizeof(*f));
	char why[WHY_MAX] = "";
	int ret = CMD_FAILED;

	if (!config || !f) {
		fault("out of memory", "try again", "%s", c->args[0]);
		goto done;
	}
	if (!config_load(config, f, c->args[0], true) && config_is_static(config) &&
	    check_identity(config, why, sizeof(why)) && !*why)
		snprintf(why, sizeof(why), "identity: cannot be used");
	ret = report(c, f, why);
	config_clear(config);
done:
	free(config);
	free(f);
	return ret;
}
