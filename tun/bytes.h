/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bytes - big-endian numbers in packet bytes, read and written without a cast.
 *
 * A cast would assume alignment and break aliasing rules. Inline: two or three instructions each,
 * on every packet's way. Whoever calls has checked the length.
 */
#pragma once
#include <stdint.h>

static inline uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, (uint16_t)(v >> 16));
	put_be16(p + 2, (uint16_t)v);
}
