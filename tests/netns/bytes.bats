#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# What goes through the tunnel comes out byte for byte, in streams and datagrams of every size.
#
#   n1 10.77.1.1, fd77:0:0:1::1  ===== DTLS over 10.9.0.0/24 =====  n2 10.77.2.1, fd77:0:0:2::1

load lab.bash

setup() {
	lab_up 2
	mib=4
	[ "${GINNEL_PART:-}" != netns-san ] || mib=1 # a sanitizer's build takes its time
}
teardown() {
	[ -z "${BATS_ERROR_STATUS:-}" ] || [ "$BATS_ERROR_STATUS" = 0 ] || tail -n 30 "$LAB"/n*/log
	lab_down
}
serve() { # ADDRESS
	on n2 "$GINNEL_TOOLS/bytes" serve "$1" 2>"$LAB/bytes.err" 3>&- &
	disown
	until_ok 5 grep -q listening "$LAB/bytes.err"
}
both_up() {
	static_nodes 2
	start n1 && start n2 && until_ok 10 pings n1 10.77.2.1 && until_ok 10 pings n1 fd77:0:0:2::1
}

@test "IPv4: every byte arrives as it was sent, in its place and in order" {
	both_up
	serve 10.77.2.1
	on n1 "$GINNEL_TOOLS/bytes" run 10.77.2.1 "$mib" 1472
}

@test "IPv6: every byte arrives as it was sent, in its place and in order" {
	both_up
	serve fd77:0:0:2::1
	on n1 "$GINNEL_TOOLS/bytes" run fd77:0:0:2::1 "$mib" 1472
}

@test "where io_uring is forbidden ordinary calls do the same" {
	START_UNDER=$GINNEL_TOOLS/noring both_up
	grep -q 'io_uring=no' "$LAB/n1/log"
	serve 10.77.2.1
	on n1 "$GINNEL_TOOLS/bytes" run 10.77.2.1 4 1472
}

@test "the judge of bytes sees one that is wrong" {
	serve 10.9.0.2
	on n1 "$GINNEL_TOOLS/bytes" run 10.9.0.2 1 64
	# A translation that changes one byte in the middle, checksum and all, is not seen by TCP.
	in_wire nft -f - <<-'NFT'
		table bridge lie {
			chain forward {
				type filter hook forward priority 0
				ip protocol udp udp length 40-80 @th,192,16 set 0x4242
			}
		}
	NFT
	run -1 on n1 "$GINNEL_TOOLS/bytes" run 10.9.0.2 1 64
	[[ "$output" == *"udp sent"*"wrong "[1-9]* ]]
}
