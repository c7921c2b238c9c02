#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# A million markers, node to node, while the daemon is up, stopped, killed and started again and again.
#
# shellcheck disable=SC2154 # captured_* are set by lab.bash

load ../netns/lab.bash

setup() {
	lab_up 2
	static_nodes 2
}
teardown() { lab_down; }

@test "1,000,000 markers over up, down, kill -9 and restart: none on the wire" {
	capture_proves_itself n1 10.77.2.1
	start n1 && start n2
	until_ok 10 peers_up n1 1
	on n2 "$GINNEL_TOOLS/marker" recv 9999 "$LAB_MARKER" >"$LAB/received" 2>/dev/null 3>&- &
	capture_start
	(markers_to n1 10.77.2.1 1000000 5000 >"$LAB/sent") 3>&- &
	sender=$!
	while kill -0 "$sender" 2>/dev/null; do
		sleep 5
		stop n1
		sleep 1
		start n1
		sleep 5
		kill_hard n1
		sleep 1
		start n1
		sleep 3
		kill -KILL "$(process_of n1 engine)" || true
	done
	wait "$sender"
	capture_stop
	pkill -TERM -f "marker recv 9999" || true
	until_ok 5 test -s "$LAB/received"
	echo "# $(cat "$LAB/sent"); $(cat "$LAB/received"); wire: $(cat "$LAB/sniff.out")" >&3
	[ "$captured_markers" = 0 ]
	[ "$captured_drops" = 0 ]
	# The tunnel did carry them, so the zero says something.
	[ "$(awk '{ print $2 }' "$LAB/received")" -gt 200000 ]
}
