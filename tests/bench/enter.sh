#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# enter.sh - a program with a /run of its own, and the root that fetch.sh made, for peers.bash.
#
#   unshare -m enter.sh ROOT LAB RUN PROGRAM ARGUMENT...     ROOT "": the machine's own
#
# To be called under unshare -m, so that no mount is seen outside. LAB, the run's folder in /tmp,
# and RUN, the host's /run, are at the same places inside and outside.
set -e
root=$1 lab=$2 run=$3
shift 3
mount --make-rprivate /
if [ -z "$root" ]; then
	mount --bind "$run" /run
	exec "$@"
fi
for d in dev proc sys; do mount --rbind "/$d" "$root/$d"; done
mount -t tmpfs none "$root/tmp"
mkdir -p "$root$lab"
mount --bind "$lab" "$root$lab"
mount --bind "$run" "$root/run"
PATH=/usr/sbin:/usr/bin exec chroot "$root" "$@"
