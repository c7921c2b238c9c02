#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# demo.sh - a cluster of three nodes on this machine, in network namespaces: `make demo`.
#
# Enrols three nodes, sends real traffic through the tunnels, listens on the wire between them,
# kills a daemon, and takes everything away again, also when it is interrupted.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
. tests/netns/lab.bash

if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || {
		echo "demo: network namespaces need root; run it as root, or install sudo" >&2
		exit 1
	}
	exec sudo --preserve-env=GINNEL_BIN,GINNEL_TOOLS "$0" "$@"
fi

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' off=$'\e[0m'; else bold='' dim='' green='' red='' off=''; fi
steps=0
step() {
	steps=$((steps + 1))
	printf '\n%s%d. %s%s\n' "$bold" "$steps" "$*" "$off"
}
shown() { # NODE ARGUMENT...: a command of ginnel, as a user would type it
	local node=$1
	shift
	printf '   %s%s $ ginnel %s%s\n' "$dim" "$node" "$*" "$off"
	ginnel "$node" "$@" 2>&1 | sed 's/^/   /'
	return "${PIPESTATUS[0]}"
}
ok() { printf '   %s✓%s %s\n' "$green" "$off" "$*"; }
die() {
	printf '   %s✗ %s%s\n' "$red" "$*" "$off" >&2
	for n in n1 n2 n3; do
		[ ! -s "${LAB:-/nonexistent}/$n/log" ] || { echo "--- $n:"; tail -n 15 "$LAB/$n/log"; } >&2
	done
	exit 1
}

trap 'lab_down' EXIT
trap 'echo; echo "demo: interrupted; cleaning up" >&2; exit 130' INT TERM

printf '%sThree hosts that do not trust the network between them%s\n' "$bold" "$off"
cat <<'EOT'

     n1 10.9.0.1          n2 10.9.0.2          n3 10.9.0.3
        └─────────────────────┴────────────────────┘
              the wire: every frame on it is seen
EOT

step "Three hosts: network namespaces, one wire"
lab_up 3 || die "no namespaces: is this kernel without them, or a container without rights?"
ok "namespaces made; all of it goes away at the end"
capture_proves_itself n1 10.77.3.1 || die "the sniffer sees nothing"
ok "without ginnel, $captured_markers of 100 marker payloads for 10.77.3.1 are seen on the wire"

step "n1 starts a cluster"
shown n1 init --cluster demo --name n1 --advertise 10.9.0.1 || die "init failed"
start n1
until_ok 15 status_is n1 ready || die "n1 does not come up"
ok "n1 is ready: its PKI, its registry, its guard"

step "n2 and n3 join with a token each"
for i in 2 3; do
	(umask 077 && ginnel n1 token create >"$LAB/n$i/token") || die "no token"
	printf '   %sn1 $ ginnel token create > token      (single use, one hour)%s\n' "$dim" "$off"
	shown "n$i" join --token-file "$LAB/n$i/token" --name "n$i" --advertise "10.9.0.$i" 10.9.0.1 ||
		die "n$i cannot join"
	start "n$i"
done

step "Every pair pings, through DTLS 1.3 with both nodes' certificates"
begun=$SECONDS
for i in 1 2 3; do
	until_ok 15 peers_up "n$i" 2 || die "n$i does not reach its peers"
done
for i in 1 2 3; do
	to=$(ginnel "n$i" --json status | jq -r '.address | split("/")[0]')
	for j in 1 2 3; do
		[ "$i" = "$j" ] || until_ok 5 pings "n$j" "$to" || die "n$j does not reach n$i ($to)"
		[ "$i" = "$j" ] || ok "n$j → n$i $to"
	done
done
ok "all six ways, $((SECONDS - begun)) s after the last start"

step "Traffic, and what an eavesdropper sees of it"
n3=$(ginnel n3 --json status | jq -r '.address | split("/")[0]')
capture_start || die "the sniffer does not start"
markers_to n1 "$n3" 20000 10000 | sed 's/^/   marker datagrams from n1 to n3: /'
on n3 iperf3 -s -1 >/dev/null 2>&1 &
until_ok 5 on n3 sh -c 'ss -ltn | grep -q :5201' || die "iperf3 does not start"
rate=$(on n1 iperf3 -C cubic -c "$n3" -t 3 -J | jq -r '.end.sum_received.bits_per_second / 1e6 | floor')
ok "iperf3, one TCP stream from n1 to n3: ${rate:-?} Mbit/s"
capture_stop
[ "$captured_drops" = 0 ] || die "the sniffer lost $captured_drops frames"
[ "$captured_markers" = 0 ] || die "$captured_markers marker payloads on the wire"
ok "$captured_frames frames on the wire, $captured_markers of them with a marker in the clear"

step "n1's daemon dies (kill -9) while it sends"
capture_start || die "the sniffer does not start"
markers_to n1 "$n3" 10000 5000 >"$LAB/sent" &
sender=$!
sleep 0.5
kill_hard n1
ok "ginneld on n1 is dead, the sender goes on"
wait "$sender"
sed 's/^/   /' "$LAB/sent"
capture_stop
[ "$captured_markers" = 0 ] || die "$captured_markers marker payloads on the wire"
ok "$captured_frames frames on the wire, $captured_markers of them with a marker: nothing leaks"
start n1
until_ok 15 pings n1 "$n3" || die "n1 does not come back"
ok "n1 is started again and reaches n3"

step "What the operator sees"
until_ok 10 status_is n1 ready
for i in 1 2 3; do
	until_ok 10 peers_up "n$i" 2
	shown "n$i" status || [ $? = 4 ] || die "no status"
	echo
done

step "Away with it"
for i in 1 2 3; do stop "n$i"; done
shown n1 down || die "down failed"
printf '\n%sDone%s in %d s. README.md says how to do the same on real hosts.\n' "$bold" "$off" "$SECONDS"
