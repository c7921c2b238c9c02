/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>
#include <sys/utsname.h>

#include "crypto/aead.h"
#include "crypto/wolf.h"
#include "gateway/programs/cmd.h"

#define KEX "X25519MLKEM768" /* the one that a session may have */

/* Works without ginneld: what this build brings, and what it runs on. */
int cmd_version(struct cmd *c)
{
	struct utsname u;
	json_t *document;
	int ret;

	if (aead_start() < 0)
		return CMD_FAILED;
	if (uname(&u) < 0)
		snprintf(u.release, sizeof(u.release), "unknown");
	if (!c->json) {
		printf("ginnel   %s\nwolfSSL  %s\naead     %s\nkex      %s\nkernel   %s\n",
		       GINNEL_VERSION, wolf_version(), aead_name(), KEX, u.release);
		return CMD_OK;
	}
	document = json_pack("{s:s, s:s, s:s, s:s, s:s}", "ginnel", GINNEL_VERSION, "wolfssl",
	                     wolf_version(), "aead", aead_name(), "kex", KEX, "kernel", u.release);
	ret = document ? cmd_print_json(document) : CMD_FAILED;
	json_decref(document);
	return ret;
}
