#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Three nodes, one of them the manager: enrolment, learning of each other, and what survives.
#
#   n1 (manager)   n2   n3     on one wire, 10.9.0.0/24
#
# shellcheck disable=SC2154 # captured_* are set by lab.bash

load lab.bash

setup() { lab_up 3; }
teardown() {
	[ -z "${BATS_ERROR_STATUS:-}" ] || [ "$BATS_ERROR_STATUS" = 0 ] || tail -n 30 "$LAB"/n*/log
	lab_down
}
knows() { ginnel "$1" --json peers | jq -e --arg n "$2" 'any(.name == $n)'; }
at() { # NODE PATTERN: when the line was logged, in milliseconds
	date -d "$(grep -m 1 -- "$2" "$LAB/$1/log" | cut -d' ' -f1)" +%s%3N
}
all_pairs() { # SECONDS
	local i j to
	for i in 1 2 3; do
		to=$(address "n$i")
		for j in 1 2 3; do
			[ "$i" = "$j" ] || until_ok "$1" pings "n$j" "$to" || return 1
		done
	done
}

@test "init, two tokens, two joins, three daemons: all pairs ping within 5 s" {
	cluster 3
	all_pairs 5
	for i in 1 2 3; do
		until_ok 5 status_is "n$i" ready
		ginnel "n$i" --json status | jq -e '.peers | length == 2 and all(.state == "up" and
			.transport == "dtls" and .kex == "X25519MLKEM768")'
	done
}

@test "each node learns of a new one within a second of its joining" {
	cluster 2
	until_ok 5 peers_up n1 1
	join n3 10.9.0.3 # and is not even started
	until_ok 10 knows n2 n3
	joined=$(at n1 'node joined.*peer=n3') known=$(at n2 'node known.*peer=n3')
	echo "# n1 let n3 in at $joined, n2 knew of it at $known" >&3
	[ $((known - joined)) -lt 1000 ]
	start n3
	all_pairs 5
}

@test "the data plane stands alone: with the manager's daemon dead the others go on" {
	cluster 3
	all_pairs 5
	n3=$(address n3)
	kill_hard n1
	pings n2 "$n3"
	kill_hard n2 # and starts without a manager, from the last state
	start n2
	until_ok 10 pings n2 "$n3"
	run ginnel n2 --json status
	jq -e '.manager.reachable == false and (.peers | map(.name) | contains(["n1", "n3"]))' <<<"$output"
}

@test "engine, manager or ca killed: each is restarted, and traffic goes on" {
	cluster 3
	all_pairs 5
	n1=$(address n1)
	for role in engine manager ca; do
		was=$(process_of n1 "$role")
		kill -KILL "$was"
		until_ok 10 replaced n1 "$role" "$was"
		until_ok 10 pings n2 "$n1"
		until_ok 10 status_is n1 ready
	done
	join_again=$(ginnel n1 token create)
	[[ "$join_again" == GNL1.node.* ]]
}

# bats test_tags=once
@test "with the engine killed nothing leaves in the clear" {
	capture_proves_itself n1 10.77.2.1
	cluster 2
	until_ok 5 peers_up n1 1
	n2=$(address n2)
	capture_start
	(markers_to n1 "$n2" 10000 5000 >/dev/null) 3>&- &
	sender=$!
	for _ in 1 2 3; do
		sleep 0.4
		was=$(process_of n1 engine)
		kill -KILL "$was"
		until_ok 10 replaced n1 engine "$was"
	done
	wait "$sender"
	capture_stop
	[ "$captured_markers" = 0 ]
	[ "$captured_drops" = 0 ]
	until_ok 10 pings n1 "$n2"
}

@test "the others end when the parent is killed" {
	cluster 1
	engine=$(process_of n1 engine) manager=$(process_of n1 manager) ca=$(process_of n1 ca)
	[ -n "$engine" ] && [ -n "$manager" ] && [ -n "$ca" ]
	kill_hard n1
	for p in $engine $manager $ca; do gone "$p" 5; done
	start n1
	until_ok 10 status_is n1 ready
}

@test "each process has its own uid and no capability but the parent's" {
	cluster 1
	uids=
	for role in engine manager ca; do
		p=$(process_of n1 "$role")
		uid=$(awk '/^Uid:/ { print $2 }' "/proc/$p/status")
		[ "$uid" != 0 ]
		uids="$uids $uid"
		[ "$(awk '/^CapEff:|^CapPrm:|^CapBnd:|^CapInh:|^CapAmb:/ { print $2 }' "/proc/$p/status" | sort -u)" = 0000000000000000 ]
		[ "$(awk '/^NoNewPrivs:/ { print $2 }' "/proc/$p/status")" = 1 ]
	done
	[ "$(tr ' ' '\n' <<<"$uids" | grep -c .)" = "$(tr ' ' '\n' <<<"$uids" | grep . | sort -u | wc -l)" ]
	p=$(pid_of n1)
	# NET_ADMIN (12), KILL (5), SETGID (6), SETUID (7), SETPCAP (8)
	[ "$(awk '/^CapEff:/ { print $2 }' "/proc/$p/status")" = 00000000000011e0 ]
}

@test "down takes guards and device away, and only down" {
	cluster 1
	stop n1
	on n1 nft list table inet ginnel >/dev/null
	on n1 ip link show ginnel0 >/dev/null
	ginnel n1 down
	run on n1 nft list table inet ginnel
	[ "$status" -ne 0 ]
	run on n1 ip link show ginnel0
	[ "$status" -ne 0 ]
	run on n1 ip route show type unreachable
	[ -z "$output" ]
}
