/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A fault is a line with its place, one config's endpoints read back to what they were. */
static void check(const struct config *c, const struct config_faults *f, int err)
{
	char text[CONFIG_ENDPOINT_TEXT_MAX];
	struct config_endpoint again;

	if ((err != 0) != (f->n != 0))
		abort();
	for (unsigned i = 0; i < f->n && i < CONFIG_FAULTS_MAX; i++)
		if (strncmp(f->text[i], "f.yaml:", 7) || strpbrk(f->text[i], "\n\r\033"))
			abort();
	for (unsigned i = 0; !err && i < c->nadvertise; i++) {
		config_endpoint_format(&c->advertise[i], text);
		if (config_endpoint_parse(&again, text, 0) ||
		    strcmp(again.host, c->advertise[i].host) ||
		    again.at.port != c->advertise[i].at.port)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config_faults f;
	static struct config c;
	int err = config_parse(&c, &f, "f.yaml", (const char *)data, size);

	check(&c, &f, err);
	config_clear(&c);
	return 0;
}
