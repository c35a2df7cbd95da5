// SPDX-License-Identifier: GPL-2.0

/*
 * A function of the kernel that fails when it is told to, whether or not it is one
 * of those that fail_function may touch: the task that loads this calls it, and its
 * nth call from then on returns the value given, and does nothing.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kprobes.h>
#include <linux/linkage.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>

static char *function;
module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "name of a function with a fentry site");

static long ret;
module_param(ret, long, 0444);
MODULE_PARM_DESC(ret, "what it returns when it fails");

static unsigned int nth;
module_param(nth, uint, 0644);
MODULE_PARM_DESC(nth, "which of the calls to come fails, 0 for none; counts down");

static pid_t caller;

/* The function in place of the one that fails: its return value is already set. */
void share_fail_return(void);
asm(".pushsection .text\n"
    ".type share_fail_return, @function\n"
    "share_fail_return:\n"
    ASM_ENDBR
    ASM_RET
    ".size share_fail_return, . - share_fail_return\n"
    ".popsection\n");

/* At a fentry site, nothing of the function has run and its frame is the caller's. */
static int fail_handler(struct kprobe *p, struct pt_regs *regs)
{
	if (task_tgid_nr(current) != caller || !nth || --nth)
		return 0;
	regs_set_return_value(regs, ret);
	instruction_pointer_set(regs, (unsigned long)share_fail_return);
	return 1;
}
NOKPROBE_SYMBOL(fail_handler);

static struct kprobe probe = {
	.pre_handler = fail_handler,
};

static int test_klp_share_fail_init(void)
{
	probe.symbol_name = function;
	caller = task_tgid_nr(current);
	return register_kprobe(&probe);
}

static void test_klp_share_fail_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(test_klp_share_fail_init);
module_exit(test_klp_share_fail_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: a function that fails");
