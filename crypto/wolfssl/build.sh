#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# build.sh - a static libwolfssl.a from an unpacked source tree, with cc and ar alone.
#
#   build.sh SOURCE_DIR PREFIX
#
# SOURCE_DIR  wolfSSL >= 5.9.2, left untouched
# PREFIX      gets lib/libwolfssl.a and include/{wolfssl/,user_settings.h}
#
# Environment: CC, AR, CFLAGS, JOBS; PORTABLE=1 leaves out all assembly.
#
# Why not its configure: that wants autoconf, automake and libtool, takes longer than the
# compilation, and turns on much that we would have to turn off. All headers are installed,
# internal.h too: crypto/lease.c reads the record numbers in there.
set -euo pipefail

src=$(cd "$1" && pwd)
prefix=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CC=${CC:-cc} AR=${AR:-ar} JOBS=${JOBS:-$(nproc)}
CFLAGS=${CFLAGS:--O2 -g1 -fPIC -fstack-protector-strong -D_FORTIFY_SOURCE=2 -ffunction-sections -fdata-sections}

# Translation units. ssl.c includes ssl_*.c, x509*.c and more of its kind itself.
tls=(internal keys ssl tls tls13 dtls dtls13 wolfio crl)
crypt=(aes asn chacha chacha20_poly1305 coding cpuid cryptocb curve25519 ecc error
	fe_operations ge_operations hash hmac kdf logging memory misc poly1305 random
	sha sha256 sha3 sha512 signature sp_int wc_encrypt wc_mlkem wc_mlkem_poly
	wc_port wolfevent wolfmath)
asm=()
machine=$($CC -dumpmachine)
[ "${PORTABLE:-0}" = 1 ] && machine=portable
case $machine in
x86_64-*)
	crypt+=(sp_x86_64)
	CFLAGS+=' -fcf-protection=full'
	asm=(aes_asm aes_gcm_asm chacha_asm fe_x25519_asm poly1305_asm sha256_asm
		sha3_asm sha512_asm sp_x86_64_asm wc_mlkem_asm)
	;;
aarch64-*) crypt+=(sp_arm64) ;;
*) crypt+=(sp_c64) ;;
esac

obj=$(mktemp -d "${TMPDIR:-/tmp}/ginnel-wolfssl.XXXXXX")
trap 'rm -rf "$obj"' EXIT
mkdir -p "$prefix/lib" "$prefix/include"

# The settings carry the choice of PORTABLE themselves, so that who uses the prefix cannot
# compile against another layout than the library has.
{
	[ "$machine" != portable ] || echo '#define GINNEL_PORTABLE'
	cat "$here/user_settings.h"
} >"$obj/user_settings.h"

# A makefile is the shortest way to compile in parallel and to notice a failure.
objects=()
rule() { # OBJECT SOURCE
	objects+=("$obj/$1")
	# shellcheck disable=SC2016 # make's variables, not the shell's
	printf '%s: %s\n\t$(CC) $(F) -c $< -o $@\n' "$obj/$1" "$2"
}
{
	echo "CC = $CC"
	echo "F = $CFLAGS -w -DWOLFSSL_USER_SETTINGS -DBUILDING_WOLFSSL -I$obj -I$src" \
		"-ffile-prefix-map=$src=wolfssl -ffile-prefix-map=$obj=. \$(X)"
	for f in "${tls[@]}"; do rule "tls_$f.o" "$src/src/$f.c"; done
	for f in "${crypt[@]}"; do rule "$f.o" "$src/wolfcrypt/src/$f.c"; done
	for f in "${asm[@]}"; do rule "asm_$f.o" "$src/wolfcrypt/src/$f.S"; done
	# Intrinsics are in this one file; elsewhere -maes could put instructions where no
	# cpuid check guards them.
	[ "${#asm[@]}" = 0 ] || echo "$obj/aes.o: X = -maes"
	printf 'all: %s\n' "${objects[*]}"
} >"$obj/Makefile"
env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -s -f "$obj/Makefile" -j"$JOBS" all
rm -f "$prefix/lib/libwolfssl.a"
$AR crs "$prefix/lib/libwolfssl.a" "${objects[@]}"

cp -r "$src/wolfssl" "$prefix/include/"
cp "$obj/user_settings.h" "$prefix/include/"
: >"$prefix/include/wolfssl/options.h" # included by some headers; the settings are in the other file
