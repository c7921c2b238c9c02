# SPDX-License-Identifier: GPL-3.0-or-later
# layers.awk - who may include whom. Prints FILE:LINE: what is wrong; exit 1 if anything is.
#
#   awk -f tests/layers.awk [-v root=DIR/] FILE.c FILE.h ...
#
# root is taken off the names: the samples in tests/layers/ are trees of their own.

BEGIN {
	# Our headers. A folder means the headers in it, not those of its subfolders.
	base = "gateway tun/ip.h crypto"
	own("crypto", "")
	own("tun", "")
	own("gateway", "tun/ip.h crypto")
	own("gateway/tables", base)
	own("gateway/engine", "gateway/tables gateway tun crypto")
	own("gateway/control", "gateway/engine gateway/tables " base)
	own("gateway/manager", "gateway/tables " base)
	own("gateway/privsep", "tun gateway crypto/ca.h crypto/cert.h crypto/token.h" \
		" crypto/proof.h crypto/revocation.h crypto/keyfile.h crypto/secret.h")
	own("gateway/programs", "gateway/control gateway/engine gateway/tables gateway/manager" \
		" gateway/privsep gateway tun crypto")

	# Libraries: nobody else's layout or warnings depend on them.
	lib("^wolfssl/", "^crypto/[^/]*[.]c$")
	lib("^intel-ipsec-mb[.]h$", "^crypto/[^/]*[.]c$")
	lib("^libmnl/", "^tun/[^/]*[.]c$")
	lib("^event2/|^event[.]h$|^evhttp[.]h$|^evdns[.]h$", "^gateway/(control|manager)/|^gateway/programs/docker[.]c$")
	lib("^nghttp2/", "^gateway/h2(_frames)?[.][ch]$")
	lib("^urcu|^urcu[.]h$", "^gateway/engine/([^/]*[.]c|rcu[.]h)$")
	lib("^sqlite3", "^gateway/manager/|^gateway/privsep/ledger[.]c$")
	lib("^nftables/", "^gateway/privsep/[^/]*[.]c$")
	lib("^cap-ng[.]h$", "^gateway/privsep/[^/]*[.]c$")
	lib("^seccomp[.]h$|^linux/landlock[.]h$|^ginnel/", "^gateway/privsep/[^/]*[.]c$")
	lib("^yaml[.]h$", "^gateway/reader[.]c$")
	lib("^lz4", "^gateway/tables/compress[.]c$")
	lib("^jansson[.]h$", "^gateway/")
}

function own(folder, others,    n, i, list) {
	known[folder] = 1
	may[folder, folder] = 1
	n = split(others, list, " ")
	for (i = 1; i <= n; i++)
		may[folder, list[i]] = 1
}

function lib(header, users) {
	libs++
	lib_header[libs] = header
	lib_users[libs] = users
}

function folder_of(name) {
	sub("/[^/]*$", "", name)
	return name
}

function wrong(line, text) {
	print root name ":" line ": " text
	faults++
}

FNR == 1 {
	name = FILENAME
	if (root != "" && index(name, root) == 1)
		name = substr(name, length(root) + 1)
	folder = folder_of(name)
	stem = name
	sub("^.*/", "", stem)
	sub("[.][ch]$", "", stem)
	exists[name] = 1
	first[name] = ""
	if (!(folder in known))
		wrong(1, "no code goes into " folder "/: see the tree in README.md")
	if (stem in place && place[stem] != folder)
		wrong(1, "a file " stem " is in " place[stem] "/ already: names are unique in the tree")
	place[stem] = folder
}

/^[ \t]*#[ \t]*include/ {
	line = $0
	sub("^[ \t]*#[ \t]*include[ \t]*", "", line)
	mark = substr(line, 1, 1)
	if (mark != "\"" && mark != "<") {
		wrong(FNR, "an include is spelled out, not made by a macro")
		next
	}
	header = substr(line, 2)
	sub("[\">].*$", "", header)
	if (first[name] == "") {
		first[name] = header
		first_line[name] = FNR
	}
	if (header ~ "^(crypto|tun|gateway)/") {
		if (mark == "<")
			wrong(FNR, "ours are included with quotes: \"" header "\"")
		to = folder_of(header)
		if (!((folder, to) in may) && !((folder, header) in may))
			wrong(FNR, folder "/ may not know " header)
		next
	}
	if (mark == "\"") {
		wrong(FNR, "\"" header "\" is not spelled from the root of the tree")
		next
	}
	for (i = 1; i <= libs; i++)
		if (header ~ lib_header[i] && name !~ lib_users[i])
			wrong(FNR, "<" header "> is not for " name)
}

END {
	# A header proves itself complete by coming first in its own .c file.
	for (file in exists) {
		if (file !~ "[.]c$")
			continue
		header = file
		sub("c$", "h", header)
		if (header in exists && first[file] != header) {
			name = file
			wrong(first_line[file] + 0, "\"" header "\" does not come first")
		}
	}
	if (faults)
		exit 1
}
