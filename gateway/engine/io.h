/* SPDX-License-Identifier: GPL-3.0-or-later */
/* io - all that a worker reads and writes, in turns.
 *
 * A turn: what was made since the last one leaves, then a batch arrives; with a ring both are one
 * system call. What arrived, and what was made of it, stays where it is until the next turn: so a
 * packet is cut up, sealed, opened and put together again without being copied. Buffers are the
 * worker's own, in large pages, and there before the first packet: a page fault costs more than one.
 *
 * Records leave in runs: datagrams of one path and one size back to back, only the last may be
 * shorter. Packets leave for the device in pieces, each where its record was opened.
 */
#pragma once
#include "gateway/counters.h"
#include "gateway/engine/ring.h"
#include "gateway/engine/udp.h"
#include "gateway/workers.h"
#include "tun/offload.h"
#include "tun/tun.h"

#define IO_READS        64 /* packets from the device, a turn */
#define IO_ARRIVALS     4  /* buffers of datagrams, a turn and socket */
#define IO_RUNS         32
#define IO_RUN_RECORDS  64 /* the kernel's limit */
#define IO_WRITES       128
#define IO_PIECES       4096
#define IO_WRITE_PIECES 72  /* of one packet, its vnet header among them */
#define IO_SMALL        256 /* shorter pieces are copied, for a piece costs something, too */
#define IO_SMALL_ROOM   (128 * 1024)
#define IO_READ_AT      64 /* where a packet begins in its buffer */
/* Not a multiple of 64 KiB: the beginnings of all buffers would share a few sets of the cache. */
#define IO_STRIDE (65536 + 4096 + 192)

struct io_read {
	struct offload_hdr vnet;
	uint8_t *packet; /* one byte behind its end may be written */
	size_t len;
};

struct io_arrival {
	struct udp_path path;
	uint8_t *data;
	size_t len, segment; /* segment: see udp_message_read */
	struct udp_message message;
};

struct io_run {
	struct udp_path path;
	uint8_t *data;
	size_t len, segment;
	unsigned records, packets; /* packets: ours that it carries */
	bool closed;               /* takes no more */
	int result;
	struct udp_message message;
};

struct io_write {
	uint8_t vnet[TUN_VNET_LEN];
	unsigned first, pieces;
	unsigned packets; /* that were put together in it */
	unsigned queue;   /* of the device: who reads the answers */
	int result;
};

/* The caller's. A packet may be written to any queue of the device, and is read from one's own: where
 * a flow is written, there the kernel brings what goes the other way.
 */
struct io_files {
	const int *queues;
	unsigned nqueues, own;
	int udp[UDP_SOCKETS]; /* -1: none */
};

struct io {
	int tun_fd; /* of the queue that is read */
	int queues[WORKERS_MAX];
	unsigned nqueues;
	struct udp_socket udp[UDP_SOCKETS];
	unsigned nsockets;
	struct counters *counters;
	bool uso;    /* the device takes merged UDP */
	bool ringed; /* false: ordinary calls */
	struct ring ring;
	unsigned want_reads, want_arrivals[UDP_SOCKETS]; /* of the next turn: doubled while full */
	unsigned nreads, narrivals;
	size_t bytes; /* of the reads */
	struct io_read reads[IO_READS];
	struct io_arrival arrivals[UDP_SOCKETS * IO_ARRIVALS], *arrived[UDP_SOCKETS * IO_ARRIVALS];
	int read_results[IO_READS], arrival_results[UDP_SOCKETS * IO_ARRIVALS];
	unsigned nruns, nwrites, npieces;
	size_t small_used;
	struct io_run runs[IO_RUNS];
	struct io_write writes[IO_WRITES];
	struct iovec pieces[IO_PIECES];
	uint8_t *memory, *read_buffers, *arrival_buffers, *run_buffers, *small;
	size_t memory_len;
};

/* 0, -ENOMEM, -errno of a socket. The descriptors stay the caller's. */
int io_init(struct io *io, const struct io_files *files, struct counters *counters);
void io_clear(struct io *io);

/* Sends what was made, reads what is there: reads[0..nreads), arrived[0..narrivals). */
void io_turn(struct io *io);
/* Only the first half of it. Not between io_write_begin and io_write_end. */
void io_leave(struct io *io);
/* Was something made, that the next turn sends? */
static inline bool io_pending(const struct io *io)
{
	return io->nruns || io->nwrites;
}

/* Where a record of size bytes for path is to be sealed; io_placed then says that it is there. */
uint8_t *io_place(struct io *io, const struct udp_path *path, size_t size);
void io_placed(struct io *io, size_t size, unsigned packets);

/* Begins a packet for the device, whose pieces follow; io_write_end gives it its vnet header. */
void io_write_begin(struct io *io, unsigned queue);
/* false: it takes no more pieces. */
bool io_write_room(const struct io *io);
void io_write_piece(struct io *io, uint8_t *data, size_t len);
void io_write_end(struct io *io, const struct offload_hdr *vnet, unsigned packets);
