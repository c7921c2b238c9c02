#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# The policy on the packet's way, between real nodes.
#
#   n1 (manager)   n2     on one wire, 10.9.0.0/24

load lab.bash

setup() { lab_up 2; }
teardown() {
	[ -z "${BATS_ERROR_STATUS:-}" ] || [ "$BATS_ERROR_STATUS" = 0 ] || tail -n 30 "$LAB"/n*/log
	lab_down
}
address6() { ginnel "$1" --json status | jq -r '.address6 | split("/")[0]'; }
dropped() { ginnel "$1" --json status | jq --arg r "$2" '.drops[$r] // 0'; }
pings() { on "$1" ping -c 1 -W 1 "$2"; }

@test "a refused packet is counted by name, its sender is told, and a change ends what flows" {
	cluster 2
	for n in n1 n2; do until_ok 10 reaches_manager "$n"; done
	n2=$(address n2)
	until_ok 10 pings n1 "$n2"
	printf 'version: 1\ndefault: allow\nrules:\n  - {name: no-ping, from: {node: n1}, to: {node: n2}, ports: [icmp], action: deny}\n' \
		>"$LAB/policy"
	ginnel n1 policy apply "$LAB/policy"
	for to in "$n2" "$(address6 n2)"; do
		run on n1 ping -c 1 -W 1 "$to"
		[ "$status" != 0 ]
		[[ "$output" == *"filtered"* || "$output" == *"prohibited"* ]] # says so, and is not silent
	done
	[ "$(dropped n1 policy)" -ge 2 ]
	[ "$(dropped n2 policy)" = 0 ] # the sender has judged
	until_ok 5 grep -q 'packet refused.*rule=no-ping' "$LAB/n1/log"
	pings n2 "$(address n1)" # the other way it is allowed, and so are its answers
	printf 'version: 1\ndefault: allow\n' >"$LAB/policy"
	ginnel n1 policy apply "$LAB/policy"
	pings n1 "$n2"
}
