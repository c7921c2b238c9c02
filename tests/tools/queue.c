/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A queue of the TUN device, as the engine has one or as someone else would like one.
 *
 *   queue read DEVICE MARKER     attaches; prints "attached", and at SIGTERM "packets N marked M"
 *   queue attach DEVICE UID      opens /dev/net/tun, as everybody may on most systems, changes to
 *                                UID, tries, prints "attached" or why not
 */
#include "tun/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static volatile sig_atomic_t done;

static void stop(int sig)
{
	(void)sig;
	done = 1;
}

static int count(int fd, const char *marker)
{
	static uint8_t packet[TUN_READ_MAX];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	unsigned long packets = 0, marked = 0;
	ssize_t n;

	while (!done) {
		poll(&p, 1, 100);
		while ((n = tun_read(fd, packet, sizeof(packet))) > 0) {
			packets++;
			marked += memmem(packet, (size_t)n, marker, strlen(marker)) != NULL;
		}
	}
	printf("packets %lu marked %lu\n", packets, marked);
	return 0;
}

static int attach_as(uid_t uid, const char *device)
{
	struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0 || setresuid(uid, uid, uid) < 0) {
		perror("queue");
		return 2;
	}
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", device);
	if (ioctl(fd, TUNSETIFF, &r) < 0) {
		puts(strerror(errno));
		return 1;
	}
	puts("attached");
	return 0;
}

int main(int argc, char **argv)
{
	const struct sigaction sa = {.sa_handler = stop};
	int fd, err;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 4) {
		fprintf(stderr, "queue read DEVICE MARKER | attach DEVICE UID\n");
		return 2;
	}
	sigaction(SIGTERM, &sa, NULL);
	if (strcmp(argv[1], "attach") == 0)
		return attach_as((uid_t)atoi(argv[3]), argv[2]);
	err = tun_attach(&fd, argv[2]);
	puts(err ? strerror(-err) : "attached");
	if (err)
		return 1;
	return count(fd, argv[3]);
}
