#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
# init, token, join: what they make, what they refuse, and what is left after a kill or a full disk.
#
#   n1 10.9.0.1 the manager     n2 10.9.0.2     n3 10.9.0.3        one wire (lab.bash)

bats_require_minimum_version 1.5.0

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	. tests/netns/lab.bash
	lab_up 3
}

teardown() {
	[ -n "${BATS_TEST_COMPLETED:-}" ] || tail -n 20 "$LAB"/n1/log >&2 2>/dev/null || true
	for d in "$LAB"/*/state "$LAB"/*/full; do
		mountpoint -q "$d" && umount -l "$d"
	done
	lab_down
}

# manager [INIT-ARGUMENT...]: a cluster on n1, from which tokens can be had.
manager() {
	ginnel n1 init --cluster test --name n1 --advertise 10.9.0.1 "$@" >/dev/null
	start n1
	until_ok 15 ginnel n1 token list
}

token() { # FILE [ARGUMENT...]
	local file=$1
	shift
	(umask 077 && ginnel n1 token create "$@" >"$LAB/$file")
}

join() { # NODE FILE [ARGUMENT...]
	local node=$1 file=$2
	shift 2
	run --separate-stderr ginnel "$node" join --token-file "$LAB/$file" --name "$node" "$@" 10.9.0.1
}

# refused STATUS TEXT: exit code, and one line "ginnel: what: why; what to do" that says TEXT.
refused() {
	local line
	line=$(grep '^ginnel: ' <<<"${stderr:-$output}")
	[ "$status" = "$1" ] || { echo "exit $status: ${stderr:-$output}" >&2; return 1; }
	[[ $line == *"$2"* ]] || { echo "does not say \"$2\": $line" >&2; return 1; }
	[[ $line == "ginnel: "*": "*"; "* ]] || { echo "no cure: $line" >&2; return 1; }
	[ "$(wc -l <<<"$line")" = 1 ]
}

tree_of() { # FOLDER: names, owners, modes and contents
	(cd "$1" && find . -printf '%p %U %m\n' | sort && find . -type f -print0 | sort -z | xargs -0 -r sha256sum)
}

enrolled() { [ -e "$LAB/$1/state/node.json" ]; }
not_enrolled() { [ ! -e "$LAB/$1/state/node.json" ]; }

# -- init -----------------------------------------------------------------------------------------

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
	LAB_CONFIG=1 run ginnel n1 init --name n1
	[ "$status" = 1 ]
	[[ $output == *"ginnel.yaml:1:1: nmae"* ]]
	not_enrolled n1
}

@test "init takes name, overlay and address from the config" {
	printf 'name: m1\nadvertise: [10.9.0.1, "m1.example.org:5001"]\nport: 5000\noverlay: 10.128.0.0/10\n' \
		>"$LAB/n1/ginnel.yaml"
	LAB_CONFIG=1 run --separate-stderr ginnel n1 --json init
	[ "$status" = 0 ]
	jq -e '.node == "m1" and .overlay == ["10.128.0.0/10"]' <<<"$output"
	jq -e '.port == 5000 and .advertise == ["10.9.0.1:5000", "m1.example.org:5001"] and
		.managers[0].endpoints == ["10.9.0.1:5001", "m1.example.org:5002"]' "$LAB/n1/state/node.json"
	rm -r "$LAB/n1/state"
	LAB_CONFIG=1 run ginnel n1 init --name other
	refused 1 "config says another"
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
	run ginnel n2 init --name n2
	[ "$status" = 1 ]
	[[ $output == "ginnel: init: "*"/n2/state: "*12345* ]]
	[ "$(stat -c %u "$LAB/n2/state")" = 12345 ]
	[ -z "$(ls -A "$LAB/n2/state")" ]

	mkdir -p "$LAB/n3/state/engine"
	chown 12345 "$LAB/n3/state/engine"
	run ginnel n3 init --name n3
	[ "$status" = 1 ]
	not_enrolled n3
	[ ! -e "$LAB/n3/state/ca/ca.key" ]
}

@test "init that was killed is taken over by the next one" {
	cut=0
	for i in $(seq 25); do
		rm -rf "$LAB/n1/state"
		ip netns exec "${LAB_P}n1" "$GINNEL_BIN/ginnel" --state "$LAB/n1/state" init --name n1 >/dev/null 2>&1 &
		sleep "0.$(printf %03d $((i * 7)))"
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

# -- token ----------------------------------------------------------------------------------------

@test "a token is one line, and where there is no manager it is said who is" {
	run ginnel n1 token create
	[ "$status" = 1 ]
	[[ $output == *"ginnel init or ginnel join first"* ]]
	ginnel n1 init --name n1 >/dev/null
	run ginnel n1 token create
	[ "$status" = 3 ]
	start n1
	until_ok 15 ginnel n1 token list
	run --separate-stderr ginnel n1 token create --name n2 --label zone=pci --label app=web --ttl 30m
	[ "$status" = 0 ]
	[[ $output =~ ^GNL1\.node\.[a-z2-7]+$ ]]
	[ -z "$stderr" ]
	run --separate-stderr ginnel n1 --json token list
	jq -e 'length == 1 and (.[0] | .role == "node" and .name == "n2" and .used == false and
		.labels == {"zone": "pci", "app": "web"} and .created_by == "root" and (.id | length == 16) and
		(.expires | test("^20..-..-..T..:..:..Z$")))' <<<"$output"
	token t2
	join n2 t2
	[ "$status" = 0 ]
	run ginnel n2 token create
	refused 1 "run it on n1 (10.9.0.1)"
}

@test "token create refuses by name what it cannot give" {
	manager
	try() {
		local text=$1
		shift
		run ginnel n1 token create "$@"
		refused 1 "$text"
	}
	try "several managers come with a later version" --role manager
	try "no such role" --role king
	try "lower case DNS label" --name N2
	try "is a manager of this cluster" --name n1
	try "not K=V" --label zone
	try "not between 1s and 7d" --ttl 8d
	try "no time" --ttl soon
	run ginnel n1 token revoke 12
	refused 1 "16 hexadecimal digits"
	run ginnel n1 token revoke 0123456789abcdef
	refused 1 "no token 0123456789abcdef"
	run ginnel n1 --json token list
	[ "$(jq length <<<"$output")" = 0 ]
}

# -- join -----------------------------------------------------------------------------------------

@test "join enrols a host, whose address is the one towards the manager" {
	manager
	token t2 --label zone=pci
	join n2 t2 --json
	[ "$status" = 0 ]
	jq -e '.cluster == "test" and .node == "n2" and (.address | test("^10\\.77\\.[0-9]+\\.1$"))' <<<"$output"
	s=$LAB/n2/state
	jq -e '.advertise == ["10.9.0.2:4747"] and .role == "node" and .managers[0].name == "n1" and
		.managers[0].endpoints == ["10.9.0.1:4748"] and (.prefixes | length == 2)' "$s/node.json"
	[ "$(stat -c '%u %a' "$s/node.json")" = "0 600" ]
	[ "$(find "$s/engine" -type f -printf '%f %m\n' | sort)" = "$(printf 'ca.pem 600\nnode.key 600\nnode.pem 600')" ]
	[ "$(find "$s/engine" -printf '%U\n' | sort -u)" != 0 ]
	[ "$(find "$s/engine" -printf '%U\n' | sort -u | wc -l)" = 1 ]
	openssl x509 -in "$s/engine/node.pem" -noout -ext subjectAltName | grep -q 'URI:spiffe://test/node/n2$'
	openssl verify -CAfile "$s/engine/ca.pem" "$s/engine/node.pem"
	cmp "$s/engine/ca.pem" "$LAB/n1/state/ca/ca.pem"
	run ginnel n1 --json token list
	jq -e '.[0].used and .[0].used_by == "n2"' <<<"$output"
}

@test "join reads the token from stdin, too" {
	manager
	token t2
	run ginnel n2 join --token-file - --name n2 10.9.0.1:4748 <"$LAB/t2"
	[ "$status" = 0 ]
	enrolled n2
}

@test "a token that does not do is refused by name, and the host stays as it was" {
	manager
	token t2
	token named --name n9
	token short --ttl 1s
	token revoked
	ginnel n1 token revoke "$(ginnel n1 --json token list | jq -r 'sort_by(.expires) | map(select(.name == null)) | .[-1].id')"
	join n2 t2
	[ "$status" = 0 ]
	before=$(tree_of "$LAB/n2/state")
	sleep 1

	join n3 t2
	refused 1 "used by another key"
	join n3 named
	refused 1 "made for another name"
	join n3 short
	refused 1 "expired"
	join n3 revoked
	[ "$status" = 0 ] || refused 1 "revoked"
	rm -rf "$LAB/n3/state"
	token t3
	run ginnel n3 join --token-file "$LAB/t3" --name n2 10.9.0.1
	refused 1 "a node of that name exists"
	run ginnel n3 join --token-file "$LAB/t3" --name n1 10.9.0.1
	refused 1 "a node of that name exists"
	# A wrong secret: the checksum is right, the token is another cluster's or made up.
	not_enrolled n3
	join n2 t3
	refused 1 "this host is n2 of cluster test"
	[ "$(tree_of "$LAB/n2/state")" = "$before" ]
	# The refused token is still good.
	join n3 t3
	[ "$status" = 0 ]
}

@test "a token of another cluster meets the wrong manager, and proves nothing to it" {
	manager
	token t2
	GINNEL_STATE=$LAB/other ip netns exec "${LAB_P}n3" "$GINNEL_BIN/ginnel" --state "$LAB/n3/state" \
		init --cluster other --name n3 >/dev/null
	start n3
	until_ok 15 ginnel n3 token list
	run ginnel n2 join --token-file "$LAB/t2" --name n2 10.9.0.3
	refused 1 "not of the cluster that the token is for"
	not_enrolled n2
	run ginnel n3 --json token list
	[ "$(jq length <<<"$output")" = 0 ]
}

@test "a token file that is missing, open to others, cut or none is refused before anybody is asked" {
	umask 077
	try() { # TEXT FILE
		run ginnel n2 join --token-file "$2" --name n2 10.9.0.1
		refused 1 "$1"
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
	for mode in 640 604 622; do
		chmod $mode "$LAB/bad"
		try "group or others" "$LAB/bad"
	done
	chmod 600 "$LAB/bad"
	chown 12345 "$LAB/bad"
	try "belongs to someone else" "$LAB/bad"
	try "" "$LAB"
	run ginnel n2 join --name n2 10.9.0.1
	refused 1 "token-file"
}

@test "join says who is not there, and who is no manager" {
	manager
	token t2
	try() { # TEXT MANAGER
		run --separate-stderr timeout 20 ip netns exec "${LAB_P}n2" "$GINNEL_BIN/ginnel" --state "$LAB/n2/state" \
			join --token-file "$LAB/t2" --name n2 "$2"
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
	run ginnel n2 join --token-file "$LAB/t2" --name n2 10.9.0.1:99999
	refused 1 "10.9.0.1:99999"
	run ginnel n2 join --token-file "$LAB/t2" --name n2 no-such-host.invalid
	[ "$status" = 1 ]
	# None of them cost the token.
	join n2 t2
	[ "$status" = 0 ]
}

@test "an exhausted overlay is refused by name and costs no token" {
	manager --overlay 10.77.0.0/23
	for n in 2 3; do
		token "t$n"
		join "n$n" "t$n"
	done
	not_enrolled n3
	refused 1 "overlay is exhausted"
	ginnel n1 --json token list | jq -e 'map(.used) | sort == [false, true]'
}

@test "join on a full disk is had again with the same token and key" {
	manager
	token t2
	mkdir -m 0700 "$LAB/n2/state"
	mount -t tmpfs -o size=12k,mode=0700 none "$LAB/n2/state"
	join n2 t2
	refused 1 "disk is full"
	not_enrolled n2
	ginnel n1 --json token list | jq -e '.[0].used'
	key=$(sha256sum <"$LAB/n2/state/engine/node.key.pending")
	mount -o remount,size=1m "$LAB/n2/state"
	join n2 t2
	[ "$status" = 0 ]
	enrolled n2
	[ "$(sha256sum <"$LAB/n2/state/engine/node.key")" = "$key" ]
	[ ! -e "$LAB/n2/state/engine/node.key.pending" ]
	# Another key cannot.
	join n3 t2
	refused 1 "used by another key"
}

@test "whatever the manager's processes are killed at, a join is whole or can be run again" {
	manager
	for i in $(seq 8); do
		rm -rf "$LAB/n2/state"
		token "k$i"
		# shellcheck disable=SC2046
		(sleep "0.$(printf %02d $((i * 2)))" && kill -KILL $(process_of n1 ca) $(process_of n1 manager)) &
		run ginnel n2 join --token-file "$LAB/k$i" --name "k$i" 10.9.0.1
		wait $!
		until_ok 15 ginnel n1 token list
		if [ "$status" != 0 ]; then
			not_enrolled n2
			until_ok 15 ginnel n2 join --token-file "$LAB/k$i" --name "k$i" 10.9.0.1
		fi
		enrolled n2
	done
	ginnel n1 --json token list | jq -e 'length == 8 and all(.used)'
}

@test "no token and no key is ever in a log, in argv or open to others" {
	manager
	token t2
	join n2 t2
	[ "$status" = 0 ]
	join n3 t2
	[ "$status" = 1 ]
	secret=$(cut -d. -f3 "$LAB/t2")
	[[ $stderr != *"$secret"* ]]
	[ -s "$LAB/n1/log" ]
	[ -z "$(grep -rlF "$secret" "$LAB/n1/log" "$LAB/n1/state" "$LAB/n2/state")" ]
	[ -z "$(find "$LAB"/n?/state -type f -perm /077)" ]
}
