/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/secret.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The sanitizers make mlock do nothing. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LOCKS 0
#else
#define LOCKS 1
#endif

static int is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i])
			return 0;
	}
	return 1;
}

Test(secret, gives_zeroed_memory_of_any_size)
{
	static const size_t sizes[] = {1, 16, 255, 256, 257, 4096, 4097, 100000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *p = secret_new(sizes[i]);

		cr_assert(p, "%zu", sizes[i]);
		cr_expect(is_zero(p, sizes[i]));
		cr_expect_eq((uintptr_t)p % 16, 0);
		memset(p, 0xa5, sizes[i]);
		secret_free(p, sizes[i]);
		p = secret_new(sizes[i]);
		cr_assert(p);
		cr_expect(is_zero(p, sizes[i]), "%zu bytes come back dirty", sizes[i]);
		secret_free(p, sizes[i]);
	}
	secret_free(NULL, 10);
	cr_expect_null(secret_new(0));
	cr_expect_null(secret_new(SIZE_MAX));
}

Test(secret, gives_each_owner_memory_of_its_own)
{
	enum { MANY = 500 };
	uint8_t *p[MANY];

	for (int i = 0; i < MANY; i++) {
		p[i] = secret_new(64);
		cr_assert(p[i]);
		memset(p[i], i & 0xff, 64);
	}
	for (int i = 0; i < MANY; i++) {
		for (int k = 0; k < 64; k++)
			cr_assert_eq(p[i][k], i & 0xff);
	}
	for (int i = 0; i < MANY; i += 2)
		secret_free(p[i], 64);
	for (int i = 0; i < MANY; i += 2) {
		p[i] = secret_new(64);
		cr_assert(p[i] && is_zero(p[i], 64));
	}
	for (int i = 1; i < MANY; i += 2)
		cr_expect_eq(p[i][63], i & 0xff);
	for (int i = 0; i < MANY; i++)
		secret_free(p[i], 64);
}

/* What the kernel says of the mapping around p, from /proc/self/smaps. */
static void flags_of(const void *p, char *flags, size_t max)
{
	char line[256];
	int here = 0;
	FILE *f = fopen("/proc/self/smaps", "r");

	cr_assert(f);
	flags[0] = 0;
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = from <= (uintptr_t)p && (uintptr_t)p < to;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(flags, max, "%.*s", 200, line + 8);
	}
	fclose(f);
}

Test(secret, is_locked_undumpable_and_wiped_on_fork)
{
	static const size_t sizes[] = {32, 5000};

	for (size_t i = 0; i < 2; i++) {
		uint8_t *p = secret_new(sizes[i]);
		char flags[256];

		cr_assert(p);
		flags_of(p, flags, sizeof(flags));
		cr_expect(!LOCKS || strstr(flags, " lo"), "locked: %s", flags);
		cr_expect(strstr(flags, " dd"), "not dumped: %s", flags);
		cr_expect(strstr(flags, " wf"), "wiped on fork: %s", flags);
		secret_free(p, sizes[i]);
	}
}

Test(secret, is_zero_in_a_forked_child)
{
	uint8_t *small = secret_new(32), *large = secret_new(5000);
	int status;
	pid_t pid;

	cr_assert(small && large);
	memset(small, 1, 32);
	memset(large, 2, 5000);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0)
		_exit(is_zero(small, 32) && is_zero(large, 5000) ? 0 : 1);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	cr_expect_eq(small[31], 1);
	cr_expect_eq(large[4999], 2);
	secret_free(small, 32);
	secret_free(large, 5000);
}

Test(secret, is_refused_when_it_cannot_be_locked)
{
	const struct rlimit none = {0, 0};
	int status;
	pid_t pid;

	if (!LOCKS)
		cr_skip_test("nothing is locked under a sanitizer");
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		/* Root may lock beyond the limit, so be somebody else. */
		if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || (getuid() == 0 && setuid(64747) < 0))
			_exit(2);
		_exit(secret_new(32) || secret_new(5000) ? 1 : 0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}

Test(secret, faults_past_its_pages)
{
	uint8_t *p = secret_new(8192);
	int status;
	pid_t pid;

	cr_assert(p);
	for (int side = 0; side < 2; side++) {
		pid = fork();
		cr_assert_geq(pid, 0);
		if (pid == 0) {
			signal(SIGSEGV, SIG_DFL);
			*(volatile uint8_t *)(side ? p + 8192 : p - 1) = 1;
			_exit(0);
		}
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	}
	secret_free(p, 8192);
}

Test(secret, knows_equal_from_unequal_at_each_byte)
{
	uint8_t a[64], b[64];

	memset(a, 7, sizeof(a));
	memcpy(b, a, sizeof(b));
	cr_expect_eq(secret_equal(a, b, sizeof(a)), 1);
	cr_expect_eq(secret_equal(a, b, 0), 1);
	for (size_t i = 0; i < sizeof(a); i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			b[i] ^= (uint8_t)(1u << bit);
			cr_expect_eq(secret_equal(a, b, sizeof(a)), 0);
			cr_expect_eq(secret_equal(a, b, i), 1);
			b[i] ^= (uint8_t)(1u << bit);
		}
	}
}

Test(secret, wipes_and_fills)
{
	uint8_t a[64] = {0}, b[64] = {0};

	cr_expect_eq(secret_random(a, sizeof(a)), 0);
	cr_expect_eq(secret_random(b, sizeof(b)), 0);
	cr_expect_eq(secret_equal(a, b, sizeof(a)), 0);
	cr_expect_eq(secret_random(a, 0), 0);
	secret_wipe(a, sizeof(a));
	cr_expect(is_zero(a, sizeof(a)));
	secret_wipe(NULL, 0);
}
