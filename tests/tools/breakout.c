/* SPDX-License-Identifier: GPL-3.0-or-later */
/* breakout - plays a process of ginneld's that was taken over. As root:
 *
 *   breakout list PROCESS            what it may not: NAME call|file, one a line
 *   breakout try PROCESS FOLDER NAME confined, it tries: 0 succeeded, 1 refused; or SIGSYS
 *   breakout live PROCESS FOLDER     confined, it does what it must still be able to: 0
 *   breakout abort PROCESS FOLDER    confined, it fails an assertion: SIGABRT
 *
 * FOLDER is the process's own, which is given to its uid.
 */
#include "gateway/privsep/attempt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crypto/keyfile.h"
#include "gateway/privsep/confine.h"
#include "gateway/privsep/isolate.h"

#define MANY   100000
#define THREAD (1 << 20)

static int usage(void)
{
	fputs("usage: breakout list PROCESS | try PROCESS FOLDER NAME | live|abort PROCESS "
	      "FOLDER\n",
	      stderr);
	return 2;
}

static enum process process_of(const char *name)
{
	for (enum process p = PROCESS_ENGINE; p < PROCESS_COUNT; p++)
		if (strcmp(process_name(p), name) == 0)
			return p;
	return PROCESS_PARENT;
}

static int list(enum process p)
{
	for (unsigned i = 0; i < attempt_count(); i++)
		if (attempt_forbidden(i, p))
			printf("%s %s\n", attempt_name(i),
			       attempt_by(i) == ATTEMPT_CALL ? "call" : "file");
	return 0;
}

/* No stdio from here on: it asks whether its file is a terminal. */
static int confined(enum process p, const char *folder)
{
	uid_t uid = ISOLATE_UID_ENGINE + (uid_t)(p - PROCESS_ENGINE);
	int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || chown(folder, uid, uid) < 0 || chmod(folder, 0700) < 0)
		return -errno;
	if (isolate_child(uid, uid, dir) < 0)
		return -EPERM;
	return confine_files(p, dir) < 0 ? -EPERM : confine_calls(p);
}

static int try(const char *name)
{
	for (unsigned i = 0; i < attempt_count(); i++)
		if (strcmp(attempt_name(i), name) == 0)
			return attempt_make(i) == 0 ? 0 : 1;
	return 2;
}

static void *thread(void *arg)
{
	char *p = malloc(THREAD); /* in an arena of its own */

	if (p)
		memset(p, 1, THREAD);
	free(p);
	return p ? arg : NULL;
}

static int lives_with_threads(void)
{
	pthread_t t;
	void *done = NULL;
	int mark;

	if (pthread_create(&t, NULL, thread, &mark) != 0 || pthread_join(t, &done) != 0)
		return 10;
	return done == &mark ? 0 : 11;
}

static int dials(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(1)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0)
		return 20;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno != ECONNREFUSED)
		return 21;
	close(fd);
	return 0;
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static int live(enum process p)
{
	int *many = calloc(MANY, sizeof(*many)), ret = 0;
	time_t now = time(NULL);
	char back[8];
	struct tm tm;
	size_t n;

	if (!many)
		return 1;
	for (int i = 0; i < MANY; i++)
		many[i] = MANY - i;
	qsort(many, MANY, sizeof(*many), compare);
	many = realloc(many, MANY * 4 * sizeof(*many));
	free(many);
	if (!localtime_r(&now, &tm)) /* wants a file of the host, and does without */
		return 2;
	if (state_write(AT_FDCWD, "file", "x", 1) < 0 || state_write(AT_FDCWD, "file", "yz", 2) < 0)
		return 3;
	if (keyfile_read_secret(AT_FDCWD, "file", back, sizeof(back), &n) < 0 || n != 2)
		return 4;
	if (unlinkat(AT_FDCWD, "file", 0) < 0)
		return 5;
	if (p == PROCESS_ENGINE)
		ret = lives_with_threads();
	if (!ret && p == PROCESS_ENGINE)
		ret = dials();
	return ret;
}

int main(int argc, char **argv)
{
	enum process p = argc > 2 ? process_of(argv[2]) : PROCESS_PARENT;

	if (p == PROCESS_PARENT)
		return usage();
	if (argc == 3 && strcmp(argv[1], "list") == 0)
		return list(p);
	if (argc < 4 || confined(p, argv[3]) < 0)
		return usage();
	if (strcmp(argv[1], "live") == 0)
		return live(p);
	if (strcmp(argv[1], "abort") == 0)
		abort();
	return argc == 5 && strcmp(argv[1], "try") == 0 ? try(argv[4]) : 2;
}
