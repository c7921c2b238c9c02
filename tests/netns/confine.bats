#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# bats file_tags=once
# What a process that was taken over can still ask of the kernel: nothing that its work does not take.
#
#   n1 10.9.0.1 (manager)       n2 10.9.0.2

load lab.bash
bats_require_minimum_version 1.5.0

setup() { LAB=; }
teardown() {
	[ -z "${BATS_ERROR_STATUS:-}" ] || [ "$BATS_ERROR_STATUS" = 0 ] || tail -n 30 "$LAB"/n*/log || true
	lab_down
}
breakout() { "$GINNEL_TOOLS/breakout" "$@"; }

@test "no process that was taken over gets out: forbidden calls end it, other files stay closed" {
	for p in engine manager ca; do
		mkdir "$BATS_TEST_TMPDIR/$p"
		n=0
		while read -r name by; do
			want=1
			[ "$by" = file ] || want=159
			run breakout try "$p" "$BATS_TEST_TMPDIR/$p" "$name"
			[ "$status" = "$want" ] || { echo "$p $name: exit $status: $output"; return 1; }
			n=$((n + 1))
		done < <(breakout list "$p")
		[ "$n" -ge 15 ]
	done
}

@test "without it, the same acts succeed or fail for other reasons" {
	mkdir "$BATS_TEST_TMPDIR/x"
	breakout list engine >"$BATS_TEST_TMPDIR/engine"
	grep -q '^execve call$' "$BATS_TEST_TMPDIR/engine"
	grep -q '^udp-socket call$' "$BATS_TEST_TMPDIR/engine"
	run ! grep -q '^tcp-socket' "$BATS_TEST_TMPDIR/engine"
	breakout list ca | grep -q '^tcp-socket call$'
	# The engine dials managers.
	run -0 breakout try engine "$BATS_TEST_TMPDIR/x" tcp-socket
}

@test "what they live on is left to them: files of their own, memory, threads, an end by abort" {
	lab_up 1
	for p in engine manager ca; do
		mkdir "$BATS_TEST_TMPDIR/$p"
		run on n1 "$GINNEL_TOOLS/breakout" live "$p" "$BATS_TEST_TMPDIR/$p"
		[ "$status" = 0 ] || { echo "$p: exit $status: $output"; return 1; }
		run breakout abort "$p" "$BATS_TEST_TMPDIR/$p"
		[ "$status" = 134 ]
	done
}

@test "every thread of engine, manager and ca has its filter, and no capability" {
	lab_up 1
	cluster 1
	for p in engine manager ca; do
		pid=$(process_of n1 "$p")
		threads=0
		for t in "/proc/$pid/task/"*/status; do
			[ "$(awk '/^Seccomp:/ { print $2 }' "$t")" = 2 ]
			[ "$(awk '/^NoNewPrivs:/ { print $2 }' "$t")" = 1 ]
			[ "$(awk '/^CapBnd:/ { print $2 }' "$t")" = 0000000000000000 ]
			threads=$((threads + 1))
		done
		[ "$p" != engine ] || [ "$threads" -ge 3 ]
	done
	grep -q 'processes are confined.*landlock=' "$LAB/n1/log"
}

@test "a process killed by its filter is named so, and started again" {
	lab_up 1
	cluster 1
	engine=$(process_of n1 engine)
	kill -SYS "$engine"
	until_ok 10 replaced n1 engine "$engine"
	until_ok 10 status_is n1 ready
	grep -q 'error a process made a system call that its filter forbids.*process=engine' "$LAB/n1/log"
	grep -q 'process=engine.*how="SIGSYS, by its system call filter"' "$LAB/n1/log"
}

@test "--check tries all of it, and says what stands" {
	lab_up 1
	cluster 1
	run -0 on n1 "$GINNEL_BIN/ginneld" --check --state "$LAB/n1/state" --run "$LAB/n1/run"
	for p in parent engine manager ca; do
		grep -qE "^$p: Landlock ABI [0-9]+.*forbidden acts tried, all refused$" <<<"$output"
	done
	grep -qx 'io_uring: restricted to four operations on two files' <<<"$output"
	run -0 on n1 "$GINNEL_TOOLS/noring" "$GINNEL_BIN/ginneld" --check --state "$LAB/n1/state" --run "$LAB/n1/run"
	grep -q '^io_uring: not to be had' <<<"$output"
	grep -qE '^ca: .*a filter of [0-9]+ system calls' <<<"$output"
}

@test "lists of system calls that name nobody or nothing are refused where they stand" {
	awk=$BATS_TEST_DIRNAME/../../gateway/privsep/syscalls.awk
	printf '/* syscalls(engine ca): read write\n * poll */\nint x;\n/* syscalls(ca, before the filter): mmap */\n' >"$BATS_TEST_TMPDIR/good.c"
	run -0 awk -f "$awk" "$BATS_TEST_TMPDIR/good.c"
	[[ "$output" == *$'#define SYSCALLS_ENGINE(X) \\\n\tX(read) \\\n\tX(write) \\\n\tX(poll)\n#define SYSCALLS_MANAGER(X)\n#define SYSCALLS_CA(X) \\\n'* ]]
	run ! grep -q mmap <<<"$output"
	printf 'int x;\n/* syscalls(engin): read */\n' >"$BATS_TEST_TMPDIR/bad.c"
	run -1 awk -f "$awk" "$BATS_TEST_TMPDIR/bad.c"
	[[ "$output" == "$BATS_TEST_TMPDIR/bad.c:2: "*'"engin" is no process'* ]]
	printf '/* syscalls(engine): read, write */\n' >"$BATS_TEST_TMPDIR/bad.c"
	run -1 awk -f "$awk" "$BATS_TEST_TMPDIR/bad.c"
	[[ "$output" == "$BATS_TEST_TMPDIR/bad.c:1: "*'"read," is no name'* ]]
}
