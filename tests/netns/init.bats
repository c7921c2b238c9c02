#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
# init: what it makes, what it refuses, and what is left after a kill or a full disk.
#
#   n1 10.9.0.1, alone on its wire (lab.bash); no daemon

bats_require_minimum_version 1.5.0

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	. tests/netns/lab.bash
	lab_up 1
	mkdir "$LAB/n2" "$LAB/n3"
}

teardown() {
	! mountpoint -q "$LAB/n1/state" || umount -l "$LAB/n1/state"
	lab_down
}

ginnel_at() { # FOLDER ARGUMENT...: n1 with another state folder
	local folder=$1
	shift
	on n1 "$GINNEL_BIN/ginnel" --state "$LAB/$folder/state" --run "$LAB/$folder/run" "$@"
}

refused() { complains "$1" "$2" "${stderr:-$output}"; } # STATUS TEXT


@test "init makes a cluster whose parts belong to one process each" {
	run --separate-stderr ginnel n1 --json init --cluster test --name n1
	[ "$status" = 0 ]
	jq -e '.cluster == "test" and .node == "n1" and .overlay[0] == "10.77.0.0/16" and
		(.overlay[1] | startswith("fd")) and .pools == ["10.80.0.0/14"] and
		(.address | startswith("10.77.")) and (.ca | length == 64)' <<<"$output"
	s=$LAB/n1/state
	# The address of the default route, found without being told.
	jq -e '.advertise == ["10.9.0.1:4747"] and .role == "manager"' "$s/node.json"
	[ "$(stat -c '%u %a' "$s" "$s/node.json" | sort -u)" = "$(printf '0 600\n0 700')" ]
	[ "$(stat -c %u "$s"/{engine,manager,ca} | sort -u | wc -l)" = 3 ]
	[ "$(stat -c %a "$s"/{engine,manager,ca} | sort -u)" = 700 ]
	for part in engine manager ca; do
		[ "$(stat -c %u "$s/$part")" != 0 ]
		[ "$(find "$s/$part" -type f -printf '%U %m\n' | sort -u)" = "$(stat -c %u "$s/$part") 600" ]
	done
	# The CA's key is in one place alone.
	key=$(sed -n 2p "$s/ca/ca.key")
	[ "$(grep -rlF "$key" "$s" | wc -l)" = 1 ]
	[ ! -e "$s/init.unfinished" ]
}

@test "init says what to do next, and how many nodes there is room for" {
	run ginnel n1 init --name n1
	[ "$status" = 0 ]
	[[ $output == *"cluster ginnel is made"* ]]
	[[ $output == *"holds 256 nodes"* ]]
	[[ $output == *"ginnel token create"*"ginnel join --token-file token 10.9.0.1"* ]]
	[[ $output == *"Back the CA up"*"/ca/ca.key"* ]]
}

@test "init refuses what cannot work, and leaves nothing behind" {
	try() { # TEXT ARGUMENT...
		local text=$1
		shift
		run ginnel n1 init --name n1 "$@"
		refused 1 "$text"
		[ ! -e "$LAB/n1/state/node.json" ]
		[ ! -e "$LAB/n1/state/ca/ca.key" ]
		[ ! -e "$LAB/n1/state/init.unfinished" ]
	}
	try 'overlay "10.77.0.0"' --overlay 10.77.0.0
	try 'overlay "10.77.0.0/33"' --overlay 10.77.0.0/33
	try "bits set behind" --overlay 10.77.0.1/16
	try "two of one family" --overlay 10.77.0.0/16,10.78.0.0/16
	try "no room for two nodes" --overlay 10.77.0.0/24
	try "meets the overlay" --pools 10.77.128.0/24
	try "meets another pool" --pools 10.80.0.0/14,10.81.0.0/16
	try "10.9.0.1/24 on u0" --overlay 10.9.0.0/16
	try "10.9.0.1/24 on u0" --pools 10.8.0.0/13
	try "which this host is reached by" --advertise 10.77.3.4
	try "no address that other hosts can reach" --advertise 127.0.0.1
	try "advertise" --advertise 10.9.0.300
	try "lower case DNS label" --cluster Test
	run ginnel n1 init --name N1
	refused 1 "lower case DNS label"
	run ginnel n1 init --no-such-option
	[ "$status" = 2 ]
	printf 'nmae: n1\n' >"$LAB/n1/ginnel.yaml"
	run ginnel n1 init --name n1
	[ "$status" = 1 ]
	[[ $output == *"ginnel.yaml:1:1: nmae"* ]]
	not_enrolled n1
}

@test "init takes name, overlay and address from the config" {
	printf 'name: m1\nadvertise: [10.9.0.1, "m1.example.org:5001"]\nport: 5000\noverlay: 10.128.0.0/10\n' \
		>"$LAB/n1/ginnel.yaml"
	run --separate-stderr ginnel n1 --json init
	[ "$status" = 0 ]
	jq -e '.node == "m1" and .overlay == ["10.128.0.0/10"]' <<<"$output"
	jq -e '.port == 5000 and .advertise == ["10.9.0.1:5000", "m1.example.org:5001"] and
		.managers[0].endpoints == ["10.9.0.1:5001", "m1.example.org:5002"]' "$LAB/n1/state/node.json"
	rm -r "$LAB/n1/state"
	run ginnel n1 init --name other
	refused 1 "config says another"
}

@test "init is for root" {
	run setpriv --reuid 12345 --regid 12345 --clear-groups "$GINNEL_BIN/ginnel" --state "$LAB/n2/state" init --name n1
	refused 1 "run it as root"
	[ ! -e "$LAB/n2/state" ]
}

@test "init leaves an enrolled host, another's folder and a CA without node.json alone" {
	ginnel n1 init --name n1 >/dev/null
	before=$(tree_of "$LAB/n1/state")
	run ginnel n1 init --cluster other
	refused 1 "this host is n1 of cluster ginnel"
	[ "$(tree_of "$LAB/n1/state")" = "$before" ]

	mv "$LAB/n1/state/node.json" "$LAB/n1/kept"
	run ginnel n1 init
	refused 1 "a cluster's CA lies there"
	run ginnel n1 join --token-file /dev/null 10.9.0.1
	[ "$status" = 1 ]
	mv "$LAB/n1/kept" "$LAB/n1/state/node.json"
	[ "$(tree_of "$LAB/n1/state")" = "$before" ]

	mkdir "$LAB/n2/state"
	chown 12345 "$LAB/n2/state"
	run ginnel_at n2 init --name n2
	[ "$status" = 1 ]
	[[ $output == "ginnel: init: "*"/n2/state: "*12345* ]]
	[ "$(stat -c %u "$LAB/n2/state")" = 12345 ]
	[ -z "$(ls -A "$LAB/n2/state")" ]

	mkdir -p "$LAB/n3/state/engine"
	chown 12345 "$LAB/n3/state/engine"
	run ginnel_at n3 init --name n3
	[ "$status" = 1 ]
	not_enrolled n3
	[ ! -e "$LAB/n3/state/ca/ca.key" ]
}

@test "init that was killed is taken over by the next one" {
	mkdir -m 0700 "$LAB/n1/state"
	(umask 077 && touch "$LAB/n1/state/init.unfinished" "$LAB/n1/state/.node.json.0123456789abcdef")
	ginnel n1 init --name n1
	[ -z "$(find "$LAB/n1/state" -name '.*.*' -o -name 'init.unfinished')" ]
	cut=0
	for i in $(seq 12); do
		rm -rf "$LAB/n1/state"
		ip netns exec "${LAB_P}n1" "$GINNEL_BIN/ginnel" --state "$LAB/n1/state" init --name n1 >/dev/null 2>&1 &
		sleep "0.$(printf %03d $((i * 15)))"
		kill -KILL $! 2>/dev/null && cut=$((cut + 1))
		wait $! 2>/dev/null || true
		if enrolled n1; then
			# Then it is whole.
			[ -s "$LAB/n1/state/ca/ca.key" ] && [ -s "$LAB/n1/state/engine/node.pem" ]
			run ginnel n1 init --name n1
			refused 1 "this host is n1"
		else
			ginnel n1 init --name n1
			enrolled n1
			[ ! -e "$LAB/n1/state/init.unfinished" ]
			[ -z "$(find "$LAB/n1/state" -name '.*.*')" ]
		fi
	done
	[ "$cut" -gt 0 ]
}

@test "init on a full disk leaves nothing, and works once there is room" {
	mkdir -m 0700 "$LAB/n1/state"
	mount -t tmpfs -o size=4k,mode=0700 none "$LAB/n1/state"
	made=
	for size in $(seq 4 4 160); do
		mount -o "remount,size=${size}k" "$LAB/n1/state"
		run ginnel n1 init --name n1
		if [ "$status" = 0 ]; then
			made=$size
			break
		fi
		refused 1 "disk is full"
		[ -z "$(find "$LAB/n1/state" -type f)" ]
	done
	[ -n "$made" ] && [ "$made" -gt 16 ]
	enrolled n1
}
