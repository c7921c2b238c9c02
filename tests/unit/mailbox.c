/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/engine/mailbox.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>

static bool readable(const struct mailbox *m)
{
	struct pollfd p = {.fd = m->fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static bool put(struct mailbox *m, int v)
{
	int *slot = mailbox_reserve(m);

	if (!slot)
		return false;
	*slot = v;
	mailbox_post(m);
	return true;
}

static int take(struct mailbox *m)
{
	int *slot = mailbox_next(m), v;

	if (!slot)
		return -1;
	v = *slot;
	mailbox_done(m);
	return v;
}

Test(mailbox, gives_back_in_order_and_knows_when_it_is_full)
{
	struct mailbox m;

	cr_assert_eq(mailbox_init(&m, sizeof(int), 4), 0);
	for (int turn = 0; turn < 3; turn++) { /* round the ring */
		cr_expect_eq(take(&m), -1);
		for (int i = 0; i < 4; i++)
			cr_expect(put(&m, i));
		cr_expect_not(put(&m, 9));
		cr_expect_eq(mailbox_waiting(&m), 4);
		for (int i = 0; i < 4; i++)
			cr_expect_eq(take(&m), i);
	}
	mailbox_clear(&m);
}

Test(mailbox, wakes_when_it_was_empty)
{
	struct mailbox m;

	cr_assert_eq(mailbox_init(&m, sizeof(int), 4), 0);
	cr_expect_not(readable(&m));
	put(&m, 1);
	cr_expect(readable(&m));
	mailbox_awake(&m);
	cr_expect_not(readable(&m));
	put(&m, 2); /* not empty: the reader is at it */
	cr_expect_not(readable(&m));
	cr_expect_eq(take(&m), 1);
	cr_expect_eq(take(&m), 2);
	put(&m, 3);
	cr_expect(readable(&m));
	mailbox_clear(&m);
}

Test(mailbox, refuses_a_size_that_is_no_power_of_two)
{
	struct mailbox m = {0};

	cr_expect_eq(mailbox_init(&m, 8, 0), -EINVAL);
	cr_expect_eq(mailbox_init(&m, 8, 3), -EINVAL);
}

/* Who does not empty the box before it sleeps is not woken for what it left: it has to look again. */
Test(mailbox, what_was_left_in_it_wakes_nobody)
{
	struct mailbox m;

	cr_assert_eq(mailbox_init(&m, sizeof(int), 8), 0);
	for (int i = 0; i < 4; i++)
		put(&m, i);
	mailbox_awake(&m);
	cr_expect_eq(take(&m), 0);
	put(&m, 4);
	cr_expect_not(readable(&m));
	cr_expect_not_null(mailbox_next(&m));
	mailbox_clear(&m);
}

Test(mailbox, several_are_taken_out_before_they_are_given_back)
{
	struct mailbox m;

	cr_assert_eq(mailbox_init(&m, sizeof(int), 4), 0);
	cr_expect_null(mailbox_peek(&m, 0));
	for (int i = 0; i < 4; i++)
		put(&m, i);
	for (uint32_t i = 0; i < 4; i++)
		cr_expect_eq(*(int *)mailbox_peek(&m, i), (int)i);
	cr_expect_null(mailbox_peek(&m, 4));
	cr_expect_not(put(&m, 4), "none was given back");
	mailbox_done(&m);
	mailbox_done(&m);
	cr_expect(put(&m, 4));
	cr_expect_eq(*(int *)mailbox_peek(&m, 0), 2);
	cr_expect_eq(*(int *)mailbox_peek(&m, 2), 4);
	mailbox_clear(&m);
}

Test(mailbox, one_descriptor_wakes_for_several)
{
	struct mailbox m, beside;

	cr_assert_eq(mailbox_init(&m, sizeof(int), 4), 0);
	cr_assert_eq(mailbox_init_beside(&beside, sizeof(int), 4, m.fd), 0);
	put(&beside, 1);
	cr_expect(readable(&m));
	mailbox_awake(&m);
	cr_expect_eq(take(&m), -1);
	cr_expect_eq(take(&beside), 1);
	mailbox_clear(&beside);
	put(&m, 2);
	cr_expect(readable(&m), "it is not the other's to close");
	mailbox_clear(&m);
}
