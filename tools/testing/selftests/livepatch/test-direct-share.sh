#!/bin/bash
# SPDX-License-Identifier: GPL-2.0

# A livepatch and BPF programs at the same function, in either order: a call has
# to run the livepatch's version, and each program once.

. $(dirname $0)/functions.sh

MOD_TARGET=test_klp_share_target
MOD_LIVEPATCH=test_klp_share_patch
MOD_LIVEPATCH2=test_klp_share_patch2
MOD_REPLACE=test_klp_share_replace
MOD_REPLACE_OTHER=test_klp_share_replace_other
MOD_KPROBE=test_klp_share_kprobe

FUNCTION=klp_share_target_one
BPF_OBJECT=test_klp-share.bpf.o
BPF_DIR=/sys/fs/bpf/test_klp_share

command -v bpftool > /dev/null || skip "test-direct-share requires bpftool"
[[ -e $BPF_OBJECT ]] || skip "test-direct-share requires $BPF_OBJECT, which clang makes"

# attach_bpf() - attach a fentry, a fexit and a fmod_ret program to the function
function attach_bpf() {
	log "test_klp: attach BPF programs"
	bpftool prog loadall $BPF_OBJECT $BPF_DIR pinmaps $BPF_DIR/maps autoattach ||
		die "failed to attach BPF programs"
}

# detach_bpf() - detach them, which the kernel does a little later
function detach_bpf() {
	log "test_klp: detach BPF programs"
	rm -r $BPF_DIR
	loop_until '! bpftool prog show | grep -q "name test_klp_f"' ||
		die "failed to detach BPF programs"
}

# runs() - print how often each program ran, "0 0 0" without any
function runs() {
	local dump counter

	if [[ ! -e $BPF_DIR ]]; then
		echo "0 0 0"
		return
	fi
	dump=$(bpftool -j map dump pinned $BPF_DIR/maps/test_klp_bss)
	for counter in fentry fexit fmod_ret; do
		sed -E "s/.*\"${counter}_runs\":([0-9]+).*/\1/" <<< "$dump"
	done | paste -sd' '
}

# check_call(ret, count) - call the function and check what comes of it
#	ret - value that it has to return
#	count - how often each program has to run
function check_call() {
	local ret="$1"; shift
	local count="$1"; shift
	local before after value i

	before=($(runs))
	value=$(cat /sys/module/$MOD_TARGET/parameters/one)
	after=($(runs))

	[[ "$value" == "$ret" ]] ||
		die "$FUNCTION returned $value and not $ret"
	for i in 0 1 2; do
		[[ $((after[i] - before[i])) == "$count" ]] ||
			die "BPF programs ran from ${before[*]} to ${after[*]}, not $count times"
	done
}

# check_mode(mode) - check the function's line in direct_share
#	mode - "none" for no line
# Which modes there are is the architecture's: all of them where sites settle, which
# the file's being writable tells.
function check_mode() {
	local mode="$1"; shift
	local found

	[[ -n $SHARE ]] || return
	found=$(sed -nE "s/^$FUNCTION +(\[[^]]*\] +)?([a-z]+) .*/\2/p" "$SHARE")
	[[ "${found:-none}" == "$mode" ]] ||
		die "$FUNCTION is ${found:-none} and not $mode"
}

# skip_without(condition, what) - skip all, and leave nothing behind
function skip_without() {
	eval "$1" && return
	unload_mod $MOD_TARGET
	skip "test-direct-share requires $2"
}

function leave() {
	rm -rf $BPF_DIR
	cleanup
}

setup_config
trap leave EXIT INT TERM HUP
load_mod $MOD_TARGET
skip_without "[[ -e /sys/kernel/btf/$MOD_TARGET ]]" "the BTF of modules"
skip_without "grep -q '^$FUNCTION ' $SYSFS_DEBUG_DIR/error_injection/list" \
	"CONFIG_FUNCTION_ERROR_INJECTION"

SHARE=$SYSFS_TRACING_DIR/direct_share
if [[ "$(stat -c %A $SHARE 2> /dev/null)" == ?rw* ]]; then
	# The default, in case it was something else
	echo fused > $SHARE
else
	SHARE=
fi


# - attach BPF programs to a livepatched function
# - verify that the livepatch and each program take part in a call
# - detach the programs and verify that the livepatch stays in effect

start_test "BPF programs come to a livepatched function"

load_lp $MOD_LIVEPATCH
check_call 101 0
check_mode settled
attach_bpf
check_call 101 1
check_mode fused
detach_bpf
check_call 101 0
check_mode settled
disable_lp $MOD_LIVEPATCH
check_call 1 0
check_mode none
unload_lp $MOD_LIVEPATCH

check_result "% insmod test_modules/$MOD_LIVEPATCH.ko
livepatch: enabling patch '$MOD_LIVEPATCH'
livepatch: '$MOD_LIVEPATCH': initializing patching transition
livepatch: '$MOD_LIVEPATCH': starting patching transition
livepatch: '$MOD_LIVEPATCH': completing patching transition
livepatch: '$MOD_LIVEPATCH': patching complete
test_klp: attach BPF programs
test_klp: detach BPF programs
% echo 0 > $SYSFS_KLP_DIR/$MOD_LIVEPATCH/enabled
livepatch: '$MOD_LIVEPATCH': initializing unpatching transition
livepatch: '$MOD_LIVEPATCH': starting unpatching transition
livepatch: '$MOD_LIVEPATCH': completing unpatching transition
livepatch: '$MOD_LIVEPATCH': unpatching complete
% rmmod $MOD_LIVEPATCH"


# - livepatch a function with BPF programs, twice
# - disable both livepatches again while the programs stay

start_test "livepatches come to a function with BPF programs"

attach_bpf
check_call 1 1
load_lp $MOD_LIVEPATCH
check_call 101 1
check_mode fused
load_lp $MOD_LIVEPATCH2
check_call 201 1
check_mode fused
disable_lp $MOD_LIVEPATCH2
check_call 101 1
check_mode fused
disable_lp $MOD_LIVEPATCH
check_call 1 1
check_mode none
detach_bpf
check_call 1 0
unload_lp $MOD_LIVEPATCH2
unload_lp $MOD_LIVEPATCH

check_result "test_klp: attach BPF programs
% insmod test_modules/$MOD_LIVEPATCH.ko
livepatch: enabling patch '$MOD_LIVEPATCH'
livepatch: '$MOD_LIVEPATCH': initializing patching transition
livepatch: '$MOD_LIVEPATCH': starting patching transition
livepatch: '$MOD_LIVEPATCH': completing patching transition
livepatch: '$MOD_LIVEPATCH': patching complete
% insmod test_modules/$MOD_LIVEPATCH2.ko
livepatch: enabling patch '$MOD_LIVEPATCH2'
livepatch: '$MOD_LIVEPATCH2': initializing patching transition
livepatch: '$MOD_LIVEPATCH2': starting patching transition
livepatch: '$MOD_LIVEPATCH2': completing patching transition
livepatch: '$MOD_LIVEPATCH2': patching complete
% echo 0 > $SYSFS_KLP_DIR/$MOD_LIVEPATCH2/enabled
livepatch: '$MOD_LIVEPATCH2': initializing unpatching transition
livepatch: '$MOD_LIVEPATCH2': starting unpatching transition
livepatch: '$MOD_LIVEPATCH2': completing unpatching transition
livepatch: '$MOD_LIVEPATCH2': unpatching complete
% echo 0 > $SYSFS_KLP_DIR/$MOD_LIVEPATCH/enabled
livepatch: '$MOD_LIVEPATCH': initializing unpatching transition
livepatch: '$MOD_LIVEPATCH': starting unpatching transition
livepatch: '$MOD_LIVEPATCH': completing unpatching transition
livepatch: '$MOD_LIVEPATCH': unpatching complete
test_klp: detach BPF programs
% rmmod $MOD_LIVEPATCH2
% rmmod $MOD_LIVEPATCH"


# - replace the livepatch of a function with BPF programs by another one of it
# - replace that by a livepatch that leaves the function alone

start_test "livepatches of a function with BPF programs are replaced"

load_lp $MOD_LIVEPATCH
attach_bpf
check_call 101 1
load_lp $MOD_REPLACE
check_call 301 1
check_mode fused
unload_lp $MOD_LIVEPATCH
load_lp $MOD_REPLACE_OTHER
check_call 1 1
check_mode none
unload_lp $MOD_REPLACE
disable_lp $MOD_REPLACE_OTHER
check_call 1 1
detach_bpf
unload_lp $MOD_REPLACE_OTHER

check_result "% insmod test_modules/$MOD_LIVEPATCH.ko
livepatch: enabling patch '$MOD_LIVEPATCH'
livepatch: '$MOD_LIVEPATCH': initializing patching transition
livepatch: '$MOD_LIVEPATCH': starting patching transition
livepatch: '$MOD_LIVEPATCH': completing patching transition
livepatch: '$MOD_LIVEPATCH': patching complete
test_klp: attach BPF programs
% insmod test_modules/$MOD_REPLACE.ko
livepatch: enabling patch '$MOD_REPLACE'
livepatch: '$MOD_REPLACE': initializing patching transition
livepatch: '$MOD_REPLACE': starting patching transition
livepatch: '$MOD_REPLACE': completing patching transition
livepatch: '$MOD_REPLACE': patching complete
% rmmod $MOD_LIVEPATCH
% insmod test_modules/$MOD_REPLACE_OTHER.ko
livepatch: enabling patch '$MOD_REPLACE_OTHER'
livepatch: '$MOD_REPLACE_OTHER': initializing patching transition
livepatch: '$MOD_REPLACE_OTHER': starting patching transition
livepatch: '$MOD_REPLACE_OTHER': completing patching transition
livepatch: '$MOD_REPLACE_OTHER': patching complete
% rmmod $MOD_REPLACE
% echo 0 > $SYSFS_KLP_DIR/$MOD_REPLACE_OTHER/enabled
livepatch: '$MOD_REPLACE_OTHER': initializing unpatching transition
livepatch: '$MOD_REPLACE_OTHER': starting unpatching transition
livepatch: '$MOD_REPLACE_OTHER': completing unpatching transition
livepatch: '$MOD_REPLACE_OTHER': unpatching complete
test_klp: detach BPF programs
% rmmod $MOD_REPLACE_OTHER"


# - probe a function with BPF programs, with a post_handler
# - verify that BPF programs share it with the kprobe, whoever comes first, and
#   stay when it goes

start_test "BPF programs share a function with a kprobe that has a post_handler"

skip_without "grep -q kprobe_ftrace_ops /proc/kallsyms" "CONFIG_KPROBES_ON_FTRACE"
echo 1 > "$SYSFS_KPROBES_DIR/enabled"

attach_bpf
load_mod $MOD_KPROBE
check_call 1 1
check_mode paired
[[ "$(cat /sys/module/$MOD_KPROBE/parameters/hits)" == "1 1" ]] ||
	die "the kprobe was not hit once"
detach_bpf
check_call 1 0
check_mode solo
attach_bpf
check_call 1 1
unload_mod $MOD_KPROBE
check_call 1 1
check_mode none
detach_bpf

check_result "test_klp: attach BPF programs
% insmod test_modules/$MOD_KPROBE.ko
test_klp: detach BPF programs
test_klp: attach BPF programs
% rmmod $MOD_KPROBE
test_klp: detach BPF programs"

unload_mod $MOD_TARGET

exit 0
