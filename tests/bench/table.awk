# SPDX-License-Identifier: GPL-3.0-or-later
# table.awk - samples to Markdown: medians, and what ginnel is of each peer. After samples.awk.

function rule(    i) {
	printf "|---|"
	for (i = 1; i <= nkeys; i++)
		printf "---:|"
	print ""
}

function heads(first,    i) {
	printf "| %s |", first
	for (i = 1; i <= nkeys; i++)
		printf " %s |", title(keys[i])
	print ""
	rule()
}

/^# (date|machine|between|versions|skipped|down|command)/ { notes[++nnotes] = substr($0, 3) }

END {
	if (!npeers) {
		print "no samples"
		exit 1
	}
	print "## Medians\n"
	heads("")
	for (p = 1; p <= npeers; p++) {
		printf "| %s |", name(peers[p])
		for (k = 1; k <= nkeys; k++)
			printf " %s |", shown(median(peers[p], keys[k]))
		print ""
	}
	subject = "ginnel" in known ? "ginnel" : peers[1]
	printf "\n## %s, as a multiple of each\n\n", name(subject)
	heads("of")
	for (p = 1; p <= npeers; p++) {
		if (peers[p] == subject)
			continue
		printf "| %s |", name(peers[p])
		for (k = 1; k <= nkeys; k++) {
			a = median(subject, keys[k])
			b = median(peers[p], keys[k])
			printf " %s |", a == "" || b == "" || b == 0 ? "-" : sprintf("%.2f", a / b)
		}
		print ""
	}
	print "\nMore is better for TCP and UDP, less for the rest. Only figures of one run compare.\n"
	for (i = 1; i <= nnotes; i++)
		print "- " notes[i]
}
