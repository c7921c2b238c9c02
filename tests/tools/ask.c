/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Asks one of ginneld's local sockets, as a container plugin does.
 *
 *   ask SOCKET '{"cmd":"workload-add",…}'     one line; prints the line that comes back
 */
#include "gateway/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	char buf[65536];
	ssize_t n;
	int fd;

	if (argc != 3 || strlen(argv[1]) >= sizeof(at.sun_path))
		return 2;
	strcpy(at.sun_path, argv[1]);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		fprintf(stderr, "ask: %s: %s\n", argv[1], strerror(errno));
		return 3;
	}
	/* Who is refused is answered, too, and may find the socket closed for sending. */
	if (send(fd, argv[2], strlen(argv[2]), MSG_NOSIGNAL) > 0)
		send(fd, "\n", 1, MSG_NOSIGNAL);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, (size_t)n, stdout);
	close(fd);
	return fflush(stdout) ? 1 : 0;
}
