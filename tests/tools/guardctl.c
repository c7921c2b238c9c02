/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The guard alone, without a daemon: for tests of what it lets through.
 *
 *   guardctl up|hold|down|stands DEVICE GUARDED,… OWN,… INTERFACE,…|- [STATE_DIR]
 *
 * up leaves it standing and exits. hold prints "up", then keeps it standing until a signal, and
 * prints a line for each time that something was missing.
 */
#include "gateway/privsep/guard.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int prefixes(char *list, struct prefix *out, unsigned *n, unsigned max)
{
	char *save = NULL;

	for (char *t = strtok_r(list, ",", &save); t; t = strtok_r(NULL, ",", &save))
		if (*n >= max || prefix_parse(&out[(*n)++], t) < 0)
			return -1;
	return 0;
}

static int interfaces(char *list, struct config *c)
{
	char *save = NULL;

	if (strcmp(list, "-") == 0)
		return 0;
	for (char *t = strtok_r(list, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		if (c->ninterfaces >= CONFIG_INTERFACES_MAX || strlen(t) > 15)
			return -1;
		strcpy(c->interfaces[c->ninterfaces++], t);
	}
	return 0;
}

static _Noreturn void hold(struct guard *g)
{
	struct pollfd p = {.fd = guard_watch_fd(g), .events = POLLIN};
	char why[512];

	puts("up");
	for (;;) {
		int found = poll(&p, 1, -1) < 0 ? 0 : guard_watch(g, why, sizeof(why));

		if (found)
			printf("%d %s\n", found, found < 0 ? why : "put back");
	}
}

int main(int argc, char **argv)
{
	static struct config c;
	static struct node n;
	struct guard_plan p;
	struct guard *g = NULL;
	char why[512] = "";
	int err;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 6 || strlen(argv[2]) > 15 ||
	    prefixes(argv[3], n.pools, &n.npools, NODE_POOLS_MAX) < 0 ||
	    prefixes(argv[4], n.prefixes, &n.nprefixes, CONFIG_PREFIXES_MAX) < 0 ||
	    interfaces(argv[5], &c) < 0) {
		fprintf(stderr, "guardctl up|hold|down|stands DEVICE GUARDED OWN LINKS [DIR]\n");
		return 2;
	}
	strcpy(c.device, argv[2]);
	err = guard_plan_make(&p, &n, &c, why, sizeof(why));
	if (!err && argc > 6)
		p.state_dir = open(argv[6], O_RDONLY | O_DIRECTORY);
	if (!err)
		err = strcmp(argv[1], "down") == 0 ? guard_down(&p, why, sizeof(why))
		                                   : guard_up(&g, &p, why, sizeof(why));
	if (err) {
		fprintf(stderr, "guardctl: %s\n", why);
		return 1;
	}
	if (strcmp(argv[1], "hold") == 0)
		hold(g);
	if (strcmp(argv[1], "stands") == 0)
		err = !guard_stands(g);
	if (strcmp(argv[1], "down") != 0)
		guard_release(g);
	return err;
}
