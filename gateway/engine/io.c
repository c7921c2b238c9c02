/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* syscalls(engine): read writev recvmsg sendmsg */
/* syscalls(engine, before the filter): ioctl mmap madvise */

#define LARGE_PAGE   ((size_t)2 << 20)
#define ARRIVALS     (UDP_SOCKETS * IO_ARRIVALS)
#define MEMORY       (IO_STRIDE * (IO_READS + ARRIVALS + IO_RUNS) + IO_SMALL_ROOM)
#define RUN_MAX      (UDP_RUN_MAX - 29) /* 65507: what UDP over IPv4 holds */
#define READS_MIN    2
#define READS_BIG    4    /* of super-packets: a turn's bytes stay in the cache */
#define BIG          8192 /* bytes, on average, that make them so */
#define RING_ENTRIES 512  /* more than a turn's reads, arrivals, runs and writes together */

enum { KIND_READ, KIND_ARRIVAL, KIND_RUN, KIND_WRITE, KIND_BITS = 2 };

/* Files of the ring: ours in the order of enum udp_which behind the queue that is read, then all queues. */
enum { FILE_TUN, FILE_UDP, FILE_QUEUES = FILE_UDP + UDP_SOCKETS };

_Static_assert(IO_READS + ARRIVALS + IO_RUNS + IO_WRITES <= RING_ENTRIES, "room in the ring");
_Static_assert(FILE_QUEUES + WORKERS_MAX <= RING_FILES_MAX, "room for the files");

/* -- buffers -------------------------------------------------------------------------------------- */

static int memory_get(struct io *io)
{
	size_t len = (MEMORY + 2 * LARGE_PAGE - 1) & ~(LARGE_PAGE - 1);
	uint8_t *at;

	io->memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (io->memory == MAP_FAILED) {
		io->memory = NULL;
		return -ENOMEM;
	}
	io->memory_len = len;
	at = io->memory + (-(uintptr_t)io->memory & (LARGE_PAGE - 1));
	/* Where there are none, small ones do. */
	madvise(at, MEMORY, MADV_HUGEPAGE);
	madvise(io->memory, len, MADV_DONTDUMP); /* plaintext of others */
	/* A further worker may have nothing to do, and then its buffers cost nothing. */
	if (io->tun_fd == io->queues[0])
		memset(at, 0, MEMORY);
	io->read_buffers = at;
	io->arrival_buffers = io->read_buffers + (size_t)IO_READS * IO_STRIDE;
	io->run_buffers = io->arrival_buffers + (size_t)ARRIVALS * IO_STRIDE;
	io->small = io->run_buffers + (size_t)IO_RUNS * IO_STRIDE;
	for (unsigned i = 0; i < IO_RUNS; i++)
		io->runs[i].data = io->run_buffers + (size_t)i * IO_STRIDE;
	return 0;
}

static bool ring_up(struct io *io)
{
	int files[RING_FILES_MAX];

	files[FILE_TUN] = io->tun_fd;
	for (unsigned s = 0; s < UDP_SOCKETS; s++)
		files[FILE_UDP + s] = s < io->nsockets ? io->udp[s].fd : -1;
	memcpy(files + FILE_QUEUES, io->queues, io->nqueues * sizeof(*files));
	return ring_init(&io->ring, RING_ENTRIES, files, FILE_QUEUES + io->nqueues) == 0;
}

int io_init(struct io *io, const struct io_files *f, struct counters *counters)
{
	int err;

	memset(io, 0, sizeof(*io));
	memcpy(io->queues, f->queues, f->nqueues * sizeof(*io->queues));
	io->nqueues = f->nqueues;
	io->tun_fd = f->queues[f->own];
	io->counters = counters;
	io->want_reads = READS_MIN;
	if (tun_offloads_on(io->tun_fd, &io->uso) < 0)
		io->uso = false; /* packets come whole then, which is slow and right */
	for (unsigned s = 0; s < UDP_SOCKETS && f->udp[s] >= 0; s++) {
		err = udp_prepare(&io->udp[s], f->udp[s]);
		if (err)
			return err;
		io->want_arrivals[s] = 1;
		io->nsockets++;
	}
	err = memory_get(io);
	if (err)
		return err;
	io->ringed = ring_up(io);
	return 0;
}

void io_clear(struct io *io)
{
	if (io->ringed)
		ring_clear(&io->ring);
	if (io->memory)
		munmap(io->memory, io->memory_len);
	memset(io, 0, sizeof(*io));
}

/* -- what became of it ---------------------------------------------------------------------------- */

/* A device without checksum offload takes no runs: one by one, now and from now on. */
static void run_singly(struct io *io, struct io_run *r)
{
	size_t at = 0;

	struct udp_socket *s = &io->udp[r->path.socket];

	s->segments = false;
	r->result = (int)r->len;
	while (at < r->len) {
		size_t n = r->len - at < r->segment ? r->len - at : r->segment;

		if (!udp_send(s, &r->path, r->data + at, n))
			r->result = -EIO;
		at += n;
	}
}

static void run_done(struct io *io, struct io_run *r)
{
	struct counters *c = io->counters;

	if (r->records > 1 &&
	    (r->result == -EIO || r->result == -EINVAL || r->result == -EOPNOTSUPP))
		run_singly(io, r);
	if (r->result >= 0)
		count_add(&c->datagrams_out, r->records);
	count_add(r->result < 0 ? &c->drops[DROP_SEND_FAILED] : &c->tun_delivered, r->packets);
}

static void write_done(struct io *io, const struct io_write *w)
{
	struct counters *c = io->counters;

	count_add(w->result < 0 ? &c->drops[DROP_DEVICE_FULL] : &c->wire_delivered, w->packets);
}

/* -- turns ---------------------------------------------------------------------------------------- */

static int run_prepare(struct io *io, struct io_run *r)
{
	if (!r->records)
		return 0; /* a place was asked for, and nothing sealed into it */
	udp_message_out(&io->udp[r->path.socket], &r->message, &r->path, r->data, r->len,
	                r->records > 1 ? r->segment : 0);
	return 1;
}

static void writes_now(struct io *io)
{
	for (unsigned i = 0; i < io->nwrites; i++) {
		struct io_write *w = &io->writes[i];
		ssize_t n = writev(io->queues[w->queue], io->pieces + w->first, (int)w->pieces);

		w->result = n < 0 ? -errno : 0;
	}
}

static void runs_now(struct io *io)
{
	for (unsigned i = 0; i < io->nruns; i++) {
		struct io_run *r = &io->runs[i];

		if (run_prepare(io, r))
			r->result =
				sendmsg(io->udp[r->path.socket].fd, &r->message.m, MSG_DONTWAIT) < 0
					? -errno
					: 0;
	}
}

static void writes_queue(struct io *io)
{
	for (unsigned i = 0; i < io->nwrites; i++) {
		struct io_write *w = &io->writes[i];

		w->result = -EIO;
		ring_writev(&io->ring, FILE_QUEUES + (int)w->queue, io->pieces + w->first,
		            w->pieces, (uint64_t)i << KIND_BITS | KIND_WRITE);
	}
}

static void runs_queue(struct io *io)
{
	for (unsigned i = 0; i < io->nruns; i++) {
		struct io_run *r = &io->runs[i];

		r->result = -EIO;
		if (run_prepare(io, r))
			ring_send(&io->ring, FILE_UDP + r->path.socket, &r->message.m,
			          (uint64_t)i << KIND_BITS | KIND_RUN);
	}
}

static void writes_left(struct io *io)
{
	for (unsigned i = 0; i < io->nwrites; i++)
		write_done(io, &io->writes[i]);
	io->nwrites = io->npieces = 0;
	io->small_used = 0;
}

static void runs_left(struct io *io)
{
	for (unsigned i = 0; i < io->nruns; i++)
		if (io->runs[i].records)
			run_done(io, &io->runs[i]);
	io->nruns = 0;
}

static void done(void *arg, uint64_t number, int result)
{
	struct io *io = arg;
	unsigned i = (unsigned)(number >> KIND_BITS);

	switch (number & ((1 << KIND_BITS) - 1)) {
	case KIND_READ:
		io->read_results[i] = result;
		break;
	case KIND_ARRIVAL:
		io->arrival_results[i] = result;
		break;
	case KIND_RUN:
		io->runs[i].result = result;
		break;
	default:
		io->writes[i].result = result;
	}
}

static void submit(struct io *io)
{
	if (ring_submit(&io->ring, done, io) == 0)
		return;
	ring_clear(&io->ring);
	io->ringed = false; /* what it had is lost and counted; ordinary calls go on */
}

/* Packets for the device may be in the making: those stay. */
static void runs_leave(struct io *io)
{
	if (io->ringed) {
		runs_queue(io);
		submit(io);
	} else {
		runs_now(io);
	}
	runs_left(io);
}

static void writes_leave(struct io *io)
{
	if (io->ringed) {
		writes_queue(io);
		submit(io);
	} else {
		writes_now(io);
	}
	writes_left(io);
}

void io_leave(struct io *io)
{
	writes_leave(io);
	runs_leave(io);
}

static uint8_t *read_buffer(const struct io *io, unsigned i)
{
	return io->read_buffers + (size_t)i * IO_STRIDE + IO_READ_AT - TUN_VNET_LEN;
}

static void datagrams_queue(struct io *io, unsigned socket)
{
	unsigned first = socket * IO_ARRIVALS;

	for (unsigned i = first; i < first + io->want_arrivals[socket]; i++) {
		io->arrival_results[i] = -EAGAIN;
		ring_recv(&io->ring, FILE_UDP + (int)socket, &io->arrivals[i].message.m,
		          (uint64_t)i << KIND_BITS | KIND_ARRIVAL);
	}
}

static void arrive_queue(struct io *io)
{
	for (unsigned i = 0; i < io->want_reads; i++) {
		io->read_results[i] = -EAGAIN;
		ring_read(&io->ring, FILE_TUN, read_buffer(io, i), TUN_READ_MAX,
		          (uint64_t)i << KIND_BITS | KIND_READ);
	}
	for (unsigned s = 0; s < io->nsockets; s++)
		datagrams_queue(io, s);
}

static void datagrams_now(struct io *io, unsigned socket)
{
	unsigned i = socket * IO_ARRIVALS, end = i + io->want_arrivals[socket];

	for (; i < end; i++) {
		ssize_t n = recvmsg(io->udp[socket].fd, &io->arrivals[i].message.m, MSG_DONTWAIT);

		io->arrival_results[i] = n < 0 ? -errno : (int)n;
		if (n < 0)
			break;
	}
	while (++i < end)
		io->arrival_results[i] = -EAGAIN;
}

static void arrive_now(struct io *io)
{
	unsigned i;

	for (i = 0; i < io->want_reads; i++) {
		ssize_t n = read(io->tun_fd, read_buffer(io, i), TUN_READ_MAX);

		io->read_results[i] = n < 0 ? -errno : (int)n;
		if (n < 0)
			break;
	}
	while (++i < io->want_reads)
		io->read_results[i] = -EAGAIN;
	for (unsigned s = 0; s < io->nsockets; s++)
		datagrams_now(io, s);
}

/* A batch doubles while it comes full. */
static unsigned next_want(unsigned got, unsigned wanted, unsigned least, unsigned most)
{
	unsigned next = got == wanted ? wanted * 2 : got + 1;

	return next > most ? most : next < least ? least : next;
}

static void datagrams_arrived(struct io *io, unsigned socket)
{
	unsigned got = 0;

	for (unsigned i = 0; i < io->want_arrivals[socket]; i++) {
		struct io_arrival *a = &io->arrivals[socket * IO_ARRIVALS + i];
		int n = io->arrival_results[socket * IO_ARRIVALS + i];

		if (n <= 0)
			continue;
		a->len = (size_t)n;
		a->segment = udp_message_read(&a->message, a->len, &a->path);
		a->path.socket = (uint8_t)socket;
		io->arrived[io->narrivals++] = a;
		got = i + 1;
	}
	io->want_arrivals[socket] = next_want(got, io->want_arrivals[socket], 1, IO_ARRIVALS);
}

static void arrived(struct io *io)
{
	io->nreads = io->narrivals = 0;
	io->bytes = 0;
	for (unsigned i = 0; i < io->want_reads; i++) {
		struct io_read *r = &io->reads[io->nreads];
		int n = io->read_results[i];

		if (n < TUN_VNET_LEN)
			continue;
		offload_hdr_parse(&r->vnet, read_buffer(io, i));
		r->packet = read_buffer(io, i) + TUN_VNET_LEN;
		r->len = (size_t)n - TUN_VNET_LEN;
		io->bytes += r->len;
		io->nreads++;
	}
	for (unsigned s = 0; s < io->nsockets; s++)
		datagrams_arrived(io, s);
	io->want_reads =
		next_want(io->nreads, io->want_reads, READS_MIN,
	                  io->nreads && io->bytes / io->nreads > BIG ? READS_BIG : IO_READS);
}

static void datagrams_want(struct io *io, unsigned socket)
{
	unsigned first = socket * IO_ARRIVALS;

	for (unsigned i = first; i < first + io->want_arrivals[socket]; i++) {
		struct io_arrival *a = &io->arrivals[i];

		a->data = io->arrival_buffers + (size_t)i * IO_STRIDE;
		udp_message_in(&a->message, a->data, UDP_RUN_MAX);
	}
}

void io_turn(struct io *io)
{
	for (unsigned s = 0; s < io->nsockets; s++)
		datagrams_want(io, s);
	if (io->ringed) {
		writes_queue(io);
		runs_queue(io);
		arrive_queue(io);
		submit(io);
	} else {
		writes_now(io);
		runs_now(io);
		arrive_now(io);
	}
	writes_left(io);
	runs_left(io);
	arrived(io);
}

/* -- runs of records ------------------------------------------------------------------------------ */

static struct io_run *run_last(struct io *io)
{
	return io->nruns ? &io->runs[io->nruns - 1] : NULL;
}

static bool run_takes(const struct io *io, const struct io_run *r, const struct udp_path *path,
                      size_t size)
{
	return r && !r->closed && io->udp[path->socket].segments && size <= r->segment &&
	       r->records < IO_RUN_RECORDS && r->len + size <= RUN_MAX &&
	       udp_path_equal(&r->path, path);
}

uint8_t *io_place(struct io *io, const struct udp_path *path, size_t size)
{
	struct io_run *r = run_last(io);

	if (run_takes(io, r, path, size))
		return r->data + r->len;
	if (io->nruns == IO_RUNS)
		runs_leave(io);
	r = &io->runs[io->nruns++];
	r->path = *path;
	r->len = 0;
	r->segment = size;
	r->records = r->packets = 0;
	r->closed = false;
	return r->data;
}

void io_placed(struct io *io, size_t size, unsigned packets)
{
	struct io_run *r = run_last(io);

	if (!r->records)
		r->segment = size;
	r->closed = size < r->segment;
	r->len += size;
	r->records++;
	r->packets += packets;
}

/* -- packets for the device ----------------------------------------------------------------------- */

void io_write_begin(struct io *io, unsigned queue)
{
	struct io_write *w;

	if (io->nwrites == IO_WRITES || io->npieces + IO_WRITE_PIECES > IO_PIECES)
		writes_leave(io);
	w = &io->writes[io->nwrites];
	w->queue = queue;
	w->first = io->npieces++;
	w->pieces = 1;
	io->pieces[w->first] = (struct iovec){.iov_base = w->vnet, .iov_len = TUN_VNET_LEN};
}

bool io_write_room(const struct io *io)
{
	return io->writes[io->nwrites].pieces < IO_WRITE_PIECES;
}

static uint8_t *small_copy(struct io *io, const uint8_t *data, size_t len)
{
	uint8_t *copy = io->small + io->small_used;

	memcpy(copy, data, len);
	io->small_used += len;
	return copy;
}

void io_write_piece(struct io *io, uint8_t *data, size_t len)
{
	struct io_write *w = &io->writes[io->nwrites];
	struct iovec *last = &io->pieces[w->first + w->pieces - 1];

	if (len <= IO_SMALL && w->pieces > 1 && io->small_used + len <= IO_SMALL_ROOM) {
		data = small_copy(io, data, len);
		if ((uint8_t *)last->iov_base + last->iov_len == data) {
			last->iov_len += len;
			return;
		}
	}
	io->pieces[io->npieces++] = (struct iovec){.iov_base = data, .iov_len = len};
	w->pieces++;
}

void io_write_end(struct io *io, const struct offload_hdr *vnet, unsigned packets)
{
	struct io_write *w = &io->writes[io->nwrites++];

	offload_hdr_format(vnet, w->vnet);
	w->packets = packets;
}
