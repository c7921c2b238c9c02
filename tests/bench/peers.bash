# SPDX-License-Identifier: GPL-3.0-or-later
# peers.bash - each up_PEER brings one tunnel up between n1 and n2, for run.sh and verify.sh.
#
# 0; 77 if it cannot be had here, with the reason in $why. Each is set up as its manual says, with
# AES-128-GCM where there is a choice, inner MTU $MTU where it can be told, large socket buffers
# where it has a setting for them, and no feature switched off that costs it nothing.

# shellcheck disable=SC2034 # both are read by who sources this
ALL_PEERS="raw wggo nebula nebula-own openvpn ocserv libipsec fastd ginnel nocrypto"
PEERS_ROOT=${PEERS_ROOT-} # what fetch.sh made; "": the machine's own programs
why= # of a 77

up() { # PEER
	local f=up_${1%@*}
	why=
	"${f//-/_}" "$1"
}

# -- running them ------------------------------------------------------------------------------------

has() { # PROGRAM...: in the root, or else on the machine; sets why
	local p
	for p in "$@"; do
		if [ -n "$PEERS_ROOT" ]; then
			PATH=$PEERS_ROOT/usr/bin:$PEERS_ROOT/usr/sbin:$PEERS_ROOT command -v "$p" >/dev/null && continue
			[ ! -x "$PEERS_ROOT$p" ] || continue
		elif command -v "$p" >/dev/null; then
			continue
		fi
		why="no program $p"
		return 77
	done
}

has_or() { # PATH PROGRAM: PATH if it is not ""
	if [ -n "$1" ]; then has_own "$1" "$2"; else has "$2"; fi
}
has_own() { # PATH VARIABLE
	[ -n "$1" ] || { why="$2 is not set" && return 77; }
	[ -x "$1" ] || { why="no program $1" && return 77; }
}

# The machine's own, with a /run for each host, so that sockets there do not collide.
own() { # HOST PROGRAM ARGUMENT...
	local host=$1
	shift
	exec ip netns exec "$LAB_P$host" unshare -m tests/bench/enter.sh '' "$LAB" "$LAB/$host/run-dir" "$@" 9>&-
}
within() { # HOST PROGRAM ARGUMENT...
	local host=$1
	shift
	exec ip netns exec "$LAB_P$host" unshare -m tests/bench/enter.sh "$PEERS_ROOT" "$LAB" "$LAB/$host/run-dir" "$@" 9>&-
}
tool() { # HOST PROGRAM ARGUMENT...: like within, in the foreground
	(within "$@")
}
daemon() { # own|within HOST PROGRAM ARGUMENT...: its output goes to the host's log
	"$@" <&0 >>"$LAB/$2/log" 2>&1 &
	disown
}

# Waits for the device, gives it 10.7.0.HOST, and sends the other host's containers through it.
link_up() { # HOST-NUMBER DEVICE
	local n="${LAB_P}n$1" other=$((3 - $1))
	until_ok 8 ip -n "$n" link show "$2" || return 1
	ip -n "$n" addr add "10.7.0.$1/24" dev "$2" 2>/dev/null
	ip -n "$n" link set "$2" mtu "${3:-$MTU}" 2>/dev/null
	ip -n "$n" link set "$2" up && ip -n "$n" route replace "10.44.$other.0/24" dev "$2"
}
certificate() { # NAME: self-signed, $LAB/NAME.crt and .key
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
		-subj "/CN=$1" -keyout "$LAB/$1.key" -out "$LAB/$1.crt" 2>/dev/null
}

# -- the peers ------------------------------------------------------------------------------------------

up_raw() {
	local i
	for i in 1 2; do ip -n "${LAB_P}n$i" route add "10.44.$((3 - i)).0/24" via "10.9.0.$((3 - i))"; done
}

up_wggo() {
	local i j
	has wg && has_or "${WIREGUARD_GO:-}" wireguard-go || return
	for i in 1 2; do
		(umask 077 && tool n1 wg genkey >"$LAB/wg$i.key") &&
			tool n1 wg pubkey <"$LAB/wg$i.key" >"$LAB/wg$i.pub" || return 1
	done
	for i in 1 2; do
		if [ -n "${WIREGUARD_GO:-}" ]; then
			LOG_LEVEL=error daemon own "n$i" "$WIREGUARD_GO" -f wg0
		else
			LOG_LEVEL=error daemon within "n$i" wireguard-go -f wg0
		fi
		until_ok 5 tool "n$i" wg show wg0 || return 1
	done
	for i in 1 2; do
		j=$((3 - i))
		tool "n$i" wg set wg0 listen-port 51820 private-key "$LAB/wg$i.key" peer "$(<"$LAB/wg$j.pub")" \
			allowed-ips "10.7.0.$j/32,10.44.$j.0/24,fd07::$j/128" endpoint "10.9.0.$j:51820" || return 1
		link_up "$i" wg0 && ip -n "${LAB_P}n$i" addr add "fd07::$i/64" dev wg0 nodad || return 1
	done
}

nebula() { # own|within PROGRAM
	local i j
	tool n1 nebula-cert ca -name bench -out-crt "$LAB/neb-ca.crt" -out-key "$LAB/neb-ca.key" || return 1
	for i in 1 2; do
		j=$((3 - i))
		tool n1 nebula-cert sign -ca-crt "$LAB/neb-ca.crt" -ca-key "$LAB/neb-ca.key" -name "n$i" \
			-ip "10.7.0.$i/24" -subnets "10.44.$i.0/24" \
			-out-crt "$LAB/neb$i.crt" -out-key "$LAB/neb$i.key" || return 1
		cat >"$LAB/neb$i.yml" <<-YML
			pki: {ca: $LAB/neb-ca.crt, cert: $LAB/neb$i.crt, key: $LAB/neb$i.key}
			static_host_map: {"10.7.0.$j": ["10.9.0.$j:4242"]}
			lighthouse: {am_lighthouse: false}
			listen: {host: 0.0.0.0, port: 4242, read_buffer: 8388608, write_buffer: 8388608}
			cipher: aes
			tun:
			  dev: neb0
			  mtu: $MTU
			  tx_queue: 5000
			  use_offloads: true
			  unsafe_routes: [{route: 10.44.$j.0/24, via: 10.7.0.$j}]
			logging: {level: warning}
			firewall:
			  outbound: [{port: any, proto: any, host: any, local_cidr: 0.0.0.0/0}]
			  inbound: [{port: any, proto: any, host: any, local_cidr: 0.0.0.0/0}]
		YML
		daemon "$1" "n$i" "$2" -config "$LAB/neb$i.yml"
	done
}
up_nebula() {
	has nebula nebula-cert && nebula within nebula
}
up_nebula_own() {
	has nebula-cert && has_own "${NEBULA:-}" NEBULA && nebula own "$NEBULA"
}

up_openvpn() {
	local i options
	has openvpn || return
	options=(--dev ovpn0 --dev-type tun --proto udp --data-ciphers AES-128-GCM --tun-mtu "$MTU"
		--sndbuf 4194304 --rcvbuf 4194304 --txqueuelen 1000 --disable-dco)
	for i in 1 2; do certificate "ovpn$i" || return 1; done
	daemon within n1 openvpn "${options[@]}" --tls-server --dh none --local 10.9.0.1 --port 1194 \
		--ifconfig 10.7.0.1 10.7.0.2 --cert "$LAB/ovpn1.crt" --key "$LAB/ovpn1.key" \
		--peer-fingerprint "$(fingerprint ovpn2)"
	daemon within n2 openvpn "${options[@]}" --tls-client --remote 10.9.0.1 1194 \
		--ifconfig 10.7.0.2 10.7.0.1 --cert "$LAB/ovpn2.crt" --key "$LAB/ovpn2.key" \
		--peer-fingerprint "$(fingerprint ovpn1)"
	for i in 1 2; do link_up "$i" ovpn0 || return 1; done
}
fingerprint() { openssl x509 -in "$LAB/$1.crt" -noout -fingerprint -sha256 | cut -d= -f2; }

up_ocserv() { # the server is n1, the client n2; the user's file gives the client its address
	local d=$LAB/oc pin
	has ocserv openconnect || return
	mkdir -p "$d/user"
	certificate oc || return 1
	printf 't:*:%s\n' "$(openssl passwd -6 secret)" >"$d/passwd"
	echo secret >"$d/password"
	echo 'explicit-ipv4 = 10.7.0.2' >"$d/user/t"
	pin=$(openssl x509 -in "$LAB/oc.crt" -pubkey -noout | openssl pkey -pubin -outform der |
		openssl dgst -sha256 -binary | base64)
	cat >"$d/conf" <<-CONF
		auth = "plain[passwd=$d/passwd]"
		tcp-port = 443
		udp-port = 443
		listen-host = 10.9.0.1
		run-as-user = nobody
		run-as-group = nogroup
		socket-file = /run/ocserv.sock
		use-occtl = false
		server-cert = $LAB/oc.crt
		server-key = $LAB/oc.key
		isolate-workers = false
		max-clients = 4
		max-same-clients = 4
		rate-limit-ms = 0
		keepalive = 300
		dpd = 60
		mobile-dpd = 60
		try-mtu-discovery = false
		tls-priorities = "NORMAL:%SERVER_PRECEDENCE:-CIPHER-ALL:+AES-128-GCM"
		auth-timeout = 40
		cookie-timeout = 300
		rekey-time = 172800
		compression = false
		device = vpns
		ipv4-network = 10.7.0.0
		ipv4-netmask = 255.255.255.0
		ping-leases = false
		mtu = $((MTU + 66))
		config-per-user = $d/user
	CONF
	daemon within n1 ocserv -f -c "$d/conf"
	until_ok 5 on n1 sh -c 'ss -ltn | grep -q 10.9.0.1:443' || return 1
	daemon within n2 openconnect --protocol=anyconnect --user=t --passwd-on-stdin \
		--servercert "pin-sha256:$pin" -i oc0 -s /bin/true --mtu "$MTU" --queue-len=32 -v \
		https://10.9.0.1:443 <"$d/password"
	until_ok 15 grep -q 'Established DTLS' "$LAB/n2/log" || return 1
	link_up 2 oc0 && ip -n "${LAB_P}n1" link set vpns0 mtu "$MTU" &&
		ip -n "${LAB_P}n1" route replace 10.44.2.0/24 dev vpns0
}

up_libipsec() { # its inner MTU is fixed, at 1400
	local i j d
	has /usr/lib/ipsec/charon swanctl || return
	for i in 1 2; do
		j=$((3 - i)) d=$LAB/ipsec$i
		mkdir "$d"
		cat >"$d/strongswan.conf" <<-CONF
			charon {
			  load = random nonce aesni openssl kernel-libipsec kernel-netlink socket-default vici
			  plugins { vici { socket = unix:///run/vici } }
			  filelog { stderr { default = 1 } }
			}
		CONF
		cat >"$d/swanctl.conf" <<-CONF
			connections {
			  t {
			    local_addrs = 10.9.0.$i
			    remote_addrs = 10.9.0.$j
			    version = 2
			    encap = yes
			    proposals = aes128gcm16-prfsha256-ecp256
			    local {
			      auth = psk
			      id = n$i
			    }
			    remote {
			      auth = psk
			      id = n$j
			    }
			    children {
			      n {
			        local_ts = 10.7.0.$i/32,10.44.$i.0/24
			        remote_ts = 10.7.0.$j/32,10.44.$j.0/24
			        esp_proposals = aes128gcm16-noesn
			        rekey_time = 0
			      }
			    }
			  }
			}
			secrets {
			  ike-1 {
			    secret = "of this run alone"
			  }
			}
		CONF
		STRONGSWAN_CONF=$d/strongswan.conf daemon within "n$i" /usr/lib/ipsec/charon
		link_up "$i" ipsec0 1400 && until_ok 5 test -S "$LAB/n$i/run-dir/vici" || return 1
		STRONGSWAN_CONF=$d/strongswan.conf tool "n$i" swanctl --load-all --file "$d/swanctl.conf" \
			--uri unix:///run/vici >>"$LAB/n$i/log" 2>&1 || return 1
	done
	STRONGSWAN_CONF=$LAB/ipsec2/strongswan.conf tool n2 swanctl --initiate --child n --timeout 5 \
		--uri unix:///run/vici >>"$LAB/n2/log" 2>&1
}

up_fastd() {
	local i j
	has fastd || return
	for i in 1 2; do
		(umask 077 && tool n1 fastd --generate-key --machine-readable >"$LAB/fastd$i.key" 2>/dev/null)
		printf 'secret "%s";' "$(<"$LAB/fastd$i.key")" >"$LAB/fastd$i.secret"
		tool n1 fastd --config "$LAB/fastd$i.secret" --show-key --machine-readable \
			>"$LAB/fastd$i.pub" 2>/dev/null || return 1
	done
	for i in 1 2; do
		j=$((3 - i))
		cat >"$LAB/fastd$i.conf" <<-CONF
			method "${FASTD_METHOD:-salsa2012+umac}";
			secret "$(<"$LAB/fastd$i.key")";
			bind 10.9.0.$i:10000;
			mode tun;
			interface "fd0";
			mtu $MTU;
			persist interface no;
			on up "ip addr add 10.7.0.$i peer 10.7.0.$j dev fd0; ip link set fd0 mtu $MTU up";
			peer "x" { key "$(<"$LAB/fastd$j.pub")"; remote 10.9.0.$j:10000; }
		CONF
		daemon within "n$i" fastd --config "$LAB/fastd$i.conf"
	done
	for i in 1 2; do link_up "$i" fd0 || return 1; done
}

# -- ginnel: own PKI, static peers, one daemon a host -----------------------------------------------------

# ginnel@1000: with so many peers in the tables, all but one of which do not exist.
# GINNEL_CONF: more lines for the config.
up_ginnel() { # PEER
	local i more peers
	[ -x "$GINNEL_BIN/ginneld" ] || { why="no $GINNEL_BIN/ginneld" && return 77; }
	case $1 in *@*) peers=${1#*@} ;; *) peers=${BENCH_PEERS:-1} ;; esac
	more=$(absent_peers $((peers - 1)))
	static_nodes 2 "${more:+$more\n}device: gin0\ninterfaces: [v0]\n${GINNEL_CONF:-}" || return 1
	for i in 1 2; do
		ip -n "${LAB_P}c$i" addr add "10.77.$i.2/24" dev e0
		ip -n "${LAB_P}c$i" route add 10.77.0.0/16 via "10.44.$i.1" src "10.77.$i.2"
		ip -n "${LAB_P}n$i" route add "10.77.$i.2/32" dev v0
		start "n$i"
	done
}
absent_peers() { # COUNT: lines for the list of peers; without endpoints: nobody dials them
	seq 0 $(($1 - 1)) | awk '{
		printf "  - {name: x%d, prefixes: [10.77.%d.%d/28, \"fd77:0:0:%x::/64\"]}\n",
			$1, 128 + $1 / 16, $1 % 16 * 16, 4096 + $1 }'
}
up_nocrypto() {
	local bin=${GINNEL_NO_CRYPTO:-build/no-crypto/bin}
	[ -x "$bin/ginneld" ] || { why="no $bin/ginneld: make NO_CRYPTO=1 builds it" && return 77; }
	GINNEL_BIN=$bin up_ginnel ginnel
}
up_ginnel_base() { # another build of ginnel, to compare with
	has_own "${GINNEL_BASE:+$GINNEL_BASE/ginneld}" GINNEL_BASE || return
	GINNEL_BIN=$GINNEL_BASE up_ginnel ginnel
}
