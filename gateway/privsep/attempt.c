/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/privsep/attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/privsep/filter.h"
#include "gateway/privsep/landlock.h"

static int result(long r)
{
	return r < 0 ? -errno : 0;
}

/* -- calls ----------------------------------------------------------------------------------------- */

static int try_execve(void)
{
	return result(syscall(SYS_execve, "", NULL, NULL));
}

static int try_fork(void)
{
	long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		_exit(0);
	return result(pid);
}

static int try_ptrace(void)
{
	return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int try_socket(int family, int type, int protocol)
{
	return result(socket(family, type | SOCK_CLOEXEC, protocol));
}

static int try_packets(void)
{
	return try_socket(AF_PACKET, SOCK_RAW, 0);
}

static int try_netlink(void)
{
	return try_socket(AF_NETLINK, SOCK_RAW, 0);
}

static int try_unix(void)
{
	return try_socket(AF_UNIX, SOCK_STREAM, 0);
}

static int try_udp(void)
{
	return try_socket(AF_INET, SOCK_DGRAM, 0);
}

static int try_tcp(void)
{
	return try_socket(AF_INET, SOCK_STREAM, 0);
}

static int try_bind(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET};

	return result(bind(STDERR_FILENO, (struct sockaddr *)&any, sizeof(any)));
}

static int try_ring(void)
{
	return result(syscall(SYS_io_uring_setup, 1, NULL));
}

static int try_ring_register(void)
{
	return result(syscall(SYS_io_uring_register, -1, 0, NULL, 0));
}

static int try_code(void)
{
	void *p = mmap(NULL, 1, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	               0);

	return p == MAP_FAILED ? -errno : 0;
}

static int try_code_later(void)
{
	void *p = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	return result(mprotect(p, 1, PROT_READ | PROT_EXEC));
}

static int try_kill(void)
{
	return result(kill(getppid(), 0));
}

static int try_terminal(void)
{
	return result(ioctl(STDIN_FILENO, TIOCSTI, ""));
}

static int try_dumpable(void)
{
	return result(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int try_namespace(void)
{
	return result(unshare(CLONE_NEWUSER));
}

static int try_mount(void)
{
	return result(syscall(SYS_mount, "", "", "", 0, NULL));
}

static int try_bpf(void)
{
	return result(syscall(SYS_bpf, -1, NULL, 0));
}

static int try_memory(void)
{
	return result(syscall(SYS_process_vm_writev, getpid(), NULL, 0, NULL, 0, 0));
}

static int try_uid(void)
{
	return result(syscall(SYS_setresuid, -1, -1, -1));
}

static int try_handle(void)
{
	return result(syscall(SYS_open_by_handle_at, -1, NULL, 0));
}

static int try_limit(void)
{
	struct rlimit l;

	return result(prlimit(getppid(), RLIMIT_NOFILE, NULL, &l));
}

#ifdef __x86_64__
static int try_x32(void)
{
	return result(syscall(0x40000000 | SYS_getpid));
}
#endif

/* -- files ----------------------------------------------------------------------------------------- */

static int try_open(const char *path, int flags)
{
	return result(open(path, flags | O_CLOEXEC, 0600));
}

static int try_read(void)
{
	return try_open("/proc/version", O_RDONLY);
}

static int try_list(void)
{
	return try_open("/", O_RDONLY | O_DIRECTORY);
}

static int try_write(void)
{
	return try_open("/proc/sys/kernel/core_pattern", O_WRONLY);
}

/* Writes through it pass by the protection of pages. */
static int try_own_memory(void)
{
	return try_open("/proc/self/mem", O_RDWR);
}

static int try_program(void)
{
	return try_open("/usr/bin/env", O_RDONLY);
}

/* -- the table -------------------------------------------------------------------------------------- */

#define P(p)     (1U << PROCESS_##p)
#define CHILDREN (P(ENGINE) | P(MANAGER) | P(CA))
#ifdef GINNEL_SANITIZER
#define NOT_UNDER_SANITIZER 0 /* they do so themselves */
#else
#define NOT_UNDER_SANITIZER CHILDREN
#endif

static const struct {
	const char *name;
	int (*make)(void);
	enum attempt_by by;
	unsigned processes; /* that may not */
} attempts[] = {
	{"execve", try_execve, ATTEMPT_CALL, CHILDREN},
	{"fork", try_fork, ATTEMPT_CALL, NOT_UNDER_SANITIZER},
	{"ptrace", try_ptrace, ATTEMPT_CALL, NOT_UNDER_SANITIZER},
	{"packet-socket", try_packets, ATTEMPT_CALL, CHILDREN},
	{"netlink-socket", try_netlink, ATTEMPT_CALL, CHILDREN},
	{"unix-socket", try_unix, ATTEMPT_CALL, CHILDREN},
	{"udp-socket", try_udp, ATTEMPT_CALL, CHILDREN},
	{"tcp-socket", try_tcp, ATTEMPT_CALL, P(MANAGER) | P(CA)},
	{"bind", try_bind, ATTEMPT_CALL, CHILDREN},
	{"io_uring_setup", try_ring, ATTEMPT_CALL, CHILDREN},
	{"io_uring_register", try_ring_register, ATTEMPT_CALL, CHILDREN},
	{"mmap-exec", try_code, ATTEMPT_CALL, NOT_UNDER_SANITIZER},
	{"mprotect-exec", try_code_later, ATTEMPT_CALL, NOT_UNDER_SANITIZER},
	{"kill", try_kill, ATTEMPT_CALL, NOT_UNDER_SANITIZER},
	{"terminal", try_terminal, ATTEMPT_CALL, NOT_UNDER_SANITIZER},
	{"dumpable", try_dumpable, ATTEMPT_CALL, NOT_UNDER_SANITIZER},
	{"namespace", try_namespace, ATTEMPT_CALL, CHILDREN},
	{"mount", try_mount, ATTEMPT_CALL, CHILDREN},
	{"bpf", try_bpf, ATTEMPT_CALL, CHILDREN},
	{"memory-of-others", try_memory, ATTEMPT_CALL, CHILDREN},
	{"uid", try_uid, ATTEMPT_CALL, CHILDREN},
	{"open_by_handle_at", try_handle, ATTEMPT_CALL, CHILDREN},
	{"limits-of-others", try_limit, ATTEMPT_CALL, NOT_UNDER_SANITIZER},
#ifdef __x86_64__
	{"x32-call", try_x32, ATTEMPT_CALL, CHILDREN},
#endif
	{"read-file", try_read, ATTEMPT_FILE, NOT_UNDER_SANITIZER},
	{"list-folder", try_list, ATTEMPT_FILE, CHILDREN | P(PARENT)},
	{"write-file", try_write, ATTEMPT_FILE, CHILDREN | P(PARENT)},
	{"own-memory", try_own_memory, ATTEMPT_FILE, CHILDREN | P(PARENT)},
	{"read-program", try_program, ATTEMPT_FILE, NOT_UNDER_SANITIZER},
};

#define COUNT (sizeof(attempts) / sizeof(*attempts))

unsigned attempt_count(void)
{
	return COUNT;
}

const char *attempt_name(unsigned i)
{
	return attempts[i].name;
}

enum attempt_by attempt_by(unsigned i)
{
	return attempts[i].by;
}

bool attempt_forbidden(unsigned i, enum process p)
{
	if (attempts[i].by == ATTEMPT_FILE && landlock_abi() == 0)
		return false;
	return attempts[i].processes & 1U << p;
}

int attempt_make(unsigned i)
{
	return attempts[i].make();
}

/* -- the self-test ---------------------------------------------------------------------------------- */

#define NO_CONFINEMENT 255 /* exit code; i + 1: attempt i was not refused */

_Static_assert(COUNT < NO_CONFINEMENT, "each has an exit code");

/* A name of its own: the kernel logs who was killed. */
static int confined(enum process p, int dir, const struct confine_places *places,
                    enum filter_mode mode)
{
	const struct rlimit none = {0, 0};
	int err;

	prctl(PR_SET_NAME, "ginneld-check");
	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (p == PROCESS_PARENT)
		return confine_parent(places);
	err = confine_files(p, dir);
	return err ? err : filter_load(p, mode);
}

static bool refused(unsigned i)
{
	int err = attempt_make(i);

	/* A file may also be missing, or the file system read-only; "/" is neither. */
	return attempts[i].by == ATTEMPT_CALL ? err == -FILTER_TOLD : err < 0;
}

static int make_all(enum process p, int dir, const struct confine_places *places)
{
	if (confined(p, dir, places, FILTER_TELL) < 0)
		return NO_CONFINEMENT;
	for (unsigned i = 0; i < COUNT; i++)
		if (attempt_forbidden(i, p) && !refused(i))
			return (int)i + 1;
	return 0;
}

static int make_first(enum process p, int dir, const struct confine_places *places)
{
	if (confined(p, dir, places, FILTER_KILL) < 0)
		return NO_CONFINEMENT;
	signal(SIGSYS, SIG_DFL); /* builds that name the call have nothing to say of this one */
	attempt_make(0);
	return 1;
}

/* The status it ended with, -1 if there could be none. */
static int in_a_child(int (*fn)(enum process, int, const struct confine_places *), enum process p,
                      int dir, const struct confine_places *places)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn(p, dir, places));
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return pid > 0 ? status : -1;
}

static unsigned count(enum process p)
{
	unsigned n = 0;

	for (unsigned i = 0; i < COUNT; i++)
		n += attempt_forbidden(i, p);
	return n;
}

static void describe(enum process p, char *text, size_t max)
{
	int abi = landlock_abi();
	char files[64] = "the kernel has no Landlock", calls[64] = "";

	if (abi)
		snprintf(files, sizeof(files), "Landlock ABI %d", abi);
	if (p != PROCESS_PARENT)
		snprintf(calls, sizeof(calls), ", a filter of %u system calls", filter_count(p));
	snprintf(text, max, "%s: %s%s; %u forbidden acts tried, all refused", process_name(p),
	         files, calls, count(p));
}

int attempt_all(enum process p, int dir, const struct confine_places *places, char *text,
                size_t max)
{
	int status = in_a_child(make_all, p, dir, places);

	if (status == -1 || !WIFEXITED(status) || WEXITSTATUS(status) == NO_CONFINEMENT) {
		snprintf(text, max, "%s: it cannot be confined on this kernel", process_name(p));
		return -EPERM;
	}
	if (WEXITSTATUS(status) != 0) {
		snprintf(text, max, "%s: \"%s\" is not refused", process_name(p),
		         attempt_name((unsigned)WEXITSTATUS(status) - 1));
		return -EPERM;
	}
	if (p != PROCESS_PARENT) {
		status = in_a_child(make_first, p, dir, places);
		if (status == -1 || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS) {
			snprintf(text, max, "%s: a forbidden call does not end it",
			         process_name(p));
			return -EPERM;
		}
	}
	describe(p, text, max);
	return 0;
}
