#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the guest: livepatches and BPF programs on the same two functions, in
# every order, and a table of what a call does then. Exits 1 if a cell of the
# table is not as it has to be.

set -u

CALLS=3
BPF=/sys/fs/bpf/demo
TRACEFS=/sys/kernel/tracing
wrong=0

# --- The two functions, each with a livepatch ---------------------------------

call_cmdline_proc_show() {
	case "$(cat /proc/cmdline)" in
	"this has been live patched") echo new ;;
	console=*) echo old ;;
	*) echo '?' ;;
	esac
}

call_klp_share_target_one() {
	case "$(cat /sys/module/test_klp_share_target/parameters/one)" in
	101) echo new ;;
	1) echo old ;;
	*) echo '?' ;;
	esac
}

PATCHES="livepatch_sample test_klp_share_patch"

die() {
	echo "demo: $*" >&2
	exit 1
}

# Half a minute is an eternity for each of the things below.
wait_until() {	# wait_until WHAT COMMAND...
	local what=$1 i

	shift
	for ((i = 0; i < 300; i++)); do
		"$@" && return
		sleep 0.1
	done
	die "waited in vain until $what"
}

in_place() {	# in_place PATCH: it is enabled, and in force for every task
	[ "$(cat "/sys/kernel/livepatch/$1/transition")" = 0 ]
}

removed() {
	[ ! -e "/sys/kernel/livepatch/$1" ]
}

unused() {
	[ "$(cat "/sys/module/$1/refcnt")" = 0 ]
}

add_livepatch() {
	local patch

	for patch in $PATCHES; do
		modprobe "$patch" || die "cannot load $patch"
		wait_until "$patch is in place" in_place "$patch"
	done
}

remove_livepatch() {
	local patch

	for patch in $PATCHES; do
		echo 0 >"/sys/kernel/livepatch/$patch/enabled"
		wait_until "$patch is gone" removed "$patch"
		# Livepatch holds the module a moment longer.
		wait_until "$patch is not in use" unused "$patch"
		rmmod "$patch" || die "cannot unload $patch"
	done
}

# --- The BPF programs ---------------------------------------------------------

no_programs() {
	! bpftool prog show | grep -q 'name count_'
}

add_bpf() {
	bpftool prog loadall /root/demo.bpf.o "$BPF" pinmaps "$BPF/maps" autoattach ||
		die "cannot attach the BPF programs"
}

remove_bpf() {
	rm -r "$BPF"
	# The kernel detaches them a little later.
	wait_until "the BPF programs are gone" no_programs
}

count() {	# count NAME: how often the program count_NAME ran
	if [ ! -e "$BPF" ]; then
		echo -
		return
	fi
	bpftool -j map dump pinned "$BPF/maps/demo_bss" |
		sed -nE "s/.*\"$1\":([0-9]+).*/\1/p"
}

# --- The table ----------------------------------------------------------------

# Function [module], mode, ...: one line for each site that has a redirect or
# more than one user.
mode() {	# mode FUNCTION
	if [ ! -e $TRACEFS/direct_share ]; then
		echo -
	elif grep -qE "^$1 " $TRACEFS/direct_share; then
		sed -nE "s/^$1 +(\[[^]]*\] +)?([a-z]+).*/\2/p" $TRACEFS/direct_share
	elif grep -qE "^$1 " $TRACEFS/enabled_functions; then
		echo solo
	else
		echo none
	fi
}

difference() {	# difference AFTER BEFORE: of two counts, "-" for no program
	if [ "$1" = - ]; then
		echo -
	else
		echo $(($1 - $2))
	fi
}

cell() {	# cell WIDTH IS SHOULD: print it, marked if it is not what it should be
	if [ "$2" = "$3" ]; then
		printf '%-*s' "$1" "$2"
	else
		printf '%-*s' "$1" "$2 (not $3!)"
		wrong=1
	fi
}

# row STATE FUNCTION COUNTER RETURNED RUNS MODE: call, and compare
row() {
	local before_fentry before_fexit after_fentry after_fexit results is_mode should_mode=$6

	before_fentry=$(count "$3_fentry")
	before_fexit=$(count "$3_fexit")
	results=$(for ((i = 0; i < CALLS; i++)); do "call_$2"; done | sort -u | paste -sd/)
	after_fentry=$(count "$3_fentry")
	after_fexit=$(count "$3_fexit")
	is_mode=$(mode "$2")
	[ "$is_mode" != - ] || should_mode=-

	printf '%-24s%-22s' "$1" "$2"
	cell 15 "$results" "$4"
	cell 12 "$(difference "$after_fentry" "$before_fentry")" "$5"
	cell 12 "$(difference "$after_fexit" "$before_fexit")" "$5"
	cell 8 "$is_mode" "$should_mode"
	echo
}

rows() {	# rows STATE RETURNED RUNS MODE: for both functions
	row "$1" cmdline_proc_show cmdline "$2" "$3" "$4"
	row '' klp_share_target_one target "$2" "$3" "$4"
}

# Where sites are not poked to go elsewhere the trampoline follows, or ftrace does.
SETTLED=solo FUSED=listed
if [ "$(uname -m)" = x86_64 ]; then
	SETTLED=settled FUSED=fused
fi

modprobe test_klp_share_target || die "cannot load test_klp_share_target"
printf '%-24s%-22s%-15s%-12s%-12s%s\n' 'at the function' 'function' \
	"$CALLS calls ran" 'fentry ran' 'fexit ran' 'mode'

rows 'nothing' old - none
add_livepatch
rows 'livepatch only' new - $SETTLED
remove_livepatch
add_bpf
rows 'BPF only' old $CALLS solo
remove_bpf
add_livepatch
add_bpf
rows 'livepatch, then BPF' new $CALLS $FUSED
remove_bpf
remove_livepatch
add_bpf
add_livepatch
rows 'BPF, then livepatch' new $CALLS $FUSED
remove_bpf
rows '  ... BPF gone' new - $SETTLED
add_bpf
remove_livepatch
rows '  ... livepatch gone' old $CALLS solo
remove_bpf
rmmod test_klp_share_target || die "cannot unload test_klp_share_target"

[ $wrong = 0 ] || die "a cell of the table is wrong"
