#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs a command, and fails if KCSAN did not watch enough of what it had the kernel do.

count() {
	sed -n 's/^setup_watchpoints: //p' /sys/kernel/debug/kcsan
}

before=$(count)
"$@" || exit
watched=$(($(count) - before))
echo "# $watched accesses watched"
[ -n "$before" ] && [ "$watched" -ge 10000 ]
