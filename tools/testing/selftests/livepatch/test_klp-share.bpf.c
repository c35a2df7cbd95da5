// SPDX-License-Identifier: GPL-2.0

/* The programs of test-direct-share.sh: each counts how often it ran. */

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

__u64 fentry_runs;
__u64 fexit_runs;
__u64 fmod_ret_runs;

SEC("fentry/klp_share_target_one")
int BPF_PROG(test_klp_fentry, int a)
{
	__sync_fetch_and_add(&fentry_runs, 1);
	return 0;
}

SEC("fexit/klp_share_target_one")
int BPF_PROG(test_klp_fexit, int a, int ret)
{
	__sync_fetch_and_add(&fexit_runs, 1);
	return 0;
}

SEC("fmod_ret/klp_share_target_one")
int BPF_PROG(test_klp_fmod_ret, int a, int ret)
{
	__sync_fetch_and_add(&fmod_ret_runs, 1);
	return 0;
}
