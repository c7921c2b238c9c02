/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is in a process's list is allowed with any arguments, unless `limits` has lines for it: then
 * one of those must fit. clone3 hides its flags in memory, where no filter reads: it is "not there", and
 * glibc takes clone. TRAP builds and those under a sanitizer end in the same signal, but say before
 * which call it was.
 */
#include "gateway/privsep/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ginnel/syscalls.h>

/* glibc: memory, locks, time, what it asks of the machine, a failed assertion on its way out.
 * syscalls(all): brk mmap munmap mremap mprotect madvise futex clock_gettime gettimeofday time
 * clock_nanosleep nanosleep restart_syscall sched_getaffinity sched_yield sysinfo getrandom
 * rt_sigaction rt_sigprocmask rt_sigreturn getpid gettid tgkill openat read write writev close lseek
 * fstat newfstatat exit exit_group
 */
/* A thread at its start; the engine's alone are made behind the filter.
 * syscalls(engine): clone clone3 set_robust_list rseq
 */
/* libevent: its loop, its buffers.
 * syscalls(engine manager): epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 pipe2 readv writev ioctl
 * getuid geteuid getgid getegid
 */
/* Of the sanitizers: shadow memory, their own threads, the leak check's tracer, reports.
 * syscalls(sanitizer): mmap mprotect munmap madvise clone prctl ptrace wait4 sigaltstack set_robust_list
 * rseq prlimit64 getrlimit readlink readlinkat openat open read write pread64 close stat lstat fstat
 * newfstatat lseek getdents getdents64 waitid rt_sigtimedwait getpid gettid getppid kill tgkill rt_sigaction rt_sigprocmask rt_sigreturn
 * ioctl fcntl sched_yield futex mlock munlock pipe pipe2 dup dup2 dup3 uname getuid geteuid access
 * unlink mkdir arch_prctl nanosleep clock_nanosleep exit exit_group process_vm_readv mincore
 */

#define ARGS_MAX 3

struct limit {
	int call;
	unsigned n;
	struct scmp_arg_cmp args[ARGS_MAX];
};

/* clang-format off */
#define ARG_IS(i, value)         {(i), SCMP_CMP_EQ, (value), 0}
#define ARG_BITS(i, mask, value) {(i), SCMP_CMP_MASKED_EQ, (mask), (value)}
/* clang-format on */

#define TYPE_MASK 0xfUL /* of a socket's type, without SOCK_CLOEXEC and SOCK_NONBLOCK */
#define NEW_SPACE                                                                      \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
	 CLONE_NEWPID | CLONE_NEWNET)
#define THREAD (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD)

static const struct limit limits[] = {
	/* No memory becomes code. */
	{SCMP_SYS(mmap), 1, {ARG_BITS(2, PROT_EXEC, 0)}},
	{SCMP_SYS(mprotect), 1, {ARG_BITS(2, PROT_EXEC, 0)}},
	/* A thread, no process, in no other namespace. */
	{SCMP_SYS(clone), 1, {ARG_BITS(0, NEW_SPACE | THREAD, THREAD)}},
	/* TCP to managers and peers; all else is handed over. */
	{SCMP_SYS(socket),
         3,
         {ARG_IS(0, AF_INET), ARG_BITS(1, TYPE_MASK, SOCK_STREAM), ARG_IS(2, 0)}},
	{SCMP_SYS(socket),
         3,
         {ARG_IS(0, AF_INET6), ARG_BITS(1, TYPE_MASK, SOCK_STREAM), ARG_IS(2, 0)}},
	/* No other protocol is put on top of a connection (TCP_ULP). */
	{SCMP_SYS(setsockopt), 2, {ARG_IS(1, IPPROTO_TCP), ARG_IS(2, TCP_NODELAY)}},
	/* How much is there to read: nothing for terminals or devices. */
	{SCMP_SYS(ioctl), 1, {ARG_IS(1, FIONREAD)}},
	/* Locks and flags of one's own descriptors; no signals to others by F_SETOWN. */
	{SCMP_SYS(fcntl), 1, {ARG_IS(1, F_GETFD)}},
	{SCMP_SYS(fcntl), 1, {ARG_IS(1, F_SETFD)}},
	{SCMP_SYS(fcntl), 1, {ARG_IS(1, F_GETFL)}},
	{SCMP_SYS(fcntl), 1, {ARG_IS(1, F_SETFL)}},
	{SCMP_SYS(fcntl), 1, {ARG_IS(1, F_GETLK)}},
	{SCMP_SYS(fcntl), 1, {ARG_IS(1, F_SETLK)}},
	{SCMP_SYS(fcntl), 1, {ARG_IS(1, F_SETLKW)}},
	{SCMP_SYS(fcntl), 1, {ARG_IS(1, F_DUPFD_CLOEXEC)}},
	{SCMP_SYS(fcntl), 1, {ARG_IS(1, F_GET_SEALS)}},
	{SCMP_SYS(fcntl), 1, {ARG_IS(1, F_ADD_SEALS)}},
	/* One's own limits. */
	{SCMP_SYS(prlimit64), 1, {ARG_IS(0, 0)}},
};

#define LIMITS (sizeof(limits) / sizeof(*limits))

#define CALL(name) SCMP_SYS(name),

static const int engine_calls[] = {SYSCALLS_ENGINE(CALL)};
static const int manager_calls[] = {SYSCALLS_MANAGER(CALL)};
static const int ca_calls[] = {SYSCALLS_CA(CALL)};
#ifdef GINNEL_SANITIZER
static const int sanitizer_calls[] = {SYSCALLS_SANITIZER(CALL)};
#endif

#define COUNT(list) (sizeof(list) / sizeof(*(list)))

static const struct {
	const int *calls;
	unsigned n;
} lists[PROCESS_COUNT] = {
	[PROCESS_ENGINE] = {engine_calls, COUNT(engine_calls)},
	[PROCESS_MANAGER] = {manager_calls, COUNT(manager_calls)},
	[PROCESS_CA] = {ca_calls, COUNT(ca_calls)},
};

unsigned filter_count(enum process p)
{
	return lists[p].n;
}

/* -- rules -------------------------------------------------------------------------------------- */

/* One that this architecture does not have is a negative number. */
static int allow(scmp_filter_ctx f, int call, unsigned n, const struct scmp_arg_cmp *args)
{
	int err = call < 0 ? 0 : seccomp_rule_add_array(f, SCMP_ACT_ALLOW, call, n, args);

	return err == -EEXIST ? 0 : err;
}

static bool is_wide(int call)
{
#ifdef GINNEL_SANITIZER
	for (size_t i = 0; i < COUNT(sanitizer_calls); i++)
		if (sanitizer_calls[i] == call)
			return true;
#else
	(void)call;
#endif
	return false;
}

static int add_call(scmp_filter_ctx f, int call)
{
	struct scmp_arg_cmp self = {0, SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0};
	bool limited = false;
	int err = 0;

	if (is_wide(call))
		return allow(f, call, 0, NULL);
	if (call == SCMP_SYS(tgkill)) /* abort */
		return allow(f, call, 1, &self);
	if (call == SCMP_SYS(clone3))
		return seccomp_rule_add_array(f, SCMP_ACT_ERRNO(ENOSYS), call, 0, NULL);
	for (size_t i = 0; !err && i < LIMITS; i++) {
		if (limits[i].call != call)
			continue;
		limited = true;
		err = allow(f, call, limits[i].n, limits[i].args);
	}
	return limited || err ? err : allow(f, call, 0, NULL);
}

static int add_calls(scmp_filter_ctx f, enum process p)
{
	int err = 0;

	for (unsigned i = 0; !err && i < lists[p].n; i++)
		err = add_call(f, lists[p].calls[i]);
#ifdef GINNEL_SANITIZER
	for (size_t i = 0; !err && i < COUNT(sanitizer_calls); i++)
		err = allow(f, sanitizer_calls[i], 0, NULL);
#endif
	return err;
}

/* -- builds that say what was forbidden ---------------------------------------------------------- */

#if defined(GINNEL_SANITIZER) || defined(GINNEL_FILTER_TRAP)
#define ACTION SCMP_ACT_TRAP

static void say(int sig, siginfo_t *info, void *context)
{
	char line[128];
	char *name;
	int n = snprintf(
		line, sizeof(line),
		"ginneld: system call %d is not in this process's list: ", info->si_syscall);

	(void)context;
	(void)!write(STDERR_FILENO, line, (size_t)n);
	name = seccomp_syscall_resolve_num_arch(info->si_arch, info->si_syscall);
	n = snprintf(line, sizeof(line), "%s\n", name ? name : "unknown");
	(void)!write(STDERR_FILENO, line, (size_t)n);
	signal(sig, SIG_DFL);
	tgkill(getpid(), gettid(), sig);
}

static int catch_it(void)
{
	struct sigaction a = {.sa_sigaction = say, .sa_flags = SA_SIGINFO | SA_NODEFER};

	return sigaction(SIGSYS, &a, NULL) < 0 ? -errno : 0;
}
#else
#define ACTION SCMP_ACT_KILL_PROCESS

static int catch_it(void)
{
	return 0;
}
#endif

/* -- loading ------------------------------------------------------------------------------------- */

static int set_up(scmp_filter_ctx f, uint32_t action)
{
	int err = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, action);

	if (!err)
		err = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err)
		err = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!err && action == SCMP_ACT_TRAP) /* the handler may not run: signals can be blocked */
		err = seccomp_attr_set(f, SCMP_FLTATR_CTL_LOG, 1);
	return err;
}

int filter_load(enum process p, enum filter_mode mode)
{
	uint32_t action = mode == FILTER_TELL ? SCMP_ACT_ERRNO(FILTER_TOLD) : ACTION;
	scmp_filter_ctx f;
	int err;

	if (p <= PROCESS_PARENT || p >= PROCESS_COUNT)
		return -EINVAL;
	f = seccomp_init(action);
	if (!f)
		return -ENOMEM;
	err = set_up(f, action);
	if (!err)
		err = add_calls(f, p);
	if (!err && mode == FILTER_KILL)
		err = catch_it();
	if (!err)
		err = seccomp_load(f);
	seccomp_release(f);
	return err;
}
