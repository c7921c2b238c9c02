#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck disable=SC2154 # stderr is set by run
# A manager that issues by an intermediate.
#
#     n1 manager ---- wire ---- n2, n3

load lab

setup() { lab_up 3; }
teardown() { lab_down; }

# As it is done where the root's key lies: $LAB/root.key, $LAB/root.pem.
root_leaves() { # NODE
	cp "$LAB/$1/state/ca/ca.key" "$LAB/root.key"
	cp "$LAB/$1/state/ca/ca.pem" "$LAB/root.pem"
}
intermediate() { # NAME DAYS EXTENSION...
	local name=$1 days=$2
	shift 2
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$LAB/$name.key" \
		-subj "/O=lab/CN=$name" -out "$LAB/$name.req" 2>/dev/null
	printf '%s\n' "$@" | openssl x509 -req -in "$LAB/$name.req" -CA "${ROOT:-$LAB/root}.pem" \
		-CAkey "${ROOT:-$LAB/root}.key" -days "$days" -extfile /dev/stdin -out "$LAB/$name.crt" 2>/dev/null
	(umask 077 && cat "$LAB/$name.crt" "$LAB/$name.key" >"$LAB/$name.pem")
}
good=('basicConstraints=critical,CA:true,pathlen:0' 'keyUsage=critical,keyCertSign,cRLSign' 'subjectKeyIdentifier=hash')
fingerprint() { ginnel n1 --json ca show | jq -r '.roots[0].fingerprint'; }

@test "an intermediate issues, the root's key is gone, and what was there goes on" {
	cluster 2
	n1=$(address n1) n2=$(address n2)
	until_ok 10 pings n1 "$n2"
	ginnel n1 --json ca show | jq -e '.rotation == null and (.roots | length) == 1 and .roots[0].state == "active"'
	root=$(fingerprint)
	root_leaves n1
	intermediate sub 90 "${good[@]}"
	stop n1
	ginnel n1 ca import "$LAB/sub.pem"
	run ! grep -qF "$(sed -n 2p "$LAB/root.key")" "$LAB/n1/state/ca/ca.key"
	[ "$(stat -c %a:%U "$LAB/n1/state/ca/ca.key")" = "600:$(stat -c %U "$LAB/n1/state/ca")" ]
	start n1
	until_ok 10 status_is n1 ready
	[ "$(fingerprint)" = "$root" ]
	ginnel n1 --json ca show | jq -e '.roots[0].state == "offline"'
	# It lets hosts in, renews, and what it revokes is taken by nodes of both.
	join n3 10.9.0.3
	start n3
	until_ok 15 peers_up n3 2
	until_ok 10 pings n3 "$n2"
	ginnel n1 node label n2 zone=pci
	until_ok 10 node n1 n2 '.labels == {"zone": "pci"}'
	until_ok 10 pings n2 "$n1"
	grep -c 'BEGIN CERTIFICATE' "$LAB/n2/state/engine/node.pem" | grep -qx 3
	ginnel n1 node revoke n3
	until_ok 2 peer_is n2 n3 revoked
	# A backup is of the intermediate.
	(umask 077 && echo 'correct horse battery staple' >"$LAB/passphrase")
	ginnel n1 backup --with-ca --passphrase-file "$LAB/passphrase" "$LAB/backup"
	stop n1
	ginnel n1 down
	rm -rf "$LAB/n1/state"
	ginnel n1 restore --passphrase-file "$LAB/passphrase" "$LAB/backup"
	start n1
	until_ok 10 status_is n1 ready
	until_ok 15 pings n2 "$n1"
}

@test "what is no intermediate of this root's changes nothing" {
	cluster 1
	run --separate-stderr ginnel n1 ca import "$LAB/none"
	complains 1 "ginneld runs" "$stderr"
	stop n1
	root_leaves n1
	sum=$(sha256sum "$LAB/n1/state/ca/"*)
	"$GINNEL_TOOLS/mkcert" "$LAB" ca lab # another root: $LAB/ca.pem, ca.key
	ROOT=$LAB/ca intermediate foreign 90 "${good[@]}"
	intermediate short 3 "${good[@]}"
	intermediate noca 90 'basicConstraints=critical,CA:false'
	intermediate nosign 90 'basicConstraints=critical,CA:true,pathlen:0' 'keyUsage=critical,digitalSignature'
	intermediate strange 90 "${good[@]}" '1.2.3.4=critical,ASN1:UTF8String:what'
	intermediate sub 90 "${good[@]}"
	refused() { # FILE TEXT
		run --separate-stderr ginnel n1 ca import "$1"
		complains 1 "$2" "$stderr" || return 1
		[ "$(sha256sum "$LAB/n1/state/ca/"*)" = "$sum" ]
	}
	refused "$LAB/none" "No such file"
	refused "$LAB/foreign.pem" "this cluster's root did not issue it"
	refused "$LAB/short.pem" "ends within a week"
	refused "$LAB/noca.pem" "did not issue it as a CA"
	refused "$LAB/nosign.pem" "did not issue it as a CA"
	refused "$LAB/strange.pem" "critical extension"
	(umask 077 && cat "$LAB/sub.crt" "$LAB/short.key" >"$LAB/mixed.pem")
	refused "$LAB/mixed.pem" "do not belong together"
	(umask 077 && cp "$LAB/sub.crt" "$LAB/keyless.pem")
	refused "$LAB/keyless.pem" "there is no key in it"
	(umask 077 && head -c 300 "$LAB/sub.pem" >"$LAB/cut.pem")
	refused "$LAB/cut.pem" "there is no key in it"
	(umask 077 && cat "$LAB/root.pem" "$LAB/root.key" >"$LAB/itself.pem")
	refused "$LAB/itself.pem" "the root itself"
	chmod 644 "$LAB/sub.pem"
	refused "$LAB/sub.pem" "group or others"
	start n1
	until_ok 10 status_is n1 ready
}

@test "an import that a crash cut short is finished by the next start" {
	cluster 1
	root_leaves n1
	intermediate sub 90 "${good[@]}"
	stop n1
	cp -a "$LAB/n1/state/ca/ca.key" "$LAB/was.key"
	ginnel n1 ca import "$LAB/sub.pem"
	# As it lies there between the two renames.
	mv "$LAB/n1/state/ca/ca.key" "$LAB/n1/state/ca/ca.key.new"
	mv "$LAB/was.key" "$LAB/n1/state/ca/ca.key"
	start n1
	until_ok 10 status_is n1 ready
	(umask 077 && ginnel n1 token create >"$LAB/token")
	[ ! -e "$LAB/n1/state/ca/ca.key.new" ]
}
