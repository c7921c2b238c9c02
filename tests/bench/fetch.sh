#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# fetch.sh - the programs that ginnel is compared with, for run.sh; prints the folder they are in.
#
# They are Debian's, by default the newest there are (sid), and nothing of them is installed: the
# packages are unpacked, with the libraries they need and without running their scripts, into a
# folder that run.sh uses as a root. apt checks every file against the signed index; the mirror is
# the one this machine uses already. It takes some 60 MB and a minute once, then milliseconds.
#
# Environment:
#   BENCH_SUITE      sid; bookworm, trixie: the programs of that release, in a folder of their own
#   BENCH_REFRESH=1  anew
#   XDG_CACHE_HOME   the cache is ginnel/bench in it; default ~/.cache
set -euo pipefail

PACKAGES=(wireguard-go wireguard-tools nebula openvpn fastd ocserv openconnect strongswan-charon
	strongswan-swanctl libcharon-extra-plugins libstrongswan-standard-plugins
	iproute2 dash coreutils)

suite=${BENCH_SUITE:-sid}
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ginnel/bench
root=$cache/$suite
deps=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../deploy/deps" && pwd)/deps.sh
t=

say() { echo "bench: $*" >&2; }
die() {
	say "$*"
	exit 1
}
clean_up() { [ -z "$t" ] || rm -rf "$t"; }
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# What packages expect of a merged /usr, and what their scripts would have made.
make_root() { # FOLDER PACKAGE-FILE...
	local r=$1 d f
	shift
	mkdir -p "$r"/usr/{bin,sbin,lib,lib64} "$r"/{dev,proc,sys,run,tmp,etc,var}
	for d in bin sbin lib lib64; do ln -s "usr/$d" "$r/$d"; done
	ln -s /run "$r/var/run"
	for f in "$@"; do dpkg-deb -x "$f" "$r"; done
	[ -e "$r/usr/bin/sh" ] || ln -s dash "$r/usr/bin/sh"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$r/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$r/etc/group"
	rm -rf "$r"/usr/share/{doc,man,locale,info,i18n}
	# shellcheck disable=SC2016 # dpkg's variables, not the shell's
	for f in "$@"; do dpkg-deb -W --showformat='${Package} ${Version}\n' "$f"; done |
		awk -v want="${PACKAGES[*]}" '
			BEGIN { n = split(want, a); for (i = 1; i <= n; i++) wanted[a[i]] = 1 }
			$1 in wanted' >"$r/versions"
}

fetch() {
	local mirror key log
	local -a apt
	command -v apt-get >/dev/null || die "no apt here to fetch peers with"
	mirror=$("$deps" mirror)
	[ -n "$mirror" ] || die "apt's configuration names no Debian mirror"
	for key in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
		[ ! -f "$key" ] || break
	done
	t=$(mktemp -d "${TMPDIR:-/tmp}/ginnel-fetch.XXXXXX")
	chmod 755 "$t"
	log=$t/log
	# An index of its own, and no package counts as installed: every library is the suite's.
	mkdir -p "$t"/{lists,archives}/partial "$t/none"
	: >"$t/status"
	[ "$(id -u)" != 0 ] || chown _apt "$t"/{lists,archives} "$t"/{lists,archives}/partial
	echo "deb [signed-by=$key] $mirror $suite main" >"$t/sources.list"
	apt=(-qq -o "Dir::Etc::sourcelist=$t/sources.list" -o "Dir::Etc::sourceparts=$t/none"
		-o "Dir::Etc::preferencesparts=$t/none" -o "Dir::State::lists=$t/lists"
		-o "Dir::State::status=$t/status" -o "Dir::Cache=$t" -o Debug::NoLocking=1
		-o Acquire::Languages=none -o Acquire::Retries=3
		-o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
		-o Acquire::AllowInsecureRepositories=0 -o APT::Get::AllowUnauthenticated=0)
	say "fetching the peers' programs from Debian $suite, once"
	if ! { apt-get "${apt[@]}" update &&
		apt-get "${apt[@]}" -y install --download-only --no-install-recommends "${PACKAGES[@]}"; } >"$log" 2>&1; then
		tail -n 5 "$log" >&2
		die "could not fetch them from $mirror"
	fi
	make_root "$t/root" "$t"/archives/*.deb
	mkdir -p "$cache"
	rm -rf "$root"
	mv -T "$t/root" "$root"
}

[ -z "${BENCH_REFRESH:-}" ] || rm -rf "$root"
[ -e "$root/versions" ] || fetch
echo "$root"
