// SPDX-License-Identifier: GPL-2.0

/*
 * Functions of the kernel that fail when they are told to, whether or not they are
 * some of those that fail_function may touch: the task that loads this calls them, and
 * their nth call from then on (with rest, all after it, too) returns the value given,
 * and does nothing. One without a fentry site needs kprobes that are not optimized.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kprobes.h>
#include <linux/linkage.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>

static char *function[4];
static int nr_functions;
module_param_array(function, charp, &nr_functions, 0444);
MODULE_PARM_DESC(function, "names of functions");

static long ret;
module_param(ret, long, 0444);
MODULE_PARM_DESC(ret, "what it returns when it fails");

static unsigned int nth;
module_param(nth, uint, 0644);
MODULE_PARM_DESC(nth, "which of the calls to come fails, 0 for none; counts down");

static bool rest;
module_param(rest, bool, 0444);
MODULE_PARM_DESC(rest, "those after it fail, too");

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

/* At its beginning, nothing of the function has run and its frame is the caller's. */
static int fail_handler(struct kprobe *p, struct pt_regs *regs)
{
	if (task_tgid_nr(current) != caller || !nth)
		return 0;
	if (nth > 1) {
		nth--;
		return 0;
	}
	if (!rest)
		nth = 0;
	regs_set_return_value(regs, ret);
	instruction_pointer_set(regs, (unsigned long)share_fail_return);
	return 1;
}
NOKPROBE_SYMBOL(fail_handler);

static struct kprobe probes[ARRAY_SIZE(function)];

static void unregister(int nr)
{
	while (nr--)
		unregister_kprobe(&probes[nr]);
}

static int test_klp_share_fail_init(void)
{
	int i, err;

	caller = task_tgid_nr(current);
	for (i = 0; i < nr_functions; i++) {
		probes[i].symbol_name = function[i];
		probes[i].pre_handler = fail_handler;
		err = register_kprobe(&probes[i]);
		if (err) {
			unregister(i);
			return err;
		}
	}
	return nr_functions ? 0 : -EINVAL;
}

static void test_klp_share_fail_exit(void)
{
	unregister(nr_functions);
}

module_init(test_klp_share_fail_init);
module_exit(test_klp_share_fail_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: functions that fail");
