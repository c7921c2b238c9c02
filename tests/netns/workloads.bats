#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Workloads and the policy: what a node adds the others know, and what is applied all have.
#
#   n1 (manager)   n2   n3     on one wire, 10.9.0.0/24

# shellcheck disable=SC2154 # stderr is set by run

load lab.bash

setup() { lab_up 3; }
teardown() {
	[ -z "${BATS_ERROR_STATUS:-}" ] || [ "$BATS_ERROR_STATUS" = 0 ] || tail -n 30 "$LAB"/n*/log
	lab_down
}
ask() { # NODE JSON: as a container plugin asks
	on "$1" "$GINNEL_TOOLS/ask" "$LAB/$1/run/control" "$2"
}
add() { # NODE ID ADDRESS [LABELS]
	ask "$1" '{"cmd":"workload-add","workload":{"id":"'"$2"'","name":"web","addresses":["'"$3"'"],"labels":'"${4:-"{}"}"'}}'
}
remove() { ask "$1" '{"cmd":"workload-remove","id":"'"$2"'"}'; }
has() { [ "$(ginnel "$1" --json workloads | jq --arg i "$2" 'any(.id == $i)')" = true ]; }
lacks() { [ "$(ginnel "$1" --json workloads | jq --arg i "$2" 'all(.id != $i)')" = true ]; }
holds() { [ "$(ginnel "$1" --json workloads | jq length)" = "$2" ]; }
prefix() { ginnel "$1" --json status | jq -r '.prefixes[0] | split(".")[0:3] | join(".")'; }
version_is() { [ "$(ginnel "$1" --json status | jq .policy_version)" = "$2" ]; }
policy() { # VERSION-COMMENT [MORE]
	printf 'version: 1\n# %s\ndefault: allow\n%b' "$1" "${2:-}" >"$LAB/policy"
}

@test "what a node adds the others see within a second, and what it removes" {
	cluster 3
	for n in n1 n2 n3; do until_ok 10 reaches_manager "$n"; done
	p=$(prefix n2)
	add n2 aa "$p.5" '{"app":"web"}' | jq -e '.id == "aa"'
	has n2 aa
	until_ok 1 has n3 aa
	until_ok 1 has n1 aa
	ginnel n3 --json workloads | jq -e --arg a "$p.5" '.[0] == {"name": "web", "id": "aa",
		"node": "n2", "network": null, "addresses": [$a], "labels": {"app": "web"}, "image": null,
		"since": null}'
	remove n2 aa | jq -e '.id == "aa"'
	until_ok 1 lacks n3 aa
	# not another's address, and not for anybody but root
	add n3 bb "$p.7" | jq -e '.reason == "address"'
	chmod 755 "$LAB" "$LAB/n3" "$LAB/n3/run" && chmod 666 "$LAB/n3/run/control"
	run setpriv --reuid 65534 --regid 65534 --clear-groups "$GINNEL_TOOLS/ask" "$LAB/n3/run/control" '{"cmd":"workload-remove","id":"aa"}'
	[[ "$output" == *"neither root nor in the group"* ]]
}

@test "workloads go on without a manager, are on the disk, and are told when it is back" {
	cluster 3
	for n in n2 n3; do until_ok 10 reaches_manager "$n"; done
	p2=$(prefix n2)
	add n2 aa "$p2.5"
	until_ok 2 has n3 aa
	kill_hard n1
	add n2 bb "$p2.6"
	remove n2 aa
	has n2 bb
	lacks n3 bb
	kill_hard n3 # it starts from the last state
	start n3
	until_ok 10 has n3 aa
	kill_hard n2
	start n2
	until_ok 10 has n2 bb
	lacks n2 aa
	start n1
	until_ok 20 has n3 bb
	until_ok 5 lacks n3 aa
}

@test "a manager that is killed has all that it acknowledged" {
	cluster 2
	until_ok 10 reaches_manager n2
	p=$(prefix n2)
	for i in $(seq 20); do add n2 "a$i" "$p.$((i + 10))" >/dev/null; done
	until_ok 5 holds n1 20
	was=$(process_of n1 manager)
	kill -KILL "$was"
	until_ok 10 replaced n1 manager "$was"
	kill_hard n1
	start n1
	until_ok 10 holds n1 20
}

@test "a policy is in force on all nodes when apply returns" {
	cluster 3
	for n in n1 n2 n3; do until_ok 10 reaches_manager "$n"; done
	ginnel n1 --json policy show | jq -e '. == {"version": null, "applied_at": null, "by": null, "document": null}'
	ginnel n1 --json status | jq -e '.policy_version == null'
	policy first
	run ginnel n1 policy apply "$LAB/policy"
	[ "$status" = 0 ]
	[ "$output" = "policy version 1 is in force" ]
	for n in n1 n2 n3; do version_is "$n" 1; done
	ginnel n1 --json policy show | jq -e '.version == 1 and .by == "root" and (.document | startswith("version: 1\n# first"))'
	# the same again is the same
	ginnel n1 policy apply "$LAB/policy"
	version_is n2 1
	# nor is it another after a restart, though the manager has nothing new to say
	stop n2
	start n2
	until_ok 10 version_is n2 1
	until_ok 10 status_is n2 ready
	# what has a fault changes nothing
	printf 'version: 1\nrulez: []\n' >"$LAB/bad"
	run ginnel n1 policy apply "$LAB/bad"
	[ "$status" = 1 ]
	[[ "$output" == *"$LAB/bad:2:1: "* ]]
	version_is n1 1
	run ginnel n2 policy apply "$LAB/policy"
	complains 1 "no manager" "$output"
	run ginnel n2 policy show
	complains 1 "no manager" "$output"
	# a node that is away is named, and has it when it is back
	kill_hard n3
	policy second
	run --separate-stderr ginnel n1 --json policy apply "$LAB/policy"
	[ "$status" = 0 ]
	[ "$(jq -c . <<<"$output")" = '{"version":2,"unconfirmed":["n3"]}' ]
	[[ "$stderr" == *"not confirmed yet: n3"* ]]
	version_is n2 2
	start n3
	until_ok 10 version_is n3 2
}

@test "a manager killed in the middle of apply has the policy or has it not, as all have" {
	cluster 2
	for n in n1 n2; do until_ok 10 reaches_manager "$n"; done
	for i in 1 2 3; do
		policy "number $i" "$(yes '# a line that makes it long' | head -n 20000 | tr '\n' '|' | sed 's/|/\\n/g')"
		was=$(process_of n1 manager)
		rm -f "$LAB/acknowledged"
		(ginnel n1 policy apply "$LAB/policy" >"$LAB/apply.$i" 2>&1 && touch "$LAB/acknowledged") 3>&- &
		apply=$!
		sleep "0.0$((i * 2))"
		kill -KILL "$was"
		wait "$apply" || true
		until_ok 10 replaced n1 manager "$was"
		until_ok 10 reaches_manager n2
		# acknowledged is kept; what was refused can be done again
		[ -e "$LAB/acknowledged" ] || until_ok 15 ginnel n1 policy apply "$LAB/policy"
		v=$(ginnel n1 --json policy show | jq .version)
		until_ok 5 version_is n2 "$v"
		ginnel n1 --json policy show | jq -e --arg t "# number $i" '.document | contains($t)'
	done
}

@test "a node killed in the middle of apply has the policy when it is back" {
	cluster 2
	for n in n1 n2; do until_ok 10 reaches_manager "$n"; done
	for i in 1 2; do
		policy "number $i"
		ginnel n1 policy apply "$LAB/policy" >"$LAB/apply.$i" 2>&1 3>&- &
		apply=$!
		sleep "0.0$((i * 3))"
		kill_hard n2
		wait "$apply" # n2 or not
		version_is n1 "$i"
		start n2
		until_ok 10 version_is n2 "$i"
		until_ok 10 status_is n2 ready
	done
}

@test "placement refuses by the rule's name, here and at the manager, and is listed" {
	cluster 2
	for n in n1 n2; do until_ok 10 reaches_manager "$n"; done
	p=$(prefix n2)
	policy placed 'placement:\n  - name: only-pci\n    workloads: {app: pay}\n    only-on: {zone: pci}\n'
	ginnel n1 policy apply "$LAB/policy"
	add n2 aa "$p.5" '{"app":"pay"}' >"$LAB/said"
	jq -e '.reason == "placement" and .rule == "only-pci" and (.error | contains("only-pci"))' "$LAB/said"
	lacks n2 aa
	refused() { [ "$(ginnel n1 --json workloads --refused | jq --arg n "$1" 'any(.rule == "only-pci" and .node == $n and .id == "aa" and .at != null)')" = true ]; }
	until_ok 2 refused n2
	ginnel n1 workloads --refused | grep -q only-pci
	# with the label in its certificate it may
	ginnel n1 node label n2 zone=pci
	add n2 aa "$p.5" '{"app":"pay"}' | jq -e '.id == "aa"'
	until_ok 2 has n1 aa
}

@test "a drained node takes no new workloads and keeps those it has" {
	cluster 2
	for n in n1 n2; do until_ok 10 reaches_manager "$n"; done
	p=$(prefix n2)
	state_of() { [ "$(ginnel n1 --json node list | jq -r '.[] | select(.name == "n2") | .state')" = "$1" ]; }
	add n2 aa "$p.5"
	until_ok 2 has n1 aa
	ginnel n1 node drain n2
	until_ok 2 state_of draining
	drained() { [ "$(add n2 bb "$p.6" | jq '.rule == "node-drain"')" = true ]; }
	until_ok 2 drained
	has n2 aa
	has n1 aa
	ginnel n1 node drain --undo n2
	until_ok 2 state_of active
	taken() { [ "$(add n2 bb "$p.6" | jq '.id == "bb"')" = true ]; }
	until_ok 2 taken
	until_ok 2 has n1 bb
	run ginnel n1 node drain n9
	complains 1 "no node n9" "$output"
}
