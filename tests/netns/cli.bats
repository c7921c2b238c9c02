#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# bats file_tags=once
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
# The operator's tool without a daemon: what it prints, and how it exits. No namespace is needed.
# Texts stand in tests/golden/cli; GOLDEN_WRITE=1 writes them anew, and the diff is the review.
#
#   ginnel ── RUN/control ── a listener that says what a test wants to be answered

bats_require_minimum_version 1.5.0

setup() {
	GINNEL=${GINNEL_BIN:-build/bin}/ginnel
	top=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	dir=$(mktemp -d "${TMPDIR:-/tmp}/ginnel-cli.XXXXXX")
	export GINNEL_RUN=$dir/run GINNEL_STATE=$dir/state
	unset POSIXLY_CORRECT
	mkdir -m 0700 "$dir/run"
	listener=
}

teardown() {
	[ -z "$listener" ] || kill "$listener" 2>/dev/null || true
	rm -rf "$dir"
}

ginnel() { "$GINNEL" "$@"; }

# golden NAME: what the last run printed is what the file holds.
golden() {
	local file=$top/tests/golden/cli/$1
	[ -z "${GOLDEN_WRITE:-}" ] || printf '%s\n' "$output" >"$file"
	diff -u "$file" <(printf '%s\n' "$output")
}

# listen SOCKET ANSWER: answers each question so, and leaves it in $dir/question. An empty answer
# closes the connection; "silence" keeps it open.
listen() {
	perl -MIO::Socket::UNIX -e '
		my ($path, $answer, $ask) = @ARGV;
		my $s = IO::Socket::UNIX->new(Local => $path, Listen => 5) or die "$path: $!";
		open(my $ready, ">", "$ask.ready");
		close $ready;
		while (my $c = $s->accept) {
			my $line = <$c>;
			open(my $f, ">", $ask); print $f $line; close $f;
			if ($answer eq "silence") { sleep 60; }
			print $c $answer;
			close $c;
		}' "$dir/run/$1" "$2" "$dir/question" 3>&- &
	listener=$!
	for _ in $(seq 100); do
		[ ! -e "$dir/question.ready" ] || return 0
		sleep 0.05
	done
	return 1
}

# says TEXT: the one line on stderr, whole.
says() {
	[ "$output" = "ginnel: $1" ] || {
		printf 'wanted: ginnel: %s\ngot:    %s\n' "$1" "$output"
		return 1
	}
}

# -- command line ------------------------------------------------------------------------------

@test "help is on stdout and says what there is" {
	run -0 ginnel --help
	golden help.txt
	help=$output
	for words in help "help --json" -h "--json --help"; do
		# shellcheck disable=SC2086
		run -0 ginnel $words
		[ "$output" = "$help" ]
	done
}

@test "without a command the help is on stderr, and exit is 2" {
	run -2 --separate-stderr ginnel
	[ -z "$output" ]
	[[ $stderr == "ginnel - "* ]]
}

@test "each command has a help of its own, asked for in any way" {
	run -0 ginnel config check --help
	golden help-config-check.txt
	help=$output
	for words in "help config check" "config --help" "help config" "--help config check" \
		"config check -h" "config check --json --help F"; do
		# shellcheck disable=SC2086
		run -0 ginnel $words
		[ "$output" = "$help" ]
	done
	run -2 ginnel help nothing
	says 'nothing: unknown command; see ginnel help'
}

@test "every command that help lists has a help" {
	run -0 ginnel --help
	commands=$(sed -n '/^Commands:/,/^$/ s/^  \([a-z]*\( [a-z][a-z]*\)\?\)  .*/\1/p' <<<"$output")
	[ "$(wc -l <<<"$commands")" -ge 5 ]
	while IFS= read -r words; do
		# shellcheck disable=SC2086
		run -0 ginnel $words --help
		[[ $output == "ginnel $words - "* ]]
	done <<<"$commands"
}

@test "an unknown command or option is exit 2, and the nearest one is named" {
	run -2 ginnel stauts
	says 'stauts: unknown command; did you mean "status"?'
	run -2 ginnel Peers
	says 'Peers: unknown command; did you mean "peers"?'
	run -2 ginnel encrypt
	says 'encrypt: unknown command; see ginnel help'
	run -2 ginnel config chek
	says 'config chek: unknown command; did you mean "config check"?'
	run -2 ginnel --jsn status
	says '--jsn: unknown option; did you mean "--json"?'
	run -2 ginnel status --runs=/x
	says '--runs: unknown option; did you mean "--run"?'
	run -2 ginnel status --insecure
	says '--insecure: unknown option; see ginnel help status'
	run -2 ginnel status -v
	says '-v: unknown option; see ginnel help status'
	run -2 ginnel -xyz
	says '-x: unknown option; see ginnel --help'
}

@test "the beginning of an option is no option" {
	run -2 ginnel status --js
	says '--js: unknown option; see ginnel help status'
	run -2 ginnel --stat /x status
	says '--stat: unknown option; did you mean "--state"?'
}

@test "half a command is no command" {
	run -2 ginnel token
	says 'token: needs one of create, list, revoke; see its help with --help'
	run -2 ginnel token --ttl 1h
	says 'token: needs one of create, list, revoke; see its help with --help'
	run -0 ginnel token --help
	[ "$(grep -c ^Usage: <<<"$output")" = 3 ]
}

@test "what else is wrong with a command line is exit 1" {
	run -1 ginnel join
	says 'join: needs MANAGER[:PORT]; see its help with --help'
	run -1 ginnel init --name a --name b
	says '--name: given twice; give it once'
	run -1 ginnel config check
	says 'config check: needs F; see its help with --help'
	run -1 ginnel status now
	says 'status: takes no argument; see its help with --help'
	run -1 ginnel config check a b
	says 'config check: takes only F; see its help with --help'
	run -1 ginnel status --run
	says '--run: needs a value; see its help with --help'
	run -1 ginnel status --json=yes
	says '--json: takes no value; leave the value out'
	run -1 ginnel --run /a status --run /b
	says '--run: given twice; give it once'
	run -1 ginnel --state= status
	says '--state: is empty; give it a name, or leave it out'
}

@test "options stand before or after the command, and end at --" {
	for words in "--json version" "version --json" "--run=/x version --json" \
		"--run /x --json version --state /y"; do
		# shellcheck disable=SC2086
		run -0 ginnel $words
		[ "$(jq -r .kex <<<"$output")" = X25519MLKEM768 ]
	done
	run -1 ginnel version -- --json
	says 'version: takes no argument; see its help with --help'
	export POSIXLY_CORRECT=1
	cp "$top/tests/golden/config/minimal.yaml" "$dir/f"
	run -0 ginnel config check "$dir/f" --json
	[ "$(jq -r .ok <<<"$output")" = true ]
}

@test "a stdout that takes nothing is no success" {
	run -1 bash -c '"$0" version >/dev/full' "$GINNEL"
	says 'stdout: No space left on device; make room, or print elsewhere'
}

# -- version -----------------------------------------------------------------------------------

@test "version needs no ginneld" {
	run -0 ginnel version --json
	[ "$(jq -r 'keys_unsorted | join(" ")' <<<"$output")" = "ginnel wolfssl aead kex kernel" ]
	[ "$(jq -r .kernel <<<"$output")" = "$(uname -r)" ]
	[[ $(jq -r .wolfssl <<<"$output") =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]]
	run -0 ginnel version
	[[ $output == *"kernel   $(uname -r)"* ]]
}

# -- config check ------------------------------------------------------------------------------

@test "config check says ok, or every fault with its place" {
	printf 'name: n1\n' >"$dir/good.yaml"
	run -0 --separate-stderr ginnel config check "$dir/good.yaml"
	[ "$output" = "$dir/good.yaml: ok" ]
	[ -z "$stderr" ]
	printf 'nmae: n1\n\nport: "70000"\n' >"$dir/bad.yaml"
	run -1 --separate-stderr ginnel config check "$dir/bad.yaml"
	[ -z "$output" ]
	[ "${stderr_lines[0]}" = "$dir/bad.yaml:1:1: nmae: unknown key; did you mean \"name\"?" ]
	[ "${stderr_lines[1]}" = "$dir/bad.yaml:3:7: port: \"70000\" is not 1 to 65535; leave it out to use 4747" ]
	[ "${#stderr_lines[@]}" = 2 ]
	run -1 --separate-stderr ginnel config check --json "$dir/bad.yaml"
	[ "$(jq -r '.ok, (.faults | length)' <<<"$output" | xargs)" = "false 2" ]
}

@test "config check names a file that is not there, or is none" {
	run -1 ginnel config check "$dir/none.yaml"
	[ "$output" = "$dir/none.yaml: cannot be read: No such file or directory; name a file that is there and readable" ]
	run -1 ginnel config check "$dir"
	[ "$output" = "$dir: is no regular file; name one that is" ]
}

# -- policy ------------------------------------------------------------------------------------

policy() { # FILE: allows web to db, and no more
	cat >"$1" <<-'END'
		version: 1
		default: deny
		placement:
		  - {workloads: {app: web}, only-on: {zone: front}}
		rules:
		  - {name: web-to-db, from: {app: web}, to: {app: db}, ports: [5432/tcp], action: allow}
	END
}

@test "policy check says ok, or every fault with its place" {
	policy "$dir/good.yaml"
	run -0 --separate-stderr ginnel policy check "$dir/good.yaml"
	[ "$output" = "$dir/good.yaml: ok, 1 rule" ]
	[ -z "$stderr" ]
	cp "$top/tests/golden/policy/ports.yaml" "$dir/bad.yaml"
	run -1 --separate-stderr ginnel policy check "$dir/bad.yaml"
	[ -z "$output" ]
	[ "${stderr_lines[0]}" = "$dir/bad.yaml:4:41: rules.ports: \"5432\" names no protocol; write it like 5432/tcp or 5432/udp" ]
	[ "${stderr_lines[2]}" = "$dir/bad.yaml:6:41: rules.ports: \"70000/tcp\" is not of 1 to 65535; write a port like 5432/tcp or a range like 8000-8100/udp" ]
	run -1 --separate-stderr ginnel policy check --json "$dir/bad.yaml"
	[ "$(jq -r '.ok, .rules, (.faults | length > 10), (.warnings | length)' <<<"$output" | xargs)" = "false null true 0" ]
	[ -z "$stderr" ]
	run -0 --separate-stderr ginnel --json policy check "$dir/good.yaml"
	[ "$(jq -rc '[.file, .ok, .rules, .faults, .warnings]' <<<"$output")" = "[\"$dir/good.yaml\",true,1,[],[]]" ]
}

@test "policy check warns, and takes the policy all the same" {
	cp "$top/tests/golden/policy/unreachable.yaml" "$dir/p.yaml"
	run -0 --separate-stderr ginnel policy check "$dir/p.yaml"
	[[ $output == "$dir/p.yaml: ok, 11 rules, "*" warnings" ]]
	[ "${stderr_lines[0]}" = "$dir/p.yaml:5:5: warning: rules: \"web-again\" never matches: \"web\" of line 4 comes before it; move it up or take it out" ]
	run -0 --separate-stderr ginnel policy check --json "$dir/p.yaml"
	[ "$(jq -r '.ok, .rules, (.faults | length), (.warnings[0] | test("web-again"))' <<<"$output" | xargs)" = "true 11 0 true" ]
}

@test "policy check names a file that is not there, or is none" {
	run -1 ginnel policy check "$dir/none.yaml"
	[ "$output" = "$dir/none.yaml: cannot be read: No such file or directory; name a file that is there and readable" ]
	run -1 ginnel policy check "$dir"
	[ "$output" = "$dir: is no regular file; name one that is" ]
	: >"$dir/empty.yaml"
	run -1 ginnel policy check "$dir/empty.yaml"
	[ "$output" = "$dir/empty.yaml:1:1: is empty; a policy has at least version: 1 and a default" ]
	run -1 ginnel policy check
	says "policy check: needs F; see its help with --help"
	run -2 ginnel policy chekc "$dir/empty.yaml"
	says 'policy chekc: unknown command; did you mean "policy check"?'
}

@test "policy check ends soon, whatever the file is" {
	yes -- '- [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[' | head -c 8000000 >"$dir/deep.yaml"
	run -1 timeout 60 "$GINNEL" policy check "$dir/deep.yaml"
	[[ $output == "$dir/deep.yaml:1:1: file: a mapping is wanted here"* ]]
	{ printf 'version: 1\nrules: &a [x]\n'; yes 'k: [*a,*a,*a,*a]' | head -c 4000000; } >"$dir/bomb.yaml"
	run -1 timeout 60 "$GINNEL" policy check "$dir/bomb.yaml"
	[[ $output == *"and "*" more" ]]
	head -c 20000000 /dev/zero >"$dir/zero.yaml"
	run -1 timeout 60 "$GINNEL" policy check "$dir/zero.yaml"
	[ "$output" = "$dir/zero.yaml:1:1: is larger than 16 MiB; no policy is" ]
	{
		printf 'version: 1\ndefault: deny\nrules:\n'
		seq 100000 | sed 's/.*/- {name: r&, from: {node.app: a&}, to: {app: b}, action: allow}/'
	} >"$dir/many.yaml"
	run -0 timeout 60 "$GINNEL" policy check "$dir/many.yaml"
}

@test "policy test says which cases fail, and why" {
	policy "$dir/p.yaml"
	cp "$dir/p.yaml" "$dir/both.yaml"
	cat >>"$dir/both.yaml" <<-'END'
		cases:
		  - {from: {app: web}, to: {app: db}, port: 5432/tcp, expect: allow}
		  - {from: {app: api}, to: {app: db}, expect: deny}
	END
	run -0 --separate-stderr ginnel policy test "$dir/both.yaml"
	[ "$output" = "$dir/both.yaml: 2 cases, 0 failed" ]
	[ -z "$stderr" ]
	run -0 ginnel policy check "$dir/both.yaml"
	mkdir "$dir/tests"
	cat >"$dir/tests/t.yaml" <<-'END'
		policy: ../p.yaml
		cases:
		  - {from: {app: web}, to: {app: db}, port: 5433/tcp, expect: deny}
		  - {name: shut, from: {app: web}, to: {app: db, env: prod}, expect: deny}
		  - {from: {app: web}, to: {node: n1}, port: 22/tcp, expect: allow}
	END
	run -1 --separate-stderr ginnel policy test "$dir/tests/t.yaml"
	[ "$output" = "$dir/tests/t.yaml: 3 cases, 2 failed" ]
	[ "${stderr_lines[0]}" = "$dir/tests/t.yaml:4:5: shut: {app: web} to {app: db, env: prod} 5432/tcp: expected deny, but \"web-to-db\" says allow" ]
	[ "${stderr_lines[1]}" = "$dir/tests/t.yaml:5:5: {app: web} to {node: n1} 22/tcp: expected allow, but \"container-to-node\" says deny" ]
	run -1 --separate-stderr ginnel policy test --json "$dir/tests/t.yaml"
	[ -z "$stderr" ]
	[ "$(jq -rc '[.ok, .policy == "'"$dir"'/tests/../p.yaml", (.faults | length), [.cases[].ok]]' <<<"$output")" = "[false,true,0,[true,false,false]]" ]
	[ "$(jq -rc '.cases[1] | [.name, .line, .from, .to, .port, .expect, .verdict, .rule]' <<<"$output")" = '["shut",4,"{app: web}","{app: db, env: prod}","5432/tcp","deny","allow","web-to-db"]' ]
}

@test "policy test says what is wrong with either file" {
	printf 'policy: p.yaml\ncases:\n- {from: {}, to: {}, port: 80, expect: deny}\n' >"$dir/t.yaml"
	run -1 --separate-stderr ginnel policy test "$dir/t.yaml"
	[ "$stderr" = "$dir/t.yaml:3:28: cases.port: \"80\" names no protocol; write it like 5432/tcp or 5432/udp" ]
	sed -i 's/80/80\/tcp/' "$dir/t.yaml"
	run -1 --separate-stderr ginnel policy test "$dir/t.yaml"
	[ "$stderr" = "$dir/p.yaml: cannot be read: No such file or directory; name a file that is there and readable" ]
	printf 'version: 1\ndefault: denny\n' >"$dir/p.yaml"
	run -1 --separate-stderr ginnel policy test --json "$dir/t.yaml"
	[ "$(jq -rc '[.ok, .policy, .cases, .faults]' <<<"$output")" = "[false,\"$dir/p.yaml\",[],[\"$dir/p.yaml:2:10: default: \\\"denny\\\" is not known; write allow or deny\"]]" ]
}

@test "config check reads the identity too" {
	printf 'identity: {cert: n.pem, key: n.key, ca: ca.pem}\nprefixes: [10.77.1.0/24]\n' >"$dir/f.yaml"
	run -1 ginnel config check "$dir/f.yaml"
	says "$dir/n.key: is not there; check identity in the config"
	printf 'no key\n' >"$dir/n.key"
	chmod 644 "$dir/n.key"
	run -1 ginnel config check "$dir/f.yaml"
	says "$dir/n.key: group or others can read it, or it belongs to someone else; chown it to root and chmod 600 it"
	chmod 600 "$dir/n.key"
	run -1 ginnel config check "$dir/f.yaml"
	says "$dir/n.key: cannot be parsed as an unencrypted PEM key; check identity in the config"
}

# A certificate as somebody else's PKI makes it: no extension of ours.
pki() { # NAME ROOT
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
		-keyout "$dir/$1.key" -out "$dir/$1.csr" 2>/dev/null
	printf '%s\n' 'basicConstraints=critical,CA:FALSE' 'keyUsage=critical,digitalSignature' \
		'extendedKeyUsage=clientAuth,serverAuth' "subjectAltName=URI:spiffe://lab/node/$1" >"$dir/ext"
	openssl x509 -req -in "$dir/$1.csr" -CA "$dir/$2.pem" -CAkey "$dir/$2.key" -CAcreateserial \
		-days 7 -extfile "$dir/ext" -out "$dir/$1.pem" 2>/dev/null
	chmod 600 "$dir/$1.key"
}
root() { # NAME
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -days 30 \
		-addext 'keyUsage=critical,keyCertSign,cRLSign' \
		-keyout "$dir/$1.key" -out "$dir/$1.pem" 2>/dev/null
}

@test "config check takes an identity of somebody else's PKI, and knows which file is wrong" {
	root ca
	pki n1 ca
	pki n2 ca
	cat >"$dir/f.yaml" <<-END
		identity: {cert: n1.pem, key: n1.key, ca: ca.pem}
		prefixes: [10.77.1.0/24]
		peers: [{name: n2, endpoints: [10.9.0.2], prefixes: [10.77.2.0/24]}]
	END
	run -0 ginnel config check "$dir/f.yaml"
	[ "$output" = "$dir/f.yaml: ok" ]
	cd "$dir"
	run -0 "$top/${GINNEL#"$top/"}" config check f.yaml
	[ "$output" = "f.yaml: ok" ]
	cd "$top"
	sed -i 's/n1.key/n2.key/' "$dir/f.yaml"
	run -1 ginnel config check "$dir/f.yaml"
	says "$dir/n2.key: is not the key of $dir/n1.pem; put files together that belong together"
	sed -i 's/n2.key/n1.key/; s/name: n2/name: n1/' "$dir/f.yaml"
	run -1 ginnel config check "$dir/f.yaml"
	says "peers: \"n1\" is the name in this node's own certificate; a peer is another one"
	sed -i 's/name: n1/name: n2/; 1i name: n7' "$dir/f.yaml"
	run -1 ginnel config check "$dir/f.yaml"
	says 'name: the config says "n7", the certificate "n1"; correct one, or leave name out'
	sed -i 1d "$dir/f.yaml"
	root stranger
	sed -i 's/ca: ca.pem/ca: stranger.pem/' "$dir/f.yaml"
	run -1 ginnel config check "$dir/f.yaml"
	says "$dir/n1.pem: was not issued by the CA in $dir/stranger.pem; put files together that belong together"
}

# -- a ginneld that does not answer ------------------------------------------------------------

@test "no ginneld is exit 3, and what to do is said" {
	for command in status peers routes; do
		run -3 --separate-stderr ginnel $command --json
		[ -z "$output" ]
		[ "$stderr" = "ginnel: ginneld is not reachable at $dir/run/control: No such file or directory; start it with: systemctl start ginneld, or name its run folder with --run" ]
	done
	run -3 ginnel status --run "$dir/nowhere"
	[[ $output == *"$dir/nowhere/control: No such file or directory;"* ]]
}

@test "a socket that nobody listens on any more is exit 3" {
	listen control '{}'
	kill "$listener"
	wait "$listener" || true
	run -3 ginnel status
	[[ $output == *"$dir/run/control: Connection refused;"* ]]
}

@test "an empty answer is exit 3, a senseless one exit 1" {
	listen control ''
	run -3 ginnel peers
	[[ $output == *"it closed the connection without an answer;"* ]]
	kill "$listener"
	rm "$dir/run/control"
	for answer in 'nonsense' '{"state":' '{"a":1,"a":2}' '[]]'; do
		rm -f "$dir/run/control" "$dir/question.ready"
		listen control "$answer"$'\n'
		run -1 ginnel status
		says "$dir/run/control: the answer cannot be read; use a ginnel of the same version as ginneld"
		kill "$listener"
	done
}

@test "an answer that never comes is exit 3 within its time" {
	listen control silence
	start=$SECONDS
	run -3 ginnel status
	[[ $output == *"it did not answer within 10 s;"* ]]
	[ $((SECONDS - start)) -le 13 ]
}

@test "an endless answer is exit 1" {
	perl -MIO::Socket::UNIX -e '
		$SIG{PIPE} = "IGNORE";
		my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 5) or die;
		my $c = $s->accept;
		while (print $c "x" x 65536) {}' "$dir/run/control" 3>&- &
	listener=$!
	for _ in $(seq 100); do
		[ ! -S "$dir/run/control" ] || break
		sleep 0.05
	done
	run -1 ginnel status
	[[ $output == *"the answer is too long;"* ]]
}

@test "a refusal is told as it was said, and is exit 1" {
	listen control '{"error":"status: you are nobody; ask root"}'$'\n'
	run -1 ginnel status
	says 'status: you are nobody; ask root'
}

@test "a path that no socket can have is named" {
	run -1 ginnel status --run "/$(printf 'r%.0s' $(seq 200))"
	[[ $output == *"File name too long;"* ]]
}

# -- a ginneld that does -----------------------------------------------------------------------

peers='[{"name":"n2","state":"up","state_since":"2020-01-01T00:00:00Z","last_error":null,
"transport":"dtls","fallback_reason":null,"endpoint":"10.9.0.2:4747","lanes":1,
"kex":"X25519MLKEM768","cipher":"AES-128-GCM","rtt_us":210,"pmtu":1500,"rx_bytes":1536,
"tx_bytes":24696061952,"rx_packets":12,"tx_packets":9,"cert_not_after":"2030-01-01T00:00:00Z",
"labels":{},"prefixes":["10.77.2.0/24"]},
{"name":"n3","state":"down","state_since":null,"last_error":"revoked\u001b[2J","transport":null,
"fallback_reason":null,"endpoint":null,"lanes":0,"kex":null,"cipher":null,"rtt_us":null,"pmtu":null,
"rx_bytes":null,"tx_bytes":null,"rx_packets":null,"tx_packets":null,"cert_not_after":null,
"labels":{},"prefixes":[]}]'
document='{"cluster":"demo","node":"n1","role":"manager","version":"0.1.0","state":"STATE","reasons":REASONS,
"device":"ginnel0","address":"10.77.1.1/24","address6":null,"prefixes":["10.77.1.0/24"],"mtu":1420,
"policy_version":null,"manager":{"name":"n1","reachable":true,"since":"2020-01-01T00:00:00Z"},
"cert":{"not_after":"2020-01-01T00:00:00Z","serial":"00c0ffee"},"list":{"number":3,"age_s":12},
"peers":PEERS,"drops":{"no-route":7,"malformed":0,"made-up":1}}'

# status_is STATE REASONS: listens with such a status.
status_is() {
	local text=${document/STATE/$1}
	text=${text/REASONS/$2}
	listen control "$(tr -d '\n' <<<"${text/PEERS/$peers}")"$'\n'
}

# Ages grow: they stand as N in the golden text.
ageless() { sed -E 's/[0-9]{3,}d/Nd/g' <<<"$output"; }

@test "status of a ready node is exit 0, for people and for programs" {
	status_is ready '[]'
	run -0 ginnel status
	output=$(ageless)
	golden status.txt
	[ "$(cat "$dir/question")" = '{"cmd":"status"}' ]
	run -0 ginnel status --json
	[ "$(jq -r '.state, .peers[0].kex, .policy_version' <<<"$output" | xargs)" = "ready X25519MLKEM768 null" ]
}

@test "status of a degraded or starting node is exit 4, with the reasons" {
	status_is degraded '["peer n3 is not up","own certificate past 80 %"]'
	run -4 ginnel status
	[[ $output == *"state        degraded"*"because      peer n3 is not up"*"own certificate past 80 %"* ]]
	run -4 ginnel status --json
	[ "$(jq -r .state <<<"$output")" = degraded ]
	kill "$listener"
	rm -f "$dir/run/control" "$dir/question.ready"
	status_is starting '[]'
	run -4 ginnel status
	[[ $output == *"state        starting"* ]]
}

@test "a peer cannot drive the terminal" {
	status_is ready '[]'
	run -0 ginnel status
	[[ $output != *$'\e'* ]]
	[[ $output == *'revoked?[2J'* ]]
}

@test "peers is the array alone with --json, and a table without" {
	listen control "$(tr -d '\n' <<<"$peers")"$'\n'
	run -0 ginnel peers
	output=$(ageless)
	golden peers.txt
	[ "$(cat "$dir/question")" = '{"cmd":"peers"}' ]
	run -0 ginnel --json peers
	[ "$(jq -r 'length, .[1].rtt_us' <<<"$output" | xargs)" = "2 null" ]
}

@test "no peers, no routes: said, not left empty" {
	listen control '[]'$'\n'
	run -0 ginnel peers
	[ "$output" = "no peers" ]
	run -0 ginnel routes
	[ "$output" = "no routes" ]
}

@test "routes is a table" {
	listen control '[{"prefix":"10.77.1.0/24","via":"local","source":"config"},{"prefix":"10.77.2.0/24","via":"n2","source":"registry"}]'$'\n'
	run -0 ginnel routes
	golden routes.txt
}

# -- completion --------------------------------------------------------------------------------

# complete_line WORD...: what bash would offer for the last word.
complete_line() {
	COMP_WORDS=("$GINNEL" "$@")
	COMP_CWORD=$#
	_ginnel
	output=${COMPREPLY[*]-}
}

@test "completion offers the commands and options that help knows" {
	# shellcheck source=/dev/null
	. "$top/deploy/completion/ginnel.bash"
	complete_line sta
	[ "$output" = status ]
	complete_line --json pe
	[ "$output" = peers ]
	complete_line --run /x config ''
	[ "$output" = check ]
	complete_line status --j
	[ "$output" = --json ]
	complete_line --st
	[ "$output" = --state ]
	complete_line help rou
	[ "$output" = routes ]
	complete_line config check "$top/LICEN"
	[ "$output" = "$top/LICENSE" ]
	complete_line status ''
	[ -z "$output" ]
}
