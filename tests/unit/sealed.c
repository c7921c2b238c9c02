/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gateway/sealed.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

Test(sealed, comes_back_as_it_went_in_as_often_as_one_likes)
{
	size_t len = 99;
	char *text;
	int fd;

	cr_assert_eq(sealed_new(&fd, "t", "name: n1\n", 9), 0);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(sealed_read(fd, &text, &len, 9), 0);
		cr_expect_eq(len, 9);
		cr_expect_str_eq(text, "name: n1\n");
		free(text);
	}
	cr_expect_eq(sealed_read(fd, &text, &len, 8), -EFBIG);
	cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	cr_assert_eq(sealed_new(&fd, "empty", NULL, 0), 0);
	cr_assert_eq(sealed_read(fd, &text, &len, 8), 0);
	cr_expect_eq(len, 0);
	cr_expect_str_eq(text, "");
	free(text);
	close(fd);
}

Test(sealed, nobody_changes_it)
{
	char path[64];
	int fd, again;

	cr_assert_eq(sealed_new(&fd, "t", "abc", 3), 0);
	cr_expect_eq(pwrite(fd, "x", 1, 0), -1);
	cr_expect_eq(errno, EPERM);
	cr_expect_eq(ftruncate(fd, 0), -1);
	cr_expect_eq(ftruncate(fd, 9), -1);
	cr_expect_eq(mmap(NULL, 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	cr_expect_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (again >= 0) {
		cr_expect_eq(write(again, "x", 1), -1);
		close(again);
	}
	close(fd);
}

Test(sealed, what_is_not_sealed_is_not_read)
{
	int half = memfd_create("half", MFD_CLOEXEC | MFD_ALLOW_SEALING), p[2];
	size_t len = 99;
	char *text = NULL;

	cr_assert_geq(half, 0);
	cr_assert_eq(write(half, "abc", 3), 3);
	cr_expect_eq(sealed_read(half, &text, &len, 9), -EINVAL);
	cr_assert_eq(fcntl(half, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW), 0);
	cr_expect_eq(sealed_read(half, &text, &len, 9), -EINVAL);
	close(half);
	cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
	cr_expect_eq(sealed_read(p[0], &text, &len, 9), -EINVAL);
	cr_expect_eq(sealed_read(-1, &text, &len, 9), -EINVAL);
	cr_expect(!text && len == 99, "nothing is written but on success");
}
