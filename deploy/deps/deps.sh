#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# deps.sh - everything ginnel is built from: Debian packages and wolfSSL.
#
#   deps.sh           install and build what is missing; prints wolfSSL's prefix
#   deps.sh packages  the packages alone
#   deps.sh wolfssl   wolfSSL alone; prints its prefix
#   deps.sh tarball   fetch and verify wolfSSL's source; prints its path
#   deps.sh mirror    prints the Debian mirror that this machine uses
#
# Only the prefix or path goes to stdout; words go to stderr. When all is there it takes a
# few milliseconds, so the Makefile asks every time.
#
# wolfSSL comes as source from Debian sid: its signed InRelease names the hash of the Sources
# index, which names the hash of the upstream tarball, and apt checks that chain with the
# archive keyring. The mirror is the one this machine uses already. What is built lies in the
# cache, one folder for each (source, settings, script, compiler, flags).
#
# Environment:
#   WOLFSSL_PREFIX   an installed wolfSSL with our settings: checked, then used as it is
#   WOLFSSL_TARBALL  the source, already here
#   WOLFSSL_SHA256   its hash, if it is not the pinned version
#   WOLFSSL_CC, WOLFSSL_CFLAGS, PORTABLE   see crypto/wolfssl/build.sh
#   DEPS=no          look for no package: for systems that are not Debian
#   XDG_CACHE_HOME   the cache is ginnel/ in it; default ~/.cache
set -euo pipefail

# The version we looked at, and what its file must hash to, whoever serves it. A newer one
# is used if sid has moved on and crypto/wolfssl/check.c passes with it.
PIN_VERSION=5.9.2
PIN_SHA256=2f4ef3d4fd387a9b3191d36a6316d69116c46ff69bb9583b6c82b36d7b8ca114

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
wolf=$(cd "$here/../../crypto/wolfssl" && pwd)
list=$here/debian.txt
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ginnel
policy=/usr/sbin/policy-rc.d
mark='installed by ginnel deps'
work=()

say() { echo "deps: $*" >&2; }
die() {
	say "$*"
	exit 1
}
hash_of() { sha256sum "$1" | cut -d' ' -f1; }
clean_up() { [ "${#work[@]}" = 0 ] || rm -rf "${work[@]}"; }
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Packages

missing_packages() {
	local -a want
	mapfile -t want < <(awk -v here="$(dpkg --print-architecture)" \
		'!/^#/ && NF && (NF == 1 || $2 == here) { print $1 }' "$list")
	# One query for all: names that are installed are taken off the wanted ones.
	{
		dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${want[@]}" 2>/dev/null || true
		printf 'want %s\n' "${want[@]}"
	} | awk '$1 == "installed" { have[$2] = 1 } $1 == "want" && !($2 in have) { print $2 }'
}

# invoke-rc.d asks policy-rc.d, and 101 means "do not start it". One that was there before is
# put back, also after an interruption; one that an earlier run was killed over is known by its
# mark, and the next run takes it away. There is no moment without one.
put_back_policy() {
	if [ -e "$policy.before-ginnel" ]; then
		mv -f "$policy.before-ginnel" "$policy"
	elif grep -qs "$mark" "$policy"; then
		rm -f "$policy"
	fi
}

# Runs as root, in a process of its own; one at a time, or the first to end would let the
# other's packages start services.
install_as_root() { # [PACKAGE...]
	exec 9>/run/lock/ginnel-deps
	flock 9
	put_back_policy
	[ $# -gt 0 ] || return 0
	trap put_back_policy EXIT
	if [ -e "$policy" ]; then
		cp -a "$policy" "$policy.before-ginnel"
	fi
	printf '#!/bin/sh\n# %s: packages being installed start no service\nexit 101\n' "$mark" \
		>"$policy.new"
	chmod 755 "$policy.new"
	mv "$policy.new" "$policy"
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq -o DPkg::Lock::Timeout=300 update >&2 9>&- ||
		say "apt-get update failed; trying with the lists that are here"
	apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install \
		--no-install-recommends "$@" </dev/null >&2 9>&-
}

as_root() { # ARGUMENT...: this script, as root
	if [ "$(id -u)" = 0 ]; then
		bash "${BASH_SOURCE[0]}" "$@"
	else
		sudo bash "${BASH_SOURCE[0]}" "$@"
	fi
}

packages() {
	local -a missing
	[ "${DEPS:-}" != no ] || return 0
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		die "no apt here: install what ${list#"$PWD/"} lists in this system's way," \
			"then add DEPS=no to the command"
	fi
	mapfile -t missing < <(missing_packages)
	if [ "${#missing[@]}" = 0 ]; then
		if grep -qs "$mark" "$policy"; then
			as_root install-as-root || say "could not remove $policy, left by a run that was killed"
		fi
		return 0
	fi
	if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
		die "packages are missing and there is no sudo; as root:" \
			"apt-get install --no-install-recommends ${missing[*]}"
	fi
	say "installing ${#missing[@]} packages: ${missing[*]}"
	as_root install-as-root "${missing[@]}" ||
		die "apt-get could not install them: see its message above; then run make deps again"
	mapfile -t missing < <(missing_packages)
	[ "${#missing[@]}" = 0 ] || die "still not installed: ${missing[*]}"
}

# wolfSSL's source

find_mirror() {
	local m
	# apt's own view first; the files for images whose package lists were emptied.
	# shellcheck disable=SC2016 # apt-get's variables, not the shell's
	m=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(SITE)' 2>/dev/null |
		awk -F'|' '$1 == "Debian" && $2 == "Debian" { print $3; exit }') || true
	if [ -z "$m" ]; then
		m=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
			awk '/^[ \t]*(deb[ \t]|URIs:)/ {
				for (i = 2; i <= NF; i++)
					if ($i ~ /^[a-z+]+:\/\/.*\/debian\/?$/) { print $i; exit }
			}') || true
	fi
	echo "$m"
}

# Downloads the source into the cache. FILE.ok beside it says that its hash is the signed
# index's or the pin, so that later runs need not read the whole file.
fetch() {
	local mirror key t answer uri file hash version
	local -a apt
	command -v apt-get >/dev/null || die "no apt here to fetch wolfSSL with: give" \
		"WOLFSSL_TARBALL=FILE (wolfSSL $PIN_VERSION) or WOLFSSL_PREFIX=DIR"
	mirror=$(find_mirror)
	[ -n "$mirror" ] || die "apt's configuration names no Debian mirror: give" \
		"WOLFSSL_TARBALL=FILE (wolfSSL $PIN_VERSION)"
	for key in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
		[ ! -f "$key" ] || break
	done
	[ -f "$key" ] || die "no Debian archive keyring: apt-get install debian-archive-keyring"

	# Lists and cache of its own: no root is needed, and the system's apt sees no sid. Not in
	# the home directory, where apt's download user may not look.
	t=$(mktemp -d "${TMPDIR:-/tmp}/ginnel-fetch.XXXXXX")
	work+=("$t")
	chmod 755 "$t"
	mkdir -p "$t"/{lists,archives}/partial "$t/none"
	[ "$(id -u)" != 0 ] || chown _apt "$t"/{lists,archives}/partial "$t"/{lists,archives}
	echo "deb-src [signed-by=$key] $mirror sid main" >"$t/sources.list"
	apt=(-qq -o "Dir::Etc::sourcelist=$t/sources.list" -o "Dir::Etc::sourceparts=$t/none"
		-o "Dir::State::lists=$t/lists" -o "Dir::Cache=$t" -o Dir::State::status=/dev/null
		-o Debug::NoLocking=1 -o Acquire::Languages=none -o Acquire::Retries=3
		-o Acquire::AllowInsecureRepositories=0 -o APT::Get::AllowUnauthenticated=0)
	say "reading Debian sid's signed source index"
	apt-get "${apt[@]}" update >&2 || die "could not read sid's index from $mirror: try again," \
		"or give WOLFSSL_TARBALL=FILE (wolfSSL $PIN_VERSION)"
	answer=$(apt-get "${apt[@]}" source --print-uris --tar-only wolfssl |
		grep "\.orig\.tar\.[a-z0-9]*' " || true)
	# 'URI' FILE SIZE SHA256:HASH, and exactly one of it
	[ "$(grep -c . <<<"$answer")" = 1 ] || die "unexpected answer from apt: \"$answer\""
	read -r uri file _ hash <<<"$answer"
	uri=${uri//\'/} hash=${hash#SHA256:}
	[[ $hash =~ ^[0-9a-f]{64}$ ]] || die "sid's index has no SHA-256 for $file"
	version=${file#wolfssl_} version=${version%.orig.tar.*}
	dpkg --compare-versions "$version" ge "$PIN_VERSION" ||
		die "sid has wolfSSL $version, but $PIN_VERSION is needed: give WOLFSSL_TARBALL=FILE"
	if [ "$version" = "$PIN_VERSION" ] && [ "$hash" != "$PIN_SHA256" ]; then
		die "sid's wolfSSL $version hashes to $hash instead of $PIN_SHA256: do not use it, report it"
	fi
	[ "$version" = "$PIN_VERSION" ] || say "sid has wolfSSL $version, newer than $PIN_VERSION"
	say "downloading $file"
	mkdir "$t/file"
	[ "$(id -u)" != 0 ] || chown _apt "$t/file"
	/usr/lib/apt/apt-helper download-file "$uri" "$t/file/$file" "SHA256:$hash" >&2 ||
		die "download of $file failed: try again"
	[ "$(hash_of "$t/file/$file")" = "$hash" ] || die "$file does not hash to $hash"
	cp "$t/file/$file" "$cache/.$file.$$"
	mv "$cache/.$file.$$" "$cache/$file"
	echo "$hash" >"$cache/$file.ok"
	tarball=$cache/$file tarball_hash=$hash
}

# Sets tarball and tarball_hash.
find_source() {
	local f want
	if [ -n "${WOLFSSL_TARBALL:-}" ]; then
		[ -f "$WOLFSSL_TARBALL" ] || die "WOLFSSL_TARBALL: no file $WOLFSSL_TARBALL"
		want=${WOLFSSL_SHA256:-$PIN_SHA256}
		tarball=$WOLFSSL_TARBALL tarball_hash=$(hash_of "$WOLFSSL_TARBALL")
		[ "$tarball_hash" = "$want" ] || die "$tarball hashes to $tarball_hash instead of" \
			"$want (wolfSSL $PIN_VERSION): name another version's hash by WOLFSSL_SHA256"
		# Kept, so that it need not be named each time.
		f=$cache/wolfssl_$PIN_VERSION.orig.tar.gz
		if [ "$tarball_hash" = "$PIN_SHA256" ] && [ ! -e "$f.ok" ]; then
			cp "$tarball" "$f.$$"
			mv "$f.$$" "$f"
			echo "$tarball_hash" >"$f.ok"
		fi
		return
	fi
	for f in "$cache"/wolfssl_*.orig.tar.*.ok; do
		[ -f "${f%.ok}" ] || continue
		tarball=${f%.ok} tarball_hash=$(<"$f")
		[ "$tarball_hash" != "$PIN_SHA256" ] || return 0
	done
	[ -n "$tarball" ] || fetch
}

# wolfSSL built

check() { # PREFIX: compiles and runs check.c with it
	local t
	t=$(mktemp -d "${TMPDIR:-/tmp}/ginnel-check.XXXXXX")
	work+=("$t")
	say "checking wolfSSL: struct layout, and a DTLS 1.3 handshake in memory"
	"${WOLFSSL_CC:-cc}" -O1 -std=gnu11 -DWOLFSSL_USER_SETTINGS -isystem "$1/include" \
		-o "$t/check" "$wolf/check.c" "$1/lib/libwolfssl.a" -lm -lpthread >&2 &&
		"$t/check" >&2
}

# A library that we did not build is remembered by its hash once it has passed.
foreign() { # PREFIX
	local prefix f stamp
	prefix=$(cd "$1" 2>/dev/null && pwd) || die "WOLFSSL_PREFIX: no folder $1"
	for f in lib/libwolfssl.a include/user_settings.h include/wolfssl/internal.h; do
		[ -f "$prefix/$f" ] || die "WOLFSSL_PREFIX: no $f in $prefix:" \
			"crypto/wolfssl/build.sh SOURCE PREFIX makes a whole one"
	done
	stamp=$cache/passed-$(cat "$prefix/lib/libwolfssl.a" "$prefix/include/user_settings.h" \
		"$prefix/include/wolfssl/internal.h" "$wolf/check.c" | sha256sum | cut -c1-24)
	if [ ! -e "$stamp" ]; then
		check "$prefix" || die "the wolfSSL in $prefix does not do what ginnel relies on:" \
			"see above; leave WOLFSSL_PREFIX out to have the right one built"
		touch "$stamp"
	fi
	echo "$prefix"
}

wolfssl() {
	local cc=${WOLFSSL_CC:-cc} key prefix t checked
	mkdir -p "$cache" || die "cannot make the cache $cache: name another by XDG_CACHE_HOME"
	if [ -n "${WOLFSSL_PREFIX:-}" ]; then
		foreign "$WOLFSSL_PREFIX"
		return
	fi
	tarball='' tarball_hash=''
	find_source
	if [ "$mode" = tarball ]; then
		echo "$tarball"
		return
	fi
	command -v "$cc" >/dev/null || die "no compiler $cc: name one by WOLFSSL_CC"
	key=$({
		echo "$tarball_hash ${WOLFSSL_CFLAGS:-} ${PORTABLE:-0}"
		cat "$wolf/user_settings.h" "$wolf/build.sh"
		"$cc" --version
		"$cc" -dumpmachine
	} | sha256sum | cut -c1-24)
	prefix=$cache/wolfssl-$key
	checked=$(hash_of "$wolf/check.c")
	[ "$(cat "$prefix/passed" 2>/dev/null)" != "$checked" ] || {
		echo "$prefix"
		return
	}
	t=$(mktemp -d "$cache/build.XXXXXX")
	work+=("$t")
	if [ ! -e "$prefix/passed" ]; then
		[ "$(hash_of "$tarball")" = "$tarball_hash" ] || {
			rm -f "$tarball.ok"
			die "$tarball is damaged: run make deps again to fetch it anew"
		}
		say "unpacking ${tarball##*/}"
		mkdir "$t/src"
		tar -xf "$tarball" -C "$t/src" --strip-components=1 --wildcards '*/src/*' '*/wolfssl/*'
		say "building wolfSSL, about half a minute"
		env CC="$cc" ${WOLFSSL_CFLAGS:+CFLAGS="$WOLFSSL_CFLAGS"} PORTABLE="${PORTABLE:-0}" \
			bash "$wolf/build.sh" "$t/src" "$t/prefix" >&2 ||
			die "wolfSSL did not build: see above; give WOLFSSL_TARBALL=FILE of wolfSSL $PIN_VERSION"
		check "$t/prefix" || die "this wolfSSL does not do what ginnel relies on: see above;" \
			"give WOLFSSL_TARBALL=FILE of wolfSSL $PIN_VERSION, which does"
		echo "$checked" >"$t/prefix/passed"
		# One rename: of two runs at once, both end with a whole folder.
		mv -T "$t/prefix" "$prefix" 2>/dev/null || [ -e "$prefix/passed" ] ||
			die "cannot write $prefix"
		say "wolfSSL is ready"
	else
		check "$prefix" || die "the wolfSSL in $prefix does not pass crypto/wolfssl/check.c:" \
			"see above; give WOLFSSL_TARBALL=FILE of wolfSSL $PIN_VERSION, which does"
		echo "$checked" >"$t/passed"
		mv "$t/passed" "$prefix/passed"
	fi
	echo "$prefix"
}

mode=${1:-all}
case $mode in
all)
	packages
	wolfssl
	;;
packages) packages ;;
wolfssl | tarball) wolfssl ;;
mirror) find_mirror ;;
install-as-root)
	shift
	install_as_root "$@"
	;;
*) die "usage: deps.sh [packages|wolfssl|tarball|mirror]" ;;
esac
