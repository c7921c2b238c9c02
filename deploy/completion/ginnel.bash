# SPDX-License-Identifier: GPL-3.0-or-later
# bash completion for ginnel(1)                                          -*- shell-script -*-
# Commands and options are read from ginnel's own help, so that they are those of this version.

# Lines of a part of the help, first words of each: __ginnel_help PART [COMMAND]...
__ginnel_help() {
	local part=$1
	shift
	"$__ginnel" help "$@" 2>/dev/null | awk -v part="$part" '
		/^[^ ].*:$/ { on = index($0, part) == 1; next }
		/^$/ { on = 0 }
		on { sub(/^  /, ""); sub(/  .*/, ""); print }'
}

# The words of the command line before the current one that are neither options nor their values.
__ginnel_command() {
	local i
	command=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--config | --state | --run) i=$((i + 1)) ;;
		-*) ;;
		*) command+=("${COMP_WORDS[i]}") ;;
		esac
	done
}

_ginnel() {
	local __ginnel=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} command first all
	local previous=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	__ginnel_command
	[ "${command[0]:-}" != help ] || command=("${command[@]:1}")
	case $previous in
	--config | --token-file)
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		return
		;;
	--state | --run)
		mapfile -t COMPREPLY < <(compgen -d -- "$current")
		return
		;;
	esac
	if [[ $current == -* ]]; then
		all=$(__ginnel_help Options ${command[@]+"${command[@]:0:2}"} | awk '{ print $1 }' | sort -u)
	else
		all=$(__ginnel_help Commands)
		first=${command[0]:-}
		case ${#command[@]} in
		0) all=$(awk '{ print $1 }' <<<"$all" | sort -u)$'\nhelp' ;;
		1) all=$(awk -v first="$first" '$1 == first && NF == 2 { print $2 }' <<<"$all") ;;
		*) all= ;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$all" -- "$current")
	# config check F, policy check|test|apply F
	if [[ ${command[*]-} =~ ^(config|policy)\ (check|test|apply)$ && $current != -* ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
	fi
}
complete -o filenames -F _ginnel ginnel
