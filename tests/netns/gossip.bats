#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Revocation lists pass from node to node.
#
#     n1 manager ---- wire ---- n2, n3, n4
#
# With the manager gone, whoever knows tells whom it meets.

load lab

setup() { lab_up 4; }
teardown() { lab_down; }

# The whole host at once: nobody of it says goodbye.
burn() { # NODE
	local p
	for p in $(ip netns pids "$LAB_P$1"); do kill -KILL "$p"; done
	gone "$(pid_of "$1")" 10
}

@test "the manager is killed right after it answered node revoke: all others cut the node within 2 s" {
	cluster 4
	n2=$(address n2)
	until_ok 15 peers_up n2 3
	until_ok 15 peers_up n3 3
	until_ok 10 pings n3 "$n2"
	ginnel n1 node revoke n2
	burn n1
	until_ok 2 peer_is n3 n2 revoked
	until_ok 2 peer_is n4 n2 revoked
	run pings n3 "$n2"
	[ "$status" -ne 0 ]
}

@test "a node that was away refuses the revoked one as soon as it meets anyone who knows" {
	cluster 4
	n3=$(address n3) n2=$(address n2)
	until_ok 15 peers_up n4 3
	until_ok 10 pings n4 "$n2"
	stop n4
	stop n3
	ginnel n1 node revoke n2
	until_ok 2 peer_is n1 n2 revoked
	start n3
	until_ok 10 peer_is n3 n2 revoked
	number=$(list_number n3)
	burn n1
	# n4 comes back to n3, which knows, and n2, which would rather not say.
	start n4
	until_ok 15 peer_is n4 n2 revoked
	same_list n4 "$number"
	ginnel n4 --json status | jq -e '.list.age_s != null and .list.age_s < 20'
	until_ok 10 pings n4 "$n3"
	run pings n4 "$n2"
	[ "$status" -ne 0 ]
	grep -q 'revocations heard of.*n3' "$LAB/n4/log"
	# It is on its disk.
	burn n3
	stop n4
	start n4
	until_ok 10 peer_is n4 n2 revoked
}

# Into a ledger that nobody holds: of nodes that there never were.
revoked_before() { # NODE COUNT
	local i
	{
		echo "BEGIN;"
		for i in $(seq "$2"); do
			echo "INSERT INTO revocations VALUES (1, CAST('a-node-with-a-name-of-some-length-$i' AS BLOB), 1, strftime('%s', 'now') + 1000000);"
		done
		echo "UPDATE meta SET value = strftime('%s', 'now') + 5 WHERE key = 'list';"
		echo "COMMIT;"
	} | sqlite3 "$LAB/$1/state/ca/ledger.db" >"$LAB/sqlite.out"
	chown --reference="$LAB/$1/state/ca" "$LAB/$1/state/ca/"*
}

@test "a list of many entries passes whole over a path that loses every tenth packet" {
	cluster 3
	until_ok 15 peers_up n3 2
	stop n3
	stop n1
	revoked_before n1 1000
	start n1
	until_ok 10 status_is n1 ready
	until_ok 20 sh -c "[ \$(stat -c %s '$LAB/n2/state/engine/revoked.lists') -gt 50000 ]"
	number=$(list_number n1)
	burn n1
	on n3 nft -f - <<<'table ip lossy { chain in { type filter hook input priority -400;
		udp dport 4747 numgen random mod 10 == 0 drop;
	}; }'
	start n3
	until_ok 30 same_list n3 "$number"
	cmp "$LAB/n2/state/engine/revoked.lists" "$LAB/n3/state/engine/revoked.lists"
}
