// SPDX-License-Identifier: GPL-2.0

/* The programs of "make demo": each counts how often it ran. */

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

#define COUNTING(type, function, counter)				\
__u64 counter;								\
									\
SEC(type "/" function)							\
int BPF_PROG(count_##counter)						\
{									\
	__sync_fetch_and_add(&counter, 1);				\
	return 0;							\
}

COUNTING("fentry", "cmdline_proc_show", cmdline_fentry)
COUNTING("fexit", "cmdline_proc_show", cmdline_fexit)
COUNTING("fentry", "klp_share_target_one", target_fentry)
COUNTING("fexit", "klp_share_target_one", target_fexit)
