// SPDX-License-Identifier: GPL-2.0

/*
 * The programs of direct_share: one of each type that uses a trampoline, and a
 * kprobe. Each counts its runs and looks at what it is given: the arguments,
 * and, if it runs after the function, what that returned.
 */

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "../direct_share.h"

char _license[] SEC("license") = "GPL";

/* Only calls by this process count, if it is not 0 */
int pid;

/* The task that is not in the same livepatch state as all others */
int odd_task;

/* What the function returns, and what it does for odd_task */
struct direct_share_want want[2];

/* What its arguments are, if nr_args is not 0 */
int args[DIRECT_SHARE_ARGS];
int nr_args;

struct direct_share_runs runs[DIRECT_SHARE_PROGS];

/* Where fentry found the function, for read_text() */
__u64 function;
__u8 text[16];

static __always_inline bool ignored(void)
{
	return pid && bpf_get_current_pid_tgid() >> 32 != pid;
}

static __always_inline bool args_wrong(void *ctx)
{
	__u64 arg;
	int i;

	for (i = 0; i < DIRECT_SHARE_ARGS && i < nr_args; i++) {
		if (bpf_get_func_arg(ctx, i, &arg) || (int)arg != args[i])
			return true;
	}
	return false;
}

static __always_inline bool ret_wrong(void *ctx)
{
	bool odd = (__u32)bpf_get_current_pid_tgid() == odd_task;
	__u64 arg, ret;

	if (bpf_get_func_arg(ctx, 0, &arg) || bpf_get_func_ret(ctx, &ret))
		return true;
	return (int)ret != (int)arg * want[odd].times + want[odd].plus;
}

static __always_inline void count_entry(enum direct_share_prog prog, bool wrong)
{
	__sync_fetch_and_add(&runs[prog].entry, 1);
	if (wrong)
		__sync_fetch_and_add(&runs[prog].wrong, 1);
}

static __always_inline void count_exit(enum direct_share_prog prog, bool wrong)
{
	__sync_fetch_and_add(&runs[prog].exit, 1);
	if (wrong)
		__sync_fetch_and_add(&runs[prog].wrong, 1);
}

static __always_inline int at_entry(void *ctx, enum direct_share_prog prog)
{
	if (!ignored())
		count_entry(prog, args_wrong(ctx));
	return 0;
}

static __always_inline int at_exit(void *ctx, enum direct_share_prog prog)
{
	if (!ignored())
		count_exit(prog, args_wrong(ctx) || ret_wrong(ctx));
	return 0;
}

static __always_inline int at_both(void *ctx, enum direct_share_prog prog)
{
	if (bpf_session_is_return(ctx))
		return at_exit(ctx, prog);
	return at_entry(ctx, prog);
}

SEC("fentry")
int BPF_PROG(run_fentry)
{
	function = bpf_get_func_ip(ctx);
	return at_entry(ctx, DIRECT_SHARE_FENTRY);
}

SEC("fexit")
int BPF_PROG(run_fexit)
{
	return at_exit(ctx, DIRECT_SHARE_FEXIT);
}

/* Its 0 lets the function run, and what comes before it returned 0, too. */
SEC("fmod_ret")
int BPF_PROG(run_fmod_ret)
{
	__u64 ret = 0;
	bool wrong;

	if (ignored())
		return 0;
	wrong = bpf_get_func_ret(ctx, &ret) || ret;
	count_entry(DIRECT_SHARE_FMOD_RET, wrong || args_wrong(ctx));
	return 0;
}

SEC("fsession")
int BPF_PROG(run_fsession)
{
	return at_both(ctx, DIRECT_SHARE_FSESSION);
}

SEC("kprobe")
int run_kprobe(struct pt_regs *ctx)
{
	if (!ignored())
		count_entry(DIRECT_SHARE_KPROBE, nr_args && (int)PT_REGS_PARM1(ctx) != args[0]);
	return 0;
}

/* Functions of a module are told apart from the kernel's when they are loaded. */

SEC("fentry.multi")
int BPF_PROG(run_fentry_multi)
{
	return at_entry(ctx, DIRECT_SHARE_FENTRY_MULTI);
}

SEC("fexit.multi")
int BPF_PROG(run_fexit_multi)
{
	return at_exit(ctx, DIRECT_SHARE_FEXIT_MULTI);
}

SEC("fsession.multi")
int BPF_PROG(run_fsession_multi)
{
	return at_both(ctx, DIRECT_SHARE_FSESSION_MULTI);
}

SEC("fentry.multi/test_klp_share_target:klp_share_target_one")
int BPF_PROG(run_fentry_multi_module)
{
	return at_entry(ctx, DIRECT_SHARE_FENTRY_MULTI);
}

SEC("fexit.multi/test_klp_share_target:klp_share_target_one")
int BPF_PROG(run_fexit_multi_module)
{
	return at_exit(ctx, DIRECT_SHARE_FEXIT_MULTI);
}

SEC("fsession.multi/test_klp_share_target:klp_share_target_one")
int BPF_PROG(run_fsession_multi_module)
{
	return at_both(ctx, DIRECT_SHARE_FSESSION_MULTI);
}

/* The instructions at the function: is there a nop again? */
SEC("syscall")
int read_text(void *ctx)
{
	return bpf_probe_read_kernel(text, sizeof(text), (void *)function);
}
