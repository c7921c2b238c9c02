#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck disable=SC2154 # stderr is set by run
# A manager from its backup.
#
#     n1 manager ---- wire ---- n2, n3
#
# What happened after the backup is not in it; what was revoked stays revoked.

load lab

setup() { lab_up 3; }
teardown() { lab_down; }

list_above() { # NODE NUMBER
	[ "$(list_number "$1")" -gt "$2" ]
}
secret() { # FILE
	(umask 077 && echo 'correct horse battery staple' >"$1")
}

@test "a revocation after restore of an old backup: it holds on every node and on the manager" {
	cluster 3
	until_ok 10 peers_up n3 2
	n2=$(address n2)
	secret "$LAB/passphrase"
	run --separate-stderr ginnel n1 --json backup --with-ca --passphrase-file "$LAB/passphrase" "$LAB/backup"
	[ "$status" = 0 ]
	jq -e '.cluster == "lab" and .node == "n1" and .with_ca' <<<"$output"
	[ "$(stat -c %a "$LAB/backup")" = 600 ]
	ginnel n1 node revoke n2
	until_ok 2 peer_is n3 n2 revoked
	number=$(list_number n3)
	# The host burns: nothing is left of it but the file. n3 is away, n2 knocks.
	stop n3
	stop n1
	ginnel n1 down
	rm -rf "$LAB/n1/state"
	ginnel n1 restore --passphrase-file "$LAB/passphrase" "$LAB/backup"
	start n1
	until_ok 10 status_is n1 ready
	node n1 n2 '.state == "active"' # it cannot know
	# One node that does comes: the manager has it back, and so has everybody.
	start n3
	until_ok 15 node n1 n2 '.state == "revoked"'
	until_ok 5 list_above n1 "$number"
	until_ok 5 list_above n3 "$number"
	until_ok 5 peer_is n1 n2 revoked
	peer_is n3 n2 revoked
	run pings n3 "$n2"
	[ "$status" -ne 0 ]
	grep -q 'revocations that this ledger did not have come back' "$LAB/n1/log"
	# It is in the ledger: the next start says it again, with n3 away.
	stop n3
	stop n1
	rm -f "$LAB/n1/state/engine/revoked.lists"
	start n1
	until_ok 10 node n1 n2 '.state == "revoked"'
}

@test "restore on the manager's own host: nodes take the older state, and renew by their newer keys" {
	cluster 3
	until_ok 10 peers_up n3 2
	n2=$(address n2) n1=$(address n1)
	ginnel n1 backup "$LAB/backup"
	ginnel n1 node label n2 zone=pci # a renewal, by which the backup's key is an old one
	until_ok 10 node n2 n2 '.labels == {"zone": "pci"}' || node n1 n2 '.labels == {"zone": "pci"}'
	ginnel n1 node revoke n3
	on n2 ping -n -i 0.05 "$n1" >"$LAB/ping" 2>&1 3>&- &
	ping=$!
	stop n1
	run ginnel n1 restore "$LAB/backup"
	[ "$status" = 0 ]
	[[ $output == *"n1 of cluster lab again"* ]]
	start n1
	until_ok 10 status_is n1 ready
	# The ledger that lay there was newer in what it revoked: nothing of that is lost at any time.
	until_ok 10 node n1 n3 '.state == "revoked"'
	until_ok 15 node n1 n2 '.labels == {}'
	# A restored ledger does not know the key that n2 has now; it is the newest all the same.
	ginnel n1 node label n2 zone=lab
	until_ok 15 node n1 n2 '.labels == {"zone": "lab"}'
	kill "$ping"
	pings n2 "$n1"
	# Joining goes on, with numbers that nobody had.
	stop n3
	ginnel n3 down
	rm -rf "$LAB/n3/state"
	(umask 077 && ginnel n1 token create --name n3 >"$LAB/n3/token")
	ginnel n3 join --token-file "$LAB/n3/token" --name n3 --advertise 10.9.0.3 10.9.0.1
	start n3
	until_ok 15 pings n3 "$n2"
}

@test "a backup is made while the cluster is at work, and each restores" {
	cluster 2
	labels=()
	for i in 1 2 3 4 5; do
		ginnel n1 node label n2 "n=$i" 3>&- &
		labels+=("$!")
		ginnel n1 backup "$LAB/backup$i" || return 1
	done
	wait "${labels[@]}" # and not for the daemons
	stop n1
	for i in 1 3 5; do ginnel n1 restore "$LAB/backup$i" || return 1; done
	start n1
	until_ok 10 status_is n1 ready
	until_ok 15 peers_up n1 1
}

@test "restore refuses what would be lost by it, and changes nothing then" {
	cluster 1
	secret "$LAB/passphrase"
	ginnel n1 backup --with-ca --passphrase-file "$LAB/passphrase" "$LAB/backup"
	ginnel n1 backup "$LAB/plain"
	run --separate-stderr ginnel n1 restore "$LAB/backup"
	complains 1 "ginneld runs there" "$stderr"
	# Another cluster, of the same name.
	ginnel n2 init --cluster lab --name n1 --advertise 10.9.0.2
	run --separate-stderr ginnel n2 restore "$LAB/plain"
	complains 1 "another cluster's CA lies there" "$stderr"
	[ -e "$LAB/n2/state/node.json" ]
	start n2
	until_ok 10 status_is n2 ready
	# Without its key, and with a passphrase that is not its own.
	run --separate-stderr ginnel n3 restore "$LAB/plain"
	complains 1 "the backup holds none" "$stderr"
	secret "$LAB/other"
	echo another one of a good length >"$LAB/other"
	run --separate-stderr ginnel n3 restore --passphrase-file "$LAB/other" "$LAB/backup"
	complains 1 "does not open" "$stderr"
	# Cut, altered, none.
	head -c -1 "$LAB/backup" >"$LAB/cut"
	run --separate-stderr ginnel n3 restore --passphrase-file "$LAB/passphrase" "$LAB/cut"
	complains 1 "cut" "$stderr"
	printf x | dd of="$LAB/backup" bs=1 seek=3000 conv=notrunc status=none
	run --separate-stderr ginnel n3 restore --passphrase-file "$LAB/passphrase" "$LAB/backup"
	complains 1 "damaged" "$stderr"
	run --separate-stderr ginnel n3 restore "$LAB/passphrase"
	complains 1 "no backup" "$stderr"
	[ ! -e "$LAB/n3/state/node.json" ]
	[ ! -e "$LAB/n3/state/ca/ca.key" ]
	[ ! -e "$LAB/n3/state/restore.unfinished" ]
}

@test "backup refuses a passphrase that can be guessed or seen, and what it cannot write" {
	cluster 1
	(umask 077 && echo short >"$LAB/short")
	run --separate-stderr ginnel n1 backup --with-ca --passphrase-file "$LAB/short" "$LAB/b"
	complains 1 "too short" "$stderr"
	secret "$LAB/open"
	chmod 644 "$LAB/open"
	run --separate-stderr ginnel n1 backup --with-ca --passphrase-file "$LAB/open" "$LAB/b"
	complains 1 "group or others" "$stderr"
	run --separate-stderr ginnel n1 backup --passphrase-file "$LAB/short" "$LAB/b"
	complains 1 "without --with-ca" "$stderr"
	run --separate-stderr setsid -w ip netns exec "${LAB_P}n1" "$GINNEL_BIN/ginnel" --state "$LAB/n1/state" \
		--run "$LAB/n1/run" backup --with-ca "$LAB/b" </dev/null
	complains 1 "no terminal" "$stderr"
	run --separate-stderr ginnel n1 backup /nowhere/b
	complains 1 "No such file" "$stderr"
	run --separate-stderr ginnel n1 backup /dev/null
	complains 1 "no regular file" "$stderr"
	[ ! -e "$LAB/b" ]
	secret "$LAB/passphrase"
	ginnel n1 backup --with-ca --passphrase-file - "$LAB/b" <"$LAB/passphrase"
	run ! grep -qa 'PRIVATE KEY' "$LAB/b"
	stop n1
	run --separate-stderr ginnel n1 backup "$LAB/b"
	[ "$status" = 3 ]
}

@test "a restore that was killed is run again" {
	cluster 1
	ginnel n1 backup "$LAB/backup"
	stop n1
	for ms in 010 020 030 045 060 080 100 130; do
		on n1 timeout -s KILL "0.$ms" "$GINNEL_BIN/ginnel" --state "$LAB/n1/state" \
			--run "$LAB/n1/run" restore "$LAB/backup" >/dev/null 2>&1 || true
	done
	ginnel n1 restore "$LAB/backup"
	start n1
	until_ok 10 status_is n1 ready
	(umask 077 && ginnel n1 token create >"$LAB/token")
}
