/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/frame.h"

#include <errno.h>
#include <string.h>

#include "tun/offload.h"

enum {
	NIBBLE_CONTROL = 0,
	TYPE_PING = 1,
	TYPE_PONG = 2,
	TYPE_LISTS = 3,
	TYPE_ASK = 4,
	TYPE_PART = 5
};

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

static uint64_t number_get(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static void number_put(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

static int parse_stamp(struct frame *out, const uint8_t *p, size_t len)
{
	if (len != FRAME_PING_LEN)
		return -EBADMSG;
	out->stamp = number_get(p + 1, 8);
	return 0;
}

static int parse_lists(struct frame *out, const uint8_t *p, size_t len)
{
	struct lists_head *h = &out->lists;

	if (len != FRAME_LISTS_LEN)
		return -EBADMSG;
	h->number = number_get(p + 1, 8);
	memcpy(h->says, p + 9, LISTS_HASH);
	memcpy(h->id, p + 17, LISTS_HASH);
	h->len = (uint32_t)number_get(p + 25, 4);
	memcpy(out->heard, p + 29, LISTS_HASH);
	return h->number && h->number <= INT64_MAX && h->len && h->len <= LISTS_MAX ? 0 : -EBADMSG;
}

/* A question, or (part) what it is answered by. */
static int parse_part(struct frame *out, const uint8_t *p, size_t len, bool part)
{
	if (part ? len <= FRAME_PART_HEAD : len != FRAME_ASK_LEN)
		return -EBADMSG;
	memcpy(out->lists.id, p + 1, LISTS_HASH);
	out->offset = (uint32_t)number_get(p + 9, 4);
	out->part = p + FRAME_PART_HEAD;
	out->part_len = len - FRAME_PART_HEAD;
	return out->offset < LISTS_MAX ? 0 : -EBADMSG;
}

static int parse_control(struct frame *out, const uint8_t *p, size_t len)
{
	out->n = 0;
	switch (p[0]) {
	case TYPE_PING:
		out->kind = FRAME_PING;
		return parse_stamp(out, p, len);
	case TYPE_PONG:
		out->kind = FRAME_PONG;
		return parse_stamp(out, p, len);
	case TYPE_LISTS:
		out->kind = FRAME_LISTS;
		return parse_lists(out, p, len);
	case TYPE_ASK:
		out->kind = FRAME_LISTS_ASK;
		return parse_part(out, p, len, false);
	case TYPE_PART:
		out->kind = FRAME_LISTS_PART;
		return parse_part(out, p, len, true);
	default:
		return -EBADMSG;
	}
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
	number_put(out + 1, stamp, 8);
}

void frame_format_lists(uint8_t *out, const struct lists_head *h, const uint8_t heard[LISTS_HASH])
{
	out[0] = TYPE_LISTS;
	number_put(out + 1, h->number, 8);
	memcpy(out + 9, h->says, LISTS_HASH);
	memcpy(out + 17, h->id, LISTS_HASH);
	number_put(out + 25, h->len, 4);
	memcpy(out + 29, heard, LISTS_HASH);
}

static void format_part(uint8_t *out, uint8_t type, const uint8_t id[LISTS_HASH], uint32_t offset)
{
	out[0] = type;
	memcpy(out + 1, id, LISTS_HASH);
	number_put(out + 9, offset, 4);
}

void frame_format_ask(uint8_t *out, const uint8_t id[LISTS_HASH], uint32_t offset)
{
	format_part(out, TYPE_ASK, id, offset);
}

void frame_format_part(uint8_t *out, const uint8_t id[LISTS_HASH], uint32_t offset)
{
	format_part(out, TYPE_PART, id, offset);
}
