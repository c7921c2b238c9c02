#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# bats file_tags=once
# The daemon as its host sees it: containers behind links, guards, processes, starts that fail.
#
# shellcheck disable=SC2154 # captured_* are set by lab.bash
#
#   c1 10.77.1.2 --- v1 n1 10.9.0.1 ===== DTLS ===== n2 10.9.0.2 v1 --- c2 10.77.2.2

load lab.bash
bats_require_minimum_version 1.5.0

setup() {
	lab_up 2
	static_nodes 2 "interfaces: [v1]\n"
	container 1
	container 2
}
teardown() {
	[ -z "${BATS_ERROR_STATUS:-}" ] || [ "$BATS_ERROR_STATUS" = 0 ] || tail -n 30 "$LAB"/n*/log
	lab_down
}
container() { # I: c<I> behind v1 of n<I>
	ip netns add "${LAB_P}c$1"
	LAB_NODES="$LAB_NODES c$1"
	on "n$1" ip link add v1 type veth peer name eth0 netns "${LAB_P}c$1"
	on "n$1" ip addr add fe80::1/64 dev v1 nodad
	on "n$1" ip link set v1 up
	on "n$1" ip route add "10.77.$1.2/32" dev v1
	on "n$1" ip route add "fd77:0:0:$1::2/128" dev v1
	on "c$1" ip link set lo up
	on "c$1" sysctl -qw net.ipv6.conf.eth0.accept_dad=0
	on "c$1" ip link set eth0 up
	on "c$1" ip addr add "10.77.$1.2/32" dev eth0
	on "c$1" ip addr add "fd77:0:0:$1::2/128" dev eth0 nodad
	on "c$1" ip route add "10.77.$1.1/32" dev eth0
	on "c$1" ip route add default via "10.77.$1.1" dev eth0
	on "c$1" ip route add default via fe80::1 dev eth0
}
both_up() { start n1 && start n2 && until_ok 10 pings c1 10.77.2.2; }
guarded() { on n1 nft list table inet ginnel >/dev/null && on n1 ip link show ginnel0 >/dev/null; }

@test "containers behind links of two hosts reach each other, and the wire sees none of it" {
	both_up
	capture_start
	pings c2 10.77.1.2
	until_ok 5 pings c1 fd77:0:0:2::2
	pings c2 fd77:0:0:1::2
	pings c1 10.77.2.1
	pings c1 10.77.1.1
	pings n1 10.77.2.2
	markers_to c1 10.77.2.2 500 5000
	markers_to c2 fd77:0:0:1::2 500 5000
	on c2 iperf3 -s -1 >/dev/null 2>&1 3>&- &
	until_ok 5 on c2 sh -c 'ss -ltn | grep -q :5201'
	run -0 on c1 iperf3 -C cubic -c 10.77.2.2 -t 1 -J
	[ "$(jq '.end.sum_received.bytes > 500000' <<<"$output")" = true ]
	capture_stop
	[ "$captured_frames" -gt 200 ]
	[ "$captured_markers" = 0 ]
	[ "$captured_drops" = 0 ]
	grep -q 'forwarding is on now' "$LAB/n1/log"
}

@test "a flush by another program: traffic goes on, and the rules are back" {
	both_up
	on n1 nft flush ruleset
	pings c1 10.77.2.2
	until_ok 5 guarded
	until_ok 5 grep -q 'the guard was not whole and is again.*rules=missed' "$LAB/n1/log"
}

@test "the device is taken away: made anew, with an engine that has it" {
	both_up
	on n1 ip link del ginnel0
	until_ok 10 pings c1 10.77.2.2
	until_ok 5 status_is n1 ready
}

@test "with the engine dead a sender gets an error, and soon" {
	both_up
	kill -STOP "$(pid_of n1)" # nobody starts it again
	kill -KILL "$(process_of n1 engine)"
	until_ok 5 error_for n1
	run -1 on c1 ping -n -c 1 -W 3 10.77.2.2
	[[ "$output" == *nreachable* ]]
	kill -CONT "$(pid_of n1)"
	until_ok 10 pings c1 10.77.2.2
}
error_for() { on "$1" ping -n -c 1 -W 1 10.77.2.1 2>&1 | grep -qi 'unreachable\|no route'; }

@test "a config replaced under a running daemon is nobody's until the next start" {
	both_up
	for text in ': {no yaml' 'name: n1\n' "$(sed 's/10.77.1.0/10.77.9.0/' "$LAB/n1/ginnel.yaml")"; do
		engine=$(process_of n1 engine)
		printf '%b' "$text" >"$LAB/n1/ginnel.new"
		mv "$LAB/n1/ginnel.new" "$LAB/n1/ginnel.yaml"
		kill -KILL "$engine"
		until_ok 10 replaced n1 engine "$engine"
		until_ok 10 pings c1 10.77.2.2
		until_ok 10 pings c2 10.77.1.2
	done
	engine=$(process_of n1 engine)
	rm "$LAB/n1/ginnel.yaml"
	kill -KILL "$engine"
	until_ok 10 replaced n1 engine "$engine"
	until_ok 10 pings c1 10.77.2.2
	printf 'name: n1\n' >"$LAB/n1/ginnel.yaml" # for ginnel itself
	status_is n1 ready
}

@test "the parent holds no queue, no key and five capabilities; the engine nothing of its uid" {
	both_up
	parent=$(pid_of n1) engine=$(process_of n1 engine)
	run ! grep -q /dev/net/tun <(ls -l "/proc/$parent/fd")
	grep -q /dev/net/tun <(ls -l "/proc/$engine/fd")
	for p in $parent $engine; do
		[ "$(cat "/proc/$p/comm")" = ginneld ]
		[ "$(awk '/^NoNewPrivs:/ { print $2 }' "/proc/$p/status")" = 1 ]
		[ "$(awk '/^Max core file size/ { print $6 }' "/proc/$p/limits")" = 0 ]
	done
	[ "$(awk '/^CapBnd:/ { print $2 }' "/proc/$parent/status")" = 00000000000011e0 ]
	[ "$(stat -c %U:%a "$LAB/n1/state")" = root:700 ]
	[ "$(stat -c %a "$LAB/n1/state/engine")" = 700 ]
	[ "$(stat -c %U:%a "$LAB/n1/run/admin")" = root:600 ]
}

@test "down stops a running daemon, works with a dead one, and puts forwarding back" {
	both_up
	[ "$(on n1 sysctl -n net.ipv4.ip_forward)" = 1 ]
	run -1 on n1 setpriv --reuid 65534 --clear-groups "$GINNEL_BIN/ginnel" down
	[[ "$output" == *"only root may"* ]]
	guarded
	ginnel n1 down
	gone "$(pid_of n1)" 1
	run ! guarded
	[ "$(on n1 sysctl -n net.ipv4.ip_forward)" = 0 ]
	[ -z "$(on n1 ip route show proto 177)" ]
	kill_hard n2
	on n2 nft list table inet ginnel >/dev/null
	ginnel n2 down
	ginnel n2 down
	run ! on n2 nft list table inet ginnel
	[ "$(on n2 sysctl -n net.ipv4.ip_forward)" = 0 ]
}

@test "--guard before all else, and beside a running daemon" {
	on n1 "$GINNEL_BIN/ginneld" --guard --config "$LAB/n1/ginnel.yaml" --state "$LAB/n1/state"
	guarded
	run -2 pings n1 10.77.2.1
	both_up
	on n1 "$GINNEL_BIN/ginneld" --guard --config "$LAB/n1/ginnel.yaml" --state "$LAB/n1/state"
	pings c1 10.77.2.2
	status_is n1 ready
}

@test "a second one in the same network namespace is refused, whatever it was asked" {
	both_up
	other() { on n1 "$GINNEL_BIN/$1" --config "$LAB/n1/ginnel.yaml" --state "$LAB/o" --run "$LAB/o-run" "${@:2}"; }
	engine=$(process_of n1 engine) tables=$(tables)
	for act in "ginneld --guard" ginneld "ginnel down"; do
		# shellcheck disable=SC2086 # words
		run -1 other $act
		[[ "$output" == *"ginnel: "*": another ginneld guards this network namespace; stop that one first"* ]]
	done
	[ "$tables" = "$(tables)" ]
	[ "$engine" = "$(process_of n1 engine)" ]
	pings c1 10.77.2.2
	kill_hard n1
	run -0 other ginneld --guard
	guarded
}
tables() { on n1 nft -s list table inet ginnel; on n1 cat /sys/class/net/ginnel0/ifindex; }

@test "another overlay, another device: what the former ones left goes, and nothing of others'" {
	both_up
	stop n1
	on n1 ip route add 10.77.200.0/24 dev u0
	on n1 ip route add unreachable 10.77.0.0/16 metric 77
	on n1 ip addr add 10.77.200.1/32 dev lo
	alone 10.99.0.0/16 10.99.1.0/24 ginnel0
	start n1
	until_ok 10 status_is n1 ready
	until_ok 5 left_nothing
	[[ "$(on n1 ip -o addr show ginnel0)" == *10.99.1.1/32* ]]
	[[ "$(on n1 ip -o addr show ginnel0)" != *10.77.* ]]
	kill_hard n1
	alone 10.98.0.0/16 10.98.1.0/24 gnl7
	start n1
	until_ok 10 status_is n1 ready
	run ! on n1 ip link show ginnel0
	routes=$(on n1 ip route show proto 177)
	[[ "$routes" == *"unreachable 10.98.1.0/24"* ]]
	run -1 grep -v '10\.98\.' <<<"$routes"
	# Changed again, and only down is run.
	kill_hard n1
	alone 10.97.0.0/16 10.97.1.0/24 ginnel0
	ginnel n1 down
	run ! on n1 ip link show gnl7
	[ -z "$(on n1 ip route show proto 177)" ]
	[[ "$(on n1 ip route show)" == *"10.77.200.0/24 dev u0"* ]]
	[[ "$(on n1 ip route show)" == *"unreachable 10.77.0.0/16 metric 77"* ]]
	[[ "$(on n1 ip -o addr show lo)" == *10.77.200.1/32* ]]
}
alone() { # OVERLAY PREFIX DEVICE: n1 without peers
	printf 'name: n1\nadvertise: [10.9.0.1]\noverlay: %s\nprefixes: [%s]\ndevice: %s\n' "$@" >"$LAB/n1/ginnel.yaml"
	printf 'identity: {cert: ../n1.pem, key: ../n1.key, ca: ../ca.pem}\n' >>"$LAB/n1/ginnel.yaml"
}
left_nothing() { ! { on n1 ip route show proto 177; on n1 ip -6 route show proto 177; } | grep '10\.77\.\|fd77'; }

@test "--check changes nothing" {
	run -0 on n1 "$GINNEL_BIN/ginneld" --check --config "$LAB/n1/ginnel.yaml" --state "$LAB/none"
	[[ "$output" == *"node n1 of lab, role node"* ]]
	run ! guarded
	[ ! -e "$LAB/none" ]
	chmod 644 "$LAB/n1.key"
	run -1 on n1 "$GINNEL_BIN/ginneld" --check --config "$LAB/n1/ginnel.yaml"
	[[ "$output" == "ginnel: "*n1.key* ]]
}

@test "a start that fails says why, once, and what cannot be carried is guarded" {
	daemon() { on n1 "$GINNEL_BIN/ginneld" --state "$LAB/n1/state" --run "$LAB/n1/run" "$@"; }
	printf 'name: n1\n' >"$LAB/empty.yaml"
	run -1 daemon --config "$LAB/empty.yaml"
	[[ "$output" == "ginnel: "*"not enrolled"*"run \`ginnel init\` or \`ginnel join\` first"* ]]
	[ "${#lines[@]}" = 1 ]
	run ! guarded
	chmod 644 "$LAB/n1.key"
	run -1 daemon --config "$LAB/n1/ginnel.yaml"
	[[ "$output" == "ginnel: "*n1.key*"chmod 600"* ]]
	[ "${#lines[@]}" = 1 ]
	guarded
	chmod 600 "$LAB/n1.key"
	chown 1234 "$LAB/n1/state"
	run -1 daemon --config "$LAB/n1/ginnel.yaml"
	[[ "$output" == *"uid 1234 owns it, not root"* ]]
	chown 0 "$LAB/n1/state"
	start n1
	until_ok 10 ginnel n1 status --json
	run -1 daemon --config "$LAB/n1/ginnel.yaml"
	[[ "$output" == *"another ginneld runs here"* ]]
	run -2 daemon --role engine
	run -2 daemon --nonsense
	run -2 daemon stray
	run -0 daemon --version
	[[ "$output" == "ginneld "* ]]
}
