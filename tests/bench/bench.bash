# SPDX-License-Identifier: GPL-3.0-or-later
# bench.bash - hosts, containers, loads and meters, for run.sh, verify.sh and profile.sh.
#
#   c1 ----- n1 ============================ n2 ----- c2      namespaces, joined by veth
#      e0 v0    u0                        u0    v0 e0
#
#   underlay   n1 10.9.0.1, n2 10.9.0.2
#   tunnel     n1 10.7.0.1, n2 10.7.0.2             (ginnel: 10.77.1.1, 10.77.2.1)
#   behind     c1 10.44.1.2, c2 10.44.2.2           (ginnel: 10.77.1.2, 10.77.2.2)
#
# Each peer gets hosts of its own, made when it begins and gone when it ends: nothing that one
# leaves behind, a rule, a route, a process, is there for the next.

: "${GINNEL_BIN:=build/bin}"
: "${GINNEL_TOOLS:=${GINNEL_BIN%/bin}/tests/tools}"
: "${BENCH_TOOLS:=${GINNEL_BIN%/bin}/tests/bench}"
# shellcheck source=tests/netns/lab.bash
. tests/netns/lab.bash

BETWEEN=${BETWEEN:-${BENCH_BETWEEN:-hosts}}
SECS=${SECS:-3}
# shellcheck disable=SC2034 # read by peers.bash
MTU=1420 # of the tunnel, for every peer that can be told
QUIET_WAIT=${QUIET_WAIT:-30}

say() { echo "bench: $*" >&2; }
die() {
	say "$*"
	exit 1
}

# For all three scripts: root, one at a time, cleaned up also when interrupted.
bench_begin() {
	[ "$(id -u)" = 0 ] || die "network namespaces need root"
	exec 9>/run/lock/ginnel-bench
	flock -n 9 || die "another run is going on, or one that was killed left processes behind:" \
		"ip netns pids of what ip netns list shows as gnl…"
	case $BETWEEN in
	hosts) FROM=n1 TO=n2 ;;
	containers) FROM=c1 TO=c2 ;;
	*) die "BENCH_BETWEEN is hosts or containers" ;;
	esac
	trap 'lab_down' EXIT
	trap 'say "interrupted; cleaning up"; exit 130' INT
	trap 'exit 143' TERM HUP
}

bench_up() {
	local i n
	LAB=$(mktemp -d /tmp/ginnel-lab.XXXXXX)
	chmod 711 "$LAB" # some peers give up root
	LAB_P="gnl${LAB##*.}-"
	LAB_NODES="n1 n2 c1 c2"
	for n in $LAB_NODES; do
		ip netns add "$LAB_P$n" && ip -n "$LAB_P$n" link set lo up || return 1
		mkdir -p "$LAB/$n/run-dir"
	done
	ip link add u0 netns "${LAB_P}n1" type veth peer name u0 netns "${LAB_P}n2"
	for i in 1 2; do
		ip link add v0 netns "${LAB_P}n$i" type veth peer name e0 netns "${LAB_P}c$i"
		on "n$i" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.ip_forward=1 \
			net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0
		on "c$i" sysctl -qw net.ipv6.conf.default.accept_dad=0
		ip -n "${LAB_P}n$i" addr add "10.9.0.$i/24" dev u0
		ip -n "${LAB_P}n$i" addr add "fd09::$i/64" dev u0 nodad
		ip -n "${LAB_P}n$i" link set u0 up
		ip -n "${LAB_P}n$i" addr add "10.44.$i.1/24" dev v0
		ip -n "${LAB_P}n$i" link set v0 up
		ip -n "${LAB_P}c$i" addr add "10.44.$i.2/24" dev e0
		ip -n "${LAB_P}c$i" link set e0 up
		ip -n "${LAB_P}c$i" route add default via "10.44.$i.1"
	done
}

# Where a load for PEER goes: prints the address; TARGET6 likewise, "" if it carries no IPv6.
target() { # PEER
	case ${1%@*}:$BETWEEN in
	ginnel*:hosts | nocrypto:hosts) echo 10.77.2.1 ;;
	ginnel*:containers | nocrypto:containers) echo 10.77.2.2 ;;
	raw:hosts) echo 10.9.0.2 ;;
	*:hosts) echo 10.7.0.2 ;;
	*:containers) echo 10.44.2.2 ;;
	esac
}
target6() { # PEER
	case ${1%@*}:$BETWEEN in
	ginnel*:hosts | nocrypto:hosts) echo fd77:0:0:2::1 ;;
	raw:hosts) echo fd09::2 ;;
	wggo:hosts) echo fd07::2 ;;
	esac
}

# QUIET=70: before each load until the machine was 70 % idle for half a second, but no longer than
# QUIET_WAIT seconds; then it goes on anyway.
quiet() {
	local end=$((SECONDS + QUIET_WAIT)) busy idle busy0 idle0
	[ -n "${QUIET:-}" ] || return 0
	while [ "$SECONDS" -lt "$end" ]; do
		read -r busy0 idle0 < <(cpu_of_machine)
		sleep 0.5
		read -r busy idle < <(cpu_of_machine)
		busy=$((busy - busy0)) idle=$((idle - idle0))
		[ $((idle * 100)) -lt $((QUIET * (busy + idle))) ] || return 0
	done
}
cpu_of_machine() { awk '/^cpu /{ print $2 + $3 + $4 + $7 + $8 + $9, $5 + $6; exit }' /proc/stat; }

# -- meters of the gateways: all processes of both hosts that are no load -------------------------

gateways() {
	local p comm
	for p in $(ip netns pids "${LAB_P}n1") $(ip netns pids "${LAB_P}n2"); do
		read -r comm 2>/dev/null <"/proc/$p/comm" || continue
		case $comm in iperf3 | pps | ping | bytes | ip) ;; *) echo "$p" ;; esac
	done
}
cpu_ticks() { # PID...: their threads' time in both modes, in clock ticks
	local p
	for p in "$@"; do sed 's/.*) //' "/proc/$p/stat" 2>/dev/null; done |
		awk '{ t += $12 + $13 } END { print t + 0 }'
}
memory() { # PID...: "rss=MIB pss=MIB" of one gateway: half of both hosts'
	local p
	[ $# -gt 0 ] || return 0
	for p in "$@"; do cat "/proc/$p/smaps_rollup" 2>/dev/null; done |
		awk '/^Rss:/{ r += $2 } /^Pss:/{ p += $2 } END { printf "rss=%.1f pss=%.1f\n", r / 2048, p / 2048 }'
}
per() { # TICKS AMOUNT UNIT: seconds of CPU for one UNIT of AMOUNT
	awk -v t="$1" -v a="$2" -v u="$3" -v hz="$(getconf CLK_TCK)" \
		'BEGIN { if (a > 0 && t > 0) printf "%.4g", t / hz / a * u; else print "-" }'
}

# -- loads: each prints "key=value…", "-" for a value that could not be had ------------------------

load_start() { # what listens on the far side, before any load
	on "$TO" iperf3 -s >/dev/null 2>&1 9>&- &
	disown
	until_ok 5 on "$TO" sh -c 'ss -ltn | grep -q :5201'
}

# What the receiver got, and what of the gateways' time went into it.
tcp() { # ADDRESS STREAMS
	local pids before after bits bytes
	quiet
	mapfile -t pids < <(gateways)
	before=$(cpu_ticks "${pids[@]}")
	read -r bits bytes < <(on "$FROM" timeout $((SECS + 10)) iperf3 -C cubic -P "$2" -c "$1" -t "$SECS" -J 2>/dev/null |
		jq -r '.end.sum_received | "\(.bits_per_second // "") \(.bytes // "")"' 2>/dev/null)
	after=$(cpu_ticks "${pids[@]}")
	if [ -z "${bytes:-}" ] || [ "$bytes" = null ]; then
		echo "tcp$2=- cpu_gb$2=-"
		return
	fi
	printf 'tcp%s=%.3g cpu_gb%s=%s\n' "$2" "$(awk -v b="$bits" 'BEGIN { print b / 1e9 }')" "$2" \
		"$(per $((after - before)) "$bytes" 1e9)"
}

udp() { # ADDRESS SIZE
	local pids before after rate='' count='' receiver
	quiet
	mapfile -t pids < <(gateways)
	ip netns exec "$LAB_P$TO" "$BENCH_TOOLS/pps" recv 7777 >"$LAB/pps.out" 2>"$LAB/pps.err" 9>&- &
	receiver=$!
	until_ok 5 grep -q listening "$LAB/pps.err"
	before=$(cpu_ticks "${pids[@]}")
	on "$FROM" timeout $((SECS + 5)) "$BENCH_TOOLS/pps" send "$1" 7777 "$2" "$SECS" >/dev/null 2>&1
	until_ok 5 test -s "$LAB/pps.out"
	after=$(cpu_ticks "${pids[@]}")
	kill "$receiver" 2>/dev/null
	wait "$receiver" 2>/dev/null
	read -r rate count <"$LAB/pps.out"
	echo "pps$2=${rate:-0} cpu_pkt$2=$(per $((after - before)) "${count:-0}" 1e9)"
}

percentiles() { # NAME: of ping's output, in microseconds
	sed -n 's/.*time=\([0-9.]*\) ms.*/\1/p' | sort -n | awk -v name="$1" '
		{ t[NR] = $1 * 1000 }
		function at(q) { return NR ? sprintf("%.0f", t[int((NR - 1) * q) + 1]) : "-" }
		END { printf "%s_p50=%s %s_p99=%s\n", name, at(0.5), name, at(0.99) }'
}
ping_idle() { # ADDRESS
	quiet
	on "$FROM" ping -n -i 0.002 -c 500 -w $((SECS + 5)) "$1" 2>/dev/null | percentiles idle
}
ping_load() { # ADDRESS: beside one TCP stream
	local load
	quiet
	ip netns exec "$LAB_P$FROM" iperf3 -C cubic -c "$1" -t $((SECS + 2)) >/dev/null 2>&1 9>&- &
	load=$!
	sleep 1
	on "$FROM" ping -n -i 0.005 -c 1000 -w "$SECS" "$1" 2>/dev/null | percentiles load
	kill "$load" 2>/dev/null
	wait "$load" 2>/dev/null
}
