/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/programs/cmd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define READ_STEP         ((size_t)65536)
#define MANAGERS_TEXT_MAX 512

/* -- options -------------------------------------------------------------------------------- */

const char *cmd_value_next(const struct cmd *c, const char *name, unsigned *i)
{
	while (*i < c->noptions) {
		unsigned k = (*i)++;

		if (!strcmp(c->options[k].option->name, name))
			return c->options[k].value;
	}
	return NULL;
}

const char *cmd_value(const struct cmd *c, const char *name)
{
	unsigned i = 0;

	return cmd_value_next(c, name, &i);
}

bool cmd_flag(const struct cmd *c, const char *name)
{
	unsigned i;

	for (i = 0; i < c->noptions; i++)
		if (!strcmp(c->options[i].option->name, name))
			return true;
	return false;
}

/* -- config and state ------------------------------------------------------------------------ */

int cmd_config(const struct cmd *c, struct config *out)
{
	struct config_faults *f = malloc(sizeof(*f));
	int err;

	memset(out, 0, sizeof(*out));
	if (!f) {
		fault("out of memory", "try again", "%s", c->config_path);
		return CMD_FAILED;
	}
	err = config_load(out, f, c->config_path, c->config_given);
	if (err) {
		config_faults_print(f, stderr);
		fault("the config cannot be used", "mend the faults above", "%s", c->config_path);
	}
	free(f);
	return err ? CMD_FAILED : CMD_OK;
}

int cmd_state_dir(const struct cmd *c, int *fd)
{
	*fd = open(c->state_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd >= 0)
		return CMD_OK;
	if (errno == ENOENT)
		fault("there is no such state folder",
		      "run ginnel init or ginnel join first, or name it with --state", "%s",
		      c->state_path);
	else
		fault(strerrordesc_np(errno), "run as root, or name another folder with --state",
		      "%s", c->state_path);
	return CMD_FAILED;
}

int cmd_node(const struct cmd *c, struct node *out)
{
	int dir, err;

	if (cmd_state_dir(c, &dir) != CMD_OK)
		return CMD_FAILED;
	err = node_load(out, dir);
	close(dir);
	if (!err)
		return CMD_OK;
	if (err == -ENOENT)
		fault("this host belongs to no cluster", "run ginnel init or ginnel join first",
		      "%s/%s", c->state_path, NODE_FILE);
	else if (err == -EPERM)
		fault("others than root can read or write it",
		      "find out who changed it, then chown it to root and chmod 600 it", "%s/%s",
		      c->state_path, NODE_FILE);
	else if (err == -EBADMSG)
		fault("it is damaged or was written by another version of ginnel",
		      "restore it from a backup, or join again", "%s/%s", c->state_path, NODE_FILE);
	else
		fault(strerrordesc_np(-err), "run as root", "%s/%s", c->state_path, NODE_FILE);
	return CMD_FAILED;
}

/* -- asking a running ginneld ---------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int ask_connect(const char *path, int *fd)
{
	const struct timeval limit = {.tv_sec = CMD_ANSWER_TIMEOUT_MS / 1000};
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int err;

	if (strlen(path) >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, strlen(path) + 1);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return -errno;
	/* For connect too: it waits while the backlog is full. */
	if (setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(*fd, (const struct sockaddr *)&to, sizeof(to)) < 0) {
		err = -errno;
		close(*fd);
		return err == -EAGAIN ? -ETIMEDOUT : err;
	}
	return 0;
}

/* As send; with the first bytes goes a descriptor, if file is one. */
static ssize_t send_with(int fd, const char *line, size_t len, int file)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)line, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (file >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &file, sizeof(file));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static int ask_send(int fd, const char *line, size_t len, int file)
{
	ssize_t n;

	while (len > 0) {
		n = send_with(fd, line, len, file);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		line += n;
		len -= (size_t)n;
		file = -1;
	}
	return 0;
}

static int ask_wait(int fd, int64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t left;
	int n;

	do {
		left = deadline - now_ms();
		n = left > 0 ? poll(&p, 1, (int)left) : 0;
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}

/* One line, without its newline, malloc'ed. -EPIPE: closed before it was whole. */
static int ask_receive(int fd, char **line, size_t *len)
{
	int64_t deadline = now_ms() + CMD_ANSWER_TIMEOUT_MS;
	size_t used = 0, cap = 0;
	char *buf = NULL, *more, *end;
	ssize_t n;
	int err;

	for (;;) {
		if (cap - used < READ_STEP) {
			cap = cap ? cap * 2 : 2 * READ_STEP;
			more = cap <= 2 * CMD_ANSWER_MAX ? realloc(buf, cap) : NULL;
			if (!more) {
				err = cap > 2 * CMD_ANSWER_MAX ? -EFBIG : -ENOMEM;
				break;
			}
			buf = more;
		}
		err = ask_wait(fd, deadline);
		if (err)
			break;
		n = read(fd, buf + used, READ_STEP);
		if (n < 0 && errno == EINTR)
			continue;
		err = n < 0 ? -errno : n == 0 ? -EPIPE : 0;
		if (err)
			break;
		end = memchr(buf + used, '\n', (size_t)n);
		used += (size_t)n;
		if (end) {
			*len = (size_t)(end - buf);
			*line = buf;
			return 0;
		}
		if (used > CMD_ANSWER_MAX) {
			err = -EFBIG;
			break;
		}
	}
	free(buf);
	return err;
}

static int ask(const char *path, const char *line, size_t len, int file, char **answer,
               size_t *answer_len)
{
	int fd, err;

	err = ask_connect(path, &fd);
	if (err)
		return err;
	err = ask_send(fd, line, len, file);
	/* Who is refused by name is answered, too, and may find the socket closed for sending. */
	if (!err || err == -EPIPE)
		err = ask_receive(fd, answer, answer_len);
	close(fd);
	return err;
}

static int ask_failed(const char *path, int err)
{
	switch (err) {
	case -EACCES:
	case -EPERM:
		fault("this user may not ask it", "run as root, or be a member of the group ginnel",
		      "%s", path);
		return CMD_FAILED;
	case -EFBIG:
	case -ENOMEM:
	case -ENAMETOOLONG:
		fault(err == -EFBIG ? "the answer is too long" : strerrordesc_np(-err),
		      "name the run folder of a ginneld of this version with --run", "%s", path);
		return CMD_FAILED;
	case -ETIMEDOUT:
		fault("it did not answer within 10 s", "look at its log: journalctl -u ginneld",
		      "ginneld is not reachable at %s", path);
		return CMD_UNREACHABLE;
	case -EPIPE:
	case -ECONNRESET:
		fault("it closed the connection without an answer",
		      "try again, and look at its log: journalctl -u ginneld",
		      "ginneld is not reachable at %s", path);
		return CMD_UNREACHABLE;
	default:
		fault(strerrordesc_np(-err),
		      "start it with: systemctl start ginneld, or name its run folder with --run",
		      "ginneld is not reachable at %s", path);
		return CMD_UNREACHABLE;
	}
}

static int ask_json(const struct cmd *c, const char *socket, json_t *question, int file,
                    json_t **answer)
{
	char path[4096], *line, *text = NULL;
	const char *error;
	json_t *document;
	size_t len, n = 0;
	int err;

	line = json_dumps(question, JSON_COMPACT);
	json_decref(question);
	if (!line ||
	    snprintf(path, sizeof(path), "%s/%s", c->run_path, socket) >= (int)sizeof(path)) {
		free(line);
		return ask_failed(c->run_path, line ? -ENAMETOOLONG : -ENOMEM);
	}
	len = strlen(line);
	line[len] = '\n'; /* in place of the NUL: len says where it ends */
	err = ask(path, line, len + 1, file, &text, &n);
	free(line);
	if (err)
		return ask_failed(path, err);
	document = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	if (!document) {
		fault("the answer cannot be read", "use a ginnel of the same version as ginneld",
		      "%s", path);
		return CMD_FAILED;
	}
	error = cmd_text(document, "error");
	if (error) {
		fault(NULL, NULL, "%s", error);
		json_decref(document);
		return CMD_FAILED;
	}
	*answer = document;
	return CMD_OK;
}

int cmd_control_ask(const struct cmd *c, const char *socket, json_t *question, json_t **answer)
{
	return ask_json(c, socket, question, -1, answer);
}

/* "n1 (10.9.0.1), n2 (10.9.0.2)" */
static void managers_text(const struct node *n, char *out, size_t max)
{
	size_t at = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < n->nmanagers && at < max; i++) {
		const struct node_manager *m = &n->managers[i];

		at += (size_t)snprintf(out + at, max - at, "%s%s (%s)", i ? ", " : "", m->name,
		                       m->nendpoints ? m->endpoints[0].host : "?");
	}
}

int cmd_on_manager(const struct cmd *c, const char *what)
{
	char managers[MANAGERS_TEXT_MAX], cure[MANAGERS_TEXT_MAX + 32];
	struct node *n = calloc(1, sizeof(*n));
	int code = CMD_FAILED;

	if (!n)
		fault("no memory", NULL, "%s", what);
	else
		code = cmd_node(c, n);
	if (code == CMD_OK && n->role != ROLE_MANAGER) {
		managers_text(n, managers, sizeof(managers));
		snprintf(cure, sizeof(cure), "run it on %s", managers[0] ? managers : "a manager");
		fault("this node is no manager", cure, "%s", what);
		code = CMD_FAILED;
	}
	free(n);
	return code;
}

int cmd_ca_ask(const struct cmd *c, const char *what, json_t *question, json_t **answer)
{
	return cmd_ca_ask_file(c, what, question, -1, answer);
}

int cmd_ca_ask_file(const struct cmd *c, const char *what, json_t *question, int fd,
                    json_t **answer)
{
	int code;

	if (!question) {
		fault("no memory", NULL, "%s", what);
		return CMD_FAILED;
	}
	code = cmd_on_manager(c, what);
	if (code == CMD_OK)
		return ask_json(c, "ca", question, fd, answer);
	json_decref(question);
	return code;
}

/* -- printing --------------------------------------------------------------------------------- */

json_t *cmd_faults_json(const struct config_faults *f)
{
	json_t *list = json_array();
	unsigned i;

	for (i = 0; i < f->n && i < CONFIG_FAULTS_MAX; i++)
		json_array_append_new(list, json_string(f->text[i]));
	return list;
}

int cmd_print_json(const json_t *document)
{
	if (json_dumpf(document, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) ||
	    putchar('\n') == EOF)
		return CMD_FAILED; /* main says it: stdout is broken */
	return CMD_OK;
}

void cmd_print_text(FILE *to, const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text < 0x20 || *text > 0x7e ? '?' : *text, to);
}

const char *cmd_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

void cmd_ago(char out[32], const char *rfc3339, time_t now)
{
	static const struct {
		long seconds;
		char unit;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	struct tm tm = {0};
	const char *rest;
	long long s;
	size_t i = 0;

	rest = rfc3339 ? strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	if (!rest || (*rest != 'Z' && *rest != '.')) {
		snprintf(out, 32, "-");
		return;
	}
	s = (long long)now - (long long)timegm(&tm);
	while (i < 3 && (s < 0 ? -s : s) < 2 * units[i].seconds)
		i++;
	snprintf(out, 32, "%s%lld%c", s < 0 ? "in " : "", (s < 0 ? -s : s) / units[i].seconds,
	         units[i].unit);
}

void cmd_bytes(char out[16], json_int_t n)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double v = (double)n;
	size_t i = 0;

	while (v >= 1023.95 && i < sizeof(units) / sizeof(units[0]) - 1) {
		v /= 1024;
		i++;
	}
	snprintf(out, 16, i > 0 && v < 9.95 ? "%.1f %s" : "%.0f %s", v, units[i]);
}

struct cmd_table {
	const char *const *heads;
	size_t columns, cells;
	char *text; /* row by row, each cell with its NUL; there after a flush of to */
	size_t len;
	FILE *to;
};

int cmd_table_new(struct cmd_table **out, const char *const *heads)
{
	struct cmd_table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->heads = heads;
	while (heads[t->columns])
		t->columns++;
	assert(t->columns > 0 && t->columns <= CMD_TABLE_COLUMNS_MAX);
	t->to = open_memstream(&t->text, &t->len);
	if (!t->to) {
		free(t);
		return -ENOMEM;
	}
	*out = t;
	return 0;
}

void cmd_table_free(struct cmd_table *t)
{
	if (!t)
		return;
	fclose(t->to);
	free(t->text);
	free(t);
}

int cmd_table_cell(struct cmd_table *t, const char *text)
{
	if (fputs(text && *text ? text : "-", t->to) == EOF || fputc(0, t->to) == EOF ||
	    fflush(t->to) == EOF)
		return -ENOMEM;
	t->cells++;
	return 0;
}

int cmd_table_cellf(struct cmd_table *t, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return cmd_table_cell(t, text);
}

static void print_cell(FILE *to, const char *text, size_t width, bool last)
{
	cmd_print_text(to, text);
	if (last)
		fputc('\n', to);
	else
		fprintf(to, "%*s", (int)(width - strlen(text) + 2), "");
}

void cmd_table_print(const struct cmd_table *t, FILE *to)
{
	size_t width[CMD_TABLE_COLUMNS_MAX] = {0}, n = t->columns, i;
	const char *cell;

	assert(n > 0);
	for (i = 0; i < n; i++)
		width[i] = strlen(t->heads[i]);
	for (i = 0, cell = t->text; i < t->cells; i++, cell += strlen(cell) + 1)
		if (strlen(cell) > width[i % n])
			width[i % n] = strlen(cell);
	for (i = 0; i < n; i++)
		print_cell(to, t->heads[i], width[i], i == n - 1);
	for (i = 0, cell = t->text; i < t->cells; i++, cell += strlen(cell) + 1)
		print_cell(to, cell, width[i % n], i % n == n - 1);
}
