#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the guest: dumps the text that a call of klp_share_bench_target() goes
# through, with nobody at it, with a fentry program, and with that and a livepatch
# whose transition is over. For bench/native/run, see there. Each line is
#
#	piece STATE NAME ADDRESS BYTES
#	symbol ADDRESS NAME

set -eu

here=/root/bench
module=/sys/module/klp_share_bench/parameters
bpffs=/sys/fs/bpf/native

address() {	# address NAME: of a symbol, the last one if there are several
	sed -nE "s/^([0-9a-f]+) . $1(\\s.*)?$/\\1/p" /proc/kallsyms | tail -n 1
}

piece() {	# piece STATE NAME ADDRESS LENGTH
	echo "0x$3" >$module/text_at
	echo "$4" >$module/text_len
	echo "piece $1 $2 0x$3 $(cat /sys/kernel/debug/klp_share_bench/text)"
}

state() {	# state NAME
	piece "$1" function "$(address klp_share_bench_target)" 32
	[ "$1" = untraced ] || piece "$1" image "$(address 'bpf_trampoline_[0-9]+')" 640
	[ "$1" != livepatched ] || piece "$1" function2 "$(address klp_share_bench_target2)" 32
	piece "$1" entry "$(address ftrace_regs_caller)" 1024
	sed -nE 's/^([0-9a-f]+) . (__bpf_prog_(enter|exit)[a-z_]*|bpf_prog_[0-9a-f]+_counter|arch_ftrace_ops_list_func|[a-z0-9_]*return_thunk)(\s.*)?$/symbol 0x\1 \2/p' /proc/kallsyms
}

insmod $here/klp_share_bench.ko
state untraced
bpftool prog loadall $here/fentry.bpf.o $bpffs autoattach
state solo
insmod $here/klp_share_bench_patch.ko
until [ "$(cat /sys/kernel/livepatch/klp_share_bench_patch/transition)" = 0 ]; do
	sleep 0.1
done
# Images that were replaced keep their name until they are freed.
until [ "$(grep -cE ' bpf_trampoline_[0-9]+' /proc/kallsyms)" = 1 ]; do
	sleep 0.1
done
state livepatched
