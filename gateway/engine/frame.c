/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/frame.h"

#include <errno.h>

#include "tun/offload.h"

enum { NIBBLE_CONTROL = 0, TYPE_PING = 1, TYPE_PONG = 2 };

static int parse_packets(struct frame *out, uint8_t *p, size_t len)
{
	out->kind = FRAME_PACKETS;
	out->n = 0;
	while (len) {
		struct ip_view *ip = &out->packets[out->n].ip;
		bool elided = (*p & FRAME_ELIDED) != 0;
		int err;

		if (out->n == FRAME_BUNDLE_MAX)
			return -EBADMSG;
		*p &= (uint8_t)~FRAME_ELIDED;
		err = ip_parse(ip, p, len);
		if (err && err != -EBADMSG)
			return err;
		if (err || (elided && !offload_may_elide(p, ip)))
			return -EPROTO;
		out->packets[out->n].data = p;
		out->packets[out->n].elided = elided;
		p += ip->total;
		len -= ip->total;
		out->n++;
	}
	return 0;
}

static int parse_control(struct frame *out, const uint8_t *p, size_t len)
{
	switch (p[0] & 15) {
	case TYPE_PING:
		out->kind = FRAME_PING;
		break;
	case TYPE_PONG:
		out->kind = FRAME_PONG;
		break;
	default:
		return -EBADMSG;
	}
	if (len != FRAME_PING_LEN)
		return -EBADMSG;
	out->n = 0;
	out->stamp = 0;
	for (unsigned i = 1; i < FRAME_PING_LEN; i++)
		out->stamp = out->stamp << 8 | p[i];
	return 0;
}

int frame_parse(struct frame *out, uint8_t *plain, size_t len)
{
	if (!len)
		return -EBADMSG;
	switch (plain[0] >> 4) {
	case 4:
	case 6:
	case 4 | FRAME_ELIDED >> 4:
	case 6 | FRAME_ELIDED >> 4:
		return parse_packets(out, plain, len);
	case NIBBLE_CONTROL:
		return parse_control(out, plain, len);
	default:
		return -EBADMSG;
	}
}

void frame_format_ping(uint8_t *out, enum frame_kind kind, uint64_t stamp)
{
	out[0] = kind == FRAME_PING ? TYPE_PING : TYPE_PONG;
	for (unsigned i = 0; i < 8; i++)
		out[1 + i] = (uint8_t)(stamp >> (56 - 8 * i));
}
