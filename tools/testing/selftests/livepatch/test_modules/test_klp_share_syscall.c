// SPDX-License-Identifier: GPL-2.0

/*
 * A livepatch of sched_get_priority_max(2), which hardly anybody calls: it
 * returns 1000 plus its argument. For x86-64.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/ptrace.h>

static asmlinkage long livepatch_share_priority_max(const struct pt_regs *regs)
{
	return 1000 + (int)regs->di;
}

static struct klp_func funcs[] = {
	{
		.old_name = "__x64_sys_sched_get_priority_max",
		.new_func = livepatch_share_priority_max,
	}, { }
};

static struct klp_object objs[] = {
	{
		/* name being NULL means vmlinux */
		.funcs = funcs,
	}, { }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int test_klp_share_syscall_init(void)
{
	return klp_enable_patch(&patch);
}

static void test_klp_share_syscall_exit(void)
{
}

module_init(test_klp_share_syscall_init);
module_exit(test_klp_share_syscall_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION("Livepatch test: patch of a system call that BPF programs share");
