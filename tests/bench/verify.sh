#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# verify.sh PEER... - do bytes arrive unchanged? With no PEER: ginnel's.
#
# By tests/tools/bytes: streams in writes of all sizes, datagrams of every size, both ways, IPv4,
# and IPv6 where the peer carries it. Environment: MIB (24) of each stream each way, BENCH_BETWEEN,
# and what peers.bash reads (GINNEL_CONF, BENCH_PEERS, …).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/bench/bench.bash
. tests/bench/peers.bash

MIB=${MIB:-24}
wrong=0

verify() { # ADDRESS
	ip netns exec "$LAB_P$TO" "$GINNEL_TOOLS/bytes" serve "$1" >/dev/null 2>"$LAB/bytes.err" 9>&- &
	disown
	until_ok 5 grep -q listening "$LAB/bytes.err" || return 1
	on "$FROM" timeout 300 "$GINNEL_TOOLS/bytes" run "$1" "$MIB" 1392 | paste -sd ';' | sed 's/;/; /g'
	return "${PIPESTATUS[0]}"
}

bench_begin
[ -x "$GINNEL_TOOLS/bytes" ] || die "no $GINNEL_TOOLS/bytes: make tools builds it"
[ "${BENCH_SUITE:-}" = none ] || PEERS_ROOT=$(tests/bench/fetch.sh) ||
	say "going on with what this machine has of them"
[ $# -gt 0 ] || set -- ginnel
for peer in "$@"; do
	bench_up || die "no namespaces"
	up "$peer"
	case $? in
	0) ;;
	77)
		say "$peer skipped: $why"
		lab_down
		continue
		;;
	*)
		say "$peer does not come up"
		wrong=1
		;;
	esac
	for address in $(target "$peer") $(target6 "$peer"); do
		result=unreachable
		if until_ok 15 pings "$FROM" "$address" && result=$(verify "$address"); then
			echo "$peer $address: $result"
		else
			echo "$peer $address: FAILED: $result"
			wrong=1
		fi
	done
	lab_down
done
[ $wrong = 0 ]
