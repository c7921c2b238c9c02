# SPDX-License-Identifier: GPL-3.0-or-later
# syscalls.awk - gathers what the sources say of their system calls into one header, a list for each
# process. Prints FILE:LINE: what is wrong; exit 1 if anything is.
#
#   awk -f syscalls.awk FILE.c ...
#
# A line is a comment `syscalls(engine ca): read write`, which may go on over several lines to the end
# of its comment. "all" is every process; "sanitizer" counts in builds under a sanitizer alone. What a
# process does "before the filter" is told to the reader and is in no list. The parent has no filter.

BEGIN {
	n = split("engine manager ca sanitizer", lists, " ")
	for (i = 1; i <= n; i++)
		known[lists[i]] = lists[i]
	known["parent"] = ""
	known["all"] = "engine manager ca"
}

function wrong(text) {
	print FILENAME ":" FNR ": " text >"/dev/stderr"
	faults++
}

function begin(who,    words, i, n) {
	reading = 1
	into = ""
	if (who ~ /before the filter/)
		return
	n = split(who, words, " ")
	for (i = 1; i <= n; i++) {
		if (words[i] in known)
			into = into " " known[words[i]]
		else
			wrong("syscalls(" who "): \"" words[i] "\" is no process; engine, manager, ca, parent, all and sanitizer are")
	}
}

function take(line,    words, targets, i, k, n, m) {
	n = split(line, words, " ")
	m = split(into, targets, " ")
	for (i = 1; i <= n; i++) {
		if (words[i] !~ /^[a-z][a-z0-9_]*$/) {
			wrong("\"" words[i] "\" is no name of a system call")
			continue
		}
		for (k = 1; k <= m; k++) {
			if ((targets[k], words[i]) in seen)
				continue
			seen[targets[k], words[i]] = 1
			text[targets[k]] = text[targets[k]] " \\\n\tX(" words[i] ")"
		}
	}
}

FNR == 1 && reading {
	wrong("the file before ends within a list")
	reading = 0
}

{
	line = $0
	if (match(line, /syscalls\([^)]*\):/)) {
		begin(substr(line, RSTART + 9, RLENGTH - 11))
		line = substr(line, RSTART + RLENGTH)
	}
	if (!reading)
		next
	last = index(line, "*/")
	if (last)
		line = substr(line, 1, last - 1)
	sub(/^[ \t]*\*/, "", line)
	take(line)
	if (last)
		reading = 0
}

END {
	if (faults)
		exit 1
	print "/* Made by syscalls.awk of the comments in the sources: change those. */"
	print "#pragma once"
	for (i = 1; i in lists; i++)
		print "#define SYSCALLS_" toupper(lists[i]) "(X)" text[lists[i]]
}
