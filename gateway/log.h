/* SPDX-License-Identifier: GPL-3.0-or-later */
/* log - structured lines on stderr: ts level msg node peer reason, and what the message needs.
 *
 * text:  2026-11-24T10:00:00.123Z info session up node=n1 peer=n2 transport=dtls
 * json:  {"ts":"…","level":"info","msg":"session up","node":"n1","peer":"n2","transport":"dtls"}
 *
 * One write(2) for a line, so that processes sharing stderr do not mix. Values are escaped; a line is
 * at most LOG_LINE_MAX bytes. Not for the packet's way. Any thread.
 */
#pragma once
#include <stdbool.h>

#define LOG_LINE_MAX 2048

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

int log_level_parse(enum log_level *out, const char *name); /* 0 or -EINVAL */

/* Once at start, before threads. node may be NULL and is copied. */
void log_setup(enum log_level level, bool json, const char *node);

/* Pairs of key and value (strings; a NULL value leaves the pair out), ended by NULL:
 *   log_info("session up", "peer", name, "transport", "dtls", NULL);
 */
void log_error(const char *msg, ...) __attribute__((sentinel));
void log_warn(const char *msg, ...) __attribute__((sentinel));
void log_info(const char *msg, ...) __attribute__((sentinel));
void log_debug(const char *msg, ...) __attribute__((sentinel));

/* snprintf into a buffer of the calling statement, for numbers as values. */
const char *log_num(char buf[24], long long v);

/* The one form of an error for people, on stderr: "ginnel: what: why; what to do". what is made by
 * the format; why and cure may be NULL.
 */
void fault(const char *why, const char *cure, const char *what, ...)
	__attribute__((format(printf, 3, 4)));
