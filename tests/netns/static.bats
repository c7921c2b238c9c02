#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Two nodes with their own PKI and static peers: no manager, nothing but the config file.
#
#   n1 10.77.1.1, fd77:0:0:1::1  ===== DTLS over 10.9.0.0/24 =====  n2 10.77.2.1, fd77:0:0:2::1
#
# shellcheck disable=SC2154 # captured_* are set by lab.bash

load lab.bash

setup() {
	lab_up 2
	static_nodes 2
}
teardown() {
	[ -z "${BATS_ERROR_STATUS:-}" ] || [ "$BATS_ERROR_STATUS" = 0 ] || tail -n 30 "$LAB"/n*/log
	lab_down
}
both_up() {
	start n1 && start n2 && until_ok 10 pings n1 10.77.2.1 && until_ok 10 peers_up n2 1
}

@test "two static nodes ping each other, IPv4 and IPv6, both ways" {
	both_up
	pings n1 10.77.2.1
	pings n2 10.77.1.1
	until_ok 5 pings n1 fd77:0:0:2::1
	pings n2 fd77:0:0:1::1
}

@test "status says ready, dtls, the hybrid exchange, and speaks in names" {
	both_up
	run -0 ginnel n1 --json status
	jq -e '.state == "ready" and .node == "n1" and .manager == null and .list == null' <<<"$output"
	jq -e '.address == "10.77.1.1/24" and .address6 == "fd77:0:0:1::1/64"' <<<"$output"
	jq -e '.peers | length == 1' <<<"$output"
	jq -e '.peers[0] | .name == "n2" and .state == "up" and .transport == "dtls" and
		.kex == "X25519MLKEM768"' <<<"$output"
}

@test "the wire carries no plaintext, and TCP fills the tunnel" {
	capture_proves_itself n1 10.77.2.1
	both_up
	capture_start
	markers_to n1 10.77.2.1 2000 5000
	on n2 iperf3 -s -1 >/dev/null 2>&1 3>&- &
	until_ok 5 on n2 sh -c 'ss -ltn | grep -q :5201'
	run -0 on n1 iperf3 -C cubic -c 10.77.2.1 -t 2 -J
	[ "$(jq '.end.sum_received.bytes > 10000000' <<<"$output")" = true ]
	capture_stop
	[ "$captured_frames" -gt 2000 ]
	[ "$captured_markers" = 0 ]
	[ "$captured_drops" = 0 ]
}

@test "a node that comes back finds its peer again" {
	both_up
	kill_hard n2
	start n2
	until_ok 10 pings n1 10.77.2.1
	stop n1
	start n1
	until_ok 10 pings n2 10.77.1.1
}

# bats test_tags=once
@test "no packet leaves in the clear while ginneld is stopped, killed or restarted" {
	capture_proves_itself n1 10.77.2.1
	capture_proves_itself n1 fd77:0:0:2::1
	both_up
	capture_start
	(markers_to n1 10.77.2.1 15000 2500 >"$LAB/sent") 3>&- &
	sender=$!
	sleep 0.5
	stop n1
	sleep 0.5
	start n1
	until_ok 10 pings n1 10.77.2.1
	kill_hard n1
	sleep 0.5
	for _ in 1 2 3; do
		start n1
		sleep 0.3
		kill_hard n1
	done
	start n1
	wait "$sender"
	capture_stop
	[ "$captured_markers" = 0 ]
	[ "$captured_drops" = 0 ]
}

@test "an inner packet that is larger than the device's MTU is cut, not lost" {
	both_up
	on n1 ping -n -q -c 3 -i 0.2 -s 3000 10.77.2.1
	on n1 ping -n -q -c 3 -i 0.2 -s 3000 fd77:0:0:2::1
}

@test "garbage at the port changes nothing but counters" {
	both_up
	lab_node stranger 10.9.0.66/24
	before=$(ginnel n1 --json status | jq '.drops["not-dtls"]')
	for _ in 1 2 3 4 5 6 7 8; do
		on stranger sh -c 'head -c 800 /dev/urandom | timeout 1 socat -u - UDP-SENDTO:10.9.0.1:4747'
		on stranger sh -c 'head -c 800 /dev/urandom | timeout 1 socat -u - TCP:10.9.0.1:4747 2>/dev/null' || true
	done
	pings n2 10.77.1.1
	[ "$(ginnel n1 --json status | jq '.drops["not-dtls"]')" -gt "$before" ]
	run -0 ginnel n1 --json status
	jq -e '.state == "ready" and .peers[0].state == "up"' <<<"$output"
}

@test "a misconfigured node is guarded: it carries nothing, and nothing leaves" {
	capture_proves_itself n1 10.77.2.1
	start n1
	until_ok 10 status_is n1 ready
	kill_hard n1
	on n1 nft flush ruleset # as after a boot: no rules, no routes, no device
	on n1 ip link del ginnel0
	on n1 ip route flush table main proto 177
	capture_proves_itself n1 10.77.2.1
	echo 'no-such-key: 1' >>"$LAB/n1/ginnel.yaml"
	run on n1 "$GINNEL_BIN/ginneld" --state "$LAB/n1/state" --run "$LAB/n1/run" \
		--config "$LAB/n1/ginnel.yaml"
	[ "$status" = 1 ]
	[[ "$output" == *no-such-key* ]]
	on n1 nft list table inet ginnel >/dev/null
	capture_start
	markers_to n1 10.77.2.1 100 1000
	capture_stop
	[ "$captured_markers" = 0 ]
}

@test "hundreds of peers that are away do not hold up one that is there" {
	# Each is a half-open session for seconds, and there are more than places for such.
	for i in $(seq 300); do
		printf '  - {name: a%s, endpoints: ["10.9.0.%s:4747"], prefixes: [10.77.%s.%s/32]}\n' \
			"$i" $((i % 100 + 100)) $((100 + i / 200)) $((i % 200))
	done >"$LAB/away"
	for n in n1 n2; do cat "$LAB/away" >>"$LAB/$n/ginnel.yaml"; done
	start n1
	start n2
	until_ok 10 pings n1 10.77.2.1
	kill_hard n2
	start n2
	until_ok 10 pings n2 10.77.1.1
}

# bats test_tags=once
@test "idle costs nothing: no thread wakes but for a keepalive" {
	both_up
	sleep 3 # the last answers are in
	before=$(switches n1)
	sleep 10
	after=$(switches n1)
	echo "# woken $((after - before)) times in 10 s" >&3
	# A keepalive each way: ping, pong, and the look whether an answer came.
	[ $((after - before)) -le 12 ]
}
