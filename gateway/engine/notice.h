/* SPDX-License-Identifier: GPL-3.0-or-later */
/* notice - what the handshake thread tells control of strangers: who was refused, and why.
 *
 * What happens to known peers stands in their status; this is for those who are nobody yet. A bounded
 * mailbox: when control is behind, notices are lost, never waited for.
 */
#pragma once
#include "tun/ip.h"

#define NOTICE_TEXT 192

struct notice {
	struct endpoint from;
	char text[NOTICE_TEXT];
};
