/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The one way to take the guards away. It works with a dead daemon, too: what is to be removed
 * stands in node.json or in the config, and in what the last ginneld remembered. Both folders are held from the moment that ginneld is gone,
 * so that none starts in between and finds half a guard.
 */
#include "gateway/programs/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gateway/privsep/folder.h"
#include "gateway/privsep/guarded.h"
#include "gateway/privsep/parent.h"

#define STOP_WAIT_MS 10000
#define STOP_STEP_MS 20
#define WHY_MAX      512

/* Held by a ginneld? Held by us after, if not. */
static bool taken(int state, int run)
{
	char why[WHY_MAX];

	if (run < 0) /* no such folder: the state folder's lock alone tells */
		return folder_lock(state) == -EBUSY;
	return parent_lock(state, run, why, sizeof(why)) == -EBUSY;
}

static int stop_daemon(const struct cmd *c, int state, int run)
{
	const struct timespec step = {.tv_nsec = STOP_STEP_MS * 1000000L};
	json_t *answer = NULL;
	int ret;

	ret = cmd_control_ask(c, "admin", json_pack("{s:s}", "cmd", "down"), &answer);
	json_decref(answer);
	if (ret != CMD_OK)
		return ret;
	for (int ms = 0; taken(state, run); ms += STOP_STEP_MS) {
		if (ms >= STOP_WAIT_MS) {
			fault("ginneld was told to stop and is still there", "look at its log",
			      "down");
			return CMD_FAILED;
		}
		nanosleep(&step, NULL);
	}
	return CMD_OK;
}

/* With one's own PKI the config says it all; the certificate may be gone by now. */
static int static_node(struct node *out, const struct config *config)
{
	struct cert_info own = {.role = ROLE_NODE, .cluster = "local"};
	char why[WHY_MAX] = "";

	snprintf(own.node, sizeof(own.node), "%s", config->name[0] ? config->name : "local");
	if (node_from_config(out, config, &own, why, sizeof(why)) == 0)
		return CMD_OK;
	fault(why, NULL, "%s", config->path);
	return CMD_FAILED;
}

static int remove_guards(const struct cmd *c, const struct config *config, int state)
{
	struct node *node = calloc(1, sizeof(*node));
	char why[WHY_MAX] = "out of memory";
	struct guard_plan plan;
	int ret = CMD_FAILED;

	if (!node) {
		fault(why, NULL, "down");
		return CMD_FAILED;
	}
	if ((config_is_static(config) ? static_node(node, config) : cmd_node(c, node)) != CMD_OK)
		goto out;
	if (guard_plan_make(&plan, node, config, why, sizeof(why)) == 0) {
		plan.state_dir = state;
		if (guarded_down(&plan, why, sizeof(why)) == 0)
			ret = CMD_OK;
	}
	if (ret != CMD_OK)
		fault(why, NULL, "the guards are not all removed");
out:
	free(node);
	return ret;
}

/* Locks are taken in the state and the run folder where these are. */
static int down(const struct cmd *c, const struct config *config, int state)
{
	int run = open(c->run_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = CMD_OK;

	if (taken(state, run))
		ret = stop_daemon(c, state, run);
	if (ret == CMD_OK)
		ret = remove_guards(c, config, state);
	if (run >= 0)
		close(run);
	if (ret == CMD_OK && c->json)
		ret = cmd_print_json(json_object());
	return ret;
}

int cmd_down(struct cmd *c)
{
	struct config *config = calloc(1, sizeof(*config));
	int ret, state;

	if (!config) {
		fault("out of memory", NULL, "down");
		return CMD_FAILED;
	}
	if (geteuid() != 0) {
		fault("only root may", "use sudo", "down");
		free(config);
		return CMD_FAILED;
	}
	ret = cmd_config(c, config);
	if (ret == CMD_OK)
		ret = cmd_state_dir(c, &state);
	if (ret == CMD_OK) {
		ret = down(c, config, state);
		close(state);
	}
	config_clear(config);
	free(config);
	return ret;
}
