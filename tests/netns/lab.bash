# SPDX-License-Identifier: GPL-3.0-or-later
# lab.bash - nodes in network namespaces, for the namespace tests and the demo.
#
#      n1 10.9.0.1        n2 10.9.0.2        n3 10.9.0.3      one namespace each, link u0
#         |                  |                  |             fd09::N beside it
#         +------- wire: a bridge, whose namespace sees every frame -------+
#
# Everything is made under a prefix of this run's own and goes with lab_down. Waiting is a
# condition with a deadline (until_ok), never a sleep for good luck.

: "${GINNEL_BIN:=build/bin}" "${GINNEL_TOOLS:=build/tests/tools}"
LAB_MARKER=GINNEL-MARKER-PAYLOAD

if declare -F bats_require_minimum_version >/dev/null; then bats_require_minimum_version 1.5.0; fi

lab_up() { # NODES
	local i
	LAB=$(mktemp -d "${TMPDIR:-/tmp}/ginnel-lab.XXXXXX")
	LAB_P="gnl${LAB##*.}-"
	LAB_NODES=
	ip netns add "${LAB_P}wire"
	in_wire ip link add br0 type bridge
	in_wire ip link set br0 up
	in_wire sysctl -qw net.ipv6.conf.all.disable_ipv6=1
	for i in $(seq "$1"); do lab_node "n$i" "10.9.0.$i/24" "fd09::$i/64"; done
}

lab_node() { # NAME ADDRESS... : one more host on the wire
	local name=$1 a
	shift
	LAB_NODES="$LAB_NODES $name" # first: what is half made goes too
	ip netns add "$LAB_P$name"
	ip -n "$LAB_P$name" link set lo up
	ip link add u0 netns "$LAB_P$name" type veth peer name "u$name" netns "${LAB_P}wire"
	in_wire ip link set "u$name" master br0 up
	# A frame on the wire is a frame, not a batch of them.
	on "$name" ethtool -K u0 tso off gso off gro off tx-udp-segmentation off
	in_wire ethtool -K "u$name" tso off gso off gro off tx-udp-segmentation off
	on "$name" sysctl -qw net.ipv6.conf.u0.accept_dad=0 net.ipv6.conf.u0.accept_ra=0
	for a in "$@"; do ip -n "$LAB_P$name" addr add "$a" dev u0; done
	ip -n "$LAB_P$name" link set u0 up
	# Real hosts have a way out: by it, whatever is not stopped leaves. Nobody is there, but frames
	# for it are on the wire, and seen.
	ip -n "$LAB_P$name" neigh replace 10.9.0.254 lladdr 02:00:00:00:00:fe dev u0 nud permanent
	ip -n "$LAB_P$name" route add default via 10.9.0.254 dev u0
	case $* in *:*)
		ip -n "$LAB_P$name" neigh replace fd09::fe lladdr 02:00:00:00:00:fe dev u0 nud permanent
		ip -n "$LAB_P$name" -6 route add default via fd09::fe dev u0
		;;
	esac
	mkdir -p "$LAB/$name"
}

lab_down() {
	local n p
	[ -n "${LAB:-}" ] || return 0
	for n in $LAB_NODES wire; do
		for p in $(ip netns pids "$LAB_P$n" 2>/dev/null); do kill -KILL "$p" 2>/dev/null; done
	done
	for n in $LAB_NODES wire; do ip netns del "$LAB_P$n" 2>/dev/null; done
	rm -rf "$LAB"
	LAB=
}

on() { # NODE COMMAND...
	local node=$1
	shift
	ip netns exec "$LAB_P$node" "$@"
}
# jq 1.6 -e finds nothing wrong with no input at all: a daemon that does not answer would pass.
jq() {
	local out status=0
	out=$(command jq "$@") || status=$?
	[ -z "$out" ] || printf '%s\n' "$out"
	[ "$status" != 0 ] || [ "$1" != -e ] || [ -n "$out" ] || status=4
	return "$status"
}

in_wire() { on wire "$@"; }

ginnel() { # NODE ARGUMENT...
	local node=$1
	shift
	[ ! -e "$LAB/$node/ginnel.yaml" ] || set -- "$@" --config "$LAB/$node/ginnel.yaml"
	on "$node" "$GINNEL_BIN/ginnel" --state "$LAB/$node/state" --run "$LAB/$node/run" "$@"
}

# Fewer than 5 are a promise; more are patience, of which a busy machine gets twice as much. Under
# sanitizers nothing is promised.
until_ok() { # SECONDS COMMAND...
	local end seconds=$1
	shift
	[ "${GINNEL_PART:-}" != netns-san ] || seconds=$((4 * seconds))
	[ "$seconds" -lt 5 ] || seconds=$((2 * seconds))
	end=$((${EPOCHREALTIME/./} + seconds * 1000000))
	until "$@" >/dev/null 2>&1; do
		[ "${EPOCHREALTIME/./}" -lt $end ] || return 1
		sleep 0.05
	done
}

start() { # NODE [ARGUMENT...]: ginneld in the background, under START_UNDER if that is set
	local node=$1
	shift
	[ ! -e "$LAB/$node/ginnel.yaml" ] || set -- --config "$LAB/$node/ginnel.yaml" "$@"
	# Not by `on`: the pid of a function in the background is a shell's, not the daemon's.
	ip netns exec "$LAB_P$node" ${START_UNDER:+"$START_UNDER"} "$GINNEL_BIN/ginneld" --state "$LAB/$node/state" \
		--run "$LAB/$node/run" "$@" >>"$LAB/$node/log" 2>&1 3>&- &
	echo $! >"$LAB/$node/pid"
	disown # its death is no news to the shell
}
pid_of() { cat "$LAB/$1/pid"; }
process_of() { # NODE ROLE: pid of engine, manager or ca; 1 if there is none
	local p
	for p in $(ip netns pids "$LAB_P$1"); do
		if tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | grep -q -- "--role $2"; then
			echo "$p"
			return 0
		fi
	done
	return 1
}
replaced() { # NODE ROLE PID: another one runs in its place
	local p
	p=$(process_of "$1" "$2") && [ "$p" != "$3" ]
}
stop() { # NODE: in good order
	local pid
	pid=$(pid_of "$1")
	kill -TERM "$pid" 2>/dev/null
	gone "$pid" 10
}
kill_hard() { # NODE
	local pid
	pid=$(pid_of "$1")
	kill -KILL "$pid" 2>/dev/null
	gone "$pid" 10
}
switches() { # NODE: how often the threads of its engine have gone to sleep
	awk '/^voluntary_ctxt_switches/ { n += $2 } END { print n }' \
		"/proc/$(process_of "$1" engine)"/task/*/status
}
gone() { until_ok "$2" sh -c "! kill -0 $1 || grep -q '^State:.Z' /proc/$1/status"; }

status_is() { # NODE STATE
	[ "$(ginnel "$1" --json status 2>/dev/null | jq -r .state)" = "$2" ]
}
peer_is() { # NODE PEER STATE
	[ "$(ginnel "$1" --json peers | jq --arg p "$2" --arg s "$3" '.[] | select(.name == $p) | .state == $s')" = true ]
}
node() { # NODE NAME FILTER: what node list on NODE says of NAME
	ginnel "$1" --json node list | jq -e --arg n "$2" ".[] | select(.name == \$n) | $3" >/dev/null
}
list_number() { ginnel "$1" --json status | jq .list.number; }
same_list() { # NODE NUMBER
	[ "$(list_number "$1")" = "$2" ]
}
reaches_manager() { [ "$(ginnel "$1" --json status | jq .manager.reachable)" = true ]; }
enrolled() { [ -e "$LAB/$1/state/node.json" ]; }
not_enrolled() { [ ! -e "$LAB/$1/state/node.json" ]; }
tree_of() { # FOLDER: names, owners, modes and contents
	(cd "$1" && find . -printf '%p %U %m\n' | sort && find . -type f -print0 | sort -z | xargs -0 -r sha256sum)
}
peers_up() { # NODE COUNT
	[ "$(ginnel "$1" --json peers 2>/dev/null | jq '[.[] | select(.state == "up")] | length')" = "$2" ]
}
pings() { # NODE ADDRESS [ARGUMENT...]
	local node=$1 to=$2
	shift 2
	on "$node" ping -n -q -c 1 -W 1 "$@" "$to"
}

# complains STATUS TEXT SAID: exit code, and one line "ginnel: what: why; what to do" that says TEXT.
# shellcheck disable=SC2154 # status is set by run
complains() {
	local line
	line=$(grep '^ginnel: ' <<<"$3")
	[ "$status" = "$1" ] || { echo "exit $status: $3" >&2; return 1; }
	[[ $line == *"$2"* ]] || { echo "does not say \"$2\": $line" >&2; return 1; }
	[[ $line == "ginnel: "*": "*"; "* ]] || { echo "no cure: $line" >&2; return 1; }
	[ "$(wc -l <<<"$line")" = 1 ]
}

# -- static nodes: own PKI, no manager ------------------------------------------------------------

static_nodes() { # COUNT [MORE-CONFIG]: n1… with one CA, each the others' peer
	local i j
	"$GINNEL_TOOLS/mkcert" "$LAB" ca lab
	for i in $(seq "$1"); do
		"$GINNEL_TOOLS/mkcert" "$LAB" node lab "n$i"
		{
			printf 'name: n%s\nadvertise: [10.9.0.%s]\n' "$i" "$i"
			printf 'overlay: [10.77.0.0/16, "fd77::/48"]\n'
			printf 'identity: {cert: ../n%s.pem, key: ../n%s.key, ca: ../ca.pem}\n' "$i" "$i"
			printf 'prefixes: [10.77.%s.0/24, "fd77:0:0:%s::/64"]\npeers:\n' "$i" "$i"
			for j in $(seq "$1"); do
				[ "$i" = "$j" ] || printf '  - {name: n%s, endpoints: ["10.9.0.%s:4747"], prefixes: [10.77.%s.0/24, "fd77:0:0:%s::/64"]}\n' "$j" "$j" "$j" "$j"
			done
			printf '%b' "${2:-}"
		} >"$LAB/n$i/ginnel.yaml"
	done
}

# -- a cluster with a manager ------------------------------------------------------------------------

cluster() { # COUNT: n1 is the manager; all are started
	local i
	ginnel n1 init --cluster lab --name n1 --advertise 10.9.0.1 >"$LAB/init.out" || return 1
	start n1
	until_ok 10 status_is n1 ready || return 1
	for i in $(seq 2 "$1"); do join "n$i" "10.9.0.$i" && start "n$i" || return 1; done
}
address() { # NODE: its IPv4 address in the overlay, as soon as it answers
	until_ok 10 ginnel "$1" routes || return 1
	ginnel "$1" --json status | jq -r '.address | split("/")[0]'
}
join() { # NODE ADDRESS
	(umask 077 && ginnel n1 token create >"$LAB/$1/token") || return 1
	ginnel "$1" join --token-file "$LAB/$1/token" --name "$1" --advertise "$2" 10.9.0.1
}

# -- markers: payloads that must never be seen on the wire ------------------------------------------------

capture_start() {
	: >"$LAB/sniff.err" # of an earlier one, which also said "listening"
	# Before others: a frame that the kernel had no room for proves nothing.
	ip netns exec "${LAB_P}wire" nice -n -20 "$GINNEL_TOOLS/sniff" "$LAB_MARKER" >"$LAB/sniff.out" 2>"$LAB/sniff.err" 3>&- &
	echo $! >"$LAB/sniff.pid"
	until_ok 5 grep -q listening "$LAB/sniff.err"
}
capture_stop() { # sets captured_frames captured_markers captured_drops
	local pid
	pid=$(cat "$LAB/sniff.pid")
	kill -TERM "$pid" 2>/dev/null
	gone "$pid" 10
	until_ok 5 grep -q drops "$LAB/sniff.out"
	# shellcheck disable=SC2034 # read by the tests
	read -r _ captured_frames _ captured_markers _ captured_drops <"$LAB/sniff.out"
}
# A zero says something only where there is a way to be seen: without ginneld markers are.
capture_proves_itself() { # NODE ADDRESS
	capture_start && markers_to "$1" "$2" 100 1000 >/dev/null && capture_stop &&
		[ "$captured_markers" -gt 0 ]
}
markers_to() { # NODE ADDRESS COUNT RATE: in the foreground
	on "$1" "$GINNEL_TOOLS/marker" send "$2" 9999 "$LAB_MARKER" "$3" "$4"
}
