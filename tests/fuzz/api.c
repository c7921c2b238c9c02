/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One request of a node, or the body of a join: METHOD SP PATH LF BODY; without a space, a body of
 * a join alone. The registry holds two nodes and lies in memory-backed files that sync nothing.
 */
#include "gateway/manager/api.h"

#include "gateway/manager/enroll.h"
#include "gateway/manager/records.h"
#include "tests/folder.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct folder folder;
static struct registry *registry;
static struct api *api;

static void forget(void)
{
	api_free(api);
	registry_close(registry);
	folder_clear(&folder);
}

static void make(void)
{
	static const struct api_ops ops;

	log_setup(LOG_LEVEL_ERROR, false, NULL);
	folder_init(&folder);
	registry = folder_registry(&folder, "10.77.0.0/16");
	if (folder_node(registry, "n1", ROLE_NODE) || folder_node(registry, "n2", ROLE_NODE) ||
	    api_new(&api, registry, &ops))
		abort();
	atexit(forget);
}

static void join(const char *body, size_t len)
{
	struct enroll_ask ask;
	const char *why;

	if (enroll_parse(&ask, len & 1 ? SIGN_RENEW : SIGN_JOIN, body, len, &why) < 0)
		return;
	/* Whatever is taken can be sent to the ca as it is. */
	if (!cert_name_ok(ask.sign.name) || ask.sign.csr_len > sizeof(ask.sign.csr) ||
	    ask.sign.sig_len > sizeof(ask.sign.sig) || ask.nendpoints > CONFIG_ADVERTISE_MAX ||
	    !record_version_ok(ask.version))
		abort();
}

static void request(const char *method, const char *path, const char *body, size_t len)
{
	static int64_t now;
	struct api_answer answer = {0};
	json_t *j;

	now += API_ANNOUNCE_EVERY; /* so that each may announce */
	if (api_answer(api, "n1", method, path, body, len, now, &answer) < 0)
		abort();
	if (!answer.json)
		return;
	/* Whatever is asked, the answer is JSON, and an error has a name. */
	j = h2_json(answer.json, answer.len);
	if (!j || (answer.status != 200) != (json_object_get(j, "error") != NULL))
		abort();
	json_decref(j);
	free(answer.json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text, *space, *end;

	if (!api)
		make();
	if (size > H2_BODY_JOIN_MAX)
		return 0;
	text = malloc(size + 1);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	end = memchr(text, '\n', size);
	space = end ? memchr(text, ' ', (size_t)(end - text)) : NULL;
	if (space) {
		*space = *end = '\0';
		request(text, space + 1, end + 1, size - (size_t)(end + 1 - text));
	} else {
		join(text, size);
	}
	free(text);
	return 0;
}
