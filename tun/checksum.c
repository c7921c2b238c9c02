/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tun/checksum.h"

#include <arpa/inet.h>
#include <string.h>

/* One's complement: what is carried out at the top comes in at the bottom. */
static uint64_t add(uint64_t sum, uint64_t word)
{
	sum += word;
	return sum + (sum < word);
}

uint64_t checksum_add(uint64_t sum, const uint8_t *p, size_t len)
{
	uint64_t word;
	uint32_t half;
	uint8_t rest[4] = {0}; /* zeroes behind the last byte do not count */

	for (; len >= sizeof(word); p += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		sum = add(sum, word);
	}
	if (len >= sizeof(half)) {
		memcpy(&half, p, sizeof(half));
		sum = add(sum, half);
		p += sizeof(half);
		len -= sizeof(half);
	}
	for (size_t i = 0; i < len; i++)
		rest[i] = p[i];
	memcpy(&half, rest, sizeof(half));
	return add(sum, half);
}

uint64_t checksum_add16(uint64_t sum, uint16_t value)
{
	return add(sum, htons(value));
}

uint64_t checksum_add_pseudo(uint64_t sum, const struct ip_view *ip, uint16_t len)
{
	size_t addr = ip->version == 4 ? 4 : 16;

	sum = checksum_add(sum, ip->src.b, addr);
	sum = checksum_add(sum, ip->dst.b, addr);
	return checksum_add16(checksum_add16(sum, ip->proto), len);
}

uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ntohs((uint16_t)((sum & 0xffff) + (sum >> 16)));
}
