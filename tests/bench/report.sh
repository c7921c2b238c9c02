#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# report.sh FILE - the table (FILE.md) and the picture (FILE.svg) of a file of samples, for run.sh.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
if [ $# != 1 ] || [ ! -r "$1" ]; then
	echo "usage: report.sh FILE" >&2
	exit 2
fi
base=${1%.txt}
awk -f "$here/samples.awk" -f "$here/table.awk" "$1" >"$base.md"
awk -f "$here/samples.awk" -f "$here/chart.awk" "$1" >"$base.svg"
cat "$base.md"
printf '\nsamples: %s\ntable:   %s\npicture: %s\n' "$1" "$base.md" "$base.svg"
