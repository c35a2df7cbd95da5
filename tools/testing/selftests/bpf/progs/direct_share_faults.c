// SPDX-License-Identifier: GPL-2.0

/*
 * The programs of direct_share_party.h: one of each type that uses a trampoline.
 * Each counts its runs, and those after the function keep what it returned. An
 * instance of the object is for one of them.
 */

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "../direct_share_party.h"

char _license[] SEC("license") = "GPL";

int runs;
long last_ret;

/* What read_text() copies, and where from */
__u64 text_addr;
__u8 text[DIRECT_SHARE_TEXT];

static __always_inline int count(void)
{
	__sync_fetch_and_add(&runs, 1);
	return 0;
}

static __always_inline int count_ret(void *ctx)
{
	__u64 ret = 0;

	bpf_get_func_ret(ctx, &ret);
	last_ret = (int)ret;
	return count();
}

SEC("fentry")
int BPF_PROG(run_fentry)
{
	return count();
}

SEC("fexit")
int BPF_PROG(run_fexit)
{
	return count_ret(ctx);
}

SEC("fmod_ret")
int BPF_PROG(run_fmod_ret)
{
	return count();
}

/* Counts once for a call, after it. */
SEC("fsession")
int BPF_PROG(run_fsession)
{
	return bpf_session_is_return(ctx) ? count_ret(ctx) : 0;
}

/* A task that falls asleep in a program: at a page that is not there yet. */

pid_t park_task;
__u64 park_addr;

static __always_inline void maybe_park(void)
{
	char byte;

	if ((pid_t)bpf_get_current_pid_tgid() == park_task)
		bpf_copy_from_user(&byte, sizeof(byte), (void *)park_addr);
}

SEC("fentry.s")
int BPF_PROG(park_fentry)
{
	maybe_park();
	return count();
}

SEC("fmod_ret.s")
int BPF_PROG(park_fmod_ret)
{
	maybe_park();
	return count();
}

SEC("fentry.multi")
int BPF_PROG(run_fentry_multi)
{
	return count();
}

SEC("fexit.multi")
int BPF_PROG(run_fexit_multi)
{
	return count_ret(ctx);
}

/* A set is of the kernel or of one module, which the section names. */

SEC("fentry.multi/test_klp_share_target:klp_share_target_one")
int BPF_PROG(run_fentry_multi_module)
{
	return count();
}

SEC("fexit.multi/test_klp_share_target:klp_share_target_one")
int BPF_PROG(run_fexit_multi_module)
{
	return count_ret(ctx);
}

SEC("fentry.multi/test_klp_share_twins:klp_share_twin")
int BPF_PROG(run_fentry_multi_twins)
{
	return count();
}

SEC("syscall")
int read_text(void *ctx)
{
	return bpf_probe_read_kernel(text, sizeof(text), (void *)text_addr);
}
