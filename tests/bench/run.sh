#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# run.sh - the same work on ginnel and on its peers, side by side, in one run: `make bench`.
#
# Environment, all of it also as `make bench NAME=value`:
#   PEERS           which, in this order: see ALL_PEERS in peers.bash; ginnel@1000 is ginnel with
#                   1000 peers in its tables
#   ROUNDS, SECS    how often (3), how long each load runs (3)
#   MEASURES        of: tcp udp ping load
#   STREAMS, SIZES  of TCP ("1 4"), payloads of UDP ("64 512 1300")
#   GROWTH          streams: ginnel with 1 to 16 streams; peers: cost of a packet with 1 to 1000
#   BENCH_BETWEEN   hosts, or containers behind them
#   QUIET           wait before each load until the machine is so many percent idle
#   OUT             all samples go there; the table and the picture beside it, .md and .svg
#   NEBULA, WIREGUARD_GO, GINNEL_BASE   programs of one's own (GINNEL_BASE: a folder)
#   BENCH_SUITE     the Debian release that the peers come from; none: the machine's own programs
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/bench/bench.bash
. tests/bench/peers.bash

case ${GROWTH:-} in
'') ;;
streams)
	: "${PEERS:=ginnel}" "${MEASURES:=tcp}" "${STREAMS:=1 2 4 8 16}"
	;;
peers)
	: "${PEERS:=ginnel@1 ginnel@10 ginnel@100 ginnel@1000}" "${MEASURES:=tcp udp}" "${STREAMS:=1}"
	;;
*) die "GROWTH is streams or peers" ;;
esac
PEERS=${PEERS:-$ALL_PEERS}
ROUNDS=${ROUNDS:-3}
MEASURES=${MEASURES:-tcp udp ping load}
STREAMS=${STREAMS:-1 4}
SIZES=${SIZES:-64 512 1300}
OUT=${OUT:-build/bench/$(date -u +%Y-%m-%d-%H%M%S).txt}

header() {
	local cpu
	cpu=$(awk -F': ' '/^model name/{ print $2; exit }' /proc/cpuinfo)
	cat <<-EOT
		# date: $(date -u +%FT%TZ), load before it: $(cut -d' ' -f1-3 /proc/loadavg)
		# machine: $(nproc) x ${cpu:-?}, $(awk '/^MemTotal/{ printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), $(grep -qw hypervisor /proc/cpuinfo && echo virtual || echo physical); Linux $(uname -r)
		# between: $BETWEEN; $ROUNDS rounds of $SECS s; offloads of veth as they are
		# versions: $(versions | paste -sd ';' | sed 's/;/; /g')
		# command: make bench PEERS="$PEERS" MEASURES="$MEASURES" STREAMS="$STREAMS" SIZES="$SIZES"
	EOT
}
versions() {
	"$GINNEL_BIN/ginnel" version 2>/dev/null | tr -s ' ' | paste -sd ,
	git describe --always --dirty 2>/dev/null | sed 's/^/commit /'
	[ -z "$PEERS_ROOT" ] || grep -E '^(wireguard-go|nebula|openvpn|ocserv|openconnect|strongswan-charon|fastd) ' "$PEERS_ROOT/versions"
	[ -z "${NEBULA:-}" ] || "$NEBULA" -version 2>&1 | head -n 1 | sed 's/^/own Nebula /'
	dpkg-query -W -f '${Package} ${Version}\n' iperf3 2>/dev/null
}

measure() { # PEER
	local to m n
	to=$(target "$1")
	for m in $MEASURES; do
		case $m in
		tcp) for n in $STREAMS; do tcp "$to" "$n"; done ;;
		udp) for n in $SIZES; do udp "$to" "$n"; done ;;
		ping) ping_idle "$to" ;;
		load) ping_load "$to" ;;
		esac
	done
	mapfile -t pids < <(gateways)
	memory "${pids[@]}"
}

turn() { # ROUND PEER: one line of samples
	local load rc
	load=$(cut -d' ' -f1 /proc/loadavg)
	bench_up || die "no namespaces: is this kernel without them, or a container without rights?"
	load_start
	up "$2"
	rc=$?
	if [ $rc = 77 ]; then
		[ "$1" != 1 ] || record "# skipped: $2: $why"
	elif [ $rc != 0 ] || ! until_ok 15 pings "$FROM" "$(target "$2")"; then
		record "# down: $1 $2"
		tail -n 5 "$LAB"/n?/log >&2
	else
		record "$1 $2 $(measure "$2" | tr '\n' ' ')load=$load"
	fi
	lab_down
}
record() { echo "$*" | tee -a "$OUT"; }

for each in $PEERS; do
	f=up_${each%@*}
	declare -F "${f//-/_}" >/dev/null || die "PEERS: there is no \"$each\"; there are: $ALL_PEERS"
done
for each in $MEASURES; do
	case $each in tcp | udp | ping | load) ;; *) die "MEASURES: there is no \"$each\"" ;; esac
done
bench_begin
mkdir -p "$(dirname "$OUT")" || exit 1
[ "${BENCH_SUITE:-}" = none ] || PEERS_ROOT=$(tests/bench/fetch.sh) ||
	say "going on with what this machine has of them"
: >"$OUT"
header | tee -a "$OUT"
for round in $(seq "$ROUNDS"); do
	for peer in $PEERS; do turn "$round" "$peer"; done
done
tests/bench/report.sh "$OUT"
