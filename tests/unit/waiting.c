/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/waiting.h"

#include <criterion/criterion.h>

static struct waiting room;
static struct peer *a, *b;

static void setup(void)
{
	cr_assert_eq(waiting_init(&room, 0), 0);
	cr_assert_eq(peer_new(&a, "a"), 0);
	cr_assert_eq(peer_new(&b, "b"), 0);
}

static void teardown(void)
{
	waiting_clear(&room);
	peer_put(a); /* asserts that nothing of it waits any more */
	peer_put(b);
}

static bool add(struct peer *p, uint8_t what, int64_t now)
{
	return waiting_add(&room, p, &what, 1, now);
}

TestSuite(waiting, .init = setup, .fini = teardown);

Test(waiting, packets_leave_by_peer_in_order)
{
	add(a, 1, 0);
	add(b, 2, 0);
	add(a, 3, 0);
	cr_expect_eq(waiting_count(&room), 3);
	cr_expect_eq(waiting_take(&room, a)->data[0], 1);
	cr_expect_eq(waiting_take(&room, a)->data[0], 3);
	cr_expect_null(waiting_take(&room, a));
	cr_expect_eq(waiting_take(&room, b)->data[0], 2);
	cr_expect_eq(waiting_count(&room), 0);
	cr_expect_eq(waiting_deadline(&room), INT64_MAX);
}

Test(waiting, a_peer_has_its_share_and_the_room_its_size)
{
	for (unsigned i = 0; i < WAITING_PER_PEER; i++)
		cr_expect(add(a, 0, 0));
	cr_expect_not(add(a, 0, 0));
	cr_expect(add(b, 0, 0));
	cr_expect_not_null(waiting_take(&room, a));
	cr_expect(add(a, 0, 0));
}

Test(waiting, who_waits_too_long_is_dropped_and_counted)
{
	add(a, 1, 100);
	add(b, 2, 200);
	cr_expect_eq(waiting_deadline(&room), 100 + WAITING_TIME);
	cr_expect_eq(waiting_expire(&room, 100 + WAITING_TIME - 1), 0);
	cr_expect_eq(waiting_expire(&room, 100 + WAITING_TIME), 1);
	cr_expect_null(waiting_take(&room, a));
	cr_expect_eq(waiting_count(&room), 1);
}

Test(waiting, places_come_free_behind_a_packet_that_stays)
{
	add(b, 9, 0);
	for (unsigned turn = 0; turn < 3 * WAITING_ROOM; turn++) {
		bool in = add(a, 1, 0);

		if (in)
			cr_expect_not_null(waiting_take(&room, a));
		else
			break; /* the oldest holds its place: the ring is full behind it */
	}
	cr_expect_eq(waiting_count(&room), 1);
	cr_expect_eq(waiting_take(&room, b)->data[0], 9);
	cr_expect(add(a, 1, 0));
}

Test(waiting, too_long_a_packet_finds_no_place)
{
	static uint8_t big[WAITING_PACKET + 1];

	cr_expect(waiting_add(&room, a, big, WAITING_PACKET, 0));
	cr_expect_not(waiting_add(&room, a, big, WAITING_PACKET + 1, 0));
}

/* They wait for an answer, not for a handshake: there are many of them, for a moment. */
Test(waiting, those_that_are_held_have_the_whole_room)
{
	a->slots[0].pass.held = 1;
	for (unsigned i = 0; i < WAITING_ROOM; i++)
		cr_expect(add(a, (uint8_t)i, 0));
	cr_expect_not(add(a, 0, 0));
}

Test(waiting, tells_who_waits)
{
	uint32_t at;

	add(a, 1, 0);
	add(b, 2, 0);
	add(a, 3, 0);
	at = room.head;
	cr_expect_eq(waiting_peer(&room, &at), a);
	while (waiting_take(&room, a))
		;
	cr_expect_eq(waiting_peer(&room, &at), b);
	cr_expect_null(waiting_peer(&room, &at));
}
