#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# bats file_tags=once
# ginnel bench: without a peer by itself, with one through a tunnel between
#
#   n1 10.9.0.1, 10.77.1.1 ---- wire ---- n2 10.9.0.2, 10.77.2.1

load lab.bash

setup() {
	lab_up 2
	static_nodes 2
}
teardown() { lab_down; }

both_up() {
	start n1
	start n2
	until_ok 10 pings n1 10.77.2.1
}

@test "bench tells what this processor gives, with no ginneld" {
	run -0 ginnel n1 bench --seconds 1
	[[ $output == *"seal "*" ns "*" Gbit/s"* ]]
	run -0 ginnel n1 bench --seconds 1 --json
	jq -e '.bytes == 1400 and .seal_ns > 0 and .open_ns > 0 and .seal_gbit_per_s > 0' <<<"$output"
}

@test "bench --peer measures the tunnel, and nothing has to run at its other end" {
	both_up
	before=$(ginnel n2 --json peers | jq '.[0].rx_packets')
	run -0 ginnel n1 bench --peer n2 --seconds 1 --json
	jq -e '.peer == "n2" and .address == "10.77.2.1" and .seconds == 1' <<<"$output"
	jq -e '.idle | .answered > 50 and .answered <= .sent and .p50_us > 0 and .p50_us <= .p90_us
		and .p90_us <= .p99_us and .p99_us <= .max_us' <<<"$output"
	jq -e '.large | .bytes == 1420 and .packets_per_s > 100 and .lost_percent < 50
		and (.bits_per_s / .packets_per_s | round) == 8 * 1420' <<<"$output"
	jq -e '.small | .bytes == 64 and .packets_per_s > 100' <<<"$output"
	# It went through the tunnel: the peer counted as many.
	after=$(ginnel n2 --json peers | jq '.[0].rx_packets')
	[ $((after - before)) -ge "$(jq '(.large.packets_per_s + .small.packets_per_s) / 2 | floor' <<<"$output")" ]
	run -0 ginnel n1 bench --peer n2 --seconds 1
	[[ $output == *"round trip, idle"*"answered"* ]]
	[[ $output == *"Gbit/s each way"* ]]
}

@test "bench opens a session where there is none, and says who does not answer" {
	start n1
	until_ok 10 status_is n1 ready
	run ginnel n1 bench --peer n2 --seconds 1
	complains 1 "n2 (10.77.2.1)" "$output"
	start n2
	until_ok 10 peers_up n1 1
	run -0 ginnel n1 bench --peer n2 --seconds 1 --json
	jq -e '.idle.answered > 0' <<<"$output"
	on n2 nft 'table inet deaf { chain in { type filter hook input priority 0; icmp type echo-request drop; }; }'
	run ginnel n1 bench --peer n2 --seconds 1
	complains 1 "does not answer echoes" "$output"
}

@test "bench refuses by name what it cannot measure" {
	start n1
	until_ok 10 status_is n1 ready
	run ginnel n1 bench --peer n9
	complains 1 n9 "$output"
	for s in 0 61 -1 1s ''; do
		run ginnel n1 bench --seconds "$s"
		complains 1 --seconds "$output"
	done
	run ginnel n2 bench --peer n1
	complains 3 "not reachable" "$output"
}
