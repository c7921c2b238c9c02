/* SPDX-License-Identifier: GPL-3.0-or-later */
/* icmp - errors of ICMP and ICMPv6: which packets are one, what they quote, and one that we make.
 *
 * Pure; any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tun/ip.h"

#define ICMP_ERROR4_MAX 576  /* RFC 1812, 4.3.2.3 */
#define ICMP_ERROR6_MAX 1280 /* RFC 4443, 2.4 (c) */

/* Is it about another packet: unreachable, too big, time exceeded, redirect and the like? */
bool icmp_is_error(const struct ip_view *ip);
/* Reads the headers that an error quotes. 0, or as ip_parse_quoted. */
int icmp_quoted(struct ip_view *out, const uint8_t *packet, const struct ip_view *ip);

/* "Administratively prohibited" (type 3, code 13; ICMPv6 type 1, code 1) to the sender of this packet, as
 * if the address from had said it. Returns its length; 0: there is no answer to this one, which is an
 * error itself, or a later fragment, or whose source or from is nobody's in particular.
 */
size_t icmp_prohibited(uint8_t out[ICMP_ERROR6_MAX], const uint8_t *packet,
                       const struct ip_view *ip, const struct addr *from);
