# SPDX-License-Identifier: GPL-3.0-or-later
# samples.awk - reads a file of samples: what table.awk and chart.awk share.
#
# A line of samples is: ROUND PEER KEY=VALUE...  A value of "-" could not be had. Medians are over
# the rounds.

!/^#/ && NF > 2 {
	peer = $2
	if (!(peer in known)) {
		known[peer] = 1
		peers[++npeers] = peer
	}
	for (i = 3; i <= NF; i++) {
		split($i, kv, "=")
		if (kv[1] == "load")
			continue
		if (!(kv[1] in seen)) {
			seen[kv[1]] = 1
			keys[++nkeys] = kv[1]
		}
		if (kv[2] != "-")
			sample[peer, kv[1], ++count[peer, kv[1]]] = kv[2] + 0
	}
}

# The median; "" if there is no sample.
function median(peer, key,    n, i, j, t, v) {
	n = count[peer, key]
	if (!n)
		return ""
	for (i = 1; i <= n; i++)
		v[i] = sample[peer, key, i]
	for (i = 1; i <= n; i++)
		for (j = i + 1; j <= n; j++)
			if (v[j] < v[i]) {
				t = v[i]
				v[i] = v[j]
				v[j] = t
			}
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

function number_in(key) {
	return match(key, /[0-9]+$/) ? substr(key, RSTART) : ""
}

function title(key,    n) {
	n = number_in(key)
	if (key ~ /^tcp/)
		return "TCP, " n (n == 1 ? " stream" : " streams") ", Gbit/s"
	if (key ~ /^cpu_gb/)
		return "CPU s/GB, TCP " n
	if (key ~ /^pps/)
		return "UDP " n " B, packets/s"
	if (key ~ /^cpu_pkt/)
		return "CPU ns/packet, " n " B"
	if (key ~ /_p[0-9]+$/)
		return "ping " substr(key, 1, index(key, "_") - 1) " p" n ", us"
	return toupper(key) " MiB"
}

function name(peer) {
	if (peer ~ /^ginnel@/)
		return "ginnel, " substr(peer, 8) (peer == "ginnel@1" ? " peer" : " peers")
	return peer in names ? names[peer] : peer
}

function shown(v) {
	if (v == "")
		return "-"
	return v >= 1000 ? sprintf("%.0f", v) : sprintf("%.3g", v)
}

# Where more is better.
function is_rate(key) {
	return key ~ /^(tcp|pps)/
}

BEGIN {
	names["raw"] = "raw veth"
	names["wggo"] = "wireguard-go"
	names["nebula"] = "Nebula"
	names["nebula-own"] = "Nebula, own build"
	names["openvpn"] = "OpenVPN"
	names["ocserv"] = "ocserv, openconnect"
	names["libipsec"] = "strongSwan libipsec"
	names["nocrypto"] = "ginnel, no crypto"
	names["ginnel-base"] = "ginnel, base"
}
