#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The part of the bench that runs in the guest: puts the measured function into
# each of the states of the table, one after the other, and writes a line of
# CSV for each. bench/run puts modules and programs beside it and says what to
# measure:
#
#   guest.sh CALLS COUNTS ROWS
#
# CALLS: of the function in each row, fewer where they are slow. COUNTS: the
# numbers of livepatched functions, as one word. ROWS: an extended regular
# expression, the rows to measure. bench/run knows the columns of the output.

set -eu

calls=$1 counts=$2 wanted=$3
here=$(dirname "$0")
debugfs=/sys/kernel/debug/klp_share_bench
tracefs=/sys/kernel/tracing
livepatch=/sys/kernel/livepatch
bpffs=/sys/fs/bpf
target=klp_share_bench_target

# So many instructions may a row take, which bounds the calls of the slow ones.
BUDGET=40000000

# Each row: its name, then who is at the function. The rows that have the
# livepatch come last, so that it is loaded once for all of them.
ROWS="
untraced
fentry				fentry
fexit				fexit
kprobe				kprobe
tracer				tracer
livepatch			livepatch
livepatch+fentry		livepatch fentry
livepatch+fexit			livepatch fexit
livepatch+kprobe		livepatch kprobe
livepatch+tracer		livepatch tracer
livepatch+tracer+fentry		livepatch tracer fentry
livepatch+held			livepatch held
livepatch+held+fentry		livepatch held fentry
livepatch+held+fexit		livepatch held fexit
livepatch+held+tracer+fentry	livepatch held tracer fentry
replacement+fentry		livepatch replacement
"

die() {
	echo "guest.sh: $*" >&2
	exit 1
}

# until_true SECONDS COMMAND...: wait for what the kernel does in its own time.
until_true() {
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || die "waited in vain for: $*"
		sleep 0.02
	done
}

settled() {
	[ "$(cat "$livepatch/$1/transition")" = 0 ]
}

no_livepatch() {
	[ ! -e "$livepatch/$1" ]
}

# Livepatch holds the module a moment longer than its folder is there.
unused() {
	[ "$(cat "/sys/module/$1/refcnt")" = 0 ]
}

load_livepatch() {	# load_livepatch NAME PARAMETER...
	insmod "$here/$1.ko" "${@:2}"
	until_true 60 settled "$1"
}

unload_livepatch() {
	echo 0 >"$livepatch/$1/enabled"
	until_true 60 no_livepatch "$1"
	until_true 60 unused "$1"
	rmmod "$1"
}

# How many owners have the sites of the measured function and its replacement?
# The numbers in their lines of enabled_functions.
owners() {
	sed -nE "s/^(${target}[^(]*\([0-9]+\)).*/\1/p" $tracefs/enabled_functions
}

only_owners_left() {
	[ "$(owners)" = "$1" ]
}

attach() {
	case "$1" in
	held) echo paired >$tracefs/direct_share ;;
	livepatch)
		no_livepatch klp_share_bench_patch || return 0
		load_livepatch klp_share_bench_patch
		;;
	tracer)
		echo $target >$tracefs/set_ftrace_filter
		echo function >$tracefs/current_tracer
		;;
	*)
		bpftool prog loadall "$here/$1.bpf.o" $bpffs/program autoattach \
			pinmaps $bpffs/maps
		;;
	esac
}

detach() {
	case "$1" in
	livepatch) ;;	# stays for the rows that follow
	held) echo fused >$tracefs/direct_share ;;
	tracer)
		echo nop >$tracefs/current_tracer
		echo >$tracefs/set_ftrace_filter
		;;
	*) rm -r $bpffs/program $bpffs/maps ;;
	esac
}

set_calls() {
	echo "$1" >/sys/module/klp_share_bench/parameters/calls
}

# How many calls has each of those who are there seen since the last clear?
seen() {
	local part n=0 got

	for part; do
		case "$part" in
		livepatch | held) continue ;;
		tracer) got=$(grep -c "$target <-" $tracefs/trace || true) ;;
		*) got=$(bpftool -j map dump pinned $bpffs/maps/*bss |
			sed -nE 's/.*"count":([0-9]+).*/\1/p') ;;
		esac
		n=$((n + got))
	done
	echo $n
}

# Can sites be held at paired, instead of being settled or fused?
has_switch() {
	[ -n "$(find $tracefs/direct_share -perm -200 2>/dev/null)" ]
}

mode() {
	local found

	found=$(sed -nE "s/^$target +(\[[^]]*\] +)?([a-z]+) .*/\2/p" $tracefs/direct_share \
		2>/dev/null) || true
	echo "${found:--}"
}

measure() {	# measure COUNT ROW PART...
	local count=$1 row=$2 part cost value before hits insns n

	shift 2
	[[ " $* " != *" livepatch "* ]] || attach livepatch
	before=$(owners)
	for part; do
		[ "$part" = livepatch ] || attach "$part"
	done
	value=$(cat $debugfs/value)
	# A few calls for three purposes: the path is warm, we know how many
	# calls the row can afford, and whether everybody sees each call, once:
	# a cheap call is worth nothing if it is one that somebody misses.
	echo >$tracefs/trace
	hits=$(seen "$@")
	set_calls 100
	read -r _ insns _ <$debugfs/cost
	hits=$(($(seen "$@") - hits))
	n=$((BUDGET / (insns / 100)))
	[ $n -lt "$calls" ] || n=$calls
	set_calls "$n"
	echo >$tracefs/trace
	cost=$(cat $debugfs/cost)
	echo "$count,$row,${cost// /,},$value,$hits,$(mode)"
	for part; do
		detach "$part"
	done
	# Links of BPF die in a work queue.
	until_true 20 only_owners_left "$before"
}

# All events of a row have room: a wrapping buffer costs something else.
echo 4096 >$tracefs/buffer_size_kb
insmod "$here/klp_share_bench.ko"
for count in $counts; do
	[ "$count" = 1 ] ||
		load_livepatch klp_share_bench_others count=$((count - 1))
	while read -r row parts; do
		[[ -n $row && $row =~ $wanted ]] || continue
		[[ $row != *held* ]] || has_switch || continue
		# shellcheck disable=SC2086 # a list of words
		measure "$count" "$row" $parts
	done <<<"$ROWS"
	no_livepatch klp_share_bench_patch || unload_livepatch klp_share_bench_patch
	[ "$count" = 1 ] || unload_livepatch klp_share_bench_others
done

# What it costs to change something, with all the functions that there are.
# Memory is looked at when what is freed in its own time has been: kfree_rcu()
# alone may collect for five seconds.
operation() {	# operation COUNT NAME COST
	[[ $2 =~ $wanted ]] || return 0
	echo "$1,$2,$3"
}

others=klp_share_bench_others
ops=$here/ops

cost=$("$ops" enable "$here/$others.ko" $others count=400)
operation 400 enabling "$cost"
unload_livepatch $others

# Sets cost, before, programs and after.
share_all() {
	sleep $drain
	before=$("$ops" memory)
	: >/tmp/held
	exec {hold}> >(exec "$ops" hold "$here/multi.bpf.o" klp_share_bench klp_share_bench_ 400 \
		>/tmp/held)
	until_true 60 grep -q attached /tmp/held
	sleep $drain
	programs=$("$ops" memory)
	cost=$("$ops" enable "$here/$others.ko" $others count=400)
	sleep $drain
	after=$("$ops" memory)
	exec {hold}>&-
	unload_livepatch $others
}

# Of an odd number of them
median() {
	printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"
}

# Pages that are in use in part make memory differ by a few from one time to the next.
drain=15
shared=() alone=() rounds=1
[[ ! memory =~ $wanted && ! memory+programs =~ $wanted ]] || rounds=5
for ((round = 1; round <= rounds; round++)); do
	share_all
	[ $round != 1 ] || operation 400 enabling+shared "$cost"
	shared+=($((after - programs)))
	alone+=($((programs - before)))
done
operation 400 memory "$(median "${shared[@]}")"
operation 400 memory+programs "$(median "${alone[@]}")"
echo "memory: ${shared[*]}, of the trampolines before: ${alone[*]}"

load_livepatch klp_share_bench_patch
cost=$("$ops" attach "$here/fentry.bpf.o")
operation 1 attaching+fentry "$cost"
cost=$("$ops" attach "$here/fexit.bpf.o")
operation 1 attaching+fexit "$cost"
unload_livepatch klp_share_bench_patch
rmmod klp_share_bench
