/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A value may be a stranger's: a name out of a certificate, an error text of the other side. It
 * must end no line, close no quote and move no terminal's cursor, so control characters, the
 * invisible ones that reorder text, and bytes that are no UTF-8 are never written as they are.
 */
#include "gateway/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* syscalls(parent engine manager ca): write */

#define LOG_NODE_MAX   63
#define LOG_VALUE_MAX  1024 /* of one value, so that one long one does not push out the others */
#define FAULT_WHAT_MAX 2048
#define FAULT_LINE_MAX 5120
#define UNIT_MAX       8 /* one character as it is written: "\u202e" */

#define ELLIPSIS    "\xe2\x80\xa6" /* U+2026 */
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Ends of a line that are always written: `…"`, `,"cut":true`, `}`, newline. */
#define VALUE_END 4
#define LINE_END  16

static struct {
	enum log_level level;
	bool json;
	char node[LOG_NODE_MAX + 1];
} setup = {.level = LOG_LEVEL_INFO};

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

enum style {
	STYLE_PLAIN,  /* control characters and bad bytes alone */
	STYLE_QUOTED, /* quotes and backslashes too */
	STYLE_JSON,   /* bad bytes become U+FFFD */
};

struct line {
	char *buf;
	size_t len, max;
};

static size_t room(const struct line *l)
{
	return l->max - l->len;
}

/* The caller has looked whether there is room. */
static void put(struct line *l, const char *s, size_t n)
{
	memcpy(l->buf + l->len, s, n);
	l->len += n;
}

static void put_text(struct line *l, const char *s)
{
	put(l, s, strlen(s));
}

/* How long the character is that begins with this byte, 0: none does. */
static size_t utf8_begins(unsigned char c)
{
	if (c < 0x80)
		return 1;
	if (c >> 5 == 6)
		return 2;
	if (c >> 4 == 14)
		return 3;
	return c >> 3 == 30 ? 4 : 0;
}

/* How many bytes the character at s has, 0 if it is no UTF-8 (RFC 3629). NUL-terminated. */
static size_t utf8_len(const unsigned char *s, uint32_t *code)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = utf8_begins(s[0]);
	uint32_t c = n == 1 ? s[0] : s[0] & (0x7fU >> n);

	if (n == 0)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (s[i] >> 6 != 2)
			return 0;
		c = c << 6 | (s[i] & 0x3fU);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*code = c;
	return n;
}

/* C0, DEL, C1; line and paragraph separators; what changes the direction of text. */
static bool is_hidden(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

static bool needs_backslash(uint32_t c, enum style style)
{
	return style != STYLE_PLAIN && (c == '"' || c == '\\');
}

/* One character of s into out: how many bytes of s it took; *n says how many it became. */
static size_t escape(char out[UNIT_MAX], size_t *n, const char *s, enum style style)
{
	const unsigned char *u = (const unsigned char *)s;
	uint32_t c = 0;
	size_t len = utf8_len(u, &c);

	*n = len;
	if (len == 0 && style == STYLE_JSON)
		*n = (size_t)snprintf(out, UNIT_MAX, "%s", REPLACEMENT);
	else if (len == 0)
		*n = (size_t)snprintf(out, UNIT_MAX, "\\x%02x", (unsigned)*u);
	else if (needs_backslash(c, style))
		*n = (size_t)snprintf(out, UNIT_MAX, "\\%c", (int)c);
	else if (c == '\n' || c == '\t')
		*n = (size_t)snprintf(out, UNIT_MAX, "\\%c", c == '\n' ? 'n' : 't');
	else if (is_hidden(c))
		*n = (size_t)snprintf(out, UNIT_MAX, "\\u%04x", (unsigned)c);
	else
		memcpy(out, s, len);
	return len ? len : 1;
}

/* Writes s and leaves at least keep bytes free; what does not fit, or is longer than max, ends in
 * an ellipsis within them.
 */
static void put_escaped(struct line *l, const char *s, enum style style, size_t max, size_t keep)
{
	char unit[UNIT_MAX];
	size_t n, took, start = l->len;

	while (*s) {
		took = escape(unit, &n, s, style);
		if (l->len - start + n > max || room(l) < n + keep) {
			put_text(l, ELLIPSIS);
			return;
		}
		put(l, unit, n);
		s += took;
	}
}

/* In a text line a value stands bare where no reader could take it for more than one word. */
static bool is_bare(const char *s)
{
	if (*s == '\0')
		return false;
	for (; *s; s++) {
		if ((unsigned char)*s <= ' ' || strchr("\"\\=\x7f", *s))
			return false;
	}
	return true;
}

static void put_value(struct line *l, const char *value)
{
	bool bare = !setup.json && is_bare(value);
	enum style style = setup.json ? STYLE_JSON : STYLE_QUOTED;

	if (!bare)
		put_text(l, "\"");
	put_escaped(l, value, bare ? STYLE_PLAIN : style, LOG_VALUE_MAX, VALUE_END + LINE_END);
	if (!bare)
		put_text(l, "\"");
}

/* False if there is no room for the key and a sign of the value. */
static bool put_pair(struct line *l, const char *key, const char *value)
{
	size_t frame = strlen(key) + sizeof(",\"\":\"") - 1;

	if (room(l) < frame + UNIT_MAX + VALUE_END + LINE_END)
		return false;
	if (setup.json && l->buf[l->len - 1] != '{')
		put_text(l, ",");
	if (setup.json)
		put_text(l, "\"");
	else
		put_text(l, " ");
	put_text(l, key);
	put_text(l, setup.json ? "\":" : "=");
	put_value(l, value);
	return true;
}

static void put_head(struct line *l, enum log_level level, const char *msg)
{
	char stamp[sizeof("2026-11-24T10:00:00.123Z")];
	struct timespec now;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(stamp + n, sizeof(stamp) - n, ".%03uZ", (unsigned)(now.tv_nsec / 1000000) % 1000);
	if (setup.json) {
		put_text(l, "{");
		put_pair(l, "ts", stamp);
		put_pair(l, "level", level_names[level]);
		put_pair(l, "msg", msg);
	} else {
		put_text(l, stamp);
		put_text(l, " ");
		put_text(l, level_names[level]);
		put_text(l, " ");
		put_escaped(l, msg, STYLE_PLAIN, LOG_VALUE_MAX, VALUE_END + LINE_END);
	}
	if (setup.node[0])
		put_pair(l, "node", setup.node);
}

/* A full pipe loses the line: a log must not hold up a gateway. */
static void write_line(const struct line *l)
{
	ssize_t n;

	do
		n = write(STDERR_FILENO, l->buf, l->len);
	while (n < 0 && errno == EINTR);
}

static void log_line(enum log_level level, const char *msg, va_list pairs)
{
	char buf[LOG_LINE_MAX];
	struct line l = {.buf = buf, .max = sizeof(buf)};
	int saved = errno;
	const char *key, *value;
	bool whole = true;

	if (level > setup.level)
		return;
	put_head(&l, level, msg);
	while ((key = va_arg(pairs, const char *)) != NULL) {
		value = va_arg(pairs, const char *);
		if (value && !put_pair(&l, key, value))
			whole = false;
	}
	if (!whole)
		put_text(&l, setup.json ? ",\"cut\":true" : " cut=true");
	put_text(&l, setup.json ? "}\n" : "\n");
	write_line(&l);
	errno = saved;
}

int log_level_parse(enum log_level *out, const char *name)
{
	for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_setup(enum log_level level, bool json, const char *node)
{
	setup.level = level;
	setup.json = json;
	snprintf(setup.node, sizeof(setup.node), "%s", node ? node : "");
}

/* clang-format off */
#define LOG_FUNCTION(name, level)            \
	void name(const char *msg, ...)      \
	{                                    \
		va_list pairs;               \
		va_start(pairs, msg);        \
		log_line(level, msg, pairs); \
		va_end(pairs);               \
	}
LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)
/* clang-format on */

const char *log_num(char buf[24], long long v)
{
	snprintf(buf, 24, "%lld", v);
	return buf;
}

void fault(const char *why, const char *cure, const char *what, ...)
{
	char text[FAULT_WHAT_MAX], buf[FAULT_LINE_MAX];
	struct line l = {.buf = buf, .max = sizeof(buf)};
	int saved = errno;
	va_list args;

	va_start(args, what);
	vsnprintf(text, sizeof(text), what, args);
	va_end(args);
	put_text(&l, "ginnel: ");
	put_escaped(&l, text, STYLE_PLAIN, sizeof(text) - 2, FAULT_LINE_MAX / 2);
	if (why) {
		put_text(&l, ": ");
		put_escaped(&l, why, STYLE_PLAIN, FAULT_LINE_MAX / 4, FAULT_LINE_MAX / 4);
	}
	if (cure) {
		put_text(&l, "; ");
		put_escaped(&l, cure, STYLE_PLAIN, FAULT_LINE_MAX, LINE_END);
	}
	put_text(&l, "\n");
	write_line(&l);
	errno = saved;
}
