/* SPDX-License-Identifier: GPL-3.0-or-later */
/* checksum - the Internet checksum, RFC 1071, in parts.
 *
 * A sum is carried as a 64-bit one's complement number in the machine's byte order, so that bytes
 * are added eight at a time and swapped once at the end (RFC 1071, 2 (B)). Pure; any thread.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "tun/ip.h"

/* sum begins as 0. A part of odd length can only be the last. */
uint64_t checksum_add(uint64_t sum, const uint8_t *p, size_t len);
/* A 16-bit number of a header: its value, not its bytes. */
uint64_t checksum_add16(uint64_t sum, uint16_t value);
/* What TCP and UDP sum up before their header: addresses, protocol, and len, the bytes from their
 * header to the packet's end (RFC 9293, 3.1; RFC 8200, 8.1).
 */
uint64_t checksum_add_pseudo(uint64_t sum, const struct ip_view *ip, uint16_t len);
/* In 16 bits, not complemented: what the field holds while the kernel is to finish it. */
uint16_t checksum_fold(uint64_t sum);
