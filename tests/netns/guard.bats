#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# bats file_tags=once
# The guard alone, without a daemon: real packets against it. Each trial that wants none to arrive is
# run again without the rules and must then find some, or it proves nothing.
#
#   n1 host with the guard: ginnel0 10.77.1.1, fd77:0:0:1::1; u0 10.9.0.1 on the wire
#      v1 --- c   a container behind a link we did not make: 10.77.1.2, fd77:0:0:1::2, 10.44.0.2
#      d0 --- d   a bridge with MASQUERADE, as Docker makes it: 172.17.0.2
#   n2 stranger on the wire, 10.9.0.2: forges, listens, is the outside

load lab.bash
bats_require_minimum_version 1.5.0

POOLS=10.77.0.0/16,10.80.0.0/14,fd77::/48 OWN=10.77.1.0/24,fd77:0:0:1::/64
PORT=4999

setup() {
	lab_up 2
	on n1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
		net.ipv4.conf.u0.rp_filter=0 net.ipv6.conf.default.accept_dad=0
	on n2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.u0.rp_filter=0
	leaf c v1
	on n1 ip addr add 10.44.0.1/24 dev v1
	on n1 ip addr add fe80::1/64 dev v1 nodad
	on n1 ip route add 10.77.1.2/32 dev v1
	on n1 ip route add fd77:0:0:1::2/128 dev v1
	on c ip addr add 10.44.0.2/24 dev eth0
	on c ip addr add 10.77.1.2/32 dev eth0
	on c ip addr add fd77:0:0:1::2/128 dev eth0 nodad
	on c ip route add default via 10.44.0.1 src 10.77.1.2
	on c ip route add default via fe80::1 dev eth0 src fd77:0:0:1::2
	leaf d dv
	on n1 ip link add d0 type bridge
	on n1 ip link set dv master d0
	on n1 ip addr add 172.17.0.1/16 dev d0
	on n1 ip link set d0 up
	on d ip addr add 172.17.0.2/16 dev eth0
	on d ip route add default via 172.17.0.1
	masquerade
	mkdir -m 700 "$LAB/state"
	hold
}
teardown() {
	[ -z "${BATS_ERROR_STATUS:-}" ] || [ "$BATS_ERROR_STATUS" = 0 ] || cat "$LAB/hold"
	lab_down
}

leaf() { # NAME LINK: a namespace behind a veth of n1
	ip netns add "$LAB_P$1"
	LAB_NODES="$LAB_NODES $1"
	on n1 ip link add "$2" type veth peer name eth0 netns "$LAB_P$1"
	on n1 ip link set "$2" up
	on "$1" ip link set lo up
	on "$1" ip link set eth0 up
	on "$1" sysctl -qw net.ipv6.conf.eth0.accept_dad=0
}
masquerade() { # what Docker does for its bridge
	on n1 nft 'table ip docker { chain post { type nat hook postrouting priority srcnat; }; }'
	on n1 nft add rule ip docker post ip saddr 172.17.0.0/16 oifname != d0 masquerade
}
guardctl() { on n1 "$GINNEL_TOOLS/guardctl" "$1" ginnel0 "$POOLS" "$OWN" v1 "$LAB/state"; }
ups() { grep -c '^up' "$LAB/hold" 2>/dev/null || true; }
ups_above() { [ "$(ups)" -gt "$1" ]; }
hold() {
	local before
	before=$(ups)
	ip netns exec "${LAB_P}n1" "$GINNEL_TOOLS/guardctl" hold ginnel0 "$POOLS" "$OWN" v1 \
		"$LAB/state" >>"$LAB/hold" 2>&1 3>&- &
	echo $! >"$LAB/hold.pid"
	until_ok 10 ups_above "${before:-0}" # an earlier one said so, too
}
release() { # the holder is gone, the plain tables stay
	kill -KILL "$(cat "$LAB/hold.pid")"
	gone "$(cat "$LAB/hold.pid")" 5
	until_ok 2 no_table inet ginnel_live
}
no_table() { ! on n1 nft list table "$1" "$2"; }
without_rules() {
	release
	for f in inet arp bridge; do on n1 nft delete table "$f" ginnel; done
	on n1 conntrack -F 2>/dev/null || true
}

listen() { # NODE
	ip netns exec "$LAB_P$1" "$GINNEL_TOOLS/marker" recv $PORT "$LAB_MARKER" >"$LAB/recv.$1" \
		2>&1 3>&- &
	echo $! >"$LAB/recv.$1.pid"
	until_ok 5 on "$1" sh -c "ss -lnu | grep -q :$PORT"
}
heard() { # NODE: how many came since listen
	sleep 0.1
	kill -TERM "$(cat "$LAB/recv.$1.pid")"
	gone "$(cat "$LAB/recv.$1.pid")" 5
	awk '/^received/ { print $2 }' "$LAB/recv.$1"
}
send() { # NODE ADDRESS [COUNT]
	on "$1" "$GINNEL_TOOLS/marker" send "$2" $PORT "$LAB_MARKER" "${3:-20}" 1000 >/dev/null
}
count() { # LISTENER SENDER ADDRESS
	listen "$1"
	send "$2" "$3" || true
	heard "$1"
}
forge() { # n2 speaks with addresses of the overlay, straight over the wire
	local mac
	mac=$(on n1 cat /sys/class/net/u0/address) # it would get no answer by ARP
	on n2 ip neigh replace 10.9.0.1 lladdr "$mac" dev u0
	on n2 ip neigh replace fd09::1 lladdr "$mac" dev u0
	on n2 ip addr add 10.77.2.9/32 dev lo
	on n2 ip addr add fd77:0:0:2::9/128 dev lo nodad
	on n2 ip route add 10.77.0.0/16 via 10.9.0.1 src 10.77.2.9
	on n2 ip route add fd77::/48 via fd09::1 src fd77:0:0:2::9
}
queue_read() {
	ip netns exec "${LAB_P}n1" "$GINNEL_TOOLS/queue" read ginnel0 "$LAB_MARKER" >"$LAB/queue" \
		3>&- &
	echo $! >"$LAB/queue.pid"
	until_ok 5 grep -q attached "$LAB/queue"
	# The kernel passes over the device's routes until it has noticed the carrier.
	until_ok 5 on n1 sh -c '! ip route show 10.77.0.0/16 dev ginnel0 | grep -q linkdown'
	until_ok 5 on n1 sh -c '! ip -6 route show fd77::/48 dev ginnel0 | grep -q linkdown'
}
queue_marked() {
	sleep 0.1
	kill -TERM "$(cat "$LAB/queue.pid")"
	gone "$(cat "$LAB/queue.pid")" 5
	awk '/^packets/ { print $4 }' "$LAB/queue"
}
put_back() { until_ok 5 guard_whole; }
guard_whole() {
	on n1 nft list table inet ginnel && on n1 nft list table arp ginnel &&
		on n1 nft list table bridge ginnel && on n1 nft list table inet ginnel_live &&
		on n1 nft list set inet ginnel pools | grep -q 10.80.0.0/14 &&
		on n1 ip route show type unreachable | grep -q ^unreachable.10.77.1.0/24 &&
		on n1 ip -6 route show | grep -q ^unreachable.fd77:0:0:1::/64 &&
		on n1 ip addr show ginnel0 | grep -q 10.77.1.1/32 &&
		on n1 ip addr show ginnel0 | grep -q fd77:0:0:1::1/128 &&
		on n1 ip route show | grep -q '^10.80.0.0/14 dev ginnel0'
}

@test "plaintext from the wire with a forged overlay source: neither .1 nor a container hears it" {
	forge
	for to in 10.77.1.1 fd77:0:0:1::1; do [ "$(count n1 n2 $to)" = 0 ]; done
	for to in 10.77.1.2 fd77:0:0:1::2; do [ "$(count c n2 $to)" = 0 ]; done
	[ "$(plain_in)" -ge 80 ]
	without_rules
	for to in 10.77.1.1 fd77:0:0:1::1; do [ "$(count n1 n2 $to)" -gt 0 ]; done
	for to in 10.77.1.2 fd77:0:0:1::2; do [ "$(count c n2 $to)" -gt 0 ]; done
}

plain_in() {
	on n1 nft -j list counter inet ginnel plain_in | jq '.nftables[] | .counter? // empty | .packets'
}

@test "nor with a source of its own, nor does ARP answer for .1" {
	on n2 ip route add 10.77.1.0/24 via 10.9.0.1
	[ "$(count n1 n2 10.77.1.1)" = 0 ]
	[ "$(count c n2 10.77.1.2)" = 0 ]
	on n2 ip route add 10.77.1.1/32 dev u0
	send n2 10.77.1.1 1 || true
	sleep 0.2
	run on n2 ip neigh show 10.77.1.1
	[[ "$output" != *lladdr* ]]
	without_rules
	on n2 ip neigh flush dev u0
	send n2 10.77.1.1 1 || true
	until_ok 3 on n2 sh -c 'ip neigh show 10.77.1.1 | grep -q lladdr'
	[ "$(count c n2 10.77.1.2)" -gt 0 ]
}

@test "what Docker masquerades does not get into the overlay, nor to a container of ours" {
	queue_read
	send d 10.77.2.9
	[ "$(queue_marked)" = 0 ]
	[ "$(count c d 10.77.1.2)" = 0 ]
	without_rules
	queue_read
	send d 10.77.2.9
	[ "$(queue_marked)" -gt 0 ]
	[ "$(count c d 10.77.1.2)" -gt 0 ]
}

@test "the host and our container reach the device, with addresses of their own" {
	queue_read
	send n1 10.77.2.9
	send c 10.77.2.9
	send c fd77:0:0:2::9
	[ "$(queue_marked)" = 60 ]
	[ "$(count c n1 10.77.1.2)" = 20 ]
	[ "$(count c n1 fd77:0:0:1::2)" = 20 ]
	on c ping -n -q -c 1 -W 1 10.77.1.1
	on c ping -n -q -c 1 -W 1 fd77:0:0:1::1
}

@test "over a link nobody speaks as the node, nor as a foreign workload" {
	on c ip addr add 10.77.1.1/32 dev lo
	on c ip addr add 10.77.2.9/32 dev lo
	on c ip addr add fd77:0:0:2::9/128 dev lo nodad
	on n1 sysctl -qw net.ipv4.conf.v1.accept_local=1
	# A foreign sender is not answered by ARP, either.
	on c ip route replace 10.77.2.77/32 via 10.44.0.1 src 10.77.2.9
	send c 10.77.2.77 1 || true
	until_ok 3 test_unbound_arp
	on c ip neigh replace 10.44.0.1 lladdr "$(on n1 cat /sys/class/net/v1/address)" dev eth0
	for src in 10.77.1.1 10.77.2.9; do
		on c ip route replace 10.77.2.77/32 via 10.44.0.1 src $src
		queue_read
		send c 10.77.2.77
		[ "$(queue_marked)" = 0 ]
	done
	on c ip neigh replace fe80::1 lladdr "$(on n1 cat /sys/class/net/v1/address)" dev eth0
	on c ip route replace fd77:0:0:2::77/128 via fe80::1 dev eth0 src fd77:0:0:2::9
	queue_read
	send c fd77:0:0:2::77
	[ "$(queue_marked)" = 0 ]
	until_ok 3 all_unbound # what was sent is what was dropped, not lost on its way
	without_rules
	queue_read
	send c fd77:0:0:2::77
	send c 10.77.2.77
	[ "$(queue_marked)" = 40 ]
}
all_unbound() { [ "$(unbound inet)" -ge 60 ]; }
test_unbound_arp() { [ "$(unbound arp)" -gt 0 ]; }
unbound() {
	on n1 nft -j list counter "$1" ginnel unbound | jq '.nftables[] | .counter? // empty | .packets'
}

@test "an address on the link that is not ours is no business of the guard" {
	on c ip route replace 10.9.0.0/24 via 10.44.0.1 src 10.44.0.2
	on n2 ip route add 10.44.0.0/24 via 10.9.0.1
	[ "$(count n1 c 10.44.0.1)" = 20 ]
	[ "$(count c n1 10.44.0.2)" = 20 ]
	[ "$(count n2 c 10.9.0.2)" = 20 ]
	[ "$(count c n2 10.44.0.2)" = 20 ]
}

@test "a container's way out goes on, masqueraded: no overlay address on the wire" {
	in_wire nft 'table bridge seen { counter n { }; chain p { type filter hook prerouting priority -400; ip saddr 10.77.0.0/16 counter name n; ip daddr 10.77.0.0/16 counter name n; arp saddr ip 10.77.0.0/16 counter name n; }; }'
	[ "$(count n2 c 10.9.0.2)" = 20 ]
	[ "$(count n2 d 10.9.0.2)" = 20 ]
	on c ping -n -q -c 1 -W 1 10.9.0.2
	[ "$(seen)" = 0 ]
	without_rules
	count n2 c 10.9.0.2
	[ "$(seen)" -gt 0 ]
}
seen() { in_wire nft -j list counter bridge seen n | jq '.nftables[] | .counter? // empty | .packets'; }

@test "another user cannot attach the device, and a foreign one of its name is refused" {
	run -1 on n1 "$GINNEL_TOOLS/queue" attach ginnel0 65534
	[ "$output" = "Operation not permitted" ]
	# An unowned one, as `ip tuntap` makes it, is anybody's.
	on n1 ip tuntap add dev loose mode tun multi_queue vnet_hdr
	run -0 on n1 "$GINNEL_TOOLS/queue" attach loose 65534
	[ "$output" = attached ]
	release
	guardctl down
	on n1 ip tuntap add dev ginnel0 mode tun multi_queue vnet_hdr
	run -1 guardctl up
	[[ "$output" == *"ginnel0 exists, and we did not make it"* ]]
	run -1 guardctl down
	on n1 ip link show ginnel0
}

@test "nft flush ruleset, ten times under fire: nothing in, nothing out, all back" {
	forge
	on n1 ip route add 10.77.2.0/24 via 10.9.0.2 # a leak, were it not for the rules
	listen n2
	listen c
	(send n2 10.77.1.2 6000) 3>&- &
	local in=$!
	(send n1 10.77.2.9 6000) 3>&- &
	local out=$!
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		on n1 nft flush ruleset
		sleep 0.3
	done
	wait "$in" "$out" || true
	in=$(heard c) out=$(heard n2)
	echo "in $in out $out"
	[ "$in" = 0 ] && [ "$out" = 0 ]
	put_back
	grep -q '^1 put back' "$LAB/hold"
	without_rules
	[ "$(count c n2 10.77.1.2)" -gt 0 ]
	listen n2
	send n1 10.77.2.9
	[ "$(heard n2)" -gt 0 ]
}

@test "put up again and again under fire: nothing in, nothing out" {
	forge
	release
	on n1 ip route add 10.77.2.0/24 via 10.9.0.2
	listen n2
	listen c
	(send n2 10.77.1.2 4000) 3>&- &
	local in=$!
	(send n1 10.77.2.9 4000) 3>&- &
	local out=$!
	for _ in $(seq 15); do guardctl up; done
	hold
	wait "$in" "$out" || true
	in=$(heard c) out=$(heard n2)
	echo "in $in out $out"
	[ "$in" = 0 ] && [ "$out" = 0 ]
}

@test "where one guards, another is refused, and takes nothing away" {
	before=$(tables)
	for act in up hold down; do
		run -1 guardctl $act
		[[ "$output" == *"another ginneld guards this network namespace; stop that one first"* ]]
	done
	[ "$before" = "$(tables)" ]
	guard_whole
	release
	guardctl up
}
tables() { on n1 nft -s list table inet ginnel; on n1 cat /sys/class/net/ginnel0/ifindex; }

@test "killed, the plain tables and the routes stand: nothing in, an error out" {
	forge
	release
	on n1 nft list table inet ginnel >/dev/null
	[ "$(count n1 n2 10.77.1.1)" = 0 ]
	[ "$(count c n2 10.77.1.2)" = 0 ]
	run on n1 ping -n -c 1 -W 2 10.77.2.9
	[ "$status" -ne 0 ]
	[[ "$output" == *nreachable* || "$output" == *"No route"* ]]
	hold
	guard_whole >/dev/null
}

@test "what someone takes away is put back: a rule, a pool, routes, addresses, the device" {
	handle=$(on n1 nft -a list chain inet ginnel post | sed -n 's/.*vmap @outward # handle //p')
	on n1 nft delete rule inet ginnel post handle "$handle"
	until_ok 5 on n1 sh -c 'nft list chain inet ginnel post | grep -q "vmap @outward"'
	on n1 nft delete element inet ginnel pools '{ 10.80.0.0/14 }'
	put_back
	on n1 nft delete element inet ginnel outward '{ "v1" : goto onto }'
	put_back
	on n1 nft delete table arp ginnel
	put_back
	on n1 ip route del unreachable 10.77.1.0/24 metric 4294967295
	put_back
	on n1 ip -6 route flush proto 177
	put_back
	on n1 ip addr del 10.77.1.1/32 dev ginnel0
	put_back
	on n1 ip link set ginnel0 down
	put_back
	on n1 ip link del ginnel0
	put_back
	[ "$(grep -c '^-' "$LAB/hold")" = 0 ]
	# The same look finds nothing to do, and so ends.
	found=$(wc -l <"$LAB/hold")
	sleep 0.3
	[ "$found" = "$(wc -l <"$LAB/hold")" ]
}

@test "another program's tables and routes are not ours to look at" {
	on n1 nft add table inet other
	on n1 nft add chain inet other c
	on n1 nft delete table inet other
	on n1 ip route add 198.51.100.0/24 dev u0
	on n1 ip route del 198.51.100.0/24 dev u0
	sleep 0.3
	[ "$(cat "$LAB/hold")" = up ]
}

@test "down removes all and puts forwarding back; twice is no error" {
	[ "$(on n1 sysctl -n net.ipv4.ip_forward)" = 1 ]
	[ "$(on n1 sysctl -n net.ipv6.conf.all.forwarding)" = 1 ]
	release
	guardctl down
	guardctl down
	run -0 on n1 nft list tables
	[[ "$output" != *ginnel* ]]
	[ -z "$(on n1 ip route show proto 177; on n1 ip -6 route show proto 177)" ]
	run on n1 ip link show ginnel0
	[ "$status" -ne 0 ]
	[ "$(on n1 sysctl -n net.ipv4.ip_forward)" = 0 ]
	[ "$(on n1 sysctl -n net.ipv6.conf.all.forwarding)" = 0 ]
	[ "$(on n1 sysctl -n net.ipv6.conf.u0.accept_ra)" = 0 ]
	[ -z "$(ls "$LAB/state")" ]
}

@test "forwarding: what was found is kept over a crash, and routers are heard still" {
	[ "$(on n1 sysctl -n net.ipv6.conf.d0.accept_ra)" = 2 ]
	release
	hold # finds forwarding on, by its own doing
	release
	guardctl down
	[ "$(on n1 sysctl -n net.ipv4.ip_forward)" = 0 ]
	[ "$(on n1 sysctl -n net.ipv6.conf.d0.accept_ra)" = 1 ]
	on n1 sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	guardctl up
	[ -z "$(ls "$LAB/state")" ]
	guardctl down
	[ "$(on n1 sysctl -n net.ipv4.ip_forward)" = 1 ]
}
