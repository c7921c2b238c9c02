#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# run.sh - runs parts of the test suite and ends with one line of totals.
#
#   run.sh PART...      build layers unit unit-san thread fuzz netns netns-san soak keylog lint
#
# Each part builds what it runs. Its whole output is in build/logs/PART-NAME.log; of what failed the
# end is shown. The programs of a part, and its files of bats, run side by side, JOBS at once, and are
# told of in their order. Environment: ONLY=name (one test of the part), FUZZ_SECONDS, JOBS, BATS_JOBS, MAKE, CC.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

MAKE=${MAKE:-make}
JOBS=${JOBS:-$(nproc)}
BATS_JOBS=${BATS_JOBS:-$((2 * JOBS))} # they wait more than they work
ONLY=${ONLY:-}
SECONDS_EACH=${FUZZ_SECONDS:-2}
LIMIT=${LIMIT:-300} # seconds for one program, or one test of bats
SANITIZE=address,undefined
passed=0 failed=0 skipped=0
failures=()
table=()
logs=build/logs
mkdir -p "$logs"

# Namespaces, devices and nftables want root.
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)

# What the jobs leave for us: how long each took, and in a folder of its own what sanitizers wrote.
work=$(mktemp -d "${TMPDIR:-/tmp}/ginnel-check.XXXXXX")
chmod 755 "$work"
declare -A running=() # pid: name
end_all() {
	local pid tries=100
	for pid in "${!running[@]}"; do ${as_root[@]+"${as_root[@]}"} kill -INT -- "-$pid"; done
	for pid in "${!running[@]}"; do
		while [ $((tries--)) -gt 0 ] && kill -0 "$pid"; do sleep 0.1; done
	done
	rm -rf "$work"
} 2>/dev/null
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { echo "$*"; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f s", b - a }'; }

# pool RUN TAKE NAME...: RUN NAME in the background, JOBS at once; TAKE NAME STATUS here, in the order of
# the names, each as soon as its turn has come. Each is a process group, so that an interrupt ends it.
pool() {
	local run=$1 take=$2 names next=0 taken=0 pid status
	local -A ended=()
	shift 2
	names=("$@")
	while [ "$taken" -lt $# ]; do
		while [ "$next" -lt $# ] && [ "${#running[@]}" -lt "$JOBS" ]; do
			set -m
			job "$run" "${names[next]}" &
			set +m
			running[$!]=${names[next]}
			next=$((next + 1))
		done
		wait -n -p pid "${!running[@]}"
		status=$?
		ended[${running[$pid]}]=$status
		unset "running[$pid]"
		while [ "$taken" -lt $# ] && [ -n "${ended[${names[taken]}]:-}" ]; do
			"$take" "${names[taken]}" "${ended[${names[taken]}]}"
			taken=$((taken + 1))
		done
	done
}
# Sanitizers write their reports into files, not to a stderr that a test may have closed: a report
# is a failure, whatever the test says. The folder is for every uid, for daemons give up root.
job() { # RUN NAME
	local t status
	t=$(now)
	mkdir -p "$work/$2"
	chmod 1777 "$work/$2"
	export ASAN_OPTIONS=log_path=$work/$2/asan:strict_string_checks=1:detect_leaks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}
	export UBSAN_OPTIONS=log_path=$work/$2/ubsan:print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}
	export TSAN_OPTIONS=log_path=$work/$2/tsan:second_deadlock_stack=1${TSAN_OPTIONS:+:$TSAN_OPTIONS}
	"$1" "$2"
	status=$?
	since "$t" >"$work/$2.took"
	exit $status
}
took() { cat "$work/$1.took" 2>/dev/null || echo '? s'; } # NAME

fail() { # NAME [LOG]
	failed=$((failed + 1))
	failures+=("$1")
	say "FAILED $1"
	if [ -n "${2:-}" ] && [ -s "$2" ]; then
		tail -n 40 "$2" | sed 's/^/    /'
	fi
}
# take_reports PART NAME LOG: one failure if a sanitizer had something to say.
take_reports() {
	local f all=()
	for f in "$work/$2"/*; do
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
	cat "${all[@]}" >>"$3"
	head -n 60 "${all[@]}" | cut -c1-200 | head -n 120 | sed 's/^/    /'
	rm -f "${all[@]}"
	fail "$1 $2: ${#all[@]} sanitizer reports, whole in $3"
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
	local part=$1 dir=$2 name broken=0 programs=() fresh=()
	shift 2
	mapfile -t programs < <(names tests/unit)
	[ "${#programs[@]}" -gt 0 ] || return 0
	build "$part" "$@" "${programs[@]/#/$dir/tests/unit/}" || broken=1
	for name in "${programs[@]}"; do
		if up_to_date "$@" "$dir/tests/unit/$name"; then fresh+=("$name"); fi
	done
	pool run_unit take_unit ${fresh[@]+"${fresh[@]}"}
}
run_unit() { # NAME
	rm -f "$logs/$part-$1.tap"
	GINNEL_BIN=$PWD/$dir/bin timeout -k 5 "$LIMIT" "$dir/tests/unit/$1" \
		--tap="$logs/$part-$1.tap" >"$logs/$part-$1.log" 2>&1
}
take_unit() { # NAME STATUS
	local log=$logs/$part-$1.log
	if [ ! -s "$logs/$part-$1.tap" ]; then
		fail "$part $1: exit $2 before any test" "$log"
		return
	fi
	take_tap "$part $1" "$logs/$part-$1.tap"
	printf '  %-28s %s (%s)\n' "$1" "$tap_says" "$(took "$1")"
	if [ "$tap_failed" -gt 0 ]; then
		tail -n 60 "$log" | sed 's/^/    /'
	elif [ "$2" != 0 ]; then
		fail "$part $1: exit $2 though no test failed" "$log"
	fi
	take_reports "$part" "$1" "$log"
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
# What a debug build alone has: a variant for one test, so not in `make check`.
part_keylog() { ONLY=keylog run_units keylog build/keylog KEYLOG=1 SAN= CC=gcc PORTABLE= NO_CRYPTO=; }
part_unit-san() { run_units unit-san build/san-address SAN=$SANITIZE CC=gcc PORTABLE=; }

# Plain programs, since Criterion does not start under TSan: 0 passed, 77 skipped.
part_thread() {
	local part=thread name broken=0 programs=() fresh=()
	mapfile -t programs < <(names tests/thread)
	[ "${#programs[@]}" -gt 0 ] || return 0
	build thread SAN=thread CC=gcc PORTABLE= "${programs[@]/#/build/san-thread/tests/thread/}" || broken=1
	for name in "${programs[@]}"; do
		if up_to_date SAN=thread CC=gcc PORTABLE= "build/san-thread/tests/thread/$name"; then
			fresh+=("$name")
		fi
	done
	pool run_thread take_thread ${fresh[@]+"${fresh[@]}"}
}
run_thread() { # NAME
	timeout -k 5 "$LIMIT" build/san-thread/tests/thread/"$1" >"$logs/thread-$1.log" 2>&1
}
take_thread() { # NAME STATUS
	case $2 in
	0) pass ;;
	77) skipped=$((skipped + 1)) ;;
	*) fail "thread $1: exit $2" "$logs/thread-$1.log" ;;
	esac
	printf '  %-28s exit %s (%s)\n' "$1" "$2" "$(took "$1")"
	take_reports thread "$1" "$logs/thread-$1.log"
}

part_fuzz() {
	local name broken=0 programs=() fresh=()
	mapfile -t programs < <(names tests/fuzz)
	[ "${#programs[@]}" -gt 0 ] || return 0
	build fuzz "${programs[@]/#/build/fuzz/}" || broken=1
	for name in "${programs[@]}"; do
		if up_to_date "build/fuzz/$name"; then fresh+=("$name"); fi
	done
	pool run_fuzz take_fuzz ${fresh[@]+"${fresh[@]}"}
}
run_fuzz() { # NAME
	local corpus=()
	# No log_path: its report belongs beside what it says of its input.
	ASAN_OPTIONS=${ASAN_OPTIONS#*:} UBSAN_OPTIONS=${UBSAN_OPTIONS#*:}
	[ ! -d "tests/fuzz/corpus/$1" ] || corpus=("tests/fuzz/corpus/$1")
	mkdir -p "build/fuzz/found/$1"
	# What is found goes to the first folder; the one in the tree is only read.
	timeout -k 5 $((SECONDS_EACH + 120)) "build/fuzz/$1" \
		-max_total_time="$SECONDS_EACH" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="build/fuzz/crash-$1-" \
		"build/fuzz/found/$1" ${corpus[@]+"${corpus[@]}"} >"$logs/fuzz-$1.log" 2>&1
}
take_fuzz() { # NAME STATUS
	if [ "$2" != 0 ]; then
		fail "fuzz $1" "$logs/fuzz-$1.log"
		return
	fi
	pass
	printf '  %-28s %s runs (%s)\n' "$1" \
		"$(awk '/number_of_executed_units/ { print $2 }' "$logs/fuzz-$1.log")" "$(took "$1")"
}

# The largest file first, so that the last one is short.
run_bats() { # PART FOLDER BUILD-DIR MAKE-ARGUMENT...
	local part=$1 folder=$2 dir=$3 files=()
	mapfile -t files < <(find "$folder" -name "${ONLY:-*}.bats" -printf '%s %f\n' |
		sort -rn | sed 's/^[0-9]* //; s/[.]bats$//')
	[ "${#files[@]}" -gt 0 ] || return 0
	shift 3
	build "$part" "$@" all tools || return 0
	[ "${#as_root[@]}" = 0 ] || sudo -v # where it can still ask
	pool run_bats_file take_bats_file "${files[@]}"
}
run_bats_file() { # NAME
	local tap=$logs/$part-$1.tap
	${as_root[@]+"${as_root[@]}"} env "ASAN_OPTIONS=$ASAN_OPTIONS" \
		"UBSAN_OPTIONS=$UBSAN_OPTIONS" "GINNEL_BIN=$PWD/$dir/bin" \
		"GINNEL_TOOLS=$PWD/$dir/tests/tools" "GINNEL_PART=$part" "BATS_TEST_TIMEOUT=$LIMIT" \
		${GINNEL_LONG:+"GINNEL_LONG=$GINNEL_LONG"} \
		bats --tap --timing ${bats_filter:+--filter-tags "$bats_filter"} "$folder/$1.bats" \
		</dev/null 2>"$logs/$part-$1.log" | tee "$tap" |
		if [ -n "$ONLY" ]; then tap_lines; else cat >/dev/null; fi
	return "${PIPESTATUS[0]}"
}
tap_lines() { grep --line-buffered -E '^(ok|not ok|#)' | sed -u 's/^/    /'; }
take_bats_file() { # NAME STATUS
	local log=$logs/$part-$1.log tap=$logs/$part-$1.tap
	take_tap "$part $1" "$tap"
	printf '  %-28s %s (%s)\n' "$1" "$tap_says" "$(took "$1")"
	[ -n "$ONLY" ] || tap_lines <"$tap" # of a single one they were shown as they came
	if [ "$2" != 0 ] && [ "$tap_failed" = 0 ]; then
		fail "$part $1: bats exit $2" "$log"
	fi
	take_reports "$part" "$1" "$log"
}
part_netns() { JOBS=$BATS_JOBS run_bats netns tests/netns "${B:-build}"; }
# Not again what proves something of the kernel, or of time: tests/README.md.
part_netns-san() {
	local bats_filter='!once'
	JOBS=$BATS_JOBS run_bats netns-san tests/netns build/san-address SAN=$SANITIZE CC=gcc PORTABLE=
}
part_soak() { JOBS=1 GINNEL_LONG=1 LIMIT=7200 run_bats soak tests/soak "${B:-build}"; }

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
