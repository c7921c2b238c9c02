#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
# token, join: whom they let in, what they refuse, and what is left after a kill or a full disk.
#
#   n1 10.9.0.1 the manager of all tests     n2 10.9.0.2, n3 10.9.0.3 join it, each time anew
#   n4 10.9.0.4 the manager of another cluster, where a test needs one

bats_require_minimum_version 1.5.0

setup_file() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	. tests/netns/lab.bash
	lab_up 4
	export LAB LAB_P LAB_NODES
	ginnel n1 init --cluster test --name n1 --advertise 10.9.0.1 >/dev/null
	start n1
	until_ok 20 ginnel n1 token list
}

teardown_file() {
	. tests/netns/lab.bash
	lab_down
}

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	. tests/netns/lab.bash
	name=t$BATS_TEST_NUMBER # nodes of a test are called so, for none is ever forgotten
}

teardown() {
	[ -n "${BATS_TEST_COMPLETED:-}" ] || tail -n 20 "$LAB"/n1/log >&2 || true
	! mountpoint -q "$LAB/n2/state" || umount -l "$LAB/n2/state"
	[ ! -e "$LAB/n4/pid" ] || kill_hard n4
	rm -rf "$LAB"/n[234]/*
}

token() { # FILE [ARGUMENT...]: sets token_id
	local file=$1 json
	shift
	json=$(ginnel n1 --json token create "$@") || return 1
	token_id=$(jq -r .id <<<"$json")
	(umask 077 && jq -r .token <<<"$json" >"$LAB/$file")
}
token_is() { # ID JQ-CONDITION
	ginnel n1 --json token list | jq -e --arg id "$1" ".[] | select(.id == \$id) | $2" >/dev/null
}

enrol() { # NODE FILE NAME [ARGUMENT...]
	local node=$1 file=$2 as=$3
	shift 3
	run --separate-stderr ginnel "$node" join --token-file "$LAB/$file" --name "$as" "$@" 10.9.0.1
}

refused() { complains "$1" "$2" "$stderr"; } # STATUS TEXT


# -- token ----------------------------------------------------------------------------------------

@test "a token is one line on stdout, and is listed with what it grants" {
	run --separate-stderr ginnel n1 token create --name "$name" --label zone=pci --label app=web --ttl 30m
	[ "$status" = 0 ]
	[[ $output =~ ^GNL1\.node\.[a-z2-7]+$ ]]
	[ -z "$stderr" ]
	run --separate-stderr ginnel n1 --json token list
	jq -e --arg name "$name" '.[] | select(.name == $name) | .role == "node" and .used == false and
		.labels == {"zone": "pci", "app": "web"} and .created_by == "root" and (.id | length == 16) and
		(.expires | test("^20..-..-..T..:..:..Z$"))' <<<"$output"
	run --separate-stderr ginnel n1 token list
	[[ $output == *"zone=pci"* ]]
}

@test "where there is no ca it is said why" {
	run --separate-stderr ginnel n2 token create
	[ "$status" = 1 ]
	[[ $stderr == *"ginnel init or ginnel join first"* ]]
	ginnel n2 init --name other >/dev/null
	run --separate-stderr ginnel n2 token create
	[ "$status" = 3 ]
	token t3
	enrol n3 t3 "$name"
	[ "$status" = 0 ]
	run --separate-stderr ginnel n3 token create
	refused 1 "run it on n1 (10.9.0.1)"
}

@test "token create refuses by name what it cannot give" {
	before=$(ginnel n1 --json token list | jq length)
	try() {
		local text=$1
		shift
		run --separate-stderr ginnel n1 token create "$@"
		refused 1 "$text"
	}
	try "several managers come with a later version" --role manager
	try "no such role" --role king
	try "lower case DNS label" --name N2
	try "is a manager of this cluster" --name n1
	try "not K=V" --label zone
	try "not between 1s and 7d" --ttl 8d
	try "no time" --ttl soon
	run --separate-stderr ginnel n1 token revoke 12
	refused 1 "16 hexadecimal digits"
	run --separate-stderr ginnel n1 token revoke 0123456789abcdef
	refused 1 "no token 0123456789abcdef"
	[ "$(ginnel n1 --json token list | jq length)" = "$before" ]
}

@test "others than root are refused" {
	run setpriv --reuid 12345 --clear-groups "$GINNEL_BIN/ginnel" --state "$LAB/n1/state" --run "$LAB/n1/run" \
		token create
	[ "$status" != 0 ]
	[[ $output != *GNL1* ]]
}

# -- join -----------------------------------------------------------------------------------------

@test "join enrols a host, whose address is the one towards the manager" {
	token t2 --label zone=pci
	enrol n2 t2 "$name" --json
	[ "$status" = 0 ]
	jq -e --arg name "$name" '.cluster == "test" and .node == $name and
		(.address | test("^10\\.77\\.[0-9]+\\.1$"))' <<<"$output"
	s=$LAB/n2/state
	jq -e '.advertise == ["10.9.0.2:4747"] and .role == "node" and .managers[0].name == "n1" and
		.managers[0].endpoints == ["10.9.0.1:4748"] and (.prefixes | length == 2)' "$s/node.json"
	[ "$(stat -c '%u %a' "$s/node.json")" = "0 600" ]
	[ "$(find "$s/engine" -type f -printf '%f %m\n' | sort)" = "$(printf 'ca.pem 600\nnode.key 600\nnode.pem 600')" ]
	[ "$(find "$s/engine" -printf '%U\n' | sort -u | wc -l)" = 1 ]
	[ "$(stat -c %u "$s/engine")" != 0 ]
	openssl x509 -in "$s/engine/node.pem" -noout -ext subjectAltName | grep -q "URI:spiffe://test/node/$name\$"
	openssl verify -CAfile "$s/engine/ca.pem" "$s/engine/node.pem"
	cmp "$s/engine/ca.pem" "$LAB/n1/state/ca/ca.pem"
	token_is "$token_id" ".used and .used_by == \"$name\""
}

@test "join reads the token from stdin, and its name and port from the config" {
	token t2
	printf 'name: %s\nport: 5000\nlabels: {zone: pci}\n' "$name" >"$LAB/n2/ginnel.yaml"
	run --separate-stderr ginnel n2 join --token-file - 10.9.0.1:4748 <"$LAB/t2"
	[ "$status" = 0 ]
	[[ $stderr == *"label zone=pci was asked for by the config and not granted"* ]]
	jq -e --arg name "$name" '.name == $name and .port == 5000 and .advertise == ["10.9.0.2:5000"]' \
		"$LAB/n2/state/node.json"
}

@test "a token that does not do is refused by name, and the host stays as it was" {
	token used
	token short --ttl 1s
	token named --name "$name-x"
	token revoked
	ginnel n1 token revoke "$token_id"
	enrol n2 used "$name"
	[ "$status" = 0 ]
	before=$(tree_of "$LAB/n2/state")
	sleep 1
	try() { # TEXT FILE NAME
		enrol n3 "$2" "$3"
		refused 1 "$1"
		not_enrolled n3
	}
	try "used by another key" used "$name-y"
	try "made for another name" named "$name-y"
	try "expired" short "$name-y"
	try "revoked" revoked "$name-y"
	token good
	try "a node of that name exists" good "$name"
	try "a node of that name exists" good n1
	enrol n2 good "$name-y"
	refused 1 "this host is $name of cluster test"
	[ "$(tree_of "$LAB/n2/state")" = "$before" ]
	# The refused token is still good.
	enrol n3 good "$name-y"
	[ "$status" = 0 ]
}

@test "a token made for a taken name takes it over" {
	token first
	token again --name "$name"
	enrol n2 first "$name"
	[ "$status" = 0 ]
	was=$(jq -c .prefixes "$LAB/n2/state/node.json")
	enrol n3 again "$name"
	[ "$status" = 0 ]
	[ "$(jq -c .prefixes "$LAB/n3/state/node.json")" = "$was" ]
}

@test "a token of another cluster meets the wrong manager, and proves nothing to it" {
	token t2
	ginnel n4 init --cluster other --name n4 >/dev/null
	start n4
	until_ok 20 ginnel n4 token list
	run --separate-stderr ginnel n2 join --token-file "$LAB/t2" --name "$name" 10.9.0.4
	refused 1 "not of the cluster that the token is for"
	not_enrolled n2
	[ "$(grep -c 'join refused' "$LAB/n4/log")" = 0 ]
	token_is "$token_id" '.used | not'
}

@test "a token file that is missing, open to others, cut or none is refused before anybody is asked" {
	umask 077
	try() { # TEXT FILE
		run --separate-stderr ginnel n2 join --token-file "$2" --name "$name" 10.9.0.1
		refused 1 "$1"
		[[ $stderr != *"joining through"* ]]
		not_enrolled n2
	}
	printf 'GNL1.node.%s\n' "$(head -c 96 /dev/zero | tr '\0' a)" >"$LAB/bad"
	try "No such file" "$LAB/none"
	try "mistyped or cut" "$LAB/bad"
	head -c 40 "$LAB/bad" >"$LAB/cut"
	try "mistyped or cut" "$LAB/cut"
	echo hello >"$LAB/hello"
	try "no token in it" "$LAB/hello"
	: >"$LAB/empty"
	try "no token in it" "$LAB/empty"
	try "no token in it" /dev/zero
	try "Is a directory" "$LAB"
	for mode in 640 604 622; do
		chmod $mode "$LAB/bad"
		try "group or others" "$LAB/bad"
	done
	chmod 600 "$LAB/bad"
	chown 12345 "$LAB/bad"
	try "belongs to someone else" "$LAB/bad"
	run --separate-stderr ginnel n2 join --name "$name" 10.9.0.1
	refused 1 "token-file"
}

@test "a token with another secret is no token, and who guesses has to wait" {
	token t2
	# The same token with another secret: bytes 40 to 55 of the base32, and a checksum that is right.
	perl -MMIME::Base64 -e '
		my ($role, $text) = <STDIN> =~ /^GNL1\.(\w+)\.([a-z2-7]+)/ or die;
		my $alphabet = "abcdefghijklmnopqrstuvwxyz234567";
		my $bits = join "", map { sprintf "%05b", index($alphabet, $_) } split //, $text;
		my $raw = substr(pack("B*", $bits), 0, 56);
		substr($raw, 41, 1) ^= "\x01";
		my $crc = 0xffffffff;
		for my $byte (unpack "C*", "GNL1.$role.$raw") {
			$crc ^= $byte;
			$crc = $crc & 1 ? ($crc >> 1) ^ 0xedb88320 : $crc >> 1 for 1 .. 8;
		}
		$bits = unpack "B*", $raw . pack("N", $crc ^ 0xffffffff);
		$bits .= "0" x (-length($bits) % 5);
		print "GNL1.$role.", (map { substr $alphabet, oct("0b$_"), 1 } $bits =~ /(.{5})/g), "\n";' \
		<"$LAB/t2" >"$LAB/forged"
	chmod 600 "$LAB/forged"
	for _ in 1 2 3 4 5; do
		enrol n4 forged "$name"
		refused 1 "no such token"
	done
	enrol n4 forged "$name"
	refused 1 "too many wrong proofs"
	not_enrolled n4
	# Others do not wait, and the token is as it was.
	enrol n2 t2 "$name"
	[ "$status" = 0 ]
}

@test "join says who is not there, and who is no manager" {
	token t2
	try() { # TEXT MANAGER
		run --separate-stderr timeout 20 ip netns exec "${LAB_P}n2" "$GINNEL_BIN/ginnel" --state "$LAB/n2/state" \
			join --token-file "$LAB/t2" --name "$name" "$2"
		refused 1 "$1"
		not_enrolled n2
	}
	try "nobody listens there" 10.9.0.3
	try "nobody listens there" 10.9.0.1:4999
	on n3 ip addr add 10.9.0.33/24 dev u0
	on n3 nft -f - <<<'table inet hole { chain in { type filter hook input priority 0; ip daddr 10.9.0.33 drop; }; }'
	try "no answer within 5 s" 10.9.0.33
	listen() { # PORT PERL: one connection after the other
		ip netns exec "${LAB_P}n3" perl -MIO::Socket::INET -e '
			$s = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1) or die;
			while ($c = $s->accept) { eval $ARGV[1]; close $c unless $keep; }' "$1" "$2" 3>&- &
		until_ok 5 on n3 sh -c "ss -ltn | grep -q :$1"
	}
	listen 7001 'print $c "HTTP/1.1 200 OK\r\n\r\n" x 1000'
	try "lets no host join" 10.9.0.3:7001
	listen 7002 '$keep = 1; push @all, $c'
	try "says nothing within 5 s" 10.9.0.3:7002
	listen 7003 '1'
	try "lets no host join" 10.9.0.3:7003
	for p in $(ip netns pids "${LAB_P}n3"); do kill "$p"; done
	run --separate-stderr ginnel n2 join --token-file "$LAB/t2" --name "$name" 10.9.0.1:99999
	refused 1 "10.9.0.1:99999"
	run --separate-stderr ginnel n2 join --token-file "$LAB/t2" --name "$name" no-such-host.invalid
	refused 1 "no-such-host.invalid"
	# None of them cost the token.
	enrol n2 t2 "$name"
	[ "$status" = 0 ]
}

@test "join refuses addresses that others cannot reach, and a cluster whose overlay is our network" {
	token t2
	run --separate-stderr ginnel n2 join --token-file "$LAB/t2" --name "$name" --advertise 127.0.0.1 10.9.0.1
	refused 1 "no address that other hosts can reach"
	enrol n2 t2 "$name" --advertise 10.77.9.9
	refused 1 "inside the overlay"
	token_is "$token_id" '.used | not'
	on n2 ip link add docker7 type bridge
	on n2 ip addr add 10.81.0.1/24 dev docker7
	enrol n2 t2 "$name"
	refused 1 "10.81.0.1/24 on docker7"
	not_enrolled n2
	on n2 ip link del docker7
	# The network is mended: the same token, for it is the same key.
	enrol n2 t2 "$name"
	[ "$status" = 0 ]
}

@test "an exhausted overlay is refused by name and costs no token" {
	ginnel n4 init --cluster small --name n4 --overlay 10.77.0.0/23 >/dev/null
	start n4
	until_ok 20 ginnel n4 token list
	for n in 2 3; do
		(umask 077 && ginnel n4 token create >"$LAB/s$n")
		run --separate-stderr ginnel "n$n" join --token-file "$LAB/s$n" --name "$name-$n" 10.9.0.4
	done
	refused 1 "overlay is exhausted"
	enrolled n2
	not_enrolled n3
	ginnel n4 --json token list | jq -e 'map(.used) | sort == [false, true]'
}

@test "join on a full disk is had again with the same token and key" {
	token t2
	mkdir -m 0700 "$LAB/n2/state"
	mount -t tmpfs -o size=12k,mode=0700 none "$LAB/n2/state"
	enrol n2 t2 "$name"
	refused 1 "disk is full"
	not_enrolled n2
	token_is "$token_id" .used
	key=$(sha256sum <"$LAB/n2/state/engine/node.key.pending")
	# Another key cannot have it.
	enrol n3 t2 "$name"
	refused 1 "used by another key"
	mount -o remount,size=1m "$LAB/n2/state"
	enrol n2 t2 "$name"
	[ "$status" = 0 ]
	enrolled n2
	[ "$(sha256sum <"$LAB/n2/state/engine/node.key")" = "$key" ]
	[ ! -e "$LAB/n2/state/engine/node.key.pending" ]
}

@test "whatever the manager's processes are killed at, a join is whole or can be run again" {
	for i in $(seq 6); do
		rm -rf "$LAB/n2/state"
		token "k$i"
		# shellcheck disable=SC2046
		(sleep "0.$(printf %02d $((i * 2)))" && kill -KILL $(process_of n1 ca) $(process_of n1 manager)) &
		run --separate-stderr ginnel n2 join --token-file "$LAB/k$i" --name "$name-$i" 10.9.0.1
		wait $!
		if [ "$status" != 0 ]; then
			not_enrolled n2
			until_ok 20 ginnel n2 join --token-file "$LAB/k$i" --name "$name-$i" 10.9.0.1
		fi
		enrolled n2
		until_ok 20 token_is "$token_id" .used
	done
}

@test "join that was killed is run again with the same token" {
	cut=0
	for i in $(seq 8); do
		rm -rf "$LAB/n2/state"
		token "k$i"
		ip netns exec "${LAB_P}n2" "$GINNEL_BIN/ginnel" --state "$LAB/n2/state" \
			join --token-file "$LAB/k$i" --name "$name-$i" 10.9.0.1 >/dev/null 2>&1 3>&- &
		sleep "0.$(printf %03d $((i * 12)))"
		kill -KILL $! 2>/dev/null && cut=$((cut + 1))
		wait $! 2>/dev/null || true
		enrolled n2 || ginnel n2 join --token-file "$LAB/k$i" --name "$name-$i" 10.9.0.1
		enrolled n2
		key=$(openssl pkey -in "$LAB/n2/state/engine/node.key" -pubout)
		[ "$(openssl x509 -in "$LAB/n2/state/engine/node.pem" -noout -pubkey)" = "$key" ]
	done
	[ "$cut" -gt 0 ]
}

@test "no token and no key is ever in a log, in a file of the state or open to others" {
	token t2
	enrol n2 t2 "$name"
	[ "$status" = 0 ]
	enrol n3 t2 "$name-x"
	[ "$status" = 1 ]
	secret=$(cut -d. -f3 "$LAB/t2")
	[ -n "$secret" ]
	[[ $stderr != *"$secret"* ]]
	[ -s "$LAB/n1/log" ]
	run -1 grep -rlF "$secret" "$LAB/n1/log" "$LAB/n1/state" "$LAB/n2/state"
	[ -z "$(find "$LAB"/n?/state -type f -perm /077)" ]
}
