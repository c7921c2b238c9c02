#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck disable=SC2030,SC2031
# Certificates for life: renewed while tunnels run, after their end within the grace, and on demand.
#
#   n1 (manager)   n2   n3     on one wire, 10.9.0.0/24

load lab.bash

setup() { lab_up 3; }
teardown() {
	[ -z "${BATS_ERROR_STATUS:-}" ] || [ "$BATS_ERROR_STATUS" = 0 ] || tail -n 40 "$LAB"/n*/log
	lab_down
}
address() { ginnel "$1" --json status | jq -r '.address | split("/")[0]'; }
serial() { ginnel "$1" --json status | jq -r .cert.serial; }
age() { # NODE FROM UNTIL: its certificate's dates, in seconds from now; it must not run
	"$GINNEL_TOOLS/recert" "$LAB/n1/state/ca" "$LAB/$1/state/engine" node "$2" "$3"
}
other_serial() { # NODE SERIAL
	local s
	s=$(serial "$1") && [ -n "$s" ] && [ "$s" != "$2" ]
}
reason() { # NODE TEXT
	ginnel "$1" --json status | jq -e --arg t "$2" '.reasons | any(contains($t))'
}

@test "a certificate that is due is renewed with a new key, and no ping is lost" {
	cluster 2
	n1=$(address n1)
	until_ok 10 peers_up n1 1
	stop n2
	age n2 -1000 100 # past 80 %: due at once
	before=$(openssl x509 -in "$LAB/n2/state/engine/node.pem" -noout -serial -pubkey | sha256sum)
	old=$(openssl x509 -in "$LAB/n2/state/engine/node.pem" -noout -serial | cut -d= -f2 | tr A-F a-f)
	start n2
	until_ok 10 pings n2 "$n1"
	on n2 ping -n -q -i 0.01 -c 300 "$n1" >"$LAB/ping" 3>&- &
	pinging=$!
	until_ok 10 other_serial n2 "$old"
	wait "$pinging"
	grep -q '300 received' "$LAB/ping"
	[ "$(openssl x509 -in "$LAB/n2/state/engine/node.pem" -noout -serial -pubkey | sha256sum)" != "$before" ]
	until_ok 5 status_is n2 ready
	grep -q 'certificate renewed.*peer=n2' "$LAB/n1/log"
	# What is on the disk is a pair: it starts again by it.
	stop n2
	start n2
	until_ok 10 pings n2 "$n1"
}

@test "the manager renews both of its own" {
	cluster 1
	stop n1
	age n1 -1000 100
	"$GINNEL_TOOLS/recert" "$LAB/n1/state/ca" "$LAB/n1/state/manager" manager -1000 100
	start n1
	until_ok 10 grep -q 'certificate renewed.*process=manager' "$LAB/n1/log"
	until_ok 10 grep -q 'certificate renewed.*serial=' "$LAB/n1/log"
	until_ok 10 status_is n1 ready
	join n2 10.9.0.2
}

@test "a node that slept past the end renews by itself, a manager too" {
	cluster 2
	n1=$(address n1)
	stop n2
	stop n1
	age n2 -3000 -60
	age n1 -3000 -60
	"$GINNEL_TOOLS/recert" "$LAB/n1/state/ca" "$LAB/n1/state/manager" manager -3000 -60
	start n1
	start n2
	until_ok 20 status_is n1 ready
	until_ok 20 status_is n2 ready
	until_ok 10 pings n2 "$n1"
}

@test "a session ends with the certificate that proved it, and it is said why it was not renewed" {
	cluster 2
	until_ok 10 peers_up n1 1
	n2=$(address n2)
	stop n2
	age n2 -1000 8
	kill -STOP "$(process_of n1 manager)" # nobody renews
	start n2
	until_ok 6 pings n1 "$n2"
	reason n2 'past 80 % of its life'
	until_ok 15 reason n2 'has expired'
	until_ok 5 peers_up n1 0
	run pings n1 "$n2"
	[ "$status" -ne 0 ]
	grep -qE "session down.*peer=n2.*(has ended|no longer valid)" "$LAB/n1/log"
	kill -CONT "$(process_of n1 manager)"
	until_ok 30 pings n1 "$n2"
}
