/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A ring of bits, the bit of number n at n mod REPLAY_WINDOW. Moving on clears the bits of the
 * numbers passed over, whole words where it can: they were of numbers one window lower.
 */
#include "crypto/replay.h"

#include <errno.h>
#include <string.h>

#define WORDS (REPLAY_WINDOW / 64)

_Static_assert((REPLAY_WINDOW & (REPLAY_WINDOW - 1)) == 0 && WORDS > 1, "a power of two");

static uint64_t bit_of(uint64_t seq)
{
	return 1ULL << seq % 64;
}

void replay_init(struct replay *r, uint64_t next)
{
	r->next = next;
	memset(r->seen, 0xff, sizeof(r->seen));
}

int replay_check(const struct replay *r, uint64_t seq)
{
	if (seq >= r->next)
		return 0;
	if (r->next - seq > REPLAY_WINDOW)
		return -ESTALE;
	return r->seen[seq / 64 % WORDS] & bit_of(seq) ? -EALREADY : 0;
}

static void pass_over(struct replay *r, uint64_t to)
{
	uint64_t seq = r->next;

	if (to - seq >= REPLAY_WINDOW) {
		memset(r->seen, 0, sizeof(r->seen));
		return;
	}
	while (seq < to) {
		if (seq % 64 == 0 && to - seq >= 64) {
			r->seen[seq / 64 % WORDS] = 0;
			seq += 64;
		} else {
			r->seen[seq / 64 % WORDS] &= ~bit_of(seq);
			seq++;
		}
	}
}

void replay_commit(struct replay *r, uint64_t seq)
{
	if (seq >= r->next) {
		pass_over(r, seq);
		r->next = seq + 1;
	}
	r->seen[seq / 64 % WORDS] |= bit_of(seq);
}
