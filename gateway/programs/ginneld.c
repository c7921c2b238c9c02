/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The daemon: the parent, or with the hidden argument --role one of the processes it starts.
 *
 * No key is ever in the parent's memory. What it must know of this node is public (node.json, or the
 * certificate); whether key and certificate are sound is looked at by a short-lived child, so that
 * a bad file is one clear error at the start and not an engine that dies again and again.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/aead.h"
#include "crypto/keyfile.h"
#include "crypto/keylog.h"
#include "crypto/wolf.h"
#include "gateway/config.h"
#include "gateway/control/control.h"
#include "gateway/engine/ring.h"
#include "gateway/identity.h"
#include "gateway/log.h"
#include "gateway/manager/manager.h"
#include "gateway/message.h"
#include "gateway/node.h"
#include "gateway/privsep/attempt.h"
#include "gateway/privsep/confine.h"
#include "gateway/privsep/folder.h"
#include "gateway/privsep/guarded.h"
#include "gateway/privsep/isolate.h"
#include "gateway/privsep/parent.h"
#include "gateway/privsep/signer.h"
#include "gateway/sealed.h"
#include "gateway/workers.h"

#define CONFIG_DEFAULT "/etc/ginnel/ginnel.yaml"
#define STATE_DEFAULT  "/var/lib/ginnel"
#define RUN_DEFAULT    "/run/ginnel"
#define WHY_MAX        1024
#define CHAIN_MAX      ((size_t)CERT_CHAIN_MAX * CERT_DER_MAX)
#define START_FIRST    2 /* of a START's descriptors, the first behind folder and config */

enum exit { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum mode { MODE_DAEMON, MODE_GUARD, MODE_CHECK };

struct daemon {
	const char *config_path, *state_path, *run_path;
	char config_at[2 * PATH_MAX]; /* absolute */
	bool config_given;
	enum mode mode;
	const char *role; /* NULL: the parent */
	int state_dir;
	struct config config;
	struct config_faults faults;
	struct node node;
	struct identity identity;
	struct message message;
};

/* -- what this node is --------------------------------------------------------------------------- */

static int read_config(struct daemon *d)
{
	if (config_load(&d->config, &d->faults, d->config_path, d->config_given) == 0)
		return 0;
	config_faults_print(&d->faults, stderr);
	fault("the config cannot be used", "mend the faults above", "%s", d->config_path);
	return -EINVAL;
}

static int read_file(const char *path, uint8_t *buf, size_t max, size_t *n)
{
	const char *slash = strrchr(path, '/'); /* paths of the config are absolute */
	char folder[4096];
	int dir, err;

	if (!slash || (size_t)(slash - path) >= sizeof(folder))
		return -EINVAL;
	snprintf(folder, sizeof(folder), "%.*s/", (int)(slash - path), path);
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	err = keyfile_read(dir, slash + 1, buf, max, n);
	close(dir);
	return err;
}

/* Name and cluster of our own certificate, without judging it: the guard goes up for a node whose
 * certificate has expired, too.
 */
static int read_certificate(struct cert_info *out, const char *path)
{
	uint8_t *pem = malloc(KEYFILE_MAX), *der = malloc(CHAIN_MAX);
	struct cert_chain chain;
	size_t n = 0;
	int err = -ENOMEM;

	if (pem && der)
		err = read_file(path, pem, KEYFILE_MAX, &n);
	if (!err)
		err = cert_chain_from_pem(&chain, der, CHAIN_MAX, pem, n);
	if (!err && cert_parse(out, chain.at[0].der, chain.at[0].len) != CERT_OK)
		err = -EBADMSG;
	free(pem);
	free(der);
	return err;
}

static int static_node(struct daemon *d)
{
	char why[WHY_MAX] = "";
	struct cert_info own;
	int err = read_certificate(&own, d->config.cert);

	if (err) {
		fault(err == -EBADMSG ? "it is no certificate of a node" : strerrordesc_np(-err),
		      "identity.cert names the node's own certificate", "%s", d->config.cert);
		return err;
	}
	err = node_from_config(&d->node, &d->config, &own, why, sizeof(why));
	if (err)
		fault(why, NULL, "%s", d->config.path);
	return err;
}

static int enrolled_node(struct daemon *d)
{
	char why[WHY_MAX] = "";
	int err = node_load(&d->node, d->state_dir);

	if (err == -ENOENT)
		fault("not enrolled: there is no " NODE_FILE,
		      "run `ginnel init` or `ginnel join` first, or give identity and peers in the "
		      "config",
		      "%s", d->state_path);
	else if (err == -EPERM)
		fault("others than root can read or write it",
		      "find out who changed it, then chown it to root and chmod 600 it",
		      "%s/" NODE_FILE, d->state_path);
	else if (err == -EBADMSG)
		fault("it is damaged, or another version of ginnel wrote it",
		      "restore it from a backup, or join again", "%s/" NODE_FILE, d->state_path);
	else if (err)
		fault(strerrordesc_np(-err), NULL, "%s/" NODE_FILE, d->state_path);
	if (err)
		return err;
	err = node_check_config(&d->node, &d->config, why, sizeof(why));
	if (err)
		fault(why, "take it out of the config, or enrol anew", "%s", d->config.path);
	return err;
}

static int read_node(struct daemon *d)
{
	return config_is_static(&d->config) ? static_node(d) : enrolled_node(d);
}

/* -- the processes that the parent starts ------------------------------------------------------------ */

static bool is_socketpair(int fd)
{
	int domain = 0, type = 0;
	socklen_t n = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_SEQPACKET;
}

static int role_parse(enum process *out, const char *name)
{
	for (enum process p = PROCESS_ENGINE; p < PROCESS_COUNT; p++)
		if (strcmp(process_name(p), name) == 0) {
			*out = p;
			return 0;
		}
	return -EINVAL;
}

/* Uid and capabilities, then files, then calls; but the engine's calls later: control knows when it has
 * all that takes more.
 */
static int role_confine(struct daemon *d, enum process role, const struct message_start *s,
                        char *why, size_t max)
{
	const char *what = "privileges cannot be given up";
	int err = isolate_child(s->uid, s->gid, d->message.fds[0]);

	if (!err) {
		what = "files cannot be closed off by Landlock";
		err = confine_files(role, d->message.fds[0]);
	}
	if (!err && role != PROCESS_ENGINE) {
		what = "the system call filter cannot be put on";
		err = confine_calls(role);
	}
	if (err)
		snprintf(why, max, "%s: %s", what, strerrordesc_np(-err));
	return err;
}

/* Files of one's own PKI belong to root and are read while we are; those of the process's own
 * folder only after it stands in it.
 */
static int role_identity(struct daemon *d, enum process role, const struct message_start *s)
{
	bool files = role == PROCESS_ENGINE && d->node.is_static;
	char why[WHY_MAX] = "";
	time_t wall = time(NULL);
	int err = 0;

	if (files)
		err = identity_load_files(&d->identity, d->config.cert, d->config.key, d->config.ca,
		                          wall, why, sizeof(why));
	if (!err)
		err = role_confine(d, role, s, why, sizeof(why));
	if (!err && !files && role != PROCESS_CA)
		err = identity_load_renewable(&d->identity, AT_FDCWD,
		                              role == PROCESS_ENGINE ? "node" : "manager", wall,
		                              why, sizeof(why));
	if (err)
		log_error("cannot serve", "process", process_name(role), "reason",
		          why[0] ? why : strerrordesc_np(-err), NULL);
	return err;
}

static int engine_confine(void)
{
	int err = confine_calls(PROCESS_ENGINE);

	if (err)
		log_error("cannot serve", "process", "engine", "reason",
		          "the system call filter cannot be put on", NULL);
	return err;
}

/* A debug build's; beside the node's key, which is as secret. */
static int keylog_begin(void)
{
	int fd;

	if (!keylog_built())
		return 0;
	fd = open(KEYLOG_FILE, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	log_warn("DEBUG BUILD: THE KEYS OF ALL SESSIONS ARE WRITTEN TO A FILE", "file",
	         "engine/" KEYLOG_FILE, NULL);
	keylog_to(fd);
	return 0;
}

static int engine_main(struct daemon *d, const struct message_start *s)
{
	struct control_params p = {
		.config = &d->config,
		.node = &d->node,
		.identity = &d->identity,
		.parent_fd = MESSAGE_CHILD_FD,
		.ntun = s->ntun,
		.group = s->group,
		.confine = engine_confine,
	};
	const int *fd = d->message.fds + START_FIRST;

	if (s->ntun < 1 || s->ntun > WORKERS_MAX ||
	    s->nudp != (int)workers_sockets((unsigned)s->ntun) || s->nlisten != 1 || s->npeer ||
	    keylog_begin())
		return EXIT_FAILED;
	memcpy(p.tun_fds, fd, (size_t)s->ntun * sizeof(int));
	memcpy(p.udp_fds, fd + s->ntun, (size_t)s->nudp * sizeof(int));
	p.control_fd = fd[s->ntun + s->nudp];
	return control_run(&p);
}

static int manager_main(struct daemon *d, const struct message_start *s)
{
	struct manager_params p = {
		.node = &d->node,
		.identity = &d->identity,
		.parent_fd = MESSAGE_CHILD_FD,
		.nlisten = s->nlisten,
	};

	if (s->ntun || s->nudp || s->npeer != 1 || s->nlisten < 1 || s->nlisten > 4)
		return EXIT_FAILED;
	memcpy(p.listen_fds, d->message.fds + START_FIRST, (size_t)s->nlisten * sizeof(int));
	p.ca_fd = d->message.fds[START_FIRST + s->nlisten];
	return manager_run(&p);
}

static int ca_main(struct daemon *d, const struct message_start *s)
{
	if (s->ntun || s->nudp || s->npeer != 1 || s->nlisten != 1)
		return EXIT_FAILED;
	return signer_run(MESSAGE_CHILD_FD, d->message.fds[START_FIRST + 1],
	                  d->message.fds[START_FIRST]);
}

/* As the parent read it at its start: what became of the file since is for the next start. */
static int role_config(struct daemon *d)
{
	char *text = NULL;
	size_t len;
	int err = sealed_read(d->message.fds[1], &text, &len, CONFIG_BYTES_MAX);

	close(d->message.fds[1]);
	if (!err)
		err = config_parse(&d->config, &d->faults, d->config_given ? d->config_path : "",
		                   text, len);
	if (err) {
		config_faults_print(&d->faults, stderr);
		fault(strerrordesc_np(-err), NULL, "the config that was read at the start");
	}
	free(text);
	return err;
}

static int role_main(struct daemon *d)
{
	struct message_start s;
	enum process role;
	int ret;

	prctl(PR_SET_NAME, "ginneld"); /* it was exec'ed by another name */
	if (role_parse(&role, d->role) < 0 || !is_socketpair(MESSAGE_CHILD_FD)) {
		fault("it is ginneld's own, for the processes it starts", "leave it out", "--role");
		return EXIT_USAGE;
	}
	if (message_receive(MESSAGE_CHILD_FD, PROCESS_PARENT, role, &d->message) < 0 ||
	    message_start_read(&d->message, &s) < 0)
		return EXIT_FAILED;
	d->state_dir = open(d->state_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->state_dir < 0 || role_config(d) < 0 || read_node(d) < 0)
		return EXIT_FAILED;
	close(d->state_dir);
	log_setup(d->config.log_level, d->config.log_json, d->node.name);
	if (wolf_start() < 0 || role_identity(d, role, &s) < 0)
		return EXIT_FAILED;
	close(d->message.fds[0]);
	if (role == PROCESS_ENGINE)
		ret = engine_main(d, &s);
	else
		ret = role == PROCESS_MANAGER ? manager_main(d, &s) : ca_main(d, &s);
	identity_clear(&d->identity);
	return ret;
}

/* -- the parent ---------------------------------------------------------------------------------- */

static int load_identity(struct daemon *d, const char *folder, const char *base, char *why,
                         size_t max)
{
	time_t wall = time(NULL);
	struct stat st;
	int dir, err;

	if (d->node.is_static)
		return identity_load_files(&d->identity, d->config.cert, d->config.key,
		                           d->config.ca, wall, why, max);
	dir = openat(d->state_dir, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0) {
		snprintf(why, max, "%s/%s: %s", d->state_path, folder, strerrordesc_np(errno));
		return -errno;
	}
	/* As the process whose folder it is: root would not take a key of another's. */
	if (fstat(dir, &st) < 0 || seteuid(st.st_uid) < 0)
		err = -errno;
	else
		err = identity_load_renewable(&d->identity, dir, base, wall, why, max);
	if (seteuid(0) < 0)
		err = -errno;
	close(dir);
	return err;
}

static int look_at_identity(struct daemon *d)
{
	char why[WHY_MAX] = "";
	int err;

	if (wolf_start() < 0) {
		fault("wolfSSL does not start", NULL, "identity");
		return EXIT_FAILED;
	}
	if (strcmp(aead_name(), AEAD_NAME_NONE) == 0)
		fputs("ginneld: BENCHMARK BUILD: NOTHING IS ENCRYPTED\n", stderr);
	if (keylog_built())
		fputs("ginneld: DEBUG BUILD: THE KEYS OF ALL SESSIONS ARE WRITTEN TO A FILE\n",
		      stderr);
	err = load_identity(d, "engine", "node", why, sizeof(why));
	if (!err)
		identity_clear(&d->identity);
	if (!err && d->node.role == ROLE_MANAGER) {
		err = load_identity(d, "manager", "manager", why, sizeof(why));
		if (!err)
			identity_clear(&d->identity);
	}
	if (!err)
		return EXIT_OK;
	fault(why[0] ? why : strerrordesc_np(-err), NULL, "identity");
	return EXIT_FAILED;
}

/* In a process of its own, which the key leaves with. */
static int check_identity(struct daemon *d)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		/* One's own PKI with the rights that the engine will read it with, or it could not
		 * later; the folders of enrolled nodes are opened for it beforehand.
		 */
		if (d->node.is_static && geteuid() == 0 && isolate_parent() < 0)
			_exit(EXIT_FAILED);
		_exit(look_at_identity(d));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_OK ? 0 : -EINVAL;
}

/* A ring that is not restricted would pass by the engine's filter. */
static int check_ring(bool say)
{
	int err = ring_check();

	if (err == -EKEYREJECTED) {
		fault("a ring of io_uring does more than it was restricted to",
		      "it is the kernel's fault; turn io_uring off: sysctl "
		      "kernel.io_uring_disabled=2",
		      "confinement");
		return err;
	}
	if (say)
		printf("io_uring: %s\n", err ? "not to be had; ordinary calls do the same"
		                             : "restricted to four operations on two files");
	return 0;
}

/* Each process of this node, confined as it will be, in short-lived ones. */
static int check_confinement(const struct daemon *d, int run_dir, bool say)
{
	enum process last = d->node.role == ROLE_MANAGER ? PROCESS_CA : PROCESS_ENGINE;
	const struct parent_params params = {
		.config = &d->config, .state_dir = d->state_dir, .run_dir = run_dir};
	const struct confine_places places = parent_places(&params);
	char text[WHY_MAX];
	int err = 0;

	fflush(NULL);
	for (enum process p = PROCESS_PARENT; !err && p <= last; p++) {
		err = attempt_all(p, -1, &places, text, sizeof(text));
		if (err)
			fault(text,
			      "it takes seccomp filters (CONFIG_SECCOMP_FILTER), and Landlock "
			      "where it is on must work; look whether a container forbids it",
			      "confinement");
		else if (say)
			puts(text);
	}
	return err ? err : check_ring(say);
}

static int guard_only(struct daemon *d, struct guard_plan *plan)
{
	char why[WHY_MAX] = "";
	struct guard *g;

	plan->state_dir = d->state_dir;
	if (guarded_up(&g, plan, why, sizeof(why)) < 0) {
		fault(why, NULL, "the guards cannot be put up");
		return EXIT_FAILED;
	}
	guard_release(g);
	return EXIT_OK;
}

static int guard_node(struct daemon *d)
{
	char why[WHY_MAX] = "";
	struct guard_plan plan;

	if (guard_plan_make(&plan, &d->node, &d->config, why, sizeof(why)) == 0)
		return guard_only(d, &plan);
	fault(why, NULL, "the guards cannot be put up");
	return EXIT_FAILED;
}

/* Overlay traffic stops also where ginneld is misconfigured: what a node is known to guard is guarded
 * before we give up: what was last guarded, or else what node.json says, with the device of what could
 * be read of the config.
 */
static int fail_closed(struct daemon *d)
{
	char why[WHY_MAX];
	struct guard_plan plan;
	int run = open(d->run_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* Held by a running ginneld: the guards are its own, and stand. */
	if ((run >= 0 ? parent_lock(d->state_dir, run, why, sizeof(why))
	              : folder_lock(d->state_dir)) == -EBUSY)
		return EXIT_FAILED;
	if (guarded_last(&plan, d->state_dir) == 0) {
		guard_only(d, &plan);
		return EXIT_FAILED;
	}
	if (node_load(&d->node, d->state_dir) < 0)
		return EXIT_FAILED;
	if (!config_device_ok(d->config.device))
		snprintf(d->config.device, sizeof(d->config.device), CONFIG_DEVICE);
	guard_node(d);
	return EXIT_FAILED;
}

static int run(struct daemon *d)
{
	struct parent_params p = {
		.config = &d->config,
		.node = &d->node,
		.state_path = d->state_path,
		.run_path = d->run_path,
		.state_dir = d->state_dir,
	};
	/* One thread yet. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *workers = getenv("GINNEL_WORKERS");
	char why[WHY_MAX] = "";

	if (workers_count(&p.workers, workers) < 0) {
		fault("it is not 1 to 8", "leave it out to have one worker per core",
		      "GINNEL_WORKERS");
		return fail_closed(d);
	}
	/* So that identity's paths mean there what they mean here. */
	if (d->config.path[0]) {
		const char *slash = strrchr(d->config_path, '/');

		snprintf(d->config_at, sizeof(d->config_at), "%s/%s", d->config.dir,
		         slash ? slash + 1 : d->config_path);
		p.config_path = d->config_at;
	}
	if (parent_open_run(&p.run_dir, d->run_path, why, sizeof(why)) < 0) {
		fault(why, NULL, "ginneld cannot start");
		return fail_closed(d);
	}
	if (parent_lock(p.state_dir, p.run_dir, why, sizeof(why)) < 0) {
		fault(why, NULL, "ginneld cannot start");
		return EXIT_FAILED;
	}
	if (check_identity(d) < 0 || check_confinement(d, p.run_dir, false) < 0) {
		/* What cannot be carried must not leave otherwise. */
		guard_node(d);
		return EXIT_FAILED;
	}
	log_setup(d->config.log_level, d->config.log_json, d->node.name);
	log_info("ginneld starts", "version", GINNEL_VERSION, "role", cert_role_name(d->node.role),
	         "cluster", d->node.cluster, NULL);
	return parent_run(&p);
}

static int check(struct daemon *d)
{
	char why[WHY_MAX] = "";
	struct guard_plan plan;

	if (guard_plan_make(&plan, &d->node, &d->config, why, sizeof(why)) < 0) {
		fault(why, NULL, "%s", d->config_path);
		return EXIT_FAILED;
	}
	if (check_identity(d) < 0)
		return EXIT_FAILED;
	printf("config, identity: ok\nnode %s of %s, role %s\n%s, wolfSSL %s\n", d->node.name,
	       d->node.cluster, cert_role_name(d->node.role), aead_name(), wolf_version());
	return check_confinement(d, -1, true) < 0 ? EXIT_FAILED : EXIT_OK;
}

/* --check changes nothing, so it makes no folder either. */
static int open_state(struct daemon *d)
{
	char why[WHY_MAX] = "";

	if (d->mode == MODE_CHECK) {
		d->state_dir = open(d->state_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (d->state_dir >= 0 || config_is_static(&d->config))
			return 0;
		fault(strerrordesc_np(errno), "give the right --state", "%s", d->state_path);
		return -errno;
	}
	if (geteuid() != 0) {
		fault("it needs root", "start it with sudo, or by systemd", "ginneld");
		return -EPERM;
	}
	if (parent_open_state(&d->state_dir, d->state_path, why, sizeof(why)) == 0)
		return 0;
	fault(why, NULL, "state folder");
	return -EINVAL;
}

static int daemon_main(struct daemon *d)
{
	int err = read_config(d);

	if ((err && d->mode == MODE_CHECK) || open_state(d) < 0)
		return EXIT_FAILED;
	if (!err)
		err = read_node(d);
	if (err)
		return d->mode == MODE_CHECK ? EXIT_FAILED : fail_closed(d);
	switch (d->mode) {
	case MODE_GUARD:
		if (folder_lock(d->state_dir) == -EBUSY)
			return EXIT_OK; /* a running ginneld holds them up */
		return guard_node(d);
	case MODE_CHECK:
		return check(d);
	case MODE_DAEMON:
		break;
	}
	return run(d);
}

/* -- command line -------------------------------------------------------------------------------- */

static void print_help(FILE *to)
{
	fputs("ginneld - carries the overlay's traffic to its peers, and guards it\n\n"
	      "Usage: ginneld [--config F] [--state DIR] [--run DIR] [--guard | --check]\n\n"
	      "  --config F   the config file; default " CONFIG_DEFAULT ", if it is there\n"
	      "  --state DIR  default " STATE_DEFAULT "\n"
	      "  --run DIR    folder of the sockets; default " RUN_DEFAULT "\n"
	      "  --guard      put the guards up and exit: at boot, before the network\n"
	      "  --check      read config and identity, try the confinement, change nothing, exit\n"
	      "  --version, --help\n\n"
	      "It stays in the foreground. `ginnel down` ends it and takes the guards away.\n",
	      to);
}

/* -1: go on. */
static int read_options(struct daemon *d, int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"state", required_argument, NULL, 's'},
		{"run", required_argument, NULL, 'r'},
		{"guard", no_argument, NULL, 'g'},
		{"check", no_argument, NULL, 'k'},
		{"role", required_argument, NULL, 'R'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	opterr = 0;
	/* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			d->config_path = optarg;
			d->config_given = true;
			break;
		case 's':
			d->state_path = optarg;
			break;
		case 'r':
			d->run_path = optarg;
			break;
		case 'g':
			d->mode = MODE_GUARD;
			break;
		case 'k':
			d->mode = MODE_CHECK;
			break;
		case 'R':
			d->role = optarg;
			break;
		case 'v':
			puts("ginneld " GINNEL_VERSION);
			return EXIT_OK;
		case 'h':
			print_help(stdout);
			return EXIT_OK;
		default:
			fault(c == ':' ? "it needs a value" : "no such option",
			      "ginneld --help lists them", "%s", argv[optind - 1]);
			return EXIT_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	fault("no argument belongs here", "ginneld --help lists the options", "%s", argv[optind]);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	struct daemon *d = calloc(1, sizeof(*d));
	int ret;

	if (!d) {
		fault("out of memory", NULL, "ginneld");
		return EXIT_FAILED;
	}
	d->config_path = CONFIG_DEFAULT;
	d->state_path = STATE_DEFAULT;
	d->run_path = RUN_DEFAULT;
	d->state_dir = -1;
	ret = read_options(d, argc, argv);
	if (ret < 0)
		ret = d->role ? role_main(d) : daemon_main(d);
	config_clear(&d->config);
	free(d);
	return ret;
}
