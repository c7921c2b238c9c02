/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STAMP_LEN  24
#define STAMP_FORM "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"

static char got[1 << 16];

/* Stderr goes to a file in memory between the two. */
static int saved = -1, file = -1;

static void capture(void)
{
	saved = dup(STDERR_FILENO);
	file = memfd_create("log", MFD_CLOEXEC);
	cr_assert(saved >= 0 && file >= 0);
	cr_assert_eq(dup2(file, STDERR_FILENO), STDERR_FILENO);
}

static const char *captured(void)
{
	ssize_t n;

	dup2(saved, STDERR_FILENO);
	n = pread(file, got, sizeof(got) - 1, 0);
	close(saved);
	close(file);
	cr_assert_geq(n, 0);
	got[n] = '\0';
	return got;
}

#define LOGGED(call)        \
	({                  \
		capture();  \
		call;       \
		captured(); \
	})

static bool matches(const char *text, const char *form)
{
	regex_t re;
	bool yes;

	cr_assert_eq(regcomp(&re, form, REG_EXTENDED | REG_NOSUB), 0);
	yes = regexec(&re, text, 0, NULL, 0) == 0;
	regfree(&re);
	return yes;
}

/* What stands behind the stamp of a text line. */
static const char *rest(const char *line)
{
	cr_assert(matches(line, STAMP_FORM), "%s", line);
	return line + STAMP_LEN;
}

static void expect_value(const char *value, const char *text, const char *json)
{
	char want[256];

	log_setup(LOG_LEVEL_INFO, false, NULL);
	snprintf(want, sizeof(want), " info m k=%s\n", text);
	cr_expect_str_eq(rest(LOGGED(log_info("m", "k", value, NULL))), want);

	log_setup(LOG_LEVEL_INFO, true, NULL);
	snprintf(want, sizeof(want), "\"level\":\"info\",\"msg\":\"m\",\"k\":\"%s\"}\n", json);
	LOGGED(log_info("m", "k", value, NULL));
	cr_expect_str_eq(strchr(got, ',') + 1, want);
}

/* The first line of the text, as JSON. */
static json_t *parsed(const char *text)
{
	json_error_t error;
	json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &error);

	cr_assert(j, "%s: %s", error.text, text);
	return j;
}

Test(log, text_has_the_form_of_the_header)
{
	log_setup(LOG_LEVEL_INFO, false, "n1");
	cr_expect_str_eq(
		rest(LOGGED(log_info("session up", "peer", "n2", "transport", "dtls", NULL))),
		" info session up node=n1 peer=n2 transport=dtls\n");
}

Test(log, json_has_the_form_of_the_header)
{
	const char *line;

	log_setup(LOG_LEVEL_INFO, true, "n1");
	line = LOGGED(log_info("session up", "peer", "n2", "transport", "dtls", NULL));
	cr_assert(strncmp(line, "{\"ts\":\"", 7) == 0, "%s", line);
	cr_assert(matches(line + 7, STAMP_FORM), "%s", line);
	cr_expect_str_eq(line + 7 + STAMP_LEN,
	                 "\",\"level\":\"info\",\"msg\":\"session up\",\"node\":\"n1\","
	                 "\"peer\":\"n2\",\"transport\":\"dtls\"}\n");
}

Test(log, the_stamp_is_now_in_utc)
{
	struct tm tm = {0};
	time_t before = time(NULL), at;

	log_setup(LOG_LEVEL_INFO, false, NULL);
	setenv("TZ", "Asia/Tokyo", 1);
	tzset();
	LOGGED(log_info("m", NULL));
	cr_assert_not_null(strptime(got, "%Y-%m-%dT%H:%M:%S", &tm));
	at = timegm(&tm);
	cr_expect(at >= before && at <= time(NULL), "%s", got);
}

Test(log, values_that_could_be_misread_are_quoted_and_escaped)
{
	expect_value("plain", "plain", "plain");
	expect_value("", "\"\"", "");
	expect_value("two words", "\"two words\"", "two words");
	expect_value("a=b", "\"a=b\"", "a=b");
	expect_value("say \"hi\"", "\"say \\\"hi\\\"\"", "say \\\"hi\\\"");
	expect_value("back\\slash", "\"back\\\\slash\"", "back\\\\slash");
	expect_value("line\nfeed\ttab\r", "\"line\\nfeed\\ttab\\u000d\"",
	             "line\\nfeed\\ttab\\u000d");
	expect_value("\x1b[31mred\x7f", "\"\\u001b[31mred\\u007f\"", "\\u001b[31mred\\u007f");
	expect_value("schön", "schön", "schön");
	expect_value("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80");
}

Test(log, invisible_characters_are_made_visible)
{
	expect_value("a\xe2\x80\xae"
	             "b",
	             "a\\u202eb", "a\\u202eb"); /* right-to-left override */
	expect_value("a\xc2\x9b"
	             "31m",
	             "a\\u009b31m", "a\\u009b31m"); /* C1: CSI */
	expect_value("a\xe2\x80\xa8"
	             "b",
	             "a\\u2028b", "a\\u2028b"); /* line separator */
}

Test(log, bytes_that_are_no_utf8_are_never_written)
{
	expect_value("a\xff", "a\\xff", "a\xef\xbf\xbd");
	expect_value("\xc3", "\\xc3", "\xef\xbf\xbd");                      /* cut */
	expect_value("\xc0\xaf", "\\xc0\\xaf", "\xef\xbf\xbd\xef\xbf\xbd"); /* overlong "/" */
	expect_value("\xed\xa0\x80", "\\xed\\xa0\\x80",
	             "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* surrogate */
	expect_value("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80",
	             "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* above U+10FFFF */
}

Test(log, a_message_cannot_end_the_line)
{
	log_setup(LOG_LEVEL_INFO, false, NULL);
	cr_expect_str_eq(rest(LOGGED(log_warn("one\ntwo", NULL))), " warn one\\ntwo\n");
}

Test(log, a_null_value_leaves_the_pair_out)
{
	log_setup(LOG_LEVEL_INFO, false, NULL);
	cr_expect_str_eq(rest(LOGGED(log_info("m", "a", NULL, "b", "2", NULL))), " info m b=2\n");
}

Test(log, every_byte_string_is_valid_json)
{
	char value[64];
	unsigned seed = 1;

	log_setup(LOG_LEVEL_INFO, true, NULL);
	for (int round = 0; round < 3000; round++) {
		size_t n = (size_t)rand_r(&seed) % (sizeof(value) - 1);

		for (size_t i = 0; i < n; i++)
			value[i] = (char)(1 + rand_r(&seed) % 255);
		value[n] = '\0';
		json_decref(parsed(LOGGED(log_info("m", "k", value, NULL))));
	}
}

Test(log, a_long_value_is_cut_and_those_behind_it_stay)
{
	char value[5000];

	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	log_setup(LOG_LEVEL_INFO, false, NULL);
	LOGGED(log_info("m", "k", value, "reason", "r", NULL));
	cr_expect(matches(got, "xxx\xe2\x80\xa6 reason=r\n$"), "%s", got);
	cr_expect_leq(strlen(got), LOG_LINE_MAX);
}

/* Any length of what comes before: the line is never too long, ends where it must, is still JSON,
 * and says when something is missing.
 */
Test(log, a_line_is_whole_at_every_length)
{
	static const char *const fill[] = {"x", "\x01", "\"", "é", "\xff"};
	char value[1400];

	for (size_t f = 0; f < sizeof(fill) / sizeof(fill[0]); f++) {
		for (size_t n = 0; n < sizeof(value) - 8; n += 1 + n / 900) {
			json_t *j;

			value[0] = '\0';
			for (char *end = value; end < value + n;)
				end = stpcpy(end, fill[f]);
			log_setup(LOG_LEVEL_INFO, true, "n1");
			LOGGED(log_info("m", "a", value, "b", value, "c", value, "d", "last",
			                NULL));
			cr_assert_leq(strlen(got), LOG_LINE_MAX);
			j = parsed(got);
			cr_assert(json_object_get(j, "d") || json_object_get(j, "cut"), "%s", got);
			json_decref(j);
			log_setup(LOG_LEVEL_INFO, false, "n1");
			LOGGED(log_info("m", "a", value, "b", value, "c", value, "d", "last",
			                NULL));
			cr_assert_leq(strlen(got), LOG_LINE_MAX);
			cr_assert_eq(strchr(got, '\n'), got + strlen(got) - 1);
			cr_assert(strstr(got, " d=last\n") || strstr(got, " cut=true\n"), "%s",
			          got);
		}
	}
}

Test(log, what_is_below_the_level_is_not_written)
{
	log_setup(LOG_LEVEL_WARN, false, NULL);
	LOGGED({
		log_debug("d", NULL);
		log_info("i", NULL);
	});
	cr_expect_str_empty(got);
	cr_expect_str_eq(rest(LOGGED(log_warn("w", NULL))), " warn w\n");
	cr_expect_str_eq(rest(LOGGED(log_error("e", NULL))), " error e\n");
	log_setup(LOG_LEVEL_DEBUG, false, NULL);
	cr_expect_str_eq(rest(LOGGED(log_debug("d", NULL))), " debug d\n");
}

Test(log, levels_have_names)
{
	enum log_level level = LOG_LEVEL_DEBUG;

	cr_expect_eq(log_level_parse(&level, "error"), 0);
	cr_expect_eq(level, LOG_LEVEL_ERROR);
	cr_expect_eq(log_level_parse(&level, "debug"), 0);
	cr_expect_eq(level, LOG_LEVEL_DEBUG);
	cr_expect_eq(log_level_parse(&level, "Info"), -EINVAL);
	cr_expect_eq(log_level_parse(&level, ""), -EINVAL);
	cr_expect_eq(level, LOG_LEVEL_DEBUG, "written on success only");
}

/* A datagram is what one write made. */
Test(log, a_line_is_one_write)
{
	char buf[LOG_LINE_MAX + 1];
	int pair[2], keep = dup(STDERR_FILENO);
	ssize_t n;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	log_setup(LOG_LEVEL_INFO, true, "n1");
	dup2(pair[0], STDERR_FILENO);
	log_info("one", "k", "v", NULL);
	fault("why", "cure", "what");
	dup2(keep, STDERR_FILENO);
	n = recv(pair[1], buf, sizeof(buf), MSG_DONTWAIT);
	cr_assert_gt(n, 0);
	cr_expect(buf[0] == '{' && buf[n - 1] == '\n');
	n = recv(pair[1], buf, sizeof(buf), MSG_DONTWAIT);
	cr_assert_gt(n, 0);
	cr_expect_eq(n, (ssize_t)strlen("ginnel: what: why; cure\n"));
}

Test(log, errno_is_left_alone_and_a_closed_stderr_is_no_error)
{
	int keep = dup(STDERR_FILENO);

	log_setup(LOG_LEVEL_INFO, false, NULL);
	close(STDERR_FILENO);
	errno = ENOTTY;
	log_info("m", NULL);
	fault(NULL, NULL, "m");
	cr_expect_eq(errno, ENOTTY);
	dup2(keep, STDERR_FILENO);
}

Test(log, numbers_become_values)
{
	char a[24], b[24];

	cr_expect_str_eq(log_num(a, -9223372036854775807LL - 1), "-9223372036854775808");
	cr_expect_str_eq(log_num(b, 0), "0");
}

Test(log, a_fault_has_one_form_and_leaves_out_what_is_missing)
{
	cr_expect_str_eq(LOGGED(fault("group can read it", "chmod 600 it", "%s.key", "node")),
	                 "ginnel: node.key: group can read it; chmod 600 it\n");
	cr_expect_str_eq(LOGGED(fault("no such file", NULL, "x")), "ginnel: x: no such file\n");
	cr_expect_str_eq(LOGGED(fault(NULL, "try again", "x")), "ginnel: x; try again\n");
	cr_expect_str_eq(LOGGED(fault(NULL, NULL, "x %d", 7)), "ginnel: x 7\n");
	cr_expect_str_eq(LOGGED(fault("a\nginnel: forged\x1b[2J", NULL, "n\xff")),
	                 "ginnel: n\\xff: a\\nginnel: forged\\u001b[2J\n");
}

Test(log, a_fault_is_bounded_and_still_says_why_and_what_to_do)
{
	char *big = calloc(1, 100001);

	memset(big, 'y', 100000);
	LOGGED(fault("why", "cure", "%s", big));
	cr_expect(matches(got, "yyy\xe2\x80\xa6: why; cure\n$"), "%s", got);
	LOGGED(fault(big, "cure", "what"));
	cr_expect(matches(got, "^ginnel: what: yyy.*y\xe2\x80\xa6; cure\n$"), "%s", got);
	LOGGED(fault("why", big, "what"));
	cr_expect(matches(got, "^ginnel: what: why; yyy.*y\xe2\x80\xa6\n$"), "%s", got);
	memset(big, 1, 100000);
	LOGGED(fault(big, big, "%s", big));
	cr_expect_eq(strchr(got, '\n'), got + strlen(got) - 1);
	free(big);
}
