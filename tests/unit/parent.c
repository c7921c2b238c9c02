/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parent with children that misbehave. It execs this very program for them: a constructor, which
 * runs before the tests' main, sees the hidden role argument and plays the child that the file
 * fake-ROLE in the state folder asks for. Each test has a network namespace of its own.
 */
#include "gateway/privsep/parent.h"

#include "gateway/clock.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gateway/message.h"
#include "gateway/privsep/admin.h"
#include "gateway/privsep/folder.h"
#include "gateway/privsep/guard.h"
#include "gateway/privsep/isolate.h"
#include "gateway/sealed.h"

#define CONFIG "as it was read"

extern char **environ;

/* -- the child's part --------------------------------------------------------------------------- */

static void note(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(90);
	close(fd);
}

/* What a child must find, and must not. */
static const char *found(const struct message *m)
{
	struct stat st, null;
	char *config_text;
	size_t len;

	for (char **e = environ; *e; e++)
		if (!strstr(*e, "SAN_OPTIONS="))
			return "environment";
	if (fstat(0, &st) < 0 || stat("/dev/null", &null) < 0 || st.st_rdev != null.st_rdev)
		return "stdin";
	if (umask(077) != 077)
		return "umask";
	for (int fd = MESSAGE_CHILD_FD + 1; fd < 256; fd++) {
		bool known = false;

		for (int i = 0; i < m->nfds; i++)
			known |= m->fds[i] == fd;
		if (!known && fcntl(fd, F_GETFD) >= 0)
			return "descriptor";
	}
	if (sealed_read(m->fds[1], &config_text, &len, 64) < 0 || strcmp(config_text, CONFIG) != 0)
		return "config";
	return "well";
}

static void play(const char *role, const char *state)
{
	static struct message m;
	struct message_start s;
	char line[128], mode[32] = "", name[32];
	int dir = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	enum process self = strcmp(role, "engine") == 0 ? PROCESS_ENGINE
	                    : strcmp(role, "ca") == 0   ? PROCESS_CA
	                                                : PROCESS_MANAGER;

	snprintf(name, sizeof(name), "fake-%s", role);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, mode, sizeof(mode) - 1) < 0)
		_exit(91);
	close(fd);
	fd = dir;
	dir = fcntl(dir, F_DUPFD_CLOEXEC, 300); /* out of the way of what is looked for */
	close(fd);
	if (message_receive(MESSAGE_CHILD_FD, PROCESS_PARENT, self, &m) < 0 ||
	    message_start_read(&m, &s) < 0)
		_exit(92);
	snprintf(name, sizeof(name), "seen-%s", role);
	snprintf(line, sizeof(line), "%d tun %d udp %d listen %d peer %d uid %u %s\n", getpid(),
	         s.ntun, s.nudp, s.nlisten, s.npeer, s.uid, found(&m));
	note(dir, name, line);
	if (strcmp(mode, "die") == 0)
		_exit(3);
	if (strcmp(mode, "garbage") == 0 && send(MESSAGE_CHILD_FD, "garbage", 7, 0) < 0)
		_exit(93);
	if (strcmp(mode, "twice") == 0)
		message_send(MESSAGE_CHILD_FD, MESSAGE_READY, 0, NULL, 0, NULL, 0);
	fd = openat(dir, "health", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (isolate_child(s.uid, s.gid, m.fds[0]) < 0)
		_exit(94);
	if (message_send(MESSAGE_CHILD_FD, MESSAGE_READY, 0, NULL, 0, NULL, 0) < 0)
		_exit(95);
	while (message_receive(MESSAGE_CHILD_FD, PROCESS_PARENT, self, &m) == 0) {
		struct message_health h;

		if (m.head.type == MESSAGE_STOP && strcmp(mode, "deaf") != 0)
			_exit(0);
		if (m.head.type != MESSAGE_HEALTH)
			continue;
		memcpy(&h, m.body, sizeof(h));
		snprintf(line, sizeof(line), "guard %d device %d manager %d ca %d\n", h.guard_ok,
		         h.device_ok, h.manager_ok, h.ca_ok);
		if (write(fd, line, strlen(line)) < 0)
			_exit(96);
	}
	_exit(1);
}

__attribute__((constructor)) static void fake_child(int argc, char **argv)
{
	if (argc > 4 && strcmp(argv[1], "--role") == 0)
		play(argv[2], argv[4]);
}

/* -- the tests' part ------------------------------------------------------------------------------- */

static char root[64], state[96], run[96];
static struct config config;
static struct node node;
static pid_t parent;

static void setup(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
	cr_assert_eq(unshare(CLONE_NEWNET), 0);
	strcpy(root, "/tmp/parent-XXXXXX");
	cr_assert_not_null(mkdtemp(root));
	cr_assert_eq(chmod(root, 0755), 0);
	snprintf(state, sizeof(state), "%s/state", root);
	snprintf(run, sizeof(run), "%s/run", root);
	memset(&config, 0, sizeof(config));
	memset(&node, 0, sizeof(node));
	strcpy(config.device, "ginnel0");
	config.text = strdup(CONFIG);
	config.len = strlen(CONFIG);
	strcpy(node.name, "n1");
	node.role = ROLE_MANAGER;
	node.port = 4747;
	cr_assert_eq(prefix_parse(&node.overlay[node.noverlay++], "10.77.0.0/16"), 0);
	cr_assert_eq(prefix_parse(&node.prefixes[node.nprefixes++], "10.77.1.0/24"), 0);
}

static void end(void)
{
	char command[128];

	if (parent > 0) {
		kill(parent, SIGKILL);
		waitpid(parent, NULL, 0);
	}
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	cr_expect_eq(system(command), 0);
}

static void start(void)
{
	struct parent_params p = {.config = &config,
	                          .node = &node,
	                          .state_path = state,
	                          .run_path = run,
	                          .workers = 1};
	char why[256];

	cr_assert_eq(parent_open_state(&p.state_dir, state, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(parent_open_run(&p.run_dir, run, why, sizeof(why)), 0, "%s", why);
	fflush(NULL);
	parent = fork();
	if (parent == 0) {
		if (parent_lock(p.state_dir, p.run_dir, why, sizeof(why)) < 0)
			_exit(80);
		_exit(parent_run(&p));
	}
	close(p.state_dir);
	close(p.run_dir);
}

static void ask_for(const char *role, const char *mode)
{
	char path[160];
	FILE *f;

	cr_assert(mkdir(state, 0700) == 0 || errno == EEXIST);
	snprintf(path, sizeof(path), "%s/fake-%s", state, role);
	f = fopen(path, "we");
	cr_assert_not_null(f);
	fputs(mode, f);
	fclose(f);
}

static int lines(const char *name, char last[128])
{
	char path[160], line[128];
	int n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", state, name);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		n++;
		strcpy(last, line);
	}
	if (f)
		fclose(f);
	return n;
}

#define WITHIN(ms, condition)                                                   \
	do {                                                                    \
		int left_;                                                      \
		for (left_ = (ms); left_ > 0 && !(condition); left_ -= 5)       \
			usleep(5000);                                           \
		cr_assert(left_ > 0, "not within %d ms: %s", (ms), #condition); \
	} while (0)

static char last[128];

static pid_t seen(const char *role)
{
	char name[32];

	snprintf(name, sizeof(name), "seen-%s", role);
	return lines(name, last) ? atoi(last) : 0;
}

static int starts(const char *role)
{
	char name[32];

	snprintf(name, sizeof(name), "seen-%s", role);
	return lines(name, last);
}

static bool healthy(const char *text)
{
	return lines("health", last) && strcmp(last, text) == 0;
}

#define ALL_WELL "guard 1 device 1 manager 1 ca 1\n"

/* Dead and not yet buried by whoever inherited it is gone, too. */
static bool is_gone(pid_t pid)
{
	char path[32], text[512];
	const char *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return true;
	text[n] = 0;
	end = strrchr(text, ')');
	return end && (end[2] == 'Z' || end[2] == 'X');
}

static int ended(void)
{
	int status;

	cr_assert_eq(waitpid(parent, &status, 0), parent);
	parent = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int exists(const char *folder, const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

TestSuite(parent, .init = setup, .fini = end, .timeout = 60);

Test(parent, starts_all_three_with_what_each_serves_and_nothing_else)
{
	char want[128];

	start();
	WITHIN(10000, healthy(ALL_WELL));
	snprintf(want, sizeof(want), "%d tun 1 udp 1 listen 1 peer 0 uid %d well\n", seen("engine"),
	         ISOLATE_UID_ENGINE);
	cr_expect_str_eq(last, want);
	snprintf(want, sizeof(want), "%d tun 0 udp 0 listen 1 peer 1 uid %d well\n",
	         seen("manager"), ISOLATE_UID_MANAGER);
	cr_expect_str_eq(last, want);
	snprintf(want, sizeof(want), "%d tun 0 udp 0 listen 1 peer 1 uid %d well\n", seen("ca"),
	         ISOLATE_UID_CA);
	cr_expect_str_eq(last, want);
	kill(parent, SIGTERM);
	cr_expect_eq(ended(), 0);
	cr_expect_not(exists(run, "control") || exists(run, "admin") || exists(run, "ca"));
	cr_expect(if_nametoindex("ginnel0") > 0, "the guards stay");
}

Test(parent, a_plain_node_has_an_engine_alone)
{
	node.role = ROLE_NODE;
	start();
	WITHIN(10000, healthy("guard 1 device 1 manager 2 ca 2\n"));
	cr_expect_eq(starts("manager") + starts("ca"), 0);
	cr_expect_not(exists(run, "ca"));
}

Test(parent, what_dies_is_started_again)
{
	pid_t engine, manager, ca;

	start();
	WITHIN(10000, healthy(ALL_WELL));
	engine = seen("engine");
	manager = seen("manager");
	ca = seen("ca");
	kill(engine, SIGKILL);
	WITHIN(3000, seen("engine") != engine && healthy(ALL_WELL));
	cr_expect_eq(seen("manager"), manager);
	cr_expect_eq(seen("ca"), ca);
	engine = seen("engine");
	kill(ca, SIGKILL); /* the other end of their socketpair is told by a new start */
	WITHIN(3000, seen("manager") != manager && seen("ca") != ca);
	cr_expect(is_gone(manager));
	WITHIN(3000, healthy(ALL_WELL));
	cr_expect_eq(seen("engine"), engine);
}

Test(parent, the_others_go_when_it_is_killed_and_another_starts_at_once)
{
	pid_t engine, manager, ca;

	start();
	WITHIN(10000, healthy(ALL_WELL));
	engine = seen("engine");
	manager = seen("manager");
	ca = seen("ca");
	kill(parent, SIGKILL);
	ended();
	WITHIN(1000, is_gone(engine) && is_gone(manager) && is_gone(ca));
	start();
	WITHIN(10000, seen("engine") != engine && healthy(ALL_WELL));
	kill(parent, SIGINT);
	cr_expect_eq(ended(), 0);
}

Test(parent, who_says_what_it_may_not_is_ended)
{
	ask_for("engine", "garbage");
	start();
	WITHIN(5000, starts("engine") >= 3);
	ask_for("engine", "twice");
	WITHIN(5000, starts("engine") >= 5);
	ask_for("engine", "");
	WITHIN(10000, healthy(ALL_WELL));
	cr_expect_eq(starts("manager"), 1);
}

Test(parent, who_dies_at_once_is_started_ever_more_slowly)
{
	int64_t begun;

	ask_for("engine", "die");
	node.role = ROLE_NODE;
	begun = clock_now();
	start();
	/* After 100, 200, 400, 800 ms at least; a machine that is busy may take longer for each. */
	WITHIN(60000, starts("engine") >= 5);
	cr_expect(clock_now() - begun >= 1500 * INT64_C(1000000));
}

Test(parent, who_is_deaf_is_killed_in_the_end)
{
	ask_for("engine", "deaf");
	start();
	WITHIN(10000, healthy(ALL_WELL));
	kill(parent, SIGTERM);
	cr_expect_eq(ended(), 0);
	WITHIN(100, is_gone(seen("engine")));
}

Test(parent, the_device_made_anew_is_a_new_engine)
{
	struct link *l;
	pid_t engine;
	int old;

	start();
	WITHIN(10000, healthy(ALL_WELL));
	engine = seen("engine");
	old = (int)if_nametoindex("ginnel0");
	cr_assert_eq(link_new(&l), 0);
	cr_assert_eq(link_del(l, old), 0);
	link_free(l);
	WITHIN(5000, if_nametoindex("ginnel0") > 0 && (int)if_nametoindex("ginnel0") != old);
	WITHIN(5000, seen("engine") != engine && healthy(ALL_WELL));
}

/* -- root's socket ---------------------------------------------------------------------------------- */

static void ask_admin(uid_t uid, const char *question, char answer[256])
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int p[2];
	ssize_t n;

	cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/admin", run);
	if (fork() == 0) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (setresuid(uid, uid, uid) < 0 ||
		    connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
			snprintf(answer, 256, "%s", strerror(errno));
			_exit(write(p[1], answer, strlen(answer)) < 0);
		}
		(void)!send(fd, question, strlen(question), MSG_NOSIGNAL);
		n = read(fd, answer, 255);
		_exit(write(p[1], answer, n > 0 ? (size_t)n : 0) < 0);
	}
	close(p[1]);
	n = read(p[0], answer, 255);
	answer[n > 0 ? n : 0] = 0;
	close(p[0]);
}

Test(parent, root_may_ask_it_down_and_others_not)
{
	char answer[256], want[128];

	start();
	WITHIN(10000, healthy(ALL_WELL));
	ask_admin(1000, "{\"cmd\":\"down\"}\n", answer);
	cr_expect_str_eq(answer, "Permission denied");
	/* Also where the modes were opened by mistake: who asks is known by the kernel. */
	snprintf(want, sizeof(want), "%s/admin", run);
	cr_assert(chmod(run, 0755) == 0 && chmod(want, 0666) == 0);
	ask_admin(1000, "{\"cmd\":\"down\"}\n", answer);
	cr_expect(strstr(answer, "only root may, and you are uid 1000"), "%s", answer);
	ask_admin(0, "{\"cmd\":\"ping\"}\n", answer);
	cr_expect(strstr(answer, "\"ready\":true"), "%s", answer);
	ask_admin(0, "{\"cmd\":\"down\"}\n", answer);
	snprintf(want, sizeof(want), "{\"pid\":%d}\n", parent);
	cr_expect_str_eq(answer, want);
	cr_expect_eq(ended(), 0);
}

Test(parent, silent_clients_do_not_keep_root_out)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	char answer[256];

	node.role = ROLE_NODE;
	start();
	WITHIN(10000, exists(run, "admin"));
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/admin", run);
	for (int i = 0; i < 3 * ADMIN_CLIENTS_MAX; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		WITHIN(10000, connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
	}
	ask_admin(0, "{\"cmd\":\"ping\"}\n", answer); /* after ADMIN_DEADLINE_NS, three times */
	cr_expect(strstr(answer, "\"pid\":"), "%s", answer);
}

static bool answer_is(const char *line, const char *want)
{
	char out[256];
	bool down;
	size_t n = admin_answer(line, strlen(line), true, &down, out, sizeof(out));

	out[n] = 0;
	return strstr(out, want) && out[n - 1] == '\n' && down == (strstr(line, "down\"}") != NULL);
}

Test(parent, root_may_mistype)
{
	cr_expect(answer_is("{\"cmd\":\"down\"}", "{\"pid\":"));
	cr_expect(answer_is("{\"cmd\":\"ping\"}", "\"ready\":true"));
	cr_expect(answer_is("", "\"error\":\"admin: "));
	cr_expect(answer_is("{", "\"error\":\"admin: "));
	cr_expect(answer_is("[]", "\"error\":\"admin: "));
	cr_expect(answer_is("{\"cmd\":7}", "\"error\":\"admin: "));
	cr_expect(answer_is("{\"cmd\":\"dow\"}", "\"error\":\"admin: "));
	cr_expect(answer_is("{\"cmd\":\"ping\",\"cmd\":\"down\" }", "\"error\":\"admin: "));
}

/* -- folders ---------------------------------------------------------------------------------------- */

Test(parent, folders_are_made_and_mended_and_taken_from_nobody)
{
	struct stat st;
	char why[256], deep[160];
	int fd, other;

	snprintf(deep, sizeof(deep), "%s/a/b/state", root);
	cr_assert_eq(parent_open_state(&fd, deep, why, sizeof(why)), 0, "%s", why);
	cr_expect(stat(deep, &st) == 0 && (st.st_mode & 07777) == 0700);
	close(fd);
	cr_assert_eq(chmod(deep, 01777), 0);
	cr_assert_eq(parent_open_state(&fd, deep, why, sizeof(why)), 0);
	cr_expect(stat(deep, &st) == 0 && (st.st_mode & 07777) == 0700);
	/* A lock lasts as long as its holder. */
	cr_expect_eq(folder_lock(fd), 0);
	other = open(deep, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_expect_eq(folder_lock(other), -EBUSY);
	close(fd);
	cr_expect_eq(folder_lock(other), 0);
	close(other);
	cr_assert_eq(chown(deep, 1000, 1000), 0);
	cr_expect_eq(parent_open_state(&fd, deep, why, sizeof(why)), -EPERM);
	cr_expect(strstr(why, "uid 1000 owns it"), "%s", why);
	snprintf(deep, sizeof(deep), "%s/file", root);
	close(open(deep, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	cr_expect_eq(parent_open_state(&fd, deep, why, sizeof(why)), -ENOTDIR);
	cr_expect_eq(parent_open_state(&fd, "", why, sizeof(why)), -ENOENT);
}

Test(parent, the_folder_of_a_process_is_its_own)
{
	struct stat st;
	char why[256];
	int dir, fd;

	cr_assert_eq(parent_open_state(&dir, state, why, sizeof(why)), 0);
	cr_assert_eq(folder_open_own(&fd, dir, "ca", 64749, 64749, why, sizeof(why)), 0);
	cr_expect(fstatat(dir, "ca", &st, 0) == 0 && st.st_uid == 64749 &&
	          (st.st_mode & 07777) == 0700);
	cr_expect(openat(fd, "x", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0);
	close(fd);
	cr_expect_eq(folder_open_own(&fd, dir, "ca", 64748, 64748, why, sizeof(why)), -EPERM);
	cr_expect(strstr(why, "ca/: uid 64749 owns it"), "%s", why);
	cr_expect_eq(symlinkat("/etc", dir, "engine"), 0);
	cr_expect_eq(folder_open_own(&fd, dir, "engine", 64747, 64747, why, sizeof(why)), -ENOTDIR);
	cr_expect(stat("/etc", &st) == 0 && st.st_uid == 0);
}

Test(parent, two_do_not_run_in_one_folder)
{
	start();
	WITHIN(10000, healthy(ALL_WELL));
	pid_t first = parent;

	start();
	cr_expect_eq(ended(), 80);
	parent = first;
	kill(parent, SIGTERM);
	cr_expect_eq(ended(), 0);
}

Test(parent, a_port_that_is_taken_is_an_error_and_the_guards_stand)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	at.sin_port = htons(4748);
	cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	cr_assert_eq(listen(fd, 1), 0);
	start();
	cr_expect_eq(ended(), 1);
	cr_expect(if_nametoindex("ginnel0") > 0);
}
