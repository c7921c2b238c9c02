/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/programs/secretfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "crypto/vault.h"

int secretfile_check(int fd, const char *what, const char *path, const char *cure)
{
	struct stat st;

	if (fstat(fd, &st)) {
		fault(strerrordesc_np(errno), NULL, "%s: %s", what, path);
		return CMD_FAILED;
	}
	if (!S_ISREG(st.st_mode))
		return CMD_OK;
	if (st.st_mode & 077) {
		fault("group or others can read or write it", cure, "%s: %s", what, path);
		return CMD_FAILED;
	}
	if (st.st_uid != 0 && st.st_uid != geteuid()) {
		fault("it belongs to someone else", cure, "%s: %s", what, path);
		return CMD_FAILED;
	}
	return CMD_OK;
}

ssize_t secretfile_read(int fd, char *buf, size_t max)
{
	size_t n = 0;
	ssize_t got;

	do {
		got = read(fd, buf + n, max - n);
		if (got > 0)
			n += (size_t)got;
	} while ((got > 0 && n < max) || (got < 0 && errno == EINTR));
	if (got < 0)
		return -errno;
	return n == max ? -EFBIG : (ssize_t)n;
}

/* -- passphrases ------------------------------------------------------------------------------ */

static int from_file(const char *what, const char *path, char *buf, size_t *len)
{
	bool in = !strcmp(path, "-");
	int fd = in ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n;
	int code;

	if (fd < 0) {
		fault(strerrordesc_np(errno), "give a file that holds the passphrase", "%s: %s",
		      what, path);
		return CMD_FAILED;
	}
	code = secretfile_check(fd, what, path, "chown it to root and chmod 600 it");
	n = code == CMD_OK ? secretfile_read(fd, buf, PASSPHRASE_MAX) : 0;
	if (!in)
		close(fd);
	if (code != CMD_OK)
		return code;
	if (n < 0) {
		fault(n == -EFBIG ? "it is longer than any passphrase" : strerrordesc_np((int)-n),
		      "give a file that holds the passphrase alone", "%s: %s", what, path);
		return CMD_FAILED;
	}
	if (n && buf[n - 1] == '\n')
		n--;
	*len = (size_t)n;
	return CMD_OK;
}

/* One line of the terminal, unseen. -errno. */
static ssize_t ask(int tty, const char *prompt, char *buf)
{
	struct termios before, silent;
	ssize_t n;

	if (tcgetattr(tty, &before))
		return -errno;
	silent = before;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	silent.c_lflag |= ICANON | ECHONL;
	dprintf(tty, "%s: ", prompt);
	if (tcsetattr(tty, TCSAFLUSH, &silent))
		return -errno;
	n = read(tty, buf, PASSPHRASE_MAX);
	if (n < 0)
		n = -errno;
	tcsetattr(tty, TCSAFLUSH, &before);
	if (n > 0 && buf[n - 1] == '\n')
		n--;
	return n;
}

static int from_terminal(const char *what, bool fresh, char *buf, size_t *len)
{
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY), code = CMD_FAILED;
	char *again = secret_new(PASSPHRASE_MAX);
	ssize_t n, m = 0;

	n = tty < 0 || !again ? -ENOTTY : ask(tty, "passphrase of the CA key", buf);
	if (n >= 0 && fresh)
		m = ask(tty, "the same again", again);
	if (tty >= 0)
		close(tty);
	if (n < 0 || m < 0) {
		fault("there is no terminal to ask for it", "give it with --passphrase-file F",
		      "%s: a passphrase", what);
	} else if (fresh && (n != m || !secret_equal(buf, again, (size_t)n))) {
		fault("the two differ", "run it again", "%s: the passphrase", what);
	} else {
		*len = (size_t)n;
		code = CMD_OK;
	}
	secret_free(again, PASSPHRASE_MAX);
	return code;
}

int passphrase_read(const struct cmd *c, const char *what, bool fresh, char *buf, size_t *len)
{
	const char *path = cmd_value(c, "passphrase-file");
	char cure[64];
	int code = path ? from_file(what, path, buf, len) : from_terminal(what, fresh, buf, len);

	if (code == CMD_OK && fresh && *len < VAULT_PASSPHRASE_MIN) {
		snprintf(cure, sizeof(cure), "take one of at least %d characters",
		         VAULT_PASSPHRASE_MIN);
		fault("it is too short: who has the file could guess it", cure,
		      "%s: the passphrase", what);
		code = CMD_FAILED;
	}
	return code;
}
