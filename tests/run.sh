#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# run.sh - runs parts of the test suite and ends with one line of totals.
#
#   run.sh PART...      build layers unit unit-san thread fuzz netns netns-san soak lint
#
# Each part builds what it runs. Its whole output is in build/logs/PART.log; of what failed the
# end is shown. Environment: ONLY=name (one test of the part), FUZZ_SECONDS, MAKE, CC.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

MAKE=${MAKE:-make}
JOBS=${JOBS:-$(nproc)}
ONLY=${ONLY:-}
SECONDS_EACH=${FUZZ_SECONDS:-2}
LIMIT=${LIMIT:-300} # seconds for one program, or one test of bats
SANITIZE=address,undefined
passed=0 failed=0 skipped=0
failures=()
table=()
logs=build/logs
mkdir -p "$logs"

# Sanitizers write their reports into files, not to a stderr that a test may have closed: a
# report is a failure, whatever the test says. The folder is for every uid, for daemons give
# up root.
reports=$(mktemp -d "${TMPDIR:-/tmp}/ginnel-reports.XXXXXX")
chmod 1777 "$reports"
trap 'rm -rf "$reports"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export ASAN_OPTIONS=log_path=$reports/asan:strict_string_checks=1:detect_leaks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}
export UBSAN_OPTIONS=log_path=$reports/ubsan:print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}
export TSAN_OPTIONS=log_path=$reports/tsan:second_deadlock_stack=1${TSAN_OPTIONS:+:$TSAN_OPTIONS}

say() { echo "$*"; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f s", b - a }'; }

fail() { # NAME [LOG]
	failed=$((failed + 1))
	failures+=("$1")
	say "FAILED $1"
	if [ -n "${2:-}" ] && [ -s "$2" ]; then
		tail -n 40 "$2" | sed 's/^/    /'
	fi
}
# take_reports NAME LOG: one failure if a sanitizer had something to say.
take_reports() {
	local f all=()
	for f in "$reports"/*; do
		[ -e "$f" ] || continue
		# LeakSanitizer also writes that it could not stop a thread of a process that was ending:
		# no report, and nothing that a test can help.
		if grep -qvE '^==[0-9]+==Running thread [0-9]+ was not suspended' "$f"; then
			all+=("$f")
		else
			rm -f "$f"
		fi
	done
	[ "${#all[@]}" -gt 0 ] || return 0
	cat "${all[@]}" >>"$2"
	head -n 60 "${all[@]}" | cut -c1-200 | head -n 120 | sed 's/^/    /'
	rm -f "${all[@]}"
	fail "$1: ${#all[@]} sanitizer reports, whole in $2"
}
pass() { passed=$((passed + 1)); }

# build NAME MAKE-ARGUMENT...: 0 if it builds, else one failure.
build() {
	local name=$1
	shift
	if ! $MAKE --no-print-directory -s -k -j"$JOBS" "$@" >"$logs/build-$name.log" 2>&1; then
		fail "build of $name" "$logs/build-$name.log"
		return 1
	fi
	# Warnings are worth seeing even where they do not stop the build.
	grep -E '(warning|error):' "$logs/build-$name.log" || true
}

# One that does not build must not keep the others from running.
up_to_date() { # MAKE-ARGUMENT...
	[ "$broken" = 0 ] || $MAKE -q "$@" >/dev/null 2>&1
}

# take_tap NAME FILE: counts its lines; names each failure. Prints "N passed, ...".
take_tap() {
	local name=$1 file=$2 line p=0 f=0 s=0
	while IFS= read -r line; do
		case $line in
		'not ok'*)
			f=$((f + 1))
			line=${line#not ok }
			failures+=("$name: ${line#- }")
			;;
		ok*'# skip'* | ok*'# SKIP'*) s=$((s + 1)) ;;
		ok*) p=$((p + 1)) ;;
		esac
	done <"$file"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	tap_failed=$f
	tap_says="$p passed$([ $f = 0 ] || echo ", $f FAILED")$([ $s = 0 ] || echo ", $s skipped")"
}

# each NAME...: those that exist, or ONLY that one.
names() { # FOLDER
	local f
	for f in "$1"/*.c; do
		[ -e "$f" ] || continue
		f=${f##*/} f=${f%.c}
		[ -z "$ONLY" ] || [ "$f" = "$ONLY" ] || continue
		echo "$f"
	done
}

run_units() { # PART BUILD-DIR MAKE-ARGUMENT...
	local part=$1 dir=$2 name log tap rc t broken=0 programs=()
	shift 2
	mapfile -t programs < <(names tests/unit)
	[ "${#programs[@]}" -gt 0 ] || return 0
	build "$part" "$@" "${programs[@]/#/$dir/tests/unit/}" || broken=1
	for name in "${programs[@]}"; do
		up_to_date "$@" "$dir/tests/unit/$name" || continue
		log=$logs/$part-$name.log tap=$logs/$part-$name.tap t=$(now)
		rm -f "$tap"
		GINNEL_BIN=$PWD/$dir/bin timeout -k 5 "$LIMIT" \
			"$dir/tests/unit/$name" --tap="$tap" >"$log" 2>&1
		rc=$?
		if [ ! -s "$tap" ]; then
			fail "$part $name: exit $rc before any test" "$log"
			continue
		fi
		take_tap "$part $name" "$tap"
		printf '  %-28s %s (%s)\n' "$name" "$tap_says" "$(since "$t")"
		if [ "$tap_failed" -gt 0 ]; then
			tail -n 60 "$log" | sed 's/^/    /'
		elif [ "$rc" != 0 ]; then
			fail "$part $name: exit $rc though no test failed" "$log"
		fi
		take_reports "$part $name" "$log"
	done
}

# Everything with warnings shown: what does not build fails here, and the rest is still run.
part_build() {
	if build build all; then pass; fi
}

# The rules themselves are tested too: a tree that breaks each of them, and one that keeps all.
part_layers() {
	local log=$logs/layers.log
	if $MAKE --no-print-directory -s layers >"$log" 2>&1; then pass; else fail layers "$log"; fi
	sample bad | LC_ALL=C sort >"$log"
	if diff -u tests/layers/bad.expected "$log" >"$log.diff"; then
		pass
	else
		fail "layers: the broken sample is judged otherwise than expected" "$log.diff"
	fi
	if sample good >"$log" && [ ! -s "$log" ]; then
		pass
	else
		fail "layers: the good sample is refused" "$log"
	fi
}
sample() { # NAME
	find "tests/layers/$1" -name '*.[ch]' | LC_ALL=C sort |
		xargs awk -v root="tests/layers/$1/" -f tests/layers.awk
}

# Not in `make check`: they judge form, take long, and depend on the tools' versions.
part_lint() {
	local log=$logs/lint what
	part_layers
	for what in lint-format lint-shell lint-tidy lint-analyzer; do
		if $MAKE --no-print-directory -s -k -j"$JOBS" "$what" >"$log-$what.log" 2>&1; then
			pass
			say "  $what: clean"
		else
			fail "$what" "$log-$what.log"
		fi
	done
}

part_unit() { run_units unit "${B:-build}"; }
part_unit-san() { run_units unit-san build/san-address SAN=$SANITIZE CC=gcc PORTABLE=; }

# Plain programs, since Criterion does not start under TSan: 0 passed, 77 skipped.
part_thread() {
	local name log rc t broken=0 programs=()
	mapfile -t programs < <(names tests/thread)
	[ "${#programs[@]}" -gt 0 ] || return 0
	build thread SAN=thread CC=gcc PORTABLE= "${programs[@]/#/build/san-thread/tests/thread/}" || broken=1
	for name in "${programs[@]}"; do
		up_to_date SAN=thread CC=gcc PORTABLE= "build/san-thread/tests/thread/$name" || continue
		log=$logs/thread-$name.log t=$(now)
		timeout -k 5 "$LIMIT" build/san-thread/tests/thread/"$name" >"$log" 2>&1
		rc=$?
		case $rc in
		0) pass ;;
		77) skipped=$((skipped + 1)) ;;
		*) fail "thread $name: exit $rc" "$log" ;;
		esac
		printf '  %-28s exit %s (%s)\n' "$name" "$rc" "$(since "$t")"
		take_reports "thread $name" "$log"
	done
}

part_fuzz() {
	local name log t broken=0 programs=() corpus
	mapfile -t programs < <(names tests/fuzz)
	[ "${#programs[@]}" -gt 0 ] || return 0
	build fuzz "${programs[@]/#/build/fuzz/}" || broken=1
	for name in "${programs[@]}"; do
		up_to_date "build/fuzz/$name" || continue
		log=$logs/fuzz-$name.log t=$(now)
		corpus=()
		[ ! -d "tests/fuzz/corpus/$name" ] || corpus=("tests/fuzz/corpus/$name")
		mkdir -p "build/fuzz/found/$name"
		# What is found goes to the first folder; the one in the tree is only read.
		if timeout -k 5 $((SECONDS_EACH + 120)) "build/fuzz/$name" \
			-max_total_time="$SECONDS_EACH" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
			-artifact_prefix="build/fuzz/crash-$name-" \
			"build/fuzz/found/$name" ${corpus[@]+"${corpus[@]}"} >"$log" 2>&1; then
			pass
			printf '  %-28s %s runs (%s)\n' "$name" \
				"$(awk '/number_of_executed_units/ { print $2 }' "$log")" "$(since "$t")"
		else
			fail "fuzz $name" "$log"
		fi
	done
}

# Namespaces, devices and nftables want root.
run_bats() { # PART FOLDER BUILD-DIR MAKE-ARGUMENT...
	local part=$1 folder=$2 dir=$3 files=() f rc log=$logs/$1.log tap=$logs/$1.tap as_root=()
	for f in "$folder"/*.bats; do
		[ -e "$f" ] || continue
		f=${f##*/} f=${f%.bats}
		[ -z "$ONLY" ] || [ "$f" = "$ONLY" ] || continue
		files+=("$folder/$f.bats")
	done
	[ "${#files[@]}" -gt 0 ] || return 0
	shift 3
	build "$part" "$@" all tools || return 0
	[ "$(id -u)" = 0 ] || as_root=(sudo)
	${as_root[@]+"${as_root[@]}"} env "ASAN_OPTIONS=$ASAN_OPTIONS" \
		"UBSAN_OPTIONS=$UBSAN_OPTIONS" "GINNEL_BIN=$PWD/$dir/bin" \
		"GINNEL_TOOLS=$PWD/$dir/tests/tools" "GINNEL_PART=$part" "BATS_TEST_TIMEOUT=$LIMIT" \
		${GINNEL_LONG:+"GINNEL_LONG=$GINNEL_LONG"} \
		bats --tap --timing "${files[@]}" </dev/null 2>"$log" | tee "$tap" |
		grep --line-buffered -E '^(ok|not ok|#)' | sed -u 's/^/  /'
	rc=${PIPESTATUS[0]}
	take_tap "$part" "$tap"
	say "  $tap_says"
	if [ "$rc" != 0 ] && [ "$tap_failed" = 0 ]; then
		fail "$part: bats exit $rc" "$log"
	fi
	take_reports "$part" "$log"
}
part_netns() { run_bats netns tests/netns "${B:-build}"; }
part_netns-san() { run_bats netns-san tests/netns build/san-address SAN=$SANITIZE CC=gcc PORTABLE=; }
part_soak() { GINNEL_LONG=1 LIMIT=7200 run_bats soak tests/soak "${B:-build}"; }

[ $# -gt 0 ] || set -- build layers unit unit-san thread fuzz netns netns-san
start=$(now)
for part in "$@"; do
	declare -F "part_$part" >/dev/null || {
		fail "no such part: $part"
		continue
	}
	say "$part"
	t=$(now) p=$passed f=$failed s=$skipped
	"part_$part"
	table+=("$(printf '%-12s %6d %6d %6d   %9s' "$part" $((passed - p)) $((failed - f)) \
		$((skipped - s)) "$(since "$t")")")
done

echo
printf '%-12s %6s %6s %6s   %9s\n' part passed failed skip time
printf '%s\n' "${table[@]}"
echo "whole run: $(since "$start")"
if [ "${#failures[@]}" -gt 0 ]; then
	echo
	printf 'FAILED %s\n' "${failures[@]}"
fi
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
