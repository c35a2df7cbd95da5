// SPDX-License-Identifier: GPL-2.0

/* Loading this is the end of ftrace until the next boot, as after a bug of it. */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/moduleparam.h>

/* No module may link to it, so who loads this looks its address up. */
static unsigned long ftrace_kill;
module_param(ftrace_kill, ulong, 0444);
MODULE_PARM_DESC(ftrace_kill, "address of the function of that name");

static int test_klp_share_kill_init(void)
{
	if (!ftrace_kill)
		return -EINVAL;
	((void (*)(void))ftrace_kill)();
	return 0;
}

static void test_klp_share_kill_exit(void)
{
}

module_init(test_klp_share_kill_init);
module_exit(test_klp_share_kill_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: the death of ftrace");
