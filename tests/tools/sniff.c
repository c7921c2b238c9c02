/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sniff - counts frames that carry a marker, on all links of this network namespace.
 *
 *   sniff MARKER        until SIGTERM or SIGINT; then prints "frames N marked M drops D"
 *
 * Prints "listening" on stderr once it does. A sniffer that lost frames proves nothing, so its own
 * drops are part of the result. A frame is counted once: on its way in to a link of this namespace.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK  (1 << 20)
#define BLOCKS 128

static volatile sig_atomic_t done;

static void stop(int sig)
{
	(void)sig;
	done = 1;
}

int main(int argc, char **argv)
{
	struct tpacket_req3 req = {.tp_block_size = BLOCK,
	                           .tp_block_nr = BLOCKS,
	                           .tp_frame_size = 2048,
	                           .tp_frame_nr = BLOCK / 2048 * BLOCKS,
	                           .tp_retire_blk_tov = 20};
	struct tpacket_stats_v3 st;
	struct sigaction sa = {.sa_handler = stop};
	unsigned long long frames = 0, marked = 0;
	socklen_t len = sizeof(st);
	int v3 = TPACKET_V3, fd;
	unsigned at = 0;
	char *ring;

	if (argc != 2 || !*argv[1]) {
		fprintf(stderr, "usage: sniff MARKER\n");
		return 2;
	}
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VERSION, &v3, sizeof(v3)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req))) {
		perror("sniff");
		return 1;
	}
	ring = mmap(NULL, (size_t)BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ring == MAP_FAILED) {
		perror("sniff: mmap");
		return 1;
	}
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	fprintf(stderr, "listening\n");
	for (;;) {
		struct tpacket_block_desc *b = (void *)(ring + (size_t)at * BLOCK);
		struct tpacket3_hdr *h;

		if (!(b->hdr.bh1.block_status & TP_STATUS_USER)) {
			struct pollfd p = {.fd = fd, .events = POLLIN};

			/* After the signal: what the kernel still holds is looked at too. */
			if (poll(&p, 1, done ? 100 : 1000) <= 0 && done)
				break;
			continue;
		}
		h = (void *)((char *)b + b->hdr.bh1.offset_to_first_pkt);
		for (unsigned i = 0; i < b->hdr.bh1.num_pkts; i++) {
			const struct sockaddr_ll *ll =
				(const void *)((char *)h + TPACKET_ALIGN(sizeof(*h)));

			if (ll->sll_pkttype != PACKET_OUTGOING) {
				frames++;
				marked += memmem((char *)h + h->tp_mac, h->tp_snaplen, argv[1],
				                 strlen(argv[1])) != NULL;
			}
			h = (void *)((char *)h + h->tp_next_offset);
		}
		b->hdr.bh1.block_status = TP_STATUS_KERNEL;
		at = (at + 1) % BLOCKS;
	}
	if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &st, &len))
		perror("sniff: statistics");
	printf("frames %llu marked %llu drops %u\n", frames, marked, st.tp_drops);
	return 0;
}
