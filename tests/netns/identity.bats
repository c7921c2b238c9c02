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
	age n2 -1000 15
	kill -STOP "$(process_of n1 manager)" # nobody renews
	start n2
	until_ok 6 pings n1 "$n2"
	until_ok 6 reason n2 'past 80 % of its life'
	until_ok 25 reason n2 'has expired'
	until_ok 5 peers_up n1 0
	run pings n1 "$n2"
	[ "$status" -ne 0 ]
	grep -qE "session down.*peer=n2.*(has ended|no longer valid)" "$LAB/n1/log"
	kill -CONT "$(process_of n1 manager)"
	until_ok 30 pings n1 "$n2"
}

# -- nodes as operators see and change them -----------------------------------------------------------

labels_seen() { # NODE PEER JSON: what the node knows of its peer
	ginnel "$1" --json peers | jq -e --arg p "$2" --argjson l "$3" '.[] | select(.name == $p) | .labels == $l'
}
# shellcheck disable=SC2154 # set by run
refused() { complains "$1" "$2" "$stderr"; } # STATUS TEXT

@test "node list shows each node, and is the manager's" {
	cluster 2
	until_ok 10 peers_up n1 1
	run --separate-stderr ginnel n1 --json node list
	[ "$status" = 0 ]
	jq -e 'length == 2 and (.[1] | .name == "n2" and .role == "node" and .state == "active" and
		.address == "10.77.2.1/24" and (.address6 | test("^fd.*/64$")) and (.prefixes | length == 2) and
		.endpoints == ["10.9.0.2:4747"] and .labels == {} and (.cert_not_after | test("^20.*Z$")) and
		(.last_seen | test("^20.*Z$")) and (.version | length > 0) and (keys | length == 11))' <<<"$output"
	run ginnel n1 node list
	[[ $output == *n2*active*10.77.2.1/24* ]]
	[ "$(ginnel n1 --json node list --pending)" = "[]" ]
	run --separate-stderr ginnel n2 node list
	refused 1 "run it on n1 (10.9.0.1)"
}

@test "a label is in the node's certificate within seconds, and gone from it again" {
	cluster 3
	n1=$(address n1)
	until_ok 10 peers_up n3 2
	before=$(serial n2)
	run --separate-stderr ginnel n1 --json node label n2 zone=pci app=web
	[ "$status" = 0 ]
	jq -e '.labels == {"app": "web", "zone": "pci"} and .unconfirmed == []' <<<"$output"
	other_serial n2 "$before"
	until_ok 5 labels_seen n3 n2 '{"app":"web","zone":"pci"}'
	openssl x509 -in "$LAB/n2/state/engine/node.pem" -noout -ext subjectAltName | grep -q /node/n2
	run --separate-stderr ginnel n1 --json node label n2 zone- app=db
	[ "$status" = 0 ]
	until_ok 5 labels_seen n3 n2 '{"app":"db"}'
	until_ok 10 pings n2 "$n1"
	# What is as it was makes no new certificate.
	before=$(serial n2)
	ginnel n1 node label n2 app=db
	[ "$(serial n2)" = "$before" ]
	# A node that is away takes it over when it is back.
	stop n2
	run --separate-stderr ginnel n1 node label n2 app=late
	[ "$status" = 0 ]
	# shellcheck disable=SC2154 # set by run
	[[ $stderr == *"not confirmed yet: n2"* ]]
	ginnel n1 --json node list --pending | jq -e 'map(.name) == ["n2"]'
	start n2
	until_ok 10 node n1 n2 '.labels == {"app": "late"}'
	until_ok 10 bash -c "[ \"\$('$GINNEL_BIN/ginnel' --state $LAB/n1/state --run $LAB/n1/run --json node list --pending)\" = '[]' ]"
}

@test "node label and node remove refuse by name what cannot be" {
	cluster 1
	run --separate-stderr ginnel n1 node label n9 zone=pci
	refused 1 "there is no node n9"
	run --separate-stderr ginnel n1 node label n1 zone
	refused 1 "neither K=V nor K-"
	run --separate-stderr ginnel n1 node label n1 "zo ne=x"
	refused 1 "not K=V"
	run --separate-stderr ginnel n1 node remove n9
	refused 1 "there is no node n9"
	run --separate-stderr ginnel n1 node remove n1
	refused 1 "is the manager"
	run --separate-stderr ginnel n1 leave
	refused 1 "cluster's manager"
}

@test "a removed node is cut off everywhere, cannot renew, and its name is free" {
	cluster 3
	n2=$(address n2) n3=$(address n3)
	until_ok 10 peers_up n3 2
	until_ok 10 pings n3 "$n2"
	ginnel n1 node remove n2
	until_ok 2 peers_up n3 1
	until_ok 2 peers_up n1 1
	run pings n3 "$n2"
	[ "$status" -ne 0 ]
	[ "$(ginnel n1 --json node list | jq -c 'map(.name)')" = '["n1","n3"]' ]
	# It is told so when it would renew.
	stop n2
	age n2 -1000 100
	cp -a "$LAB/n2/state" "$LAB/n2/old"
	start n2
	sleep 1
	peers_up n3 1
	stop n2
	# Another host may have the name, by a token for any.
	ginnel n2 down
	rm -rf "$LAB/n2/state"
	join n2 10.9.0.2
	start n2
	until_ok 10 peers_up n3 2
	node n1 n2 '.state == "active"'
}

@test "leave takes a host out and frees its name; --force without a manager" {
	cluster 3
	n3=$(address n3)
	until_ok 10 peers_up n1 2
	until_ok 10 pings n1 "$n3"
	printf 'version: 1\ndefault: allow\n' >"$LAB/policy"
	ginnel n1 policy apply "$LAB/policy"
	[ -e "$LAB/n3/state/engine/policy.json" ]
	run --separate-stderr ginnel n3 leave
	[ "$status" = 0 ]
	[[ $output == *"this host was node n3 of cluster lab"* ]]
	until_ok 2 peers_up n1 1
	[ ! -e "$LAB/n3/state/node.json" ]
	[ -z "$(find "$LAB/n3/state" -name '*.key')" ]
	[ -z "$(find "$LAB/n3/state/engine" -type f)" ] # the next cluster is not judged by this one's policy
	run on n3 nft list table inet ginnel
	[ "$status" -ne 0 ]
	run --separate-stderr ginnel n3 leave
	refused 1 "this host belongs to no cluster"
	join n3 10.9.0.3
	start n3
	until_ok 10 pings n1 "$n3"
	stop n1
	run --separate-stderr ginnel n2 leave
	refused 1 "the cluster could not be told"
	[ -e "$LAB/n2/state/node.json" ]
	run --separate-stderr ginnel n2 leave --force
	[ "$status" = 0 ]
	[[ $stderr == *"run ginnel node remove n2"* ]]
	[ ! -e "$LAB/n2/state/node.json" ]
}

@test "what a kill left between the ca's ledger and the registry is mended at the next start" {
	cluster 2
	until_ok 10 peers_up n1 1
	kill -STOP "$(process_of n1 manager)" # it hears of nothing
	(ginnel n1 node label n2 zone=pci >/dev/null 2>&1) 3>&- &
	label=$!
	until_ok 5 grep -q . <(sleep 1; echo x)
	was=$(process_of n1 manager)
	kill -KILL "$was"
	until_ok 10 replaced n1 manager "$was"
	until_ok 10 node n1 n2 '.labels == {"zone": "pci"}'
	wait "$label" || true # it may have been told of the kill
}

# -- revocation ---------------------------------------------------------------------------------------


@test "node revoke cuts live sessions everywhere within 2 s, and refuses new ones" {
	cluster 3
	n1=$(address n1) n2=$(address n2) n3=$(address n3)
	until_ok 10 peers_up n3 2
	until_ok 10 pings n3 "$n2"
	on n3 ping -n -i 0.05 -c 100 "$n2" >"$LAB/ping" 3>&- &
	run --separate-stderr ginnel n1 --json node revoke n2
	[ "$status" = 0 ]
	number=$(jq .number <<<"$output")
	until_ok 2 peer_is n3 n2 revoked
	until_ok 2 peers_up n3 1
	until_ok 2 peers_up n1 1
	same_list n3 "$number"
	same_list n1 "$number"
	ginnel n3 --json status | jq -e '.list.age_s == 0'
	node n1 n2 '.state == "revoked"'
	run pings n3 "$n2"
	[ "$status" -ne 0 ]
	pings n3 "$n1"
	# It comes back: refused by name, by nodes and by the manager.
	stop n2
	start n2
	until_ok 10 grep -q 'handshake refused.*the certificate was revoked' "$LAB/n3/log" "$LAB/n1/log"
	peers_up n3 1
	# The manager is gone: the list stands on the disk.
	stop n1
	stop n3
	start n3
	until_ok 10 same_list n3 "$number"
	peer_is n3 n2 revoked
	# With its name it joins anew by a token made for it, under another incarnation.
	start n1
	until_ok 10 status_is n1 ready
	stop n2
	ginnel n2 down
	rm -rf "$LAB/n2/state"
	(umask 077 && ginnel n1 token create --name n2 >"$LAB/n2/token")
	ginnel n2 join --token-file "$LAB/n2/token" --name n2 --advertise 10.9.0.2 10.9.0.1
	start n2
	until_ok 15 pings n3 "$n2"
	node n1 n2 '.state == "active"'
}

@test "a certificate with a label that was taken away since is refused" {
	cluster 3
	n2=$(address n2)
	ginnel n1 node label n2 zone=pci
	until_ok 10 peers_up n3 2
	cp -a "$LAB/n2/state/engine" "$LAB/n2/old"
	before=$(list_number n3)
	ginnel n1 node label n2 zone-
	until_ok 5 labels_seen n3 n2 '{}'
	[ "$(list_number n3)" -gt "$before" ]
	until_ok 10 pings n3 "$n2"
	stop n2
	cp -a "$LAB/n2/old/." "$LAB/n2/state/engine/"
	chmod 700 "$LAB/n2/state/engine"
	rm "$LAB/n2/state/engine/state.json"
	kill -STOP "$(process_of n1 manager)" # so that it cannot renew
	start n2
	until_ok 10 grep -q 'handshake refused.*the certificate was revoked' "$LAB/n3/log" "$LAB/n1/log"
	peers_up n3 1
	kill -CONT "$(process_of n1 manager)"
}
