#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# An hour of traffic between three nodes, on whatever programs GINNEL_BIN names (ASan: see README).

load ../netns/lab.bash

setup() { lab_up 3; }
teardown() { lab_down; }

# At rest: a look at the rules, or a client, has descriptors of its own for a moment.
sizes() {
	for _ in 1 2 3 4 5; do
		sizes_now
		sleep 1
	done | awk '!n++ || $1 < rss { rss = $1 } n == 1 || $2 < fds { fds = $2 } END { print rss, fds }'
}
sizes_now() { # every process: rss fds
	local n p
	for n in n1 n2 n3; do
		for p in $(ip netns pids "$LAB_P$n"); do
			grep -q ginneld "/proc/$p/comm" 2>/dev/null || continue
			awk -v fds="$(find "/proc/$p/fd" -mindepth 1 | wc -l)" '/^VmRSS/ { print $2, fds }' "/proc/$p/status"
		done
	done | awk '{ rss += $1; fds += $2 } END { print rss, fds }'
}

@test "traffic for TRAFFIC_SECONDS (3600): memory and descriptors stay flat" {
	cluster 3
	until_ok 20 peers_up n1 2
	n1=$(address n1)
	on n1 iperf3 -s >/dev/null 2>&1 3>&- &
	until_ok 5 on n1 sh -c 'ss -ltn | grep -q :5201'
	end=$((SECONDS + ${TRAFFIC_SECONDS:-3600})) first='' round=0
	while [ $SECONDS -lt $end ]; do
		on n2 iperf3 -C cubic -c "$n1" -t 20 >/dev/null
		on n3 iperf3 -u -b 50M -c "$n1" -t 10 >/dev/null
		pings n3 "$n1"
		round=$((round + 1))
		[ $((round % 10)) -eq 0 ] || continue
		last=$(sizes)
		first=${first:-$last}
		echo "# round $round: RSS kB, descriptors: $last" >&3
	done
	[ -n "$first" ] # else it was too short to say anything
	[ "${last#* }" -le "${first#* }" ]
	[ "${last% *}" -le $((${first% *} * 101 / 100 + 2048)) ]
}
