/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/attempt.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "gateway/privsep/landlock.h"

static const struct confine_places nowhere = {.state = -1, .run = -1};

Test(attempt, all_is_refused_to_each_process)
{
	char text[512];

	for (enum process p = PROCESS_PARENT; p < PROCESS_COUNT; p++) {
		cr_expect_eq(attempt_all(p, -1, &nowhere, text, sizeof(text)), 0, "%s", text);
		cr_expect_eq(strncmp(text, process_name(p), strlen(process_name(p))), 0);
		cr_expect_not_null(strstr(text, "all refused"));
	}
}

Test(attempt, each_has_a_name_of_its_own_and_is_forbidden_to_somebody)
{
	bool somebody;

	for (unsigned i = 0; i < attempt_count(); i++) {
		somebody = false;
		for (enum process p = PROCESS_PARENT; p < PROCESS_COUNT; p++)
			somebody |= attempt_forbidden(i, p);
#ifndef GINNEL_SANITIZER
		cr_expect(somebody || (attempt_by(i) == ATTEMPT_FILE && !landlock_abi()));
#endif
		for (unsigned k = 0; k < i; k++)
			cr_expect_str_neq(attempt_name(i), attempt_name(k));
	}
}

/* So that a refusal says something: where nothing is confined they succeed. */
Test(attempt, without_confinement_sockets_and_files_are_to_be_had)
{
	static const char *const usual[] = {"udp-socket",  "tcp-socket", "unix-socket",
	                                    "list-folder", "mmap-exec",  "fork",
	                                    "dumpable"};

	for (size_t k = 0; k < sizeof(usual) / sizeof(*usual); k++)
		for (unsigned i = 0; i < attempt_count(); i++)
			if (strcmp(attempt_name(i), usual[k]) == 0)
				cr_expect_eq(attempt_make(i), 0, "%s", usual[k]);
}
