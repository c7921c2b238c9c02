#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# profile.sh PEER [tcp|tcp4|pps64|pps512|pps1300] - where a gateway's time goes, under one load.
#
# perf samples the processes of both hosts' gateways by cpu-clock, which needs no counters of the
# processor's (a virtual machine often has none), over SECS (4) seconds. Prints shares by program
# and library, by function, and by what functions called (100 = all of the gateways' samples).
# What the kernel does for a packet in somebody else's time is not in it.
#
# Environment: TOP (40) lines each, PERF_DATA keeps the samples there, and what peers.bash reads.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/bench/bench.bash
. tests/bench/peers.bash

peer=${1:-ginnel} what=${2:-tcp}
TOP=${TOP:-40}
SECS=${SECS:-4}

report() { # PERF-REPORT-ARGUMENT...
	perf report -i "$data" --stdio -g none --percentage relative "$@" 2>/dev/null |
		grep -v -e '^#' -e '^$' -e '\] 0x' | sed 's/[ -]*$//' | head -n "$TOP"
}

command -v perf >/dev/null || die "no perf here: apt-get install linux-perf"
case $what in
tcp) load=(tcp 1) ;;
tcp[1-9]*) load=(tcp "${what#tcp}") ;;
pps[1-9]*) load=(udp "${what#pps}") ;;
*) die "no load \"$what\": tcp, tcp4, pps64" ;;
esac

bench_begin
[ "${BENCH_SUITE:-}" = none ] || PEERS_ROOT=$(tests/bench/fetch.sh) ||
	say "going on with what this machine has of them"
bench_up || die "no namespaces"
load_start
if ! { up "$peer" && until_ok 15 pings "$FROM" "$(target "$peer")"; }; then
	tail -n 5 "$LAB"/n?/log >&2
	die "$peer does not come up${why:+: $why}"
fi
data=${PERF_DATA:-$LAB/perf.data}
"${load[0]}" "$(target "$peer")" "${load[1]}" >"$LAB/load.out" &
running=$!
sleep 0.7 # the load is under way
perf record -q -e cpu-clock -F 1999 -g -o "$data" -p "$(gateways | paste -sd ,)" -- \
	sleep $((SECS - 1)) >/dev/null 2>"$LAB/perf.err" || {
	cat "$LAB/perf.err" >&2
	die "perf could not record"
}
wait "$running"

printf '%s, %s: %s\n' "$peer" "$what" "$(<"$LAB/load.out")"
printf '\n-- by program and library\n'
report --no-children --sort comm,dso
printf '\n-- by function\n'
report --no-children --sort symbol,dso
printf '\n-- with what it calls\n'
report --children --sort symbol
