# SPDX-License-Identifier: GPL-3.0-or-later
# chart.awk - samples to SVG: a panel of bars for each measure. After samples.awk.
#
# Without the raw veth, beside which no tunnel would be seen. Each panel has a scale of its own.

function text(x, y, s, extra) {
	gsub(/&/, "\\&amp;", s)
	gsub(/</, "\\&lt;", s)
	printf "<text x=\"%d\" y=\"%d\"%s>%s</text>\n", x, y, extra == "" ? "" : " " extra, s
}

function colour(peer) {
	return peer == "ginnel" ? "#0b6e4f" : peer ~ /^(ginnel|nocrypto)/ ? "#7fb7a3" : "#8d99ae"
}

# The panels: rates first, then what they cost, as the samples have them.
function panel(key, x, y,    p, v, most, w, row) {
	for (p = 1; p <= n; p++) {
		v = median(shown_peers[p], key)
		if (v > most)
			most = v
	}
	text(x, y + 14, title(key) (is_rate(key) ? "" : " (less is better)"), "class=\"t\"")
	for (p = 1; p <= n; p++) {
		v = median(shown_peers[p], key)
		row = y + 24 + (p - 1) * ROW
		w = most > 0 && v != "" ? v / most * BAR : 0
		text(x + LABEL - 6, row + 11, name(shown_peers[p]), "text-anchor=\"end\"")
		printf "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", x + LABEL, row, w,
			ROW - 4, colour(shown_peers[p])
		text(x + LABEL + w + 5, row + 11, shown(v))
	}
}

/^# date/ { date = substr($3, 1, 10) }
/^# machine/ { machine = substr($0, 12) }
/^# between/ { between = $3 }

END {
	ROW = 18; LABEL = 150; BAR = 220; WIDTH = LABEL + BAR + 80
	for (p = 1; p <= npeers; p++)
		if (peers[p] != "raw")
			shown_peers[++n] = peers[p]
	for (k = 1; k <= nkeys; k++)
		if (keys[k] != "rss")
			panels[++np] = keys[k]
	height = n * ROW + 44
	rows = int((np + 1) / 2)
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n", \
		2 * WIDTH + 30, rows * height + 66
	print "<style>.t{font-size:13px;font-weight:bold}.h{font-size:16px;font-weight:bold}</style>"
	print "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
	text(20, 26, "ginnel and its peers, side by side", "class=\"h\"")
	text(20, 46, date ", between " between " " machine)
	for (k = 1; k <= np; k++)
		panel(panels[k], 15 + (k - 1) % 2 * WIDTH, 62 + int((k - 1) / 2) * height)
	print "</svg>"
}
