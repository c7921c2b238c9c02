#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# bats file_tags=once
# Several workers on a node: lanes that open when load asks for them, and all that must hold with them.
#
#   n1 10.77.1.1, 4 workers  ===== lanes over 10.9.0.0/24 =====  n2 10.77.2.1, 4 workers

load lab.bash

setup() {
	export GINNEL_WORKERS=4
	lab_up 3
	seconds=3 mib=4
	[ "${GINNEL_PART:-}" != netns-san ] || { seconds=6 mib=1; } # a sanitizer's build takes its time
}
teardown() {
	[ -z "${BATS_ERROR_STATUS:-}" ] || [ "$BATS_ERROR_STATUS" = 0 ] || tail -n 30 "$LAB"/n*/log
	lab_down
}
both_up() {
	static_nodes 2
	start n1 && start n2 && until_ok 10 pings n1 10.77.2.1 && until_ok 10 peers_up n2 1
}
lanes() { # NODE PEER
	ginnel "$1" --json peers | jq --arg p "$2" '.[] | select(.name == $p) | .lanes'
}
# Lane 0 there may be two of at first: both sides dialled.
more_lanes() { [ "$(lanes "$1" "$2")" -gt 2 ]; }
under_load() { # FROM ADDRESS SERVER: many streams there, in the background
	on "$3" iperf3 -s -1 >/dev/null 2>&1 3>&- &
	disown
	until_ok 5 on "$3" sh -c 'ss -ltn | grep -q :5201'
	on "$1" iperf3 -C cubic -c "$2" -P 8 -t "$seconds" -J >"$LAB/load" 2>&1 3>&- &
	load=$!
}
load_arrived() {
	wait "$load"
	[ "$(jq '.end.sum_received.bytes > 1000000' "$LAB/load")" = true ]
}

@test "a light load goes by the first lane, a heavy one by several" {
	both_up
	grep -q 'workers=4' "$LAB/n1/log"
	on n1 ping -n -q -c 20 -i 0.05 10.77.2.1
	run more_lanes n1 n2
	[ "$status" -ne 0 ]
	under_load n1 10.77.2.1 n2
	until_ok "$seconds" more_lanes n1 n2
	load_arrived
	more_lanes n2 n1
	# What is shown is where the peer is known to be, not where a further lane comes from.
	ginnel n1 --json peers | jq -e '.[0].endpoint == "10.9.0.2:4747"'
	ginnel n2 --json peers | jq -e '.[0].endpoint == "10.9.0.1:4747"'
	ginnel n1 --json status | jq -e '.drops | ."unknown-cid" == 0 and ."bad-tag" == 0'
}

@test "every byte arrives as it was sent while lanes open" {
	both_up
	on n2 "$GINNEL_TOOLS/bytes" serve 10.77.2.1 2>"$LAB/bytes.err" 3>&- &
	disown
	until_ok 5 grep -q listening "$LAB/bytes.err"
	under_load n1 10.77.2.1 n2
	on n1 "$GINNEL_TOOLS/bytes" run 10.77.2.1 "$mib" 1472
	load_arrived
	more_lanes n1 n2
	on n1 "$GINNEL_TOOLS/bytes" run 10.77.2.1 "$mib" 1472
}

@test "where io_uring is forbidden ordinary calls do the same" {
	START_UNDER=$GINNEL_TOOLS/noring both_up
	grep -q 'io_uring=no' "$LAB/n1/log"
	under_load n1 10.77.2.1 n2
	load_arrived
	more_lanes n1 n2
}

@test "nodes of one and of several workers talk to each other" {
	static_nodes 2
	start n1
	GINNEL_WORKERS=1 start n2
	until_ok 10 pings n1 10.77.2.1
	under_load n1 10.77.2.1 n2
	load_arrived
	under_load n2 10.77.1.1 n1
	load_arrived
	pings n1 10.77.2.1
}

@test "a node that is killed or restarted under load is found again" {
	both_up
	under_load n1 10.77.2.1 n2
	until_ok "$seconds" more_lanes n1 n2
	kill_hard n2
	start n2
	until_ok 10 pings n1 10.77.2.1
	wait "$load" || true
	stop n1
	start n1
	until_ok 10 pings n2 10.77.1.1
	under_load n1 10.77.2.1 n2
	load_arrived
	# The engine alone: its sockets are made anew, in order.
	engine=$(process_of n2 engine)
	kill -KILL "$engine"
	until_ok 10 replaced n2 engine "$engine"
	until_ok 10 pings n1 10.77.2.1
	under_load n1 10.77.2.1 n2
	load_arrived
	more_lanes n1 n2
}

@test "no marker is on the wire while lanes open and their workers pass packets on" {
	both_up
	capture_start
	under_load n1 10.77.2.1 n2
	markers_to n1 10.77.2.1 2000 2000
	load_arrived
	more_lanes n1 n2
	capture_stop
	# shellcheck disable=SC2154 # set by lab.bash
	[ "$captured_frames" -gt 2000 ] && [ "$captured_markers" = 0 ]
}

@test "node revoke cuts every lane within 2 s" {
	cluster 3
	n2=$(address n2)
	until_ok 10 peers_up n3 2
	until_ok 10 pings n3 "$n2"
	under_load n3 "$n2" n2
	until_ok "$seconds" more_lanes n3 n2
	ginnel n1 node revoke n2
	until_ok 2 peers_up n3 1
	[ "$(lanes n3 n2)" = 0 ]
	run pings n3 "$n2"
	[ "$status" -ne 0 ]
}

@test "further workers that have nothing to do cost nothing" {
	both_up
	sleep 3 # the last answers are in
	before=$(switches n1)
	sleep 10
	after=$(switches n1)
	echo "# woken $((after - before)) times in 10 s" >&3
	[ $((after - before)) -le 40 ] # as with one
}
@test "a number of workers that is none is refused, and the node is guarded" {
	static_nodes 2
	GINNEL_WORKERS=9 run on n1 "$GINNEL_BIN/ginneld" --state "$LAB/n1/state" --run "$LAB/n1/run" \
		--config "$LAB/n1/ginnel.yaml"
	[ "$status" = 1 ]
	[[ "$output" == *"GINNEL_WORKERS: it is not 1 to 8; leave it out"* ]]
}
