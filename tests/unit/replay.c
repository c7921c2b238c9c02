/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/replay.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define REFUSE(seq, why) cr_expect_eq(replay_check(&r, (seq)), (why))
#define ACCEPT(seq)                                       \
	do {                                              \
		cr_expect_eq(replay_check(&r, (seq)), 0); \
		replay_commit(&r, (seq));                 \
	} while (0)

Test(replay, accepts_each_number_once)
{
	struct replay r;

	replay_init(&r, 0);
	ACCEPT(0);
	REFUSE(0, -EALREADY);
	ACCEPT(8); /* late, but inside the window */
	ACCEPT(REPLAY_WINDOW + 64);
	REFUSE(8, -ESTALE); /* fell out */
	ACCEPT(7 + 64 + 8);
	REFUSE(7 + 64 + 8, -EALREADY);
}

Test(replay, moves_its_edge_with_the_highest_number)
{
	struct replay r;

	replay_init(&r, 0);
	ACCEPT(REPLAY_WINDOW);
	REFUSE(0, -ESTALE);
	ACCEPT(1); /* the lowest that is inside */
	ACCEPT(REPLAY_WINDOW + 1);
	REFUSE(1, -ESTALE);
	ACCEPT(2);
}

Test(replay, takes_numbers_before_its_start_for_seen)
{
	struct replay r;

	replay_init(&r, 100);
	REFUSE(99, -EALREADY);
	REFUSE(0, -EALREADY);
	ACCEPT(101);
	ACCEPT(100);
	REFUSE(99, -EALREADY);
}

Test(replay, forgets_nothing_of_a_check_without_a_commit)
{
	struct replay r;

	replay_init(&r, 0);
	ACCEPT(5);
	cr_expect_eq(replay_check(&r, 1000000), 0); /* its tag was wrong */
	ACCEPT(4);
	REFUSE(5, -EALREADY);
}

/* Against one that remembers everything, over steps of all sizes. */
Test(replay, agrees_with_a_memory_without_end)
{
	enum { ALL = 1 << 22 };
	static const uint64_t steps[] = {1, 2, 3, 63, 64, 65, 127, 1000, 8191, 8192, 8193, 20000};
	bool *seen = calloc(ALL, sizeof(*seen));
	uint64_t top = 0;
	struct replay r;
	unsigned dice = 1;

	replay_init(&r, 0);
	while (top + 30000 < ALL) {
		uint64_t seq, back;

		dice = dice * 1103515245 + 12345;
		back = (dice >> 8) % (REPLAY_WINDOW + 100);
		seq = (dice >> 4) % 4 == 0 ? top + steps[(dice >> 16) % 12]
		      : top > back         ? top - back
		                           : 0;
		if (seq < r.next && r.next - seq > REPLAY_WINDOW)
			cr_assert_eq(replay_check(&r, seq), -ESTALE);
		else
			cr_assert_eq(replay_check(&r, seq), seen[seq] ? -EALREADY : 0);
		if (replay_check(&r, seq) == 0) {
			replay_commit(&r, seq);
			seen[seq] = true;
		}
		top = r.next;
	}
	free(seen);
}

Test(replay, does_not_wrap_at_the_end_of_numbers)
{
	const uint64_t end = (1ULL << 48) - 1; /* of what a record may have */
	struct replay r;

	replay_init(&r, end - 10);
	ACCEPT(end);
	REFUSE(end, -EALREADY);
	ACCEPT(end - 10);
	REFUSE(end - 11, -EALREADY);
	REFUSE(0, -ESTALE);
}
