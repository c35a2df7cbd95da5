// SPDX-License-Identifier: GPL-2.0

/*
 * Functions to be livepatched and traced at the same time. A read of the
 * module parameter of the same name calls one of them and prints what it
 * returned:
 *
 *	/sys/module/test_klp_share_target/parameters/one
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sysfs.h>

int klp_share_target_one(int a);

/* Returns its argument; test_klp_share_patch adds 100. */
noinline __noclone int klp_share_target_one(int a)
{
	/* Something that the compiler cannot see through. */
	OPTIMIZER_HIDE_VAR(a);
	return a;
}

static int call_one(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", klp_share_target_one(1));
}

static const struct kernel_param_ops one_ops = {
	.get = call_one,
};

module_param_cb(one, &one_ops, NULL, 0444);

static int test_klp_share_target_init(void)
{
	pr_info("%s\n", __func__);
	return 0;
}

static void test_klp_share_target_exit(void)
{
	pr_info("%s\n", __func__);
}

module_init(test_klp_share_target_init);
module_exit(test_klp_share_target_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: functions that a livepatch and BPF programs share");
