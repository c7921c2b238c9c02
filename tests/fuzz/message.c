/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A compromised process sends any bytes to any other. */
#include "gateway/message.h"

#include <stdlib.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct message m;
	static int p[2] = {-1, -1};
	struct message_start s;

	if (p[0] < 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, p) < 0)
		abort();
	if (size < 2)
		return 0;
	if (send(p[0], data + 1, size - 1, 0) < 0)
		return 0;
	if (message_receive(p[1], data[0] & 3, data[0] >> 2 & 3, &m) < 0)
		return 0;
	if (m.head.len > MESSAGE_MAX || m.head.len + sizeof(m.head) != size - 1)
		abort();
	message_start_read(&m, &s);
	return 0;
}
