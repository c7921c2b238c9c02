/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX 10

void child_init(struct child *c)
{
	*c = (struct child){.dir = -1, .fd = -1, .backoff = CHILD_BACKOFF_MIN_NS};
}

/* Nothing of our environment but what tells a sanitizer where to write; others ignore it. */
static void environment(char *out[], size_t max)
{
	static const char *const kept[] = {
		"ASAN_OPTIONS=", "LSAN_OPTIONS=", "TSAN_OPTIONS=", "UBSAN_OPTIONS="};
	size_t n = 0;

	for (char **e = environ; *e; e++)
		for (size_t i = 0; n + 1 < max && i < sizeof(kept) / sizeof(*kept); i++)
			if (strncmp(*e, kept[i], strlen(kept[i])) == 0)
				out[n++] = *e;
	out[n] = NULL;
}

/* In the new process, until the exec. */
static void become(int fd, const struct child_exec *x, char *const argv[], pid_t parent)
{
	char *env[5];
	const char *exe = x->exe ? x->exe : "/proc/self/exe";
	sigset_t all;
	int null;

	/* Also before the uid changes, which clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(1);
	/* No terminal: nothing can be typed into it from here, and its ^C is the parent's to hear. */
	if (setsid() < 0)
		_exit(1);
	umask(077);
	null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		_exit(1);
	/* Nothing is written to stdout; what a library prints there by mistake is lost. */
	if (dup2(null, STDOUT_FILENO) < 0)
		_exit(1);
	if (fd == MESSAGE_CHILD_FD ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, MESSAGE_CHILD_FD) < 0)
		_exit(1);
	if (close_range(MESSAGE_CHILD_FD + 1, ~0U, 0) < 0)
		_exit(1);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	environment(env, sizeof(env) / sizeof(*env));
	execve(exe, argv, env);
	_exit(127);
}

int child_spawn(struct child *c, const struct child_exec *x, int64_t now)
{
	char role[16];
	const char *argv[ARGS_MAX] = {"ginneld",     "--role", role,        "--state",
	                              x->state_path, "--run",  x->run_path, NULL};
	pid_t self = getpid();
	int p[2], err;

	snprintf(role, sizeof(role), "%s", process_name(c->role));
	if (x->config_path) {
		argv[7] = "--config";
		argv[8] = x->config_path;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) < 0)
		return -errno;
	if (fcntl(p[0], F_SETFL, O_NONBLOCK) < 0) {
		err = -errno;
		goto fail;
	}
	c->pid = fork();
	if (c->pid == 0)
		become(p[1], x, (char *const *)(const void *)argv, self);
	if (c->pid < 0) {
		err = -errno;
		c->pid = 0;
		goto fail;
	}
	close(p[1]);
	c->fd = p[0];
	c->ready = false;
	c->seen = 0;
	c->started = now;
	return 0;
fail:
	close(p[0]);
	close(p[1]);
	return err;
}

int child_start(struct child *c, const struct child_exec *x, const struct message_start *s,
                const int *fds, int nfds)
{
	struct message_start start = *s;
	int all[MESSAGE_FDS_MAX];

	if (nfds < 0 || nfds + 2 > MESSAGE_FDS_MAX)
		return -E2BIG;
	start.ndir = 1;
	start.nconfig = 1;
	start.uid = c->uid;
	start.gid = c->gid;
	all[0] = c->dir;
	all[1] = x->config;
	memcpy(all + 2, fds, (size_t)nfds * sizeof(*fds));
	return message_send(c->fd, MESSAGE_START, 0, &start, sizeof(start), all, nfds + 2);
}

int child_read(struct child *c, struct message *m)
{
	int err = message_receive(c->fd, c->role, PROCESS_PARENT, m);

	if (err)
		return err;
	err = message_once(&c->seen, m);
	if (!err && m->head.type == MESSAGE_READY)
		c->ready = true;
	message_close_fds(m);
	return err;
}

void child_failed(struct child *c, int64_t now)
{
	c->next = now + c->backoff;
	c->backoff *= 2;
	if (c->backoff > CHILD_BACKOFF_MAX_NS)
		c->backoff = CHILD_BACKOFF_MAX_NS;
}

void child_ended(struct child *c, int status, bool blameless, int64_t now, char how[CHILD_HOW_MAX])
{
	const char *sig = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		snprintf(how, CHILD_HOW_MAX, "SIGSYS, by its system call filter");
	else if (sig)
		snprintf(how, CHILD_HOW_MAX, "SIG%s", sig);
	else if (WIFSIGNALED(status))
		snprintf(how, CHILD_HOW_MAX, "signal %d", WTERMSIG(status));
	else
		snprintf(how, CHILD_HOW_MAX, "exit %d", WEXITSTATUS(status));
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->pid = 0;
	c->ready = false;
	if (now - c->started >= CHILD_WELL_NS)
		c->backoff = CHILD_BACKOFF_MIN_NS;
	if (blameless)
		c->next = now;
	else
		child_failed(c, now);
}

void child_kill(const struct child *c)
{
	if (c->pid > 0)
		kill(c->pid, SIGKILL);
}
