#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# A minute of random UDP and TCP at the ports of a running cluster.

load ../netns/lab.bash

setup() { lab_up 2; }
teardown() { lab_down; }

@test "60 s of garbage at 4747 and 4748 change nothing but counters" {
	cluster 2
	until_ok 10 peers_up n1 1
	lab_node stranger 10.9.0.66/24
	rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$(process_of n1 engine)/status")
	end=$((SECONDS + ${GARBAGE_SECONDS:-60})) lost=0
	while [ $SECONDS -lt $end ]; do
		on stranger sh -c 'head -c 60000 /dev/urandom | timeout 2 socat -b 900 -u - UDP-SENDTO:10.9.0.1:4747' || true
		for port in 4747 4748; do
			on stranger sh -c "head -c 3000 /dev/urandom | timeout 2 socat -u - TCP:10.9.0.1:$port" 2>/dev/null || true
		done
		pings n2 "$(address n1)" || lost=$((lost + 1))
	done
	[ "$lost" = 0 ]
	run -0 ginnel n1 --json status
	jq -e '.state == "ready" and .peers[0].state == "up" and ([.drops[]] | add) > 100' <<<"$output"
	after=$(awk '/^VmRSS/ { print $2 }' "/proc/$(process_of n1 engine)/status")
	echo "# RSS of the engine: $rss kB before, $after kB after" >&3
	[ "$after" -lt $((rss + 4096)) ]
}
